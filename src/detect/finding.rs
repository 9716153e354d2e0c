//! Findings: what a detector says of one bucket of time, with the numbers behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{event::Timestamp, reduce::LossReason};

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Covered by data, and in range; where the check compares, a harm above the tolerance is
    /// excluded.
    Ok,
    /// Covered by data, nothing found, but a harm above the tolerance is not excluded yet.
    Undecided,
    /// Not judged yet: grace, or not enough history.
    Warming,
    /// Not enough data to say anything.
    NoData,
    /// Out of range.
    Breach,
}

/// What the false-alarm rate of a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Hosts are exchangeable; no distribution is assumed.
    Exchangeable,
    /// Changes of hosts are normal around a common mean, whatever happens over time.
    GaussianHosts,
    /// A model of the noise over time, or of hosts never seen together.
    Model,
    /// The owner's own limit: no false-alarm rate is promised.
    Slo,
}

/// Why there is not enough data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum NoDataCause {
    /// Nothing that the check selects was ever seen.
    NothingSelected,
    /// Nothing came from these hosts since the deployment began.
    NeverArrived,
    /// Data came and stopped.
    Stopped {
        /// The last data.
        last: Timestamp,
    },
    /// What came could not be used.
    Unusable {
        /// The most frequent reason, as metrics name it (`late`, `not_finite`, `stale`, …), or the limit that is
        /// the reason.
        reason: String,
    },
    /// There are no hosts to compare with, or they are silent too.
    NoFleet,
    /// Every value of every host is the same and does not move: dead exporters look like this.
    Lifeless,
    /// The source cannot be told from silence: no sign of life of the log stream.
    NoLifeSign,
    /// Log records come, and none ever told the severity that the check selects by.
    NoSeverity,
    /// Coverage of the bake stayed below what is needed.
    Gaps {
        /// Share of the bake's buckets with data, in percent; or of those in which its cadence promised some.
        covered_percent: u8,
        /// Why data was lost, if any was: as for [`NoDataCause::Unusable`].
        lost: Option<String>,
    },
    /// Nothing is required, so nothing can be proven.
    NothingRequired,
    /// One host alone is the reason, and whether it is the version's fault or its own cannot be told.
    OneHost,
    /// There is no past of its own to compare with, so that nothing was judged.
    NoPast,
    /// Harm is likely, and without a past of these hosts not certain.
    Unproven,
    /// Harm is likely, and not certain.
    Likely,
    /// A host of the fleet shows what the one-box does, and whichever of them is ill may be it by itself.
    Rivalled,
    /// There were too few samples for any look.
    TooFew,
    /// Nearly all of the fleet lost its load, and the one-box is where the fleet was before.
    FleetFell,
}

/// What a detector says of one check at the end of a bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The answer.
    pub state: CheckState,
    /// Why there is not enough data; set exactly when the state is [`CheckState::NoData`].
    pub cause: Option<NoDataCause>,
    /// Whether data of every judged host has come: not while the first is awaited.
    pub is_heard: bool,
    /// Whether what it waits for decides in a foreseeable time, so that PASS waits for it even when the bake is over.
    pub holds: bool,
    /// What it waits for and until when, for a person; set when warming or undecided.
    pub awaiting: Option<String>,
    /// The numbers, worst first: each metric that is not in range, or else the one closest to it.
    /// Bounded by [`Finding::EVIDENCE_MAX`].
    pub evidence: Vec<Evidence>,
}

/// The numbers of one metric. Numbers are absent where the check has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The metric with the labels that are not roles, or what is selected of the logs.
    pub metric: String,
    /// What is said of this metric.
    pub state: CheckState,
    /// What was seen on the one-box.
    pub observed: Option<f64>,
    /// What was expected.
    pub expected: Option<f64>,
    /// The difference: relative to what was expected, or absolute where that makes no sense.
    pub effect: Option<f64>,
    /// Confidence interval of the effect.
    pub interval: Option<(f64, f64)>,
    /// The smallest effect that would have been seen by now.
    pub detectable: Option<f64>,
    /// The hosts it is about, sorted.
    pub hosts: Vec<String>,
    /// Start of the first bucket of the breach that stands.
    pub first_breach: Option<Timestamp>,
    /// What the false-alarm rate rests on.
    pub basis: Basis,
    /// One phrase for a person, without the name of the check: `p99 +38 % above the fleet`.
    pub note: String,
}

impl Finding {
    /// Most entries that the evidence of one check may have.
    pub const EVIDENCE_MAX: usize = 20;

    /// In range, or undecided, warming, breach, with evidence.
    pub fn new(state: CheckState, evidence: Vec<Evidence>) -> Self {
        Self {
            state,
            cause: None,
            is_heard: true,
            holds: false,
            awaiting: None,
            evidence,
        }
    }

    /// Not enough data. The note says whose.
    pub fn no_data(cause: NoDataCause, evidence: Vec<Evidence>) -> Self {
        Self {
            state: CheckState::NoData,
            cause: Some(cause),
            is_heard: false,
            holds: false,
            awaiting: None,
            evidence,
        }
    }

    /// Not judged yet, and what it waits for; though data of every judged host has come.
    pub fn warming(awaiting: impl Into<String>) -> Self {
        Self {
            state: CheckState::Warming,
            cause: None,
            is_heard: true,
            holds: false,
            awaiting: Some(awaiting.into()),
            evidence: Vec::new(),
        }
    }

