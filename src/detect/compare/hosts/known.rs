//! Which fleet hosts it compares with, and whether that was enough.

use super::{Channel, CheckState, HostsTest, Slot, alone::Alone};
use crate::detect::HostId;

impl HostsTest {
    /// The fleet hosts that it compares with.
    pub(in crate::detect::compare) fn fleet(&self) -> impl Iterator<Item = HostId> {
        self.slots
            .iter()
            .skip(self.one_box_count)
            .map(|slot| slot.host)
    }

    /// Whether, at the end, there is nothing to compare, or a look found something that is still open.
    pub(in crate::detect::compare) fn is_blind(&self) -> bool {
        self.outcome.state == CheckState::Warming || self.is_open()
    }

    /// Whether a look found something and the latest minutes hold too little to confirm it or to say that it
    /// healed.
    pub(in crate::detect::compare) fn is_open(&self) -> bool {
        let is_open = self.suspicion.is_some_and(|found| !found.confirmed)
            || self.alone.is_some_and(|found: Alone| !found.is_confirmed());
        let latest = |slot: &Slot| slot.trailing(0);
        is_open && self.contrast(Channel::Level, latest).is_none()
    }
}
