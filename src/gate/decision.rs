//! The rule that weighs findings, steps and bake; PASS exists only as a proof.

use serde::{Deserialize, Serialize};

use super::{Blocker, Gate, VerdictState, reasons};
use crate::{
    detect::CheckState,
    event::{StepOutcome, Timestamp},
    plan::Mode,
};

/// What the rule says, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The answer.
    pub state: VerdictState,
    /// Why, for a person; what decides comes first.
    pub reasons: Vec<String>,
}

/// The positive proof that a PASS is made from: there is no other way to make one.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// The steps that were reported as passed; every step of the stage.
    steps: Vec<String>,
    /// The required checks that were covered over the bake, with what they say.
    checks: Vec<(String, CheckState)>,
    /// The checks that a hotfix did not wait for.
    skipped: Vec<String>,
}

/// By what the rule is softened and hardened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// Whether the bake need not be waited for.
    pub(super) skips_bake: bool,
    /// What keeps the gate from PASS, whatever the checks say.
    pub(super) held: &'a [Blocker],
}

/// Why there is no proof yet, and no FAIL either.
enum Missing {
    /// A required check lacks coverage, or nothing is required at all.
    Data(Vec<String>),
    /// Something is awaited.
    Awaited(Vec<String>),
}

/// The steps that were reported as passed; the others are awaited.
fn steps(gate: &Gate, awaited: &mut Vec<String>) -> Vec<String> {
    let mut passed = Vec::new();
    for step in &gate.stage.steps {
        match gate.steps.get(step) {
            Some(StepOutcome::Passed) => passed.push(step.clone()),
            Some(StepOutcome::Failed) | None => {
                awaited.push(format!("step {step}: not reported yet"));
            }
        }
    }
    passed
}

impl Proof {
    /// Collects the proof, or what it lacks.
    fn collect(gate: &Gate, now: Timestamp, terms: Terms<'_>) -> Result<Self, Missing> {
        let mut blind = Vec::new();
        let mut awaited = Vec::new();
        let mut proof = Self {
            steps: steps(gate, &mut awaited),
            checks: Vec::new(),
            skipped: Vec::new(),
        };
        let (mut undecided, mut holding) = (Vec::new(), Vec::new());
        for check in gate
            .checks
            .iter()
            .filter(|check| check.mode == Mode::Blocking)
        {
            let Some(finding) = &check.finding else {
                awaited.push(format!(
                    "{}: waits for the first bucket to close",
                    check.name
                ));
                continue;
            };
            match finding.state {
                CheckState::Ok => proof.checks.push((check.name.clone(), CheckState::Ok)),
                // It is covered by data since the grace; what it gathers over the bake is not waited for.
                CheckState::Undecided | CheckState::Warming
                    if terms.skips_bake
                        && check.needs_bake
                        && finding.is_heard
                        && gate.grace_until() <= now =>
                {
                    if finding.state == CheckState::Undecided {
                        proof.checks.push((check.name.clone(), finding.state));
                    }
                    proof.skipped.push(check.name.clone());
                }
                CheckState::Undecided => {
                    proof
                        .checks
                        .push((check.name.clone(), CheckState::Undecided));
                    let reason = reasons::undecided(check, finding);
                    if finding.holds {
                        holding.push(reason.clone());
                    }
                    undecided.push(reason);
                }
                CheckState::Warming => awaited.push(reasons::warming(check, finding)),
                CheckState::NoData => blind.extend(reasons::no_data(check, finding)),
                // A breach of a blocking check is latched as FAIL before a proof is sought.
                CheckState::Breach => awaited.push(format!("{}: breach", check.name)),
            }
        }
        if !blind.is_empty() {
            return Err(Missing::Data(blind));
        }
        if gate.stage.steps.is_empty()
            && !gate.checks.iter().any(|check| check.mode == Mode::Blocking)
        {
            return Err(Missing::Data(vec![reasons::nothing_required(gate)]));
        }
        awaited.extend(if gate.bake_until <= now {
            holding
        } else {
            proof.bake(gate, now, terms, undecided)
        });
        if awaited.is_empty() {
            Ok(proof)
        } else {
            Err(Missing::Awaited(awaited))
        }
    }

    /// What is awaited of the bake that is not over, with the checks that have not decided yet.
    fn bake(
        &self,
        gate: &Gate,
        now: Timestamp,
        terms: Terms<'_>,
        mut undecided: Vec<String>,
    ) -> Vec<String> {
        if terms.skips_bake {
            if self.checks.is_empty() && self.steps.is_empty() {
                undecided.push("no check is covered by data yet".to_owned());
            }
            return undecided;
        }
        if now < gate.bake_min_until {
            return vec![reasons::bake(gate, now, gate.bake_min_until)];
        }
        if !undecided.is_empty() {
            undecided.push(reasons::bake(gate, now, gate.bake_until));
        }
        undecided
    }

    fn reasons(&self, gate: &Gate, now: Timestamp, terms: Terms<'_>) -> Vec<String> {
        let mut reasons: Vec<String> = reasons::hotfix(gate, now, terms.skips_bake)
            .into_iter()
            .collect();
        // What a PASS was given in spite of must not be found only by whoever reads on.
        reasons.extend(reasons::advisory(gate));
        let is_waited_for = |name: &String| !self.skipped.contains(name);
        // What is undecided is covered, but not known to be in range: it is told by itself.
        let decided = self.checks.iter();
        let decided = decided.filter(|(_, state)| *state == CheckState::Ok);
        let names: Vec<&str> = decided.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            reasons.push(format!("covered and in range: {}", names.join(", ")));
        }
        if !self.steps.is_empty() {
            reasons.push(format!("steps passed: {}", self.steps.join(", ")));
        }
        if !self.skipped.is_empty() {
            reasons.push(format!("not waited for: {}", self.skipped.join(", ")));
        }
        for (name, state) in &self.checks {
            if *state == CheckState::Undecided
                && is_waited_for(name)
                && let Some(check) = gate.checks.iter().find(|check| check.name == *name)
                && let Some(finding) = &check.finding
            {
                reasons.push(reasons::not_excluded(check, finding));
            }
        }
        reasons
    }
}

impl Decision {
    /// Weighs what the gate knows at an instant of event time. A gate whose answer is latched is
    /// not asked again.
    pub(super) fn weigh(gate: &Gate, now: Timestamp, terms: Terms<'_>) -> Self {
        let mut failures: Vec<String> = gate
            .steps
            .iter()
            .filter(|(_, outcome)| **outcome == StepOutcome::Failed)
            .map(|(step, _)| format!("step {step}: failed"))
            .collect();
        for check in gate
            .checks
            .iter()
            .filter(|check| check.mode == Mode::Blocking)
        {
            if let Some(finding) = &check.finding
                && finding.state == CheckState::Breach
            {
                failures.extend(reasons::breach(check, finding));
            }
        }
        if !failures.is_empty() {
            return Self {
                state: VerdictState::Fail,
                reasons: failures,
            };
        }
        let held = terms.held.iter().map(reasons::held);
        match Proof::collect(gate, now, terms) {
            Ok(proof) if terms.held.is_empty() => Self {
                state: VerdictState::Pass,
                reasons: proof.reasons(gate, now, terms),
            },
            Ok(_) => Self {
                state: VerdictState::Pending,
                reasons: held.collect(),
            },
            Err(Missing::Data(reasons)) => Self {
                state: VerdictState::NoData,
                reasons,
            },
            Err(Missing::Awaited(reasons)) => Self {
                state: VerdictState::Pending,
                reasons: held.chain(reasons).collect(),
            },
        }
    }
}
