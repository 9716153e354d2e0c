//! Messages of several partitions in the order of the times at which they were written.
//!
//! What was written while the engine was away comes partition by partition, hours of one before the first
//! minute of another. Put like that, one would be too far ahead and the other late. So it is cut into
//! short pieces, and the earliest comes first.

use std::collections::{BTreeMap, VecDeque};

use super::range;
use crate::{
    event::{Span, Timestamp},
    journal::Entry,
    source::kafka::{Chunk, Message, Partition},
};

/// Most bytes of messages that wait for those of other partitions.
const WAITING_BYTES: usize = 64 << 20;

/// Pieces that wait, by partition.
#[derive(Debug)]
pub(super) struct Merge {
    queues: BTreeMap<Partition, VecDeque<Piece>>,
    bytes: usize,
    /// How much time a piece holds at most.
    span: Span,
}

/// What becomes an input by itself.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) entry: Entry,
    pub(super) chunk: Option<Chunk>,
    /// When its first and its last message were written, where that is known.
    pub(super) written: Option<(Timestamp, Timestamp)>,
    bytes: usize,
}

impl Merge {
    /// Nothing yet.
    pub(super) fn new(span: Span) -> Self {
        Self {
            queues: BTreeMap::new(),
            bytes: 0,
            span,
        }
    }

    /// Adds what holds no message.
    pub(super) fn add(&mut self, partition: Partition, entry: Entry) {
        self.queues.entry(partition).or_default().push_back(Piece {
            entry,
            chunk: None,
            written: None,
            bytes: 0,
        });
    }

    /// Adds messages.
    pub(super) fn add_chunk(&mut self, chunk: Chunk) {
        let queue = self.queues.entry(chunk.partition.clone()).or_default();
        for piece in cut(chunk, self.span) {
            self.bytes += piece.bytes;
            queue.push_back(piece);
        }
    }

    /// The piece that comes next.
    pub(super) fn first(&self) -> Option<&Piece> {
        let heads = self.queues.values().filter_map(VecDeque::front);
        heads.min_by_key(|piece| piece.written)
    }

    /// Takes the piece that comes next.
    pub(super) fn pop(&mut self) -> Option<Piece> {
        let heads = self.queues.iter_mut();
        let (partition, queue) = heads
            .filter(|(_, queue)| !queue.is_empty())
            .min_by_key(|(_, queue)| queue.front().and_then(|piece| piece.written))?;
        let piece = queue.pop_front()?;
        self.bytes -= piece.bytes;
        if queue.is_empty() {
            let partition = partition.clone();
            self.queues.remove(&partition);
        }
        Some(piece)
    }

    /// Whether something of a partition waits.
    pub(super) fn has(&self, partition: &Partition) -> bool {
        self.queues.contains_key(partition)
    }

    /// Whether no more should wait.
    pub(super) fn is_full(&self) -> bool {
        WAITING_BYTES <= self.bytes
    }
}

/// Cuts messages into pieces that hold little time each.
fn cut(chunk: Chunk, span: Span) -> Vec<Piece> {
    let Chunk {
        partition,
        offsets,
        messages,
    } = chunk;
    let mut pieces = Vec::new();
    let mut from = offsets.start;
    let (mut held, mut written) = (Vec::new(), None);
    for message in messages {
        let at = message.timestamp;
        let joined = match (written, at) {
            (Some((first, last)), Some(at)) => Some((at.min(first), at.max(last))),
            (None, Some(at)) => Some((at, at)),
            (written, None) => written,
        };
        if joined.is_some_and(|(first, last)| span < last - first) {
            let held = std::mem::take(&mut held);
            pieces.push(piece(&partition, from, message.offset, held, written));
            from = message.offset;
            written = at.map(|at| (at, at));
        } else {
            written = joined;
        }
        held.push(message);
    }
    pieces.push(piece(&partition, from, offsets.end, held, written));
    pieces
}

fn piece(
    partition: &Partition,
    from: i64,
    until: i64,
    messages: Vec<Message>,
    written: Option<(Timestamp, Timestamp)>,
) -> Piece {
    let bytes = messages.iter().map(|message| message.payload.len()).sum();
    let chunk = Chunk {
        partition: partition.clone(),
        offsets: from..until,
        messages,
    };
    Piece {
        entry: Entry::Consumed(range(partition, from, until)),
        chunk: Some(chunk),
        written,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn partition(number: i32) -> Partition {
        super::super::partition("t", number)
    }

    fn chunk(number: i32, from: i64, written: &[i64]) -> Chunk {
        let message = |(offset, seconds): (i64, &i64)| Message {
            offset,
            timestamp: Some(Timestamp::from_seconds(*seconds)),
            payload: Bytes::from_static(b"x"),
        };
        Chunk {
            partition: partition(number),
            offsets: from..from + written.len() as i64,
            messages: (from..).zip(written).map(message).collect(),
        }
    }

    fn outline(piece: &Piece) -> (i32, i64, i64) {
        match &piece.entry {
            Entry::Consumed(range) | Entry::Lost(range) => {
                (range.partition, range.from, range.until)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pieces_come_in_the_order_of_their_times_and_join() {
        let mut merge = Merge::new(Span::from_seconds(10));
        merge.add_chunk(chunk(0, 0, &[0, 5, 9, 100, 95, 111, 300]));
        merge.add_chunk(chunk(1, 7, &[50, 61, 70]));
        merge.add(partition(1), Entry::Consumed(range(&partition(1), 10, 10)));
        merge.add_chunk(chunk(1, 10, &[290]));
        assert!(merge.has(&partition(1)) && !merge.has(&partition(2)));
        let mut seen = Vec::new();
        while let Some(first) = merge.first() {
            let first = outline(first);
            let piece = merge.pop().unwrap();
            assert_eq!(outline(&piece), first);
            if let Some(chunk) = &piece.chunk {
                let offsets: Vec<_> = chunk
                    .messages
                    .iter()
                    .map(|message| message.offset)
                    .collect();
                assert!(offsets.into_iter().eq(chunk.offsets.clone()));
            }
            seen.push(first);
        }
        assert_eq!(
            seen,
            [
                (0, 0, 3),
                (1, 7, 8),
                (1, 8, 10),
                (1, 10, 10),
                (0, 3, 5),
                (0, 5, 6),
                (1, 10, 11),
                (0, 6, 7),
            ]
        );
        assert!(!merge.has(&partition(1)));
        assert_eq!((merge.bytes, merge.is_full()), (0, false));
    }
}
