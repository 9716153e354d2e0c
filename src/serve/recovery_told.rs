//! What a start tells while it reads a data directory: of what it found, and of the gates.

use tracing::{error, field::DisplayValue, warn};

use super::{chronicle::Chronicle, published::Published};
use crate::{
    engine::Engine,
    event::Timestamp,
    journal::{DataDir, JournalError, PassedOver, PlanChange},
};

/// When gates are shown while a start reads of deployments.
///
/// A showing costs what all gates together do, so that they have to become rarer with these. What is not
/// shown yet is withheld, which is right too.
#[derive(Debug, Default)]
pub(super) struct Showing {
    /// Gates that were shown.
    shown: usize,
    /// Events since then.
    unshown: usize,
}

impl Showing {
    /// Notes that a deployment event was read.
    pub(super) fn event(&mut self, engine: &Engine, published: &Published) {
        self.unshown += 1;
        if self.shown < self.unshown {
            self.shown = published.recover(engine.gates());
            self.unshown = 0;
        }
    }
}

/// Notes changes of the configuration in the history that nothing is judged by any more: they were made all the
/// same.
#[derive(Debug, Default)]
pub(super) struct Void {
    /// The last one, while the engine ran: it may have been refused, which shows in what comes behind.
    last: Option<PlanChange>,
}

impl Void {
    /// Notes the next one.
    pub(super) fn note(&mut self, change: PlanChange, chronicle: &Chronicle) {
        let is_taken = |last: &PlanChange| last.to_digest == change.from_digest;
        if let Some(last) = self.last.take().filter(is_taken) {
            chronicle.note_reload(&last);
        }
        if change.is_start() {
            chronicle.note_reload(&change);
        } else {
            self.last = Some(change);
        }
    }
}

/// Tells of a journal that an earlier version left.
pub(super) fn earlier(directory: &DataDir) {
    if let Some(earlier) = directory.earlier_journal() {
        warn!(
            journal = %earlier.display(),
            "a journal of an earlier version is left alone: sluice replay reads it"
        );
    }
}

/// Tells of a state that an earlier version saved in another form.
pub(super) fn earlier_form(saved: u32) {
    warn!(
        form = saved,
        "the saved state is of an earlier version, in a form that is not read any more: all that is kept of the \
         journal is judged anew, and deployments that began before that are forgotten: begin them again \
         (journal.keep says how much is kept); the history stays"
    );
}

/// Tells of snapshots that cannot be used; `has_earlier`: whether one of before can.
pub(super) fn passed_over(snapshots: Vec<PassedOver>, has_earlier: bool) {
    for PassedOver { path, problem } in snapshots {
        let snapshot = path.display();
        if has_earlier {
            warn!(
                %snapshot,
                problem, "a snapshot cannot be used: an earlier one is, with more of the journal"
            );
        } else {
            warn!(
                %snapshot,
                problem, "a snapshot cannot be used, and there is no earlier one: all of the journal is read"
            );
        }
    }
}

/// A time as the log has it; nothing before there was any.
pub(super) fn known(at: Timestamp) -> Option<DisplayValue<Timestamp>> {
    (at != Timestamp::MIN).then(|| tracing::field::display(at))
}

/// Deployments that are open.
pub(super) fn open(engine: &Engine) -> Vec<String> {
    let open = engine.gates().filter(|gate| gate.is_open());
    open.map(|gate| gate.begin.deployment.clone()).collect()
}

/// Tells that a start cannot be recorded: once, not with every attempt.
pub(super) fn refused(problem: &JournalError) {
    let cause = std::error::Error::source(problem).map(ToString::to_string);
    error!(
        error = %problem,
        cause,
        "the start under another configuration cannot be recorded: nothing is taken until it is; this is \
         tried again"
    );
}

/// Tells which of the deployments that were open under the configuration before are not known under this
/// one: they began before what is kept of the journal.
pub(super) fn forgotten(before: &[String], engine: &Engine) {
    let forgotten = before.iter().filter(|id| engine.gate(id).is_none());
    let forgotten: Vec<&str> = forgotten.map(String::as_str).collect();
    if !forgotten.is_empty() {
        warn!(
            deployments = forgotten.join(", "),
            "these were open, but began before what is kept of the journal, and are forgotten with the \
             configuration that they began under: begin them again (journal.keep says how much is kept)"
        );
    }
}
