//! Events of a consumer become inputs, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc::Receiver, watch},
    task,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{error, info, warn};

use super::{
    super::{
        clock::{Clock, Stopwatch},
        core::Core,
        fetched::{self, Durable, Hands},
        sources::{Reach, Stopping, World},
    },
    Decoding, KafkaSource,
    deployments::Complaints,
    merge::Merge,
    partition, range,
};
use crate::{
    engine::Selector,
    event::{Raw, Signal, Span, Timestamp},
    journal::{Entry, OffsetRange},
    plan::Plan,
    reduce::{Epoch, Select},
    source::kafka::{Blindness, Chunk, Consumer, Event, Message, Partition, Positions, Settings},
};

/// Most events that are recorded together; a chunk has about 256 KiB.
const EVENTS_MAX: usize = 16;
/// How long what could not be recorded waits until that is tried again. The consumer pauses meanwhile.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// How often it is looked how far a source has come, and whether something is out of sight.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is noted that a topic is out of sight.
const MARK: Duration = Duration::from_secs(1);
/// How long after its end a consumer is started again.
const RESTART: Duration = Duration::from_secs(5);
/// The brokers are not asked more often than this what there is.
const SURVEY_MIN: Duration = Duration::from_secs(1);

/// Reads one source.
pub(super) struct Reader {
    pub(super) source: Arc<KafkaSource>,
    pub(super) core: Core,
    pub(super) clock: Clock,
    pub(super) stop: Stopping,
    reach: (watch::Sender<Reach>, Arc<tokio::sync::Notify>),
    pub(super) plan: Arc<Plan>,
    pub(super) decoding: Decoding,
    hands: Option<Hands>,
    /// Messages that could not be used.
    refused: u64,
    /// How much of what could not be used of deployment events was logged of late.
    pub(super) complaints: Complaints,
    /// Whether the history could be written when that was tried last.
    pub(super) proof: Option<(Stopwatch, bool)>,
    /// How far each partition was taken.
    pub(super) positions: Positions,
    /// What waits until time has come there, as long as the source is not at the clock.
    pub(super) merge: Merge,
    /// How far ahead of the last tick a message may be put.
    pub(super) ahead: Span,
    /// Since something came, or was taken.
    pub(super) moved: Stopwatch,
    /// Topics out of sight, and what hides them.
    pub(super) hidden: BTreeMap<Arc<str>, Blindness>,
    /// Since it was noted that topics are out of sight.
    marked: Option<Stopwatch>,
}

/// The engine stops.
pub(super) struct Stopped;

/// What is cut into pieces that are short beside what may be ahead of a tick.
fn merge(plan: &Plan) -> Merge {
    Merge::new(Span::from_nanos(plan.limits.future.nanos() / 4))
}

impl Reader {
    pub(super) fn new(
        source: &Arc<KafkaSource>,
        core: &Core,
        world: &World,
        reach: (watch::Sender<Reach>, Arc<tokio::sync::Notify>),
    ) -> Self {
        let (plan, topics) = (&world.plan, &source.plan.topics);
        let offsets = core.offsets().into_iter().flat_map(|offsets| &offsets.0);
        let positions = offsets
            .filter(|((topic, _), _)| topics.contains_key(topic))
            .map(|((topic, number), next)| (partition(topic, *number), *next))
            .collect();
        let selector = Selector::new(Arc::clone(plan));
        Self {
            source: Arc::clone(source),
            core: core.clone(),
            clock: world.clock.clone(),
            stop: world.stop.clone(),
            reach,
            plan: Arc::clone(plan),
            decoding: Decoding::new(&source.plan, plan, selector.stream_labels().clone()),
            hands: None,
            refused: 0,
            complaints: Complaints::default(),
            proof: None,
            positions,
            merge: merge(plan),
            ahead: Span::from_nanos(plan.limits.future.nanos() / 2),
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
            let settings = self.settings();
            // What waits was not taken: it comes again.
            self.merge = merge(&self.plan);
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
            if let Err(Stopped) = self.wait_unread().await {
                return;
            }
        }
    }

