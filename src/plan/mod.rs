//! Configuration text → a checked plan.
//!
//! [`Plan::parse`] reads the YAML of the configuration and either gives a plan in which everything
//! refers to something that exists, or every fault of the text at once, each with its key path and
//! what would be right. The types here are what the core works with: names resolved, units
//! converted, defaults filled in.

mod access;
mod change;
mod checks;
mod detectors;
mod digest;
mod environment;
mod fault;
mod grammar;
mod ignored;
mod kafka;
mod limit;
mod lint;
mod log_patterns;
mod parse;
mod policies;
mod schema;
mod selector;
mod services;
mod settings;
mod sinks;
mod sources;
mod tree;
mod units;
mod verdict_topics;
mod walk;
mod wording;

#[cfg(test)]
mod tests;

pub use access::{AccessPlan, CertificatePlan, Role, TlsPlan, TokenPlan};
pub use environment::Environment;
pub use fault::{Fault, Faults, Warning};
pub use grammar::SelectorError;
pub use ignored::IgnoredLabel;
pub use kafka::{KafkaSasl, KafkaTls};
pub use limit::Limit;
pub use policies::{OffPeak, Policies, Skippable, StartBlockers};
pub use selector::{LabelMatcher, MatchOp, SeriesSelector, renamed, value_of};
pub use sinks::{AlertRules, SinkKind, SinkPlan, SinkUrl};
pub use sources::{KafkaPlan, MessageCompression, Overrides, SourcePlan, TopicFormat, TopicStart};
pub use verdict_topics::VerdictTopicPlan;

use std::{collections::BTreeMap, net::SocketAddr};

use serde::Serialize;

use crate::event::{Kind, Severity, Span, Unit};

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the engine listens.
    pub listen: Listen,
    /// Encrypted connections; `None`: plain ones. Changes no verdict.
    pub tls: Option<TlsPlan>,
    /// Who may do what. Changes no verdict.
    pub access: AccessPlan,
    /// Width of a bucket. Default 10 s.
    pub resolution: Span,
    /// How long after its end a bucket waits for stragglers. Default 20 s.
    pub lateness: Span,
    /// Which labels tell what.
    pub labels: LabelRoles,
    /// All checks, by name.
    pub checks: BTreeMap<String, Check>,
    /// All services, by name.
    pub services: BTreeMap<String, ServicePlan>,
    /// How plain log lines are read, tried in order.
    pub log_patterns: Vec<LogPattern>,
    /// Where data is fetched from, beside what is sent. Changes no verdict of the same data.
    pub sources: Vec<SourcePlan>,
    /// Where alerts go. Changes no verdict.
    pub sinks: Vec<SinkPlan>,
    /// Topics that every change of a verdict is written to. Changes no verdict.
    pub verdict_topics: Vec<VerdictTopicPlan>,
    /// Where people reach the engine's page, for links in alerts; `None`: where it listens.
    pub external_url: Option<String>,
    /// What the engine accepts at most.
    pub limits: Limits,
    /// How the journal is kept.
    pub journal: JournalPlan,
    /// How the history of verdicts is kept.
    pub ledger: LedgerPlan,
    /// Hex digest of the configuration's meaning: equal for texts that differ only in layout,
    /// comments or the order of keys.
    pub digest: String,
    /// All of the configuration that verdicts follow from, as a configuration of its own in JSON, which
    /// is YAML: its digest is the same. It tells neither where things are nor how they are reached.
    pub wording: String,
}

/// Where the engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The gates' gRPC API. Default 127.0.0.1:7070.
    pub grpc: SocketAddr,
    /// HTTP: remote write, verdicts, metrics, web page. Default 127.0.0.1:7071.
    pub http: SocketAddr,
    /// OTLP over gRPC. Default 127.0.0.1:4317.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP. Default 127.0.0.1:4318.
    pub otlp_http: SocketAddr,
}

/// Which label tells the host, service, region and version of a series; the first that is present
/// wins. And which labels tell nothing that is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRoles {
    /// Unit of comparison.
    pub host: Vec<String>,
    /// Service.
    pub service: Vec<String>,
    /// Region.
    pub region: Vec<String>,
    /// Version.
    pub version: Vec<String>,
    /// Labels that do not tell the metrics of a host apart, beside those of the roles: with another value the
    /// series is still the same metric. Default: what tells versions, pods, containers and processes of
    /// Kubernetes, OpenTelemetry and cAdvisor. For who sees metrics as `NO_DATA` that one-box and fleet tell with
    /// different values of a label.
    pub ignore: Vec<IgnoredLabel>,
}

/// A check: what it looks at, and by which detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its name in the configuration.
    pub name: String,
    /// The series or log records that it looks at.
    pub selection: Selection,
    /// The detector and its parameters.
    pub detector: DetectorPlan,
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// Series of samples.
    Series(SeriesSelection),
    /// Log records.
    Logs(LogSelection),
}

