//! Who may do what: every role at every path and RPC, secrets that stay secret, encrypted ports.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};
use tonic::{
    Code, Request,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    Clock, Server, Settings, StartError,
    access::{Guard, Operation},
    client::{self, Bearer, Reach},
    codec::BytesCodec,
    otlp_http, pb, routes,
    server::DESCRIPTORS,
};
use crate::plan::{Plan, Role};

const INGEST: &str = "ingest-0123456789abcdef";
const DEPLOY: &str = "deploy-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdef";

/// A caller: what it sends, and what it is.
const CALLERS: [(Option<&str>, Option<Role>); 5] = [
    (None, None),
    (Some("nobody-0123456789abcdef"), None),
    (Some(INGEST), Some(Role::Ingest)),
    (Some(DEPLOY), Some(Role::Deploy)),
    (Some(ADMIN), Some(Role::Admin)),
];

fn configuration(rest: &str) -> String {
    format!(
        "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', otlp_grpc: '127.0.0.1:0', otlp_http: '127.0.0.1:0'}}\n\
         checks: {{up: {{metric: up, absent: 1m}}}}\n\
         services: {{web: {{stages: [{{name: unit, steps: [tests]}}]}}}}\n{rest}"
    )
}

fn settings(plan: Plan) -> Settings {
    Settings {
        plan: Arc::new(plan),
        data_dir: None,
        clock: Clock::Manual(Arc::new(AtomicI64::new(1_772_359_200_000_000_000))),
        source: None,
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn token_keys(directory: &Path) -> String {
    let tokens = [("ingest", INGEST), ("deploy", DEPLOY), ("admin", ADMIN)].map(|(role, token)| {
        let file = write(directory, role, &format!("{token}\n"));
        format!("{{role: {role}, file: '{file}'}}")
    });
    format!("access: {{tokens: [{}]}}\n", tokens.join(", "))
}

/// An engine that knows three tokens.
async fn guarded() -> (Server, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let text = configuration(&token_keys(directory.path()));
    let server = Server::start(settings(Plan::parse(&text).unwrap())).await;
    (server.unwrap(), directory)
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &str,
    headers: &str,
    body: &str,
) -> String {
    let request = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
         {headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What is read before a connection breaks is the answer.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0)
}

async fn http(at: SocketAddr, request: &str, token: Option<&str>, body: &str) -> String {
    let headers = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let stream = TcpStream::connect(at).await.unwrap();
    exchange(stream, request, &headers, body).await
}

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

async fn call(channel: Channel, path: &str, token: Option<&str>) -> Code {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(Bytes::new());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let path = path.parse().unwrap();
    match grpc.server_streaming(request, path, BytesCodec).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
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

#[tokio::test]
async fn a_token_may_be_a_password() {
    let (server, _directory) = guarded().await;
    let at = server.addresses().http;
    let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    for (given, code) in [
        (basic(&format!("flagger:{DEPLOY}")), 200),
        (basic(&format!(":{DEPLOY}")), 200),
        (basic(DEPLOY), 401),
        (basic(&format!("{DEPLOY}:")), 401),
        ("Basic ***".to_owned(), 401),
        ("Bearer".to_owned(), 401),
        (format!("Digest {DEPLOY}"), 401),
        (format!("bearer  {DEPLOY}"), 200),
    ] {
        let stream = TcpStream::connect(at).await.unwrap();
        let headers = format!("Authorization: {given}\r\n");
        let answer = exchange(stream, "GET /api/v1/deployments", &headers, "").await;
        assert_eq!(status(&answer), code, "{given}");
    }
}

#[test]
fn a_file_without_a_token_is_refused_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("short", "hunter2"),
        ("lines", "hunter2hunter2hunter2\nhunter2"),
        ("empty", ""),
    ] {
        let file = write(directory.path(), name, text);
        let access = format!("access: {{tokens: [{{role: admin, file: '{file}'}}]}}");
        let plan = Plan::parse(&configuration(&access)).unwrap();
        let error = Guard::new(&plan.access).unwrap_err().to_string();
        assert!(
            error.starts_with("access.tokens[0].file: ") && error.contains(&file),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
    }
    let plan = Plan::parse(&configuration(
        "access: {tokens: [{role: admin, file: /nowhere}]}",
    ));
    let error = Guard::new(&plan.unwrap().access).unwrap_err().to_string();
    assert!(error.contains("/nowhere"), "{error}");
    let plan = Plan::parse(&configuration(&token_keys(directory.path()))).unwrap();
    let shown = format!("{:?} {plan:?}", Guard::new(&plan.access).unwrap());
    let reach = Reach {
        token: Bearer::new(ADMIN),
        identity: Some(("certificate".to_owned(), "secret-key".to_owned())),
        ..Reach::at("x")
    };
    let shown = format!("{shown} {reach:?}");
    for secret in [INGEST, DEPLOY, ADMIN, "secret-key"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(Bearer::new(" \n").is_none() && Bearer::new("a b").is_none());
}

#[tokio::test]
async fn nobody_listens_beyond_loopback_without_saying_who_may() {
    let everywhere = configuration("").replace("http: '127.0.0.1:0'", "http: '0.0.0.0:0'");
    let plan = Plan::parse(&everywhere).unwrap();
    let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
    assert!(
        warnings[0].starts_with("listen.http: 0.0.0.0:0 is not loopback"),
        "{warnings:?}"
    );
    let error = Server::start(settings(plan)).await.unwrap_err();
    assert!(
        matches!(
            error,
            StartError::Exposed {
                key: "listen.http",
                ..
            }
        ),
        "{error:?}"
    );
    for part in [
        "listen.http is 0.0.0.0:0",
        "access: {tokens:",
        "access: {anonymous: true}",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    for (access, is_exposed) in [
        ("access: {anonymous: true}", false),
        ("access: {tokens: [{role: admin, file: t}]}", false),
        ("access: {anonymous: false}", true),
        ("tls: {cert_file: c, key_file: k, client_ca_file: r}", true),
    ] {
        let plan = Plan::parse(&format!("{everywhere}{access}")).unwrap();
        assert_eq!(plan.exposed().is_some(), is_exposed, "{access}");
    }
    let local = everywhere.replace("0.0.0.0", "127.9.9.9");
    assert_eq!(Plan::parse(&local).unwrap().exposed(), None);
}

/// Certificates of one authority.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(parameters, key).unwrap(),
        }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate and its key.
    fn issue(&self, names: &[&str], uri: Option<&str>) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        if let Some(uri) = uri {
            parameters
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn begin(id: &str) -> pb::BeginRequest {
    pb::BeginRequest {
        deployment: id.to_owned(),
        service: "web".to_owned(),
        stage: "unit".to_owned(),
        version: "v1".to_owned(),
        ..pb::BeginRequest::default()
    }
}

async fn https(
    at: SocketAddr,
    roots: &str,
    identity: &(String, String),
    request: &str,
) -> Result<String, std::io::Error> {
    let mut store = RootCertStore::empty();
    store
        .add(CertificateDer::from_pem_slice(roots.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(identity.0.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).unwrap(),
        )
        .unwrap();
    let stream = TcpStream::connect(at).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    Ok(exchange(stream, request, "", "").await)
}

#[expect(
    clippy::too_many_lines,
    reason = "every port by every kind of certificate"
)]
#[tokio::test]
async fn every_port_is_encrypted_and_a_certificate_is_a_role() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (cert, key) = authority.issue(&["localhost", "127.0.0.1"], None);
    let [cert, key, roots] = [("cert", &cert), ("key", &key), ("roots", &authority.pem())]
        .map(|(name, text)| write(directory.path(), name, text));
    let text = configuration(&format!(
        "tls: {{cert_file: '{cert}', key_file: '{key}', client_ca_file: '{roots}'}}\n\
         access: {{certificates: [{{role: deploy, name: deployer.example}}, {{role: ingest, name: 'spiffe://web/host'}}]}}\n"
    ));
    let server = Server::start(settings(Plan::parse(&text).unwrap()))
        .await
        .unwrap();
    let at = *server.addresses();
    let deployer = authority.issue(&["deployer.example"], None);
    let host = authority.issue(&[], Some("spiffe://web/host"));
    let nobody = authority.issue(&["nobody.example"], None);
    let forged = stranger.issue(&["deployer.example"], None);
    let reach = |identity: &(String, String)| Reach {
        server: format!("localhost:{}", at.grpc.port()),
        roots: Some(authority.pem()),
        identity: Some(identity.clone()),
        ..Reach::default()
    };
    for (identity, code) in [
        (&deployer, Code::Ok),
        (&host, Code::PermissionDenied),
        (&nobody, Code::Unauthenticated),
    ] {
        let mut gates = client::connect(&reach(identity)).await.unwrap();
        let begun = gates.begin(begin("d1")).await;
        assert_eq!(
            begun.map_or_else(|status| status.code(), |_| Code::Ok),
            code
        );
    }
    for (at, path, identity, given) in [
        (
            at.http,
            "GET /api/v1/deployments/d1/verdict",
            &deployer,
            200,
        ),
        (at.http, "GET /api/v1/deployments/d1/verdict", &host, 403),
        (at.http, "GET /-/ready", &nobody, 200),
        (at.otlp_http, "POST /v1/metrics", &host, 415),
        (at.otlp_http, "POST /v1/metrics", &deployer, 403),
    ] {
        let answer = https(at, &authority.pem(), identity, path).await.unwrap();
        assert_eq!(status(&answer), given, "{path}: {answer}");
    }
    let export = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    for (identity, code) in [(&host, Code::Ok), (&deployer, Code::PermissionDenied)] {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority.pem()))
            .identity(Identity::from_pem(&identity.0, &identity.1));
        let endpoint = Endpoint::from_shared(format!("https://localhost:{}", at.otlp_grpc.port()));
        let channel = endpoint
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap();
        assert_eq!(call(channel, export, None).await, code);
    }
    // Without the right certificate, or without encryption, there is no answer of the engine.
    for at in [at.http, at.otlp_http] {
        let answer = https(at, &authority.pem(), &forged, "GET /-/ready").await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.is_empty()));
        let answer = http(at, "GET /-/ready", None, "").await;
        assert!(!answer.contains("200"), "{answer}");
    }
    let plain = client::connect(&Reach::at(at.grpc.to_string())).await;
    if let Ok(mut gates) = plain {
        assert!(gates.begin(begin("d2")).await.is_err());
    }
    let mut bare = reach(&deployer);
    bare.identity = None;
    if let Ok(mut gates) = client::connect(&bare).await {
        assert!(gates.begin(begin("d2")).await.is_err());
    }
    let mut wrong_roots = reach(&deployer);
    wrong_roots.roots = Some(stranger.pem());
    assert!(client::connect(&wrong_roots).await.is_err());
}

