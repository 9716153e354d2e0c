//! The law that the order of arrival between two ticks changes nothing.

use proptest::prelude::*;

use crate::event::ExponentialBuckets;

use super::*;

/// One thing that arrives between two ticks.
#[derive(Clone, Debug)]
enum Arrival {
    Sample(&'static str, Temporality, Point),
    Record(LogRecord),
}

fn values(name: &'static str) -> BoxedStrategy<Value> {
    let number = prop_oneof![
        8 => (0u32..20).prop_map(|n| Value::Number(f64::from(n) * 0.1)),
        1 => Just(Value::Number(f64::NAN)),
        1 => Just(Value::Stale),
    ];
    let explicit = prop::collection::vec(0u32..4, 2..4)
        .prop_map(|counts| histogram(&counts.into_iter().map(f64::from).collect::<Vec<f64>>()));
    let exponential = (0i32..3, -4i32..4, prop::collection::vec(0u32..4, 0..4)).prop_map(
        |(scale, offset, counts)| {
            Value::Histogram(Box::new(Histogram::Exponential {
                scale,
                zero_count: 0.0,
                zero_threshold: 0.0,
                positive: ExponentialBuckets {
                    offset,
                    counts: counts.into_iter().map(f64::from).collect(),
                },
                negative: ExponentialBuckets::default(),
                sum: None,
            }))
        },
    );
    match name {
        "histogram_explicit" => prop_oneof![8 => explicit, 1 => number].boxed(),
        "histogram_exponential" => exponential.boxed(),
        "gauge_mixed" => prop_oneof![1 => explicit, 4 => number].boxed(),
        _ => number.boxed(),
    }
}

fn arrivals() -> impl Strategy<Value = Arrival> {
    let names = prop::sample::select(vec![
        "counter_a",
        "counter_b",
        "gauge_a",
        "gauge_mixed",
        "histogram_explicit",
        "histogram_exponential",
        "ignored",
    ]);
    let temporality = prop_oneof![
        4 => Just(Temporality::Cumulative),
        1 => Just(Temporality::Delta)
    ];
    let starts = prop::sample::select(vec![None, None, Some(-100.0), Some(12.0)]);
    // Half seconds: so that times collide.
    let seconds = || (0u32..120).prop_map(|half| f64::from(half) / 2.0);
    let sample = (names, temporality, seconds(), starts).prop_flat_map(
        |(name, temporality, seconds, start)| {
            values(name).prop_map(move |value| {
                Arrival::Sample(name, temporality, point(seconds, start, value))
            })
        },
    );
    let bodies = prop::sample::select(vec!["a", "b 1", "b 2", "c", "d"]);
    let apps = prop::sample::select(vec!["x", "y", ""]);
    let record = (apps, seconds(), 1i64..24, bodies).prop_map(|(app, seconds, severity, body)| {
        Arrival::Record(record(app, seconds, Severity::from_number(severity), body))
    });
    prop_oneof![4 => sample, 1 => record]
}

/// Feeds each epoch in batches of the given size with a tick behind it; tells all that is known of
/// each closed bucket by labels instead of ids. Numbers print exactly.
fn told(epochs: &[Vec<Arrival>], batch_len: usize) -> Vec<Vec<String>> {
    let limits = ReducerLimits {
        samples_per_bucket: 4,
        templates: 2,
        future: Span::from_seconds(25),
        ..LIMITS
    };
    let mut world = World::new(limits);
    world.asked.host_known_since = Some(at(-290.0));
    let mut result = Vec::new();
    for (epoch, arrivals) in epochs.iter().enumerate() {
        for arrivals in arrivals.chunks(batch_len) {
            let mut batch = Batch::default();
            for arrival in arrivals {
                match arrival.clone() {
                    Arrival::Sample(name, temporality, point) => {
                        batch
                            .series
                            .extend(block(name, temporality, vec![point]).series);
                    }
                    Arrival::Record(record) => batch.logs.push(record),
                }
            }
            world.ingest(&batch);
        }
        let watermark = 20.0 * (epoch + 1) as f64;
        world.now = Some(at(watermark));
        for bucket in close_all(&mut world, watermark) {
            let mut lines = vec![format!("{:?}", bucket.interval)];
            for partial in &bucket.series {
                let labels = world.reducer.labels(partial.series);
                lines.push(format!("{labels} {:?}", partial.partial));
            }
            for log in &bucket.logs {
                let stream = world.reducer.stream(log.stream);
                let (severity, classes) = (log.severity, &log.classes);
                lines.push(format!(
                    "{stream} {severity:?} {} {classes:?} {}",
                    log.template, log.count
                ));
            }
            for mark in &bucket.losses {
                let source = match mark.source {
                    LossSource::Series(id) => world.reducer.labels(id),
                    LossSource::Records(id, _) => world.reducer.stream(id),
                };
                lines.push(format!("{source} {:?} {}", mark.reason, mark.count));
            }
            lines.sort();
            result.push(lines);
        }
    }
    result.push(vec![format!("{:?}", world.reducer.counters())]);
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_order_of_arrival_between_ticks_changes_nothing(
        (ordered, shuffled) in prop::collection::vec(prop::collection::vec(arrivals(), 0..40), 3)
            .prop_flat_map(|epochs| {
                let shuffled: Vec<_> = epochs
                    .iter()
                    .map(|arrivals| Just(arrivals.clone()).prop_shuffle())
                    .collect();
                (Just(epochs), shuffled)
            }),
        batch_len in 1usize..10,
    ) {
        prop_assert_eq!(told(&ordered, 7), told(&shuffled, batch_len));
    }
}
