//! The gate of one deployment: what it was told, and what it answers.

use std::{collections::BTreeMap, fmt};

use super::{
    CheckReport, Decision, GateState, RestoreError, Verdict, VerdictState,
    saved::{GateCheckState, Kept},
};
use crate::{
    detect::{CheckState, Detector, Extent, Finding, Setup, View},
    event::{Begin, Bypass, Span, Step, StepOutcome, Timestamp},
    plan::{Check, Mode, ServicePlan, StagePlan},
};

/// The gate of one deployment.
#[derive(Clone, Debug)]
pub struct Gate {
    /// How it began.
    pub begin: Begin,
    /// The stage as it was configured then.
    pub(super) stage: StagePlan,
    /// Digest of the configuration under which it began.
    config_digest: String,
    grace_until: Timestamp,
    pub(super) bake_min_until: Timestamp,
    pub(super) bake_until: Timestamp,
    /// Outcomes by step; a later report replaces an earlier one, but a failure is latched.
    pub(super) steps: BTreeMap<String, StepOutcome>,
    /// The checks in the order of the stage.
    pub checks: Vec<GateCheck>,
    bypass: Option<Bypass>,
    decision: Decision,
    at: Timestamp,
    since: Timestamp,
    watermark: Timestamp,
    ended: bool,
}

/// A check as the gate uses it.
#[derive(Clone, Debug)]
pub struct GateCheck {
    /// Its name.
    pub name: String,
    /// Its kind, as verdicts name it.
    pub kind: &'static str,
    /// Whether it can block.
    pub mode: Mode,
    /// What it said last.
    pub finding: Option<Finding>,
    detector: Detector,
}

/// What a gate refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateError {
    /// The stage does not ask for this step.
    UnknownStep {
        /// What was reported.
        given: String,
        /// What the stage asks for.
        known: Vec<String>,
    },
    /// The deployment has ended.
    Ended,
}

