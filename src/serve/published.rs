//! What the core has published: read without waiting for the core.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, watch};

use super::{
    board::{Board, Deployment, SET_BACK, STALLED, Standing},
    chronicle::Chronicled,
    core::Unavailable,
    saver::Saved,
};
use crate::{
    engine::EngineCounters,
    event::Timestamp,
    gate::{Conditions, Gate, Verdict},
    reduce::ReducerCounters,
};

/// Verdict changes that a slow subscriber may lag behind before it misses some.
const CHANGES_MAX: usize = 1_024;

/// The state of the engine as the doors see it.
#[derive(Debug)]
pub(super) struct Published {
    board: ArcSwap<Board>,
    stats: ArcSwap<Stats>,
    /// Counts the boards; watchers wait for the next.
    generation: watch::Sender<u64>,
    /// What the streams tell beside the gates, by service.
    conditions: ArcSwap<BTreeMap<String, Conditions>>,
    /// Every change of a verdict, in order.
    changes: broadcast::Sender<Arc<Verdict>>,
    /// Whether inputs cannot be recorded.
    is_stalled: AtomicBool,
    /// Whether the clock is so far behind event time that what comes now would count as late.
    is_set_back: AtomicBool,
    /// Groups of inputs that could not be recorded. Told here, since no tick comes to tell it.
    journal_errors: AtomicU64,
    /// Whether a start waits for a source that does not answer.
    waits_for_source: AtomicBool,
    /// The history, once it is opened.
    chronicled: OnceLock<Arc<Chronicled>>,
}

/// What the core has counted, as of its last tick.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    /// The last tick that the core has taken; [`Timestamp::MIN`] before the first.
    pub ticked_at: Timestamp,
    /// End of the latest closed bucket; [`Timestamp::MIN`] before the first.
    pub watermark: Timestamp,
    /// Gates that are open.
    pub open_gates: usize,
    /// Earlier configurations that are at work for them.
    pub retired: usize,
    /// What the engine has counted.
    pub engine: EngineCounters,
    /// What its reduce half has counted.
    pub reducer: ReducerCounters,
    /// Bytes in the journal; `None` without one.
    pub journal_bytes: Option<u64>,
    /// What was saved of the state; `None`: nothing is recorded.
    pub snapshots: Option<Saved>,
}

/// No verdict can be given, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Withheld(pub(super) Unavailable);

impl Published {
    /// Nothing yet, from a core that is about to start.
    pub(super) fn new(stats: Stats) -> Self {
        Self {
            board: ArcSwap::from_pointee(Board {
                standing: Standing::Alive,
                ..Board::default()
            }),
            stats: ArcSwap::from_pointee(stats),
            generation: watch::Sender::new(0),
            conditions: ArcSwap::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            is_stalled: AtomicBool::new(false),
            is_set_back: AtomicBool::new(false),
            journal_errors: AtomicU64::new(0),
            waits_for_source: AtomicBool::new(false),
            chronicled: OnceLock::new(),
        }
    }

    /// All deployments.
    ///
    /// # Errors
    /// The engine has stopped.
    pub(super) fn board(&self) -> Result<Arc<Board>, Withheld> {
        let board = self.board.load_full();
        match board.standing {
            Standing::Alive => Ok(match self.standstill() {
                Some(reason) => Arc::new(board.stalled(reason)),
                None => board,
            }),
            Standing::Recovering => Ok(board),
            Standing::Stopped => Err(Withheld(Unavailable::Stopped)),
        }
    }

    /// All deployments, once the core has read its journal: until then the newest of a stage is not known,
    /// and the one before would speak for it.
    ///
    /// # Errors
    /// The engine has stopped, or is still to read.
    pub(super) fn caught_up(&self) -> Result<Arc<Board>, Withheld> {
        let board = self.board()?;
        match board.standing {
            Standing::Recovering => Err(Withheld(Unavailable::Recovering)),
            Standing::Alive | Standing::Stopped => Ok(board),
        }
    }

