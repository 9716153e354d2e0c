//! What is fetched instead of being sent, and how far time may go meanwhile.
//!
//! After a restart a source holds what was written while the engine was away. That is fetched first, in
//! its own time: until then ticks come from the messages and not from the clock, so that nothing is late
//! which would not have been without the restart.

use std::sync::Arc;

use tokio::sync::watch;

#[cfg(feature = "kafka")]
use super::kafka::{self, KafkaSource};
use super::{
    clock::Clock,
    core::{Core, Unavailable},
    fetched::Refetch,
};
use crate::{event::Timestamp, plan::Plan};

/// How far time may go. Ordered: of several sources the least counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Nowhere: it is not known what there is to fetch.
    Nowhere,
    #[cfg_attr(
        not(feature = "kafka"),
        expect(dead_code, reason = "only Kafka is fetched from")
    )]
    /// To where every part that has more to give has come.
    Until(Timestamp),
    /// As far as the clock.
    Clock,
}

/// Becomes true when the engine stops.
pub(super) type Stopping = watch::Receiver<bool>;

/// What readers of sources go by.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "kafka"),
    expect(dead_code, reason = "only Kafka is fetched from")
)]
pub(super) struct World {
    /// The plan that the engine works by.
    pub(super) plan: Arc<Plan>,
    /// Where time comes from.
    pub(super) clock: Clock,
    /// When to end.
    pub(super) stop: Stopping,
}

/// All sources of a plan.
#[derive(Debug)]
pub(super) struct Sources {
    reach: watch::Sender<Reach>,
    #[cfg(feature = "kafka")]
    kafka: Vec<Arc<KafkaSource>>,
}

impl Sources {
    /// The sources of a plan. Nothing is connected to yet.
    ///
    /// # Errors
    /// A source cannot be read: its configuration cannot be used, or this program was built without it.
    pub(super) fn new(plan: &Plan, is_recorded: bool) -> Result<Self, String> {
        let may_have_begun = is_recorded && !plan.sources.is_empty();
        let reach = watch::Sender::new(if may_have_begun {
            Reach::Nowhere
        } else {
            Reach::Clock
        });
        #[cfg(feature = "kafka")]
        let sources = Self {
            reach,
            kafka: KafkaSource::all(plan)?,
        };
        #[cfg(not(feature = "kafka"))]
        let sources = if plan.sources.is_empty() {
            Self { reach }
        } else {
            return Err(
                "sources: this program was built without Kafka, and silence would be taken for its \
                 topics': build it with the feature `kafka`, or take `sources` out of the configuration"
                    .to_owned(),
            );
        };
        Ok(sources)
    }

    /// How far time may go.
    pub(super) fn reach(&self) -> Reach {
        *self.reach.borrow()
    }

    /// Wakes when time may go further.
    pub(super) fn reaches(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Waits until time may go as far as the clock.
    pub(super) async fn caught_up(&self) {
        let mut reach = self.reach.subscribe();
        // The sender is ours.
        drop(reach.wait_for(|reach| *reach == Reach::Clock).await);
    }

    /// Fetches again what a journal only has the range of; `None`: there is no source.
    ///
    /// # Errors
    /// The configuration of a source cannot be used.
    #[cfg_attr(
        not(feature = "kafka"),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "only Kafka is fetched from"
        )
    )]
    pub(super) fn refetch(&self, plan: &Plan) -> Result<Option<Box<dyn Refetch>>, String> {
        #[cfg(feature = "kafka")]
        return kafka::refetch::sources(&self.kafka, plan);
        #[cfg(not(feature = "kafka"))]
        {
            debug_assert!(plan.sources.is_empty(), "there is no source without Kafka");
            Ok(None)
        }
    }

    /// The sources themselves, for those who look at them.
    #[cfg(feature = "kafka")]
    pub(super) fn kafka(&self) -> &[Arc<KafkaSource>] {
        &self.kafka
    }

    /// Reads every source until it is told to stop.
    pub(super) async fn run(self: Arc<Self>, core: Core, world: World) {
        if let Err(Unavailable::Stopped) = core.ready().await {
            return;
        }
        #[cfg(feature = "kafka")]
        kafka::read_all(&self, &core, &world).await;
        #[cfg(not(feature = "kafka"))]
        drop((self, world));
    }

    /// Lets time go as far as every source has come. Once at the clock it stays there: what comes later
    /// than it should is late, and what does not come is not covered.
    #[cfg(feature = "kafka")]
    async fn publish(&self, core: &Core, least: Reach) {
        if least <= self.reach() {
            return;
        }
        if least == Reach::Clock {
            core.caught_up().await;
        }
        self.reach.send_replace(least);
    }

    /// Tells how far every source has come.
    #[cfg(feature = "kafka")]
    pub(super) async fn reached(&self, core: &Core, reached: &[watch::Receiver<Reach>]) {
        let least = reached.iter().map(|reach| *reach.borrow()).min();
        self.publish(core, least.unwrap_or(Reach::Clock)).await;
    }
}
