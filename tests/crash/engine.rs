//! A `sluice serve` in a process of its own, and the place where it lives.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use super::{
    http,
    random::{DEADLINE, now},
};

/// Buckets of a second, so that a run of some seconds has many; what comes within six seconds is in
/// time, so that a start may take as long; the state is saved as often as can be.
///
/// `probe` and `work` allow nothing but the mean that a whole bucket has (see [`super::load`]).
pub(crate) const CONFIGURATION: &str = r#"
listen: {grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}
resolution: 1s
lateness: 6s
journal: {snapshot_every: 1s, commit_delay: 5ms}
checks:
  probe: {metric: probe, bounds: {min: -0.001, max: 0.001, for: 1s}}
  work: {metric: work, bounds: {min: 1189.999, max: 1190.001, for: 1s}}
  errors: {logs: {severity: ERROR}, bounds: {max: 1201/m}}
  noise: {metric: noise, bounds: {max: 1e12}}
  heat: {metric: temperature, bounds: {max: 100}}
services:
  web:
    stages:
      - name: good
        bake: 5s
        steps: [tests]
        checks: [probe, work, heat, {check: errors, mode: advisory}, {check: noise, mode: advisory}]
      - {name: bad, bake: 5s, checks: [heat]}
  desk:
    stages:
      - {name: manual, steps: [approval]}
"#;

/// Where engines live one after the other, and where the present one is reached.
#[derive(Debug)]
pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// What runs the engine: the words before the command, if any.
    wrapper: Vec<String>,
    /// The data directory, as the engine sees it.
    data: PathBuf,
    /// The same, as we do.
    pub(crate) seen: PathBuf,
    reached: Mutex<Reached>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    /// How many engines were started.
    generation: u64,
    at: Option<Addresses>,
}

/// Where an engine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) otlp_http: SocketAddr,
    pub(crate) otlp_grpc: SocketAddr,
}

/// A running engine; SIGKILL ends it with this value.
#[derive(Debug)]
pub(crate) struct Engine {
    process: Child,
    site: Arc<Site>,
}

impl Site {
    pub(crate) fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let seen = data.clone();
        Self::with(folder, data, seen, Vec::new())
    }

    /// A site whose engines are run by another command, with a data directory that they see there and we
    /// elsewhere.
    pub(crate) fn with(
        folder: tempfile::TempDir,
        data: PathBuf,
        seen: PathBuf,
        wrapper: Vec<String>,
    ) -> Arc<Self> {
        let site = Self {
            folder,
            wrapper,
            data,
            seen,
            reached: Mutex::default(),
            changed: Condvar::new(),
        };
        std::fs::write(site.config(), CONFIGURATION).unwrap();
        Arc::new(site)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("sluice.yaml")
    }

    /// What all engines have logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Starts an engine; it may be killed before it is reached.
    pub(crate) fn start(self: &Arc<Self>) -> Engine {
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut words = self.wrapper.iter().map(String::as_str);
        let sluice = env!("CARGO_BIN_EXE_sluice");
        let mut command = Command::new(words.next().unwrap_or(sluice));
        command.args(words);
        if !self.wrapper.is_empty() {
            command.arg(sluice);
        }
        let mut process = command
            .arg("serve")
            .arg("--config")
            .arg(self.config())
            .arg("--data-dir")
            .arg(&self.data)
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let generation = {
            let mut reached = self.reached.lock().unwrap();
            reached.generation += 1;
            reached.at = None;
            reached.generation
        };
        let stdout = process.stdout.take().unwrap();
        let site = Arc::clone(self);
        thread::spawn(move || {
            let mut line = String::new();
            // It may be killed before it says where it is.
            if let Ok(1..) = BufReader::new(stdout).read_line(&mut line) {
                let at = Addresses::read(&line);
                let mut reached = site.reached.lock().unwrap();
                if reached.generation == generation {
                    reached.at = at;
                    site.changed.notify_all();
                }
            }
        });
        Engine {
            process,
            site: Arc::clone(self),
        }
    }

    /// Starts an engine and waits until it is ready.
    pub(crate) fn start_ready(self: &Arc<Self>) -> Engine {
        let engine = self.start();
        self.at().wait_ready();
        engine
    }

    /// Where the present engine is reached, which is awaited for at most so long.
    pub(crate) fn reached(&self, limit: Duration) -> Option<Addresses> {
        let end = now() + limit;
        let mut reached = self.reached.lock().unwrap();
        while reached.at.is_none() {
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return None;
            }
            (reached, _) = self.changed.wait_timeout(reached, left).unwrap();
        }
        reached.at
    }

    /// Where the present engine is reached.
    pub(crate) fn at(&self) -> Addresses {
        self.reached(DEADLINE).expect("an engine starts in time")
    }

    /// Blocks until another engine than the one at these addresses is there, or it is time to try again.
    pub(crate) fn back_off(&self, from: Addresses) {
        let reached = self.reached.lock().unwrap();
        let is_same = |reached: &mut Reached| reached.at.is_none_or(|at| at == from);
        let waited = self
            .changed
            .wait_timeout_while(reached, Duration::from_millis(20), is_same);
        drop(waited.unwrap());
    }
}

impl Addresses {
    fn read(line: &str) -> Option<Self> {
        let address = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.parse().ok())
        };
        Some(Self {
            http: address("http=")?,
            otlp_http: address("otlp_http=")?,
            otlp_grpc: address("otlp_grpc=")?,
        })
    }

    /// Blocks until `/-/ready` says so.
    pub(crate) fn wait_ready(self) {
        wait_for("ready", || {
            http::get(self.http, "/-/ready").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// The lines of `/metrics` of one name.
    pub(crate) fn metrics(self, name: &str) -> Vec<String> {
        let text = http::get(self.http, "/metrics").map(|answer| answer.text());
        let text = text.unwrap_or_default();
        let is_meant = |line: &&str| line.starts_with(name);
        text.lines().filter(is_meant).map(str::to_owned).collect()
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(self, name: &str) -> Option<f64> {
        let lines = self.metrics(&format!("{name} "));
        lines.first()?.rsplit(' ').next()?.parse().ok()
    }
}

impl Engine {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Engine {
    /// SIGKILL: the engine learns nothing of it.
    fn drop(&mut self) {
        self.site.reached.lock().unwrap().at = None;
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Asks again and again until it is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = now() + DEADLINE;
    while !is_so() {
        assert!(now() < end, "in time: {what}");
        thread::yield_now();
    }
}
