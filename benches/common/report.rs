//! Prints what a load measured: for people, as JSON, and as one table over many runs.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    Failure,
    drive::{Measured, Phase},
    median,
    payloads::Load,
};

/// One run, as a line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Whose run it was, in a table.
    pub(crate) name: String,
    /// What was sent.
    pub(crate) load: String,
    pub(crate) measured: Measured,
}

/// Says what is sent, in a line: the same for every receiver.
pub(crate) fn describe(load: &Load) -> String {
    format!(
        "{} series of {} labels x {} rounds, {:.1} s of event time apart; remote write {}, {} series \
         a request, {} connections, order {}, churn {:.1} %",
        whole(load.series as f64),
        super::fleet::LABELS,
        load.rounds,
        load.step_ms as f64 / 1e3,
        load.protocol,
        load.batch,
        load.connections,
        load.order,
        load.churn * 100.0,
    )
}

/// Says how large a sample is.
fn sizes(measured: &Measured) -> String {
    format!(
        "{:.0} B a sample raw, {:.0} B on the wire, {:.0} B of label names and values a series",
        measured.raw_bytes_per_sample,
        measured.wire_bytes_per_sample,
        measured.label_bytes_per_series
    )
}

/// A run for people.
pub(crate) fn human(record: &Record) -> String {
    let measured = &record.measured;
    let mut text = format!(
        "receiver  {}\nload      {};\n          {}\n\n{:<8} {:>11} {:>9} {:>12} {:>8} {:>15} {:>14}\n",
        measured.receiver,
        record.load,
        sizes(measured),
        "phase",
        "samples",
        "wall s",
        "samples/s",
        "CPU s",
        "ns CPU/sample",
        "samples/CPU-s"
    );
    for (name, phase) in [("cold", &measured.cold), ("steady", &measured.steady)] {
        if phase.samples == 0 {
            continue;
        }
        let told = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        put(
            &mut text,
            format_args!(
                "{name:<8} {:>11} {:>9.3} {:>12.0} {:>8} {:>15} {:>14}\n",
                phase.samples,
                phase.wall_s,
                phase.per_second(),
                told(phase.cpu_s, 2),
                told(phase.cpu_ns(), 0),
                told(phase.per_cpu_second(), 0),
            ),
        );
    }
    put(
        &mut text,
        format_args!(
            "\naccepted  {} of {} samples in {} requests: all answered with 2xx, none lost by {}\n",
            measured.cold.samples + measured.steady.samples,
            measured.cold.samples + measured.steady.samples,
            measured.cold.requests + measured.steady.requests,
            if measured.verified {
                "the receiver's own metrics"
            } else {
                "its answers, which is all that this receiver tells"
            }
        ),
    );
    if let (Some(rss), Some(start), Some(end)) = (
        measured.rss_per_series(),
        measured.rss_start_bytes,
        measured.rss_end_bytes,
    ) {
        put(
            &mut text,
            format_args!(
                "RSS       {rss:.0} B a series: {:.1} MiB after less {:.1} MiB before, over {} series\n",
                mebibytes(end),
                mebibytes(start),
                measured.series,
            ),
        );
    }
    text
}

/// Many runs as one table of Markdown: medians, and in brackets the range over the repetitions.
///
/// # Errors
/// There are no runs, or their CPU time was not metered.
pub(crate) fn table(records: &[Record]) -> Result<String, Failure> {
    let mut names: Vec<&str> = Vec::new();
    for record in records {
        if !names.contains(&record.name.as_str()) {
            names.push(&record.name);
        }
    }
    let Some(first) = records.first() else {
        return Err(Failure::new("there are no runs to print"));
    };
    if let Some(other) = records.iter().find(|record| record.load != first.load) {
        return Err(Failure::new(format!(
            "loads differ, so they cannot stand in one table: {} and {}",
            first.load, other.load
        )));
    }
    let peers: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !name.starts_with("sluice"))
        .collect();
    let mut text = format!(
        "{};\n{}.\n\n| receiver | samples per CPU-second, steady | ns CPU/sample, steady | samples per CPU-second, cold | RSS B/series |",
        first.load,
        sizes(&first.measured)
    );
    for peer in &peers {
        put(&mut text, format_args!(" steady rate against {peer} |"));
    }
    text.push_str("\n| --- |");
    text.push_str(&" ---: |".repeat(4 + peers.len()));
    text.push('\n');
    for name in &names {
        let steady = column(records, name, |record| {
            record.measured.steady.per_cpu_second()
        })?;
        let cost = column(records, name, |record| record.measured.steady.cpu_ns())?;
        let cold = column(records, name, |record| {
            record.measured.cold.per_cpu_second()
        })?;
        let rss = column(records, name, |record| record.measured.rss_per_series())?;
        put(
            &mut text,
            format_args!(
                "| {name} | {} | {} | {} | {} |",
                spread(&steady, whole),
                spread(&cost, whole),
                spread(&cold, whole),
                spread(&rss, whole)
            ),
        );
        for peer in &peers {
            let base = column(records, peer, |record| {
                record.measured.steady.per_cpu_second()
            })?;
            // Runs of one repetition stand beside each other in time, so they are compared.
            let ratios: Vec<f64> = steady
                .iter()
                .zip(&base)
                .map(|(mine, theirs)| mine / theirs)
                .collect();
            put(&mut text, format_args!(" {} |", spread(&ratios, times)));
        }
        text.push('\n');
    }
    Ok(text)
}

/// A figure of each run under a name.
fn column(
    records: &[Record],
    name: &str,
    figure: impl Fn(&Record) -> Option<f64>,
) -> Result<Vec<f64>, Failure> {
    records
        .iter()
        .filter(|record| record.name == name)
        .map(|record| {
            figure(record)
                .filter(|figure| figure.is_finite())
                .ok_or_else(|| {
                    Failure::new(format!("a run of {name} lacks a figure: give --pid, and a load that takes longer than 10 ms"))
                })
        })
        .collect()
}

/// The median, and the range if there is more than one value.
fn spread(values: &[f64], write: impl Fn(f64) -> String) -> String {
    let middle = write(median(values));
    if values.len() < 2 {
        return middle;
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{middle} ({} … {})", write(low), write(high))
}

/// A number with its thousands apart.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn times(value: f64) -> String {
    format!("{value:.2} x")
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}

/// Whether a figure keeps a target, in a word.
pub(crate) fn kept(value: f64, at_most: f64) -> &'static str {
    if value <= at_most { "kept" } else { "MISSED" }
}

/// CPU time per sample of a phase that was metered.
///
/// # Errors
/// It was not.
pub(crate) fn metered(phase: &Phase) -> Result<f64, Failure> {
    phase
        .cpu_ns()
        .filter(|cost| 0.0 < *cost)
        .ok_or_else(|| Failure::new("the load was too short for the kernel's clock ticks"))
}
