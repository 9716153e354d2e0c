//! What is wrong is refused with the right status, and the good data beside it counts.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Summary, SummaryDataPoint, metric::Data, summary_data_point},
};
use prost::Message;
use serde_json::{Value, json};
use sluice::event::Timestamp;
use tonic::{Code, codec::CompressionEncoding};
use tonic_types::StatusExt;

use super::{
    payloads::{
        StaleHistogram, WriteRequest, cpu_series, export_bytes, export_grpc, gzip, metadata,
        otlp_cpu, otlp_cpu_json, series, snappy, write_request,
    },
    support::{Answer, Rig, http, plan},
};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");

/// Headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];
/// Method, path, headers, body; status and code of the answer.
type OtlpCase<'a> = (&'a str, &'a str, Headers<'a>, &'a [u8], u16, i32);

fn written(answer: &Answer) -> [Option<&str>; 3] {
    ["samples", "histograms", "exemplars"]
        .map(|kind| answer.header(&format!("x-prometheus-remote-write-{kind}-written")))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
async fn remote_write_answers_with_the_status_that_tells_the_sender_what_to_do() {
    let rig = Rig::new().await;
    let good = write_request(vec![cpu_series("h1", 0.5, rig.now())]);
    let truncated = {
        let whole = WriteRequest {
            series: vec![cpu_series("h1", 0.5, rig.now())],
            metadata: Vec::new(),
        }
        .encode_to_vec();
        snappy(&whole[..whole.len() - 3])
    };
    let bomb: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let v1 = "application/x-protobuf; proto=\"prometheus.WriteRequest\"";
    let cases: [(&str, Headers<'_>, &[u8], u16, &str); 13] = [
        ("good", &[PROTOBUF, SNAPPY], &good, 204, "1"),
        (
            "named 1.0",
            &[("content-type", v1), SNAPPY],
            &good,
            204,
            "1",
        ),
        ("no headers", &[], &good, 204, "1"),
        (
            "metadata",
            &[PROTOBUF, SNAPPY],
            &metadata("cpu", 1),
            204,
            "0",
        ),
        ("empty", &[PROTOBUF, SNAPPY], &snappy(b""), 204, "0"),
        (
            "1.0 that is called 2.0",
            &[("content-type", v2), SNAPPY],
            &good,
            400,
            "0",
        ),
        (
            "another message",
            &[("content-type", "application/x-protobuf;proto=x.Y"), SNAPPY],
            &good,
            415,
            "0",
        ),
        ("json", &[JSON, SNAPPY], &good, 415, "0"),
        (
            "gzip",
            &[PROTOBUF, ("content-encoding", "gzip")],
            &good,
            415,
            "0",
        ),
        ("garbage", &[PROTOBUF, SNAPPY], b"garbage", 400, "0"),
        ("truncated", &[PROTOBUF, SNAPPY], &truncated, 400, "0"),
        ("bomb", &[PROTOBUF, SNAPPY], bomb, 413, "0"),
        ("no body", &[PROTOBUF, SNAPPY], b"", 400, "0"),
    ];
    for (name, headers, body, status, samples) in cases {
        let answer = rig.remote_write(headers, body).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(
            written(&answer),
            [Some(samples), Some("0"), Some("0")],
            "{name}"
        );
        assert_eq!(answer.text().is_empty(), status == 204, "{name}");
    }
    let wrong_method = http(rig.at.http, "GET", "/api/v1/write", &[], b"").await;
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, Some("POST"))
    );
}

#[tokio::test]
async fn a_stale_histogram_is_written_as_a_histogram() {
    let rig = Rig::new().await;
    let mut both = cpu_series("h1", 0.5, rig.now());
    both.histograms.push(StaleHistogram {
        sum: f64::from_bits(sluice::event::Value::STALE_BITS),
        timestamp: rig.now().millis(),
    });
    let body = write_request(vec![both]);
    let answer = rig.remote_write(&[PROTOBUF, SNAPPY], &body).await;
    let expected = [Some("1"), Some("1"), Some("0")];
    assert_eq!((answer.status, written(&answer)), (204, expected));
}

