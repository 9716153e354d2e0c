//! Versions that are new on some hosts of a stage: a deployment that nobody told of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Engine, Output, service::Service};
use crate::{
    event::{Begin, Interval, Span, Timestamp},
    gate::Place,
};

/// How long after the first version label what is seen is what was there before: hosts are scraped at
/// their own times.
const BASELINE: Span = Span::from_minutes(5);

/// The versions that were seen, by place, where a new one opens a gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sightings(BTreeMap<Place, Known>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    /// When the first was seen.
    since: Timestamp,
    versions: BTreeSet<String>,
}

impl Service {
    /// Looks for new versions in the bucket that has just been spread. Each is found once.
    pub(super) fn sight(&mut self, bucket: Interval) -> Vec<(Place, String)> {
        let mut found = Vec::new();
        for (index, stage) in self.plan.stages.iter().enumerate() {
            if !stage.policies.open_on_new_version {
                continue;
            }
            for region in stage.places() {
                // A host that tells no region is in the only one there is.
                let is_only = stage.regions.len() == 1;
                let is_there = |told: Option<&str>| {
                    region.is_none_or(|asked| told.map_or(is_only, |told| told == asked))
                };
                let hosts = self
                    .facts
                    .iter()
                    .filter(|facts| facts.stages[index] && is_there(facts.region.as_deref()));
                let seen: BTreeSet<&str> = hosts
                    .filter_map(|facts| {
                        let version = facts.version()?;
                        let last = facts.versions.get(version)?;
                        (*last == bucket.end).then_some(version)
                    })
                    .collect();
                if seen.is_empty() {
                    continue;
                }
                let place = Place {
                    stage: stage.name.clone(),
                    region: region.cloned(),
                };
                let known = self.sightings.0.entry(place.clone()).or_insert(Known {
                    since: bucket.start,
                    versions: BTreeSet::new(),
                });
                for version in seen {
                    let is_new = known.versions.insert(version.to_owned());
                    if is_new && known.since + BASELINE < bucket.end {
                        found.push((place.clone(), version.to_owned()));
                    }
                }
            }
        }
        found
    }
}

impl Engine {
    /// Opens a gate for each new version, unless a deployer has told of it.
    pub(super) fn open_sighted(&mut self, bucket: Interval, outputs: &mut Vec<Output>) {
        for (service, place, version) in self.world.directory.sight(bucket) {
            let is_told = self.gates.values().any(|gate| {
                let begin = &gate.begin;
                begin.service == service
                    && begin.stage == place.stage
                    && (place.region.is_none() || begin.region == place.region)
                    && begin.version == version
            });
            if is_told {
                continue;
            }
            let begin = Begin {
                at: bucket.end,
                deployment: sighted_id(&service, &place, &version),
                service,
                stage: place.stage,
                region: place.region,
                version,
                one_box: Vec::new(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            };
            self.deployment(crate::event::DeploymentEvent::Begin(begin), outputs);
        }
    }
}

/// The id of a deployment that nobody told of: the same in every run.
fn sighted_id(service: &str, place: &Place, version: &str) -> String {
    let region = place.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!("-{region}"));
    format!("{service}-{}{region}-{version}", place.stage)
}
