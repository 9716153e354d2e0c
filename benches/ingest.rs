//! What a sample costs on the whole path HTTP, decode, journal, reduce, against a probe that does
//! only what nobody can leave out; how the cost grows with the number of series; what a series
//! weighs.
//!
//! `cargo bench --bench ingest` measures (about 10 minutes, 2 GB of memory for the prepared requests);
//! `-- --series 100000` measures one size, `-- --batch 10000` sends so many in a request (else 2,000, as Prometheus does),
//! `-- --flat` leaves out the paced part; `-- --check` runs
//! everything small, and looks only at the counts.
//!
//! The server is a child process with its journal on disk, and its CPU time is read from `/proc`;
//! the probe is timed within the same run, over the same requests. Flat out, event time runs ahead
//! of the clock, so buckets stay open; the paced part sends a round every 15 s, so buckets close as
//! in production: its cost contains the closing, and memory is measured there.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints what it measured"
)]

#[allow(dead_code, reason = "each bench uses its part of what they share")]
mod common;

use std::process::ExitCode;

use common::{
    Failure,
    drive::{Measured, Pace, drive},
    golden, median,
    payloads::{Load, Order, Protocol},
    probe, process,
    report::{kept, mebibytes, metered, whole},
    sluice::{Buckets, Selection, Sluice, configuration},
};

/// Event time that a load may cover: Sluice refuses what is more than 5 minutes ahead.
const WINDOW_MS: i64 = 285_000;
const STEP_MS_MAX: i64 = 15_000;
/// Connections that send at a time.
const CONNECTIONS_MAX: usize = 8;
/// Runs of the probe, of which the median counts.
const PROBES: usize = 3;

const RATIO_SELECTED_MAX: f64 = 2.0;
const RATIO_UNSELECTED_MAX: f64 = 1.3;
const GROWTH_MAX: f64 = 2.5;
const RSS_SELECTED_MAX: f64 = 400.0;
const RSS_UNSELECTED_MAX: f64 = 64.0;

/// How much is sent to one server.
#[derive(Clone, Copy, Debug)]
struct Size {
    series: usize,
    rounds: usize,
}

/// What one server cost.
#[derive(Clone, Debug)]
struct Run {
    size: Size,
    selection: Selection,
    measured: Measured,
    /// CPU time per sample after the first round.
    cost_ns: f64,
    probe_ns: f64,
}

/// What is run.
#[derive(Clone, Debug)]
struct Scale {
    flat: Vec<Size>,
    paced: Vec<Size>,
    batch: usize,
    /// Event time, and wall time, between two paced rounds.
    pace_ms: i64,
    /// Buckets of the paced part.
    buckets: Buckets,
    is_check: bool,
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ingest: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    golden::check();
    let scale = scale(arguments)?;
    println!("machine: {}", process::machine());
    let flat = scale
        .flat
        .iter()
        .flat_map(|&size| [(size, Selection::All), (size, Selection::None)])
        .map(|(size, selection)| flat_out(size, selection, &scale))
        .collect::<Result<Vec<Run>, Failure>>()?;
    if scale.is_check {
        for &size in &scale.paced {
            paced(size, Selection::All, &scale)?;
            paced(size, Selection::None, &scale)?;
        }
        println!("ingest: every sample was taken");
        return Ok(());
    }
    print_costs(&flat);
    print_growth(&flat);
    // In-process figures (the walker alone, walker and reducer) belong here, over the requests of
    // `flat_out`, beside the same probe.
    let mut weighed = Vec::new();
    for &size in &scale.paced {
        for selection in [Selection::All, Selection::None] {
            weighed.push((size, selection, paced(size, selection, &scale)?));
        }
    }
    print_paced(&weighed)?;
    Ok(())
}

