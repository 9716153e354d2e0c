//! Snapshots of the core, so that a start need not read the whole journal.
//!
//! A snapshot begins with bytes that every version of Sluice can read: eight that name it, the
//! version of its format, the version of Sluice that wrote it, and their checksum. Then come
//! lengths and checksums of the head, as JSON, and of the state, compressed with zstd.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    JournalError, Position,
    error::failed,
    storage::{Access, Bounded, Storage},
};

/// Version of the format of snapshots; a version of Sluice reads only its own.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// The first bytes of every snapshot.
const MAGIC: [u8; 8] = *b"SLUICESN";
/// How much zstd tries: the state is written while data waits for the disk.
const COMPRESSION_LEVEL: i32 = 1;
/// Largest state that is read: 16 GiB.
const STATE_BYTES_MAX: u64 = 16 << 30;
/// Length of the lengths and checksums.
const LENGTHS_BYTES: usize = 32;
const NAME_START: &str = "snapshot-";
const NAME_END: &str = ".sluice";
const UNFINISHED_END: &str = ".unfinished";

/// What is known of a snapshot besides the state itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotHead {
    /// The earliest entry that has to be replayed onto the state.
    pub resume_from: Position,
    /// The first entry that the state has not seen at all.
    pub taken_at: Position,
    /// Digest of the plan that the state was made under.
    pub plan_digest: String,
    /// The first message of each partition of each Kafka topic that the state has not seen at all, by
    /// topic and number. Which have to be read again, the entries from `resume_from` on tell.
    #[serde(with = "partitions")]
    pub kafka: BTreeMap<(String, i32), i64>,
    /// Records of the history that were not known to be durable there, oldest first, as JSON. Versions that
    /// do not know of them cannot read a snapshot that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
}

/// A snapshot that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its file.
    pub path: PathBuf,
    /// The version of Sluice that wrote it.
    pub written_by: String,
    /// What is known of it.
    pub head: SnapshotHead,
    /// The state.
    pub state: Vec<u8>,
}

/// A snapshot that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The snapshots of a directory: the last one, with the one before.
#[derive(Debug)]
pub struct Snapshots {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    /// Number of the next one.
    next: u64,
    /// Whole ones, oldest first.
    kept: Vec<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    number: u64,
    resume_from: Position,
}

/// Why a file is no snapshot for this version.
enum Unusable {
    Damaged(String),
    OtherFormat { written_by: String },
}

/// A snapshot whose state is still compressed.
struct Packed {
    written_by: String,
    head: SnapshotHead,
    state: Vec<u8>,
    state_len: u64,
}

impl Snapshots {
    /// Most snapshots that are kept.
    const COUNT_MAX: usize = 2;

    /// Looks for the newest whole snapshot. Gives those that are damaged, too.
    ///
    /// # Errors
    /// The directory cannot be read, or the newest whole snapshot has another format.
    pub fn open(
        storage: &Arc<dyn Storage>,
        directory: &Path,
    ) -> Result<(Self, Option<Snapshot>, Vec<PassedOver>), JournalError> {
        let mut snapshots = Self {
            storage: Arc::clone(storage),
            directory: directory.to_owned(),
            next: 1,
            kept: Vec::new(),
        };
        let mut numbers = snapshots.numbers()?;
        numbers.reverse();
        snapshots.next = numbers.first().map_or(1, |newest| newest + 1);
        let mut newest = None;
        let mut passed_over = Vec::new();
        for number in numbers {
            if snapshots.kept.len() == Self::COUNT_MAX {
                break;
            }
            let path = snapshots.path(number);
            match snapshots.read(&path)? {
                Ok(packed) => {
                    let resume_from = packed.head.resume_from;
                    if newest.is_none() {
                        match packed.unpack(&path) {
                            Ok(snapshot) => newest = Some(snapshot),
                            Err(problem) => {
                                passed_over.push(PassedOver { path, problem });
                                continue;
                            }
                        }
                    }
                    let kept = Kept {
                        number,
                        resume_from,
                    };
                    snapshots.kept.insert(0, kept);
                }
                Err(Unusable::OtherFormat { written_by }) if newest.is_none() => {
                    return Err(JournalError::SnapshotFormat { path, written_by });
                }
                Err(Unusable::OtherFormat { written_by }) => passed_over.push(PassedOver {
                    path,
                    problem: format!("it was written by sluice {written_by} in another format"),
                }),
                Err(Unusable::Damaged(problem)) => {
                    passed_over.push(PassedOver { path, problem });
                }
            }
        }
        Ok((snapshots, newest, passed_over))
    }

