//! Reads a journal from its start, or from a place in it, to its end.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Entry, JournalError, MAGIC, Position,
    chain::{self, Opener, Segment},
    error::failed,
    frame::{Bad, BadKind, Found, Frame, FrameReader},
    position::segment_number,
    storage::{Disk, Storage},
};

/// Where the last write was cut off. Nothing of it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub path: PathBuf,
    /// Where the last whole entry ends.
    pub position: Position,
    /// Whole entries that stand behind the cut: they were written with what was lost.
    pub entries_behind: u64,
}

/// Gives the entries of a journal in order, each with the place where it starts. After an error it
/// ends.
#[derive(Debug)]
pub struct Reader {
    opener: Opener,
    /// Segments that were not begun.
    segments: VecDeque<Segment>,
    current: Option<Current>,
    /// Where to begin in the first segment.
    from: Position,
    end: Position,
    torn: Option<TornTail>,
    done: bool,
}

struct Current {
    segment: Segment,
    frames: FrameReader<BufReader<Box<dyn Read + Send>>>,
}

impl Reader {
    /// Opens the journal in a directory on disk.
    ///
    /// # Errors
    /// The directory cannot be read, a segment is missing, or the start of one is damaged.
    pub fn open(directory: &Path) -> Result<Self, JournalError> {
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        Self::from(&storage, directory, None)
    }

    /// Opens the journal in a directory; with a position, only what stands there and behind.
    ///
    /// # Errors
    /// The directory cannot be read, a segment is missing, the start of one is damaged, or the
    /// journal does not reach back, or forward, to the position.
    pub fn from(
        storage: &Arc<dyn Storage>,
        directory: &Path,
        position: Option<Position>,
    ) -> Result<Self, JournalError> {
        let files = chain::numbered(&**storage, directory)?;
        let opener = Opener::of(storage);
        let chain = chain::chain(&files, &opener, position).map_err(|error| match error {
            // Of no file nobody knows where it would stand.
            JournalError::OutOfReach {
                path,
                position,
                problem,
            } if path.as_os_str().is_empty() => JournalError::OutOfReach {
                path: directory.to_owned(),
                position,
                problem,
            },
            error => error,
        })?;
        let position = position.unwrap_or(Position::START);
        Ok(Self::of_segments(chain.segments, opener, position))
    }

    /// Reads files that `open` opens: the numbered segments of one journal in the order of their
    /// numbers, or one file of any other name.
    ///
    /// # Errors
    /// A file cannot be read, a segment is missing, or the start of one is damaged.
    pub fn of_files(
        files: &[PathBuf],
        open: impl Fn(&Path) -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'static,
    ) -> Result<Self, JournalError> {
        let opener = Opener::new(move |path, offset| {
            let mut source = open(path)?;
            io::copy(&mut source.by_ref().take(offset), &mut io::sink())?;
            Ok(source)
        });
        let numbered = files
            .iter()
            .filter_map(|path| Some((segment_number(path)?, path.clone())));
        let segments = match files {
            [file] if segment_number(file).is_none() => VecDeque::from([Segment {
                number: 0,
                path: file.clone(),
                end: None,
                is_marked: false,
            }]),
            _ => chain::chain(&numbered.collect(), &opener, None)?.segments,
        };
        Ok(Self::of_segments(segments, opener, Position::START))
    }

    pub(super) fn of_segments(segments: VecDeque<Segment>, opener: Opener, from: Position) -> Self {
        Self {
            opener,
            segments,
            current: None,
            from,
            end: from,
            torn: None,
            done: false,
        }
    }

