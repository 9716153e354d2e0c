//! Series that come no more are forgotten, whenever what comes next is put.

use crate::event::{Piece, Rejects};

use super::*;

const MANY: usize = 400;

fn roomy() -> ReducerLimits {
    ReducerLimits {
        series: MANY + 100,
        ..LIMITS
    }
}

fn counter(number: usize) -> String {
    format!("counter_{number:04}")
}

/// Numbered counters with a value at a time in seconds.
fn request(sent: impl IntoIterator<Item = (usize, f64)>, seconds: f64) -> RawBatch {
    let mut raw = RawBatch::new(KeyHash::new(0), canonical::read);
    for (number, value) in sent {
        let mut bytes = Vec::new();
        canonical::write(&named(&counter(number)), &mut bytes);
        let (key, ()) = raw.write(|out| out.extend(&bytes));
        let hash = raw.keys().single(&bytes);
        raw.start_series(
            hash,
            [key, Piece::default(), Piece::default()],
            SeriesMeta::default(),
        );
        raw.point(at(seconds), Timestamp::MIN, value);
    }
    raw
}

fn put(world: &mut World, batch: &RawBatch) {
    world.reducer.put_raw(Raw::new(&[], batch));
}

/// What counters gained, by name.
fn gains(world: &World, closed: &[ClosedBucket]) -> Vec<(String, f64)> {
    let all = closed.iter().flat_map(|bucket| &bucket.series);
    let gain = |told: &SeriesPartial| match &told.partial {
        Partial::Increase(gained) => (
            world.reducer.labels(told.series).to_string(),
            gained.increase,
        ),
        other => panic!("{other:?} is no gain"),
    };
    let mut gains: Vec<_> = all.map(gain).collect();
    gains.sort_by(|a, b| a.0.cmp(&b.0));
    gains
}

/// Many counters that were seen once, of which every fourth goes on two hours later.
fn half_dead() -> World {
    let mut world = World::new(roomy());
    put(
        &mut world,
        &request((0..MANY).map(|number| (number, 5.0)), 0.0),
    );
    close_all(&mut world, 20.0);
    let living = (0..MANY).step_by(4);
    put(
        &mut world,
        &request(living.map(|number| (number, 8.0)), 7_200.0),
    );
    let closed = close_all(&mut world, 7_220.0);
    assert_eq!(gains(&world, &closed).len(), MANY / 4);
    world.asked.bound.clear();
    world
}

fn forget(world: &mut World) -> bool {
    forget_before(world, 3_600.0)
}

fn forget_before(world: &mut World, seconds: f64) -> bool {
    let World { reducer, asked, .. } = world;
    reducer.forget(at(seconds), asked, |asked, _| asked.bound.clear())
}

#[test]
fn what_comes_no_more_makes_room_and_what_comes_again_is_new() {
    let mut world = half_dead();
    assert!(forget(&mut world));
    let living: Vec<String> = (0..MANY)
        .step_by(4)
        .map(|number| named(&counter(number)).to_string())
        .collect();
    assert_eq!(world.asked.bound, living);
    let counters = world.reducer.counters();
    assert_eq!(counters.selected_series, MANY as u64 / 4);
    assert!(!forget(&mut world), "the others go on");

    // There is room for as many others, and what was forgotten has no past.
    put(&mut world, &request([(0, 10.0), (1, 9.0)], 7_230.0));
    put(
        &mut world,
        &request((MANY..2 * MANY - 1).map(|number| (number, 1.0)), 7_231.0),
    );
    let closed = close_all(&mut world, 7_240.0);
    let name = |number: usize| named(&counter(number)).to_string();
    assert_eq!(gains(&world, &closed), [(name(0), 2.0)]);
    assert_eq!(world.asked.refused, Vec::<String>::new());
    put(&mut world, &request([(1, 11.0)], 7_241.0));
    let closed = close_all(&mut world, 7_260.0);
    assert_eq!(gains(&world, &closed), [(name(1), 2.0)]);
}

