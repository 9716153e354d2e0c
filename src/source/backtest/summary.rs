//! Many trials → a row for each gate and each of its checks.

use std::collections::BTreeMap;

use super::{CheckTrial, Rate, Trial};
use crate::{
    detect::CheckState,
    event::{Span, Timestamp},
    gate::VerdictState,
    plan::Mode,
};

/// What a gate, or one of its checks, did over many deployments.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Whether the deployments never happened.
    pub is_placebo: bool,
    /// Service, stage and region.
    pub place: (String, String, Option<String>),
    /// The check, and whether it can block; `None`: the gate as a whole.
    pub check: Option<(String, Mode)>,
    /// Of a gate: how many were failed; of a check: how many it breached for.
    pub failed: Rate,
    /// How long after the beginning, ascending.
    pub delays: Vec<Span>,
    /// How many ended how.
    pub ends: Counts,
    /// Median of the smallest effects that could have been seen.
    pub detectable: Option<f64>,
    /// How many of them did not overlap in time: they are worth more than others.
    pub disjoint: u64,
    /// What was flagged, and how often: most often first.
    pub causes: Vec<(String, u64)>,
}

/// How many deployments ended how; for a check, what it said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// PASS, or in range.
    pub passed: u64,
    /// Without the data that they needed.
    pub no_data: u64,
    /// Neither: still waiting, undecided, or bypassed.
    pub open: u64,
}

impl Row {
    /// The delay below which such a share of the flagged deployments is; `None` if none was.
    pub fn delay(&self, share: f64) -> Option<Span> {
        let rank = (share * self.delays.len() as f64).ceil() as usize;
        self.delays.get(rank.max(1) - 1).copied()
    }
}

/// Sums up, real deployments first, gates in the order of their names, checks in that of their
/// stage.
pub fn summarize(trials: &[Trial]) -> Vec<Row> {
    type Place = (String, String, Option<String>);
    let mut gates: BTreeMap<(bool, &Place), Vec<&Trial>> = BTreeMap::new();
    for trial in trials {
        let key = (trial.is_placebo, &trial.place);
        gates.entry(key).or_default().push(trial);
    }
    let mut rows = Vec::new();
    for ((is_placebo, place), trials) in gates {
        let disjoint = disjoint(&trials);
        let row = |check: Option<(String, Mode)>| Row {
            is_placebo,
            place: place.clone(),
            check,
            failed: Rate::default(),
            delays: Vec::new(),
            ends: Counts::default(),
            detectable: None,
            disjoint,
            causes: Vec::new(),
        };
        let mut gate = row(None);
        for trial in &trials {
            gate.failed.count(trial.failed_after.is_some());
            gate.delays.extend(trial.failed_after);
            gate.ends.add_verdict(trial.state);
        }
        gate.delays.sort_unstable();
        rows.push(gate);
        let mut names: Vec<(&str, Mode)> = Vec::new();
        for check in trials.iter().flat_map(|trial| &trial.checks) {
            if !names.iter().any(|(name, _)| *name == check.name) {
                names.push((&check.name, check.mode));
            }
        }
        for (name, mode) in names {
            let checks = trials.iter().flat_map(|trial| &trial.checks);
            let mut of_check = row(Some((name.to_owned(), mode)));
            of_check.sum_up(
                &checks
                    .filter(|check| check.name == name)
                    .collect::<Vec<_>>(),
            );
            rows.push(of_check);
        }
    }
    rows
}

impl Row {
    fn sum_up(&mut self, checks: &[&CheckTrial]) {
        let mut detectable: Vec<f64> = checks.iter().filter_map(|check| check.detectable).collect();
        detectable.sort_by(f64::total_cmp);
        self.detectable = detectable.get(detectable.len() / 2).copied();
        let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
        for check in checks {
            self.failed.count(check.breached_after.is_some());
            self.delays.extend(check.breached_after);
            self.ends.add_finding(check);
            if let Some(what) = &check.breached_by {
                *causes.entry(what).or_default() += 1;
            }
        }
        self.delays.sort_unstable();
        self.causes = causes
            .into_iter()
            .map(|(what, count)| (what.to_owned(), count))
            .collect();
        self.causes
            .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    }
}

impl Counts {
    fn add_verdict(&mut self, state: VerdictState) {
        match state {
            VerdictState::Pass => self.passed += 1,
            VerdictState::NoData => self.no_data += 1,
            VerdictState::Pending | VerdictState::Bypassed => self.open += 1,
            VerdictState::Fail => {}
        }
    }

    fn add_finding(&mut self, check: &CheckTrial) {
        match check.state {
            _ if check.breached_after.is_some() => {}
            Some(CheckState::Ok) => self.passed += 1,
            Some(CheckState::NoData) => self.no_data += 1,
            Some(CheckState::Undecided | CheckState::Warming | CheckState::Breach) | None => {
                self.open += 1;
            }
        }
    }
}

/// How many of the trials one can pick so that no two of a recording overlap in time.
fn disjoint(trials: &[&Trial]) -> u64 {
    let mut spans: Vec<(usize, Timestamp, Timestamp)> = trials
        .iter()
        .map(|trial| (trial.recording, trial.bake_until, trial.began_at))
        .collect();
    spans.sort_unstable();
    let mut last: Option<(usize, Timestamp)> = None;
    let mut count = 0;
    for (recording, end, start) in spans {
        if last.is_none_or(|(known, until)| known != recording || until <= start) {
            last = Some((recording, end));
            count += 1;
        }
    }
    count
}
