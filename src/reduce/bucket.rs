//! The samples of a bucket that is still open: appended as they come, sorted when it closes.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::event::{ExponentialBuckets, Histogram, Temporality, Timestamp};

use super::LossReason;

/// So many samples, and so many for each selected series, may lie in a bucket of one shard before it is
/// looked through for those over the limit.
const UNCHECKED: usize = 8_192;
const UNCHECKED_PER_SERIES: usize = 16;

/// One sample of a selected series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Which of the selected series: a slot in its shard, or its id.
    pub(super) series: u32,
    /// Twice one more than the index of its distribution, 0 for a number; and one for delta temporality.
    tail: u32,
    pub(super) at: Timestamp,
    /// [`Timestamp::MIN`] where it is not told.
    start: Timestamp,
    /// Finite.
    pub(super) value: f64,
}

/// Samples of one open bucket.
///
/// Bounded without depending on the order of arrival: when too many have piled up, what
/// [`settle`] would drop in the end is dropped early. Of a series the earliest times stay, and a time
/// that is not among the earliest so far never will be.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    pub(super) buffer: Vec<Sample>,
    /// Consistent and normalized.
    pub(super) histograms: Vec<Histogram>,
    per_series_max: usize,
    settle_at: usize,
}

/// Samples that were dropped, by series and reason, and how many were delivered twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) losses: BTreeMap<(u32, LossReason), u64>,
    pub(super) duplicates: u64,
}

impl Sample {
    #[inline]
    pub(super) fn new(
        series: u32,
        temporality: Temporality,
        at: Timestamp,
        start: Timestamp,
        value: f64,
    ) -> Self {
        Self {
            series,
            tail: u32::from(temporality == Temporality::Delta),
            at,
            start,
            value,
        }
    }

    pub(super) fn temporality(&self) -> Temporality {
        if self.tail & 1 == 1 {
            Temporality::Delta
        } else {
            Temporality::Cumulative
        }
    }

    pub(super) fn start(&self) -> Option<Timestamp> {
        (self.start != Timestamp::MIN).then_some(self.start)
    }

    /// Where its distribution stands, if it is one.
    pub(super) fn histogram(&self) -> Option<usize> {
        (self.tail as usize >> 1).checked_sub(1)
    }

    fn set_histogram(&mut self, index: usize) {
        self.tail = (index as u32 + 1) << 1 | self.tail & 1;
    }
}

impl Samples {
    /// An empty bucket that uses the memory of an earlier one.
    pub(super) fn new(mut spare: Vec<Sample>, per_series_max: usize, selected: usize) -> Self {
        spare.clear();
        Self {
            buffer: spare,
            histograms: Vec::new(),
            per_series_max: per_series_max.max(1),
            settle_at: UNCHECKED.saturating_add(UNCHECKED_PER_SERIES.saturating_mul(selected)),
        }
    }

    /// Appends a number.
    #[inline]
    pub(super) fn push(&mut self, sample: Sample, dropped: &mut Dropped) {
        self.buffer.push(sample);
        if self.settle_at <= self.buffer.len() {
            self.settle(dropped);
        }
    }

    /// Appends a distribution.
    pub(super) fn push_histogram(
        &mut self,
        mut sample: Sample,
        histogram: Histogram,
        dropped: &mut Dropped,
    ) {
        sample.set_histogram(self.histograms.len());
        self.histograms.push(histogram);
        self.push(sample, dropped);
    }

    /// Takes in the samples of another shard, with their series named anew; those without a name are
    /// left out.
    pub(super) fn absorb(&mut self, other: Self, name: impl Fn(u32) -> Option<u32>) -> Vec<Sample> {
        let histograms = self.histograms.len();
        let mut samples = other.buffer;
        self.buffer.reserve(samples.len());
        for sample in samples.drain(..) {
            let Some(series) = name(sample.series) else {
                continue;
            };
            let mut named = Sample { series, ..sample };
            if let Some(index) = sample.histogram() {
                named.set_histogram(index + histograms);
            }
            self.buffer.push(named);
        }
        self.histograms.extend(other.histograms);
        samples
    }

    /// Sorts by series and time, and leaves one sample for each time and at most the limit for each
    /// series.
    fn settle(&mut self, dropped: &mut Dropped) {
        self.buffer.sort_unstable_by_key(|sample| sample.series);
        let mut kept = Vec::with_capacity(self.buffer.len());
        for run in self.buffer.chunk_by_mut(|a, b| a.series == b.series) {
            let len = settle_run(run, &self.histograms, self.per_series_max, dropped);
            kept.extend_from_slice(&run[..len]);
        }
        self.buffer = kept;
        let histograms = std::mem::take(&mut self.histograms);
        let mut histograms: Vec<Option<Histogram>> = histograms.into_iter().map(Some).collect();
        for sample in &mut self.buffer {
            let histogram = sample
                .histogram()
                .and_then(|index| histograms[index].take());
            if let Some(histogram) = histogram {
                sample.set_histogram(self.histograms.len());
                self.histograms.push(histogram);
            }
        }
        // Twice what is rightly here: sorting stays a constant factor, memory does too.
        self.settle_at = self.settle_at.max(self.buffer.len().saturating_mul(2));
    }

    /// Sorts the samples of one series by time, leaves one for each time and at most the limit; gives how
    /// many are left at the front.
    pub(super) fn settle_series(
        run: &mut [Sample],
        histograms: &[Histogram],
        per_series_max: usize,
        dropped: &mut Dropped,
    ) -> usize {
        settle_run(run, histograms, per_series_max.max(1), dropped)
    }
}

fn settle_run(
    run: &mut [Sample],
    histograms: &[Histogram],
    per_series_max: usize,
    dropped: &mut Dropped,
) -> usize {
    if let [_] = run {
        return 1;
    }
    run.sort_unstable_by(|a, b| total_order(a, b, histograms));
    let mut len = 0;
    for index in 0..run.len() {
        let sample = run[index];
        match run[..len].last() {
            Some(kept) if kept.at == sample.at => {
                if compare_data(kept, &sample, histograms).is_eq() {
                    dropped.duplicates += 1;
                } else {
                    dropped.count(sample.series, LossReason::Duplicate);
                }
                // The larger stays, and it comes later.
                run[len - 1] = sample;
            }
            Some(_) | None => {
                run[len] = sample;
                len += 1;
            }
        }
    }
    let kept = len.min(per_series_max);
    for sample in &run[kept..len] {
        dropped.count(sample.series, LossReason::OverLimit);
    }
    kept
}

impl Dropped {
    fn count(&mut self, series: u32, reason: LossReason) {
        *self.losses.entry((series, reason)).or_default() += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.losses.is_empty() && self.duplicates == 0
    }
}

fn total_order(a: &Sample, b: &Sample, histograms: &[Histogram]) -> Ordering {
    a.at.cmp(&b.at)
        .then_with(|| compare_data(a, b, histograms))
        .then_with(|| a.start.cmp(&b.start))
        .then_with(|| a.temporality().cmp(&b.temporality()))
}

/// A total order in which only equal data are equal: numbers first, then distributions by count.
fn compare_data(a: &Sample, b: &Sample, histograms: &[Histogram]) -> Ordering {
    match (a.histogram(), b.histogram()) {
        (None, None) => a.value.total_cmp(&b.value),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => compare_histograms(&histograms[a], &histograms[b]),
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
