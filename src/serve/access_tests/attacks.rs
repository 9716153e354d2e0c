//! What somebody tries who has a token of another role, the password of a browser, or none.

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request, transport::Endpoint};

use super::{ADMIN, DEPLOY, INGEST, configuration, exchange, guarded, http, settings, status};
use crate::{
    plan::Plan,
    serve::{Server, pb, url::percent_encode},
};

#[tokio::test]
async fn the_health_of_a_gate_is_for_readers() {
    let (server, _directory) = guarded().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addresses().grpc)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some(INGEST), Code::PermissionDenied),
        (Some(DEPLOY), Code::Ok),
    ] {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let mut request = Request::new(tonic_health::pb::HealthCheckRequest {
            service: "gate/web/unit".to_owned(),
        });
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let given = health
            .check(request)
            .await
            .map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(given, code, "{token:?}");
    }
}

#[tokio::test]
async fn a_one_box_cannot_open_end_or_step_its_own_deployment() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let begin = r#"{"deployment": "d1", "service": "web", "stage": "unit", "version": "v2"}"#;
    let begun = http(at, "POST /api/v1/deployments", Some(DEPLOY), begin).await;
    assert_eq!(status(&begun), 200, "{begun}");
    let own = begin.replace("d1", "d2");
    for (request, body) in [
        ("POST /api/v1/deployments", own.as_str()),
        (
            "POST /api/v1/deployments/d1/steps",
            r#"{"step": "tests", "outcome": "passed"}"#,
        ),
        ("POST /api/v1/deployments/d1/end", ""),
        ("GET /api/v1/deployments/d1/verdict", ""),
    ] {
        let answer = http(at, request, Some(INGEST), body).await;
        assert_eq!(status(&answer), 403, "{request}: {answer}");
    }
    let list = http(
        at,
        "GET /api/v1/deployments?open_only=true",
        Some(ADMIN),
        "",
    )
    .await;
    assert!(
        list.contains("\"d1\"") && list.contains("PENDING"),
        "{list}"
    );
    assert!(!list.contains("\"d2\""), "{list}");
}

