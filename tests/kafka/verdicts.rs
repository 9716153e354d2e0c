//! Changes of verdicts as messages: all of them, in order, over outages and `kill -9`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    deployments::{begin, end, step},
    engine::{Engine, configured},
    support::{Cluster, Reader},
};

const TOPIC: &str = "verdicts";
const PARTITIONS: i32 = 3;
/// A page that is under way when the engine is killed comes twice.
const PAGE: usize = 100;

/// A cluster, and an engine that writes to it and reads nothing of it.
struct World {
    cluster: Cluster,
    folder: TempDir,
    config: PathBuf,
}

impl World {
    fn new(properties: &str) -> Self {
        let cluster = Cluster::with_topic(TOPIC, PARTITIONS);
        let address = &cluster.address;
        let text = format!(
            r#"checks: {{}}
services: {{checkout: {{stages: [{{name: prod, steps: [smoke]}}]}}}}
sinks:
  - kafka: {{brokers: ["{address}"], topic: {TOPIC}, properties: {{reconnect.backoff.max.ms: 200{properties}}}}}
"#
        );
        let (folder, config) = configured(&text);
        Self {
            cluster,
            folder,
            config,
        }
    }

    fn engine(&self) -> Engine {
        let engine = Engine::start(&self.config, &self.folder.path().join("data"));
        engine.until_ready_says("200 OK");
        engine
    }
}

/// Deployments that each change their verdict at least twice.
fn deploy(engine: &Engine, version: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let id = format!("d{number}");
        let mut body = begin(&id, "checkout", "prod");
        body["version"] = json!(version);
        body.as_object_mut().unwrap().remove("event");
        engine.post("/api/v1/deployments", &body);
        let mut body = step(&id, if number % 2 == 0 { "failed" } else { "passed" });
        body.as_object_mut()
            .unwrap()
            .retain(|key, _| key == "step" || key == "outcome");
        engine.post(&format!("/api/v1/deployments/{id}/steps"), &body);
        assert_eq!(end(&id)["event"], "end");
        engine.post(&format!("/api/v1/deployments/{id}/end"), &json!({}));
    }
}

/// Waits until the topic has everything that the history has, and gives what comes twice. All that is
/// said of one deployment stands in one partition, and in the order of the history.
fn compare(engine: &Engine, reader: &mut Reader) -> usize {
    let history = engine.history("verdict");
    let wanted: BTreeSet<u64> = history.iter().map(seq).collect();
    reader.until("all changes of verdicts", |reader| {
        let told: BTreeSet<u64> = messages(reader).values().flatten().map(seq).collect();
        wanted.is_subset(&told)
    });
    let history: BTreeMap<u64, Value> = history.into_iter().map(|one| (seq(&one), one)).collect();
    let (mut seen, mut twice) = (BTreeMap::new(), 0);
    for (partition, messages) in messages(reader) {
        let mut last = 0;
        for message in messages {
            let number = seq(&message);
            assert_eq!(
                Some(&message),
                history.get(&number),
                "it is what the history tells"
            );
            let id = message["deployment"].as_str().unwrap().to_owned();
            let stands = *seen.entry(id).or_insert(partition);
            assert_eq!(stands, partition, "{message}");
            if number <= last {
                twice += 1;
            }
            last = last.max(number);
        }
    }
    // What came twice came behind all that is before it, too.
    for messages in messages(reader).into_values() {
        let mut first = BTreeSet::new();
        let firsts = messages.iter().map(seq).filter(|seq| first.insert(*seq));
        assert!(firsts.is_sorted());
    }
    twice
}

fn messages(reader: &Reader) -> BTreeMap<i32, Vec<Value>> {
    let parsed = |(_, text): &(i64, String)| serde_json::from_str(text).unwrap();
    let taken = reader.taken.iter();
    taken
        .map(|(partition, messages)| (partition.number, messages.iter().map(parsed).collect()))
        .collect()
}

fn seq(record: &Value) -> u64 {
    record["seq"].as_u64().unwrap()
}

#[test]
fn every_change_of_a_verdict_is_written_also_when_the_brokers_were_away() {
    let mut world = World::new("");
    let engine = world.engine();
    let mut reader = world.cluster.reader(&[TOPIC]);
    deploy(&engine, "v2", 0..20);
    assert_eq!(compare(&engine, &mut reader), 0);
    world.cluster.tell("down -1");
    deploy(&engine, "v2", 20..200);
    engine.until("the sink says that it fails", |engine| {
        let failed = engine.counter("sluice_sink_failed_total{sink=\"kafka\"}")?;
        (0 < failed).then_some(())
    });
    let waiting = engine.counter("sluice_sink_queue{sink=\"kafka\"}");
    assert!(waiting.is_some_and(|waiting| 0 < waiting), "{waiting:?}");
    world.cluster.tell("up -1");
    assert_eq!(compare(&engine, &mut reader), 0);
    let changes = engine.history("verdict").len() as u64;
    assert!(400 <= changes, "{changes}");
    engine.until("nothing waits", |engine| {
        let waiting = engine.counter("sluice_sink_queue{sink=\"kafka\"}")?;
        (waiting == 0).then_some(())
    });
    let sent = engine.counter("sluice_sink_sent_total{sink=\"kafka\"}");
    assert_eq!(sent, Some(changes));
}

#[test]
fn kill_minus_nine_loses_no_change_of_a_verdict() {
    const KILLS: usize = 4;
    const EACH: usize = 60;
    let mut world = World::new("");
    for kill in 0..KILLS {
        let engine = world.engine();
        if kill == KILLS - 1 {
            // These are told by the next start only.
            world.cluster.tell("down -1");
        }
        deploy(&engine, "v2", kill * EACH..(kill + 1) * EACH);
    }
    let engine = world.engine();
    world.cluster.tell("up -1");
    let mut reader = world.cluster.reader(&[TOPIC]);
    let twice = compare(&engine, &mut reader);
    assert!(twice <= KILLS * PAGE, "{twice}");
    assert!(2 * KILLS * EACH <= engine.history("verdict").len());
}

#[test]
fn what_the_brokers_never_take_holds_nothing_else_up() {
    let world = World::new(", message.max.bytes: 1500");
    let engine = world.engine();
    let mut reader = world.cluster.reader(&[TOPIC]);
    deploy(&engine, &"v".repeat(500), 0..2);
    deploy(&engine, "v3", 2..4);
    let changes = |wanted: fn(&str) -> bool| {
        let history = engine.history("verdict").into_iter();
        history
            .filter(|record| wanted(record["version"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let short = changes(|version| version == "v3");
    reader.until_count(short.len());
    let told: Vec<Value> = messages(&reader).into_values().flatten().collect();
    assert_eq!(told.len(), short.len());
    assert!(short.iter().all(|record| told.contains(record)));
    let refused = "sluice_sink_dropped_total{sink=\"kafka\",reason=\"refused\"}";
    let long = changes(|version| version != "v3").len() as u64;
    assert_eq!(engine.counter(refused), Some(long));
}
