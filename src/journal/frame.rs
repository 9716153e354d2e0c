//! The bytes of frames: how entries, links and marks stand in a segment.

use std::{
    io::{self, BufRead, IoSlice, Read},
    ops::Range,
};

use super::{ENTRY_BYTES_MAX, Entry, HEADER_BYTES, MAGIC, Position};

/// Memory set aside for a payload before its bytes are seen.
const PAYLOAD_BYTES_TRUSTED: usize = 1 << 16;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "frames are taken one at a time, never stored"
)]
pub(super) enum Frame {
    /// An input of the core.
    Entry(Entry),
    /// First in a segment: this segment goes on where the journal was durable to there.
    Link(Position),
    /// First in a group that is written at once: everything in the segment before this offset,
    /// which is the mark's own, was durable when it was written.
    Mark(u64),
}

impl Frame {
    const LINK: u8 = 254;
    const MARK: u8 = 255;
    /// Length of the frame of a mark.
    pub(super) const MARK_BYTES: u64 = HEADER_BYTES as u64 + 8;

    fn from_payload(kind: u8, payload: Vec<u8>) -> Result<Self, String> {
        let number = |range: Range<usize>| {
            let bytes = payload.get(range).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes)
        };
        match (kind, payload.len()) {
            (Self::LINK, 16) => {
                let (Some(segment), Some(offset)) = (number(0..8), number(8..16)) else {
                    return Err("the link is too short".to_owned());
                };
                Ok(Self::Link(Position { segment, offset }))
            }
            (Self::MARK, 8) => number(0..8)
                .map(Self::Mark)
                .ok_or_else(|| "the mark is too short".to_owned()),
            _ => Entry::from_payload(kind, payload).map(Self::Entry),
        }
    }
}

/// The header of a frame.
pub(super) fn header(payload_len: u32, kind: u8, payload_crc: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&payload_len.to_le_bytes());
    header[4] = kind;
    header[5..9].copy_from_slice(&payload_crc.to_le_bytes());
    let crc = crc32c::crc32c(&header[..9]);
    header[9..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The parts of a header whose checksum is right: length and checksum of the payload, and the kind.
fn parse_header(header: [u8; HEADER_BYTES]) -> Option<(usize, u32, u8)> {
    let [l0, l1, l2, l3, kind, c0, c1, c2, c3, ..] = header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    (header == self::header(len, kind, crc)).then_some((len as usize, crc, kind))
}

/// What stands at the start of a segment that goes on where the journal was durable to there.
pub(super) fn segment_start(continues: Position) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&continues.segment.to_le_bytes());
    payload[8..].copy_from_slice(&continues.offset.to_le_bytes());
    bytes.extend(header(16, Frame::LINK, crc32c::crc32c(&payload)));
    bytes.extend(payload);
    bytes
}

/// What stands before a group of entries that is written at `offset` of a segment.
pub(super) fn group_start(offset: u64) -> Vec<u8> {
    let payload = offset.to_le_bytes();
    let mut bytes = header(8, Frame::MARK, crc32c::crc32c(&payload)).to_vec();
    bytes.extend(payload);
    bytes
}

/// The bytes of a journal of one file, without link and marks: for a recording that is made at once.
///
/// # Errors
/// An entry is too large, or cannot be written as JSON.
pub fn one_file(entries: &[Entry]) -> Result<Vec<u8>, String> {
    let group = Group::new(entries)?;
    let slices = group.slices(&MAGIC);
    Ok(slices
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect())
}

/// The frames of entries that are written at once. The bodies of batches are not copied.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    /// Headers and small payloads.
    scratch: Vec<u8>,
    pieces: Vec<Piece<'a>>,
    /// Where each entry starts, in bytes from the start of the group.
    pub(super) starts: Vec<u64>,
    /// Length of the whole group in bytes.
    pub(super) len: u64,
}

#[derive(Debug)]
enum Piece<'a> {
    Scratch(Range<usize>),
    Body(&'a [u8]),
}

impl<'a> Group<'a> {
    /// Frames the entries.
    ///
    /// # Errors
    /// An entry is too large, or cannot be written as JSON.
    pub(super) fn new(entries: &'a [Entry]) -> Result<Self, String> {
        let mut group = Self::default();
        for entry in entries {
            group.push(entry)?;
        }
        Ok(group)
    }

    fn push(&mut self, entry: &'a Entry) -> Result<(), String> {
        let start = self.scratch.len();
        self.scratch.resize(start + HEADER_BYTES, 0);
        let body = entry.payload(&mut self.scratch)?;
        let small = &self.scratch[start + HEADER_BYTES..];
        let payload_len = small.len() + body.len();
        if payload_len > ENTRY_BYTES_MAX {
            return Err(format!(
                "the entry has {payload_len} bytes, over the limit of {ENTRY_BYTES_MAX}"
            ));
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(small), body);
        let header = header(payload_len as u32, entry.kind(), crc);
        self.scratch[start..start + HEADER_BYTES].copy_from_slice(&header);
        let end = self.scratch.len();
        match self.pieces.last_mut() {
            Some(Piece::Scratch(range)) => range.end = end,
            Some(Piece::Body(_)) | None => self.pieces.push(Piece::Scratch(start..end)),
        }
        if !body.is_empty() {
            self.pieces.push(Piece::Body(body));
        }
        self.starts.push(self.len);
        self.len += (HEADER_BYTES + payload_len) as u64;
        Ok(())
    }

