//! Encrypted ports, and certificates that say who a caller is.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    DEPLOY, INGEST, call, configuration, exchange, http, settings, status, token_keys, write,
};
use crate::{
    plan::Plan,
    serve::{
        Server,
        client::{self, Bearer, Reach},
        pb,
    },
};

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
