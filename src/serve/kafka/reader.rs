//! Events of a consumer become inputs, in order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::Receiver, watch},
    task,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{error, info, warn};

use super::{
    super::{
        clock::Stopwatch,
        core::{Core, Unavailable},
        fetched::{self, Durable, Hands},
        sources::{Reach, Stopping},
    },
    Decoding, KafkaSource, partition, range,
};
use crate::{
    engine::Selector,
    event::{Raw, Timestamp},
    journal::{Entry, OffsetRange},
    plan::Plan,
    reduce::{Epoch, Select},
    source::kafka::{
        Blindness, Chunk, Consumer, Event, Message, Partition, Positions, Settings, Status,
    },
};

/// Most events that are recorded together; a chunk has about 256 KiB.
const EVENTS_MAX: usize = 16;
/// How long what could not be recorded waits until that is tried again. The consumer pauses meanwhile.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is looked how far a source has come, and whether something is out of sight.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is noted that a topic is out of sight.
const MARK: Duration = Duration::from_secs(1);
/// How long after its end a consumer is started again.
const RESTART: Duration = Duration::from_secs(5);
/// Reads one source.
pub(super) struct Reader {
    source: Arc<KafkaSource>,
    core: Core,
    stop: Stopping,
    reach: (watch::Sender<Reach>, Arc<tokio::sync::Notify>),
    decoding: Decoding,
    hands: Option<Hands>,
    /// Messages that could not be used.
    refused: u64,
    /// How far each partition was taken.
    positions: Positions,
    /// When the last message of each partition was written that was taken.
    written: BTreeMap<Partition, Timestamp>,
    /// Since something was taken.
    moved: Stopwatch,
    /// Topics out of sight, and what hides them.
    hidden: BTreeMap<Arc<str>, Blindness>,
    /// Since it was noted that topics are out of sight.
    marked: Option<Stopwatch>,
}

/// The engine stops.
struct Stopped;

impl Reader {
    pub(super) fn new(
        source: &Arc<KafkaSource>,
        core: &Core,
        plan: &Arc<Plan>,
        stop: &Stopping,
        reach: (watch::Sender<Reach>, Arc<tokio::sync::Notify>),
    ) -> Self {
        let topics = &source.plan.topics;
        let offsets = core.offsets().into_iter().flat_map(|offsets| &offsets.0);
        let positions = offsets
            .filter(|((topic, _), _)| topics.contains_key(topic))
            .map(|((topic, number), next)| (partition(topic, *number), *next))
            .collect();
        let selector = Selector::new(Arc::clone(plan));
        Self {
            source: Arc::clone(source),
            core: core.clone(),
            stop: stop.clone(),
            reach,
            decoding: Decoding::new(&source.plan, plan, selector.stream_labels().clone()),
            hands: None,
            refused: 0,
            positions,
            written: BTreeMap::new(),
            moved: Stopwatch::start(),
            hidden: BTreeMap::new(),
            marked: None,
        }
    }

    pub(super) async fn run(mut self) {
        if self.positions.is_empty() {
            // Nothing was read before: there is nothing to catch up with.
            self.reach(Reach::Clock);
        }
        while !*self.stop.borrow() {
            let settings = Settings::new(Arc::clone(&self.source.plan));
            let positions = self.positions.clone();
            // Its own runtime is made there, and connections.
            let started = task::spawn_blocking(move || Consumer::start(&settings, &positions));
            match started.await {
                Ok(Ok((consumer, events))) => {
                    let consumer = Arc::new(consumer);
                    self.source.set(Some(Arc::clone(&consumer)));
                    let read = self.read(&consumer, events).await;
                    drop(self.source.set(None));
                    end(consumer).await;
                    if let Err(Stopped) = read {
                        return;
                    }
                    error!("reading Kafka ended by itself: it is begun again");
                }
                Ok(Err(problem)) => error!(%problem, "Kafka cannot be read: this is tried again"),
                Err(_) => error!("reading Kafka failed when it began: this is tried again"),
            }
            let mut stop = self.stop.clone();
            tokio::select! {
                () = sleep(RESTART) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Takes events until the consumer ends.
    async fn read(
        &mut self,
        consumer: &Arc<Consumer>,
        mut events: Receiver<Event>,
    ) -> Result<(), Stopped> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = self.stop.clone();
        let mut group = Vec::new();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Err(Stopped),
                count = events.recv_many(&mut group, EVENTS_MAX) => if count == 0 {
                    return Ok(());
                },
                _ = looks.tick() => {}
            }
            let mut entries = Vec::new();
            let chunks = self.heed(std::mem::take(&mut group), &mut entries);
            if self.is_mark_due() {
                let hidden = self.hidden.keys();
                entries.extend(hidden.map(|topic| Entry::Lost(OffsetRange::unseen(topic))));
                self.marked = Some(Stopwatch::start());
            }
            self.take(consumer, entries, chunks).await?;
            self.look(&consumer.status());
        }
    }

