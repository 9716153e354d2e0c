//! A running engine on free ports, with a clock that the test moves, and clients of every protocol.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use sluice::{
    event::{Span, Timestamp},
    gate::{Line, LineKind, Verdict},
    plan::Plan,
    serve::{Addresses, Clock, ConfigSource, Ending, ReloadError, Server, Settings, client},
    source::files,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::broadcast,
};

/// Every gate has a bake of one minute and forgives no lateness, so that event time moves as the
/// test says.
pub(crate) const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
lateness: 0s
checks:
  cpu: {metric: cpu_busy_ratio, bounds: {max: 0.9}}
  error-logs: {logs: {severity: ERROR}, bounds: {max: 60/m}}
services:
  checkout:
    stages:
      - {name: beta, steps: [smoke], bake: 1m, checks: [cpu]}
      - {name: logs, bake: 1m, checks: [error-logs]}
      - {name: prod, regions: [eu, us], bake: 1m, checks: [cpu]}
"#;

/// A running engine.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) at: Addresses,
    clock: Arc<AtomicI64>,
    changes: broadcast::Receiver<Arc<Verdict>>,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn plan() -> Plan {
    Plan::parse(CONFIGURATION).expect("the configuration of the tests has no faults")
}

/// The start of every test's time.
pub(crate) fn start() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn read(file: &Path) -> Result<Plan, ReloadError> {
    let text = files::text(file);
    let text = text.map_err(|error| ReloadError::Unusable(error.to_string()))?;
    Plan::parse(&text).map_err(ReloadError::Faults)
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(plan(), None).await
    }

    pub(crate) async fn with(plan: Plan, data_dir: Option<PathBuf>) -> Self {
        Self::starting(plan, data_dir, start()).await
    }

    /// An engine whose time starts then.
    pub(crate) async fn starting(plan: Plan, data_dir: Option<PathBuf>, start: Timestamp) -> Self {
        Self::open(plan, data_dir, None, start).await
    }

    /// An engine that reads its configuration anew from a file.
    pub(crate) async fn reading(file: PathBuf, data_dir: PathBuf) -> Self {
        Self::reading_from(file, data_dir, start()).await
    }

    /// The same, in a time that has gone on.
    pub(crate) async fn reading_from(file: PathBuf, data_dir: PathBuf, start: Timestamp) -> Self {
        let plan = read(&file).expect("the file has no faults");
        let source = ConfigSource { file, read };
        Self::open(plan, Some(data_dir), Some(source), start).await
    }

    async fn open(
        plan: Plan,
        data_dir: Option<PathBuf>,
        source: Option<ConfigSource>,
        start: Timestamp,
    ) -> Self {
        let clock = Arc::new(AtomicI64::new(start.nanos()));
        let settings = Settings {
            plan: Arc::new(plan),
            data_dir,
            clock: Clock::Manual(Arc::clone(&clock)),
            source,
        };
        let server = Server::start(settings).await.expect("free ports are found");
        Self {
            at: *server.addresses(),
            changes: server.changes(),
            server,
            clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.clock.load(Ordering::Acquire))
    }

    /// Lets time pass, and the core take notice.
    pub(crate) async fn pass(&self, seconds: i64) {
        self.clock
            .fetch_add(Span::from_seconds(seconds).nanos(), Ordering::AcqRel);
        self.server.tick().await.expect("the core lives");
    }

    /// Sets the clock, of which the core does not take notice by itself.
    pub(crate) fn set(&self, now: Timestamp) {
        self.clock.store(now.nanos(), Ordering::Release);
    }

    /// The changes of verdicts since the last call, as a replay prints them.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(verdict) = self.changes.try_recv() {
            lines.push(line(LineKind::Verdict, Verdict::clone(&verdict)));
        }
        lines
    }

    pub(crate) async fn stop(self) -> Ending {
        self.server.run(std::future::ready(())).await
    }

    pub(crate) async fn gates(&self) -> client::Gates {
        client::connect(&client::Reach::at(self.at.grpc.to_string()))
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        http(self.at.http, "GET", path, &[], b"").await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        http(self.at.http, "POST", path, &headers, body.as_bytes()).await
    }

    pub(crate) async fn remote_write(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http(self.at.http, "POST", "/api/v1/write", headers, body).await
    }

    pub(crate) async fn otlp(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http(self.at.otlp_http, "POST", path, headers, body).await
    }

    /// The value of a line of `/metrics`.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

pub(crate) fn line(kind: LineKind, verdict: Verdict) -> String {
    serde_json::to_string(&Line { kind, verdict }).unwrap()
}

/// One request over a connection of its own.
pub(crate) async fn http(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses by the headers does not read the body.
    drop(stream.write_all(body).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an HTTP answer");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: answer[end + 4..].to_vec(),
    }
}
