//! Each host of a one-box of several: whether one alone is the reason.

use serde::{Deserialize, Serialize};

use super::{Follower, mean};
use crate::detect::{Unsound, compare::follower::Window};

/// What the others must show of the mean of all, for it to be more than the one's: none that is well
/// shows so much, and all do where the version is the reason.
const SHARED: f64 = 0.5;

/// The differences of each host to the fleet; empty where there is only one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "OwnPastEach")]
pub(super) struct Each(Vec<Follower>);

impl Each {
    /// Learns from the past of each.
    pub(super) fn new(pasts: &[Vec<f64>], floor: f64) -> Self {
        if pasts.len() < 2 {
            return Self::default();
        }
        let followers = pasts.iter().map(|past| Follower::new(past, floor));
        Self(followers.collect())
    }

    /// Refuses a saved one that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        self.0.iter().try_for_each(Follower::check)
    }

    pub(super) fn push(&mut self, values: &[f64]) {
        for (follower, value) in self.0.iter_mut().zip(values) {
            follower.push(*value);
        }
    }

    /// Whether what a host said last still is out of tolerance on a side.
    pub(super) fn is_out(&self, host: usize, side: f64, tolerance: f64) -> bool {
        let window = self
            .0
            .get(host)
            .and_then(|follower| follower.windows.first());
        let level = window.and_then(Window::level);
        level.is_some_and(|level| level * side > tolerance)
    }

    /// The host that alone is the reason why the mean of all strays this far over a window of so many
    /// samples, on a side.
    pub(super) fn culprit(&self, len: usize, side: f64, level: f64) -> Option<usize> {
        let level_of = |follower: &Follower| {
            let window = follower.windows.iter().find(|window| window.len == len)?;
            Some(window.level()? * side)
        };
        let levels = self.0.iter().enumerate();
        let levels = levels.filter_map(|(host, follower)| Some((level_of(follower)?, host)));
        let levels: Vec<(f64, usize)> = levels.collect();
        let (_, worst) = *levels.iter().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let rest = levels.iter().filter(|(_, host)| *host != worst);
        let rest = mean(rest.map(|(level, _)| *level))?;
        (rest < SHARED * level * side).then_some(worst)
    }
}
