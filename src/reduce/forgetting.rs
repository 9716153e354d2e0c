//! Series that come no more → room for others.
//!
//! Hosts come and go: with every deployment of a service that runs in pods, all of its series are new, and
//! those before never come again. What is remembered of them is given back, or the limits of series would
//! be reached some day by nothing but the dead.

use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard},
};

use super::{
    Directory, LossSource, Reducer, SeriesId,
    key_table::NONE,
    selected::{Selected, hour},
    shard::Shard,
    standing::Standing,
};
use crate::event::Timestamp;

/// What share of all pays for the walk over those that stay.
const FORGOTTEN_SHARE: usize = 8;

impl Reducer {
    /// Forgets the series that had no data since a time, if they are many, and what a limit refused or
    /// nobody selects, if that is much: what comes again is new. Says whether it did.
    ///
    /// `unbind` is told before the others are bound again, in the order that they had, under numbers
    /// without gaps. To be called between two inputs, when the buckets of the last tick are closed.
    ///
    /// Which series are forgotten depends on nothing but the closed buckets. Batches behind the tick may
    /// have been put already: a series that comes again in one of them keeps its id, and like one that
    /// comes later it has nothing of its past.
    pub fn forget<D: Directory>(
        &mut self,
        before: Timestamp,
        directory: &mut D,
        unbind: impl FnOnce(&mut D),
    ) -> bool {
        debug_assert!(self.taken.is_empty(), "what is over is closed");
        let hour = hour(before);
        let mut is_dead: Vec<bool> = self
            .selected
            .iter()
            .map(|known| known.heard < hour)
            .collect();
        let dead = is_dead.iter().filter(|is_dead| **is_dead).count();
        if !is_much(dead, self.selected.len()) {
            is_dead.fill(false);
            let is_full = self.shards.limits().series / 2 < self.shards.unselected();
            if !is_full && !is_much(self.refused, self.selected.len()) {
                return false;
            }
        }
        self.refused = 0;
        let shards = Arc::clone(&self.shards);
        // Nothing is put meanwhile. Whoever puts holds one of the locks, and waits for no other.
        let mut all: Vec<MutexGuard<'_, Shard>> =
            (0..shards.len()).map(|index| shards.lock(index)).collect();
        let mut coming = vec![false; is_dead.len()];
        for (shard, ids) in all.iter().zip(&self.ids) {
            for slot in shard.with_samples() {
                if let Some(id) = ids.series(slot) {
                    coming[id as usize] |= std::mem::take(&mut is_dead[id as usize]);
                }
            }
        }
        let mut slots = Vec::with_capacity(all.len());
        for (shard, ids) in all.iter_mut().zip(&self.ids) {
            let is_dead = |slot: u32| ids.series(slot).is_none_or(|id| is_dead[id as usize]);
            let keys = shard.series.len();
            slots.push(shard.forget(is_dead));
            shards.give_back(keys - shard.series.len());
        }
        shards.give_back_unselected();
        let ids = self.registry.retain(|id| !is_dead[id as usize], &slots);
        for (known, slots) in self.ids.iter_mut().zip(&slots) {
            known.rename_series(slots, &ids);
        }
        drop(all);
        let mut dead = is_dead.iter();
        self.selected
            .retain(|_| !dead.next().copied().unwrap_or_default());
        self.selected.shrink_to_fit();
        self.rename_losses(&ids);
        unbind(directory);
        let coming = coming.iter().zip(&ids).filter(|(is_coming, _)| **is_coming);
        self.bind_again(&coming.map(|(_, id)| *id).collect(), directory);
        true
    }

    fn rename_losses(&mut self, ids: &[u32]) {
        let renamed = |((source, reason), count)| {
            let source = match source {
                LossSource::Series(SeriesId(id)) => {
                    LossSource::Series(SeriesId(Some(ids[id as usize]).filter(|id| *id != NONE)?))
                }
                LossSource::Stream(_) => source,
            };
            Some(((source, reason), count))
        };
        let losses = std::mem::take(&mut self.losses);
        self.losses = losses.into_iter().filter_map(renamed).collect();
    }

    /// Binds all series again, in the order of their ids; nothing is remembered of those that are `new`.
    fn bind_again<D: Directory>(&mut self, new: &BTreeSet<u32>, directory: &mut D) {
        let now = self.epoch.closed.unwrap_or(Timestamp::MIN);
        for (id, known) in (0..).zip(&mut self.selected) {
            let labels = self.registry.labels(id, &self.shards);
            let (meta, kind) = (known.meta, known.registration.kind);
            match directory.bind_series(SeriesId(id), &labels, meta, kind) {
                Some(bound) if new.contains(&id) => *known = Selected::new(meta, bound, now),
                Some(_) => {}
                None => directory.refuse_series(&labels, meta, kind),
            }
        }
    }
}

/// Whether it pays to give back so many of all series.
fn is_much(gone: usize, all: usize) -> bool {
    0 < gone && all / FORGOTTEN_SHARE <= gone
}

impl Shard {
    /// The slots of series that have samples in open buckets, each once or more often.
    fn with_samples(&self) -> impl Iterator<Item = u32> {
        self.open.iter().flat_map(|bucket| bucket.samples.series())
    }

    /// Forgets the keys of series that are bound and dead, and those that were refused. Gives the new slot
    /// of each old one.
    fn forget(&mut self, is_dead: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut has_samples = vec![false; self.series.len()];
        for slot in self.with_samples() {
            has_samples[slot as usize] = true;
        }
        let slots = self.series.retain(|slot, key| match key.standing {
            Standing::New(_) | Standing::Naming => true,
            Standing::Bound => !is_dead(slot),
            // Its samples are left out when they are named.
            Standing::Refused => has_samples[slot as usize],
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
