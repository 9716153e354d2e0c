//! Reads the database: pages of records, and whether their chain is whole.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Row, params_from_iter, types::Value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Head, Kind, LedgerError, Record,
    store::{head, lock, number},
};
use crate::{
    event::Timestamp,
    gate::{Verdict, VerdictState},
};

/// How long to wait for whoever holds the database.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// Records of a page, where nothing is asked for, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// Reads a ledger. Cheap to clone; it may block, so it is asked on a thread that may.
#[derive(Clone, Debug)]
pub struct History(Source);

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Memory(Arc<Mutex<Connection>>),
}

/// Which records are meant; empty texts match everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What they tell; `None`: anything.
    pub kind: Option<Kind>,
    /// The service.
    pub service: String,
    /// The stage.
    pub stage: String,
    /// The region.
    pub region: String,
    /// The version.
    pub version: String,
    /// The deployment.
    pub deployment: String,
    /// Event time from which they are.
    pub from: Timestamp,
    /// Event time before which they are.
    pub to: Timestamp,
}

/// A record as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; they grow.
    pub seq: u64,
    /// What it tells.
    pub kind: Kind,
    /// When that happened, in event time.
    pub at: Timestamp,
    /// Which deployment it is about.
    pub deployment: String,
    /// Its service.
    pub service: String,
    /// Its stage.
    pub stage: String,
    /// Its region; empty where the stage has none.
    pub region: String,
    /// Its version.
    pub version: String,
    /// The event, or the verdict with its evidence.
    pub body: Box<RawValue>,
    /// SHA-256 over the record and the hash of the one before, in hex.
    pub hash: String,
}

/// Some changes of verdicts, oldest first.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
    /// Numbers of records among them that this version cannot read: another version wrote them, or
    /// somebody changed them.
    pub unreadable: Vec<u64>,
    /// Number at which the next page begins; `None`: there is none.
    pub next: Option<u64>,
}

/// Some records, oldest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Entry>,
    /// Number at which the next page begins; `None`: there is none.
    pub next: Option<u64>,
}

/// What stands behind a number, as of one moment.
#[derive(Clone, Debug)]
pub struct Behind {
    /// The first of the records, oldest first.
    pub records: Vec<Entry>,
    /// How many there are.
    pub count: u64,
    /// The last record that retention has removed; number 0: none was.
    pub pruned: Head,
}

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records were looked at.
    pub records: u64,
    /// Number of the last record that retention has removed; 0: none was.
    pub pruned: u64,
    /// The end of the chain.
    pub head: Head,
    /// Whether the hash that was asked for stands in the chain; `None`: none was.
    pub holds: Option<bool>,
}

/// Why a chain is not whole.
#[derive(Debug)]
pub enum Broken {
    /// The database cannot be read.
    Ledger(LedgerError),
    /// A record was changed, or one before it is missing.
    At {
        /// Number of the first record that does not fit.
        seq: u64,
    },
    /// The records at the end are gone.
    CutOff {
        /// Number of the last record that there is, or that retention removed.
        last: u64,
        /// Number of the last one that was ever written.
        written: u64,
    },
}

impl Filter {
    /// Everything.
    pub fn all() -> Self {
        Self {
            kind: None,
            service: String::new(),
            stage: String::new(),
            region: String::new(),
            version: String::new(),
            deployment: String::new(),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
        }
    }

    /// What reads so many records from a number on, with the values of its parameters. Only what is given
    /// is asked for, so that an index can serve it.
    pub(super) fn select(&self, from: u64, limit: usize) -> (String, Vec<Value>) {
        let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let mut wanted = vec![("seq >=", number(from))];
        for (column, given) in [
            ("deployment =", &self.deployment),
            ("service =", &self.service),
            ("stage =", &self.stage),
            ("region =", &self.region),
            ("version =", &self.version),
        ] {
            if !given.is_empty() {
                wanted.push((column, Value::from(given.clone())));
            }
        }
        if let Some(kind) = self.kind {
            // Most records are verdicts: anything else that is asked for narrows it down further.
            let column = if wanted.len() == 1 {
                "kind ="
            } else {
                "+kind ="
            };
            wanted.push((column, Value::from(kind.name().to_owned())));
        }
        if self.from != Timestamp::MIN {
            wanted.push(("at >=", Value::from(self.from.nanos())));
        }
        if self.to != Timestamp::MAX {
            wanted.push(("at <", Value::from(self.to.nanos())));
        }
        let conditions: Vec<String> = wanted.iter().map(|(test, _)| format!("{test} ?")).collect();
        let select = format!(
            "SELECT {COLUMNS} FROM records WHERE {} ORDER BY seq LIMIT ?",
            conditions.join(" AND ")
        );
        let values = wanted.into_iter().map(|(_, value)| value);
        (select, values.chain([number(limit as u64)]).collect())
    }
}

