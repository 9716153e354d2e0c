//! Samples per second through the core: reduce alone, judge alone, and the whole engine.
//!
//! Each figure stands beside a probe measured in the same run (one hash look-up and one append per
//! sample), so that the ratio can be compared between machines. Every run checks what it computed.
//!
//! `cargo bench --bench core` measures; `cargo bench --bench core -- --check` runs each once, small.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    collections::BTreeSet,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use sluice::{
    engine::{Engine, Input, Output},
    event::{
        Batch, Begin, DeploymentEvent, KeyHash, Kind, Labels, Point, Raw, RawBatch, SeriesBlock,
        SeriesMeta, Severity, Span, Timestamp, Value, canonical,
    },
    gate::VerdictState,
    plan::Plan,
    reduce::{
        Directory, Lookers, Partial, Reading, Reducer, ReducerLimits, Registration, Select,
        SeriesId, StreamClasses, StreamId, Turned,
    },
};

const RESOLUTION: Span = Span::from_seconds(10);

/// How much is run.
#[derive(Clone, Copy)]
struct Size {
    hosts: usize,
    metrics: usize,
    buckets: usize,
    rounds: usize,
}

fn main() {
    let is_check = std::env::args().any(|argument| argument == "--check" || argument == "--test");
    let size = if is_check {
        Size {
            hosts: 10,
            metrics: 10,
            buckets: 30,
            rounds: 1,
        }
    } else {
        Size {
            hosts: 200,
            metrics: 50,
            buckets: 60,
            rounds: 5,
        }
    };
    let batches = batches(size);
    let samples = (size.hosts * size.metrics * size.buckets) as u64;
    println!(
        "{} hosts x {} metrics x {} buckets = {samples} samples, best of {}",
        size.hosts, size.metrics, size.buckets, size.rounds
    );
    let probe = best(size.rounds, || run_probe(&batches, samples));
    report("probe: one look-up, one append", samples, probe, probe);
    let reduce = best(size.rounds, || run_reduce(&batches, samples));
    report("reduce alone", samples, reduce, probe);
    let whole_idle = best(size.rounds, || run_engine(size, &batches, None));
    report("engine, no gate open", samples, whole_idle, probe);
    let whole = best(size.rounds, || {
        run_engine(size, &batches, Some(VerdictState::Pending))
    });
    report(
        "engine, one gate with every kind of check",
        samples,
        whole,
        probe,
    );
    let judge = whole.saturating_sub(reduce);
    let per_bucket = judge / size.buckets as u32;
    println!(
        "judge alone (engine less reduce): {:.2} ms a bucket for {} series, {:.2} % of a bucket's length",
        per_bucket.as_secs_f64() * 1e3,
        size.hosts * size.metrics,
        100.0 * per_bucket.as_secs_f64() / RESOLUTION.seconds_f64()
    );
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn best(rounds: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..rounds)
        .map(|_| run())
        .min()
        .expect("there is at least one round")
}

fn report(what: &str, samples: u64, took: Duration, probe: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "{what:<44} {:>8.2} M samples/s  {:>7.0} ns/sample  {:>5.1} x probe",
        samples as f64 / seconds / 1e6,
        seconds * 1e9 / samples as f64,
        seconds / probe.as_secs_f64()
    );
}

/// One batch for each bucket; half of the metrics are counters.
fn batches(size: Size) -> Vec<(Timestamp, Batch)> {
    let labels: Vec<(Labels, bool)> = (0..size.hosts)
        .flat_map(|host| (0..size.metrics).map(move |metric| (host, metric)))
        .map(|(host, metric)| {
            let is_counter = metric % 2 == 1;
            let name = if is_counter {
                format!("requests_{metric}_total")
            } else {
                format!("gauge_{metric}")
            };
            let labels = Labels::new([
                ("__name__", name),
                ("service", "app".to_owned()),
                ("host", format!("h{host:04}")),
                ("region", "eu-west-1".to_owned()),
            ]);
            (labels, is_counter)
        })
        .collect();
    let mut noise: u64 = 7;
    (0..size.buckets)
        .map(|bucket| {
            let at = Timestamp::from_seconds(1_772_359_200 + 10 * bucket as i64);
            let series = labels
                .iter()
                .map(|(labels, is_counter)| {
                    noise = noise
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040);
                    let jitter = (noise >> 40) as f64 / f64::from(1u32 << 24);
                    let value = if *is_counter {
                        1e6 + 100.0 * bucket as f64 + jitter
                    } else {
                        50.0 + jitter
                    };
                    let points = vec![Point {
                        at,
                        start: None,
                        value: Value::Number(value),
                    }];
                    SeriesBlock {
                        labels: labels.clone(),
                        meta: SeriesMeta::default(),
                        points,
                    }
                })
                .collect();
            (
                at,
                Batch {
                    series,
                    ..Batch::default()
                },
            )
        })
        .collect()
}

fn run_probe(batches: &[(Timestamp, Batch)], samples: u64) -> Duration {
    let mut table: HashMap<Labels, u32, foldhash::fast::FixedState> =
        HashMap::with_hasher(foldhash::fast::FixedState::default());
    let mut log: Vec<(u32, i64, f64)> = Vec::with_capacity(samples as usize);
    let start = now();
    for (_, batch) in batches {
        for block in &batch.series {
            let next = table.len() as u32;
            let id = *table.entry_ref(&block.labels).or_insert(next);
            for point in &block.points {
                if let Value::Number(value) = point.value {
                    log.push((id, point.at.nanos(), value));
                }
            }
        }
    }
    let took = start.elapsed();
    assert_eq!(black_box(&log).len() as u64, samples);
    took
}

