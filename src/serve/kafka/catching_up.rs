//! What was written while the engine was away, put in its own time.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    super::{clock::Stopwatch, sources::Reach},
    partition, range,
    reader::{Reader, Stopped},
};
use crate::{
    event::Timestamp,
    journal::Entry,
    source::kafka::{Blindness, Consumer, Event, Status, TopicStatus},
};

/// How long it is waited for a tick before it is looked whether the engine stops.
const TICK_PATIENCE: Duration = Duration::from_millis(50);

impl Reader {
    /// Takes events as long as the source is not at the clock: puts the earliest messages first, and
    /// lets time go as far as they have come.
    pub(super) async fn catch_up(
        &mut self,
        consumer: &Arc<Consumer>,
        events: Vec<Event>,
    ) -> Result<(), Stopped> {
        if !events.is_empty() {
            self.moved = Stopwatch::start();
        }
        for event in events {
            self.wait_with(event);
        }
        loop {
            let is_whole = self.has_all(&consumer.status()) || self.is_stuck();
            if !is_whole && !self.merge.is_full() {
                return Ok(());
            }
            let Some(first) = self.merge.first() else {
                self.reach(Reach::Clock);
                return Ok(());
            };
            if let Some((from, until)) = first.written
                && self.ticked_at() + self.ahead < until
            {
                self.tick(from).await?;
            }
            if let Some(piece) = self.merge.pop() {
                let (entries, chunks) = (vec![piece.entry], vec![piece.chunk]);
                self.take(consumer, entries, chunks).await?;
                self.moved = Stopwatch::start();
            }
        }
    }

    /// Takes an event that waits for its time.
    fn wait_with(&mut self, event: Event) {
        match event {
            Event::Began { partition, at } => {
                let entry = Entry::Consumed(range(&partition, at, at));
                self.merge.add(partition, entry);
            }
            Event::Chunk(chunk) => self.merge.add_chunk(chunk),
            Event::Lost(lost) => {
                let entry = self.loss(&lost);
                self.merge.add(lost.partition, entry);
            }
            Event::Down { topic, reason } => {
                self.hide(topic, reason);
            }
            Event::Up { topic } => {
                self.hidden.remove(&topic);
            }
        }
    }

    /// Whether it is known what comes next: of every partition that has more, something waits.
    fn has_all(&self, status: &Status) -> bool {
        let mut names = self.source.plan.topics.keys();
        names.all(|name| {
            let topic = status.topics.get(name.as_str());
            topic.is_some_and(|topic| match &topic.blindness {
                Some(
                    Blindness::Unreachable { .. }
                    | Blindness::NoTopic { .. }
                    | Blindness::Leaderless { .. },
                ) => true,
                // That is what a restart leaves behind.
                Some(Blindness::Behind { .. }) => self.has_all_of(name, topic),
                None => topic.is_up && self.has_all_of(name, topic),
            })
        })
    }

    fn has_all_of(&self, name: &str, topic: &TopicStatus) -> bool {
        topic.partitions.iter().all(|(number, read)| {
            let partition = partition(name, *number);
            let taken = self.positions.get(&partition);
            let is_at_end = read.lag == 0 && taken.is_some_and(|taken| read.next <= *taken);
            is_at_end || self.merge.has(&partition)
        })
    }

    /// Whether nothing has come for long: then nothing is waited for.
    fn is_stuck(&self) -> bool {
        let patience = self.source.plan.blind_after.seconds_f64();
        patience <= self.moved.elapsed().as_secs_f64()
    }

    /// The last tick.
    pub(super) fn ticked_at(&self) -> Timestamp {
        let ticked_at = self.core.published().stats().ticked_at;
        let recovered_at = self.core.recovered_at();
        recovered_at.map_or(ticked_at, |recovered| recovered.max(ticked_at))
    }

    /// Lets time go there, but not beyond the clock, and waits until it has.
    async fn tick(&mut self, at: Timestamp) -> Result<(), Stopped> {
        let at = at.min(self.clock.now());
        self.reach(Reach::Until(at));
        let mut boards = self.core.published().watch();
        while self.ticked_at() < at {
            if *self.stop.borrow() {
                return Err(Stopped);
            }
            if let Ok(Err(_)) = timeout(TICK_PATIENCE, boards.changed()).await {
                // The core is gone; the end of the engine comes by.
                sleep(TICK_PATIENCE).await;
            }
        }
        Ok(())
    }
}