#[test]
fn it_does_not_matter_when_what_comes_next_is_put_or_looked_up() {
    let next = request([(0, 10.0), (1, 9.0), (2, 9.0), (9_999, 1.0)], 7_225.0);
    let later = request([(0, 11.0), (1, 12.0), (2, 9.5), (9_999, 3.0)], 7_236.0);
    let told = ["put before", "looked up before", "put after"].map(|when| {
        let mut world = half_dead();
        let raw = Raw::new(&[], &next);
        let epoch = world.reducer.epoch();
        let mut scratch = PutScratch::default();
        let shards = Arc::clone(world.reducer.shards());
        if when != "put after" {
            shards.resolve(raw, &mut scratch);
        }
        if when == "put before" {
            shards.put(raw, epoch, &mut scratch);
        }
        assert!(forget(&mut world));
        if when != "put before" {
            shards.put(raw, epoch, &mut scratch);
        }
        let mut closed = close_all(&mut world, 7_230.0);
        put(&mut world, &later);
        closed.extend(close_all(&mut world, 7_250.0));
        let gains = gains(&world, &closed);
        (gains, world.reducer.counters().samples_accepted)
    });
    let name = |number: usize| named(&counter(number)).to_string();
    let expected = [
        (name(0), 2.0),
        (name(0), 1.0),
        (name(1), 3.0),
        (name(2), 0.5),
        (name(9_999), 2.0),
    ];
    let samples = (MANY + MANY / 4 + 8) as u64;
    for told in told {
        assert_eq!(told, (expected.to_vec(), samples));
    }
}

#[test]
fn what_was_looked_up_whole_is_read_again_once_slots_have_other_numbers() {
    let living: Vec<(usize, f64)> = (0..MANY).step_by(4).map(|number| (number, 11.0)).collect();
    let next = request(living.iter().copied(), 7_225.0);
    let raw = Raw::new(&[], &next);
    let told = [false, true].map(|is_forgotten| {
        let mut world = half_dead();
        let epoch = world.reducer.epoch();
        let shards = Arc::clone(world.reducer.shards());
        let mut scratch = PutScratch::default();
        shards.resolve(raw, &mut scratch);
        assert!(scratch.has_all(&next));
        if is_forgotten {
            assert!(forget(&mut world));
        }
        let mut reads = 0;
        let read = || {
            reads += 1;
            raw
        };
        let put = shards.put_known(read, epoch, &mut scratch);
        assert_eq!(
            (put.samples, reads),
            (living.len() as u64, u64::from(is_forgotten))
        );
        let closed = close_all(&mut world, 7_230.0);
        gains(&world, &closed)
    });
    let expected: Vec<(String, f64)> = living
        .iter()
        .map(|(number, _)| (named(&counter(*number)).to_string(), 3.0))
        .collect();
    assert_eq!(told, [expected.clone(), expected]);
}

#[test]
fn what_was_refused_is_forgotten_too() {
    let mut world = World::new(LIMITS);
    put(
        &mut world,
        &request((0..MANY).map(|number| (number, 5.0)), 0.0),
    );
    close_all(&mut world, 20.0);
    let keys = |world: &World| -> usize {
        let shards = world.reducer.shards();
        (0..shards.len())
            .map(|index| shards.lock(index).series.len())
            .sum()
    };
    assert_eq!(
        (keys(&world), world.asked.refused.len()),
        (MANY, MANY - LIMITS.series)
    );
    assert!(forget_before(&mut world, 0.0), "the refused are many");
    assert_eq!(keys(&world), LIMITS.series);
    assert_eq!(
        world.reducer.counters().selected_series,
        LIMITS.series as u64
    );

    // They are asked about once more when they come again; what was known goes on.
    put(&mut world, &request([(0, 6.0), (MANY - 1, 9.0)], 30.0));
    let closed = close_all(&mut world, 40.0);
    assert_eq!(
        gains(&world, &closed),
        [(named(&counter(0)).to_string(), 1.0)]
    );
    assert_eq!(world.asked.refused.len(), MANY - LIMITS.series + 1);
}

/// A record of each of these streams at a time in seconds.
fn records(streams: impl IntoIterator<Item = usize>, seconds: f64) -> Batch {
    let record = |number: usize| LogRecord {
        at: at(seconds),
        severity: Severity::ERROR,
        body: "it broke".to_owned(),
        attributes: Labels::new([("app", format!("{number:04}"))]),
        count: 1,
    };
    Batch {
        logs: streams.into_iter().map(record).collect(),
        ..Batch::default()
    }
}

