//! When limits refused requests as a whole, of which nobody knows whose data they held.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Signal, Timestamp},
    plan::{Check, Selection},
};

/// When a limit refused a request as a whole last, by what it carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusedRequests {
    metrics: Option<Timestamp>,
    logs: Option<Timestamp>,
}

impl RefusedRequests {
    /// Notes one. Before the first tick nobody knows when that is.
    pub(super) fn note(&mut self, signal: Signal, now: Option<Timestamp>) {
        let last = self.last_mut(signal);
        *last = (*last).max(Some(now.unwrap_or(Timestamp::MIN)));
    }

    /// Takes a tick: what came before the first one came no later.
    pub(super) fn tick(&mut self, now: Timestamp) {
        for signal in Signal::ALL {
            let last = self.last_mut(signal);
            if *last == Some(Timestamp::MIN) {
                *last = Some(now);
            }
        }
    }

    /// The last that may have held what a check looks at.
    pub(super) fn last_of(&self, check: &Check) -> Option<Timestamp> {
        match check.selection {
            Selection::Series(_) => self.metrics,
            Selection::Logs(_) => self.logs,
        }
    }

    fn last_mut(&mut self, signal: Signal) -> &mut Option<Timestamp> {
        match signal {
            Signal::Metrics => &mut self.metrics,
            Signal::Logs => &mut self.logs,
        }
    }
}
