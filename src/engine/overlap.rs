//! Deployments that are open on the same hosts: each says so, for what a host shows may be of either.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Engine, roles::Roles};
use crate::{
    event::{Begin, Timestamp},
    gate::{Beside, Gate},
};

/// Most deployments that are told of one host, so that what it costs does not grow with their square.
const OF_HOST_MAX: usize = 4;

impl Engine {
    /// Tells every gate that is open which other deployments are open on its hosts.
    pub(super) fn look_beside(&mut self) {
        let mut told = self.beside(self.gates.values());
        for (id, gate) in &mut self.gates {
            let beside = told.remove(id).unwrap_or_default();
            if gate.beside() != beside {
                gate.stand_beside(beside);
            }
        }
    }

    /// Which other deployments are open on the hosts of one that is opened now.
    pub(super) fn beside_new(&self, new: &Gate) -> Vec<Beside> {
        let mut told = self.beside(self.gates.values().chain([new]));
        told.remove(&new.begin.deployment).unwrap_or_default()
    }

    /// By deployment, which others are open on its hosts; without those that are alone there.
    fn beside<'a>(&self, gates: impl Iterator<Item = &'a Gate>) -> BTreeMap<String, Vec<Beside>> {
        let mut by_service: BTreeMap<&str, Vec<&Gate>> = BTreeMap::new();
        for gate in gates.filter(|gate| gate.is_open()) {
            by_service
                .entry(&gate.begin.service)
                .or_default()
                .push(gate);
        }
        let mut told = BTreeMap::new();
        for open in by_service.into_values().filter(|open| 1 < open.len()) {
            self.beside_in_service(&open, &mut told);
        }
        told
    }

    fn beside_in_service(&self, open: &[&Gate], told: &mut BTreeMap<String, Vec<Beside>>) {
        let hosts: Vec<BTreeSet<Arc<str>>> = open
            .iter()
            .map(|gate| self.judged_hosts(&gate.begin, gate.grace_until()))
            .collect();
        let mut by_host: BTreeMap<&Arc<str>, Vec<usize>> = BTreeMap::new();
        for (index, hosts) in hosts.iter().enumerate() {
            for host in hosts {
                let on_host = by_host.entry(host).or_default();
                if on_host.len() < OF_HOST_MAX {
                    on_host.push(index);
                }
            }
        }
        for (index, (gate, hosts)) in open.iter().zip(&hosts).enumerate() {
            let mut shared: BTreeMap<usize, Vec<String>> = BTreeMap::new();
            for host in hosts {
                let others = by_host[host].iter().filter(|other| **other != index);
                for other in others {
                    shared.entry(*other).or_default().push(host.to_string());
                }
            }
            let beside: Vec<Beside> = shared
                .into_iter()
                .map(|(other, hosts)| Beside {
                    deployment: open[other].begin.deployment.clone(),
                    version: open[other].begin.version.clone(),
                    hosts,
                })
                .collect();
            if !beside.is_empty() {
                told.insert(gate.begin.deployment.clone(), beside);
            }
        }
    }

    /// The hosts that a deployment is judged by: those that it names, else those that are found.
    fn judged_hosts(&self, begin: &Begin, grace_until: Timestamp) -> BTreeSet<Arc<str>> {
        if !begin.one_box.is_empty() {
            return self.named_hosts(begin);
        }
        let services = &self.world.directory.services;
        let Some(service) = services
            .iter()
            .find(|service| service.plan.name == begin.service)
        else {
            return BTreeSet::new();
        };
        let roles = Roles::find(service, begin, grace_until);
        let names = roles.one_box.iter();
        names.map(|host| service.hosts.name(*host).into()).collect()
    }

    /// The hosts that a deployment names, of several of one name those that may be in its region.
    fn named_hosts(&self, begin: &Begin) -> BTreeSet<Arc<str>> {
        let mut services = self.world.directory.services.iter();
        let service = services.find(|service| service.plan.name == begin.service);
        let shown = |name: &String| {
            let hosts = service.into_iter().flat_map(|service| {
                let called = service.called_in(name, begin.region.as_deref());
                called.map(|host| Arc::<str>::from(service.hosts.name(host)))
            });
            let hosts: Vec<Arc<str>> = hosts.collect();
            if hosts.is_empty() {
                vec![Arc::from(name.as_str())]
            } else {
                hosts
            }
        };
        begin.one_box.iter().flat_map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{
            Input, Output,
            test_support::{at, beginning, plan},
        },
        event::{DeploymentEvent, End, Span, Step, StepOutcome},
        gate::VerdictState,
    };

    const PLAN: &str = "
