//! Hands what the engine says to the ledger, which a thread of its own writes.
//!
//! The core never waits for the ledger's disk: records wait in a [`Backlog`], bounded by number and bytes.
//! What is not durable there yet rides in each snapshot, so that a start that goes on from it lacks
//! nothing; a record that comes twice is known by its key and appended once.
//!
//! An act that somebody answers for (an override, a hotfix, another configuration) has to be durable before
//! it takes effect: it is an input, and the journal is durable before the core hears of it. On top of that the door asks the
//! ledger to prove that it can be written, and refuses the act if it cannot; should the disk break in the
//! moment between, the act is in force, in the journal, and in the ledger as soon as that can be written.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use super::backlog::{Backlog, Round, Until};
use crate::{
    engine::{Engine, Output, Refusal},
    event::{Begin, DeploymentEvent, Span, Timestamp},
    gate::GateError,
    journal::{PlanChange, Reload},
    ledger::{self, FILE, Head, History, Ledger, LedgerError, Record},
};

/// How often what is too old is removed.
const PRUNE_EVERY: Span = Span::from_minutes(1);
/// How long the end of the engine waits for the rest to be written.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long whoever asks waits for the ledger.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hands what the engine says to the thread that writes the ledger, and never waits for it.
///
/// What the ledger does not have yet is in the journal behind the last snapshot, or in the snapshot: a
/// start hands it over again. Only when more waits than there is room for are records given up: then they
/// are counted, and come back when all of the journal is judged anew.
#[derive(Debug)]
pub(super) struct Chronicle {
    told: Arc<Chronicled>,
    /// When the deployments began whose begin was handed over.
    begun: BTreeMap<String, Timestamp>,
    pruned_at: Option<Timestamp>,
}

/// What others see of the ledger.
#[derive(Debug)]
pub(super) struct Chronicled {
    history: History,
    backlog: Backlog,
    /// Whether it cannot be written.
    fails: AtomicBool,
    failures: AtomicU64,
    /// Records that were given up.
    lost: AtomicU64,
    head: ArcSwap<Head>,
}

/// What is counted of the ledger.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// How often it could not be written.
    pub(super) failures: u64,
    /// Records that were given up.
    pub(super) lost: u64,
    /// Records that wait.
    pub(super) waiting: usize,
    /// Bytes that they take.
    pub(super) waiting_bytes: usize,
    /// The end of the chain.
    pub(super) head: Arc<Head>,
}

/// Writes the ledger, on a thread of its own.
#[derive(Debug)]
struct Clerk {
    /// `None`: the disk did not let it be opened yet.
    ledger: Option<Ledger>,
    /// Where it is opened; `None`: it is kept in memory.
    data_dir: Option<PathBuf>,
    keep: Span,
    told: Arc<Chronicled>,
}

impl Chronicle {
    /// Goes on with the ledger of a data directory. A disk that refuses is asked again: an engine starts
    /// on a full disk too.
    ///
    /// # Errors
    /// What is there is no ledger that can be gone on with.
    pub(super) fn open(data_dir: &Path, keep: Span) -> Result<Self, LedgerError> {
        let ledger = match Ledger::open(data_dir, keep) {
            Ok(ledger) => Some(ledger),
            Err(problem) if problem.may_pass() => {
                let cause = std::error::Error::source(&problem).map(ToString::to_string);
                error!(error = %problem, cause, "the history cannot be written: this is tried again");
                None
            }
            Err(problem) => return Err(problem),
        };
        let history = History::at(data_dir.join(FILE));
        Ok(Self::new(ledger, Some(data_dir.to_owned()), keep, history))
    }

