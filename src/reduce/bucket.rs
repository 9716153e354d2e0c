//! The samples of a bucket that is still open: appended as they come, sorted when it closes.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::event::{ExponentialBuckets, Histogram, Temporality, Timestamp};

use super::LossReason;

/// So many samples, and so many for each selected series, may lie in a bucket before it is looked
/// through for those over the limit.
const UNCHECKED: usize = 65_536;
const UNCHECKED_PER_SERIES: usize = 16;

/// One sample of a selected series.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Which of the selected series.
    pub(super) slot: u32,
    pub(super) temporality: Temporality,
    pub(super) at: Timestamp,
    pub(super) start: Option<Timestamp>,
    pub(super) datum: Datum,
}

/// A value that counts as data.
#[derive(Clone, Debug)]
pub(super) enum Datum {
    /// Finite.
    Number(f64),
    /// Consistent and normalized.
    Histogram(Box<Histogram>),
}

/// Samples of one open bucket.
///
/// Bounded without depending on the order of arrival: when too many have piled up, what
/// [`Samples::settle`] would drop in the end is dropped early. Of a series the earliest times stay,
/// and a time that is not among the earliest so far never will be.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    buffer: Vec<Sample>,
    per_series_max: usize,
    settle_at: usize,
}

/// Samples that were dropped, by slot and reason, and how many were delivered twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) losses: BTreeMap<(u32, LossReason), u64>,
    pub(super) duplicates: u64,
}

impl Samples {
    /// An empty bucket that uses the memory of an earlier one.
    pub(super) fn new(mut spare: Vec<Sample>, per_series_max: usize, selected: usize) -> Self {
        spare.clear();
        Self {
            buffer: spare,
            per_series_max: per_series_max.max(1),
            settle_at: UNCHECKED.saturating_add(UNCHECKED_PER_SERIES.saturating_mul(selected)),
        }
    }

    pub(super) fn push(&mut self, sample: Sample, dropped: &mut Dropped) {
        self.buffer.push(sample);
        if self.settle_at <= self.buffer.len() {
            self.settle(dropped);
            // Twice what is rightly here: sorting stays a constant factor, memory does too.
            self.settle_at = self.settle_at.max(self.buffer.len().saturating_mul(2));
        }
    }

    /// Sorts by series and time, and leaves one sample for each time and at most the limit for each
    /// series.
    fn settle(&mut self, dropped: &mut Dropped) {
        self.buffer.sort_unstable_by(total_order);
        self.buffer.dedup_by(|later, kept| {
            let same_time = (later.slot, later.at) == (kept.slot, kept.at);
            if same_time {
                if compare_data(&later.datum, &kept.datum).is_eq() {
                    dropped.duplicates += 1;
                } else {
                    dropped.count(kept.slot, LossReason::Duplicate);
                }
                // The larger stays, and it comes later.
                std::mem::swap(later, kept);
            }
            same_time
        });
        let (mut slot, mut seen) = (None, 0);
        self.buffer.retain(|sample| {
            if slot != Some(sample.slot) {
                (slot, seen) = (Some(sample.slot), 0);
            }
            seen += 1;
            let keep = seen <= self.per_series_max;
            if !keep {
                dropped.count(sample.slot, LossReason::OverLimit);
            }
            keep
        });
    }

    /// Closes the bucket: its samples, ascending by series and time, each time once.
    pub(super) fn close(mut self, dropped: &mut Dropped) -> Vec<Sample> {
        self.settle(dropped);
        self.buffer
    }
}

impl Dropped {
    fn count(&mut self, slot: u32, reason: LossReason) {
        *self.losses.entry((slot, reason)).or_default() += 1;
    }
}

fn total_order(a: &Sample, b: &Sample) -> Ordering {
    a.slot
        .cmp(&b.slot)
        .then(a.at.cmp(&b.at))
        .then_with(|| compare_data(&a.datum, &b.datum))
        .then_with(|| a.start.cmp(&b.start))
        .then_with(|| a.temporality.cmp(&b.temporality))
}

/// A total order in which only equal data are equal: numbers first, then distributions by count.
fn compare_data(a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Number(a), Datum::Number(b)) => a.total_cmp(b),
        (Datum::Number(_), Datum::Histogram(_)) => Ordering::Less,
        (Datum::Histogram(_), Datum::Number(_)) => Ordering::Greater,
        (Datum::Histogram(a), Datum::Histogram(b)) => compare_histograms(a, b),
    }
}

fn compare_histograms(a: &Histogram, b: &Histogram) -> Ordering {
    let by_total = a
        .count()
        .total_cmp(&b.count())
        .then_with(|| compare_sums(a.sum(), b.sum()));
    by_total.then_with(|| match (a, b) {
        (
            Histogram::Explicit { bounds, counts, .. },
            Histogram::Explicit {
                bounds: b_bounds,
                counts: b_counts,
                ..
            },
        ) => compare_all(bounds, b_bounds).then_with(|| compare_all(counts, b_counts)),
        (Histogram::Explicit { .. }, Histogram::Exponential { .. }) => Ordering::Less,
        (Histogram::Exponential { .. }, Histogram::Explicit { .. }) => Ordering::Greater,
        (
            Histogram::Exponential {
                scale,
                zero_count,
                zero_threshold,
                positive,
                negative,
                ..
            },
            Histogram::Exponential {
                scale: b_scale,
                zero_count: b_zero_count,
                zero_threshold: b_zero_threshold,
                positive: b_positive,
                negative: b_negative,
                ..
            },
        ) => scale
            .cmp(b_scale)
            .then_with(|| zero_count.total_cmp(b_zero_count))
            .then_with(|| zero_threshold.total_cmp(b_zero_threshold))
            .then_with(|| compare_buckets(positive, b_positive))
            .then_with(|| compare_buckets(negative, b_negative)),
    })
}

fn compare_buckets(a: &ExponentialBuckets, b: &ExponentialBuckets) -> Ordering {
    a.offset
        .cmp(&b.offset)
        .then_with(|| compare_all(&a.counts, &b.counts))
}

fn compare_sums(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn compare_all(a: &[f64], b: &[f64]) -> Ordering {
    let lengths = a.len().cmp(&b.len());
    let mut values = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    lengths.then_with(|| {
        values
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    })
}
