//! Distributions as protocols send them: explicit bounds, or exponential buckets.

use serde::{Deserialize, Serialize};

/// A distribution of values. Counts are doubles because Prometheus has float histograms; integer
/// counts up to 2^53 stay exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Histogram {
    /// Buckets with given upper bounds, as OTLP and Prometheus' classic histograms have them.
    Explicit {
        /// Upper bounds, inclusive, ascending, without +Inf.
        bounds: Vec<f64>,
        /// Counts of each bucket, not cumulative; one more than there are bounds.
        counts: Vec<f64>,
        /// Sum of all values, where told.
        sum: Option<f64>,
    },
    /// Buckets whose bounds are powers of `2^(2^-scale)`.
    Exponential {
        /// Resolution: −10 (coarse) to 20 (fine).
        scale: i32,
        /// Count of values whose magnitude is at most `zero_threshold`.
        zero_count: f64,
        /// Upper bound of the zero bucket.
        zero_threshold: f64,
        /// Buckets of positive values.
        positive: ExponentialBuckets,
        /// Buckets of negative values, by magnitude.
        negative: ExponentialBuckets,
        /// Sum of all values, where told.
        sum: Option<f64>,
    },
}

/// Consecutive exponential buckets: the one at `offset + i` holds values in
/// `(base^(offset+i), base^(offset+i+1)]`, as OTLP numbers them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExponentialBuckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Counts, not cumulative.
    pub counts: Vec<f64>,
}

impl Histogram {
    /// How many values it holds.
    pub fn count(&self) -> f64 {
        match self {
            Self::Explicit { counts, .. } => counts.iter().sum(),
            Self::Exponential {
                zero_count,
                positive,
                negative,
                ..
            } => {
                zero_count
                    + positive.counts.iter().sum::<f64>()
                    + negative.counts.iter().sum::<f64>()
            }
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let numbers = match self {
            Self::Explicit { bounds, counts, .. } => bounds.capacity() + counts.capacity(),
            Self::Exponential {
                positive, negative, ..
            } => positive.counts.capacity() + negative.counts.capacity(),
        };
        size_of::<Self>() + numbers * size_of::<f64>()
    }

    /// The sum of its values, where the sender tells.
    pub fn sum(&self) -> Option<f64> {
        match self {
            Self::Explicit { sum, .. } | Self::Exponential { sum, .. } => *sum,
        }
    }
}
