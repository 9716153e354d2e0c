//! The configuration is read anew: a good one is taken as a whole, a bad one is left and told.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    plan::Plan,
    serve::{Clock, ConfigSource, ReloadError, Server, Settings},
    source::files,
};

const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
checks: {up: {metric: up, absent: 1m}}
services: {web: {stages: [{name: unit, steps: [tests]}]}}
"#;
const TOKEN: &str = "0123456789abcdef-of-the-first";
const NEXT_TOKEN: &str = "0123456789abcdef-of-the-next";

fn read(file: &Path) -> Result<Plan, ReloadError> {
    let text = files::text(file).map_err(|error| ReloadError::Unusable(error.to_string()))?;
    Plan::parse(&text).map_err(ReloadError::Faults)
}

/// An engine with a file, and a data directory if it is to outlast the process.
struct Site {
    directory: TempDir,
    file: PathBuf,
    text: String,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("admin");
        fs::write(&token, TOKEN).unwrap();
        let access = format!(
            "access: {{tokens: [{{role: admin, file: '{}'}}]}}\n",
            token.display()
        );
        let site = Self {
            file: directory.path().join("sluice.yaml"),
            text: format!("{CONFIGURATION}{access}"),
            directory,
        };
        site.write(&site.text);
        site
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    async fn start(&self) -> Server {
        let settings = Settings {
            plan: Arc::new(read(&self.file).unwrap()),
            data_dir: Some(self.directory.path().join("data")),
            clock: Clock::Manual(Arc::new(AtomicI64::new(1_772_359_200_000_000_000))),
            source: Some(ConfigSource {
                file: self.file.clone(),
                read,
            }),
        };
        Server::start(settings).await.unwrap()
    }
}

