//! Hosts that join the one-box after the others were begun with: a second wave of the same version.
//!
//! They have no past there, and a grace of their own from their first value on. Then their level is
//! held against the fleet's, as that of any host that was never seen before ([`FreshTest`]). Events
//! are simply counted with those of the others ([`CountsTest`](super::counts::CountsTest)).
//!
//! The same test judges all hosts of the one-box when the fleet is lost that they were begun with, beside the
//! hosts that came in its place ([`reference`](super::reference)).

use serde::{Deserialize, Serialize};

use super::{fresh::FreshTest, outcome::Outcome, reading::Reader};
use crate::detect::{Extent, Group, HostId, Unsound, wording::host_list};

/// The hosts that came late to one metric, and their test.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LateHosts {
    hosts: Vec<HostId>,
    /// Whether they are all of the one-box, because the fleet was lost that the others were begun with.
    are_all: bool,
    test: Option<Box<FreshTest>>,
}

/// What a person should know of numbers beside such a fleet.
const BESIDE_OTHERS: &str = "beside fleet hosts that were not all there when the deployment began";

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
    /// Takes the bucket that has just closed; `begin` makes the test of some hosts, anew when another one comes,
    /// or when the fleet is lost that the `known` hosts were begun with: then of all of them.
    pub(super) fn observe(
        &mut self,
        reader: &Reader<'_>,
        group: &Group,
        (known, is_lost): (&[HostId], bool),
        begin: impl FnOnce(&[HostId], bool) -> Option<FreshTest>,
    ) {
        let are_all = self.are_all || is_lost;
        let mut hosts = come(reader, group, known);
        if are_all {
            hosts.extend(known);
            hosts.sort_by_key(|host| reader.view.hosts.name(*host));
        }
        let has_more = hosts.iter().any(|host| !self.hosts.contains(host));
        if has_more || are_all != self.are_all {
            self.test = begin(&hosts, are_all).map(Box::new);
            (self.hosts, self.are_all) = (hosts, are_all);
        }
        if let Some(test) = &mut self.test {
            test.observe(reader, group);
            test.tell_late(if self.are_all {
                BESIDE_OTHERS.to_owned()
            } else {
                let names = reader.view.hosts.names(self.hosts.iter().copied());
                format!("of {}, which came after the others", host_list(&names))
            });
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

    /// The hosts that it is about.
    pub(super) fn hosts(&self) -> &[HostId] {
        &self.hosts
    }

    /// Whether it is about all hosts, since their fleet was lost.
    pub(super) fn are_all(&self) -> bool {
        self.are_all
    }

    /// Whether all hosts are seen beside fleet hosts that speak.
    pub(super) fn see_all(&self, reader: &Reader<'_>, group: &Group) -> bool {
        let test = self.test.as_ref().filter(|_| self.are_all);
        test.is_some_and(|test| test.sees(reader, group))
    }

    /// Refuses saved hosts that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(&self.hosts)?;
        self.test.iter().try_for_each(|test| test.check(extent))
    }
}
