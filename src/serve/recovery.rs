//! A start from a data directory: the newest whole snapshot, then the journal from there on.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{
    chronicle::Chronicle,
    fetched::{Hands, Refetch, Refetched},
    offsets::Offsets,
    published::Published,
    recorder::Recording,
    saver::{self, Saver},
    sequence::Sequence,
};
use crate::{
    decode::{DecodeError, DecodeLimits, Decoder},
    engine::{Engine, Input, StateError},
    event::{Batch, KeyHash, Raw, Span, Timestamp},
    gate::Gate,
    journal::{
        Body, DataDir, Entry, JournalError, Limits, OffsetRange, Position, Snapshots, Writer,
        decode_limits,
    },
    ledger::LedgerError,
    plan::Plan,
    reduce::{Epoch, Put, PutScratch, Select},
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

/// Why a data directory cannot be gone on with.
#[derive(Debug)]
pub enum RecoveryError {
    /// The journal or a snapshot cannot be read.
    Journal(JournalError),
    /// The state does not fit to this version.
    State(StateError),
    /// The history cannot be gone on with.
    Ledger(LedgerError),
    /// A body that was accepted cannot be decoded any more.
    Body {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The system gives no thread.
    Thread(std::io::Error),
    /// It was told to end before it was through.
    Asked,
}

/// How long a source that does not answer is left alone.
const REFETCH_PAUSE: Duration = Duration::from_secs(1);

/// A data directory that was opened, with the state from its newest snapshot.
#[derive(Debug)]
pub(super) struct Recovery {
    directory: DataDir,
    writer: Writer,
    snapshots: Snapshots,
    engine: Engine,
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
        tell_of_earlier(&directory);
        let mut chronicle =
            Chronicle::open(path, plan.ledger.keep).map_err(RecoveryError::Ledger)?;
        let (writer, torn) = directory
            .writer(settings.limits)
            .map_err(RecoveryError::Journal)?;
        if let Some(torn) = torn {
            info!(at = %torn.position, "the end of a write that was cut off is removed");
        }
        let (snapshots, newest, passed_over) = directory.load().map_err(RecoveryError::Journal)?;
        for passed in passed_over {
            warn!(
                snapshot = %passed.path.display(),
                problem = passed.problem,
                "a snapshot cannot be used: an earlier one is, with more of the journal"
            );
        }
        // Under whichever plan it was said or fetched: it is recorded.
        let missing = newest.iter().flat_map(|snapshot| &snapshot.head.history);
        chronicle.note_again(missing);
        let (offsets, offsets_from) = match &newest {
            Some(snapshot) => (Offsets::of(&snapshot.head), snapshot.head.taken_at),
            None => (Offsets::default(), Position::START),
        };
        let of_this_plan = newest.filter(|snapshot| {
            let is_same = snapshot.head.plan_digest == plan.digest;
            if !is_same {
                warn!(
                    saved = snapshot.head.plan_digest,
                    given = plan.digest,
                    "the configuration has changed: all that is kept of the journal is judged anew"
                );
            }
            is_same
        });
        let Some(snapshot) = of_this_plan else {
            return Ok(Self {
                engine: Engine::with_keys(Arc::clone(plan), keys),
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
            });
        };
        let (epoch, state) = saver::decode(&snapshot.state)
            .map_err(|error| RecoveryError::State(StateError::Malformed(error)))?;
        let engine =
            Engine::restore(Arc::clone(plan), keys, state).map_err(RecoveryError::State)?;
        info!(snapshot = %snapshot.path.display(), watermark = %engine.watermark(), "state loaded");
        Ok(Self {
            engine,
            directory,
            writer,
            snapshots,
            resume_from: Some(snapshot.head.resume_from),
            epoch,
            taken_at: snapshot.head.taken_at,
            offsets,
            offsets_from,
            refetch: None,
            settings,
            chronicle,
        })
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
        let reader = match self.resume_from {
            Some(position) => self.directory.read(position),
            None => self.directory.read_all(),
        }
        .map_err(RecoveryError::Journal)?;
        let stream_labels = Arc::new(self.engine.selector().stream_labels().clone());
        let mut replay = Replay::new(&mut self, &stream_labels, published);
        let (mut outputs, mut entries) = (Vec::new(), 0u64);
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
                    let was_open = Chronicle::is_open(&self.engine, &event);
                    let input = Input::Deployment(event.clone());
                    self.engine.step(input, &mut outputs);
                    self.chronicle
                        .note_event(&self.engine, &event, was_open, &outputs);
                    published.recover(self.engine.gates());
                }
                Entry::Consumed(range) => {
                    let place = (position, is_seen);
                    match replay.range(&self.engine, place, &range, sequence)? {
                        Refetched::Whole => {}
                        Refetched::Torn => self.engine.step(Input::Lost, &mut outputs),
                    }
                }
                Entry::Lost(_) if !is_seen => self.engine.step(Input::Lost, &mut outputs),
                Entry::Deployment(_) | Entry::Lost(_) => {}
            }
            outputs.clear();
            self.chronicle.make_room();
        }
        info!(entries, watermark = %self.engine.watermark(), "journal read");
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
}