    /// Where the last entry that was read ends.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Where the last write was cut off, if it was; known once the reader has come to the end.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    fn entry(&mut self) -> Result<Option<(Position, Entry)>, JournalError> {
        loop {
            let mut current = match self.current.take() {
                Some(current) => current,
                None => match self.segments.pop_front() {
                    Some(segment) => match self.begin(segment)? {
                        Some(current) => current,
                        None => return Ok(None),
                    },
                    None => return Ok(None),
                },
            };
            let segment = &mut current.segment;
            let offset = current.frames.offset;
            if segment.end.is_some_and(|end| end <= offset) {
                if segment.end != Some(offset) {
                    return Err(damaged(
                        segment,
                        offset,
                        "an entry crosses the segment's end",
                    ));
                }
                continue;
            }
            let position = Position {
                segment: segment.number,
                offset,
            };
            let found = current.frames.next();
            match found.map_err(failed("read", &segment.path))? {
                Found::Frame(frame) => {
                    self.end = Position {
                        offset: current.frames.offset,
                        ..position
                    };
                    // Also in a file of another name, a link tells that marks will follow.
                    segment.is_marked |= matches!(frame, Frame::Link(_));
                    self.current = Some(current);
                    if let Frame::Entry(entry) = frame {
                        return Ok(Some((position, entry)));
                    }
                }
                Found::End => self.close(segment, offset)?,
                Found::Bad(bad) => self.tear(segment, position, &bad)?,
            }
        }
    }

    /// Starts to read a segment, or finds that the journal ended before its first entry.
    fn begin(&mut self, segment: Segment) -> Result<Option<Current>, JournalError> {
        let offset = if segment.number == self.from.segment {
            self.from.offset
        } else {
            0
        };
        let opened = self.opener.open(&segment.path, offset);
        let mut frames = match opened {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(JournalError::OutOfReach {
                    path: segment.path,
                    position: self.from,
                    problem: error.to_string(),
                });
            }
            opened => opened.map_err(failed("open", &segment.path))?,
        };
        if offset == 0
            && let Err(magic) = frames.magic().map_err(failed("read", &segment.path))?
        {
            if let Some(error) = JournalError::other_version(&segment.path, &magic) {
                return Err(error);
            }
            if !MAGIC.starts_with(&magic) {
                return Err(JournalError::NotAJournal { path: segment.path });
            }
            // Killed before the header was whole: nothing was recorded.
            let position = Position {
                segment: segment.number,
                offset: 0,
            };
            self.torn = Some(TornTail {
                path: segment.path,
                position,
                entries_behind: 0,
            });
            return Ok(None);
        }
        Ok(Some(Current { segment, frames }))
    }

    /// Comes to the end of a file.
    fn close(&mut self, segment: &Segment, offset: u64) -> Result<(), JournalError> {
        match (segment.end, self.segments.is_empty()) {
            (None, _) => Ok(()),
            (Some(end), _) => {
                let problem = format!("the segment ends here instead of at byte {end}");
                Err(damaged(segment, offset, problem))
            }
        }
    }

    /// Tells a write that was cut off from damage. A later group, or a later segment, was begun
    /// only when everything before it was durable: what is broken before that was whole once.
    fn tear(
        &mut self,
        segment: &Segment,
        position: Position,
        bad: &Bad,
    ) -> Result<(), JournalError> {
        let is_last = self.segments.is_empty() && segment.end.is_none();
        let may_be_torn = match bad.kind {
            BadKind::CutOff | BadKind::LastWrite => true,
            BadKind::Followed => segment.is_marked,
            BadKind::Unknown => false,
        };
        if !is_last || !may_be_torn {
            return Err(damaged(segment, position.offset, bad.problem.clone()));
        }
        let mut entries_behind = 0;
        if segment.is_marked {
            let behind = self.opener.behind(&segment.path, position.offset)?;
            if behind.has_mark {
                return Err(damaged(segment, position.offset, bad.problem.clone()));
            }
            entries_behind = behind.entries;
        }
        self.torn = Some(TornTail {
            path: segment.path.clone(),
            position,
            entries_behind,
        });
        Ok(())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("segment", &self.segment)
            .field("offset", &self.frames.offset)
            .finish_non_exhaustive()
    }
}

fn damaged(segment: &Segment, offset: u64, problem: impl Into<String>) -> JournalError {
    JournalError::Damaged {
        path: segment.path.clone(),
        offset,
        problem: problem.into(),
    }
}

impl Iterator for Reader {
    type Item = Result<(Position, Entry), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.entry().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
