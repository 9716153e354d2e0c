//! Runs `sluice serve` as a child, with a configuration of the bench.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::{Failure, http::Url, process::read_text};

/// Which series a check selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Every one.
    All,
    /// None.
    None,
}

/// A running engine; it ends with this value.
#[derive(Debug)]
pub(crate) struct Sluice {
    child: Child,
    /// Held while the engine writes there.
    home: tempfile::TempDir,
    /// Where remote write goes.
    pub(crate) url: Url,
    /// Where gates are asked.
    pub(crate) grpc: String,
}

/// Length of a bucket and lateness, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    pub(crate) resolution_ms: i64,
    pub(crate) lateness_ms: i64,
}

impl Default for Buckets {
    /// As without a configuration.
    fn default() -> Self {
        Self {
            resolution_ms: 10_000,
            lateness_ms: 20_000,
        }
    }
}

/// The configuration: one service with one stage, whose only check selects all series or none.
pub(crate) fn configuration(selection: Selection, buckets: Buckets) -> String {
    let metric = match selection {
        Selection::All => "*",
        Selection::None => "a_metric_that_nobody_sends",
    };
    let Buckets {
        resolution_ms,
        lateness_ms,
    } = buckets;
    format!(
        "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', otlp_grpc: '127.0.0.1:0', otlp_http: '127.0.0.1:0'}}
resolution: {resolution_ms}ms
lateness: {lateness_ms}ms
limits: {{series_per_service: 4000000}}
checks:
  watched: {{metric: '{metric}', bounds: {{max: 1e12}}}}
services:
  checkout:
    match: {{job: checkout}}
    stages:
      - {{name: onebox, bake: 1h, checks: [watched]}}
"
    )
}

impl Sluice {
    /// Starts an engine that journals into a directory of its own below the build's, on disk.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(configuration: &str) -> Result<Self, Failure> {
        let home = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let file = home.path().join("sluice.yaml");
        std::fs::write(&file, configuration)?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["serve", "--log", "error", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(home.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create_new(home.path().join("stderr"))?)
            .spawn()?;
        let addresses = addresses(&mut child);
        let mut started = Self {
            child,
            home,
            url: Url {
                authority: String::new(),
                path: "/api/v1/write".to_owned(),
            },
            grpc: String::new(),
        };
        let line = addresses.map_err(|failure| {
            let said = read_text(&started.home.path().join("stderr"));
            Failure::new(format!("{failure}: {}", said.unwrap_or_default().trim()))
        })?;
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("http", address)) => address.clone_into(&mut started.url.authority),
                Some(("grpc", address)) => address.clone_into(&mut started.grpc),
                Some(_) | None => {}
            }
        }
        if started.url.authority.is_empty() || started.grpc.is_empty() {
            return Err(Failure::new(format!(
                "sluice serve said {line:?}, not where it listens"
            )));
        }
        Ok(started)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn addresses(child: &mut Child) -> Result<String, Failure> {
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| Failure::new("sluice serve has no stdout"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.is_empty() {
        return Err(Failure::new("sluice serve ended before it listened"));
    }
    Ok(line)
}
