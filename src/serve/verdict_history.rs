//! The latest changes of verdicts, in the order in which they were said.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{event::Timestamp, gate::Verdict};

/// Most changes that are kept.
const KEPT_MAX: usize = 4_096;
/// Verdicts of a page, where nothing is asked for, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// The latest changes of verdicts. They are kept in memory only, and a start begins anew.
#[derive(Debug, Default)]
pub(super) struct VerdictHistory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Number of the first that is kept.
    first: u64,
    changes: VecDeque<Arc<Verdict>>,
}

/// Which changes are meant; empty texts match everything.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub service: String,
    pub stage: String,
    pub region: String,
    pub version: String,
    pub deployment: String,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl VerdictHistory {
    /// Keeps a change.
    pub(super) fn push(&self, verdict: Arc<Verdict>) {
        let mut kept = self.lock();
        if kept.changes.len() == KEPT_MAX {
            kept.changes.pop_front();
            kept.first += 1;
        }
        kept.changes.push_back(verdict);
    }

    /// A page of the changes from a number on, oldest first, and where the next page begins, if there
    /// is one. `size` 0 means the usual.
    pub(super) fn page(
        &self,
        filter: &Filter,
        from: u64,
        size: usize,
    ) -> (Vec<Arc<Verdict>>, Option<u64>) {
        let size = if size == 0 { PAGE } else { size.min(PAGE_MAX) };
        let kept = self.lock();
        let numbered = (kept.first..).zip(&kept.changes);
        let mut found =
            numbered.filter(|(number, verdict)| from <= *number && filter.matches(verdict));
        let page = found.by_ref().take(size);
        let page = page.map(|(_, verdict)| Arc::clone(verdict)).collect();
        (page, found.next().map(|(number, _)| number))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0
            .lock()
            .expect("no thread panicked while it held the history")
    }
}

impl Filter {
    fn matches(&self, verdict: &Verdict) -> bool {
        let is = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
        is(&self.service, &verdict.service)
            && is(&self.stage, &verdict.stage)
            && is(&self.region, verdict.region.as_deref().unwrap_or(""))
            && is(&self.version, &verdict.version)
            && is(&self.deployment, &verdict.deployment)
            && self.from <= verdict.at
            && verdict.at < self.to
    }
}
