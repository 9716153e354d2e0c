//! The thread that owns the engine: it takes orders one by one, publishes what follows, and saves the
//! state from time to time.

use std::sync::{Arc, atomic::Ordering};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{
    answers::{ChangeError, EventError, EventReply},
    board::Deployment,
    chronicle::Chronicle,
    core::Order,
    metadata::Disputes,
    offsets::Offsets,
    published::{Published, Stats, Withheld},
    recorder::Recording,
    saver::Saver,
    sequence::Sequence,
};
use crate::{
    engine::{Engine, Input, Output, Refusal},
    event::{DeploymentEvent, Timestamp},
    journal::{PlanChange, Position},
    plan::Plan,
    reduce::{Epoch, Shards},
};

/// Owns the engine.
pub(super) struct Worker {
    engine: Engine,
    sequence: Arc<Sequence>,
    published: Arc<Published>,
    recording: Arc<Recording>,
    /// Saves the state; `None`: nothing is recorded.
    saver: Option<Saver>,
    /// Writes the history.
    chronicle: Chronicle,
    outputs: Vec<Output>,
    disputes: Disputes,
    /// Where others find the shards that batches are put into.
    shards: Arc<ArcSwap<Vec<Arc<Shards>>>>,
    /// Where the last change of the configuration stands in the journal.
    changed_at: Option<Position>,
    /// Whether what was written while the engine was away is still to be fetched: gates wait for it.
    is_catching_up: bool,
}

impl Worker {
    /// A worker that goes on with an engine.
    pub(super) fn new(
        engine: Engine,
        sequence: Arc<Sequence>,
        published: Arc<Published>,
        recording: Arc<Recording>,
        saver: Option<Saver>,
        chronicle: Chronicle,
    ) -> Self {
        Self {
            engine,
            sequence,
            published,
            recording,
            saver,
            chronicle,
            outputs: Vec::new(),
            disputes: Disputes::default(),
            shards: Arc::default(),
            changed_at: None,
            is_catching_up: false,
        }
    }

    /// Withholds verdicts until [`Order::CaughtUp`].
    pub(super) fn catch_up(&mut self) {
        self.is_catching_up = true;
    }