/// How many records streams had, by the `app` of each.
fn counts(world: &World, closed: &[ClosedBucket]) -> Vec<(String, u64)> {
    let all = closed.iter().flat_map(|bucket| &bucket.logs);
    let counted = all.map(|log| {
        let attributes = world.reducer.stream(log.stream);
        (attributes.get("app").unwrap_or("").to_owned(), log.count)
    });
    counted.collect()
}

#[test]
fn log_streams_that_come_no_more_make_room_too() {
    let told = ["put before", "put after"].map(|when| {
        let mut world = World::new(roomy());
        world.ingest(&records(0..MANY, 1.0));
        // One that belongs to no service.
        let mut other = records([0], 1.0);
        other.logs[0].attributes = Labels::new([("stream", "other")]);
        world.ingest(&other);
        close_all(&mut world, 20.0);
        world.ingest(&records((0..MANY).step_by(4), 7_200.0));
        close_all(&mut world, 7_220.0);
        assert_eq!(world.reducer.counters().streams, MANY as u64 + 1);

        let next = records([1, 4, MANY], 7_225.0);
        if when == "put before" {
            world.ingest(&next);
        }
        // One that is too late is a loss of its stream, which is told at the next tick.
        world.ingest(&records([8], 1.0));
        let mut renamed = Vec::new();
        let World { reducer, asked, .. } = &mut world;
        assert!(reducer.forget(at(3_600.0), asked, |_, ids| renamed.extend_from_slice(ids)));
        if when == "put after" {
            world.ingest(&next);
        }
        let kept = renamed.iter().flatten().count();
        assert_eq!(kept, MANY / 4 + usize::from(when == "put before"));
        assert_eq!(renamed[8].map(|id| id.0 < 8), Some(true));
        let closed = close_all(&mut world, 7_240.0);
        let losses: Vec<_> = closed.iter().flat_map(|bucket| &bucket.losses).collect();
        assert_eq!(losses.len(), 1);
        match losses[0].source {
            LossSource::Records(id, _) => {
                assert_eq!(world.reducer.stream(id).get("app"), Some("0008"));
            }
            LossSource::Series(_) => panic!("{losses:?}"),
        }
        // There is room for as many others.
        let many = MANY + 1..2 * MANY - 50;
        let put = world.ingest(&records(many, 7_245.0));
        assert_eq!(put.rejects, Rejects::default());
        counts(&world, &closed)
    });
    let expected = [1, 4, MANY].map(|number| (format!("{number:04}"), 1));
    for mut told in told {
        told.sort();
        assert_eq!(told, expected);
    }
}

#[test]
fn what_is_remembered_of_keys_is_void_once_slots_have_other_numbers() {
    let all = || request((0..MANY).map(|number| (number, 9.0)), 7_211.0);
    let living = || {
        let living = (0..MANY).step_by(4);
        request(living.map(|number| (number, 11.0)), 7_225.0)
    };
    let told = ["nothing", "walked before", "looked up before"].map(|what| {
        let mut world = half_dead();
        let shards = Arc::clone(world.reducer.shards());
        let mut scratch = PutScratch::default();
        if what != "nothing" {
            // Learns, and then knows.
            shards.resolve(Raw::new(&[], &recognised(&shards, all())), &mut scratch);
        }
        let next = recognised(&shards, living());
        let known = next.series.iter().filter(|series| series.place.is_some());
        let expected = if what == "nothing" { 0 } else { MANY / 4 };
        assert_eq!(known.count(), expected);
        let raw = Raw::new(&[], &next);
        if what == "looked up before" {
            shards.resolve(raw, &mut scratch);
            assert!(scratch.has_all(&next));
        }
        let epoch = world.reducer.epoch();
        assert!(forget(&mut world));
        if what != "looked up before" {
            shards.resolve(raw, &mut scratch);
        }
        let put = shards.put_known(|| raw, epoch, &mut scratch);
        assert_eq!(put.samples, MANY as u64 / 4);
        let again = recognised(&shards, living());
        assert!(again.series.iter().all(|series| series.place.is_none()));
        let closed = close_all(&mut world, 7_230.0);
        gains(&world, &closed)
    });
    assert_eq!(told[0].len(), MANY / 4);
    assert_eq!(told[1], told[0]);
    assert_eq!(told[2], told[0]);
}
