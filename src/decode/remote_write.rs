//! Prometheus remote write 1.0: `prometheus.WriteRequest`, already decompressed.
//!
//! The key of a series is its labels as they stand in the request.

use std::ops::Range;

use super::{
    DecodeError, Fault, Refusal, batches, check, check_label_sizes, excerpt, native_histogram,
    native_histogram::GAP_BUCKETS_MAX,
    protobuf::{Field, Reader, short_length},
};
use crate::event::{
    BadLabels, Batch, Expectation, KeyCache, KeyHash, Kind, Labels, METRIC_NAME, Piece, Raw,
    RawBatch, RawMetric, RejectReason, SeriesMeta, Timestamp, Unit, Value,
};

const FORMAT: &str = "remote write 1.0";

const THIS_IS_2: &str =
    "this is a message of 2.0: send it with proto=io.prometheus.write.v2.Request";

/// Key of a series in a request.
const SERIES: u8 = 0x0a;
/// Key of a label in a series.
const LABEL: u8 = 0x0a;
/// Key of a sample in a series.
const SAMPLE: u8 = 0x12;

/// Types of `MetricMetadata.MetricType`.
const COUNTER: u64 = 1;
const GAUGE: u64 = 2;
const HISTOGRAM: u64 = 3;
const GAUGE_HISTOGRAM: u64 = 4;
const SUMMARY: u64 = 5;

/// Walks a request. Exemplars are passed over: Prometheus sends them unasked. So it does metadata, each minute, in
/// requests of nothing else. Series whose keys are in the `cache` are neither
/// framed nor hashed, where they come in the order that it knows.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn walk(bytes: &[u8], cache: Option<&KeyCache>, out: &mut RawBatch) -> Result<(), DecodeError> {
    out.reuse(read_labels);
    out.edition = cache.map(|cache| cache.edition().clone());
    let mut expected = cache.map(KeyCache::expect);
    let mut gap_budget = GAP_BUCKETS_MAX;
    let mut reader = Reader::new(FORMAT, bytes);
    loop {
        let before = reader;
        if let Some(range) = reader.pass_short(SERIES) {
            if quick_series(bytes, range, expected.as_mut(), out) {
                continue;
            }
            reader = before;
        }
        match reader.next()? {
            Some(field) if field.number == 1 => {
                series(bytes, field.message()?, out, &mut gap_budget)?;
            }
            // The symbols and the series of 2.0: read as 1.0 they would be an empty request.
            Some(field) if matches!(field.number, 4 | 5) => {
                return Err(DecodeError::Malformed {
                    format: FORMAT,
                    offset: field.range().map_or(0, |range| range.start),
                    detail: THIS_IS_2.to_owned(),
                });
            }
            Some(field) if field.number == 3 => metadata(&field, out),
            Some(_) => {}
            None => return check(out),
        }
    }
}

/// Takes what is told of a metric by its name. An entry that cannot be read is counted, and costs nothing else.
fn metadata(field: &Field<'_>, out: &mut RawBatch) {
    match told(field) {
        Ok(told) => {
            let says_something = told.kind != Kind::Unknown || told.unit != Unit::Unknown;
            if says_something {
                out.metric(told);
            }
        }
        Err(_) => out.metadata_unread += 1,
    }
}

