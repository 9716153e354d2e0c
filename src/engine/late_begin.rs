//! Deployments that are told when their hosts run the new version already: until when these were what they
//! were before.

use super::{
    directory::Directory,
    service::{HostFacts, Service},
};
use crate::{
    event::{Begin, Span, Timestamp},
    gate::Place,
};

/// How long before it is told a deployment may have begun. What ran for longer is what hosts usually are.
const LATE_MAX: Span = Span::from_hours(1);

impl Directory {
    /// Until when the hosts of a deployment, which is told now, were what they were before: when it begins, or
    /// when the first of them was seen with the new version after another.
    pub(super) fn past_until(&self, begin: &Begin, resolution: Span) -> Timestamp {
        let mut services = self.services.iter();
        let service = services.find(|service| service.plan.name == begin.service);
        let since = service.and_then(|service| service.ran_since(begin));
        since.map_or(begin.at, |first| (first - resolution).min(begin.at))
    }
}

impl Service {
    /// End of the first bucket in which a host of the deployment was seen with its version, of those that ran
    /// another before.
    fn ran_since(&self, begin: &Begin) -> Option<Timestamp> {
        let of_hosts = |facts: &HostFacts| facts.ran_since(&begin.version);
        let first = if begin.one_box.is_empty() {
            let mut stages = self.plan.stages.iter();
            let stage = stages.position(|stage| stage.name == begin.stage)?;
            let place = Place {
                stage: begin.stage.clone(),
                region: begin.region.clone(),
            };
            self.there(stage, &place).filter_map(of_hosts).min()
        } else {
            let ids = begin.one_box.iter();
            let region = begin.region.as_deref();
            let ids = ids.flat_map(|host| self.called_in(host, region));
            ids.filter_map(|id| of_hosts(&self.facts[id.0 as usize]))
                .min()
        };
        first.filter(|first| begin.at < *first + LATE_MAX)
    }
}

impl HostFacts {
    /// End of the first bucket with a version that the host runs now, and did not run before.
    fn ran_since(&self, version: &str) -> Option<Timestamp> {
        let ran = self.versions.get(version)?;
        let before = self.versions.values().any(|other| other.first < ran.first);
        (before && self.version() == Some(version)).then_some(ran.first)
    }
}

#[cfg(test)]
#[path = "late_begin_tests.rs"]
mod tests;
