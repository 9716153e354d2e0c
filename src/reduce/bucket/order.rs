//! In which order the samples of a series stand, whatever order they came in.

use std::cmp::Ordering;

use super::Sample;
use crate::event::{ExponentialBuckets, Histogram};

/// By time, then by what they hold.
pub(super) fn total_order(a: &Sample, b: &Sample, histograms: &[Histogram]) -> Ordering {
    a.at.cmp(&b.at)
        .then_with(|| compare_data(a, b, histograms))
        .then_with(|| a.start.cmp(&b.start))
        .then_with(|| a.temporality().cmp(&b.temporality()))
        .then_with(|| (a.kind(), a.unit()).cmp(&(b.kind(), b.unit())))
}

/// A total order in which only equal data are equal: numbers first, then distributions by count.
pub(super) fn compare_data(a: &Sample, b: &Sample, histograms: &[Histogram]) -> Ordering {
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
