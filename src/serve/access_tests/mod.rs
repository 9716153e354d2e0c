//! Who may do what: the table of roles, what an attacker tries all the same, secrets that stay secret, and
//! encrypted ports.

mod attacks;
mod encryption;
mod secrets;
mod table;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request, client::Grpc, transport::Channel};

use super::{Clock, Server, Settings, codec::BytesCodec};
use crate::plan::Plan;

const INGEST: &str = "ingest-0123456789abcdef";
const DEPLOY: &str = "deploy-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdef";

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
