//! Reading on after a restart, and reading again what was taken before it.

use std::{collections::BTreeMap, time::Duration};

use sluice::{
    plan::TopicStart,
    source::kafka::{LostReason, Partition, Piece, Positions, Rereader},
};

use super::support::{Cluster, DEADLINE, PACE, Reader, meanwhile, numbers, partition};

/// A sequence of numbers without pattern, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

#[test]
fn restarts_at_any_point_lose_nothing_and_count_nothing_twice() {
    const PARTITIONS: i32 = 3;
    const EACH: i64 = 20_000;
    let cluster = Cluster::with_topic("t", PARTITIONS);
    let log = cluster.producer();
    let written = meanwhile(move || {
        for from in (0..EACH).step_by(500) {
            for number in 0..PARTITIONS {
                log.write("t", number, from..from + 500);
            }
        }
    });
    let mut random = Numbers(7);
    let mut positions = Positions::new();
    let mut taken: BTreeMap<Partition, Vec<(i64, String)>> = BTreeMap::new();
    let total = EACH as usize * PARTITIONS as usize;
    let count = |taken: &BTreeMap<_, Vec<_>>| taken.values().map(Vec::len).sum::<usize>();
    let mut restarts = 0;
    while count(&taken) < total {
        let left = total - count(&taken);
        let wanted = (1 + random.below(8_000) as usize).min(left);
        let plan = cluster.plan(&["t"], TopicStart::Earliest);
        let mut reader = Reader::start(plan, PACE, &positions);
        reader.until_count(wanted);
        // What lies in the channel is dropped with it, as in a crash.
        positions = reader.positions.clone();
        for (partition, messages) in reader.taken {
            taken.entry(partition).or_default().extend(messages);
        }
        drop(reader.consumer);
        restarts += 1;
    }
    written.recv_timeout(DEADLINE).unwrap();
    assert!(restarts > 5, "{restarts}");
    for number in 0..PARTITIONS {
        assert!(
            taken[&partition("t", number)] == numbers(0..EACH),
            "{number}"
        );
    }
}

/// Messages that are there, and ranges that are not.
type Outline = (Vec<(i64, String)>, Vec<(i64, i64, LostReason)>);

fn outline(pieces: &[Piece]) -> Outline {
    let mut messages = Vec::new();
    let mut lost = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Chunk(chunk) => messages.extend(chunk.messages.iter().map(|message| {
                let text = String::from_utf8(message.payload.to_vec()).unwrap();
                (message.offset, text)
            })),
            Piece::Lost(one) => lost.push((one.from, one.until, one.reason)),
        }
    }
    (messages, lost)
}

#[test]
fn ranges_are_read_again_exactly() {
    let mut cluster = Cluster::with_topic("t", 2);
    cluster.tell("create u 1");
    let log = cluster.producer();
    for number in 0..2 {
        log.write("t", number, 0..3_000);
    }
    log.write("u", 0, 0..100);
    let plan = cluster.plan(&["t", "u"], TopicStart::Earliest);
    let mut rereader = Rereader::new(&plan).unwrap();
    // Ranges of several partitions in turn, as a journal has them; then one from before.
    for (topic, number, offsets) in [
        ("t", 0, 10..500),
        ("t", 1, 0..700),
        ("u", 0, 5..6),
        ("t", 0, 500..501),
        ("t", 0, 501..3_000),
        ("t", 1, 700..2_999),
        ("u", 0, 6..100),
        ("t", 0, 20..30),
        ("t", 0, 30..30),
    ] {
        let pieces = rereader
            .read(&partition(topic, number), offsets.clone(), DEADLINE)
            .unwrap();
        let expected = (numbers(offsets.clone()), vec![]);
        assert!(
            outline(&pieces) == expected,
            "{topic} {number} {offsets:?}: {pieces:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_again_is_named() {
    let cluster = Cluster::with_topic("t", 1);
    let log = cluster.producer();
    log.write("t", 0, 0..10);
    log.write_large("t", 0, 160, 64 << 10);
    let plan = cluster.plan(&["t"], TopicStart::Earliest);
    let mut rereader = Rereader::new(&plan).unwrap();
    let partition = partition("t", 0);
    let gone = rereader.read(&partition, 0..10, DEADLINE).unwrap();
    assert_eq!(outline(&gone), (vec![], vec![(0, 10, LostReason::Removed)]));
    // A range that begins too early and ends too late: its middle is still there.
    let pieces = rereader.read(&partition, 10..200, DEADLINE).unwrap();
    let (messages, lost) = outline(&pieces);
    let [
        (10, low, LostReason::Removed),
        (170, 200, LostReason::WentBack),
    ] = lost[..]
    else {
        panic!("{lost:?}")
    };
    assert!((90..170).contains(&low), "{low}");
    assert!(messages.iter().map(|(offset, _)| *offset).eq(low..170));
}

#[test]
fn a_broker_that_is_away_is_an_error_that_can_be_tried_again() {
    let mut cluster = Cluster::with_topic("t", 1);
    cluster.producer().write("t", 0, 0..10);
    let plan = cluster.plan(&["t"], TopicStart::Earliest);
    let mut rereader = Rereader::new(&plan).unwrap();
    let partition = partition("t", 0);
    cluster.tell("down -1");
    let patience = Duration::from_secs(1);
    rereader.read(&partition, 0..10, patience).unwrap_err();
    cluster.tell("up -1");
    let pieces = rereader.read(&partition, 0..10, DEADLINE).unwrap();
    assert_eq!(outline(&pieces), (numbers(0..10), vec![]));
}