/// Series that a check looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSelection {
    /// Which series.
    pub selector: SeriesSelector,
    /// The kind of the series, where the configuration says it. `None`: as the protocol or the
    /// name tells.
    pub kind: Option<Kind>,
    /// Divide by these series: both sides are summed per host.
    pub per: Option<SeriesSelector>,
    /// Look at this quantile of a histogram, in (0, 1).
    pub quantile: Option<f64>,
    /// The unit, where the configuration says it.
    pub unit: Option<Unit>,
}

/// Log records that a check looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSelection {
    /// Lowest severity that is selected; `None`: every severity.
    pub severity: Option<Severity>,
    /// Regular expression that the body must match somewhere.
    pub body: Option<Pattern>,
    /// Conditions on the attributes.
    pub attributes: Vec<LabelMatcher>,
}

/// A compiled regular expression that compares by its text.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// The detector of a check and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum DetectorPlan {
    /// The value (for logs: records per second and host) stays in [min, max].
    Bounds {
        /// Lowest value in range.
        min: Option<Limit>,
        /// Highest value in range.
        max: Option<Limit>,
        /// How long it must be out of range; zero: a single bucket is enough.
        for_at_least: Span,
        /// For logs, the time whose records are counted: the one that the limits are written for
        /// (`5/m`: a minute). Zero, as for metrics: each bucket by itself.
        within: Span,
    },
    /// The trend over the window is not steeper than allowed; with neither slope, not steeper than
    /// the series' own past.
    Derivative {
        /// Steepest rise.
        max: Option<Slope>,
        /// Steepest fall, as a negative slope.
        min: Option<Slope>,
        /// Length of the window. Default 30 min, or ten buckets where that is longer.
        over: Span,
    },
    /// The value stays near its own history.
    Sigma {
        /// Allowed deviation in robust standard deviations. Default 4.
        k: f64,
        /// Which side is harm.
        direction: Direction,
    },
    /// The one-box does not differ from the fleet by more than the tolerance.
    Compare {
        /// Difference that is accepted, relative to the fleet; `None`: the default of the
        /// metric's class.
        tolerance: Option<f64>,
        /// Which side is harm.
        direction: Direction,
    },
    /// The selected series or records do not fall silent for longer than this, on any host.
    Absent {
        /// Longest silence.
        after: Span,
    },
    /// No message template appears that was never seen before.
    NewTemplate,
    /// The load reached the peak of another stage, per host.
    Load {
        /// Share of the peak that must be reached. Default 1.
        factor: f64,
        /// Stage whose peak is meant.
        of: String,
    },
}

/// A slope: an absolute change per second, or a relative one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slope {
    /// Units of the metric per second.
    Absolute(f64),
    /// Share of the level per second: `1%/h` is 0.01 / 3600.
    Relative(f64),
}

/// Which side of a difference is harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Higher is worse.
    Up,
    /// Lower is worse.
    Down,
    /// Both are; each side gets half of the check's alpha. `compare` takes less memory for no harm here.
    #[default]
    Both,
}

/// A service and its stages.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// Which series and records belong to it; `None`: the service label equals the name. An empty
    /// list matches everything.
    pub matchers: Option<Vec<LabelMatcher>>,
    /// Chance, per deployment, that the statistical checks fail a healthy one; in (0, 1).
    pub alpha: f64,
    /// Its stages, in the order of the pipeline.
    pub stages: Vec<StagePlan>,
}

/// A stage of a service's pipeline.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// Its name, unique in the service.
    pub name: String,
    /// Which hosts belong to it, by their labels; empty: every host of the service.
    pub matchers: Vec<LabelMatcher>,
    /// Its regions; empty where the stage has none.
    pub regions: Vec<String>,
    /// Steps that the deployer must report as passed.
    pub steps: Vec<String>,
    /// Its checks.
    pub checks: Vec<StageCheck>,
    /// How long it is watched.
    pub bake: Bake,
    /// How long after the start restarts and cold caches are forgiven. Default 0.
    pub grace: Span,
    /// Rules beside the checks.
    pub policies: Policies,
}

/// A check as a stage uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageCheck {
    /// Name of the check, a key of [`Plan::checks`].
    pub check: String,
    /// Whether it can block.
    pub mode: Mode,
    /// Its weight in the split of alpha; in 1..=100. Default 1.
    pub weight: u32,
}

/// Whether a check can block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A breach fails the gate; without data there is no PASS.
    #[default]
    Blocking,
    /// Only reported.
    Advisory,
}

/// How long a stage is watched. A plain duration is both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bake {
    /// Never PASS before this.
    pub min: Span,
    /// PASS at this if nothing breached and coverage was complete.
    pub max: Span,
}

