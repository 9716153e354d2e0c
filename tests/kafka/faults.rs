//! Reading when the cluster breaks.

use sluice::{
    plan::TopicStart,
    source::kafka::{Blindness, Event, Lost, LostReason, Positions},
};

use super::support::{Cluster, PACE, Reader, numbers, partition};

#[test]
fn a_broker_that_goes_and_comes_back_is_told_and_nothing_is_lost() {
    let mut cluster = Cluster::with_topic("t", 2);
    let log = cluster.producer();
    log.write("t", 0, 0..1_000);
    let mut reader = cluster.reader(&["t"]);
    reader.until_count(1_000);
    reader.until_up("t");
    for round in 1..=2 {
        cluster.tell("down -1");
        reader.until("the topic is down", |reader| {
            let downs = |event: &&Event| {
                matches!(
                    event,
                    Event::Down {
                        reason: Blindness::Unreachable { .. },
                        ..
                    }
                )
            };
            reader.said.iter().filter(downs).count() == round
        });
        cluster.tell("up -1");
        let from = round as i64 * 1_000;
        log.write("t", 0, from..from + 1_000);
        reader.until_count((round + 1) * 1_000);
        reader.until_up("t");
    }
    assert_eq!(reader.taken[&partition("t", 0)], numbers(0..3_000));
}

#[test]
fn a_source_whose_broker_is_away_at_the_start_begins_when_it_comes() {
    let mut cluster = Cluster::with_topic("t", 1);
    let log = cluster.producer();
    log.write("t", 0, 0..100);
    cluster.tell("down -1");
    let mut reader = cluster.reader(&["t"]);
    reader.until("the topic is down", |reader| {
        reader.has_said(|event| matches!(event, Event::Down { .. }))
    });
    cluster.tell("up -1");
    reader.until_count(100);
    reader.until_up("t");
    assert_eq!(reader.taken[&partition("t", 0)], numbers(0..100));
}

#[test]
fn a_partition_without_leader_is_told_and_the_others_are_read_on() {
    let mut cluster = Cluster::with_topic("t", 2);
    let log = cluster.producer();
    let mut reader = cluster.reader(&["t"]);
    reader.until_up("t");
    cluster.tell("leader t 1 none");
    reader.until("the partition is named", |reader| {
        reader.has_said(|event| {
            let reason = Blindness::Leaderless { partition: 1 };
            matches!(event, Event::Down { reason: said, .. } if *said == reason)
        })
    });
    log.write("t", 0, 0..100);
    reader.until_count(100);
    cluster.tell("leader t 1 1");
    log.write("t", 1, 0..100);
    reader.until_count(200);
    reader.until_up("t");
    assert_eq!(reader.taken[&partition("t", 1)], numbers(0..100));
}

#[test]
fn what_the_broker_has_removed_is_lost_with_its_exact_offsets() {
    let cluster = Cluster::with_topic("t", 2);
    let log = cluster.producer();
    log.write("t", 0, 0..10);
    log.write("t", 1, 0..10);
    let mut reader = cluster.reader(&["t"]);
    reader.until_count(20);
    let positions = reader.positions.clone();
    reader.consumer.stop();
    // The broker keeps 5 MiB of a partition: of 160 messages of 64 KiB, fewer than 80 stay.
    log.write_large("t", 0, 160, 64 << 10);
    log.write("t", 1, 10..20);
    let plan = cluster.plan(&["t"], TopicStart::Earliest);
    let mut reader = Reader::start(plan, PACE, &positions);
    reader.until("the end", |reader| {
        reader.positions[&partition("t", 0)] == 170
    });
    reader.until("the other partition", |reader| {
        reader.positions[&partition("t", 1)] == 20
    });
    let [lost] = &losses(&reader)[..] else {
        panic!("{:?}", reader.said)
    };
    assert_eq!((lost.from, lost.reason), (10, LostReason::Removed));
    assert_eq!(lost.partition, partition("t", 0));
    assert!((90..170).contains(&lost.until), "{lost:?}");
    // From there on every message was read, once.
    let taken = &reader.taken[&partition("t", 0)];
    assert!(taken.iter().map(|(offset, _)| *offset).eq(lost.until..170));
    assert_eq!(reader.taken[&partition("t", 1)], numbers(10..20));
    reader.until("the loss is counted", |reader| {
        let status = reader.consumer.status();
        let counted = status.topics["t"].lost.get(&LostReason::Removed);
        counted == Some(&((lost.until - 10) as u64))
    });
}

