//! What became of one deployment, real or placebo.

use std::collections::BTreeMap;

use crate::{
    detect::CheckState,
    engine::Engine,
    event::{Span, Timestamp},
    gate::{Gate, VerdictState},
    plan::Mode,
};

/// What became of one deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Which recording it is of.
    pub recording: usize,
    /// Whether it never happened.
    pub is_placebo: bool,
    /// Its service, stage and region.
    pub place: (String, String, Option<String>),
    /// When it began, and when its bake was over at the latest.
    pub began_at: Timestamp,
    /// See [`Trial::began_at`].
    pub bake_until: Timestamp,
    /// Its last verdict.
    pub state: VerdictState,
    /// How long after its beginning it was failed.
    pub failed_after: Option<Span>,
    /// Its checks, in the order of the stage.
    pub checks: Vec<CheckTrial>,
}

/// What a check said of one deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckTrial {
    /// Its name.
    pub name: String,
    /// Whether it can block.
    pub mode: Mode,
    /// What it said last; `None`: nothing.
    pub state: Option<CheckState>,
    /// What it lacked, or waited for, if it did.
    pub lacked: Option<String>,
    /// Which metric one-box and fleet told with other labels, and which, if they did.
    pub told_otherwise: Option<String>,
    /// When it first was in breach, since the beginning. A gate that failed looks no further.
    pub breached_after: Option<Span>,
    /// What it was about: the metric, and the hosts.
    pub breached_by: Option<String>,
    /// The smallest effect that it could have seen by its end.
    pub detectable: Option<f64>,
}

/// When checks were first seen in breach.
#[derive(Debug, Default)]
pub struct Sightings {
    /// By deployment and name of the check.
    firsts: BTreeMap<(String, String), (Timestamp, String)>,
}

impl Sightings {
    /// Looks at the gates of an engine, whenever a bucket may have closed.
    pub fn look(&mut self, engine: &Engine) {
        for gate in engine.gates() {
            for check in &gate.checks {
                let Some(finding) = &check.finding else {
                    continue;
                };
                if finding.state != CheckState::Breach {
                    continue;
                }
                let key = (gate.begin.deployment.clone(), check.name.clone());
                self.firsts.entry(key).or_insert_with(|| {
                    let what = finding.evidence.first().map(|evidence| {
                        let hosts = evidence.hosts.join(", ");
                        let on = if hosts.is_empty() { "" } else { " on " };
                        format!("{}{on}{hosts}", evidence.metric)
                    });
                    (engine.watermark(), what.unwrap_or_default())
                });
            }
        }
    }

    /// Sums up what became of a gate.
    pub fn trial(&mut self, recording: usize, is_placebo: bool, gate: &Gate) -> Trial {
        let began_at = gate.begin.at;
        let verdict = gate.verdict();
        let has_failed = verdict.verdict == VerdictState::Fail;
        let checks = gate.checks.iter().map(|check| {
            let key = (gate.begin.deployment.clone(), check.name.clone());
            let first = self.firsts.remove(&key);
            let is_why = has_failed && check.mode == Mode::Blocking;
            let mut reports = verdict
                .checks
                .iter()
                .filter(|report| report.check == check.name);
            CheckTrial {
                name: check.name.clone(),
                mode: check.mode,
                state: check.finding.as_ref().map(|finding| finding.state),
                lacked: check.finding.as_ref().and_then(|finding| {
                    let cause = finding.cause.as_ref().map(ToString::to_string);
                    cause.or_else(|| finding.awaiting.clone())
                }),
                told_otherwise: check.finding.as_ref().and_then(|finding| {
                    let mut evidence = finding.evidence.iter();
                    let told = evidence.find(|evidence| evidence.is_told_otherwise())?;
                    Some(format!("{}: {}", told.metric, told.note))
                }),
                // A tick may close many buckets: a gate knows in which of them it failed.
                breached_after: first
                    .as_ref()
                    .map(|(at, _)| if is_why { (*at).min(verdict.since) } else { *at } - began_at),
                breached_by: first.map(|(_, what)| what).filter(|what| !what.is_empty()),
                detectable: reports.find_map(|report| report.detectable),
            }
        });
        let checks = checks.collect();
        Trial {
            recording,
            is_placebo,
            place: (verdict.service, verdict.stage, verdict.region),
            began_at,
            bake_until: gate.bake_until(),
            state: verdict.verdict,
            failed_after: has_failed.then(|| verdict.since - began_at),
            checks,
        }
    }
}
