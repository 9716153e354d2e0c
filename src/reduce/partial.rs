//! Partials: the summary of one series, or of one log stream, in one bucket.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Histogram, Interval, Severity};

/// A series in the table of one run. Ids are given at ticks, in the order of labels: nothing a person
/// sees may depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

/// A log stream (a set of attributes) in the table of one run; like [`SeriesId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u32);

/// Everything that happened in one bucket of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClosedBucket {
    /// Its interval of event time.
    pub interval: Interval,
    /// What each selected series did, by ascending id; only series with data.
    pub series: Vec<SeriesPartial>,
    /// Log records, counted; ascending by stream, severity, template and classes.
    pub logs: Vec<LogCount>,
    /// Samples of selected series, and records of known streams that a class selects, that came since the bucket before
    /// was closed but could not be used.
    pub losses: Vec<LossMark>,
}

/// The partial of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPartial {
    /// Which series.
    pub series: SeriesId,
    /// Its summary.
    pub partial: Partial,
    /// Whether a limit cut samples off: the summary is of the earliest alone.
    pub is_cut: bool,
}

/// The summary of one series in one bucket. Non-finite values are never part of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Partial {
    /// Of a gauge.
    Gauge(GaugePartial),
    /// Of a counter.
    Increase(IncreasePartial),
    /// Of a distribution.
    Histogram(HistogramPartial),
}

/// Summary of a gauge's samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugePartial {
    /// How many samples; at least 1.
    pub count: u32,
    /// Their sum.
    pub sum: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// The latest.
    pub last: f64,
}

/// What a counter gained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncreasePartial {
    /// Gain since the sample before; never negative.
    pub increase: f64,
    /// The time in which it was gained, in seconds; above 0. Longer than the bucket after a gap, so
    /// that `increase / seconds` is the rate.
    pub seconds: f64,
    /// How often the counter restarted.
    pub resets: u32,
    /// What it tells of the process that counts.
    pub life: Life,
}

/// What was added to a distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramPartial {
    /// The values that were added.
    pub histogram: Histogram,
    /// The time in which they were, in seconds; above 0.
    pub seconds: f64,
    /// How often the distribution restarted.
    pub resets: u32,
    /// What it tells of the process that counts.
    pub life: Life,
}

/// What a count that only grows tells of the process that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Life {
    /// Nothing.
    #[default]
    Unknown,
    /// It is the one that counted before.
    GoesOn,
    /// Another one counts since, from zero.
    Begun {
        /// By how much the count fell.
        lost: f64,
        /// What it counted since.
        counted: f64,
    },
}

/// Equal log records of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCount {
    /// Which stream.
    pub stream: StreamId,
    /// Their severity.
    pub severity: Severity,
    /// Their message with its variable parts masked.
    pub template: Arc<str>,
    /// The log checks that select them, as the directory said.
    pub classes: Vec<u32>,
    /// How many.
    pub count: u64,
}

/// Data that came but could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossMark {
    /// Whose they are.
    pub source: LossSource,
    /// Why.
    pub reason: LossReason,
    /// How many samples or records.
    pub count: u64,
}

/// Whose data could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LossSource {
    /// A series.
    Series(SeriesId),
    /// A log stream: records of this class, or of none. What has several is told for each.
    Records(StreamId, Option<u32>),
}

/// Why data could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LossReason {
    /// Their bucket was closed already.
    Late,
    /// Too far ahead of the clock.
    Future,
    /// NaN or infinite.
    NotFinite,
    /// The sender's own mark that there is no value.
    Stale,
    /// Another value for a time that already has one.
    Duplicate,
    /// A distribution whose buckets contradict those before.
    Incompatible,
    /// A quantile beyond the highest bound of its buckets, where that is below the limit that it is held against.
    BeyondBuckets,
    /// A log record that the decoder refused.
    Unreadable,
    /// Over the limit of samples in a bucket. It is the greatest: what came before the limit cannot be used
    /// either.
    OverLimit,
}

