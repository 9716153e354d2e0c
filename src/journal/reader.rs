//! Reads a journal from its start to its end, or to where its last write was cut off.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{ENTRY_BYTES_MAX, Entry, HEADER_BYTES, JournalError, MAGIC, entry};

/// Where the last write was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where the cut-off frame starts, in bytes from the start of the file.
    pub offset: u64,
}

/// Gives the entries of a journal in order. After an error it ends.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    path: PathBuf,
    /// Where the next frame starts.
    offset: u64,
    torn: Option<TornTail>,
    done: bool,
}

/// What was read where a frame should be.
#[expect(
    clippy::large_enum_variant,
    reason = "frames are taken one at a time, never stored"
)]
enum Frame {
    Whole(Entry),
    End,
    Torn,
}

impl Reader<BufReader<File>> {
    /// Opens a journal.
    ///
    /// # Errors
    /// The file cannot be read, or is not a journal of this version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = File::options()
            .read(true)
            .open(path)
            .map_err(|error| JournalError::Io {
                path: path.to_owned(),
                action: "open",
                error,
            })?;
        Self::new(BufReader::new(file), path)
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads a journal from any source; `path` names it in errors.
    ///
    /// # Errors
    /// The source fails, or is not a journal of this version.
    pub fn new(source: R, path: &Path) -> Result<Self, JournalError> {
        let mut reader = Self {
            source,
            path: path.to_owned(),
            offset: MAGIC.len() as u64,
            torn: None,
            done: false,
        };
        let magic = reader.read_up_to(MAGIC.len())?;
        if magic.len() < MAGIC.len() && MAGIC.starts_with(&magic) {
            // Killed before the header was whole: nothing was recorded.
            reader.torn = Some(TornTail { offset: 0 });
            reader.done = true;
        } else if magic != MAGIC {
            return Err(JournalError::NotAJournal { path: reader.path });
        }
        Ok(reader)
    }

    /// Where the last write was cut off, if it was; known once the reader has come to the end.
    pub fn torn_tail(&self) -> Option<TornTail> {
        self.torn
    }