    /// Shows there the shards that batches are put into.
    pub(super) fn show_shards(&mut self, shards: Arc<ArcSwap<Vec<Arc<Shards>>>>) {
        self.shards = shards;
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    pub(super) fn sequence(&self) -> Arc<Sequence> {
        Arc::clone(&self.sequence)
    }

    /// Publishes every deployment as it stands.
    pub(super) fn publish_all(&self) {
        self.published.tell_conditions(self.engine.conditions());
        if self.is_catching_up {
            self.published.recover(self.engine.gates());
        } else {
            self.published.recovered(self.engine.gates());
        }
    }

    /// Takes orders until it is told to stop.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        while let Some(order) = inbox.blocking_recv() {
            match order {
                Order::Tick {
                    now,
                    after,
                    end,
                    offsets,
                    reply,
                } => {
                    self.tick(now, after, end, &offsets);
                    if reply.send(Ok(())).is_err() {
                        debug!("nobody waits for this tick any more");
                    }
                }
                Order::Event { event, reply } => self.event(&event, reply),
                Order::Plan {
                    plan,
                    change,
                    start,
                    reply,
                } => {
                    // Whoever asked may have gone; what is done is done.
                    drop(reply.send(self.change(plan, &change, start)));
                }
                Order::Lost => self.engine.step(Input::Lost, &mut self.outputs),
                Order::OverLimit(signal) => {
                    self.engine
                        .step(Input::OverLimit(signal), &mut self.outputs);
                }
                Order::CaughtUp => {
                    self.is_catching_up = false;
                    self.publish_all();
                }
                Order::Stop => break,
                #[cfg(test)]
                Order::Panic => panic!("the engine was told to fail"),
            }
        }
        self.chronicle.finish();
        if let Some(saver) = self.saver {
            saver.finish();
        }
    }

    fn event(&mut self, event: &DeploymentEvent, reply: EventReply) {
        let id = event.deployment().to_owned();
        let was_open = Chronicle::is_open(&self.engine, event);
        let input = Input::Deployment(event.clone());
        self.engine.step(input, &mut self.outputs);
        self.chronicle
            .note_event(&self.engine, event, was_open, &self.outputs);
        self.published.update(self.engine.gate(&id).into_iter());
        let stands = self.published.deployment(&id);
        let refusal = self.say();
        reply.answer(answer(id, stands, refusal));
    }

    fn change(
        &mut self,
        plan: Arc<Plan>,
        change: &PlanChange,
        start: Position,
    ) -> Result<(), ChangeError> {
        if !change.is_other() {
            self.chronicle.note_reload(change);
            return Ok(());
        }
        self.sequence.wait_put(self.engine.epoch().number);
        let may_change = self.engine.may_change(&plan);
        if may_change.is_ok() {
            self.changed_at = Some(start);
            self.engine.step(Input::Plan(plan), &mut self.outputs);
            self.chronicle.note_reload(change);
            self.update_shards();
            self.publish_all();
        }
        self.sequence.reopen();
        may_change.map_err(ChangeError::Refused)
    }

    fn update_shards(&self) {
        let shards = self.engine.shards().cloned().collect();
        self.shards.store(Arc::new(shards));
    }

    fn tick(&mut self, now: Timestamp, after: Epoch, end: Position, offsets: &Offsets) {
        let number = self.engine.epoch().number;
        self.sequence.wait_put(number);
        let (before, retired) = (self.engine.watermark(), self.engine.retired());
        self.engine.step(Input::Tick(now), &mut self.outputs);
        if self.engine.retired() != retired {
            self.update_shards();
        }
        debug_assert_eq!(self.engine.epoch(), after, "both count ticks alike");
        self.chronicle.note(&self.engine, &self.outputs);
        self.chronicle.tick(now);
        if self.is_catching_up {
            self.publish_all();
        } else if self.engine.watermark() != before {
            self.published.tell_conditions(self.engine.conditions());
            self.published.update(self.engine.gates());
        }
        self.say();
        if let Some(saver) = &mut self.saver {
            if let Some(closed) = after.closed {
                self.sequence.forget_closed(number, closed);
            }
            if saver.is_due(now) {
                // What the history may lack rides in the snapshot: the next start goes on behind it.
                let missing = self.chronicle.waiting();
                let at = (now, end, offsets);
                saver.save(&self.engine, &self.sequence, at, self.changed_at, missing);
            }
        }
        let reducer = self.engine.reducer_counters();
        self.disputes.tell(&reducer);
        let is_recorded = self.saver.is_some();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        self.published.count(Stats {
            ticked_at: now,
            watermark: self.engine.watermark(),
            open_gates: self.engine.open_gates(),
            retired: self.engine.retired(),
            engine: self.engine.counters().clone(),
            reducer,
            journal_bytes: is_recorded.then(|| count(&self.recording.bytes)),
            snapshots: self.saver.as_ref().map(Saver::counted),
        });
    }

    /// Announces what the engine said, and gives a refusal if there was one.
    fn say(&mut self) -> Option<Box<Refusal>> {
        let mut refused = None;
        let mut forgotten = Vec::new();
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
                Output::Shadow(verdict) => {
                    let says = verdict.shadow.as_ref().map(|shadow| shadow.verdict.name());
                    info!(
                        deployment = %verdict.deployment,
                        at = %verdict.at,
                        says,
                        "what the hotfix did not wait for says something else: its verdict stands"
                    );
                }
                Output::Ended(end) => {
                    info!(
                        deployment = %end.deployment,
                        at = %end.at,
                        "a deployment that nobody told of is over"
                    );
                }
                Output::Refused(output) => {
                    let refusal = output.refusal;
                    warn!(deployment = %output.deployment, %refusal, "deployment event refused");
                    refused = Some(Box::new(refusal));
                }
                Output::Forgotten(gate) => {
                    debug!(deployment = %gate.begin.deployment, "an ended deployment is forgotten");
                    forgotten.push(gate.begin.deployment);
                }
            }
        }
        if !forgotten.is_empty() {
            self.published.forget(&forgotten);
        }
        refused
    }
}

/// What whoever told of a deployment hears.
fn answer(
    id: String,
    stands: Result<Option<Arc<Deployment>>, Withheld>,
    refusal: Option<Box<Refusal>>,
) -> Result<Arc<Deployment>, EventError> {
    if let Some(refusal) = refusal {
        return Err(EventError::Refused(refusal));
    }
    match stands {
        Ok(Some(deployment)) => Ok(deployment),
        Ok(None) | Err(_) => Err(EventError::Refused(Box::new(Refusal::UnknownDeployment {
            deployment: id,
        }))),
    }
}
