//! The side of the reduction that many threads write to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, RwLock, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::event::{KeyCache, KeyHash, Labels, Span, canonical};

use super::{
    LossReason, Select,
    metadata::Board,
    resolved::Identity,
    shard::Shard,
    standing::{Limit, SelectedKey, Standing},
    unselected::NAMES_MAX,
};

mod put;

pub use put::Put;

/// Keys that may be remembered for each series within the limit: a series that comes from two kinds of
/// senders has two, and what is refused has one.
const KEYS_PER_SERIES: usize = 2;

/// Keys beyond that may wait for the next tick, which decides in the order of labels which series are
/// beyond the limit.
const WAITING_MAX: usize = 1 << 16;

/// What the reducer accepts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReducerLimits {
    /// Selected series. What comes beyond is refused, those that are known go on; of several new ones of
    /// one tick the first in the order of their labels find room. The same number bounds log streams,
    /// and the series that nobody selects and that are remembered as such.
    pub series: usize,
    /// Samples of one series in one bucket; the earliest stay. At least 1.
    pub samples_per_bucket: usize,
    /// Message templates with a name of their own; further ones are counted as `<other>`.
    pub templates: usize,
    /// How far ahead of the clock a sample may be.
    pub future: Span,
    /// Labels of a series, or attributes of a log stream.
    pub labels: usize,
    /// Bytes of all names and values of these.
    pub label_bytes: usize,
}

/// What the reducer has seen since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReducerCounters {
    /// Samples of selected series that were put into a bucket.
    pub samples_accepted: u64,
    /// Samples of series that no check selects.
    pub samples_unselected: u64,
    /// Samples of series that were refused by a limit.
    pub samples_refused: u64,
    /// Samples that were delivered again with the same value, and ignored.
    pub samples_duplicate: u64,
    /// Log records that were counted in a bucket.
    pub logs_accepted: u64,
    /// Log records of streams that belong to no service.
    pub logs_unselected: u64,
    /// Log records of streams that were refused by a limit.
    pub logs_refused: u64,
    /// Samples and log records that could not be used, by reason.
    pub losses: BTreeMap<LossReason, u64>,
    /// Series that are remembered, selected or not.
    pub series: u64,
    /// Series that a check selects.
    pub selected_series: u64,
    /// Series that no check selects.
    pub unselected_series: u64,
    /// Some metrics of these, by name.
    pub unselected_metrics: BTreeSet<String>,
    /// How often a new series came that a limit refuses; one that comes again counts again.
    pub refused_series: u64,
    /// Log streams in the table.
    pub streams: u64,
    /// How often a new log stream came that a limit refuses.
    pub refused_streams: u64,
    /// Message templates with a name of their own.
    pub templates: u64,
    /// Restarts of counters and distributions.
    pub resets: u64,
    /// Metrics of which senders tell something by their names alone.
    pub told_metrics: u64,
    /// Those of them of which they tell contradictory things, so that nothing of it counts.
    pub disputed_metrics: u64,
    /// Some of these, by name.
    pub disputed: BTreeSet<String>,
    /// Entries of that kind that were ignored: those that cannot be read, and those beyond a limit.
    pub metadata_ignored: u64,
}

/// What one shard has counted.
#[derive(Clone, Debug, Default)]
pub(super) struct ShardCounters {
    pub(super) samples_accepted: u64,
    pub(super) samples_unselected: u64,
    pub(super) samples_refused: u64,
    pub(super) logs_accepted: u64,
    pub(super) logs_unselected: u64,
    pub(super) logs_refused: u64,
    pub(super) losses: BTreeMap<LossReason, u64>,
    pub(super) unselected_series: u64,
    pub(super) refused_series: u64,
    pub(super) streams: u64,
    pub(super) refused_streams: u64,
}

/// Open buckets, by the hash of their keys.
#[derive(Debug)]
pub struct Shards {
    all: Box<[Mutex<Shard>]>,
    select: Arc<dyn Select>,
    keys: KeyHash,
    resolution: Span,
    room: Room,
    pub(super) metadata: Board,
    identity: Arc<Identity>,
    /// No shard is locked by whoever waits for it to write.
    cache: RwLock<KeyCache>,
    /// Held by whoever learns: one at a time.
    learning: Mutex<()>,
}

