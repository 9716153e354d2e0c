//! Drives any receiver of Prometheus remote write with prepared requests, and prints what a sample
//! costs it: samples per second of its CPU time, memory per series.
//!
//! ```text
//! cargo bench --bench loader -- --url http://127.0.0.1:7071/api/v1/write --pid PID
//! ```
//!
//! Every request is built before the clock starts. Samples lie around the present: the first round
//! carries the time at which sending starts (`--start` shifts it), each further one `--step` more,
//! so flat out the event time runs ahead of the clock. Sluice refuses what is more than 5 minutes
//! ahead or older than its lateness, Debian's Prometheus what is an hour older than the newest:
//! 20 rounds 15 s apart suit both, and `VictoriaMetrics` takes all of it. With `--pace` a round waits for
//! its time, so that buckets close as in production.
//!
//! A run whose samples were not all taken fails: the receiver's own metrics are asked, too.
//! `--table FILE` reads the lines that `--json` printed and makes one table of them.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measured"
)]

#[allow(dead_code, reason = "each bench uses its part of what they share")]
mod common;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use common::{
    Failure,
    drive::{Measured, Pace, Phase, drive},
    fake, golden,
    http::Url,
    payloads::{Load, Order, Protocol},
    report::{self, Record},
};

/// Sends remote write and prints what a sample costs the receiver
#[derive(Clone, Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[command(name = "loader")]
struct Arguments {
    /// Where to send to, such as <http://127.0.0.1:7071/api/v1/write>
    #[arg(long)]
    url: Option<String>,
    /// The receiver's process, to read its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// How many series
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// How many samples of each
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Series in a request
    #[arg(long, default_value_t = 2_000)]
    batch: usize,
    /// Connections that send at a time
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// 1.0 or 2.0
    #[arg(long, default_value = "1.0")]
    protocol: Protocol,
    /// Event time between two rounds
    #[arg(long, default_value = "15s", value_parser = milliseconds)]
    step: i64,
    /// Time of the first round: now, now-10m or now+1m
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    start: String,
    /// Percentage of the series that new ones replace before each round, such as 1
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
    /// Order of the series from round to round: same, groups or random
    #[arg(long, default_value = "same")]
    order: Order,
    /// What the shuffling depends on
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send a round when its time has come, not as fast as the receiver answers
    #[arg(long)]
    pace: bool,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
    /// Name of the run in a table
    #[arg(long, default_value = "")]
    name: String,
    /// Fail unless the receiver (Sluice) selects all or none of the series
    #[arg(long, value_parser = ["all", "none"])]
    expect_selected: Option<String>,
    /// Print one table of runs: a file with the lines of --json
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Test the loader itself, against a receiver within this process
    #[arg(long)]
    check: bool,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // `cargo test --benches` runs a bench without the argument that `cargo bench` passes.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let done = if is_bench || 1 < std::env::args().len() {
        run(&Arguments::parse())
    } else {
        check()
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loader: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.check {
        return check();
    }
    if let Some(file) = &arguments.table {
        println!("{}", report::table(&records(file)?)?);
        return Ok(());
    }
    let Some(url) = &arguments.url else {
        return Err(Failure::new(
            "--url is missing: where to send to, or --check, or --table FILE",
        ));
    };
    let url: Url = url.parse()?;
    let record = measure(arguments, &url)?;
    if arguments.json {
        let line =
            serde_json::to_string(&record).map_err(|error| Failure::new(error.to_string()))?;
        println!("{line}");
    } else {
        println!("machine   {}", common::process::machine());
        print!("{}", report::human(&record));
    }
    Ok(())
}

fn measure(arguments: &Arguments, url: &Url) -> Result<Record, Failure> {
    let load = Load {
        series: arguments.series,
        rounds: arguments.rounds,
        batch: arguments.batch,
        connections: arguments.connections,
        protocol: arguments.protocol,
        step_ms: arguments.step,
        start_ms: start_ms(&arguments.start)?,
        churn: arguments.churn / 100.0,
        order: arguments.order,
        seed: arguments.seed,
    };
    let payloads = load.prepare(url)?;
    let pace = if arguments.pace {
        Pace::Clock
    } else {
        Pace::FlatOut
    };
    let measured = drive(url, &payloads, arguments.pid, pace, |_| {})?;
    let wanted = match arguments.expect_selected.as_deref() {
        Some("all") => Some(measured.series),
        Some(_) => Some(0),
        None => None,
    };
    if let Some(wanted) = wanted
        && measured.selected != wanted
    {
        return Err(Failure::new(format!(
            "{} of {} series are selected by a check, not {wanted}",
            measured.selected, measured.series
        )));
    }
    let name = if arguments.name.is_empty() {
        measured.receiver.clone()
    } else {
        arguments.name.clone()
    };
    Ok(Record {
        name,
        load: report::describe(&load),
        measured,
    })
}

