//! Versions that are new on some hosts of a stage: a deployment that nobody told of.
//!
//! Such a deployment begins in the bucket in which its version is first seen. It ends by itself: when
//! another deployment has begun at its place; when its version was not on any host there for half an hour
//! while others were; or when it has passed or was bypassed, and its bake is over. A FAIL stays open as
//! long as the version is there. A version that comes back after it was gone is a new deployment.

#[cfg(test)]
#[path = "sightings_tests.rs"]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Engine, Output, service::Service};
use crate::{
    event::{Begin, DeploymentEvent, End, Interval, Span, Timestamp, is_invisible},
    gate::{Gate, Place, VerdictState},
    plan::{Plan, ServicePlan, StagePlan},
};

/// How long after the first version label what is seen is what was there before: hosts are scraped at
/// their own times.
const BASELINE: Span = Span::from_minutes(5);
/// How long a version is on no host, while others are, until it is gone.
const GONE: Span = Span::from_minutes(30);
/// How often it is told that a gate cannot be opened.
const REFUSED_EVERY: Span = Span::from_minutes(5);

/// The versions that were seen, by place, where a new one opens a gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SeenVersions(BTreeMap<Place, Known>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    /// When the first was seen.
    since: Timestamp,
    versions: BTreeSet<String>,
}

impl Service {
    /// Looks for versions that are not known yet in the bucket that has just been spread. Those that were
    /// there before are known from now on; the others are found until somebody [`Service::knows`] them.
    pub(super) fn sight(&mut self, bucket: Interval) -> Vec<(Place, String)> {
        let mut found = Vec::new();
        for index in 0..self.plan.stages.len() {
            if !self.plan.stages[index].policies.open_on_new_version {
                continue;
            }
            let regions: Vec<Option<String>> = self.plan.stages[index]
                .places()
                .map(Option::<&String>::cloned)
                .collect();
            for region in regions {
                let place = Place {
                    stage: self.plan.stages[index].name.clone(),
                    region,
                };
                let seen: BTreeSet<String> = self.shown(index, &place, bucket);
                if seen.is_empty() {
                    continue;
                }
                let known = self.sightings.0.entry(place.clone()).or_insert(Known {
                    since: bucket.start,
                    versions: BTreeSet::new(),
                });
                let is_baseline = bucket.end <= known.since + BASELINE;
                for version in seen {
                    if is_baseline {
                        known.versions.insert(version);
                    } else if !known.versions.contains(&version) {
                        found.push((place.clone(), version));
                    }
                }
            }
        }
        found
    }

    /// Takes a version at a place for known, or for unknown again.
    pub(super) fn knows(&mut self, place: &Place, version: &str, is_known: bool) {
        let Some(known) = self.sightings.0.get_mut(place) else {
            return;
        };
        if is_known {
            known.versions.insert(version.to_owned());
        } else {
            known.versions.remove(version);
        }
    }

    /// Whether a version is on no host of a place any more, while others are.
    pub(super) fn is_gone(&self, place: &Place, version: &str, now: Timestamp) -> bool {
        let stages = self.plan.stages.iter();
        let Some(index) = stages.clone().position(|stage| stage.name == place.stage) else {
            return true;
        };
        let (mut last, mut last_of_any) = (Timestamp::MIN, Timestamp::MIN);
        for facts in self.there(index, place) {
            for (shown, at) in &facts.versions {
                last_of_any = last_of_any.max(*at);
                if **shown == *version {
                    last = last.max(*at);
                }
            }
        }
        last + GONE <= now && now < last_of_any + GONE
    }

    /// The versions that hosts of a place run in a bucket.
    fn shown(&self, stage: usize, place: &Place, bucket: Interval) -> BTreeSet<String> {
        self.there(stage, place)
            .filter_map(|facts| {
                let version = facts.version()?;
                let last = facts.versions.get(version)?;
                (*last == bucket.end).then(|| version.to_owned())
            })
            .collect()
    }

    /// What is known of the hosts of a place. One that tells no region is in the only one there is.
    fn there(
        &self,
        stage: usize,
        place: &Place,
    ) -> impl Iterator<Item = &super::service::HostFacts> {
        let StagePlan { regions, .. } = &self.plan.stages[stage];
        let is_only = regions.len() == 1;
        let region = place.region.clone();
        self.facts.iter().filter(move |facts| {
            let is_there = |asked: &String| {
                let told = facts.region.as_deref();
                told.map_or(is_only, |told| told == asked)
            };
            facts.stages[stage] && region.as_ref().is_none_or(is_there)
        })
    }
}

impl Engine {
    /// Opens a gate for each new version, unless a deployer has told of it. A version for which there is
    /// no room is looked at again.
    pub(super) fn open_sighted(&mut self, bucket: Interval, outputs: &mut Vec<Output>) {
        for (service, place, version) in self.world.directory.sight(bucket) {
            let mut there = self.pipelines.at(&service, &version, &place).into_iter();
            let is_told = there.any(|id| {
                let gate = self.gates.get(id);
                gate.is_some_and(|gate| !gate.is_ended() || !is_sighted(&gate.begin))
            });
            let is_full = self.open_gates() >= self.plan.limits.open_gates;
            let is_time = bucket.start.floor(REFUSED_EVERY) != bucket.end.floor(REFUSED_EVERY);
            if !is_told && (!is_full || is_time) {
                let deployment = self.free_id(&service, &place, &version);
                let begin = Begin {
                    at: bucket.end,
                    deployment: deployment.clone(),
                    service: service.clone(),
                    stage: place.stage.clone(),
                    region: place.region.clone(),
                    version: version.clone(),
                    one_box: Vec::new(),
                    fleet: Vec::new(),
                    weight: 1.0,
                    hotfix: None,
                };
                self.deployment(DeploymentEvent::Begin(begin), outputs);
                if self.gates.contains_key(&deployment) {
                    self.sighted.insert(deployment);
                }
            }
            if is_told || !is_full {
                self.world.directory.knows(&service, &place, &version, true);
            }
        }
    }

