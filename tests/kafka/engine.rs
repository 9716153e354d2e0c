//! A `sluice serve` that a test starts, asks and kills.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::support::{DEADLINE, now};

/// A folder with a configuration: this one, listening on loopback.
pub(crate) fn configured(rest: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sluice.yaml");
    let own = r#"{grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}"#;
    std::fs::write(&config, format!("listen: {own}\n{rest}")).unwrap();
    (folder, config)
}

/// A running `sluice serve`, killed with this value.
pub(crate) struct Engine {
    process: Child,
    http: String,
}

impl Engine {
    pub(crate) fn start(config: &Path, data_dir: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .arg("serve")
            .arg("--config")
            .arg(config)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--log", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let http = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="))
            .expect("sluice tells its addresses")
            .to_owned();
        Self { process, http }
    }

    /// The whole answer of a page.
    pub(crate) fn get(&self, page: &str) -> Option<String> {
        self.ask("GET", page, "")
    }

    /// The whole answer to a request.
    fn ask(&self, method: &str, page: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.http).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {page} HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Waits until it says this of whether it is ready.
    pub(crate) fn until_ready_says(&self, wanted: &str) {
        let deadline = now() + DEADLINE;
        loop {
            let answer = self.get("/-/ready").unwrap_or_default();
            if answer.contains(wanted) {
                return;
            }
            assert!(now() < deadline, "{wanted}: {answer}");
            std::thread::yield_now();
        }
    }

    /// Tells the engine something, which it has to take.
    pub(crate) fn post(&self, page: &str, body: &Value) {
        let answer = self.ask("POST", page, &body.to_string()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{page}: {answer}");
    }

    /// A document, where the engine has it.
    pub(crate) fn json(&self, page: &str) -> Option<Value> {
        let answer = self.get(page)?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let is_there = head.starts_with("HTTP/1.1 200");
        is_there.then(|| serde_json::from_str(body).unwrap())
    }

    /// The verdict of a deployment, where it is known.
    pub(crate) fn verdict(&self, id: &str) -> Option<Value> {
        self.json(&format!("/api/v1/deployments/{id}/verdict"))
    }

    /// All records of a kind, in their order.
    pub(crate) fn history(&self, kind: &str) -> Vec<Value> {
        let (mut records, mut token) = (Vec::new(), String::new());
        loop {
            let page = format!("/api/v1/history?kind={kind}&page_size=1000&page_token={token}");
            let mut page = self.json(&page).unwrap();
            records.append(page["records"].as_array_mut().unwrap());
            let next = page["next_page_token"].as_str().unwrap();
            next.clone_into(&mut token);
            if token.is_empty() {
                return records;
            }
        }
    }

    /// Waits until this gives something.
    pub(crate) fn until<T>(&self, what: &str, get: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = now() + DEADLINE;
        loop {
            if let Some(got) = get(self) {
                return got;
            }
            if deadline <= now() {
                let stands = self.get("/api/v1/deployments").unwrap_or_default();
                panic!("{what}: not in time\n{stands}");
            }
            std::thread::yield_now();
        }
    }

    /// The value of a counter; nothing where the engine does not answer yet.
    pub(crate) fn counter(&self, name: &str) -> Option<u64> {
        let answer = self.get("/metrics")?;
        let line = answer.lines().find(|line| line.starts_with(name))?;
        let value: f64 = line.rsplit(' ').next()?.parse().ok()?;
        Some(value as u64)
    }
}

impl Drop for Engine {
    /// SIGKILL: the engine learns nothing of it.
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
