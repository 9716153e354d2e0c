//! Which hosts a deployment judges, and which it compares them with.

use super::{HOST_MEMORY, service::Service};
use crate::{
    detect::HostId,
    event::{Begin, Timestamp},
    plan::{Check, DetectorPlan},
};

/// The hosts of one deployment in their roles, each ascending by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    /// The hosts that are judged.
    pub(super) one_box: Vec<HostId>,
    /// The hosts that they are compared with.
    pub(super) fleet: Vec<HostId>,
}

impl Roles {
    /// Finds the roles as of now.
    ///
    /// The one-box is what the deployer named; else the hosts whose version label is the new
    /// version and that were heard since shortly before the start; else, where no version label tells, every host of the stage that was heard since
    /// the grace ended (hosts that a rolling update replaces are silent by then). The fleet is what
    /// the deployer named; else every other host of the service in the region that was heard since
    /// shortly before the start.
    pub(super) fn find(service: &Service, begin: &Begin, grace_until: Timestamp) -> Self {
        let stage = service
            .plan
            .stages
            .iter()
            .position(|stage| stage.name == begin.stage);
        let in_region = |host: HostId| {
            let facts = &service.facts[host.0 as usize];
            match (&begin.region, &facts.region) {
                (Some(asked), Some(told)) => **told == **asked,
                (None, _) | (_, None) => true,
            }
        };
        let in_stage =
            |host: HostId| stage.is_some_and(|stage| service.facts[host.0 as usize].stages[stage]);
        let heard_since = |host: HostId, at: Timestamp| {
            service.facts[host.0 as usize]
                .last_data
                .is_some_and(|last| at < last)
        };
        let scope: Vec<HostId> = service
            .by_name
            .values()
            .copied()
            .filter(|host| in_region(*host))
            .collect();
        let version = |host: HostId| service.facts[host.0 as usize].version();

        let named = |names: &[String]| {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            names
                .into_iter()
                .filter_map(|name| service.by_name.get(name).copied())
                .collect()
        };
        let since = begin.at - HOST_MEMORY;
        let mut everyone = false;
        let one_box: Vec<HostId> = if !begin.one_box.is_empty() {
            named(&begin.one_box)
        } else if scope.iter().any(|host| version(*host).is_some()) {
            // Hosts that ran the version in an earlier deployment, and are gone since, are not meant.
            let is_new = |host: &HostId| {
                version(*host) == Some(begin.version.as_str()) && heard_since(*host, since)
            };
            scope
                .iter()
                .copied()
                .filter(|host| in_stage(*host) && is_new(host))
                .collect()
        } else {
            everyone = true;
            let heard = |host: &HostId| in_stage(*host) && heard_since(*host, grace_until);
            scope.iter().copied().filter(heard).collect()
        };
        let fleet = if !begin.fleet.is_empty() {
            named(&begin.fleet)
        } else if everyone {
            Vec::new()
        } else {
            scope
                .into_iter()
                .filter(|host| !one_box.contains(host) && heard_since(*host, since))
                .collect()
        };
        Self { one_box, fleet }
    }

    /// The hosts that the check compares with, where it is not the fleet: `load` means the hosts of
    /// another stage. Where that has regions, a host that is known to be elsewhere is none of them:
    /// nothing else may tell the stages of a pipeline apart.
    pub(super) fn reference(&self, service: &Service, check: &Check) -> Option<Vec<HostId>> {
        let DetectorPlan::Load { of, .. } = &check.detector else {
            return None;
        };
        let stage = service
            .plan
            .stages
            .iter()
            .position(|stage| stage.name == *of)?;
        let hosts = service.by_name.values().copied();
        let regions = &service.plan.stages[stage].regions;
        let is_of = |host: &HostId| {
            let facts = &service.facts[host.0 as usize];
            let is_there = |region: &str| regions.iter().any(|known| known == region);
            let is_elsewhere = facts
                .region
                .as_deref()
                .is_some_and(|region| !is_there(region));
            facts.stages[stage] && (regions.is_empty() || !is_elsewhere)
        };
        Some(
            hosts
                .filter(|host| is_of(host) && !self.one_box.contains(host))
                .collect(),
        )
    }
}
