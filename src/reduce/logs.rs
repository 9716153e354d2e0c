//! Log records of a bucket → counts by stream, severity and template.

use std::{collections::BTreeMap, sync::Arc};

use crate::event::{Severity, Span, Timestamp};

use super::{LogCount, StreamId};

/// The template of messages whose own is over the limit.
pub(super) const OTHER: &str = "<other>";

/// A template that was not seen for so long may make room for a new one.
const IDLE: Span = Span::from_hours(24);

/// The templates that have a name of their own, with the start of the last bucket that held them.
///
/// Only closing a bucket changes them, so that between two ticks the order of arrival cannot.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    live: BTreeMap<Arc<str>, Timestamp>,
    max: usize,
}

/// The records of one open bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenLogs {
    /// By template; those that were live when they came.
    known: BTreeMap<Arc<str>, Counts>,
    /// Those that were not. Of more than the limit the first in order of text stay: the others
    /// could not get a name when the bucket closes.
    fresh: BTreeMap<Arc<str>, Counts>,
    other: Counts,
}

/// What tells records of one template apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogKey {
    pub(super) stream: StreamId,
    pub(super) severity: Severity,
    pub(super) classes: Vec<u32>,
}

type Counts = BTreeMap<LogKey, u64>;

impl Templates {
    pub(super) fn new(max: usize) -> Self {
        Self {
            live: BTreeMap::new(),
            max,
        }
    }

    /// How many have a name.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Counts records of a template.
    pub(super) fn count(&self, logs: &mut OpenLogs, template: &str, key: LogKey, count: u64) {
        if let Some(counts) = logs.known.get_mut(template) {
            return add(counts, key, count);
        }
        if let Some((template, _)) = self.live.get_key_value(template) {
            let counts = logs.known.entry(Arc::clone(template)).or_default();
            return add(counts, key, count);
        }
        if let Some(counts) = logs.fresh.get_mut(template) {
            return add(counts, key, count);
        }
        add(logs.fresh.entry(template.into()).or_default(), key, count);
        if self.max < logs.fresh.len()
            && let Some((_, evicted)) = logs.fresh.pop_last()
        {
            add_all(&mut logs.other, evicted);
        }
    }

    /// Closes a bucket: names its new templates, in order of their text as long as there is room,
    /// and lists all counts, ascending.
    pub(super) fn close(&mut self, logs: OpenLogs, start: Timestamp) -> Vec<LogCount> {
        let OpenLogs {
            known: mut templates,
            fresh,
            mut other,
        } = logs;
        for (template, counts) in fresh {
            add_all(templates.entry(template).or_default(), counts);
        }
        for template in templates.keys() {
            if let Some(seen) = self.live.get_mut(template) {
                *seen = start.max(*seen);
            }
        }
        let mut expired = false;
        let mut result = Vec::new();
        for (template, counts) in templates {
            if !self.live.contains_key(&template) {
                if self.max <= self.live.len() && !expired {
                    self.live.retain(|_, seen| start - *seen < IDLE);
                    expired = true;
                }
                if self.max <= self.live.len() {
                    add_all(&mut other, counts);
                    continue;
                }
                self.live.insert(Arc::clone(&template), start);
            }
            list(&mut result, &template, counts);
        }
        if !other.is_empty() {
            list(&mut result, &Arc::from(OTHER), other);
        }
        result.sort_by(|a, b| {
            (a.stream, a.severity, &a.template, &a.classes).cmp(&(
                b.stream,
                b.severity,
                &b.template,
                &b.classes,
            ))
        });
        result
    }
}

fn list(result: &mut Vec<LogCount>, template: &Arc<str>, counts: Counts) {
    result.extend(counts.into_iter().map(|(key, count)| LogCount {
        stream: key.stream,
        severity: key.severity,
        template: Arc::clone(template),
        classes: key.classes,
        count,
    }));
}

fn add(counts: &mut Counts, key: LogKey, count: u64) {
    let sum = counts.entry(key).or_default();
    *sum = sum.saturating_add(count);
}

fn add_all(counts: &mut Counts, others: Counts) {
    for (key, count) in others {
        add(counts, key, count);
    }
}
