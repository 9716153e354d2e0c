//! How far hosts went from their usual place by themselves, before anything was deployed.
//!
//! The spread among fleet hosts in a window is the noise model, and it is right as long as what happens
//! to a host happens to some of the others in the same window. Work that comes seldom does not: a batch
//! job for five minutes of every hour, each host's at its own time, is on none of twenty hosts in one
//! window of five minutes out of six, and the spread of those tells nothing of it. The past does. So a
//! harm must also be larger than what the one-box itself went through in its past, over any window as
//! long, and larger than what a job of one of its hosts can do to their mean, where a job is what the
//! fleet host that went second farthest did: what a single host of the fleet ever did is an accident.
//! Of windows longer than a third of the past nothing is known, and nothing asked: they hold so many jobs
//! that the spread tells.

use serde::{Deserialize, Serialize};

use super::{Changes, Contrast, HostsTest, Working};
use crate::detect::stats::{mean, median};

/// Fewest buckets of the past that tell how far hosts go.
const BUCKETS_MIN: usize = 60;
/// Fewest windows of one length that must fit into the past.
const WINDOWS_MIN: usize = 3;
/// Parts of its length by which a window is moved on.
const STEPS: usize = 8;
/// How much farther than that a harm must go: the same job is never twice the same, and what the fleet has
/// less of it just then counts as the one-box's.
const BEYOND: f64 = 1.25;

/// How far hosts went, by the length of the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CompareFarthest")]
pub(in crate::detect::compare) struct Farthest {
    windows: Vec<Window>,
}

/// How far hosts went from their usual place in windows of one length: up and down, on the working scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CompareFarthestWindow")]
struct Window {
    /// In buckets, or in samples where those are rarer.
    length: usize,
    /// The one-box, as the mean of its hosts.
    one_box: [f64; 2],
    /// The fleet host that went farthest, and the one after it.
    fleet: [[f64; 2]; 2],
}

impl Farthest {
    /// For a past of so many buckets, or samples.
    pub(in crate::detect::compare) fn new(buckets: usize) -> Self {
        let lengths = (0..32).flat_map(|power| [2_usize << power, 3 << power]);
        let fits = |length: &usize| BUCKETS_MIN <= buckets && length * WINDOWS_MIN <= buckets;
        let window = |length| Window {
            length,
            one_box: [0.0; 2],
            fleet: [[0.0; 2]; 2],
        };
        Self {
            windows: [1]
                .into_iter()
                .chain(lengths)
                .take_while(fits)
                .map(window)
                .collect(),
        }
    }

    /// Learns from the past of the one-box: the means of its hosts, NaN where there was none. Values are as they
    /// came: a job is farther out than what single outliers are clipped to. `usual` is where
    /// it mostly was, `number` makes the number that is compared of a mean.
    pub(in crate::detect::compare) fn learn_one_box(
        &mut self,
        values: &[f64],
        usual: f64,
        number: impl Fn(f64) -> f64,
    ) {
        let past = Summed::new(values);
        for window in &mut self.windows {
            window.one_box = past.farthest(window.length, usual, &number);
        }
    }

    /// Learns likewise from the past of one host of the fleet.
    pub(in crate::detect::compare) fn learn_fleet(
        &mut self,
        values: &[f64],
        usual: f64,
        number: impl Fn(f64) -> f64,
    ) {
        let past = Summed::new(values);
        for window in &mut self.windows {
            let went = past.farthest(window.length, usual, &number);
            let [first, second] = &mut window.fleet;
            for side in 0..2 {
                if first[side] < went[side] {
                    (second[side], first[side]) = (first[side], went[side]);
                } else {
                    second[side] = second[side].max(went[side]);
                }
            }
        }
    }

    /// How far the mean of so many one-box hosts may go on this side, for what they went through before, in
    /// a window of so many buckets. 0 where the past is too short to tell.
    fn usual(&self, buckets: f64, hosts: f64, side: f64) -> f64 {
        let side = usize::from(side < 0.0);
        let fitting = self
            .windows
            .iter()
            .take_while(|window| window.length as f64 <= buckets);
        let Some(window) = fitting.last() else {
            return 0.0;
        };
        // Twice the longest window would have been known.
        if 2.0 * window.length as f64 <= buckets {
            return 0.0;
        }
        BEYOND * window.one_box[side].max(window.fleet[1][side] / hosts)
    }
}

/// Where these values mostly are. The middle of what is often zero would be none.
pub(in crate::detect::compare) fn usual(working: &Working, values: &[f64]) -> f64 {
    let mut finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    if working.is_ratio() {
        mean(finite).map_or(f64::NAN, |mean| working.of_value(mean))
    } else {
        median(&mut finite).unwrap_or(f64::NAN)
    }
}

/// Values of several hosts, bucket by bucket.
#[derive(Default)]
pub(in crate::detect::compare) struct Together {
    sums: Vec<f64>,
    counts: Vec<f64>,
}

impl Together {
    /// Adds those of a host.
    pub(in crate::detect::compare) fn add(&mut self, values: &[f64]) {
        let len = self.sums.len().max(values.len());
        self.sums.resize(len, 0.0);
        self.counts.resize(len, 0.0);
        let all = self.sums.iter_mut().zip(&mut self.counts).zip(values);
        for ((sum, count), value) in all.filter(|(_, value)| value.is_finite()) {
            *sum += value;
            *count += 1.0;
        }
    }