#[tokio::test]
async fn tokens_work_on_encrypted_ports_and_bad_files_name_their_key() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (cert, key) = authority.issue(&["localhost"], None);
    let (other, _) = authority.issue(&["localhost"], None);
    let [cert, key, other, nothing] = [
        ("cert", cert.as_str()),
        ("key", &key),
        ("other", &other),
        ("nothing", "nothing"),
    ]
    .map(|(name, text)| write(directory.path(), name, text));
    let access = token_keys(directory.path());
    let tls = format!("tls: {{cert_file: '{cert}', key_file: '{key}'}}\n");
    let text = configuration(&format!("{tls}{access}"));
    let server = Server::start(settings(Plan::parse(&text).unwrap()))
        .await
        .unwrap();
    let mut reach = Reach {
        roots: Some(authority.pem()),
        ..Reach::at(format!(
            "https://localhost:{}",
            server.addresses().grpc.port()
        ))
    };
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Bearer::new(INGEST), Code::PermissionDenied),
        (Bearer::new(DEPLOY), Code::Ok),
    ] {
        reach.token = token;
        let mut gates = client::connect(&reach).await.unwrap();
        let begun = gates.begin(begin("d1")).await;
        assert_eq!(
            begun.map_or_else(|status| status.code(), |_| Code::Ok),
            code
        );
    }
    for (cert, key, roots, wrong) in [
        (&nothing, &key, None, "tls.cert_file"),
        (&cert, &nothing, None, "tls.key_file"),
        (&other, &key, None, "tls.key_file"),
        (&cert, &key, Some(&nothing), "tls.client_ca_file"),
        (&cert, &"/nowhere".to_owned(), None, "tls.key_file"),
    ] {
        let roots = roots.map_or_else(String::new, |roots| format!(", client_ca_file: '{roots}'"));
        let tls = format!("tls: {{cert_file: '{cert}', key_file: '{key}'{roots}}}\n");
        let plan = Plan::parse(&configuration(&format!("{tls}{access}"))).unwrap();
        let error = Server::start(settings(plan)).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{wrong}: ")), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}
