//! One series of differences and how far its medians ever strayed in the past.

use serde::{Deserialize, Serialize};

use crate::detect::{
    Unsound,
    state::possible,
    stats::{RollingMedian, mean, median, quantile, robust_sigma},
};

/// Lengths of the windows, in samples.
pub(super) const WINDOWS: [usize; 4] = [6, 12, 24, 60];
/// A window's own past must hold this many windows to speak for itself.
pub(super) const OWN_PAST_WINDOWS: usize = 10;

/// Follows one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Follower {
    pub(super) center: f64,
    pub(super) windows: Vec<Window>,
    last: [f64; 3],
}

/// The medians over one length of window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Window {
    pub(super) len: usize,
    recent: RollingMedian,
    before: RollingMedian,
    /// Farthest that the median, and its step against what came before, ever was from the usual.
    pub(super) level_max: f64,
    pub(super) step_max: f64,
    /// Usual distances.
    pub(super) level_sigma: f64,
}

impl Follower {
    /// Learns from the past; NaN is no sample. `floor` is the smallest distance that is believed.
    pub(super) fn new(past: &[f64], floor: f64) -> Self {
        let mut finite: Vec<f64> = past
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .collect();
        let samples = finite.len();
        let center = median(&mut finite).unwrap_or(0.0);
        let windows = WINDOWS
            .into_iter()
            .filter(|len| samples >= 2 * len)
            .map(|len| Window::new(len, samples))
            .collect();
        let mut follower = Self {
            center,
            windows,
            last: [f64::NAN; 3],
        };
        let mut levels: Vec<Vec<f64>> = vec![Vec::new(); follower.windows.len()];
        for value in past {
            follower.push(*value);
            if value.is_nan() {
                continue;
            }
            for (window, levels) in follower.windows.iter_mut().zip(&mut levels) {
                if let Some(level) = window.level() {
                    window.level_max = window.level_max.max(level.abs());
                    levels.push(level);
                }
                if let Some(step) = window.step() {
                    window.step_max = window.step_max.max(step.abs());
                }
            }
        }
        for (window, mut levels) in follower.windows.iter_mut().zip(levels) {
            let mut distances: Vec<f64> = levels.iter().map(|level| level.abs()).collect();
            let tail = quantile(&mut distances, 0.95).unwrap_or(0.0) / 1.96;
            window.level_sigma = robust_sigma(&mut levels).max(tail).max(floor);
            window.level_max = window.level_max.max(floor);
            window.step_max = window.step_max.max(floor);
        }
        follower
    }

    /// Refuses a saved follower that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        self.windows.iter().try_for_each(|window| {
            possible("length of a window", WINDOWS.contains(&window.len))?;
            window.recent.check()?;
            window.before.check()
        })
    }

    /// Takes the next difference; NaN: there is none.
    pub(super) fn push(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let value = value - self.center;
        self.last = [self.last[1], self.last[2], value];
        for window in &mut self.windows {
            if let Some(left) = window.recent.push(value) {
                window.before.push(left);
            }
        }
    }

    /// The median of the last three samples.
    pub(super) fn latest(&self) -> Option<f64> {
        let mut last = self.last;
        if last.iter().any(|value| value.is_nan()) {
            return None;
        }
        median(&mut last)
    }

    /// Mean of the last three samples, for display where there is no window yet.
    pub(super) fn latest_mean(&self) -> Option<f64> {
        mean(self.last.into_iter().filter(|value| value.is_finite()))
    }
}

impl Window {
    fn new(len: usize, samples: usize) -> Self {
        Self {
            len,
            recent: RollingMedian::new(len),
            before: RollingMedian::new((2 * len).min(len.max(samples / 3))),
            level_max: 0.0,
            step_max: 0.0,
            level_sigma: 0.0,
        }
    }

    /// The middle of the window, as a distance from the usual: of two middle values the nearer one,
    /// so that more than half of the window must lie that far.
    pub(super) fn level(&self) -> Option<f64> {
        self.recent.median_towards_zero()
    }

    /// How far it is from the median of what came before.
    pub(super) fn step(&self) -> Option<f64> {
        Some(self.level()? - self.before.median()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_steps_are_remembered_at_their_largest() {
        let mut past = vec![0.0; 60];
        past[20..40].fill(4.0);
        let mut follower = Follower::new(&past, 0.1);
        assert_eq!(follower.windows[0].level_max, 4.0);
        assert_eq!(follower.windows[0].step_max, 4.0);
        for _ in 0..6 {
            follower.push(9.0);
        }
        assert_eq!(follower.windows[0].level(), Some(9.0));
        assert_eq!(follower.windows[0].step(), Some(9.0));
        assert_eq!(follower.latest(), Some(9.0));
        follower.push(f64::NAN);
        assert_eq!(follower.latest(), Some(9.0));
    }
}
