//! Exponential distributions: brought to one scale and one zero bucket, then added or subtracted.

use crate::event::{ExponentialBuckets, Histogram};

use super::{EXPONENTIAL_BUCKETS_MAX, difference_of, gain, sum_of, tolerance};

/// An exponential histogram, borrowed.
#[derive(Clone, Copy)]
struct View<'a> {
    scale: i32,
    zero_count: f64,
    zero_threshold: f64,
    positive: &'a ExponentialBuckets,
    negative: &'a ExponentialBuckets,
    sum: Option<f64>,
}

/// What two histograms have in common once both are made coarse enough.
#[derive(Clone, Copy)]
struct Common {
    scale: i32,
    /// By how many bits the indices of each of the two shrink.
    shifts: [u32; 2],
    zero_threshold: f64,
    /// Buckets up to this index lie in the zero bucket.
    zero_index: i64,
}

impl<'a> View<'a> {
    fn of(histogram: &'a Histogram) -> Self {
        match histogram {
            Histogram::Exponential {
                scale,
                zero_count,
                zero_threshold,
                positive,
                negative,
                sum,
            } => Self {
                scale: *scale,
                zero_count: *zero_count,
                zero_threshold: *zero_threshold,
                positive,
                negative,
                sum: *sum,
            },
            Histogram::Explicit { .. } => {
                unreachable!("the caller has matched both as exponential")
            }
        }
    }
}

/// Adds `other` to `into`; both are exponential.
pub(super) fn merge(into: &mut Histogram, other: &Histogram) {
    if !add_in_place(into, other) {
        let (view, other) = (View::of(into), View::of(other));
        *into = combine(view, other, 1.0, sum_of(view.sum, other.sum));
    }
}

/// What was gained from `older` to `newer`, both exponential; `None` after a restart.
pub(super) fn subtract(newer: &Histogram, older: &Histogram) -> Option<Histogram> {
    let tolerance = tolerance(older);
    let (view, older) = (View::of(newer), View::of(older));
    let mut result = combine(view, older, -1.0, difference_of(view.sum, older.sum));
    if let Histogram::Exponential {
        zero_count,
        positive,
        negative,
        ..
    } = &mut result
    {
        *zero_count = gain(*zero_count, tolerance)?;
        for buckets in [positive, negative] {
            for count in &mut buckets.counts {
                *count = gain(*count, tolerance)?;
            }
            trim(buckets);
        }
    }
    Some(result)
}

/// The same histogram without empty outer buckets, within the limit.
pub(super) fn normalized(histogram: &Histogram) -> Histogram {
    let view = View::of(histogram);
    let nothing = ExponentialBuckets::default();
    let empty = View {
        zero_count: 0.0,
        positive: &nothing,
        negative: &nothing,
        ..view
    };
    combine(view, empty, 1.0, view.sum)
}

/// The usual case without allocation: same scale, same zero bucket, and no bucket outside of those
/// that `into` has. Says whether it was that case.
fn add_in_place(into: &mut Histogram, other: &Histogram) -> bool {
    let other = View::of(other);
    let Histogram::Exponential {
        scale,
        zero_count,
        zero_threshold,
        positive,
        negative,
        sum,
    } = into
    else {
        return false;
    };
    if *scale != other.scale
        || *zero_threshold != other.zero_threshold
        || !holds(positive, other.positive)
        || !holds(negative, other.negative)
    {
        return false;
    }
    *zero_count += other.zero_count;
    *sum = sum_of(*sum, other.sum);
    for (buckets, other) in [(positive, other.positive), (negative, other.negative)] {
        let skip = (i64::from(other.offset) - i64::from(buckets.offset)).max(0) as usize;
        for (count, other_count) in buckets.counts.iter_mut().skip(skip).zip(&other.counts) {
            *count += other_count;
        }
        trim(buckets);
    }
    true
}

fn holds(buckets: &ExponentialBuckets, other: &ExponentialBuckets) -> bool {
    let end =
        |buckets: &ExponentialBuckets| i64::from(buckets.offset) + buckets.counts.len() as i64;
    buckets.counts.len() <= EXPONENTIAL_BUCKETS_MAX
        && (other.counts.is_empty()
            || (buckets.offset <= other.offset && end(other) <= end(buckets)))
}

/// `a + sign × b`, bucket by bucket.
fn combine(a: View<'_>, b: View<'_>, sign: f64, sum: Option<f64>) -> Histogram {
    let common = align(a, b);
    let mut zero_count = a.zero_count + sign * b.zero_count;
    let mut add = |of_a: &ExponentialBuckets, of_b: &ExponentialBuckets| {
        let parts = [
            (of_a, common.shifts[0], 1.0),
            (of_b, common.shifts[1], sign),
        ];
        fill(parts, common.zero_index, &mut zero_count)
    };
    let (positive, negative) = (add(a.positive, b.positive), add(a.negative, b.negative));
    Histogram::Exponential {
        scale: common.scale,
        zero_count,
        zero_threshold: common.zero_threshold,
        positive,
        negative,
        sum,
    }
}

