//! Deployment events over Kafka: what they do, what has no effect, and that none counts twice or is lost.

use std::{
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use sluice::event::Timestamp;
use tempfile::TempDir;

use super::{
    engine::{Engine, configured},
    support::{Cluster, DEADLINE, Log, meanwhile},
};

const EVENTS: &str = "deploys";
const PARTITIONS: i32 = 2;

/// A cluster, and a configuration that reads samples and deployment events of it.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    folder: TempDir,
    config: PathBuf,
}

impl World {
    pub(crate) fn new(more: &str) -> Self {
        let mut cluster = Cluster::with_topic("samples", 1);
        cluster.tell(&format!("create {EVENTS} {PARTITIONS}"));
        cluster.tell("create admin 1");
        let address = &cluster.address;
        let text = format!(
            r#"resolution: 1s
lateness: 1s
checks: {{cpu: {{metric: cpu_busy_ratio, bounds: {{max: 0.9}}}}}}
services:
  checkout:
    stages:
      - {{name: prod, steps: [smoke], bake: 4s, checks: [cpu]}}
      - {{name: long, bake: 1h, checks: [cpu]}}
  hot: {{stages: [{{name: prod, steps: [smoke], bake: 4s, checks: [cpu]}}]}}
sources:
  - kafka:
      brokers: ["{address}"]
      start: earliest
      topics:
        samples: {{format: json-samples}}
        {EVENTS}: {{format: json-deployments}}
        admin: {{format: json-deployments, overrides: true}}
{}
"#,
            more.replace("BROKER", address)
        );
        let (folder, config) = configured(&text);
        Self {
            cluster,
            folder,
            config,
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        let engine = Engine::start(&self.config, &self.folder.path().join("data"));
        engine.until_ready_says("200 OK");
        engine
    }
}

/// Hosts that tell of themselves until this is dropped.
pub(crate) struct Hosts {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hosts {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let (stop, stopped) = mpsc::channel();
        let log = cluster.producer();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(250)) == Err(RecvTimeoutError::Timeout)
            {
                let at = seconds();
                let samples = [("checkout", "c1", 0.5), ("hot", "h1", 0.95)];
                let samples = samples.map(|(service, host, value)| {
                    // A value that never moves is no proof of life.
                    let value = value + at.fract() / 100.0;
                    let sample = json!({
                        "timestamp": at, "metric": "cpu_busy_ratio", "value": value,
                        "service": service, "host": host,
                    });
                    sample.to_string().into_bytes()
                });
                log.send_all("samples", 0, samples.into_iter());
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "samples are of the present")]
fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

pub(crate) fn begin(id: &str, service: &str, stage: &str) -> Value {
    json!({
        "event": "begin", "deployment": id, "service": service, "stage": stage, "version": "v2",
    })
}

pub(crate) fn step(id: &str, outcome: &str) -> Value {
    json!({"event": "step", "deployment": id, "step": "smoke", "outcome": outcome})
}

fn bypass(id: &str) -> Value {
    json!({"event": "bypass", "deployment": id, "by": "ana", "reason": "r", "ticket": "OPS-1"})
}

pub(crate) fn end(id: &str) -> Value {
    json!({"event": "end", "deployment": id})
}

pub(crate) fn tell(log: &Log, topic: &str, partition: i32, events: &[Value]) {
    let messages = events.iter().map(|event| event.to_string().into_bytes());
    log.send_all(topic, partition, messages);
}

fn outcomes(engine: &Engine, topic: &str) -> [u64; 4] {
    ["taken", "unreadable", "not_allowed", "refused"].map(|outcome| {
        let name = format!(
            "sluice_kafka_deployment_events_total{{topic=\"{topic}\",outcome=\"{outcome}\"}}"
        );
        engine.counter(&name).unwrap_or(0)
    })
}

/// What a final verdict says, without what differs by the moment.
fn outline(verdict: &Value) -> Value {
    let checks = verdict["checks"].as_array().unwrap();
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| json!([check["check"], check["state"], check["hosts"]]))
        .collect();
    json!([verdict["verdict"], verdict["final"], checks])
}

