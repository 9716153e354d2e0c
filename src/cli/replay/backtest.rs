//! The end of a back-test: what each gate and each check would have done, as a table or as JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::super::print;
use crate::{
    event::Span,
    plan::{Mode, Plan},
    source::backtest::{Rate, Row, Trial, summarize},
};

/// Why writing to a text cannot fail.
const IN_MEMORY: &str = "a text in memory takes what is written";
/// Most things that are named as what was flagged.
const CAUSES_MAX: usize = 3;
/// What is summed up.
#[derive(Debug, Default)]
pub(super) struct Backtest {
    trials: Vec<Trial>,
    /// By service: what is promised. Of recordings that differ in it, the largest.
    alphas: BTreeMap<String, f64>,
}

/// A line of JSON: a gate, or a check of it.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    /// `deployments` or `placebos`.
    of: &'static str,
    service: &'a str,
    stage: &'a str,
    region: Option<&'a str>,
    /// `null`: the gate as a whole.
    check: Option<&'a str>,
    mode: Option<Mode>,
    trials: u64,
    /// Gates that failed, checks that breached.
    failed: u64,
    rate: Option<f64>,
    /// 95 %, Clopper and Pearson.
    interval: [f64; 2],
    /// Seconds from the beginning to the first breach.
    delay: Option<Delay>,
    passed: u64,
    no_data: u64,
    open: u64,
    detectable: Option<f64>,
    /// Trials that do not overlap in time.
    disjoint: u64,
    alpha: Option<f64>,
    causes: Vec<Cause<'a>>,
}

#[derive(Serialize)]
struct Delay {
    p10: f64,
    median: f64,
    p90: f64,
}

#[derive(Serialize)]
struct Cause<'a> {
    what: &'a str,
    count: u64,
}

impl Backtest {
    /// Notes what the configuration of a recording promises.
    pub(super) fn know(&mut self, plan: &Plan) {
        for service in plan.services.values() {
            let alpha = self
                .alphas
                .entry(service.name.clone())
                .or_insert(service.alpha);
            *alpha = alpha.max(service.alpha);
        }
    }

    pub(super) fn add(&mut self, trial: Trial) {
        self.trials.push(trial);
    }

    /// For programs: a line for each gate and each check.
    pub(super) fn json(&self) -> String {
        let rows = summarize(&self.trials);
        let line = |row: &Row| {
            let line = self.line(row);
            print::json(&line) + "\n"
        };
        rows.iter().map(line).collect()
    }

