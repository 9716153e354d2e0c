//! What a look says: the state, and the numbers that a person is shown.

use std::ops::Range;

use super::{Channel, CheckState, Contrast, HostsTest, Scale, Slot, Sums};
use crate::detect::stats::mean;

impl HostsTest {
    /// Says what a look at everything since the grace shows and excludes.
    pub(super) fn describe(&mut self, contrast: &Contrast) {
        if self.outcome.state == CheckState::Breach {
            return;
        }
        let critical = contrast.critical(self.looks.beta);
        let hidden = self.hidden();
        let is_excluded =
            |side: &f64| contrast.effect * side + hidden + critical < self.rules.tolerance;
        self.outcome.state = if self.rules.sides.signs().iter().all(is_excluded) {
            CheckState::Ok
        } else {
            CheckState::Undecided
        };
        let side = self.worst_side(contrast.effect);
        self.show(contrast, Channel::Level, side);
    }

    /// How much harm another share of the traffic may hide: nobody tells whether a metric follows the
    /// traffic, so that a half of it may have taken half of the load, and twice the cost have put it
    /// back.
    fn hidden(&self) -> f64 {
        self.rules.allowance.iter().sum()
    }

    fn worst_side(&self, effect: f64) -> f64 {
        match self.rules.sides.signs() {
            [side] => *side,
            _ if effect < 0.0 => -1.0,
            _ => 1.0,
        }
    }

    pub(super) fn show(&mut self, contrast: &Contrast, channel: Channel, side: f64) {
        let width = contrast.critical(self.looks.beta);
        let critical = contrast.critical(self.looks.alpha_since());
        let scale = match channel {
            Channel::Level => self.rules.working.scale(),
            Channel::Spread => Scale::Spread,
        };
        let least = self.least(channel);
        let hidden = match channel {
            Channel::Level => self.hidden(),
            Channel::Spread => 0.0,
        };
        let clipped_away = match channel {
            Channel::Level => {
                self.clipped_away(0..self.one_box_count, |slot| self.shown_window(slot))
            }
            Channel::Spread => 0.0,
        };
        let effect = contrast.effect + clipped_away;
        let outcome = &mut self.outcome;
        outcome.scale = scale;
        outcome.effect = Some(effect);
        outcome.interval = Some((effect - width, effect + width));
        outcome.detectable = Some(least + hidden + critical);
        outcome.severity = contrast.effect * side / least;
        let level = match channel {
            Channel::Level => self.natural_level(),
            Channel::Spread => None,
        };
        self.outcome.observed = level.map(|level| self.rules.working.natural(level));
        self.outcome.expected = level.map(|level| self.rules.working.natural(level - effect));
    }

    /// The latest minutes if there is a breach to show, else everything since the grace.
    pub(super) fn shown_window(&self, slot: &Slot) -> Sums {
        if self.outcome.state == CheckState::Breach {
            slot.trailing(0)
        } else {
            slot.since
        }
    }

    /// How much of the level of some hosts in a window the clipping of single values took away.
    pub(super) fn clipped_away(&self, hosts: Range<usize>, window: impl Fn(&Slot) -> Sums) -> f64 {
        if self.rules.working.is_ratio() {
            return 0.0;
        }
        let (mut sum, mut count) = (0.0, 0.0);
        for slot in &self.slots[hosts] {
            let sums = window(slot);
            if sums.count > 0.0 {
                sum += (sums.plain - sums.sum) / sums.count;
                count += 1.0;
            }
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// The one-box's level on the working scale.
    fn natural_level(&self) -> Option<f64> {
        let levels = self.slots[..self.one_box_count].iter().filter_map(|slot| {
            let sums = self.shown_window(slot);
            if sums.count == 0.0 {
                None
            } else if self.rules.working.is_ratio() {
                Some(self.rules.working.of_sums(sums.sum, sums.plain))
            } else {
                Some(sums.level / sums.count)
            }
        });
        mean(levels)
    }
}
