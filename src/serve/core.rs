//! The way to the engine: inputs in, what it published out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::error;

use super::{
    answers::EventReply,
    board::Deployment,
    chronicle::Chronicle,
    offsets::Offsets,
    published::{Published, Stats},
    recorder::{self, Recording},
    recovery::Recovery,
    recovery_error::RecoveryError,
    repeats::Repeats,
    requests::unnamed_id,
    sequence::{PlanReply, Sequence, Ticket},
    worker::Worker,
};
use crate::{
    engine::{Engine, Refusal},
    event::{DeploymentEvent, KeyHash, Signal, Timestamp},
    journal::{Body, PlanChange, Reload, recorded},
    plan::Plan,
    reduce::{Epoch, Shards},
};

#[cfg(any(feature = "kafka", test))]
mod fetched;
mod over_limit;
mod put;

use over_limit::Marks;

pub(super) use super::answers::{ChangeError, EventError};
pub use super::answers::{Ending, Unavailable};

/// Most ticks and deployment events that wait for the core.
pub(super) const QUEUE_ORDERS_MAX: usize = 1_024;
/// A permit of the byte budget stands for this many bytes.
const PERMIT_BYTES: usize = 1 << 10;

/// The way to the core; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Core {
    orders: mpsc::Sender<Order>,
    sequence: Arc<Sequence>,
    budget: Arc<Semaphore>,
    published: Arc<Published>,
    opened: Arc<OnceLock<Opened>>,
    keys: KeyHash,
    repeats: Arc<Repeats>,
    marks: Arc<Marks>,
    /// Whether time is so far behind that what is sent now would be refused as of the future.
    is_far_behind: Arc<AtomicBool>,
    /// Ids given to deployments that came without one.
    ids: Arc<AtomicU64>,
    ready: watch::Receiver<bool>,
    ended: watch::Receiver<Option<Ending>>,
}

/// Where the core stood when it began to take inputs.
#[derive(Debug)]
struct Opened {
    /// Those of every configuration that is at work, that of the plan last.
    shards: Arc<ArcSwap<Vec<Arc<Shards>>>>,
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "of Kafka only"))]
    offsets: Arc<Offsets>,
    ticked_at: Option<Timestamp>,
}

/// Bytes of the queue's budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Room(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Room {
    /// Most bytes of bodies, after decompression, that are decoded or wait to be recorded.
    pub(super) const BYTES_MAX: usize = 256 << 20;
}

/// What the core does, in order.
#[derive(Debug)]
pub(super) enum Order {
    /// Moves time, once every batch before it is put.
    Tick {
        now: Timestamp,
        /// Where batches stand behind it.
        after: Epoch,
        /// Where the entry behind it stands in the journal.
        end: crate::journal::Position,
        /// What was fetched before it.
        offsets: Arc<Offsets>,
        reply: oneshot::Sender<Result<(), Unavailable>>,
    },
    /// Takes what a deployer told.
    Event {
        event: DeploymentEvent,
        reply: EventReply,
    },
    /// Goes on under another configuration, once every batch before it is put.
    Plan {
        plan: Arc<Plan>,
        change: Box<PlanChange>,
        /// Where the change stands in the journal.
        start: crate::journal::Position,
        reply: PlanReply,
    },
    /// Data was lost of which nobody knows whose it was.
    Lost,
    /// A limit refused a request with data of this sort as a whole.
    OverLimit(Signal),
    /// Everything is fetched that was written while the engine was away.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "of Kafka only"))]
    CaughtUp,
    /// Ends the thread once everything before is done.
    Stop,
    /// Fails as a defect would.
    #[cfg(test)]
    Panic,
}

