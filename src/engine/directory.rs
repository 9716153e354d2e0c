//! Which series and log streams belong to which checks: asked once for each, then remembered.

use std::sync::Arc;

use super::{
    roles::Roles,
    selection::{Selector, Way, role, way},
    service::Service,
};
use crate::{
    detect::{GroupKey, HostId, Stat, View},
    event::{Begin, Interval, Kind, Labels, METRIC_NAME, SeriesMeta, Timestamp, Unit},
    gate::Gate,
    plan::{DetectorPlan, LogSelection, Plan, Selection, SeriesSelection},
    reduce::{self, Registration, SeriesId, StreamId},
};

/// The services of the plan, and where each series and stream belongs.
#[derive(Debug)]
pub(super) struct Directory {
    plan: Arc<Plan>,
    selector: Arc<Selector>,
    /// In the order of their names.
    pub(super) services: Vec<Service>,
    /// By series; empty for series that no check selects.
    pub(super) series: Vec<Vec<Binding>>,
    /// By stream.
    pub(super) streams: Vec<Vec<StreamBinding>>,
    /// End of the latest closed bucket.
    pub(super) watermark: Timestamp,
}

/// Where a series belongs in one service.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) service: usize,
    pub(super) host: HostId,
    pub(super) version: Option<Arc<str>>,
    pub(super) targets: Vec<Target>,
}

/// A group of a panel that a series feeds.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) panel: usize,
    pub(super) part: Part,
}

/// How a series feeds a group.
#[derive(Debug)]
pub(super) enum Part {
    /// It is the value.
    Value { group: usize },
    /// It is added to what is divided by the exposure.
    Numerator { group: usize },
    /// It is added to the exposure.
    Exposure { group: usize },
    /// It is a distribution, or the bucket of a classic one with the upper bound `le`; each group
    /// holds a quantile.
    Quantiles {
        groups: Vec<(f64, usize)>,
        le: Option<f64>,
    },
}

/// Where a log stream belongs in one service.
#[derive(Debug)]
pub(super) struct StreamBinding {
    pub(super) service: usize,
    pub(super) host: HostId,
    pub(super) version: Option<Arc<str>>,
}

/// Labels that tell hosts apart whatever the configuration takes for the host: left in the identity
/// of a series, each host would have metrics of its own, and nothing could be compared.
const PLACE_LABELS: [&str; 8] = [
    "container.id",
    "host",
    "host.id",
    "host.name",
    "instance",
    "k8s.pod.uid",
    "pod",
    "service.instance.id",
];

/// The quantiles of a distribution when the check does not name one, in tenths of a percent.
const QUANTILES: [u16; 3] = [500, 900, 990];

impl Directory {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            selector: Arc::new(Selector::new(Arc::clone(&plan))),
            services: plan
                .services
                .values()
                .map(|service| Service::new(&plan, service))
                .collect(),
            series: Vec::new(),
            streams: Vec::new(),
            watermark: Timestamp::MIN,
            plan,
        }
    }

    /// The part of it that never changes.
    pub(super) fn selector(&self) -> &Arc<Selector> {
        &self.selector
    }

    /// Binds a series that [`Selector::series`] selects, as the kind that it gave: from now on its
    /// partials feed panels.
    pub(super) fn bind_series(
        &mut self,
        id: SeriesId,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> Registration {
        let selector = Arc::clone(&self.selector);
        let bindings: Vec<Binding> = selector
            .owners(labels)
            .filter_map(|service| self.bind(service, labels, meta, kind))
            .collect();
        let host_known_since = bindings
            .iter()
            .filter_map(|bound| {
                self.services[bound.service].facts[bound.host.0 as usize].first_data
            })
            .min();
        let index = id.0 as usize;
        if self.series.len() <= index {
            self.series.resize_with(index + 1, Vec::new);
        }
        self.series[index] = bindings;
        Registration {
            kind,
            host_known_since,
        }
    }

    /// Binds a log stream that belongs to a service: from now on its records feed panels.
    pub(super) fn bind_stream(&mut self, id: StreamId, attributes: &Labels) {
        let roles = &self.plan.labels;
        let region = role(attributes, &roles.region);
        let host_name = role(attributes, &roles.host).unwrap_or("");
        let version: Option<Arc<str>> = role(attributes, &roles.version).map(Arc::from);
        let mut bindings = Vec::new();
        for index in self.selector.owners(attributes) {
            let service = &mut self.services[index];
            let host = service.host(host_name, self.watermark);
            service.learn(host, attributes, region);
            bindings.push(StreamBinding {
                service: index,
                host,
                version: version.clone(),
            });
        }
        let index = id.0 as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Vec::new);
        }
        self.streams[index] = bindings;
    }

    /// Registers the hosts that a deployment names, so that their silence is seen.
    pub(super) fn expect_hosts(&mut self, begin: &Begin) {
        let now = self.watermark;
        if let Some(service) = self
            .services
            .iter_mut()
            .find(|entry| entry.plan.name == begin.service)
        {
            for name in begin.one_box.iter().chain(&begin.fleet) {
                service.host(name, now);
            }
        }
    }

    /// Shows the bucket that has just closed to a gate. Says whether its verdict changed.
    pub(super) fn judge(&self, gate: &mut Gate, bucket: Interval) -> bool {
        let service = self
            .services
            .iter()
            .find(|entry| entry.plan.name == gate.begin.service)
            .expect("a gate is opened only for a configured service");
        if gate.is_final() {
            return false;
        }
        let roles = Roles::find(service, &gate.begin, gate.grace_until());
        let panels: Vec<usize> = gate
            .checks
            .iter()
            .map(|used| {
                let position = service
                    .panels
                    .iter()
                    .position(|entry| entry.check.name == used.name);
                position.expect("every check of a stage has a panel")
            })
            .collect();
        let references: Vec<Option<Vec<HostId>>> = panels
            .iter()
            .map(|panel| roles.reference(service, &service.panels[*panel].check))
            .collect();
        gate.observe(bucket.end, |index| View {
            bucket,
            panel: &service.panels[panels[index]].panel,
            hosts: &service.hosts,
            one_box: &roles.one_box,
            fleet: references[index].as_deref().unwrap_or(&roles.fleet),
        })
    }

    /// Labels that make series of different hosts comparable: all but the roles, and but those that
    /// tell the stages of the service apart: a one-box that is marked as such is still compared.
    fn identity(&self, service: usize, labels: &Labels) -> Labels {
        let roles = &self.plan.labels;
        let stages = &self.services[service].plan.stages;
        labels.retain(|name| {
            let is_place = PLACE_LABELS.contains(&name);
            let is_role = [&roles.host, &roles.service, &roles.region, &roles.version]
                .into_iter()
                .any(|names| names.iter().any(|role| role == name));
            let tells_stage = name != METRIC_NAME
                && stages
                    .iter()
                    .any(|stage| stage.matchers.iter().any(|matcher| matcher.label == name));
            !is_place && !is_role && !tells_stage
        })
    }

    fn bind(
        &mut self,
        service: usize,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> Option<Binding> {
        let roles = &self.plan.labels;
        let region = role(labels, &roles.region);
        let version = role(labels, &roles.version).map(Arc::from);
        let host_name = role(labels, &roles.host).unwrap_or("");
        let identity = self.identity(service, labels);
        let entry = &mut self.services[service];
        let mut targets = Vec::new();
        for (panel, checked) in entry.panels.iter_mut().enumerate() {
            let Selection::Series(selection) = &checked.check.selection else {
                continue;
            };
            let Some(way) = way(&checked.check.selection, labels, kind) else {
                continue;
            };
            let unit = selection.unit.unwrap_or(meta.unit);
            let mut group = |identity: Labels, stat: Stat, kind: Kind| {
                checked.panel.group_index(
                    &GroupKey {
                        labels: identity,
                        stat,
                    },
                    kind,
                    unit,
                )
            };
            targets.extend(
                parts(selection, way, &identity, kind, &mut group)
                    .into_iter()
                    .map(|part| Target { panel, part }),
            );
        }
        if targets.is_empty() {
            return None;
        }
        let host = entry.host(host_name, self.watermark);
        entry.learn(host, labels, region);
        Some(Binding {
            service,
            host,
            version,
            targets,
        })
    }
}

