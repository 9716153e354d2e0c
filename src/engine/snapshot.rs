//! What the judge half remembers over a restart, and nothing that comes from the plan.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    directory::Directory,
    health::HealthState,
    refused_requests::RefusedRequests,
    service::{HostFacts, Service, depth},
    sightings::SeenVersions,
};
use crate::{
    detect::{HostBook, Panel, Unsound},
    event::{Span, Timestamp},
    plan::Plan,
};

/// What the judge half remembers. Where series and streams belong is not part of it: they are bound
/// again, in the order of their numbers, and find the hosts and groups that they had.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectoryState<'a> {
    watermark: Timestamp,
    torn_until: Option<Timestamp>,
    refused: RefusedRequests,
    pub(super) selecting_since: Option<Timestamp>,
    pub(super) services: Vec<ServiceState<'a>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ServiceState<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) hosts: Cow<'a, HostBook>,
    /// By host.
    pub(super) facts: Cow<'a, [HostFacts]>,
    /// By the name of the check.
    pub(super) panels: Vec<(Cow<'a, str>, Cow<'a, Panel>)>,
    pub(super) health: HealthState,
    sightings: SeenVersions,
}

impl Directory {
    /// What is remembered, by reference: it is copied only where it is written to.
    pub fn snapshot(&self) -> DirectoryState<'_> {
        let services = self.services.iter().map(|service| ServiceState {
            name: Cow::from(&service.plan.name),
            hosts: Cow::Borrowed(&service.hosts),
            facts: Cow::from(&service.facts),
            panels: service
                .panels
                .iter()
                .map(|entry| {
                    let name = Cow::from(&entry.check.name);
                    (name, Cow::Borrowed(&entry.panel))
                })
                .collect(),
            health: service.save_health(),
            sightings: service.sightings.clone(),
        });
        DirectoryState {
            watermark: self.watermark,
            torn_until: self.torn_until,
            refused: self.refused,
            selecting_since: self.selecting_since,
            services: services.collect(),
        }
    }

    /// Goes on from what was remembered. Series and streams are to be bound again, each under its
    /// number, before the next bucket is spread. Services and checks that the plan does not have are
    /// forgotten; those that are new know nothing.
    ///
    /// # Errors
    /// The state contradicts itself or the plan.
    pub fn restore(plan: Arc<Plan>, state: DirectoryState<'_>) -> Result<Self, Unsound> {
        let resolution = plan.resolution;
        let mut directory = Self::new(plan);
        directory.watermark = state.watermark;
        directory.torn_until = state.torn_until;
        directory.refused = state.refused;
        directory.selecting_since = state.selecting_since;
        for saved in state.services {
            let mut services = directory.services.iter_mut();
            if let Some(service) = services.find(|service| service.plan.name == *saved.name) {
                service.restore(saved, resolution)?;
            }
        }
        Ok(directory)
    }
}

impl Service {
    fn restore(&mut self, saved: ServiceState<'_>, resolution: Span) -> Result<(), Unsound> {
        let (hosts, facts) = (saved.hosts.into_owned(), saved.facts.into_owned());
        let stages = self.plan.stages.len();
        let mut known = facts.iter();
        if facts.len() != hosts.len() || known.any(|facts| facts.stages.len() != stages) {
            return Err(Unsound::Impossible {
                what: "facts of other hosts or stages",
            });
        }
        let count = hosts.len();
        self.adopt_hosts(hosts, facts).ok_or(Unsound::Impossible {
            what: "two hosts of one name in one place",
        })?;
        let mut panels: BTreeMap<String, Panel> = saved
            .panels
            .into_iter()
            .map(|(name, panel)| (name.into_owned(), panel.into_owned()))
            .collect();
        for entry in &mut self.panels {
            if let Some(mut panel) = panels.remove(&entry.check.name) {
                panel.settle(resolution, depth(&entry.check, resolution), count)?;
                entry.panel = panel;
            }
        }
        self.sightings = saved.sightings;
        self.restore_health(saved.health)
    }
}
