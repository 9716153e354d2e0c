//! What holds gates whose deployments began although something stood in the way.

use std::collections::BTreeMap;

use super::{Engine, directory::Directory, world::World};
use crate::{
    event::{Begin, Timestamp},
    gate::{Asker, Blocker, Conditions, Gate, History, Start},
    plan::{Plan, StagePlan, StartBlockers},
};

impl Engine {
    /// What stands in the way of a deployment that begins now.
    pub(super) fn held_at_begin(&self, begin: &Begin, stage: &StagePlan) -> Vec<Blocker> {
        let directory = &self.world.directory;
        let Some(history) = self.history(directory.plan(), &begin.service) else {
            return Vec::new();
        };
        let conditions = directory.conditions(&begin.service);
        history.blockers(&start(begin, stage, begin.at), conditions)
    }

    /// Looks again at what holds gates that began under the plan, or under an earlier one: what is gone
    /// holds no more; a failure in another region may have come up.
    pub(super) fn hold_again(&mut self, earlier: Option<&World>, now: Timestamp) {
        let directory = &earlier.unwrap_or(&self.world).directory;
        let plan = directory.plan();
        let mut changed: Vec<(String, Vec<Blocker>)> = Vec::new();
        let mut histories: BTreeMap<&str, History<'_>> = BTreeMap::new();
        for (id, gate) in &self.gates {
            let service = gate.begin.service.as_str();
            let is_of_it = gate.config_digest() == plan.digest;
            if !is_of_it || gate.is_final() || !may_be_held(plan, gate) {
                continue;
            }
            if !histories.contains_key(service) {
                let Some(history) = self.history(plan, service) else {
                    continue;
                };
                histories.insert(service, history);
            }
            let conditions = directory.conditions(service);
            let start = start(&gate.begin, gate.stage(), now);
            let mut held = histories[service].blockers(&start, conditions);
            held.retain(|blocker| {
                blocker.may_come_later() || gate.held().iter().any(|known| known.is_same(blocker))
            });
            if held != gate.held() {
                changed.push((id.clone(), held));
            }
        }
        for (id, held) in changed {
            if let Some(gate) = self.gates.get_mut(&id) {
                gate.hold(held);
            }
        }
    }

    fn history<'a>(&'a self, plan: &'a Plan, service: &str) -> Option<History<'a>> {
        let plan = plan.services.get(service)?;
        Some(History::new(plan, self.gates.values().map(Gate::attempt)))
    }
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
