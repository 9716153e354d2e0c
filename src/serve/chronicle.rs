//! Writes what the engine says into the ledger.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::{
    engine::{Engine, Output},
    event::{DeploymentEvent, Span, Timestamp},
    gate::Gate,
    ledger::{FILE, Head, History, Ledger, LedgerError, Record},
};

/// Most records that wait while the ledger cannot be written.
const WAITING_MAX: usize = 20_000;
/// How often what is too old is removed.
const PRUNE_EVERY: Span = Span::from_minutes(1);
/// Records that are appended together while the journal is read.
const GROUP: usize = 512;

/// Writes what the engine says into the ledger, on the thread that owns the engine.
///
/// What is not in the ledger yet is still in the journal: no state is saved before it is, so that a start
/// derives it again.
#[derive(Debug)]
pub(super) struct Chronicle {
    /// `None`: the disk did not let it be opened yet.
    ledger: Option<Ledger>,
    /// Where it is opened; `None`: it is kept in memory.
    data_dir: Option<PathBuf>,
    keep: Span,
    waiting: Vec<Record>,
    /// Whether records were given up, which only a start can derive again.
    is_torn: bool,
    pruned_at: Option<Timestamp>,
    told: Arc<Chronicled>,
}

/// What others see of the ledger.
#[derive(Debug)]
pub(super) struct Chronicled {
    history: History,
    /// Whether it cannot be written.
    fails: AtomicBool,
    failures: AtomicU64,
    /// Records that were given up.
    lost: AtomicU64,
    head: ArcSwap<Head>,
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

    fn new(
        ledger: Option<Ledger>,
        data_dir: Option<PathBuf>,
        keep: Span,
        history: History,
    ) -> Self {
        let head = ledger.as_ref().map(|ledger| ledger.head().clone());
        let told = Arc::new(Chronicled {
            history,
            fails: AtomicBool::new(ledger.is_none()),
            failures: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            head: ArcSwap::from_pointee(head.unwrap_or_default()),
        });
        Self {
            ledger,
            data_dir,
            keep,
            waiting: Vec::new(),
            is_torn: false,
            pruned_at: None,
            told,
        }
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

    /// What others see of it.
    pub(super) fn told(&self) -> &Arc<Chronicled> {
        &self.told
    }

    /// Whether the deployment of an event is open. To be asked before the engine takes the event.
    pub(super) fn is_open(engine: &Engine, event: &DeploymentEvent) -> bool {
        find(engine, event.deployment()).is_some_and(|gate| !gate.is_ended())
    }

    /// Notes an event that the engine took, and what followed from it. `was_open`: whether its deployment
    /// was before.
    pub(super) fn note_event(
        &mut self,
        engine: &Engine,
        event: &DeploymentEvent,
        was_open: bool,
        outputs: &[Output],
    ) {
        let is_refused = outputs.iter().any(|output| match output {
            Output::Refused(_) => true,
            Output::Verdict(_) => false,
        });
        if let Some(gate) = find(engine, event.deployment()).filter(|_| !is_refused) {
            let begin = &gate.begin;
            match event {
                DeploymentEvent::Begin(_) => self.wait(Record::begin(begin)),
                DeploymentEvent::Step(step) => self.wait(Record::step(begin, step)),
                DeploymentEvent::Bypass(bypass) => self.wait(Record::bypass(begin, bypass)),
                // Whoever says it again ends nothing.
                DeploymentEvent::End(end) if was_open => self.wait(Record::end(begin, end)),
                DeploymentEvent::End(_) => {}
            }
        }
        self.note(engine, outputs);
    }

    /// Notes what the engine said.
    pub(super) fn note(&mut self, engine: &Engine, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Verdict(verdict) => {
                    let Some(gate) = find(engine, &verdict.deployment) else {
                        continue;
                    };
                    // A ledger that is younger than the deployment has not heard of its begin.
                    self.wait(Record::begin(&gate.begin));
                    self.wait(Record::verdict(&gate.begin, verdict));
                }
                Output::Refused(_) => {}
            }
        }
    }

    fn wait(&mut self, record: Record) {
        if self.waiting.len() == WAITING_MAX {
            self.told.lost.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut self.is_torn, true) {
                error!(
                    "the history has a gap until the engine is restarted: too much waits for it"
                );
            }
            return;
        }
        self.waiting.push(record);
    }

    /// Appends what waits, if it is worth a transaction.
    pub(super) fn flush_some(&mut self) {
        if self.waiting.len() >= GROUP {
            self.flush();
        }
    }

    /// Appends what waits. Says whether the ledger has everything then.
    pub(super) fn flush(&mut self) -> bool {
        if self.waiting.is_empty() && self.ledger.is_some() {
            return !self.is_torn;
        }
        match self.append() {
            Ok(head) => {
                if self.waiting.iter().any(|record| record.is_privileged) {
                    // Whoever keeps the log elsewhere can tell whether the end was cut off.
                    info!(
                        seq = head.seq,
                        hash = head.hash,
                        "the history holds a privileged act"
                    );
                }
                self.told.head.store(Arc::new(head));
                self.waiting.clear();
                if self.told.fails.swap(false, Ordering::AcqRel) {
                    info!("the history is written again");
                }
                !self.is_torn
            }
            Err(problem) => {
                self.told.failures.fetch_add(1, Ordering::Relaxed);
                if !self.told.fails.swap(true, Ordering::AcqRel) {
                    let cause = std::error::Error::source(&problem).map(ToString::to_string);
                    error!(
                        error = %problem,
                        cause,
                        "the history cannot be written: overrides and hotfixes are refused, no state is \
                         saved; this is tried again"
                    );
                }
                false
            }
        }
    }

    /// Appends what waits, and opens the ledger before where that is still to be done.
    fn append(&mut self) -> Result<Head, LedgerError> {
        let ledger = match (&mut self.ledger, &self.data_dir) {
            (Some(ledger), _) => ledger,
            (closed @ None, Some(data_dir)) => closed.insert(Ledger::open(data_dir, self.keep)?),
            (closed @ None, None) => closed.insert(Ledger::in_memory(self.keep)?),
        };
        ledger.append(&self.waiting)?;
        Ok(ledger.head().clone())
    }

    /// Appends what waits, and removes what is older than the ledger keeps. Says whether the ledger has
    /// everything then.
    pub(super) fn tick(&mut self, now: Timestamp) -> bool {
        let has_everything = self.flush();
        let is_due = self.pruned_at.is_none_or(|at| at + PRUNE_EVERY <= now);
        if !has_everything || !is_due {
            return has_everything;
        }
        self.pruned_at = Some(now);
        let pruned = self.ledger.as_mut().map(|ledger| ledger.prune(now));
        if let Some(Err(problem)) = pruned {
            let cause = std::error::Error::source(&problem).map(ToString::to_string);
            warn!(error = %problem, cause, "old history could not be removed");
        }
        has_everything
    }
}

impl Chronicled {
    /// Reads the ledger.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Whether it cannot be written.
    pub(super) fn fails(&self) -> bool {
        self.fails.load(Ordering::Acquire)
    }

    /// How often it could not be written, how many records were given up, and the end of its chain.
    pub(super) fn counted(&self) -> (u64, u64, Arc<Head>) {
        (
            self.failures.load(Ordering::Relaxed),
            self.lost.load(Ordering::Relaxed),
            self.head.load_full(),
        )
    }
}

fn find<'a>(engine: &'a Engine, deployment: &str) -> Option<&'a Gate> {
    engine
        .gates()
        .find(|gate| gate.begin.deployment == deployment)
}
