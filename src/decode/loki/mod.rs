//! Grafana Loki's push requests: `logproto.PushRequest` in protobuf, already decompressed, and JSON.
//!
//! The labels of a stream and the structured metadata of an entry are attributes of its records; where
//! both have a name, the entry wins. An attribute `level` or `severity`, else `detected_level`, in any
//! case, tells the severity, whether or not it tells the stream.

use std::ops::Range;

use super::{
    DecodeError, Fault, Refusal, Scratch, StreamLabels, batches, check, excerpt,
    protobuf::{Field, Reader},
};
use crate::event::{
    Batch, KeyHash, Piece, Raw, RawBatch, RawLog, RejectReason, Severity, Timestamp, canonical,
};

mod json;
mod selector;

pub use json::{decode_json, walk_json};

const FORMAT: &str = "loki push";

/// Walks a push request in protobuf. `scratch` is memory that is used again.
///
/// # Errors
/// The bytes are no protobuf, or cut off; over a limit of `out`.
pub fn walk(
    bytes: &[u8],
    stream_labels: StreamLabels<'_>,
    scratch: &mut Scratch,
    out: &mut RawBatch,
) -> Result<(), DecodeError> {
    out.reuse(canonical::read);
    Reader::new(FORMAT, bytes).for_each(|field| {
        if field.number != 1 {
            return Ok(());
        }
        let mut walk = Walk {
            bytes,
            stream_labels,
            scratch,
            out,
            level: Level::default(),
        };
        walk.stream(field.message()?)
    })?;
    check(out)
}

/// Decodes a push request in protobuf into values of its own, with all attributes.
///
/// # Errors
/// As [`walk`].
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), canonical::read);
    walk(bytes, StreamLabels::All, &mut Scratch::default(), &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// One stream of a request.
struct Walk<'a, 'b> {
    bytes: &'a [u8],
    stream_labels: StreamLabels<'b>,
    scratch: &'b mut Scratch,
    out: &'b mut RawBatch,
    /// What the labels say of the severity.
    level: Level,
}

/// The severity by the attributes seen so far.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    told: Option<Severity>,
    /// What Loki or an agent made out of the line; what the sender says itself is better.
    detected: Option<Severity>,
}

impl Level {
    /// Takes an attribute. The first that tells a severity stands.
    fn see(&mut self, name: &[u8], value: &[u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let slot = if is("level") || is("severity") {
            &mut self.told
        } else if is("detected_level") {
            &mut self.detected
        } else {
            return;
        };
        let severity = std::str::from_utf8(value).map_or(Severity::UNKNOWN, Severity::from_name);
        if slot.is_none() && severity != Severity::UNKNOWN {
            *slot = Some(severity);
        }
    }

    /// The severity: what the entry says, else what its stream says.
    fn severity(self, stream: Self) -> Severity {
        self.told
            .or(stream.told)
            .or(self.detected)
            .or(stream.detected)
            .unwrap_or(Severity::UNKNOWN)
    }
}

impl<'a> Walk<'a, '_> {
    fn stream(&mut self, message: Reader<'a>) -> Result<(), DecodeError> {
        // The labels may stand behind the entries.
        let mut labels = None;
        message.for_each(|field| {
            if field.number == 1 {
                labels = Some(field);
            }
            Ok::<_, DecodeError>(())
        })?;
        self.scratch.start_shared();
        let read = part(self.labels(labels))?;
        self.scratch.share(self.bytes, self.out);
        message.for_each(|field| {
            if field.number != 2 {
                return Ok(());
            }
            check(self.out)?;
            let message = field.message()?;
            let taken = match &read {
                Ok(()) => part(self.entry(message))?,
                Err(refusal) => Err(refusal.clone()),
            };
            if let Err(refusal) = taken {
                self.refuse(&refusal);
                if read.is_ok() {
                    let level = self.level_of(message);
                    self.unread(level);
                }
            }
            Ok(())
        })
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.out.rejects.log(refusal.reason, || {
            format!("log entry: {}", excerpt(&refusal.detail))
        });
    }

    /// Notes an entry of the stream that cannot be read, with what it tells of its severity itself; `None` where
    /// damage may hide that.
    fn unread(&mut self, level: Option<Level>) {
        let severity = level.map(|level| level.severity(self.level));
        let severity = severity.filter(|severity| *severity != Severity::UNKNOWN);
        self.scratch.unread(self.bytes, severity, self.out);
    }

