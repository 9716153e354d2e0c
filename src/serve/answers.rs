//! What the core answers, and why it does not.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::board::Deployment;
use crate::engine::{ChangeRefusal, Refusal};

/// How the core's thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to.
    Asked,
    /// It panicked, or could not recover.
    Died,
}

/// Why the core did not take an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The queue is full: try again in a second.
    Busy,
    /// The engine reads its journal: try again later.
    Recovering,
    /// The input could not be written to the journal.
    NotRecorded,
    /// The clock was set back, and what comes now would count as late: try again later.
    SetBack,
    /// The engine has stopped.
    Stopped,
}

impl Unavailable {
    /// Whether it is of no use to come again.
    pub(super) fn is_final(self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Busy | Self::Recovering | Self::NotRecorded | Self::SetBack => false,
        }
    }
}

/// Why a deployment event had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventError {
    /// The engine refused it.
    Refused(Box<Refusal>),
    /// The core did not take it.
    Unavailable(Unavailable),
}

/// Why the core does not go on under another configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChangeError {
    /// The engine refuses it.
    Refused(ChangeRefusal),
    /// The core did not take it.
    Unavailable(Unavailable),
}

/// Who waits for the answer to a deployment event.
#[derive(Debug)]
pub(super) struct EventReply(pub(super) oneshot::Sender<Result<Arc<Deployment>, EventError>>);

impl EventReply {
    /// Answers.
    pub(super) fn answer(self, answer: Result<Arc<Deployment>, EventError>) {
        // Whoever asked may have gone; what was taken is taken.
        drop(self.0.send(answer));
    }

    /// Answers that the event was not taken.
    pub(super) fn refuse(self, reason: Unavailable) {
        self.answer(Err(EventError::Unavailable(reason)));
    }
}
