//! Keys that came lately, in the order in which senders repeat them.
//!
//! A sender repeats its series in the same order with every request. So whoever walks a request compares
//! its bytes with the key that followed last time: where they are the same, it need neither find where the
//! labels of the series end, nor hash them, nor look them up.
//!
//! Neighbours have most of their labels in common. Of a key is kept what the one before does not have: of
//! some 280 bytes about 30, so that little comes from slow memory. The rest is compared with the key
//! before as the request has it, which has just been compared itself.
//!
//! Only a part of all keys is remembered. Of a key that is not among them nothing is known: what a cache
//! says is never needed.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::HashTable;

/// Most keys that are remembered: 32 bytes each, beside [`BYTES_MAX`].
const KEYS_MAX: usize = 1 << 17;
/// Most bytes of what keys do not have in common with the one before.
const BYTES_MAX: usize = 8 << 20;
/// Longest key that is remembered, in bytes: of most senders they have 200 to 1,000.
const KEY_BYTES_MAX: usize = 4 << 10;
/// Each so manieth key is kept whole, so that no key takes more steps than that to be put together.
const WHOLE_EACH: usize = 32;
/// Keys out of order for which one request is searched without any that came in order: to find one costs
/// as much as to look up some twenty.
const PATIENCE: u32 = 4;
/// Keys in order that pay for one more out of order.
const HITS_PER_SEARCH: u32 = 8;
/// After so many keys that were not found it is asked whether what is remembered helps: by then it costs
/// nothing to learn as many anew as there is room for.
const MISSES_MAX: u64 = 64 * KEYS_MAX as u64;
/// After so many requests that brought nothing to learn, though they were not expected, no more is learned.
const FUTILE_MAX: u32 = 256;

/// Remembers keys of one piece, with their hashes and what somebody noted about each.
#[derive(Debug)]
pub struct KeyCache {
    edition: Edition,
    keys: Vec<Key>,
    /// What keys do not have in common with the one before.
    bytes: Vec<u8>,
    lookup: HashTable<u32>,
    /// The last of `keys`.
    last: Vec<u8>,
    is_full: bool,
    futile: u32,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Key {
    hash: u64,
    note: u64,
    /// Where its own bytes stand.
    start: u32,
    len: u16,
    /// Bytes that it has in common with the key before: at its front, and at its back.
    front: u16,
    back: u16,
}

/// Where a key stands in a [`KeyCache`]; good for one [`Edition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace(NonZeroU32);

/// Tells what is remembered now from what was before it was forgotten.
#[derive(Clone, Debug)]
pub struct Edition(Arc<()>);

/// A key that was expected, and came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// Where it stands.
    pub place: KeyPlace,
    /// Its hash.
    pub hash: u64,
    /// Its bytes.
    pub len: usize,
}

/// Which key comes next in a request.
#[derive(Debug)]
pub struct Expectation<'a> {
    cache: &'a KeyCache,
    /// The key that is expected.
    next: usize,
    /// The key before, as it stands in the request.
    before: &'a [u8],
    hits: u32,
    misses: u32,
    searches: u32,
}

impl KeyPlace {
    #[inline]
    fn new(index: usize) -> Option<Self> {
        NonZeroU32::new(index as u32 + 1).map(Self)
    }

