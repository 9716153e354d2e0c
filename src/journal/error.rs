//! What can go wrong with a journal.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{MAGIC, Position};

/// Why a journal, or a snapshot, cannot be written or read.
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
    /// There are no segments.
    NoSegments {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// The file does not begin as a journal of this version.
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// The file is a journal that another version of Sluice wrote.
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The format that its first bytes name.
        format: String,
    },
    /// A frame that was durable once is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where its frame starts, in bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A segment is not there, although earlier and later ones are.
    Missing {
        /// The segment's file.
        path: PathBuf,
    },
    /// The journal does not reach to a place from which on it should be read.
    OutOfReach {
        /// The journal's directory.
        path: PathBuf,
        /// The place.
        position: Position,
        /// What the journal holds instead.
        problem: String,
    },
    /// The entry cannot be written.
    BadEntry {
        /// The journal's directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The segments that are still needed fill all the room that the journal may take: nothing was
    /// written.
    Full {
        /// The journal's directory.
        path: PathBuf,
        /// The room, in bytes.
        bytes_max: u64,
    },
    /// A snapshot was written by a version of Sluice whose snapshots this version cannot read.
    SnapshotFormat {
        /// The snapshot's file.
        path: PathBuf,
        /// The version that wrote it.
        written_by: String,
    },
    /// A snapshot cannot be written as JSON, or is too large.
    BadSnapshot {
        /// The snapshot's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A journal cannot be cut off at this place.
    NoCut {
        /// The journal's directory.
        path: PathBuf,
        /// The place.
        position: Position,
        /// Why not.
        problem: String,
    },
}

impl JournalError {
    /// That the first bytes of a file are those of another version, if they are.
    pub(super) fn other_version(path: &Path, magic: &[u8]) -> Option<Self> {
        let (name, version) = MAGIC.split_at(MAGIC.len() - 1);
        let theirs = magic.strip_prefix(name)?;
        let is_version = theirs != version && theirs.iter().all(u8::is_ascii_digit);
        (is_version && theirs.len() == version.len()).then(|| Self::OtherVersion {
            path: path.to_owned(),
            format: String::from_utf8_lossy(magic).into_owned(),
        })
    }
}

/// Names a file and what was tried on it in an error.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |error| JournalError::Io {
        path,
        action,
        error,
    }
}

const NO_SEGMENTS: &str = "no journal: name a data directory, a directory of numbered *.journal files that are \
                           not compressed, or one journal file";

fn write_other_version(f: &mut fmt::Formatter<'_>, path: &Path, format: &str) -> fmt::Result {
    write!(
        f,
        "{} was written by another version of Sluice (format {format}, this one reads {}): run that version, or \
         begin with another data directory; if no other version was here, its first bytes are damaged",
        path.display(),
        String::from_utf8_lossy(&MAGIC)
    )
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, .. } => write!(f, "cannot {action} {}", path.display()),
            Self::Locked { path } => write!(
                f,
                "{} is locked: another engine runs with this directory; stop it, or give each its own \
                 --data-dir",
                path.display()
            ),
            Self::NoSegments { path } => write!(f, "{} holds {NO_SEGMENTS}", path.display()),
            Self::NotAJournal { path } => {
                write!(f, "{} is not a journal of this version", path.display())
            }
            Self::OtherVersion { path, format } => write_other_version(f, path, format),
            Self::Damaged {
                path,
                offset,
                problem,
            } => write!(
                f,
                "{} is damaged at byte {offset}: {problem}; see the extent with `sluice journal \
                 verify`, give up what follows with `sluice journal truncate`",
                path.display()
            ),
            Self::Missing { path } => write!(
                f,
                "{} is missing, but there are segments before and after it: put it back, or give up \
                 what follows with `sluice journal truncate`",
                path.display()
            ),
            Self::OutOfReach {
                path,
                position,
                problem,
            } => write!(
                f,
                "{} cannot be read from {position} on, where the newest snapshot ends: {problem}; put back \
                 what is missing, or move the folder snapshots away to begin with what is left",
                path.display()
            ),
            Self::BadEntry { path, problem } => write!(
                f,
                "an input cannot be written to {}: {problem}",
                path.display()
            ),
            Self::Full { path, bytes_max } => write!(
                f,
                "{} holds {bytes_max} bytes that are still needed, which is all it may: raise \
                 the limit on the journal's bytes, or see why no snapshot is written",
                path.display()
            ),
            Self::SnapshotFormat { path, written_by } => write!(
                f,
                "{} was written by sluice {written_by}, whose snapshots sluice {} cannot read: run \
                 that version, or move the snapshots away to recover from the journal alone",
                path.display(),
                env!("CARGO_PKG_VERSION"),
            ),
            Self::BadSnapshot { path, problem } => {
                write!(f, "{} cannot be written: {problem}", path.display())
            }
            Self::NoCut {
                path,
                position,
                problem,
            } => write!(
                f,
                "{} cannot be cut off at {position}: {problem}",
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
            | Self::NoSegments { .. }
            | Self::NotAJournal { .. }
            | Self::OtherVersion { .. }
            | Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::OutOfReach { .. }
            | Self::BadEntry { .. }
            | Self::Full { .. }
            | Self::SnapshotFormat { .. }
            | Self::BadSnapshot { .. }
            | Self::NoCut { .. } => None,
        }
    }
}