    /// The bytes, after those of `start`.
    pub(super) fn slices<'b>(&'b self, start: &'b [u8]) -> Vec<IoSlice<'b>> {
        let pieces = self.pieces.iter().map(|piece| {
            IoSlice::new(match piece {
                Piece::Scratch(range) => &self.scratch[range.clone()],
                Piece::Body(body) => body,
            })
        });
        [IoSlice::new(start)].into_iter().chain(pieces).collect()
    }
}

/// Reads frames one after the other.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    source: R,
    /// Where the next frame starts.
    pub(super) offset: u64,
}

/// What was read where a frame should be.
#[expect(
    clippy::large_enum_variant,
    reason = "frames are taken one at a time, never stored"
)]
pub(super) enum Found {
    /// A whole frame.
    Frame(Frame),
    /// The end of the file.
    End,
    /// No whole frame.
    Bad(Bad),
}

/// Why there is no whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) problem: String,
    pub(super) kind: BadKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadKind {
    /// The file ends within the frame.
    CutOff,
    /// A checksum is wrong, and nothing but zeros, or nothing at all, follows.
    LastWrite,
    /// A checksum is wrong, and something follows.
    Followed,
    /// The checksums are right, but this version does not know what the frame holds.
    Unknown,
}

impl<R: BufRead> FrameReader<R> {
    /// Reads from where the source stands, which is `offset` bytes into the segment.
    pub(super) fn new(source: R, offset: u64) -> Self {
        Self { source, offset }
    }

    /// Reads the first bytes of a segment: the wrong bytes are given back.
    pub(super) fn magic(&mut self) -> io::Result<Result<(), Vec<u8>>> {
        let magic = self.read_up_to(MAGIC.len())?;
        if magic != MAGIC {
            return Ok(Err(magic));
        }
        self.offset = MAGIC.len() as u64;
        Ok(Ok(()))
    }

    /// Reads the next frame.
    pub(super) fn next(&mut self) -> io::Result<Found> {
        let bad = |kind, problem: &str| {
            let problem = problem.to_owned();
            Ok(Found::Bad(Bad { problem, kind }))
        };
        let header = self.read_up_to(HEADER_BYTES)?;
        if header.is_empty() {
            return Ok(Found::End);
        }
        let Ok(header) = <[u8; HEADER_BYTES]>::try_from(header) else {
            return bad(BadKind::CutOff, "a frame's header is cut off");
        };
        let Some((payload_len, payload_crc, kind)) = parse_header(header) else {
            // A file system may have given the file its length, but not yet its bytes.
            let is_zero = header.iter().all(|byte| *byte == 0) && self.rest_is_zero()?;
            let kind = if is_zero {
                BadKind::LastWrite
            } else {
                BadKind::Followed
            };
            return bad(kind, "the checksum of a frame's header is wrong");
        };
        if payload_len > ENTRY_BYTES_MAX {
            let problem = format!("a frame claims {payload_len} bytes");
            return bad(BadKind::Unknown, &problem);
        }
        let payload = self.read_up_to(payload_len)?;
        if payload.len() < payload_len {
            return bad(BadKind::CutOff, "an entry is cut off");
        }
        if crc32c::crc32c(&payload) != payload_crc {
            let kind = if self.source.fill_buf()?.is_empty() {
                BadKind::LastWrite
            } else {
                BadKind::Followed
            };
            return bad(kind, "the checksum of an entry is wrong");
        }
        match Frame::from_payload(kind, payload) {
            Ok(frame) => {
                self.offset += (HEADER_BYTES + payload_len) as u64;
                Ok(Found::Frame(frame))
            }
            Err(problem) => bad(BadKind::Unknown, &problem),
        }
    }

    /// Reads up to `len` bytes, fewer only at the end. Memory grows with what is there, not with
    /// what is asked for.
    fn read_up_to(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len.min(PAYLOAD_BYTES_TRUSTED));
        self.source
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn rest_is_zero(&mut self) -> io::Result<bool> {
        loop {
            let rest = self.source.fill_buf()?;
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
}

/// What stands behind a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Behind {
    /// Whole entries.
    pub(super) entries: u64,
    /// Whether a later group begins there. It was written when everything before was durable.
    pub(super) has_mark: bool,
}

/// Looks for whole frames from the byte `at` of `rest` on, which begins at `offset` of its segment.
pub(super) fn behind(rest: &[u8], offset: u64, mut at: usize) -> Behind {
    let mut behind = Behind::default();
    while at + HEADER_BYTES <= rest.len() {
        match frame_at(&rest[at..]) {
            Some((frame, len)) => {
                match frame {
                    Frame::Entry(_) => behind.entries += 1,
                    Frame::Mark(own) => behind.has_mark |= own == offset + at as u64,
                    Frame::Link(_) => {}
                }
                at += len;
            }
            None => at += 1,
        }
    }
    behind
}

/// The whole frame at the start of some bytes, with its length.
fn frame_at(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    // Most places are no frame: their kind tells it sooner than a checksum.
    let is_known = Entry::is_kind(header[4]) || matches!(header[4], Frame::LINK | Frame::MARK);
    if !is_known {
        return None;
    }
    let (len, crc, kind) = parse_header(*header)?;
    let payload = rest.get(..len)?;
    if crc32c::crc32c(payload) != crc {
        return None;
    }
    let frame = Frame::from_payload(kind, payload.to_vec()).ok()?;
    Some((frame, HEADER_BYTES + len))
}
