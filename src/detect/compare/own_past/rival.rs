//! A host of the fleet that strays as far as the one-box does.

use super::{CheckState, OwnPastTest, Reader};
use crate::detect::compare::report;

impl OwnPastTest {
    /// The host of the fleet that is why it does not stray, looked for once more when the bake `is_last` judged.
    pub(super) fn rival_now(&mut self, is_last: bool) -> Option<usize> {
        if is_last && self.outcome.state != CheckState::Breach {
            self.rival = self.rival.or_else(|| self.find_rival(true));
        }
        self.rival
    }

    /// The host of the fleet without which the one-box would stray.
    pub(super) fn find_rival(&self, is_last: bool) -> Option<usize> {
        let windows = 0..self.plain.own.windows.len();
        let sides = self.sides.signs().iter();
        let mut all = sides.flat_map(|side| windows.clone().map(move |index| (index, *side)));
        all.find_map(|(index, side)| {
            let rival = self.plain.rival(index, side, (&self.stakes, is_last))?;
            self.agrees(index, side).then_some(rival)
        })
    }

    /// Whether a host of the fleet is why a harm is no breach, now that the bake is over.
    pub(in crate::detect::compare) fn is_rivalled(&self) -> bool {
        self.outcome.state == CheckState::NoData && self.alone.is_none() && self.rival.is_some()
    }

    /// Of two that stray alike either may be ill by itself: that blocks nothing while it may heal, but is no PASS
    /// when the bake ends.
    pub(super) fn describe_rival(&mut self, reader: &Reader<'_>, host: usize) {
        let name = reader.view.hosts.name(self.fleet[host].host);
        self.outcome.state = if reader.is_last() {
            CheckState::NoData
        } else {
            CheckState::Undecided
        };
        self.outcome.remark = Some(report::rival(name));
    }
}
