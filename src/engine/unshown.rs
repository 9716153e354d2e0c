//! Counters that a process has not shown yet: they have gained nothing.

use super::{binding::Bindings, directory::Directory, roles::Roles, service::Service};
use crate::{
    detect::{Beside, HostId, silence_min},
    event::{Begin, Interval, Kind, Labels, Span, Timestamp},
    plan::{Check, DetectorPlan, Selection},
};

use super::selection::Way;

/// Whether a check compares events, so that what is missing may be nothing gained.
fn compares(check: &Check) -> bool {
    let is_plain = match &check.selection {
        Selection::Series(series) => series.per.is_none() && series.quantile.is_none(),
        Selection::Logs(_) => false,
    };
    is_plain && matches!(check.detector, DetectorPlan::Compare { .. })
}

/// Whether a cumulative counter that a check takes in this way, or does not take, tells something of those that
/// the check compares: it is one of them, or one of the same name.
pub(super) fn is_kin(check: &Check, labels: &Labels, kind: Kind, way: Option<&Way>) -> bool {
    if kind != Kind::Counter || !compares(check) {
        return false;
    }
    let named = match &check.selection {
        Selection::Series(series) => series.selector.metric(),
        Selection::Logs(_) => None,
    };
    way == Some(&Way::Value) || named == Some(labels.metric())
}

impl Directory {
    /// Counters with labels are exposed from their first event on, of each process anew. So one that is missing
    /// since its process began anew has gained nothing while those of its name on the host speak; where none of
    /// that name does, while other counters of it do, if it is rare. Where data of the host was lost of late,
    /// nobody knows. Called when that is noted.
    pub(super) fn fill_unshown(&mut self, bucket: Interval) {
        let Self {
            services, bindings, ..
        } = self;
        for (index, service) in services.iter_mut().enumerate() {
            let Service { panels, facts, .. } = service;
            let mut panels = panels.iter_mut().filter(|entry| compares(&entry.check));
            let Some(first) = panels.next() else { continue };
            let patience = silence_min(bucket.span());
            // By host: nothing, or whether anything of it began.
            let spoke: Vec<Option<bool>> = (0..)
                .zip(facts.iter())
                .map(|(host, facts)| {
                    let spoke = bindings.families.spoke(index, HostId(host), bucket.end);
                    spoke.filter(|_| !facts.has_lost(bucket.end, patience))
                })
                .collect();
            if spoke.iter().all(Option::is_none) {
                continue;
            }
            for entry in [first].into_iter().chain(panels) {
                let spoke = |host: HostId| spoke[host.0 as usize];
                let beside = |host: HostId, name: &str, last: Timestamp| {
                    let told = bindings.families.beside((index, host), name, bucket.end)?;
                    let facts = &facts[host.0 as usize];
                    let is_succeeded = || facts.is_succeeded(last, bucket.end, patience);
                    Some(Beside {
                        has_begun: told.has_begun || is_succeeded(),
                        ..told
                    })
                };
                entry.panel.fill_unshown(bucket, spoke, beside);
            }
        }
    }

    /// Hosts of a deployment that never had a counter which the fleet has, and which is rare, have gained nothing
    /// of it, on the same terms as in [`Directory::fill_unshown`].
    pub(super) fn add_unshown(&mut self, begin: &Begin, grace_until: Timestamp, bucket: Interval) {
        let Self {
            services, bindings, ..
        } = self;
        let Bindings { families, .. } = bindings;
        let mut services = services.iter_mut().enumerate();
        let found = services.find(|(_, service)| service.plan.name == begin.service);
        let Some((index, service)) = found else {
            return;
        };
        if bucket.end <= begin.at || !service.panels.iter().any(|entry| compares(&entry.check)) {
            return;
        }
        let roles = Roles::find(service, begin, grace_until);
        let Service { panels, facts, .. } = service;
        let patience = silence_min(bucket.span());
        let speaks = |host: &HostId| {
            families.spoke(index, *host, bucket.end).is_some()
                && !facts[host.0 as usize].has_lost(bucket.end, patience)
        };
        let [one_box, fleet] = [&roles.one_box, &roles.fleet].map(|hosts| -> Vec<HostId> {
            let speaking = hosts.iter().copied().filter(speaks);
            speaking.collect()
        });
        let beside = |host: HostId, name: &str| {
            let told = families.beside((index, host), name, bucket.end);
            told.map(|told| told.kin)
        };
        for entry in panels.iter_mut().filter(|entry| compares(&entry.check)) {
            let panel = &mut entry.panel;
            panel.add_unshown(bucket, [&one_box, &fleet], beside);
        }
    }
}

impl super::service::HostFacts {
    /// Whether data of its counters was lost shortly before a time.
    fn has_lost(&self, at: Timestamp, patience: Span) -> bool {
        self.lost.is_some_and(|lost| at - lost <= patience)
    }

    /// Whether the processes that spoke for it at a time `last`, as their versions and names tell, are all silent
    /// for longer than a patience, and others speak in the bucket with this end.
    fn is_succeeded(&self, last: Timestamp, end: Timestamp, patience: Span) -> bool {
        [&self.versions, &self.processes].into_iter().any(|ran| {
            let mut before = ran.values().filter(|ran| ran.first <= last).peekable();
            before.peek().is_some()
                && before.all(|ran| ran.last + patience < end)
                && ran.values().any(|ran| ran.last == end)
        })
    }
}

#[cfg(test)]
#[path = "unshown_tests.rs"]
mod tests;