    /// Ends the deployments that nobody told of and that are over.
    pub(super) fn end_sighted(&mut self, bucket: Interval, outputs: &mut Vec<Output>) {
        let now = bucket.end;
        let mut gone = Vec::new();
        for id in &self.sighted {
            let Some(gate) = self.gates.get_mut(id) else {
                gone.push(id.clone());
                continue;
            };
            let Begin {
                service, version, ..
            } = &gate.begin;
            let place = Place {
                stage: gate.begin.stage.clone(),
                region: gate.begin.region.clone(),
            };
            let is_gone = self.world.directory.is_gone(service, &place, version, now);
            let newest = self.pipelines.newest(service, &place);
            let is_superseded = newest.is_some_and(|newest| gate.begin.at < newest);
            let is_over = gate.bake_until() <= now
                && match gate.state() {
                    VerdictState::Pass | VerdictState::Bypassed => true,
                    VerdictState::Pending | VerdictState::NoData | VerdictState::Fail => false,
                };
            if is_gone {
                // What comes back is a new deployment.
                self.world.directory.knows(service, &place, version, false);
                gone.push(id.clone());
            }
            if (is_gone || is_superseded || is_over) && !gate.is_ended() {
                gate.end(now);
                outputs.push(Output::Ended(Box::new(End {
                    at: now,
                    deployment: id.clone(),
                })));
            }
        }
        for id in gone {
            self.sighted.remove(&id);
        }
    }

    /// The id of a deployment that nobody told of: the same in every run.
    fn free_id(&self, service: &str, place: &Place, version: &str) -> String {
        let ids = (1_u32..).map(|time| sighted_id(service, place, version, time));
        let mut free = ids.filter(|id| !self.gates.contains_key(id));
        free.next().expect("there are more numbers than gates")
    }
}

/// The ids of the deployments that nobody told of, open and ended.
pub(super) fn sighted(gates: &BTreeMap<String, Gate>) -> BTreeSet<String> {
    let sighted = gates.iter().filter(|(_, gate)| is_sighted(&gate.begin));
    sighted.map(|(id, _)| id.clone()).collect()
}

/// Whether an id is one that the engine gives to a deployment of which nobody told, of any version.
pub fn is_sighted_id(plan: &Plan, id: &str) -> bool {
    let mut parts = id.splitn(4, ':');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(service), Some(stage), Some(_), Some(_)] = parts else {
        return false;
    };
    let of_service = |known: &&ServicePlan| plain(&known.name) == service;
    let stages = plan.services.values().filter(of_service);
    stages
        .flat_map(|service| &service.stages)
        .any(|known| plain(&known.name) == stage)
}

/// `<service>:<stage>:<region>:<version>`, the region empty where there is none, and from the second time
/// on with `~2` and so on behind it. In all but the version, which is the rest, `:`, `~` and `%` are
/// percent-encoded: two deployments never have one id. In the version, which any host may tell, only what
/// would garble a log is: what then looks the same is told apart by the number.
fn sighted_id(service: &str, place: &Place, version: &str, time: u32) -> String {
    let region = place.region.as_deref().unwrap_or_default();
    let again = match time {
        0 | 1 => String::new(),
        time => format!("~{time}"),
    };
    let [service, stage, region] = [service, &place.stage, region].map(plain);
    format!("{service}:{stage}:{region}{again}:{}", visible(version))
}

fn visible(version: &str) -> String {
    let mut text = String::with_capacity(version.len());
    for letter in version.chars() {
        if is_invisible(letter) {
            let mut bytes = [0; 4];
            let bytes = letter.encode_utf8(&mut bytes).bytes();
            text.extend(bytes.map(|byte| format!("%{byte:02X}")));
        } else {
            text.push(letter);
        }
    }
    text
}

fn plain(name: &str) -> String {
    let name = name.replace('%', "%25");
    name.replace(':', "%3A").replace('~', "%7E")
}

/// Whether nobody told of a deployment: its id is one that only the engine gives.
fn is_sighted(begin: &Begin) -> bool {
    let place = Place {
        stage: begin.stage.clone(),
        region: begin.region.clone(),
    };
    let first = sighted_id(&begin.service, &place, "", 1);
    let version = visible(&begin.version);
    let rest = begin.deployment.strip_suffix(version.as_str());
    let start = first.strip_suffix(':').unwrap_or(&first);
    let again = rest
        .and_then(|rest| rest.strip_suffix(':'))
        .and_then(|rest| rest.strip_prefix(start));
    again.is_some_and(|again| {
        let time = again.strip_prefix('~').map(str::parse::<u32>);
        again.is_empty() || matches!(time, Some(Ok(2..)))
    })
}
