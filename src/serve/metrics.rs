//! What the doors count.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::sink_counters::AllSinkCounters;
use crate::{
    event::{RejectReason, Timestamp},
    reduce::LossReason,
};

/// The longest request that the summary tells apart, in microseconds: one minute.
const REQUEST_MICROS_MAX: u64 = 60_000_000;

/// A door through which data comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// Prometheus remote write.
    RemoteWrite,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP.
    OtlpHttp,
    /// Loki push.
    Loki,
}

/// What the doors have counted since the start.
#[derive(Debug)]
pub(super) struct Metrics {
    /// When the engine was started.
    pub started_at: Timestamp,
    sources: Mutex<BTreeMap<Source, SourceMetrics>>,
    /// What is counted of the sinks.
    pub sinks: AllSinkCounters,
}

/// What one door has counted.
#[derive(Clone, Debug)]
pub(super) struct SourceMetrics {
    /// Requests that came.
    pub requests: u64,
    /// Bytes of their bodies, as they came.
    pub bytes: u64,
    /// Samples that were decoded.
    pub samples: u64,
    /// Log records that were decoded.
    pub log_records: u64,
    /// Exemplars that were passed over.
    pub exemplars: u64,
    /// Requests that brought log records which had been taken before, in an equal body.
    pub repeated: u64,
    /// Requests that were refused as a whole, by reason.
    pub rejected_requests: BTreeMap<&'static str, u64>,
    /// Samples that were refused, by reason.
    pub rejected_samples: BTreeMap<&'static str, u64>,
    /// Log records that were refused, by reason.
    pub rejected_log_records: BTreeMap<&'static str, u64>,
    /// How long requests took, in microseconds.
    pub micros: Histogram<u64>,
    /// How long all requests took together, in seconds.
    pub seconds_sum: f64,
}

impl Source {
    /// Every door.
    pub(super) const ALL: [Self; 4] = [
        Self::RemoteWrite,
        Self::OtlpGrpc,
        Self::OtlpHttp,
        Self::Loki,
    ];

    const fn takes_samples(self) -> bool {
        match self {
            Self::RemoteWrite | Self::OtlpGrpc | Self::OtlpHttp => true,
            Self::Loki => false,
        }
    }

    const fn takes_logs(self) -> bool {
        match self {
            Self::OtlpGrpc | Self::OtlpHttp | Self::Loki => true,
            Self::RemoteWrite => false,
        }
    }

    /// The name that metrics carry.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RemoteWrite => "remote_write",
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Loki => "loki",
        }
    }
}

/// Why a request is refused as a whole.
const REQUEST_REASONS: [&str; 9] = [
    "busy",
    "compression",
    "incomplete",
    "malformed",
    "not_recorded",
    "recovering",
    "stopped",
    "too_large",
    "unsupported",
];

/// Why a sample or log record is refused.
fn reasons() -> impl Iterator<Item = &'static str> {
    let rejects = RejectReason::ALL.map(RejectReason::name);
    rejects
        .into_iter()
        .chain(LossReason::ALL.map(LossReason::name))
}

/// Counters that begin at 0: a rate of what has never happened is to be 0, and not nothing.
fn zeros(names: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    names.map(|name| (name, 0)).collect()
}

impl Metrics {
    /// Nothing counted.
    pub(super) fn new(started_at: Timestamp) -> Self {
        let none = |source: Source| SourceMetrics {
            requests: 0,
            bytes: 0,
            samples: 0,
            log_records: 0,
            exemplars: 0,
            repeated: 0,
            rejected_requests: zeros(REQUEST_REASONS.into_iter()),
            rejected_samples: zeros(reasons().filter(|_| source.takes_samples())),
            rejected_log_records: zeros(reasons().filter(|_| source.takes_logs())),
            micros: Histogram::new_with_bounds(1, REQUEST_MICROS_MAX, 2)
                .expect("the bounds of the summary are in order"),
            seconds_sum: 0.0,
        };
        let sources = Source::ALL
            .into_iter()
            .map(|source| (source, none(source)))
            .collect();
        Self {
            started_at,
            sources: Mutex::new(sources),
            sinks: AllSinkCounters::default(),
        }
    }

    /// What each door has counted, door by door.
    pub(super) fn sources(&self) -> BTreeMap<Source, SourceMetrics> {
        self.lock().clone()
    }

    /// Counts something at a door.
    pub(super) fn count(&self, source: Source, count: impl FnOnce(&mut SourceMetrics)) {
        if let Some(metrics) = self.lock().get_mut(&source) {
            count(metrics);
        }
    }

    /// Counts a request that was refused as a whole.
    pub(super) fn reject(&self, source: Source, reason: &'static str) {
        self.count(source, |metrics| {
            *metrics.rejected_requests.entry(reason).or_insert(0) += 1;
        });
    }

    /// Counts how long a request took.
    pub(super) fn took(&self, source: Source, elapsed: Duration) {
        self.count(source, |metrics| {
            metrics.seconds_sum += elapsed.as_secs_f64();
            let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            metrics.micros.saturating_record(micros);
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, SourceMetrics>> {
        // Counters stay right whoever panicked while counting.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
