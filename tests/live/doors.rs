//! Every door leads to the same engine.

use prost::Message;
use sluice::{event::Span, plan::Plan};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::codec::CompressionEncoding;

use super::{
    payloads::{self, busy, cpu_series, export_grpc, gzip, otlp_cpu, otlp_cpu_json, write_request},
    support::{CONFIGURATION, Rig},
};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    RemoteWrite,
    OtlpHttp,
    OtlpHttpJsonGzip,
    OtlpHttpZstd,
    OtlpGrpc,
    OtlpGrpcGzip,
    OtlpGrpcZstd,
}

const DOORS: [Door; 7] = [
    Door::RemoteWrite,
    Door::OtlpHttp,
    Door::OtlpHttpJsonGzip,
    Door::OtlpHttpZstd,
    Door::OtlpGrpc,
    Door::OtlpGrpcGzip,
    Door::OtlpGrpcZstd,
];

/// Sends the CPU of the door's own host through the door.
async fn send(rig: &Rig, door: Door, value: f64) {
    let host = format!("{door:?}");
    // The middle of the bucket that is open.
    let at = rig.now() + Span::from_seconds(5);
    let grpc = |compression| {
        let request = otlp_cpu(&host, value, at);
        export_grpc(rig.at.otlp_grpc, "metrics", compression, request)
    };
    let otlp = otlp_cpu(&host, value, at).encode_to_vec();
    let status = match door {
        Door::RemoteWrite => {
            let body = write_request(vec![cpu_series(&host, value, at)]);
            rig.remote_write(&[PROTOBUF, ("content-encoding", "snappy")], &body)
                .await
                .status
        }
        Door::OtlpHttp => {
            let answer = rig.otlp("/v1/metrics", &[PROTOBUF], &otlp).await;
            assert_eq!(
                (answer.body.as_slice(), answer.header("content-type")),
                (&[][..], Some(PROTOBUF.1))
            );
            answer.status
        }
        Door::OtlpHttpJsonGzip => {
            let body = gzip(otlp_cpu_json(&host, value, at).as_bytes());
            let answer = rig
                .otlp("/v1/metrics", &[JSON, ("content-encoding", "gzip")], &body)
                .await;
            assert_eq!(
                (answer.text().as_str(), answer.header("content-type")),
                ("{}", Some(JSON.1))
            );
            answer.status
        }
        Door::OtlpHttpZstd => {
            let body = zstd::encode_all(&otlp[..], 0).unwrap();
            rig.otlp(
                "/v1/metrics",
                &[PROTOBUF, ("content-encoding", "zstd")],
                &body,
            )
            .await
            .status
        }
        Door::OtlpGrpc | Door::OtlpGrpcGzip | Door::OtlpGrpcZstd => {
            let compression = match door {
                Door::OtlpGrpcGzip => Some(CompressionEncoding::Gzip),
                Door::OtlpGrpcZstd => Some(CompressionEncoding::Zstd),
                _ => None,
            };
            assert_eq!(grpc(compression).await.unwrap().partial_success, None);
            204
        }
    };
    assert_eq!(
        status,
        if door == Door::RemoteWrite || status == 204 {
            204
        } else {
            200
        }
    );
}

async fn begin(rig: &Rig, stage: &str) {
    let body = format!(
        r#"{{"deployment": "d1", "service": "checkout", "stage": "{stage}", "version": "v2"}}"#
    );
    let answer = rig.post_json("/api/v1/deployments", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["verdict"], "PENDING");
}

#[tokio::test]
async fn a_breach_fails_the_gate_through_whichever_door_it_comes() {
    for bad in DOORS {
        let rig = Rig::new().await;
        begin(&rig, "beta").await;
        for bucket in 0..3 {
            for door in DOORS {
                send(
                    &rig,
                    door,
                    if door == bad && bucket == 2 {
                        0.99
                    } else {
                        busy(rig.now())
                    },
                )
                .await;
            }
            let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
            assert_ne!(verdict["verdict"], "FAIL", "{bad:?}, {bucket}: {verdict}");
            rig.pass(10).await;
        }
        let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
        assert_eq!(verdict["verdict"], "FAIL", "{bad:?}: {verdict}");
        assert_eq!(
            verdict["checks"][0]["hosts"],
            serde_json::json!([format!("{bad:?}")])
        );
        assert_eq!(verdict["progress"], verdict["reasons"][0]);
    }
}