    /// A chronicle that is forgotten with the process.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn in_memory(keep: Span) -> Result<Self, LedgerError> {
        let ledger = Ledger::in_memory(keep)?;
        let history = ledger.history();
        Ok(Self::new(Some(ledger), None, keep, history))
    }

    fn new(
        ledger: Option<Ledger>,
        data_dir: Option<PathBuf>,
        keep: Span,
        history: History,
    ) -> Self {
        let head = ledger.as_ref().map(|ledger| ledger.head().clone());
        let told = Arc::new(Chronicled {
            history,
            backlog: Backlog::default(),
            fails: AtomicBool::new(ledger.is_none()),
            failures: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            head: ArcSwap::from_pointee(head.unwrap_or_default()),
        });
        let clerk = Clerk {
            ledger,
            data_dir,
            keep,
            told: Arc::clone(&told),
        };
        let thread = thread::Builder::new().name("ledger".to_owned());
        if let Err(problem) = thread.spawn(move || clerk.run()) {
            error!(error = %problem, "the system gives no thread to write the history");
            told.fails.store(true, Ordering::Release);
            told.backlog.abandon();
        }
        Self {
            told,
            begun: BTreeMap::new(),
            pruned_at: None,
        }
    }

    /// What others see of it.
    pub(super) fn told(&self) -> &Arc<Chronicled> {
        &self.told
    }

    /// Whether the deployment of an event is open. To be asked before the engine takes the event.
    pub(super) fn is_open(engine: &Engine, event: &DeploymentEvent) -> bool {
        let gate = engine.gate(event.deployment());
        gate.is_some_and(|gate| !gate.is_ended())
    }

    /// Notes an event that the engine was told of, and what followed from it. `was_open`: whether its
    /// deployment was before.
    pub(super) fn note_event(
        &mut self,
        engine: &Engine,
        event: &DeploymentEvent,
        was_open: bool,
        outputs: &[Output],
    ) {
        let refusal = outputs.iter().find_map(|output| match output {
            Output::Refused(refused) => Some(&refused.refusal),
            Output::Verdict(_) | Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) => {
                None
            }
        });
        if let Some(gate) = engine.gate(event.deployment()) {
            match refusal {
                None => self.note_taken(&gate.begin, event, was_open),
                Some(refusal) => self.note_refused(&gate.begin, event, refusal),
            }
        }
        self.note(engine, outputs);
    }

    fn note_taken(&mut self, begin: &Begin, event: &DeploymentEvent, was_open: bool) {
        match event {
            DeploymentEvent::Begin(_) => self.begin(begin),
            DeploymentEvent::Step(step) => {
                self.hand_over(Record::step(begin, step));
            }
            DeploymentEvent::Bypass(bypass) => {
                self.hand_over(Record::bypass(begin, bypass));
            }
            // Whoever says it again ends nothing.
            DeploymentEvent::End(end) if was_open => {
                self.hand_over(Record::end(begin, end));
            }
            DeploymentEvent::End(_) => {}
        }
    }

    /// Notes a failure that came after a PASS: whoever looks for what became of the version has to find it.
    fn note_refused(&mut self, begin: &Begin, event: &DeploymentEvent, refusal: &Refusal) {
        if let DeploymentEvent::Step(step) = event
            && let Refusal::Gate {
                error: error @ GateError::Passed { .. },
                ..
            } = refusal
        {
            self.hand_over(Record::refused_step(begin, step, &error.to_string()));
        }
    }

    /// Notes what the engine said.
    pub(super) fn note(&mut self, engine: &Engine, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Verdict(verdict) => {
                    let Some(gate) = engine.gate(&verdict.deployment) else {
                        continue;
                    };
                    // A ledger that is younger than the deployment has not heard of its begin.
                    self.begin(&gate.begin);
                    self.hand_over(Record::verdict(&gate.begin, verdict));
                }
                Output::Shadow(verdict) => {
                    if let Some(gate) = engine.gate(&verdict.deployment) {
                        self.hand_over(Record::shadow(&gate.begin, verdict));
                    }
                }
                Output::Ended(end) => {
                    if let Some(gate) = engine.gate(&end.deployment) {
                        self.hand_over(Record::end(&gate.begin, end));
                    }
                }
                Output::Forgotten(gate) => {
                    self.begun.remove(&gate.begin.deployment);
                }
                Output::Refused(_) => {}
            }
        }
    }

    /// Notes a configuration that was taken, where the journal tells who had it read.
    pub(super) fn note_reload(&self, change: &PlanChange) {
        let Some(Reload { at, by }) = &change.reload else {
            return;
        };
        self.hand_over(Record::reload(&ledger::Reload {
            at: *at,
            by: by.clone(),
            before: change.from_digest.clone(),
            after: change.to_digest.clone(),
        }));
    }

    /// Hands over what the ledger lacked when the state was saved.
    pub(super) fn note_again<'a>(&mut self, records: impl Iterator<Item = &'a String>) {
        for text in records {
            match serde_json::from_str(text) {
                Ok(record) => {
                    self.hand_over(record);
                }
                Err(problem) => {
                    self.told.lost.fetch_add(1, Ordering::Relaxed);
                    error!(error = %problem, "a record of the history cannot be read in a snapshot");
                }
            }
        }
    }

    /// Lets the ledger catch up: for a core that reads its journal as fast as it can.
    pub(super) fn make_room(&self) {
        self.told.backlog.make_room();
    }

    /// What the ledger may lack.
    pub(super) fn waiting(&self) -> Vec<Arc<Record>> {
        self.told.backlog.waiting()
    }

    /// From time to time, asks to remove what is older than the ledger keeps.
    pub(super) fn tick(&mut self, now: Timestamp) {
        if self.pruned_at.is_none_or(|at| at + PRUNE_EVERY <= now) {
            self.pruned_at = Some(now);
            self.told.backlog.prune(now);
        }
    }

    /// Ends, once what waits is written or cannot be for now.
    pub(super) fn finish(self) {
        if !self.told.backlog.close(END_PATIENCE) {
            warn!("the history lacks what was said last: the next start writes it");
        }
    }

    /// Notes how a deployment began, once.
    fn begin(&mut self, begin: &Begin) {
        let id = &begin.deployment;
        if self.begun.get(id) == Some(&begin.at) {
            return;
        }
        if self.hand_over(Record::begin(begin)) {
            self.begun.insert(id.clone(), begin.at);
        }
    }

    fn hand_over(&self, record: Record) -> bool {
        let is_taken = self.told.backlog.add(Arc::new(record));
        if is_taken {
            return true;
        }
        let lost = self.told.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.is_power_of_two() {
            error!(
                lost,
                "the history has a gap: too much waits for it. Once it can be written, stop the engine, \
                 move the folder snapshots away and start it: what the journal still has is added"
            );
        }
        false
    }
}