impl Gate {
    /// Opens the gate. `checks` gives a configured check by its name.
    pub fn open<'a>(
        begin: Begin,
        service: &ServicePlan,
        stage: &StagePlan,
        resolution: Span,
        config_digest: &str,
        checks: impl Fn(&str) -> &'a Check,
    ) -> Self {
        let mut setup = GateSetup {
            began_at: begin.at,
            grace_until: begin.at + stage.grace,
            bake_min_until: begin.at + stage.bake.min,
            bake_until: begin.at + stage.bake.max,
            resolution,
            alpha_per_weight: alpha_per_weight(service, stage, &checks),
            weight: begin.weight,
        };
        // Without a positive weight the counts of the one-box could not be told from the fleet's.
        if !(setup.weight.is_finite() && setup.weight > 0.0) {
            setup.weight = 1.0;
        }
        let checks = stage
            .checks
            .iter()
            .map(|used| {
                let check = checks(&used.check);
                let alpha = if check.is_statistical() {
                    setup.alpha_per_weight * f64::from(used.weight)
                } else {
                    0.0
                };
                GateCheck {
                    name: check.name.clone(),
                    kind: check.kind(),
                    mode: used.mode,
                    finding: None,
                    detector: Detector::new(&setup.of(check, used.mode, alpha)),
                }
            })
            .collect();
        let mut gate = Self {
            stage: stage.clone(),
            config_digest: config_digest.to_owned(),
            grace_until: setup.grace_until,
            bake_min_until: setup.bake_min_until,
            bake_until: setup.bake_until,
            steps: BTreeMap::new(),
            checks,
            bypass: None,
            decision: Decision {
                state: VerdictState::Pending,
                reasons: Vec::new(),
            },
            at: begin.at,
            since: begin.at,
            watermark: begin.at,
            ended: false,
            begin,
        };
        gate.decision = Decision::weigh(&gate, gate.at);
        gate
    }

    /// What it has learned and latched: whoever adds a field decides here whether it is kept.
    pub fn save(&self) -> GateState {
        let Self {
            begin,
            stage: _,
            config_digest,
            grace_until: _,
            bake_min_until: _,
            bake_until: _,
            steps,
            checks,
            bypass,
            decision,
            at,
            since,
            watermark,
            ended,
        } = self;
        GateState {
            begin: begin.clone(),
            config_digest: config_digest.clone(),
            steps: steps.clone(),
            checks: checks.iter().map(GateCheck::save).collect(),
            bypass: bypass.clone(),
            decision: decision.clone(),
            at: *at,
            since: *since,
            watermark: *watermark,
            ended: *ended,
        }
    }

    /// The gate as it was when it was saved. The plan's parts are those that [`Gate::open`] took;
    /// `extent` says how many metrics and hosts the check at an index is shown.
    ///
    /// # Errors
    /// The state was saved under another configuration or with other checks, contradicts itself, or
    /// refers to metrics or hosts that there are not.
    pub fn restore<'a>(
        state: GateState,
        service: &ServicePlan,
        stage: &StagePlan,
        resolution: Span,
        config_digest: &str,
        checks: impl Fn(&str) -> &'a Check,
        extent: impl Fn(usize) -> Extent,
    ) -> Result<Self, RestoreError> {
        let GateState {
            begin,
            config_digest: saved_under,
            steps,
            checks: saved,
            bypass,
            decision,
            at,
            since,
            watermark,
            ended,
        } = state;
        if saved_under != config_digest {
            return Err(RestoreError::OtherConfiguration {
                deployment: begin.deployment,
                saved: saved_under,
                given: config_digest.to_owned(),
            });
        }
        let mut gate = Self::open(begin, service, stage, resolution, config_digest, checks);
        let given = gate.checks.iter().map(|check| &check.name);
        if !saved.iter().map(|check| &check.name).eq(given.clone()) {
            return Err(RestoreError::OtherChecks {
                deployment: gate.begin.deployment.clone(),
                saved: saved.into_iter().map(|check| check.name).collect(),
                given: given.cloned().collect(),
            });
        }
        for (index, (check, saved)) in gate.checks.iter_mut().zip(saved).enumerate() {
            let GateCheckState {
                name: _,
                finding,
                detector,
            } = saved;
            let restored = check.detector.restore(detector, extent(index));
            restored.map_err(|problem| RestoreError::Unsound {
                deployment: gate.begin.deployment.clone(),
                check: check.name.clone(),
                problem,
            })?;
            check.finding = finding.map(|kept| kept.0);
        }
        gate.steps = steps;
        gate.bypass = bypass;
        gate.decision = decision;
        gate.at = at;
        gate.since = since;
        gate.watermark = watermark;
        gate.ended = ended;
        Ok(gate)
    }

    /// Judges the bucket that has just closed. `views` gives what the check at an index is shown.
    /// Says whether the verdict changed.
    pub fn observe<'a>(
        &mut self,
        bucket_end: Timestamp,
        mut views: impl FnMut(usize) -> View<'a>,
    ) -> bool {
        self.watermark = self.watermark.max(bucket_end);
        if self.is_final() || bucket_end <= self.begin.at {
            return false;
        }
        for (index, check) in self.checks.iter_mut().enumerate() {
            check.finding = Some(check.detector.observe(&views(index)));
        }
        self.weigh(bucket_end)
    }

    /// Takes the report of a step. Says whether the verdict changed.
    ///
    /// # Errors
    /// The stage does not ask for this step, or the deployment has ended.
    pub fn report(&mut self, step: &Step) -> Result<bool, GateError> {
        if self.ended {
            return Err(GateError::Ended);
        }
        if !self.stage.steps.contains(&step.step) {
            let (given, known) = (step.step.clone(), self.stage.steps.clone());
            return Err(GateError::UnknownStep { given, known });
        }
        let outcome = self.steps.entry(step.step.clone()).or_insert(step.outcome);
        if *outcome == StepOutcome::Passed {
            *outcome = step.outcome;
        }
        Ok(!self.is_final() && self.weigh(step.at))
    }

    /// Takes a person's decision to let the deployment go on. Says whether the verdict changed.
    ///
    /// # Errors
    /// The deployment has ended.
    pub fn bypass(&mut self, bypass: Bypass) -> Result<bool, GateError> {
        if self.ended {
            return Err(GateError::Ended);
        }
        if self.decision.state == VerdictState::Pass || self.bypass.is_some() {
            return Ok(false);
        }
        let mut reasons = vec![format!(
            "bypassed by {}: {} ({}); the gate said {}",
            bypass.by, bypass.reason, bypass.ticket, self.decision.state
        )];
        reasons.append(&mut self.decision.reasons);
        self.at = bypass.at.max(self.at);
        self.bypass = Some(bypass);
        self.since = self.at;
        self.decision = Decision {
            state: VerdictState::Bypassed,
            reasons,
        };
        Ok(true)
    }

    /// Closes the gate with the verdict it has.
    pub fn end(&mut self, at: Timestamp) {
        self.ended = true;
        self.at = self.at.max(at);
    }

    /// Whether the deployment has ended.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the verdict can no longer change by itself: FAIL is latched, a PASS was proven over
    /// the whole bake, a bypass is a person's word.
    pub fn is_final(&self) -> bool {
        match self.decision.state {
            VerdictState::Pass | VerdictState::Fail | VerdictState::Bypassed => true,
            VerdictState::Pending | VerdictState::NoData => self.ended,
        }
    }

    /// The answer.
    pub fn state(&self) -> VerdictState {
        self.decision.state
    }

    /// Until when restarts and cold caches are forgiven.
    pub fn grace_until(&self) -> Timestamp {
        self.grace_until
    }

    /// When the bake is over at the latest.
    pub fn bake_until(&self) -> Timestamp {
        self.bake_until
    }

    /// The verdict with its evidence, as of `watermark`.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            at: self.at,
            deployment: self.begin.deployment.clone(),
            service: self.begin.service.clone(),
            stage: self.begin.stage.clone(),
            region: self.begin.region.clone(),
            version: self.begin.version.clone(),
            verdict: self.decision.state,
            since: self.since,
            watermark: self.watermark,
            config_digest: self.config_digest.clone(),
            is_final: self.is_final(),
            reasons: self.decision.reasons.clone(),
            checks: self.checks.iter().flat_map(GateCheck::reports).collect(),
        }
    }

    fn weigh(&mut self, now: Timestamp) -> bool {
        self.at = self.at.max(now);
        let decision = Decision::weigh(self, self.at);
        let changed = decision.state != self.decision.state;
        if changed {
            self.since = self.at;
        }
        self.decision = decision;
        changed
    }
}

