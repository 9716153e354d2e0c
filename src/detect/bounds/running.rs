//! What is out of range, but not for long enough yet.

use super::{Bounds, CheckState, Evidence, Finding, View};

impl Bounds {
    /// What is said of it: a little more time decides, also when the bake is over.
    pub(super) fn running(&self, view: &View<'_>, evidence: Vec<Evidence>) -> Finding {
        let mut finding = Finding::new(CheckState::Undecided, evidence);
        let time = self.for_at_least;
        let untils = self.runs.values().map(|run| run.start + time);
        let until = untils.min().unwrap_or(view.bucket.end).next_whole_second();
        finding.awaiting = Some(format!(
            "a value in range, or {time} out of range, until {until}"
        ));
        // A stretch ends, or is long enough some day; also one that began while a step was awaited.
        finding.holds = true;
        finding
    }
}
