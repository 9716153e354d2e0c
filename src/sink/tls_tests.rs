//! A sink that is reached over TLS, and one that is not who it should be.

use std::{path::Path, sync::Arc, time::Duration};

use rcgen::{Certificate, CertifiedKey, generate_simple_self_signed};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    client::{Client, ClientError, Files, SendError, fetch},
    conversation::Letter,
};
use crate::{
    event::Span,
    plan::{AlertRules, SinkKind, SinkPlan, SinkUrl},
};

/// Answers every request over TLS; gives the port, and writes its certificate to a file.
async fn server(certificate_file: &Path) -> u16 {
    server_for(certificate_file, None).await
}

/// The same for clients that show a certificate of this root.
async fn server_for(certificate_file: &Path, clients: Option<&Certificate>) -> u16 {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(certificate_file, cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(root) => {
            let mut roots = RootCertStore::empty();
            roots.add(root.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let config = builder
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = vec![0; 4_096];
            drop(stream.read(&mut request).await);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            drop(stream.write_all(answer).await);
            drop(stream.shutdown().await);
        }
    });
    port
}

fn plan(port: u16, ca_file: &Path) -> SinkPlan {
    SinkPlan {
        name: "oncall".to_owned(),
        url: SinkUrl(format!("https://localhost:{port}/hook")),
        token_file: None,
        ca_file: Some(ca_file.display().to_string()),
        timeout: Span::from_seconds(10),
        queue: 10,
        kind: SinkKind::GrafanaWebhook {
            max_alerts: 0,
            alerts: AlertRules::default(),
        },
    }
}

#[tokio::test]
async fn a_sink_over_tls_is_told_only_if_it_is_who_it_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let port = server(&file("its-own.pem")).await;
    server(&file("another.pem")).await;
    let letter = Letter {
        method: http::Method::POST,
        url: format!("https://localhost:{port}/hook"),
        body: b"{}".to_vec(),
        key: None,
        news: Vec::new(),
    };
    let trusted = Client::new(&plan(port, &file("its-own.pem"))).unwrap();
    assert_eq!(trusted.send(&letter).await.unwrap().status, 200);
    let strange = Client::new(&plan(port, &file("another.pem"))).unwrap();
    let error = strange.send(&letter).await.unwrap_err();
    assert!(matches!(error, SendError::Connection(_)), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn who_fetches_shows_its_own_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["ana.example".to_owned()]).unwrap();
    std::fs::write(file("own.pem"), cert.pem()).unwrap();
    std::fs::write(file("own.key"), signing_key.serialize_pem()).unwrap();
    let port = server_for(&directory.path().join("server.pem"), Some(&cert)).await;
    let url = format!("https://localhost:{port}/api/v1/history");
    let files = |identity: Option<(&str, &str)>| Files {
        token: None,
        roots: Some(file("server.pem")),
        identity: identity.map(|(certificate, key)| (file(certificate), file(key))),
    };
    let known = fetch(&url, files(Some(("own.pem", "own.key")))).await;
    assert_eq!(known, Ok(b"{}".to_vec()));
    fetch(&url, files(None)).await.unwrap_err();
    // A key in the place of a certificate is not shown.
    let problem = fetch(&url, files(Some(("own.pem", "own.pem"))))
        .await
        .unwrap_err();
    assert!(
        problem.contains("own.pem") && problem.contains("no private key"),
        "{problem}"
    );
    let problem = fetch(&url, files(Some(("nowhere.pem", "own.key"))))
        .await
        .unwrap_err();
    assert!(problem.contains("nowhere.pem"), "{problem}");
}

#[test]
fn certificates_that_cannot_be_read_are_told_of_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    for content in [
        None,
        Some(""),
        Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = Client::new(&plan(1, &file)).unwrap_err();
        assert!(
            matches!(&error, ClientError::Certificates { file: told, .. } if Some(told.as_str()) == file.to_str())
        );
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
}

#[tokio::test]
async fn a_token_is_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "s3cret").unwrap();
    let mut plan = plan(1, &file);
    (plan.ca_file, plan.token_file) = (None, Some(file.display().to_string()));
    plan.url = SinkUrl("http://127.0.0.1:1/s3cret?token=s3cret".to_owned());
    let client = Client::new(&plan).unwrap();
    let token = client.token().await.unwrap().unwrap();
    let letter = Letter {
        method: http::Method::POST,
        url: plan.url.0.clone(),
        body: Vec::new(),
        key: None,
        news: Vec::new(),
    };
    let patience = Duration::from_secs(10);
    let sent = tokio::time::timeout(patience, client.send(&letter));
    let error = sent.await.unwrap().unwrap_err();
    for text in [
        format!("{token:?}"),
        format!("{client:?}"),
        format!("{plan:?}"),
        format!("{error:?} {error}"),
    ] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
