//! What is out of range, but not for long enough yet.

use super::{Bounds, CheckState, Evidence, Finding, HostId, Run, View, patience};
use crate::event::Timestamp;

impl Bounds {
    /// What is said of it: a little more time decides, also when the bake is over.
    pub(super) fn running(&self, view: &View<'_>, evidence: Vec<Evidence>) -> Finding {
        let mut finding = Finding::new(CheckState::Undecided, evidence);
        let untils = self.runs.iter();
        let until = untils.map(|(key, run)| self.full_at(view, *key, run)).min();
        let until = until.unwrap_or(view.bucket.end).next_whole_second();
        let time = self.for_at_least;
        finding.awaiting = Some(format!(
            "a value in range, or {time} out of range, until {until}"
        ));
        finding.holds = self
            .runs
            .iter()
            .any(|(key, run)| run.start < self.bake_until && self.decides(view, *key, run));
        finding
    }

    /// When it has been out of range for long enough, if it stays so.
    fn full_at(&self, view: &View<'_>, (group, _): (usize, HostId), run: &Run) -> Timestamp {
        if self.takes_windows(view.panel.group(group)) {
            self.whole_at(view.panel.resolution())
        } else {
            run.start + self.for_at_least
        }
    }

    /// Whether more time decides: not of a window that would be whole if it had more data. A stretch ends, or is
    /// long enough some day.
    fn decides(&self, view: &View<'_>, key: (usize, HostId), run: &Run) -> bool {
        let group = view.panel.group(key.0);
        let patience = group.track(key.1).map(|track| patience(view, track));
        let full = self.full_at(view, key, run);
        !self.takes_windows(group)
            || patience.is_some_and(|patience| view.bucket.end <= full + patience)
    }
}