impl Chronicled {
    /// Reads the ledger, once it has what was said until now, or cannot have it soon. Blocks meanwhile.
    pub(super) fn history(&self) -> &History {
        self.backlog.settle(Until::Written, PATIENCE);
        &self.history
    }

    /// Reads the ledger as it is. What was said last it may not have yet.
    pub(super) fn written(&self) -> &History {
        &self.history
    }

    /// Whether it has what was said until now, and the disk takes more: tries it. Blocks meanwhile.
    pub(super) fn is_writable(&self) -> bool {
        self.backlog.settle(Until::Proven, PATIENCE)
    }

    /// What is wrong with it, if anything is.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        if self.fails.load(Ordering::Acquire) {
            return Some(
                "the history cannot be written: overrides, hotfixes and other configurations are refused until it can, see the log",
            );
        }
        (self.lost.load(Ordering::Relaxed) != 0)
            .then_some("the history has a gap: it could not be written for too long, see the log")
    }

    /// What is counted of it.
    pub(super) fn counted(&self) -> Counted {
        let (waiting, waiting_bytes) = self.backlog.size();
        Counted {
            failures: self.failures.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            waiting,
            waiting_bytes,
            head: self.head.load_full(),
        }
    }
}

impl Clerk {
    /// Writes until no more comes.
    fn run(mut self) {
        let told = Arc::clone(&self.told);
        let rounds = || {
            while let Some(round) = told.backlog.next() {
                self.round(&round);
            }
        };
        if catch_unwind(AssertUnwindSafe(rounds)).is_err() {
            error!(
                "the history is written no more: overrides, hotfixes and other configurations are refused, \
                 restart"
            );
            told.fails.store(true, Ordering::Release);
        }
        told.backlog.abandon();
    }

    fn round(&mut self, round: &Round) {
        let told = Arc::clone(&self.told);
        match self.write(round) {
            Ok(head) => {
                // What a recovery hands over again stands there already.
                let is_news = told.head.load().seq < head.seq;
                if is_news && round.records.iter().any(|record| record.is_privileged) {
                    // Whoever keeps the log elsewhere can tell whether the end was cut off.
                    info!(
                        seq = head.seq,
                        hash = head.hash,
                        "the history holds a privileged act"
                    );
                }
                told.head.store(Arc::new(head));
                if told.fails.swap(false, Ordering::AcqRel) {
                    info!("the history is written again");
                }
                told.backlog.succeed(round);
                self.prune(round);
            }
            Err(problem) => {
                told.failures.fetch_add(1, Ordering::Relaxed);
                if !told.fails.swap(true, Ordering::AcqRel) {
                    let cause = std::error::Error::source(&problem).map(ToString::to_string);
                    error!(
                        error = %problem,
                        cause,
                        "the history cannot be written: overrides, hotfixes and other configurations are \
                         refused; this is tried again"
                    );
                }
                told.backlog.fail(round);
            }
        }
    }

    /// Writes a round, and opens the ledger before where that is still to be done.
    fn write(&mut self, round: &Round) -> Result<Head, LedgerError> {
        let ledger = match (&mut self.ledger, &self.data_dir) {
            (Some(ledger), _) => ledger,
            (closed @ None, Some(data_dir)) => closed.insert(Ledger::open(data_dir, self.keep)?),
            (closed @ None, None) => closed.insert(Ledger::in_memory(self.keep)?),
        };
        let appended = ledger.append(round.records.iter().map(|record| &**record))?;
        if round.proves && appended == 0 {
            ledger.prove()?;
        }
        Ok(ledger.head().clone())
    }

    fn prune(&mut self, round: &Round) {
        let (Some(ledger), Some(now)) = (&mut self.ledger, round.prune_at) else {
            return;
        };
        if let Err(problem) = ledger.prune(now) {
            let cause = std::error::Error::source(&problem).map(ToString::to_string);
            warn!(error = %problem, cause, "old history could not be removed");
        }
    }
}
