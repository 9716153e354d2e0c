//! The thread that owns the engine: it takes inputs in order, records them, publishes what follows.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use super::published::{Deployment, Published, Stats};
use crate::{
    engine::{Engine, Input, Output, Refusal},
    event::{Batch, DeploymentEvent, Timestamp},
    journal::{Body, Entry, Writer, recorded},
    plan::Plan,
    reduce::{LossReason, ReducerCounters},
};

/// Most commands that wait for the core.
pub(super) const QUEUE_COMMANDS_MAX: usize = 1_024;
/// A permit of the byte budget stands for this many bytes.
const PERMIT_BYTES: usize = 1 << 10;
/// How long a deployment event waits for a place in the queue.
const EVENT_PATIENCE: Duration = Duration::from_secs(5);

/// The way to the core; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Core {
    commands: mpsc::Sender<Command>,
    budget: Arc<Semaphore>,
    published: Arc<Published>,
    ended: watch::Receiver<Option<Ending>>,
}

/// How the core's thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told to.
    Asked,
    /// It panicked.
    Died,
}

/// Why the core did not take an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The queue is full: try again in a second.
    Busy,
    /// The input could not be written to the journal.
    NotRecorded,
    /// The engine has stopped.
    Stopped,
}

/// Why a deployment event had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventError {
    /// The engine refused it.
    Refused(Box<Refusal>),
    /// The core did not take it.
    Unavailable(Unavailable),
}

/// Bytes of the queue's budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Room(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Room {
    /// Most bytes of bodies, after decompression, that are decoded or wait for the core.
    pub(super) const BYTES_MAX: usize = 256 << 20;
}

#[derive(Debug)]
enum Command {
    Batch {
        batch: Box<Batch>,
        body: Body,
        room: Room,
        reply: oneshot::Sender<Result<Dropped, Unavailable>>,
    },
    Event {
        event: DeploymentEvent,
        reply: oneshot::Sender<Result<Arc<Deployment>, EventError>>,
    },
    Tick {
        now: Timestamp,
        reply: oneshot::Sender<()>,
    },
    /// Ends the thread once everything before is taken.
    Stop,
    /// Fails as a defect would.
    #[cfg(test)]
    Panic,
}

