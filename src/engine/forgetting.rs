//! Hosts that are gone for good, and their metrics: forgotten, so that those that replace them have room.

use std::collections::BTreeSet;

use super::{
    Directory, Engine, binding::Bindings, service::depth, whereabouts::Whereabouts, world::World,
};
use crate::{
    event::{Span, Timestamp},
    gate::Gate,
    reduce::StreamId,
};

/// How often it is looked for what can be forgotten.
const ROUND: Span = Span::from_hours(1);

/// How long something is silent, beyond the past that the checks remember, before it is forgotten.
const FORGOTTEN_AFTER: Span = Span::from_hours(24);

impl Engine {
    /// Forgets the series and hosts that have been silent for so long that no check and no open gate can
    /// refer to them, if they are many; called when the buckets of a tick are closed, that closed those
    /// before `closed`.
    pub(super) fn forget_gone(&mut self, closed: Option<Timestamp>) {
        let Some((before, now)) = closed.zip(self.epoch().closed) else {
            return;
        };
        if before.floor(ROUND) == now.floor(ROUND) {
            return;
        }
        let Self {
            gates,
            world,
            retired,
            ..
        } = self;
        for world in retired.iter_mut().chain([world]) {
            let digest = world.directory.digest();
            let is_open = |gate: &&Gate| gate.config_digest() == digest && !gate.is_settled();
            let open: Vec<&Gate> = gates.values().filter(is_open).collect();
            world.forget(now, &open);
        }
    }
}

impl World {
    fn forget(&mut self, now: Timestamp, open: &[&Gate]) {
        let memory = self.directory.memory();
        let begun = open.iter().map(|gate| gate.begin.at - memory);
        let before = begun.fold(now - memory - FORGOTTEN_AFTER, Timestamp::min);
        self.directory.forget_templates(before);
        self.reducer.forget_metadata(before, &mut self.directory);
        let mut has_forgotten = false;
        self.reducer
            .forget(before, &mut self.directory, |directory, streams| {
                directory.unbind(before);
                // Before series are bound again: what is gone is no host that they may be of.
                directory.forget_hosts(before, open);
                directory.rename_streams(streams);
                has_forgotten = true;
            });
        if has_forgotten {
            self.directory.forget_metrics(open);
        }
    }
}

impl Directory {
    /// How far back any check looks.
    fn memory(&self) -> Span {
        let resolution = self.plan().resolution;
        let panels = self.services.iter().flat_map(|service| &service.panels);
        let depths = panels.map(|entry| depth(&entry.check, resolution));
        let depth = depths.max().unwrap_or(0);
        resolution.times(i64::try_from(depth).unwrap_or(i64::MAX))
    }

    /// Forgets the templates that were not seen since a time, where there are more than have a name.
    fn forget_templates(&mut self, before: Timestamp) {
        let max = self.plan().limits.templates;
        let panels = self.services.iter_mut();
        for entry in panels.flat_map(|service| &mut service.panels) {
            entry.panel.forget_templates(before, max);
        }
    }

    /// Forgets where series belong, and the tracks that had nothing since a time.
    fn unbind(&mut self, before: Timestamp) {
        self.bindings = Bindings::default();
        // What was forgotten, and what was refused for it, comes again.
        self.selecting_since = Some(self.watermark);
        for service in &mut self.services {
            service.series = 0;
            for facts in &mut service.facts {
                facts.told = Whereabouts::default();
            }
            for entry in &mut service.panels {
                entry.panel.unbind();
                entry.panel.forget_tracks(before);
            }
        }
    }

    /// Gives log streams other numbers; those that have none are gone.
    fn rename_streams(&mut self, ids: &[Option<StreamId>]) {
        let before = std::mem::take(&mut self.streams);
        for (bindings, id) in before.into_iter().zip(ids) {
            if id.is_some() {
                for binding in &bindings {
                    let facts = &mut self.services[binding.service].facts;
                    facts[binding.owner.host.0 as usize].told.add(&binding.told);
                }
                self.streams.push(bindings);
            }
        }
    }

    /// Forgets the metrics that no series feeds.
    fn forget_metrics(&mut self, open: &[&Gate]) {
        for service in &mut self.services {
            let of_service = open
                .iter()
                .filter(|gate| gate.begin.service == service.plan.name);
            let deployments = of_service.map(|gate| gate.begin.deployment.as_str());
            let deployments = deployments.collect();
            for entry in &mut service.panels {
                entry.panel.forget_groups(&deployments);
            }
        }
    }

    /// Forgets the hosts that nobody heard since a time.
    fn forget_hosts(&mut self, before: Timestamp, open: &[&Gate]) {
        for service in &mut self.services {
            let of_service = open
                .iter()
                .filter(|gate| gate.begin.service == service.plan.name);
            let named =
                of_service.flat_map(|gate| gate.begin.one_box.iter().chain(&gate.begin.fleet));
            let named: BTreeSet<&str> = named.map(String::as_str).collect();
            service.forget_hosts(before, &named);
        }
    }
}

#[cfg(test)]
#[path = "forgetting_tests.rs"]
mod tests;
