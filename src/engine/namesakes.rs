//! The hosts of a service by their names, of which several may have one.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    service::{HostFacts, Service},
    spot::Spot,
};
use crate::{
    detect::{HostBook, HostId},
    event::{Labels, Timestamp},
};

/// Whose a series or a log stream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// The host, or one of those whose it may be.
    pub(super) host: HostId,
    /// What its labels tell of where the host is; `None`: hosts of one name fitted, and it counts for none.
    pub(super) spot: Option<Spot>,
}

impl Service {
    /// The hosts that are not gone, ascending by name, and those of one name by where they are.
    pub(super) fn everyone(&self) -> impl Iterator<Item = HostId> {
        self.by_name.values().flatten().copied()
    }

    /// Those of a name.
    pub(super) fn called(&self, name: &str) -> &[HostId] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Those of a name that may be in a region.
    pub(super) fn called_in(
        &self,
        name: &str,
        region: Option<&str>,
    ) -> impl Iterator<Item = HostId> {
        self.called(name).iter().copied().filter(move |host| {
            let told = self.facts[host.0 as usize].region.as_deref();
            told.zip(region).is_none_or(|(told, asked)| told == asked)
        })
    }

    /// The host that is shown to a person by this name. A series without a host is shown as a word.
    pub(super) fn shown_as(&self, name: &str) -> Option<HostId> {
        let called = self.called(name).iter().copied();
        let mut found = called.chain(self.everyone());
        found.find(|host| self.hosts.name(*host) == name)
    }

    /// Makes sure that there is a host of a name: if all of that name are gone, those that may be in the region
    /// are awaited again.
    pub(super) fn expect(&mut self, name: &str, region: Option<&str>, now: Timestamp) {
        let Some(known) = self.ids.get(name).cloned() else {
            let spot = self.spots.untold();
            self.add_host(name, spot, now);
            return;
        };
        if self.called(name).is_empty() {
            for id in known {
                let told = self.facts[id.0 as usize].region.as_deref();
                if told.zip(region).is_none_or(|(told, asked)| told == asked) {
                    self.welcome(id, now);
                }
            }
        }
    }

    /// Whose a series or a stream is by its host and other labels; a host that is not known is added. It may be
    /// gone.
    pub(super) fn owner(&mut self, name: &str, labels: &Labels, now: Timestamp) -> Owner {
        let spot = self.spots.next(labels);
        let known = self.ids.get(name).map_or(&[][..], Vec::as_slice);
        let fits = |host: &HostId| !self.facts[host.0 as usize].spot.is_apart(&spot);
        let is_gone = |host: &HostId| self.hosts.get(*host).is_gone;
        let fitting = || known.iter().copied().filter(fits);
        let mut there = fitting().filter(|host| !is_gone(host));
        let mut gone = fitting().filter(is_gone);
        let first_two = match there.next() {
            Some(first) => (Some(first), there.next()),
            None => (gone.next(), gone.next()),
        };
        let host = match first_two {
            (None, _) => self.add_host(name, spot.clone(), now),
            (Some(host), None) => {
                self.facts[host.0 as usize].spot.add(&spot);
                if self.facts[host.0 as usize].has_namesakes {
                    self.rename(name);
                }
                host
            }
            (Some(host), Some(_)) => return Owner { host, spot: None },
        };
        Owner {
            host,
            spot: Some(spot),
        }
    }

    /// Whether an owner may be another host: one of its name that came later, or that it fitted as well.
    pub(super) fn is_unclear(&self, owner: &Owner) -> bool {
        let Some(spot) = &owner.spot else { return true };
        if !self.facts[owner.host.0 as usize].has_namesakes {
            return false;
        }
        let namesakes = self.called(&self.hosts.get(owner.host).name).iter();
        let others = namesakes.filter(|host| **host != owner.host);
        others
            .map(|host| &self.facts[host.0 as usize])
            .any(|facts| !facts.spot.is_apart(spot))
    }

