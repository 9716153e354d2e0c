//! Prometheus' native histograms, as remote write carries them.

use super::{
    DecodeError, Fault, Refusal,
    protobuf::{Field, Reader, zigzag},
};
use crate::event::{ExponentialBuckets, Histogram, RejectReason, Timestamp, Value};

/// Most buckets that one side of a histogram may span, gaps included. Schema 8, the finest, covers
/// 32 doublings with it.
pub(super) const BUCKETS_MAX: usize = 8192;

/// Most empty buckets between spans that one request may ask for, all histograms together. They
/// cost the sender nothing, so they are counted against the request.
pub(super) const GAP_BUCKETS_MAX: usize = 1 << 20;

/// Schema of histograms with bounds of their own.
const CUSTOM_SCHEMA: i32 = -53;

/// Value of `reset_hint` in histograms that go up and down.
const GAUGE: u64 = 3;

#[derive(Debug, Default)]
struct Wire {
    count_int: Option<u64>,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: f64,
    zero_count_int: u64,
    negative: Side,
    positive: Side,
    reset_hint: u64,
    at_millis: i64,
    /// Since when it counts; 0: not told.
    start_millis: i64,
    custom_bounds: Vec<f64>,
}

/// Buckets of one sign: runs of consecutive ones, and the counts of all runs.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<Run>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// Distance from the end of the run before, or from bucket 0.
    offset: i32,
    len: u32,
}

/// Reads one `prometheus.Histogram`: when it was taken, since when it counts where that is told, and
/// its value. `gap_budget` is what is left of [`GAP_BUCKETS_MAX`].
pub(super) fn decode(
    message: Reader<'_>,
    gap_budget: &mut usize,
) -> Result<(Timestamp, Option<Timestamp>, Value), Fault> {
    let wire = read(message)?;
    let at = millis(wire.at_millis)?;
    let start = (wire.start_millis != 0)
        .then(|| millis(wire.start_millis).ok())
        .flatten();
    if wire.sum.to_bits() == Value::STALE_BITS {
        return Ok((at, start, Value::Stale));
    }
    if wire.reset_hint == GAUGE {
        return Err(Refusal::new(
            RejectReason::Unsupported,
            "a gauge histogram: only histograms that count are compared",
        )
        .into());
    }
    let lists = [&wire.negative, &wire.positive].map(Side::longest);
    if lists
        .into_iter()
        .any(|len| BUCKETS_MAX < len.max(wire.custom_bounds.len()))
    {
        let detail = format!("over {BUCKETS_MAX} buckets: use a lower schema");
        return Err(over_limit(&detail).into());
    }
    let histogram = match wire.schema {
        -4..=8 => exponential(wire, gap_budget)?,
        CUSTOM_SCHEMA => explicit(wire, gap_budget)?,
        other => {
            return Err(bad(format!("schema {other} is not known: use -4 to 8, or -53")).into());
        }
    };
    Ok((at, start, Value::Histogram(Box::new(histogram))))
}

/// Takes milliseconds since the epoch as Prometheus sends them.
pub(super) fn millis(millis: i64) -> Result<Timestamp, Refusal> {
    millis
        .checked_mul(1_000_000)
        .map(Timestamp::from_nanos)
        .ok_or_else(|| {
            let detail =
                format!("timestamp {millis} is out of range: send milliseconds since 1970");
            Refusal::new(RejectReason::NoTimestamp, detail)
        })
}

