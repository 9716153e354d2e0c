//! Saves the state of the engine from time to time, so that a start need not read the whole journal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use tracing::{debug, warn};

use super::{offsets::Offsets, recorder::Recording, sequence::Sequence};
use crate::{
    engine::Engine,
    event::{Span, Timestamp},
    journal::{Position, SnapshotHead, Snapshots},
    ledger::Record,
    reduce::Epoch,
};

/// Saves the state of the engine.
#[derive(Debug)]
pub(super) struct Saver {
    every: Span,
    last: Option<Timestamp>,
    jobs: SyncSender<Job>,
    writer: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// From where a state has to be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    pub(super) from: Position,
    /// Where a batch stands that is read first.
    pub(super) epoch: Epoch,
}

/// What has been saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// Snapshots that were written.
    pub(super) written: u64,
    /// Snapshots that could not be.
    pub(super) failed: u64,
    /// Bytes of the last one.
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
struct Shared {
    is_busy: AtomicBool,
    written: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

struct Job {
    head: SnapshotHead,
    state: Vec<u8>,
    /// What the history may lack.
    missing: Vec<Arc<Record>>,
    now: Timestamp,
}

impl Saver {
    /// Saves every so often.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        snapshots: Snapshots,
        recording: Arc<Recording>,
        every: Span,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let of_writer = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || write(snapshots, &inbox, &recording, &of_writer))?;
        Ok(Self {
            every,
            last: None,
            jobs,
            writer,
            shared,
        })
    }

    /// Whether it is time to save the engine.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let last = *self.last.get_or_insert(now);
        // The one before has to be on disk first.
        self.every <= now - last && !self.shared.is_busy.load(Ordering::Acquire)
    }

    /// Saves the engine, with the records that the history may lack. To be called right after a tick:
    /// `end` is where the entry behind it stands, `offsets` what was recorded before it, `changed_at` where
    /// the configuration was changed last.
    pub(super) fn save(
        &mut self,
        engine: &Engine,
        sequence: &Sequence,
        (now, end, offsets): (Timestamp, Position, &Offsets),
        changed_at: Option<Position>,
        missing: Vec<Arc<Record>>,
    ) {
        let epoch = engine.epoch();
        let resume = epoch
            .closed
            .and_then(|closed| sequence.resume(epoch.number.wrapping_sub(1), closed))
            .unwrap_or(Resume { from: end, epoch });
        // What came before a change was selected by another configuration: no state is read on from
        // there, and one from before the change passes it anew.
        if changed_at.is_some_and(|changed| resume.from < changed) {
            return;
        }
        self.last = Some(now);
        let head = SnapshotHead {
            resume_from: resume.from,
            taken_at: end,
            plan_digest: engine.plan().digest.clone(),
            kafka: offsets.0.clone(),
            history: Vec::new(),
        };
        let state = encode(resume.epoch, engine);
        self.shared.is_busy.store(true, Ordering::Release);
        // It is not busy, so that there is room; if its thread is gone, nothing is saved.
        let job = Job {
            head,
            state,
            missing,
            now,
        };
        if self.jobs.try_send(job).is_err() {
            self.shared.is_busy.store(false, Ordering::Release);
        }
    }

    /// What has been saved.
    pub(super) fn counted(&self) -> Saved {
        Saved {
            written: self.shared.written.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }

    /// Waits until what is being saved is on disk.
    pub(super) fn finish(self) {
        drop(self.jobs);
        // A thread that panicked has saved nothing; the journal has everything.
        drop(self.writer.join());
    }
}

/// A state with the epoch in which its reading goes on.
fn encode(resume: Epoch, engine: &Engine) -> Vec<u8> {
    let mut state = postcard::to_stdvec(&resume).expect("an epoch has a form");
    state.extend(engine.save());
    state
}

/// The epoch in which the reading of a state goes on, and the state of the engine.
///
/// # Errors
/// The bytes are something else.
pub(super) fn decode(state: &[u8]) -> Result<(Epoch, &[u8]), postcard::Error> {
    postcard::take_from_bytes(state)
}

fn write(mut snapshots: Snapshots, inbox: &Receiver<Job>, recording: &Recording, shared: &Shared) {
    while let Ok(job) = inbox.recv() {
        let Job {
            mut head,
            state,
            missing,
            now,
        } = job;
        let text =
            |record: &Arc<Record>| serde_json::to_string(&**record).expect("a record has a form");
        head.history = missing.iter().map(text).collect();
        match snapshots.write(&head, &state) {
            Ok(bytes) => {
                debug!(bytes, resume_from = %head.resume_from, "state saved");
                shared.written.fetch_add(1, Ordering::Relaxed);
                shared.bytes.store(bytes, Ordering::Relaxed);
                recording.need_from(snapshots.needed_from(), now);
            }
            Err(problem) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
                let cause = std::error::Error::source(&problem).map(ToString::to_string);
                warn!(error = %problem, cause, "the state could not be saved: the journal grows");
            }
        }
        shared.is_busy.store(false, Ordering::Release);
    }
}
