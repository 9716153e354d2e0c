//! The trend: a one-box that moves away from the fleet all the time, as a leak does.

use super::{
    Change, Channel, Contrast, HostsTest, Noise, PRESENT_LEAST, PRESENT_MIN, Slot, TRAILING_COUNT,
    present,
};
use crate::{
    detect::stats::{median, student_quantile},
    event::Timestamp,
};

/// Tail at which the level must confirm what a trend shows, and the least level that does, in
/// tolerances: a restarted host fills up again, and rises until it is where it was.
const TAIL: f64 = 0.001;
pub(super) const LEVEL: f64 = 0.2;

impl HostsTest {
    /// Compares how much hosts rose since the grace. Their past says nothing of slopes.
    fn rises(&self) -> Option<Contrast> {
        let (one_box, fleet) = self.slots.split_at(self.one_box_count);
        let over = self.looks.count() as f64;
        let mut counts: Vec<f64> = fleet.iter().map(|slot| slot.trend.count()).collect();
        let usual = median(&mut counts)?;
        let rise = |slot: &Slot, least: f64| {
            let weight = present(slot.trend.count(), usual, least)?;
            let (before, after) = (0.0, slot.trend.rise(over)?);
            Some(Change {
                before,
                after,
                weight,
            })
        };
        let own = one_box.iter();
        let one_box: Vec<Change> = own.filter_map(|slot| rise(slot, PRESENT_LEAST)).collect();
        let others = fleet.iter();
        let fleet: Vec<Change> = others.filter_map(|slot| rise(slot, PRESENT_MIN)).collect();
        let noise = Noise {
            sigma_min: self.rules.sigma_min,
            expected: None,
        };
        Contrast::new(&one_box, &fleet, noise)
    }

    /// Notes a one-box that rises faster than the fleet and stands above it by now: after a
    /// restart a host that only fills up again rises too.
    pub(super) fn look_at_trend(&mut self, from: Timestamp, end: Timestamp) {
        let longest = (0..TRAILING_COUNT).rev().find(|window| {
            let half = self.looks.halves[*window];
            half > 0 && 3 * half <= self.looks.count()
        });
        let Some(latest) =
            longest.and_then(|window| self.contrast(Channel::Level, |slot| slot.trailing(window)))
        else {
            return;
        };
        let Some(rises) = self.rises() else { return };
        let critical = student_quantile(self.looks.alpha_trend, rises.freedom) * rises.error;
        let least = student_quantile(TAIL, latest.freedom) * latest.error;
        let least = least.max(LEVEL * self.rules.tolerance);
        let over = self.looks.count() as f64 * self.rules.rise_per_bucket;
        let tolerance = self.rules.tolerance * over.min(1.0);
        for side in self.rules.sides.signs() {
            let rise = rises.effect * side;
            let is_beyond = rise > tolerance && rise > critical;
            let stands_out = self.harm(&latest, *side) > least;
            if is_beyond && stands_out && rises.exceeds_placebo(*side) {
                self.raise(*side, (false, true), from, end);
            }
        }
    }
}
