//! The trend: a one-box that moves away from the fleet, and still does ([`still`](super::still)), as a leak does.

use super::{
    Change, Changes, Channel, Contrast, Fleet, FleetFit, HostsTest, Noise, PRESENT_LEAST,
    PRESENT_MIN, Reader, Slot, Suspicion, TRAILING_COUNT, Trend, present,
};
use crate::{
    detect::{Group, stats::median},
    event::Timestamp,
};

/// Tail at which the level must confirm what a trend shows, and the least level that does, in
/// tolerances: a restarted host fills up again, and rises until it is where it was, or a little above.
const TAIL: f64 = 0.001;
const LEVEL: f64 = 0.2;
/// The same where it never fell: then nothing fills up again.
const LEVEL_UNBROKEN: f64 = 0.1;
/// It never fell if it began no lower than by this share of what it rose since.
const FALL: f64 = 0.25;
/// Smallest standard deviation of a stock that is believed, as a share of that of other metrics: what
/// hardly moves on any host is not lost in the rounding of its values, and where it leads in a day,
/// not its size by now, is what must be larger than the tolerance.
const SIGMA_SHARE: f64 = 0.2;

impl HostsTest {
    /// Compares how much hosts rose since the grace.
    fn rises(&self, sigma_min: f64) -> Option<Changes> {
        let over = self.looks.count() as f64;
        self.rises_of(&|index| self.slots[index].trend, over, sigma_min)
    }

    /// Compares how much these lines of hosts rise over so many buckets. Their past says nothing of slopes.
    pub(super) fn rises_of(
        &self,
        trend: &dyn Fn(usize) -> Trend,
        over: f64,
        sigma_min: f64,
    ) -> Option<Changes> {
        let fleet = self.one_box_count..self.slots.len();
        let mut counts: Vec<f64> = fleet.clone().map(|index| trend(index).count()).collect();
        let usual = median(&mut counts)?;
        let rise = |index: usize, least: f64| {
            let trend = trend(index);
            let weight = present(trend.count(), usual, least)?;
            let (before, after) = (0.0, trend.rise(over)?);
            let change = Change {
                before,
                after,
                weight,
            };
            Some((change, index))
        };
        let own = (0..self.one_box_count).filter_map(|index| rise(index, PRESENT_LEAST));
        let (one_box, slots) = own.unzip();
        let others = fleet.filter_map(|index| rise(index, PRESENT_MIN));
        let (changes, fleet_slots): (Vec<Change>, Vec<usize>) = others.unzip();
        let noise = Noise {
            sigma_min,
            expected: None,
        };
        Some(Changes {
            samples: usual,
            window: usual,
            clipped_away: 0.0,
            one_box,
            slots,
            fit: FleetFit::new(&changes, noise)?,
            fleet: Fleet {
                changes,
                slots: fleet_slots,
                noise,
            },
        })
    }

    /// Notes a one-box that rises faster than the fleet and stands above it by now: after a
    /// restart a host that only fills up again rises too.
    pub(super) fn look_at_trend(
        &mut self,
        seen: (&Reader<'_>, &Group),
        alpha: f64,
        from: Timestamp,
    ) {
        let sigma_min = self.rules.sigma_min;
        for side in self.rules.sides.signs() {
            let unbroken = (LEVEL_UNBROKEN, SIGMA_SHARE * sigma_min);
            let (level, sigma_min) = match self.is_unbroken(*side) {
                Some(true) if self.rules.rise_per_bucket < 1.0 => unbroken,
                Some(_) => (LEVEL, sigma_min),
                None => return,
            };
            let least = level * self.rules.tolerance;
            let found = self.rises_and_stands_out(*side, alpha, least, sigma_min);
            let found = found.filter(|_| self.still_moves(seen, *side, sigma_min));
            if let Some(contrast) = found {
                self.raise(Suspicion {
                    side: *side,
                    is_spread: false,
                    is_trend: true,
                    least,
                    sigma_min,
                    raised_at: seen.0.view.bucket.end,
                    from,
                    contrast,
                    confirmed: false,
                });
            }
        }
    }

    /// Whether it began no lower than before the deployment: what was not emptied does not fill up again.
    fn is_unbroken(&self, side: f64) -> Option<bool> {
        let rise = self.rises(self.rules.sigma_min)?.contrast()?.effect * side;
        let whole = self.contrast(Channel::Level, |slot| slot.since)?;
        // The line through all of it stood at its mean in the middle.
        Some(-FALL * rise <= whole.effect * side - 0.5 * rise)
    }

    /// How far it is above the fleet by now, if it rises faster than that.
    fn rises_and_stands_out(
        &self,
        side: f64,
        alpha: f64,
        least: f64,
        sigma_min: f64,
    ) -> Option<Contrast> {
        let longest = (0..TRAILING_COUNT).rev().find(|window| {
            let half = self.looks.halves[*window];
            half > 0 && 3 * half <= self.looks.count()
        });
        let latest = longest.and_then(|window| {
            let latest = |slot: &Slot| slot.trailing(window);
            let changes = self.changes_beyond(Channel::Level, latest, sigma_min)?;
            let contrast = changes.contrast()?;
            // A job at the end of the bake rises, too.
            (!self.is_usual(&changes, &contrast, side)).then_some(contrast)
        });
        let changes = self.rises(sigma_min);
        let shared = changes.and_then(|changes| {
            let all = changes.contrast()?;
            changes.rest_shows(&all, side).then_some(all)
        });
        let (latest, rises) = latest.zip(shared)?;
        let rise = rises.effect * side;
        let allowed = self.allowed_rise(self.looks.count() as f64);
        let is_beyond = rise > allowed && rise > rises.critical(alpha);
        let stands_out = self.harm(&latest, side) > least.max(latest.critical(TAIL));
        (is_beyond && stands_out && rises.exceeds_placebo(side)).then_some(latest)
    }

    /// The rise over so many buckets that is harm: what leaks is by where it leads to in a day.
    pub(super) fn allowed_rise(&self, over: f64) -> f64 {
        self.rules.tolerance * (over * self.rules.rise_per_bucket).min(1.0)
    }
}