impl History {
    /// The ledger in a file.
    pub fn at(path: PathBuf) -> Self {
        Self(Source::File(path))
    }

    pub(super) fn shared(connection: Arc<Mutex<Connection>>) -> Self {
        Self(Source::Memory(connection))
    }

    fn read<T, E: From<rusqlite::Error>>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.0 {
            Source::File(path) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(path, flags)?;
                connection.busy_timeout(BUSY_PATIENCE)?;
                read(&connection)
            }
            Source::Memory(connection) => read(&lock(connection)),
        }
    }

    /// A page of records from a number on, oldest first. `size` 0 means 100, and more than 1,000 is
    /// 1,000.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn records(&self, filter: &Filter, from: u64, size: usize) -> Result<Page, LedgerError> {
        let size = if size == 0 { PAGE } else { size.min(PAGE_MAX) };
        self.read(|connection| page(connection, filter, from, size).map_err(LedgerError::from))
    }

    /// A page of changes of verdicts, as [`History::records`] gives them. What this version cannot read is
    /// told beside them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn verdicts(
        &self,
        filter: &Filter,
        from: u64,
        size: usize,
    ) -> Result<Verdicts, LedgerError> {
        let filter = Filter {
            kind: Some(Kind::Verdict),
            ..filter.clone()
        };
        let Page { records, next } = self.records(&filter, from, size)?;
        let mut verdicts = Verdicts {
            verdicts: Vec::with_capacity(records.len()),
            unreadable: Vec::new(),
            next,
        };
        for entry in records {
            match serde_json::from_str(entry.body.get()) {
                Ok(verdict) => verdicts.verdicts.push(verdict),
                Err(_) => verdicts.unreadable.push(entry.seq),
            }
        }
        Ok(verdicts)
    }

    /// The first `size` records of a kind that stand behind a number and were not removed, how many there
    /// are of them, and what was removed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn behind(&self, kind: Kind, seq: u64, size: usize) -> Result<Behind, LedgerError> {
        let filter = Filter {
            kind: Some(kind),
            ..Filter::all()
        };
        self.read(|connection| {
            // The engine prunes meanwhile: all is read as of one moment.
            let connection = connection.unchecked_transaction()?;
            let pruned = pruned(&connection)?;
            let seq = seq.max(pruned.seq);
            let Page { records, next } = page(&connection, &filter, seq + 1, size)?;
            let count = match next {
                Some(_) => {
                    let count = "SELECT COUNT(*) FROM records WHERE seq > ?1 AND kind = ?2";
                    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
                    connection.query_row(count, (seq, kind.name()), number)?
                }
                None => records.len() as u64,
            };
            Ok(Behind {
                records,
                count,
                pruned,
            })
        })
    }

    /// The last record that retention has removed; number 0: none was.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pruned(&self) -> Result<Head, LedgerError> {
        self.read(|connection| pruned(connection).map_err(LedgerError::from))
    }

    /// Computes the chain again. `head` is a hash that was told before, such as by `/metrics`: it has to
    /// stand in the chain, or the end was cut off.
    ///
    /// # Errors
    /// The database cannot be read, or the chain is broken.
    pub fn verify(&self, known: Option<&str>) -> Result<Verified, Broken> {
        self.read(|connection| {
            // The engine prunes meanwhile: all is read as of one moment.
            let connection = connection.unchecked_transaction()?;
            let pruned = pruned(&connection)?;
            // Where nothing was pruned there is no hash: it proves nothing that nothing is known.
            let mut holds = known.map(|known| !known.is_empty() && known == pruned.hash);
            let mut hash = pruned.hash.clone();
            let mut records = 0;
            let select = format!("SELECT {COLUMNS} FROM records ORDER BY seq");
            let mut statement = connection.prepare(&select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (seq, told): (u64, String) = (number(row)?, row.get("hash")?);
                // What cannot be a record was changed.
                let fits = record(row)?.is_some_and(|record| {
                    hash = record.hash(&hash);
                    hash == told
                });
                // Numbers are given without a gap.
                if !fits || seq != pruned.seq + records + 1 {
                    return Err(Broken::At { seq });
                }
                records += 1;
                holds = holds.map(|holds| holds || known == Some(&*hash));
            }
            let (last, written) = (pruned.seq + records, written(&connection)?);
            if last < written {
                return Err(Broken::CutOff { last, written });
            }
            Ok(Verified {
                records,
                pruned: pruned.seq,
                head: head(&connection)?,
                holds,
            })
        })
    }
}

