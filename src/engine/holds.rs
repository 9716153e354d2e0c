//! What holds gates whose deployments began although something stood in the way.

use std::collections::BTreeMap;

use super::{Engine, directory::Directory, pipelines::Relevant, world::World};
use crate::{
    event::{Begin, Timestamp},
    gate::{Asker, Blocker, Conditions, Gate, History, Start},
    plan::{Plan, ServicePlan, StagePlan, StartBlockers},
};

impl Engine {
    /// What stands in the way of a deployment that begins now.
    pub(super) fn held_at_begin(&mut self, begin: &Begin, stage: &StagePlan) -> Vec<Blocker> {
        let Self {
            plan,
            gates,
            pipelines,
            world,
            ..
        } = self;
        let Some(service) = plan.services.get(&begin.service) else {
            return Vec::new();
        };
        let relevant = pipelines.relevant(gates, &begin.service, &begin.version);
        let conditions = world.directory.conditions(&begin.service);
        history(service, gates, &relevant).blockers(&start(begin, stage, begin.at), conditions)
    }

    /// Looks again at what holds gates that began under the plan, or under an earlier one: what is gone
    /// holds no more; a failure in another region may have come up.
    pub(super) fn hold_again(&mut self, earlier: Option<&World>, now: Timestamp) {
        let Self {
            gates,
            pipelines,
            world,
            ..
        } = self;
        let directory = &earlier.unwrap_or(world).directory;
        let plan = directory.plan();
        let mut changed: Vec<(String, Vec<Blocker>, Timestamp)> = Vec::new();
        // The index knows the stages of the plan of today: under an earlier one all attempts are looked at,
        // once for each service.
        let mut earlier_histories: BTreeMap<&str, History<'_>> = BTreeMap::new();
        for id in pipelines.undecided(gates) {
            let is_asked =
                |gate: &&Gate| gate.config_digest() == plan.digest && may_be_held(plan, gate);
            let Some(gate) = gates.get(&id).filter(is_asked) else {
                continue;
            };
            let Begin {
                service, version, ..
            } = &gate.begin;
            let Some(service_plan) = plan.services.get(service) else {
                continue;
            };
            let start = start(&gate.begin, gate.stage(), now);
            let conditions = directory.conditions(service);
            let mut held = if earlier.is_some() {
                let of_service = earlier_histories.entry(service).or_insert_with(|| {
                    History::new(service_plan, gates.values().map(Gate::attempt))
                });
                of_service.blockers(&start, conditions)
            } else {
                let relevant = pipelines.relevant(gates, service, version);
                history(service_plan, gates, &relevant).blockers(&start, conditions)
            };
            held.retain(|blocker| {
                blocker.may_come_later() || gate.held().iter().any(|known| known.is_same(blocker))
            });
            if held != gate.held() {
                // Buckets close late: what the others said since is of a later time.
                let others = gates
                    .values()
                    .filter(|other| other.begin.service == *service);
                let told = others.map(Gate::at).max().unwrap_or(now);
                changed.push((id, held, told));
            }
        }
        for (id, held, told) in changed {
            if let Some(gate) = self.gates.get_mut(&id) {
                gate.hold(held, told);
            }
        }
    }
}

/// The history of a service, as far as it matters.
pub(super) fn history<'a>(
    plan: &'a ServicePlan,
    gates: &'a BTreeMap<String, Gate>,
    relevant: &Relevant,
) -> History<'a> {
    let ids = relevant.deployments.iter();
    let attempts = ids.filter_map(|id| gates.get(id)).map(Gate::attempt);
    History::new(plan, attempts).told_from(relevant.earliest)
}

impl Directory {
    /// What the stream of a service tells beside the gates.
    ///
    /// # Panics
    /// The service is not configured.
    pub fn conditions(&self, service: &str) -> &Conditions {
        let mut services = self.services.iter();
        let found = services.find(|entry| entry.plan.name == service);
        &found.expect("the service is configured").health.conditions
    }
}

fn start<'a>(begin: &'a Begin, stage: &'a StagePlan, now: Timestamp) -> Start<'a> {
    let region = begin.region.as_deref();
    Start {
        version: &begin.version,
        stage,
        region: region.filter(|_| !stage.regions.is_empty()),
        asker: Asker::Gate {
            deployment: &begin.deployment,
        },
        now,
    }
}

fn may_be_held(plan: &Plan, gate: &Gate) -> bool {
    let policies = &gate.stage().policies;
    let has_regions = || {
        let service = plan.services.get(&gate.begin.service);
        service.is_some_and(|service| service.stages.iter().any(|stage| !stage.regions.is_empty()))
    };
    !gate.held().is_empty()
        || ((policies.start_blockers != StartBlockers::Off || policies.one_region_at_a_time)
            && has_regions())
}