fn scale(arguments: &[String]) -> Result<Scale, Failure> {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo test --benches` passes nothing, and wants a check.
    if has("--check") || !has("--bench") {
        let small = Size {
            series: 2_000,
            rounds: 3,
        };
        return Ok(Scale {
            flat: vec![small],
            paced: vec![small],
            batch: 300,
            pace_ms: 200,
            buckets: Buckets {
                resolution_ms: 200,
                lateness_ms: 2_000,
            },
            is_check: true,
        });
    }
    let mut scale = Scale {
        flat: vec![
            Size {
                series: 10_000,
                rounds: 400,
            },
            Size {
                series: 100_000,
                rounds: 40,
            },
            Size {
                series: 1_000_000,
                rounds: 12,
            },
        ],
        paced: vec![
            Size {
                series: 100_000,
                rounds: 6,
            },
            Size {
                series: 1_000_000,
                rounds: 6,
            },
        ],
        batch: 2_000,
        pace_ms: 15_000,
        buckets: Buckets::default(),
        is_check: false,
    };
    if let Some(batch) = number(arguments, "--batch")? {
        scale.batch = batch;
    }
    if let Some(wanted) = number(arguments, "--series")? {
        scale.flat.retain(|size| size.series == wanted);
        scale.paced.clear();
        if scale.flat.is_empty() {
            return Err(Failure::new("--series is none of 10000, 100000, 1000000"));
        }
    }
    if has("--flat") {
        scale.paced.clear();
    }
    Ok(scale)
}

/// The number behind a flag, if it is given.
fn number(arguments: &[String], flag: &str) -> Result<Option<usize>, Failure> {
    let Some(at) = arguments.iter().position(|argument| argument == flag) else {
        return Ok(None);
    };
    let given = arguments.get(at + 1).and_then(|text| text.parse().ok());
    let number = given.filter(|number| 0 < *number);
    let problem = || Failure::new(format!("{flag} needs a number above 0"));
    Ok(Some(number.ok_or_else(problem)?))
}

/// Sends as fast as the server answers, then times the probe on the same requests.
fn flat_out(size: Size, selection: Selection, scale: &Scale) -> Result<Run, Failure> {
    let sluice = Sluice::start(&configuration(selection, Buckets::default()))?;
    let step_ms = (WINDOW_MS / size.rounds as i64).min(STEP_MS_MAX);
    let payloads = load(size, scale.batch, step_ms).prepare(&sluice.url)?;
    let measured = drive(
        &sluice.url,
        &payloads,
        Some(sluice.pid()),
        Pace::FlatOut,
        |_| {},
    )?;
    check(&measured, selection)?;
    drop(sluice);
    let mut probes = Vec::new();
    for _ in 0..PROBES {
        probes.push(probe::measure(&payloads)?);
    }
    let probe_ns = median(&probes);
    if scale.is_check {
        return Ok(Run {
            size,
            selection,
            measured,
            cost_ns: 0.0,
            probe_ns,
        });
    }
    let cost_ns = metered(&measured.steady)?;
    println!(
        "{} {} series: {} samples, {:.0} B raw and {:.0} B on the wire each, {:.0} B of label names and \
         values ({:.0} B encoded) a series; {cost_ns:.0} ns against {probe_ns:.0} ns",
        whole(size.series as f64),
        word(selection),
        payloads.samples,
        measured.raw_bytes_per_sample,
        measured.wire_bytes_per_sample,
        payloads.text_bytes_mean,
        payloads.region_bytes_mean,
    );
    Ok(Run {
        size,
        selection,
        measured,
        cost_ns,
        probe_ns,
    })
}

/// Sends a round whenever its time has come.
fn paced(size: Size, selection: Selection, scale: &Scale) -> Result<Measured, Failure> {
    let sluice = Sluice::start(&configuration(selection, scale.buckets))?;
    let payloads = load(size, scale.batch, scale.pace_ms).prepare(&sluice.url)?;
    let measured = drive(
        &sluice.url,
        &payloads,
        Some(sluice.pid()),
        Pace::Clock,
        |_| {},
    )?;
    check(&measured, selection)?;
    Ok(measured)
}

fn load(size: Size, batch: usize, step_ms: i64) -> Load {
    Load {
        series: size.series,
        rounds: size.rounds,
        batch,
        // As few as fill their requests, as Prometheus has shards.
        connections: (size.series / batch).clamp(1, CONNECTIONS_MAX),
        protocol: Protocol::RemoteWrite1,
        step_ms,
        start_ms: 0,
        churn: 0.0,
        order: Order::Same,
        seed: 1,
    }
}

/// The server took every sample, else [`drive`] failed; here: as what it should.
fn check(measured: &Measured, selection: Selection) -> Result<(), Failure> {
    let expected = match selection {
        Selection::All => measured.series,
        Selection::None => 0,
    };
    if measured.selected == expected {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} of {} series are selected by a check, not {expected}",
        measured.selected, measured.series
    )))
}

fn word(selection: Selection) -> &'static str {
    match selection {
        Selection::All => "selected",
        Selection::None => "unselected",
    }
}

fn print_costs(runs: &[Run]) {
    println!(
        "\nFlat out: CPU time of the whole server per sample, against the probe (decompress, one \
         scan, one look-up, one append)\n\n\
         | series | | server, steady, ns | probe, ns | ratio | target | server, cold, ns | \
         samples per CPU-second |\n| ---: | --- | ---: | ---: | ---: | --- | ---: | ---: |"
    );
    for run in runs {
        let at_most = match run.selection {
            Selection::All => RATIO_SELECTED_MAX,
            Selection::None => RATIO_UNSELECTED_MAX,
        };
        let ratio = run.cost_ns / run.probe_ns;
        let cold = run.measured.cold.cpu_ns().unwrap_or(f64::NAN);
        println!(
            "| {} | {} | {:.0} | {:.0} | {ratio:.2} | <= {at_most:.1}: {} | {cold:.0} | {} |",
            whole(run.size.series as f64),
            word(run.selection),
            run.cost_ns,
            run.probe_ns,
            kept(ratio, at_most),
            whole(1e9 / run.cost_ns),
        );
    }
}

fn print_growth(runs: &[Run]) {
    println!();
    for selection in [Selection::All, Selection::None] {
        let mut costs = runs.iter().filter(|run| run.selection == selection);
        let (Some(least), Some(most)) = (costs.next(), costs.next_back()) else {
            continue;
        };
        let growth = most.cost_ns / least.cost_ns;
        println!(
            "growth of the cost of a sample from {} to {} {} series: {growth:.2} x (target < \
             {GROWTH_MAX}: {}); the probe's: {:.2} x",
            whole(least.size.series as f64),
            whole(most.size.series as f64),
            word(selection),
            kept(growth, GROWTH_MAX),
            most.probe_ns / least.probe_ns
        );
    }
}

fn print_paced(runs: &[(Size, Selection, Measured)]) -> Result<(), Failure> {
    if runs.is_empty() {
        return Ok(());
    }
    println!(
        "\nAt the pace of the clock, one sample a series every 15 s, buckets of 10 s close 20 s \
         after their end\n\n\
         | series | | server, steady, ns/sample | RSS before, MiB | RSS after, MiB | RSS B/series |\n\
         | ---: | --- | ---: | ---: | ---: | ---: |"
    );
    for (size, selection, measured) in runs {
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.1} | {:.0} |",
            whole(size.series as f64),
            word(*selection),
            metered(&measured.steady)?,
            mebibytes(measured.rss_start_bytes.unwrap_or(0)),
            mebibytes(measured.rss_end_bytes.unwrap_or(0)),
            measured.rss_per_series().unwrap_or(f64::NAN),
        );
    }
    println!();
    for (selection, at_most) in [
        (Selection::All, RSS_SELECTED_MAX),
        (Selection::None, RSS_UNSELECTED_MAX),
    ] {
        let mut mine = runs.iter().filter(|(_, other, _)| *other == selection);
        let (Some((_, _, least)), Some((_, _, most))) = (mine.next(), mine.next_back()) else {
            continue;
        };
        // What a server holds whatever the number of series drops out of the difference.
        let gained = |measured: &Measured| {
            measured.rss_per_series().unwrap_or(f64::NAN) * measured.series as f64
        };
        let weight = (gained(most) - gained(least)) / (most.series - least.series) as f64;
        let (labels, beside) = match selection {
            Selection::All => (most.label_bytes_per_series, " beside its labels"),
            Selection::None => (0.0, ", labels and all"),
        };
        println!(
            "RSS of a further {} series: {weight:.0} B with {labels:.0} B of labels taken off it: {:.0} \
             B{beside} (target <= {at_most:.0} B: {})",
            word(selection),
            weight - labels,
            kept(weight - labels, at_most)
        );
    }
    Ok(())
}