    /// One deployment, if it is known.
    ///
    /// # Errors
    /// The engine has stopped, or is still to read of it.
    pub(super) fn deployment(&self, id: &str) -> Result<Option<Arc<Deployment>>, Withheld> {
        let board = self.board.load();
        let known = board.deployments.get(id).cloned();
        match (board.standing, known) {
            (Standing::Alive, Some(known)) => Ok(Some(match self.standstill() {
                Some(reason) => known.stalled(reason),
                None => known,
            })),
            (Standing::Alive, None) => Ok(None),
            (Standing::Recovering, Some(known)) => Ok(Some(known)),
            (Standing::Recovering, None) => Err(Withheld(Unavailable::Recovering)),
            (Standing::Stopped, _) => Err(Withheld(Unavailable::Stopped)),
        }
    }

    /// Shows what is known of gates while the core reads its journal: they wait for it. Says how many they
    /// are.
    pub(super) fn recover<'a>(&self, gates: impl Iterator<Item = &'a Gate>) -> usize {
        let deployments = gates.map(|gate| {
            let deployment = Arc::new(Deployment::of(gate).recovering());
            (gate.begin.deployment.clone(), deployment)
        });
        let deployments: BTreeMap<String, Arc<Deployment>> = deployments.collect();
        let count = deployments.len();
        self.board.store(Arc::new(Board {
            deployments,
            standing: Standing::Recovering,
        }));
        self.wake();
        count
    }

    /// Shows all gates as they stand: the core has read its journal.
    pub(super) fn recovered<'a>(&self, gates: impl Iterator<Item = &'a Gate>) {
        let deployments = gates.map(|gate| {
            let deployment = Arc::new(Deployment::of(gate));
            (gate.begin.deployment.clone(), deployment)
        });
        self.board.store(Arc::new(Board {
            deployments: deployments.collect(),
            standing: Standing::Alive,
        }));
        self.wake();
    }

    #[cfg(test)]
    pub(super) fn show(&self, deployments: Vec<Deployment>) {
        let deployments = deployments.into_iter();
        self.board.store(Arc::new(Board {
            deployments: deployments
                .map(|one| (one.begin.deployment.clone(), Arc::new(one)))
                .collect(),
            standing: Standing::Alive,
        }));
        self.wake();
    }

    /// Counts inputs that could not be recorded. Until [`Published::go_on`] open gates say so.
    pub(super) fn stall(&self) {
        self.journal_errors.fetch_add(1, Ordering::Relaxed);
        if !self.is_stalled.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Inputs are recorded. Says whether they could not be before.
    pub(super) fn go_on(&self) -> bool {
        let was_stalled = self.is_stalled();
        if was_stalled {
            self.is_stalled.store(false, Ordering::Release);
            self.wake();
        }
        was_stalled
    }

    /// Whether inputs cannot be recorded.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Acquire)
    }

    /// Tells whether the clock is so far behind event time that what comes now would count as late.
    pub(super) fn set_back(&self, is_set_back: bool) {
        if self.is_set_back.swap(is_set_back, Ordering::AcqRel) != is_set_back {
            self.wake();
        }
    }

    /// Whether the clock is so far behind event time that what comes now would count as late.
    pub(super) fn is_set_back(&self) -> bool {
        self.is_set_back.load(Ordering::Acquire)
    }

    /// Why no open gate goes on at the moment, though the engine lives.
    fn standstill(&self) -> Option<&'static str> {
        if self.is_stalled() {
            Some(STALLED)
        } else if self.is_set_back() {
            Some(SET_BACK)
        } else {
            None
        }
    }

    /// Groups of inputs that could not be recorded.
    pub(super) fn journal_errors(&self) -> u64 {
        self.journal_errors.load(Ordering::Relaxed)
    }

    /// Tells whether a start waits for a source that does not answer.
    pub(super) fn wait_for_source(&self, waits: bool) {
        self.waits_for_source.store(waits, Ordering::Relaxed);
    }

    /// Whether a start waits for a source that does not answer.
    pub(super) fn waits_for_source(&self) -> bool {
        self.waits_for_source.load(Ordering::Relaxed)
    }

    /// Shows the history.
    pub(super) fn show_history(&self, chronicled: &Arc<Chronicled>) {
        // There is one for each engine.
        drop(self.chronicled.set(Arc::clone(chronicled)));
    }

    /// The history.
    pub(super) fn chronicled(&self) -> &Arc<Chronicled> {
        let chronicled = self.chronicled.get();
        chronicled.expect("the history is opened before the doors are")
    }

    /// What the core has counted.
    pub(super) fn stats(&self) -> Arc<Stats> {
        self.stats.load_full()
    }

    /// Wakes at every new board; only the newest matters.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Every change of a verdict from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Arc<Verdict>> {
        self.changes.subscribe()
    }

    /// Publishes some deployments beside those that stand.
    pub(super) fn update<'a>(&self, gates: impl Iterator<Item = &'a Gate>) {
        let before = self.board.load();
        let mut board = Board::clone(&before);
        let is_recovering = board.standing == Standing::Recovering;
        for gate in gates {
            let id = &gate.begin.deployment;
            // The verdict of an ended deployment stays as it was when it ended, but for what checks
            // say that it did not wait for.
            if board.deployments.get(id).is_none_or(|deployment| {
                !deployment.is_ended || deployment.verdict.shadow.as_ref() != gate.shadow()
            }) {
                let deployment = Deployment::of(gate);
                let deployment = if is_recovering {
                    deployment.recovering()
                } else {
                    deployment
                };
                board.deployments.insert(id.clone(), Arc::new(deployment));
            }
        }
        self.board.store(Arc::new(board));
        self.wake();
    }

    /// Takes deployments away that the core has forgotten.
    pub(super) fn forget(&self, ids: &[String]) {
        let mut board = Board::clone(&self.board.load());
        for id in ids {
            board.deployments.remove(id);
        }
        self.board.store(Arc::new(board));
        self.wake();
    }

    pub(super) fn announce(&self, verdict: Verdict) {
        // Nobody may be listening.
        drop(self.changes.send(Arc::new(verdict)));
    }

    /// Tells what the streams say beside the gates.
    pub(super) fn tell_conditions(&self, conditions: BTreeMap<String, Conditions>) {
        self.conditions.store(Arc::new(conditions));
    }

    /// What the streams say beside the gates.
    pub(super) fn conditions(&self) -> Arc<BTreeMap<String, Conditions>> {
        self.conditions.load_full()
    }

    pub(super) fn count(&self, stats: Stats) {
        self.stats.store(Arc::new(stats));
    }

    /// From now on no verdict is given out.
    pub(super) fn stop(&self) {
        self.board.store(Arc::new(Board::default()));
        self.wake();
    }

    fn wake(&self) {
        self.generation
            .send_modify(|generation| *generation = generation.wrapping_add(1));
    }
}

#[cfg(test)]
impl Published {
    /// As if the engine had been restarted and read its journal.
    pub(super) fn relapse(&self) {
        let board = self.board.load();
        let deployments = board.deployments.iter().map(|(id, deployment)| {
            let deployment = Deployment::clone(deployment).recovering();
            (id.clone(), Arc::new(deployment))
        });
        self.board.store(Arc::new(Board {
            deployments: deployments.collect(),
            standing: Standing::Recovering,
        }));
        self.wake();
    }
}

impl Stats {
    /// Nothing counted.
    pub(super) fn none() -> Self {
        Self {
            ticked_at: Timestamp::MIN,
            watermark: Timestamp::MIN,
            open_gates: 0,
            retired: 0,
            engine: EngineCounters::default(),
            reducer: ReducerCounters::default(),
            journal_bytes: None,
            snapshots: None,
        }
    }
}
