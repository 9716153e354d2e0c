//! Looks the series of a batch up, and puts what the batch holds into the open buckets of its shards.

use std::{collections::BTreeMap, sync::Arc};

use super::{POISONED, Shards};
use crate::{
    event::{Raw, RawBatch, RawSeries, Rejects, SeriesMeta, Timestamp, canonical},
    reduce::{
        Epoch, LossReason,
        resolved::{Known, PutScratch, Resolved, Routes},
        shard::{Context, NOTHING_BEFORE},
        standing::Before,
    },
};

/// Series that are looked up at a time: their bytes stay in the nearest cache meanwhile.
const AT_A_TIME: usize = 64;

/// A bit for each shard.
const ALL_SHARDS: u64 = u64::MAX;

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Numbers that came, less those that were lost.
    pub samples: u64,
    /// Distributions that came, less those that were lost.
    pub histograms: u64,
    /// Log records that came, less those that were lost.
    pub logs: u64,
    /// Samples that could not be used, by reason. Stale markers and other values that are no number are
    /// losses here, and counted as written all the same: the sender did nothing wrong.
    pub lost: BTreeMap<LossReason, u64>,
    /// Log records that could not be used, by reason.
    pub lost_logs: BTreeMap<LossReason, u64>,
    /// What was refused: labels that cannot be used, series beyond a limit.
    pub rejects: Rejects,
    /// The latest time of what was put into a bucket.
    pub latest: Option<Timestamp>,
}

impl Shards {
    /// Looks up the series of a batch that is about to be put with the same scratch, while its bytes are
    /// still at hand: until it is durable, others have driven them out of the caches. Changes nothing that
    /// anybody sees.
    pub fn resolve(&self, raw: Raw<'_>, scratch: &mut PutScratch) {
        let PutScratch { routes, resolved } = scratch;
        resolved.clear(self.len());
        resolved.by = Some(Arc::clone(&self.identity));
        let cache = self.cache.read().expect(POISONED);
        let is_of_cache = raw.batch.edition.as_ref() == Some(cache.edition());
        let learns = is_of_cache && cache.is_eager();
        let remembered = |series: &RawSeries| {
            let place = series.place.filter(|_| is_of_cache)?;
            Some(Known::of_note(cache.note(place)))
        };
        while let Some(series @ [_, ..]) = raw.batch.series.get(resolved.series..) {
            let series = &series[..series.len().min(AT_A_TIME)];
            let first = resolved.series as u32;
            resolved.series += series.len();
            if series.iter().all(|series| remembered(series).is_some()) {
                for (index, series) in (first..).zip(series) {
                    let part = &mut resolved.shards[self.keys.shard(series.hash)];
                    let known = remembered(series).unwrap_or((Known::Nothing, 0));
                    part.take(known, index, raw, series);
                }
                continue;
            }
            routes.find(self.keys, series.iter().map(|series| series.hash));
            self.each_shard(
                |index| !routes.of(index).is_empty(),
                |index, shard| {
                    let part = &mut resolved.shards[index];
                    for place in &routes.order[routes.of(index)] {
                        let series = &series[*place as usize];
                        let index = first + place;
                        let known = remembered(series).unwrap_or_else(|| {
                            let known = shard.resolve(raw, series, &mut part.before);
                            // A cache knows keys, and not what is told of a series beside.
                            if learns && series.meta == SeriesMeta::default() {
                                let note = known.note(shard.generation);
                                resolved.unlearned.extend(note.map(|note| (index, note)));
                            }
                            (known, shard.generation)
                        });
                        part.take(known, index, raw, series);
                    }
                },
            );
        }
        drop(cache);
        if !resolved.unlearned.is_empty() {
            self.learn(raw, &mut resolved.unlearned);
        }
    }

    /// Remembers what was found out about keys, for the next request that repeats them.
    fn learn(&self, raw: Raw<'_>, found: &mut [(u32, u64)]) {
        // Who comes while another one learns, learns with its next request.
        let (Some(edition), Ok(_learning)) = (&raw.batch.edition, self.learning.try_lock()) else {
            return;
        };
        let mut cache = self.cache.write().expect(POISONED);
        found.sort_unstable();
        let keys = found.iter().map(|(index, note)| {
            let series = &raw.batch.series[*index as usize];
            (series.hash, raw.key(series)[0], *note)
        });
        cache.learn(edition, keys);
    }

    /// Puts a batch that stands in an epoch: samples of selected series and records of known streams go
    /// into their open buckets, or are counted as lost. Any number of threads may do so at once; of one
    /// shard at a time each holds the lock.
    pub fn put(&self, raw: Raw<'_>, epoch: Epoch, scratch: &mut PutScratch) -> Put {
        self.put_as(raw, epoch, None, scratch)
    }

    /// Puts a batch again that a snapshot has seen in part: only what belongs into buckets that start
    /// at or after `unseen_from`; nothing is counted as lost.
    pub fn put_again(
        &self,
        raw: Raw<'_>,
        epoch: Epoch,
        unseen_from: Timestamp,
        scratch: &mut PutScratch,
    ) -> Put {
        self.put_as(raw, epoch, Some(unseen_from), scratch)
    }

