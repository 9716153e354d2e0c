//! Marks that a limit refused a request as a whole.

use tokio::sync::Mutex;

use super::{Core, Unavailable};
use crate::event::Signal;

/// Between which ticks such a request was marked last, by what it carried. Who finds it locked waits for a mark
/// that is made durable, and so for its own.
#[derive(Debug, Default)]
pub(super) struct Marks {
    metrics: Mutex<Option<u32>>,
    logs: Mutex<Option<u32>>,
}

impl Core {
    /// Marks that a limit refused a request with data of this sort, and waits until that is durable: once between
    /// two ticks, however many come. What was refused must not be answered before: its sender does not come again,
    /// and nobody would know of it.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(in crate::serve) async fn mark_over_limit(
        &self,
        signal: Signal,
    ) -> Result<(), Unavailable> {
        let marked = match signal {
            Signal::Metrics => &self.marks.metrics,
            Signal::Logs => &self.marks.logs,
        };
        let mut marked = marked.lock().await;
        if self.ended.borrow().is_some() {
            return Err(Unavailable::Stopped);
        }
        let Some((epoch, durable)) = self.sequence.over_limit(signal, *marked)? else {
            return Ok(());
        };
        durable.await.unwrap_or(Err(Unavailable::Stopped))?;
        *marked = Some(epoch);
        Ok(())
    }
}
