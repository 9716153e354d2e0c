//! Takes what was fetched instead of being sent.

#[cfg(feature = "kafka")]
use super::{Arc, DeploymentEvent, EventReply, Offsets};
use super::{Core, Ticket, Unavailable};
use crate::journal::Entry;
#[cfg(feature = "kafka")]
use crate::journal::OffsetRange;

impl Core {
    /// Gives what was fetched, or was lost before it could be, its places. What was fetched has to be
    /// put once it is durable.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(in crate::serve) fn fetched(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Vec<Ticket>, Unavailable> {
        if self.ended.borrow().is_some() {
            return Err(Unavailable::Stopped);
        }
        self.sequence.fetched(entries)
    }

    /// Tells the core of deployments by what was fetched, and that this range is read with it.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    #[cfg(feature = "kafka")]
    pub(in crate::serve) fn told(
        &self,
        events: Vec<(DeploymentEvent, EventReply)>,
        range: OffsetRange,
    ) -> Result<Ticket, Unavailable> {
        if self.ended.borrow().is_some() {
            return Err(Unavailable::Stopped);
        }
        self.sequence.told(events, range)
    }

    /// How far what was fetched was recorded when the core began to take inputs; `None`: it does not
    /// yet.
    #[cfg(feature = "kafka")]
    pub(in crate::serve) fn offsets(&self) -> Option<&Arc<Offsets>> {
        self.opened.get().map(|opened| &opened.offsets)
    }
}
