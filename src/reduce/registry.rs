//! Label sets of selected series or streams → ids, in the order in which they were named.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

use crate::event::{Labels, canonical};

/// Any fixed number does: the table is never iterated, so nothing depends on it.
const SEED: u64 = 0x736c_7569_6365;

/// Numbers label sets. Their canonical bytes lie one behind the other.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    lookup: HashTable<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    end: u64,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            lookup: HashTable::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The id of a label set, if it has one.
    pub(super) fn find(&mut self, labels: &Labels) -> Option<u32> {
        let hash = self.fill_scratch(labels);
        self.lookup
            .find(hash, |id| {
                self.entries[*id as usize].hash == hash && self.canonical(*id) == self.scratch
            })
            .copied()
    }

    /// Names a label set that has no id.
    ///
    /// # Panics
    /// There are 2^32 already, which no limit allows.
    pub(super) fn insert(&mut self, labels: &Labels) -> u32 {
        let hash = self.fill_scratch(labels);
        let id = u32::try_from(self.entries.len()).expect("the limit of series fits 32 bits");
        self.bytes.extend_from_slice(&self.scratch);
        self.entries.push(Entry {
            hash,
            end: self.bytes.len() as u64,
        });
        let entries = &self.entries;
        self.lookup
            .insert_unique(hash, id, |id| entries[*id as usize].hash);
        id
    }

    /// All canonical bytes, and the length of those of each id.
    pub(super) fn save(&self) -> (&[u8], Vec<u32>) {
        let mut start = 0;
        let lengths = self.entries.iter().map(|entry| {
            let len = entry.end - start;
            start = entry.end;
            len as u32
        });
        (&self.bytes, lengths.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The canonical bytes of a label set.
    pub(super) fn canonical(&self, id: u32) -> &[u8] {
        let start = match id.checked_sub(1) {
            Some(before) => self.entries[before as usize].end,
            None => 0,
        };
        &self.bytes[start as usize..self.entries[id as usize].end as usize]
    }

    /// The label set of an id.
    pub(super) fn labels(&self, id: u32) -> Labels {
        canonical::read([self.canonical(id), &[], &[]]).expect("the registry wrote it itself")
    }

    fn fill_scratch(&mut self, labels: &Labels) -> u64 {
        self.scratch.clear();
        canonical::write(labels, &mut self.scratch);
        let mut hasher = FixedState::with_seed(SEED).build_hasher();
        hasher.write(&self.scratch);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_labels_have_one_id_and_come_back() {
        let mut registry = Registry::new();
        let (a, b) = (Labels::new([("app", "x")]), Labels::new([("app", "y")]));
        assert_eq!(registry.find(&a), None);
        assert_eq!((registry.insert(&a), registry.insert(&b)), (0, 1));
        assert_eq!((registry.find(&b), registry.find(&a)), (Some(1), Some(0)));
        assert_eq!((registry.labels(0), registry.labels(1)), (a, b));
        assert_eq!(registry.len(), 2);
    }
}
