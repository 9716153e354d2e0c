//! The samples of a bucket that is still open: appended as they come, sorted when it closes.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::event::{ExponentialBuckets, Histogram, Temporality, Timestamp};

use super::LossReason;

/// So many samples, and so many for each selected series, may lie in a bucket of one shard before it is
/// looked through for those over the limit.
const UNCHECKED: usize = 8_192;
const UNCHECKED_PER_SERIES: usize = 16;
/// Samples of a chunk: 32 KiB.
const CHUNK_SAMPLES: usize = 1_024;

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
/// Bounded without depending on the order of arrival: when too many have piled up, what settling would
/// drop in the end is dropped early. Of a series the earliest times stay, and a time that is not among
/// the earliest so far never will be.
///
/// They lie in chunks, so that nothing is moved while the bucket grows, and the memory of one bucket is
/// used for the next.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    chunks: Vec<Vec<Sample>>,
    len: usize,
    /// Consistent and normalized.
    histograms: Vec<Histogram>,
    per_series_max: usize,
    settle_at: usize,
}

/// Chunks that wait to be used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Vec<Vec<Sample>>);

/// The samples of one bucket from all shards, with their series named.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    pub(super) samples: Vec<Sample>,
    pub(super) histograms: Vec<Histogram>,
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
    /// An empty bucket.
    pub(super) fn new(per_series_max: usize, selected: usize) -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            histograms: Vec::new(),
            per_series_max: per_series_max.max(1),
            settle_at: UNCHECKED.saturating_add(UNCHECKED_PER_SERIES.saturating_mul(selected)),
        }
    }

    /// Appends a number.
    #[inline]
    pub(super) fn push(&mut self, sample: Sample, spare: &mut Spare, dropped: &mut Dropped) {
        self.append(sample, spare);
        if self.settle_at <= self.len {
            self.settle(spare, dropped);
        }
    }

    /// Appends a distribution.
    pub(super) fn push_histogram(
        &mut self,
        mut sample: Sample,
        histogram: Histogram,
        spare: &mut Spare,
        dropped: &mut Dropped,
    ) {
        sample.set_histogram(self.histograms.len());
        self.histograms.push(histogram);
        self.push(sample, spare, dropped);
    }

    /// How many chunks it holds.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    #[inline]
    fn append(&mut self, sample: Sample, spare: &mut Spare) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_SAMPLES => chunk.push(sample),
            Some(_) | None => {
                let mut chunk = spare.take();
                chunk.push(sample);
                self.chunks.push(chunk);
            }
        }
    }

    /// Sorts by series and time, and leaves one sample for each time and at most the limit for each
    /// series.
    fn settle(&mut self, spare: &mut Spare, dropped: &mut Dropped) {
        let mut samples: Vec<Sample> = self.chunks.concat();
        samples.sort_unstable_by_key(|sample| sample.series);
        for mut chunk in self.chunks.drain(..) {
            chunk.clear();
            spare.0.push(chunk);
        }
        self.len = 0;
        let histograms = std::mem::take(&mut self.histograms);
        let mut kept_histograms = Vec::new();
        for run in samples.chunk_by_mut(|a, b| a.series == b.series) {
            let len = settle_run(run, &histograms, self.per_series_max, dropped);
            for sample in &run[..len] {
                let mut sample = *sample;
                if let Some(index) = sample.histogram() {
                    sample.set_histogram(kept_histograms.len());
                    kept_histograms.push(histograms[index].clone());
                }
                self.append(sample, spare);
            }
        }
        self.histograms = kept_histograms;
        // Twice what is rightly here: sorting stays a constant factor, memory does too.
        self.settle_at = self.settle_at.max(self.len.saturating_mul(2));
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

impl Spare {
    fn take(&mut self) -> Vec<Sample> {
        self.0
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(CHUNK_SAMPLES))
    }

    /// Takes in the chunks of another.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Gives memory back beyond so many chunks.
    pub(super) fn keep(&mut self, chunks_max: usize) {
        self.0.truncate(chunks_max);
    }
}

impl Gathered {
    /// Takes in the samples of a shard, with their series named; those without a name are left out. The
    /// chunks go to `spare`, as long as there are not more than twice as many as this bucket had.
    pub(super) fn absorb(
        &mut self,
        samples: Samples,
        spare: &mut Spare,
        name: impl Fn(u32) -> Option<u32>,
    ) {
        let histograms = self.histograms.len();
        let chunks_max = samples.chunks.len() * 2;
        self.samples.reserve(samples.len);
        for mut chunk in samples.chunks {
            for sample in chunk.drain(..) {
                let Some(series) = name(sample.series) else {
                    continue;
                };
                let mut named = Sample { series, ..sample };
                if let Some(index) = sample.histogram() {
                    named.set_histogram(index + histograms);
                }
                self.samples.push(named);
            }
            if spare.0.len() < chunks_max {
                spare.0.push(chunk);
            }
        }
        self.histograms.extend(samples.histograms);
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
