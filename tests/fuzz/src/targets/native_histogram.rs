//! Native histograms in a series that is right otherwise, compared with what prost decodes.

use prost::Message;

use crate::{
    common,
    decode::{Encoding, Format, remote_write},
    event::{ExponentialBuckets, Histogram, Value},
};

/// `prometheus.Histogram`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Wire {
    #[prost(oneof = "Count", tags = "1, 2")]
    count: Option<Count>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "Zeros", tags = "6, 7")]
    zeros: Option<Zeros>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum Count {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum Zeros {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let mut series = b"\x0a\x0d\x0a\x08__name__\x12\x01a\x22".to_vec();
    prost::encoding::encode_varint(bytes.len() as u64, &mut series);
    series.extend_from_slice(bytes);
    let mut request = vec![0x0a];
    prost::encoding::encode_varint(series.len() as u64, &mut request);
    request.extend(series);
    common::read(Format::RemoteWrite1, Encoding::Identity, &request).ok();

    let Ok(wire) = Wire::decode(bytes) else {
        return;
    };
    let batch = match remote_write::decode(&request) {
        Ok(batch) => batch,
        Err(error) => return assert!(common::is_odd(&error), "{error}"),
    };
    let points = batch.series.iter().flat_map(|block| &block.points);
    let told: Vec<String> = points
        .map(|point| format!("{} {:?}", point.at.nanos(), point.value))
        .collect();
    let expected = wire.timestamp.checked_mul(1_000_000).zip(wire.value());
    let expected = expected.map(|(at, value)| format!("{at} {value:?}"));
    assert_eq!(told, Vec::from_iter(expected), "{wire:?} {}", batch.rejects);
    assert_eq!(told.len() as u64 + batch.rejects.sample_count(), 1);
}

impl Wire {
    /// The value, if it can be used: the rules once more, told bucket by bucket.
    fn value(&self) -> Option<Value> {
        if self.sum.to_bits() == Value::STALE_BITS {
            return Some(Value::Stale);
        }
        let is_gauge = self.reset_hint == 3;
        if is_gauge || !matches!(self.schema, -4..=8 | -53) {
            return None;
        }
        let sum = Some(self.sum).filter(|sum| sum.is_finite());
        let positive = side(
            &self.positive_spans,
            &self.positive_deltas,
            &self.positive_counts,
        )?;
        let (zeros, zero_count) = match self.zeros {
            None => (0, 0.0),
            Some(Zeros::Integer(count)) => (count, count as f64),
            Some(Zeros::Float(count)) => (0, count),
        };
        if self.schema == -53 {
            let bounds = self.custom_values.clone();
            let are_good = bounds.iter().all(|bound| bound.is_finite())
                && bounds.windows(2).all(|two| two[0] < two[1]);
            if !are_good || !self.negative_spans.is_empty() || zero_count != 0.0 {
                return None;
            }
            self.check_total(positive.total)?;
            let mut counts = vec![0.0; bounds.len() + 1];
            for (index, count) in positive.buckets {
                *counts.get_mut(usize::try_from(index).ok()?)? = count;
            }
            return Some(Value::Histogram(Box::new(Histogram::Explicit {
                bounds,
                counts,
                sum,
            })));
        }
        let negative = side(
            &self.negative_spans,
            &self.negative_deltas,
            &self.negative_counts,
        )?;
        let is_bound = |number: f64| 0.0 <= number && number < f64::INFINITY;
        if !is_bound(zero_count) || !is_bound(self.zero_threshold) {
            return None;
        }
        self.check_total(positive.total + negative.total + i128::from(zeros))?;
        Some(Value::Histogram(Box::new(Histogram::Exponential {
            scale: self.schema,
            zero_count,
            zero_threshold: self.zero_threshold,
            positive: positive.dense(),
            negative: negative.dense(),
            sum,
        })))
    }

    /// Only integer counts are held against their buckets; where the sum is NaN there may be more.
    fn check_total(&self, total: i128) -> Option<()> {
        match self.count {
            Some(Count::Integer(count)) => {
                let count = i128::from(count);
                (count == total || self.sum.is_nan() && total < count).then_some(())
            }
            Some(Count::Float(_)) | None => Some(()),
        }
    }
}

/// Buckets by their index, the gaps between them among them, and the total of integer counts.
struct Side {
    /// Where the first span begins, even where all are empty; one less, as OTLP counts.
    offset: i32,
    buckets: Vec<(i64, f64)>,
    total: i128,
}

impl Side {
    fn dense(self) -> ExponentialBuckets {
        let counts: Vec<f64> = self.buckets.into_iter().map(|(_, count)| count).collect();
        ExponentialBuckets {
            offset: self.offset,
            counts,
        }
    }
}

fn side(spans: &[Span], deltas: &[i64], floats: &[f64]) -> Option<Side> {
    let mut total = 0;
    let mut counts = Vec::new();
    if deltas.is_empty() {
        counts.extend_from_slice(floats);
    } else {
        let mut count = 0i128;
        for delta in deltas {
            count += i128::from(*delta);
            total += count;
            counts.push(count as f64);
        }
    }
    if !counts
        .iter()
        .all(|count| 0.0 <= *count && *count < f64::INFINITY)
    {
        return None;
    }
    let told: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if told != counts.len() as u64 {
        return None;
    }
    let mut counts = counts.into_iter();
    let (mut index, mut buckets) = (0i64, Vec::new());
    for (number, span) in spans.iter().enumerate() {
        if number > 0 {
            for _ in 0..u32::try_from(span.offset).ok()? {
                buckets.push((index, 0.0));
                index += 1;
                if 8192 < buckets.len() {
                    return None;
                }
            }
        } else {
            index = i64::from(span.offset);
        }
        for count in counts.by_ref().take(span.length as usize) {
            buckets.push((index, count));
            index += 1;
        }
    }
    // With spans that are all empty the first still tells where the buckets would begin.
    let offset = spans
        .first()
        .map_or(Some(0), |span| span.offset.checked_sub(1))?;
    let is_in_range = i32::try_from(i64::from(offset) + buckets.len() as i64).is_ok();
    (is_in_range && buckets.len() <= 8192).then_some(Side {
        offset,
        buckets,
        total,
    })
}
