//! Appends inputs to a journal, and makes them durable before it says so.

use std::{
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Entry, JournalError, Position, TornTail,
    chain::{self, Opener},
    error::failed,
    frame::{Frame, Group, group_start, segment_start},
    position::{segment_name, segment_number},
    reader::Reader,
    storage::{Access, Lock, Storage, StoredFile},
};
use crate::event::{Span, Timestamp};

/// Bytes that are written again at a time when a journal is opened.
const CHUNK_BYTES: usize = 1 << 20;

/// How much room a journal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length at which a segment is closed and the next one begun, or earlier where the journal may have little
    /// in all; a group of entries is never divided.
    pub segment_bytes: u64,
    /// Most bytes of all segments together. History is deleted to stay below; when what is still
    /// needed fills it, [`Writer::commit`] refuses.
    pub bytes_max: u64,
    /// How long segments that are not needed any more are kept as history, for recordings.
    pub keep: Span,
}

/// Parts of the most that a journal may have, of which a segment has one at most.
const SEGMENTS_MIN: u64 = 8;
/// What a segment may have all the same.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

impl Limits {
    /// Length at which a segment is closed. Only whole segments are deleted: one that filled all that a journal may
    /// have could never go, however little of it is still needed.
    fn segment_bytes_max(&self) -> u64 {
        let part = (self.bytes_max / SEGMENTS_MIN).max(SEGMENT_BYTES_MIN);
        self.segment_bytes.min(part)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            bytes_max: 64 << 30,
            keep: Span::from_hours(24),
        }
    }
}

/// Writes a journal. One thread owns it.
///
/// What [`Writer::commit`] acknowledged is durable. What it refused does not count: either nothing
/// of it is found again, or, after a crash before anything else was acknowledged, its first entries
/// are. A failed write is cut off. A segment that cannot be cut off or synced is given up, since
/// nobody knows what the disk holds of it; the next commit begins a new segment, whose first frame
/// says where the one before ends, so that a reader stops there whatever stands behind.
#[derive(Debug)]
pub struct Writer {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    limits: Limits,
    /// Where the last acknowledged entry ends.
    end: Position,
    /// The segment that is written; `None`: the next commit begins one.
    open: Option<OpenSegment>,
    /// Number of the segment that is begun next.
    next: u64,
    /// The other segments on disk, oldest first.
    closed: Vec<ClosedSegment>,
    /// What stands before is history.
    needed_from: Position,
    /// Held as long as the writer lives.
    pub(super) lock: Option<Arc<dyn Lock>>,
}

#[derive(Debug)]
struct OpenSegment {
    file: Box<dyn StoredFile>,
    number: u64,
    /// What of it is durable.
    len: u64,
}

#[derive(Clone, Copy, Debug)]
struct ClosedSegment {
    number: u64,
    bytes: u64,
}

