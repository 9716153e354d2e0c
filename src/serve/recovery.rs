//! A start from a data directory: the newest whole snapshot, then the journal from there on.

use std::{path::Path, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{
    chronicle::Chronicle,
    fetched::{Refetch, Refetched},
    offsets::Offsets,
    published::Published,
    recorder::Recording,
    recovery_error::RecoveryError,
    recovery_put::Replay,
    recovery_told::{self, Showing},
    saver::{self, Saver},
    sequence::Sequence,
};
use crate::{
    engine::{Engine, Input, Output, StateError},
    event::{DeploymentEvent, KeyHash, Span},
    gate::Gate,
    journal::{DataDir, Entry, Limits, Position, Snapshots, Writer},
    plan::Plan,
    reduce::Epoch,
};

/// How a journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalSettings {
    /// How much room it takes.
    pub(super) limits: Limits,
    /// How often the state is saved.
    pub(super) snapshot_every: Span,
    /// How long an input waits for others to be made durable with.
    pub(super) commit_delay: Duration,
}

/// A data directory that was opened, with the state from its newest snapshot.
#[derive(Debug)]
pub(super) struct Recovery {
    directory: DataDir,
    writer: Writer,
    snapshots: Snapshots,
    engine: Engine,
    /// The configuration that is to be in force in the end.
    given: Arc<Plan>,
    /// Whether all of the journal is judged under it, whatever was in force.
    is_anew: bool,
    /// The earliest entry that is read; `None`: all that is there.
    resume_from: Option<Position>,
    /// Where a batch stands that is read first.
    epoch: Epoch,
    /// What stands before is part of the state.
    taken_at: Position,
    /// How far what was fetched is recorded before `taken_at`.
    offsets: Offsets,
    /// Where offsets are told that are not among those.
    offsets_from: Position,
    /// Fetches again what the journal only has the range of; `None`: there is no source.
    refetch: Option<Box<dyn Refetch>>,
    settings: JournalSettings,
    /// Where what is said is written down.
    chronicle: Chronicle,
}

/// What is there once the journal is read.
pub(super) struct Recovered {
    pub(super) engine: Engine,
    pub(super) writer: Writer,
    pub(super) snapshots: Saver,
    pub(super) chronicle: Chronicle,
    /// How far what was fetched is recorded.
    pub(super) offsets: Offsets,
}

impl Recovery {
    /// Opens a data directory, which is made if it is missing, and loads its newest snapshot.
    ///
    /// # Errors
    /// Another engine works there, the file system refuses, or the state does not fit.
    pub(super) fn open(
        path: &Path,
        plan: &Arc<Plan>,
        keys: KeyHash,
        settings: JournalSettings,
    ) -> Result<Self, RecoveryError> {
        let directory = DataDir::open(path).map_err(RecoveryError::Journal)?;
        recovery_told::earlier(&directory);
        let mut chronicle =
            Chronicle::open(path, plan.ledger.keep).map_err(RecoveryError::Ledger)?;
        let (writer, torn) = directory
            .writer(settings.limits)
            .map_err(RecoveryError::Journal)?;
        if let Some(torn) = torn {
            info!(at = %torn.position, "the end of a write that was cut off is removed");
        }
        let (snapshots, newest, passed_over) = directory.load().map_err(RecoveryError::Journal)?;
        recovery_told::passed_over(passed_over, newest.is_some());
        // Under whichever plan it was said or fetched: it is recorded.
        let missing = newest.iter().flat_map(|snapshot| &snapshot.head.history);
        chronicle.note_again(missing);
        let (offsets, offsets_from) = match &newest {
            Some(snapshot) => (Offsets::of(&snapshot.head), snapshot.head.taken_at),
            None => (Offsets::default(), Position::START),
        };
        let mut recovery = Self {
            engine: Engine::with_keys(Arc::clone(plan), keys),
            given: Arc::clone(plan),
            is_anew: false,
            directory,
            writer,
            snapshots,
            resume_from: None,
            epoch: Epoch::default(),
            taken_at: Position::START,
            offsets,
            offsets_from,
            refetch: None,
            settings,
            chronicle,
        };
        let Some(snapshot) = newest else {
            recovery.begin_as_the_journal()?;
            recovery.tell_of_loss()?;
            return Ok(recovery);
        };
        let (epoch, state) = saver::decode(&snapshot.state)
            .map_err(|error| RecoveryError::State(StateError::Malformed(error)))?;
        // The one that was in force then: the journal may say that the given one followed.
        let saved = if snapshot.head.plan_digest == plan.digest {
            Some(Arc::clone(plan))
        } else {
            Engine::saved_plan(state)
                .ok()
                .flatten()
                .filter(|saved| saved.digest == snapshot.head.plan_digest)
                .map(Arc::new)
        };
        let Some(saved) = saved else {
            recovery.begin_anew(&snapshot.head.plan_digest);
            return Ok(recovery);
        };
        recovery.engine = Engine::restore(saved, keys, state).map_err(RecoveryError::State)?;
        let watermark = recovery_told::known(recovery.engine.watermark());
        info!(snapshot = %snapshot.path.display(), watermark, "state loaded");
        recovery.resume_from = Some(snapshot.head.resume_from);
        recovery.epoch = epoch;
        recovery.taken_at = snapshot.head.taken_at;
        Ok(recovery)
    }

