//! OpenTelemetry's protocol in protobuf: export requests of metrics and of logs.
//!
//! What is stored or passed on as `MetricsData` and `LogsData` has the same fields and is read too.
//!
//! - The labels of a series are the attributes of its point and of its resource; where both have a
//!   key, the point wins. Names keep their dots. Name and version of the scope are labels too, as
//!   Prometheus has them: two scopes with a metric of one name are two series.
//! - A sum is a counter if it is monotonic, else a gauge. A summary becomes `NAME_count` and
//!   `NAME_sum`, which count, and `NAME{quantile="…"}`, which are gauges.
//! - "No recorded value" is a stale marker. Exemplars are passed over.
//!
//! The key of a series is what its metric and its scope say of it, the attributes of its resource and those of its
//! point, the latter two as they stand in the request.

use std::cell::OnceCell;

use self::points::Attributes;
use super::{
    DecodeError, Fault, Refusal, Scratch, StreamLabels, batches, check, check_label_sizes,
    protobuf::Reader,
};
use crate::event::{Batch, KeyHash, Piece, Raw, RawBatch, ReadLabels, Written};

mod data_run;
mod key;
mod logs;
pub(super) mod metrics;
pub(super) mod points;
pub(super) mod value;

const METRICS: &str = "otlp metrics";
const LOGS: &str = "otlp logs";

/// Reads the labels that the key of a series stands for.
pub(super) const READ_LABELS: ReadLabels = key::read_labels;

/// Walks an `ExportMetricsServiceRequest`.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn walk_metrics(bytes: &[u8], out: &mut RawBatch) -> Result<(), DecodeError> {
    out.reuse(key::read_labels);
    each_resource(METRICS, bytes, |message| {
        let resource = resource_piece(bytes, message, out)?;
        each_scope(message, |message| {
            // It may stand behind its metrics.
            let scope = part(Scope::read(message))?;
            message.for_each(|field| match field.number {
                2 => metrics::walk(bytes, field.message()?, &scope, &resource, out),
                _ => Ok(()),
            })
        })
    })?;
    check(out)
}

/// Walks an `ExportLogsServiceRequest`. `scratch` is memory that is used again.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn walk_logs(
    bytes: &[u8],
    stream_labels: StreamLabels<'_>,
    scratch: &mut Scratch,
    out: &mut RawBatch,
) -> Result<(), DecodeError> {
    out.reuse(key::read_labels);
    each_resource(LOGS, bytes, |message| {
        let mut walk = logs::Walk::new(bytes, stream_labels, message, scratch, out)?;
        each_scope(message, |message| {
            message.for_each(|field| match field.number {
                2 => walk.record(field.message()?),
                _ => Ok(()),
            })
        })
    })?;
    check(out)
}

