//! Watching one deployment: its verdict as it stands, then every change.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    board::Deployment,
    core::Unavailable,
    published::{Published, Withheld},
    shared::Shared,
};

/// One client that watches one deployment. It is asked for the next verdict when the client can
/// take one, so that a slow client sees the newest state and holds nobody up.
#[derive(Debug)]
pub(super) struct Watcher {
    id: String,
    published: Arc<Published>,
    boards: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    shown: Option<Arc<Deployment>>,
    is_done: bool,
}

/// Places for those who wait over HTTP, where each of them holds a connection: were all of them held so, no
/// data would come in.
#[derive(Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    max: usize,
    refused: AtomicU64,
}

impl Places {
    /// Half of the connections.
    pub(super) fn of(connections: usize) -> Self {
        let max = (connections / 2).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(max)),
            max,
            refused: AtomicU64::new(0),
        }
    }

    /// A place for as long as what is given lives; `None`: all are taken.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.room).try_acquire_owned().ok();
        if place.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.max - self.room.available_permits()
    }

    /// How often none was left.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Why a watch broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// No verdict is given out.
    Withheld(Unavailable),
    /// The engine is shutting down.
    Stopping,
}

impl Watcher {
    /// Watches a deployment from now on.
    pub(super) fn new(shared: &Shared, id: String) -> Self {
        let published = Arc::clone(shared.published());
        Self {
            id,
            boards: published.watch(),
            published,
            stopping: shared.stopping.clone(),
            shown: None,
            is_done: false,
        }
    }

    /// The next verdict; `None` after the last one of a deployment that has ended, or after a loss.
    pub(super) async fn next(&mut self) -> Option<Result<Arc<Deployment>, Lost>> {
        while !self.is_done {
            match self.published.deployment(&self.id) {
                Ok(Some(deployment)) => {
                    self.is_done = deployment.is_ended;
                    if self
                        .shown
                        .as_ref()
                        .is_none_or(|shown| !deployment.says_the_same(shown))
                    {
                        self.shown = Some(Arc::clone(&deployment));
                        return Some(Ok(deployment));
                    }
                    if self.is_done {
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(Withheld(reason)) => return Some(Err(self.lose(Lost::Withheld(reason)))),
            }
            let lost = tokio::select! {
                changed = self.boards.changed() => {
                    changed.err().map(|_| Lost::Withheld(Unavailable::Stopped))
                }
                _ = self.stopping.wait_for(|stopping| *stopping) => Some(Lost::Stopping),
            };
            if let Some(lost) = lost {
                return Some(Err(self.lose(lost)));
            }
        }
        None
    }

    fn lose(&mut self, lost: Lost) -> Lost {
        self.is_done = true;
        lost
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Withheld(reason) => reason.fmt(f),
            Self::Stopping => f.write_str("the engine is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_connections_may_wait() {
        let places = Places::of(4);
        let taken = [places.take(), places.take(), places.take()];
        assert_eq!(taken.each_ref().map(Option::is_some), [true, true, false]);
        assert_eq!((places.taken(), places.refused()), (2, 1));
        drop(taken);
        assert_eq!(places.taken(), 0);
        assert!(places.take().is_some());
        assert!(Places::of(1).take().is_some());
    }
}
