//! Another configuration while the core runs: gates that are open finish under theirs, and what begins
//! from then on goes by the new one.
//!
//! While a gate of an earlier configuration is open, both work side by side on the same data, each with
//! the series that it selects. What the new one has in common with the old, a check with the same
//! selection in a service with the same hosts, it knows from the start; what is new in it begins to
//! learn.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Engine, Output, pipelines::Pipelines, sightings::News, world::World};
use crate::{
    gate::Gate,
    plan::Plan,
    reduce::{Epoch, Select},
};

/// Most earlier configurations that work on for gates that are open.
const RETIRED_MAX: usize = 3;

/// Why the core does not go on under another configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// Buckets and what may be in them would be others.
    Fixed {
        /// The key that differs.
        key: &'static str,
    },
    /// Too many earlier ones still have open gates.
    TooMany {
        /// Deployments of the earliest.
        open: Vec<String>,
    },
}

impl Engine {
    /// Whether it can go on under another configuration.
    ///
    /// # Errors
    /// It cannot, for this reason.
    pub fn may_change(&self, plan: &Plan) -> Result<(), ChangeRefusal> {
        let fixed = [
            ("resolution", self.plan.resolution == plan.resolution),
            ("lateness", self.plan.lateness == plan.lateness),
            ("limits", self.plan.limits == plan.limits),
        ];
        if let Some((key, _)) = fixed.into_iter().find(|(_, is_same)| !is_same) {
            return Err(ChangeRefusal::Fixed { key });
        }
        let is_back = self.retired.iter().any(|world| world.is_by(&plan.digest));
        let is_kept = |world: &World| self.has_open(world);
        let kept = self.retired.iter().filter(|world| is_kept(world)).count();
        let is_same = self.plan.digest == plan.digest;
        if !is_same && !is_back && RETIRED_MAX <= kept && is_kept(&self.world) {
            let first = self.retired.iter().find(|world| is_kept(world));
            let open = first.into_iter().flat_map(|world| self.open_under(world));
            return Err(ChangeRefusal::TooMany {
                open: open.map(|gate| gate.begin.deployment.clone()).collect(),
            });
        }
        Ok(())
    }

    /// Goes on under another configuration, if it can.
    pub(super) fn change(&mut self, plan: &Arc<Plan>) {
        if self.may_change(plan).is_err() {
            return;
        }
        let earlier = std::mem::replace(&mut self.plan, Arc::clone(plan));
        if earlier.digest == plan.digest {
            return;
        }
        let known = self
            .retired
            .iter()
            .position(|world| world.is_by(&plan.digest));
        let next = match known {
            // It has worked on all the while.
            Some(index) => self.retired.remove(index),
            None => self.world.succeed(plan),
        };
        let world = std::mem::replace(&mut self.world, next);
        self.plans.insert(earlier.digest.clone(), earlier);
        self.retired.push(world);
        self.pipelines = Pipelines::of(&self.plan, &self.gates);
        self.forget_unused();
    }

    /// Forgets earlier configurations that no gate needs.
    fn forget_unused(&mut self) {
        let Self { gates, retired, .. } = self;
        retired.retain(|world| {
            let mut gates = gates.values();
            gates.any(|gate| world.is_by(gate.config_digest()) && !gate.is_settled())
        });
        self.forget_unused_plans();
    }

    pub(super) fn forget_unused_plans(&mut self) {
        if self.plans.is_empty() {
            return;
        }
        let used: BTreeSet<&str> = self.gates.values().map(Gate::config_digest).collect();
        self.plans
            .retain(|digest, _| used.contains(digest.as_str()));
    }

    /// Takes a tick in the earlier configurations.
    pub(super) fn tick_retired(&mut self, epoch: Epoch, outputs: &mut Vec<Output>) {
        if self.retired.is_empty() {
            return;
        }
        let mut retired = std::mem::take(&mut self.retired);
        for world in &mut retired {
            world.advance(epoch);
            loop {
                let is_idle = self.is_idle(world);
                let Some(bucket) = world.close_next(is_idle) else {
                    break;
                };
                // A version that is new here opens no gate; nor does it later, if this one comes back.
                for (service, place, version, news) in world.directory.sight(bucket) {
                    if news == News::Found {
                        let service = world.directory.service_mut(&service);
                        service.knows(&place, &version, bucket.end);
                    }
                }
                self.hold_again(Some(world), bucket.end);
                self.look_beside();
                Self::add_unshown(&self.gates, world, bucket);
                self.judge(Some(world), bucket, outputs);
            }
        }
        self.retired = retired;
        self.forget_unused();
    }

    /// The attributes that tell a log stream, in any configuration that is at work.
    pub fn stream_labels(&self) -> BTreeSet<String> {
        let worlds = self.retired.iter().chain([&self.world]);
        let labels = worlds.flat_map(|world| world.directory.selector().stream_labels());
        labels.cloned().collect()
    }

    /// How many earlier configurations are still at work.
    pub fn retired(&self) -> usize {
        self.retired.len()
    }

    pub(super) fn worlds_mut(&mut self) -> impl Iterator<Item = &mut World> {
        self.retired.iter_mut().chain([&mut self.world])
    }

    fn has_open(&self, world: &World) -> bool {
        self.open_under(world).next().is_some()
    }

    fn open_under(&self, world: &World) -> impl Iterator<Item = &Gate> {
        let gates = self.gates.values();
        gates.filter(|gate| world.is_by(gate.config_digest()) && !gate.is_settled())
    }
}

impl World {
    fn is_by(&self, digest: &str) -> bool {
        self.directory.digest() == digest
    }
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { key } => {
                write!(f, "{key} cannot change while the engine runs: restart it")
            }
            Self::TooMany { open } => write!(
                f,
                "{RETIRED_MAX} earlier configurations still have open gates: wait for their bakes, or end {}",
                open.join(", ")
            ),
        }
    }
}

impl std::error::Error for ChangeRefusal {}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
