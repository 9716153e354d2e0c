//! Which hosts a deployment judges, and which it compares them with.

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;

use std::sync::Arc;

use super::{HOST_MEMORY, service::Service};
use crate::{
    detect::{HostId, Panel},
    event::{Begin, Span, Timestamp},
    plan::{Check, DetectorPlan, StagePlan},
};

/// The hosts of one deployment in their roles, each ascending by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    /// The hosts that are judged.
    pub(super) one_box: Vec<HostId>,
    /// The hosts that they are compared with.
    pub(super) fleet: Vec<HostId>,
    /// Which hosts were named for the one-box and are known to be elsewhere: they are not judged, and
    /// without them nothing is proven.
    pub(super) one_box_elsewhere: Option<String>,
    /// The same of the fleet, if none of it is left.
    pub(super) fleet_elsewhere: Option<String>,
    /// Where all hosts of the stage are judged, those that were there when the deployment began and not after
    /// its grace, with the end of their last data; none where others have come.
    gone: Vec<(Arc<str>, Timestamp)>,
}

/// For how long a host may still be heard when another of its name is what it was.
const FORMER_OVERLAP: Span = Span::from_minutes(2);

/// Most hosts that a phrase names.
const HOSTS_NAMED_MAX: usize = 3;

impl Roles {
    /// Finds the roles as of now.
    ///
    /// The one-box is what the deployer named; else the hosts whose version label is the new version and that were
    /// heard since shortly before the start; else, where no version label tells, every host of the stage that was
    /// heard since the grace ended (hosts that a rolling update replaces are silent by then) and that is not named as
    /// fleet. The fleet is what the deployer named; else every other host of the service in the region that was heard
    /// since shortly before the start. What the deployer named is left out where its labels tell that it is in another
    /// region or, for the one-box, of another stage.
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
        let everyone_there = service.everyone().filter(|host| in_region(*host));
        let scope: Vec<HostId> = everyone_there.collect();
        let version = |host: HostId| service.facts[host.0 as usize].version();

