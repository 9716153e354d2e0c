//! What is told of metrics by their names alone.

use proptest::prelude::*;

use super::*;
use crate::event::{MetricMeta, Unit};

const WIDTH: Span = Span::from_seconds(10);

/// A request of nothing but metadata.
fn told(metric: &str, kind: Kind) -> Batch {
    in_unit(metric, kind, Unit::Unknown)
}

fn in_unit(metric: &str, kind: Kind, unit: Unit) -> Batch {
    let metric = metric.to_owned();
    Batch {
        metadata: vec![MetricMeta { metric, kind, unit }],
        ..Batch::default()
    }
}

/// The level or the gain of each bucket that has one.
fn levels(closed: &[ClosedBucket]) -> Vec<(f64, &'static str, f64)> {
    let partials = partials(closed).into_iter();
    partials
        .map(|(start, partial)| match partial {
            Partial::Gauge(gauge) => (start, "gauge", gauge.last),
            Partial::Increase(gained) => (start, "gained", gained.increase),
            Partial::Histogram(_) => panic!("no distribution came"),
        })
        .collect()
}

impl World {
    /// The same after a restart.
    fn restarted(&self) -> Self {
        let bytes = postcard::to_allocvec(&self.reducer.save()).unwrap();
        let state = postcard::from_bytes(&bytes).unwrap();
        let mut asked = Asked::default();
        let select: Arc<dyn Select> = Arc::new(by_name());
        let reducer =
            Reducer::restore(WIDTH, LIMITS, KeyHash::new(0), select, state, &mut asked).unwrap();
        Self {
            reducer,
            asked,
            now: self.now,
        }
    }
}

#[test]
fn a_gauge_that_turns_out_to_count_goes_on_from_its_last_value() {
    let mut world = World::new(LIMITS);
    world.ingest(&numbers("any_jobs", &[(5.0, 1_000.0), (15.0, 1_010.0)]));
    assert_eq!(
        levels(&close_all(&mut world, 20.0)),
        [(0.0, "gauge", 1_000.0), (10.0, "gauge", 1_010.0)]
    );
    let mut restarted = world.restarted();
    for world in [&mut world, &mut restarted] {
        world.ingest(&numbers("any_jobs", &[(25.0, 1_030.0)]));
        world.ingest(&told("any_jobs", Kind::Counter));
        let closed = close_all(world, 30.0);
        assert_eq!(levels(&closed), [(20.0, "gained", 20.0)]);
        assert_eq!(losses(&closed), []);
        let last = world.asked.bound.last().unwrap();
        assert_eq!(last, "any_jobs as Counter in Unknown, another one");
    }
    // What was told survives a restart, and is not told to the directory again.
    let mut restarted = world.restarted();
    restarted.ingest(&numbers("any_jobs", &[(35.0, 1_031.0)]));
    restarted.ingest(&numbers("any_other", &[(36.0, 5.0)]));
    restarted.ingest(&told("any_jobs", Kind::Counter));
    let closed = close_all(&mut restarted, 40.0);
    assert_eq!(closed[0].series.len(), 2);
    assert_eq!(restarted.asked.bound, ["any_jobs", "any_other"]);
}

#[test]
fn a_counter_by_its_name_alone_may_be_a_gauge() {
    let mut world = World::new(LIMITS);
    world.ingest(&told("any_total", Kind::Gauge));
    world.ingest(&in_unit("any_lag", Kind::Unknown, Unit::Seconds));
    world.ingest(&numbers("any_total", &[(5.0, 7.0)]));
    assert_eq!(
        levels(&close_all(&mut world, 10.0)),
        [(0.0, "gauge", 7.0)],
        "it is told before it is bound"
    );
    world.ingest(&numbers("any_lag", &[(15.0, 1.0)]));
    close_all(&mut world, 20.0);
    world.ingest(&in_unit("any_lag", Kind::Unknown, Unit::Bytes));
    close_all(&mut world, 30.0);
    assert_eq!(
        world.asked.bound,
        ["any_total", "any_lag", "any_lag as Gauge in Unknown"]
    );
    let counters = world.reducer.counters();
    assert_eq!((counters.told_metrics, counters.disputed_metrics), (2, 1));
    assert_eq!(counters.disputed, ["any_lag".to_owned()].into());
}

#[test]
fn what_its_protocol_tells_is_not_touched() {
    let mut world = World::new(LIMITS);
    let mut batch = numbers("any_jobs", &[(5.0, 7.0)]);
    batch.series[0].meta.kind = Kind::Gauge;
    world.ingest(&batch);
    close_all(&mut world, 10.0);
    world.ingest(&told("any_jobs", Kind::Counter));
    // Who tells no kind says nothing else.
    world.ingest(&numbers("any_jobs", &[(15.0, 9.0)]));
    assert_eq!(levels(&close_all(&mut world, 20.0)), [(10.0, "gauge", 9.0)]);
    assert_eq!(world.asked.bound, ["any_jobs"]);
}