    /// Turns events into entries, and gives what the chunks among them hold: entry by entry, nothing
    /// for those that are no chunk.
    fn heed(&mut self, events: Vec<Event>, entries: &mut Vec<Entry>) -> Vec<Option<Chunk>> {
        let mut chunks = Vec::new();
        for event in events {
            match event {
                Event::Began { partition, at } => {
                    entries.push(Entry::Consumed(range(&partition, at, at)));
                    chunks.push(None);
                }
                Event::Chunk(chunk) => {
                    let (from, until) = (chunk.offsets.start, chunk.offsets.end);
                    entries.push(Entry::Consumed(range(&chunk.partition, from, until)));
                    chunks.push(Some(chunk));
                }
                Event::Lost(lost) => {
                    entries.push(Entry::Lost(range(&lost.partition, lost.from, lost.until)));
                    chunks.push(None);
                }
                Event::Down { topic, reason } => {
                    self.hidden.insert(topic, reason);
                    self.marked = None;
                }
                Event::Up { topic } => {
                    info!(%topic, "a Kafka topic is seen");
                    // What came until now was not seen when it should have been.
                    if self.hidden.remove(&topic).is_some() && self.is_at_the_clock() {
                        entries.push(Entry::Lost(OffsetRange::unseen(&topic)));
                        chunks.push(None);
                    }
                }
            }
        }
        chunks
    }

    /// Records entries, and puts the messages of the chunks. What cannot be recorded is tried again
    /// until it can be: meanwhile nothing more is taken, and the consumer pauses.
    async fn take(
        &mut self,
        consumer: &Arc<Consumer>,
        entries: Vec<Entry>,
        chunks: Vec<Option<Chunk>>,
    ) -> Result<(), Stopped> {
        if entries.is_empty() {
            return Ok(());
        }
        let durable = loop {
            match fetched::record(&self.core, entries.clone()).await {
                Ok(durable) => break durable,
                Err(Unavailable::Stopped) => return Err(Stopped),
                Err(Unavailable::Busy | Unavailable::NotRecorded | Unavailable::Recovering) => {}
            }
            let mut stop = self.stop.clone();
            tokio::select! {
                () = sleep(RETRY) => {}
                _ = stop.wait_for(|stop| *stop) => return Err(Stopped),
            }
        };
        self.note(&entries, &chunks);
        let work = Work {
            consumer: Arc::clone(consumer),
            core: self.core.clone(),
            decoding: self.decoding.clone(),
            hands: self.hands.take().unwrap_or_else(|| {
                let labels = Arc::clone(&self.decoding.stream_labels);
                Hands::new(self.core.keys(), labels)
            }),
            refused: self.refused,
        };
        let parts: Vec<_> = durable.into_iter().zip(chunks).collect();
        let put = task::spawn_blocking(move || work.put(parts)).await;
        if let Ok((hands, refused)) = put {
            (self.hands, self.refused) = (Some(hands), refused);
            return Ok(());
        }
        error!("messages of Kafka could not be put: open deployments cannot pass any more");
        let lost = entries.into_iter().filter_map(|entry| match entry {
            Entry::Consumed(range) => Some(Entry::Lost(OffsetRange::unseen(&range.topic))),
            Entry::Batch(_) | Entry::Deployment(_) | Entry::Tick(_) | Entry::Lost(_) => None,
        });
        // Where that cannot be recorded the disk is full, and time stands still.
        drop(fetched::record(&self.core, lost.collect()).await);
        Ok(())
    }

    /// Notes how far partitions were taken.
    fn note(&mut self, entries: &[Entry], chunks: &[Option<Chunk>]) {
        for entry in entries {
            match entry {
                Entry::Consumed(range) | Entry::Lost(range) if range.partition >= 0 => {
                    let partition = partition(&range.topic, range.partition);
                    self.positions.insert(partition, range.until);
                    self.moved = Stopwatch::start();
                }
                Entry::Consumed(_)
                | Entry::Lost(_)
                | Entry::Batch(_)
                | Entry::Deployment(_)
                | Entry::Tick(_) => {}
            }
        }
        if self.is_at_the_clock() {
            return;
        }
        for chunk in chunks.iter().flatten() {
            let written = chunk
                .messages
                .iter()
                .filter_map(|message| message.timestamp);
            if let Some(latest) = written.max() {
                self.written.insert(chunk.partition.clone(), latest);
            }
        }
    }