        let since = begin.at - HOST_MEMORY;
        let mut everyone = false;
        let mut roles = Self::default();
        // By host: whether it is one that is judged, or was to be.
        let mut is_one_box = vec![false; service.facts.len()];
        if !begin.one_box.is_empty() {
            let stage = stage.map(|stage| (stage, &service.plan.stages[stage]));
            let mut named = Named::of(service, &begin.one_box);
            for host in &named.hosts {
                is_one_box[host.0 as usize] = true;
            }
            let elsewhere = named.leave_out(service, begin.region.as_deref(), stage);
            roles.one_box_elsewhere = elsewhere.or_else(|| named.leave_out_several(service));
            roles.one_box = named.hosts;
        } else if scope.iter().any(|host| version(*host).is_some()) {
            // Hosts that ran the version in an earlier deployment, and are gone since, are not meant.
            let is_new = |host: &HostId| {
                version(*host) == Some(begin.version.as_str()) && heard_since(*host, since)
            };
            let scope = scope.iter().copied();
            let is_meant = |host: &HostId| in_stage(*host) && is_new(host);
            roles.one_box = scope.filter(is_meant).collect();
        } else {
            everyone = true;
            let there = scope.iter().copied().filter(|host| in_stage(*host));
            let there = others_than(service, &begin.fleet, there.collect());
            let heard = |host: &HostId| heard_since(*host, grace_until);
            roles.one_box = there.iter().copied().filter(heard).collect();
            let there = there.into_iter();
            roles.gone = gone(service, there, begin.at, grace_until);
        }
        for host in &roles.one_box {
            is_one_box[host.0 as usize] = true;
        }
        if !begin.fleet.is_empty() {
            // A one-box that is marked as such is compared with hosts of other stages.
            let mut named = Named::of(service, &begin.fleet);
            let left_out = named.leave_out(service, begin.region.as_deref(), None);
            roles.fleet_elsewhere = left_out.filter(|_| named.hosts.is_empty());
            roles.fleet = named.hosts;
        } else if !everyone {
            let is_other = |host: &HostId| {
                heard_since(*host, since) && !is_of_one_box(service, *host, &is_one_box)
            };
            roles.fleet = scope.into_iter().filter(is_other).collect();
        }
        roles
    }

    /// Why a check of the deployment cannot prove anything: whom it would judge, or compare with, is known
    /// to be elsewhere, or gone where it asks whether anything is absent.
    pub(super) fn unfit(&self, check: &Check, now: Timestamp) -> Option<String> {
        if let Some(elsewhere) = &self.one_box_elsewhere {
            return Some(elsewhere.clone());
        }
        if let DetectorPlan::Absent { after } = check.detector {
            let gone = self.gone.iter().filter(|(_, last)| *last + after <= now);
            let named = gone.clone().take(HOSTS_NAMED_MAX);
            let phrases = named.map(|(name, last)| format!("{name} is silent since {last}"));
            return in_brief(phrases.collect(), gone.count());
        }
        let elsewhere = self.fleet_elsewhere.as_ref()?;
        let compares = matches!(check.detector, DetectorPlan::Compare { .. });
        compares.then(|| format!("no fleet is left to compare with: {elsewhere}"))
    }

    /// Why a check of the deployment cannot prove anything: something of a host that it judges may be of another
    /// host of that name.
    pub(super) fn unclear(
        &self,
        service: &Service,
        panel: &Panel,
        began_at: Timestamp,
    ) -> Option<String> {
        let mut phrases = Vec::new();
        let mut count = 0;
        for host in &self.one_box {
            let name = &service.hosts.get(*host).name;
            let is_shared = service.facts[host.0 as usize].has_namesakes;
            if !is_shared || !panel.is_unclear_since(name, began_at) {
                continue;
            }
            count += 1;
            if phrases.len() < HOSTS_NAMED_MAX {
                phrases.push(format!(
                    "{}, and some of what the check selects does not tell of which",
                    are_several(service, service.called(name))
                ));
            }
        }
        in_brief(phrases, count)
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
        let hosts = service.everyone();
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
        let mut is_one_box = vec![false; service.facts.len()];
        for host in &self.one_box {
            is_one_box[host.0 as usize] = true;
        }
        let is_other = |host: &HostId| !is_one_box[host.0 as usize];
        Some(hosts.filter(|host| is_of(host) && is_other(host)).collect())
    }
}

/// Whether a host is one of the one-box, or what one of it was before: one of its name, that fell silent when
/// that came. A host whose labels put it into another stage is another one from then on.
fn is_of_one_box(service: &Service, host: HostId, is_one_box: &[bool]) -> bool {
    let facts = &service.facts[host.0 as usize];
    if is_one_box[host.0 as usize] || !facts.has_namesakes {
        return is_one_box[host.0 as usize];
    }
    let namesakes = service.called(&service.hosts.get(host).name).iter();
    let mut latter = namesakes.filter(|other| is_one_box[other.0 as usize]);
    latter.any(|other| {
        let first = service.facts[other.0 as usize].first_data;
        let both = first.zip(facts.last_data);
        both.is_some_and(|(first, last)| last <= first + FORMER_OVERLAP)
    })
}

/// That hosts of one name are several, and where they are.
fn are_several(service: &Service, hosts: &[HostId]) -> String {
    let name = hosts
        .first()
        .map_or("", |host| &service.hosts.get(*host).name);
    format!(
        "{name} is {} hosts ({})",
        hosts.len(),
        service.places_of(hosts)
    )
}

/// Hosts that were there when a deployment began, but not after its grace, with the end of their last data.
/// Where any have come since the beginning, those that went were replaced: so it is wherever pods run.
fn gone(
    service: &Service,
    hosts: impl Iterator<Item = HostId>,
    began_at: Timestamp,
    grace_until: Timestamp,
) -> Vec<(Arc<str>, Timestamp)> {
    let mut gone = Vec::new();
    for host in hosts {
        let facts = &service.facts[host.0 as usize];
        let Some((first, last)) = facts.first_data.zip(facts.last_data) else {
            continue;
        };
        if began_at <= first {
            return Vec::new();
        }
        if began_at < last && last <= grace_until {
            gone.push((Arc::from(service.hosts.name(host)), last));
        }
    }
    gone
}