    fn frame(&mut self) -> Result<Frame, JournalError> {
        let header = self.read_up_to(HEADER_BYTES)?;
        if header.is_empty() {
            return Ok(Frame::End);
        }
        let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header) else {
            return Ok(Frame::Torn);
        };
        let [l0, l1, l2, l3, kind, c0, c1, c2, c3, ..] = header;
        let (payload_len, payload_crc) = (
            u32::from_le_bytes([l0, l1, l2, l3]),
            u32::from_le_bytes([c0, c1, c2, c3]),
        );
        if header != entry::header(payload_len, kind, payload_crc) {
            // A file system may have given the file its length, but not yet its bytes.
            if header.iter().all(|byte| *byte == 0) && self.rest_is_zero()? {
                return Ok(Frame::Torn);
            }
            return Err(self.damaged("the checksum of a frame's header is wrong".to_owned()));
        }
        if payload_len as usize > ENTRY_BYTES_MAX {
            return Err(self.damaged(format!("a frame claims {payload_len} bytes")));
        }
        let payload = self.read_up_to(payload_len as usize)?;
        if payload.len() < payload_len as usize {
            return Ok(Frame::Torn);
        }
        if crc32c::crc32c(&payload) != payload_crc {
            return if self.is_at_end()? {
                Ok(Frame::Torn)
            } else {
                Err(self.damaged("the checksum of an entry is wrong".to_owned()))
            };
        }
        let entry = Entry::from_payload(kind, payload).map_err(|problem| self.damaged(problem))?;
        self.offset += HEADER_BYTES as u64 + u64::from(payload_len);
        Ok(Frame::Whole(entry))
    }

    /// Reads up to `len` bytes, fewer only at the end. Memory grows with what is there, not with
    /// what is asked for.
    fn read_up_to(&mut self, len: usize) -> Result<Vec<u8>, JournalError> {
        let mut bytes = Vec::new();
        match self
            .source
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut bytes)
        {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn is_at_end(&mut self) -> Result<bool, JournalError> {
        match self.source.fill_buf() {
            Ok(rest) => Ok(rest.is_empty()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn rest_is_zero(&mut self) -> Result<bool, JournalError> {
        loop {
            let rest = match self.source.fill_buf() {
                Ok(rest) => rest,
                Err(error) => return Err(self.failed(error)),
            };
            if rest.is_empty() {
                return Ok(true);
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            let len = rest.len();
            self.source.consume(len);
        }
    }

    fn damaged(&self, problem: String) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            offset: self.offset,
            problem,
        }
    }

    fn failed(&self, error: io::Error) -> JournalError {
        JournalError::Io {
            path: self.path.clone(),
            action: "read",
            error,
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.frame() {
            Ok(Frame::Whole(entry)) => return Some(Ok(entry)),
            Ok(Frame::End) => {}
            Ok(Frame::Torn) => {
                self.torn = Some(TornTail {
                    offset: self.offset,
                });
            }
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        }
        self.done = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        event::{Begin, DeploymentEvent, End, Timestamp},
        journal::{Body, Encoding, Format, Writer, recorded},
    };

    fn entries() -> Vec<Entry> {
        let at = Timestamp::from_nanos(1_772_359_200_123_456_789);
        vec![
            Entry::Tick(at),
            Entry::Batch(Body {
                format: Format::OtlpLogsJson,
                encoding: Encoding::Gzip,
                bytes: Bytes::from_static(b"any bytes at all"),
            }),
            Entry::Batch(Body {
                format: Format::RemoteWrite1,
                encoding: Encoding::Snappy,
                bytes: Bytes::new(),
            }),
            Entry::Deployment(DeploymentEvent::Begin(Begin {
                at,
                deployment: "d1".to_owned(),
                service: "checkout".to_owned(),
                stage: "onebox".to_owned(),
                region: Some("eu".to_owned()),
                version: "v42".to_owned(),
                one_box: vec!["h1".to_owned()],
                fleet: Vec::new(),
                weight: 0.25,
                hotfix: None,
            })),
            Entry::Deployment(DeploymentEvent::End(End {
                at,
                deployment: "d1".to_owned(),
            })),
            Entry::Tick(Timestamp::MIN),
        ]
    }

    fn write(entries: &[Entry]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(directory.path()).unwrap();
        for entry in entries {
            writer.append(entry).unwrap();
        }
        writer.flush().unwrap();
        let mut bytes = Vec::new();
        File::options()
            .read(true)
            .open(writer.path())
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes.len() as u64, writer.len_bytes());
        bytes
    }

    /// What can be read, where the tail was torn, and the error if there was one.
    fn read(bytes: &[u8]) -> (Vec<Entry>, Option<u64>, Option<String>) {
        let mut reader = match Reader::new(bytes, Path::new("a.journal")) {
            Ok(reader) => reader,
            Err(error) => return (Vec::new(), None, Some(error.to_string())),
        };
        let mut entries = Vec::new();
        let mut failure = None;
        for entry in reader.by_ref() {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => failure = Some(error.to_string()),
            }
        }
        (entries, reader.torn_tail().map(|tail| tail.offset), failure)
    }

    #[test]
    fn what_is_written_is_read_back_in_order() {
        assert_eq!(read(&write(&entries())), (entries(), None, None));
        assert_eq!(read(&write(&[])), (Vec::new(), None, None));
    }

    #[test]
    fn a_journal_that_is_cut_off_anywhere_ends_after_its_last_whole_entry() {
        let bytes = write(&entries());
        let mut ends = vec![MAGIC.len()];
        for count in 1..=entries().len() {
            ends.push(write(&entries()[..count]).len());
        }
        for len in 0..bytes.len() {
            let whole = ends
                .iter()
                .filter(|end| **end <= len)
                .count()
                .saturating_sub(1);
            let (read, torn, failure) = read(&bytes[..len]);
            assert_eq!(
                (read.as_slice(), failure),
                (&entries()[..whole], None),
                "{len}"
            );
            let start = if len < MAGIC.len() { 0 } else { ends[whole] };
            assert_eq!(
                torn,
                (!ends.contains(&len)).then_some(start as u64),
                "{len}"
            );
        }
    }

    #[test]
    fn a_tail_of_zeros_is_a_torn_write() {
        let mut bytes = write(&entries());
        let end = bytes.len() as u64;
        bytes.extend([0; 4096]);
        assert_eq!(read(&bytes), (entries(), Some(end), None));
    }

    #[test]
    fn damage_in_the_middle_is_an_error_that_names_file_and_offset() {
        let bytes = write(&entries());
        let last = write(&entries()[..entries().len() - 1]).len();
        for position in MAGIC.len()..last {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x10;
            let (read, _, failure) = read(&damaged);
            let failure = failure.unwrap_or_else(|| panic!("{position} is not noticed"));
            assert!(
                failure.starts_with("a.journal is damaged at byte "),
                "{failure}"
            );
            assert_eq!(read, entries()[..read.len()], "{position}");
        }
    }

    #[test]
    fn another_file_is_not_taken_for_a_journal() {
        for bytes in [&b"timestamp,metric,value\n"[..], b"SLUICEJ9", b"x"] {
            let (_, _, failure) = read(bytes);
            assert_eq!(
                failure.as_deref(),
                Some("a.journal is not a journal of this version")
            );
        }
    }

    #[test]
    fn the_journal_of_an_earlier_run_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        for run in 0..3 {
            let mut writer = Writer::create(directory.path()).unwrap();
            assert!(
                Writer::create(directory.path()).is_err(),
                "a second writer is locked out"
            );
            writer
                .append(&Entry::Tick(Timestamp::from_seconds(run)))
                .unwrap();
        }
        for (name, run) in [("inputs.1", 0), ("inputs.2", 1), ("inputs", 2)] {
            let path = directory.path().join(format!("{name}.journal"));
            let entries: Vec<Entry> = Reader::open(&path)
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(entries, [Entry::Tick(Timestamp::from_seconds(run))]);
        }
    }

    #[test]
    fn an_event_reads_the_same_however_often_it_is_recorded() {
        let Entry::Deployment(DeploymentEvent::Begin(mut begin)) = entries().remove(3) else {
            panic!("the fourth entry begins a deployment")
        };
        for weight in [0.1, 1.0 / 3.0, 5e-324, 1.797e308, 0.123_456_789_012_345_68] {
            begin.weight = weight;
            let once = recorded(&DeploymentEvent::Begin(begin.clone())).unwrap();
            let entry = Entry::Deployment(DeploymentEvent::Begin(begin.clone()));
            assert_eq!(read(&write(&[entry])).0, [Entry::Deployment(once)]);
        }
        begin.weight = f64::NAN;
        assert!(recorded(&DeploymentEvent::Begin(begin)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            tail in prop::collection::vec(any::<u8>(), 0..200),
            with_magic in any::<bool>(),
        ) {
            let mut bytes = if with_magic { MAGIC.to_vec() } else { Vec::new() };
            bytes.extend(tail);
            read(&bytes);
        }
    }
}