/// What was deleted of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Writer {
    /// Opens the journal in a directory to go on after its last whole entry, and makes everything
    /// before durable. What a crash left of an unfinished write is cut off and told.
    ///
    /// # Errors
    /// The file system refuses, a segment is missing, or the journal is damaged. Only the last
    /// segment is read here, the others when they are.
    pub fn open(
        storage: &Arc<dyn Storage>,
        directory: &Path,
        limits: Limits,
    ) -> Result<(Self, Option<TornTail>), JournalError> {
        let files = chain::numbered(&**storage, directory)?;
        let opener = Opener::of(storage);
        let mut writer = Self {
            storage: Arc::clone(storage),
            directory: directory.to_owned(),
            limits,
            end: Position::START,
            open: None,
            next: files.last_key_value().map_or(1, |(number, _)| number + 1),
            closed: Vec::new(),
            needed_from: Position::START,
            lock: None,
        };
        let mut torn = None;
        if let Some(last) = chain::last_segment(&files, &opener)? {
            let path = last.path.clone();
            let mut reader = Reader::of_segments([last].into(), opener, Position::START);
            for entry in reader.by_ref() {
                entry?;
            }
            torn = reader.torn_tail().cloned();
            writer.end = reader.end();
            writer
                .settle(&path)
                .map_err(failed("make durable", &path))?;
        }
        writer.sync_directory()?;
        for listed in storage
            .list(directory)
            .map_err(failed("look into", directory))?
        {
            if let Some(number) = segment_number(Path::new(&listed.name))
                && files.contains_key(&number)
            {
                writer.closed.push(ClosedSegment {
                    number,
                    bytes: listed.len,
                });
            }
        }
        writer.closed.sort_by_key(|segment| segment.number);
        Ok((writer, torn))
    }

    /// Makes durable what was read of the last segment. After a failed sync the system may show
    /// bytes that never came to the disk, and take them for written: they are written once more.
    fn settle(&self, path: &Path) -> io::Result<()> {
        let mut file = self.storage.open(path, Access::Write)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        while offset < self.end.offset {
            let len = usize::try_from(self.end.offset - offset).unwrap_or(usize::MAX);
            let len = len.min(CHUNK_BYTES);
            let read = file.read_at(offset, &mut chunk[..len])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_at(offset, &mut [IoSlice::new(&chunk[..read])])?;
            offset += read as u64;
        }
        // So may the length be: what was cut off would come back with the next loss of power.
        file.set_len(self.end.offset + 1)?;
        file.set_len(self.end.offset)?;
        file.sync()
    }

    /// Where the next entry will stand, or before: everything acknowledged stands before it.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Bytes of all segments on disk.
    pub fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|segment| segment.bytes).sum();
        closed + self.open.as_ref().map_or(0, |open| open.len)
    }

    /// The directory of the segments.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends entries and makes them durable. Gives where each of them starts. Only now may they
    /// be acknowledged.
    ///
    /// # Errors
    /// An entry is too large, the journal is full, or the file system refuses. Nothing of the
    /// entries counts then; the next call tries afresh.
    pub fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Position>, JournalError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let group = Group::new(entries).map_err(|problem| JournalError::BadEntry {
            path: self.directory.clone(),
            problem,
        })?;
        let segment_bytes = self.limits.segment_bytes_max();
        let is_full = |open: &OpenSegment| segment_bytes < open.len + Frame::MARK_BYTES + group.len;
        if self.open.as_ref().is_some_and(is_full) {
            self.close();
        }
        self.make_room(group.len)?;
        let start = match self.open.take() {
            Some(open) => self.append(open, &group)?,
            None => self.begin(&group)?,
        };
        let segment = self.end.segment;
        let place = |offset: &u64| Position {
            segment,
            offset: start + offset,
        };
        Ok(group.starts.iter().map(place).collect())
    }

    /// Ends the journal for good: nothing will follow. Begins one more segment, with nothing in it but the
    /// link that says where everything before ends. What is broken or missing before that is damage then,
    /// and not a write that was cut off.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(mut self) -> Result<u64, JournalError> {
        self.close();
        self.begin(&Group::default())?;
        Ok(self.bytes())
    }

    /// Writes a group behind what is durable of the open segment. Gives where it starts.
    fn append(&mut self, mut open: OpenSegment, group: &Group<'_>) -> Result<u64, JournalError> {
        let mark = group_start(open.len);
        let path = self.path(open.number);
        if let Err(error) = open.file.write_at(open.len, &mut group.slices(&mark)) {
            // Cut off durably, or a crash could show what was refused behind what comes next.
            let cut = open.file.set_len(open.len).and_then(|()| open.file.sync());
            match cut {
                Ok(()) => self.open = Some(open),
                Err(_) => self.give_up(open),
            }
            return Err(failed("write", &path)(error));
        }
        if let Err(error) = open.file.sync() {
            // Never synced again: the system may have dropped what it could not write.
            drop(open.file.set_len(open.len));
            self.give_up(open);
            return Err(failed("sync", &path)(error));
        }
        let start = open.len + mark.len() as u64;
        open.len = start + group.len;
        self.end = Position {
            segment: open.number,
            offset: open.len,
        };
        self.open = Some(open);
        Ok(start)
    }

    /// Begins a segment with a group. Gives where the group starts.
    fn begin(&mut self, group: &Group<'_>) -> Result<u64, JournalError> {
        let link = segment_start(self.end);
        let (number, path, mut file) = loop {
            let number = self.next;
            let path = self.path(number);
            match self.storage.open(&path, Access::Create) {
                Ok(file) => break (number, path, file),
                // It was created although the system said that it was not: nothing is in it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.closed.push(ClosedSegment { number, bytes: 0 });
                    self.next += 1;
                }
                Err(error) => return Err(failed("create", &path)(error)),
            }
        };
        let written = file
            .write_at(0, &mut group.slices(&link))
            .map_err(failed("write", &path))
            .and_then(|()| file.sync().map_err(failed("sync", &path)))
            .and_then(|()| self.sync_directory());
        let start = link.len() as u64;
        let len = start + group.len;
        if let Err(error) = written {
            // The number is free again only if the file is gone.
            if self.storage.remove(&path).is_err() {
                self.next += 1;
                self.closed.push(ClosedSegment { number, bytes: len });
            }
            return Err(error);
        }
        self.next += 1;
        self.end = Position {
            segment: number,
            offset: len,
        };
        self.open = Some(OpenSegment { file, number, len });
        Ok(start)
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.closed.push(ClosedSegment {
                number: open.number,
                bytes: open.len,
            });
        }
    }

    /// Leaves a segment whose end on disk is not known.
    fn give_up(&mut self, mut open: OpenSegment) {
        let bytes = open.file.len().unwrap_or(open.len);
        self.closed.push(ClosedSegment {
            number: open.number,
            bytes,
        });
    }

    /// Tells what is needed, as a snapshot says, and deletes history that is older than
    /// [`Limits::keep`], the oldest first.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn collect(
        &mut self,
        needed_from: Position,
        now: Timestamp,
    ) -> Result<Collected, JournalError> {
        self.needed_from = self.needed_from.max(needed_from);
        let mut collected = Collected::default();
        let files = self
            .storage
            .list(&self.directory)
            .map_err(failed("look into", &self.directory))?;
        while let Some(oldest) = self.oldest_history() {
            let name = segment_name(oldest.number);
            let listed = files.iter().find(|file| file.name == name);
            if listed.is_some_and(|file| now < file.modified + self.limits.keep) {
                break;
            }
            self.delete(oldest, &mut collected)?;
        }
        Ok(collected)
    }

    /// Deletes history until there is room for a group.
    fn make_room(&mut self, group_len: u64) -> Result<(), JournalError> {
        let start = match &self.open {
            Some(_) => Frame::MARK_BYTES,
            None => segment_start(self.end).len() as u64,
        };
        let mut collected = Collected::default();
        while self.limits.bytes_max < self.bytes() + start + group_len {
            match self.oldest_history() {
                Some(oldest) => self.delete(oldest, &mut collected)?,
                None => {
                    return Err(JournalError::Full {
                        path: self.directory.clone(),
                        bytes_max: self.limits.bytes_max,
                    });
                }
            }
        }
        Ok(())
    }

    /// The oldest segment, if it is not needed any more. The one where the journal ends always is.
    fn oldest_history(&self) -> Option<ClosedSegment> {
        let needed_from = self.needed_from.segment.min(self.end.segment);
        let oldest = self.closed.first().copied();
        oldest.filter(|oldest| oldest.number < needed_from)
    }

    /// Deletes the oldest segment, durably before the next one goes: a journal has no gaps.
    fn delete(
        &mut self,
        oldest: ClosedSegment,
        collected: &mut Collected,
    ) -> Result<(), JournalError> {
        let path = self.path(oldest.number);
        match self.storage.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("delete", &path)(error));
            }
            _ => {}
        }
        self.sync_directory()?;
        self.closed.remove(0);
        collected.segments += 1;
        collected.bytes += oldest.bytes;
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), JournalError> {
        self.storage
            .sync_directory(&self.directory)
            .map_err(failed("sync", &self.directory))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_name(number))
    }
}
