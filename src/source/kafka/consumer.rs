//! The thread that polls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message as _,
    consumer::Consumer as _,
    error::{KafkaError as ClientError, KafkaResult},
    message::BorrowedMessage,
};
use tokio::sync::mpsc::{Receiver, channel};
use tracing::{info, warn};

use super::{
    Event, EventOutcome, KafkaError, Pace, Partition, Positions, Settings, Status,
    client::{self, Client, now},
    hand_over::{Borrowed, Flow, HandOver, Slot},
    partition::Progress,
    sight::Sight,
    status::{Refusals, TopicStatus},
    survey::{Scout, Survey},
};
use crate::{
    decode::DecodeError,
    event::{Batch, Timestamp},
    plan::{KafkaPlan, TopicStart},
};

/// Most events that wait for whoever takes them; a chunk is one.
const EVENTS_MAX: usize = 64;
/// How long a poll waits for a first message.
const POLL: Duration = Duration::from_millis(50);
/// Most messages that are taken before anything else is looked at.
const BURST_MESSAGES: usize = 10_000;
/// How often the status is published and sight is judged.
const LOOK: Duration = Duration::from_millis(500);
/// How often an error of the client is logged.
const ERROR_LOG: Duration = Duration::from_secs(10);

/// Reads the topics of one source.
///
/// Owns every partition of its topics: nothing is shared with other consumers. Ends when it is
/// stopped or dropped, or when the receiver of its events is dropped.
#[derive(Debug)]
pub struct Consumer {
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
    refusals: Mutex<BTreeMap<Arc<str>, Refusals>>,
    events: Mutex<BTreeMap<(Arc<str>, EventOutcome), u64>>,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    /// Starts to read at the given positions: of each partition, the offset after the last chunk
    /// that was taken. Partitions without a position are found, and begin where the plan says; those
    /// that come to a topic later, or with a topic that was not there before, begin at their first
    /// message.
    ///
    /// # Errors
    /// The configuration cannot be used, or the system gives no thread. That no broker answers is no
    /// error here but an event.
    pub fn start(
        settings: &Settings,
        positions: &Positions,
    ) -> Result<(Self, Receiver<Event>), KafkaError> {
        let config = configuration(settings)?;
        let topics: Vec<Arc<str>> = settings
            .plan
            .topics
            .keys()
            .map(|topic| Arc::from(topic.as_str()))
            .collect();
        let scout = Scout::start(&config, topics.clone(), settings.pace.survey)?;
        let client = client::create(&config)?;
        let no_thread = |error: std::io::Error| KafkaError::NoThread {
            detail: error.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(no_thread)?;
        let (sender, receiver) = channel(EVENTS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let status = Arc::new(Mutex::new(Status::default()));
        let started_at = now();
        let mut worker = Worker {
            config,
            client,
            scout,
            pace: settings.pace,
            start: settings.plan.start,
            topics: topics
                .into_iter()
                .map(|name| (name, Topic::default()))
                .collect(),
            partitions: Vec::new(),
            hand_over: HandOver::new(sender, runtime),
            is_paused: false,
            resumed_at: started_at,
            drained_at: started_at,
            reset_at: None,
            survey: None,
            rebuilt_at: started_at,
            rebuilds_in_vain: 0,
            looked_at: started_at,
            error_logged_at: None,
            counts: Status::default(),
            stop: Arc::clone(&stop),
            status: Arc::clone(&status),
        };
        worker.adopt_positions(positions)?;
        worker.publish();
        let thread = thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || worker.run())
            .map_err(no_thread)?;
        let consumer = Self {
            stop,
            status,
            refusals: Mutex::default(),
            events: Mutex::new(nothing_told(&settings.plan)),
            thread: Some(thread),
        };
        Ok((consumer, receiver))
    }

    /// How it is doing; at most a second old.
    pub fn status(&self) -> Status {
        let mut status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let refusals = self.refusals.lock();
        for (topic, refusals) in refusals.unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(topic) = status.topics.get_mut(topic) {
                topic.refusals = refusals.clone();
            }
        }
        let events = self.events.lock();
        for ((topic, outcome), count) in events.unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(topic) = status.topics.get_mut(topic) {
                topic.events.insert(*outcome, *count);
            }
        }
        status
    }

    /// Counts what could not be used of a message that was taken: whoever decodes it tells.
    pub fn decoded(&self, partition: &Partition, decoded: &Result<Batch, DecodeError>) {
        if matches!(decoded, Ok(batch) if batch.rejects.is_empty()) {
            return;
        }
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals
            .entry(Arc::clone(&partition.topic))
            .or_default()
            .count(decoded);
    }

    /// Counts a deployment event of a message that was taken: whoever takes it tells.
    pub fn told(&self, partition: &Partition, outcome: EventOutcome) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = (Arc::clone(&partition.topic), outcome);
        *events.entry(counted).or_default() += 1;
    }

    /// Whether its thread has ended. That is so after a stop, or by a defect.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops reading and waits for the end. What was handed over and not yet taken stays with the
    /// receiver; what was not is read again by the next one.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there was told when it happened.
            drop(thread.join());
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The counts of topics of deployment events, before any came.
fn nothing_told(plan: &KafkaPlan) -> BTreeMap<(Arc<str>, EventOutcome), u64> {
    let topics = plan
        .topics
        .iter()
        .filter(|(_, format)| format.overrides().is_some());
    let each = topics.flat_map(|(topic, _)| {
        let topic: Arc<str> = Arc::from(topic.as_str());
        EventOutcome::ALL.map(|outcome| ((Arc::clone(&topic), outcome), 0))
    });
    each.collect()
}