fn told(field: &Field<'_>) -> Result<RawMetric, Fault> {
    let (mut metric, mut metric_type, mut unit) = (0..0, 0, "");
    field.message()?.for_each(|field| {
        match field.number {
            1 => metric_type = field.varint()?,
            2 => {
                field.text()?;
                metric = field.range()?;
            }
            5 => unit = field.text()?,
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    if metric.is_empty() {
        let detail = "metadata of a metric without a name";
        return Err(Refusal::new(RejectReason::NoMetricName, detail).into());
    }
    Ok(RawMetric {
        metric: Piece::of_body(metric),
        kind: match metric_type {
            COUNTER => Kind::Counter,
            GAUGE => Kind::Gauge,
            HISTOGRAM | GAUGE_HISTOGRAM => Kind::Histogram,
            SUMMARY => Kind::Summary,
            // What is no more than information or a state counts nothing, and no more than that is told.
            _ => Kind::Unknown,
        },
        unit: Unit::from_name(unit),
    })
}

/// Decodes a request into values of its own.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), read_labels);
    walk(bytes, None, &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// Walks a series that is as Prometheus writes it: first all labels, then all samples, and nothing
/// else. Says whether it was.
#[inline]
fn quick_series<'a>(
    bytes: &'a [u8],
    range: Range<usize>,
    mut expected: Option<&mut Expectation<'a>>,
    out: &mut RawBatch,
) -> bool {
    let (start, end) = (range.start, range.end);
    let known = expected
        .as_mut()
        .and_then(|expected| expected.meet(&bytes[range], SAMPLE));
    let (labels, hash, place) = if let Some(known) = known {
        (start..start + known.len, known.hash, Some(known.place))
    } else {
        let Some(labels) = quick_labels(bytes, start, end) else {
            return false;
        };
        let key = &bytes[labels.clone()];
        let hash = out.keys().single(key);
        let place = expected.and_then(|expected| expected.find(hash, key));
        (labels, hash, place)
    };
    let mut position = labels.end;
    let (series_before, points_before) = (out.series.len(), out.points.len());
    let key = [Piece::of_body(labels), Piece::default(), Piece::default()];
    out.start_cached(hash, key, place, SeriesMeta::default());
    while position < end {
        let sample = (bytes[position] == SAMPLE)
            .then(|| short_length(bytes, position + 1, end))
            .flatten();
        let read = sample.and_then(|(start, len)| quick_sample(&bytes[start..start + len]));
        let (Some((start, len)), Some((at, value))) = (sample, read) else {
            out.series.truncate(series_before);
            out.points.truncate(points_before);
            return false;
        };
        out.point(at, Timestamp::MIN, value);
        position = start + len;
    }
    true
}

/// Where the labels of a series stand, if all of them stand before the first sample.
fn quick_labels(bytes: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    let mut position = start;
    while position < end && bytes[position] == LABEL {
        let (start, len) = short_length(bytes, position + 1, end)?;
        position = start + len;
    }
    (start < position && position < end && bytes[position] == SAMPLE).then_some(start..position)
}

/// Reads a sample whose value stands before its time, as all known senders have it; a field that is
/// zero is not sent.
#[inline]
fn quick_sample(mut bytes: &[u8]) -> Option<(Timestamp, f64)> {
    let mut value = 0.0;
    if let [0x09, rest @ ..] = bytes {
        let (number, after) = rest.split_first_chunk::<8>()?;
        value = f64::from_le_bytes(*number);
        bytes = after;
    }
    let mut millis = 0u64;
    if let [0x10, rest @ ..] = bytes {
        let mut shift = 0;
        for (index, &byte) in rest.iter().enumerate() {
            millis |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                bytes = &rest[index + 1..];
                break;
            }
            if shift == 63 {
                return None;
            }
        }
    }
    if !bytes.is_empty() {
        return None;
    }
    let nanos = millis.cast_signed().checked_mul(1_000_000)?;
    Some((Timestamp::from_nanos(nanos), value))
}

/// Walks any series.
fn series(
    bytes: &[u8],
    message: Reader<'_>,
    out: &mut RawBatch,
    gap_budget: &mut usize,
) -> Result<(), DecodeError> {
    // Labels may stand behind the samples, so they are found first.
    let labels = label_piece(bytes, message, out)?;
    let key = [labels, Piece::default(), Piece::default()];
    let hash = out.keys().single(out.bytes(bytes, labels));
    let mut started = None;
    message.for_each(|field| {
        let (kind, read) = match field.number {
            2 => (Kind::Unknown, sample(&field)),
            3 => {
                out.exemplars += 1;
                return Ok(());
            }
            4 => (
                Kind::Histogram,
                native_histogram::decode(field.message()?, gap_budget),
            ),
            _ => return Ok(()),
        };
        match read {
            Err(Fault::Whole(error)) => return Err(error),
            Err(Fault::Part(refusal)) => {
                refuse(out, bytes, labels, &refusal);
            }
            Ok((at, start, value)) => {
                if started != Some(kind) {
                    started = Some(kind);
                    let meta = SeriesMeta {
                        kind,
                        ..SeriesMeta::default()
                    };
                    out.start_series(hash, key, meta);
                }
                out.value(at, start, value);
            }
        }
        Ok(())
    })
}

/// Where the labels of a series stand. If something stands between them they are written anew.
fn label_piece(
    bytes: &[u8],
    message: Reader<'_>,
    out: &mut RawBatch,
) -> Result<Piece, DecodeError> {
    let mut run = None;
    let mut is_broken = false;
    each_label(message, |from, to| match &mut run {
        None => run = Some((from, to)),
        Some((_, end)) if *end == from => *end = to,
        Some(_) => is_broken = true,
    })?;
    if is_broken {
        let (piece, written) =
            out.write(|out| each_label(message, |from, to| out.extend(&bytes[from..to])));
        written?;
        return Ok(piece);
    }
    Ok(run.map_or_else(Piece::default, |(start, end)| Piece::of_body(start..end)))
}

/// Calls `each` with where every label starts and ends, its key included.
fn each_label(
    mut message: Reader<'_>,
    mut each: impl FnMut(usize, usize),
) -> Result<(), DecodeError> {
    loop {
        let from = message.offset();
        match message.next()? {
            Some(field) if field.number == 1 => each(from, message.offset()),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// Counts a refused sample of the series with these labels.
pub(super) fn refuse(out: &mut RawBatch, bytes: &[u8], labels: Piece, refusal: &Refusal) {
    let mut rejects = std::mem::take(&mut out.rejects);
    rejects.sample(refusal.reason, || {
        let name = match read_labels([out.bytes(bytes, labels), &[], &[]]) {
            Ok(labels) => labels.to_string(),
            Err(bad) => bad.detail,
        };
        format!("{}: {}", excerpt(&name), refusal.detail)
    });
    out.rejects = rejects;
}

fn sample(field: &Field<'_>) -> Result<(Timestamp, Option<Timestamp>, Value), Fault> {
    let (mut value, mut millis) = (0.0, 0);
    field.message()?.for_each(|field| {
        match field.number {
            1 => value = field.double()?,
            2 => millis = field.int64()?,
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok((
        native_histogram::millis(millis)?,
        None,
        Value::from_prometheus(value),
    ))
}

/// Reads the labels of a key.
pub(super) fn read_labels([key, ..]: [&[u8]; 3]) -> Result<Labels, BadLabels> {
    labels(Reader::new(FORMAT, key)).map_err(BadLabels::from)
}

fn labels(message: Reader<'_>) -> Result<Labels, Fault> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    check_label_sizes(0, message.len())?;
    message.for_each(|field| {
        if field.number != 1 {
            return Ok(());
        }
        let (mut name, mut value) = ("", "");
        field.message()?.for_each(|field| {
            match field.number {
                1 => name = field.text()?,
                2 => value = field.text()?,
                _ => {}
            }
            Ok::<_, Fault>(())
        })?;
        pairs.push((name, value));
        check_label_sizes(pairs.len(), 0)?;
        Ok::<_, Fault>(())
    })?;
    check_labels(&pairs)?;
    Ok(Labels::new(pairs))
}

/// Demands that labels name a metric and that no name is empty or repeats.
pub(super) fn check_labels(pairs: &[(&str, &str)]) -> Result<(), Refusal> {
    let told = |what: &str| {
        let labels = Labels::new(pairs.iter().copied()).to_string();
        format!("{what} in {}", excerpt(&labels))
    };
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(Refusal::new(
            RejectReason::BadLabels,
            told("a label without a name"),
        ));
    }
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[one, next]| one == next) {
        let what = format!("label {:?} stands twice", excerpt(name));
        return Err(Refusal::new(RejectReason::BadLabels, told(&what)));
    }
    if !pairs
        .iter()
        .any(|(name, value)| *name == METRIC_NAME && !value.is_empty())
    {
        return Err(Refusal::new(
            RejectReason::NoMetricName,
            told("no label __name__"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
