//! Reading when nothing breaks.

use std::time::Duration;

use sluice::{
    event::Timestamp,
    plan::{TopicFormat, TopicStart},
    source::kafka::{Event, Message, Positions, decode},
};

use super::support::{Cluster, PACE, Reader, numbers, partition};

#[test]
fn everything_is_read_once_and_in_order() {
    let cluster = Cluster::with_topic("t", 4);
    let log = cluster.producer();
    for number in 0..4 {
        log.write("t", number, 0..2_500);
    }
    let mut reader = cluster.reader(&["t"]);
    reader.until_count(10_000);
    for number in 0..4 {
        log.write("t", number, 2_500..5_000);
    }
    reader.until_count(20_000);
    for number in 0..4 {
        assert_eq!(reader.taken[&partition("t", number)], numbers(0..5_000));
    }
    reader.until_up("t");
    reader.until("an empty lag", |reader| {
        let status = reader.consumer.status();
        let partitions = &status.topics["t"].partitions;
        partitions.len() == 4
            && partitions
                .values()
                .all(|one| (one.messages, one.lag, one.next) == (5_000, 0, 5_000))
    });
    let status = reader.consumer.status();
    assert_eq!((status.rebuilds, status.errors), (0, 0), "{status:?}");
    assert!(
        reader
            .said
            .iter()
            .all(|event| matches!(event, Event::Began { at: 0, .. } | Event::Up { .. }))
    );
    reader.consumer.stop();
}

#[test]
fn what_cannot_be_used_is_counted_for_its_topic() {
    let cluster = Cluster::with_topic("t", 1);
    let reader = cluster.reader(&["t"]);
    for (format, payload) in [
        (TopicFormat::OtlpMetrics, &b"\x0a\xff"[..]),
        (
            TopicFormat::JsonSamples,
            br#"{"name":"m"} {"name":"m","value":1} 7"#,
        ),
        (TopicFormat::JsonLogs, b"no"),
    ] {
        let message = Message {
            offset: 0,
            timestamp: Some(Timestamp::from_seconds(1)),
            payload: payload.into(),
        };
        let decoded = decode(format, &message, 1 << 20);
        reader.consumer.decoded(&partition("t", 0), &decoded);
    }
    let refusals = reader.consumer.status().topics["t"].refusals.clone();
    assert_eq!(
        (refusals.messages, refusals.samples, refusals.logs),
        (1, 2, 1)
    );
    assert!(
        refusals
            .last
            .is_some_and(|last| last.starts_with("1 log record rejected"))
    );
}

#[test]
fn a_topic_that_was_never_read_begins_with_what_comes() {
    let cluster = Cluster::with_topic("t", 2);
    let log = cluster.producer();
    log.write("t", 0, 0..100);
    let plan = cluster.plan(&["t"], TopicStart::Latest);
    let mut reader = Reader::start(plan, PACE, &Positions::new());
    reader.until("both begin", |reader| reader.positions.len() == 2);
    assert_eq!(reader.positions[&partition("t", 0)], 100);
    assert_eq!(reader.positions[&partition("t", 1)], 0);
    log.write("t", 0, 100..200);
    reader.until_count(100);
    assert_eq!(reader.taken[&partition("t", 0)], numbers(100..200));
}

#[test]
fn a_topic_that_comes_later_is_read_from_its_first_message() {
    let mut cluster = Cluster::with_topic("other", 1);
    let plan = cluster.plan(&["other", "t"], TopicStart::Latest);
    let mut reader = Reader::start(plan, PACE, &Positions::new());
    reader.until("the absence is told", |reader| {
        reader.has_said(|event| matches!(event, Event::Down { topic, .. } if &**topic == "t"))
    });
    cluster.tell("create t 3");
    cluster.producer().write("t", 2, 0..50);
    reader.until_count(50);
    assert_eq!(reader.taken[&partition("t", 2)], numbers(0..50));
    reader.until_up("t");
}

#[test]
fn a_slow_taker_loses_nothing_and_is_waited_for() {
    let cluster = Cluster::with_topic("t", 8);
    let log = cluster.producer();
    for number in 0..8 {
        // 4 MiB each: the broker keeps no more than 5.
        log.write_large("t", number, 64, 64 << 10);
    }
    let mut reader = cluster.reader(&["t"]);
    // Nobody takes anything until the consumer has given up waiting.
    let deadline = super::support::now() + super::support::DEADLINE;
    while reader.consumer.status().pauses == 0 {
        assert!(
            super::support::now() < deadline,
            "{:?}",
            reader.consumer.status()
        );
        std::thread::yield_now();
    }
    reader.until_count(8 * 64);
    for number in 0..8 {
        let taken = &reader.taken[&partition("t", number)];
        assert!(taken.iter().map(|(offset, _)| *offset).eq(0..64));
    }
    log.write_large("t", 0, 1, 10);
    reader.until_count(8 * 64 + 1);
    assert_eq!(reader.consumer.status().rebuilds, 0);
}

#[test]
fn a_consumer_ends_soon_when_it_is_told_to_whatever_the_broker_does() {
    let mut cluster = Cluster::with_topic("t", 1);
    cluster.producer().write("t", 0, 0..10);
    let mut reader = cluster.reader(&["t"]);
    reader.until_count(10);
    cluster.tell("down -1");
    let stopped = super::support::meanwhile(move || reader.consumer.stop());
    stopped.recv_timeout(Duration::from_secs(20)).unwrap();
}
