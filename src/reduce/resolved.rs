//! What is known about a batch before it is put: which shard each part falls to, and where it belongs there.

use std::{ops::Range, sync::Arc};

use super::standing::Before;
use crate::event::{
    KeyHash, Kind, Raw, RawBatch, RawPoint, RawSeries, SeriesMeta, Spare, Temporality, Timestamp,
    Unit,
};

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
    /// How many series of the batch were looked up, from the first on.
    pub(super) series: usize,
    /// Series of the batch that are known and not remembered as such, with their notes.
    pub(super) unlearned: Vec<(u32, u64)>,
    spare: Spare,
    pub(super) shards: Vec<ResolvedPart>,
}

/// What falls to one shard.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolvedPart {
    pub(super) plain: Vec<PlainPoint>,
    /// Series with more to them than plain points: their indices in the batch, and their slots if they
    /// have one.
    pub(super) rest: Vec<(u32, Option<u32>)>,
    /// Points of series that nobody selects.
    pub(super) unselected: u64,
    /// The generation of the slots; `None`: nothing was looked up.
    pub(super) generation: Option<u32>,
    /// Whether slots got other numbers while series were looked up.
    pub(super) is_void: bool,
    pub(super) before: Before,
    spare: (Spare, Spare),
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

/// In place of a slot: nobody selects the series.
const UNSELECTED: u32 = u32::MAX;

impl Known {
    /// What is noted about a key beside its bytes, if anything is known.
    pub(super) fn note(self, generation: u32) -> Option<u64> {
        let slot = match self {
            Self::Unselected => UNSELECTED,
            Self::Bound(slot) => slot,
            Self::Nothing => return None,
        };
        Some(u64::from(generation) << 32 | u64::from(slot))
    }

    /// What a note says, and the generation of the slots for which it does.
    #[inline]
    pub(super) fn of_note(note: u64) -> (Self, u32) {
        let known = match note as u32 {
            UNSELECTED => Self::Unselected,
            slot => Self::Bound(slot),
        };
        (known, (note >> 32) as u32)
    }
}

/// A number of a series that is known as bound; it counts since the start, and does not tell that.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainPoint {
    pub(super) slot: u32,
    pub(super) kind: Kind,
    pub(super) unit: Unit,
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
            kind: meta.kind,
            unit: meta.unit,
            at: point.at,
            value: point.value,
        })
    }
}

impl PutScratch {
    /// Forgets what was looked up for a batch that is not put.
    pub fn forget(&mut self) {
        self.resolved.by = None;
    }

    /// Whether everything that a batch holds was looked up and found, so that its bytes are not needed to
    /// put it, as long as nothing gets another slot.
    pub fn has_all(&self, batch: &RawBatch) -> bool {
        let Resolved {
            by, series, shards, ..
        } = &self.resolved;
        by.is_some()
            && *series == batch.series.len()
            && batch.logs.is_empty()
            && batch.unread.is_empty()
            && batch.metadata.is_empty()
            && batch.metadata_unread == 0
            && shards.iter().all(|part| part.rest.is_empty())
    }
}

impl Resolved {
    /// Whether it is known from these shards.
    pub(super) fn is_by(&self, identity: &Arc<Identity>) -> bool {
        let by = self.by.as_ref();
        by.is_some_and(|by| Arc::ptr_eq(by, identity))
    }

    pub(super) fn clear(&mut self, shards: usize) {
        self.by = None;
        self.series = 0;
        self.spare.clear(&mut self.unlearned);
        self.shards.resize_with(shards, ResolvedPart::default);
        self.shards.iter_mut().for_each(ResolvedPart::clear);
    }
}

impl ResolvedPart {
    fn clear(&mut self) {
        self.spare.0.clear(&mut self.plain);
        self.spare.1.clear(&mut self.rest);
        self.unselected = 0;
        self.generation = None;
        self.is_void = false;
        self.before = Before::NOTHING;
    }

    /// Takes a series of which something is known since a generation of the slots.
    #[inline]
    pub(super) fn take(
        &mut self,
        (known, generation): (Known, u32),
        index: u32,
        raw: Raw<'_>,
        series: &RawSeries,
    ) {
        let first = *self.generation.get_or_insert(generation);
        self.is_void |= first != generation;
        match known {
            Known::Unselected => self.unselected += u64::from(series.count),
            Known::Bound(slot) => self.bound(index, slot, raw, series),
            Known::Nothing => self.rest.push((index, None)),
        }
    }

    /// Takes the points of a series that is bound.
    #[inline]
    fn bound(&mut self, index: u32, slot: u32, raw: Raw<'_>, series: &RawSeries) {
        let before = self.plain.len();
        for point in raw.points(series) {
            let Some(point) = PlainPoint::of(slot, series.meta, point) else {
                self.plain.truncate(before);
                return self.rest.push((index, Some(slot)));
            };
            self.plain.push(point);
        }
    }

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
