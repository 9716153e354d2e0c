//! What a test of one metric says: the numbers on the working scale, and how to show them.

use serde::{Deserialize, Serialize};

use super::report;
use crate::{
    detect::{Basis, CheckState},
    event::Timestamp,
};

/// How numbers of the working scale are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Scale {
    /// Logarithms, shown as relative differences.
    Relative,
    /// Shares of the usual size, for values that can be negative.
    Size,
    /// Shares, shown as differences in points.
    Points,
    /// Logarithms of a ratio of rates, shown as relative differences; words say `×3`.
    Times,
    /// Logarithms of a ratio of spreads.
    Spread,
    /// Differences in the unit of the metric, where nothing or next to nothing was expected.
    Absolute,
}

/// What a test of one metric says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CompareOutcome")]
pub(super) struct Outcome {
    /// `Ok`: a harm above the tolerance is excluded; `Undecided`; `Warming`; `Breach`.
    pub(super) state: CheckState,
    /// What the false-alarm rate rests on.
    pub(super) basis: Basis,
    /// How the numbers are shown.
    pub(super) scale: Scale,
    /// The difference between one-box and fleet on the working scale; up is positive.
    pub(super) effect: Option<f64>,
    /// Its confidence interval.
    pub(super) interval: Option<(f64, f64)>,
    /// The smallest effect that would have been seen.
    pub(super) detectable: Option<f64>,
    /// What the one-box showed, in the unit of the metric.
    pub(super) observed: Option<f64>,
    /// What was expected of it.
    pub(super) expected: Option<f64>,
    /// Start of the first bucket of the breach that stands.
    pub(super) first_breach: Option<Timestamp>,
    /// How bad it is: the harm in tolerances; orders the evidence.
    pub(super) severity: f64,
    /// What a person should know beside the numbers.
    pub(super) remark: Option<String>,
}

impl Outcome {
    /// Nothing is known yet.
    pub(super) fn warming(basis: Basis, scale: Scale) -> Self {
        Self {
            state: CheckState::Warming,
            basis,
            scale,
            effect: None,
            interval: None,
            detectable: None,
            observed: None,
            expected: None,
            first_breach: None,
            severity: 0.0,
            remark: None,
        }
    }

    /// Whether what it shows is certain, larger than what is accepted and than what would have been seen, and yet
    /// no breach: whatever the reason is, that is no PASS.
    pub(super) fn is_unexplained(&self) -> bool {
        let numbers = self.effect.zip(self.interval).zip(self.detectable);
        let Some(((effect, (low, high)), detectable)) = numbers else {
            return false;
        };
        let nearest = if 0.0 < effect { low } else { -high };
        // Of a harm the severity counts tolerances.
        let tolerance = effect.abs() / self.severity;
        self.state == CheckState::Undecided
            && 0.0 < self.severity
            && tolerance < nearest
            && detectable < effect.abs()
    }

    /// The same as a doubt.
    pub(super) fn unexplained(mut self) -> Self {
        self.state = CheckState::NoData;
        let before = self
            .remark
            .map_or_else(String::new, |remark| format!("{remark}; "));
        self.remark = Some(format!("{before}{}", report::UNEXPLAINED));
        self
    }

    /// The same without an interval that contradicts a breach: that of another window than the one that decided.
    pub(super) fn agreeing(mut self) -> Self {
        let is_breach = self.state == CheckState::Breach;
        self.interval = self
            .interval
            .filter(|(low, high)| !is_breach || 0.0 < *low || *high < 0.0);
        self
    }
}

impl Scale {
    /// How plain differences are shown of what was shown like this.
    pub(super) fn of_differences(self) -> Self {
        match self {
            Self::Points => Self::Points,
            Self::Relative | Self::Size | Self::Times | Self::Spread | Self::Absolute => Self::Size,
        }
    }

    /// A number of the working scale as it is shown: relative, or in shares.
    pub(super) fn shown(self, value: f64) -> f64 {
        match self {
            Self::Relative | Self::Times | Self::Spread => value.exp_m1(),
            Self::Points | Self::Size | Self::Absolute => value,
        }
    }
}
