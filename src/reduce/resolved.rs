//! What is known about a batch before it is put: which shard each part falls to, and where it belongs there.

use std::{ops::Range, sync::Arc};

use crate::event::{KeyHash, Raw, RawPoint, RawSeries, SeriesMeta, Spare, Temporality, Timestamp};

/// Memory that a thread uses for one batch after the other.
#[derive(Clone, Debug, Default)]
pub struct PutScratch {
    pub(super) routes: Routes,
    pub(super) resolved: Resolved,
}

/// Which part of a batch falls to each shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    /// Indices into the batch, shard by shard; within a shard they keep their order.
    pub(super) order: Vec<u32>,
    ends: Vec<usize>,
}

/// What is known about the series of the batch that is put next.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    /// Where it is known from.
    pub(super) by: Option<Arc<Identity>>,
    pub(super) shards: Vec<ResolvedPart>,
    pub(super) plain: Vec<PlainPoint>,
    /// Series with more to them than plain points: their indices in the batch, and their slots if they
    /// have one.
    pub(super) rest: Vec<(u32, Option<u32>)>,
    spare: (Spare, Spare),
}

/// What falls to one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolvedPart {
    pub(super) plain: Range<usize>,
    pub(super) rest: Range<usize>,
    /// Points of series that nobody selects.
    pub(super) unselected: u64,
    /// The generation of the slots.
    pub(super) generation: u32,
}

/// Tells one instance of shards from another.
#[derive(Debug)]
pub(super) struct Identity;

/// What is known about a series before its points are put. It stays true as long as the
/// slots keep their numbers: what is bound stays bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody selects it.
    Unselected,
    /// Its slot has an id.
    Bound(u32),
    Nothing,
}

/// A number of a series that is known as bound; it counts since the start, and does not tell that.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainPoint {
    pub(super) slot: u32,
    pub(super) at: Timestamp,
    pub(super) value: f64,
}

impl PlainPoint {
    /// A point of a slot, if there is nothing more to it.
    #[inline]
    pub(super) fn of(slot: u32, meta: SeriesMeta, point: &RawPoint) -> Option<Self> {
        let is_plain = point.histogram == 0
            && point.start == Timestamp::MIN
            && meta.temporality == Temporality::Cumulative;
        is_plain.then_some(Self {
            slot,
            at: point.at,
            value: point.value,
        })
    }
}

impl PutScratch {
    /// Forgets what was resolved for a batch that is not put.
    pub fn forget(&mut self) {
        self.resolved.by = None;
    }
}

impl Resolved {
    pub(super) fn clear(&mut self, shards: usize) {
        self.by = None;
        self.spare.0.clear(&mut self.plain);
        self.spare.1.clear(&mut self.rest);
        self.shards.clear();
        self.shards.resize(shards, ResolvedPart::default());
    }

    /// Nothing is known of a batch.
    pub(super) fn nothing(&mut self, routes: &Routes) {
        self.clear(routes.ends.len());
        self.rest
            .extend(routes.order.iter().map(|index| (*index, None)));
        for (index, part) in self.shards.iter_mut().enumerate() {
            part.rest = routes.of(index);
        }
    }

    /// Takes the points of a series that is bound.
    #[inline]
    pub(super) fn bound(&mut self, index: u32, slot: u32, raw: Raw<'_>, series: &RawSeries) {
        let before = self.plain.len();
        for point in raw.points(series) {
            let Some(point) = PlainPoint::of(slot, series.meta, point) else {
                self.plain.truncate(before);
                return self.rest.push((index, Some(slot)));
            };
            self.plain.push(point);
        }
    }
}

impl ResolvedPart {
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.rest.is_empty() && self.unselected == 0
    }
}

impl Routes {
    /// Routes a batch with these hashes.
    pub(super) fn find(&mut self, keys: KeyHash, hashes: impl Iterator<Item = u64> + Clone) {
        let Self { order, ends } = self;
        ends.clear();
        ends.resize(keys.shards(), 0);
        let mut len = 0;
        for hash in hashes.clone() {
            ends[keys.shard(hash)] += 1;
            len += 1;
        }
        let mut sum = 0;
        for end in ends.iter_mut() {
            let count = *end;
            *end = sum;
            sum += count;
        }
        order.clear();
        order.resize(len, 0);
        for (index, hash) in (0..).zip(hashes) {
            let next = &mut ends[keys.shard(hash)];
            order[*next] = index;
            *next += 1;
        }
    }

    pub(super) fn of(&self, shard: usize) -> Range<usize> {
        let start = match shard.checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        start..self.ends[shard]
    }
}
