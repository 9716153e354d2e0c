//! What all doors share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    access::Guard,
    board::Deployment,
    chronicle::Chronicled,
    clock::Clock,
    core::{Core, EventError, Unavailable},
    intake::Intake,
    metrics::Metrics,
    published::Published,
    reload::Reloading,
    sources::{Reach, Sources},
    watch::Places,
};
use crate::{
    event::{DeploymentEvent, Span, Timestamp},
    plan::Plan,
};

/// How long the core may be without a tick before the engine is not ready.
const BEHIND_MAX: Span = Span::from_seconds(30);
/// How far the clock is behind event time at least to have been set back, and not to be slewed.
const SET_BACK_MIN: Span = Span::from_seconds(5);

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
    /// Places for those who wait for verdicts over HTTP.
    pub places: Places,
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
        let (is_override, is_signed) = match &event {
            DeploymentEvent::Bypass(_) => (true, true),
            DeploymentEvent::Begin(begin) => (begin.hotfix.is_some(), begin.hotfix.is_some()),
            DeploymentEvent::End(_) => (false, true),
            DeploymentEvent::Step(_) => (false, false),
        };
        if is_override {
            self.may_act().await.map_err(EventError::Unavailable)?;
        }
        let taken = self.core.event(event.at_time(self.now())).await;
        if is_signed && taken.is_ok() {
            self.acted().await;
        }
        taken
    }

    /// When something happens now: whose bake would begin before the present of the core would be over
    /// before it was, so that a clock that was set back must not take event time back.
    pub(super) fn now(&self) -> Timestamp {
        let ticked_at = self.published().stats().ticked_at;
        let ticked_at = ticked_at.max(self.core.recovered_at().unwrap_or(ticked_at));
        self.clock.now().max(ticked_at)
    }

    /// Looks whether the clock is so far behind event time that what is sent now would count as late.
    pub(super) fn look_at_clock(&self) {
        let behind = self.now() - self.clock.now();
        let is_set_back = self.plan().lateness.max(SET_BACK_MIN) < behind;
        self.published().set_back(is_set_back);
    }

    /// Whether somebody may do now what they will have to answer for.
    ///
    /// # Errors
    /// The history cannot be written. A core that is not ready refuses by itself.
    pub(super) async fn may_act(&self) -> Result<(), Unavailable> {
        if self.core.is_ready() && self.of_history(Chronicled::is_writable).await != Some(true) {
            return Err(Unavailable::NotRecorded);
        }
        Ok(())
    }

    /// Lets whoever answers for an act find it in the history at once, unless that breaks just now: it is
    /// in force, and in the journal.
    pub(super) async fn acted(&self) {
        self.of_history(|chronicled| {
            chronicled.history();
        })
        .await;
    }

    /// Asks something of the history that may block. `None`: it panicked, or the engine ends.
    async fn of_history<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Chronicled) -> T + Send + 'static,
    ) -> Option<T> {
        let chronicled = Arc::clone(self.published().chronicled());
        spawn_blocking(move || ask(&chronicled)).await.ok()
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
        if self.published().is_set_back() {
            return Err("the clock was set back: nothing is taken until it has come as far again");
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