#[test]
fn contradictions_fall_back_to_the_name_and_age() {
    let mut world = World::new(LIMITS);
    world.ingest(&told("any_jobs", Kind::Counter));
    world.ingest(&numbers("any_jobs", &[(5.0, 10.0), (15.0, 20.0)]));
    assert_eq!(
        levels(&close_all(&mut world, 20.0)),
        [(10.0, "gained", 10.0)]
    );
    world.ingest(&told("any_jobs", Kind::Gauge));
    world.ingest(&numbers("any_jobs", &[(25.0, 30.0)]));
    assert_eq!(
        levels(&close_all(&mut world, 30.0)),
        [(20.0, "gauge", 30.0)]
    );
    assert_eq!(world.reducer.counters().disputed_metrics, 1);
    // Hours later only one of them is still told.
    let later = 20.0 * 3_600.0;
    world.ingest(&told("any_jobs", Kind::Counter));
    world.ingest(&numbers("any_jobs", &[(later - 5.0, 40.0)]));
    close_all(&mut world, later);
    let now = at(later - 7_200.0);
    world.reducer.forget_metadata(now, &mut world.asked);
    world.ingest(&numbers("any_jobs", &[(later + 5.0, 42.0)]));
    let closed = close_all(&mut world, later + 10.0);
    assert_eq!(levels(&closed), [(later, "gained", 2.0)]);
    assert_eq!(world.reducer.counters().disputed_metrics, 0);
    // Nobody tells it any more, but a series of it is there.
    let now = at(later + 7_200.0);
    world.reducer.forget_metadata(now, &mut world.asked);
    assert_eq!(world.reducer.counters().told_metrics, 1);
    assert!(
        world.reducer.forget(now, &mut world.asked, |_, _| {}),
        "the series is forgotten"
    );
    world.reducer.forget_metadata(now, &mut world.asked);
    assert_eq!(world.reducer.counters().told_metrics, 0);
}

#[test]
fn what_is_bound_anew_is_what_is_told_of_it() {
    let mut world = World::new(LIMITS);
    let in_unit = |unit, second: f64| {
        let mut batch = numbers("any_jobs", &[(second, 10.0)]);
        batch.series[0].meta.unit = unit;
        batch
    };
    world.ingest(&told("any_jobs", Kind::Counter));
    world.ingest(&in_unit(Unit::Seconds, 5.0));
    close_all(&mut world, 10.0);
    // A day later it is told in another unit, and by nobody in the one before.
    let later = 86_400.0;
    world.ingest(&in_unit(Unit::Bytes, later + 5.0));
    let closed = close_all(&mut world, later + 10.0);
    assert_eq!(partials(&closed), []);
    let before = at(later);
    assert!(world.reducer.forget(before, &mut world.asked, |_, _| {}));
    world.ingest(&in_unit(Unit::Bytes, later + 15.0));
    close_all(&mut world, later + 20.0);
    world.ingest(&in_unit(Unit::Bytes, later + 25.0));
    let closed = close_all(&mut world, later + 30.0);
    assert_eq!(levels(&closed), [(later + 20.0, "gained", 0.0)]);
}

#[test]
fn what_a_state_has_taken_in_is_not_told_again() {
    let mut world = World::new(LIMITS);
    let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
    raw.take(&told("any_jobs", Kind::Counter), |_| true);
    let raw = Raw::new(&[], &raw);
    let mut scratch = PutScratch::default();
    let shards = Arc::clone(world.reducer.shards());
    assert!(shards.has_news(raw));
    shards.resolve(raw, &mut scratch);
    assert!(!scratch.has_all(raw.batch), "its bytes are needed");
    let epoch = world.reducer.epoch();
    shards.put_again(raw, epoch, at(0.0), &mut scratch);
    close_all(&mut world, 10.0);
    assert_eq!(world.reducer.counters().told_metrics, 0);
    // What stands behind a tick may come before it is taken.
    let epoch = Epoch {
        number: world.reducer.epoch().number + 1,
        ..world.reducer.epoch()
    };
    shards.put(raw, epoch, &mut scratch);
    close_all(&mut world, 20.0);
    assert_eq!(world.reducer.counters().told_metrics, 0);
    let select: Arc<dyn Select> = Arc::new(by_name());
    let mut fork = World {
        reducer: world
            .reducer
            .fork(&select, &|_| Vec::new(), &mut Asked::default()),
        asked: Asked::default(),
        now: None,
    };
    for world in [&mut world, &mut fork] {
        close_all(world, 30.0);
        assert_eq!(world.reducer.counters().told_metrics, 1);
        assert!(!world.reducer.shards().has_news(raw));
    }
}

proptest! {
    #[test]
    fn the_order_of_requests_within_a_tick_does_not_matter(
        requests in prop::collection::vec((0..4_usize, 0..4_usize, 0..5_u8), 1..24),
        order in any::<u64>(),
        restarts: bool,
    ) {
        let kinds = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Unknown];
        let run = |order: u64| {
            let mut world = World::new(LIMITS);
            let mut said = Vec::new();
            for (tick, requests) in (1..).zip(requests.chunks(6)) {
                let mut requests: Vec<_> = (0_u64..).zip(requests).collect();
                requests.sort_by_key(|(index, _)| (index + 1).wrapping_mul(order | 1));
                let end = f64::from(tick) * 10.0;
                for (_, (metric, kind, what)) in requests {
                    let name = ["any_a", "any_b_total", "any_c_count", "any_b"][*metric];
                    let batch = if *what < 2 {
                        in_unit(name, kinds[*kind], [Unit::Unknown, Unit::Bytes][usize::from(*what)])
                    } else {
                        numbers(name, &[(end - f64::from(*what), end * 3.0)])
                    };
                    world.ingest(&batch);
                }
                said.push(format!("{:?}", close_all(&mut world, end)));
                said.append(&mut world.asked.bound);
                if restarts {
                    world = world.restarted();
                    world.asked.bound.clear();
                }
            }
            said
        };
        prop_assert_eq!(run(1), run(order));
    }
}
