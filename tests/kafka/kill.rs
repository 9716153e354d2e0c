//! kill -9 at random: no message of Kafka is lost, and none is counted twice.

use std::{sync::mpsc::Receiver, time::SystemTime};

use super::{
    engine::{Engine, configured},
    support::{Cluster, DEADLINE, meanwhile, now},
};

const TOPIC: &str = "flat";
const PARTITIONS: i32 = 3;
const ROUNDS: i64 = 200;
const HOSTS: i64 = 50;
const KILLS: u64 = 6;
const TOTAL: u64 = (PARTITIONS as i64 * ROUNDS * HOSTS) as u64;

/// Waits until so many samples are accepted.
fn until_accepted(engine: &Engine, count: u64) -> u64 {
    let deadline = now() + DEADLINE;
    loop {
        let accepted = engine.counter("sluice_accepted_samples_total").unwrap_or(0);
        if accepted >= count {
            return accepted;
        }
        assert!(now() < deadline, "{accepted} of {count} samples in time");
        std::thread::yield_now();
    }
}

/// Writes samples that all differ, as fast as the broker takes them.
fn write(cluster: &Cluster) -> Receiver<()> {
    let log = cluster.producer();
    meanwhile(move || {
        for round in 0..ROUNDS {
            for number in 0..PARTITIONS {
                log.send_all(
                    TOPIC,
                    number,
                    (0..HOSTS).map(|host| sample(number, host, round)),
                );
            }
        }
    })
}

/// A sample of a host of its own partition; each round at another time, all of them now.
#[expect(clippy::disallowed_methods, reason = "samples are of the present")]
fn sample(partition: i32, host: i64, round: i64) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let timestamp = format!("{now}.{round:06}");
    let host = format!("h{partition}-{host}");
    serde_json::json!({
        "timestamp": timestamp,
        "metric": "cpu_busy_ratio",
        "value": 0.5,
        "service": "checkout",
        "host": host,
    })
    .to_string()
    .into_bytes()
}

#[test]
fn kill_minus_nine_loses_no_message_and_counts_none_twice() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS);
    let address = &cluster.address;
    let text = format!(
        r#"# What comes after a restart is cut into pieces, because time waits for it.
limits: {{future: 2s}}
checks: {{cpu: {{metric: cpu_busy_ratio, bounds: {{max: 0.9}}}}}}
services: {{checkout: {{stages: [{{name: prod, bake: 1m, checks: [cpu]}}]}}}}
sources:
  - kafka: {{brokers: ["{address}"], start: earliest, topics: {{{TOPIC}: {{format: json-samples}}}}}}
"#
    );
    let (folder, config) = configured(&text);
    let data_dir = folder.path().join("data");
    let written = write(&cluster);
    let mut accepted = 0;
    for kill in 1..=KILLS {
        let engine = Engine::start(&config, &data_dir);
        // What was accepted before is accepted again, and a little more: then it is killed.
        let wanted = (TOTAL * kill / (KILLS + 1)).max(accepted + 1);
        accepted = until_accepted(&engine, wanted);
        assert!(accepted <= TOTAL, "{accepted} of {TOTAL}");
    }
    written.recv_timeout(DEADLINE).unwrap();
    // What the journal only names cannot be read now: the start waits, and says for what.
    cluster.tell("down -1");
    let engine = Engine::start(&config, &data_dir);
    engine.until_ready_says("waits for Kafka");
    assert_eq!(engine.counter("sluice_accepted_samples_total"), Some(0));
    cluster.tell("up -1");
    engine.until_ready_says("200 OK");
    assert_eq!(until_accepted(&engine, TOTAL), TOTAL);
    assert_eq!(engine.counter("sluice_duplicate_samples_total"), Some(0));
    assert_eq!(
        engine.counter("sluice_rejected_samples_total").unwrap_or(0),
        0
    );
}
