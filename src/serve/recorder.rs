//! The thread that makes inputs durable, a group at a time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{error, info, warn};

use super::{published::Published, sequence::Sequence};
use crate::{
    event::Timestamp,
    journal::{JournalError, Position, Writer},
};

/// What the recorder has counted, and what it is asked for.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// Bytes of the journal on disk.
    pub(super) bytes: AtomicU64,
    /// Groups that were made durable.
    pub(super) commits: AtomicU64,
    /// From where on a snapshot needs the journal, and when that was; the rest is history.
    needed: Mutex<Option<(Position, Timestamp)>>,
}

impl Recording {
    /// Tells from where on the journal is needed.
    pub(super) fn need_from(&self, position: Position, now: Timestamp) {
        *self.needed.lock().unwrap_or_else(PoisonError::into_inner) = Some((position, now));
    }

    fn take_needed(&self) -> Option<(Position, Timestamp)> {
        self.needed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Makes inputs durable until no more come.
pub(super) fn run(
    mut writer: Writer,
    sequence: &Sequence,
    recording: &Arc<Recording>,
    published: &Published,
    delay: Duration,
) {
    while let Some(group) = sequence.next_group(delay) {
        let (entries, outcomes): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(super::sequence::Waiting::parts)
            .unzip();
        match writer.commit(&entries) {
            Ok(starts) => {
                if published.go_on() {
                    info!("inputs are recorded again");
                }
                recording.commits.fetch_add(1, Ordering::Relaxed);
                recording.bytes.store(writer.bytes(), Ordering::Relaxed);
                if !sequence.settle(outcomes, &starts, writer.end()) {
                    return;
                }
            }
            Err(problem) => {
                if !published.is_stalled() {
                    complain(&problem);
                }
                published.stall();
                sequence.refuse(outcomes);
            }
        }
        if let Some((needed_from, now)) = recording.take_needed()
            && let Err(problem) = writer.collect(needed_from, now)
        {
            let cause = std::error::Error::source(&problem).map(ToString::to_string);
            warn!(error = %problem, cause, "history could not be deleted");
        }
    }
}

/// Once for a stretch of failures, not once for each input.
fn complain(problem: &JournalError) {
    let cause = std::error::Error::source(problem).map(ToString::to_string);
    error!(
        error = %problem,
        cause,
        "inputs are not taken: they cannot be recorded; this is tried again with every input"
    );
}
