//! The rules of today beside ours, on recordings whose truth is known: false blocks, misses, delays.
//!
//! `cargo bench --bench rules -- DIR…` reads directories of recordings, each with a `truth.jsonl` of
//! lines `{"id": "…", "expected": "fail" | "pass" | "transient", "onset": UNIX_SECONDS}` (`deployment`
//! where a recording has several), as `exam.py build` writes them. Without one it runs the recordings in
//! `fixtures/`. Each rule judges the metrics of the blocking comparisons of the stage, in their
//! direction, after the same grace, and fails the deployment by any of them.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "rules/mod.rs"]
mod today;

use std::path::PathBuf;

use sluice::source::backtest::Rate;
use today::{
    Rule,
    stage::{Outcome, judge, truths},
};

fn main() {
    let arguments = std::env::args().skip(1);
    let given: Vec<PathBuf> = arguments
        .filter(|argument| !argument.starts_with("--"))
        .map(PathBuf::from)
        .collect();
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/recordings");
    let folders = if given.is_empty() {
        vec![fixtures]
    } else {
        given
    };
    for folder in folders {
        let truths = truths(&folder);
        let outcomes: Vec<Outcome> = truths
            .iter()
            .filter(|truth| ["fail", "pass", "transient"].contains(&&*truth.expected))
            .map(|truth| judge(&folder, truth))
            .collect();
        println!("\n{}:\n", folder.display());
        println!(
            "| rule | good ones failed | healed ones failed | bad ones missed | failed before the fault | median delay |"
        );
        println!("|---|---|---|---|---|---|");
        row("Sluice", &outcomes, |outcome| outcome.ours, true);
        for (index, rule) in Rule::ALL.into_iter().enumerate() {
            row(
                rule.name(),
                &outcomes,
                |outcome| outcome.rules[index],
                false,
            );
        }
    }
}

fn row(name: &str, outcomes: &[Outcome], at: impl Fn(&Outcome) -> Option<f64>, is_ours: bool) {
    let (mut good, mut healed, mut missed) = (Rate::default(), Rate::default(), Rate::default());
    let mut early = 0;
    let mut delays = Vec::new();
    for outcome in outcomes {
        let failed = at(outcome);
        match &*outcome.truth.expected {
            "pass" => good.count(failed.is_some()),
            "transient" => healed.count(failed.is_some()),
            _ => {
                let is_early = failed.is_some_and(|delay| delay < -1.0);
                early += u64::from(is_early);
                // Withheld for want of data: caught, but not in time that is counted.
                let is_withheld = is_ours && outcome.is_blind;
                missed.count((failed.is_none() && !is_withheld) || is_early);
                delays.extend(failed.filter(|_| !is_early));
            }
        }
    }
    delays.sort_by(f64::total_cmp);
    let told = |rate: Rate| {
        let (low, high) = rate.interval();
        rate.share().map_or("-".to_owned(), |share| {
            format!(
                "{} of {} = {:.0} % ({:.0} to {:.0})",
                rate.hits,
                rate.trials,
                100.0 * share,
                100.0 * low,
                100.0 * high
            )
        })
    };
    let delay = delays
        .get(delays.len() / 2)
        .map_or("-".to_owned(), |delay| format!("{delay:.0} s"));
    println!(
        "| {name} | {} | {} | {} | {early} | {delay} |",
        told(good),
        told(healed),
        told(missed)
    );
}
