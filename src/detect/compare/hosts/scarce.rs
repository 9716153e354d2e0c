//! Windows that hold too little to say anything.

use super::{Changes, HostsTest, Slot, Sums, Working};
use crate::detect::stats::median;

/// Events of a host, of the one-box or of the fleet, that a window must hold before ratios of events
/// are compared.
const EVENTS_MIN: f64 = 20.0;
/// What a share must have lost before it is more than one value, in those that are clipped.
const MORE_THAN_ONE: f64 = 1.5;

impl HostsTest {
    /// Whether events are compared, and neither the fleet nor the one-box had enough of them in a
    /// window that hosts of both were heard in.
    pub(super) fn is_quiet(&self, window: impl Fn(&Slot) -> Sums) -> bool {
        let Some(events) = self.rules.events_per_rate else {
            return false;
        };
        let (one_box, fleet) = self.slots.split_at(self.one_box_count);
        let usual = |slots: &[Slot]| {
            let heard = slots.iter().map(&window).filter(|sums| sums.count > 0.0);
            median(&mut heard.map(|sums| sums.sum * events).collect::<Vec<_>>())
        };
        let counts = usual(one_box).zip(usual(fleet));
        counts.is_some_and(|(one_box, fleet)| one_box.max(fleet) < EVENTS_MIN)
    }

    /// Whether a harm that so many values show could be that of one of them, however far it lies from the
    /// others. Shares are lumpy: of few requests one that fails is a point or two, and most scrapes of all
    /// hosts hold none. What lasts shows in the next scrapes as well.
    pub(super) fn is_one_value(&self, changes: &Changes, harm: f64) -> bool {
        let is_share = matches!(self.rules.working, Working::Share { .. });
        is_share && changes.samples * harm <= MORE_THAN_ONE * self.clip.level
    }
}
