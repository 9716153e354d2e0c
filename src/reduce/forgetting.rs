//! Series and log streams that come no more → room for others.
//!
//! Hosts come and go: with every deployment of a service that runs in pods, all of its series are new, and
//! those before never come again. What is remembered of them is given back, or the limits of series would
//! be reached some day by nothing but the dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard},
};

use super::{
    Directory, LossSource, Reducer, SeriesId, StreamId,
    key_table::NONE,
    logs::LogKey,
    selected::{Selected, hour},
    shard::Shard,
    standing::Standing,
};
use crate::event::{SeriesMeta, Timestamp};

/// What share of all pays for the walk over those that stay.
const FORGOTTEN_SHARE: usize = 8;

impl Reducer {
    /// Forgets the series and log streams that had no data since a time, if they are many, and what a
    /// limit refused or nobody selects, if that is much: what comes again is new. Says whether it did.
    ///
    /// Where series or streams are forgotten, `unbind` is told before the others are bound again, in the order
    /// that they had, under numbers without gaps. Streams that stay are not bound again: it is given the new
    /// numbers of all, [`None`] for those that are gone. To be called between two inputs, when the buckets of
    /// the last tick are closed.
    ///
    /// Which of them are forgotten, and when, depends on nothing but the closed buckets. Batches behind the tick
    /// may have been put already: a series that comes again in one of them keeps its id, and like one that comes
    /// later it has nothing of its past. One that has told another kind meanwhile stays, and is bound anew as that,
    /// however few they are.
    pub fn forget<D: Directory>(
        &mut self,
        before: Timestamp,
        directory: &mut D,
        unbind: impl FnOnce(&mut D, &[Option<StreamId>]),
    ) -> bool {
        debug_assert!(self.taken.is_empty(), "what is over is closed");
        let hour = hour(before);
        let turned = self.turned(hour);
        let is_dead =
            |(id, known): (u32, &Selected)| known.heard < hour && !turned.contains_key(&id);
        let mut series: Vec<bool> = of_many((0..).zip(&self.selected).map(is_dead).collect());
        let streams = self.streams_heard.iter().map(|heard| *heard < hour);
        let mut streams: Vec<bool> = of_many(streams.collect());
        let are_dead = series.contains(&true) || streams.contains(&true) || !turned.is_empty();
        if !are_dead && !self.is_crowded() {
            return false;
        }
        self.refused = 0;
        let shards = Arc::clone(&self.shards);
        // Nothing is put meanwhile. Whoever puts holds one of the locks, and waits for no other.
        let mut all: Vec<MutexGuard<'_, Shard>> =
            (0..shards.len()).map(|index| shards.lock(index)).collect();
        let mut coming = vec![false; series.len()];
        for (shard, ids) in all.iter().zip(&self.ids) {
            for id in shard.with_samples().filter_map(|slot| ids.series(slot)) {
                coming[id as usize] |= std::mem::take(&mut series[id as usize]);
            }
            for id in shard.with_records().filter_map(|slot| ids.stream(slot)) {
                streams[id as usize] = false;
            }
        }
        let mut slots = Vec::with_capacity(all.len());
        let mut stream_slots = Vec::with_capacity(all.len());
        for (shard, ids) in all.iter_mut().zip(&self.ids) {
            let is_dead = |slot: u32| ids.series(slot).is_none_or(|id| series[id as usize]);
            let keys = shard.series.len();
            slots.push(shard.forget(is_dead));
            shards.give_back(keys - shard.series.len());
            let is_dead = |slot: u32| ids.stream(slot).is_some_and(|id| streams[id as usize]);
            let keys = shard.streams.len();
            stream_slots.push(shard.forget_streams(is_dead));
            shards.give_back_streams(keys - shard.streams.len());
        }
        shards.give_back_unselected();
        let ids = self.registry.retain(|id| !series[id as usize], &slots);
        let stream_ids = self
            .streams
            .retain(|id| !streams[id as usize], &stream_slots);
        for (index, known) in self.ids.iter_mut().enumerate() {
            known.rename_series(&slots[index], &ids);
            known.rename_streams(&stream_slots[index], &stream_ids);
        }
        drop(all);
        // Not before: until then somebody may learn old numbers.
        shards.clear_cache();
        retain(&mut self.selected, &series);
        retain(&mut self.streams_heard, &streams);
        self.rename_losses(&ids, &stream_ids);
        if !are_dead {
            // How much was refused or not selected is forgotten by a restart: nobody else may notice.
            return true;
        }
        let renamed = stream_ids.iter().map(|id| living(*id).map(StreamId));
        unbind(directory, &renamed.collect::<Vec<_>>());
        let coming = coming.iter().zip(&ids).filter(|(is_coming, _)| **is_coming);
        let turned = turned
            .into_iter()
            .map(|(id, meta)| (ids[id as usize], meta));
        self.bind_again(
            &coming.map(|(_, id)| *id).collect(),
            &turned.collect(),
            directory,
        );
        true
    }

    /// Whether what a limit refused, or nobody selects, takes much room.
    fn is_crowded(&self) -> bool {
        let half = self.shards.limits().series / 2;
        half < self.shards.unselected()
            || half
                < self
                    .shards
                    .streams()
                    .saturating_sub(self.streams_heard.len())
            || is_much(self.refused, self.selected.len())
    }

