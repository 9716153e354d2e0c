//! What tells hosts of one name apart: pods of one name in two regions are two hosts.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Labels, METRIC_NAME},
    plan::{LabelRoles, ServicePlan, value_of},
};

/// The labels that tell hosts of one name apart in a service: those of regions, and those that its stages ask
/// for, but for what tells the host itself, its service or its version.
#[derive(Clone, Debug)]
pub(super) struct SpotLabels {
    names: Vec<String>,
    /// What was told last: series come in the order of their labels, many of one place.
    latest: Spot,
}

/// The values of these labels, as far as they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Spot(Arc<[Option<Arc<str>>]>);

impl SpotLabels {
    /// Takes them from the plan.
    pub(super) fn new(roles: &LabelRoles, service: &ServicePlan) -> Self {
        let LabelRoles {
            host,
            service: name,
            region,
            version,
            ignore: _,
        } = roles;
        let stages = service.stages.iter().flat_map(|stage| &stage.matchers);
        let asked = stages.map(|matcher| &matcher.label).filter(|label| {
            let mut others = [host, name, version].into_iter().flatten();
            *label != METRIC_NAME && !others.any(|other| other == *label)
        });
        let names: BTreeSet<&String> = region.iter().chain(asked).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let latest = Spot(names.iter().map(|_| None).collect());
        Self { names, latest }
    }

    /// What the labels of a series or stream tell of them.
    pub(super) fn spot(&self, labels: &Labels) -> Spot {
        let told = self.names.iter().map(|label| value_of(labels, label));
        let known = self.latest.0.iter().map(Option::as_deref);
        if told.clone().eq(known) {
            return self.latest.clone();
        }
        Spot(told.map(|value| value.map(Arc::from)).collect())
    }

    /// The same, for many in the order of their labels.
    pub(super) fn next(&mut self, labels: &Labels) -> Spot {
        self.latest = self.spot(labels);
        self.latest.clone()
    }

    /// Where nothing is told.
    pub(super) fn untold(&self) -> Spot {
        Spot(self.names.iter().map(|_| None).collect())
    }

    /// Whether the spot is one by these labels.
    pub(super) fn fit(&self, spot: &Spot) -> bool {
        self.names.len() == spot.0.len()
    }

    /// Whether both are the same labels.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Spot {
    /// Whether both tell a label, with different values: then they are of two hosts.
    pub(super) fn is_apart(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&*other.0);
        pairs.any(|(mine, other)| {
            let both = mine.as_ref().zip(other.as_ref());
            both.is_some_and(|(mine, other)| mine != other)
        })
    }

    /// Learns what another of the same host tells beside.
    pub(super) fn add(&mut self, other: &Self) {
        let pairs = self.0.iter().zip(&*other.0);
        if pairs
            .clone()
            .any(|(mine, other)| mine.is_none() && other.is_some())
        {
            self.0 = pairs
                .map(|(mine, other)| mine.as_ref().or(other.as_ref()).cloned())
                .collect();
        }
    }

    /// What is told, for a person: `eu, prod`.
    pub(super) fn words(&self) -> String {
        let told: Vec<&str> = self.0.iter().flatten().map(|value| &**value).collect();
        told.join(", ")
    }
}
