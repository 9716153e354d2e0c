//! Looks through a whole journal: what is in it, and what is broken.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Entry, JournalError, Position, TornTail,
    chain::{self, Opener, Segment},
    error::failed,
    reader::Reader,
    storage::{Disk, Storage},
};
use crate::event::Timestamp;

/// What is in a journal, and what is broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Segments of which something counts.
    pub segments: u64,
    /// Segments of which nothing counts: they were given up before anything in them was durable.
    pub void: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Whole entries before the first damage, and in later segments, by kind.
    pub counts: Counts,
    /// The first tick and the last.
    pub ticks: Option<(Timestamp, Timestamp)>,
    /// The last write, if it was cut off.
    pub torn: Option<TornTail>,
    /// What is broken, in order.
    pub damages: Vec<Damage>,
}

/// Entries by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bodies of requests.
    pub batches: u64,
    /// Deployment events.
    pub deployments: u64,
    /// Ticks.
    pub ticks: u64,
    /// Ranges of Kafka offsets that were taken.
    pub consumed: u64,
    /// Ranges of Kafka offsets that were gone.
    pub lost: u64,
    /// Changes of the configuration while the engine ran.
    pub plans: u64,
    /// Starts that judged all before anew: under another configuration, or without the state of an earlier version.
    pub starts: u64,
    /// Marks of requests that a limit refused as a whole.
    pub over_limit: u64,
}

/// A place where a journal is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The place; the segment is 0 where the file has no number.
    pub position: Position,
    /// What is wrong.
    pub problem: String,
    /// Whole entries behind it in the same file.
    pub entries_behind: u64,
}

impl Counts {
    /// All entries.
    pub fn total(&self) -> u64 {
        let inputs = self.batches + self.deployments + self.ticks + self.consumed + self.lost;
        inputs + self.plans + self.starts + self.over_limit
    }

    fn count(&mut self, entry: &Entry) {
        *match entry {
            Entry::Batch(_) => &mut self.batches,
            Entry::Deployment(_) => &mut self.deployments,
            Entry::Tick(_) => &mut self.ticks,
            Entry::Consumed(_) => &mut self.consumed,
            Entry::Lost(_) => &mut self.lost,
            Entry::Plan(_) => &mut self.plans,
            Entry::Start(_) => &mut self.starts,
            Entry::OverLimit(_) => &mut self.over_limit,
        } += 1;
    }
}

/// Looks through the journal at a path on disk: a file, or the directory of the segments. Nothing
/// is changed, and an engine may write meanwhile. `seen` is told how many bytes of how many were
/// read.
///
/// # Errors
/// The files cannot be read, or there are none.
pub fn inspect(path: &Path, seen: impl FnMut(u64, u64)) -> Result<Inspection, JournalError> {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    if path.is_dir() {
        let files = chain::numbered(&*storage, path)?;
        if files.is_empty() {
            return Err(JournalError::NoSegments {
                path: path.to_owned(),
            });
        }
        return inspect_segments(&storage, &files, seen);
    }
    let segment = Segment {
        number: 0,
        path: path.to_owned(),
        end: None,
        is_marked: false,
    };
    let mut inspector = Inspector::new(&storage, seen);
    inspector.bytes_max = length(&*storage, path)?;
    inspector.look(segment, true)?;
    Ok(inspector.found)
}

/// Looks through numbered segments.
pub(super) fn inspect_segments(
    storage: &Arc<dyn Storage>,
    files: &BTreeMap<u64, PathBuf>,
    seen: impl FnMut(u64, u64),
) -> Result<Inspection, JournalError> {
    let mut inspector = Inspector::new(storage, seen);
    for path in files.values() {
        inspector.bytes_max += length(&**storage, path)?;
    }
    let chain = chain::chain(files, &inspector.opener, None);
    let segments: VecDeque<Segment> = match chain {
        Ok(chain) => {
            for path in &chain.void {
                inspector.found.bytes += length(&**storage, path)?;
            }
            inspector.found.void = chain.void;
            chain.segments
        }
        // The links are broken: every file is looked at for itself.
        Err(JournalError::Damaged { .. }) => files.iter().map(alone).collect(),
        Err(JournalError::Missing { path }) => {
            inspector.missing(path);
            files.iter().map(alone).collect()
        }
        Err(error) => return Err(error),
    };
    let count = segments.len();
    for (number, segment) in segments.into_iter().enumerate() {
        inspector.look(segment, number + 1 == count)?;
    }
    let mut found = inspector.found;
    found.damages.sort_by_key(|damage| damage.position);
    Ok(found)
}

fn alone((number, path): (&u64, &PathBuf)) -> Segment {
    Segment {
        number: *number,
        path: path.clone(),
        end: None,
        is_marked: true,
    }
}

fn length(storage: &dyn Storage, path: &Path) -> Result<u64, JournalError> {
    storage
        .open(path, super::Access::Read)
        .and_then(|mut file| file.len())
        .map_err(failed("open", path))
}

struct Inspector<F> {
    storage: Arc<dyn Storage>,
    opener: Opener,
    seen: F,
    bytes_max: u64,
    found: Inspection,
}

impl<F: FnMut(u64, u64)> Inspector<F> {
    fn new(storage: &Arc<dyn Storage>, seen: F) -> Self {
        Self {
            storage: Arc::clone(storage),
            opener: Opener::of(storage),
            seen,
            bytes_max: 0,
            found: Inspection::default(),
        }
    }

    fn missing(&mut self, path: PathBuf) {
        let segment = super::segment_number(&path).unwrap_or_default();
        self.found.damages.push(Damage {
            path,
            position: Position { segment, offset: 0 },
            problem: "the segment is missing".to_owned(),
            entries_behind: 0,
        });
    }

    fn look(&mut self, segment: Segment, is_last: bool) -> Result<(), JournalError> {
        let (number, path) = (segment.number, segment.path.clone());
        let bytes = length(&*self.storage, &path)?;
        let mut reader =
            Reader::of_segments([segment].into(), self.opener.clone(), Position::START);
        let mut damage = None;
        for entry in reader.by_ref() {
            match entry {
                Ok((position, entry)) => {
                    self.found.counts.count(&entry);
                    if let Entry::Tick(now) = entry {
                        let first = self.found.ticks.map_or(now, |(first, _)| first);
                        self.found.ticks = Some((first, now));
                    }
                    (self.seen)(self.found.bytes + position.offset, self.bytes_max);
                }
                Err(JournalError::Damaged {
                    offset, problem, ..
                }) => damage = Some((offset, problem)),
                Err(JournalError::NotAJournal { .. }) => {
                    let problem = "it does not begin as a journal of this version";
                    damage = Some((0, problem.to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(torn) = reader.torn_tail() {
            if is_last {
                self.found.torn = Some(torn.clone());
            } else {
                let problem = "its end is cut off, although a segment follows";
                damage = Some((torn.position.offset, problem.to_owned()));
            }
        }
        if let Some((offset, problem)) = damage {
            let behind = self.opener.behind(&path, offset)?;
            let position = Position {
                segment: number,
                offset,
            };
            self.found.damages.push(Damage {
                path,
                position,
                problem,
                entries_behind: behind.entries,
            });
        }
        self.found.segments += 1;
        self.found.bytes += bytes;
        Ok(())
    }
}
