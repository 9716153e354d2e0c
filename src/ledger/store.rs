//! Appends to the database.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{FILE, History, Record};
use crate::{
    event::{Span, Timestamp},
    gate::VerdictState,
};

const SCHEMA: &str = include_str!("schema.sql");
/// The version of the schema, as `PRAGMA user_version` has it.
const SCHEMA_VERSION: i64 = 3;
/// What makes the schema of an earlier version this one.
const UPGRADES: [(i64, &str); 2] = [
    (1, include_str!("upgrade_2.sql")),
    (2, include_str!("upgrade_3.sql")),
];
/// How long another process that writes may hold us up; readers never do.
const BUSY_PATIENCE: Duration = Duration::from_millis(50);
/// Most records that are kept where there is no data directory.
const IN_MEMORY_MAX: u64 = 10_000;
const INSERT: &str = "INSERT INTO records (kind, at, deployment, service, stage, region, version, \
                      verdict, privileged, key, body, hash) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
/// Most records that retention removes at a time.
const PRUNED_MAX: u64 = 5_000;

/// The ledger of an engine.
#[derive(Debug)]
pub struct Ledger {
    connection: Arc<Mutex<Connection>>,
    /// The file; `None`: it is kept in memory.
    path: Option<PathBuf>,
    keep: Span,
    head: Head,
}

/// The end of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record; 0: there is none.
    pub seq: u64,
    /// Its hash; empty where there is none.
    pub hash: String,
}

/// What the database refused.
#[derive(Debug)]
pub enum LedgerError {
    /// It cannot be opened, read or written.
    Database(rusqlite::Error),
    /// It was written by a later version of Sluice.
    Version {
        /// The version that it has.
        found: i64,
    },
}

impl Ledger {
    /// Opens the ledger of a data directory, which is made if it is missing. Records are kept for as long
    /// as `keep` says.
    ///
    /// # Errors
    /// It cannot be opened, is no ledger, or is one of a later version.
    pub fn open(data_dir: &Path, keep: Span) -> Result<Self, LedgerError> {
        let path = data_dir.join(FILE);
        let connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY_PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // What is told to have been appended outlasts a loss of power.
        connection.pragma_update(None, "synchronous", "full")?;
        Self::on(connection, Some(path), keep)
    }

    /// A ledger that is forgotten with the process.
    ///
    /// # Errors
    /// There is no memory.
    pub fn in_memory(keep: Span) -> Result<Self, LedgerError> {
        Self::on(Connection::open_in_memory()?, None, keep)
    }