fn configuration(settings: &Settings) -> Result<ClientConfig, KafkaError> {
    let mut config = client::configuration(&settings.plan)?;
    let interval = settings.pace.survey.as_millis() / 2;
    config.set("statistics.interval.ms", interval.max(100).to_string());
    Ok(config)
}

/// What is known of a topic.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// Its partitions: where they stand in the worker's list.
    pub(super) indices: BTreeMap<i32, usize>,
    /// The partitions that a first survey found, if there were any; those begin where the plan
    /// says. `None`: there was no survey yet.
    pub(super) found_first: Option<BTreeSet<i32>>,
    pub(super) sight: Sight,
    pub(super) status: TopicStatus,
}

/// What the thread works on.
pub(super) struct Worker {
    pub(super) config: ClientConfig,
    pub(super) client: Client,
    pub(super) scout: Scout,
    pub(super) pace: Pace,
    pub(super) start: TopicStart,
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    pub(super) partitions: Vec<Progress>,
    pub(super) hand_over: HandOver,
    /// Whether all partitions are paused because nobody takes what is read.
    pub(super) is_paused: bool,
    pub(super) resumed_at: Instant,
    /// When the client had nothing more in hand.
    pub(super) drained_at: Instant,
    /// When the client said that a position is not there, until that is settled.
    pub(super) reset_at: Option<Instant>,
    /// The newest survey.
    pub(super) survey: Option<Survey>,
    pub(super) rebuilt_at: Instant,
    pub(super) rebuilds_in_vain: u32,
    pub(super) looked_at: Instant,
    error_logged_at: Option<Instant>,
    /// What the status says beside topics.
    pub(super) counts: Status,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<Status>>,
}

