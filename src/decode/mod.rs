//! Bytes to events: one file for each wire or file format.
//!
//! A decoder takes bytes, or a reader of bytes, and gives an [`event::Batch`](crate::event::Batch):
//! what could be read, with the parts that could not be counted as rejects. Nothing here waits,
//! reads a clock or remembers anything beyond one file. No input makes a decoder panic, and nothing
//! is allocated by the word of a length field that the bytes do not back.
//!
//! | whole requests | files, read line by line |
//! | --- | --- |
//! | [`remote_write`], [`remote_write_2`], [`otlp`], [`otlp_json`], [`loki`], [`json_samples`], [`json_logs`] | [`csv`], [`openmetrics`], [`log_lines`], [`plain_lines`] |
//!
//! A [`DecodeError`] refuses the whole: the sender has to change or resend it. That is kept for
//! damage after which nothing can be trusted (a truncated protobuf message, a CSV file without a
//! `value` column). A bad sample, record or line is a reject, and its neighbours stand.

use std::fmt;

mod batches;
mod beginning;
mod body;
pub mod compression;
pub mod csv;
mod decoder;
pub mod deployments;
pub mod format;
pub mod json_logs;
mod json_messages;
pub mod json_samples;
mod json_text;
pub mod lines;
pub mod log_lines;
pub mod loki;
mod native_histogram;
pub mod openmetrics;
pub mod otlp;
pub mod otlp_json;
pub mod plain_lines;
pub mod protobuf;
pub mod remote_write;
pub mod remote_write_2;
mod streams;

pub(crate) use beginning::may_hold_data;
pub use body::{Encoding, Format};
pub use decoder::{DecodeLimits, Decoder};
pub use streams::{Scratch, StreamLabels};

use crate::event::{BadLabels, Overflow, RawBatch, RejectReason};

/// Why a whole request or file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The body is not what its content encoding says.
    Compression {
        /// The content encoding.
        encoding: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Over a limit on sizes.
    TooLarge {
        /// Which size is meant.
        which: Size,
        /// The limit in bytes.
        limit_bytes: u64,
        /// The size in bytes, where it is known without reading everything.
        actual_bytes: Option<u64>,
    },
    /// More series, samples or log records than one request may hold.
    TooMany {
        /// How many there may be of each.
        limit: usize,
    },
    /// The bytes are not in the format.
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// Where the damage was found, in bytes from the start.
        offset: usize,
        /// What was found there.
        detail: String,
    },
    /// A content encoding that is not read.
    UnsupportedEncoding {
        /// What the sender named.
        given: String,
    },
    /// A CSV recording lacks a column that it must have.
    MissingColumn {
        /// The column.
        column: &'static str,
        /// The header as it was found.
        found: String,
    },
    /// A line that must be right for the file to mean anything.
    BadLine {
        /// Name of the format.
        format: &'static str,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong, and what to change.
        detail: String,
    },
    /// A pattern for plain log lines that cannot be used.
    BadPattern {
        /// The pattern, as written.
        pattern: String,
        /// What is wrong, and what to change.
        detail: String,
    },
    /// The reader of the bytes failed.
    Read {
        /// What it said.
        detail: String,
    },
}

/// Which size a limit speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// As it came over the wire.
    Raw,
    /// After decompression.
    Decompressed,
    /// What has to be written out of it: labels that are numbers in the request, buckets.
    Unfolded,
}

/// Demands that nothing was left out because of a limit.
fn check(out: &RawBatch) -> Result<(), DecodeError> {
    out.overflow()
        .map_or(Ok(()), |overflow| Err(overflow.into()))
}

/// The beginning of a text, for messages: senders choose how long it is.
fn excerpt(text: &str) -> &str {
    const BYTES_MAX: usize = 200;
    &text[..text.floor_char_boundary(BYTES_MAX)]
}

/// What goes wrong inside a request: the whole is damaged, or a part of it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Whole(DecodeError),
    Part(Refusal),
}

/// Why a part of a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    reason: RejectReason,
    detail: String,
}

impl Refusal {
    fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Whole(error)
    }
}

/// Most labels that a series may bring. The configuration has a limit of its own, which is lower; this
/// one keeps a request of nothing but labels from taking many times its own size.
const LABELS_MAX: usize = 1024;

/// Most bytes that the labels of a series may have in a request, for the same reason.
const LABEL_BYTES_MAX: usize = 64 << 10;

