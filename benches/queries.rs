//! How long a verdict takes while ingest runs at full speed, beside the gRPC health check in the same
//! run: what the engine adds to what the machine, the kernel and gRPC take anyway.
//!
//! `cargo bench --bench queries` measures (about a minute); `-- --rate 200` asks each of the two 200
//! times a second (500 unless given); `-- --check` is a short run that looks only at the answers.
//!
//! Requests follow a fixed schedule and are timed from the moment at which they were due, so a
//! stall counts for every request that it held up. The load comes from another process over
//! connections of its own, and the bench fails if the server did not take all of it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measured"
)]

#[allow(dead_code, reason = "each bench uses its part of what they share")]
mod common;

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    Failure, clock,
    drive::{Pace, drive},
    http::Url,
    payloads::{Load, Order, Protocol},
    process,
    report::{self, Record, kept},
    sluice::{Buckets, Selection, Sluice, configuration},
};
use hdrhistogram::Histogram;
use sluice::serve::pb::{BeginRequest, GetVerdictRequest, VerdictState, gates_client::GatesClient};
use tokio::{runtime::Runtime, sync::mpsc};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Connections over which the questions are spread.
const CHANNELS: usize = 4;
const DEPLOYMENT: &str = "bench";
const RATIO_MAX: f64 = 2.0;
/// The longest answer that is told apart.
const MICROS_MAX: u64 = 60_000_000;

/// How much is asked and sent.
#[derive(Clone, Copy, Debug)]
struct Size {
    series: usize,
    rounds: usize,
    step_ms: i64,
    /// Requests a second of each kind.
    rate: u64,
    idle: Duration,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Verdict,
    Health,
}

/// How long the answers to both questions took, in microseconds.
#[derive(Debug)]
struct Answers {
    verdict: Mutex<Histogram<u64>>,
    health: Mutex<Histogram<u64>>,
    failed: AtomicU64,
    fault: Mutex<Option<String>>,
}

/// A process that sends the load.
struct Sender {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [role, url, pid, size @ ..] if role == "--send" => send(url, pid, size),
        _ => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("queries: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let is_check = has("--check") || !has("--bench");
    let mut size = if is_check {
        Size {
            series: 2_000,
            rounds: 20,
            step_ms: 1_000,
            rate: 100,
            idle: Duration::from_millis(300),
        }
    } else {
        Size {
            series: 20_000,
            rounds: 600,
            step_ms: 475,
            rate: 500,
            idle: Duration::from_secs(10),
        }
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--rate") {
        let rate = arguments.get(at + 1).and_then(|text| text.parse().ok());
        size.rate = rate
            .filter(|rate| (1..=100_000).contains(rate))
            .ok_or_else(|| Failure::new("--rate needs a number from 1 to 100000"))?;
    }
    let machine = process::machine();
    let sluice = Sluice::start(&configuration(Selection::All, Buckets::default()))?;
    let runtime = Runtime::new()?;
    let channels = runtime.block_on(begin(&sluice.grpc))?;
    // Connections and code paths are warm before anything counts.
    ask(&runtime, &channels, size.rate, || {
        clock::rest(Duration::from_millis(200));
        Ok(())
    })?;
    let (idle, ()) = ask(&runtime, &channels, size.rate, || {
        clock::rest(size.idle);
        Ok(())
    })?;
    let mut sender = Sender::start(&sluice, size)?;
    sender.expect("steady")?;
    let (busy, ()) = ask(&runtime, &channels, size.rate, || sender.expect("sent"))?;
    let record = sender.finish()?;
    if is_check {
        println!("queries: every question was answered, every sample taken");
        return Ok(());
    }
    println!(
        "machine: {machine}\nload: {}\nwhile asked: {} samples/s, {:.2} of a CPU in the server\n",
        record.load,
        report::whole(record.measured.steady.per_second()),
        record.measured.steady.cpu_s.unwrap_or(f64::NAN) / record.measured.steady.wall_s
    );
    print_answers(size.rate, &idle, &busy);
    Ok(())
}

/// Opens a gate, and the connections over which it will be asked.
async fn begin(grpc: &str) -> Result<Vec<Channel>, Failure> {
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        let endpoint = Endpoint::from_shared(format!("http://{grpc}"));
        let channel = match endpoint {
            Ok(endpoint) => endpoint.connect().await,
            Err(error) => Err(error),
        };
        channels.push(channel.map_err(|error| Failure::new(format!("{grpc}: {error}")))?);
    }
    let request = BeginRequest {
        deployment: DEPLOYMENT.to_owned(),
        service: "checkout".to_owned(),
        stage: "onebox".to_owned(),
        version: "v2".to_owned(),
        one_box: vec!["10.32.0.0:9102".to_owned()],
        ..BeginRequest::default()
    };
    let begun = GatesClient::new(channels[0].clone()).begin(request).await;
    begun.map_err(|status| Failure::new(format!("no gate could be opened: {status}")))?;
    Ok(channels)
}

