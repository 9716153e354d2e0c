//! The table: every role at every path and RPC. Whoever adds one of either decides here who may.

use std::{collections::BTreeMap, net::SocketAddr};

use prost::Message;
use tokio::net::TcpStream;
use tonic::{Code, transport::Endpoint};

use super::{ADMIN, DEPLOY, INGEST, call, exchange, guarded, http, status};
use crate::{
    plan::Role,
    serve::{access::Operation, otlp_http, routes, server::DESCRIPTORS},
};

/// A caller: what it sends, and what it is.
const CALLERS: [(Option<&str>, Option<Role>); 5] = [
    (None, None),
    (Some("nobody-0123456789abcdef"), None),
    (Some(INGEST), Some(Role::Ingest)),
    (Some(DEPLOY), Some(Role::Deploy)),
    (Some(ADMIN), Some(Role::Admin)),
];

/// The roles that may use a path, written down here once more.
fn roles_of_path(method: &str, path: &str) -> Vec<Role> {
    use Role::{Admin, Deploy, Ingest};
    match (method, path) {
        ("GET", "/-/healthy" | "/-/ready") => vec![],
        ("GET", "/metrics") => vec![Ingest, Deploy, Admin],
        (
            "POST",
            "/api/v1/write" | "/api/v1/push" | "/loki/api/v1/push" | "/v1/metrics" | "/v1/logs",
        ) => vec![Ingest],
        (
            "GET",
            "/"
            | "/api/v1/openapi.json"
            | "/api/v1/deployments"
            | "/api/v1/deployments/{id}/verdict"
            | "/api/v1/deployments/{id}/watch"
            | "/api/v1/history"
            | "/api/v1/may-promote"
            | "/api/v1/query",
        )
        | ("POST", "/api/v1/query" | "/flagger/confirm" | "/flagger/check" | "/flagger/rollback") =>
        {
            vec![Deploy, Admin]
        }
        (
            "POST",
            "/api/v1/deployments"
            | "/api/v1/deployments/{id}/steps"
            | "/api/v1/deployments/{id}/end",
        ) => vec![Deploy, Admin],
        ("POST", "/api/v1/deployments/{id}/bypass" | "/-/reload") => vec![Admin],
        (method, path) => panic!("decide here who may {method} {path}"),
    }
}

/// The roles that may call an RPC, written down here once more.
fn roles_of_rpc(service: &str, method: &str) -> Vec<Role> {
    use Role::{Admin, Deploy, Ingest};
    match (service, method) {
        ("grpc.health.v1.Health", _) => vec![],
        (
            "sluice.v1.Gates",
            "Begin" | "ReportStep" | "End" | "GetVerdict" | "WatchVerdict" | "ListDeployments"
            | "ListVerdicts" | "MayPromote",
        )
        | (
            "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
            "ServerReflectionInfo",
        ) => vec![Deploy, Admin],
        ("sluice.v1.Gates", "Bypass") => vec![Admin],
        (service, "Export") if service.starts_with("opentelemetry.proto.collector.") => {
            vec![Ingest]
        }
        (service, method) => panic!("decide here who may call {service}/{method}"),
    }
}

/// What a caller is told: 401, 403, or something else, which is no question of access.
fn expected(roles: &[Role], caller: Option<Role>) -> Option<u16> {
    match caller {
        _ if roles.is_empty() => None,
        None => Some(401),
        Some(role) if roles.contains(&role) => None,
        Some(_) => Some(403),
    }
}