    fn on(
        mut connection: Connection,
        path: Option<PathBuf>,
        keep: Span,
    ) -> Result<Self, LedgerError> {
        let version = "SELECT user_version FROM pragma_user_version";
        let found = connection.query_row(version, [], |row| row.get(0))?;
        let upgrades = UPGRADES.iter().filter(|(from, _)| found <= *from);
        let scripts: Vec<&str> = match found {
            0 => vec![SCHEMA],
            1..=SCHEMA_VERSION => upgrades.map(|(_, script)| *script).collect(),
            found => return Err(LedgerError::Version { found }),
        };
        if !scripts.is_empty() {
            let transaction = connection.transaction()?;
            for script in scripts {
                transaction.execute_batch(script)?;
            }
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        let head = head(&connection)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path,
            keep,
            head,
        })
    }

    /// Appends records, without those that are there; they are durable when this returns. Gives how many
    /// were appended.
    ///
    /// # Errors
    /// The database cannot be written. Then none is appended.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<usize, LedgerError> {
        let mut head = self.head.clone();
        let mut connection = lock(&self.connection);
        let transaction = connection.transaction()?;
        let mut appended = 0;
        let mut known = transaction.prepare("SELECT 1 FROM records WHERE key = ?1")?;
        let mut insert = transaction.prepare(INSERT)?;
        for record in records {
            if known.exists([&record.key])? {
                continue;
            }
            head.hash = record.hash(&head.hash);
            let seq = insert.insert(params![
                record.kind.name(),
                record.at.nanos(),
                record.deployment,
                record.service,
                record.stage,
                record.region,
                record.version,
                record.verdict.map(VerdictState::name),
                record.is_privileged,
                record.key,
                record.body,
                head.hash,
            ])?;
            head.seq = u64::try_from(seq).unwrap_or(0);
            appended += 1;
        }
        drop((known, insert));
        transaction.commit()?;
        drop(connection);
        self.head = head;
        Ok(appended)
    }

    /// Proves that the database can be written: something that nobody reads is durable in it when this
    /// returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prove(&mut self) -> Result<(), LedgerError> {
        let connection = lock(&self.connection);
        connection.execute("UPDATE proofs SET count = count + 1", [])?;
        Ok(())
    }

    /// Removes what is older than the ledger keeps, a part at a time: the oldest records up to the first
    /// that is younger. Gives how many were removed.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn prune(&mut self, now: Timestamp) -> Result<usize, LedgerError> {
        let horizon = now - self.keep;
        let mut connection = lock(&self.connection);
        let transaction = connection.transaction()?;
        let pruned: u64 = transaction.query_row("SELECT seq FROM pruned", [], number)?;
        let younger = "SELECT min(seq) FROM records WHERE at >= ?1";
        let younger: Option<i64> =
            transaction.query_row(younger, [horizon.nanos()], |row| row.get(0))?;
        let mut until = younger.map_or(self.head.seq, |seq| (seq as u64).saturating_sub(1));
        if self.path.is_none() {
            until = until.max(self.head.seq.saturating_sub(IN_MEMORY_MAX));
        } else {
            until = until.min(pruned.saturating_add(PRUNED_MAX));
        }
        if until <= pruned {
            return Ok(0);
        }
        let last = "SELECT seq, hash FROM records WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        let last: Option<(i64, String)> = transaction
            .query_row(last, [until as i64], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((seq, hash)) = last else {
            return Ok(0);
        };
        transaction.execute("UPDATE pruned SET seq = ?1, hash = ?2", params![seq, hash])?;
        let removed = transaction.execute("DELETE FROM records WHERE seq <= ?1", [seq])?;
        transaction.commit()?;
        Ok(removed)
    }

    /// The end of the chain. Whoever keeps it elsewhere notices when the end is cut off.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the ledger, beside whoever appends.
    pub fn history(&self) -> History {
        match &self.path {
            Some(path) => History::at(path.clone()),
            None => History::shared(Arc::clone(&self.connection)),
        }
    }
}

/// The end of the chain; what is pruned counts where nothing is left.
pub(super) fn head(connection: &Connection) -> Result<Head, rusqlite::Error> {
    let last = "SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1";
    let as_head = |row: &rusqlite::Row<'_>| {
        Ok(Head {
            seq: number(row)?,
            hash: row.get(1)?,
        })
    };
    match connection.query_row(last, [], as_head).optional()? {
        Some(head) => Ok(head),
        None => connection.query_row("SELECT seq, hash FROM pruned", [], as_head),
    }
}

pub(super) fn number(row: &rusqlite::Row<'_>) -> Result<u64, rusqlite::Error> {
    let seq: i64 = row.get(0)?;
    Ok(u64::try_from(seq).unwrap_or(0))
}

pub(super) fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    // A transaction that panicked was rolled back.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LedgerError {
    /// Whether it may pass by itself: the disk is full or refuses.
    pub fn may_pass(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DiskFull, ReadOnly, SystemIoFailure};
        match self {
            Self::Database(error) => error.sqlite_error_code().is_some_and(|code| {
                matches!(
                    code,
                    CannotOpen | DatabaseBusy | DiskFull | ReadOnly | SystemIoFailure
                )
            }),
            Self::Version { .. } => false,
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(_) if self.may_pass() => write!(
                f,
                "the history in {FILE} cannot be read or written for now: see that the disk has room, and \
                 that the file may be written"
            ),
            Self::Database(_) => write!(
                f,
                "the history in {FILE} cannot be used: if it is damaged, move it and the folder snapshots away, \
                 and it is written anew as far back as the journal goes"
            ),
            Self::Version { found } => write!(
                f,
                "the history in {FILE} has version {found}, this program knows {SCHEMA_VERSION}"
            ),
        }
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::Version { .. } => None,
        }
    }
}
