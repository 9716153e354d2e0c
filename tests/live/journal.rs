//! What was recorded is the run: a replay says the same.

use std::{path::Path, sync::Arc};

use prost::Message;
use sluice::{
    engine::{Engine, Input, Output},
    event::Timestamp,
    gate::LineKind,
    journal::{Entry, Reader},
    plan::Plan,
    serve::{
        Ending,
        pb::{BeginRequest, EndRequest, ReportStepRequest, StepOutcome},
    },
};

use super::{
    payloads::{
        busy, cpu_series, export_grpc, gzip, otlp_cpu, otlp_cpu_json, otlp_logs, write_request,
    },
    support::{CONFIGURATION, Rig, line, plan},
};

/// Feeds a fresh engine from a journal; gives the lines of its verdict changes and of its gates.
pub(crate) fn replay(plan: Plan, journal: &Path) -> (Vec<String>, Vec<String>) {
    let plan = Arc::new(plan);
    let limit = plan.limits.decompressed_bytes;
    let mut engine = Engine::new(plan);
    let mut outputs = Vec::new();
    let mut reader = Reader::open(journal).unwrap();
    for entry in reader.by_ref() {
        match entry.unwrap().1 {
            Entry::Batch(body) => {
                engine.step(Input::Batch(&body.decode(limit).unwrap()), &mut outputs);
            }
            Entry::Deployment(event) => engine.step(Input::Deployment(event), &mut outputs),
            Entry::Tick(now) => engine.step(Input::Tick(now), &mut outputs),
            Entry::Plan(change) => {
                let next = change.behind(&engine.plan().digest).unwrap();
                let next = Arc::new(next.expect("the one before was in force"));
                engine.step(Input::Plan(next), &mut outputs);
            }
            Entry::Start(change) => panic!("it was started under {}", change.to_digest),
            Entry::OverLimit(signal) => engine.step(Input::OverLimit(signal), &mut outputs),
            Entry::Consumed(_) | Entry::Lost(_) => panic!("nothing came from Kafka"),
        }
    }
    assert_eq!(reader.torn_tail(), None);
    let changes = outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Verdict(verdict) => Some(line(LineKind::Verdict, *verdict)),
            Output::Refused(_) | Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) => {
                None
            }
        })
        .collect();
    let finals = engine
        .gates()
        .map(|gate| line(LineKind::Final, gate.verdict()))
        .collect();
    (changes, finals)
}

fn begin(id: &str, stage: &str, region: &str, weight: f64) -> BeginRequest {
    BeginRequest {
        deployment: id.to_owned(),
        service: "checkout".to_owned(),
        stage: stage.to_owned(),
        region: region.to_owned(),
        version: "v2".to_owned(),
        weight,
        ..BeginRequest::default()
    }
}

/// Sends a bucket of data through several doors, and some that is refused.
async fn send(rig: &Rig, bucket: u32) {
    let at = rig.now();
    let value = if bucket == 9 {
        0.95
    } else {
        0.5 + f64::from(bucket % 7) / 30.0
    };
    let written = write_request(vec![
        cpu_series("h1", busy(at), at),
        cpu_series("h2", value, at),
    ]);
    assert_eq!(rig.remote_write(&[], &written).await.status, 204);
    assert_eq!(rig.remote_write(&[], b"garbage").await.status, 400);
    let json = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let body = gzip(otlp_cpu_json("h3", busy(at), at).as_bytes());
    assert_eq!(rig.otlp("/v1/metrics", &json, &body).await.status, 200);
    let protobuf = [("content-type", "application/x-protobuf")];
    let body = otlp_logs("h1", 17, 5 + bucket as usize, at).encode_to_vec();
    assert_eq!(rig.otlp("/v1/logs", &protobuf, &body).await.status, 200);
    let request = otlp_cpu("h4", busy(at), at);
    export_grpc(rig.at.otlp_grpc, "metrics", None, request)
        .await
        .unwrap();
}