/// Selects everything, as what its name says.
#[derive(Debug, Default)]
struct Everything(BTreeSet<String>);

impl Select for Everything {
    fn series(&self, labels: &Labels, _: SeriesMeta) -> Option<Kind> {
        Some(if labels.metric().ends_with("_total") {
            Kind::Counter
        } else {
            Kind::Gauge
        })
    }

    fn lookers(&self, _: &Labels, _: Kind) -> Lookers {
        Lookers::default()
    }

    fn stream_labels(&self) -> &BTreeSet<String> {
        &self.0
    }

    fn stream_lookers(&self, _: &StreamClasses) -> Lookers {
        Lookers::default()
    }

    fn stream(&self, _: &Labels) -> Option<StreamClasses> {
        None
    }

    fn classify(&self, _: &StreamClasses, _: Option<Severity>, _: Option<&str>, _: &mut Vec<u32>) {}
}

impl Directory for Everything {
    fn bind_series(
        &mut self,
        _: SeriesId,
        _: &Labels,
        _: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Option<Registration> {
        Some(Registration {
            kind,
            host_known_since: None.into(),
        })
    }

    fn refuse_series(&mut self, _: SeriesId, _: &Labels, _: Kind) {}

    fn refuse(&mut self, _: &Lookers, _: Timestamp) {}

    fn reread(&mut self, _: &[Turned], _: &dyn Fn(SeriesId) -> Reading) {}

    fn bind_stream(&mut self, _: StreamId, _: &Labels) {}
}

fn run_reduce(batches: &[(Timestamp, Batch)], samples: u64) -> Duration {
    let limits = ReducerLimits {
        series: 1 << 20,
        samples_per_bucket: 4_096,
        templates: 16,
        future: Span::from_minutes(5),
        labels: 64,
        label_bytes: 16 << 10,
    };
    let select = Everything::default();
    let keys = KeyHash::new(7);
    let mut reducer = Reducer::new(RESOLUTION, limits, keys, Arc::new(Everything::default()));
    // Requests come as bytes; here their labels are written out before the clock starts.
    let raw: Vec<(Timestamp, RawBatch)> = batches
        .iter()
        .map(|(at, batch)| {
            let mut raw = RawBatch::new(keys, canonical::read);
            raw.take(batch, |name| select.stream_labels().contains(name));
            (*at, raw)
        })
        .collect();
    let mut directory = Everything::default();
    let mut increase = 0.0;
    let mut partials = 0u64;
    let start = now();
    for (at, raw) in &raw {
        reducer.put_raw(Raw::new(&[], raw));
        let epoch = reducer
            .epoch()
            .after(*at + RESOLUTION, Span::ZERO, RESOLUTION);
        reducer.advance(epoch, &mut directory);
        while let Some(bucket) = reducer.close_next() {
            for series in &bucket.series {
                partials += 1;
                if let Partial::Increase(gained) = &series.partial {
                    increase += gained.increase;
                }
            }
        }
    }
    let took = start.elapsed();
    // The first point of a counter is only a base.
    let series = batches[0].1.series.len() as u64;
    assert_eq!(partials, samples - series / 2);
    let expected = 100.0 * (batches.len() - 1) as f64 * (series / 2) as f64;
    assert!(
        (increase - expected).abs() < 0.02 * expected,
        "{increase} is not {expected}"
    );
    took
}

fn run_engine(
    size: Size,
    batches: &[(Timestamp, Batch)],
    expected: Option<VerdictState>,
) -> Duration {
    let plan = Plan::parse(CONFIGURATION).expect("the configuration of the bench is valid");
    let mut engine = Engine::new(Arc::new(plan));
    let mut outputs: Vec<Output> = Vec::new();
    if expected.is_some() {
        let begin = Begin {
            at: batches[batches.len() / 2].0,
            deployment: "d1".to_owned(),
            service: "app".to_owned(),
            stage: "onebox".to_owned(),
            region: None,
            version: "v2".to_owned(),
            one_box: (0..size.hosts / 10)
                .map(|host| format!("h{host:04}"))
                .collect(),
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        };
        engine.step(
            Input::Deployment(DeploymentEvent::Begin(begin)),
            &mut outputs,
        );
    }
    let start = now();
    for (at, batch) in batches {
        engine.step(Input::Batch(batch), &mut outputs);
        engine.step(Input::Tick(*at + RESOLUTION), &mut outputs);
    }
    let took = start.elapsed();
    assert_eq!(engine.counters().buckets, batches.len() as u64);
    assert_eq!(
        engine.verdict("d1").map(|verdict| verdict.verdict),
        expected
    );
    took
}

const CONFIGURATION: &str = "
resolution: 10s
lateness: 0s
checks:
  everything: {metric: '*', compare: {}}
  bounds:     {metric: '{__name__=~\"gauge_.*\"}', bounds: {max: 1000}}
  trend:      {metric: '{__name__=~\"gauge_.*\"}', derivative: {}}
  history:    {metric: '{__name__=~\"gauge_.*\"}', sigma: {}}
  present:    {metric: '*', absent: 5m}
services:
  app:
    stages:
      - {name: onebox, bake: 2h, checks: [everything, bounds, {check: trend, mode: advisory}, {check: history, mode: advisory}, present]}
";
