//! The trend: a one-box that moves away from the fleet all the time, as a leak does.

use super::{
    Change, Changes, Channel, Contrast, Fleet, FleetFit, HostsTest, Noise, PRESENT_LEAST,
    PRESENT_MIN, Slot, Suspicion, TRAILING_COUNT, present,
};
use crate::{detect::stats::median, event::Timestamp};

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
    /// Compares how much hosts rose since the grace. Their past says nothing of slopes.
    fn rises(&self, sigma_min: f64) -> Option<Changes> {
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
        let own = one_box.iter().enumerate();
        let own = own.filter_map(|(index, slot)| Some((rise(slot, PRESENT_LEAST)?, index)));
        let (one_box, slots) = own.unzip();
        let others = fleet.iter().zip(self.one_box_count..);
        let others = others.filter_map(|(slot, index)| Some((rise(slot, PRESENT_MIN)?, index)));
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
    pub(super) fn look_at_trend(&mut self, alpha: f64, from: Timestamp, end: Timestamp) {
        let sigma_min = self.rules.sigma_min;
        for side in self.rules.sides.signs() {
            let unbroken = (LEVEL_UNBROKEN, SIGMA_SHARE * sigma_min);
            let (level, sigma_min) = match self.is_unbroken(*side) {
                Some(true) if self.rules.rise_per_bucket < 1.0 => unbroken,
                Some(_) => (LEVEL, sigma_min),
                None => return,
            };
            let least = level * self.rules.tolerance;
            if let Some(contrast) = self.rises_and_stands_out(*side, alpha, least, sigma_min) {
                self.raise(Suspicion {
                    side: *side,
                    is_spread: false,
                    is_trend: true,
                    least,
                    sigma_min,
                    raised_at: end,
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
        let over = self.looks.count() as f64 * self.rules.rise_per_bucket;
        let tolerance = self.rules.tolerance * over.min(1.0);
        let rise = rises.effect * side;
        let is_beyond = rise > tolerance && rise > rises.critical(alpha);
        let stands_out = self.harm(&latest, side) > least.max(latest.critical(TAIL));
        (is_beyond && stands_out && rises.exceeds_placebo(side)).then_some(latest)
    }
}