#[tokio::test]
async fn a_covered_bake_and_its_steps_make_a_pass() {
    let rig = Rig::new().await;
    begin(&rig, "beta").await;
    for bucket in 0..7 {
        for door in DOORS {
            send(&rig, door, busy(rig.now())).await;
        }
        rig.pass(10).await;
        if bucket == 4 {
            let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
            assert_eq!(
                (&verdict["verdict"], &verdict["progress"]),
                (&"PENDING".into(), &"50s of 1m".into())
            );
        }
    }
    let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
    assert_eq!(
        (&verdict["verdict"], &verdict["progress"]),
        (&"PENDING".into(), &"step smoke: not reported yet".into())
    );
    let step = r#"{"step": "smoke", "outcome": "passed"}"#;
    let verdict = rig
        .post_json("/api/v1/deployments/d1/steps", step)
        .await
        .json();
    assert_eq!(verdict["verdict"], "PASS", "{verdict}");
    let verdict = rig.post_json("/api/v1/deployments/d1/end", "").await.json();
    assert_eq!(
        (&verdict["verdict"], &verdict["final"]),
        (&"PASS".into(), &true.into())
    );
}

#[tokio::test]
async fn logs_come_in_over_grpc_and_http() {
    for over_grpc in [true, false] {
        let rig = Rig::new().await;
        begin(&rig, "logs").await;
        for _ in 0..2 {
            let request = payloads::otlp_logs("h1", 17, 100, rig.now());
            if over_grpc {
                export_grpc(rig.at.otlp_grpc, "logs", None, request)
                    .await
                    .unwrap();
            } else {
                let body = request.encode_to_vec();
                assert_eq!(rig.otlp("/v1/logs", &[PROTOBUF], &body).await.status, 200);
            }
            rig.pass(10).await;
        }
        let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
        assert_eq!(verdict["verdict"], "FAIL", "{verdict}");
    }
}