/// Asks both questions in turn at a fixed rate for as long as `meanwhile` takes.
fn ask<T>(
    runtime: &Runtime,
    channels: &[Channel],
    rate: u64,
    meanwhile: impl FnOnce() -> Result<T, Failure>,
) -> Result<(Answers, T), Failure> {
    let answers = Arc::new(Answers::new());
    let is_over = Arc::new(AtomicBool::new(false));
    let (due, inbox) = mpsc::unbounded_channel();
    let schedule = {
        let is_over = Arc::clone(&is_over);
        // A thread of its own: the runtime's timers are no finer than a millisecond.
        thread::spawn(move || schedule(rate, &is_over, &due))
    };
    let asking = runtime.spawn(ask_when_due(channels.to_vec(), inbox, Arc::clone(&answers)));
    let done = meanwhile();
    is_over.store(true, Ordering::Release);
    let asked = schedule
        .join()
        .map_err(|_| Failure::new("the schedule of the questions failed"))?;
    runtime
        .block_on(asking)
        .map_err(|error| Failure::new(format!("a question failed: {error}")))?;
    let done = done?;
    let answers = Arc::into_inner(answers)
        .ok_or_else(|| Failure::new("a question is still under way after all were answered"))?;
    answers.check(asked)?;
    Ok((answers, done))
}

/// Tells when a question is due, and which; gives how many were.
fn schedule(
    rate: u64,
    is_over: &AtomicBool,
    due: &mpsc::UnboundedSender<(Question, Instant)>,
) -> u64 {
    let interval = Duration::from_secs(1) / (2 * rate) as u32;
    let start = clock::now();
    let mut slot = 0;
    while !is_over.load(Ordering::Acquire) {
        let at = start + interval * slot as u32;
        let left = at.saturating_duration_since(clock::now());
        if !left.is_zero() {
            clock::rest(left);
        }
        let question = if slot % 2 == 0 {
            Question::Verdict
        } else {
            Question::Health
        };
        if due.send((question, at)).is_err() {
            break;
        }
        slot += 1;
    }
    slot
}

/// Asks each question when it is due, whether or not those before it were answered.
async fn ask_when_due(
    channels: Vec<Channel>,
    mut inbox: mpsc::UnboundedReceiver<(Question, Instant)>,
    answers: Arc<Answers>,
) {
    let mut asked = tokio::task::JoinSet::new();
    let mut count = 0;
    while let Some((question, at)) = inbox.recv().await {
        // Both kinds use every connection in the same way.
        let channel = channels[count / 2 % channels.len()].clone();
        count += 1;
        let answers = Arc::clone(&answers);
        asked.spawn(async move {
            let outcome = match question {
                Question::Verdict => verdict(channel).await,
                Question::Health => health(channel).await,
            };
            answers.record(question, at.elapsed(), outcome);
        });
        while asked.try_join_next().is_some() {}
    }
    while asked.join_next().await.is_some() {}
}

async fn verdict(channel: Channel) -> Result<(), String> {
    let request = GetVerdictRequest {
        deployment: DEPLOYMENT.to_owned(),
    };
    let answer = GatesClient::new(channel).get_verdict(request).await;
    let verdict = answer.map_err(|status| status.to_string())?.into_inner();
    // Its bake is an hour long.
    if verdict.verdict() == VerdictState::Pass {
        return Err("the gate passed within its bake".to_owned());
    }
    Ok(())
}

async fn health(channel: Channel) -> Result<(), String> {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    answer.map(drop).map_err(|status| status.to_string())
}

