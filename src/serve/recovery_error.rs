//! Why a data directory cannot be gone on with.

use std::fmt;

use crate::{
    decode::DecodeError,
    engine::StateError,
    journal::{JournalError, Position},
    ledger::LedgerError,
    plan::Faults,
};

/// Why a data directory cannot be gone on with.
#[derive(Debug)]
pub enum RecoveryError {
    /// The journal or a snapshot cannot be read.
    Journal(JournalError),
    /// The state does not fit to this version.
    State(StateError),
    /// The history cannot be gone on with.
    Ledger(LedgerError),
    /// A body that was accepted cannot be decoded any more.
    Body {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A configuration that was taken cannot be read any more.
    Plan {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        faults: Faults,
    },
    /// The system gives no thread.
    Thread(std::io::Error),
    /// It was told to end before it was through.
    Asked,
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Ledger(error) => error.fmt(f),
            Self::State(_) => f.write_str("the saved state cannot be used"),
            Self::Body { position, .. } => {
                write!(f, "the batch at {position} of the journal cannot be read")
            }
            Self::Plan { position, .. } => {
                write!(
                    f,
                    "the configuration at {position} of the journal cannot be read"
                )
            }
            Self::Thread(_) => f.write_str("the system gives no thread to save the state"),
            Self::Asked => f.write_str("the start was told to end before it was through"),
        }
    }
}

impl std::error::Error for RecoveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(error) => std::error::Error::source(error),
            Self::Ledger(error) => std::error::Error::source(error),
            Self::State(error) => Some(error),
            Self::Body { error, .. } => Some(error),
            Self::Plan { faults, .. } => Some(faults),
            Self::Thread(error) => Some(error),
            Self::Asked => None,
        }
    }
}
