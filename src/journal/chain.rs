//! Finds out which segments make up a journal, and where each of them ends.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    JournalError, MAGIC, Position,
    error::failed,
    frame::{self, Behind, Found, Frame, FrameReader},
    position::{segment_name, segment_number},
    storage::{Access, Bounded, Storage},
};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 17;

/// Opens files so that they are read from an offset on.
#[derive(Clone)]
pub(super) struct Opener(Arc<Open>);

type Open = dyn Fn(&Path, u64) -> io::Result<Box<dyn Read + Send>> + Send + Sync;

/// A segment that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Where the next segment goes on; bytes behind are none of the journal's. `None`: the journal
    /// goes on to the end of the file.
    pub(super) end: Option<u64>,
    /// Whether its groups begin with marks.
    pub(super) is_marked: bool,
}

/// The segments of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Those that are read, in order.
    pub(super) segments: VecDeque<Segment>,
    /// Files of which nothing counts: they were given up before anything in them was durable.
    pub(super) void: Vec<PathBuf>,
}

/// What the first bytes of a segment tell.
enum Head {
    /// Where the segment goes on.
    Linked(Position),
    /// It tells nothing: it was not written by a [`Writer`](super::Writer).
    Plain,
    /// It is no segment.
    Broken(String),
}

impl Opener {
    pub(super) fn new(
        open: impl Fn(&Path, u64) -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(open))
    }

    /// Opens files of a storage. What is added to a file after it was opened is not read.
    pub(super) fn of(storage: &Arc<dyn Storage>) -> Self {
        let storage = Arc::clone(storage);
        Self::new(move |path, offset| {
            let file = storage.open(path, Access::Read)?;
            Ok(Box::new(Bounded::new(file, offset)?))
        })
    }

    pub(super) fn open(
        &self,
        path: &Path,
        offset: u64,
    ) -> io::Result<FrameReader<BufReader<Box<dyn Read + Send>>>> {
        let source = (self.0)(path, offset)?;
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        Ok(FrameReader::new(source, offset))
    }

    /// What stands behind a bad frame that starts at `offset`.
    pub(super) fn behind(&self, path: &Path, offset: u64) -> Result<Behind, JournalError> {
        self.scan(path, offset, 1)
    }

    /// Whole entries at an offset and behind.
    pub(super) fn entries_from(&self, path: &Path, offset: u64) -> Result<u64, JournalError> {
        Ok(self.scan(path, offset, 0)?.entries)
    }

    fn scan(&self, path: &Path, offset: u64, at: usize) -> Result<Behind, JournalError> {
        let mut rest = Vec::new();
        (self.0)(path, offset)
            .and_then(|mut source| source.read_to_end(&mut rest))
            .map_err(failed("read", path))?;
        Ok(frame::behind(&rest, offset, at))
    }

    fn head(&self, path: &Path) -> Result<Head, JournalError> {
        let mut other = None;
        let mut head = || -> io::Result<Head> {
            let mut frames = self.open(path, 0)?;
            if let Err(magic) = frames.magic()? {
                other = JournalError::other_version(path, &magic);
                let problem = if MAGIC.starts_with(&magic) {
                    "its first bytes are cut off"
                } else {
                    "it does not begin as a journal of this version"
                };
                return Ok(Head::Broken(problem.to_owned()));
            }
            Ok(match frames.next()? {
                Found::Frame(Frame::Link(continues)) => Head::Linked(continues),
                Found::Frame(Frame::Entry(_)) => Head::Plain,
                Found::Frame(Frame::Mark(_)) => Head::Broken("it has no link".to_owned()),
                Found::End => Head::Broken("it ends after its first bytes".to_owned()),
                Found::Bad(bad) => Head::Broken(bad.problem),
            })
        };
        let head = head().map_err(failed("read", path))?;
        other.map_or(Ok(head), Err)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

/// The numbered segments of a directory.
pub(super) fn numbered(
    storage: &dyn Storage,
    directory: &Path,
) -> Result<BTreeMap<u64, PathBuf>, JournalError> {
    let files = storage
        .list(directory)
        .map_err(failed("look into", directory))?;
    let numbered = files.into_iter().filter_map(|file| {
        let number = segment_number(Path::new(&file.name))?;
        let is_plain = file.name == segment_name(number);
        is_plain.then(|| (number, directory.join(&file.name)))
    });
    Ok(numbered.collect())
}

/// Links the segments from the last one backwards, as far as `from` if that is given.
///
/// # Errors
/// A segment is missing, or the start of one is damaged.
pub(super) fn chain(
    files: &BTreeMap<u64, PathBuf>,
    opener: &Opener,
    from: Option<Position>,
) -> Result<Chain, JournalError> {
    let mut chain = Chain::default();
    let Some((mut number, mut head)) = last(files, opener, &mut chain)? else {
        // Nothing was ever durable.
        return match from.filter(|from| *from != Position::START) {
            Some(from) => Err(out_of_reach(files, from)),
            None => Ok(chain),
        };
    };
    let mut end = None;
    loop {
        let path = files[&number].clone();
        let damaged = |problem| {
            let path = path.clone();
            Err(JournalError::Damaged {
                path,
                offset: 0,
                problem,
            })
        };
        let previous = match head {
            Head::Linked(continues) if continues.segment >= number => {
                return damaged(format!("it claims to follow {continues}"));
            }
            Head::Linked(continues) => (continues.segment, Some(continues.offset)),
            Head::Plain => (number - 1, None),
            Head::Broken(problem) => return damaged(problem),
        };
        let is_marked = matches!(head, Head::Linked(_));
        let segment = Segment {
            number,
            path,
            end,
            is_marked,
        };
        chain.segments.push_front(segment);
        let skipped = files.range(previous.0 + 1..number);
        chain.void.extend(skipped.map(|(_, path)| path.clone()));
        if from.is_some_and(|from| number <= from.segment) {
            break;
        }
        if !files.contains_key(&previous.0) {
            if let Some((_, below)) = files.range(..previous.0).next_back() {
                // History that was deleted out of order is no part of what is asked for.
                if from.is_none() {
                    let path = below.with_file_name(segment_name(previous.0));
                    return Err(JournalError::Missing { path });
                }
            }
            break;
        }
        (number, end) = previous;
        head = opener.head(&files[&number])?;
    }
    match from {
        Some(from) if !reaches(&chain, opener, from)? => Err(out_of_reach(files, from)),
        Some(_) | None => Ok(chain),
    }
}

/// The segment where the journal ends.
///
/// # Errors
/// The start of a segment is damaged.
pub(super) fn last_segment(
    files: &BTreeMap<u64, PathBuf>,
    opener: &Opener,
) -> Result<Option<Segment>, JournalError> {
    let last = last(files, opener, &mut Chain::default())?;
    Ok(last.map(|(number, head)| Segment {
        number,
        path: files[&number].clone(),
        end: None,
        is_marked: matches!(head, Head::Linked(_)),
    }))
}

/// The last segment of which anything counts. One whose start was never durable is void.
fn last(
    files: &BTreeMap<u64, PathBuf>,
    opener: &Opener,
    chain: &mut Chain,
) -> Result<Option<(u64, Head)>, JournalError> {
    for (number, path) in files.iter().rev() {
        let head = opener.head(path)?;
        if let Head::Broken(problem) = head {
            if opener.behind(path, 0)?.has_mark {
                return Err(JournalError::Damaged {
                    path: path.clone(),
                    offset: 0,
                    problem,
                });
            }
            chain.void.push(path.clone());
        } else {
            return Ok(Some((*number, head)));
        }
    }
    Ok(None)
}

/// Whether everything from the position on is there.
fn reaches(chain: &Chain, opener: &Opener, from: Position) -> Result<bool, JournalError> {
    let Some(first) = chain.segments.front() else {
        return Ok(false);
    };
    if from.segment < first.number {
        // Fine only where nothing ever stood between.
        return Ok(match opener.head(&first.path)? {
            Head::Linked(continues) => continues <= from,
            Head::Plain => first.number == 1,
            Head::Broken(_) => false,
        });
    }
    Ok(first.number == from.segment && first.end.is_none_or(|end| from.offset <= end))
}

fn out_of_reach(files: &BTreeMap<u64, PathBuf>, position: Position) -> JournalError {
    let problem = match (files.first_key_value(), files.last_key_value()) {
        (Some((first, _)), Some((last, _))) => {
            format!("it holds the segments {first} to {last}, without that place")
        }
        _ => "it holds nothing".to_owned(),
    };
    let path = files.values().next().and_then(|path| path.parent());
    JournalError::OutOfReach {
        path: path.map(Path::to_owned).unwrap_or_default(),
        position,
        problem,
    }
}