    fn rename_losses(&mut self, series: &[u32], streams: &[u32]) {
        let renamed = |((source, reason), count)| {
            let source = match source {
                LossSource::Series(SeriesId(id)) => {
                    LossSource::Series(SeriesId(living(series[id as usize])?))
                }
                LossSource::Records(StreamId(id), class) => {
                    LossSource::Records(StreamId(living(streams[id as usize])?), class)
                }
            };
            Some(((source, reason), count))
        };
        let losses = std::mem::take(&mut self.losses);
        self.losses = losses.into_iter().filter_map(renamed).collect();
    }

    /// As what those series are bound anew that have told nothing of their kind since an hour, but another one.
    fn turned(&self, hour: u32) -> BTreeMap<u32, SeriesMeta> {
        let silent = (0..).zip(&self.selected);
        let silent = silent.filter(|(_, known)| known.heard < hour);
        silent
            .filter_map(|(id, known)| Some((id, known.contradicted()?.since(hour)?)))
            .collect()
    }

    /// Binds all series again, in the order of their ids; nothing is remembered of those that are `new`, nor of
    /// those that are something else now.
    fn bind_again<D: Directory>(
        &mut self,
        new: &BTreeSet<u32>,
        turned: &BTreeMap<u32, SeriesMeta>,
        directory: &mut D,
    ) {
        let now = self.closed();
        for (id, known) in (0..).zip(&mut self.selected) {
            let labels = self.registry.labels(id, &self.shards);
            let turned = turned.get(&id).copied();
            let meta = turned.unwrap_or(known.meta);
            let (told, kind) = if turned.is_some() {
                let select = self.shards.select();
                self.metadata.selected(select, &labels, meta, known.kind)
            } else {
                (self.metadata.read(labels.metric(), meta), known.kind)
            };
            let is_new = new.contains(&id) || turned.is_some();
            match directory.bind_series(SeriesId(id), &labels, (told, meta.kind), kind) {
                Some(bound) if is_new => *known = Selected::new(meta, bound, now),
                Some(_) => {}
                None => directory.refuse_series(SeriesId(id), &labels, kind),
            }
        }
    }
}

/// Which are dead, if they are so many that it pays to give them back; else none.
fn of_many(mut is_dead: Vec<bool>) -> Vec<bool> {
    let dead = is_dead.iter().filter(|is_dead| **is_dead).count();
    if !is_much(dead, is_dead.len()) {
        is_dead.fill(false);
    }
    is_dead
}

/// Whether it pays to give back so many of all.
fn is_much(gone: usize, all: usize) -> bool {
    0 < gone && all / FORGOTTEN_SHARE <= gone
}

fn living(id: u32) -> Option<u32> {
    (id != NONE).then_some(id)
}

/// Leaves what is not dead, and no room for the others.
fn retain<T>(all: &mut Vec<T>, is_dead: &[bool]) {
    let mut is_dead = is_dead.iter();
    all.retain(|_| !is_dead.next().copied().unwrap_or_default());
    all.shrink_to_fit();
}

impl Shard {
    /// The slots of series that have samples in open buckets, each once or more often.
    fn with_samples(&self) -> impl Iterator<Item = u32> {
        self.open.iter().flat_map(|bucket| bucket.samples.series())
    }

    /// The slots of streams that have records in open buckets, each once or more often.
    fn with_records(&self) -> impl Iterator<Item = u32> {
        self.open.iter().flat_map(|bucket| bucket.logs.streams())
    }

    /// Forgets the keys of streams that are dead, and those of no service. Gives the new slot of each old one.
    fn forget_streams(&mut self, is_dead: impl Fn(u32) -> bool) -> Vec<u32> {
        let before = self.streams.len();
        let slots = self.streams.retain(|slot, stream| {
            stream.classes.is_some() && (stream.new.is_some() || !is_dead(slot))
        });
        let gone = (before - self.streams.len()) as u64;
        self.counters.streams = self.counters.streams.saturating_sub(gone);
        let renamed = |slot: u32| slots[slot as usize];
        for bucket in &mut self.open {
            bucket.logs.rename(|key| LogKey {
                stream: renamed(key.stream),
                ..key.clone()
            });
        }
        for new in &mut self.new_streams {
            new.slot = renamed(new.slot);
        }
        self.rename_stream_losses(renamed);
        slots
    }

    /// Forgets the keys of series that are bound and dead, and those that were refused and have no samples in
    /// open buckets. Gives the new slot
    /// of each old one.
    fn forget(&mut self, is_dead: impl Fn(u32) -> bool) -> Vec<u32> {
        self.ask_refused_again();
        let mut has_samples = vec![false; self.series.len()];
        for slot in self.with_samples() {
            has_samples[slot as usize] = true;
        }
        let slots = self.series.retain(|slot, key| match key.standing {
            Standing::New(_) | Standing::Naming => true,
            Standing::Bound => !is_dead(slot),
            Standing::Refused(_) | Standing::Again => has_samples[slot as usize],
        });
        let renamed = |slot: u32| slots[slot as usize];
        for bucket in &mut self.open {
            bucket.samples.rename(renamed);
        }
        for new in &mut self.new_series {
            new.slot = renamed(new.slot);
        }
        self.rename_losses(renamed);
        self.forget_unselected();
        self.generation = self.generation.wrapping_add(1);
        slots
    }
}
