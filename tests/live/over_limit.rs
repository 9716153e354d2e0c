//! What a limit refuses as a whole leaves a mark, so that no check of such data passes.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use prost::Message;
use serde_json::json;
use sluice::{
    event::Signal,
    journal::{Entry, Reader},
    plan::Plan,
    serve::{Ending, pb::BeginRequest},
};
use tonic::Code;

use super::{
    journal::replay,
    payloads::{
        busy, cpu_series, export_grpc, gzip, otlp_cpu, otlp_cpu_json, otlp_logs, write_request,
    },
    support::{CONFIGURATION, Rig, http},
};

/// A door, and what is sent there.
#[derive(Clone, Copy, Debug)]
enum Door {
    RemoteWrite,
    OtlpHttp,
    OtlpHttpJson,
    OtlpHttpLogs,
    OtlpGrpc,
    OtlpGrpcLogs,
    Loki,
}

impl Door {
    fn signal(self) -> Signal {
        match self {
            Self::RemoteWrite | Self::OtlpHttp | Self::OtlpHttpJson | Self::OtlpGrpc => {
                Signal::Metrics
            }
            Self::OtlpHttpLogs | Self::OtlpGrpcLogs | Self::Loki => Signal::Logs,
        }
    }

    /// Sends a request of hundreds of points or records; says whether it was refused as too large.
    async fn send(self, rig: &Rig) -> bool {
        let at = rig.now();
        let protobuf = ("content-type", "application/x-protobuf");
        let gzipped = ("content-encoding", "gzip");
        let mut metrics: ExportMetricsServiceRequest = otlp_cpu("h1", 0.99, at);
        metrics.resource_metrics = vec![metrics.resource_metrics[0].clone(); 200];
        let logs: ExportLogsServiceRequest = otlp_logs("h1", 17, 600, at);
        let over_http = match self {
            Self::RemoteWrite => {
                let body = write_request(vec![cpu_series("h1", 0.99, at); 200]);
                rig.remote_write(&[], &body).await
            }
            Self::OtlpHttp => {
                let body = gzip(&metrics.encode_to_vec());
                rig.otlp("/v1/metrics", &[protobuf, gzipped], &body).await
            }
            Self::OtlpHttpJson => {
                let body = otlp_cpu_json("h1", 0.99, at).replace(' ', "");
                let body = format!("{}{body}", " ".repeat(20_000));
                let json = ("content-type", "application/json");
                rig.otlp("/v1/metrics", &[json], body.as_bytes()).await
            }
            Self::OtlpHttpLogs => {
                rig.otlp("/v1/logs", &[protobuf], &logs.encode_to_vec())
                    .await
            }
            Self::Loki => {
                let line = json!([at.nanos().to_string(), "it failed"]);
                let stream = json!({"host": "h1", "service": "checkout", "level": "error"});
                let body = json!({"streams": [{"stream": stream, "values": vec![line; 400]}]});
                let json = [("content-type", "application/json")];
                let (path, body) = ("/loki/api/v1/push", body.to_string());
                http(rig.at.http, "POST", path, &json, body.as_bytes()).await
            }
            Self::OtlpGrpc => {
                let sent = export_grpc(rig.at.otlp_grpc, "metrics", None, metrics).await;
                return sent.unwrap_err().code() == Code::ResourceExhausted;
            }
            Self::OtlpGrpcLogs => {
                let sent = export_grpc(rig.at.otlp_grpc, "logs", None, logs).await;
                return sent.unwrap_err().code() == Code::ResourceExhausted;
            }
        };
        over_http.status == 413
    }
}

fn plan(limit: &str) -> Plan {
    let text = format!("{CONFIGURATION}limits: {{{limit}}}\n");
    Plan::parse(&text).expect("the configuration of the test has no faults")
}

async fn begin(rig: &Rig, id: &str, stage: &str, region: &str) {
    let request = BeginRequest {
        deployment: id.to_owned(),
        service: "checkout".to_owned(),
        stage: stage.to_owned(),
        region: region.to_owned(),
        version: "v2".to_owned(),
        ..BeginRequest::default()
    };
    rig.gates().await.begin(request).await.unwrap();
}

/// A bucket of a service that is well.
async fn healthy(rig: &Rig, bucket: usize) {
    let written = write_request(vec![cpu_series("h1", busy(rig.now()), rig.now())]);
    assert_eq!(rig.remote_write(&[], &written).await.status, 204);
    let logs = otlp_logs("h1", 9, 1 + bucket % 3, rig.now()).encode_to_vec();
    let protobuf = [("content-type", "application/x-protobuf")];
    assert_eq!(rig.otlp("/v1/logs", &protobuf, &logs).await.status, 200);
}

async fn reasons(rig: &Rig, id: &str) -> (String, String) {
    let path = format!("/api/v1/deployments/{id}/verdict");
    let verdict = rig.get(&path).await.json();
    let told = verdict["reasons"].to_string();
    (verdict["verdict"].as_str().unwrap().to_owned(), told)
}