    /// Not judged before the grace ends.
    pub fn in_grace(until: Timestamp) -> Self {
        Self::warming(format!(
            "the end of the grace at {}",
            until.next_whole_second()
        ))
    }

    /// Not judged yet, because the first data is awaited.
    pub fn unheard(awaiting: impl Into<String>) -> Self {
        Self {
            is_heard: false,
            ..Self::warming(awaiting)
        }
    }
}

impl Evidence {
    /// Evidence without numbers.
    pub fn bare(
        metric: impl Into<String>,
        state: CheckState,
        basis: Basis,
        note: impl Into<String>,
    ) -> Self {
        Self {
            metric: metric.into(),
            state,
            observed: None,
            expected: None,
            effect: None,
            interval: None,
            detectable: None,
            hosts: Vec::new(),
            first_breach: None,
            basis,
            note: note.into(),
        }
    }

    /// Whether the metric is out of range, but blocks nothing, as its note says.
    pub fn informs_only(&self) -> bool {
        self.state != CheckState::Breach && self.note.contains(INFORMS_ONLY)
    }

    /// Whether one-box and fleet tell the metric with different values of a label, as its note says.
    pub fn is_told_otherwise(&self) -> bool {
        self.state == CheckState::NoData && self.note.contains(TOLD_OTHERWISE)
    }
}

/// The reason where a limit refused a request as a whole that may have held what a check looks at.
pub(super) const REQUEST_OVER_LIMIT: &str = "request_over_limit";

/// The key of the configuration that helps where one-box and fleet tell a metric with different values of a
/// label: the note of such a metric names it.
pub(super) const TOLD_OTHERWISE: &str = "labels.ignore";

/// What the note of a metric says that is out of range, but blocks nothing: what else it says is not the
/// version's fault, or too little is known to hold it against it.
const INFORMS_ONLY: &str = "informs only";

impl CheckState {
    /// The word that the JSON carries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Undecided => "undecided",
            Self::Warming => "warming",
            Self::NoData => "no_data",
            Self::Breach => "breach",
        }
    }
}

impl Basis {
    /// The word that the JSON carries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchangeable => "exchangeable",
            Self::GaussianHosts => "gaussian-hosts",
            Self::Model => "model",
            Self::Slo => "slo",
        }
    }
}

/// A phrase for a person: what is missing.
impl fmt::Display for NoDataCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSelected => f.write_str("nothing that the check selects was ever seen"),
            Self::NeverArrived => f.write_str("no data since the deployment began"),
            Self::Stopped { last } => write!(f, "no data since {}", last.whole_seconds()),
            Self::Unusable { reason } => {
                write!(f, "what came could not be used ({reason})")?;
                // The other words say it themselves.
                if reason == LossReason::Incompatible.cause() {
                    f.write_str(": its kind, unit or form is not what came before, or it contradicts itself")?;
                } else if reason == LossReason::BeyondBuckets.cause() {
                    f.write_str(": the quantile lies beyond the highest bound of the buckets, which is below the limit")?;
                } else if reason == REQUEST_OVER_LIMIT {
                    f.write_str(": a limit refused a whole request, and nobody knows whose data it held")?;
                }
                Ok(())
            }
            Self::NoFleet => f.write_str("no fleet with data to compare with"),
            Self::Lifeless => f.write_str("all values of all hosts are the same and never move"),
            Self::NoLifeSign => {
                f.write_str("no log record of any kind, so that silence cannot be told from health")
            }
            Self::NoSeverity => {
                f.write_str("its log records tell no severity, so that none can be selected by it")
            }
            Self::Gaps {
                covered_percent,
                lost: None,
            } => {
                write!(f, "only {covered_percent} % of the bake has data")
            }
            Self::Gaps {
                covered_percent,
                lost: Some(reason),
            } => write!(
                f,
                "only {covered_percent} % of the bake has data; more came but could not be used ({reason})"
            ),
            Self::NothingRequired => f.write_str("nothing is required, so nothing can be proven"),
            Self::OneHost => {
                f.write_str("one host alone is the reason, which may be its own fault")
            }
            Self::NoPast => f.write_str("no history of its own, so that nothing was judged"),
            Self::Unproven => {
                f.write_str("harm is likely, but not certain: these hosts have no past")
            }
            Self::FleetFell => f.write_str(
                "nearly all of the fleet lost its load, and the one-box is where the fleet was before",
            ),
            Self::Likely => f.write_str("harm is likely, but not certain"),
            Self::Rivalled => {
                f.write_str("a host of the fleet is far out as well, and either may be ill by itself")
            }
            Self::TooFew => f.write_str("too few samples for any look"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Span;

    #[test]
    fn times_in_words_have_whole_seconds() {
        let at = Timestamp::from_seconds(1_772_359_200) + Span::from_nanos(123_456_789);
        let grace = Finding::in_grace(at).awaiting.unwrap();
        assert_eq!(grace, "the end of the grace at 2026-03-01T10:00:01Z");
        let stopped = NoDataCause::Stopped { last: at }.to_string();
        assert_eq!(stopped, "no data since 2026-03-01T10:00:00Z");
    }
}
