//! The verdict with its evidence: the record that the JSON, gRPC and HTTP carry alike.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Decision;
use crate::{
    detect::{Basis, CheckState, Evidence},
    event::Timestamp,
    plan::Mode,
};

/// May this change go on? Only [`VerdictState::Pass`] means go.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VerdictState {
    /// Something is awaited.
    #[default]
    Pending,
    /// Every required check was covered and in range, every step passed.
    Pass,
    /// A person overrode the gate.
    Bypassed,
    /// Data that a required check needs is missing.
    NoData,
    /// A blocking check breached, or a step failed.
    Fail,
}

/// A verdict with the evidence behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Event time at which this was said.
    pub at: Timestamp,
    /// Id of the deployment.
    pub deployment: String,
    /// Its service.
    pub service: String,
    /// Its stage.
    pub stage: String,
    /// Its region, where the stage has regions.
    pub region: Option<String>,
    /// Its version.
    pub version: String,
    /// The answer.
    pub verdict: VerdictState,
    /// Event time since which the answer has stood.
    pub since: Timestamp,
    /// How far event time has come.
    pub watermark: Timestamp,
    /// Digest of the configuration under which it was reached.
    pub config_digest: String,
    /// Whether it can no longer change.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Why, for a person; what decides comes first.
    pub reasons: Vec<String>,
    /// What each check says, in the order of the stage.
    pub checks: Vec<CheckReport>,
    /// After the PASS of a hotfix that did not wait for the bake: what the gate would have said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// What a gate would have said if nothing had been skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// The answer.
    pub verdict: VerdictState,
    /// Event time since which it has stood.
    pub since: Timestamp,
    /// Why.
    pub reasons: Vec<String>,
}

/// What a check says of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Name of the check.
    pub check: String,
    /// Its kind: `bounds`, `compare`, `logs.rate`, …
    pub kind: String,
    /// The metric; empty where the check has not come to any.
    pub metric: String,
    /// `blocking` or `advisory`.
    pub mode: String,
    /// What is said.
    pub state: CheckState,
    /// What was seen on the one-box.
    pub observed: Option<f64>,
    /// What was expected.
    pub expected: Option<f64>,
    /// The difference.
    pub effect: Option<f64>,
    /// Confidence interval of the effect.
    pub interval: Option<[f64; 2]>,
    /// The smallest effect that would have been seen by now.
    pub detectable: Option<f64>,
    /// The hosts it is about.
    pub hosts: Vec<String>,
    /// Start of the first bucket of the breach.
    pub first_breach: Option<Timestamp>,
    /// What the false-alarm rate rests on.
    pub basis: Option<Basis>,
    /// One phrase for a person.
    pub note: String,
}

impl CheckReport {
    /// What was seen and what was expected, for a table. Rates are numbers per second, which the numbers do not say:
    /// they are told as their limit is written, where it is a rate, and else per second.
    pub fn numbers_shown(&self) -> [Option<String>; 2] {
        let is_bounds = matches!(self.kind.as_str(), "bounds" | "logs.rate");
        if is_bounds && let Some((observed, limit)) = rates(&self.note) {
            return [Some(observed.to_owned()), Some(limit.to_owned())];
        }
        let unit = match self.kind.as_str() {
            "load" | "logs.rate" => "/s",
            _ => "",
        };
        let shown = |value| format!("{}{unit}", plain_number(value));
        [self.observed, self.expected].map(|value| value.map(shown))
    }
}

/// Of a note such as `8/m above the limit of 5/m, on h1`: the rates.
fn rates(note: &str) -> Option<(&str, &str)> {
    let (before, behind) = note.split_once(" limit of ")?;
    let (observed, _) = before.split_once(' ')?;
    let (limit, _) = behind.split_once(',')?;
    (observed.contains('/') && limit.contains('/')).then_some((observed, limit))
}

/// A line of `replay --output json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What the line is.
    #[serde(rename = "type")]
    pub kind: LineKind,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a line of output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// A change of a verdict.
    Verdict,
    /// The verdict stands, but its `shadow` says something else than before.
    Shadow,
    /// The last verdict of a deployment.
    Final,
}

impl VerdictState {
    /// Every answer.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Pass,
        Self::Bypassed,
        Self::NoData,
        Self::Fail,
    ];

    /// The word that every door carries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Pass => "PASS",
            Self::Bypassed => "BYPASSED",
            Self::NoData => "NO_DATA",
            Self::Fail => "FAIL",
        }
    }
}

impl Shadow {
    /// What would have been said first.
    pub(super) fn of(decision: Decision, since: Timestamp) -> Self {
        Self {
            verdict: decision.state,
            since,
            reasons: decision.reasons,
        }
    }