    /// The heads of the whole snapshots of this version, oldest first, with their files.
    pub(super) fn heads(
        storage: &Arc<dyn Storage>,
        directory: &Path,
    ) -> Result<Vec<(PathBuf, SnapshotHead)>, JournalError> {
        let snapshots = Self {
            storage: Arc::clone(storage),
            directory: directory.to_owned(),
            next: 1,
            kept: Vec::new(),
        };
        let mut heads = Vec::new();
        for number in snapshots.numbers()? {
            let path = snapshots.path(number);
            if let Ok(packed) = snapshots.read(&path)? {
                heads.push((path, packed.head));
            }
        }
        Ok(heads)
    }

    /// Writes a snapshot, durably. Then all but this one and the one before are removed. Gives the
    /// length of the file in bytes.
    ///
    /// # Errors
    /// The file system refuses, or the head cannot be written as JSON; the earlier snapshots stand.
    pub fn write(&mut self, head: &SnapshotHead, state: &[u8]) -> Result<u64, JournalError> {
        let number = self.next;
        let path = self.path(number);
        let bad = |problem: String| JournalError::BadSnapshot {
            path: path.clone(),
            problem,
        };
        if STATE_BYTES_MAX < state.len() as u64 {
            let problem = format!("its state has more than {STATE_BYTES_MAX} bytes");
            return Err(bad(problem));
        }
        let (start, packed) = pack(head, state).map_err(bad)?;
        let unfinished = self
            .directory
            .join(format!("{NAME_START}{number:020}{UNFINISHED_END}"));
        if let Err(error) = self.write_file(&unfinished, &path, &[&start, &packed]) {
            // What is left over is removed by the next one that succeeds.
            drop(self.storage.remove(&unfinished));
            return Err(error);
        }
        self.next = number + 1;
        self.kept.push(Kept {
            number,
            resume_from: head.resume_from,
        });
        if Self::COUNT_MAX < self.kept.len() {
            self.kept.remove(0);
        }
        self.remove_others();
        Ok((start.len() + packed.len()) as u64)
    }

    /// The earliest place in the journal that one of the kept snapshots needs. As long as there is
    /// none to fall back to, the whole journal is needed.
    pub fn needed_from(&self) -> Position {
        let places = self.kept.iter().map(|kept| kept.resume_from);
        if self.kept.len() < Self::COUNT_MAX {
            return Position::START;
        }
        places.min().unwrap_or(Position::START)
    }

    fn write_file(
        &self,
        unfinished: &Path,
        path: &Path,
        parts: &[&[u8]],
    ) -> Result<(), JournalError> {
        match self.storage.remove(unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", unfinished)(error));
            }
            _ => {}
        }
        let mut file = self
            .storage
            .open(unfinished, Access::Create)
            .map_err(failed("create", unfinished))?;
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_at(0, &mut slices)
            .map_err(failed("write", unfinished))?;
        file.sync().map_err(failed("sync", unfinished))?;
        self.storage
            .rename(unfinished, path)
            .map_err(failed("rename", unfinished))?;
        self.storage
            .sync_directory(&self.directory)
            .map_err(failed("sync", &self.directory))
    }

    /// Removes what no start would read. What cannot be removed now is so after the next snapshot.
    fn remove_others(&self) {
        let Ok(files) = self.storage.list(&self.directory) else {
            return;
        };
        for file in files {
            let is_kept = |number| self.kept.iter().any(|kept| kept.number == number);
            let is_old = number(&file.name).is_some_and(|number| !is_kept(number));
            if is_old || file.name.ends_with(UNFINISHED_END) {
                drop(self.storage.remove(&self.directory.join(&file.name)));
            }
        }
    }

    /// The numbers of the snapshots that are there, in order.
    fn numbers(&self) -> Result<Vec<u64>, JournalError> {
        let files = self
            .storage
            .list(&self.directory)
            .map_err(failed("look into", &self.directory))?;
        let mut numbers: Vec<u64> = files.iter().filter_map(|file| number(&file.name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, path: &Path) -> Result<Result<Packed, Unusable>, JournalError> {
        let mut bytes = Vec::new();
        self.storage
            .open(path, Access::Read)
            .and_then(|file| Bounded::new(file, 0)?.read_to_end(&mut bytes))
            .map_err(failed("read", path))?;
        Ok(parse(&bytes))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory
            .join(format!("{NAME_START}{number:020}{NAME_END}"))
    }
}

impl Packed {
    fn unpack(self, path: &Path) -> Result<Snapshot, String> {
        let mut state = Vec::new();
        let problem = |error: io::Error| format!("its state cannot be decompressed: {error}");
        zstd::Decoder::new(&self.state[..])
            .map_err(problem)?
            .take(self.state_len.min(STATE_BYTES_MAX) + 1)
            .read_to_end(&mut state)
            .map_err(problem)?;
        if state.len() as u64 != self.state_len {
            return Err("its state has another length than its head says".to_owned());
        }
        Ok(Snapshot {
            path: path.to_owned(),
            written_by: self.written_by,
            head: self.head,
            state,
        })
    }
}

/// The number of a snapshot by the name of its file.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix(NAME_START)?
        .strip_suffix(NAME_END)?
        .parse()
        .ok()
}