    #[inline]
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl PartialEq for Edition {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for KeyCache {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyCache {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self {
            edition: Edition(Arc::new(())),
            keys: Vec::new(),
            bytes: Vec::new(),
            lookup: HashTable::new(),
            last: Vec::new(),
            is_full: false,
            futile: 0,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Tells whether places are still good.
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Begins a request.
    pub fn expect(&self) -> Expectation<'_> {
        Expectation {
            cache: self,
            next: usize::MAX,
            before: &[],
            hits: 0,
            misses: 0,
            searches: 0,
        }
    }

    /// What was noted about a key.
    #[inline]
    pub fn note(&self, place: KeyPlace) -> u64 {
        self.keys[place.index()].note
    }

    /// Whether it wants to learn keys that are not remembered.
    pub fn is_eager(&self) -> bool {
        !self.is_full || self.is_stale()
    }

    /// Learns keys with their hashes and notes, in the order in which they came. What is told about them
    /// was found out in the edition `of`; if it is another one now, it is void.
    pub fn learn<'k>(&mut self, of: &Edition, keys: impl Iterator<Item = (u64, &'k [u8], u64)>) {
        if *of != self.edition {
            return;
        }
        if self.is_full {
            if self.is_stale() {
                self.clear();
            }
            return;
        }
        let known = self.keys.len();
        for (hash, key, note) in keys {
            self.add(hash, key, note);
        }
        let is_futile = self.keys.len() == known;
        self.futile = if is_futile { self.futile + 1 } else { 0 };
        self.is_full |= self.futile == FUTILE_MAX;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    fn add(&mut self, hash: u64, key: &[u8], note: u64) {
        let index = self.keys.len();
        // One with the same hash that is another key is left out.
        let is_known = |known: &u32| self.keys[*known as usize].hash == hash;
        if KEY_BYTES_MAX < key.len() || self.lookup.find(hash, is_known).is_some() {
            return;
        }
        if KEYS_MAX <= index || BYTES_MAX < self.bytes.len() + key.len() {
            self.is_full = true;
            return;
        }
        let (front, back) = if index.is_multiple_of(WHOLE_EACH) {
            (0, 0)
        } else {
            in_common(&self.last, key)
        };
        self.keys.push(Key {
            hash,
            note,
            start: self.bytes.len() as u32,
            len: (key.len() - front - back) as u16,
            front: front as u16,
            back: back as u16,
        });
        self.bytes.extend_from_slice(&key[front..key.len() - back]);
        self.last.clear();
        self.last.extend_from_slice(key);
        let keys = &self.keys;
        self.lookup
            .insert_unique(hash, index as u32, |index| keys[*index as usize].hash);
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_known = |known: &u32| self.keys[*known as usize].hash == hash;
        let index = *self.lookup.find(hash, is_known)? as usize;
        (self.whole(index) == key).then_some(index)
    }

    /// Puts a key together.
    fn whole(&self, index: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        for key in &self.keys[index - index % WHOLE_EACH..=index] {
            let back = whole.split_off(whole.len() - usize::from(key.back));
            whole.truncate(key.front.into());
            whole.extend_from_slice(self.own(key));
            whole.extend_from_slice(&back);
        }
        whole
    }

    #[inline]
    fn own(&self, key: &Key) -> &[u8] {
        &self.bytes[key.start as usize..][..key.len.into()]
    }

    /// Whether it is full of keys of which most come no more.
    fn is_stale(&self) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        MISSES_MAX <= misses && self.hits.load(Ordering::Relaxed) < misses
    }
}

/// How many bytes two keys have in common at their fronts, and at their backs beside those.
fn in_common(one: &[u8], other: &[u8]) -> (usize, usize) {
    let same = |(one, other): &(&u8, &u8)| one == other;
    let front = one.iter().zip(other).take_while(same).count();
    let (one, other) = (&one[front..], &other[front..]);
    let back = one.iter().rev().zip(other.iter().rev());
    (front, back.take_while(same).count())
}

impl<'a> Expectation<'a> {
    /// The key that is expected, if these bytes begin with it and `then`.
    #[inline]
    pub fn meet(&mut self, bytes: &'a [u8], then: u8) -> Option<Recognised> {
        let key = self.cache.keys.get(self.next)?;
        let (front, back) = (usize::from(key.front), usize::from(key.back));
        let own = self.cache.own(key);
        let len = front + own.len() + back;
        if bytes.get(len) != Some(&then) {
            return None;
        }
        let bytes = &bytes[..len];
        let is_it = bytes[front..len - back] == *own
            && bytes[..front] == self.before[..front]
            && bytes[len - back..] == self.before[self.before.len() - back..];
        if !is_it {
            return None;
        }
        let place = KeyPlace::new(self.next)?;
        self.hits += 1;
        self.next += 1;
        self.before = bytes;
        Some(Recognised {
            place,
            hash: key.hash,
            len,
        })
    }

