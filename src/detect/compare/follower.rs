//! One series of differences and how far its medians ever strayed in the past.

use serde::{Deserialize, Serialize};

use crate::detect::{
    Unsound,
    state::{counted, possible},
    stats::{RollingMedian, mean, median, quantile, robust_sigma},
};

/// Lengths of the windows, in samples.
pub(super) const WINDOWS: [usize; 4] = [6, 12, 24, 60];
/// A window's own past must hold this many windows to speak for itself.
pub(super) const OWN_PAST_WINDOWS: usize = 10;

/// Share of the past that a value must make up to be one of few that the series takes.
const STEP_SHARE: f64 = 0.04;
/// Share of the past that those few must make up together.
const STEPS_SHARE: f64 = 0.5;
/// Values that are this close, as a share of the largest, are one: differences of equal numbers are not always
/// equal.
const SAME: f64 = 1e-9;

/// How far medians of the past went at least, in standard deviations that those of independent samples would
/// have: a past of few windows that went less far was lucky, and neighbours that resemble each other make medians
/// vary more, not less. With the middle of what so few windows go (1.2 to 1.8) instead, one in twenty healthy
/// deployments of ten independent metrics beside one to three hosts with an hour of past failed; so, none of 80.
const LEAST_SIGMAS: f64 = 2.0;
/// The standard deviation of the median of independent normal samples, as a multiple of that of their mean.
const MEDIAN_TO_MEAN: f64 = 1.2533;

/// Follows one series.
///
/// Where a series takes few values (small whole numbers: connections in use, threads at work), its median stands
/// on one of them, and moves on to the next by almost nothing: it says too much, and whether the past did so, too,
/// is chance. So each value is moved within its step, by the same even sequence in every run; then medians
/// tell how many values lie on either side, as those of continuous values do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Follower {
    pub(super) center: f64,
    pub(super) windows: Vec<Window>,
    last: [f64; 3],
    /// The width of a step; 0 where there is none.
    pub(super) step: f64,
    /// How many values were moved.
    moved: u64,
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
        let step = step_of(&mut finite.clone());
        for (index, value) in (0..).zip(&mut finite) {
            *value += within(step, index);
        }
        let center = median(&mut finite).unwrap_or(0.0);
        let sigma = least_sigma(&mut finite);
        let windows = WINDOWS
            .into_iter()
            .filter(|len| samples >= 2 * len)
            .map(|len| Window::new(len, samples))
            .collect();
        let mut follower = Self {
            center,
            windows,
            last: [f64::NAN; 3],
            step,
            moved: 0,
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
            let [level, before] = [window.len, window.before.capacity()]
                .map(|len| LEAST_SIGMAS * MEDIAN_TO_MEAN * sigma / (len as f64).sqrt());
            window.level_max = window.level_max.max(level).max(floor);
            window.step_max = window.step_max.max(level.hypot(before)).max(floor);
        }
        follower
    }

    /// Refuses a saved follower that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of samples", self.moved)?;
        possible("width of a step", 0.0 <= self.step && self.step.is_finite())?;
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
        let value = value + within(self.step, self.moved) - self.center;
        self.moved += 1;
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

/// The distance between the values that a series takes, where these are few; else 0. They are reordered.
fn step_of(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let size = values
        .iter()
        .fold(0.0, |size: f64, value| size.max(value.abs()));
    let least = (STEP_SHARE * values.len() as f64).max(2.0);
    let runs = values.chunk_by(|low, high| high - low <= SAME * size);
    let (steps, counts): (Vec<f64>, Vec<f64>) = runs
        .map(|run| (run[0], run.len() as f64))
        .filter(|(_, count)| least <= *count)
        .unzip();
    if counts.iter().sum::<f64>() < STEPS_SHARE * values.len() as f64 {
        return 0.0;
    }
    let widths = steps.array_windows().map(|[low, high]| high - low);
    widths.reduce(f64::min).unwrap_or(0.0)
}

/// The standard deviation of the values, or what their median distance makes of it, if that is less: outliers make
/// the one large, an even spread the other. They are reordered.
pub(super) fn least_sigma(values: &mut [f64]) -> f64 {
    let middle = mean(values.iter().copied()).unwrap_or(0.0);
    let squares = values.iter().map(|value| (value - middle).powi(2));
    let deviation = mean(squares).unwrap_or(0.0).sqrt();
    deviation.min(robust_sigma(values))
}

/// Where a value lies within its step, from its middle: multiples of the golden ratio fill it evenly, however many
/// there are.
fn within(step: f64, index: u64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    step * ((index as f64 * GOLDEN).fract() - 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_steps_are_remembered_at_their_largest() {
        let mut past: Vec<f64> = (0..60)
            .map(|index| 1e-6 * f64::from(index * 7 % 60))
            .collect();
        past[20..40].fill(4.0);
        let mut follower = Follower::new(&past, 0.1);
        let near = |found: Option<f64>, expected: f64| {
            assert!(
                found.is_some_and(|found| (found - expected).abs() < 1e-3),
                "{found:?}"
            );
        };
        near(Some(follower.windows[0].level_max), 4.0);
        near(Some(follower.windows[0].step_max), 4.0);
        for _ in 0..6 {
            follower.push(9.0);
        }
        near(follower.windows[0].level(), 9.0);
        near(follower.windows[0].step(), 9.0);
        near(follower.latest(), 9.0);
        follower.push(f64::NAN);
        near(follower.latest(), 9.0);
    }

    #[test]
    fn a_past_that_was_lucky_is_not_believed() {
        // Neighbours cancel in every window, which independent samples of that size would not do.
        let past: Vec<f64> = (0..60)
            .map(|index| f64::from(index % 2 * 2 - 1) * (1.0 + f64::from(index) / 100.0))
            .collect();
        let follower = Follower::new(&past, 0.01);
        for (window, least) in follower.windows.iter().zip([0.6, 0.4, 0.3]) {
            assert!(
                least < window.level_max && window.level_max < window.step_max,
                "{}: {} {}",
                window.len,
                window.level_max,
                window.step_max
            );
        }
    }

    #[test]
    fn steps_are_those_of_few_values() {
        let whole: Vec<f64> = (0..60).map(|index| f64::from(index * 7 % 4)).collect();
        let halves: Vec<f64> = whole.iter().map(|value| 0.5 * value - 0.3).collect();
        let fine: Vec<f64> = (0..60).map(|index| f64::from(index * 7 % 60)).collect();
        let mut one = vec![5.0; 60];
        one[7] = 9.0;
        for (values, step) in [
            (whole, 1.0),
            (halves, 0.5),
            (fine, 0.0),
            (one, 0.0),
            (vec![], 0.0),
        ] {
            let found = step_of(&mut values.clone());
            assert!(
                (found - step).abs() < 1e-12,
                "{found} is not {step}: {values:?}"
            );
        }
    }

    #[test]
    fn medians_of_few_values_move_no_more_than_the_values_do() {
        // Ones and zeros, half and half: by one more or one less the plain median would be one of them.
        let past: Vec<f64> = (0..60).map(|index| f64::from(index % 2)).collect();
        let mut follower = Follower::new(&past, 0.01);
        for value in [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0] {
            follower.push(value);
        }
        let level = follower.windows[1].level().unwrap();
        assert!(level.abs() < 0.3, "{level}");
        // What has moved on altogether is told as such.
        for _ in 0..12 {
            follower.push(3.0);
        }
        let level = follower.windows[1].level().unwrap();
        assert!((level - 2.5).abs() < 0.3, "{level}");
    }
}