    /// Begins under the configuration that was in force where the journal begins, if it tells.
    fn begin_as_the_journal(&mut self) -> Result<(), RecoveryError> {
        for entry in self.directory.read_all().map_err(RecoveryError::Journal)? {
            if let (position, Entry::Plan(change)) = entry.map_err(RecoveryError::Journal)? {
                if change.from_digest != self.given.digest {
                    let plan = Plan::parse(&change.from)
                        .map_err(|faults| RecoveryError::Plan { position, faults })?;
                    self.engine = Engine::with_keys(Arc::new(plan), self.engine.keys());
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells of a history whose deployments nothing is left of to go on with.
    fn tell_of_loss(&self) -> Result<(), RecoveryError> {
        let mut entries = self.directory.read_all().map_err(RecoveryError::Journal)?;
        if self.chronicle.told().counted().head.seq != 0 && entries.next().is_none() {
            warn!(
                "the history has deployments, but there is neither a journal nor a snapshot: those that were \
                 under way are forgotten, begin them again"
            );
        }
        Ok(())
    }

    /// Begins with all that is kept of the journal, under the given configuration.
    fn begin_anew(&mut self, saved: &str) {
        warn!(
            saved,
            given = self.given.digest,
            "the configuration has changed: all that is kept of the journal is judged anew"
        );
        self.engine = Engine::with_keys(Arc::clone(&self.given), self.engine.keys());
        self.is_anew = true;
        self.resume_from = None;
        self.epoch = Epoch::default();
        self.taken_at = Position::START;
    }

    /// The gates of the snapshot.
    pub(super) fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.engine.gates()
    }

    /// Where what is said is written down.
    pub(super) fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    /// Fetches by this what the journal only has the range of.
    pub(super) fn refetch_by(&mut self, refetch: Option<Box<dyn Refetch>>) {
        self.refetch = refetch;
    }

    pub(super) fn commit_delay(&self) -> Duration {
        self.settings.commit_delay
    }

    /// Reads the journal from the snapshot on, and fetches again what it only has the range of: as long
    /// as the source does not answer, this waits for it.
    ///
    /// # Errors
    /// The journal is damaged, or holds what cannot be read, or the sequence was closed meanwhile.
    pub(super) fn replay(
        mut self,
        sequence: &Sequence,
        published: &Published,
        recording: &Arc<Recording>,
    ) -> Result<Recovered, RecoveryError> {
        self.pass(sequence, published)?;
        let reached = self.engine.plan().digest.clone();
        if reached != self.given.digest {
            let open = recovery_told::open(&self.engine);
            self.begin_anew(&reached);
            sequence.forget_all();
            self.pass(sequence, published)?;
            recovery_told::forgotten(&open, &self.engine);
        }
        let snapshots = Saver::start(
            self.snapshots,
            Arc::clone(recording),
            self.settings.snapshot_every,
        )
        .map_err(RecoveryError::Thread)?;
        Ok(Recovered {
            engine: self.engine,
            writer: self.writer,
            snapshots,
            chronicle: self.chronicle,
            offsets: self.offsets,
        })
    }

    /// Reads the journal once, from where the engine stands.
    fn pass(&mut self, sequence: &Sequence, published: &Published) -> Result<(), RecoveryError> {
        let reader = match self.resume_from {
            Some(position) => self.directory.read(position),
            None => self.directory.read_all(),
        }
        .map_err(RecoveryError::Journal)?;
        let mut replay = Replay::new(&self.engine, self.epoch, self.refetch.take(), published);
        let (mut outputs, mut entries) = (Vec::new(), 0u64);
        let mut showing = Showing::default();
        for entry in reader {
            let (position, entry) = entry.map_err(RecoveryError::Journal)?;
            entries += 1;
            let is_seen = position < self.taken_at;
            if let Entry::Consumed(range) | Entry::Lost(range) = &entry
                && self.offsets_from <= position
            {
                self.offsets.advance(range);
            }
            match entry {
                Entry::Batch(body) => {
                    replay.batch(&self.engine, position, &body, is_seen, sequence)?;
                }
                Entry::Tick(now) => {
                    let plan = self.engine.plan();
                    replay.epoch = replay.epoch.after(now, plan.lateness, plan.resolution);
                    if !is_seen {
                        let number = self.engine.epoch().number;
                        self.engine.step(Input::Tick(now), &mut outputs);
                        self.chronicle.note(&self.engine, &outputs);
                        if let Some(closed) = self.engine.epoch().closed {
                            sequence.forget_closed(number, closed);
                        }
                    }
                }
                Entry::Deployment(event) if !is_seen => {
                    self.deployment(&event, &mut outputs);
                    showing.event(&self.engine, published);
                }
                Entry::Consumed(range) => {
                    let place = (position, is_seen);
                    match replay.range(&self.engine, place, &range, sequence)? {
                        Refetched::Whole => {}
                        Refetched::Torn => self.engine.step(Input::Lost, &mut outputs),
                    }
                }
                Entry::Lost(_) if !is_seen => self.engine.step(Input::Lost, &mut outputs),
                Entry::Plan(change) if !is_seen && !self.is_anew => {
                    let behind = change.behind(&self.engine.plan().digest);
                    let behind =
                        behind.map_err(|faults| RecoveryError::Plan { position, faults })?;
                    if let Some(plan) = behind {
                        self.engine.step(Input::Plan(Arc::new(plan)), &mut outputs);
                        // One that the engine refuses now was refused then.
                        if self.engine.plan().digest == change.to_digest {
                            self.chronicle.note_reload(&change);
                        }
                        replay.read_by(&self.engine);
                        published.recover(self.engine.gates());
                    }
                }
                Entry::Deployment(_) | Entry::Lost(_) | Entry::Plan(_) => {}
            }
            outputs.clear();
            self.chronicle.make_room();
        }
        published.recover(self.engine.gates());
        self.refetch = replay.refetch;
        let watermark = recovery_told::known(self.engine.watermark());
        info!(entries, watermark, "journal read");
        Ok(())
    }

    /// Takes what a deployer told.
    fn deployment(&mut self, event: &DeploymentEvent, outputs: &mut Vec<Output>) {
        let was_open = Chronicle::is_open(&self.engine, event);
        let input = Input::Deployment(event.clone());
        self.engine.step(input, outputs);
        self.chronicle
            .note_event(&self.engine, event, was_open, outputs);
    }
}
