//! What limits refuse: remembered, so that it is decided about once, and who is blind for it.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Lookers, standing::Limit};

/// What a shard remembers of what limits refuse.
///
/// Refused keys come as often as others. So each refers by a number to those who would look at it: what a
/// sample costs that is refused is one look-up, and the note that somebody was blind.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    lookers: Vec<Lookers>,
    numbers: BTreeMap<Lookers, u32>,
    /// Keys that have no slot, by two hashes. Looked up, never walked.
    keys: HashMap<(u64, u64), Refused, FixedState>,
}

/// What a limit refuses, and who is blind for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) limit: Limit,
    /// The number of those who would look at it: see [`Refusals::lookers`].
    pub(super) lookers: u32,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            lookers: Vec::new(),
            numbers: BTreeMap::new(),
            keys: HashMap::with_hasher(FixedState::default()),
        }
    }

    /// What is refused for a limit, where these would look at it.
    pub(super) fn refused(&mut self, limit: Limit, lookers: Lookers) -> Refused {
        let number = if let Some(number) = self.numbers.get(&lookers) {
            *number
        } else {
            let number = self.lookers.len() as u32;
            self.lookers.push(lookers.clone());
            self.numbers.insert(lookers, number);
            number
        };
        Refused {
            limit,
            lookers: number,
        }
    }

    /// Those that a number stands for.
    pub(super) fn lookers(&self, number: u32) -> &Lookers {
        &self.lookers[number as usize]
    }

    /// What is known of a key that has no slot.
    pub(super) fn find(&self, key: (u64, u64)) -> Option<Refused> {
        self.keys.get(&key).copied()
    }

    /// Remembers a key that has no slot.
    pub(super) fn insert(&mut self, key: (u64, u64), refused: Refused) {
        self.keys.insert(key, refused);
    }

    /// Forgets the keys: what comes again is decided about again.
    pub(super) fn forget_keys(&mut self) {
        self.keys = HashMap::with_hasher(FixedState::default());
    }
}