fn tell_of_earlier(directory: &DataDir) {
    if let Some(earlier) = directory.earlier_journal() {
        warn!(
            journal = %earlier.display(),
            "a journal of an earlier version is left alone: sluice replay reads it"
        );
    }
}

/// Batches that are read again.
struct Replay<'a> {
    /// Where the next batch stands.
    epoch: Epoch,
    decoder: Decoder,
    scratch: PutScratch,
    limits: DecodeLimits,
    hands: Hands,
    refetch: Option<Box<dyn Refetch>>,
    published: &'a Published,
}

impl<'a> Replay<'a> {
    fn new(
        recovery: &mut Recovery,
        stream_labels: &Arc<BTreeSet<String>>,
        published: &'a Published,
    ) -> Self {
        let engine = &recovery.engine;
        let keys = engine.shards().keys();
        Self {
            epoch: recovery.epoch,
            decoder: Decoder::new(keys, Arc::clone(stream_labels)),
            scratch: PutScratch::default(),
            limits: decode_limits(&engine.plan().limits),
            hands: Hands::new(keys, Arc::clone(stream_labels)),
            refetch: recovery.refetch.take(),
            published,
        }
    }

    fn batch(
        &mut self,
        engine: &Engine,
        position: Position,
        body: &Body,
        is_seen: bool,
        sequence: &Sequence,
    ) -> Result<(), RecoveryError> {
        self.decoder
            .read(body.format, body.encoding, &body.bytes, self.limits)
            .map_err(|error| RecoveryError::Body { position, error })?;
        let raw = self.decoder.raw(&body.bytes);
        let put = put_again(engine, self.epoch, is_seen, raw, &mut self.scratch);
        if let Some(latest) = put.latest {
            sequence.note_put(self.epoch, position, latest);
        }
        Ok(())
    }

    /// Fetches a range again and puts it.
    fn range(
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
            engine.shards().put_again(raw, epoch, closed, scratch)
        }
        Some(_) | None => engine.shards().put(raw, engine.epoch(), scratch),
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Ledger(error) => error.fmt(f),
            Self::State(_) => f.write_str("the saved state cannot be used"),
            Self::Body { position, .. } => {
                write!(f, "the batch at {position} of the journal cannot be read")
            }
            Self::Thread(_) => f.write_str("the system gives no thread to save the state"),
            Self::Asked => f.write_str("the start was told to end before it was through"),
        }
    }
}

impl std::error::Error for RecoveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(error) => std::error::Error::source(error),
            Self::Ledger(error) => std::error::Error::source(error),
            Self::State(error) => Some(error),
            Self::Body { error, .. } => Some(error),
            Self::Thread(error) => Some(error),
            Self::Asked => None,
        }
    }
}