/// Milliseconds of `now-10m` against now.
fn start_ms(text: &str) -> Result<i64, Failure> {
    let bad = || Failure::new(format!("--start {text:?} is none of now, now-10m, now+1m"));
    let rest = text.strip_prefix("now").ok_or_else(bad)?;
    if rest.is_empty() {
        return Ok(0);
    }
    let (sign, span) = match rest.split_at_checked(1) {
        Some(("-", span)) => (-1, span),
        Some(("+", span)) => (1, span),
        Some(_) | None => return Err(bad()),
    };
    Ok(sign * milliseconds(span)?)
}

/// Milliseconds of a span such as 500ms, 15s, 10m or 1h.
fn milliseconds(text: &str) -> Result<i64, Failure> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let parsed = units.into_iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some((number * f64::from(factor)) as i64)
    });
    parsed.ok_or_else(|| Failure::new(format!("{text:?} is no span: write 500ms, 15s, 10m or 1h")))
}

/// The runs in a file, a line each.
fn records(file: &Path) -> Result<Vec<Record>, Failure> {
    common::process::read_text(file)?
        .lines()
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|error| Failure::new(format!("{} holds no runs: {error}", file.display())))
        })
        .collect()
}

/// Sends small loads of every kind to a receiver in this process, which decodes them with prost, and
/// makes sure that a loss is noticed.
fn check() -> Result<(), Failure> {
    golden::check();
    let own_pid = std::process::id().to_string();
    for protocol in ["1.0", "2.0"] {
        for order in ["same", "groups", "random"] {
            let fake = fake::Receiver::start(fake::Temper::Honest)?;
            let arguments = [
                "loader",
                "--series",
                "1000",
                "--rounds",
                "3",
                "--batch",
                "70",
                "--connections",
                "3",
                "--churn",
                "10",
                "--protocol",
                protocol,
                "--order",
                order,
                "--pid",
                &own_pid,
                "--expect-selected",
                "none",
            ];
            let record = measure(&Arguments::parse_from(arguments), &fake.url)?;
            let seen = fake.seen();
            assert_eq!(seen.samples, 3_000, "{protocol} {order}");
            assert!(
                seen.is_in_order,
                "{protocol} {order}: a series went back in time"
            );
            // 1,000 series in 5 groups of 200: a round of churn replaces one group.
            assert_eq!(record.measured.series, 1_400);
            assert_eq!(seen.series, 1_400, "{protocol} {order}");
            let counted = record.measured.cold.samples + record.measured.steady.samples;
            assert_eq!(counted, 3_000);
        }
    }
    for (temper, word) in [
        (
            fake::Temper::Refusing,
            "cold: 1 of 15 requests were not answered with 2xx (503 x 1)",
        ),
        (fake::Temper::Losing, "lost"),
    ] {
        let fake = fake::Receiver::start(temper)?;
        let arguments = [
            "loader",
            "--series",
            "1000",
            "--rounds",
            "3",
            "--batch",
            "70",
            "--connections",
            "2",
        ];
        let outcome = measure(&Arguments::parse_from(arguments), &fake.url);
        let Err(failure) = outcome else {
            return Err(Failure::new(format!(
                "a receiver that is {temper:?} went unnoticed"
            )));
        };
        assert!(failure.to_string().contains(word), "{failure}");
    }
    check_table()?;
    println!("loader: every check passed");
    Ok(())
}

/// Two repetitions of two receivers: ratios are taken within a repetition, then their median.
fn check_table() -> Result<(), Failure> {
    let record = |name: &str, cpu_s: f64| {
        let phase = Phase {
            samples: 1_000_000,
            cpu_s: Some(cpu_s),
            ..Phase::default()
        };
        Record {
            name: name.to_owned(),
            load: "a load".to_owned(),
            measured: Measured {
                receiver: name.to_owned(),
                cold: phase.clone(),
                steady: phase,
                series: 1_000,
                selected: 0,
                verified: true,
                rss_start_bytes: Some(0),
                rss_end_bytes: Some(400_000),
                raw_bytes_per_sample: 0.0,
                wire_bytes_per_sample: 0.0,
                label_bytes_per_series: 0.0,
            },
        }
    };
    let records = [
        record("sluice", 1.0),
        record("peer", 10.0),
        record("sluice", 2.0),
        record("peer", 40.0),
    ];
    let table = report::table(&records)?;
    let row = "| sluice | 750,000 (500,000 … 1,000,000) | 1,500 (1,000 … 2,000) \
               | 750,000 (500,000 … 1,000,000) | 400 (400 … 400) | 15.00 x (10.00 x … 20.00 x) |";
    assert!(table.contains(row), "{table}");
    Ok(())
}