/// What limits leave room for.
#[derive(Debug)]
pub(super) struct Room {
    limits: ReducerLimits,
    /// Keys of selected series, of those that are refused too.
    keys: AtomicUsize,
    /// Series that nobody selects.
    unselected: AtomicUsize,
    streams: AtomicUsize,
}

impl Shards {
    pub(super) fn new(
        resolution: Span,
        limits: ReducerLimits,
        keys: KeyHash,
        select: Arc<dyn Select>,
    ) -> Self {
        Self {
            all: (0..keys.shards())
                .map(|_| Mutex::new(Shard::new()))
                .collect(),
            select,
            keys,
            resolution,
            room: Room {
                limits,
                keys: AtomicUsize::new(0),
                unselected: AtomicUsize::new(0),
                streams: AtomicUsize::new(0),
            },
            metadata: Board::new(limits.series),
            identity: Arc::new(Identity),
            cache: RwLock::default(),
            learning: Mutex::default(),
        }
    }

    /// The same shards with other contents under another selection.
    pub(super) fn with(&self, shards: Box<[Shard]>, select: Arc<dyn Select>) -> Self {
        let count = |count: &AtomicUsize| AtomicUsize::new(count.load(Ordering::Relaxed));
        Self {
            all: shards.into_iter().map(Mutex::new).collect(),
            select,
            keys: self.keys,
            resolution: self.resolution,
            room: Room {
                limits: self.room.limits,
                keys: count(&self.room.keys),
                // They are asked about anew.
                unselected: AtomicUsize::new(0),
                streams: count(&self.room.streams),
            },
            metadata: self.metadata.fork(),
            identity: Arc::new(Identity),
            cache: RwLock::default(),
            learning: Mutex::default(),
        }
    }

    /// How the keys of batches that are put here must be hashed.
    pub fn keys(&self) -> KeyHash {
        self.keys
    }

    /// What is remembered of the keys that came lately, for whoever walks a request.
    pub fn key_cache(&self) -> &RwLock<KeyCache> {
        &self.cache
    }

    /// Forgets which keys came lately: their slots have other numbers.
    pub(super) fn clear_cache(&self) {
        self.cache.write().expect(POISONED).clear();
    }

    /// Gives a key that stands for the id of a series its slot, before anything was put.
    pub(super) fn adopt(&self, labels: &Labels) -> Option<(usize, u32)> {
        let mut canonical = Vec::new();
        canonical::write(labels, &mut canonical);
        let hash = self.keys.single(&canonical);
        let shard = self.keys.shard(hash);
        if !self.room.take_key() {
            return None;
        }
        let key = [&canonical[..], &[], &[]];
        let known = SelectedKey {
            standing: Standing::Bound,
            meta: None,
        };
        let slot = self.lock(shard).series.insert(hash, key, known)?;
        Some((shard, slot))
    }

