//! Label sets → dense indices, by one hash look-up.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::event::Labels;

/// Any fixed number does: the table is never iterated, so nothing depends on it.
const SEED: u64 = 0x736c_7569_6365;

/// Numbers label sets in the order in which they are added.
#[derive(Clone, Debug)]
pub(super) struct LabelTable {
    lookup: HashTable<u32>,
    entries: Vec<Entry>,
    hasher: FixedState,
}

#[derive(Clone, Debug)]
struct Entry {
    labels: Labels,
    hash: u64,
}

impl LabelTable {
    pub(super) fn new() -> Self {
        Self {
            lookup: HashTable::new(),
            entries: Vec::new(),
            hasher: FixedState::with_seed(SEED),
        }
    }

    /// The index of a label set.
    ///
    /// # Errors
    /// It is not in the table; the hash is returned, for [`LabelTable::insert`].
    pub(super) fn find(&self, labels: &Labels) -> Result<u32, u64> {
        let hash = self.hasher.hash_one(labels);
        self.lookup
            .find(hash, |index| {
                let entry = &self.entries[*index as usize];
                entry.hash == hash && entry.labels == *labels
            })
            .copied()
            .ok_or(hash)
    }

    /// Adds a label set that [`LabelTable::find`] did not find.
    pub(super) fn insert(&mut self, labels: Labels, hash: u64) -> u32 {
        let index = u32::try_from(self.entries.len()).expect("the limit of series fits 32 bits");
        self.entries.push(Entry { labels, hash });
        let entries = &self.entries;
        self.lookup
            .insert_unique(hash, index, |other| entries[*other as usize].hash);
        index
    }

    pub(super) fn labels(&self, index: u32) -> &Labels {
        &self.entries[index as usize].labels
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