const COLUMNS: &str = "seq, kind, at, deployment, service, stage, region, version, verdict, privileged, \
                       key, body, hash";

/// A page of records from a number on.
fn page(
    connection: &Connection,
    filter: &Filter,
    from: u64,
    size: usize,
) -> Result<Page, rusqlite::Error> {
    let (select, values) = filter.select(from, size + 1);
    let mut statement = connection.prepare(&select)?;
    let rows = statement.query_map(params_from_iter(values), entry)?;
    let mut records = rows.collect::<Result<Vec<Entry>, rusqlite::Error>>()?;
    let next = records.get(size).map(|entry| entry.seq);
    records.truncate(size);
    Ok(Page { records, next })
}

fn pruned(connection: &Connection) -> Result<Head, rusqlite::Error> {
    connection.query_row("SELECT seq, hash FROM pruned", [], |row| {
        Ok(Head {
            seq: number(row)?,
            hash: row.get(1)?,
        })
    })
}

/// The last number that was ever given to a record, as the database counts by itself.
fn written(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let select = "SELECT coalesce(max(seq), 0) AS seq FROM sqlite_sequence WHERE name = 'records'";
    connection.query_row(select, [], number)
}

fn entry(row: &Row<'_>) -> Result<Entry, rusqlite::Error> {
    let odd = |what: &str| rusqlite::Error::InvalidColumnName(what.to_owned());
    let (kind, body): (String, String) = (row.get("kind")?, row.get("body")?);
    Ok(Entry {
        seq: number(row)?,
        kind: Kind::of(&kind).ok_or_else(|| odd("kind"))?,
        at: Timestamp::from_nanos(row.get("at")?),
        deployment: row.get("deployment")?,
        service: row.get("service")?,
        stage: row.get("stage")?,
        region: row.get("region")?,
        version: row.get("version")?,
        body: RawValue::from_string(body).map_err(|_| odd("body"))?,
        hash: row.get("hash")?,
    })
}

/// The record of a row; `None`: its words are none of ours.
fn record(row: &Row<'_>) -> Result<Option<Record>, rusqlite::Error> {
    let (kind, verdict): (String, Option<String>) = (row.get("kind")?, row.get("verdict")?);
    let privileged: i64 = row.get("privileged")?;
    let state = verdict.as_deref().and_then(state);
    if state.is_none() && verdict.is_some() || !matches!(privileged, 0 | 1) {
        return Ok(None);
    }
    let Some(kind) = Kind::of(&kind) else {
        return Ok(None);
    };
    Ok(Some(Record {
        kind,
        at: Timestamp::from_nanos(row.get("at")?),
        deployment: row.get("deployment")?,
        service: row.get("service")?,
        stage: row.get("stage")?,
        region: row.get("region")?,
        version: row.get("version")?,
        verdict: state,
        is_privileged: privileged == 1,
        key: row.get("key")?,
        body: row.get("body")?,
    }))
}

fn state(name: &str) -> Option<VerdictState> {
    use VerdictState::{Bypassed, Fail, NoData, Pass, Pending};
    let mut all = [Pending, Pass, Bypassed, NoData, Fail].into_iter();
    all.find(|state| state.name() == name)
}

impl From<rusqlite::Error> for Broken {
    fn from(error: rusqlite::Error) -> Self {
        Self::Ledger(error.into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ledger(error) => error.fmt(f),
            Self::At { seq } => write!(
                f,
                "record {seq} was changed, or one before it was changed, removed or put in"
            ),
            Self::CutOff { last, written } => write!(
                f,
                "{written} records were written, and those after {last} are gone"
            ),
        }
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ledger(error) => std::error::Error::source(error),
            Self::At { .. } | Self::CutOff { .. } => None,
        }
    }
}
