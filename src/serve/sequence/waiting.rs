//! Inputs that are not durable yet, and what becomes of them.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    event::{DeploymentEvent, Signal, Timestamp},
    journal::{Entry, OffsetRange, PlanChange, Position},
    plan::Plan,
    reduce::Epoch,
    serve::{
        answers::{ChangeError, EventReply, Unavailable},
        core::Order,
        offsets::Offsets,
    },
};

/// An input that is not durable yet.
#[derive(Debug)]
pub(in crate::serve) struct Waiting {
    pub(in crate::serve) entry: Entry,
    pub(super) then: Then,
}

/// What becomes of an input once it is durable.
#[derive(Debug)]
pub(super) enum Then {
    /// Whoever brought it puts it.
    Put(oneshot::Sender<Result<Position, Unavailable>>),
    /// It goes to the core, and whoever brought it is told.
    Lose(oneshot::Sender<Result<Position, Unavailable>>),
    /// So does this.
    OverLimit(Signal, oneshot::Sender<Result<Position, Unavailable>>),
    /// It goes to the core; after a tick, batches stand in this epoch.
    Tick(Timestamp, Epoch, oneshot::Sender<Result<(), Unavailable>>),
    Event(Box<DeploymentEvent>, EventReply),
    /// Until it is done nothing else is taken.
    Plan(Arc<Plan>, Box<PlanChange>, PlanReply),
}

/// Who waits for a change of the configuration.
pub(in crate::serve) type PlanReply = oneshot::Sender<Result<(), ChangeError>>;

/// What becomes of an input, for the recorder to hand back.
#[derive(Debug)]
pub(in crate::serve) struct Outcome {
    pub(super) then: Then,
    /// What was fetched or lost.
    pub(super) range: Option<OffsetRange>,
}

impl Waiting {
    /// The entry, and what becomes of it.
    pub(in crate::serve) fn parts(self) -> (Entry, Outcome) {
        let range = match &self.entry {
            Entry::Consumed(range) | Entry::Lost(range) => Some(range.clone()),
            Entry::Batch(_)
            | Entry::Deployment(_)
            | Entry::Tick(_)
            | Entry::Plan(_)
            | Entry::Start(_)
            | Entry::OverLimit(_) => None,
        };
        let then = self.then;
        (self.entry, Outcome { then, range })
    }
}

impl Then {
    /// What the core has to do with an input that stands there.
    pub(super) fn into_order(
        self,
        [start, end]: [Position; 2],
        offsets: Arc<Offsets>,
    ) -> Option<Order> {
        match self {
            // Whoever brought it may have panicked; the recovery of this entry is not lost by it.
            Self::Put(reply) => {
                reply.send(Ok(start)).ok();
                None
            }
            Self::Lose(reply) => {
                reply.send(Ok(start)).ok();
                Some(Order::Lost)
            }
            Self::OverLimit(signal, reply) => {
                reply.send(Ok(start)).ok();
                Some(Order::OverLimit(signal))
            }
            Self::Tick(now, after, reply) => Some(Order::Tick {
                now,
                after,
                end,
                offsets,
                reply,
            }),
            Self::Event(event, reply) => Some(Order::Event {
                event: *event,
                reply,
            }),
            Self::Plan(plan, change, reply) => Some(Order::Plan {
                plan,
                change,
                start,
                reply,
            }),
        }
    }

    pub(super) fn refuse(self) {
        // Whoever asked may have gone.
        match self {
            Self::Put(reply) | Self::Lose(reply) | Self::OverLimit(_, reply) => {
                reply.send(Err(Unavailable::NotRecorded)).ok();
            }
            Self::Tick(_, _, reply) => drop(reply.send(Err(Unavailable::NotRecorded))),
            Self::Event(_, reply) => reply.refuse(Unavailable::NotRecorded),
            Self::Plan(_, _, reply) => {
                let refused = ChangeError::Unavailable(Unavailable::NotRecorded);
                drop(reply.send(Err(refused)));
            }
        }
    }
}
