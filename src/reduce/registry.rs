//! Label sets of selected series or streams → ids, in the order in which they were named.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{Shards, key_table::NONE};
use crate::event::{Labels, canonical};

/// Any fixed number does: the table is never iterated, so nothing depends on it.
const SEED: u64 = 0x736c_7569_6365;

/// Numbers label sets by their canonical bytes.
///
/// Where the key of a series is canonical already, as Prometheus sends it, its bytes stand in a shard and
/// not here a second time.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    lookup: HashTable<u32>,
    entries: Vec<Entry>,
    own: Own,
    scratch: Vec<u8>,
}

/// Canonical bytes that stand in no shard.
#[derive(Clone, Debug, Default)]
struct Own {
    bytes: Vec<u8>,
    /// Where those of each end.
    ends: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    place: Place,
}

/// Where canonical bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An index into [`Own`].
    Own(u32),
    Key {
        shard: u16,
        slot: u32,
    },
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            lookup: HashTable::new(),
            entries: Vec::new(),
            own: Own::default(),
            scratch: Vec::new(),
        }
    }

    /// The id of a label set, if it has one.
    pub(super) fn find(&mut self, labels: &Labels, shards: &Shards) -> Option<u32> {
        let hash = self.fill_scratch(labels);
        let Self {
            lookup,
            entries,
            own,
            scratch,
        } = self;
        lookup
            .find(hash, |id| {
                let entry = entries[*id as usize];
                entry.hash == hash && with_bytes(entry.place, own, shards, |at| at == scratch)
            })
            .copied()
    }

    /// Names a label set that has no id. `keys` are places of keys that mean it: if one of them is
    /// canonical, its bytes stand for the label set.
    ///
    /// # Panics
    /// There are 2^32 already, which no limit allows.
    pub(super) fn insert(
        &mut self,
        labels: &Labels,
        keys: impl IntoIterator<Item = (usize, u32)>,
        shards: &Shards,
    ) -> u32 {
        let hash = self.fill_scratch(labels);
        let id = u32::try_from(self.entries.len()).expect("the limit of series fits 32 bits");
        let shared = keys.into_iter().find_map(|(shard, slot)| {
            let is_canonical = shards.lock(shard).series.key(slot) == self.scratch;
            is_canonical.then_some(Place::Key {
                shard: shard as u16,
                slot,
            })
        });
        let place = shared.unwrap_or_else(|| self.own.push(&self.scratch));
        self.entries.push(Entry { hash, place });
        let entries = &self.entries;
        self.lookup
            .insert_unique(hash, id, |id| entries[*id as usize].hash);
        id
    }

    /// Leaves the label sets that are wanted, in their order. `slots` gives, by shard, the new slot of each
    /// old one. Gives the new id of each old one, [`NONE`] for those that are gone.
    pub(super) fn retain(
        &mut self,
        is_wanted: impl Fn(u32) -> bool,
        slots: &[Vec<u32>],
    ) -> Vec<u32> {
        let Self { entries, own, .. } = std::mem::replace(self, Self::new());
        let mut ids = Vec::with_capacity(entries.len());
        for (id, Entry { hash, place }) in (0..).zip(entries) {
            if !is_wanted(id) {
                ids.push(NONE);
                continue;
            }
            let place = match place {
                Place::Own(index) => self.own.push(own.get(index)),
                // The keys of what stays stay.
                Place::Key { shard, slot } => Place::Key {
                    shard,
                    slot: slots[usize::from(shard)][slot as usize],
                },
            };
            ids.push(self.entries.len() as u32);
            self.entries.push(Entry { hash, place });
        }
        let entries = &self.entries;
        for (id, entry) in (0..).zip(entries) {
            self.lookup
                .insert_unique(entry.hash, id, |id| entries[*id as usize].hash);
        }
        ids
    }

    /// All canonical bytes in the order of the ids, and the length of those of each id.
    pub(super) fn save(&self, shards: &Shards) -> (Vec<u8>, Vec<u32>) {
        let mut all = Vec::new();
        let lengths = self.entries.iter().map(|entry| {
            let start = all.len();
            with_bytes(entry.place, &self.own, shards, |bytes| {
                all.extend_from_slice(bytes);
            });
            (all.len() - start) as u32
        });
        let lengths = lengths.collect();
        (all, lengths)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The label set of an id.
    pub(super) fn labels(&self, id: u32, shards: &Shards) -> Labels {
        let place = self.entries[id as usize].place;
        with_bytes(place, &self.own, shards, |bytes| {
            canonical::read([bytes, &[], &[]]).expect("the bytes are canonical")
        })
    }

    /// The same if it is of a metric that is asked for.
    pub(super) fn labels_of(
        &self,
        id: u32,
        shards: &Shards,
        is_asked: impl Fn(&str) -> bool,
    ) -> Option<Labels> {
        self.with_metric(id, shards, is_asked)
            .then(|| self.labels(id, shards))
    }

    /// Does something with the name of its metric.
    pub(super) fn with_metric<T>(
        &self,
        id: u32,
        shards: &Shards,
        use_metric: impl FnOnce(&str) -> T,
    ) -> T {
        let place = self.entries[id as usize].place;
        with_bytes(place, &self.own, shards, |bytes| {
            use_metric(canonical::metric(bytes).unwrap_or_default())
        })
    }

    fn fill_scratch(&mut self, labels: &Labels) -> u64 {
        self.scratch.clear();
        canonical::write(labels, &mut self.scratch);
        let mut hasher = FixedState::with_seed(SEED).build_hasher();
        hasher.write(&self.scratch);
        hasher.finish()
    }
}

impl Own {
    fn push(&mut self, bytes: &[u8]) -> Place {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len() as u64);
        // There are no more of them than ids.
        Place::Own(self.ends.len() as u32 - 1)
    }

    fn get(&self, index: u32) -> &[u8] {
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[index] as usize]
    }
}

fn with_bytes<T>(
    place: Place,
    own: &Own,
    shards: &Shards,
    use_bytes: impl FnOnce(&[u8]) -> T,
) -> T {
    match place {
        Place::Own(index) => use_bytes(own.get(index)),
        Place::Key { shard, slot } => use_bytes(shards.lock(usize::from(shard)).series.key(slot)),
    }
}