#[test]
fn a_partition_that_ends_before_its_position_is_told_and_read_from_its_end() {
    let cluster = Cluster::with_topic("t", 1);
    let log = cluster.producer();
    log.write("t", 0, 0..40);
    let positions = Positions::from([(partition("t", 0), 1_000)]);
    let plan = cluster.plan(&["t"], TopicStart::Earliest);
    let mut reader = Reader::start(plan, PACE, &positions);
    reader.until("the loss", |reader| !losses(reader).is_empty());
    let expected = Lost {
        partition: partition("t", 0),
        from: 1_000,
        until: 40,
        reason: LostReason::WentBack,
    };
    assert_eq!(losses(&reader), [expected]);
    log.write("t", 0, 40..60);
    reader.until_count(20);
    assert_eq!(reader.taken[&partition("t", 0)], numbers(40..60));
}

#[test]
fn failing_fetches_delay_messages_and_lose_none() {
    let mut cluster = Cluster::with_topic("t", 1);
    let log = cluster.producer();
    let mut reader = cluster.reader(&["t"]);
    let mut written = 0;
    for error in ["transport", "unknown", "not-leader"] {
        cluster.tell(&format!("fail-fetches {error} 3"));
        log.write("t", 0, written..written + 500);
        written += 500;
        reader.until_count(written as usize);
    }
    assert_eq!(reader.taken[&partition("t", 0)], numbers(0..written));
    assert!(losses(&reader).is_empty());
}

#[test]
fn a_position_that_is_wrongly_refused_is_read_on_without_loss() {
    let mut cluster = Cluster::with_topic("t", 1);
    let log = cluster.producer();
    log.write("t", 0, 0..100);
    let mut reader = cluster.reader(&["t"]);
    reader.until_count(100);
    cluster.tell("fail-fetches out-of-range 1");
    log.write("t", 0, 100..200);
    reader.until_count(200);
    assert_eq!(reader.taken[&partition("t", 0)], numbers(0..200));
    assert!(losses(&reader).is_empty());
}

#[test]
fn a_consumer_that_gives_nothing_although_there_is_more_is_rebuilt_and_told() {
    let mut cluster = Cluster::with_topic("t", 1);
    let log = cluster.producer();
    log.write("t", 0, 0..100);
    let mut reader = cluster.reader(&["t"]);
    reader.until_count(100);
    reader.until_up("t");
    cluster.tell("fail-fetches unknown");
    log.write("t", 0, 100..200);
    reader.until("the topic is behind", |reader| {
        reader.has_said(|event| {
            matches!(
                event,
                Event::Down {
                    reason: Blindness::Behind { partition: 0, .. },
                    ..
                }
            )
        })
    });
    reader.until("a rebuild", |reader| reader.consumer.status().rebuilds >= 1);
    assert!(reader.consumer.status().topics["t"].partitions[&0].lag == 100);
    cluster.tell("fail-fetches none");
    reader.until_count(200);
    reader.until_up("t");
    assert_eq!(reader.taken[&partition("t", 0)], numbers(0..200));
    assert!(losses(&reader).is_empty());
}

fn losses(reader: &Reader) -> Vec<Lost> {
    reader
        .said
        .iter()
        .filter_map(|event| match event {
            Event::Lost(lost) => Some(lost.clone()),
            _ => None,
        })
        .collect()
}