impl Core {
    /// Starts the threads. The core takes inputs at once, or when the recovery is through.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        plan: &Arc<Plan>,
        keys: KeyHash,
        recovery: Option<Recovery>,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel(QUEUE_ORDERS_MAX);
        let (ending, ended) = watch::channel(None);
        let (readiness, ready) = watch::channel(false);
        let published = Arc::new(Published::new(Stats::none()));
        let recording = Arc::new(Recording::default());
        let (opened, shards) = (Arc::new(OnceLock::new()), Arc::new(ArcSwap::default()));
        let sequence = Arc::new(Sequence::new(
            orders.clone(),
            recovery.is_some(),
            plan.lateness,
            plan.resolution,
        ));
        let core = Self {
            orders,
            sequence: Arc::clone(&sequence),
            budget: Arc::new(Semaphore::new(Room::BYTES_MAX / PERMIT_BYTES)),
            published: Arc::clone(&published),
            opened: Arc::clone(&opened),
            keys,
            repeats: recovery.as_ref().map(Recovery::repeats).unwrap_or_default(),
            marks: Arc::default(),
            is_far_behind: Arc::default(),
            ids: Arc::default(),
            ready,
            ended,
        };
        let open = {
            let (sequence, of_opened) = (Arc::clone(&sequence), Arc::clone(&shards));
            move |engine: &Engine, offsets: Offsets| {
                of_opened.store(Arc::new(engine.shards().cloned().collect()));
                let (offsets, epoch) = (Arc::new(offsets), engine.epoch());
                drop(opened.set(Opened {
                    shards: Arc::clone(&of_opened),
                    offsets: Arc::clone(&offsets),
                    ticked_at: epoch.now,
                }));
                sequence.open(epoch, offsets);
                readiness.send_replace(true);
            }
        };
        let Some(recovery) = recovery else {
            let chronicle =
                Chronicle::in_memory(plan.ledger.keep).map_err(std::io::Error::other)?;
            published.show_history(chronicle.told());
            let engine = Engine::with_keys(Arc::clone(plan), keys);
            open(&engine, Offsets::default());
            let mut worker = Worker::new(engine, sequence, published, recording, None, chronicle);
            worker.show_shards(shards);
            spawn(worker, inbox, ending)?;
            return Ok(core);
        };
        published.show_history(recovery.chronicle().told());
        published.recover(recovery.gates());
        let is_fed = !plan.sources.is_empty();
        let thread = thread::Builder::new().name("core".to_owned());
        thread.spawn(
            move || match recover(recovery, &sequence, &published, &recording) {
                Ok((mut worker, offsets)) => {
                    worker.show_shards(shards);
                    if is_fed {
                        worker.catch_up();
                    }
                    worker.publish_all();
                    open(worker.engine(), offsets);
                    run(worker, inbox, &ending);
                }
                Err(how) => end(&published, &sequence, &ending, how),
            },
        )?;
        Ok(core)
    }

    /// What the core has published.
    pub(super) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// How keys of batches are hashed.
    pub(super) fn keys(&self) -> KeyHash {
        self.keys
    }

    /// What a sender may send once more whose answer was lost.
    pub(super) fn repeats(&self) -> &Arc<Repeats> {
        &self.repeats
    }

    /// Inputs that wait: to be recorded, or for the core.
    pub(super) fn queue_len(&self) -> usize {
        let orders = self.orders.max_capacity() - self.orders.capacity();
        orders + self.sequence.waiting()
    }

    /// Bytes that are set aside for bodies on their way.
    pub(super) fn reserved_bytes(&self) -> usize {
        Room::BYTES_MAX - self.budget.available_permits() * PERMIT_BYTES
    }

    /// Whether the core takes inputs.
    pub(super) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until the core takes inputs, or has ended.
    pub(super) async fn ready(&self) -> Result<(), Unavailable> {
        let mut ready = self.ready.clone();
        let opened = ready.wait_for(|ready| *ready).await;
        opened.map(drop).map_err(|_| Unavailable::Stopped)
    }

    /// Sets bytes of the queue's budget aside for a body.
    ///
    /// # Errors
    /// There is no room: the sender has to come again.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Room, Unavailable> {
        let permits = bytes
            .div_ceil(PERMIT_BYTES)
            .clamp(1, Room::BYTES_MAX / PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        Arc::clone(&self.budget)
            .try_acquire_many_owned(permits)
            .map(Room)
            .map_err(|_| Unavailable::Busy)
    }

    /// Gives a batch its place in the order. Once it is durable it has to be put.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(super) fn place(&self, body: Body) -> Result<Ticket, Unavailable> {
        self.takes()?;
        self.sequence.batch(body)
    }

    /// Whether what is sent is taken, as far as that is known before it has its place.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn takes(&self) -> Result<(), Unavailable> {
        if self.ended.borrow().is_some() {
            return Err(Unavailable::Stopped);
        }
        if self.is_far_behind.load(Ordering::Relaxed) {
            return Err(Unavailable::Recovering);
        }
        if self.published.is_set_back() {
            return Err(Unavailable::SetBack);
        }
        Ok(())
    }

    /// The last tick before the core began to take inputs, if there was one.
    pub(super) fn recovered_at(&self) -> Option<Timestamp> {
        self.opened.get().and_then(|opened| opened.ticked_at)
    }

    /// Turns away what is sent, or not: time is far behind.
    pub(super) fn set_far_behind(&self, is_far_behind: bool) {
        self.is_far_behind.store(is_far_behind, Ordering::Relaxed);
    }

    /// Tells that everything is fetched that was written while the engine was away.
    #[cfg(feature = "kafka")]
    pub(super) async fn caught_up(&self) {
        // A core that has ended needs no order.
        drop(self.orders.send(Order::CaughtUp).await);
    }

    /// Goes on under another configuration, and waits until that is done.
    ///
    /// # Errors
    /// The engine refuses it, or does not take it.
    pub(super) async fn change(
        &self,
        from: &Plan,
        to: Arc<Plan>,
        reload: Reload,
    ) -> Result<(), ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.sequence
            .plan(PlanChange::new(from, &to, reload), to, reply)
            .map_err(ChangeError::Unavailable)?;
        let stopped = ChangeError::Unavailable(Unavailable::Stopped);
        answer.await.unwrap_or(Err(stopped))
    }

    /// Tells the core of a deployment, and gives the deployment as it stands then.
    ///
    /// # Errors
    /// The engine refused the event, or did not take it.
    pub(super) async fn event(
        &self,
        event: DeploymentEvent,
    ) -> Result<Arc<Deployment>, EventError> {
        let event = recorded(&self.with_id(event)).map_err(|problem| {
            EventError::Refused(Box::new(Refusal::BadField {
                field: "event",
                problem,
            }))
        })?;
        let (reply, answer) = oneshot::channel();
        self.sequence
            .event(event, EventReply(reply))
            .map_err(EventError::Unavailable)?;
        let stopped = EventError::Unavailable(Unavailable::Stopped);
        answer.await.unwrap_or(Err(stopped))
    }

    /// Tells the core how far the clock has come, and waits until the core has come as far.
    ///
    /// # Errors
    /// The engine has stopped, recovers, or cannot record the tick: then time stands still.
    pub(super) async fn tick(&self, now: Timestamp) -> Result<(), Unavailable> {
        let answer = self.sequence.tick(now)?;
        answer.await.unwrap_or(Err(Unavailable::Stopped))
    }

    /// Ends the core's thread once it has taken everything that waits.
    pub(super) async fn stop(&self) {
        self.sequence.close();
        // A core that has ended needs no order.
        drop(self.orders.send(Order::Stop).await);
    }

    /// Waits until the core's thread has ended.
    pub(super) async fn ended(mut ended: watch::Receiver<Option<Ending>>) -> Ending {
        match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.unwrap_or(Ending::Died),
            Err(_) => Ending::Died,
        }
    }

    /// Tells how the core's thread ended, once it has.
    pub(super) fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ended.clone()
    }

    /// Chooses an id for a deployment that begins without one.
    fn with_id(&self, event: DeploymentEvent) -> DeploymentEvent {
        let DeploymentEvent::Begin(mut begin) = event else {
            return event;
        };
        while begin.deployment.is_empty() {
            let number = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
            let id = unnamed_id(&begin, number);
            if let Ok(None) | Err(_) = self.published.deployment(&id) {
                begin.deployment = id;
            }
        }
        DeploymentEvent::Begin(begin)
    }

    #[cfg(test)]
    pub(super) async fn panic(&self) {
        self.orders
            .send(Order::Panic)
            .await
            .expect("the core still lives");
    }
}