#[tokio::test]
async fn every_role_at_every_path() {
    let (server, _directory) = guarded().await;
    let at = *server.addresses();
    let mut paths: Vec<(SocketAddr, &str, &str)> = routes::table()
        .iter()
        .map(|route| (at.http, route.method, route.path))
        .collect();
    paths.extend(otlp_http::PATHS.map(|path| (at.otlp_http, "POST", path)));
    assert!(paths.len() > 20);
    let mut refused = [0.0, 0.0];
    for (at, method, path) in paths {
        let roles = roles_of_path(method, path);
        for (token, caller) in CALLERS {
            let request = format!("{method} {}", path.replace("{id}", "d1"));
            let answer = http(at, &request, token, "").await;
            let given = Some(status(&answer)).filter(|status| [401, 403].contains(status));
            assert_eq!(
                given,
                expected(&roles, caller),
                "{request} by {token:?}: {answer}"
            );
            match given {
                Some(401) => {
                    refused[0] += 1.0;
                    assert!(answer.contains("www-authenticate"), "{answer}");
                }
                Some(_) => refused[1] += 1.0,
                None => assert_ne!(status(&answer), 0, "{request}"),
            }
            for (token, _) in CALLERS {
                assert!(
                    token.is_none_or(|token| !answer.contains(token)),
                    "{answer}"
                );
            }
        }
    }
    let metrics = http(at.http, "GET /metrics", Some(INGEST), "").await;
    for (reason, count) in [("unauthenticated", refused[0]), ("forbidden", refused[1])] {
        let line = format!("sluice_denied_requests_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let unknown = http(at.http, "GET /nowhere", None, "").await;
    assert_eq!(status(&unknown), 404);
}

#[tokio::test]
async fn every_role_at_every_rpc() {
    let (server, _directory) = guarded().await;
    let at = *server.addresses();
    let mut calls = Vec::new();
    for set in [DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        let set = prost_types::FileDescriptorSet::decode(set).unwrap();
        for file in set.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    calls.push((at.grpc, name.clone(), method.name().to_owned()));
                }
            }
        }
    }
    for version in ["v1", "v1alpha"] {
        let service = format!("grpc.reflection.{version}.ServerReflection");
        calls.push((at.grpc, service, "ServerReflectionInfo".to_owned()));
    }
    for signal in ["metrics.v1.MetricsService", "logs.v1.LogsService"] {
        let service = format!("opentelemetry.proto.collector.{signal}");
        calls.push((at.otlp_grpc, service, "Export".to_owned()));
    }
    assert!(calls.len() >= 12, "{calls:?}");
    let mut channels = BTreeMap::new();
    for at in [at.grpc, at.otlp_grpc] {
        let endpoint = Endpoint::from_shared(format!("http://{at}")).unwrap();
        channels.insert(at, endpoint.connect().await.unwrap());
    }
    for (at, service, method) in calls {
        let roles = roles_of_rpc(&service, &method);
        let path = format!("/{service}/{method}");
        assert!(
            Operation::of_rpc(&path).is_some(),
            "nobody has decided who may call {path}"
        );
        for (token, caller) in CALLERS {
            let code = call(channels[&at].clone(), &path, token).await;
            let given = match code {
                Code::Unauthenticated => Some(401),
                Code::PermissionDenied => Some(403),
                _ => None,
            };
            assert_eq!(
                given,
                expected(&roles, caller),
                "{path} by {token:?}: {code:?}"
            );
        }
    }
    let undecided = call(
        channels[&at.grpc].clone(),
        "/sluice.v1.Gates/New",
        Some(DEPLOY),
    )
    .await;
    assert_eq!(undecided, Code::PermissionDenied);
}

#[tokio::test]
async fn otlp_tells_who_may_not_in_the_syntax_of_the_request() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().otlp_http;
    for (token, expected, code, header) in [
        (None, 401, Code::Unauthenticated, "www-authenticate: "),
        (Some(DEPLOY), 403, Code::PermissionDenied, ""),
    ] {
        let token = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        for syntax in ["application/json", "application/x-protobuf"] {
            let headers = format!("Content-Type: {syntax}\r\n{token}");
            let stream = TcpStream::connect(at).await.unwrap();
            let answer = exchange(stream, "POST /v1/metrics", &headers, "").await;
            assert_eq!(status(&answer), expected, "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-type: {syntax}")), "{head}");
            assert!(head.contains(header), "{head}");
            let (told, message) = if syntax == "application/json" {
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                (body["code"].as_i64(), body["message"].to_string())
            } else {
                let body = tonic_types::Status::decode(body.as_bytes()).unwrap();
                (Some(body.code.into()), body.message)
            };
            assert_eq!(told, Some(i64::from(code as i32)), "{answer}");
            assert!(message.contains("role ingest"), "{message}");
        }
    }
}