fn read(message: Reader<'_>) -> Result<Wire, DecodeError> {
    let mut wire = Wire::default();
    message.for_each(|field| {
        match field.number {
            1 => wire.count_int = Some(field.varint()?),
            2 => {
                field.double()?;
                wire.count_int = None;
            }
            3 => wire.sum = field.double()?,
            4 => wire.schema = field.sint32()?,
            5 => wire.zero_threshold = field.double()?,
            6 => {
                wire.zero_count_int = field.varint()?;
                wire.zero_count = wire.zero_count_int as f64;
            }
            7 => {
                wire.zero_count = field.double()?;
                wire.zero_count_int = 0;
            }
            8 => keep(&mut wire.negative.spans, span(&field)?),
            9 => field.each_varint(|delta| keep(&mut wire.negative.deltas, zigzag(delta)))?,
            10 => field.each_fixed64(|bits| keep(&mut wire.negative.counts, float(bits)))?,
            11 => keep(&mut wire.positive.spans, span(&field)?),
            12 => field.each_varint(|delta| keep(&mut wire.positive.deltas, zigzag(delta)))?,
            13 => field.each_fixed64(|bits| keep(&mut wire.positive.counts, float(bits)))?,
            14 => wire.reset_hint = field.varint()?,
            15 => wire.at_millis = field.int64()?,
            17 => wire.start_millis = field.int64()?,
            16 => field.each_fixed64(|bits| keep(&mut wire.custom_bounds, float(bits)))?,
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(wire)
}

/// Keeps an item of a list, but no more than show that there are too many.
fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() <= BUCKETS_MAX {
        list.push(item);
    }
}

fn float(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn span(field: &Field<'_>) -> Result<Run, DecodeError> {
    let mut run = Run::default();
    field.message()?.for_each(|field| {
        match field.number {
            1 => run.offset = field.sint32()?,
            2 => run.len = field.varint()? as u32,
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(run)
}

fn exponential(wire: Wire, gap_budget: &mut usize) -> Result<Histogram, Refusal> {
    if !(is_count(wire.zero_count) && wire.zero_threshold >= 0.0 && wire.zero_threshold.is_finite())
    {
        return Err(bad(
            "the zero bucket has a negative or infinite count or threshold",
        ));
    }
    let (positive, positive_total) = wire.positive.buckets(gap_budget)?;
    let (negative, negative_total) = wire.negative.buckets(gap_budget)?;
    let total = positive_total + negative_total + i128::from(wire.zero_count_int);
    check_total(wire.count_int, wire.sum, total)?;
    Ok(Histogram::Exponential {
        scale: wire.schema,
        zero_count: wire.zero_count,
        zero_threshold: wire.zero_threshold,
        positive,
        negative,
        sum: Some(wire.sum).filter(|sum| sum.is_finite()),
    })
}

fn explicit(wire: Wire, gap_budget: &mut usize) -> Result<Histogram, Refusal> {
    let bounds = wire.custom_bounds;
    if !bounds.iter().all(|bound| bound.is_finite()) || !bounds.is_sorted_by(|a, b| a < b) {
        return Err(bad("custom bounds are not finite and ascending"));
    }
    if !wire.negative.spans.is_empty() || wire.zero_count != 0.0 {
        return Err(bad(
            "custom buckets with negative or zero buckets beside them",
        ));
    }
    let (buckets, total) = wire.positive.buckets(gap_budget)?;
    check_total(wire.count_int, wire.sum, total)?;
    let mut counts = vec![0.0; bounds.len() + 1];
    // Custom buckets are numbered from 0: the shift to OTLP's numbers is undone.
    let first = usize::try_from(i64::from(buckets.offset) + 1).unwrap_or(usize::MAX);
    let place = first
        .checked_add(buckets.counts.len())
        .and_then(|end| counts.get_mut(first..end));
    match place {
        Some(place) => place.copy_from_slice(&buckets.counts),
        None if buckets.counts.is_empty() => {}
        None => {
            return Err(bad(format!(
                "buckets beyond the {} custom bounds",
                bounds.len()
            )));
        }
    }
    let sum = Some(wire.sum).filter(|sum| sum.is_finite());
    Ok(Histogram::Explicit {
        bounds,
        counts,
        sum,
    })
}

impl Side {
    fn longest(&self) -> usize {
        self.spans
            .len()
            .max(self.deltas.len())
            .max(self.counts.len())
    }

    /// The buckets without gaps, numbered as OTLP does (one less than Prometheus), and the total of
    /// integer counts.
    fn buckets(self, gap_budget: &mut usize) -> Result<(ExponentialBuckets, i128), Refusal> {
        let (counts, total) = self.counts()?;
        let told: u64 = self.spans.iter().map(|run| u64::from(run.len)).sum();
        if told != counts.len() as u64 {
            return Err(bad(format!(
                "spans of {told} buckets with {} counts",
                counts.len()
            )));
        }
        let Some((first, others)) = self.spans.split_first() else {
            return Ok((ExponentialBuckets::default(), total));
        };
        if others.iter().any(|run| run.offset < 0) {
            return Err(bad("spans that overlap"));
        }
        let gaps: u64 = others
            .iter()
            .map(|run| u64::from(run.offset.unsigned_abs()))
            .sum();
        if counts.len() as u64 + gaps > BUCKETS_MAX as u64 {
            return Err(over_limit(&format!(
                "over {BUCKETS_MAX} buckets: use a lower schema"
            )));
        }
        let Some(left) = gap_budget.checked_sub(gaps as usize) else {
            return Err(over_limit(
                "too many empty buckets in one request: send smaller batches",
            ));
        };
        *gap_budget = left;
        let offset = first
            .offset
            .checked_sub(1)
            .ok_or_else(|| bad("a bucket index out of range"))?;
        let mut dense = Vec::with_capacity(counts.len() + gaps as usize);
        let mut rest = &counts[..];
        for (index, run) in self.spans.iter().enumerate() {
            if index > 0 {
                dense.resize(dense.len() + run.offset as usize, 0.0);
            }
            let (taken, after) = rest.split_at(run.len as usize);
            dense.extend_from_slice(taken);
            rest = after;
        }
        if i32::try_from(i64::from(offset) + dense.len() as i64).is_err() {
            return Err(bad("a bucket index out of range"));
        }
        Ok((
            ExponentialBuckets {
                offset,
                counts: dense,
            },
            total,
        ))
    }

    fn counts(&self) -> Result<(Vec<f64>, i128), Refusal> {
        if self.deltas.is_empty() {
            if !self.counts.iter().all(|count| is_count(*count)) {
                return Err(bad("a bucket with a negative or infinite count"));
            }
            return Ok((self.counts.clone(), 0));
        }
        let mut count = 0i128;
        let mut total = 0i128;
        let mut counts = Vec::with_capacity(self.deltas.len());
        for delta in &self.deltas {
            count += i128::from(*delta);
            if count < 0 {
                return Err(bad("a bucket with a negative count"));
            }
            total += count;
            counts.push(count as f64);
        }
        Ok((counts, total))
    }
}

/// Prometheus lets the count exceed the buckets only where the sum is NaN: observed NaNs count, but
/// belong to no bucket.
fn check_total(count: Option<u64>, sum: f64, total: i128) -> Result<(), Refusal> {
    match count.map(i128::from) {
        Some(count) if count < total || (count > total && !sum.is_nan()) => Err(bad(format!(
            "a count of {count} with {total} in its buckets"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn is_count(count: f64) -> bool {
    count >= 0.0 && count.is_finite()
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::new(RejectReason::BadHistogram, detail)
}

fn over_limit(detail: &str) -> Refusal {
    Refusal::new(RejectReason::OverLimit, detail)
}
