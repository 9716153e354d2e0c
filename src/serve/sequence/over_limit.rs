//! The place of what a limit refused as a whole.

use tokio::sync::oneshot;

use super::{Sequence, waiting::Then};
use crate::{
    event::Signal,
    journal::{Entry, Position},
    serve::answers::Unavailable,
};

/// The number of an epoch, and who tells when the mark that stands in it is durable.
pub(in crate::serve) type Marked = (u32, oneshot::Receiver<Result<Position, Unavailable>>);

impl Sequence {
    /// Gives it its place that a limit refused a request as a whole; `None`: the epoch has such a mark, which was
    /// made in the one with the number `marked`.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(in crate::serve) fn over_limit(
        &self,
        signal: Signal,
        marked: Option<u32>,
    ) -> Result<Option<Marked>, Unavailable> {
        let mut state = self.open_state()?;
        let epoch = state.epoch.number;
        if marked == Some(epoch) {
            return Ok(None);
        }
        let (reply, durable) = oneshot::channel();
        let then = Then::OverLimit(signal, reply);
        self.order(&mut state, Entry::OverLimit(signal), then)?;
        Ok(Some((epoch, durable)))
    }
}