/// Those that are not named as fleet: a deployment does not mean them, unless there is nobody else.
fn others_than(service: &Service, fleet: &[String], there: Vec<HostId>) -> Vec<HostId> {
    let mut is_fleet = vec![false; service.facts.len()];
    for host in Named::of(service, fleet).hosts {
        is_fleet[host.0 as usize] = true;
    }
    let others = there.iter().copied();
    let others: Vec<HostId> = others.filter(|host| !is_fleet[host.0 as usize]).collect();
    if others.is_empty() { there } else { others }
}

/// The first of so many phrases about a host each, and how many more there are.
fn in_brief(mut phrases: Vec<String>, count: usize) -> Option<String> {
    let more = count.saturating_sub(phrases.len());
    if 0 < more {
        phrases.push(format!("and {more} more hosts"));
    }
    (!phrases.is_empty()).then(|| phrases.join("; "))
}

/// Hosts that a deployer named, ascending by name; those that are not known are left out.
struct Named {
    hosts: Vec<HostId>,
}

impl Named {
    fn of(service: &Service, names: &[String]) -> Self {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let hosts = names.into_iter().flat_map(|name| service.called(name));
        Self {
            hosts: hosts.copied().collect(),
        }
    }

    /// Leaves out those of which several of one name are left: whoever names it means one of them. Says which
    /// these are.
    fn leave_out_several(&mut self, service: &Service) -> Option<String> {
        let mut phrases = Vec::new();
        let mut count = 0;
        let mut kept = Vec::with_capacity(self.hosts.len());
        let name = |host: &HostId| &service.hosts.get(*host).name;
        for called in self.hosts.chunk_by(|a, b| name(a) == name(b)) {
            if let [host] = called {
                kept.push(*host);
                continue;
            }
            count += 1;
            if phrases.len() < HOSTS_NAMED_MAX {
                phrases.push(format!(
                    "{}, and the deployment does not tell which",
                    are_several(service, called)
                ));
            }
        }
        self.hosts = kept;
        in_brief(phrases, count)
    }

    /// Leaves out those whose labels tell that they are in another region, or of another stage. Says which,
    /// and where they are.
    fn leave_out(
        &mut self,
        service: &Service,
        region: Option<&str>,
        stage: Option<(usize, &StagePlan)>,
    ) -> Option<String> {
        let why = |host: &HostId| {
            let facts = &service.facts[host.0 as usize];
            let name = &service.hosts.get(*host).name;
            let in_another = || {
                let region = region?;
                let told = facts.told.elsewhere(region)?;
                Some(format!("{name} is in {told}, not in {region}"))
            };
            let of_another = || {
                let (_, stage) = stage.filter(|(index, _)| !facts.stages[*index])?;
                let told = facts.told.of_another_stage(stage)?;
                Some(format!("{name} is not of the stage: {told}"))
            };
            in_another().or_else(of_another)
        };
        let mut phrases = Vec::new();
        let mut left_out = 0_usize;
        let mut kept = Vec::with_capacity(self.hosts.len());
        let name = |host: &HostId| &service.hosts.get(*host).name;
        for called in self.hosts.chunk_by(|a, b| name(a) == name(b)) {
            let before = kept.len();
            kept.extend(called.iter().filter(|host| why(host).is_none()));
            // Who names a host means the one that is there.
            if before < kept.len() {
                continue;
            }
            left_out += called.len();
            let room = HOSTS_NAMED_MAX - phrases.len().min(HOSTS_NAMED_MAX);
            phrases.extend(called.iter().filter_map(why).take(room));
        }
        self.hosts = kept;
        in_brief(phrases, left_out)
    }
}