#[tokio::test]
async fn one_bad_sample_does_not_void_its_request() {
    let rig = Rig::new().await;
    let no_name = series(&[("instance", "h1"), ("job", "checkout")], 1.0, rig.now());
    let future = cpu_series("h2", 0.5, rig.now() + sluice::event::Span::from_minutes(6));
    let body = write_request(vec![cpu_series("h1", 0.5, rig.now()), no_name, future]);
    let answer = rig.remote_write(&[PROTOBUF, SNAPPY], &body).await;
    assert_eq!((answer.status, written(&answer)[0]), (400, Some("1")));
    let text = answer.text();
    assert!(
        text.contains("no_metric_name") && text.contains("future (1; farther ahead of the clock"),
        "{text}"
    );
    rig.pass(10).await;
    assert_eq!(rig.metric("sluice_accepted_samples_total").await, Some(1.0));
    let series = r#"sluice_rejected_samples_total{source="remote_write",reason="future"}"#;
    assert_eq!(rig.metric(series).await, Some(1.0));

    // Two points, of which one has a value of a wrong type.
    let mut document: Value = serde_json::from_str(&otlp_cpu_json("h3", 0.5, rig.now())).unwrap();
    let points =
        &mut document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"];
    points
        .as_array_mut()
        .unwrap()
        .push(json!({"timeUnixNano": rig.now().nanos().to_string(), "asDouble": {"no": "number"}}));
    let answer = rig
        .otlp("/v1/metrics", &[JSON], document.to_string().as_bytes())
        .await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some(JSON.1))
    );
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedDataPoints"], "1", "{partial}");
    assert!(
        partial["errorMessage"]
            .as_str()
            .unwrap()
            .contains("asDouble"),
        "{partial}"
    );
    rig.pass(10).await;
    assert_eq!(rig.metric("sluice_accepted_samples_total").await, Some(2.0));

    let late = otlp_cpu("h4", 0.5, rig.now() - sluice::event::Span::from_minutes(1));
    let answer = export_grpc(rig.at.otlp_grpc, "metrics", None, late)
        .await
        .unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!(
        (partial.rejected, partial.error_message.as_str()),
        (1, "1 value dropped: late (1; older than `lateness` allows)")
    );
}

#[tokio::test]
async fn a_request_in_which_nothing_is_found_is_told_so() {
    let rig = Rig::new().await;
    let metrics = otlp_cpu_json("h1", 0.5, rig.now());
    let snake = metrics.replace("resourceMetrics", "resource_metrics");
    for (path, body, field) in [
        ("/v1/logs", &metrics, "resourceLogs"),
        ("/v1/metrics", &snake, "resourceMetrics"),
    ] {
        let answer = rig.otlp(path, &[JSON], body.as_bytes()).await;
        assert_eq!(answer.status, 200);
        let partial = &answer.json()["partialSuccess"];
        let message = partial["errorMessage"].as_str().unwrap();
        assert!(message.contains(field), "{message}");
        assert!(
            partial
                .as_object()
                .unwrap()
                .values()
                .any(|value| value == "0"),
            "{partial}"
        );
    }
    for body in ["{}", r#"{"resourceMetrics":[]}"#] {
        let answer = rig.otlp("/v1/metrics", &[JSON], body.as_bytes()).await;
        assert_eq!(answer.text(), "{}");
    }
}