    /// Looks for a key that came and was not expected. The one behind it is expected next.
    pub fn find(&mut self, hash: u64, key: &'a [u8]) -> Option<KeyPlace> {
        self.misses += 1;
        if PATIENCE + self.hits / HITS_PER_SEARCH <= self.searches {
            return None;
        }
        self.searches += 1;
        let found = self.cache.find(hash, key)?;
        self.next = found + 1;
        self.before = key;
        KeyPlace::new(found)
    }
}

impl Drop for Expectation<'_> {
    /// Counts what came.
    fn drop(&mut self) {
        let KeyCache { hits, misses, .. } = self.cache;
        let add = |sum: &AtomicU64, more: u32| {
            let more = u64::from(more);
            more + sum.fetch_add(more, Ordering::Relaxed)
        };
        let (hits_sum, misses_sum) = (add(hits, self.hits), add(misses, self.misses));
        if MISSES_MAX <= misses_sum && misses_sum <= hits_sum {
            // It helps; whether it will is asked anew.
            hits.store(0, Ordering::Relaxed);
            misses.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THEN: u8 = 0x12;

    /// Ends a key as the next field of a request does.
    fn sent(key: &[u8]) -> Vec<u8> {
        [key, &[THEN, 7]].concat()
    }

    fn hash(key: &[u8]) -> u64 {
        let add = |hash: u64, byte: &u8| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
        key.iter().fold(7, add)
    }

    /// One that many keys have in common.
    fn weak(key: &[u8]) -> u64 {
        hash(key) % 50
    }

    fn learned(keys: &[Vec<u8>], hash: fn(&[u8]) -> u64) -> KeyCache {
        let mut cache = KeyCache::new();
        let edition = cache.edition().clone();
        let notes = (100..).zip(keys);
        cache.learn(
            &edition,
            notes.map(|(note, key)| (hash(key), &key[..], note)),
        );
        cache
    }

    /// What a request of these keys meets, and what is found of the others; the note of each key.
    fn walk(cache: &KeyCache, keys: &[Vec<u8>], hash: fn(&[u8]) -> u64) -> (u32, Vec<Option<u64>>) {
        let sent: Vec<_> = keys.iter().map(|key| sent(key)).collect();
        let mut expected = cache.expect();
        let notes = keys.iter().zip(&sent).map(|(key, sent)| {
            if let Some(met) = expected.meet(sent, THEN) {
                assert_eq!((met.hash, met.len), (hash(key), key.len()));
                return Some(cache.note(met.place));
            }
            let found = expected.find(hash(key), &sent[..key.len()]);
            found.map(|place| cache.note(place))
        });
        let notes = notes.collect();
        (expected.hits, notes)
    }

    fn keys(count: usize) -> Vec<Vec<u8>> {
        let key = |number| format!("__name__=a_{};host=h{};job=shop", number % 7, number / 7);
        (0..count).map(|number| key(number).into_bytes()).collect()
    }

    #[test]
    fn what_repeats_is_met_from_wherever_it_begins() {
        let keys = keys(200);
        let cache = learned(&keys, hash);
        let all: Vec<_> = (100..300).map(Some).collect();
        assert_eq!(walk(&cache, &keys, hash), (199, all.clone()));
        assert_eq!(walk(&cache, &keys[77..], hash), (122, all[77..].to_vec()));
        // One that is new, and one that is missing.
        let other = [&keys[..50], &[b"new".to_vec()], &keys[50..90], &keys[91..]].concat();
        let (hits, notes) = walk(&cache, &other, hash);
        assert_eq!((hits, notes[50]), (197, None));
        assert_eq!([&notes[..50], &notes[51..91]].concat(), all[..90]);
        assert_eq!(notes[91..], all[91..]);
    }

    #[test]
    fn a_key_is_met_only_if_all_of_its_bytes_are_the_same() {
        let keys = keys(40);
        let cache = learned(&keys, hash);
        for at in [1, 31, 32, 33] {
            let (before, good) = (&keys[at - 1], sent(&keys[at]));
            let flipped = (0..keys[at].len()).map(|place| {
                let mut bad = good.clone();
                bad[place] ^= 1;
                bad
            });
            let longer = sent(&[&keys[at][..], b";more"].concat());
            let bad: Vec<_> = flipped.chain([longer]).collect();
            let mut expected = cache.expect();
            expected.find(hash(before), before);
            for bad in &bad {
                assert_eq!(expected.meet(bad, THEN), None, "{at}, {bad:?}");
            }
            assert_eq!(expected.meet(&good, THEN + 1), None);
            assert_eq!(expected.meet(&keys[at], THEN), None);
            let met = expected.meet(&good, THEN).unwrap();
            assert_eq!(cache.note(met.place), 100 + at as u64);
        }
    }

    proptest! {
        #[test]
        fn keys_are_found_by_their_bytes_whatever_they_have_in_common(
            keys in prop::collection::vec(prop::collection::vec(0..3_u8, 0..9), 0..80),
            other in prop::collection::vec(0..3_u8, 0..9),
        ) {
            let cache = learned(&keys, weak);
            let note = |key: &[u8]| {
                let first = keys.iter().position(|known| weak(known) == weak(key))?;
                (keys[first] == key).then_some(100 + first as u64)
            };
            for key in keys.iter().chain([&other]) {
                let found = cache.expect().find(weak(key), key);
                prop_assert_eq!(found.map(|place| cache.note(place)), note(key));
            }
            let (_, notes) = walk(&cache, &keys, weak);
            for (key, told) in keys.iter().zip(notes) {
                prop_assert!(told.is_none() || told == note(key));
            }
        }
    }

    #[test]
    fn what_does_not_help_is_forgotten_and_what_was_found_out_before_is_void() {
        let keys = keys(3);
        let mut cache = learned(&keys, hash);
        let before = cache.edition().clone();
        let learn = |cache: &mut KeyCache, of: &Edition| {
            let more = (0..2_u32).map(|number| (u64::from(number), number.to_le_bytes()));
            let more: Vec<_> = more.collect();
            let keys = more.iter().map(|(hash, key)| (*hash, &key[..], 1));
            cache.learn(of, keys);
        };
        cache.is_full = true;
        assert!(!cache.is_eager());
        learn(&mut cache, &before);
        assert_eq!(cache.keys.len(), 3);
        *cache.misses.get_mut() = MISSES_MAX;
        *cache.hits.get_mut() = MISSES_MAX;
        drop(cache.expect());
        assert_eq!(*cache.misses.get_mut(), 0, "it helps");
        *cache.misses.get_mut() = MISSES_MAX;
        assert!(cache.is_eager());
        learn(&mut cache, &before);
        assert!(cache.keys.is_empty() && *cache.edition() != before);
        learn(&mut cache, &before);
        assert!(cache.keys.is_empty());
        let now = cache.edition().clone();
        learn(&mut cache, &now);
        assert_eq!(cache.keys.len(), 2);
        // Again and again the same brings nothing.
        for _ in 0..FUTILE_MAX {
            assert!(cache.is_eager());
            learn(&mut cache, &now);
        }
        assert!(!cache.is_eager());
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let long = vec![b'x'; KEY_BYTES_MAX + 1];
        assert!(learned(&[long], hash).keys.is_empty());
        let many = (0..KEYS_MAX as u64 + 5).map(|number| number.to_be_bytes().to_vec());
        let cache = learned(&many.collect::<Vec<_>>(), hash);
        assert!(cache.keys.len() <= KEYS_MAX && cache.is_full);
        let mut cache = KeyCache::new();
        let edition = cache.edition().clone();
        let wide = |number: u64| {
            let mut key = vec![number as u8; KEY_BYTES_MAX];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key[KEY_BYTES_MAX - 1] = !(number as u8);
            key
        };
        for number in 0..3_000 {
            let key = wide(number);
            cache.learn(&edition, [(number, &key[..], 0)].into_iter());
        }
        assert!(cache.is_full && cache.bytes.len() <= BYTES_MAX);
    }

    #[test]
    fn a_sender_without_order_is_not_searched_for_long() {
        let keys = keys(100);
        let cache = learned(&keys, hash);
        let backwards: Vec<_> = keys.iter().rev().cloned().collect();
        let (hits, notes) = walk(&cache, &backwards, hash);
        assert_eq!(hits, 0);
        assert_eq!(notes.iter().flatten().count(), PATIENCE as usize);
    }
}