    fn is_at_the_clock(&self) -> bool {
        *self.reach.0.borrow() == Reach::Clock
    }

    /// Whether it has to be noted that topics are out of sight: nothing that they feed is covered now.
    fn is_mark_due(&self) -> bool {
        let is_due = self.marked.is_none_or(|marked| MARK <= marked.elapsed());
        !self.hidden.is_empty() && self.is_at_the_clock() && is_due
    }

    /// Looks how far the source has come, until it has come to the clock.
    fn look(&mut self, status: &Status) {
        if self.is_at_the_clock() {
            return;
        }
        let mut least = Reach::Clock;
        for name in self.source.plan.topics.keys() {
            let topic = status.topics.get(name.as_str());
            let is_hidden = topic.is_some_and(|topic| match &topic.blindness {
                // That is what a restart leaves behind, as long as it gets less.
                Some(Blindness::Behind { .. }) => self.is_stuck(),
                Some(
                    Blindness::Unreachable { .. }
                    | Blindness::NoTopic { .. }
                    | Blindness::Leaderless { .. },
                ) => true,
                None => false,
            });
            if is_hidden {
                continue;
            }
            let Some(topic) = topic.filter(|topic| topic.is_up || topic.blindness.is_some()) else {
                least = Reach::Nowhere;
                continue;
            };
            for (number, read) in &topic.partitions {
                let partition = partition(name, *number);
                let taken = self.positions.get(&partition).copied();
                if read.lag == 0 && taken.is_some_and(|taken| read.next <= taken) {
                    continue;
                }
                let come = self.written.get(&partition).copied();
                least = least.min(come.map_or(Reach::Nowhere, Reach::Until));
            }
        }
        self.reach(least);
    }

    /// Whether nothing comes although there is more.
    fn is_stuck(&self) -> bool {
        let patience = self.source.plan.blind_after.seconds_f64();
        patience <= self.moved.elapsed().as_secs_f64()
    }

    fn reach(&self, reach: Reach) {
        let (sender, changed) = &self.reach;
        let is_news = sender.send_if_modified(|before| {
            let is_news = *before < reach;
            *before = reach.max(*before);
            is_news
        });
        if is_news {
            changed.notify_one();
        }
    }
}

/// Puts the messages of chunks, off the network's threads.
struct Work {
    consumer: Arc<Consumer>,
    core: Core,
    decoding: Decoding,
    hands: Hands,
    refused: u64,
}

impl Work {
    fn put(mut self, parts: Vec<(Durable, Option<Chunk>)>) -> (Hands, u64) {
        for (durable, chunk) in parts {
            // An entry without messages is done as soon as it is durable.
            let Some(chunk) = chunk else { continue };
            let mut latest = None;
            for message in &chunk.messages {
                latest = latest.max(self.put_message(&chunk.partition, message, durable.epoch));
            }
            durable.running.done(durable.position, latest);
        }
        (self.hands, self.refused)
    }

    /// Puts a message, and gives the latest time in it. One that cannot be used costs only itself.
    fn put_message(
        &mut self,
        partition: &Partition,
        message: &Message,
        epoch: Epoch,
    ) -> Option<Timestamp> {
        let decoded = self.decoding.decode(&partition.topic, message);
        self.consumer.decoded(partition, &decoded);
        match decoded {
            Ok(batch) => {
                let core = &self.core;
                let put = |raw: Raw<'_>, scratch: &mut _| core.put(raw, epoch, scratch);
                self.hands.put(&batch, put).latest
            }
            Err(problem) => {
                self.refused += 1;
                if self.refused.is_power_of_two() {
                    let (offset, count) = (message.offset, self.refused);
                    warn!(%partition, offset, %problem, count, "a Kafka message cannot be used");
                }
                None
            }
        }
    }
}

/// Stops a consumer, and waits for it unless somebody still looks at it.
async fn end(consumer: Arc<Consumer>) {
    if let Some(consumer) = Arc::into_inner(consumer) {
        let ended = task::spawn_blocking(|| consumer.stop()).await;
        if ended.is_err() {
            warn!("reading Kafka did not end as it should");
        }
    }
}
