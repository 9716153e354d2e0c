//! The checks of a gate: a detector for each, and its share of the gate's alpha.

use super::{
    CheckReport,
    saved::{GateCheckState, Kept},
};
use crate::{
    detect::{Basis, Before, CheckState, Detector, Evidence, Finding, NoDataCause, Setup},
    event::{Span, Timestamp},
    plan::{Check, DetectorPlan, Mode, ServicePlan, StagePlan},
};

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
    /// Whether it is the bake that it needs: what a hotfix does not wait for.
    pub(super) needs_bake: bool,
    pub(super) detector: Detector,
}

impl GateCheck {
    pub(super) fn save(&self) -> GateCheckState {
        let Self {
            name,
            kind: _,
            mode: _,
            needs_bake: _,
            finding,
            detector,
        } = self;
        GateCheckState {
            name: name.clone(),
            finding: finding.clone().map(Kept),
            detector: detector.save(),
        }
    }

    pub(super) fn reports(&self) -> Vec<CheckReport> {
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

/// What a check says where hosts of the deployment are known to be elsewhere, or gone: what the others breach stands,
/// but they prove nothing. Within the grace a host may still show up where it should be.
pub(super) fn without_hosts(finding: Finding, elsewhere: String, is_grace: bool) -> Finding {
    if finding.state == CheckState::Breach {
        return finding;
    }
    if is_grace {
        return Finding::unheard(format!("hosts of the deployment: {elsewhere}"));
    }
    let reason = "elsewhere".to_owned();
    let evidence = Evidence::bare("", CheckState::NoData, Basis::Slo, elsewhere);
    Finding::no_data(NoDataCause::Unusable { reason }, vec![evidence])
}

/// Most bytes of a phrase: one that names thousands of hosts helps nobody, and rides in every verdict.
const PHRASE_BYTES_MAX: usize = 1_000;

/// A finding whose phrases are cut where they are long.
pub(super) fn in_brief(mut finding: Finding) -> Finding {
    let notes = finding
        .evidence
        .iter_mut()
        .map(|evidence| &mut evidence.note);
    for phrase in notes.chain(&mut finding.awaiting) {
        if PHRASE_BYTES_MAX < phrase.len() {
            phrase.truncate(phrase.floor_char_boundary(PHRASE_BYTES_MAX));
            phrase.push('…');
        }
    }
    finding
}

/// What all detectors of a gate have in common.
pub(super) struct GateSetup {
    pub(super) began_at: Timestamp,
    pub(super) before: Before,
    pub(super) grace_until: Timestamp,
    pub(super) bake_min_until: Timestamp,
    pub(super) bake_until: Timestamp,
    pub(super) resolution: Span,
    pub(super) alpha_per_weight: f64,
    pub(super) weight: f64,
}

impl GateSetup {
    /// The checks of the stage, none of which has seen anything.
    pub(super) fn checks<'a>(
        &self,
        stage: &StagePlan,
        checks: &impl Fn(&str) -> &'a Check,
    ) -> Vec<GateCheck> {
        let gate_check = |used: &crate::plan::StageCheck| {
            let check = checks(&used.check);
            let alpha = if check.is_statistical() {
                self.alpha_per_weight * f64::from(used.weight)
            } else {
                0.0
            };
            GateCheck {
                name: check.name.clone(),
                kind: check.kind(),
                mode: used.mode,
                finding: None,
                needs_bake: needs_bake(check),
                detector: Detector::new(&self.of(check, used.mode, alpha)),
            }
        };
        stage.checks.iter().map(gate_check).collect()
    }

    fn of<'a>(&self, check: &'a Check, mode: Mode, alpha: f64) -> Setup<'a> {
        Setup {
            check,
            mode,
            began_at: self.began_at,
            before: self.before,
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
pub(super) fn alpha_per_weight<'a>(
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

/// Whether a check gathers evidence over the bake. Limits and silence are told from what is there now.
fn needs_bake(check: &Check) -> bool {
    match check.detector {
        DetectorPlan::Bounds { .. } | DetectorPlan::Absent { .. } => false,
        DetectorPlan::Derivative { .. }
        | DetectorPlan::Sigma { .. }
        | DetectorPlan::Compare { .. }
        | DetectorPlan::NewTemplate
        | DetectorPlan::Load { .. } => true,
    }
}