    /// The only host of a name that labels can mean.
    pub(super) fn meant(&self, name: &str, labels: &Labels) -> Option<HostId> {
        let called = self.called(name);
        if let [host] = called {
            return Some(*host);
        }
        let spot = self.spots.spot(labels);
        let mut fitting = called
            .iter()
            .filter(|host| !self.facts[host.0 as usize].spot.is_apart(&spot));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(*first)
    }

    /// Where the hosts of a name are, for a person: `eu and us`.
    pub(super) fn places_of(&self, hosts: &[HostId]) -> String {
        let spots = hosts
            .iter()
            .map(|host| self.facts[host.0 as usize].spot.words());
        let spots: Vec<String> = spots.filter(|words| !words.is_empty()).collect();
        spots.join(" and ")
    }

    /// Takes a host for one of the service again, if it was gone.
    pub(super) fn welcome(&mut self, id: HostId, now: Timestamp) {
        let host = self.hosts.get(id);
        if host.is_gone {
            let name = Arc::clone(&host.name);
            self.hosts.welcome(id, now);
            self.by_name.entry(Arc::clone(&name)).or_default().push(id);
            self.rename(&name);
        }
    }

    /// Forgets the hosts that nobody heard since a time, but those that are `kept`: they are gone until
    /// something of them comes again. What their labels tell stays: a log stream tells it only once.
    pub(super) fn forget_hosts(&mut self, before: Timestamp, kept: &BTreeSet<&str>) {
        let Self {
            hosts,
            by_name,
            facts,
            ..
        } = self;
        let mut left = Vec::new();
        by_name.retain(|name, ids| {
            let count = ids.len();
            ids.retain(|id| {
                let known = &mut facts[id.0 as usize];
                let last = known.last_data.unwrap_or(Timestamp::MIN);
                if before <= last.max(hosts.get(*id).first_seen) || kept.contains(&**name) {
                    return true;
                }
                hosts.forget(*id);
                known.versions.clear();
                (known.first_data, known.last_data) = (None, None);
                false
            });
            if ids.len() < count && !ids.is_empty() {
                left.push(Arc::clone(name));
            }
            !ids.is_empty()
        });
        for name in left {
            self.rename(&name);
        }
    }

    /// Takes hosts that were remembered in the place of those that it has. `None`: two of them are one, or where
    /// they are is told by other labels.
    pub(super) fn adopt_hosts(&mut self, hosts: HostBook, facts: Vec<HostFacts>) -> Option<()> {
        (self.hosts, self.facts) = (hosts, facts);
        self.by_name.clear();
        self.ids.clear();
        for host in self.hosts.ids() {
            let name = Arc::clone(&self.hosts.get(host).name);
            let spot = &self.facts[host.0 as usize].spot;
            let namesakes = self.ids.entry(Arc::clone(&name)).or_default();
            let is_another = |other: &HostId| self.facts[other.0 as usize].spot.is_apart(spot);
            if !self.spots.fit(spot) || !namesakes.iter().all(is_another) {
                return None;
            }
            namesakes.push(host);
            if !self.hosts.get(host).is_gone {
                self.by_name.entry(name).or_default().push(host);
            }
        }
        let several = self.by_name.iter().filter(|(_, ids)| 1 < ids.len());
        let several: Vec<Arc<str>> = several.map(|(name, _)| Arc::clone(name)).collect();
        for name in several {
            self.rename(&name);
        }
        Some(())
    }

    fn add_host(&mut self, name: &str, spot: Spot, now: Timestamp) -> HostId {
        let name: Arc<str> = name.into();
        let id = self.hosts.add(Arc::clone(&name), now);
        self.facts.push(HostFacts {
            stages: vec![false; self.plan.stages.len()],
            spot,
            ..HostFacts::default()
        });
        self.ids.entry(Arc::clone(&name)).or_default().push(id);
        let namesakes = self.by_name.entry(Arc::clone(&name)).or_default();
        namesakes.push(id);
        if 1 < namesakes.len() {
            self.rename(&name);
        }
        id
    }