/// Refuses labels that no limit of the configuration would let through.
fn check_label_sizes(count: usize, bytes: usize) -> Result<(), Refusal> {
    if LABELS_MAX < count {
        let detail = format!("over {LABELS_MAX} labels: send fewer");
        return Err(Refusal::new(RejectReason::OverLimit, detail));
    }
    if LABEL_BYTES_MAX < bytes {
        let detail = format!("labels of {bytes} bytes, over {LABEL_BYTES_MAX}: send shorter ones");
        return Err(Refusal::new(RejectReason::OverLimit, detail));
    }
    Ok(())
}

/// A key that cannot be read refuses only its series, damage too.
impl From<Fault> for BadLabels {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Part(Refusal { reason, detail }) => Self { reason, detail },
            Fault::Whole(error) => Self {
                reason: RejectReason::Malformed,
                detail: format!("the labels cannot be read: {error}"),
            },
        }
    }
}

impl DecodeError {
    /// Whether a limit of the plan refuses it, however sound it may be.
    pub fn is_over_limit(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => true,
            Self::Compression { .. }
            | Self::Malformed { .. }
            | Self::UnsupportedEncoding { .. }
            | Self::MissingColumn { .. }
            | Self::BadLine { .. }
            | Self::BadPattern { .. }
            | Self::Read { .. } => false,
        }
    }
}

impl From<Overflow> for DecodeError {
    fn from(overflow: Overflow) -> Self {
        match overflow {
            Overflow::Items { limit } => Self::TooMany { limit },
            Overflow::Bytes { limit } => Self::TooLarge {
                which: Size::Unfolded,
                limit_bytes: limit as u64,
                actual_bytes: None,
            },
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Part(refusal)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Decompressed => "decompressed",
            Self::Unfolded => "unfolded",
        })
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compression { encoding, detail } => write!(
                f,
                "the body is not valid {encoding} ({detail}): compress it so, or name its content encoding"
            ),
            Self::TooLarge {
                which,
                limit_bytes,
                actual_bytes: Some(actual),
            } => write!(
                f,
                "the {which} body has {actual} bytes, over the limit of {limit_bytes}: send smaller batches"
            ),
            Self::TooLarge {
                which,
                limit_bytes,
                actual_bytes: None,
            } => write!(
                f,
                "the {which} body is over the limit of {limit_bytes} bytes: send smaller batches"
            ),
            Self::TooMany { limit } => write!(
                f,
                "over {limit} samples or log records in one request: send smaller batches, or raise samples_per_request"
            ),
            Self::Malformed {
                format,
                offset,
                detail,
            } => {
                write!(f, "no valid {format} at byte {offset}: {detail}")
            }
            Self::UnsupportedEncoding { given } => write!(
                f,
                "content encoding {given:?} is not read: send gzip, zstd, snappy or identity"
            ),
            Self::MissingColumn { column, found } => {
                write!(
                    f,
                    "csv header lacks the column {column:?}: add it, found {found}"
                )
            }
            Self::BadLine {
                format,
                line,
                detail,
            } => write!(f, "{format} line {line}: {detail}"),
            Self::BadPattern { pattern, detail } => write!(f, "log pattern {pattern:?}: {detail}"),
            Self::Read { detail } => write!(f, "reading failed: {detail}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<std::io::Error> for DecodeError {
    fn from(error: std::io::Error) -> Self {
        Self::Read {
            detail: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_lowercase_phrase() {
        for error in [
            DecodeError::Compression {
                encoding: "gzip",
                detail: "truncated".into(),
            },
            DecodeError::TooLarge {
                which: Size::Raw,
                limit_bytes: 1,
                actual_bytes: Some(2),
            },
            DecodeError::TooLarge {
                which: Size::Decompressed,
                limit_bytes: 1,
                actual_bytes: None,
            },
            DecodeError::TooMany { limit: 1 },
            DecodeError::Malformed {
                format: "otlp",
                offset: 3,
                detail: "cut off".into(),
            },
            DecodeError::UnsupportedEncoding { given: "br".into() },
            DecodeError::MissingColumn {
                column: "value",
                found: "a, b".into(),
            },
            DecodeError::BadLine {
                format: "deployments",
                line: 1,
                detail: "no".into(),
            },
            DecodeError::BadPattern {
                pattern: "x".into(),
                detail: "no".into(),
            },
            DecodeError::Read {
                detail: "gone".into(),
            },
        ] {
            let text = error.to_string();
            assert!(text.starts_with(char::is_lowercase), "{text}");
            assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
        }
    }
}
