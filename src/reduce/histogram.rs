//! The algebra of distributions: adding, subtracting, and reading quantiles off them.

mod exponential;
mod quantile;

use std::fmt;

pub use quantile::{beyond, quantile};

use crate::event::Histogram;

/// How many exponential buckets of one sign a result holds at most; a wider one is made coarser
/// until it fits, so that a hostile offset cannot make us allocate.
pub const EXPONENTIAL_BUCKETS_MAX: usize = 4_096;

/// The most values a bucket can hold: protocols count them in 64 bits.
const BUCKET_COUNT_MAX: f64 = 18_446_744_073_709_551_616.0;

/// Two distributions that cannot be put together: one explicit and one exponential, or two
/// explicit ones with different bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("histograms have different buckets: use the same bounds on every host")
    }
}

impl std::error::Error for Incompatible {}

/// What is wrong with a single distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A count or bound that is NaN or infinite.
    NotFinite,
    /// Parts that contradict each other.
    Inconsistent,
}

/// Adds the values of `other` to `into`.
///
/// Commutative and associative, up to the rounding of sums. Exponential distributions meet at the
/// coarser scale and the wider zero bucket.
///
/// # Errors
/// The distributions have different buckets; `into` is left as it was.
pub fn merge(into: &mut Histogram, other: &Histogram) -> Result<(), Incompatible> {
    match (&mut *into, other) {
        (
            Histogram::Explicit {
                bounds,
                counts,
                sum,
            },
            Histogram::Explicit {
                bounds: other_bounds,
                counts: other_counts,
                sum: other_sum,
            },
        ) => {
            if bounds != other_bounds || counts.len() != other_counts.len() {
                return Err(Incompatible);
            }
            for (count, other_count) in counts.iter_mut().zip(other_counts) {
                *count += other_count;
            }
            *sum = sum_of(*sum, *other_sum);
            Ok(())
        }
        (Histogram::Exponential { .. }, Histogram::Exponential { .. }) => {
            exponential::merge(into, other);
            Ok(())
        }
        (Histogram::Explicit { .. }, Histogram::Exponential { .. })
        | (Histogram::Exponential { .. }, Histogram::Explicit { .. }) => Err(Incompatible),
    }
}

/// What a cumulative distribution gained from `older` to `newer`; `None` when it cannot have grown
/// from the one to the other (a bucket lost values, or the buckets differ), which means that it
/// restarted in between.
pub fn subtract(newer: &Histogram, older: &Histogram) -> Option<Histogram> {
    match (newer, older) {
        (
            Histogram::Explicit {
                bounds,
                counts,
                sum,
            },
            Histogram::Explicit {
                bounds: older_bounds,
                counts: older_counts,
                sum: older_sum,
            },
        ) => {
            if bounds != older_bounds || counts.len() != older_counts.len() {
                return None;
            }
            let tolerance = tolerance(older);
            let counts = counts
                .iter()
                .zip(older_counts)
                .map(|(count, older_count)| gain(count - older_count, tolerance))
                .collect::<Option<Vec<f64>>>()?;
            Some(Histogram::Explicit {
                bounds: bounds.clone(),
                counts,
                sum: difference_of(*sum, *older_sum),
            })
        }
        (Histogram::Exponential { .. }, Histogram::Exponential { .. }) => {
            exponential::subtract(newer, older)
        }
        (Histogram::Explicit { .. }, Histogram::Exponential { .. })
        | (Histogram::Exponential { .. }, Histogram::Explicit { .. }) => None,
    }
}

/// Builds a distribution from Prometheus' classic buckets: for each `le`, how many values at most
/// that large came in. `None` without a `+Inf` bucket.
///
/// Buckets of one histogram are separate series and may be scraped or lost apart, so counts that
/// fall with rising `le` are lifted to the one before (as Prometheus does); equal bounds written
/// differently (`1`, `1.0`) are added up. What is not a number is left out.
pub fn from_cumulative_buckets(mut buckets: Vec<(f64, f64)>) -> Option<Histogram> {
    buckets.retain(|(bound, count)| {
        (bound.is_finite() || *bound == f64::INFINITY) && count.is_finite()
    });
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    buckets.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 += later.1;
        }
        same
    });
    if buckets.last()?.0 != f64::INFINITY {
        return None;
    }
    let mut below = 0.0;
    let counts = buckets
        .iter()
        .map(|(_, cumulative)| {
            let reached = cumulative.max(below);
            let count = reached - below;
            below = reached;
            count
        })
        .collect();
    buckets.pop();
    Some(Histogram::Explicit {
        bounds: buckets.into_iter().map(|(bound, _)| bound).collect(),
        counts,
        sum: None,
    })
}