/// Everything before the state, and the state.
fn pack(head: &SnapshotHead, state: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let head = serde_json::to_vec(head).map_err(|error| error.to_string())?;
    let packed =
        zstd::bulk::compress(state, COMPRESSION_LEVEL).map_err(|error| error.to_string())?;
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let mut start = MAGIC.to_vec();
    start.extend(SNAPSHOT_FORMAT.to_le_bytes());
    start.push(u8::try_from(version.len()).map_err(|error| error.to_string())?);
    start.extend(version);
    start.extend(crc32c::crc32c(&start).to_le_bytes());
    let mut lengths = Vec::with_capacity(LENGTHS_BYTES);
    lengths.extend((head.len() as u32).to_le_bytes());
    lengths.extend((packed.len() as u64).to_le_bytes());
    lengths.extend((state.len() as u64).to_le_bytes());
    lengths.extend(crc32c::crc32c(&head).to_le_bytes());
    lengths.extend(crc32c::crc32c(&packed).to_le_bytes());
    lengths.extend(crc32c::crc32c(&lengths).to_le_bytes());
    start.extend(lengths);
    start.extend(head);
    Ok((start, packed))
}

fn parse(bytes: &[u8]) -> Result<Packed, Unusable> {
    let damaged = |problem: &str| Unusable::Damaged(problem.to_owned());
    let mut fields = Fields { bytes, at: 0 };
    let cut_off = || damaged("it is cut off");
    if fields.take(8).ok_or_else(cut_off)? != MAGIC {
        return Err(damaged("it does not begin as a snapshot"));
    }
    let format = fields.u32().ok_or_else(cut_off)?;
    let version_len = fields.take(1).ok_or_else(cut_off)?[0];
    let version = fields.take(usize::from(version_len)).ok_or_else(cut_off)?;
    fields.check().ok_or_else(cut_off)?.map_err(damaged)?;
    let written_by = String::from_utf8_lossy(version).into_owned();
    if format != SNAPSHOT_FORMAT {
        return Err(Unusable::OtherFormat { written_by });
    }
    let mut lengths = Fields {
        bytes: fields.take(LENGTHS_BYTES).ok_or_else(cut_off)?,
        at: 0,
    };
    let (Some(head_len), Some(packed_len), Some(state_len), Some(head_crc), Some(packed_crc)) = (
        lengths.u32(),
        lengths.u64(),
        lengths.u64(),
        lengths.u32(),
        lengths.u32(),
    ) else {
        return Err(cut_off());
    };
    lengths.check().ok_or_else(cut_off)?.map_err(damaged)?;
    let head = fields.take(head_len as usize).ok_or_else(cut_off)?;
    let packed_len = usize::try_from(packed_len).map_err(|_| damaged("its state is too large"))?;
    let state = fields.take(packed_len).ok_or_else(cut_off)?;
    if fields.at != bytes.len() {
        return Err(damaged("something follows its end"));
    }
    if crc32c::crc32c(head) != head_crc || crc32c::crc32c(state) != packed_crc {
        return Err(damaged("a checksum is wrong"));
    }
    let head = serde_json::from_slice(head)
        .map_err(|error| Unusable::Damaged(format!("its head cannot be read: {error}")))?;
    Ok(Packed {
        written_by,
        head,
        state: state.to_vec(),
        state_len,
    })
}

/// Takes fields from the front of some bytes.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let field = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(field)
    }

    fn u32(&mut self) -> Option<u32> {
        let field = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(field))
    }

    fn u64(&mut self) -> Option<u64> {
        let field = self.take(8)?.try_into().ok()?;
        Some(u64::from_le_bytes(field))
    }

    /// Holds a checksum against everything before it.
    fn check(&mut self) -> Option<Result<(), &'static str>> {
        let before = crc32c::crc32c(&self.bytes[..self.at]);
        let is_right = self.u32()? == before;
        Some(is_right.then_some(()).ok_or("a checksum is wrong"))
    }
}

/// A list in JSON, where keys are text only.
mod partitions {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        topic: String,
        partition: i32,
        next: i64,
    }

    pub(super) fn serialize<S: Serializer>(
        positions: &BTreeMap<(String, i32), i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(positions.iter().map(|((topic, partition), next)| Row {
            topic: topic.clone(),
            partition: *partition,
            next: *next,
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<(String, i32), i64>, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        let position = |row: Row| ((row.topic, row.partition), row.next);
        Ok(rows.into_iter().map(position).collect())
    }
}
