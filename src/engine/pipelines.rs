//! Which deployments matter to a pipeline still: an index, so that no bucket walks all that ever was.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::{Begin, Timestamp},
    gate::{Gate, Place, VerdictState},
    plan::Plan,
};

/// Deployments in the order in which they began.
type Order = BTreeSet<(Timestamp, String)>;

/// The deployments of all services, by what is asked of them. It follows from the gates: nothing of it is
/// saved.
///
/// What a newer deployment has made irrelevant for good is dropped when it is come across, so that what is
/// looked at depends on what is under way, not on how much ever was.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    services: BTreeMap<String, Told>,
    /// Gates that may still be held.
    undecided: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Told {
    /// Index of the earliest stage that anybody told of.
    earliest: Option<usize>,
    /// When the newest deployment began, by place.
    newest: BTreeMap<Place, Timestamp>,
    /// Deployments that may be under way, by place.
    places: BTreeMap<Place, Order>,
    /// Those that may decide for a version, by version and place.
    versions: BTreeMap<String, BTreeMap<Place, Order>>,
}

/// What matters to a version of a service.
#[derive(Debug, Default)]
pub(super) struct Relevant {
    /// Ids of deployments.
    pub(super) deployments: BTreeSet<String>,
    /// Index of the earliest stage that anybody told of.
    pub(super) earliest: Option<usize>,
}

impl Pipelines {
    /// The index of gates.
    pub(super) fn of(plan: &Plan, gates: &BTreeMap<String, Gate>) -> Self {
        let mut pipelines = Self::default();
        for gate in gates.values() {
            pipelines.add(plan, &gate.begin);
        }
        pipelines
    }

    /// Adds a deployment that has begun.
    pub(super) fn add(&mut self, plan: &Plan, begin: &Begin) {
        let told = self.services.entry(begin.service.clone()).or_default();
        let stages = plan.services.get(&begin.service).map(|plan| &plan.stages);
        let stage = stages.and_then(|stages| {
            let mut stages = stages.iter();
            stages.position(|stage| stage.name == begin.stage)
        });
        told.earliest = match (told.earliest, stage) {
            (Some(known), Some(stage)) => Some(known.min(stage)),
            (known, stage) => known.or(stage),
        };
        let place = Place {
            stage: begin.stage.clone(),
            region: begin.region.clone(),
        };
        let newest = told.newest.entry(place.clone()).or_insert(begin.at);
        *newest = begin.at.max(*newest);
        let entry = (begin.at, begin.deployment.clone());
        let of_place = told.places.entry(place.clone()).or_default();
        of_place.insert(entry.clone());
        let of_version = told.versions.entry(begin.version.clone()).or_default();
        of_version.entry(place).or_default().insert(entry);
        self.undecided.insert(begin.deployment.clone());
    }

    /// Gates that may still be held.
    pub(super) fn undecided(&mut self, gates: &BTreeMap<String, Gate>) -> Vec<String> {
        let is_open = |id: &String| gates.get(id).is_some_and(|gate| !gate.is_final());
        self.undecided.retain(is_open);
        self.undecided.iter().cloned().collect()
    }

    /// The deployments that can stand in the way of a version of a service, or let it go on.
    pub(super) fn relevant(
        &mut self,
        gates: &BTreeMap<String, Gate>,
        service: &str,
        version: &str,
    ) -> Relevant {
        let Some(told) = self.services.get_mut(service) else {
            return Relevant::default();
        };
        let mut relevant = Relevant {
            deployments: BTreeSet::new(),
            earliest: told.earliest,
        };
        for order in told.places.values_mut() {
            under_way(order, gates);
            let ids = order.iter().map(|(_, id)| id.clone());
            relevant.deployments.extend(ids);
        }
        let of_version = told.versions.get_mut(version);
        for order in of_version.into_iter().flat_map(BTreeMap::values_mut) {
            decisive(order, gates);
            let ids = order.iter().map(|(_, id)| id.clone());
            relevant.deployments.extend(ids);
        }
        relevant
    }

