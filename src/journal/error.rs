//! What can go wrong with a journal.

use std::{fmt, io, path::PathBuf};

/// Why a journal cannot be written or read.
#[derive(Debug)]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Another process writes in this directory.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file does not begin as a journal of this version.
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A frame that is not the last one is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where its frame starts, in bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The entry cannot be written.
    BadEntry {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A write failed before and could not be taken back: nothing more is written.
    Closed {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, .. } => write!(f, "cannot {action} {}", path.display()),
            Self::Locked { path } => write!(
                f,
                "{} is locked by another process: give each engine its own --data-dir",
                path.display()
            ),
            Self::NotAJournal { path } => {
                write!(f, "{} is not a journal of this version", path.display())
            }
            Self::Damaged {
                path,
                offset,
                problem,
            } => {
                write!(
                    f,
                    "{} is damaged at byte {offset}: {problem}",
                    path.display()
                )
            }
            Self::BadEntry { path, problem } => {
                write!(
                    f,
                    "an input cannot be written to {}: {problem}",
                    path.display()
                )
            }
            Self::Closed { path } => write!(
                f,
                "{} is closed after a failed write: restart on a disk with room",
                path.display()
            ),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Locked { .. }
            | Self::NotAJournal { .. }
            | Self::Damaged { .. }
            | Self::BadEntry { .. }
            | Self::Closed { .. } => None,
        }
    }
}
