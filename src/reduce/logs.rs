//! Log records of a bucket → counts by stream, severity and template.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::event::{Severity, Span, Timestamp};

use super::{LogCount, StreamId};

/// The template of messages whose own is over the limit.
pub const OTHER: &str = "<other>";

/// A template that was not seen for so long may make room for a new one.
const IDLE: Span = Span::from_hours(24);

/// The templates that have a name of their own, with the start of the last bucket that held them.
///
/// Only closing a bucket changes them, so that between two ticks the order of arrival cannot.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    live: BTreeMap<Arc<str>, Timestamp>,
    max: usize,
    /// Whether the names have changed since they were last given out.
    changed: bool,
}

/// The names that templates had at a tick, as the shards see them.
pub(super) type LiveTemplates = Arc<BTreeSet<Arc<str>>>;

/// The records of one open bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenLogs {
    /// By template; those that were live when they came.
    pub(super) known: BTreeMap<Arc<str>, Counts>,
    /// Those that were not. Of more than the limit the first in order of text stay: the others
    /// could not get a name when the bucket closes.
    pub(super) fresh: BTreeMap<Arc<str>, Counts>,
    pub(super) other: Counts,
}

/// What tells records of one template apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogKey {
    /// A slot in its shard, or the id of the stream.
    pub(super) stream: u32,
    pub(super) severity: Severity,
    pub(super) classes: Vec<u32>,
}

type Counts = BTreeMap<LogKey, u64>;

impl OpenLogs {
    /// Counts records of a template. Of templates without a name at most `max` are kept.
    pub(super) fn count(
        &mut self,
        live: &LiveTemplates,
        max: usize,
        template: &str,
        key: &LogKey,
        count: u64,
    ) {
        if let Some(counts) = self.known.get_mut(template) {
            return add(counts, key, count);
        }
        if let Some(template) = live.get(template) {
            let counts = self.known.entry(Arc::clone(template)).or_default();
            return add(counts, key, count);
        }
        if let Some(counts) = self.fresh.get_mut(template) {
            return add(counts, key, count);
        }
        add(self.fresh.entry(template.into()).or_default(), key, count);
        self.evict(max);
    }

    /// Takes in the records of another shard, with their streams named anew; those without a name are
    /// left out.
    pub(super) fn absorb(&mut self, other: Self, max: usize, name: impl Fn(u32) -> Option<u32>) {
        let sides = [
            (&mut self.known, other.known),
            (&mut self.fresh, other.fresh),
        ];
        for (mine, theirs) in sides {
            for (template, counts) in theirs {
                let counts = named(counts, &name);
                if !counts.is_empty() {
                    add_all(mine.entry(template).or_default(), counts);
                }
            }
        }
        add_all(&mut self.other, named(other.other, &name));
        while max < self.fresh.len() {
            self.evict(max);
        }
    }

    /// The streams that have records here, each once or more often.
    pub(super) fn streams(&self) -> impl Iterator<Item = u32> {
        let templates = self.known.values().chain(self.fresh.values());
        let counts = templates.chain([&self.other]).flatten();
        counts.map(|(key, _)| key.stream)
    }

    /// Gives every count another key; those that then have one key are added up.
    pub(super) fn rename(&mut self, name: impl Fn(&LogKey) -> LogKey) {
        let sides = self.known.values_mut().chain(self.fresh.values_mut());
        for counts in sides.chain([&mut self.other]) {
            for (key, count) in std::mem::take(counts) {
                add(counts, &name(&key), count);
            }
        }
    }

    fn evict(&mut self, max: usize) {
        if max < self.fresh.len()
            && let Some((_, evicted)) = self.fresh.pop_last()
        {
            add_all(&mut self.other, evicted);
        }
    }
}

impl Templates {
    pub(super) fn new(max: usize) -> Self {
        Self {
            live: BTreeMap::new(),
            max,
            changed: false,
        }
    }

    /// The names, each with the start of the last bucket that held it.
    pub(super) fn save(&self) -> &BTreeMap<Arc<str>, Timestamp> {
        &self.live
    }

    /// Goes on with names that were saved.
    pub(super) fn restore(max: usize, live: BTreeMap<Arc<str>, Timestamp>) -> Self {
        Self {
            live,
            max,
            changed: true,
        }
    }

    /// How many have a name.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// The names, if they have changed since this was last asked.
    pub(super) fn changes(&mut self) -> Option<LiveTemplates> {
        std::mem::take(&mut self.changed).then(|| Arc::new(self.live.keys().cloned().collect()))
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
                    self.changed = true;
                    expired = true;
                }
                if self.max <= self.live.len() {
                    add_all(&mut other, counts);
                    continue;
                }
                self.live.insert(Arc::clone(&template), start);
                self.changed = true;
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
        stream: StreamId(key.stream),
        severity: key.severity,
        template: Arc::clone(template),
        classes: key.classes,
        count,
    }));
}

fn named(counts: Counts, name: &impl Fn(u32) -> Option<u32>) -> Counts {
    let mut renamed = Counts::new();
    for (key, count) in counts {
        if let Some(stream) = name(key.stream) {
            add(&mut renamed, &LogKey { stream, ..key }, count);
        }
    }
    renamed
}

fn add(counts: &mut Counts, key: &LogKey, count: u64) {
    if let Some(sum) = counts.get_mut(key) {
        *sum = sum.saturating_add(count);
    } else {
        counts.insert(key.clone(), count);
    }
}

fn add_all(counts: &mut Counts, others: Counts) {
    for (key, count) in others {
        add(counts, &key, count);
    }
}