    /// The deployments of a version at a place that may still say something, oldest first.
    pub(super) fn at(&self, service: &str, version: &str, place: &Place) -> Vec<&str> {
        let told = self.services.get(service);
        let places = told.and_then(|told| told.versions.get(version));
        let orders = places.into_iter().flatten();
        let here = orders.filter(|(known, _)| {
            known.stage == place.stage && (place.region.is_none() || known.region == place.region)
        });
        here.flat_map(|(_, order)| order.iter().map(|(_, id)| id.as_str()))
            .collect()
    }

    /// When the newest deployment at a place began.
    pub(super) fn newest(&self, service: &str, place: &Place) -> Option<Timestamp> {
        self.services.get(service)?.newest.get(place).copied()
    }
}

/// Keeps what may be under way at a place, down to the newest that passed: that took the place of all
/// before it. What failed, was overridden or was given up did not, and never will.
fn under_way(order: &mut Order, gates: &BTreeMap<String, Gate>) {
    let mut is_superseded = false;
    keep(order, |id| {
        let Some(gate) = gates.get(id).filter(|_| !is_superseded) else {
            return false;
        };
        let has_passed = gate.state() == VerdictState::Pass;
        is_superseded = has_passed;
        has_passed || !(gate.is_final() || gate.is_ended())
    });
}

/// Keeps what may decide for a version: down to the newest that is decided, and of those that ended
/// undecided only the newest of all.
fn decisive(order: &mut Order, gates: &BTreeMap<String, Gate>) {
    let (mut is_decided, mut is_newest) = (false, true);
    keep(order, |id| {
        let Some(gate) = gates.get(id).filter(|_| !is_decided) else {
            return false;
        };
        let was_newest = std::mem::replace(&mut is_newest, false);
        is_decided = match gate.state() {
            VerdictState::Pass | VerdictState::Fail | VerdictState::Bypassed => true,
            VerdictState::Pending | VerdictState::NoData => false,
        };
        is_decided || was_newest || !gate.is_ended()
    });
}

