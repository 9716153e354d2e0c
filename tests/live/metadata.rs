//! Metadata of remote write 1.0: what a metric is by its name alone, over restarts.

use std::{path::Path, process::Command};

use serde_json::Value;
use sluice::{event::Timestamp, plan::Plan};
use tempfile::TempDir;

use super::{
    payloads::{TimeSeries, metadata, series, write_request},
    support::{Rig, start},
};

const COUNTER: i32 = 1;
const GAUGE: i32 = 2;

/// Of `jobs` nothing but metadata tells that they are counted.
const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
lateness: 0s
journal: {snapshot_every: 30s}
checks:
  rate: {metric: jobs, bounds: {max: 9/s}}
services:
  checkout: {stages: [{name: beta, bake: 2m, checks: [rate]}]}
"#;

/// What the service has done at a time: four jobs a second on each host.
fn jobs(rig: &Rig) -> Vec<TimeSeries> {
    let now = rig.now();
    let total = 1e6 + 4.0 * (now - start()).seconds_f64();
    let of = |host: &str| {
        let labels = [
            ("__name__", "jobs"),
            ("instance", host),
            ("job", "checkout"),
        ];
        series(&labels, total, now)
    };
    ["h1", "h2"].map(of).to_vec()
}

async fn run(rig: &Rig, buckets: usize) {
    for _ in 0..buckets {
        let written = write_request(jobs(rig));
        assert_eq!(rig.remote_write(&[], &written).await.status, 204);
        rig.pass(10).await;
    }
}

async fn tell(rig: &Rig, kind: i32) {
    let answer = rig.remote_write(&[], &metadata("jobs", kind)).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

async fn begin(rig: &Rig, id: &str) {
    let begin = format!(
        r#"{{"deployment": "{id}", "service": "checkout", "stage": "beta", "version": "{id}"}}"#
    );
    let answer = rig.post_json("/api/v1/deployments", &begin).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn verdict(rig: &Rig, id: &str) -> Value {
    let path = format!("/api/v1/deployments/{id}/verdict");
    let mut document = rig.get(&path).await.json();
    document.as_object_mut().unwrap().remove("progress");
    document
}

#[tokio::test]
async fn what_metadata_tells_counts_over_restarts_and_stands_in_the_journal_once() {
    let directory = TempDir::new().unwrap();
    let data = || Some(directory.path().join("data"));
    let plan = || Plan::parse(CONFIGURATION).unwrap();
    let rig = Rig::with(plan(), data()).await;
    run(&rig, 3).await;
    tell(&rig, COUNTER).await;
    run(&rig, 3).await;
    assert_eq!(rig.metric("sluice_metadata_metrics").await, Some(1.0));

    // The same once more is no news, also to whoever reads the journal or the state.
    let bytes = async |rig: &Rig| rig.metric("sluice_journal_bytes").await.unwrap();
    let before = bytes(&rig).await;
    tell(&rig, COUNTER).await;
    rig.pass(0).await;
    let tick = bytes(&rig).await - before;
    rig.pass(0).await;
    assert_eq!(bytes(&rig).await - before, 2.0 * tick, "a tick is all");
    begin(&rig, "d1").await;
    run(&rig, 1).await;
    let begun = rig.now();
    run(&rig, 5).await;
    let now = rig.now();
    rig.stop().await;
    let rig = Rig::starting(plan(), data(), now).await;
    rig.pass(10).await;
    assert_eq!(rig.metric("sluice_metadata_metrics").await, Some(1.0));
    run(&rig, 8).await;
    let passed = verdict(&rig, "d1").await;
    assert_eq!(passed["verdict"], "PASS", "{passed}");

    // Where senders contradict each other the name decides, as if nobody had told anything: a level.
    begin(&rig, "d2").await;
    run(&rig, 2).await;
    tell(&rig, GAUGE).await;
    run(&rig, 3).await;
    let disputed = rig.metric("sluice_metadata_disputed_metrics").await;
    assert_eq!(disputed, Some(1.0));
    let failed = verdict(&rig, "d2").await;
    assert_eq!(failed["verdict"], "FAIL", "{failed}");
    rig.stop().await;

    let config = directory.path().join("sluice.yaml");
    std::fs::write(&config, CONFIGURATION).unwrap();
    let said = replay(&config, &directory.path().join("data/journal"));
    for live in [&passed, &failed] {
        let line = last(&said, &live["deployment"]);
        assert_eq!(line["reasons"], live["reasons"]);
        assert_eq!(line["since"], live["since"]);
    }
    taken_out(directory.path(), begun, &passed);
}

/// Takes what is there since a time out of the journal in a directory: a deployment that passed does so there.
fn taken_out(directory: &Path, begun: Timestamp, passed: &Value) {
    let config = directory.join("sluice.yaml");
    // A stretch begins with what was told before it; in other formats each series tells it.
    for (command, from) in [("record", begun), ("export", start())] {
        let out = directory.join(command);
        let made = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args([command, "--from", &from.to_string(), "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(directory.join("data"))
            .arg("--out")
            .arg(&out)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let said = replay(&config, &out);
        if command == "record" {
            assert_eq!(last(&said, &passed["deployment"])["verdict"], "PASS");
        } else {
            // What was disputed in the end is told of none.
            assert!(out.join("untold.prom").exists(), "{said}");
        }
    }
}

/// What a replay prints.
fn replay(config: &Path, recording: &Path) -> String {
    let replayed = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["replay", "--output", "json", "--config"])
        .arg(config)
        .arg(recording)
        .output()
        .unwrap();
    String::from_utf8(replayed.stdout).unwrap()
}

/// The final verdict of a deployment in it.
fn last(said: &str, deployment: &Value) -> Value {
    let is_it = |line: &Value| line["type"] == "final" && line["deployment"] == *deployment;
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.into_iter().find(is_it).unwrap()
}
