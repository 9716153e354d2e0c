//! What the comparison was asked for: the deployment's times, its share of alpha, its tolerance.

use serde::{Deserialize, Serialize};

use super::class::{Class, Measure};
use crate::{
    detect::Setup,
    event::{Kind, Span, Timestamp},
    plan::{DetectorPlan, Direction, Selection},
};

/// The part of a [`Setup`] that the comparison needs for as long as the deployment lasts.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// When the deployment began.
    pub(super) began_at: Timestamp,
    /// Until when hosts are what they were before; not after `began_at`.
    pub(super) past_until: Timestamp,
    /// The least and the largest share of the traffic that the one-box was given before, where that was told.
    pub(super) past_shares: Option<(f64, f64)>,
    /// Until when restarts and cold caches are forgiven.
    pub(super) grace_until: Timestamp,
    /// From when on the gate may pass early.
    pub(super) bake_min_until: Timestamp,
    /// When the bake is over at the latest.
    pub(super) bake_until: Timestamp,
    /// Width of a bucket.
    pub(super) resolution: Span,
    /// The check's share of the gate's alpha, in (0, 1).
    pub(super) alpha: f64,
    /// Share of an ordinary host's traffic that a one-box host is given; above 0.
    pub(super) weight: f64,
    /// Difference that is accepted, relative to the fleet, where the configuration says it.
    pub(super) tolerance: Option<f64>,
    /// Which side is harm.
    pub(super) sides: Sides,
    /// Whether the check counts log records.
    pub(super) is_log: bool,
    /// Whether the check divides by an exposure: the plan says it, since a bucket may have none.
    pub(super) has_per: bool,
    /// Whether the check selects every series.
    pub(super) is_everything: bool,
}

/// Which side of the fleet is harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sides {
    Up,
    Down,
    Both,
}

/// Alpha of a check that was given none: an advisory check outside the gate's budget.
const ALPHA_DEFAULT: f64 = 0.01;

impl Sides {
    /// 1 for up, -1 for down.
    pub(super) fn signs(self) -> &'static [f64] {
        match self {
            Self::Up => &[1.0],
            Self::Down => &[-1.0],
            Self::Both => &[1.0, -1.0],
        }
    }
}

impl Terms {
    /// Takes what is needed from the setup.
    pub(super) fn new(setup: &Setup<'_>) -> Self {
        let (tolerance, direction) = match setup.check.detector {
            DetectorPlan::Compare {
                tolerance,
                direction,
            } => (tolerance, direction),
            DetectorPlan::Bounds { .. }
            | DetectorPlan::Derivative { .. }
            | DetectorPlan::Sigma { .. }
            | DetectorPlan::Absent { .. }
            | DetectorPlan::NewTemplate
            | DetectorPlan::Load { .. } => (None, Direction::Both),
        };
        let is_everything = match &setup.check.selection {
            Selection::Series(series) => series.selector.is_everything(),
            Selection::Logs(_) => false,
        };
        let has_per = match &setup.check.selection {
            Selection::Series(series) => series.per.is_some(),
            Selection::Logs(_) => false,
        };
        let is_share = |alpha: f64| alpha.is_finite() && 0.0 < alpha && alpha < 1.0;
        let is_weight = |weight: f64| weight.is_finite() && weight > 0.0;
        Self {
            began_at: setup.began_at,
            past_until: setup.before.until.min(setup.began_at),
            past_shares: setup
                .before
                .shares
                .filter(|shares| is_weight(shares.0) && is_weight(shares.1)),
            grace_until: setup.grace_until.max(setup.began_at),
            bake_min_until: setup.bake_min_until,
            bake_until: setup.bake_until,
            resolution: setup.resolution,
            alpha: if is_share(setup.alpha) {
                setup.alpha
            } else {
                ALPHA_DEFAULT
            },
            weight: if is_weight(setup.weight) {
                setup.weight
            } else {
                1.0
            },
            tolerance: tolerance.filter(|tolerance| tolerance.is_finite() && *tolerance >= 0.0),
            sides: match direction {
                Direction::Up => Sides::Up,
                Direction::Down => Sides::Down,
                Direction::Both => Sides::Both,
            },
            is_log: matches!(setup.check.selection, Selection::Logs(_)),
            has_per,
            is_everything,
        }
    }

    /// What the one-box's rates are divided by after the deployment began.
    pub(super) fn divisor(&self, kind: Kind, has_exposure: bool) -> f64 {
        if (self.is_log || kind == Kind::Counter) && !has_exposure {
            self.weight
        } else {
            1.0
        }
    }

    /// What a healthy one-box may differ by on each side (up, down), as logarithms, because it is
    /// given another share of the traffic. Requests follow it. What is not counted may follow the traffic or
    /// not, and so may log records, the processor, and what else is partly spent on nothing in particular: a
    /// harm is one only if it is one either way. So what is not counted may have been at another share before, and may go
    /// as far as from its past `place` beside the fleet, a logarithm, to where it is at this share, or at the fleet's.
    /// Where a metric is divided by another there is nothing to allow.
    pub(super) fn allowance(
        &self,
        class: &Class,
        kind: Kind,
        (has_exposure, place): (bool, f64),
    ) -> [f64; 2] {
        let is_counted = self.is_log || kind == Kind::Counter;
        let follows = is_counted && !self.is_log && !class.is_amount();
        if has_exposure || follows || class.is_share() {
            return [0.0; 2];
        }
        // What is counted was divided by the share before.
        let share = if is_counted {
            -self.weight.ln()
        } else {
            self.weight.ln()
        };
        let mut allowance = [share.max(0.0), (-share).max(0.0)];
        if let Some((least, most)) = self.past_shares.filter(|_| !is_counted) {
            let up = (self.weight / least).ln().min(share.max(0.0) - place);
            let down = (most / self.weight).ln().min(place - share.min(0.0));
            allowance = [allowance[0].max(up), allowance[1].max(down)];
        }
        allowance
    }

    /// The same for log records on one side of harm, as rare events: they may follow the traffic or not, so
    /// that the larger of the two rates is healthy on the way up, and the smaller on the way down.
    pub(super) fn of_records(&self, side: Sides) -> Self {
        let weight = match side {
            Sides::Up => self.weight.max(1.0),
            Sides::Down => self.weight.min(1.0),
            Sides::Both => self.weight,
        };
        Self {
            weight,
            sides: side,
            ..self.clone()
        }
    }

    /// The same with those sides of harm that are some of the class.
    pub(super) fn of_class(&self, class: &Class) -> Self {
        Self {
            sides: class.sides(self.sides),
            ..self.clone()
        }
    }

    /// The accepted difference on the working scale of the class: logarithms, or shares. `level` is
    /// the fleet's usual share.
    pub(super) fn tolerance(&self, class: &Class, level: f64, default: f64) -> f64 {
        match (self.tolerance, class.measure) {
            (None, _) => default,
            (Some(tolerance), Measure::Share { .. }) => (tolerance * level.abs()).max(1e-6),
            (
                Some(tolerance),
                Measure::Memory
                | Measure::Held
                | Measure::Latency
                | Measure::Cpu
                | Measure::Count
                | Measure::Dropped
                | Measure::Amount
                | Measure::Other,
            ) => tolerance.ln_1p(),
        }
    }

    /// How many buckets fit in a length of time; at least one.
    pub(super) fn buckets(&self, span: Span) -> usize {
        span.div_ceil(self.resolution).max(1)
    }

    /// How many buckets will be judged, from the end of the grace to the end of the bake.
    pub(super) fn horizon(&self) -> usize {
        self.buckets(self.bake_until - self.grace_until)
    }
}
