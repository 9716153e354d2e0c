//! A series that tells another kind than before: nothing of that is a value until it is bound anew.

use super::*;
use crate::event::Unit;

/// Numbers that are told as a kind.
fn told(name: &str, kind: Kind, points: &[(f64, f64)]) -> Batch {
    let mut batch = numbers(name, points);
    batch.series[0].meta.kind = kind;
    batch
}

fn increase(closed: &[ClosedBucket]) -> Vec<(f64, f64)> {
    let gained = partials(closed).into_iter();
    gained
        .map(|(start, partial)| match partial {
            Partial::Increase(gained) => (start, gained.increase),
            other => panic!("{other:?} is no gain"),
        })
        .collect()
}

/// A counter that is known, and has 20 at 15 s.
fn known() -> World {
    let mut world = World::new(LIMITS);
    let points = [(5.0, 10.0), (15.0, 20.0)];
    world.ingest(&told("any_x", Kind::Counter, &points));
    assert_eq!(increase(&close_all(&mut world, 20.0)), [(10.0, 10.0)]);
    world
}

#[test]
fn what_tells_another_kind_is_lost_and_the_series_goes_on() {
    let mut world = known();
    world.ingest(&told("any_x", Kind::Gauge, &[(22.0, 50.0), (25.0, 51.0)]));
    world.ingest(&told("any_x", Kind::Counter, &[(24.0, 26.0)]));
    world.ingest(&told("any_x", Kind::Gauge, &[(32.0, 50.0)]));
    let closed = close_all(&mut world, 40.0);
    assert_eq!(increase(&closed), [(20.0, 6.0)]);
    let lost = (LossReason::Incompatible, 2);
    assert_eq!(losses(&closed), [lost, (LossReason::Incompatible, 1)]);

    // Who tells no kind contradicts nothing.
    world.ingest(&told("any_x", Kind::Unknown, &[(45.0, 30.0)]));
    let closed = close_all(&mut world, 50.0);
    assert_eq!(increase(&closed), [(40.0, 4.0)]);
    assert_eq!(losses(&closed), []);
}

#[test]
fn what_is_told_in_another_unit_is_lost() {
    let mut world = World::new(LIMITS);
    let in_unit = |unit: Unit, at: f64| {
        let mut batch = told("gauge_x", Kind::Gauge, &[(at, 85.0)]);
        batch.series[0].meta.unit = unit;
        batch
    };
    world.ingest(&in_unit(Unit::Percent, 5.0));
    close_all(&mut world, 10.0);
    for (at, unit, is_lost) in [
        (15.0, Unit::Percent, false),
        (25.0, Unit::Unknown, false),
        (35.0, Unit::Count, false),
        (45.0, Unit::Ratio, true),
        (55.0, Unit::Nanoseconds, true),
    ] {
        world.ingest(&in_unit(unit, at));
        let closed = close_all(&mut world, at + 5.0);
        assert_eq!(partials(&closed).is_empty(), is_lost, "{unit:?}");
        let expected = [(LossReason::Incompatible, 1)];
        assert_eq!(
            losses(&closed),
            if is_lost { &expected[..] } else { &[] },
            "{unit:?}"
        );
    }
}

#[test]
fn a_kind_that_the_configuration_overrules_contradicts_nothing() {
    let mut world = World::new(LIMITS);
    world.ingest(&told("counter_x", Kind::Counter, &[(5.0, 10.0)]));
    close_all(&mut world, 10.0);
    world.ingest(&told("counter_x", Kind::Gauge, &[(15.0, 17.0)]));
    let closed = close_all(&mut world, 20.0);
    assert_eq!(increase(&closed), [(10.0, 7.0)]);
    assert_eq!(losses(&closed), []);
}

#[test]
fn a_number_whose_kind_nobody_told_is_no_gain() {
    let mut world = World::new(LIMITS);
    world.ingest(&told("any_x", Kind::Unknown, &[(5.0, 10.0)]));
    close_all(&mut world, 10.0);
    world.ingest(&told("any_x", Kind::Counter, &[(15.0, 5_000.0)]));
    let closed = close_all(&mut world, 20.0);
    assert_eq!(partials(&closed), []);
    assert_eq!(losses(&closed), [(LossReason::Incompatible, 1)]);
}

#[test]
fn before_a_series_has_an_id_the_order_of_kinds_does_not_matter() {
    let gauge = told("any_x", Kind::Gauge, &[(2.0, 50.0), (12.0, 51.0)]);
    let counter = told("any_x", Kind::Counter, &[(3.0, 10.0), (13.0, 20.0)]);
    for batches in [[&gauge, &counter], [&counter, &gauge]] {
        let mut world = World::new(LIMITS);
        for batch in batches {
            world.ingest(batch);
        }
        let closed = close_all(&mut world, 20.0);
        assert_eq!(increase(&closed), [(10.0, 10.0)]);
        assert_eq!(losses(&closed), [(LossReason::Incompatible, 1); 2]);
    }
}

#[test]
fn what_is_looked_up_before_it_is_put_keeps_its_kind() {
    let mut world = known();
    let mut scratch = PutScratch::default();
    let shards = Arc::clone(world.reducer.shards());
    // The key is known as a gauge from the first on, and looked up at the second.
    for seconds in [22.0, 23.0] {
        let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
        let batch = told("any_x", Kind::Gauge, &[(seconds, 50.0)]);
        raw.take(&batch, |_| false);
        let raw = Raw::new(&[], &raw);
        shards.resolve(raw, &mut scratch);
        shards.put(raw, world.reducer.epoch(), &mut scratch);
    }
    let closed = close_all(&mut world, 30.0);
    assert_eq!(partials(&closed), []);
    assert_eq!(losses(&closed), [(LossReason::Incompatible, 2)]);
}

fn forget(world: &mut World) -> bool {
    let World { reducer, asked, .. } = world;
    reducer.forget(at(3_600.0), asked, |asked, _| asked.bound.clear())
}

#[test]
fn when_its_past_is_forgotten_a_series_is_bound_as_what_it_tells() {
    let mut world = known();
    world.ingest(&told("gauge_y", Kind::Gauge, &[(7_202.0, 1.0)]));
    world.ingest(&told("any_x", Kind::Gauge, &[(7_202.0, 50.0)]));
    let lost = losses(&close_all(&mut world, 7_210.0));
    assert_eq!(lost, [(LossReason::Incompatible, 1)]);
    assert!(forget(&mut world));
    assert!(!forget(&mut world), "once");
    world.ingest(&told("any_x", Kind::Gauge, &[(7_212.0, 51.0)]));
    let closed = close_all(&mut world, 7_220.0);
    let [(_, Partial::Gauge(level))] = partials(&closed)[..] else {
        panic!("{closed:?} has no level");
    };
    assert_eq!(level.last, 51.0);
    assert_eq!(losses(&closed), []);
}

#[test]
fn one_that_still_tells_its_own_kind_keeps_it() {
    let mut world = known();
    world.ingest(&told("any_x", Kind::Counter, &[(7_201.0, 30.0)]));
    world.ingest(&told("any_x", Kind::Gauge, &[(7_202.0, 50.0)]));
    close_all(&mut world, 7_210.0);
    assert!(!forget(&mut world));
}