    /// Takes what would be said now. Says whether the answer changed.
    pub(super) fn takes(&mut self, decision: Decision, now: Timestamp) -> bool {
        let changed = self.verdict != decision.state;
        let since = if changed { now } else { self.since };
        *self = Self::of(decision, since);
        changed
    }

    /// Whether it can still change: a FAIL is latched, a PASS was proven over the whole bake.
    pub(super) fn is_open(&self) -> bool {
        match self.verdict {
            VerdictState::Pending | VerdictState::NoData => true,
            VerdictState::Pass | VerdictState::Fail | VerdictState::Bypassed => false,
        }
    }
}

impl fmt::Display for VerdictState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl CheckReport {
    /// A report without numbers.
    pub fn bare(check: &str, kind: &str, mode: Mode, state: CheckState, note: String) -> Self {
        Self {
            check: check.to_owned(),
            kind: kind.to_owned(),
            metric: String::new(),
            mode: mode_name(mode).to_owned(),
            state,
            observed: None,
            expected: None,
            effect: None,
            interval: None,
            detectable: None,
            hosts: Vec::new(),
            first_breach: None,
            basis: None,
            note,
        }
    }

    /// A report of a piece of evidence, its numbers rounded to six digits.
    pub fn new(check: &str, kind: &str, mode: Mode, evidence: &Evidence) -> Self {
        let number = |value: Option<f64>| value.filter(|value| value.is_finite()).map(six_digits);
        Self {
            metric: evidence.metric.clone(),
            observed: number(evidence.observed),
            expected: number(evidence.expected),
            effect: number(evidence.effect),
            interval: evidence
                .interval
                .filter(|(low, high)| low.is_finite() && high.is_finite())
                .map(|(low, high)| [six_digits(low), six_digits(high)]),
            detectable: number(evidence.detectable),
            hosts: evidence.hosts.clone(),
            first_breach: evidence.first_breach,
            basis: Some(evidence.basis),
            ..Self::bare(check, kind, mode, evidence.state, evidence.note.clone())
        }
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Blocking => "blocking",
        Mode::Advisory => "advisory",
    }
}

/// A number as a person reads it: six digits, without an exponent where that is short, else with one.
pub fn plain_number(value: f64) -> String {
    let value = six_digits(value);
    let size = value.abs();
    if size > 0.0 && !(1e-5..1e15).contains(&size) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// Rounds to six significant digits: what a person reads, and stable in expected files.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}")
        .parse()
        .expect("a formatted double is a double")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_tell_what_rates_are_for() {
        let shown = |kind: &str, observed, note: &str| {
            let state = CheckState::Breach;
            let report = CheckReport {
                observed,
                expected: Some(0.5),
                ..CheckReport::bare("c", kind, Mode::Blocking, state, note.to_owned())
            };
            report.numbers_shown().map(Option::unwrap_or_default)
        };
        for (kind, note, expected) in [
            (
                "bounds",
                "60/m above the limit of 30/m, on h1",
                ["60/m", "30/m"],
            ),
            (
                "logs.rate",
                "60/m above the limit of 30/m, on h1",
                ["60/m", "30/m"],
            ),
            ("logs.rate", "×2.00 the fleet's rate", ["1/s", "0.5/s"]),
            ("load", "highest rate 1/s per host", ["1/s", "0.5/s"]),
            ("bounds", "1 above the limit of 0.5, on a/b", ["1", "0.5"]),
            ("compare", "+100 % above the fleet", ["1", "0.5"]),
        ] {
            assert_eq!(shown(kind, Some(1.0), note), expected, "{kind}: {note}");
        }
        assert_eq!(shown("load", None, "no host"), ["", "0.5/s"]);
    }

    #[test]
    fn numbers_are_rounded_to_six_digits() {
        for (value, rounded) in [
            (0.123_456_789, 0.123_457),
            (1_234_567.0, 1_234_570.0),
            (-2.5, -2.5),
            (0.0, 0.0),
        ] {
            assert_eq!(six_digits(value), rounded);
        }
    }

    #[test]
    fn numbers_stay_short_enough_to_be_read() {
        for (value, text) in [
            (1.7e308, "1.7e308"),
            (f64::MIN_POSITIVE, "2.22507e-308"),
            (0.1 / 3.0, "0.0333333"),
            (-2.5e-6, "-2.5e-6"),
            (0.000_02, "0.00002"),
            (123_456_000_000.0, "123456000000"),
            (0.0, "0"),
        ] {
            assert_eq!(plain_number(value), text);
        }
    }

    #[test]
    fn the_worse_verdict_is_the_greater() {
        use VerdictState::{Bypassed, Fail, NoData, Pass, Pending};
        // The order in which `replay` picks its exit code is its own; here only FAIL is the worst.
        assert!(Fail > NoData && NoData > Bypassed && Bypassed > Pass && Pass > Pending);
    }
}