    fn line<'a>(&self, row: &'a Row) -> Line<'a> {
        let (low, high) = row.failed.interval();
        let delay = |share| row.delay(share).map(Span::seconds_f64);
        let (service, stage, region) = &row.place;
        Line {
            r#type: "backtest",
            of: if row.is_placebo {
                "placebos"
            } else {
                "deployments"
            },
            service,
            stage,
            region: region.as_deref(),
            check: row.check.as_ref().map(|(name, _)| &**name),
            mode: row.check.as_ref().map(|(_, mode)| *mode),
            trials: row.failed.trials,
            failed: row.failed.hits,
            rate: row.failed.share().map(six_digits),
            interval: [six_digits(low), six_digits(high)],
            delay: delay(0.5).map(|median| Delay {
                p10: delay(0.1).unwrap_or(median),
                median,
                p90: delay(0.9).unwrap_or(median),
            }),
            passed: row.ends.passed,
            no_data: row.ends.no_data,
            open: row.ends.open,
            detectable: row.detectable,
            disjoint: row.disjoint,
            alpha: row
                .check
                .is_none()
                .then(|| self.alphas.get(service).copied())
                .flatten(),
            causes: row
                .causes
                .iter()
                .take(CAUSES_MAX)
                .map(|(what, count)| Cause {
                    what,
                    count: *count,
                })
                .collect(),
        }
    }

    /// For a person.
    pub(super) fn table(&self) -> String {
        let rows = summarize(&self.trials);
        let mut text = String::new();
        for (is_placebo, title) in [
            (false, "Deployments"),
            (
                true,
                "Placebos: deployments that never happened, so that what fails is a false alarm",
            ),
        ] {
            let rows: Vec<&Row> = rows
                .iter()
                .filter(|row| row.is_placebo == is_placebo)
                .collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(text, "\n{title}\n").expect(IN_MEMORY);
            let told = if is_placebo {
                "false alarms (95 %)"
            } else {
                "would have blocked"
            };
            let mut cells = vec![
                [
                    "gate, check",
                    "n",
                    told,
                    "after (10 to 90 %)",
                    "passed",
                    "no data",
                    "open",
                    "detectable",
                ]
                .map(str::to_owned),
            ];
            cells.extend(rows.iter().map(|row| row_cells(row)));
            text.push_str(&align(&cells));
            for row in rows {
                text.push_str(&self.remarks(row));
            }
        }
        text
    }

    fn remarks(&self, row: &Row) -> String {
        let mut text = String::new();
        if !row.causes.is_empty() {
            let (name, _) = row.check.as_ref().expect("causes are of a check");
            let causes = row.causes.iter().take(CAUSES_MAX);
            let causes: Vec<String> = causes
                .map(|(what, count)| format!("{count} × {what}"))
                .collect();
            let more = row.causes.len().saturating_sub(CAUSES_MAX);
            let more = if more > 0 {
                format!("; {more} more")
            } else {
                String::new()
            };
            // Names of metrics and hosts, as whoever sent them wrote them.
            let causes = print::clean(&causes.join("; "));
            writeln!(text, "  {} {name}: {causes}{more}", place(row)).expect(IN_MEMORY);
        }
        if row.is_placebo && row.check.is_none() {
            let alpha = self.alphas.get(&row.place.0).copied().unwrap_or_default();
            let Rate { hits, trials } = row.failed;
            // What overlaps is no proof of anything: the comparison counts what does not.
            let share = row.disjoint as f64 / trials.max(1) as f64;
            let (low, high) = Rate {
                hits: (hits as f64 * share).round() as u64,
                trials: row.disjoint,
            }
            .interval();
            let than = if alpha < low {
                "certainly more than"
            } else if high <= alpha {
                "certainly no more than"
            } else {
                "not told apart from"
            };
            writeln!(
                text,
                "  {}: {than} the {} % of alpha; {} of {trials} do not overlap in time, and only so many \
                 are sure to be independent",
                place(row),
                100.0 * alpha,
                row.disjoint
            )
            .expect(IN_MEMORY);
        }
        text
    }
}

fn place(row: &Row) -> String {
    let (service, stage, region) = &row.place;
    let region = region.as_deref().map(|region| format!("/{region}"));
    format!("{service}/{stage}{}", region.unwrap_or_default())
}

fn row_cells(row: &Row) -> [String; 8] {
    let name = match &row.check {
        None => place(row),
        Some((name, Mode::Blocking)) => format!("  {name}"),
        Some((name, Mode::Advisory)) => format!("  {name} (advisory)"),
    };
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let failed = if row.is_placebo {
        let (low, high) = row.failed.interval();
        let share = percent(row.failed.share().unwrap_or(0.0));
        format!(
            "{} = {share} % ({} to {})",
            row.failed.hits,
            percent(low),
            percent(high)
        )
    } else {
        row.failed.hits.to_string()
    };
    let delay = |share| row.delay(share).map(rounded);
    let after = delay(0.5).map(|median| {
        let (early, late) = (delay(0.1), delay(0.9));
        match early.zip(late) {
            Some((early, late)) if early != late => format!("{median} ({early} to {late})"),
            Some(_) | None => median.to_string(),
        }
    });
    [
        name,
        row.failed.trials.to_string(),
        failed,
        after.unwrap_or_else(|| "-".to_owned()),
        row.ends.passed.to_string(),
        row.ends.no_data.to_string(),
        row.ends.open.to_string(),
        row.detectable
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.3}")),
    ]
}

/// Whole seconds: what a person reads.
fn rounded(span: Span) -> Span {
    Span::from_seconds(span.seconds_f64().round() as i64)
}

fn six_digits(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn align(rows: &[[String; 8]]) -> String {
    let mut widths = [0; 8];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (width, cell) in widths.iter().zip(row) {
            write!(line, "{cell:<width$}  ").expect(IN_MEMORY);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
