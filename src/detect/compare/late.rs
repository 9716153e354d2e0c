//! Hosts that join the one-box after the others were begun with: a second wave of the same version.
//!
//! They have no past there, and a grace of their own from their first value on. Then their level is
//! held against the fleet's, as that of any host that was never seen before ([`FreshTest`]). Events
//! are simply counted with those of the others ([`CountsTest`](super::counts::CountsTest)).

use serde::{Deserialize, Serialize};

use super::{fresh::FreshTest, outcome::Outcome, reading::Reader};
use crate::detect::{Extent, Group, HostId, Unsound, wording::host_list};

/// The hosts that came late to one metric, and their test.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LateHosts {
    hosts: Vec<HostId>,
    test: Option<Box<FreshTest>>,
}

/// The hosts of the one-box that are none of those `known`, and whose own grace is over.
pub(super) fn come(reader: &Reader<'_>, group: &Group, known: &[HostId]) -> Vec<HostId> {
    if known == reader.view.one_box {
        return Vec::new();
    }
    let grace = reader.terms.grace_until - reader.terms.began_at;
    let is_settled = |host: &HostId| {
        let track = group.track(*host).filter(|track| track.has_data());
        track.is_some_and(|track| track.first_seen + grace <= reader.view.bucket.start)
    };
    let hosts = reader.view.one_box.iter().copied();
    hosts
        .filter(|host| !known.contains(host) && is_settled(host))
        .collect()
}

impl LateHosts {
    /// Takes the bucket that has just closed; `begin` makes the test of some hosts, anew when another
    /// one comes.
    pub(super) fn observe(
        &mut self,
        reader: &Reader<'_>,
        group: &Group,
        known: &[HostId],
        begin: impl FnOnce(&[HostId]) -> FreshTest,
    ) {
        let come = come(reader, group, known);
        if come.iter().any(|host| !self.hosts.contains(host)) {
            self.test = Some(Box::new(begin(&come)));
            self.hosts = come;
        }
        if let Some(test) = &mut self.test {
            test.observe(reader, group);
            let names = reader.view.hosts.names(self.hosts.iter().copied());
            test.tell_late(format!(
                "of {}, which came after the others",
                host_list(&names)
            ));
        }
    }

    /// What the test says, if there is one.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.test.as_ref().map(|test| test.outcome())
    }

    /// Whether that is no data because harm is likely, and not certain.
    pub(super) fn is_unproven(&self) -> bool {
        self.test.as_ref().is_some_and(|test| test.is_unproven())
    }

    /// Refuses saved hosts that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(&self.hosts)?;
        self.test.iter().try_for_each(|test| test.check(extent))
    }
}
