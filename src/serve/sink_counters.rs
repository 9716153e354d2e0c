//! What is counted of the sinks, and how `/metrics` shows it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::exposition::{Text, counter, gauge};

/// Why a notification never reached a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undelivered {
    /// What it told was over before it could be delivered.
    Superseded,
    /// The sink said that it will never take it.
    Refused,
}

/// What is counted of one sink.
#[derive(Debug, Default)]
pub struct SinkCounters {
    sent: AtomicU64,
    failed: AtomicU64,
    superseded: AtomicU64,
    refused: AtomicU64,
    waiting: AtomicU64,
}

/// The counters of all sinks, by name.
#[derive(Debug, Default)]
pub(super) struct AllSinkCounters(Mutex<BTreeMap<String, Arc<SinkCounters>>>);

impl SinkCounters {
    /// Counts notifications that were delivered.
    pub fn sent(&self, notifications: usize) {
        self.sent.fetch_add(notifications as u64, Ordering::Relaxed);
    }

    /// Counts a request that was not answered as it should be.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts notifications that will not be delivered any more.
    pub fn dropped(&self, notifications: usize, why: Undelivered) {
        let counter = match why {
            Undelivered::Superseded => &self.superseded,
            Undelivered::Refused => &self.refused,
        };
        counter.fetch_add(notifications as u64, Ordering::Relaxed);
    }

    /// What was sent, has failed, was dropped, and waits.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> (u64, u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (
            count(&self.sent),
            count(&self.failed),
            count(&self.superseded) + count(&self.refused),
            count(&self.waiting),
        )
    }

    /// Tells how many notifications wait.
    pub fn waiting(&self, notifications: usize) {
        self.waiting.store(notifications as u64, Ordering::Relaxed);
    }
}

impl AllSinkCounters {
    /// The counters of a sink.
    pub(super) fn of(&self, name: &str) -> Arc<SinkCounters> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    pub(super) fn render(&self, text: &mut Text) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return;
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, help, value) in [
            (
                "sluice_sink_sent_total",
                "Notifications that a sink has taken; a firing alert that is sent again counts again.",
                (|sink| &sink.sent) as fn(&SinkCounters) -> &AtomicU64,
            ),
            (
                "sluice_sink_failed_total",
                "Requests to a sink that failed; they are tried again.",
                |sink| &sink.failed,
            ),
        ] {
            text.family(counter(name, help));
            for (sink, counters) in all.iter() {
                text.sample(name, &[("sink", sink)], count(value(counters)));
            }
        }
        let name = "sluice_sink_dropped_total";
        text.family(counter(name, "Notifications that never reached a sink."));
        for (sink, counters) in all.iter() {
            for (reason, value) in [
                ("superseded", &counters.superseded),
                ("refused", &counters.refused),
            ] {
                text.sample(name, &[("sink", sink), ("reason", reason)], count(value));
            }
        }
        let name = "sluice_sink_queue";
        text.family(gauge(name, "Notifications that wait for a sink."));
        for (sink, counters) in all.iter() {
            text.sample(name, &[("sink", sink)], count(&counters.waiting));
        }
    }
}
