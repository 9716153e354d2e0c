//! Chunks under construction, and the bounded way out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Runtime,
    sync::mpsc::{Sender, error::TrySendError},
};

use super::{Chunk, Event, Message, Partition};
use crate::event::Timestamp;

/// A chunk is handed over when its values have this many bytes, or when nothing more is there.
const CHUNK_BYTES: usize = 256 << 10;
/// … or this many messages.
const CHUNK_MESSAGES: usize = 4_096;
/// All chunks are handed over when they have this many bytes together.
const CONSTRUCTION_BYTES: usize = 8 << 20;

/// Collects messages to chunks and hands events over, in order.
#[derive(Debug)]
pub(super) struct HandOver {
    sender: Sender<Event>,
    /// Only waits.
    runtime: Runtime,
    outbox: VecDeque<Event>,
    construction: BTreeMap<usize, Construction>,
    construction_bytes: usize,
}

/// A chunk under construction.
#[derive(Debug)]
struct Construction {
    partition: Partition,
    from: i64,
    /// All values, one after the other: one allocation for a chunk.
    bytes: Vec<u8>,
    messages: Vec<(i64, Option<Timestamp>, usize)>,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    /// A number for the partition.
    pub(super) index: usize,
    /// The partition.
    pub(super) partition: &'a Partition,
    /// The offset that was wanted: the message's, or one before it where there are gaps.
    pub(super) wanted: i64,
}

/// A message as it lies in the client's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrowed<'a> {
    pub(super) offset: i64,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) payload: &'a [u8],
}

/// How handing over went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Everything is out.
    Empty,
    /// Nobody takes it.
    Full,
    /// Nobody will ever take it.
    Closed,
}

impl HandOver {
    pub(super) fn new(sender: Sender<Event>, runtime: Runtime) -> Self {
        Self {
            sender,
            runtime,
            outbox: VecDeque::new(),
            construction: BTreeMap::new(),
            construction_bytes: 0,
        }
    }

    /// Adds a message to the chunk of its partition.
    pub(super) fn add(&mut self, slot: Slot<'_>, message: Borrowed<'_>) {
        let chunk = self
            .construction
            .entry(slot.index)
            .or_insert_with(|| Construction {
                partition: slot.partition.clone(),
                from: slot.wanted,
                bytes: Vec::new(),
                messages: Vec::new(),
            });
        chunk.bytes.extend_from_slice(message.payload);
        chunk
            .messages
            .push((message.offset, message.timestamp, chunk.bytes.len()));
        self.construction_bytes += message.payload.len();
        if chunk.bytes.len() >= CHUNK_BYTES || chunk.messages.len() >= CHUNK_MESSAGES {
            self.seal(slot.index);
        } else if self.construction_bytes >= CONSTRUCTION_BYTES {
            self.seal_all();
        }
    }

    /// Puts an event behind what its partition has under construction.
    pub(super) fn say(&mut self, index: usize, event: Event) {
        self.seal(index);
        self.outbox.push_back(event);
    }

    /// Puts an event that belongs to no partition.
    pub(super) fn announce(&mut self, event: Event) {
        self.outbox.push_back(event);
    }

    /// Finishes every chunk.
    pub(super) fn seal_all(&mut self) {
        while let Some(index) = self.construction.keys().next().copied() {
            self.seal(index);
        }
    }

    /// Hands over what is ready, waiting so long for room.
    pub(super) fn flush(&mut self, patience: Duration) -> Flow {
        while let Some(event) = self.outbox.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => return Flow::Closed,
                Err(TrySendError::Full(event)) => {
                    let sender = &self.sender;
                    let room = self
                        .runtime
                        .block_on(async { tokio::time::timeout(patience, sender.reserve()).await });
                    match room {
                        Ok(Ok(permit)) => permit.send(event),
                        Ok(Err(_)) => return Flow::Closed,
                        Err(_) => {
                            self.outbox.push_front(event);
                            return Flow::Full;
                        }
                    }
                }
            }
        }
        Flow::Empty
    }

    /// Whether nobody will ever take anything.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn seal(&mut self, index: usize) {
        let Some(chunk) = self.construction.remove(&index) else {
            return;
        };
        self.construction_bytes -= chunk.bytes.len();
        self.outbox.push_back(Event::Chunk(chunk.finish()));
    }
}