/// Finds the finest scale at which both fit the limit, and a zero bucket that ends at a bucket's
/// bound, so that no bucket is in it by half.
fn align(a: View<'_>, b: View<'_>) -> Common {
    let meeting = a.scale.min(b.scale);
    let range = |of_a: &ExponentialBuckets, of_b: &ExponentialBuckets| {
        let parts = [(of_a, a.scale), (of_b, b.scale)];
        parts
            .into_iter()
            .filter_map(|(buckets, scale)| {
                let (first, last) = populated(buckets)?;
                let shift = shift(scale, meeting);
                Some((first >> shift, last >> shift))
            })
            .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    };
    let ranges = [range(a.positive, b.positive), range(a.negative, b.negative)];
    let fits = |coarser: &i32| {
        ranges.iter().flatten().all(|(first, last)| {
            let (first, last) = (first >> coarser, last >> coarser);
            last - first < EXPONENTIAL_BUCKETS_MAX as i64
                && i32::try_from(first).is_ok()
                && i32::try_from(last).is_ok()
        })
    };
    let coarser = (0..63).find(fits).unwrap_or(63);
    let scale = meeting.saturating_sub(coarser);
    let shifts = [a.scale, b.scale].map(|of| (shift(of, meeting) + coarser as u32).min(63));
    let zero_threshold = a.zero_threshold.max(b.zero_threshold);
    if zero_threshold <= 0.0 {
        return Common {
            scale,
            shifts,
            zero_threshold,
            zero_index: i64::MIN,
        };
    }
    let index = index_of_bound(zero_threshold, scale);
    let bound = upper_bound(index, scale);
    let alike = a.zero_threshold == b.zero_threshold && scale == a.scale && scale == b.scale;
    if alike && bound != zero_threshold {
        // In both, the bucket in which the zero bucket ends holds only what is above it.
        return Common {
            scale,
            shifts,
            zero_threshold,
            zero_index: index - 1,
        };
    }
    Common {
        scale,
        shifts,
        zero_threshold: bound,
        zero_index: index,
    }
}

/// By how many bits an index shrinks from one scale to a coarser one.
fn shift(scale: i32, coarser: i32) -> u32 {
    (i64::from(scale) - i64::from(coarser)).clamp(0, 63) as u32
}

/// The indices of the first and the last bucket that hold something.
fn populated(buckets: &ExponentialBuckets) -> Option<(i64, i64)> {
    let first = buckets.counts.iter().position(|count| *count != 0.0)?;
    let last = buckets.counts.iter().rposition(|count| *count != 0.0)?;
    let offset = i64::from(buckets.offset);
    Some((offset + first as i64, offset + last as i64))
}

/// Adds both parts into new buckets; what lies in the zero bucket goes to `zero_count`.
fn fill(
    parts: [(&ExponentialBuckets, u32, f64); 2],
    zero_index: i64,
    zero_count: &mut f64,
) -> ExponentialBuckets {
    let range = parts
        .iter()
        .filter_map(|(buckets, shift, _)| {
            let (first, last) = populated(buckets)?;
            let first = (first >> shift).max(zero_index.saturating_add(1));
            Some((first, last >> shift))
        })
        .filter(|(first, last)| first <= last)
        .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
    let mut result = ExponentialBuckets::default();
    if let Some((first, last)) = range {
        // The scale was chosen so that this many fit the limit, and the first index 32 bits.
        let len = usize::try_from(last - first + 1).unwrap_or(0);
        result.counts = vec![0.0; len.min(EXPONENTIAL_BUCKETS_MAX)];
        result.offset = i32::try_from(first).unwrap_or(i32::MAX);
    }
    for (buckets, shift, sign) in parts {
        for (position, count) in buckets.counts.iter().enumerate() {
            let index = (i64::from(buckets.offset) + position as i64) >> shift;
            if *count == 0.0 {
                continue;
            }
            if index <= zero_index {
                *zero_count += sign * count;
                continue;
            }
            let place = usize::try_from(index - i64::from(result.offset)).ok();
            if let Some(place) = place.and_then(|place| result.counts.get_mut(place)) {
                *place += sign * count;
            }
        }
    }
    trim(&mut result);
    result
}

/// Takes empty outer buckets away.
fn trim(buckets: &mut ExponentialBuckets) {
    let Some(last) = buckets.counts.iter().rposition(|count| *count != 0.0) else {
        *buckets = ExponentialBuckets::default();
        return;
    };
    buckets.counts.truncate(last + 1);
    let first = buckets.counts.iter().position(|count| *count != 0.0);
    if let Some(first @ 1..) = first {
        buckets.counts.drain(..first);
        buckets.offset = buckets.offset.saturating_add(first as i32);
    }
}

/// The upper bound of a bucket, at most [`f64::MAX`].
pub(super) fn upper_bound(index: i64, scale: i32) -> f64 {
    bound_at(index as f64 + 1.0, scale)
}

/// `2^(position × 2^-scale)`, at most [`f64::MAX`]: a bound where the position is whole, a value
/// inside of a bucket where it is not.
pub(super) fn bound_at(position: f64, scale: i32) -> f64 {
    (position * f64::from(scale.saturating_neg()).exp2())
        .exp2()
        .min(f64::MAX)
}

/// The first bucket whose upper bound is at least the given (positive) value.
fn index_of_bound(value: f64, scale: i32) -> i64 {
    let position = value.log2() * f64::from(scale).exp2();
    // The logarithm may be off by a rounding either way, so begin below and look.
    let below = (position.floor() as i64).saturating_sub(3);
    (0..6)
        .map(|step| below.saturating_add(step))
        .find(|index| upper_bound(*index, scale) >= value)
        .unwrap_or(below.saturating_add(6))
}
