//! A gate's state as a snapshot keeps it.

use super::Gate;
use crate::{
    detect::Extent,
    event::Span,
    gate::{GateCheck, GateState, RestoreError, saved::GateCheckState},
    plan::{Check, ServicePlan, StagePlan},
};

impl Gate {
    /// What it has learned and latched: whoever adds a field decides here whether it is kept.
    pub fn save(&self) -> GateState {
        let Self {
            begin,
            stage: _,
            config_digest,
            before,
            grace_until: _,
            bake_min_until: _,
            bake_until: _,
            steps,
            checks,
            bypass,
            held,
            beside,
            shadow,
            decision,
            at,
            since,
            watermark,
            ended,
            has_left,
        } = self;
        GateState {
            begin: begin.clone(),
            config_digest: config_digest.clone(),
            before: *before,
            steps: steps.clone(),
            checks: checks.iter().map(GateCheck::save).collect(),
            bypass: bypass.clone(),
            held: held.clone(),
            beside: beside.clone(),
            shadow: shadow.clone(),
            decision: decision.clone(),
            at: *at,
            since: *since,
            watermark: *watermark,
            ended: *ended,
            has_left: *has_left,
        }
    }

    /// The gate as it was when it was saved. The plan's parts are those that [`Gate::open`] took;
    /// `extent` says how many metrics and hosts the check at an index is shown. A gate that is settled is
    /// shown nothing any more: it may know metrics and hosts of a world that is gone.
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
            before,
            steps,
            checks: saved,
            bypass,
            held,
            beside,
            shadow,
            decision,
            at,
            since,
            watermark,
            ended,
            has_left,
        } = state;
        if saved_under != config_digest {
            return Err(RestoreError::OtherConfiguration {
                deployment: begin.deployment,
                saved: saved_under,
                given: config_digest.to_owned(),
            });
        }
        let mut gate = Self::open(
            begin,
            before,
            service,
            stage,
            resolution,
            config_digest,
            checks,
        );
        let given = gate.checks.iter().map(|check| &check.name);
        if !saved.iter().map(|check| &check.name).eq(given.clone()) {
            return Err(RestoreError::OtherChecks {
                deployment: gate.begin.deployment.clone(),
                saved: saved.into_iter().map(|check| check.name).collect(),
                given: given.cloned().collect(),
            });
        }
        gate.steps = steps;
        gate.bypass = bypass;
        gate.held = held;
        gate.beside = beside;
        gate.shadow = shadow;
        gate.decision = decision;
        gate.at = at;
        gate.since = since;
        gate.watermark = watermark;
        gate.ended = ended;
        gate.has_left = has_left;
        gate.restore_checks(saved, extent)?;
        Ok(gate)
    }

    fn restore_checks(
        &mut self,
        saved: Vec<GateCheckState>,
        extent: impl Fn(usize) -> Extent,
    ) -> Result<(), RestoreError> {
        let is_settled = self.is_settled();
        for (index, (check, saved)) in self.checks.iter_mut().zip(saved).enumerate() {
            let GateCheckState {
                name: _,
                finding,
                detector,
            } = saved;
            let extent = if is_settled {
                Extent::UNBOUNDED
            } else {
                extent(index)
            };
            let restored = check.detector.restore(detector, extent);
            restored.map_err(|problem| RestoreError::Unsound {
                deployment: self.begin.deployment.clone(),
                check: check.name.clone(),
                problem,
            })?;
            check.finding = finding.map(|kept| kept.0);
        }
        Ok(())
    }
}