/// Decodes an `ExportMetricsServiceRequest` into values of its own.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn metrics(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), key::read_labels);
    walk_metrics(bytes, &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// Decodes an `ExportLogsServiceRequest` into values of its own, with all attributes.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn logs(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), key::read_labels);
    walk_logs(bytes, StreamLabels::All, &mut Scratch::default(), &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// Calls `each` with what belongs to one resource. Both requests nest alike: resource (1), then scopes
/// (2), then what they hold (2).
fn each_resource<'a>(
    format: &'static str,
    bytes: &'a [u8],
    mut each: impl FnMut(Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    Reader::new(format, bytes).for_each(|field| match field.number {
        1 => each(field.message()?),
        _ => Ok(()),
    })
}

fn each_scope<'a>(
    message: Reader<'a>,
    mut each: impl FnMut(Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    message.for_each(|field| match field.number {
        2 => each(field.message()?),
        _ => Ok(()),
    })
}

/// What measured the metrics: the part of its scope that tells series apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
}

impl<'a> Scope<'a> {
    /// Finds the scope (1) among what it measured.
    fn read(message: Reader<'a>) -> Result<Self, Fault> {
        let mut scope = Self::default();
        message.for_each(|field| {
            if field.number != 1 {
                return Ok(());
            }
            field.message()?.for_each(|field| {
                match field.number {
                    1 => scope.name = field.text()?,
                    2 => scope.version = field.text()?,
                    _ => {}
                }
                Ok::<_, Fault>(())
            })
        })?;
        Ok(scope.check()?)
    }

    /// Refuses what no limit of the configuration would let through: it stands in each key.
    pub(super) fn check(self) -> Result<Self, Refusal> {
        check_label_sizes(0, self.name.len() + self.version.len())?;
        Ok(self)
    }
}

/// Where the attributes of a resource stand. It may stand behind what it is the resource of.
fn resource_piece(
    bytes: &[u8],
    message: Reader<'_>,
    out: &mut RawBatch,
) -> Result<ResourcePiece, DecodeError> {
    let mut run = Run::default();
    message.for_each(|field| match field.number {
        1 => run.find(field.message()?, 1),
        _ => Ok(()),
    })?;
    let piece = run.piece(out, |out| {
        message.for_each(|field| match field.number {
            1 => write_fields(bytes, field.message()?, 1, out),
            _ => Ok(()),
        })
    })?;
    Ok(ResourcePiece::new(bytes, piece, out))
}

/// The attributes of a resource as one piece.
pub(super) struct ResourcePiece {
    piece: Piece,
    len: usize,
    /// What it gives to the hashes of keys.
    hash: u64,
    /// Whether the attributes can be used, once somebody wants to know.
    check: OnceCell<Result<(), Refusal>>,
}

impl ResourcePiece {
    fn new(bytes: &[u8], piece: Piece, out: &RawBatch) -> Self {
        let attributes = out.bytes(bytes, piece);
        Self {
            piece,
            len: attributes.len(),
            hash: out.keys().second(attributes),
            check: OnceCell::new(),
        }
    }

    /// Attributes that do not stand in the request as protobuf has them.
    pub(super) fn of(attributes: &Attributes<'_>, out: &mut RawBatch) -> Self {
        let (piece, ()) = out.write(|out| key::write_attributes(attributes, out));
        Self::new(&[], piece, out)
    }
}

/// Where the fields of one number stand in a message, if nothing stands between them.
#[derive(Clone, Copy, Default)]
struct Run {
    start: usize,
    end: usize,
    is_broken: bool,
}

impl Run {
    /// Takes a field that starts and ends here, its key included.
    #[inline]
    fn add(&mut self, from: usize, to: usize) {
        if self.end == 0 {
            self.start = from;
        } else if self.end != from {
            self.is_broken = true;
        }
        self.end = to;
    }

    /// Takes all fields of a number.
    fn find(&mut self, mut message: Reader<'_>, number: u32) -> Result<(), DecodeError> {
        loop {
            let from = message.offset();
            match message.next()? {
                Some(field) if field.number == number => self.add(from, message.offset()),
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// The fields as one piece: as they stand if they are together, else as `write` writes them.
    #[inline]
    fn piece(
        self,
        out: &mut RawBatch,
        write: impl FnOnce(&mut Written) -> Result<(), DecodeError>,
    ) -> Result<Piece, DecodeError> {
        if !self.is_broken {
            return Ok(Piece::of_body(self.start..self.end));
        }
        let (piece, written) = out.write(write);
        written.map(|()| piece)
    }
}

/// Appends all fields of a number, with their keys.
fn write_fields(
    bytes: &[u8],
    mut message: Reader<'_>,
    number: u32,
    out: &mut Written,
) -> Result<(), DecodeError> {
    loop {
        let from = message.offset();
        match message.next()? {
            Some(field) if field.number == number => {
                out.extend(&bytes[from..message.offset()]);
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// Tells damage of the whole from the refusal of a part.
pub(super) fn part<T>(result: Result<T, Fault>) -> Result<Result<T, Refusal>, DecodeError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Part(refusal)) => Ok(Err(refusal)),
        Err(Fault::Whole(error)) => Err(error),
    }
}

#[cfg(test)]
pub(super) mod generated;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