    /// Shows the hosts of a name with where they are if they are several, and puts them in that order.
    fn rename(&mut self, name: &str) {
        let Self {
            hosts,
            by_name,
            facts,
            ..
        } = self;
        let Some(called) = by_name.get_mut(name) else {
            return;
        };
        called.sort_by(|a, b| facts[a.0 as usize].spot.cmp(&facts[b.0 as usize].spot));
        let are_several = 1 < called.len();
        for host in called {
            let known = &mut facts[host.0 as usize];
            known.has_namesakes = are_several;
            let shown = are_several.then(|| format!("{name} ({})", known.spot.words()));
            hosts.show_as(*host, shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const PLAN: &str = "
checks: {cpu: {metric: cpu, bounds: {max: 1}}}
services:
  shop:
    stages:
      - {name: beta, match: {env: dev}, bake: 1m, checks: [cpu]}
      - {name: prod, match: {env: prod, job: shop}, regions: [eu, us], bake: 1m, checks: [cpu]}
";

    const NOW: Timestamp = Timestamp::from_seconds(1_772_359_200);

    fn service() -> Service {
        let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
        Service::new(&plan, &plan.services["shop"])
    }

    fn labels(told: &str) -> Labels {
        let pairs = told.split_whitespace();
        Labels::new(pairs.filter_map(|pair| pair.split_once('=')))
    }

    fn owner(service: &mut Service, told: &str) -> Owner {
        service.owner("web-1", &labels(told), NOW)
    }

    /// All names, as a person reads them, in their order.
    fn shown(service: &Service) -> Vec<&str> {
        let hosts = service.everyone();
        let mut names: Vec<&str> = hosts.map(|host| service.hosts.name(host)).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_series_is_of_the_only_host_that_it_can_be_of() {
        let mut service = service();
        let untold = owner(&mut service, "");
        let eu = owner(&mut service, "region=eu");
        let prod = owner(&mut service, "env=prod job=node");
        assert_eq!((untold.host, prod.host), (eu.host, eu.host));
        assert_eq!(shown(&service), ["web-1"]);
        for owner in [&untold, &eu, &prod] {
            assert!(!service.is_unclear(owner), "{owner:?}");
        }
        // Until another of its name comes: then what tells too little is of neither.
        let us = owner(&mut service, "region=us job=other");
        assert_ne!(us.host, eu.host);
        assert_eq!(shown(&service), ["web-1 (prod, eu)", "web-1 (us)"]);
        for (owner, is_unclear) in [(&untold, true), (&prod, true), (&eu, false), (&us, false)] {
            assert_eq!(service.is_unclear(owner), is_unclear, "{owner:?}");
        }
        assert_eq!(owner(&mut service, "").spot, None);
        // What contradicts one of the two is of the other.
        let dev = owner(&mut service, "env=dev");
        assert_eq!((dev.host, dev.spot.is_some()), (us.host, true));
        for (told, host) in [
            ("region=us", Some(us.host)),
            ("env=prod", Some(eu.host)),
            ("", None),
        ] {
            assert_eq!(service.meant("web-1", &labels(told)), host, "{told}");
        }
        assert_eq!(service.meant("web-2", &labels("")), None);
        assert_eq!(service.shown_as("web-1 (dev, us)"), Some(us.host));
    }

    #[test]
    fn a_host_that_is_gone_makes_no_other_of_its_name_unclear() {
        let mut service = service();
        let (eu, us) = (
            owner(&mut service, "region=eu"),
            owner(&mut service, "region=us"),
        );
        let later = NOW + crate::event::Span::from_hours(40);
        service.heard(us.host, None, later, later);
        service.forget_hosts(later, &BTreeSet::new());
        assert_eq!(shown(&service), ["web-1"]);
        assert_eq!(owner(&mut service, "").host, us.host);
        service.heard(eu.host, None, later, later);
        assert_eq!(shown(&service), ["web-1 (eu)", "web-1 (us)"]);
        assert_eq!(owner(&mut service, "region=eu").host, eu.host);
    }
}