#[tokio::test]
async fn no_more_data_points_are_told_as_rejected_than_came() {
    let rig = Rig::new().await;
    rig.pass(60).await;
    let late = rig.now() - sluice::event::Span::from_minutes(1);
    let answer = export_grpc(
        rig.at.otlp_grpc,
        "metrics",
        None,
        summary("cpu_busy_ratio", 3, late),
    );
    let partial = answer.await.unwrap().partial_success.unwrap();
    assert_eq!(
        (partial.rejected, partial.error_message.as_str()),
        (
            1,
            "3 values dropped: late (3; older than `lateness` allows); a summary counts once for each of its series"
        )
    );
}

/// A request with one summary of so many quantiles.
fn summary(name: &str, quantiles: usize, at: Timestamp) -> ExportMetricsServiceRequest {
    let mut request = otlp_cpu("h1", 0.5, at);
    let metric = &mut request.resource_metrics[0].scope_metrics[0].metrics[0];
    name.clone_into(&mut metric.name);
    let quantile_values = (0..quantiles).map(|quantile| summary_data_point::ValueAtQuantile {
        quantile: quantile as f64 / 10.0,
        value: 0.5,
    });
    let point = SummaryDataPoint {
        time_unix_nano: at.nanos().cast_unsigned(),
        quantile_values: quantile_values.collect(),
        ..SummaryDataPoint::default()
    };
    let data_points = vec![point];
    metric.data = Some(Data::Summary(Summary { data_points }));
    request
}

#[tokio::test]
async fn otlp_over_http_answers_errors_as_a_status_in_the_syntax_of_the_request() {
    let mut plan = plan();
    plan.limits.request_bytes = 10_000;
    plan.limits.decompressed_bytes = 20_000;
    let rig = Rig::with(plan, None).await;
    let good = otlp_cpu("h1", 0.5, rig.now()).encode_to_vec();
    let cut = &good[..good.len() - 3];
    let large = vec![b' '; 10_001];
    let bomb = gzip(&vec![b' '; 20_001]);
    let gzipped = ("content-encoding", "gzip");
    let text = ("content-type", "text/plain");
    let cases: [OtlpCase<'_>; 10] = [
        ("POST", "/v1/metrics", &[PROTOBUF], cut, 400, 3),
        ("POST", "/v1/metrics", &[JSON], b"{", 400, 3),
        ("POST", "/v1/metrics", &[JSON, gzipped], b"no gzip", 400, 3),
        ("POST", "/v1/logs", &[JSON], b"[]", 400, 3),
        ("POST", "/v1/logs", &[text], b"{}", 415, 3),
        (
            "POST",
            "/v1/logs",
            &[JSON, ("content-encoding", "br")],
            b"{}",
            415,
            3,
        ),
        ("POST", "/v1/logs", &[JSON], &large, 413, 8),
        ("POST", "/v1/logs", &[JSON, gzipped], &bomb, 413, 8),
        ("GET", "/v1/logs", &[JSON], b"", 405, 12),
        ("POST", "/v1/traces", &[JSON], b"{}", 404, 12),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = http(rig.at.otlp_http, method, path, headers, body).await;
        let given = (answer.status, answer.header("retry-after"));
        assert_eq!(
            given,
            (status, None),
            "{path} {headers:?} {:?}",
            answer.body
        );
        let (told, message) = if headers[0] == JSON {
            let document = answer.json();
            (
                document["code"].as_i64().unwrap() as i32,
                document["message"].to_string(),
            )
        } else {
            let status = tonic_types::Status::decode(&answer.body[..]).unwrap();
            (status.code, status.message)
        };
        assert_eq!(told, code, "{path} {headers:?}");
        assert!(!message.is_empty());
    }
    assert_eq!(
        rig.otlp("/v1/metrics", &[PROTOBUF], &good).await.status,
        200
    );
    assert_eq!(rig.otlp("/v1/metrics", &[PROTOBUF], b"").await.status, 200);
}

