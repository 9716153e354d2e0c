//! Prometheus remote write 2.0: `io.prometheus.write.v2.Request`, already decompressed.
//!
//! Labels are numbers into the request's own table of symbols. They are written out as remote write
//! 1.0 has them, so that a series has one key whichever version brings it.
//!
//! - A type that a sample's metadata tells decides what the series counts; so does a unit.
//! - The time since when a count runs is read where it stands since 2.0-rc.4 (in the sample) and
//!   where it stood before (in the series).
//! - Exemplars are passed over and counted. A metadata text is not kept.

use std::ops::Range;

use super::{
    DecodeError, Fault, Refusal, batches, check, native_histogram,
    native_histogram::GAP_BUCKETS_MAX,
    protobuf::{Field, Reader},
    remote_write::{read_labels, refuse},
};
use crate::event::{
    BODY_BYTES_MAX, Batch, KeyHash, Kind, METRIC_NAME, Piece, Raw, RawBatch, RejectReason,
    SeriesMeta, Spare, Timestamp, Unit, Value,
};

const FORMAT: &str = "remote write 2.0";

/// The table of symbols of one request; memory that one request after the other uses.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Where each starts and ends in the request.
    places: Vec<(u32, u32)>,
    spare: Spare,
}

impl Symbols {
    /// Bytes of memory that it holds on to.
    pub fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<(u32, u32)>()
    }

    /// Takes a symbol that stands here; says whether there was room.
    fn push(&mut self, range: Range<usize>, out: &mut RawBatch) -> bool {
        // Counted twice: the vector may have room for as many again.
        let fits = out.charge(2 * size_of::<(u32, u32)>());
        if fits {
            self.places.push((range.start as u32, range.end as u32));
        }
        fits
    }

    #[inline]
    fn place(&self, number: u64) -> Option<Range<usize>> {
        let (start, end) = *self.places.get(usize::try_from(number).ok()?)?;
        Some(start as usize..end as usize)
    }

    fn text<'a>(&self, bytes: &'a [u8], number: u64) -> Option<&'a str> {
        std::str::from_utf8(&bytes[self.place(number)?]).ok()
    }
}

/// What a series says beside its samples.
#[derive(Default)]
struct Head {
    /// Where the name of the metric stands.
    metric: Range<usize>,
    metric_type: u64,
    unit: u64,
    /// Since when the series counts, in milliseconds; 0: not told.
    created_millis: i64,
}

/// Types of `Metadata.MetricType`.
const COUNTER: u64 = 1;
const GAUGE: u64 = 2;
const HISTOGRAM: u64 = 3;
const GAUGE_HISTOGRAM: u64 = 4;
const SUMMARY: u64 = 5;
const INFO: u64 = 6;
const STATE_SET: u64 = 7;

/// Walks a request. `symbols` is memory that is used again.
///
/// # Errors
/// The bytes are no protobuf, or cut off; the table of symbols does not begin with the empty one.
pub fn walk(bytes: &[u8], symbols: &mut Symbols, out: &mut RawBatch) -> Result<(), DecodeError> {
    assert!(
        bytes.len() <= BODY_BYTES_MAX,
        "a request has at most 2 GiB of bytes"
    );
    out.reuse(read_labels);
    symbols.spare.clear(&mut symbols.places);
    // Symbols may stand behind the series, so they are found first.
    Reader::new(FORMAT, bytes).for_each(|field| {
        if field.number == 1 {
            // Version 2.0 keeps the numbers of 1.0 free, so that one is not taken for an empty other.
            return Err(DecodeError::Malformed {
                format: FORMAT,
                offset: field.range().map_or(0, |range| range.start),
                detail: "this is a message of 1.0: call it prometheus.WriteRequest".to_owned(),
            });
        }
        if field.number == 4 && !symbols.push(field.range()?, out) {
            return check(out);
        }
        Ok(())
    })?;
    if let Some(first) = symbols.place(0)
        && !first.is_empty()
    {
        return Err(DecodeError::Malformed {
            format: FORMAT,
            offset: first.start,
            detail: "the first symbol must be empty".to_owned(),
        });
    }
    let mut gap_budget = GAP_BUCKETS_MAX;
    Reader::new(FORMAT, bytes).for_each(|field| match field.number {
        5 => series(bytes, symbols, field.message()?, out, &mut gap_budget),
        _ => Ok(()),
    })?;
    check(out)
}

