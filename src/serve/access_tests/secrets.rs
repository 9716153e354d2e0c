//! Tokens: what is one, where it may stand, and that nobody is shown it; and who may be without.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::net::TcpStream;

use super::{
    ADMIN, DEPLOY, INGEST, configuration, exchange, guarded, settings, status, token_keys, write,
};
use crate::{
    plan::Plan,
    serve::{
        Server, StartError,
        access::Guard,
        client::{Bearer, Reach},
    },
};

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
