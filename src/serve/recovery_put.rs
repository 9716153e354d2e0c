//! What stands in a journal, or is fetched again, is put again.

use std::{sync::Arc, time::Duration};

use tracing::warn;

use super::{
    fetched::{Hands, Refetch, Refetched},
    intake::Taken,
    published::Published,
    recovery_error::RecoveryError,
    sequence::Sequence,
};
use crate::{
    decode::{DecodeLimits, Decoder},
    engine::Engine,
    event::{Batch, Raw, Timestamp},
    journal::{Body, OffsetRange, Position, decode_limits},
    reduce::{Epoch, Put, PutScratch, Shards, put_all},
};

/// How long a source that does not answer is left alone.
const REFETCH_PAUSE: Duration = Duration::from_secs(1);

/// Batches that are read again.
pub(super) struct Replay<'a> {
    /// Where the next batch stands.
    pub(super) epoch: Epoch,
    decoder: Decoder,
    scratch: PutScratch,
    limits: DecodeLimits,
    hands: Hands,
    pub(super) refetch: Option<Box<dyn Refetch>>,
    published: &'a Published,
}

impl<'a> Replay<'a> {
    /// Goes on where an engine stands; the next batch stands in `epoch`.
    pub(super) fn new(
        engine: &Engine,
        epoch: Epoch,
        refetch: Option<Box<dyn Refetch>>,
        published: &'a Published,
    ) -> Self {
        let (keys, labels) = (engine.keys(), Arc::new(engine.stream_labels()));
        Self {
            epoch,
            decoder: Decoder::new(keys, Arc::clone(&labels)),
            scratch: PutScratch::default(),
            limits: decode_limits(&engine.plan().limits),
            hands: Hands::new(keys, labels),
            refetch,
            published,
        }
    }

    /// Reads on as the configurations want it that are at work now.
    pub(super) fn read_by(&mut self, engine: &Engine) {
        let (keys, labels) = (engine.keys(), Arc::new(engine.stream_labels()));
        self.decoder = Decoder::new(keys, Arc::clone(&labels));
        self.hands = Hands::new(keys, labels);
    }

    /// Decodes a batch again and puts it; gives what becomes of it.
    pub(super) fn batch(
        &mut self,
        engine: &Engine,
        position: Position,
        body: &Body,
        is_seen: bool,
        sequence: &Sequence,
    ) -> Result<Taken, RecoveryError> {
        self.decoder
            .read(body.format, body.encoding, &body.bytes, self.limits)
            .map_err(|error| RecoveryError::Body { position, error })?;
        let raw = self.decoder.raw(&body.bytes);
        let put = put_again(engine, self.epoch, is_seen, raw, &mut self.scratch);
        if let Some(latest) = put.latest {
            sequence.note_put(self.epoch, position, latest);
        }
        let mut taken = Taken::read(raw.batch);
        taken.take(put);
        Ok(taken)
    }

    /// Fetches a range again and puts it.
    pub(super) fn range(
        &mut self,
        engine: &Engine,
        (position, is_seen): (Position, bool),
        range: &OffsetRange,
        sequence: &Sequence,
    ) -> Result<Refetched, RecoveryError> {
        if range.count() == 0 {
            return Ok(Refetched::Whole);
        }
        let Some(refetch) = &mut self.refetch else {
            warn!(
                topic = range.topic,
                "messages cannot be fetched again: no source has the topic"
            );
            return Ok(Refetched::Torn);
        };
        let (hands, epoch) = (&mut self.hands, self.epoch);
        let mut latest: Option<Timestamp> = None;
        let mut each = |batch: &Batch| {
            let put = hands.put(batch, |raw, scratch| {
                put_again(engine, epoch, is_seen, raw, scratch)
            });
            latest = latest.max(put.latest);
        };
        let mut attempts = 0_u32;
        let refetched = loop {
            match refetch.refetch(range, &mut each) {
                Ok(refetched) => break refetched,
                Err(away) => {
                    attempts = attempts.saturating_add(1);
                    if attempts.is_power_of_two() {
                        warn!(
                            topic = range.topic,
                            partition = range.partition,
                            offset = range.from,
                            reason = away.reason,
                            attempts,
                            "the start waits for messages to be fetched again"
                        );
                    }
                    if attempts == 1 {
                        self.published.recover(engine.gates());
                    }
                    self.published.wait_for_source(true);
                    if sequence.wait_closed(REFETCH_PAUSE) {
                        return Err(RecoveryError::Asked);
                    }
                }
            }
        };
        self.published.wait_for_source(false);
        if let Some(latest) = latest {
            sequence.note_put(epoch, position, latest);
        }
        Ok(refetched)
    }
}

/// Puts a batch that stood there; `is_seen`: the state has seen it in part.
fn put_again(
    engine: &Engine,
    place: Epoch,
    is_seen: bool,
    raw: Raw<'_>,
    scratch: &mut PutScratch,
) -> Put {
    match engine.epoch().closed {
        Some(closed) if is_seen => {
            // What is late or too far ahead is told by the ticks before it; which tick names its
            // series, by those that the state has seen.
            let epoch = Epoch {
                number: engine.epoch().number,
                ..place
            };
            let put =
                |shards: &Shards, scratch: &mut _| shards.put_again(raw, epoch, closed, scratch);
            put_all(engine.shards(), put, scratch)
        }
        Some(_) | None => {
            let put = |shards: &Shards, scratch: &mut _| shards.put(raw, engine.epoch(), scratch);
            put_all(engine.shards(), put, scratch)
        }
    }
}