#[test]
fn a_deployment_over_kafka_alone_is_judged_like_one_over_http() {
    let world = World::new("");
    let _hosts = Hosts::of(&world.cluster);
    let log = world.cluster.producer();
    let engine = world.engine();
    for (name, service, outcome, expected) in [
        ("good", "checkout", "passed", "PASS"),
        ("broken", "checkout", "failed", "FAIL"),
        ("hot", "hot", "passed", "FAIL"),
    ] {
        let (kafka, http) = (format!("{name}-kafka"), format!("{name}-http"));
        let events = [begin(&kafka, service, "prod"), step(&kafka, outcome)];
        tell(&log, EVENTS, 0, &events);
        let mut body = begin(&http, service, "prod");
        body.as_object_mut().unwrap().remove("event");
        engine.post("/api/v1/deployments", &body);
        let body = json!({"step": "smoke", "outcome": outcome});
        engine.post(&format!("/api/v1/deployments/{http}/steps"), &body);
        let [over_kafka, over_http] = [&kafka, &http].map(|id| {
            engine.until(&format!("the end of {id}"), |engine| {
                let verdict = engine.verdict(id)?;
                let is_over = verdict["verdict"] == "PASS" || verdict["verdict"] == "FAIL";
                is_over.then_some(verdict)
            })
        });
        assert_eq!(over_kafka["verdict"], expected, "{over_kafka}");
        assert_eq!(outline(&over_kafka), outline(&over_http));
        tell(&log, EVENTS, 0, &[end(&kafka)]);
        engine.until("the end in the history", |engine| {
            let ends = engine.history("end");
            ends.iter()
                .any(|end| end["deployment"] == *kafka)
                .then_some(())
        });
    }
    engine.until("all events are counted", |engine| {
        (outcomes(engine, EVENTS) == [9, 0, 0, 0]).then_some(())
    });
}

#[test]
fn what_has_no_effect_is_counted_and_costs_nothing_else() {
    let world = World::new("");
    let log = world.cluster.producer();
    let engine = world.engine();
    let at = seconds();
    let timed = |mut event: Value, at: f64| {
        event["at"] = json!(at);
        event
    };
    let mut hotfix = begin("d2", "checkout", "prod");
    hotfix["hotfix"] = json!({"by": "ana", "reason": "r", "ticket": "t", "expires": at + 1e6});
    let bodies = [
        "{not json".to_owned(),
        begin("d1", "checkout", "prod").to_string(),
        begin("nowhere", "no-such-service", "prod").to_string(),
        // Lines and lists, of which one is bad.
        format!("{}\n7\n{}", step("d1", "passed"), end("unknown")),
        json!([begin("d3", "checkout", "prod"), {"event": "stop"}, bypass("d1")]).to_string(),
        hotfix.to_string(),
        timed(step("d1", "failed"), at + 1e6).to_string(),
        // A conflict, and what is told again.
        begin("d1", "hot", "prod").to_string(),
        begin("d1", "checkout", "prod").to_string(),
        String::new(),
        // Too many for one message: that is refused as one.
        format!("{}\n", step("d1", "passed")).repeat(257),
        timed(begin("early", "checkout", "prod"), at - 1e6).to_string(),
        step("d3", "passed").to_string(),
    ];
    log.send_all(EVENTS, 1, bodies.map(String::into_bytes).into_iter());
    let expected = [6, 5, 2, 3];
    let total = expected.iter().sum::<u64>();
    engine.until("all messages", |engine| {
        (outcomes(engine, EVENTS).iter().sum::<u64>() == total).then_some(())
    });
    assert_eq!(outcomes(&engine, EVENTS), expected);
    let verdict = engine.verdict("d1").unwrap();
    let verdict = verdict["verdict"].as_str().unwrap();
    assert!(["PENDING", "NO_DATA"].contains(&verdict), "{verdict}");
    assert!(engine.verdict("d2").is_none() && engine.verdict("nowhere").is_none());
    assert_eq!(engine.history("step").len(), 2);
    // A bake that would be over before it began to be seen begins now.
    let early = engine.history("begin").into_iter();
    let early = early.last().unwrap();
    let began_at: Timestamp = early["at"].as_str().unwrap().parse().unwrap();
    assert!(at - 60.0 < began_at.seconds_f64(), "{early}");
    // Only where the configuration says so a topic may override.
    tell(&log, "admin", 0, &[bypass("d1"), bypass("d1"), hotfix]);
    engine.until("the bypass", |engine| {
        (engine.verdict("d1")?["verdict"] == "BYPASSED").then_some(())
    });
    engine.until("the hotfix", |engine| engine.verdict("d2"));
    engine.until("the overrides are counted", |engine| {
        (outcomes(engine, "admin") == [3, 0, 0, 0]).then_some(())
    });
    assert_eq!(outcomes(&engine, EVENTS), expected);
}

