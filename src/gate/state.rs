//! The gate of one deployment: what it was told, and what it answers.

mod saving;
#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

use std::collections::BTreeMap;

use super::{
    Beside, Blocker, Decision, GateCheck, GateError, Shadow, Verdict, VerdictState,
    checks::{GateSetup, alpha_per_weight, in_brief, without_hosts},
    decision::Terms,
    pipeline::Attempt,
    reasons,
};
use crate::{
    detect::{Before, View},
    event::{Begin, Bypass, Span, Step, StepOutcome, Timestamp},
    plan::{Check, ServicePlan, Skippable, StagePlan},
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
    /// What was before it.
    before: Before,
    grace_until: Timestamp,
    pub(super) bake_min_until: Timestamp,
    pub(super) bake_until: Timestamp,
    /// Outcomes by step; a later report replaces an earlier one, but a failure is latched.
    pub(super) steps: BTreeMap<String, StepOutcome>,
    /// The checks in the order of the stage.
    pub checks: Vec<GateCheck>,
    bypass: Option<Bypass>,
    /// What keeps it from PASS though its deployment has begun.
    held: Vec<Blocker>,
    /// Which other deployments are open on its hosts. It is told anew before each weighing.
    beside: Vec<Beside>,
    /// After a PASS that did not wait for the bake: what the whole of it says.
    shadow: Option<Shadow>,
    decision: Decision,
    at: Timestamp,
    since: Timestamp,
    watermark: Timestamp,
    ended: bool,
    /// Whether its version was where it is deployed, and is gone since.
    has_left: bool,
}

/// How long after its bake the checks that a hotfix skipped are still asked.
const SHADOW_PATIENCE: Span = Span::from_hours(1);

/// What a bucket changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The verdict.
    Verdict,
    /// What is said of what a hotfix did not wait for; the verdict stands.
    Shadow,
}

