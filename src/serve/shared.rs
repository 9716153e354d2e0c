//! What all doors share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{
    access::Guard,
    clock::Clock,
    core::{Core, EventError, Unavailable},
    intake::Intake,
    metrics::Metrics,
    published::{Deployment, Published},
    reload::Reloading,
    sources::{Reach, Sources},
};
use crate::{
    event::{DeploymentEvent, Span},
    plan::Plan,
};

/// How long the core may be without a tick before the engine is not ready.
const BEHIND_MAX: Span = Span::from_seconds(30);

/// What all doors share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The plan that the engine works by.
    pub plan: ArcSwap<Plan>,
    /// Where time comes from.
    pub clock: Clock,
    /// The way to the core.
    pub core: Core,
    /// The way in for data.
    pub intake: Intake,
    /// Tells callers apart.
    pub guard: ArcSwap<Guard>,
    /// How the configuration is read anew.
    pub reloading: Reloading,
    /// What is fetched instead of being sent.
    pub sources: Arc<Sources>,
    /// What the doors count.
    pub metrics: Arc<Metrics>,
    /// True once the engine is shutting down.
    pub stopping: watch::Receiver<bool>,
}

impl Shared {
    /// The plan that the engine works by.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// What the core has published.
    pub(super) fn published(&self) -> &Arc<Published> {
        self.core.published()
    }

    /// Stamps an event with the present and tells the core.
    ///
    /// # Errors
    /// The engine refused the event, or did not take it; an override or a hotfix, also that the history
    /// cannot be written.
    pub(super) async fn tell(&self, event: DeploymentEvent) -> Result<Arc<Deployment>, EventError> {
        let is_privileged = match &event {
            DeploymentEvent::Bypass(_) => true,
            DeploymentEvent::Begin(begin) => begin.hotfix.is_some(),
            DeploymentEvent::Step(_) | DeploymentEvent::End(_) => false,
        };
        if is_privileged && self.core.is_ready() && self.published().chronicled().fails() {
            return Err(EventError::Unavailable(Unavailable::NotRecorded));
        }
        self.core.event(event.at_time(self.clock.now())).await
    }

    /// Whether the engine can answer.
    ///
    /// # Errors
    /// It cannot, for this reason.
    pub(super) fn ready(&self) -> Result<(), &'static str> {
        if self.published().board().is_err() {
            return Err("the engine stopped");
        }
        if !self.core.is_ready() {
            return Err(if self.published().waits_for_source() {
                "the engine reads its journal after a restart, and waits for Kafka to read messages \
                 again that the journal only names: see the log"
            } else {
                "the engine reads its journal after a restart"
            });
        }
        if *self.stopping.borrow() {
            return Err("the engine is shutting down");
        }
        if self.published().is_stalled() {
            return Err("the journal cannot be written: nothing is taken until it can");
        }
        if self.sources.reach() != Reach::Clock {
            return Err("the engine reads what was written to Kafka while it was away");
        }
        if self.clock.now() - self.published().stats().ticked_at > BEHIND_MAX {
            return Err("the engine is behind: its last tick was taken more than 30s ago");
        }
        Ok(())
    }
}
