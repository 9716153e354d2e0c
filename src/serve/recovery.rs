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
    recovery_told::{self, Showing, Void},
    repeats::Repeats,
    saver::{self, Saver},
    sequence::Sequence,
};
use crate::{
    engine::{Engine, Input, Output, StateError},
    event::{DeploymentEvent, KeyHash, Span, Timestamp},
    gate::{Gate, STATE_VERSION},
    journal::{
        Course, DataDir, Entry, JournalError, Limits, PlanChange, Position, Reader, Reload,
        Snapshots, Writer,
    },
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
    /// When the engine is started.
    pub(super) started_at: Timestamp,
}

/// How long a journal that refuses is left alone.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

/// A data directory that was opened, with the state from its newest snapshot.
#[derive(Debug)]
pub(super) struct Recovery {
    directory: DataDir,
    writer: Writer,
    snapshots: Snapshots,
    engine: Engine,
    /// The configuration that is to be in force in the end.
    given: Arc<Plan>,
    /// The digest of the one that the snapshot is of, where nobody can read what it was.
    unread: Option<String>,
    /// Changes of the configuration before are passed over: all that stands there is judged by the one that
    /// the engine begins with.
    judged_at: Position,
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
    /// What a sender may send once more whose answer was lost.
    repeats: Arc<Repeats>,
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
            unread: None,
            judged_at: Position::START,
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
            repeats: Arc::default(),
            chronicle,
        };
        let Some(snapshot) = newest else {
            recovery.begin_as_the_journal()?;
            recovery.tell_of_loss()?;
            return Ok(recovery);
        };
        recovery.taken_at = snapshot.head.taken_at;
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
            recovery.unread = Some(snapshot.head.plan_digest);
            return Ok(recovery);
        };
        let Some(engine) = restored(saved, keys, state)? else {
            recovery.unread = Some(snapshot.head.plan_digest);
            return Ok(recovery);
        };
        recovery.engine = engine;
        let watermark = recovery_told::known(recovery.engine.watermark());
        info!(snapshot = %snapshot.path.display(), watermark, "state loaded");
        recovery.resume_from = Some(snapshot.head.resume_from);
        recovery.epoch = epoch;
        Ok(recovery)
    }

    /// Begins as the journal tells that the engine went on from the state: by the configuration of the last
    /// start under another one, over all that is kept; else from the state; else by the configuration that
    /// was in force where the journal begins. Says whether it could.
    fn begin_as_the_journal(&mut self) -> Result<bool, RecoveryError> {
        let reader = self.reader()?.filter(|entry| {
            let is_seen = |(position, _): &(Position, Entry)| *position < self.taken_at;
            !entry.as_ref().is_ok_and(is_seen)
        });
        let course: Result<Course, JournalError> = reader.collect();
        let course = course.map_err(RecoveryError::Journal)?;
        if let Some((position, start)) = &course.start {
            info!(
                config_digest = start.to_digest,
                "no state is saved since the start under this configuration: all that is kept of the journal \
                 is read"
            );
            self.begin_by((&start.to_digest, &start.to), *position)?;
            self.judged_at = *position;
            return Ok(true);
        }
        if self.unread.is_some() {
            return Ok(false);
        }
        if let (None, Some((position, change))) = (self.resume_from, &course.first) {
            self.begin_by((&change.from_digest, &change.from), *position)?;
        }
        Ok(true)
    }

    /// Begins with all that is kept of the journal, under a configuration that stands there in it.
    fn begin_by(
        &mut self,
        (digest, wording): (&str, &str),
        position: Position,
    ) -> Result<(), RecoveryError> {
        let plan = if digest == self.given.digest {
            Arc::clone(&self.given)
        } else {
            let plan = Plan::parse(wording);
            Arc::new(plan.map_err(|faults| RecoveryError::Plan { position, faults })?)
        };
        self.begin_with(plan);
        Ok(())
    }

    /// Begins with all that is kept of the journal.
    fn begin_with(&mut self, plan: Arc<Plan>) {
        self.engine = Engine::with_keys(plan, self.engine.keys());
        self.resume_from = None;
        self.epoch = Epoch::default();
        self.taken_at = Position::START;
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
        let given = &self.given.digest;
        if saved == given {
            info!("all that is kept of the journal is judged anew");
        } else {
            warn!(
                saved,
                given,
                "the configuration has changed: all that is kept of the journal is judged anew"
            );
        }
        self.begin_with(Arc::clone(&self.given));
        self.judged_at = self.writer.end();
    }

    /// Writes into the journal that all before was judged anew, and then into the history: whoever reads it
    /// later has to know. Until it is durable nobody is answered: a disk that refuses is asked again.
    fn record_start(
        &mut self,
        change: &PlanChange,
        sequence: &Sequence,
        published: &Published,
    ) -> Result<(), RecoveryError> {
        let entry = Entry::Start(change.clone());
        while let Err(problem) = self.writer.commit(std::slice::from_ref(&entry)) {
            if !published.is_stalled() {
                recovery_told::refused(&problem);
            }
            published.stall();
            if sequence.wait_closed(COMMIT_PAUSE) {
                return Err(RecoveryError::Asked);
            }
        }
        published.go_on();
        self.chronicle.note_reload(change);
        Ok(())
    }

    fn reader(&self) -> Result<Reader, RecoveryError> {
        match self.resume_from {
            Some(position) => self.directory.read(position),
            None => self.directory.read_all(),
        }
        .map_err(RecoveryError::Journal)
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

    /// Remembers what was taken before.
    pub(super) fn repeats(&self) -> Arc<Repeats> {
        Arc::clone(&self.repeats)
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
        let has_state = self.resume_from.is_some() || self.unread.is_some();
        if !has_state || self.begin_as_the_journal()? {
            // What a state said of gates may not be said any more.
            published.recover(self.engine.gates());
            self.pass(sequence, published)?;
        }
        if let Some(change) = self.change() {
            let open = recovery_told::open(&self.engine);
            self.begin_anew(&change.from_digest);
            sequence.forget_all();
            self.pass(sequence, published)?;
            recovery_told::forgotten(&open, &self.engine);
            // Not before: what cannot be judged by it may be started under the one before again.
            self.record_start(&change, sequence, published)?;
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

    /// What this start changes of the configuration; `None`: it goes on under the one that was reached.
    fn change(&mut self) -> Option<PlanChange> {
        let reload = Reload {
            at: self.settings.started_at,
            by: Reload::START.to_owned(),
        };
        let reached = self.engine.plan();
        match self.unread.take() {
            // Where the journal told of a later one, that was reached.
            Some(digest) if self.judged_at == Position::START => Some(PlanChange {
                from_digest: digest,
                from: String::new(),
                ..PlanChange::new(reached, &self.given, reload)
            }),
            Some(_) | None if reached.digest == self.given.digest => None,
            Some(_) | None => Some(PlanChange::new(reached, &self.given, reload)),
        }
    }

    /// Reads the journal once, from where the engine stands.
    fn pass(&mut self, sequence: &Sequence, published: &Published) -> Result<(), RecoveryError> {
        let reader = self.reader()?;
        let mut replay = Replay::new(&self.engine, self.epoch, self.refetch.take(), published);
        let (mut outputs, mut entries) = (Vec::new(), 0u64);
        let (mut showing, mut void) = (Showing::default(), Void::default());
        for entry in reader {
            let (position, entry) = entry.map_err(RecoveryError::Journal)?;
            entries += 1;
            let is_seen = position < self.taken_at;
            self.note_offsets(position, &entry);
            match entry {
                Entry::Batch(body) => {
                    let taken = replay.batch(&self.engine, position, &body, is_seen, sequence)?;
                    if let Some(mark) = self.repeats.mark(&body) {
                        self.repeats.note(mark, &taken);
                    }
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
                Entry::OverLimit(signal) if !is_seen => {
                    self.engine.step(Input::OverLimit(signal), &mut outputs);
                }
                Entry::Plan(change) | Entry::Start(change)
                    if !is_seen && position <= self.judged_at =>
                {
                    void.note(change, &self.chronicle);
                }
                Entry::Plan(change) if !is_seen => {
                    if self.go_on(&change, position, &mut outputs)? {
                        replay.read_by(&self.engine);
                        published.recover(self.engine.gates());
                    }
                }
                Entry::Deployment(_)
                | Entry::Lost(_)
                | Entry::Plan(_)
                | Entry::Start(_)
                | Entry::OverLimit(_) => {}
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

    /// Notes how far what was fetched is recorded.
    fn note_offsets(&mut self, position: Position, entry: &Entry) {
        if let Entry::Consumed(range) | Entry::Lost(range) = entry
            && self.offsets_from <= position
        {
            self.offsets.advance(range);
        }
    }

    /// Goes on under another configuration, where the change is one of that in force; says whether it is.
    fn go_on(
        &mut self,
        change: &PlanChange,
        position: Position,
        outputs: &mut Vec<Output>,
    ) -> Result<bool, RecoveryError> {
        let behind = change.behind(&self.engine.plan().digest);
        let behind = behind.map_err(|faults| RecoveryError::Plan { position, faults })?;
        let Some(plan) = behind else {
            return Ok(false);
        };
        self.engine.step(Input::Plan(Arc::new(plan)), outputs);
        // One that the engine refuses now was refused then.
        if self.engine.plan().digest == change.to_digest {
            self.chronicle.note_reload(change);
        }
        Ok(true)
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

/// The engine that a state was saved of; `None`: an earlier version saved it in another form. Under another
/// configuration than the given one, not even that is known.
fn restored(
    saved: Arc<Plan>,
    keys: KeyHash,
    state: &[u8],
) -> Result<Option<Engine>, RecoveryError> {
    match Engine::restore(saved, keys, state) {
        Ok(engine) => Ok(Some(engine)),
        Err(StateError::Version { saved }) if saved < STATE_VERSION => {
            recovery_told::earlier_form(saved);
            Ok(None)
        }
        Err(problem) => Err(RecoveryError::State(problem)),
    }
}