impl Construction {
    fn finish(self) -> Chunk {
        let bytes = Bytes::from(self.bytes);
        let mut start = 0;
        let messages: Vec<Message> = self
            .messages
            .into_iter()
            .map(|(offset, timestamp, end)| {
                let payload = bytes.slice(start..end);
                start = end;
                Message {
                    offset,
                    timestamp,
                    payload,
                }
            })
            .collect();
        let until = messages.last().map_or(self.from, |last| last.offset + 1);
        Chunk {
            partition: self.partition,
            offsets: self.from..until,
            messages,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn hand_over(capacity: usize) -> (HandOver, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(capacity);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        (HandOver::new(sender, runtime), receiver)
    }

    fn partition(number: i32) -> Partition {
        Partition {
            topic: "t".into(),
            number,
        }
    }

    fn add(hand_over: &mut HandOver, number: i32, wanted: i64, offset: i64, payload: &[u8]) {
        let slot = Slot {
            index: number as usize,
            partition: &partition(number),
            wanted,
        };
        let timestamp = Some(Timestamp::from_seconds(offset));
        hand_over.add(
            slot,
            Borrowed {
                offset,
                timestamp,
                payload,
            },
        );
    }

    #[test]
    fn chunks_hold_their_messages_and_the_gaps_before_them() {
        let (mut hand_over, mut receiver) = hand_over(8);
        add(&mut hand_over, 0, 5, 7, b"ab");
        add(&mut hand_over, 0, 8, 8, b"");
        add(&mut hand_over, 0, 9, 12, b"c");
        add(&mut hand_over, 1, 0, 0, b"z");
        hand_over.seal_all();
        assert_eq!(hand_over.flush(Duration::ZERO), Flow::Empty);
        let Ok(Event::Chunk(chunk)) = receiver.try_recv() else {
            panic!("no chunk")
        };
        assert_eq!((chunk.partition, chunk.offsets), (partition(0), 5..13));
        let messages: Vec<_> = chunk
            .messages
            .iter()
            .map(|message| (message.offset, &message.payload[..]))
            .collect();
        assert_eq!(messages, [(7, &b"ab"[..]), (8, b""), (12, b"c")]);
        assert_eq!(
            chunk.messages[2].timestamp,
            Some(Timestamp::from_seconds(12))
        );
        assert!(matches!(receiver.try_recv(), Ok(Event::Chunk(chunk)) if chunk.offsets == (0..1)));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn a_full_way_out_keeps_the_order_and_holds_nothing_up_for_ever() {
        let (mut hand_over, mut receiver) = hand_over(1);
        let large = vec![0; CHUNK_BYTES];
        for offset in 0..3 {
            add(&mut hand_over, 0, offset, offset, &large);
        }
        let up = Event::Up { topic: "t".into() };
        hand_over.say(0, up.clone());
        let mut seen = Vec::new();
        for _ in 0..3 {
            assert_eq!(hand_over.flush(Duration::from_millis(1)), Flow::Full);
            seen.push(receiver.try_recv().unwrap());
        }
        assert_eq!(hand_over.flush(Duration::ZERO), Flow::Empty);
        seen.push(receiver.try_recv().unwrap());
        let offsets: Vec<_> = seen
            .iter()
            .filter_map(|event| match event {
                Event::Chunk(chunk) => Some(chunk.offsets.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(offsets, [0..1, 1..2, 2..3]);
        assert_eq!(seen[3], up);
        drop(receiver);
        assert!(hand_over.is_closed());
        hand_over.announce(up);
        assert_eq!(hand_over.flush(Duration::ZERO), Flow::Closed);
    }
}