impl GateCheck {
    fn save(&self) -> GateCheckState {
        let Self {
            name,
            kind: _,
            mode: _,
            finding,
            detector,
        } = self;
        GateCheckState {
            name: name.clone(),
            finding: finding.clone().map(Kept),
            detector: detector.save(),
        }
    }

    fn reports(&self) -> Vec<CheckReport> {
        let bare = |state, note| {
            vec![CheckReport::bare(
                &self.name, self.kind, self.mode, state, note,
            )]
        };
        let Some(finding) = &self.finding else {
            return bare(
                CheckState::Warming,
                "waits for the first bucket to close".to_owned(),
            );
        };
        if finding.evidence.is_empty() {
            let cause = finding.cause.as_ref().map(ToString::to_string);
            return bare(
                finding.state,
                cause.or(finding.awaiting.clone()).unwrap_or_default(),
            );
        }
        finding
            .evidence
            .iter()
            .map(|evidence| CheckReport::new(&self.name, self.kind, self.mode, evidence))
            .collect()
    }
}

/// What all detectors of a gate have in common.
struct GateSetup {
    began_at: Timestamp,
    grace_until: Timestamp,
    bake_min_until: Timestamp,
    bake_until: Timestamp,
    resolution: Span,
    alpha_per_weight: f64,
    weight: f64,
}

impl GateSetup {
    fn of<'a>(&self, check: &'a Check, mode: Mode, alpha: f64) -> Setup<'a> {
        Setup {
            check,
            mode,
            began_at: self.began_at,
            grace_until: self.grace_until,
            bake_min_until: self.bake_min_until,
            bake_until: self.bake_until,
            resolution: self.resolution,
            alpha,
            weight: self.weight,
        }
    }
}

/// The gate's alpha is split over its blocking statistical checks by weight; an advisory check is
/// held to the share of a blocking one, so that switching it on changes nothing but its effect.
fn alpha_per_weight<'a>(
    service: &ServicePlan,
    stage: &StagePlan,
    checks: &impl Fn(&str) -> &'a Check,
) -> f64 {
    let blocking: u32 = stage
        .checks
        .iter()
        .filter(|used| used.mode == Mode::Blocking && checks(&used.check).is_statistical())
        .map(|used| used.weight)
        .sum();
    service.alpha / f64::from(blocking.max(1))
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStep { given, known } if known.is_empty() => {
                write!(f, "step {given:?} is not asked for: the stage has no steps")
            }
            Self::UnknownStep { given, known } => {
                write!(
                    f,
                    "step {given:?} is not asked for: the stage has {}",
                    known.join(", ")
                )
            }
            Self::Ended => f.write_str("the deployment has ended"),
        }
    }
}

impl std::error::Error for GateError {}