    /// The usual pace, but never slower to see what there is than time may wait.
    fn settings(&self) -> Settings {
        let mut settings = Settings::new(Arc::clone(&self.source.plan));
        let lateness = Duration::from_nanos(self.plan.lateness.nanos().max(0).cast_unsigned());
        let survey = &mut settings.pace.survey;
        *survey = (lateness / 2).clamp(SURVEY_MIN, *survey);
        settings
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
            let group = std::mem::take(&mut group);
            if !self.is_at_the_clock() {
                self.catch_up(consumer, group).await?;
                continue;
            }
            let mut entries = Vec::new();
            let chunks = self.heed(group, &mut entries);
            if self.is_mark_due() {
                let hidden = self.hidden.keys();
                entries.extend(hidden.map(|topic| Entry::Lost(OffsetRange::unseen(topic))));
                self.marked = Some(Stopwatch::start());
            }
            self.take(consumer, entries, chunks).await?;
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
                    entries.push(self.loss(&lost));
                    chunks.push(None);
                }
                Event::Down { topic, reason } => {
                    if self.hide(topic, reason) {
                        self.marked = None;
                    }
                }
                Event::Up { topic } => {
                    info!(%topic, "a Kafka topic is seen");
                    // What came until now was not seen when it should have been.
                    if self.hidden.remove(&topic).is_some() {
                        entries.push(Entry::Lost(OffsetRange::unseen(&topic)));
                        chunks.push(None);
                    }
                }
            }
        }
        chunks
    }

    /// Takes entries with the chunks among them, in order. What cannot be recorded is tried again until it
    /// can be: meanwhile nothing more is taken, and the consumer pauses.
    pub(super) async fn take(
        &mut self,
        consumer: &Arc<Consumer>,
        entries: Vec<Entry>,
        chunks: Vec<Option<Chunk>>,
    ) -> Result<(), Stopped> {
        let (mut data, mut of_data) = (Vec::new(), Vec::new());
        let chunks = chunks.into_iter().chain(std::iter::repeat_with(|| None));
        for (entry, chunk) in entries.into_iter().zip(chunks) {
            let overrides = chunk.as_ref();
            let overrides = overrides.and_then(|chunk| self.decoding.tells(&chunk.partition.topic));
            match (chunk, overrides) {
                (Some(chunk), Some(overrides)) => {
                    let before = (std::mem::take(&mut data), std::mem::take(&mut of_data));
                    self.take_data(consumer, before).await?;
                    self.take_told(consumer, &chunk, overrides).await?;
                }
                (chunk, _) => {
                    data.push(entry);
                    of_data.push(chunk);
                }
            }
        }
        self.take_data(consumer, (data, of_data)).await
    }

    /// Records entries, and puts the messages of the chunks.
    async fn take_data(
        &mut self,
        consumer: &Arc<Consumer>,
        (entries, chunks): (Vec<Entry>, Vec<Option<Chunk>>),
    ) -> Result<(), Stopped> {
        if entries.is_empty() {
            return Ok(());
        }
        let durable = self.record(&entries).await?;
        self.note(&entries);
        let work = Work {
            consumer: Arc::clone(consumer),
            core: self.core.clone(),
            decoding: self.decoding.clone(),
            hands: self.hands.take().unwrap_or_else(|| {
                let labels = Arc::clone(&self.decoding.stream_labels);
                Hands::new(self.core.keys(), labels)
            }),
            refused: self.refused,
            over_limit: BTreeSet::new(),
        };
        let parts: Vec<_> = durable.into_iter().zip(chunks).collect();
        let put = task::spawn_blocking(move || work.put(parts)).await;
        if let Ok((hands, refused, over_limit)) = put {
            (self.hands, self.refused) = (Some(hands), refused);
            return self.mark_over_limit(over_limit).await;
        }
        error!("messages of Kafka could not be put: open deployments cannot pass any more");
        let lost = entries.into_iter().filter_map(|entry| match entry {
            Entry::Consumed(range) => Some(Entry::Lost(OffsetRange::unseen(&range.topic))),
            Entry::Batch(_)
            | Entry::Deployment(_)
            | Entry::Tick(_)
            | Entry::Lost(_)
            | Entry::Plan(_)
            | Entry::Start(_)
            | Entry::OverLimit(_) => None,
        });
        let lost: Vec<Entry> = lost.collect();
        self.record(&lost).await?;
        Ok(())
    }

    /// Marks that messages were over a limit. After a restart they are refused once more, and the marks stand in
    /// the journal.
    async fn mark_over_limit(&self, signals: BTreeSet<Signal>) -> Result<(), Stopped> {
        for signal in signals {
            loop {
                match self.core.mark_over_limit(signal).await {
                    Ok(()) => break,
                    Err(unavailable) if unavailable.is_final() => return Err(Stopped),
                    Err(_) => {}
                }
                self.pause(RETRY).await?;
            }
        }
        Ok(())
    }

    /// Records entries. What cannot be is tried again until it can: a hole that nobody noted would be
    /// taken for silence.
    async fn record(&self, entries: &[Entry]) -> Result<Vec<Durable>, Stopped> {
        loop {
            match fetched::record(&self.core, entries.to_vec()).await {
                Ok(durable) => return Ok(durable),
                Err(unavailable) if unavailable.is_final() => return Err(Stopped),
                Err(_) => {}
            }
            self.pause(RETRY).await?;
        }
    }

    /// Waits, unless the engine stops.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Stopped> {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(time) => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Err(Stopped),
        }
    }

    /// Waits before reading is tried again. Nothing of any topic is seen meanwhile.
    async fn wait_unread(&self) -> Result<(), Stopped> {
        let waiting = Stopwatch::start();
        while waiting.elapsed() < RESTART {
            if self.is_at_the_clock() {
                let topics = self.source.plan.topics.keys();
                let topics = topics.filter(|topic| self.decoding.tells(topic).is_none());
                let unseen = topics.map(|topic| Entry::Lost(OffsetRange::unseen(topic)));
                self.record(&unseen.collect::<Vec<_>>()).await?;
            }
            self.pause(MARK).await?;
        }
        Ok(())
    }

    /// Notes how far partitions were taken.
    pub(super) fn note(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Consumed(range) | Entry::Lost(range) if range.partition >= 0 => {
                    let partition = partition(&range.topic, range.partition);
                    self.positions.insert(partition, range.until);
                }
                Entry::Consumed(_)
                | Entry::Lost(_)
                | Entry::Batch(_)
                | Entry::Deployment(_)
                | Entry::Tick(_)
                | Entry::Plan(_)
                | Entry::Start(_)
                | Entry::OverLimit(_) => {}
            }
        }
    }

    pub(super) fn is_at_the_clock(&self) -> bool {
        *self.reach.0.borrow() == Reach::Clock
    }

    /// Whether it has to be noted that topics are out of sight: nothing that they feed is covered now.
    fn is_mark_due(&self) -> bool {
        let is_due = self.marked.is_none_or(|marked| MARK <= marked.elapsed());
        !self.hidden.is_empty() && self.is_at_the_clock() && is_due
    }

    pub(super) fn reach(&self, reach: Reach) {
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
    /// What messages carried that were over a limit.
    over_limit: BTreeSet<Signal>,
}

impl Work {
    fn put(mut self, parts: Vec<(Durable, Option<Chunk>)>) -> (Hands, u64, BTreeSet<Signal>) {
        for (durable, chunk) in parts {
            // An entry without messages is done as soon as it is durable.
            let Some(chunk) = chunk else { continue };
            let mut latest = None;
            for message in &chunk.messages {
                latest = latest.max(self.put_message(&chunk.partition, message, durable.epoch));
            }
            durable.running.done(durable.position, latest);
        }
        (self.hands, self.refused, self.over_limit)
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
                if problem.is_over_limit() {
                    let signal = self.decoding.format(&partition.topic).signal();
                    self.over_limit.extend(signal);
                }
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