impl Worker {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) && !self.hand_over.is_closed() {
            self.oversee();
            let patience = if self.is_paused {
                Duration::ZERO
            } else {
                self.pace.patience
            };
            match self.hand_over.flush(patience) {
                Flow::Closed => break,
                Flow::Full => {
                    self.pause();
                    self.poll(POLL);
                }
                Flow::Empty => {
                    self.resume();
                    self.poll_burst();
                }
            }
            if self.looked_at.elapsed() >= LOOK {
                self.looked_at = now();
                self.look();
                self.publish();
            }
        }
        let waits = !self.hand_over.is_closed();
        client::close(self.client, waits);
    }

    /// Takes what is there, waiting a little for the first message.
    fn poll_burst(&mut self) {
        let mut wait = POLL;
        for _ in 0..BURST_MESSAGES {
            if !self.poll(wait) {
                self.drained_at = now();
                break;
            }
            wait = Duration::ZERO;
        }
        self.hand_over.seal_all();
    }

    /// Takes the next message or error; whether there was one.
    fn poll(&mut self, wait: Duration) -> bool {
        let error = match self.client.poll(wait) {
            None => return false,
            Some(Ok(message)) => {
                take(
                    &self.topics,
                    &mut self.partitions,
                    &mut self.hand_over,
                    &message,
                );
                return true;
            }
            Some(Err(error)) => error,
        };
        self.heed(&error);
        true
    }

    fn heed(&mut self, error: &ClientError) {
        if error.rdkafka_error_code().is_some_and(client::is_reset) {
            self.reset_at = Some(now());
            self.scout.nudge();
            return;
        }
        self.counts.errors += 1;
        self.counts.last_error = Some(error.to_string());
        if self
            .error_logged_at
            .is_none_or(|at| at.elapsed() >= ERROR_LOG)
        {
            self.error_logged_at = Some(now());
            warn!(%error, "kafka reading is disturbed");
        }
        if matches!(error, ClientError::MessageConsumptionFatal(_)) {
            self.rebuild("the client gave up");
        }
    }

    fn pause(&mut self) {
        if self.is_paused {
            return;
        }
        self.is_paused = true;
        self.counts.pauses += 1;
        let paused = self
            .every_partition()
            .and_then(|list| self.client.pause(&list));
        self.or_rebuild(paused);
    }

    fn resume(&mut self) {
        if !self.is_paused {
            return;
        }
        self.is_paused = false;
        self.resumed_at = now();
        let resumed = self
            .every_partition()
            .and_then(|list| self.client.resume(&list));
        self.or_rebuild(resumed);
    }

    pub(super) fn every_partition(&self) -> KafkaResult<rdkafka::TopicPartitionList> {
        let positions = self
            .partitions
            .iter()
            .map(|progress| (&progress.partition, progress.next));
        client::list(positions)
    }

    pub(super) fn or_rebuild(&mut self, done: KafkaResult<()>) {
        if let Err(error) = done {
            warn!(%error, "kafka client refuses an assignment");
            self.rebuild("the client refused an assignment");
        }
    }

    /// Replaces the client by a new one that reads on where this one stood.
    pub(super) fn rebuild(&mut self, reason: &'static str) {
        self.rebuilt_at = now();
        self.counts.rebuilds += 1;
        info!(reason, "kafka client is rebuilt");
        let client = match client::create(&self.config) {
            Ok(client) => client,
            Err(error) => {
                warn!(%error, "kafka client cannot be rebuilt");
                return;
            }
        };
        let old = std::mem::replace(&mut self.client, client);
        client::close(old, false);
        self.is_paused = false;
        self.resumed_at = self.rebuilt_at;
        self.reset_at = None;
        let assigned = self
            .every_partition()
            .and_then(|list| self.client.assign(&list));
        if let Err(error) = assigned {
            // The watchdog comes by again.
            warn!(%error, "kafka client refuses an assignment");
        }
    }

    /// Begins with the partitions whose positions are known.
    fn adopt_positions(&mut self, positions: &Positions) -> Result<(), KafkaError> {
        let at = now();
        for (partition, next) in positions {
            self.adopt(partition.clone(), *next, at);
        }
        let assigned = self
            .every_partition()
            .and_then(|list| self.client.assign(&list));
        assigned.map_err(|error| KafkaError::Refused {
            detail: error.to_string(),
        })
    }

    /// Takes a partition of a topic of ours into the list.
    pub(super) fn adopt(&mut self, partition: Partition, next: i64, at: Instant) -> Option<usize> {
        let topic = self.topics.get_mut(&partition.topic)?;
        let index = self.partitions.len();
        topic.indices.insert(partition.number, index);
        self.partitions.push(Progress::new(partition, next, at));
        Some(index)
    }

    fn publish(&mut self) {
        let at = now();
        let mut status = self.counts.clone();
        for (name, topic) in &self.topics {
            let mut topic_status = topic.status.clone();
            topic_status.is_up = topic.sight.is_up();
            topic_status.blindness = topic.sight.blindness().cloned();
            for (number, index) in &topic.indices {
                let partition = self.partitions[*index].status(at);
                topic_status.partitions.insert(*number, partition);
            }
            status.topics.insert(Arc::clone(name), topic_status);
        }
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

fn take(
    topics: &BTreeMap<Arc<str>, Topic>,
    partitions: &mut [Progress],
    hand_over: &mut HandOver,
    message: &BorrowedMessage<'_>,
) {
    let index = topics
        .get(message.topic())
        .and_then(|topic| topic.indices.get(&message.partition()));
    // What was never assigned does not come.
    let Some(&index) = index else { return };
    let progress = &mut partitions[index];
    let payload = message.payload().unwrap_or_default();
    let wanted = progress.next;
    if !progress.take(message.offset(), payload.len(), now()) {
        return;
    }
    let slot = Slot {
        index,
        partition: &progress.partition,
        wanted,
    };
    hand_over.add(
        slot,
        Borrowed {
            offset: message.offset(),
            timestamp: written_at(message),
            payload,
        },
    );
}

/// When a message was written, where that is known.
pub(super) fn written_at(message: &BorrowedMessage<'_>) -> Option<Timestamp> {
    message
        .timestamp()
        .to_millis()
        .filter(|millis| *millis > 0)
        .map(Timestamp::from_millis)
}