/// Runs two deployments, one by metrics and one by logs, of which `refused` says what its check says.
async fn check(door: Door, limit: &str, is_recorded: bool) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = is_recorded.then(|| directory.path().to_owned());
    let mut rig = Rig::with(plan(limit), data_dir.clone()).await;
    begin(&rig, "cpu", "prod", "eu").await;
    begin(&rig, "logs", "logs", "").await;
    for bucket in 0..8 {
        healthy(&rig, bucket).await;
        if bucket == 3 {
            for _ in 0..3 {
                assert!(door.send(&rig).await, "{door:?} {limit}");
            }
        }
        rig.pass(10).await;
    }
    let (blind, other) = match door.signal() {
        Signal::Metrics => ("cpu", "logs"),
        Signal::Logs => ("logs", "cpu"),
    };
    let (state, why) = reasons(&rig, blind).await;
    assert!(
        state == "NO_DATA" && why.contains("request_over_limit"),
        "{door:?} {limit}: {state} {why}"
    );
    let (state, why) = reasons(&rig, other).await;
    assert_eq!(state, "PASS", "{door:?} {limit}: {why}");
    let live = rig.lines();
    let now = rig.now();
    assert_eq!(rig.stop().await, Ending::Asked);
    let Some(data_dir) = data_dir else {
        return;
    };
    let journal = data_dir.join("journal");
    assert_eq!(replay(plan(limit), &journal).0, live);
    let entries = Reader::open(&journal).unwrap();
    let marks = entries.filter_map(|entry| match entry.unwrap().1 {
        Entry::OverLimit(signal) => Some(signal),
        _ => None,
    });
    assert_eq!(
        marks.collect::<Vec<_>>(),
        [door.signal()],
        "one for all three"
    );
    // Whoever begins soon after is blind too, over a restart.
    let rig = Rig::starting(plan(limit), Some(data_dir), now).await;
    let stage = if blind == "cpu" {
        ("prod", "us")
    } else {
        ("logs", "")
    };
    begin(&rig, "next", stage.0, stage.1).await;
    for bucket in 0..8 {
        healthy(&rig, bucket).await;
        rig.pass(10).await;
    }
    let (state, why) = reasons(&rig, "next").await;
    assert!(
        state == "NO_DATA" && why.contains("request_over_limit"),
        "{state} {why}"
    );
    assert_eq!(rig.stop().await, Ending::Asked);
}

#[tokio::test]
async fn what_a_limit_refuses_as_a_whole_is_no_data_at_every_door() {
    for (door, limit) in [
        (Door::RemoteWrite, "request_bytes: 700B"),
        (Door::RemoteWrite, "decompressed_bytes: 8KiB"),
        (Door::RemoteWrite, "samples_per_request: 100"),
        (Door::OtlpHttp, "decompressed_bytes: 8KiB"),
        (Door::OtlpHttpJson, "request_bytes: 8KiB"),
        (Door::OtlpHttpLogs, "samples_per_request: 100"),
        (Door::OtlpGrpc, "request_bytes: 8KiB"),
        (Door::OtlpGrpcLogs, "decompressed_bytes: 8KiB"),
        (Door::Loki, "request_bytes: 8KiB"),
    ] {
        check(door, limit, true).await;
    }
    check(Door::OtlpHttpLogs, "request_bytes: 8KiB", false).await;
}

#[tokio::test]
async fn who_may_not_write_blinds_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "a-token-that-is-long-enough-to-be-one").unwrap();
    let access = format!(
        "access: {{tokens: [{{role: ingest, file: '{}'}}]}}\n",
        token.display()
    );
    let text = format!("{CONFIGURATION}limits: {{request_bytes: 700B}}\n{access}");
    let rig = Rig::with(
        Plan::parse(&text).unwrap(),
        Some(directory.path().join("data")),
    )
    .await;
    let body = write_request(vec![cpu_series("h1", 0.99, rig.now()); 200]);
    assert_eq!(rig.remote_write(&[], &body).await.status, 401);
    let mut large = otlp_cpu("h1", 0.5, rig.now());
    large.resource_metrics = vec![large.resource_metrics[0].clone(); 100];
    let status = export_grpc(rig.at.otlp_grpc, "metrics", None, large).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    rig.pass(10).await;
    assert_eq!(rig.stop().await, Ending::Asked);
    let mut entries = Reader::open(&directory.path().join("data/journal")).unwrap();
    let is_mark = |entry: Entry| matches!(entry, Entry::OverLimit(_));
    assert!(!entries.any(|entry| is_mark(entry.unwrap().1)));
}

#[tokio::test]
async fn what_cannot_be_data_blinds_nobody() {
    let limits = "request_bytes: 8KiB, decompressed_bytes: 64KiB";
    let rig = Rig::with(plan(limits), None).await;
    begin(&rig, "cpu", "prod", "eu").await;
    begin(&rig, "logs", "logs", "").await;
    let noise = vec![0; 100_000];
    let protobuf = ("content-type", "application/x-protobuf");
    let json = ("content-type", "application/json");
    let gzipped = ("content-encoding", "gzip");
    for bucket in 0..8 {
        healthy(&rig, bucket).await;
        if bucket == 3 {
            let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
            for body in [&bomb[..], &noise] {
                assert_eq!(rig.remote_write(&[], body).await.status, 413);
            }
            for (headers, body) in [
                (&[protobuf][..], &noise),
                (&[json], &noise),
                (&[protobuf, gzipped], &noise),
                (&[protobuf, gzipped], &gzip(&noise)),
            ] {
                for path in ["/v1/metrics", "/v1/logs"] {
                    let sent = rig.otlp(path, headers, body).await;
                    assert_eq!(sent.status, 413, "{path} {headers:?}");
                }
            }
            let loki = http(rig.at.http, "POST", "/loki/api/v1/push", &[json], &noise).await;
            assert_eq!(loki.status, 413);
        }
        rig.pass(10).await;
    }
    for deployment in ["cpu", "logs"] {
        let (state, why) = reasons(&rig, deployment).await;
        assert_eq!(state, "PASS", "{deployment}: {why}");
    }
    assert_eq!(rig.stop().await, Ending::Asked);
}
