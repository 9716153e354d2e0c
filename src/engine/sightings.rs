//! Versions that are new on some hosts of a stage: a deployment that nobody told of.
//!
//! Such a deployment begins in the bucket in which its version is first seen. It ends by itself: when
//! another deployment has begun at its place; when its version was not on any host there for half an hour
//! while others were; or when it has passed or was bypassed, and its bake is over. A FAIL stays open as
//! long as the version is there. A version that comes back after it was gone is a new deployment, whoever told
//! of it before, and also if it was there from the start.

#[cfg(test)]
#[path = "sightings_tests.rs"]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Directory, Engine, Output,
    service::{HostFacts, Ran, Service},
};
use crate::{
    event::{Begin, DeploymentEvent, End, Interval, Span, Timestamp, is_invisible},
    gate::{Gate, Place, VerdictState},
    plan::{Plan, ServicePlan, StagePlan},
};

/// How long after the first version label what is seen is what was there before: hosts are scraped at
/// their own times.
const BASELINE: Span = Span::from_minutes(5);
/// How long a version is on no host, while others are, until it is gone.
pub(super) const GONE: Span = Span::from_minutes(30);
/// How often it is told that a gate cannot be opened.
const REFUSED_EVERY: Span = Span::from_minutes(5);
/// Of how many versions at a place it is remembered how often a deployment of them was opened; the latest.
const OPENED_MAX: usize = 1_000;

/// The versions that were seen, by place, where a new one opens a gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SeenVersions(BTreeMap<Place, Known>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    /// When the first was seen.
    since: Timestamp,
    /// When any was seen last.
    last: Timestamp,
    /// Those that are there, or were until so short a time ago that they are not gone: when they were seen
    /// last.
    versions: BTreeMap<String, Timestamp>,
    /// The deployments that were opened, by version: no two have one id.
    opened: BTreeMap<String, Opened>,
}

/// How often a deployment of a version was opened, and when the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opened {
    times: u32,
    last: Timestamp,
}

/// What is new of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is there, and not known.
    Found,
    /// It was known, and is gone: it was in no bucket that ended after this.
    Gone(Timestamp),
}

/// When versions were seen last at a place.
#[derive(Debug)]
struct Seen {
    versions: BTreeMap<Arc<str>, Timestamp>,
    any: Timestamp,
}

impl Seen {
    fn last(&self, version: &str) -> Timestamp {
        let last = self.versions.get(version).copied();
        last.unwrap_or(Timestamp::MIN)
    }

    /// Whether what was seen last at a time is gone: others are there.
    fn is_gone(&self, last: Timestamp, now: Timestamp) -> bool {
        last + GONE <= now && now < self.any + GONE
    }
}

