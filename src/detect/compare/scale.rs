//! The working scale of a metric: where equal differences mean equal harm.

use serde::{Deserialize, Serialize};

use super::{
    class::{Class, Measure},
    outcome::Scale,
    reading::{Reading, per_exposure},
};
use crate::detect::stats::{mean, median};

/// Share of the usual level that is added before a logarithm is taken.
const FLOOR_SHARE: f64 = 0.02;
/// Share of zeros above which the mean over a window is taken before the logarithm.
const ZEROS_MAX: f64 = 0.1;
/// Share of the usual level that is added where zeros are usual: a short window may hold nothing
/// else.
const FLOOR_SHARE_ZEROS: f64 = 0.25;

/// Below this level whole numbers are small.
const SMALL_NUMBERS: f64 = 10.0;

/// The working scale of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Working {
    /// `ln(x + floor)`, averaged over a window.
    Log {
        /// What is added.
        floor: f64,
    },
    /// `ln(sum of numerators / sum of denominators + floor)` over a window: ratios, and values that
    /// are often zero.
    LogRatio {
        /// What is added.
        floor: f64,
    },
    /// `x / full`: shares.
    Share {
        /// The value that means everything.
        full: f64,
    },
    /// `x / unit`: metrics that can be negative.
    Linear {
        /// Their usual size.
        unit: f64,
    },
}

impl Working {
    /// Chooses the scale from the values of the past, for one unit of exposure each. What `may_be_negative` is known to
    /// be sometimes, whatever these say.
    pub(super) fn choose(
        class: &Class,
        values: &mut Vec<f64>,
        (has_exposure, may_be_negative): (bool, bool),
    ) -> Self {
        values.retain(|value| value.is_finite());
        if let Measure::Share { full } = class.measure {
            return Self::Share { full };
        }
        let zeros = values.iter().filter(|value| **value == 0.0).count() as f64;
        let is_signed = may_be_negative || values.iter().any(|value| *value < 0.0);
        let level = mean(values.iter().copied()).unwrap_or(0.0);
        if is_signed {
            let size = mean(values.iter().map(|value| value.abs())).unwrap_or(1.0);
            return Self::Linear {
                unit: if size > 0.0 { size } else { 1.0 },
            };
        }
        let has_zeros = zeros > ZEROS_MAX * values.len() as f64;
        if has_exposure || has_zeros {
            let share = if has_zeros {
                FLOOR_SHARE_ZEROS
            } else {
                FLOOR_SHARE
            };
            return Self::LogRatio {
                floor: floor(share * level),
            };
        }
        Self::Log {
            floor: floor(FLOOR_SHARE * median(values).unwrap_or(0.0)),
        }
    }

    /// The same for levels that are middles: those of small whole numbers jump from one to the next, and by as much
    /// as nothing differs from something where the load falls. Their means do not.
    pub(super) fn of_numbers(self, values: &[f64]) -> Self {
        let Self::Log { .. } = self else { return self };
        let level = mean(values.iter().copied()).unwrap_or(0.0);
        let is_whole = values.iter().all(|value| value.fract() == 0.0);
        if is_whole && 0.0 < level && level < SMALL_NUMBERS {
            Self::LogRatio {
                floor: floor(FLOOR_SHARE_ZEROS * level),
            }
        } else {
            self
        }
    }

    /// Whether windows are compared by ratios of sums.
    pub(super) fn is_ratio(&self) -> bool {
        matches!(self, Self::LogRatio { .. })
    }

    /// Whether it is of what may be negative, in usual sizes.
    pub(super) fn is_signed(&self) -> bool {
        matches!(self, Self::Linear { .. })
    }

    /// How its numbers are shown.
    pub(super) fn scale(&self) -> Scale {
        match self {
            Self::Log { .. } | Self::LogRatio { .. } => Scale::Relative,
            Self::Share { .. } => Scale::Points,
            Self::Linear { .. } => Scale::Size,
        }
    }

    /// A reading on the working scale; NaN where there is none.
    pub(super) fn of(&self, reading: Reading) -> f64 {
        self.of_value(per_exposure(reading.value, reading.exposure))
    }

    /// A remembered value on the working scale.
    pub(super) fn of_past(&self, (value, exposure): (f32, f32)) -> f64 {
        self.of_value(per_exposure(f64::from(value), f64::from(exposure)))
    }

    /// A value on the working scale; NaN where there is none.
    pub(super) fn of_value(&self, value: f64) -> f64 {
        match self {
            // The larger of NaN and zero is zero: a gap would become a host at a standstill.
            Self::Log { .. } | Self::LogRatio { .. } if value.is_nan() => f64::NAN,
            Self::Log { floor } | Self::LogRatio { floor } => (value.max(0.0) + floor).ln(),
            Self::Share { full } => value / full,
            Self::Linear { unit } => value / unit,
        }
    }

    /// Sums of numerators and denominators on the working scale.
    pub(super) fn of_sums(&self, value: f64, exposure: f64) -> f64 {
        self.of_value(per_exposure(value, exposure))
    }

    /// Back to the unit of the metric.
    pub(super) fn natural(&self, number: f64) -> f64 {
        match self {
            Self::Log { floor } | Self::LogRatio { floor } => (number.exp() - floor).max(0.0),
            Self::Share { full } => number * full,
            Self::Linear { unit } => number * unit,
        }
    }
}

/// Where nothing but zero was ever seen, one whole unit is the first difference that counts.
fn floor(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 {
        value
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_no_value_on_any_scale() {
        for working in [
            Working::Log { floor: 0.1 },
            Working::LogRatio { floor: 0.1 },
            Working::Share { full: 100.0 },
            Working::Linear { unit: 2.0 },
        ] {
            assert!(
                working.of_past((f32::NAN, f32::NAN)).is_nan(),
                "{working:?}"
            );
            assert!(working.of_past((1.0, 0.0)).is_nan(), "{working:?}");
            assert!(working.of_past((0.0, 1.0)).is_finite(), "{working:?}");
        }
    }
}