#[test]
fn kill_minus_nine_loses_no_event_and_counts_none_twice() {
    const DEPLOYMENTS: usize = 240;
    const KILLS: usize = 5;
    let world = World::new("limits: {open_gates: 1000}");
    let log = world.cluster.producer();
    let written = meanwhile(move || {
        for number in 0..DEPLOYMENTS {
            let id = format!("d{number}");
            let events = [
                begin(&id, "checkout", "prod"),
                step(&id, "passed"),
                end(&id),
            ];
            tell(&log, EVENTS, number as i32 % PARTITIONS, &events);
        }
    });
    for kill in 1..=KILLS {
        let engine = Engine::start(&world.config, &world.folder.path().join("data"));
        let wanted = (3 * DEPLOYMENTS * kill / (KILLS + 1)) as u64;
        engine.until("some more events", |engine| {
            let events = engine.counter("sluice_deployment_events_total")?;
            (wanted <= events).then_some(())
        });
    }
    written.recv_timeout(DEADLINE).unwrap();
    let engine = world.engine();
    let total = 3 * DEPLOYMENTS as u64;
    engine.until("all events", |engine| {
        let events = engine.counter("sluice_deployment_events_total")?;
        (total <= events).then_some(())
    });
    // What is told twice would be counted, or refused as of an ended deployment.
    for (name, count) in [
        ("sluice_deployment_events_total", total),
        ("sluice_refused_deployment_events_total", 0),
    ] {
        assert_eq!(engine.counter(name), Some(count), "{name}");
    }
    for kind in ["begin", "step", "end"] {
        let records = engine.history(kind);
        let mut ids: Vec<&str> = records
            .iter()
            .map(|record| record["deployment"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(
            (ids.len(), records.len()),
            (DEPLOYMENTS, DEPLOYMENTS),
            "{kind}"
        );
    }
}

#[test]
fn events_that_the_brokers_removed_are_told_and_are_no_hole_in_the_data() {
    let mut world = World::new("");
    let hosts = Hosts::of(&world.cluster);
    let log = world.cluster.producer();
    let engine = world.engine();
    tell(&log, EVENTS, 0, &[begin("d1", "checkout", "long")]);
    let covered = |engine: &Engine| {
        let verdict = engine.verdict("d1")?;
        (verdict["checks"][0]["state"] == "ok").then_some(verdict)
    };
    engine.until("the check is covered", covered);
    drop(engine);
    // The broker keeps 5 MiB of a partition.
    log.write_large(EVENTS, 0, 160, 64 << 10);
    tell(&log, EVENTS, 0, &[begin("d2", "checkout", "long")]);
    let engine = world.engine();
    engine.until("what comes behind", |engine| engine.verdict("d2"));
    let lost = engine.counter(&format!(
        "sluice_kafka_lost_offsets_total{{topic=\"{EVENTS}\",reason=\"removed\"}}"
    ));
    assert!(lost.is_some_and(|lost| 0 < lost), "{lost:?}");
    engine.until("the check is covered again", covered);
    // Nor is it when they are away: of the samples it is.
    world.cluster.tell(&format!("leader {EVENTS} 0 none"));
    engine.until("the topic is not seen", |engine| {
        let name = format!("sluice_kafka_topic_up{{topic=\"{EVENTS}\"}}");
        (engine.counter(&name) == Some(0)).then_some(())
    });
    // Some buckets that were closed without the topic, and the verdict with them.
    let watermark = |verdict: &Value| {
        let watermark: Timestamp = verdict["watermark"].as_str().unwrap().parse().unwrap();
        watermark.seconds_f64()
    };
    let unseen_from = watermark(&engine.verdict("d1").unwrap());
    let verdict = engine.until("some buckets further", |engine| {
        let verdict = engine.verdict("d1")?;
        (unseen_from + 5.0 <= watermark(&verdict)).then_some(verdict)
    });
    assert_eq!(verdict["verdict"], "PENDING", "{verdict}");
    drop(hosts);
}

/// Whose data it held nobody knows, and after a restart it is refused once more.
#[test]
fn a_message_over_a_limit_blinds_whoever_looks_at_such_data() {
    let world = World::new("limits: {samples_per_request: 20}");
    let _hosts = Hosts::of(&world.cluster);
    let log = world.cluster.producer();
    let is_blind = |engine: &Engine, id: &str| {
        engine.until(&format!("{id} is blind"), |engine| {
            let verdict = engine.verdict(id)?;
            let reasons = verdict["reasons"].to_string();
            (verdict["verdict"] == "NO_DATA" && reasons.contains("request_over_limit"))
                .then_some(())
        });
    };
    let engine = world.engine();
    tell(&log, EVENTS, 0, &[begin("d1", "checkout", "long")]);
    engine.until("data comes", |engine| {
        let verdict = engine.verdict("d1")?;
        (verdict["checks"][0]["state"] == "ok").then_some(())
    });
    let sample = json!({
        "timestamp": seconds(), "metric": "cpu_busy_ratio", "value": 0.99, "service": "checkout", "host": "c1",
    });
    let large = Value::Array(vec![sample; 21]).to_string().into_bytes();
    log.send_all("samples", 0, std::iter::once(large));
    is_blind(&engine, "d1");
    // It is killed.
    drop(engine);
    let engine = world.engine();
    tell(
        &log,
        EVENTS,
        0,
        &[begin("d2", "checkout", "prod"), step("d2", "passed")],
    );
    is_blind(&engine, "d1");
    is_blind(&engine, "d2");
}