impl Gate {
    /// Opens the gate. What was before lasted at most until the deployment began; `checks` gives a configured check by its name.
    pub fn open<'a>(
        begin: Begin,
        before: Before,
        service: &ServicePlan,
        stage: &StagePlan,
        resolution: Span,
        config_digest: &str,
        checks: impl Fn(&str) -> &'a Check,
    ) -> Self {
        let mut setup = GateSetup {
            began_at: begin.at,
            before: Before {
                until: before.until.min(begin.at),
                ..before
            },
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
        let checks = setup.checks(stage, &checks);
        let mut gate = Self {
            stage: stage.clone(),
            config_digest: config_digest.to_owned(),
            before: setup.before,
            grace_until: setup.grace_until,
            bake_min_until: setup.bake_min_until,
            bake_until: setup.bake_until,
            steps: BTreeMap::new(),
            checks,
            bypass: None,
            held: Vec::new(),
            beside: Vec::new(),
            shadow: None,
            decision: Decision {
                state: VerdictState::Pending,
                reasons: Vec::new(),
            },
            at: begin.at,
            since: begin.at,
            watermark: begin.at,
            ended: false,
            has_left: false,
            begin,
        };
        gate.decision = gate.decide();
        gate
    }

    /// Judges the bucket that has just closed. `views` gives what the check at an index is shown and, if
    /// hosts of the deployment are not where it is, which: without them the check proves nothing. Says what
    /// changed.
    pub fn observe<'a>(
        &mut self,
        bucket_end: Timestamp,
        mut views: impl FnMut(usize) -> (View<'a>, Option<String>),
    ) -> Option<Change> {
        self.watermark = self.watermark.max(bucket_end);
        if self.is_settled() || bucket_end <= self.begin.at {
            return None;
        }
        for (index, check) in self.checks.iter_mut().enumerate() {
            let (view, unfit) = views(index);
            let finding = in_brief(check.detector.observe(&view));
            check.finding = Some(match unfit {
                Some(unfit) => without_hosts(finding, unfit, bucket_end < self.grace_until),
                None => finding,
            });
        }
        if self.is_final() {
            self.watch_on(bucket_end).then_some(Change::Shadow)
        } else {
            self.weigh(bucket_end).then_some(Change::Verdict)
        }
    }

    /// Says what there is from the begin on: what holds the gate, so that it can fail but not pass, and who
    /// else is on its hosts.
    pub fn begin_among(&mut self, held: Vec<Blocker>, beside: Vec<Beside>) {
        self.held = held;
        self.beside = beside;
        self.decision = self.decide();
    }

    /// Replaces what holds the gate; the next bucket is weighed by it. What it says then is of no earlier time than
    /// `told`, when that was told which holds it or let it go.
    pub fn hold(&mut self, held: Vec<Blocker>, told: Timestamp) {
        self.held = held;
        self.at = self.at.max(told);
    }

    /// Replaces which other deployments are open on its hosts; the next bucket or report is weighed by it.
    pub fn stand_beside(&mut self, beside: Vec<Beside>) {
        self.beside = beside;
    }

    /// Which other deployments are open on its hosts.
    pub fn beside(&self) -> &[Beside] {
        &self.beside
    }

    /// What keeps it from PASS though its deployment has begun.
    pub fn held(&self) -> &[Blocker] {
        &self.held
    }

    /// Takes the report of a step. Says whether the verdict changed.
    ///
    /// # Errors
    /// The stage does not ask for this step, the deployment has ended, or the step failed after the gate
    /// had passed: the report changes nothing then, and whoever goes by the PASS has to be stopped otherwise.
    /// As long as it is asked what a hotfix did not wait for, a failure is taken: that answer fails.
    pub fn report(&mut self, step: &Step) -> Result<bool, GateError> {
        if self.ended {
            return Err(GateError::Ended);
        }
        if !self.stage.steps.contains(&step.step) {
            let (given, known) = (step.step.clone(), self.stage.steps.clone());
            return Err(GateError::UnknownStep { given, known });
        }
        let is_late = self.decision.state == VerdictState::Pass && self.is_settled();
        // A caller that did not hear our answer asks again; what was taken as failed is no news.
        let is_news = self.steps.get(&step.step) != Some(&step.outcome);
        if step.outcome == StepOutcome::Failed && is_late && is_news {
            let (step, since) = (step.step.clone(), self.since);
            return Err(GateError::Passed { step, since });
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
    /// The deployment has ended, or another decision stands already.
    pub fn bypass(&mut self, bypass: Bypass) -> Result<bool, GateError> {
        if self.ended {
            return Err(GateError::Ended);
        }
        if let Some(stands) = &self.bypass {
            let Bypass {
                by, reason, ticket, ..
            } = stands;
            // A caller that did not hear our answer asks again.
            if (by, reason, ticket) == (&bypass.by, &bypass.reason, &bypass.ticket) {
                return Ok(false);
            }
            let (by, ticket) = (by.clone(), ticket.clone());
            return Err(GateError::Bypassed { by, ticket });
        }
        if self.decision.state == VerdictState::Pass {
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

    /// Closes the gate with the verdict it has. Whoever says it again changes nothing.
    pub fn end(&mut self, at: Timestamp) {
        if !self.ended {
            if !self.is_final() {
                self.decision.reasons.insert(0, reasons::ended(at));
            }
            self.ended = true;
            self.at = self.at.max(at);
        }
    }

    /// Notes that its version was where it is deployed, and is gone.
    pub fn leave(&mut self) {
        self.has_left = true;
    }

    /// Whether its version was where it is deployed, and is gone since. It may have come back.
    pub fn has_left(&self) -> bool {
        self.has_left
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

    /// Whether nothing of it can change by itself any more: it is final, and the checks that a hotfix
    /// skipped have said what they would have.
    pub fn is_settled(&self) -> bool {
        let is_shadow_open = self.shadow.as_ref().is_some_and(|shadow| {
            shadow.is_open() && self.watermark < self.bake_until + SHADOW_PATIENCE
        });
        self.is_final() && !is_shadow_open
    }

    /// Whether its deployment is under way, and what is said of it can still change.
    pub fn is_open(&self) -> bool {
        !self.is_ended() && !self.is_settled()
    }

    /// The deployment as the pipeline sees it.
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            begin: &self.begin,
            state: self.decision.state,
            is_final: self.is_final(),
            is_ended: self.ended,
            bake_until: self.bake_until,
        }
    }

    /// Digest of the configuration under which it began.
    pub fn config_digest(&self) -> &str {
        &self.config_digest
    }

    /// After a PASS that did not wait for the bake: what the whole of it says.
    pub fn shadow(&self) -> Option<&Shadow> {
        self.shadow.as_ref()
    }

    /// The stage as it was configured when the deployment began.
    pub fn stage(&self) -> &StagePlan {
        &self.stage
    }

    /// The answer.
    pub fn state(&self) -> VerdictState {
        self.decision.state
    }

    /// When it said something new for the last time, or ended if that was later.
    pub fn at(&self) -> Timestamp {
        self.at
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
            shadow: self.shadow.clone(),
        }
    }

    /// Weighs what it knows, told at `at`. Says whether the verdict changed.
    fn weigh(&mut self, at: Timestamp) -> bool {
        self.at = self.at.max(at);
        let decision = self.decide();
        let changed = decision.state != self.decision.state;
        if changed {
            self.since = self.at;
        }
        self.decision = decision;
        if self.decision.state == VerdictState::Pass && self.skips_bake() {
            self.shadow = Some(Shadow::of(self.whole(), self.at));
        }
        changed
    }

    /// Asks on behalf of a PASS that did not wait. Says whether the answer changed.
    fn watch_on(&mut self, now: Timestamp) -> bool {
        let whole = self.whole();
        let Some(shadow) = &mut self.shadow else {
            return false;
        };
        if !shadow.takes(whole, now) {
            return false;
        }
        self.at = self.at.max(now);
        true
    }

    /// What is decided by the data up to the watermark. An event may be ahead of it: when that was told
    /// says nothing about how much of the bake has been seen.
    fn decide(&self) -> Decision {
        let terms = Terms {
            skips_bake: self.skips_bake(),
            held: &self.held,
        };
        let mut decision = Decision::weigh(self, self.watermark, terms);
        decision
            .reasons
            .extend(self.beside.iter().map(reasons::beside));
        decision
    }

    /// What would be decided if nothing were skipped.
    fn whole(&self) -> Decision {
        let terms = Terms {
            skips_bake: false,
            held: &[],
        };
        Decision::weigh(self, self.watermark, terms)
    }

    /// Whether there is still a bake that need not be waited for. What is told after a hotfix expired does
    /// not make use of it, though the watermark is behind.
    fn skips_bake(&self) -> bool {
        let hotfix = self.begin.hotfix.as_ref();
        hotfix.is_some_and(|hotfix| self.at.max(self.watermark) < hotfix.expires)
            && self.stage.policies.hotfix_skips.contains(&Skippable::Bake)
            && self.watermark < self.bake_until
    }
}