/// Samples of a batch that the core dropped, by reason; what the decoder refused is not in here.
pub(super) type Dropped = Vec<(&'static str, u64)>;

impl Core {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(plan: Arc<Plan>, journal: Option<Writer>) -> std::io::Result<Self> {
        let (commands, inbox) = mpsc::channel(QUEUE_COMMANDS_MAX);
        let (ending, ended) = watch::channel(None);
        let published = Arc::new(Published::new(Stats::none()));
        let worker = Worker {
            engine: Engine::new(plan),
            journal,
            journal_errors: 0,
            published: Arc::clone(&published),
            outputs: Vec::new(),
            ids: 0,
        };
        let board = Arc::clone(&published);
        thread::Builder::new()
            .name("core".to_owned())
            .spawn(move || {
                let end = if let Ok(()) = catch_unwind(AssertUnwindSafe(|| worker.run(inbox))) {
                    Ending::Asked
                } else {
                    error!("the engine stopped: every verdict is withheld, restart it");
                    Ending::Died
                };
                board.stop();
                ending.send_replace(Some(end));
            })?;
        let budget = Arc::new(Semaphore::new(Room::BYTES_MAX / PERMIT_BYTES));
        Ok(Self {
            commands,
            budget,
            published,
            ended,
        })
    }

    /// What the core has published.
    pub(super) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Commands that wait.
    pub(super) fn queue_len(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    /// Bytes that are set aside for bodies on their way.
    pub(super) fn reserved_bytes(&self) -> usize {
        Room::BYTES_MAX - self.budget.available_permits() * PERMIT_BYTES
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

    /// Hands a batch to the core and waits until it is recorded and taken. Gives what the core
    /// dropped of it.
    ///
    /// # Errors
    /// The queue is full, the journal cannot be written, or the engine has stopped: nothing of the
    /// batch was taken.
    pub(super) async fn batch(
        &self,
        batch: Batch,
        body: Body,
        room: Room,
    ) -> Result<Dropped, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Batch {
            batch: Box::new(batch),
            body,
            room,
            reply,
        };
        self.commands
            .try_send(command)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => Unavailable::Busy,
                mpsc::error::TrySendError::Closed(_) => Unavailable::Stopped,
            })?;
        answer.await.unwrap_or(Err(Unavailable::Stopped))
    }

    /// Tells the core of a deployment, and gives the deployment as it stands then.
    ///
    /// # Errors
    /// The engine refused the event, or did not take it.
    pub(super) async fn event(
        &self,
        event: DeploymentEvent,
    ) -> Result<Arc<Deployment>, EventError> {
        let (reply, answer) = oneshot::channel();
        let stopped = EventError::Unavailable(Unavailable::Stopped);
        match self
            .commands
            .send_timeout(Command::Event { event, reply }, EVENT_PATIENCE)
            .await
        {
            Ok(()) => answer.await.unwrap_or(Err(stopped)),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(EventError::Unavailable(Unavailable::Busy))
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(stopped),
        }
    }

    /// Tells the core how far the clock has come, and waits until the core has come as far.
    ///
    /// # Errors
    /// The engine has stopped.
    pub(super) async fn tick(&self, now: Timestamp) -> Result<(), Unavailable> {
        let (reply, answer) = oneshot::channel();
        let stopped = |_| Unavailable::Stopped;
        self.commands
            .send(Command::Tick { now, reply })
            .await
            .map_err(|_| Unavailable::Stopped)?;
        answer.await.map_err(stopped)
    }

    /// Ends the core's thread once it has taken everything that waits.
    pub(super) async fn stop(&self) {
        // A core that has ended needs no order.
        drop(self.commands.send(Command::Stop).await);
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

    #[cfg(test)]
    pub(super) async fn panic(&self) {
        self.commands
            .send(Command::Panic)
            .await
            .expect("the core still lives");
    }
}

struct Worker {
    engine: Engine,
    journal: Option<Writer>,
    journal_errors: u64,
    published: Arc<Published>,
    outputs: Vec<Output>,
    /// Ids given to deployments that came without one.
    ids: u64,
}

impl Worker {
    /// Takes commands until it is told to stop.
    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.blocking_recv() {
            match command {
                Command::Batch {
                    batch,
                    body,
                    room,
                    reply,
                } => {
                    let taken = self.batch(&batch, body);
                    drop((batch, room));
                    // The sender may have left; what was taken is taken.
                    drop(reply.send(taken));
                }
                Command::Event { event, reply } => drop(reply.send(self.event(event))),
                Command::Tick { now, reply } => {
                    self.tick(now);
                    if reply.send(()).is_err() {
                        debug!("nobody waits for this tick any more");
                    }
                }
                Command::Stop => break,
                #[cfg(test)]
                Command::Panic => panic!("the engine was told to fail"),
            }
        }
    }

    fn batch(&mut self, batch: &Batch, body: Body) -> Result<Dropped, Unavailable> {
        if batch.series.is_empty() && batch.logs.is_empty() {
            return Ok(Vec::new());
        }
        self.record(&Entry::Batch(body))?;
        let before = self.engine.reducer_counters();
        self.engine.step(Input::Batch(batch), &mut self.outputs);
        self.say();
        Ok(dropped(&before, &self.engine.reducer_counters()))
    }

    fn event(&mut self, event: DeploymentEvent) -> Result<Arc<Deployment>, EventError> {
        let event = recorded(&self.with_id(event)).map_err(|problem| {
            EventError::Refused(Box::new(Refusal::BadField {
                field: "event",
                problem,
            }))
        })?;
        self.record(&Entry::Deployment(event.clone()))
            .map_err(EventError::Unavailable)?;
        let id = event.deployment().to_owned();
        self.engine
            .step(Input::Deployment(event), &mut self.outputs);
        let gate = self.engine.gates().find(|gate| gate.begin.deployment == id);
        self.published.update(gate.into_iter());
        if let Some(refusal) = self.say() {
            return Err(EventError::Refused(refusal));
        }
        match self.published.deployment(&id) {
            Ok(Some(deployment)) => Ok(deployment),
            Ok(None) | Err(_) => Err(EventError::Refused(Box::new(Refusal::UnknownDeployment {
                deployment: id,
            }))),
        }
    }

    fn tick(&mut self, now: Timestamp) {
        // A tick that is not recorded is not taken: time stands still, and no verdict moves.
        if self.record(&Entry::Tick(now)).is_ok() {
            let before = self.engine.watermark();
            self.engine.step(Input::Tick(now), &mut self.outputs);
            if self.engine.watermark() != before {
                self.published.update(self.engine.gates());
            }
            self.say();
        }
        self.published.count(Stats {
            ticked_at: now,
            watermark: self.engine.watermark(),
            open_gates: self.engine.open_gates(),
            engine: self.engine.counters().clone(),
            reducer: self.engine.reducer_counters(),
            journal_bytes: self.journal.as_ref().map(Writer::bytes),
            journal_errors: self.journal_errors,
        });
    }

    /// Announces what the engine said, and gives a refusal if there was one.
    fn say(&mut self) -> Option<Box<Refusal>> {
        let mut refused = None;
        for output in self.outputs.drain(..) {
            match output {
                Output::Verdict(verdict) => {
                    info!(
                        deployment = %verdict.deployment,
                        verdict = %verdict.verdict,
                        at = %verdict.at,
                        reason = verdict.reasons.first().map_or("", String::as_str),
                        "verdict changed"
                    );
                    self.published.announce(*verdict);
                }
                Output::Refused(refusal) => {
                    warn!(%refusal, "deployment event refused");
                    refused = Some(refusal);
                }
            }
        }
        refused
    }

    fn record(&mut self, entry: &Entry) -> Result<(), Unavailable> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let recorded = journal.commit(std::slice::from_ref(entry));
        recorded.map(drop).map_err(|error| {
            self.journal_errors += 1;
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            error!(%error, cause, "an input was not taken: it could not be recorded");
            Unavailable::NotRecorded
        })
    }

    /// Chooses an id for a deployment that begins without one.
    fn with_id(&mut self, event: DeploymentEvent) -> DeploymentEvent {
        let DeploymentEvent::Begin(mut begin) = event else {
            return event;
        };
        while begin.deployment.is_empty() {
            self.ids += 1;
            let region = begin.region.as_ref();
            let region = region.map_or_else(String::new, |region| format!("-{region}"));
            let id = format!(
                "{}-{}{region}-{}-{}",
                begin.service, begin.stage, begin.version, self.ids
            );
            if self.engine.verdict(&id).is_none() {
                begin.deployment = id;
            }
        }
        DeploymentEvent::Begin(begin)
    }
}

/// What a batch lost in the core. Values that are no measurement (stale markers, NaN) are no loss
/// to the sender: Prometheus sends them unasked.
fn dropped(before: &ReducerCounters, after: &ReducerCounters) -> Dropped {
    let mut dropped = Vec::new();
    for (reason, count) in &after.losses {
        let name = match reason {
            LossReason::Stale | LossReason::NotFinite => continue,
            LossReason::Late
            | LossReason::Future
            | LossReason::Duplicate
            | LossReason::OverLimit
            | LossReason::Incompatible => reason.name(),
        };
        dropped.push((
            name,
            count - before.losses.get(reason).copied().unwrap_or(0),
        ));
    }
    let refused = |counters: &ReducerCounters| counters.samples_refused + counters.logs_refused;
    dropped.push(("series_limit", refused(after) - refused(before)));
    dropped.retain(|(_, count)| *count > 0);
    dropped
}
