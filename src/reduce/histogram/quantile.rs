//! Quantiles of distributions, with the same conventions as Prometheus.

use crate::event::{ExponentialBuckets, Histogram};

use super::exponential::{bound_at, upper_bound};

/// The value below which a share `q` (0 to 1) of the distribution lies; `None` for an empty
/// distribution, for a share outside of 0 to 1, and where only an unbounded bucket exists.
///
/// Inside an explicit bucket values are taken as evenly spread, from 0 in the first one if its
/// bound is positive; a quantile in the `+Inf` bucket is the highest bound. Inside an exponential
/// bucket they are taken as evenly spread on the logarithm.
pub fn quantile(histogram: &Histogram, q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let total = histogram.count();
    if !total.is_finite() || total <= 0.0 {
        return None;
    }
    let rank = q * total;
    match histogram {
        Histogram::Explicit { bounds, counts, .. } => explicit(bounds, counts, rank),
        Histogram::Exponential {
            scale,
            zero_count,
            zero_threshold,
            positive,
            negative,
            ..
        } => exponential(
            *scale,
            (*zero_count, *zero_threshold),
            positive,
            negative,
            rank,
        ),
    }
}

/// The highest bound of explicit buckets, where a quantile lies beyond it: how far beyond nobody knows.
pub fn beyond(histogram: &Histogram, q: f64) -> Option<f64> {
    let Histogram::Explicit { bounds, counts, .. } = histogram else {
        return None;
    };
    let rank = q * histogram.count();
    let (index, share) = locate(counts.iter().copied(), rank)?;
    let highest = bounds.last().copied()?;
    (index == bounds.len() && 0.0 < share).then_some(highest)
}

/// Looks for the populated bucket in which the rank lies: its index, and the share of it that lies
/// below the rank. Rounding may leave the rank above all buckets: then it is the end of the last.
fn locate(counts: impl Iterator<Item = f64>, rank: f64) -> Option<(usize, f64)> {
    let mut below = 0.0;
    let mut last = None;
    for (index, count) in counts.enumerate() {
        if count <= 0.0 {
            continue;
        }
        if below + count >= rank {
            return Some((index, ((rank - below) / count).clamp(0.0, 1.0)));
        }
        below += count;
        last = Some((index, 1.0));
    }
    last
}

fn explicit(bounds: &[f64], counts: &[f64], rank: f64) -> Option<f64> {
    let (index, share) = locate(counts.iter().copied(), rank)?;
    let Some(upper) = bounds.get(index) else {
        return bounds.last().copied();
    };
    let lower = match index.checked_sub(1) {
        Some(before) => bounds[before],
        None if *upper <= 0.0 => return Some(*upper),
        None => 0.0,
    };
    // Written so that bounds near the ends of the doubles cannot overflow.
    let value = lower * (1.0 - share) + upper * share;
    Some(value.max(lower).min(*upper))
}

fn exponential(
    scale: i32,
    (zero_count, zero_threshold): (f64, f64),
    positive: &ExponentialBuckets,
    negative: &ExponentialBuckets,
    rank: f64,
) -> Option<f64> {
    let negatives = negative.counts.len();
    let ascending = negative.counts.iter().rev().copied();
    let ascending = ascending
        .chain([zero_count])
        .chain(positive.counts.iter().copied());
    let (place, share) = locate(ascending, rank)?;
    if place < negatives {
        let index = i64::from(negative.offset) + (negatives - 1 - place) as i64;
        return Some(-inside(index, 1.0 - share, scale, zero_threshold));
    }
    if place > negatives {
        let index = i64::from(positive.offset) + (place - negatives - 1) as i64;
        return Some(inside(index, share, scale, zero_threshold));
    }
    let holds = |buckets: &ExponentialBuckets| buckets.counts.iter().any(|count| *count > 0.0);
    let lower = if holds(negative) {
        -zero_threshold
    } else {
        0.0
    };
    let upper = if holds(negative) && !holds(positive) {
        0.0
    } else {
        zero_threshold
    };
    Some(lower * (1.0 - share) + upper * share)
}

/// The magnitude at a share of a bucket. The zero bucket may reach into it.
fn inside(index: i64, share: f64, scale: i32, zero_threshold: f64) -> f64 {
    let upper = upper_bound(index, scale);
    let lower = bound_at(index as f64, scale).max(zero_threshold).min(upper);
    bound_at(index as f64 + share, scale).clamp(lower, upper)
}
