//! Keys of series or streams → dense slots, by one hash look-up that is verified byte for byte.

use hashbrown::HashTable;

/// Numbers keys in the order in which they are added.
///
/// The bytes of all keys lie one behind the other. Senders repeat their order, so that the key after
/// the last one is tried first: mostly that spares the look-up in the table.
#[derive(Clone, Debug)]
pub(super) struct KeyTable<T> {
    lookup: HashTable<u32>,
    entries: Vec<Entry<T>>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    hash: u64,
    start: u32,
    len: u32,
    /// The slot that followed when this one was last seen.
    successor: u32,
    value: T,
}

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

impl<T> KeyTable<T> {
    pub(super) fn new() -> Self {
        Self {
            lookup: HashTable::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// The slot of a key; `before` is the slot that came before, or [`NONE`].
    #[inline]
    pub(super) fn find(&mut self, hash: u64, key: [&[u8]; 3], before: u32) -> Option<u32> {
        let guess = match self.entries.get(before as usize) {
            Some(entry) => entry.successor,
            None => NONE,
        };
        if self.is(guess, hash, key) {
            return Some(guess);
        }
        self.look_up(hash, key, before)
    }

    /// The slot of a key that is not the successor of `before`.
    fn look_up(&mut self, hash: u64, key: [&[u8]; 3], before: u32) -> Option<u32> {
        let slot = *self.lookup.find(hash, |slot| self.is(*slot, hash, key))?;
        if let Some(entry) = self.entries.get_mut(before as usize) {
            entry.successor = slot;
        }
        Some(slot)
    }

    /// Adds a key that [`KeyTable::find`] did not find; `None`: there is no room.
    pub(super) fn insert(&mut self, hash: u64, key: [&[u8]; 3], value: T) -> Option<u32> {
        let len: usize = key.iter().map(|piece| piece.len()).sum();
        let start = u32::try_from(self.bytes.len()).ok()?;
        u32::try_from(self.bytes.len().checked_add(len)?).ok()?;
        let slot = u32::try_from(self.entries.len())
            .ok()
            .filter(|slot| *slot != NONE)?;
        for piece in key {
            self.bytes.extend_from_slice(piece);
        }
        self.entries.push(Entry {
            hash,
            start,
            len: len as u32,
            successor: slot.wrapping_add(1),
            value,
        });
        let entries = &self.entries;
        self.lookup
            .insert_unique(hash, slot, |slot| entries[*slot as usize].hash);
        Some(slot)
    }

    /// Leaves the keys that are wanted, in their order. Gives the new slot of each old one, [`NONE`] for
    /// those that are gone.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(u32, &T) -> bool) -> Vec<u32> {
        let Self { entries, bytes, .. } = std::mem::replace(self, Self::new());
        let mut slots = Vec::with_capacity(entries.len());
        for (slot, entry) in (0..).zip(entries) {
            let key = &bytes[entry.start as usize..][..entry.len as usize];
            let kept = if is_wanted(slot, &entry.value) {
                self.insert(entry.hash, [key, &[], &[]], entry.value)
            } else {
                None
            };
            slots.push(kept.unwrap_or(NONE));
        }
        slots
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn value(&self, slot: u32) -> &T {
        &self.entries[slot as usize].value
    }

    #[inline]
    pub(super) fn value_mut(&mut self, slot: u32) -> &mut T {
        &mut self.entries[slot as usize].value
    }

    /// The bytes of a key, its pieces one behind the other.
    pub(super) fn key(&self, slot: u32) -> &[u8] {
        let entry = &self.entries[slot as usize];
        &self.bytes[entry.start as usize..][..entry.len as usize]
    }

    #[inline]
    fn is(&self, slot: u32, hash: u64, [first, second, third]: [&[u8]; 3]) -> bool {
        let Some(entry) = self.entries.get(slot as usize) else {
            return false;
        };
        let len = first.len() + second.len() + third.len();
        if entry.hash != hash || entry.len as usize != len {
            return false;
        }
        let stored = &self.bytes[entry.start as usize..][..len];
        if stored.len() == first.len() {
            return stored == first;
        }
        stored[..first.len()] == *first
            && stored[first.len()..first.len() + second.len()] == *second
            && stored[first.len() + second.len()..] == *third
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_hash_are_told_apart_by_their_bytes() {
        let mut table = KeyTable::new();
        let keys: [[&[u8]; 3]; 3] = [[b"a", b"", b""], [b"b", b"", b""], [b"a", b"b", b"c"]];
        for (slot, key) in (0..).zip(keys) {
            assert_eq!(table.find(7, key, NONE), None);
            assert_eq!(table.insert(7, key, slot * 10), Some(slot));
        }
        for (slot, key) in (0..).zip(keys) {
            for before in [NONE, 0, 1, 2] {
                assert_eq!(table.find(7, key, before), Some(slot), "after {before}");
            }
            assert_eq!(*table.value(slot), slot * 10);
        }
        assert_eq!(table.find(7, [b"c", b"", b""], 0), None);
        assert_eq!(table.find(8, keys[0], 0), None);
        assert_eq!((table.key(2), table.len()), (&b"abc"[..], 3));
    }

    #[test]
    fn keys_that_are_left_keep_their_order_and_are_found() {
        let mut table = KeyTable::new();
        let keys: Vec<[u8; 2]> = (0..100).map(|number| [number, 7]).collect();
        for key in &keys {
            table.insert(u64::from(key[0] / 2), [&key[..1], &key[1..], b""], key[0]);
        }
        let slots = table.retain(|_, number| number % 3 == 0);
        assert_eq!((slots.len(), table.len()), (100, 34));
        for (key, slot) in keys.iter().zip(&slots) {
            let found = table.find(u64::from(key[0] / 2), [&key[..], b"", b""], NONE);
            assert_eq!(found.unwrap_or(NONE), *slot);
            if key[0] % 3 == 0 {
                assert_eq!(
                    (u32::from(key[0]) / 3, key[0]),
                    (*slot, *table.value(*slot))
                );
                assert_eq!(table.key(*slot), key);
            }
        }
    }

    #[test]
    fn another_order_is_learned() {
        let mut table = KeyTable::new();
        let keys: Vec<[u8; 1]> = (0..10).map(|number| [number]).collect();
        for key in &keys {
            table.insert(u64::from(key[0]), [&key[..], b"", b""], ());
        }
        let mut before = NONE;
        for key in keys.iter().rev() {
            before = table
                .find(u64::from(key[0]), [&key[..], b"", b""], before)
                .expect("every key is in the table");
        }
        for (slot, entry) in (0u32..).zip(&table.entries).skip(1) {
            assert_eq!(entry.successor, slot - 1);
        }
    }
}