/// Keeps those of which `keeps` says so, which is asked from the newest to the oldest.
fn keep(order: &mut Order, mut keeps: impl FnMut(&str) -> bool) {
    let dropped: Vec<(Timestamp, String)> = order
        .iter()
        .rev()
        .filter(|(_, id)| !keeps(id))
        .cloned()
        .collect();
    for entry in dropped {
        order.remove(&entry);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        engine::{Engine, Input, holds::history},
        event::{Bypass, DeploymentEvent, End, Step, StepOutcome},
        gate::{Asker, Conditions, History, Start},
    };

    const PLAN: &str = "
checks: {cpu: {metric: cpu, bounds: {max: 1}}}
services:
  shop:
    stages:
      - {name: alpha, steps: [t]}
      - {name: onebox, steps: [t], regions: [eu, us], policies: {one_region_at_a_time: true}}
      - {name: prod, steps: [t], regions: [eu, us, ap]}
  other: {stages: [{name: alpha, steps: [t]}]}
";
    const PLACES: [(&str, Option<&str>); 6] = [
        ("alpha", None),
        ("onebox", Some("eu")),
        ("onebox", Some("us")),
        ("prod", Some("eu")),
        ("prod", Some("us")),
        ("prod", Some("ap")),
    ];
    const VERSIONS: [&str; 3] = ["v1", "v2", "latest"];

    fn minute(minute: usize) -> Timestamp {
        Timestamp::from_seconds(1_772_359_200 + 60 * minute as i64)
    }

    fn begin(at: Timestamp, deployment: String, place: usize, version: usize) -> DeploymentEvent {
        let (stage, region) = PLACES[place];
        DeploymentEvent::Begin(Begin {
            at,
            deployment,
            service: "shop".to_owned(),
            stage: stage.to_owned(),
            region: region.map(str::to_owned),
            version: VERSIONS[version].to_owned(),
            one_box: Vec::new(),
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        })
    }

    /// What is done to a deployment.
    fn act(at: Timestamp, deployment: String, what: usize) -> DeploymentEvent {
        let step = |outcome| Step {
            at,
            deployment: deployment.clone(),
            step: "t".to_owned(),
            outcome,
        };
        match what {
            0 => DeploymentEvent::Step(step(StepOutcome::Passed)),
            1 => DeploymentEvent::Step(step(StepOutcome::Failed)),
            2 => DeploymentEvent::End(End { at, deployment }),
            _ => DeploymentEvent::Bypass(Bypass {
                at,
                deployment,
                by: "ana".to_owned(),
                reason: "why".to_owned(),
                ticket: "OPS-1".to_owned(),
            }),
        }
    }

    fn engine() -> Engine {
        let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
        Engine::new(Arc::new(plan))
    }

    /// That nothing is missed, whoever asks for whatever.
    fn check(engine: &mut Engine, now: Timestamp) {
        let plan = Arc::clone(engine.plan());
        let (shop, conditions) = (&plan.services["shop"], Conditions::default());
        let ids: Vec<String> = engine.gates.keys().cloned().collect();
        for version in VERSIONS {
            let relevant = engine.pipelines.relevant(&engine.gates, "shop", version);
            let all = History::new(shop, engine.gates.values().map(Gate::attempt));
            let some = history(shop, &engine.gates, &relevant);
            for (stage, region) in PLACES {
                let start = |asker| Start {
                    version,
                    stage: shop
                        .stages
                        .iter()
                        .find(|known| known.name == stage)
                        .unwrap(),
                    region,
                    asker,
                    now,
                };
                let gates = ids.iter().map(|deployment| Asker::Gate { deployment });
                let deployers =
                    [true, false].map(|accepts_bypass| Asker::Deployer { accepts_bypass });
                for start in gates.chain(deployers).map(start) {
                    assert_eq!(
                        some.blockers(&start, &conditions),
                        all.blockers(&start, &conditions),
                        "{start:?}"
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_left_out_never_matters(
            events in vec((any::<bool>(), 0..6_usize, 0..3_usize, 0..4_usize, any::<prop::sample::Index>()), 1..30)
        ) {
            let mut engine = engine();
            for (number, (begins, place, version, what, which)) in events.into_iter().enumerate() {
                let at = minute(number);
                let event = if begins || number == 0 {
                    begin(at, format!("d{number}"), place, version)
                } else {
                    act(at, format!("d{}", which.index(number)), what)
                };
                engine.step(Input::Deployment(event), &mut Vec::new());
                check(&mut engine, at);
            }
        }
    }

    #[test]
    fn what_is_looked_at_does_not_grow_with_what_ever_was() {
        let mut engine = engine();
        let looked_at = |engine: &mut Engine| {
            let undecided = engine.pipelines.undecided(&engine.gates).len();
            let relevant = engine.pipelines.relevant(&engine.gates, "shop", "latest");
            (undecided, relevant.deployments.len())
        };
        for number in 0..3_000 {
            let (at, id) = (minute(number), format!("d{number}"));
            // One version under one name, again and again: what passes, fails, is ended or overridden.
            let event = begin(at, id.clone(), number % PLACES.len(), 2);
            engine.step(Input::Deployment(event), &mut Vec::new());
            let event = act(at, id.clone(), number % 4);
            engine.step(Input::Deployment(event), &mut Vec::new());
            engine.step(Input::Deployment(act(at, id, 2)), &mut Vec::new());
        }
        let (undecided, deployments) = looked_at(&mut engine);
        assert_eq!(undecided, 0);
        assert!(deployments <= 2 * PLACES.len(), "{deployments}");
        let event = begin(minute(3_000), "last".to_owned(), 1, 2);
        engine.step(Input::Deployment(event), &mut Vec::new());
        assert_eq!(looked_at(&mut engine), (1, deployments + 1));
        // The same after a restart, which makes the index anew.
        engine.pipelines = Pipelines::of(&engine.plan, &engine.gates);
        assert_eq!(looked_at(&mut engine), (1, deployments + 1));
    }
}