    /// Puts a batch of which everything was looked up and found ([`PutScratch::has_all`]), without its
    /// bytes. If something got another slot since, or another configuration is at work, `read` has to give
    /// them once more.
    pub fn put_known<'a>(
        &self,
        read: impl FnOnce() -> Raw<'a>,
        epoch: Epoch,
        scratch: &mut PutScratch,
    ) -> Put {
        let mut put = Put::default();
        let mut left = ALL_SHARDS;
        if scratch.resolved.is_by(&self.identity) {
            let nothing = RawBatch::new(self.keys, canonical::read);
            let context = self.context(Raw::new(&[], &nothing), epoch, None);
            left = self.put_resolved(&context, &mut scratch.resolved, &mut put);
        }
        if left != 0 {
            let context = self.context(read(), epoch, None);
            self.put_series(&context, left, &mut scratch.routes, &mut put);
        }
        put
    }

    fn put_as(
        &self,
        raw: Raw<'_>,
        epoch: Epoch,
        unseen_from: Option<Timestamp>,
        scratch: &mut PutScratch,
    ) -> Put {
        let context = self.context(raw, epoch, unseen_from);
        let mut put = Put::default();
        let mut left = ALL_SHARDS;
        if scratch.resolved.is_by(&self.identity) {
            left = self.put_resolved(&context, &mut scratch.resolved, &mut put);
        }
        if left != 0 {
            self.put_series(&context, left, &mut scratch.routes, &mut put);
        }
        self.put_logs(&context, &mut scratch.routes, &mut put);
        // What a snapshot has seen of a batch it has taken in.
        if unseen_from.is_none() {
            self.metadata.leave(raw, epoch);
        }
        put
    }

    /// Whether a batch tells of metrics by their names what is not known yet, or was not told for hours: else it
    /// need not be put for that.
    pub fn has_news(&self, raw: Raw<'_>) -> bool {
        self.metadata.is_news(raw)
    }

    fn context<'a>(
        &'a self,
        raw: Raw<'a>,
        epoch: Epoch,
        unseen_from: Option<Timestamp>,
    ) -> Context<'a> {
        let latest = epoch
            .now
            .map_or(Timestamp::MAX, |now| now + self.room.limits.future);
        Context {
            raw,
            epoch,
            select: &*self.select,
            room: &self.room,
            resolution: self.resolution,
            latest,
            unseen_from,
        }
    }

    /// Puts what was looked up. Gives the shards, a bit for each, in which slots got other numbers since:
    /// nothing was put into them.
    fn put_resolved(&self, context: &Context<'_>, resolved: &mut Resolved, put: &mut Put) -> u64 {
        resolved.by = None;
        let mut left = 0;
        self.each_shard(
            |index| !resolved.shards[index].is_empty(),
            |index, shard| {
                let part = &resolved.shards[index];
                if part.is_void || part.generation != Some(shard.generation) {
                    left |= 1 << index;
                    return;
                }
                shard.pass_over(part.unselected, put);
                shard.put_plain(context, &part.plain, put);
                let mut before = Before::NOTHING;
                for (series, slot) in &part.rest {
                    let series = &context.raw.batch.series[*series as usize];
                    shard.put_series(context, series, *slot, &mut before, put);
                }
            },
        );
        left
    }

    /// Puts the series of a batch that fall to some of the shards, a bit for each.
    fn put_series(&self, context: &Context<'_>, shards: u64, routes: &mut Routes, put: &mut Put) {
        let all = &context.raw.batch.series;
        routes.find(self.keys, all.iter().map(|series| series.hash));
        self.each_shard(
            |index| shards >> index & 1 == 1 && !routes.of(index).is_empty(),
            |index, shard| {
                let mut before = Before::NOTHING;
                for series in &routes.order[routes.of(index)] {
                    let series = &all[*series as usize];
                    shard.put_series(context, series, None, &mut before, put);
                }
            },
        );
    }

    fn put_logs(&self, context: &Context<'_>, routes: &mut Routes, put: &mut Put) {
        let all = &context.raw.batch.logs;
        routes.find(self.keys, all.iter().map(|log| log.hash));
        self.each_shard(
            |index| !routes.of(index).is_empty(),
            |index, shard| {
                let mut before = NOTHING_BEFORE;
                for log in &routes.order[routes.of(index)] {
                    shard.put_log(context, &all[*log as usize], &mut before, put);
                }
            },
        );
        // What a snapshot has seen of a batch holds its losses.
        let all = &context.raw.batch.unread;
        if all.is_empty() || context.unseen_from.is_some() {
            return;
        }
        routes.find(self.keys, all.iter().map(|unread| unread.hash));
        self.each_shard(
            |index| !routes.of(index).is_empty(),
            |index, shard| {
                for unread in &routes.order[routes.of(index)] {
                    shard.put_unread(context, &all[*unread as usize]);
                }
            },
        );
    }
}

impl Put {
    pub(in crate::reduce) fn lose(&mut self, reason: LossReason, is_number: bool) {
        *self.lost.entry(reason).or_default() += 1;
        if !reason.is_of_the_value() {
            let written = if is_number {
                &mut self.samples
            } else {
                &mut self.histograms
            };
            *written -= 1;
        }
    }

    pub(in crate::reduce) fn lose_logs(&mut self, reason: LossReason, count: u64) {
        let lost = self.lost_logs.entry(reason).or_default();
        *lost = lost.saturating_add(count);
        self.logs = self.logs.saturating_sub(count);
    }
}
