//! Where the labels of a host say that it is: whether whoever names it for a place can mean it.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    event::{Labels, METRIC_NAME},
    plan::{StagePlan, value_of},
};

/// Where the labels of a host's series and log streams say that it is. Not saved: it is told again as they
/// are bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    regions: BTreeSet<Arc<str>>,
    /// Labels that any stage asks for, with the values that were seen.
    labels: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Whereabouts {
    /// What the labels of one series or stream tell, under the stages of its service.
    pub(super) fn of(labels: &Labels, region: Option<&str>, stages: &[StagePlan]) -> Self {
        let matchers = stages.iter().flat_map(|stage| &stage.matchers);
        let asked = matchers.filter(|matcher| matcher.label != METRIC_NAME);
        let told = asked.filter_map(|matcher| {
            let value = value_of(labels, &matcher.label)?;
            Some((Arc::from(matcher.label.as_str()), Arc::from(value)))
        });
        Self {
            regions: region.map(Arc::from).into_iter().collect(),
            labels: told.collect(),
        }
    }

    /// Adds what another series tells.
    pub(super) fn add(&mut self, told: &Self) {
        let regions = told.regions.difference(&self.regions).cloned();
        let regions: Vec<Arc<str>> = regions.collect();
        self.regions.extend(regions);
        let labels = told.labels.difference(&self.labels).cloned();
        let labels: Vec<(Arc<str>, Arc<str>)> = labels.collect();
        self.labels.extend(labels);
    }

    /// The regions that the host is known to be in, if the asked one is none of them. A host that tells no
    /// region may be anywhere.
    pub(super) fn elsewhere(&self, asked: &str) -> Option<String> {
        let is_elsewhere = !self.regions.is_empty() && !self.regions.contains(asked);
        is_elsewhere.then(|| list(self.regions.iter()))
    }

    /// Of which label of the stage the host is known to have none of the values that it asks for, and
    /// which it has: `env is prod`. A host that does not tell the label may be of any stage.
    pub(super) fn of_another_stage(&self, stage: &StagePlan) -> Option<String> {
        stage.matchers.iter().find_map(|matcher| {
            let told = self.labels.iter();
            let told = told.filter(|(label, _)| **label == *matcher.label);
            let values: Vec<&Arc<str>> = told.map(|(_, value)| value).collect();
            let is_other =
                !values.is_empty() && !values.iter().any(|value| matcher.matches_value(value));
            is_other.then(|| format!("{} is {}", matcher.label, list(values.into_iter())))
        })
    }
}

fn list<'a>(values: impl Iterator<Item = &'a Arc<str>>) -> String {
    let values: Vec<&str> = values
        .map(|value| &**value)
        .take(VALUES_NAMED_MAX)
        .collect();
    values.join(" and ")
}

/// Most values of a label that are named.
const VALUES_NAMED_MAX: usize = 3;