/// Reads the journal and starts to record.
///
/// # Errors
/// It cannot, and has said why.
fn recover(
    recovery: Recovery,
    sequence: &Arc<Sequence>,
    published: &Arc<Published>,
    recording: &Arc<Recording>,
) -> Result<(Worker, Offsets), Ending> {
    let delay = recovery.commit_delay();
    let replay = || recovery.replay(sequence, published, recording);
    // A panic has told of itself.
    let recovered = match catch_unwind(AssertUnwindSafe(replay)).map_err(|_| Ending::Died)? {
        Ok(recovered) => recovered,
        Err(RecoveryError::Asked) => return Err(Ending::Asked),
        Err(problem) => {
            let cause = std::error::Error::source(&problem).map(ToString::to_string);
            error!(error = %problem, cause, "the engine cannot recover");
            return Err(Ending::Died);
        }
    };
    recording
        .bytes
        .store(recovered.writer.bytes(), Ordering::Relaxed);
    let (of_recorder, counted) = (Arc::clone(sequence), Arc::clone(recording));
    let told = Arc::clone(published);
    let recorder = thread::Builder::new().name("recorder".to_owned());
    let spawned = recorder.spawn(move || {
        recorder::run(recovered.writer, &of_recorder, &counted, &told, delay);
    });
    if let Err(problem) = spawned {
        error!(error = %problem, "the system gives no thread to record inputs");
        return Err(Ending::Died);
    }
    let worker = Worker::new(
        recovered.engine,
        Arc::clone(sequence),
        Arc::clone(published),
        Arc::clone(recording),
        Some(recovered.snapshots),
        recovered.chronicle,
    );
    Ok((worker, recovered.offsets))
}

fn spawn(
    worker: Worker,
    inbox: mpsc::Receiver<Order>,
    ending: watch::Sender<Option<Ending>>,
) -> std::io::Result<()> {
    let thread = thread::Builder::new().name("core".to_owned());
    thread.spawn(move || run(worker, inbox, &ending)).map(drop)
}

/// Runs the core until it is told to stop.
fn run(worker: Worker, inbox: mpsc::Receiver<Order>, ending: &watch::Sender<Option<Ending>>) {
    let (published, sequence) = (worker.published(), worker.sequence());
    let how = if let Ok(()) = catch_unwind(AssertUnwindSafe(|| worker.run(inbox))) {
        Ending::Asked
    } else {
        error!("the engine stopped: every verdict is withheld, restart it");
        Ending::Died
    };
    end(&published, &sequence, ending, how);
}

fn end(
    published: &Published,
    sequence: &Sequence,
    ending: &watch::Sender<Option<Ending>>,
    how: Ending,
) {
    published.stop();
    sequence.close();
    ending.send_replace(Some(how));
}

/// How long a start waits for a recovery before it opens its doors all the same.
pub(super) const RECOVERY_PATIENCE: Duration = Duration::from_secs(2);