impl Partial {
    /// The mean of a gauge, the rate of a counter (per second), the rate of events of a
    /// distribution (per second).
    pub fn level(&self) -> f64 {
        match self {
            Self::Gauge(gauge) => gauge.sum / f64::from(gauge.count),
            Self::Increase(increase) => increase.increase / increase.seconds,
            Self::Histogram(histogram) => histogram.histogram.count() / histogram.seconds,
        }
    }

    /// How often its series restarted.
    pub fn resets(&self) -> u32 {
        match self {
            Self::Gauge(_) => 0,
            Self::Increase(increase) => increase.resets,
            Self::Histogram(histogram) => histogram.resets,
        }
    }

    /// What it tells of the process that counts.
    pub fn life(&self) -> Life {
        match self {
            Self::Gauge(_) => Life::Unknown,
            Self::Increase(increase) => increase.life,
            Self::Histogram(histogram) => histogram.life,
        }
    }

    /// What was gained, in whatever it counts.
    pub fn gained(&self) -> f64 {
        match self {
            Self::Gauge(_) => 0.0,
            Self::Increase(increase) => increase.increase,
            Self::Histogram(histogram) => histogram.histogram.count(),
        }
    }
}

impl Life {
    /// The share of what a count lost by which it may rise more than that, and still have jumped back to where it
    /// was: whoever counts there went on meanwhile.
    const BACK_MORE: f64 = 0.1;

    /// Whether a count that fell by so much, and rose by so much, is back where it was: then it is that of two
    /// replicas, scraped in turns.
    pub fn is_back(lost: f64, risen: f64) -> bool {
        0.0 < lost && lost <= risen && risen <= lost * (1.0 + Self::BACK_MORE)
    }

    /// What two stretches after each other tell, if so much was gained in the second. That a process began counts
    /// more than that it went on before or after.
    #[must_use]
    pub fn then(self, other: Self, gained: f64) -> Self {
        match (self, other) {
            (
                Self::Begun { lost, counted },
                Self::Begun {
                    lost: l,
                    counted: c,
                },
            ) => Self::Begun {
                lost: lost + l,
                counted: counted + c,
            },
            (Self::Begun { lost, .. }, Self::GoesOn) if Self::is_back(lost, gained) => {
                Self::Unknown
            }
            (begun @ Self::Begun { .. }, _) | (_, begun @ Self::Begun { .. }) => begun,
            (Self::GoesOn, _) | (_, Self::GoesOn) => Self::GoesOn,
            (Self::Unknown, Self::Unknown) => Self::Unknown,
        }
    }
}

impl LossReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Late,
        Self::Future,
        Self::NotFinite,
        Self::Stale,
        Self::Duplicate,
        Self::Incompatible,
        Self::BeyondBuckets,
        Self::Unreadable,
        Self::OverLimit,
    ];

    /// Whether the value itself is no measurement. Senders do nothing wrong with such: Prometheus sends
    /// stale markers and NaN unasked.
    pub const fn is_of_the_value(self) -> bool {
        match self {
            Self::NotFinite | Self::Stale => true,
            Self::Late
            | Self::Future
            | Self::Duplicate
            | Self::Incompatible
            | Self::BeyondBuckets
            | Self::Unreadable
            | Self::OverLimit => false,
        }
    }

    /// What verdicts say: the name that metrics carry, or what to change where a limit is the reason.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::OverLimit => "limits.samples_per_bucket",
            Self::Late
            | Self::Future
            | Self::NotFinite
            | Self::Stale
            | Self::Duplicate
            | Self::Incompatible
            | Self::BeyondBuckets
            | Self::Unreadable => self.name(),
        }
    }

    /// The name that metrics carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Future => "future",
            Self::NotFinite => "not_finite",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::OverLimit => "over_limit",
            Self::Incompatible => "incompatible",
            Self::BeyondBuckets => "beyond_buckets",
            Self::Unreadable => "unreadable",
        }
    }
}
