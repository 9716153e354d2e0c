//! Deployments as they stand, for what tells others of them.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    board::{Deployment, Standing},
    clock::Clock,
    published::Published,
};
use crate::{
    event::Timestamp,
    ledger::{Head, History},
};

/// Gives deployments as they stand, to whoever tells others of them. Whoever is slow misses states in
/// between and never holds the engine up.
#[derive(Clone, Debug)]
pub struct Feed {
    published: Arc<Published>,
    boards: watch::Receiver<u64>,
    clock: Clock,
}

/// What a [`Feed`] shows.
#[derive(Clone, Debug)]
pub enum Shown {
    /// All deployments, newest first.
    Deployments(Vec<Arc<Deployment>>),
    /// The engine reads its journal: what it knows is not up to date.
    Recovering,
    /// The engine has stopped.
    Stopped,
}

impl Feed {
    pub(super) fn new(published: &Arc<Published>, clock: &Clock) -> Self {
        let mut boards = published.watch();
        boards.mark_changed();
        Self {
            published: Arc::clone(published),
            boards,
            clock: clock.clone(),
        }
    }

    /// Waits until something may have changed. At first it has.
    pub async fn changed(&mut self) {
        if self.boards.changed().await.is_err() {
            // Nothing changes any more.
            std::future::pending::<()>().await;
        }
    }

    /// What stands now.
    pub fn shown(&self) -> Shown {
        let Ok(board) = self.published.board() else {
            return Shown::Stopped;
        };
        match board.standing {
            Standing::Alive => {
                Shown::Deployments(board.newest_first().into_iter().map(Arc::clone).collect())
            }
            Standing::Recovering => Shown::Recovering,
            Standing::Stopped => Shown::Stopped,
        }
    }

    /// The end of the history, as far as it is written. It grows a moment after what stands changes.
    pub fn history_end(&self) -> Arc<Head> {
        self.published.chronicled().counted().head
    }

    /// Whether the history has all that was said until now.
    pub fn is_written(&self) -> bool {
        self.published.chronicled().counted().waiting == 0
    }

    /// The history as it is written; reading it may block.
    pub fn history(&self) -> History {
        self.published.chronicled().written().clone()
    }

    /// The present, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Shows a feed what a test says, without an engine.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct FeedDriver {
    published: Arc<Published>,
    clock: Clock,
}

#[cfg(test)]
impl FeedDriver {
    pub(crate) fn new(now: Timestamp) -> Self {
        let nanos = std::sync::atomic::AtomicI64::new(now.nanos());
        Self {
            published: Arc::new(Published::new(super::published::Stats::none())),
            clock: Clock::Manual(Arc::new(nanos)),
        }
    }

    pub(crate) fn feed(&self) -> Feed {
        Feed::new(&self.published, &self.clock)
    }

    pub(crate) fn show(&self, deployments: Vec<Deployment>) {
        self.published.show(deployments);
    }

    pub(crate) fn recover(&self) {
        self.published.recover(std::iter::empty());
    }
}