impl Service {
    /// Looks for versions that are not known yet in the bucket that has just been spread. Those that were
    /// there before are known from now on; the others are found until somebody [`Service::knows`] them. What
    /// is gone is not known any more.
    pub(super) fn sight(&mut self, bucket: Interval) -> Vec<(Place, String, News)> {
        let mut news = Vec::new();
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
                let on_hosts = self.seen(index, &place);
                if let Some(known) = self.sightings.0.get_mut(&place) {
                    // After a silence of all, hosts come back one after the other.
                    let is_back = known.last + BASELINE <= on_hosts.any;
                    known.last = on_hosts.any.max(known.last);
                    let back = if is_back {
                        on_hosts.any
                    } else {
                        Timestamp::MIN
                    };
                    known.versions.retain(|version, last| {
                        *last = on_hosts.last(version).max(*last).max(back);
                        let is_gone = on_hosts.is_gone(*last, bucket.end);
                        if is_gone {
                            news.push((place.clone(), version.clone(), News::Gone(*last)));
                        }
                        !is_gone
                    });
                }
                let seen: BTreeSet<String> = self.shown(index, &place, bucket);
                if seen.is_empty() {
                    continue;
                }
                let known = self.sightings.0.entry(place.clone()).or_insert(Known {
                    since: bucket.start,
                    last: bucket.end,
                    versions: BTreeMap::new(),
                    opened: BTreeMap::new(),
                });
                let is_baseline = bucket.end <= known.since + BASELINE;
                for version in seen {
                    if is_baseline {
                        known.versions.insert(version, bucket.end);
                    } else if !known.versions.contains_key(&version) {
                        news.push((place.clone(), version, News::Found));
                    }
                }
            }
        }
        news
    }

    /// Takes a version that was found at a place for known.
    pub(super) fn knows(&mut self, place: &Place, version: &str, last: Timestamp) {
        if let Some(known) = self.sightings.0.get_mut(place) {
            known.versions.insert(version.to_owned(), last);
        }
    }

    /// How often a deployment of a version was opened at a place.
    pub(super) fn opened(&self, place: &Place, version: &str) -> u32 {
        let known = self.sightings.0.get(place);
        let opened = known.and_then(|known| known.opened.get(version));
        opened.map_or(0, |opened| opened.times)
    }

    /// Notes that a deployment of a version was opened at a place, for so many times now.
    pub(super) fn opens(&mut self, place: &Place, version: &str, times: u32, last: Timestamp) {
        let Some(Known { opened, .. }) = self.sightings.0.get_mut(place) else {
            return;
        };
        opened.insert(version.to_owned(), Opened { times, last });
        if OPENED_MAX < opened.len() {
            let oldest = opened
                .iter()
                .min_by_key(|(version, opened)| (opened.last, *version));
            let oldest = oldest.map(|(version, _)| version.clone());
            opened.retain(|version, _| Some(version) != oldest.as_ref());
        }
    }

    /// Whether a version is on no host of a place any more, while others are.
    pub(super) fn is_gone(&self, place: &Place, version: &str, now: Timestamp) -> bool {
        let stages = self.plan.stages.iter();
        let Some(index) = stages.clone().position(|stage| stage.name == place.stage) else {
            return true;
        };
        let on_hosts = self.seen(index, place);
        let known = self.sightings.0.get(place);
        let known = known.and_then(|known| known.versions.get(version));
        let last = on_hosts.last(version);
        on_hosts.is_gone(known.map_or(last, |known| last.max(*known)), now)
    }

    /// When each version was seen last on hosts of a place.
    fn seen(&self, stage: usize, place: &Place) -> Seen {
        let mut seen = Seen {
            versions: BTreeMap::new(),
            any: Timestamp::MIN,
        };
        for facts in self.there(stage, place) {
            for (version, Ran { last: at, .. }) in &facts.versions {
                seen.any = seen.any.max(*at);
                match seen.versions.get_mut(version) {
                    Some(last) => *last = (*last).max(*at),
                    None => {
                        seen.versions.insert(Arc::clone(version), *at);
                    }
                }
            }
        }
        seen
    }

    /// The versions that hosts of a place run in a bucket.
    fn shown(&self, stage: usize, place: &Place, bucket: Interval) -> BTreeSet<String> {
        self.there(stage, place)
            .filter_map(|facts| {
                let version = facts.version()?;
                let ran = facts.versions.get(version)?;
                (ran.last == bucket.end).then(|| version.to_owned())
            })
            .collect()
    }

    /// What is known of the hosts of a place. One that tells no region is in the only one there is.
    pub(super) fn there(&self, stage: usize, place: &Place) -> impl Iterator<Item = &HostFacts> {
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

impl Directory {
    /// What is new of versions in the bucket that has just been spread, by service and place.
    pub(super) fn sight(&mut self, bucket: Interval) -> Vec<(String, Place, String, News)> {
        let mut all = Vec::new();
        for service in &mut self.services {
            let name = service.plan.name.clone();
            let news = service.sight(bucket).into_iter();
            all.extend(news.map(|(place, version, news)| (name.clone(), place, version, news)));
        }
        all
    }

    /// Whether a version is on no host of a place any more, while others are.
    fn is_gone(&self, service: &str, place: &Place, version: &str, now: Timestamp) -> bool {
        let mut services = self.services.iter();
        let service = services.find(|entry| entry.plan.name == service);
        service.is_none_or(|service| service.is_gone(place, version, now))
    }

    fn service(&self, name: &str) -> &Service {
        let mut services = self.services.iter();
        let service = services.find(|entry| entry.plan.name == name);
        service.expect("what is sighted is of a configured service")
    }

    /// The service of something that was sighted.
    pub(super) fn service_mut(&mut self, name: &str) -> &mut Service {
        let mut services = self.services.iter_mut();
        let service = services.find(|entry| entry.plan.name == name);
        service.expect("what is sighted is of a configured service")
    }
}

impl Engine {
    /// Opens a gate for each new version, unless a deployer has told of it. A version for which there is
    /// no room is looked at again.
    pub(super) fn open_sighted(&mut self, bucket: Interval, outputs: &mut Vec<Output>) {
        for (service, place, version, news) in self.world.directory.sight(bucket) {
            match news {
                News::Found => self.find(&service, &place, &version, bucket, outputs),
                News::Gone(last) => self.leave(&service, &place, &version, last),
            }
        }
    }

    /// Notes that a version is gone from a place, where it was last at a time: what was told of it up to then
    /// does not speak for what comes back.
    fn leave(&mut self, service: &str, place: &Place, version: &str, last: Timestamp) {
        let is_there = |begin: &Begin| {
            begin.service == service
                && begin.version == version
                && begin.stage == place.stage
                && (place.region.is_none() || begin.region == place.region)
        };
        for gate in self.gates.values_mut() {
            if is_there(&gate.begin) && gate.begin.at <= last {
                gate.leave();
            }
        }
    }

    /// Opens a gate for a version that is new.
    fn find(
        &mut self,
        service: &str,
        place: &Place,
        version: &str,
        bucket: Interval,
        outputs: &mut Vec<Output>,
    ) {
        let there = self.pipelines.at(service, version, place).into_iter();
        let is_told = there.filter_map(|id| self.gates.get(id)).any(tells);
        let is_full = self.open_gates() >= self.plan.limits.open_gates;
        let is_time = bucket.start.floor(REFUSED_EVERY) != bucket.end.floor(REFUSED_EVERY);
        if !is_told && (!is_full || is_time) {
            let (deployment, times) = self.free_id(service, place, version);
            let begin = Begin {
                at: bucket.end,
                deployment: deployment.clone(),
                service: service.to_owned(),
                stage: place.stage.clone(),
                region: place.region.clone(),
                version: version.to_owned(),
                one_box: Vec::new(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            };
            self.deployment(DeploymentEvent::Begin(begin), outputs);
            if self.gates.contains_key(&deployment) {
                self.sighted.insert(deployment);
                let service = self.world.directory.service_mut(service);
                service.opens(place, version, times, bucket.end);
            }
        }
        if is_told || !is_full {
            let service = self.world.directory.service_mut(service);
            service.knows(place, version, bucket.end);
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
                gate.leave();
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

    /// The id of a deployment that nobody told of, the same in every run, with its number. One that was
    /// forgotten keeps its id: the history has it still.
    fn free_id(&self, service: &str, place: &Place, version: &str) -> (String, u32) {
        let opened = self.world.directory.service(service).opened(place, version);
        let ids = (opened + 1..).map(|time| (sighted_id(service, place, version, time), time));
        let mut free = ids.filter(|(id, _)| !self.gates.contains_key(id));
        free.next().expect("there are more numbers than gates")
    }
}

/// Whether a deployment tells of its version as long as that is there: one that is decided does not tell of
/// a version that comes back.
fn tells(gate: &Gate) -> bool {
    let is_over = gate.is_ended() && is_sighted(&gate.begin);
    let is_past = gate.is_final() && gate.has_left();
    !is_over && !is_past
}

/// The ids of the deployments that nobody told of, open and ended, whose version is not gone.
pub(super) fn sighted(gates: &BTreeMap<String, Gate>) -> BTreeSet<String> {
    let is_sighted = |gate: &Gate| is_sighted(&gate.begin) && !gate.has_left();
    let sighted = gates.iter().filter(|(_, gate)| is_sighted(gate));
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
