//! What was fetched instead of being sent: recorded as a range, put, and after a restart fetched again.

use std::{collections::BTreeSet, fmt, sync::Arc};

#[cfg(any(feature = "kafka", test))]
use super::{
    core::{Core, Unavailable},
    sequence::{Running, Ticket},
};
use crate::{
    event::{Batch, KeyHash, Raw, RawBatch, canonical},
    journal::OffsetRange,
    reduce::{Put, PutScratch},
};
#[cfg(any(feature = "kafka", test))]
use crate::{
    journal::{Entry, Position},
    reduce::Epoch,
};

/// Fetches again what a journal only has the range of.
///
/// A range is given as it was taken: the same batches in the same order.
pub(super) trait Refetch: Send + fmt::Debug {
    /// Calls `each` with the batches of a range, in order. Says whether all of them were still there.
    ///
    /// # Errors
    /// The source does not answer. Nothing was given then, and it may be asked again.
    fn refetch(
        &mut self,
        range: &OffsetRange,
        each: &mut dyn FnMut(&Batch),
    ) -> Result<Refetched, Away>;
}

/// Whether a range was still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refetched {
    /// All of it.
    Whole,
    /// Not all of it.
    Torn,
}

/// A source does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Away {
    /// What is known of the reason.
    pub(super) reason: String,
}

/// Memory that one batch after the other uses that was decoded into values of its own.
#[derive(Debug)]
pub(super) struct Hands {
    raw: RawBatch,
    scratch: PutScratch,
    stream_labels: Arc<BTreeSet<String>>,
}

/// What has its place durably, and has to be put.
#[cfg(any(feature = "kafka", test))]
#[derive(Debug)]
pub(super) struct Durable {
    /// Where it stands in the journal.
    pub(super) position: Position,
    /// Where it stands between the ticks.
    pub(super) epoch: Epoch,
    /// Ticks behind it wait for this.
    pub(super) running: Running,
}

impl Hands {
    /// Hands for batches whose keys are hashed so.
    pub(super) fn new(keys: KeyHash, stream_labels: Arc<BTreeSet<String>>) -> Self {
        Self {
            raw: RawBatch::new(keys, canonical::read),
            scratch: PutScratch::default(),
            stream_labels,
        }
    }

    /// Puts a batch by `put`.
    pub(super) fn put(
        &mut self,
        batch: &Batch,
        put: impl FnOnce(Raw<'_>, &mut PutScratch) -> Put,
    ) -> Put {
        self.raw
            .take(batch, |name| self.stream_labels.contains(name));
        put(Raw::new(&[], &self.raw), &mut self.scratch)
    }
}

/// Records what was fetched or lost: all of it, or nothing.
///
/// # Errors
/// Nothing of it counts: it may be recorded again.
#[cfg(any(feature = "kafka", test))]
pub(super) async fn record(core: &Core, entries: Vec<Entry>) -> Result<Vec<Durable>, Unavailable> {
    let tickets = core.fetched(entries)?;
    let mut durable = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        let Ticket { epoch, .. } = ticket;
        let (position, running) = ticket.durable().await?;
        durable.push(Durable {
            position,
            epoch,
            running,
        });
    }
    Ok(durable)
}
