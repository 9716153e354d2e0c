//! The directory in which an engine keeps its journal with its snapshots.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    JournalError, Limits, PassedOver, Position, Reader, Snapshot, Snapshots, TornTail, Writer,
    error::failed,
    storage::{Disk, Lock, Storage},
};

/// A data directory, locked for one engine:
///
/// | path | what |
/// | --- | --- |
/// | `lock` | locked as long as an engine runs |
/// | `journal/*.journal` | segments |
/// | `snapshots/*.sluice` | snapshots |
/// | `ledger.sqlite` | the history of deployments |
/// | `sinks/*.json` | what each sink was told |
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    storage: Arc<dyn Storage>,
    lock: Arc<dyn Lock>,
}

impl DataDir {
    /// The directory of the segments, in a data directory.
    pub const JOURNAL: &'static str = "journal";
    /// The directory of the snapshots, in a data directory.
    pub const SNAPSHOTS: &'static str = "snapshots";
    const LOCK: &'static str = "lock";
    /// The journal of versions that did not recover from it.
    const EARLIER_JOURNAL: &'static str = "inputs.journal";

    /// Opens a data directory on disk, which is made if it is missing, and locks it.
    ///
    /// # Errors
    /// Another process has locked it, or the file system refuses.
    pub fn open(root: &Path) -> Result<Self, JournalError> {
        Self::on(Arc::new(Disk), root)
    }

    /// Opens a data directory on a storage.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn on(storage: Arc<dyn Storage>, root: &Path) -> Result<Self, JournalError> {
        for directory in [
            root.to_owned(),
            root.join(Self::JOURNAL),
            root.join(Self::SNAPSHOTS),
        ] {
            storage
                .make_directory(&directory)
                .map_err(failed("make the directory", &directory))?;
        }
        storage.sync_directory(root).map_err(failed("sync", root))?;
        if let Some(parent) = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            // Whoever made it may not let us look at it; then it was there before us.
            drop(storage.sync_directory(parent));
        }
        let path = root.join(Self::LOCK);
        let lock = storage.lock(&path).map_err(failed("lock", &path))?;
        let lock = lock.ok_or(JournalError::Locked { path })?;
        Ok(Self {
            root: root.to_owned(),
            storage,
            lock: Arc::from(lock),
        })
    }

    /// The journal that an earlier version of Sluice left here, if there is one. It is no part of
    /// this data directory: it can be replayed as a recording, or removed.
    pub fn earlier_journal(&self) -> Option<PathBuf> {
        let files = self.storage.list(&self.root).ok()?;
        let is_there = files.iter().any(|file| file.name == Self::EARLIER_JOURNAL);
        is_there.then(|| self.root.join(Self::EARLIER_JOURNAL))
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The directory of the segments.
    pub fn journal(&self) -> PathBuf {
        self.root.join(Self::JOURNAL)
    }

    /// The directory of the snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join(Self::SNAPSHOTS)
    }

    /// Opens the journal to go on; see [`Writer::open`]. The directory stays locked as long as the
    /// writer lives.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn writer(&self, limits: Limits) -> Result<(Writer, Option<TornTail>), JournalError> {
        let (mut writer, torn) = Writer::open(&self.storage, &self.journal(), limits)?;
        writer.lock = Some(Arc::clone(&self.lock));
        Ok((writer, torn))
    }

    /// Loads the newest whole snapshot; see [`Snapshots::open`].
    ///
    /// # Errors
    /// As [`Snapshots::open`].
    pub fn load(&self) -> Result<(Snapshots, Option<Snapshot>, Vec<PassedOver>), JournalError> {
        Snapshots::open(&self.storage, &self.snapshots())
    }

    /// Reads the journal from a position on; see [`Reader::from`]. The writer has to be opened
    /// before, or what is read may not be durable.
    ///
    /// # Errors
    /// As [`Reader::from`].
    pub fn read(&self, from: Position) -> Result<Reader, JournalError> {
        Reader::from(&self.storage, &self.journal(), Some(from))
    }

    /// Reads all that is there of the journal, history too.
    ///
    /// # Errors
    /// As [`Reader::from`].
    pub fn read_all(&self) -> Result<Reader, JournalError> {
        Reader::from(&self.storage, &self.journal(), None)
    }
}
