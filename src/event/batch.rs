//! A batch: everything that one decoded request or file chunk holds, good data and rejects.

use std::{collections::BTreeMap, fmt};

use super::{Labels, LogRecord, MetricMeta, Point, SeriesMeta, UnreadLog};

/// Everything that one decoded request or file chunk holds.
///
/// One bad sample does not void its batch: the good data stands here, what was refused is counted
/// in `rejects` with a reason and an example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Samples, grouped by series in the order of the sender.
    pub series: Vec<SeriesBlock>,
    /// Log records in the order of the sender.
    pub logs: Vec<LogRecord>,
    /// Log records that were refused, but of which is known whose they are; `rejects` counts them too.
    pub unread: Vec<UnreadLog>,
    /// What is told of metrics by their names alone.
    pub metadata: Vec<MetricMeta>,
    /// What was refused while decoding.
    pub rejects: Rejects,
}

/// Consecutive samples of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesBlock {
    /// Identity of the series.
    pub labels: Labels,
    /// What the protocol tells about it.
    pub meta: SeriesMeta,
    /// Its samples, in the order of the sender.
    pub points: Vec<Point>,
}

/// Why a part of the input was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// The piece cannot be read as what it claims to be.
    Malformed,
    /// A sample or record without a usable time.
    NoTimestamp,
    /// A sample without a value, or with one that is no number.
    NoValue,
    /// A series without a metric name.
    NoMetricName,
    /// Label names repeat or are empty.
    BadLabels,
    /// Labels or bodies that are not UTF-8.
    NotUtf8,
    /// A histogram whose parts contradict each other.
    BadHistogram,
    /// A sum or histogram that does not tell its temporality.
    NoTemporality,
    /// A kind of data that Sluice does not read (exemplars, traces, …).
    Unsupported,
    /// Over a configured limit.
    OverLimit,
}

/// One refusal, for the answer to the sender and for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// How many samples or records were refused for this reason.
    pub count: u64,
    /// The first of them, told so that the sender can find it: what, where, what would be right.
    pub example: String,
}

/// What was refused, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejects {
    /// Samples and histogram points.
    pub samples: BTreeMap<RejectReason, Reject>,
    /// Log records.
    pub logs: BTreeMap<RejectReason, Reject>,
}

impl Batch {
    /// Whether it holds neither data nor rejects.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.logs.is_empty() && self.rejects.is_empty()
    }

    /// How many samples it holds.
    pub fn sample_count(&self) -> u64 {
        self.series
            .iter()
            .map(|block| block.points.len() as u64)
            .sum()
    }

    /// How many log records it holds, each counted as often as it stands for.
    pub fn log_count(&self) -> u64 {
        self.logs.iter().map(|record| record.count).sum()
    }
}

impl Rejects {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.logs.is_empty()
    }

    /// Counts one refused sample. The example is only built for the first of its reason.
    pub fn sample(&mut self, reason: RejectReason, example: impl FnOnce() -> String) {
        Self::add(&mut self.samples, reason, example);
    }

    /// Counts one refused log record. The example is only built for the first of its reason.
    pub fn log(&mut self, reason: RejectReason, example: impl FnOnce() -> String) {
        Self::add(&mut self.logs, reason, example);
    }

    /// Adds what was refused elsewhere; of two examples of one reason the first stands.
    pub fn absorb(&mut self, other: Self) {
        let sides = [
            (&mut self.samples, other.samples),
            (&mut self.logs, other.logs),
        ];
        for (mine, theirs) in sides {
            for (reason, reject) in theirs {
                match mine.get_mut(&reason) {
                    Some(known) => known.count += reject.count,
                    None => {
                        mine.insert(reason, reject);
                    }
                }
            }
        }
    }

    /// How many samples were refused.
    pub fn sample_count(&self) -> u64 {
        self.samples.values().map(|reject| reject.count).sum()
    }

    /// How many log records were refused.
    pub fn log_count(&self) -> u64 {
        self.logs.values().map(|reject| reject.count).sum()
    }

    fn add(
        rejects: &mut BTreeMap<RejectReason, Reject>,
        reason: RejectReason,
        example: impl FnOnce() -> String,
    ) {
        rejects
            .entry(reason)
            .or_insert_with(|| Reject {
                count: 0,
                example: example(),
            })
            .count += 1;
    }
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::NoTimestamp,
        Self::NoValue,
        Self::NoMetricName,
        Self::BadLabels,
        Self::NotUtf8,
        Self::BadHistogram,
        Self::NoTemporality,
        Self::Unsupported,
        Self::OverLimit,
    ];

    /// The name that metrics carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoTimestamp => "no_timestamp",
            Self::NoValue => "no_value",
            Self::NoMetricName => "no_metric_name",
            Self::BadLabels => "bad_labels",
            Self::NotUtf8 => "not_utf8",
            Self::BadHistogram => "bad_histogram",
            Self::NoTemporality => "no_temporality",
            Self::Unsupported => "unsupported",
            Self::OverLimit => "over_limit",
        }
    }
}

/// One line: `3 samples rejected: no_timestamp (2, e.g. …), no_value (1, e.g. …)`.
impl fmt::Display for Rejects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (what, rejects) in [("sample", &self.samples), ("log record", &self.logs)] {
            if rejects.is_empty() {
                continue;
            }
            let total: u64 = rejects.values().map(|reject| reject.count).sum();
            let plural = if total == 1 { "" } else { "s" };
            write!(f, "{separator}{total} {what}{plural} rejected: ")?;
            separator = "; ";
            let mut comma = "";
            for (reason, reject) in rejects {
                write!(
                    f,
                    "{comma}{} ({}, e.g. {})",
                    reason.name(),
                    reject.count,
                    reject.example
                )?;
                comma = ", ";
            }
        }
        Ok(())
    }
}
