//! What the judge half knows under one plan → what it knows under the next.

use std::{borrow::Cow, sync::Arc};

use super::{
    Directory, Selector,
    health::counter,
    identity::Identity,
    selection::checks,
    service::{Service, depth, wants_templates},
    snapshot::ServiceState,
    spot::SpotLabels,
    whereabouts::Whereabouts,
};
use crate::{
    event::Span,
    plan::{Check, LabelRoles, Plan, ServicePlan},
};

impl Directory {
    /// Goes on under another plan: series and streams are to be bound again, each under its number. Of a
    /// service whose hosts are found in another way only the versions are known that were seen.
    ///
    /// # Panics
    /// Never: what is carried over fits.
    pub(super) fn succeed(&self, plan: &Arc<Plan>) -> Self {
        let mut state = self.snapshot();
        state.selecting_since = Some(self.watermark);
        let before = self.plan();
        state.services.retain_mut(|saved| {
            let known = self
                .services
                .iter()
                .find(|known| known.plan.name == saved.name);
            match (known, plan.services.get(&*saved.name)) {
                (Some(known), Some(after)) => {
                    carry(saved, known, (before, plan), after);
                    true
                }
                (Some(_) | None, _) => false,
            }
        });
        Self::restore(Arc::clone(plan), state).expect("what is carried over fits")
    }
}

/// Leaves of a service what is right under another plan too.
fn carry(
    saved: &mut ServiceState<'_>,
    known: &Service,
    (before, plan): (&Plan, &Plan),
    after: &ServicePlan,
) {
    let has_same_hosts = are_told_alike(&before.labels, &plan.labels)
        && known.plan.matchers == after.matchers
        && known.spots.is_like(&SpotLabels::new(&plan.labels, after));
    if !has_same_hosts {
        saved.hosts = Cow::default();
        saved.facts = Cow::Owned(Vec::new());
        saved.panels.clear();
        saved.health.keep(|_| false, false);
        return;
    }
    for facts in saved.facts.to_mut() {
        // Told again by the labels of each series.
        facts.stages = vec![false; after.stages.len()];
        facts.told = Whereabouts::default();
    }
    let has_same_metrics = known.identity.is_like(&Identity::new(&plan.labels, after));
    let check = |name: &str| {
        let mut panels = known.panels.iter();
        panels
            .find(|entry| entry.check.name == name)
            .map(|entry| &entry.check)
    };
    let after: Vec<&Check> = checks(plan, after).collect();
    let is_kept = |name: &str, is_same: &dyn Fn(&Check, &Check) -> bool| {
        let new = after.iter().find(|new| new.name == name);
        let new = new.filter(|_| has_same_metrics);
        check(name)
            .zip(new)
            .is_some_and(|(old, new)| is_same(old, new))
    };
    let resolution = plan.resolution;
    saved
        .panels
        .retain(|(name, _)| is_kept(name, &|old, new| sees_the_same(old, new, resolution)));
    for (_, panel) in &mut saved.panels {
        panel.to_mut().unbind();
    }
    let before: Vec<&Check> = known.panels.iter().map(|entry| &entry.check).collect();
    let counts_the_same = counter(&before) == counter(&after);
    saved.health.keep(
        |name| is_kept(name, &|old, new| old == new),
        counts_the_same,
    );
}

/// Whether both find the same hosts, services, regions and versions.
fn are_told_alike(one: &LabelRoles, other: &LabelRoles) -> bool {
    let tells = |roles: &LabelRoles| {
        let LabelRoles {
            host,
            service,
            region,
            version,
            ignore: _,
        } = roles;
        [host, service, region, version].map(Clone::clone)
    };
    tells(one) == tells(other)
}

/// Whether the panels of two checks hold the same.
fn sees_the_same(old: &Check, new: &Check, resolution: Span) -> bool {
    old.selection == new.selection
        && depth(old, resolution) == depth(new, resolution)
        && wants_templates(&old.detector) == wants_templates(&new.detector)
}

impl Selector {
    /// What each class of log records is under another selection: the classes that select the same for
    /// a service of the same name.
    pub(super) fn classes_in(&self, other: &Self) -> Vec<Vec<u32>> {
        let classes = self.classes().iter().map(|class| {
            let is_it = |other_class: &&super::selection::Class| {
                self.owner_name(class.service) == other.owner_name(other_class.service)
                    && class.selects_as(other_class)
            };
            let candidates = (0..).zip(other.classes());
            candidates
                .filter(|(_, candidate)| is_it(candidate))
                .map(|(index, _)| index)
                .collect()
        });
        classes.collect()
    }
}