async fn http(server: &Server, request: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.addresses().http).await.unwrap();
    let length = body.len();
    let request = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn reload(server: &Server, token: &str) -> (u16, Value) {
    let (status, body) = http(server, "POST /-/reload", token, "").await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

async fn begin(server: &Server, token: &str, deployment: &str) -> Value {
    let body = format!(
        r#"{{"deployment": "{deployment}", "service": "web", "stage": "unit", "version": "v1"}}"#
    );
    let (status, body) = http(server, "POST /api/v1/deployments", token, &body).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn stop(server: Server) {
    server.run(std::future::ready(())).await;
}

async fn metric(server: &Server, token: &str, line: &str) {
    let (_, metrics) = http(server, "GET /metrics", token, "").await;
    assert!(metrics.contains(line), "{line} is not in {metrics}");
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_configuration_and_says_every_fault() {
    let site = Site::new();
    let server = site.start().await;
    let digest = read(&site.file).unwrap().digest;
    let before = begin(&server, TOKEN, "before").await;
    assert_eq!(before["config_digest"], digest);
    metric(&server, TOKEN, "sluice_config_last_reload_successful 1\n").await;
    for (text, paths) in [
        (
            site.text.replace("absent: 1m", "absent: 1") + "lattness: 3s\n",
            vec!["checks.up.absent", "lattness"],
        ),
        (
            site.text
                .replace("checks:", "resolution: 20s\nlimits: {series: 7}\nchecks:"),
            vec!["resolution", "limits"],
        ),
        (
            site.text.replacen("127.0.0.1:0", "127.0.0.1:1", 1),
            vec!["listen"],
        ),
        (
            site.text.clone() + "tls: {cert_file: a, key_file: b}\n",
            vec!["tls"],
        ),
        (
            site.text.replace("{web: {", "{web: {match: {team: a}, "),
            vec!["services"],
        ),
    ] {
        site.write(&text);
        let (status, answer) = reload(&server, TOKEN).await;
        assert_eq!(status, 422, "{text}: {answer}");
        let told: Vec<&str> = answer["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["path"].as_str().unwrap())
            .collect();
        let mut missing = paths.iter().filter(|path| !told.contains(path));
        assert_eq!(
            (told.len(), missing.next()),
            (paths.len(), None),
            "{answer}"
        );
        metric(&server, TOKEN, "sluice_config_last_reload_successful 0\n").await;
        assert_eq!(
            begin(&server, TOKEN, &text.len().to_string()).await["config_digest"],
            digest
        );
    }
    fs::remove_file(&site.file).unwrap();
    assert_eq!(reload(&server, TOKEN).await.0, 422);
    // The file as it was is taken, and is no other configuration.
    site.write(&site.text);
    let (status, answer) = reload(&server, TOKEN).await;
    assert_eq!(
        (status, &answer["changed"]),
        (200, &Value::Bool(false)),
        "{answer}"
    );
    metric(&server, TOKEN, "sluice_config_last_reload_successful 1\n").await;
    stop(server).await;
}

#[tokio::test]
async fn a_good_file_is_for_what_begins_from_then_on_also_over_a_restart() {
    let site = Site::new();
    let server = site.start().await;
    let before = begin(&server, TOKEN, "before").await;
    let text = site.text.replace("steps: [tests]", "steps: [tests, more]");
    site.write(&text);
    let (status, answer) = reload(&server, TOKEN).await;
    assert_eq!(
        (status, &answer["changed"]),
        (200, &Value::Bool(true)),
        "{answer}"
    );
    let digest = read(&site.file).unwrap().digest;
    assert_eq!(answer["config_digest"], digest);
    let after = begin(&server, TOKEN, "after").await;
    assert_eq!(after["config_digest"], digest);
    assert_ne!(before["config_digest"], digest);
    metric(
        &server,
        TOKEN,
        &format!("sluice_config_info{{digest=\"{digest}\"}} 1\n"),
    )
    .await;
    server.tick().await.unwrap();
    metric(&server, TOKEN, "sluice_config_retired 1\n").await;
    let step = |deployment: &str| format!("POST /api/v1/deployments/{deployment}/steps");
    let passed = r#"{"step": "tests", "outcome": "passed"}"#;
    for deployment in ["before", "after"] {
        let (status, body) = http(&server, &step(deployment), TOKEN, passed).await;
        assert_eq!(status, 200, "{body}");
    }
    stop(server).await;

    let server = site.start().await;
    let verdicts = async |server: &Server| {
        let mut all = Vec::new();
        for deployment in ["before", "after"] {
            let path = format!("GET /api/v1/deployments/{deployment}/verdict");
            let (_, body) = http(server, &path, TOKEN, "").await;
            let verdict: Value = serde_json::from_str(&body).unwrap();
            all.push((verdict["verdict"].clone(), verdict["config_digest"].clone()));
        }
        all
    };
    let expected = vec![
        ("PASS".into(), before["config_digest"].clone()),
        ("PENDING".into(), Value::from(digest.as_str())),
    ];
    assert_eq!(verdicts(&server).await, expected);
    let (status, _) = http(
        &server,
        &step("after"),
        TOKEN,
        &passed.replace("tests", "more"),
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(verdicts(&server).await[1].0, "PASS");
    stop(server).await;

    // Whoever starts it under another configuration than the last means that all is judged by it.
    site.write(&site.text);
    let server = site.start().await;
    let judged = verdicts(&server).await;
    assert!(
        judged.iter().all(|(_, by)| *by == before["config_digest"]),
        "{judged:?}"
    );
    stop(server).await;
}

/// What the history has of configurations: who had one read, and from which to which.
async fn told(server: &Server) -> Vec<[String; 3]> {
    let (status, body) = http(server, "GET /api/v1/history?kind=reload", TOKEN, "").await;
    assert_eq!(status, 200, "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    let records = page["records"].as_array().unwrap().iter();
    let text = |record: &Value, key: &str| record["body"][key].as_str().unwrap().to_owned();
    records
        .map(|record| ["by", "before", "after"].map(|key| text(record, key)))
        .collect()
}

#[tokio::test]
async fn whoever_has_it_read_stands_in_the_history_with_both_digests_also_over_a_crash() {
    let site = Site::new();
    let server = site.start().await;
    let first = read(&site.file).unwrap().digest;
    site.write("checks: [");
    assert_eq!(reload(&server, TOKEN).await.0, 422);
    assert_eq!(told(&server).await, Vec::<[String; 3]>::new());
    let text = site.text.replace("steps: [tests]", "steps: [tests, more]");
    site.write(&text);
    assert_eq!(reload(&server, TOKEN).await.0, 200);
    let second = read(&site.file).unwrap().digest;
    // It is the same, but for what no verdict follows from.
    site.write(&format!("{text}\nexternal_url: 'http://sluice.example'\n"));
    server.reloader().reload("SIGHUP").await.unwrap();
    let token = format!("token {}", site.directory.path().join("admin").display());
    let all = vec![
        [token, first.clone(), second.clone()],
        ["SIGHUP".to_owned(), second.clone(), second.clone()],
    ];
    assert_eq!(told(&server).await, all);
    stop(server).await;
    // What the ledger lost is in the journal.
    let lose = || {
        let data = site.directory.path().join("data");
        for lost in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
            drop(fs::remove_file(data.join(lost)));
        }
    };
    lose();
    for _ in 0..2 {
        let server = site.start().await;
        assert_eq!(told(&server).await, all);
        stop(server).await;
    }
    // Judged anew under the first, what was done stays done, and who did that stands behind it.
    site.write(&site.text);
    let all = [all, vec![["start".to_owned(), second, first]]].concat();
    for _ in 0..2 {
        let server = site.start().await;
        assert_eq!(told(&server).await, all);
        stop(server).await;
        lose();
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_recorded_is_not_taken() {
    let site = Site::new();
    let server = site.start().await;
    let digest = read(&site.file).unwrap().digest;
    assert_eq!(told(&server).await, Vec::<[String; 3]>::new());
    let ledger = site.directory.path().join("data/ledger.sqlite");
    let other = rusqlite::Connection::open(ledger).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    site.write(&site.text.replace("steps: [tests]", "steps: [tests, more]"));
    let (status, answer) = reload(&server, TOKEN).await;
    assert_eq!(status, 503, "{answer}");
    let begun = begin(&server, TOKEN, "d1").await;
    assert_eq!(begun["config_digest"], digest);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(reload(&server, TOKEN).await.0, 200);
    assert_eq!(told(&server).await.len(), 1);
    stop(server).await;
}

#[tokio::test]
async fn tokens_are_read_anew() {
    let site = Site::new();
    let server = site.start().await;
    let token = site.directory.path().join("admin");
    fs::write(&token, NEXT_TOKEN).unwrap();
    assert_eq!(reload(&server, NEXT_TOKEN).await.0, 401);
    assert_eq!(reload(&server, TOKEN).await.0, 200);
    assert_eq!(reload(&server, TOKEN).await.0, 401);
    assert_eq!(reload(&server, NEXT_TOKEN).await.0, 200);
    // A token that cannot be used leaves the one before.
    fs::write(&token, "short").unwrap();
    let (status, answer) = reload(&server, NEXT_TOKEN).await;
    assert_eq!(status, 422, "{answer}");
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("access.tokens[0].file"),
        "{answer}"
    );
    assert!(!answer.to_string().contains("short"), "{answer}");
    assert_eq!(reload(&server, NEXT_TOKEN).await.0, 422);
    metric(
        &server,
        NEXT_TOKEN,
        "sluice_denied_requests_total{reason=\"unauthenticated\"} 2\n",
    )
    .await;
    stop(server).await;
}

#[tokio::test]
async fn an_engine_without_a_file_reads_nothing_anew() {
    let settings = Settings {
        plan: Arc::new(Plan::parse(CONFIGURATION).unwrap()),
        data_dir: None,
        clock: Clock::Manual(Arc::default()),
        source: None,
    };
    let server = Server::start(settings).await.unwrap();
    let (status, answer) = reload(&server, "x").await;
    assert_eq!(status, 422, "{answer}");
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("without --config"),
        "{answer}"
    );
    stop(server).await;
}