    /// Their means; NaN where no host had one.
    pub(in crate::detect::compare) fn means(&self) -> Vec<f64> {
        let all = self.sums.iter().zip(&self.counts);
        all.map(|(sum, count)| sum / count).collect()
    }
}

/// The past of a host, summed up, so that the mean over any window is a difference.
struct Summed {
    sums: Vec<f64>,
    counts: Vec<f64>,
}

impl Summed {
    fn new(values: &[f64]) -> Self {
        let (mut sum, mut count) = (0.0, 0.0);
        let mut summed = Self {
            sums: vec![0.0],
            counts: vec![0.0],
        };
        for value in values {
            if value.is_finite() {
                sum += value;
                count += 1.0;
            }
            summed.sums.push(sum);
            summed.counts.push(count);
        }
        summed
    }

    /// The mean from one place to another; NaN where less than half of the values are there.
    fn mean(&self, from: usize, to: usize) -> f64 {
        let count = self.counts[to] - self.counts[from];
        if 2.0 * count < (to - from) as f64 {
            return f64::NAN;
        }
        (self.sums[to] - self.sums[from]) / count
    }

    /// The farthest that numbers made of means over windows of this length went from the usual: up and down.
    fn farthest(&self, length: usize, usual: f64, number: &impl Fn(f64) -> f64) -> [f64; 2] {
        let step = (length / STEPS).max(1);
        let starts = (0..self.sums.len().saturating_sub(length)).step_by(step);
        let away = starts.map(|from| number(self.mean(from, from + length)) - usual);
        let finite = away.filter(|away| away.is_finite());
        finite.fold([0.0; 2], |[up, down], away| [up.max(away), down.max(-away)])
    }
}

impl Changes {
    /// How many hosts the one-box counts as, at least one.
    fn parts(&self) -> f64 {
        let weights = self.one_box.iter().map(|change| change.weight);
        weights.sum::<f64>().max(1.0)
    }
}

impl HostsTest {
    /// Whether hosts go by themselves as far as the one-box is in the window of these changes.
    pub(super) fn is_usual(&self, changes: &Changes, contrast: &Contrast, side: f64) -> bool {
        let hosts = changes.parts();
        let effect = (contrast.effect + changes.clipped_away) * side;
        effect <= self.farthest.usual(changes.window, hosts, side)
    }

    /// The same of one host of the one-box, which may have made all of what their mean did.
    pub(super) fn is_usual_alone(&self, changes: &Changes, effect: f64, side: f64) -> bool {
        let hosts = changes.parts();
        effect * side <= hosts * self.farthest.usual(changes.window, hosts, side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten at zero, but for a stretch.
    fn job(buckets: usize, from: usize, length: usize) -> Vec<f64> {
        let is_on = |bucket: &usize| (from..from + length).contains(bucket);
        (0..buckets)
            .map(|bucket| if is_on(&bucket) { 1.0 } else { 0.0 })
            .collect()
    }

    #[test]
    fn a_job_that_two_hosts_had_is_usual_and_one_of_a_single_host_is_not() {
        let plain = |mean| mean;
        let quiet = vec![0.0; 180];
        let mut past = Farthest::new(180);
        past.learn_one_box(&quiet, 0.0, plain);
        past.learn_fleet(&job(180, 17, 6), 0.0, plain);
        past.learn_fleet(&quiet, 0.0, plain);
        assert_eq!(past.usual(6.0, 1.0, 1.0), 0.0);
        past.learn_fleet(&job(180, 100, 6), 0.0, plain);
        for (buckets, hosts, side, usual) in [
            (6.0, 1.0, 1.0, BEYOND),
            // Of three hosts one has a job at a time; longer windows hold less of it; it is no fall.
            (6.0, 3.0, 1.0, BEYOND / 3.0),
            (24.0, 1.0, 1.0, BEYOND / 4.0),
            (6.0, 1.0, -1.0, 0.0),
            // A window in between is taken for the next shorter one.
            (31.0, 1.0, 1.0, BEYOND / 4.0),
        ] {
            let found = past.usual(buckets, hosts, side);
            assert!(
                (found - usual).abs() < 1e-12,
                "{buckets} {hosts} {side}: {found}"
            );
        }
    }

    #[test]
    fn what_the_one_box_went_through_itself_is_usual_for_it() {
        let mut past = Farthest::new(180);
        past.learn_one_box(&job(180, 40, 12), 0.0, |mean| mean);
        assert_eq!(past.usual(12.0, 2.0, 1.0), BEYOND);
    }

    #[test]
    fn of_windows_longer_than_a_third_of_the_past_nothing_is_asked() {
        let mut past = Farthest::new(180);
        past.learn_one_box(&job(180, 40, 12), 0.0, |mean| mean);
        assert!(past.usual(60.0, 1.0, 1.0) > 0.0);
        assert_eq!(past.usual(96.0, 1.0, 1.0), 0.0);
        assert_eq!(Farthest::new(59), Farthest::default());
        let gaps = [1.0, f64::NAN, f64::NAN, 1.0];
        for (values, length) in [(&gaps, 3), (&[f64::NAN; 4], 1)] {
            let went = Summed::new(values).farthest(length, 0.0, &|mean| mean);
            assert_eq!(went, [0.0; 2]);
        }
    }
}
