//! Keys of series and streams → hashes and shards.

use std::{
    hash::{BuildHasher, Hasher},
    ops::RangeInclusive,
};

use foldhash::fast::FixedState;

/// Hashes keys, and tells to which shard each falls. Nothing that anybody sees depends on the seed or on
/// the number of shards; a seed that senders cannot know keeps them from choosing labels that collide.
#[derive(Clone, Copy, Debug)]
pub struct KeyHash {
    seed: u64,
    shards: usize,
}

/// Shards at least, and at most.
const SHARDS: RangeInclusive<usize> = 4..=64;
/// Shards for each thread that puts: so many are seldom wanted by two at a time. What falls to one shard is
/// looked up together, and the more shards there are, the less lies together in memory.
const SHARDS_PER_THREAD: usize = 2;

impl KeyHash {
    /// Hashes with a seed.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            shards: *SHARDS.start(),
        }
    }

    /// The same with as many shards as so many threads need that put at a time.
    #[must_use]
    pub fn for_threads(self, threads: usize) -> Self {
        let wanted = threads.saturating_mul(SHARDS_PER_THREAD);
        Self {
            shards: wanted
                .min(*SHARDS.end())
                .next_power_of_two()
                .max(*SHARDS.start()),
            ..self
        }
    }

    /// How many shards there are, a power of 2.
    pub fn shards(self) -> usize {
        self.shards
    }

    /// To which shard a hash falls. The table of a shard uses the lowest and the highest bits.
    #[inline]
    pub fn shard(self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards - 1)
    }

    /// Hashes with another seed that depends on this one.
    #[must_use]
    pub const fn other(self) -> Self {
        Self {
            seed: self.seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15,
            ..self
        }
    }

    /// The hash of a key.
    pub fn key(self, key: [&[u8]; 3]) -> u64 {
        self.last(self.context(key[0], key[1]), key[2])
    }

    /// The hash of a key whose first piece is its only one.
    #[inline]
    pub fn single(self, piece: &[u8]) -> u64 {
        self.last(self.seed, piece)
    }

    /// What the first two pieces of a key give to its hash.
    pub fn context(self, first: &[u8], second: &[u8]) -> u64 {
        self.last(self.last(self.seed, second), first)
    }

    /// What the second piece alone gives, for [`KeyHash::last`] with the first.
    pub fn second(self, second: &[u8]) -> u64 {
        self.last(self.seed, second)
    }

    /// The hash of a key from what its first two pieces gave and the last one.
    #[inline]
    pub fn last(self, context: u64, last: &[u8]) -> u64 {
        if last.is_empty() {
            return context;
        }
        let mut hasher = FixedState::with_seed(context).build_hasher();
        hasher.write(last);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_have_more_shards() {
        for (threads, shards) in [(0, 4), (2, 4), (3, 8), (16, 32), (1_000, 64)] {
            let keys = KeyHash::new(1).for_threads(threads);
            assert_eq!(keys.shards(), shards, "{threads} threads");
        }
    }

    #[test]
    fn a_hash_depends_on_the_seed_and_on_where_a_key_is_cut() {
        let one = KeyHash::new(1);
        assert_eq!(one.single(b"abc"), one.key([b"abc", b"", b""]));
        assert_ne!(one.single(b"abc"), KeyHash::new(2).single(b"abc"));
        assert_ne!(one.key([b"a", b"b", b"c"]), one.key([b"a", b"bc", b""]));
        let context = one.context(b"a", b"b");
        assert_eq!(one.last(context, b"c"), one.key([b"a", b"b", b"c"]));
    }
}
