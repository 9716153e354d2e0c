//! What the core knows of the hosts of a service, for whoever chooses among them.

use std::sync::Arc;

use super::{Engine, service::Service};
use crate::{
    detect::{HostBook, HostId, Panel},
    event::Timestamp,
    plan::Check,
};

/// A host of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownHost {
    /// Its name; empty for series without a host label.
    pub name: Arc<str>,
    /// Whether its labels put it into the stage that was asked for.
    pub is_in_stage: bool,
    /// Start of the first bucket with data of it.
    pub first_data: Timestamp,
    /// End of the latest bucket with data of it.
    pub last_data: Timestamp,
}

impl Engine {
    /// The hosts of a service in a region that ever sent data, ascending by name; none where the
    /// service or the stage is not configured. A host whose region is not told is in every one; of several of
    /// one name the one of the stage is told, if only one is.
    pub fn hosts(&self, service: &str, stage: &str, region: Option<&str>) -> Vec<KnownHost> {
        let services = &self.world.directory.services;
        let Some(service) = services.iter().find(|entry| entry.plan.name == service) else {
            return Vec::new();
        };
        let stages = &service.plan.stages;
        let Some(stage) = stages.iter().position(|entry| entry.name == stage) else {
            return Vec::new();
        };
        known(service, stage, region).collect()
    }
}

fn known<'a>(
    service: &'a Service,
    stage: usize,
    region: Option<&'a str>,
) -> impl Iterator<Item = KnownHost> + 'a {
    let of_name = move |name: &'a Arc<str>| {
        let called: Vec<HostId> = service.called_in(name, region).collect();
        let in_stage = |host: &&HostId| service.facts[host.0 as usize].stages[stage];
        let mut meant = called.iter().filter(in_stage);
        match (&called[..], meant.next(), meant.next()) {
            ([only], ..) | (_, Some(only), None) => Some((name, *only)),
            _ => None,
        }
    };
    let named = service.by_name.keys().filter_map(of_name);
    named.filter_map(move |(name, host)| {
        let facts = &service.facts[host.0 as usize];
        let (first_data, last_data) = (facts.first_data?, facts.last_data?);
        Some(KnownHost {
            name: Arc::clone(name),
            is_in_stage: facts.stages[stage],
            first_data,
            last_data,
        })
    })
}

/// A check of a service, and what it sees.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// Name of the service.
    pub service: &'a str,
    /// The check.
    pub check: &'a Check,
    /// What it sees.
    pub panel: &'a Panel,
    /// The hosts of the service.
    pub hosts: &'a HostBook,
}

impl Engine {
    /// The checks that stages use, by service and name.
    pub fn watched(&self) -> impl Iterator<Item = Watched<'_>> {
        self.world.directory.services.iter().flat_map(|service| {
            service.panels.iter().map(|entry| Watched {
                service: &service.plan.name,
                check: &entry.check,
                panel: &entry.panel,
                hosts: &service.hosts,
            })
        })
    }
}