/// An explicit distribution over some of its bounds: what lies between them stays together, so that nothing is
/// guessed. Others are left as they are.
pub fn coarsened(histogram: Histogram, shared: &[f64]) -> Histogram {
    let Histogram::Explicit {
        bounds,
        counts,
        sum,
    } = histogram
    else {
        return histogram;
    };
    let mut coarse = vec![0.0; shared.len() + 1];
    let uppers = bounds.iter().copied().chain([f64::INFINITY]);
    for (upper, count) in uppers.zip(counts) {
        coarse[shared.partition_point(|bound| *bound < upper)] += count;
    }
    Histogram::Explicit {
        bounds: shared.to_vec(),
        counts: coarse,
        sum,
    }
}

/// The most, as a share of all values, that may lie in the bucket of a quantile over coarser bounds: where nearly
/// all lie in one, the quantile moves with nothing.
const COARSE_SHARE_MAX: f64 = 0.75;

/// Whether a quantile says something over coarser bounds: it lies in a bucket that the distribution had before as
/// well, or in a bounded one beside which enough values lie.
pub fn tells(coarse: &Histogram, own: &[f64], q: f64) -> bool {
    let Histogram::Explicit { bounds, counts, .. } = coarse else {
        return true;
    };
    let total = coarse.count();
    let mut below = 0.0;
    let reaches = |count: &f64| {
        below += count;
        q * total <= below
    };
    let Some(index) = counts.iter().position(reaches) else {
        return false;
    };
    let lower = index
        .checked_sub(1)
        .map_or(f64::NEG_INFINITY, |before| bounds[before]);
    let upper = bounds.get(index).copied().unwrap_or(f64::INFINITY);
    let is_own = !own.iter().any(|bound| lower < *bound && *bound < upper);
    is_own || (upper.is_finite() && counts[index] <= COARSE_SHARE_MAX * total)
}

/// The same distribution in the form that [`merge`] gives: no empty outer buckets, at most
/// [`EXPONENTIAL_BUCKETS_MAX`] of them, no sum that is not a number.
pub(super) fn normalized(mut histogram: Histogram) -> Histogram {
    match &mut histogram {
        Histogram::Explicit { sum, .. } => {
            *sum = sum.filter(|sum| sum.is_finite());
            histogram
        }
        Histogram::Exponential { sum, .. } => {
            *sum = sum.filter(|sum| sum.is_finite());
            exponential::normalized(&histogram)
        }
    }
}

/// Looks for contradictions in a distribution as it came.
pub(super) fn inspect(histogram: &Histogram) -> Result<(), Flaw> {
    match histogram {
        Histogram::Explicit { bounds, counts, .. } => {
            if !bounds.iter().all(|bound| bound.is_finite()) {
                return Err(Flaw::NotFinite);
            }
            let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascending || counts.len() != bounds.len() + 1 {
                return Err(Flaw::Inconsistent);
            }
            inspect_counts(counts)
        }
        Histogram::Exponential {
            scale,
            zero_count,
            zero_threshold,
            positive,
            negative,
            ..
        } => {
            if !zero_threshold.is_finite() {
                return Err(Flaw::NotFinite);
            }
            if !(-10..=20).contains(scale) || *zero_threshold < 0.0 {
                return Err(Flaw::Inconsistent);
            }
            inspect_counts(&[*zero_count])?;
            inspect_counts(&positive.counts)?;
            inspect_counts(&negative.counts)
        }
    }
}

fn inspect_counts(counts: &[f64]) -> Result<(), Flaw> {
    if !counts.iter().all(|count| count.is_finite()) {
        return Err(Flaw::NotFinite);
    }
    if counts
        .iter()
        .all(|count| (0.0..=BUCKET_COUNT_MAX).contains(count))
    {
        Ok(())
    } else {
        Err(Flaw::Inconsistent)
    }
}

fn sum_of(sum: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(sum? + other?).filter(|sum| sum.is_finite())
}

fn difference_of(sum: Option<f64>, older: Option<f64>) -> Option<f64> {
    Some(sum? - older?).filter(|sum| sum.is_finite())
}

/// How far below zero a gain may be and still be rounding: float histograms are sums of rates.
fn tolerance(older: &Histogram) -> f64 {
    1e-9 * older.count()
}

fn gain(difference: f64, tolerance: f64) -> Option<f64> {
    (difference >= -tolerance).then(|| difference.max(0.0))
}

#[cfg(test)]
mod tests;