/// The other process: prepares the load, tells when its steady part begins and ends, and prints its
/// record.
fn send(url: &str, pid: &str, size: &[String]) -> Result<(), Failure> {
    let numbers: Vec<usize> = size.iter().filter_map(|text| text.parse().ok()).collect();
    let (Ok(pid), [series, rounds, step_ms]) = (pid.parse(), numbers.as_slice()) else {
        return Err(Failure::new("the sender was not told what to send"));
    };
    let url = Url {
        authority: url.to_owned(),
        path: "/api/v1/write".to_owned(),
    };
    let load = Load {
        series: *series,
        rounds: *rounds,
        batch: 2_000,
        connections: 2,
        protocol: Protocol::RemoteWrite1,
        step_ms: *step_ms as i64,
        start_ms: 0,
        churn: 0.0,
        order: Order::Same,
        seed: 1,
    };
    let payloads = load.prepare(&url)?;
    let measured = drive(&url, &payloads, Some(pid), Pace::FlatOut, |moment| {
        println!("{moment}");
    })?;
    let record = Record {
        name: "sluice".to_owned(),
        load: report::describe(&load),
        measured,
    };
    let line = serde_json::to_string(&record).map_err(|error| Failure::new(error.to_string()))?;
    println!("{line}");
    Ok(())
}

impl Sender {
    fn start(sluice: &Sluice, size: Size) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--send", &sluice.url.authority])
            .arg(sluice.pid().to_string())
            .args(
                [size.series, size.rounds, size.step_ms as usize].map(|number| number.to_string()),
            )
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| Failure::new("the sender has no stdout"))?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let line = self.lines.next();
        line.ok_or_else(|| Failure::new("the sender failed, see above"))?
            .map_err(Failure::from)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Failure> {
        let line = self.line()?;
        if line == wanted {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the sender said {line:?}, not {wanted:?}"
        )))
    }

    /// Waits until the server has shown that it took everything.
    fn finish(&mut self) -> Result<Record, Failure> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| Failure::new(error.to_string()))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Answers {
    fn new() -> Self {
        let none = || {
            Mutex::new(
                Histogram::new_with_bounds(1, MICROS_MAX, 3)
                    .expect("the bounds of the histogram are in order"),
            )
        };
        Self {
            verdict: none(),
            health: none(),
            failed: AtomicU64::new(0),
            fault: Mutex::new(None),
        }
    }

    fn record(&self, question: Question, took: Duration, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                let histogram = match question {
                    Question::Verdict => &self.verdict,
                    Question::Health => &self.health,
                };
                lock(histogram).saturating_record(took.as_micros() as u64);
            }
            Err(fault) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                lock(&self.fault).get_or_insert(fault);
            }
        }
    }

    fn check(&self, asked: u64) -> Result<(), Failure> {
        let answered = lock(&self.verdict).len() + lock(&self.health).len();
        if answered == asked && 0 < asked {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{answered} of {asked} questions were answered; the first fault: {}",
            lock(&self.fault).as_deref().unwrap_or("none")
        )))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print_answers(rate: u64, idle: &Answers, busy: &Answers) {
    println!(
        "Microseconds from the moment at which a question was due to its answer, {rate} of each a \
         second, in turn\n\n\
         | while | question | answers | p50 | p99 | p99.9 |\n| --- | --- | ---: | ---: | ---: | ---: |"
    );
    for (phase, answers) in [("idle", idle), ("ingest at full speed", busy)] {
        for (question, histogram) in [("verdict", &answers.verdict), ("health", &answers.health)] {
            let histogram = lock(histogram);
            println!(
                "| {phase} | {question} | {} | {} | {} | {} |",
                histogram.len(),
                histogram.value_at_quantile(0.5),
                histogram.value_at_quantile(0.99),
                histogram.value_at_quantile(0.999)
            );
        }
    }
    println!();
    for (phase, answers) in [("idle", idle), ("ingest at full speed", busy)] {
        let p99 =
            |histogram: &Mutex<Histogram<u64>>| lock(histogram).value_at_quantile(0.99) as f64;
        let ratio = p99(&answers.verdict) / p99(&answers.health);
        println!(
            "{phase}: p99 of a verdict is {ratio:.2} x that of the health check (target <= \
             {RATIO_MAX}: {})",
            kept(ratio, RATIO_MAX)
        );
    }
}
