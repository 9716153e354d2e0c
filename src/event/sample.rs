//! Samples: one value of one series at one time, with what the protocol tells about the series.

use serde::{Deserialize, Serialize};

use super::{Histogram, Timestamp};

/// What a series counts or measures, as far as the protocol tells.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The protocol does not tell: the configuration or the name decides.
    #[default]
    Unknown,
    /// A value that goes up and down.
    Gauge,
    /// A sum that only grows, but for resets.
    Counter,
    /// A distribution.
    Histogram,
    /// Quantiles computed by the sender; they cannot be merged.
    Summary,
}

impl Kind {
    /// What the name of a metric says by the conventions of Prometheus: a counter, or nothing.
    pub fn of_name(metric: &str) -> Self {
        let suffixes = ["_total", "_count", "_sum", "_bucket"];
        if suffixes.iter().any(|suffix| metric.ends_with(suffix)) {
            Self::Counter
        } else {
            Self::Unknown
        }
    }
}

/// Whether a point counts since the start of its series or since the point before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// Since the start of the series.
    #[default]
    Cumulative,
    /// Since the point before.
    Delta,
}

/// The unit of a metric, as far as checks care: it says what a bounded share is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Not told, or none that matters.
    #[default]
    Unknown,
    /// A share from 0 to 100.
    Percent,
    /// A share from 0 to 1.
    Ratio,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
}

impl Unit {
    /// Reads the name of a unit: the words of the configuration, UCUM (OTLP) and `OpenMetrics`.
    /// What is not known is [`Unit::Unknown`].
    pub fn from_name(name: &str) -> Self {
        match name {
            "percent" | "%" => Self::Percent,
            "ratio" | "1" => Self::Ratio,
            "seconds" | "s" => Self::Seconds,
            "milliseconds" | "ms" => Self::Milliseconds,
            "microseconds" | "us" => Self::Microseconds,
            "nanoseconds" | "ns" => Self::Nanoseconds,
            "bytes" | "By" => Self::Bytes,
            "count" => Self::Count,
            name if name.starts_with('{') && name.ends_with('}') => Self::Count,
            _ => Self::Unknown,
        }
    }

    /// Its symbol in UCUM, as OTLP has it; empty if it is not known.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Percent => "%",
            Self::Ratio => "1",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
            Self::Bytes => "By",
            Self::Count => "{count}",
        }
    }

    /// Whether it is one of time.
    pub fn is_time(self) -> bool {
        matches!(
            self,
            Self::Seconds | Self::Milliseconds | Self::Microseconds | Self::Nanoseconds
        )
    }

    /// Whether numbers in the one cannot be read as numbers in the other. A unit that is not known contradicts
    /// none, nor does a count: what is counted is `1` to some, and `{request}` to others.
    pub fn contradicts(self, other: Self) -> bool {
        let is_scale = |unit: Self| !matches!(unit, Self::Unknown | Self::Count);
        self != other && is_scale(self) && is_scale(other)
    }
}

/// What the protocol tells about a series beside its labels.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SeriesMeta {
    /// What the series counts or measures.
    pub kind: Kind,
    /// How its points count; matters for counters and histograms.
    pub temporality: Temporality,
    /// Its unit.
    pub unit: Unit,
}

/// What a sender tells of all series of a metric by its name alone, whoever exposes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricMeta {
    /// The name.
    pub metric: String,
    /// What its series count or measure.
    pub kind: Kind,
    /// Their unit.
    pub unit: Unit,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number; may be NaN or infinite as it came, which never counts as data.
    Number(f64),
    /// A distribution.
    Histogram(Box<Histogram>),
    /// The sender says that the series ended or had no value (Prometheus' stale marker, OTLP's
    /// "no recorded value"). Not a measurement.
    Stale,
}

/// One sample of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub at: Timestamp,
    /// When the unbroken count began, where the protocol tells; a change is a reset.
    pub start: Option<Timestamp>,
    /// Its value.
    pub value: Value,
}

impl Value {
    /// The bits of the NaN that Prometheus uses as its stale marker, and for nothing else.
    pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

    /// Takes a double as Prometheus sends it: the stale marker is told by its bits.
    pub fn from_prometheus(value: f64) -> Self {
        if value.to_bits() == Self::STALE_BITS {
            Self::Stale
        } else {
            Self::Number(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_bits_are_a_stale_marker() {
        assert_eq!(
            Value::from_prometheus(f64::from_bits(Value::STALE_BITS)),
            Value::Stale
        );
        assert!(matches!(Value::from_prometheus(f64::NAN), Value::Number(value) if value.is_nan()));
    }
}