impl reduce::Directory for Directory {
    fn bind_series(
        &mut self,
        id: SeriesId,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> Option<Registration> {
        Some(self.bind_series(id, labels, meta, kind))
    }

    fn refuse_series(&mut self, _labels: &Labels, _meta: SeriesMeta, _kind: Kind) {}

    fn bind_stream(&mut self, id: StreamId, attributes: &Labels) {
        self.bind_stream(id, attributes);
    }
}

/// How a series that a check takes in a certain way feeds its groups.
fn parts(
    selection: &SeriesSelection,
    way: Way,
    identity: &Labels,
    kind: Kind,
    group: &mut impl FnMut(Labels, Stat, Kind) -> usize,
) -> Vec<Part> {
    match way {
        Way::Value => vec![Part::Value {
            group: group(identity.clone(), Stat::Value, kind),
        }],
        Way::Ratio {
            is_numerator,
            is_exposure,
        } => {
            // Both sides are summed per host, so that one group holds the ratio.
            let name = selection.selector.metric().unwrap_or("ratio");
            let group = group(Labels::new([(METRIC_NAME, name)]), Stat::Value, kind);
            let numerator = is_numerator.then_some(Part::Numerator { group });
            let exposure = is_exposure.then_some(Part::Exposure { group });
            numerator.into_iter().chain(exposure).collect()
        }
        Way::Quantiles { base, le } => {
            let (identity, quantiles) = if let Some(quantile) = selection.quantile {
                // A named quantile is of the host as a whole.
                (Labels::new([(METRIC_NAME, base.metric())]), vec![quantile])
            } else {
                let others = identity.retain(|label| label != "le" && label != METRIC_NAME);
                let pairs = others.iter().chain([(METRIC_NAME, base.metric())]);
                let quantiles = QUANTILES.map(|quantile| f64::from(quantile) / 1_000.0);
                (Labels::new(pairs), quantiles.to_vec())
            };
            let groups = quantiles
                .into_iter()
                .map(|quantile| {
                    let stat = Stat::Quantile((quantile * 1_000.0).round() as u16);
                    (quantile, group(identity.clone(), stat, Kind::Histogram))
                })
                .collect();
            vec![Part::Quantiles { groups, le }]
        }
    }
}

/// The group that holds the counts of a log check.
pub(super) fn log_group(selection: &LogSelection) -> GroupKey {
    let mut name = match selection.severity {
        Some(severity) => format!("logs {severity}"),
        None => "logs".to_owned(),
    };
    if let Some(body) = &selection.body {
        name = format!("{name} /{}/", body.0.as_str());
    }
    GroupKey {
        labels: Labels::new([(METRIC_NAME, name)]),
        stat: Stat::Value,
    }
}

/// Whether the check looks for templates.
pub(super) fn wants_templates(detector: &DetectorPlan) -> bool {
    matches!(detector, DetectorPlan::NewTemplate)
}

/// The unit of log counts.
pub(super) const LOG_UNIT: Unit = Unit::Count;