#[tokio::test]
async fn otlp_over_grpc_never_asks_for_a_bad_message_again() {
    let mut plan = plan();
    plan.limits.decompressed_bytes = 2_000;
    let rig = Rig::with(plan, None).await;
    let mut large = otlp_cpu("h1", 0.5, rig.now());
    large.resource_metrics = vec![large.resource_metrics[0].clone(); 100];
    for compression in [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
    ] {
        let status = export_grpc(rig.at.otlp_grpc, "metrics", compression, large.clone()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_error_details().retry_info().is_none());
    }
    let status = export_bytes(rig.at.otlp_grpc, b"\x0a\xff\x01")
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let series = r#"sluice_rejected_requests_total{source="otlp_grpc",reason="too_large"}"#;
    assert_eq!(rig.metric(series).await, Some(3.0));
    // What the transport lets through and the decoder refuses counts once too.
    let amplified = summary(&"x".repeat(1_000), 10, rig.now());
    let status = export_grpc(rig.at.otlp_grpc, "metrics", None, amplified).await;
    assert_eq!(status.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(rig.metric(series).await, Some(4.0));
    let good = otlp_cpu("h1", 0.5, rig.now());
    export_grpc(rig.at.otlp_grpc, "metrics", None, good)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_limit_on_bytes_as_they_come_holds_over_grpc() {
    let mut plan = plan();
    plan.limits.request_bytes = 1_000;
    let rig = Rig::with(plan, None).await;
    let mut large = otlp_cpu("h1", 0.5, rig.now());
    large.resource_metrics = vec![large.resource_metrics[0].clone(); 100];
    let refused = export_grpc(rig.at.otlp_grpc, "metrics", None, large.clone()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("1000 bytes"), "{refused}");
    let series = r#"sluice_rejected_requests_total{source="otlp_grpc",reason="too_large"}"#;
    assert_eq!(rig.metric(series).await, Some(1.0));
    let gzip = Some(CompressionEncoding::Gzip);
    export_grpc(rig.at.otlp_grpc, "metrics", gzip, large)
        .await
        .unwrap();
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn the_json_api_names_what_is_wrong() {
    let rig = Rig::new().await;
    let begin = |change: &str| {
        let mut body =
            json!({"deployment": "d1", "service": "checkout", "stage": "beta", "version": "v2"});
        let change: Value = serde_json::from_str(change).unwrap();
        for (field, value) in change.as_object().unwrap() {
            body[field] = value.clone();
        }
        ("/api/v1/deployments", body.to_string())
    };
    let steps = |id: &str, step: &str| {
        let body = json!({"step": step, "outcome": "passed"}).to_string();
        (format!("/api/v1/deployments/{id}/steps"), body)
    };
    let ok = begin("{}");
    assert_eq!(rig.post_json(ok.0, &ok.1).await.status, 200);
    assert_eq!(
        rig.post_json(ok.0, &ok.1).await.status,
        200,
        "a repeated begin is the same"
    );
    for ((path, body), status, field) in [
        (
            begin(r#"{"deployment": "d2", "service": "shop"}"#),
            404,
            "service",
        ),
        (
            begin(r#"{"deployment": "d2", "stage": "gamma"}"#),
            404,
            "stage",
        ),
        (
            begin(r#"{"deployment": "d2", "stage": "prod"}"#),
            400,
            "region",
        ),
        (
            begin(r#"{"deployment": "d2", "stage": "prod", "region": "mars"}"#),
            400,
            "region",
        ),
        (begin(r#"{"version": "v3"}"#), 409, "deployment"),
        (begin(r#"{"version": ""}"#), 400, "version"),
        (begin(r#"{"version": 3}"#), 400, "version"),
        (begin(r#"{"weight": 0}"#), 400, "weight"),
        (begin(r#"{"deployment": "a\u0007"}"#), 400, "deployment"),
        (
            begin(r#"{"deployment": "d2", "one_box": ["h1"], "fleet": ["h1"]}"#),
            400,
            "fleet",
        ),
        (begin(r#"{"colour": "red"}"#), 400, "colour"),
        (("/api/v1/deployments", "no json".to_owned()), 400, "body"),
    ] {
        let answer = rig.post_json(path, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_eq!(answer.json()["field"], field, "{}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
    for ((path, body), status, field) in [
        (steps("d1", "load-test"), 400, "step"),
        (steps("d9", "smoke"), 404, "deployment"),
        (
            ("/api/v1/deployments/d9/end".to_owned(), String::new()),
            404,
            "deployment",
        ),
    ] {
        let answer = rig.post_json(&path, &body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_eq!(answer.json()["field"], field, "{}", answer.text());
    }
    let answer = rig.get("/api/v1/deployments/d9/verdict").await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("d9"));
    rig.post_json("/api/v1/deployments/d1/end", "").await;
    let (path, body) = steps("d1", "smoke");
    assert_eq!(rig.post_json(&path, &body).await.status, 409);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
async fn every_error_of_the_http_door_is_json_that_names_what_is_wrong() {
    let rig = Rig::new().await;
    for (path, status, told) in [
        (
            "/api/v2/deployments",
            404,
            "nothing is at /api/v2/deployments",
        ),
        ("/-/reload", 405, "/-/reload does not take GET"),
        (
            "/api/v1/deployments/%ff/verdict",
            400,
            "deployment of the path is no UTF-8",
        ),
        (
            "/api/v1/may-promote?service=checkout&version=v2&to_region=eu",
            400,
            "to_stage is missing",
        ),
        ("/api/v1/may-promote?version=v2", 400, "service is missing"),
        (
            "/api/v1/may-promote?service=checkout",
            400,
            "version is missing",
        ),
        (
            "/api/v1/may-promote?service=shop&version=v2",
            404,
            "\"shop\"",
        ),
        (
            "/api/v1/deployments?page_size=-1",
            400,
            "page_size is negative",
        ),
        (
            "/api/v1/deployments?page_token=x",
            400,
            "page_token is none",
        ),
        (
            "/api/v1/deployments?colour=red",
            400,
            "query cannot be read: colour: unknown field",
        ),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(told), "{path}: {error}");
        assert!(!error.contains("deserialize"), "{path}: {error}");
    }
    for (change, field) in [
        (json!({"one_box": ["h1", ""]}), "one_box[1]"),
        (json!({"fleet": [" "]}), "fleet[0]"),
        (json!({"version": " "}), "version"),
        (json!({"deployment": " "}), "deployment"),
    ] {
        let mut body = json!({"service": "checkout", "stage": "beta", "version": "v2"});
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let answer = rig
            .post_json("/api/v1/deployments", &body.to_string())
            .await;
        assert_eq!(answer.status, 400, "{change}: {}", answer.text());
        assert_eq!(answer.json()["field"], field, "{}", answer.text());
    }
    let allowed = rig
        .get("/api/v1/may-promote?service=checkout&version=v2")
        .await;
    let allowed = allowed.json();
    assert_eq!(allowed["to"]["stage"], allowed["to_stage"], "{allowed}");
    assert_eq!(allowed["to_region"], "", "{allowed}");
}

#[tokio::test]
async fn another_persons_bypass_does_not_pass_for_the_one_that_stands() {
    let rig = Rig::new().await;
    let begin =
        json!({"deployment": "d1", "service": "checkout", "stage": "beta", "version": "v2"});
    rig.post_json("/api/v1/deployments", &begin.to_string())
        .await;
    let bypass = |by: &str| json!({"by": by, "reason": "why", "ticket": "OPS-1"}).to_string();
    let path = "/api/v1/deployments/d1/bypass";
    for (by, status) in [("ana", 200), ("ana", 200), ("ben", 409)] {
        let answer = rig.post_json(path, &bypass(by)).await;
        assert_eq!(answer.status, status, "{by}: {}", answer.text());
        assert!(answer.text().contains("ana"), "{}", answer.text());
    }
}