/// Drives deployments through passes and failures while data comes. Twice the configuration changes, if
/// there is a file for it.
async fn drive(rig: &Rig, file: Option<&Path>) {
    let mut gates = rig.gates().await;
    gates.begin(begin("", "beta", "", 0.1 + 0.2)).await.unwrap();
    gates.begin(begin("logs", "logs", "", 0.0)).await.unwrap();
    let refused = gates.begin(begin("bad", "gamma", "", 0.0)).await;
    assert!(refused.is_err());
    for bucket in 0..12 {
        send(rig, bucket).await;
        let max = [(2, "max: 0.6"), (7, "max: 0.99")];
        let change = max.into_iter().find(|(at, _)| *at == bucket);
        if let (Some(file), Some((_, max))) = (file, change) {
            std::fs::write(file, CONFIGURATION.replace("max: 0.9", max)).unwrap();
            assert!(
                rig.server
                    .reloader()
                    .reload("a test")
                    .await
                    .unwrap()
                    .is_other
            );
            send(rig, bucket).await;
        }
        if bucket == 3 {
            gates.begin(begin("eu", "prod", "eu", 0.0)).await.unwrap();
            let request = ReportStepRequest {
                deployment: "checkout-beta-v2-1".to_owned(),
                step: "smoke".to_owned(),
                outcome: StepOutcome::Passed.into(),
            };
            gates.report_step(request).await.unwrap();
        }
        rig.pass(10).await;
    }
    let deployment = "logs".to_owned();
    gates.end(EndRequest { deployment }).await.unwrap();
}

#[tokio::test]
async fn a_replay_of_the_journal_says_what_the_live_run_said() {
    check(false).await;
}

#[tokio::test]
async fn a_replay_goes_through_changes_of_the_configuration() {
    check(true).await;
}

async fn check(changes: bool) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("live.yaml");
    std::fs::write(&config, CONFIGURATION).unwrap();
    let mut rig = Rig::reading(config.clone(), directory.path().to_owned()).await;
    drive(&rig, changes.then_some(config.as_path())).await;
    let live = rig.lines();
    let by_first = format!("\"config_digest\":\"{}\"", plan().digest);
    let all_by_first = live.iter().all(|line| line.contains(&by_first));
    assert_eq!(all_by_first, !changes, "{live:#?}");
    assert!(live.len() >= 5, "too little happened: {live:#?}");
    for verdict in ["PASS", "FAIL"] {
        let verdict = format!(r#""verdict":"{verdict}""#);
        assert!(live.iter().any(|line| line.contains(&verdict)), "{live:#?}");
    }
    let mut shown = Vec::new();
    for id in ["checkout-beta-v2-1", "eu", "logs"] {
        let path = format!("/api/v1/deployments/{id}/verdict");
        let mut document = rig.get(&path).await.json();
        document.as_object_mut().unwrap().remove("progress");
        shown.push(document);
    }
    assert_eq!(rig.stop().await, Ending::Asked);

    let journal = directory.path().join("journal");
    let (changes, finals) = replay(plan(), &journal);
    assert_eq!(changes, live);
    let untyped = |line: &String| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("type");
        line
    };
    assert_eq!(finals.iter().map(untyped).collect::<Vec<_>>(), shown);

    let file = directory.path().join("sluice.yaml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["replay", "--output", "json", "--config"])
        .args([&file, &journal])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let said: Vec<&str> = live.iter().chain(&finals).map(String::as_str).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), said);
}

#[tokio::test]
async fn records_that_could_not_be_read_are_missing_in_a_replay_as_they_were_live() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = Rig::with(plan(), Some(directory.path().to_owned())).await;
    let mut gates = rig.gates().await;
    gates.begin(begin("logs", "logs", "", 0.0)).await.unwrap();
    let protobuf = [("content-type", "application/x-protobuf")];
    for bucket in 0..8 {
        let healthy = otlp_logs("h1", 9, 1 + bucket % 3, rig.now()).encode_to_vec();
        assert_eq!(rig.otlp("/v1/logs", &protobuf, &healthy).await.status, 200);
        if bucket == 3 {
            // Nothing of this request can be taken, and yet it is remembered.
            let untimely = otlp_logs("h1", 17, 900, Timestamp::from_seconds(0)).encode_to_vec();
            let answer = rig.otlp("/v1/logs", &protobuf, &untimely).await;
            let told = String::from_utf8_lossy(&answer.body);
            assert!(told.contains("no_timestamp (900"), "{told}");
        }
        rig.pass(10).await;
    }
    let live = rig.lines();
    let last = live.last().unwrap();
    let blind = r#""verdict":"NO_DATA""#;
    assert!(
        last.contains(blind) && last.contains("unreadable"),
        "{live:#?}"
    );
    assert_eq!(rig.stop().await, Ending::Asked);
    assert_eq!(replay(plan(), &directory.path().join("journal")).0, live);
}