lateness: 0s
checks: {}
services:
  web: {stages: [{name: onebox, steps: [tests]}]}
  shop: {stages: [{name: onebox, steps: [tests]}]}
";

    struct Rig {
        engine: Engine,
        now: Timestamp,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                engine: Engine::new(plan(PLAN)),
                now: at(0),
            }
        }

        fn tell(&mut self, event: DeploymentEvent) {
            let mut outputs = Vec::new();
            self.engine.step(Input::Deployment(event), &mut outputs);
            let is_refused = |output: &Output| matches!(output, Output::Refused(_));
            assert!(!outputs.iter().any(is_refused), "{outputs:?}");
        }

        fn begin(&mut self, service: &str, id: &str, one_box: &[&str]) {
            self.tell(DeploymentEvent::Begin(Begin {
                service: service.to_owned(),
                version: format!("v-{id}"),
                ..beginning(id, self.now, one_box)
            }));
        }

        fn pass(&mut self, seconds: i64) {
            self.now += Span::from_seconds(seconds);
            self.engine.step(Input::Tick(self.now), &mut Vec::new());
        }

        fn last_reason(&self, id: &str) -> String {
            let verdict = self.engine.verdict(id).unwrap();
            verdict.reasons.last().unwrap().clone()
        }
    }

    #[test]
    fn deployments_that_are_open_on_the_same_hosts_say_so() {
        let mut rig = Rig::new();
        rig.pass(10);
        rig.begin("web", "d1", &["h3", "h7"]);
        rig.begin("web", "d2", &["h7", "h8"]);
        rig.begin("web", "d3", &["h9"]);
        rig.begin("shop", "d4", &["h7"]);
        assert_eq!(
            rig.last_reason("d2"),
            "also under deployment d1 (v-d1): h7; what it shows may be of either"
        );
        // The earlier one hears of it with the next bucket.
        rig.pass(10);
        assert_eq!(
            rig.last_reason("d1"),
            "also under deployment d2 (v-d2): h7; what it shows may be of either"
        );
        for alone in ["d3", "d4"] {
            let reason = rig.last_reason(alone);
            assert!(!reason.contains("also under"), "{reason}");
        }
        // It is said by whatever is decided, and changes no state.
        rig.tell(DeploymentEvent::Step(Step {
            at: rig.now,
            deployment: "d1".to_owned(),
            step: "tests".to_owned(),
            outcome: StepOutcome::Passed,
        }));
        let verdict = rig.engine.verdict("d1").unwrap();
        assert_eq!(verdict.verdict, VerdictState::Pass);
        assert_eq!(
            verdict.reasons,
            [
                "steps passed: tests",
                "also under deployment d2 (v-d2): h7; what it shows may be of either"
            ]
        );
        // A deployment that is decided is not under way on them any more.
        rig.pass(10);
        let reason = rig.last_reason("d2");
        assert!(!reason.contains("also under"), "{reason}");
    }

    #[test]
    fn a_deployment_that_has_ended_is_told_no_more() {
        let mut rig = Rig::new();
        rig.pass(10);
        rig.begin("web", "d1", &["h3"]);
        rig.begin("web", "d2", &["h3"]);
        rig.tell(DeploymentEvent::End(End {
            at: rig.now,
            deployment: "d1".to_owned(),
        }));
        rig.pass(10);
        let reason = rig.last_reason("d2");
        assert!(!reason.contains("also under"), "{reason}");
    }
}