#[tokio::test]
async fn a_hotfix_is_for_those_who_may_override() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let begin = r#"{"deployment": "d1", "service": "web", "stage": "unit", "version": "v2", "hotfix":
        {"by": "ana", "reason": "outage", "ticket": "OPS-1", "expires": "2100-01-01T00:00:00Z"}}"#;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addresses().grpc)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    for (token, code, status_code) in [
        (DEPLOY, Code::PermissionDenied, 403),
        (ADMIN, Code::Ok, 200),
    ] {
        let answer = http(at, "POST /api/v1/deployments", Some(token), begin).await;
        assert_eq!(status(&answer), status_code, "{answer}");
        let mut request = Request::new(pb::BeginRequest {
            deployment: "d2".to_owned(),
            service: "web".to_owned(),
            stage: "unit".to_owned(),
            version: "v2".to_owned(),
            hotfix: Some(pb::Hotfix {
                by: "ana".to_owned(),
                reason: "outage".to_owned(),
                ticket: "OPS-1".to_owned(),
                expires: Some(prost_types::Timestamp {
                    seconds: 4_102_444_800,
                    nanos: 0,
                }),
            }),
            ..pb::BeginRequest::default()
        });
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let mut gates = pb::gates_client::GatesClient::new(channel.clone());
        let given = gates.begin(request).await;
        let given = given.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(given, code, "{token}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_act_with_the_password_of_a_browser() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let begin = r#"{"deployment": "d1", "service": "web", "stage": "unit", "version": "v2"}"#;
    let password = BASE64_STANDARD.encode(format!("ana:{ADMIN}"));
    // What every request here names as its host.
    let own = "http://localhost";
    for (origin, request, body, code) in [
        (
            "http://evil.example",
            "POST /api/v1/deployments",
            begin,
            403,
        ),
        ("null", "POST /api/v1/deployments", begin, 403),
        ("http://evil.example", "GET /api/v1/deployments", "", 200),
        (own, "POST /api/v1/deployments", begin, 200),
        (
            "http://evil.example",
            "POST /api/v1/deployments/d1/end",
            "",
            403,
        ),
        (
            "http://evil.example",
            "POST /api/v1/deployments/d1/bypass",
            "{}",
            403,
        ),
    ] {
        let stream = TcpStream::connect(at).await.unwrap();
        let headers = format!("Authorization: Basic {password}\r\nOrigin: {origin}\r\n");
        let answer = exchange(stream, request, &headers, body).await;
        assert_eq!(status(&answer), code, "{request} of {origin}: {answer}");
    }
}

fn named(id: &str) -> String {
    let begin = json!({"deployment": id, "service": "web", "stage": "unit", "version": "v2"});
    begin.to_string()
}

async fn deployments(at: SocketAddr) -> Vec<String> {
    let list = http(at, "GET /api/v1/deployments", Some(ADMIN), "").await;
    let (_, body) = list.split_once("\r\n\r\n").unwrap();
    let list: Value = serde_json::from_str(body).unwrap();
    let all = list["deployments"].as_array().unwrap().iter();
    all.map(|deployment| deployment["deployment"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn no_other_spelling_of_a_path_leads_around_its_guard() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let begun = http(at, "POST /api/v1/deployments", Some(DEPLOY), &named("d1")).await;
    assert_eq!(status(&begun), 200, "{begun}");
    let (begin, bypass) = (
        named("d2"),
        r#"{"by": "eve", "reason": "mine", "ticket": "OPS-1"}"#,
    );
    for (path, body) in [
        ("/api/v1/deployments", begin.as_str()),
        ("/api/v1/deployments/d1/bypass", bypass),
        ("/api/v1/deployments/d1/end", ""),
        ("/-/reload", ""),
    ] {
        let spellings = [
            path.to_owned(),
            format!("{path}/"),
            format!("/{path}"),
            format!("/.{path}"),
            format!("/api/v1/write/../../..{path}"),
            format!("/api/v1/write/%2e%2e/%2e%2e/%2e%2e{path}"),
            format!("/metrics{path}"),
            format!("/-/healthy;{path}"),
            format!("{path};a=b"),
            format!("{path}%00"),
            format!("{path}?role=admin&x=/metrics"),
            path.to_uppercase(),
            path.replacen('/', "/%2F", 1),
            path.replace("deployments", "deployment%73"),
            format!("http://localhost{path}"),
            format!("http://admin:{INGEST}@localhost{path}"),
        ];
        for spelling in &spellings {
            for (token, method) in [
                (None, "POST"),
                (Some(INGEST), "POST"),
                (Some(INGEST), "PUT"),
                (Some(INGEST), "GET"),
            ] {
                let answer = http(at, &format!("{method} {spelling}"), token, body).await;
                assert!(
                    [400, 401, 403, 404, 405].contains(&status(&answer)),
                    "{method} {spelling} by {token:?}: {answer}"
                );
            }
        }
    }
    assert_eq!(deployments(at).await, ["d1"]);
    let verdict = "GET /api/v1/deployments/d1/verdict";
    let verdict = http(at, verdict, Some(DEPLOY), "").await;
    assert!(verdict.contains("\"verdict\":\"PENDING\""), "{verdict}");
}

#[tokio::test]
async fn no_header_makes_a_caller_somebody_else() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let ingest = format!("Authorization: Bearer {INGEST}\r\n");
    for headers in [
        format!("{ingest}Authorization: Bearer nobody-0123456789abcdef\r\n"),
        format!("{ingest}X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"),
        format!("{ingest}X-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics\r\n"),
        format!("{ingest}X-HTTP-Method-Override: GET\r\n"),
        format!("{ingest}X-Forwarded-User: admin\r\nX-Remote-User: admin\r\n"),
        format!("{ingest}Forwarded: for=127.0.0.1;host=localhost\r\n"),
        format!("Authorization: Bearer {INGEST} role=admin\r\n"),
        format!("Authorization: Bearer {INGEST},{INGEST}\r\n"),
        "Cookie: role=admin\r\n".to_owned(),
        String::new(),
    ] {
        let stream = TcpStream::connect(at).await.unwrap();
        let begin = "POST /api/v1/deployments";
        let answer = exchange(stream, begin, &headers, &named("d1")).await;
        assert!([401, 403].contains(&status(&answer)), "{headers}: {answer}");
    }
    assert!(deployments(at).await.is_empty());
}

#[tokio::test]
async fn a_page_whose_name_leads_here_cannot_act_where_nobody_says_who_they_are() {
    let plan = Plan::parse(&configuration("")).unwrap();
    let server = Server::start(settings(plan)).await.unwrap();
    let at = server.addresses().http;
    for (host, origin, code) in [
        ("evil.example", "http://evil.example", 403),
        ("evil.example:7071", "http://evil.example:7071", 403),
        (
            "localhost.evil.example",
            "http://localhost.evil.example",
            403,
        ),
        ("127.0.0.1:7071", "http://evil.example", 403),
        ("localhost:7071", "http://localhost:7071", 200),
        ("127.0.0.1:7071", "http://127.0.0.1:7071", 200),
        ("[::1]:7071", "http://[::1]:7071", 200),
        // No browser: it tells no origin.
        ("evil.example", "", 200),
    ] {
        let origin = match origin {
            "" => String::new(),
            origin => format!("Origin: {origin}\r\n"),
        };
        let streams = r#"{"streams": []}"#.to_owned();
        for (path, body) in [
            ("/api/v1/deployments", named("d1")),
            ("/loki/api/v1/push", streams),
        ] {
            let mut stream = TcpStream::connect(at).await.unwrap();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let is_refused = status(&answer) == 403;
            assert_eq!(is_refused, code == 403, "{path} {host} {origin}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_id_is_a_name_and_nothing_else() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let gates = format!("http://{}", server.addresses().grpc);
    let gates = Endpoint::from_shared(gates).unwrap().connect().await;
    let mut gates = pb::gates_client::GatesClient::new(gates.unwrap());
    for id in [
        "a\nverdict changed",
        "a\u{1b}[2J",
        "a\r\nSet-Cookie: x",
        "\0",
        "a\u{202e}b",
        "a\u{200b}",
        "\u{2028}",
        "..",
        ".",
        &"x".repeat(513),
    ] {
        let answer = http(at, "POST /api/v1/deployments", Some(DEPLOY), &named(id)).await;
        assert_eq!(status(&answer), 400, "{id:?}: {answer}");
        let mut request = Request::new(pb::BeginRequest {
            deployment: id.to_owned(),
            service: "web".to_owned(),
            stage: "unit".to_owned(),
            version: "v2".to_owned(),
            ..pb::BeginRequest::default()
        });
        let token = format!("Bearer {DEPLOY}").parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        let code = gates.begin(request).await.unwrap_err().code();
        assert_eq!(code, Code::InvalidArgument, "{id:?}");
    }
    // What is not a name is not looked for either, and never reaches the journal or the log.
    let passed = r#"{"step": "tests", "outcome": "passed"}"#;
    for (path, body) in [("steps", passed), ("end", "")] {
        for id in ["d1%0Averdict%20changed", "%1B%5B2J", "d%E2%80%AE1"] {
            let request = format!("POST /api/v1/deployments/{id}/{path}");
            let answer = http(at, &request, Some(DEPLOY), body).await;
            assert_eq!(status(&answer), 400, "{request}: {answer}");
            assert!(!answer.contains('\u{1b}'), "{answer:?}");
        }
    }
    let odd = "a/../b?c#d;e%2e <script>alert(1)</script>\"'&";
    let begun = http(at, "POST /api/v1/deployments", Some(DEPLOY), &named(odd)).await;
    assert_eq!(status(&begun), 200, "{begun}");
    let path = format!("/api/v1/deployments/{}", percent_encode(odd));
    let verdict = http(at, &format!("GET {path}/verdict"), Some(DEPLOY), "").await;
    assert_eq!(status(&verdict), 200, "{verdict}");
    let page = http(at, "GET /", Some(DEPLOY), "").await;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
    assert_eq!(page.matches("<script").count(), 1, "its own: {page}");
    assert!(page.contains("script-src 'sha256-"), "{page}");
    assert!(page.contains(&format!("href=\"{path}/verdict\"")), "{page}");
    let ended = http(at, &format!("POST {path}/end"), Some(DEPLOY), "").await;
    assert_eq!(status(&ended), 200, "{ended}");
    assert_eq!(deployments(at).await, [odd]);
}

#[tokio::test]
async fn what_is_asked_of_the_doors_of_drivers_cannot_be_bent() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    for id in ["d1", "d2"] {
        let begun = http(at, "POST /api/v1/deployments", Some(DEPLOY), &named(id)).await;
        assert_eq!(status(&begun), 200, "{begun}");
    }
    let passed = r#"{"step": "tests", "outcome": "passed"}"#;
    let step = "POST /api/v1/deployments/d2/steps";
    assert_eq!(status(&http(at, step, Some(DEPLOY), passed).await), 200);
    // A value of a template that holds the end of a label asks for nothing else.
    for query in [
        r#"sluice_verdict{deployment="d1"} or sluice_verdict{deployment="d2"}"#,
        r#"sluice_verdict{deployment="d1",deployment="d2"}"#,
        r#"sluice_verdict{deployment="d1"} # {deployment="d2"}"#,
        r#"sluice_verdict{deployment="d1"}{deployment="d2"}"#,
        "sluice_verdict{deployment=\"d1\n\"}",
        r#"sluice_verdict{deployment=~"((a{1000}){1000}){1000}"}"#,
        r#"sluice_verdict{deployment=~"d[12]"} == bool 1"#,
    ] {
        let request = format!("GET /api/v1/query?query={}", percent_encode(query));
        let answer = http(at, &request, Some(DEPLOY), "").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let is_empty = body["data"]["result"] == json!([]);
        assert!(is_empty || status(&answer) == 400, "{query}: {answer}");
    }
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(2 << 20));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let hook = |metadata: Value| json!({"name": "web", "metadata": metadata}).to_string();
    for (body, code) in [
        (large, 413),
        (deep, 400),
        (hook(json!({"deployment": "d1\r\nX: y"})), 404),
        (hook(json!({"deployment": ["d2"]})), 400),
        (hook(json!({"deployment": {"$ne": ""}})), 400),
        (
            r#"{"name": "web", "name": "web", "metadata": {"deployment": "d2"}}"#.to_owned(),
            400,
        ),
    ] {
        let answer = http(at, "POST /flagger/confirm", Some(DEPLOY), &body).await;
        let body: String = body.chars().take(80).collect();
        assert_eq!(status(&answer), code, "{body}: {answer}");
        assert!(!answer.contains("\r\nX: y"), "{answer}");
    }
}