#[tokio::test]
async fn metrics_tell_what_came_and_what_was_refused() {
    let rig = Rig::new().await;
    begin(&rig, "beta").await;
    for door in DOORS {
        send(&rig, door, busy(rig.now())).await;
    }
    rig.remote_write(&[PROTOBUF], b"no snappy").await;
    rig.pass(10).await;
    for (series, value) in [
        (
            r#"sluice_received_requests_total{source="remote_write"}"#,
            2.0,
        ),
        (r#"sluice_received_requests_total{source="otlp_grpc"}"#, 3.0),
        (r#"sluice_received_requests_total{source="otlp_http"}"#, 3.0),
        (r#"sluice_decoded_samples_total{source="otlp_grpc"}"#, 3.0),
        (
            r#"sluice_rejected_requests_total{source="remote_write",reason="compression"}"#,
            1.0,
        ),
        (r#"sluice_request_seconds_count{source="otlp_http"}"#, 3.0),
        ("sluice_selected_series", 7.0),
        ("sluice_open_gates", 1.0),
        ("sluice_watermark_lag_seconds", 0.0),
        ("sluice_core_queue_length", 0.0),
        ("sluice_core_queue_bytes", 0.0),
        ("sluice_engine_up", 1.0),
        (r#"sluice_verdict_changes_total{verdict="PENDING"}"#, 1.0),
    ] {
        assert_eq!(rig.metric(series).await, Some(value), "{series}");
    }
    let answer = rig.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    assert!(text.contains("sluice_build_info{version=\""), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let family = line.split(['{', ' ']).next().unwrap();
        let family = family.trim_end_matches("_sum").trim_end_matches("_count");
        assert!(
            text.contains(&format!("# TYPE {family} ")),
            "{line} has no type"
        );
    }
}

#[tokio::test]
async fn log_records_that_are_delivered_again_count_once() {
    let rig = Rig::new().await;
    let time = rig.now().nanos();
    let push = |line: &str| {
        format!(
            r#"{{"streams": [{{"stream": {{"host": "h1", "level": "error"}}, "values": [["{time}", "{line}"]]}}]}}"#
        )
    };
    // The answer to the first was lost on its way.
    for line in ["refused", "refused", "refused", "another"] {
        let answer = rig.post_json("/loki/api/v1/push", &push(line)).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    for (series, value) in [
        (r#"sluice_received_requests_total{source="loki"}"#, 4.0),
        (r#"sluice_decoded_log_records_total{source="loki"}"#, 2.0),
        (r#"sluice_repeated_requests_total{source="loki"}"#, 2.0),
    ] {
        assert_eq!(rig.metric(series).await, Some(value), "{series}");
    }
}

#[tokio::test]
async fn counters_are_zero_before_there_is_anything_to_count() {
    let rig = Rig::new().await;
    for series in [
        r#"sluice_rejected_requests_total{source="loki",reason="malformed"}"#,
        r#"sluice_rejected_samples_total{source="otlp_grpc",reason="no_value"}"#,
        r#"sluice_rejected_samples_total{source="remote_write",reason="late"}"#,
        r#"sluice_rejected_log_records_total{source="loki",reason="no_timestamp"}"#,
        r#"sluice_denied_requests_total{reason="forbidden"}"#,
        r#"sluice_lost_samples_total{reason="late"}"#,
        r#"sluice_verdict_changes_total{verdict="FAIL"}"#,
        "sluice_unselected_series",
    ] {
        assert_eq!(rig.metric(series).await, Some(0.0), "{series}");
    }
}

#[tokio::test]
async fn what_no_check_selects_is_counted_and_some_of_it_named() {
    let rig = Rig::new().await;
    let of =
        |metric: &str| payloads::series(&[("__name__", metric), ("host", "h1")], 1.0, rig.now());
    let body = write_request(vec![
        of("zebra"),
        of("<b>"),
        of("disk_used"),
        cpu_series("h1", busy(rig.now()), rig.now()),
    ]);
    assert!(!rig.get("/").await.text().contains("no check selects"));
    assert_eq!(rig.remote_write(&[], &body).await.status, 204);
    rig.pass(10).await;
    assert_eq!(rig.metric("sluice_unselected_series").await, Some(3.0));
    let page = rig.get("/").await.text();
    let told = "no check selects 3 series, for example &lt;b&gt;, disk_used, zebra";
    assert!(page.contains(told), "{page}");
}

#[tokio::test]
async fn the_page_shows_deployments_and_obeys_no_markup() {
    let rig = Rig::new().await;
    let body =
        r#"{"deployment": "<script>/1", "service": "checkout", "stage": "beta", "version": "<b>"}"#;
    assert_eq!(rig.post_json("/api/v1/deployments", body).await.status, 200);
    let answer = rig.get("/").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let page = answer.text();
    for text in [
        "PENDING",
        "&lt;script&gt;/1",
        "&lt;b&gt;",
        "step smoke: not reported yet",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    assert_eq!(page.matches("<script>").count(), 1, "its own: {page}");
    assert!(!page.contains("<b>"));
    assert_eq!(
        rig.get("/api/v1/deployments/%3Cscript%3E%2F1/verdict")
            .await
            .status,
        200
    );
    assert_eq!(rig.get("/-/healthy").await.status, 200);
    assert_eq!(rig.get("/-/ready").await.status, 200);
}

#[tokio::test]
async fn deployments_are_listed_by_their_service_stage_and_region() {
    let rig = Rig::new().await;
    for (id, stage, region) in [("a", "beta", ""), ("b", "prod", "eu"), ("c", "prod", "us")] {
        let body = format!(
            r#"{{"deployment": "{id}", "service": "checkout", "stage": "{stage}", "region": "{region}", "version": "v2"}}"#
        );
        let answer = rig.post_json("/api/v1/deployments", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    rig.post_json("/api/v1/deployments/c/end", "").await;
    for (filter, expected) in [
        ("", "a b c"),
        ("?service=checkout", "a b c"),
        ("?service=shop", ""),
        ("?stage=prod", "b c"),
        ("?stage=prod&region=us", "c"),
        ("?open_only=true", "a b"),
        ("?stage=&open_only=false", "a b c"),
    ] {
        let listed = rig
            .get(&format!("/api/v1/deployments{filter}"))
            .await
            .json();
        let listed = listed["deployments"].as_array().unwrap();
        let mut ids: Vec<_> = listed
            .iter()
            .map(|verdict| verdict["deployment"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids.join(" "), expected, "{filter}");
    }
    for filter in ["?colour=red", "?open_only=perhaps"] {
        let answer = rig.get(&format!("/api/v1/deployments{filter}")).await;
        assert_eq!(
            (answer.status, &answer.json()["field"]),
            (400, &"query".into())
        );
    }
}

#[tokio::test]
async fn a_verdict_can_be_waited_for() {
    let rig = Rig::new().await;
    begin(&rig, "beta").await;
    let path = "/api/v1/deployments/d1/verdict";
    let now = rig.get(&format!("{path}?wait=0s")).await.json();
    assert_eq!(now["verdict"], "PENDING");
    let failed = async {
        let step = r#"{"step": "smoke", "outcome": "failed"}"#;
        rig.post_json("/api/v1/deployments/d1/steps", step).await
    };
    let waiting = format!("{path}?wait=5m");
    let (waited, _) = tokio::join!(rig.get(&waiting), failed);
    assert_eq!(waited.json()["verdict"], "FAIL");
    for query in [
        "wait=1h",
        "wait=6m",
        "wait=5",
        "wait=",
        "wait=-1s",
        "wait=\u{e9}",
        "wiat=5s",
    ] {
        let query = query.replace('\u{e9}', "%C3%A9");
        let answer = rig.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    let unknown = rig.get("/api/v1/deployments/d9/verdict?wait=5m").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_watch_sends_the_present_then_every_change_until_the_end() {
    let rig = Rig::new().await;
    assert_eq!(rig.get("/api/v1/deployments/d1/watch").await.status, 404);
    begin(&rig, "beta").await;
    let mut stream = TcpStream::connect(rig.at.http).await.unwrap();
    let request =
        "GET /api/v1/deployments/d1/watch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4_096];
    while !seen.contains("PENDING") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "{seen}");
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    assert!(seen.contains("content-type: text/event-stream"), "{seen}");
    let step = r#"{"step": "smoke", "outcome": "failed"}"#;
    rig.post_json("/api/v1/deployments/d1/steps", step).await;
    rig.post_json("/api/v1/deployments/d1/end", "").await;
    stream.read_to_string(&mut seen).await.unwrap();
    let events = seen.matches("event: verdict").count();
    assert!(events >= 2 && seen.contains("\"FAIL\""), "{seen}");
    assert!(!seen.contains("event: error"), "{seen}");
}

#[tokio::test]
async fn two_scopes_with_one_counter_count_together_for_its_host() {
    let text = CONFIGURATION.replace("metric: cpu_busy_ratio", "metric: requests_total");
    let rig = Rig::with(Plan::parse(&text).unwrap(), None).await;
    begin(&rig, "beta").await;
    for bucket in 0..5 {
        // As one SDK sends them: at the same time, with the same attributes.
        let at = rig.now() + Span::from_seconds(5);
        let scope = |name: &str, value: f64| {
            let point =
                serde_json::json!({"timeUnixNano": at.nanos().to_string(), "asDouble": value});
            let sum = serde_json::json!({
                "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point],
            });
            serde_json::json!({
                "scope": {"name": name, "version": "1.0"},
                "metrics": [{"name": "requests_total", "sum": sum}],
            })
        };
        let seconds = f64::from(bucket * 10);
        let host = serde_json::json!({"key": "host.name", "value": {"stringValue": "h1"}});
        let service =
            serde_json::json!({"key": "service.name", "value": {"stringValue": "checkout"}});
        let body = serde_json::json!({"resourceMetrics": [{
            "resource": {"attributes": [host, service]},
            "scopeMetrics": [scope("a", 1000.0 + 10.0 * seconds), scope("b", 10.0 + seconds)],
        }]});
        let answer = rig
            .otlp("/v1/metrics", &[JSON], body.to_string().as_bytes())
            .await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        rig.pass(10).await;
    }
    let verdict = rig.get("/api/v1/deployments/d1/verdict").await.json();
    let check = &verdict["checks"][0];
    assert_eq!(check["metric"], "requests_total", "{check}");
    assert_eq!(check["observed"], 11.0, "{check}");
    assert_eq!(rig.metric("sluice_selected_series").await, Some(2.0));
    assert_eq!(rig.metric("sluice_series_resets_total").await, Some(0.0));
}
