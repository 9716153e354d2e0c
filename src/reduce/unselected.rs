//! Series that no check selects: remembered by 128 bits each, so that they are asked about once.

use std::collections::BTreeSet;

use hashbrown::HashTable;

/// Metrics of which one remembers the name, for whoever wonders what is not looked at: the first by name, so
/// that they do not depend on the order in which they came.
pub(super) const NAMES_MAX: usize = 5;

/// Remembers keys by two hashes.
///
/// They lie in the order in which they came. Senders repeat their order, so that the one after the last
/// is tried first: mostly memory is read from front to back, and the table not at all.
#[derive(Clone, Debug, Default)]
pub(super) struct Unselected {
    keys: Vec<(u64, u64)>,
    lookup: HashTable<u32>,
    names: BTreeSet<Box<str>>,
}

impl Unselected {
    /// Whether the key after `before` has this first hash.
    #[inline]
    pub(super) fn follows(&self, before: u32, hash: u64) -> bool {
        let next = self.keys.get(before.wrapping_add(1) as usize);
        next.is_some_and(|key| key.0 == hash)
    }

    /// The place of a key; `before` is the place that came before.
    #[inline]
    pub(super) fn find(&self, key: (u64, u64), before: u32) -> Option<u32> {
        let next = before.wrapping_add(1);
        if self.keys.get(next as usize) == Some(&key) {
            return Some(next);
        }
        let found = self.lookup.find(key.0, |place| self.is(*place, key));
        found.copied()
    }

    /// The first names of metrics, ascending.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Adds a key that [`Unselected::find`] did not find, of a series of this metric; gives its place.
    pub(super) fn insert(&mut self, key: (u64, u64), metric: &str) -> u32 {
        self.note(metric);
        let place = u32::try_from(self.keys.len()).expect("the limit of series fits 32 bits");
        self.keys.push(key);
        let keys = &self.keys;
        self.lookup
            .insert_unique(key.0, place, |place| keys[*place as usize].0);
        place
    }

    fn note(&mut self, metric: &str) {
        let has_room = self.names.len() < NAMES_MAX;
        let is_first = self.names.last().is_none_or(|last| metric < &**last);
        if metric.is_empty() || !(has_room || is_first) || self.names.contains(metric) {
            return;
        }
        self.names.insert(metric.into());
        if NAMES_MAX < self.names.len() {
            self.names.pop_last();
        }
    }

    fn is(&self, place: u32, key: (u64, u64)) -> bool {
        self.keys[place as usize] == key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reduce::shard::NOTHING_BEFORE;

    #[test]
    fn keys_are_found_in_any_order_and_need_both_hashes() {
        let mut known = Unselected::default();
        let keys: Vec<(u64, u64)> = (0..100).map(|number| (number / 2, number)).collect();
        for key in &keys {
            assert_eq!(known.find(*key, NOTHING_BEFORE), None);
            known.insert(*key, "up");
        }
        for (place, key) in (0_u32..).zip(&keys) {
            for before in [NOTHING_BEFORE, place.wrapping_sub(1), 0, 99] {
                assert_eq!(known.find(*key, before), Some(place), "after {before}");
            }
            assert_eq!(known.find((key.0, 1_000), NOTHING_BEFORE), None);
        }
        assert!(known.follows(NOTHING_BEFORE, 0) && known.follows(1, 1) && !known.follows(99, 0));
    }

    #[test]
    fn the_first_names_are_remembered_in_any_order() {
        fn told<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
            let mut known = Unselected::default();
            for (number, name) in (0..).zip(names) {
                known.insert((number, number), name);
            }
            known.names().map(str::to_owned).collect()
        }
        let names = ["up", "cpu", "", "disk", "up", "net", "a", "mem", "b", "cpu"];
        let first = ["a", "b", "cpu", "disk", "mem"];
        assert_eq!(told(names.into_iter()), first);
        assert_eq!(told(names.into_iter().rev()), first);
    }
}