    /// What an entry that cannot be read tells of its severity.
    fn level_of(&mut self, message: Reader<'a>) -> Option<Level> {
        let mut level = Level::default();
        let read = message.for_each(|field| match field.number {
            3 => self.metadata(field.message()?, &mut level),
            _ => Ok(()),
        });
        read.ok().map(|()| level)
    }

    fn labels(&mut self, field: Option<Field<'a>>) -> Result<(), Fault> {
        let Some(field) = field else { return Ok(()) };
        let (text, base) = (field.text()?, field.range()?.start);
        let in_body = |range: Range<usize>| Piece::of_body(base + range.start..base + range.end);
        let mut rest = selector::Selector::new(text);
        while let Some((name, value)) = rest.next_pair()? {
            let value = match value {
                selector::Text::Plain(range) => in_body(range),
                selector::Text::Escaped(range) => {
                    let (piece, written) = self
                        .out
                        .write(|out| selector::unescape(&text[range], |bytes| out.extend(bytes)));
                    written?;
                    std::str::from_utf8(self.out.bytes(self.bytes, piece))
                        .map_err(|_| selector::bad("an escape that is not utf-8"))?;
                    piece
                }
            };
            let name = match name {
                selector::Text::Plain(range) => in_body(range),
                selector::Text::Escaped(_) => {
                    return Err(selector::bad("a label name with escapes").into());
                }
            };
            self.pair(name, value, None)?;
        }
        Ok(())
    }

    fn entry(&mut self, message: Reader<'a>) -> Result<(), Fault> {
        self.scratch.start_record();
        let mut level = Level::default();
        let (mut seconds, mut nanos, mut line) = (0, 0, Piece::default());
        message.for_each(|field| {
            match field.number {
                1 => field.message()?.for_each(|field| {
                    match field.number {
                        1 => seconds = field.int64()?,
                        2 => nanos = field.int64()? as i32,
                        _ => {}
                    }
                    Ok::<_, Fault>(())
                })?,
                2 => {
                    field.text()?;
                    line = Piece::of_body(field.range()?);
                }
                3 => self.metadata(field.message()?, &mut level)?,
                _ => {}
            }
            Ok::<_, Fault>(())
        })?;
        let at = timestamp(seconds, nanos)?;
        let (stream, hash) = self.scratch.stream(self.bytes, self.out)?;
        self.out.log(RawLog {
            at,
            severity: level.severity(self.level),
            body: line,
            hash,
            stream,
            count: 1,
        });
        Ok(())
    }

    fn metadata(&mut self, message: Reader<'a>, level: &mut Level) -> Result<(), Fault> {
        let (mut name, mut value) = (Piece::default(), Piece::default());
        message.for_each(|field| {
            let slot = match field.number {
                1 => &mut name,
                2 => &mut value,
                _ => return Ok(()),
            };
            field.text()?;
            *slot = Piece::of_body(field.range()?);
            Ok::<_, Fault>(())
        })?;
        self.pair(name, value, Some(level))
    }

    /// Takes an attribute: of an entry if there is a `level` to tell, else of the stream.
    fn pair(&mut self, name: Piece, value: Piece, level: Option<&mut Level>) -> Result<(), Fault> {
        let (name_bytes, value_bytes) = (
            self.out.bytes(self.bytes, name),
            self.out.bytes(self.bytes, value),
        );
        level
            .unwrap_or(&mut self.level)
            .see(name_bytes, value_bytes);
        if self.stream_labels.contains(name_bytes) {
            self.scratch.push(name, value)?;
        }
        Ok(())
    }
}

/// Takes a `google.protobuf.Timestamp`.
fn timestamp(seconds: i64, nanos: i32) -> Result<Timestamp, Refusal> {
    if seconds == 0 && nanos == 0 {
        let detail = "timestamp is not set";
        return Err(Refusal::new(RejectReason::NoTimestamp, detail));
    }
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(i64::from(nanos)))
        .map(Timestamp::from_nanos)
        .ok_or_else(|| {
            let detail = format!("timestamp {seconds} s is out of range");
            Refusal::new(RejectReason::NoTimestamp, detail)
        })
}

/// Tells damage of the whole from the refusal of a part.
fn part<T>(result: Result<T, Fault>) -> Result<Result<T, Refusal>, DecodeError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Part(refusal)) => Ok(Err(refusal)),
        Err(Fault::Whole(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
