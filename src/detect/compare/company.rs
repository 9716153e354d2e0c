//! The one-box among a few hosts: when it strays farther than it, and they, ever did.

use serde::{Deserialize, Serialize};

use super::follower::{Follower, OWN_PAST_WINDOWS, Window};
use crate::detect::{Unsound, state::counted};

/// How the largest of many null medians grows with their number, by length of the window, for a
/// step and for a level: exponents of a Pareto tail, fitted to recordings.
const EXPONENTS: [(f64, f64); 4] = [(0.25, 0.27), (0.13, 0.20), (0.13, 0.20), (0.13, 0.20)];
/// Smallest factor by which the past must be exceeded.
const MARGIN_MIN: f64 = 1.25;
/// Times this where the past is borrowed from the fleet.
const MARGIN_BORROWED: f64 = 1.5;

/// The differences of the one-box to the fleet, and of each fleet host to the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Company {
    pub(super) own: Follower,
    others: Vec<Follower>,
    /// Number of past samples.
    samples: usize,
    /// Accepted difference.
    tolerance: f64,
}

/// What the margins depend on besides the past.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Stakes {
    /// How many samples are expected to be judged.
    pub(super) planned: f64,
    /// Alpha of one side.
    pub(super) alpha: f64,
    /// Samples since the deployment began.
    pub(super) judged: usize,
}

impl Company {
    /// Learns from the past of the one-box and of each fleet host.
    pub(super) fn new(own: &[f64], others: &[Vec<f64>], tolerance: f64, floor: f64) -> Self {
        Self {
            own: Follower::new(own, floor),
            others: others
                .iter()
                .map(|past| Follower::new(past, floor))
                .collect(),
            samples: own.iter().filter(|value| value.is_finite()).count(),
            tolerance,
        }
    }

    /// Refuses a saved company that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of samples", self.samples as u64)?;
        let mut followers = [&self.own].into_iter().chain(&self.others);
        followers.try_for_each(Follower::check)
    }

    /// The accepted difference.
    pub(super) fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// Takes the next differences; NaN: there is none.
    pub(super) fn push(&mut self, own: f64, others: &[f64]) {
        self.own.push(own);
        for (other, value) in self.others.iter_mut().zip(others) {
            other.push(*value);
        }
    }

    /// Whether the medians over one window are out of all proportion on this side.
    pub(super) fn strays(&self, index: usize, side: f64, stakes: &Stakes) -> bool {
        let Some(window) = self.own.windows.get(index) else {
            return false;
        };
        // Only what lies wholly after the deployment speaks of it.
        if stakes.judged < window.len {
            return false;
        }
        let (Some(level), Some(latest)) = (window.level(), self.own.latest()) else {
            return false;
        };
        // What heals is forgiven.
        if level * side <= self.tolerance || latest * side < 0.5 * level * side {
            return false;
        }
        if !self.exceeds_fleet(index, level) {
            return false;
        }
        let (level_max, step_max) = self.past_max(index);
        let (step_margin, level_margin) = self.margins(index, stakes);
        let by_level = level.abs() / level_max;
        let is_step = window.step().is_some_and(|step| {
            step * side > 0.0 && by_level.min(step.abs() / step_max) > step_margin
        });
        is_step || by_level > level_margin
    }

    /// How far a level must be from the usual to be found, whatever the steps.
    pub(super) fn reach(&self, index: usize, stakes: &Stakes) -> f64 {
        self.past_max(index).0 * self.margins(index, stakes).1
    }

    /// The farthest that medians of this length ever were: of the one-box, and where its past is
    /// short, of the fleet.
    fn past_max(&self, index: usize) -> (f64, f64) {
        let window = &self.own.windows[index];
        let own = (window.level_max, window.step_max);
        if !self.borrows(window) {
            return own;
        }
        let others = self
            .others
            .iter()
            .filter_map(|other| other.windows.get(index));
        others.fold(own, |(level, step), other| {
            (level.max(other.level_max), step.max(other.step_max))
        })
    }

    fn borrows(&self, window: &Window) -> bool {
        let unit = self.own.memory.max(window.len as f64);
        (self.samples as f64) < OWN_PAST_WINDOWS as f64 * unit && !self.others.is_empty()
    }

    /// The factors by which a step and a level must exceed the past.
    fn margins(&self, index: usize, stakes: &Stakes) -> (f64, f64) {
        let window = &self.own.windows[index];
        let borrows = self.borrows(window);
        let hosts = if borrows { 1 + self.others.len() } else { 1 };
        let looks = stakes.planned / ((self.samples * hosts).max(1) as f64 * stakes.alpha);
        let exponent = EXPONENTS[index.min(EXPONENTS.len() - 1)];
        let factor = if borrows { MARGIN_BORROWED } else { 1.0 };
        let margin = |exponent: f64| MARGIN_MIN.max(looks.powf(exponent)) * factor;
        (margin(exponent.0), margin(exponent.1))
    }

    /// Whether no fleet host strays as far at the same moment.
    fn exceeds_fleet(&self, index: usize, level: f64) -> bool {
        let own_sigma = self.own.windows[index].level_sigma;
        let mut others = self
            .others
            .iter()
            .filter_map(|other| other.windows.get(index));
        others.all(|other| {
            other.level().is_none_or(|of_other| {
                of_other.abs() < level.abs()
                    && of_other.abs() / other.level_sigma < level.abs() / own_sigma
            })
        })
    }
}
