//! A batch between its place in the order and the shards.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Sequence;
use crate::{event::Timestamp, journal::Position, reduce::Epoch, serve::core::Unavailable};

/// A batch that has its place.
#[derive(Debug)]
pub(in crate::serve) struct Ticket {
    /// Where it stands.
    pub(in crate::serve) epoch: Epoch,
    pub(super) durable: oneshot::Receiver<Result<Position, Unavailable>>,
    pub(super) running: Running,
}

/// A batch on its way; ticks behind it wait until this is dropped.
#[derive(Debug)]
pub(in crate::serve) struct Running {
    pub(super) sequence: Arc<Sequence>,
    pub(super) epoch: Epoch,
}

impl Ticket {
    /// Waits until the batch is durable. It counts from then on, so that it has to be put.
    ///
    /// # Errors
    /// It could not be recorded, or the engine has stopped.
    pub(in crate::serve) async fn durable(self) -> Result<(Position, Running), Unavailable> {
        let position = self.durable.await.unwrap_or(Err(Unavailable::Stopped))?;
        Ok((position, self.running))
    }
}

impl Running {
    /// Notes what the batch has put, and lets go of the ticks behind it.
    pub(in crate::serve) fn done(self, at: Position, latest: Option<Timestamp>) {
        if let Some(latest) = latest
            && self.sequence.is_recorded
        {
            self.sequence.note_put(self.epoch, at, latest);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.sequence.lock();
        let number = self.epoch.number;
        // After refusals an epoch may stand more than once, with nothing left of it in between.
        let mut of_epoch = state.running.iter_mut();
        if let Some(running) = of_epoch.find(|(of, count)| *of == number && 0 < *count) {
            running.1 -= 1;
        }
        while state.running.front().is_some_and(|(_, count)| *count == 0) {
            state.running.pop_front();
        }
        drop(state);
        self.sequence.put.notify_all();
    }
}