/// Decodes a request into values of its own.
///
/// # Errors
/// As [`walk`].
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), read_labels);
    walk(bytes, &mut Symbols::default(), &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

fn series(
    bytes: &[u8],
    symbols: &Symbols,
    message: Reader<'_>,
    out: &mut RawBatch,
    gap_budget: &mut usize,
) -> Result<(), DecodeError> {
    check(out)?;
    let (labels, head) = head(bytes, symbols, message, out)?;
    let labels = match labels {
        Ok(labels) => labels,
        Err(refusal) => return refuse_all(message, out, &refusal),
    };
    let created = (head.created_millis != 0)
        .then(|| native_histogram::millis(head.created_millis).ok())
        .flatten();
    let key = [labels, Piece::default(), Piece::default()];
    let hash = out.keys().single(out.bytes(bytes, labels));
    let unit = symbols
        .text(bytes, head.unit)
        .map_or(Unit::Unknown, Unit::from_name);
    let of_numbers = SeriesMeta {
        kind: kind(head.metric_type, &bytes[head.metric.clone()]),
        unit,
        ..SeriesMeta::default()
    };
    let mut started = None;
    message.for_each(|field| {
        let (meta, read) = match field.number {
            2 => (of_numbers, sample(&field)),
            3 => {
                let meta = SeriesMeta {
                    kind: Kind::Histogram,
                    unit,
                    ..SeriesMeta::default()
                };
                (meta, native_histogram::decode(field.message()?, gap_budget))
            }
            4 => {
                out.exemplars += 1;
                return Ok(());
            }
            _ => return Ok(()),
        };
        match read {
            Err(Fault::Whole(error)) => return Err(error),
            Err(Fault::Part(refusal)) => refuse(out, bytes, labels, &refusal),
            Ok((at, start, value)) => {
                if started != Some(meta.kind) {
                    started = Some(meta.kind);
                    out.start_series(hash, key, meta);
                }
                out.value(at, start.or(created), value);
            }
        }
        Ok(())
    })
}

/// Reads what stands beside the samples, and writes the labels out.
fn head(
    bytes: &[u8],
    symbols: &Symbols,
    message: Reader<'_>,
    out: &mut RawBatch,
) -> Result<(Result<Piece, Refusal>, Head), DecodeError> {
    let mut head = Head::default();
    let (piece, read) = out.write(|out| {
        let mut name = None;
        let mut refusal = None;
        let read = message.for_each(|field| {
            match field.number {
                1 => field.each_varint(|number| {
                    let Some(label) = name.take() else {
                        name = Some(number);
                        return;
                    };
                    match (symbols.place(label), symbols.place(number)) {
                        // A label without a value is none.
                        (Some(name), Some(value)) if value.is_empty() && !name.is_empty() => {}
                        (Some(name), Some(value)) => {
                            out.pair(&bytes[name.clone()], &bytes[value.clone()]);
                            if bytes[name] == *METRIC_NAME.as_bytes() {
                                head.metric = value;
                            }
                        }
                        (None, _) | (_, None) => {
                            refusal.get_or_insert_with(|| out_of_range(label, number, symbols));
                        }
                    }
                })?,
                5 => metadata(&field, &mut head)?,
                6 => head.created_millis = field.int64()?,
                _ => {}
            }
            Ok::<_, DecodeError>(())
        });
        if name.is_some() {
            refusal.get_or_insert_with(|| {
                bad_labels("labels_refs has an odd length: send a value for each name")
            });
        }
        read.map(|()| refusal)
    });
    Ok((read?.map_or(Ok(piece), Err), head))
}

fn metadata(field: &Field<'_>, head: &mut Head) -> Result<(), DecodeError> {
    field.message()?.for_each(|field| {
        match field.number {
            1 => head.metric_type = field.varint()?,
            4 => head.unit = field.varint()?,
            _ => {}
        }
        Ok(())
    })
}

fn out_of_range(name: u64, value: u64, symbols: &Symbols) -> Refusal {
    bad_labels(&format!(
        "labels_refs names the symbols {name} and {value}, but there are {}",
        symbols.places.len()
    ))
}

fn bad_labels(detail: &str) -> Refusal {
    Refusal::new(RejectReason::BadLabels, detail)
}

/// Refuses every sample of a series whose labels cannot be told.
fn refuse_all(
    message: Reader<'_>,
    out: &mut RawBatch,
    refusal: &Refusal,
) -> Result<(), DecodeError> {
    message.for_each(|field| {
        match field.number {
            2 | 3 => out
                .rejects
                .sample(refusal.reason, || refusal.detail.clone()),
            4 => out.exemplars += 1,
            _ => {}
        }
        Ok(())
    })
}

fn sample(field: &Field<'_>) -> Result<(Timestamp, Option<Timestamp>, Value), Fault> {
    let (mut value, mut millis, mut start_millis) = (0.0, 0, 0);
    field.message()?.for_each(|field| {
        match field.number {
            1 => value = field.double()?,
            2 => millis = field.int64()?,
            3 => start_millis = field.int64()?,
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    let start = (start_millis != 0)
        .then(|| native_histogram::millis(start_millis).ok())
        .flatten();
    Ok((
        native_histogram::millis(millis)?,
        start,
        Value::from_prometheus(value),
    ))
}

/// What the type of a metric family makes of the numbers of one of its series: the parts of a classic
/// histogram or summary count, its quantiles do not.
fn kind(metric_type: u64, name: &[u8]) -> Kind {
    let counts = [&b"_bucket"[..], b"_count", b"_sum"]
        .iter()
        .any(|suffix| name.ends_with(suffix));
    match metric_type {
        COUNTER => Kind::Counter,
        HISTOGRAM | SUMMARY if counts => Kind::Counter,
        GAUGE | HISTOGRAM | GAUGE_HISTOGRAM | SUMMARY | INFO | STATE_SET => Kind::Gauge,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests;
