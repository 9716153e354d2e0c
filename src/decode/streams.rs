//! The stream of a log record: the attributes that tell it, sorted and written out.
//!
//! Records have attributes that differ from one to the next (trace ids, user ids). Only those that tell
//! the stream are kept, in the canonical form; a record without any of its own has the stream of what
//! it belongs to, which is written once.

use std::collections::BTreeSet;

use super::{LABELS_MAX, Refusal, check_label_sizes};
use crate::event::{Piece, RawBatch, RawUnread, RejectReason, Severity, Spare, canonical};

/// Which attributes tell the stream of a log record.
#[derive(Clone, Copy, Debug)]
pub enum StreamLabels<'a> {
    /// All of them.
    All,
    /// Those with these names.
    Named(&'a BTreeSet<String>),
}

/// Memory that one request after another uses.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Names and values: first those of what all records belong to, then those of the record.
    pairs: Vec<(Piece, Piece)>,
    shared_count: usize,
    /// The stream of records without attributes of their own, and its hash.
    shared: Option<(Piece, u64)>,
    order: Vec<u32>,
    region: Vec<u8>,
    spare: [Spare; 2],
}

impl<'a> From<&'a BTreeSet<String>> for StreamLabels<'a> {
    fn from(names: &'a BTreeSet<String>) -> Self {
        Self::Named(names)
    }
}

impl StreamLabels<'_> {
    /// Whether an attribute with this name tells the stream.
    pub(super) fn contains(self, name: &[u8]) -> bool {
        match self {
            Self::All => !name.is_empty(),
            Self::Named(names) => std::str::from_utf8(name).is_ok_and(|name| names.contains(name)),
        }
    }
}

impl Scratch {
    /// Bytes of memory that it holds on to.
    pub fn memory_bytes(&self) -> usize {
        self.pairs.capacity() * size_of::<(Piece, Piece)>()
            + self.order.capacity() * size_of::<u32>()
            + self.region.capacity()
    }

    /// Starts with what the records that follow belong to; [`Scratch::share`] ends it.
    pub(super) fn start_shared(&mut self) {
        self.spare[0].clear(&mut self.pairs);
        self.spare[1].clear(&mut self.order);
        self.shared_count = 0;
        self.shared = None;
    }

    /// Says that all pairs so far are shared by the records that follow. Pairs that cannot matter are
    /// dropped here, once, and not for every record.
    pub(super) fn share(&mut self, bytes: &[u8], out: &RawBatch) {
        let text = |piece| out.bytes(bytes, piece);
        self.pairs.retain(|(_, value)| !text(*value).is_empty());
        self.pairs
            .sort_by(|one, other| text(one.0).cmp(text(other.0)));
        self.pairs
            .dedup_by(|later, first| text(later.0) == text(first.0));
        self.shared_count = self.pairs.len();
    }

    /// Starts a record.
    pub(super) fn start_record(&mut self) {
        self.pairs.truncate(self.shared_count);
    }

    /// Takes a pair.
    pub(super) fn push(&mut self, name: Piece, value: Piece) -> Result<(), Refusal> {
        if self.pairs.len() == self.shared_count + LABELS_MAX {
            let detail = format!("over {LABELS_MAX} attributes that tell a stream: send fewer");
            return Err(Refusal::new(RejectReason::OverLimit, detail));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    /// Takes a pair that stands before all others of its record.
    pub(super) fn push_first(&mut self, name: Piece, value: Piece) {
        self.pairs.insert(self.shared_count, (name, value));
    }

    /// Writes the stream of the record, and gives its hash: of pairs with one name that of the record
    /// stands, not one that it shares, and of two in one place the first.
    pub(super) fn stream(
        &mut self,
        bytes: &[u8],
        out: &mut RawBatch,
    ) -> Result<(Piece, u64), Refusal> {
        let own = self.pairs.len() - self.shared_count;
        if own == 0
            && let Some(shared) = self.shared
        {
            return Ok(shared);
        }
        let Self {
            pairs,
            shared_count,
            order,
            region,
            ..
        } = self;
        // Places in the order of precedence: the record's own come first.
        let pair = |place: u32| {
            let place = place as usize;
            if place < own {
                pairs[*shared_count + place]
            } else {
                pairs[place - own]
            }
        };
        let name = |place: u32| pair(place).0;
        order.clear();
        order.extend(0..pairs.len() as u32);
        order.retain(|place| !out.bytes(bytes, pair(*place).1).is_empty());
        order.sort_unstable_by(|one, other| {
            let names = [*one, *other].map(|place| out.bytes(bytes, name(place)));
            names[0].cmp(names[1]).then(one.cmp(other))
        });
        order.dedup_by(|later, first| {
            out.bytes(bytes, name(*later)) == out.bytes(bytes, name(*first))
        });
        let texts = |place: &u32| {
            let (name, value) = pair(*place);
            (out.bytes(bytes, name), out.bytes(bytes, value))
        };
        let lens = order.iter().map(texts);
        let len = lens.map(|(name, value)| canonical::pair_len(name, value));
        check_label_sizes(order.len(), len.sum())?;
        region.clear();
        for (name, value) in order.iter().map(texts) {
            canonical::write_pair(name, value, region);
        }
        let (piece, ()) = out.write(|out| out.extend(region));
        let hash = out.keys().single(region);
        if own == 0 {
            self.shared = Some((piece, hash));
        }
        Ok((piece, hash))
    }

    /// Notes that a record could not be read, with a severity that may be any where it is `None`. Its stream is
    /// what it shares with others: of its own attributes nothing is certain.
    pub(super) fn unread(&mut self, bytes: &[u8], severity: Option<Severity>, out: &mut RawBatch) {
        self.start_record();
        // Without a stream that can be told nobody knows whose it is.
        if let Ok((stream, hash)) = self.stream(bytes, out) {
            out.unread(RawUnread {
                hash,
                stream,
                severity,
                count: 1,
            });
        }
    }
}