/// How plain log lines of a file are read.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPattern {
    /// Regular expression with the named groups `time`, and optionally `severity` and `body`; other
    /// named groups become attributes.
    pub pattern: Pattern,
    /// How the time is written, in jiff's strptime notation; `None`: RFC 3339 or Unix seconds.
    pub time_format: Option<String>,
    /// IANA zone of times without an offset. Default UTC.
    pub zone: String,
}

/// What the engine accepts at most. Each has a counter for what was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request as it arrives. Default 32 MiB.
    pub request_bytes: usize,
    /// Bytes of a request after decompression. Default 64 MiB.
    pub decompressed_bytes: usize,
    /// Series, samples and log records of a request, of each. Default 1,000,000. Whoever lowers
    /// `decompressed_bytes` on a small machine lowers this too.
    pub samples_per_request: usize,
    /// Labels of a series. Default 64.
    pub labels: usize,
    /// Bytes of all names and values of a series' labels. Default 16 KiB.
    pub label_bytes: usize,
    /// Selected series of a service. Default 1,000,000.
    pub series_per_service: usize,
    /// Series in all, selected or not. Default 5,000,000.
    pub series: usize,
    /// Samples buffered for one series in one open bucket. Default 4,096.
    pub samples_per_bucket: usize,
    /// Message templates of a service. Default 4,096.
    pub templates: usize,
    /// Deployments whose gates are open. Default 1,000.
    pub open_gates: usize,
    /// How far ahead of the clock a sample may be. Default 5 min.
    pub future: Span,
    /// Bytes of the journal on disk. Default 64 GiB. When what a recovery needs fills it, inputs are
    /// refused until a state is saved.
    pub journal_bytes: usize,
    /// Requests with data that are worked on at a time; more are asked to come again. Default 1,024.
    pub open_requests: usize,
    /// Connections of each listener; more wait to be accepted. Default 1,024.
    pub connections: usize,
}

/// How the journal is kept, where there is a data directory. Changes no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPlan {
    /// How long what is not needed for a recovery any more is kept, for recordings. Default 24 h; 0:
    /// it is deleted at once.
    pub keep: Span,
    /// How often the state is saved. Default 5 min; a start reads that much of the journal at most, and
    /// what was put into open buckets before.
    pub snapshot_every: Span,
    /// How long an input waits at most for others to be made durable with, as long as more come: an eighth of
    /// it without another ends the wait. At most 20 ms. Default 10 ms.
    pub commit_delay: Span,
}

/// How the history of deployments and verdicts is kept. Changes no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerPlan {
    /// How long a record is kept, by event time. Default 90 d. Whoever has to answer for overrides
    /// longer than that raises it.
    pub keep: Span,
}

impl Default for LedgerPlan {
    fn default() -> Self {
        Self {
            keep: Span::from_hours(24 * 90),
        }
    }
}

impl StagePlan {
    /// Each region of the stage, or `None` where it has none: a deployment enters one of these.
    pub fn places(&self) -> impl Iterator<Item = Option<&String>> {
        let nowhere = self.regions.is_empty().then_some(None);
        self.regions.iter().map(Some).chain(nowhere)
    }
}

impl Check {
    /// The kind of the check as verdicts name it.
    pub fn kind(&self) -> &'static str {
        match (&self.selection, &self.detector) {
            (Selection::Series(_), DetectorPlan::Bounds { .. }) => "bounds",
            (Selection::Logs(_), DetectorPlan::Bounds { .. } | DetectorPlan::Compare { .. }) => {
                "logs.rate"
            }
            (_, DetectorPlan::Derivative { .. }) => "derivative",
            (_, DetectorPlan::Sigma { .. }) => "sigma",
            (Selection::Series(_), DetectorPlan::Compare { .. }) => "compare",
            (Selection::Series(_), DetectorPlan::Absent { .. }) => "absent",
            (Selection::Logs(_), DetectorPlan::Absent { .. }) => "logs.absent",
            (_, DetectorPlan::NewTemplate) => "logs.new",
            (_, DetectorPlan::Load { .. }) => "load",
        }
    }

    /// Whether its breaches are statistical, so that it gets a share of the gate's alpha.
    /// Bounds, given slopes, absence and load are the owner's own limits and carry no false-alarm
    /// promise.
    pub fn is_statistical(&self) -> bool {
        match &self.detector {
            DetectorPlan::Derivative {
                max: None,
                min: None,
                ..
            }
            | DetectorPlan::Sigma { .. }
            | DetectorPlan::Compare { .. }
            | DetectorPlan::NewTemplate => true,
            DetectorPlan::Bounds { .. }
            | DetectorPlan::Derivative { .. }
            | DetectorPlan::Absent { .. }
            | DetectorPlan::Load { .. } => false,
        }
    }
}