    /// Calls `each` with every shard that `has` something.
    fn each_shard(&self, has: impl Fn(usize) -> bool, mut each: impl FnMut(usize, &mut Shard)) {
        let mut waiting = 0_u64;
        for (index, shard) in self.all.iter().enumerate() {
            if !has(index) {
                continue;
            }
            // Rather than wait for a shard, the others are served first.
            match shard.try_lock() {
                Ok(mut shard) => each(index, &mut shard),
                Err(TryLockError::WouldBlock) => waiting |= 1 << index,
                Err(TryLockError::Poisoned(_)) => panic!("{POISONED}"),
            }
        }
        while waiting != 0 {
            let index = waiting.trailing_zeros() as usize;
            waiting &= waiting - 1;
            each(index, &mut self.lock(index));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.all[index].lock().expect(POISONED)
    }

    pub(super) fn select(&self) -> &dyn Select {
        &*self.select
    }

    pub(super) fn limits(&self) -> &ReducerLimits {
        &self.room.limits
    }

    /// Gives back the room of keys that are forgotten.
    pub(super) fn give_back(&self, keys: usize) {
        self.room.keys.fetch_sub(keys, Ordering::Relaxed);
    }

    /// Gives back the room of log streams that are forgotten.
    pub(super) fn give_back_streams(&self, streams: usize) {
        self.room.streams.fetch_sub(streams, Ordering::Relaxed);
    }

    /// Log streams that are remembered, those of no service too.
    pub(super) fn streams(&self) -> usize {
        self.room.streams.load(Ordering::Relaxed)
    }

    /// Gives back the room of all series that nobody selects.
    pub(super) fn give_back_unselected(&self) {
        self.room.unselected.store(0, Ordering::Relaxed);
    }

    /// Series that nobody selects and that are remembered as such.
    pub(super) fn unselected(&self) -> usize {
        self.room.unselected.load(Ordering::Relaxed)
    }

    /// Adds what the shards have counted.
    pub(super) fn count(&self, counters: &mut ReducerCounters) {
        counters.metadata_ignored += self.metadata.ignored();
        let disputed = self.metadata.disputed();
        (counters.disputed_metrics, counters.disputed) = (disputed.count, disputed.names);
        for index in 0..self.len() {
            let shard = self.lock(index);
            let counted = &shard.counters;
            for (sum, more) in [
                (&mut counters.samples_accepted, counted.samples_accepted),
                (&mut counters.samples_unselected, counted.samples_unselected),
                (&mut counters.samples_refused, counted.samples_refused),
                (&mut counters.logs_accepted, counted.logs_accepted),
                (&mut counters.logs_unselected, counted.logs_unselected),
                (&mut counters.logs_refused, counted.logs_refused),
                (&mut counters.series, counted.unselected_series),
                (&mut counters.unselected_series, counted.unselected_series),
                (&mut counters.refused_series, counted.refused_series),
                (&mut counters.streams, counted.streams),
                (&mut counters.refused_streams, counted.refused_streams),
            ] {
                *sum = sum.saturating_add(more);
            }
            let names = shard.unselected.names().map(str::to_owned);
            counters.unselected_metrics.extend(names);
            while NAMES_MAX < counters.unselected_metrics.len() {
                counters.unselected_metrics.pop_last();
            }
            for (reason, count) in &counted.losses {
                let sum = counters.losses.entry(*reason).or_default();
                *sum = sum.saturating_add(*count);
            }
            // Those of closed buckets are with the reducer.
            for dropped in shard.open.iter().map(|bucket| &bucket.samples.dropped) {
                counters.samples_duplicate += dropped.duplicates;
                for ((_, reason), count) in &dropped.losses {
                    *counters.losses.entry(*reason).or_default() += count;
                }
            }
        }
    }
}

/// A thread that panicked has left a shard half written.
const POISONED: &str = "no thread panicked while it put samples";

impl Room {
    pub(super) fn samples_per_bucket(&self) -> usize {
        self.limits.samples_per_bucket
    }

    pub(super) fn templates(&self) -> usize {
        self.limits.templates
    }

    /// What labels are beyond, if they are too many or too long.
    pub(super) fn limit(&self, labels: &Labels) -> Option<Limit> {
        let bytes: usize = labels
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if self.limits.labels < labels.len() {
            Some(Limit::Labels)
        } else {
            (self.limits.label_bytes < bytes).then_some(Limit::LabelBytes)
        }
    }

    /// Takes room for a series that nobody selects, if there is some.
    pub(super) fn take_unselected(&self) -> bool {
        take(&self.unselected, self.limits.series)
    }

    /// Takes room for the key of a selected series, if there is some.
    pub(super) fn take_key(&self) -> bool {
        let keys_max = self.limits.series.saturating_mul(KEYS_PER_SERIES);
        take(&self.keys, keys_max.saturating_add(WAITING_MAX))
    }

    pub(super) fn take_stream(&self) -> bool {
        take(&self.streams, self.limits.series)
    }
}

fn take(taken: &AtomicUsize, max: usize) -> bool {
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < max).then_some(taken + 1)
        })
        .is_ok()
}
