//! A start from a data directory: the newest whole snapshot, then the journal from there on.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{
    published::Published,
    recorder::Recording,
    saver::{self, Saver},
    sequence::Sequence,
};
use crate::{
    decode::{DecodeError, DecodeLimits, Decoder},
    engine::{Engine, Input, StateError},
    event::{KeyHash, Span},
    gate::Gate,
    journal::{
        Body, DataDir, Entry, JournalError, Limits, Position, Snapshots, Writer, decode_limits,
    },
    plan::Plan,
    reduce::{Epoch, PutScratch, Select},
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
    /// A body that was accepted cannot be decoded any more.
    Body {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The system gives no thread.
    Thread(std::io::Error),
}

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
    settings: JournalSettings,
}

/// What is there once the journal is read.
pub(super) struct Recovered {
    pub(super) engine: Engine,
    pub(super) writer: Writer,
    pub(super) snapshots: Saver,
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
        if let Some(earlier) = directory.earlier_journal() {
            warn!(
                journal = %earlier.display(),
                "a journal of an earlier version is left alone: sluice replay reads it"
            );
        }
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
                settings,
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
            settings,
        })
    }

    /// The gates of the snapshot.
    pub(super) fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.engine.gates()
    }

    pub(super) fn commit_delay(&self) -> Duration {
        self.settings.commit_delay
    }

    /// Reads the journal from the snapshot on.
    ///
    /// # Errors
    /// The journal is damaged, or holds what cannot be read.
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
        let stream_labels = self.engine.selector().stream_labels().clone();
        let mut replay = Replay::new(&self, stream_labels);
        let (mut outputs, mut entries) = (Vec::new(), 0u64);
        for entry in reader {
            let (position, entry) = entry.map_err(RecoveryError::Journal)?;
            entries += 1;
            let is_seen = position < self.taken_at;
            match entry {
                Entry::Batch(body) => {
                    replay.batch(&self, position, &body, is_seen, sequence)?;
                }
                Entry::Tick(now) => {
                    let plan = self.engine.plan();
                    replay.epoch = replay.epoch.after(now, plan.lateness, plan.resolution);
                    if !is_seen {
                        let number = self.engine.epoch().number;
                        self.engine.step(Input::Tick(now), &mut outputs);
                        if let Some(closed) = self.engine.epoch().closed {
                            sequence.forget_closed(number, closed);
                        }
                    }
                }
                Entry::Deployment(event) if !is_seen => {
                    self.engine.step(Input::Deployment(event), &mut outputs);
                    published.recover(self.engine.gates());
                }
                Entry::Deployment(_) | Entry::Consumed(_) | Entry::Lost(_) => {}
            }
            outputs.clear();
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
        })
    }
}

/// Batches that are read again.
struct Replay {
    /// Where the next batch stands.
    epoch: Epoch,
    decoder: Decoder,
    scratch: PutScratch,
    limits: DecodeLimits,
}

impl Replay {
    fn new(recovery: &Recovery, stream_labels: BTreeSet<String>) -> Self {
        let engine = &recovery.engine;
        Self {
            epoch: recovery.epoch,
            decoder: Decoder::new(engine.shards().keys(), Arc::new(stream_labels)),
            scratch: PutScratch::default(),
            limits: decode_limits(&engine.plan().limits),
        }
    }

    fn batch(
        &mut self,
        recovery: &Recovery,
        position: Position,
        body: &Body,
        is_seen: bool,
        sequence: &Sequence,
    ) -> Result<(), RecoveryError> {
        self.decoder
            .read(body.format, body.encoding, &body.bytes, self.limits)
            .map_err(|error| RecoveryError::Body { position, error })?;
        let raw = self.decoder.raw(&body.bytes);
        let engine = &recovery.engine;
        let put = match engine.epoch().closed {
            Some(closed) if is_seen => {
                // What is late or too far ahead is told by the ticks before it; which tick names its
                // series, by those that the state has seen.
                let epoch = Epoch {
                    number: engine.epoch().number,
                    ..self.epoch
                };
                let shards = engine.shards();
                shards.put_again(raw, epoch, closed, &mut self.scratch)
            }
            Some(_) | None => engine.shards().put(raw, engine.epoch(), &mut self.scratch),
        };
        if let Some(latest) = put.latest {
            sequence.note_put(self.epoch, position, latest);
        }
        Ok(())
    }
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::State(_) => f.write_str("the saved state cannot be used"),
            Self::Body { position, .. } => {
                write!(f, "the batch at {position} of the journal cannot be read")
            }
            Self::Thread(_) => f.write_str("the system gives no thread to save the state"),
        }
    }
}

impl std::error::Error for RecoveryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(error) => std::error::Error::source(error),
            Self::State(error) => Some(error),
            Self::Body { error, .. } => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}
