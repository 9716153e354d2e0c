//! The one place where time is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::event::Timestamp;

/// Where the engine's time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clock; ticks come by themselves.
    System,
    /// Nanoseconds since the Unix epoch, set by whoever drives the engine; ticks come only by
    /// [`Server::tick`](super::Server::tick).
    Manual(Arc<AtomicI64>),
}

/// Measures how long something took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Clock {
    /// The present.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge reads the clock, and only here"
    )]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_epoch = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or(Duration::ZERO);
                Timestamp::from_nanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
            }
            Self::Manual(nanos) => Timestamp::from_nanos(nanos.load(Ordering::Acquire)),
        }
    }
}

impl Stopwatch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge reads the clock, and only here"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// How long it has been running.
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
