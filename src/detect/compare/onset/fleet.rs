//! Whether the fleet is what changed, and not the one-box.
//!
//! Where traffic moves from the old version to the new at once, as with blue and green stacks, the old hosts idle
//! beside new ones that do just what those did before. The difference is no proof of harm then. It is harm
//! all the same where the one-box is beyond what the fleet ever was, and where the fleet fell little, on some of
//! its hosts, or long before.
//!
//! Nothing of the kind is asked where less is harm: a one-box that does not rise with all others may be broken.

use super::scene::{Aspect, Row, Scene};
use crate::detect::stats::{mean, median, quantile};

/// The logarithm of the factor by which the middle host of the fleet must have fallen, and nearly every one.
const FALL: f64 = 1.098_612_288_668_109_8;
const FALL_EACH: f64 = std::f64::consts::LN_2;
/// Share of the fleet's hosts that need not have.
const OTHERS_MAX: f64 = 0.2;
/// Part of the past, up to the deployment, that tells from where it fell: a day's season is no fall.
const LATEST_PART: usize = 4;
/// Share of the fleet's values that are not higher than where it was.
const HIGH: f64 = 0.95;
/// The logarithm of the factor by which the one-box may be above that: hosts differ.
const BEYOND: f64 = 0.095_310_179_804_324_87;
/// Values that tell a level.
const VALUES_MIN: usize = 3;

impl Row {
    /// The logarithm of its mean in some buckets.
    fn level(&self, buckets: std::ops::Range<usize>) -> Option<f64> {
        let (mut seen, mut exposure, mut count) = (0.0, 0.0, 0);
        for bucket in buckets.filter(|bucket| self.value(*bucket).is_some()) {
            seen += self.seen[bucket];
            exposure += self.exposure[bucket];
            count += 1;
        }
        let level = (seen / exposure).ln();
        (VALUES_MIN <= count && !level.is_nan()).then_some(level)
    }
}

impl Scene {
    /// Whether nearly all of the fleet fell, and these hosts of the one-box are no higher since a bucket than the
    /// fleet was before.
    pub(super) fn is_change_of_fleet(&self, hosts: &[usize], bucket: usize) -> bool {
        if matches!(self.aspect, Aspect::Difference { .. }) {
            return false;
        }
        let latest = self.begun - self.begun / LATEST_PART..self.begun;
        let since = bucket..self.buckets();
        let fall = |row: &Row| Some(row.level(latest.clone())? - row.level(since.clone())?);
        let mut falls: Vec<f64> = self.fleet().iter().filter_map(fall).collect();
        let stayed = falls.iter().filter(|fall| **fall < FALL_EACH).count() as f64;
        let is_all = stayed <= OTHERS_MAX * falls.len() as f64;
        let has_fallen = median(&mut falls).is_some_and(|fall| FALL <= fall);
        if !is_all || !has_fallen {
            return false;
        }
        let values = self.fleet().iter().flat_map(|row| row.values(self.begun));
        let high = quantile(&mut values.collect::<Vec<f64>>(), HIGH);
        let levels = hosts.iter();
        let level = mean(levels.filter_map(|host| self.row(*host).level(since.clone())));
        let both = level.zip(high);
        both.is_some_and(|(level, high)| level <= high.ln() + BEYOND)
    }
}
