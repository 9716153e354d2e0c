//! The closed set of detectors, one for each kind of check.

use super::{
    Evidence, Finding, Setup, View, absent::Absent, bounds::Bounds, compare::Compare,
    derivative::Derivative, load::Load, new_template::NewTemplate, sigma::Sigma,
};
use crate::plan::DetectorPlan;

/// The detector of one check in one deployment.
#[derive(Clone, Debug)]
pub enum Detector {
    /// `bounds`, and `logs.rate` with bounds.
    Bounds(Bounds),
    /// `derivative`.
    Derivative(Derivative),
    /// `sigma`.
    Sigma(Sigma),
    /// `compare`, and `logs.rate` against the fleet.
    Compare(Compare),
    /// `absent` and `logs.absent`.
    Absent(Absent),
    /// `logs.new`.
    NewTemplate(NewTemplate),
    /// `load`.
    Load(Load),
}

impl Detector {
    /// Makes the detector that the check asks for.
    pub fn new(setup: &Setup<'_>) -> Self {
        match setup.check.detector {
            DetectorPlan::Bounds { .. } => Self::Bounds(Bounds::new(setup)),
            DetectorPlan::Derivative { .. } => Self::Derivative(Derivative::new(setup)),
            DetectorPlan::Sigma { .. } => Self::Sigma(Sigma::new(setup)),
            DetectorPlan::Compare { .. } => Self::Compare(Compare::new(setup)),
            DetectorPlan::Absent { .. } => Self::Absent(Absent::new(setup)),
            DetectorPlan::NewTemplate => Self::NewTemplate(NewTemplate::new(setup)),
            DetectorPlan::Load { .. } => Self::Load(Load::new(setup)),
        }
    }

    /// Judges the bucket that has just closed; called once for each, in order of time.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        match self {
            Self::Bounds(detector) => detector.observe(view),
            Self::Derivative(detector) => detector.observe(view),
            Self::Sigma(detector) => detector.observe(view),
            Self::Compare(detector) => detector.observe(view),
            Self::Absent(detector) => detector.observe(view),
            Self::NewTemplate(detector) => detector.observe(view),
            Self::Load(detector) => detector.observe(view),
        }
    }

    /// What is beyond the owner's limits, whether or not all hosts are covered; instead of
    /// [`Detector::observe`]. Only `bounds` knows limits of one host at one time.
    pub fn excesses(&mut self, view: &View<'_>) -> Vec<Evidence> {
        match self {
            Self::Bounds(detector) => detector.excesses(view),
            Self::Derivative(_)
            | Self::Sigma(_)
            | Self::Compare(_)
            | Self::Absent(_)
            | Self::NewTemplate(_)
            | Self::Load(_) => Vec::new(),
        }
    }
}
