//! Which series and log streams belong to which checks: asked once for each, then remembered.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    roles::Roles,
    service::{Service, matches_all},
};
use crate::{
    detect::{GroupKey, HostId, Stat, View},
    event::{Begin, Interval, Kind, Labels, LogRecord, METRIC_NAME, SeriesMeta, Timestamp, Unit},
    gate::Gate,
    plan::{DetectorPlan, LabelRoles, LogSelection, Plan, Selection, SeriesSelection},
    reduce::{self, Registration, SeriesId, StreamId},
};

/// The services of the plan, and where each series and stream belongs.
#[derive(Debug)]
pub(super) struct Directory {
    plan: Arc<Plan>,
    /// In the order of their names.
    pub(super) services: Vec<Service>,
    /// By series; empty for series that no check selects.
    pub(super) series: Vec<Vec<Binding>>,
    /// By stream.
    pub(super) streams: Vec<Vec<StreamBinding>>,
    /// What the class of a log record means: a service and one of its panels.
    pub(super) classes: Vec<(usize, usize)>,
    /// End of the latest closed bucket.
    pub(super) watermark: Timestamp,
    /// Names of the attributes that tell a log stream: the roles, and what any selector asks for.
    stream_labels: BTreeSet<String>,
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
    /// Classes whose conditions on attributes the stream fulfils.
    candidates: Vec<u32>,
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
        let services: Vec<Service> = plan
            .services
            .values()
            .map(|service| Service::new(&plan, service))
            .collect();
        let mut classes = Vec::new();
        for (index, service) in services.iter().enumerate() {
            for (panel, entry) in service.panels.iter().enumerate() {
                if matches!(entry.check.selection, Selection::Logs(_)) {
                    classes.push((index, panel));
                }
            }
        }
        let stream_labels = stream_labels(&plan);
        Self {
            plan,
            services,
            series: Vec::new(),
            streams: Vec::new(),
            classes,
            watermark: Timestamp::MIN,
            stream_labels,
        }
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

    fn role<'a>(labels: &'a Labels, names: &[String]) -> Option<&'a str> {
        names.iter().find_map(|name| labels.get(name))
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

    /// What the series is, if any selecting check or the protocol or the name tells.
    fn kind(&self, labels: &Labels, meta: SeriesMeta) -> Kind {
        let configured = self
            .plan
            .checks
            .values()
            .find_map(|check| match &check.selection {
                Selection::Series(selection) if selection.selector.matches(labels) => {
                    selection.kind
                }
                Selection::Series(_) | Selection::Logs(_) => None,
            });
        match (configured, meta.kind) {
            (None, Kind::Unknown) if is_counter_name(labels.metric()) => Kind::Counter,
            (None, Kind::Unknown) => Kind::Gauge,
            (Some(kind), _) | (None, kind) => kind,
        }
    }

    fn bind(
        &mut self,
        service: usize,
        labels: &Labels,
        meta: SeriesMeta,
        kind: Kind,
    ) -> Option<Binding> {
        let roles = &self.plan.labels;
        let region = Self::role(labels, &roles.region);
        let version = Self::role(labels, &roles.version).map(Arc::from);
        let host_name = Self::role(labels, &roles.host).unwrap_or("");
        let identity = self.identity(service, labels);
        let entry = &mut self.services[service];
        let mut targets = Vec::new();
        for (panel, checked) in entry.panels.iter_mut().enumerate() {
            let Selection::Series(selection) = &checked.check.selection else {
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
                parts(selection, labels, &identity, kind, &mut group)
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
    fn series(&mut self, id: SeriesId, labels: &Labels, meta: SeriesMeta) -> Option<Registration> {
        let told = Self::role(labels, &self.plan.labels.service);
        let owners: Vec<usize> = (0..self.services.len())
            .filter(|index| self.services[*index].owns(labels, told))
            .collect();
        let kind = self.kind(labels, meta);
        let bindings: Vec<Binding> = owners
            .into_iter()
            .filter_map(|service| self.bind(service, labels, meta, kind))
            .collect();
        let host_known_since = bindings
            .iter()
            .filter_map(|bound| {
                self.services[bound.service].facts[bound.host.0 as usize].first_data
            })
            .min();
        let is_selected = !bindings.is_empty();
        let index = id.0 as usize;
        if self.series.len() <= index {
            self.series.resize_with(index + 1, Vec::new);
        }
        self.series[index] = bindings;
        is_selected.then_some(Registration {
            kind,
            host_known_since,
        })
    }

    fn stream_identity(&self, attributes: &Labels) -> Labels {
        attributes.retain(|name| self.stream_labels.contains(name))
    }

    fn stream(&mut self, id: StreamId, attributes: &Labels) -> bool {
        let roles = &self.plan.labels;
        let told = Self::role(attributes, &roles.service);
        let region = Self::role(attributes, &roles.region);
        let host_name = Self::role(attributes, &roles.host).unwrap_or("");
        let version: Option<Arc<str>> = Self::role(attributes, &roles.version).map(Arc::from);
        let mut bindings = Vec::new();
        for (index, service) in self.services.iter_mut().enumerate() {
            if !service.owns(attributes, told) {
                continue;
            }
            let host = service.host(host_name, self.watermark);
            service.learn(host, attributes, region);
            let fulfils = |panel: usize| match &service.panels[panel].check.selection {
                Selection::Logs(selection) => matches_all(&selection.attributes, attributes),
                Selection::Series(_) => false,
            };
            let candidates = (0u32..)
                .zip(&self.classes)
                .filter(|(_, (owner, panel))| *owner == index && fulfils(*panel))
                .map(|(class, _)| class)
                .collect();
            bindings.push(StreamBinding {
                service: index,
                host,
                version: version.clone(),
                candidates,
            });
        }
        let is_known = !bindings.is_empty();
        let index = id.0 as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Vec::new);
        }
        self.streams[index] = bindings;
        is_known
    }

    fn classify(&mut self, stream: StreamId, record: &LogRecord, classes: &mut Vec<u32>) {
        for binding in &self.streams[stream.0 as usize] {
            for class in &binding.candidates {
                let (service, panel) = self.classes[*class as usize];
                if let Selection::Logs(selection) =
                    &self.services[service].panels[panel].check.selection
                    && selects(selection, record)
                {
                    classes.push(*class);
                }
            }
        }
        classes.sort_unstable();
    }
}

fn stream_labels(plan: &Plan) -> BTreeSet<String> {
    let LabelRoles {
        host,
        service,
        region,
        version,
    } = &plan.labels;
    let roles = [host, service, region, version].into_iter().flatten();
    let services = plan.services.values();
    let owned = services
        .clone()
        .filter_map(|service| service.matchers.as_ref())
        .flatten();
    let staged = services
        .flat_map(|service| &service.stages)
        .flat_map(|stage| &stage.matchers);
    let selected = plan
        .checks
        .values()
        .flat_map(|check| match &check.selection {
            Selection::Logs(selection) => selection.attributes.as_slice(),
            Selection::Series(_) => &[],
        });
    let asked = owned
        .chain(staged)
        .chain(selected)
        .map(|matcher| &matcher.label);
    roles.chain(asked).cloned().collect()
}

/// How a series feeds the groups of one check; empty if the check does not select it.
fn parts(
    selection: &SeriesSelection,
    labels: &Labels,
    identity: &Labels,
    kind: Kind,
    group: &mut impl FnMut(Labels, Stat, Kind) -> usize,
) -> Vec<Part> {
    let selector = &selection.selector;
    if let Some(per) = &selection.per {
        // Both sides are summed per host, so that one group holds the ratio.
        let name = selector.metric().unwrap_or("ratio");
        let summed = Labels::new([(METRIC_NAME, name)]);
        let mut parts = Vec::new();
        if selector.matches(labels) {
            parts.push(Part::Numerator {
                group: group(summed.clone(), Stat::Value, kind),
            });
        }
        if per.matches(labels) {
            parts.push(Part::Exposure {
                group: group(summed, Stat::Value, kind),
            });
        }
        return parts;
    }
    let is_named = selector
        .metric()
        .is_some_and(|name| name == labels.metric());
    let classic = classic_bucket(labels).filter(|_| !is_named || selection.quantile.is_some());
    let (base, le) = match (classic, kind) {
        (Some((base, le)), _) => (base, Some(le)),
        (None, Kind::Histogram) => (labels.clone(), None),
        (None, Kind::Unknown | Kind::Gauge | Kind::Counter | Kind::Summary) => {
            let is_value = selection.quantile.is_none() && selector.matches(labels);
            let value = is_value.then(|| Part::Value {
                group: group(identity.clone(), Stat::Value, kind),
            });
            return value.into_iter().collect();
        }
    };
    if !selector.matches(&base) && !selector.matches(labels) {
        return Vec::new();
    }
    let (identity, quantiles) = if let Some(quantile) = selection.quantile {
        // A named quantile is of the host as a whole.
        (Labels::new([(METRIC_NAME, base.metric())]), vec![quantile])
    } else {
        let name = base.metric().to_owned();
        let others = identity.retain(|label| label != "le" && label != METRIC_NAME);
        let pairs = others.iter().chain([(METRIC_NAME, name.as_str())]);
        (
            Labels::new(pairs),
            QUANTILES
                .map(|quantile| f64::from(quantile) / 1_000.0)
                .to_vec(),
        )
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

/// The labels of the distribution that a classic Prometheus bucket belongs to, and its upper bound.
fn classic_bucket(labels: &Labels) -> Option<(Labels, f64)> {
    let base = labels.metric().strip_suffix("_bucket")?;
    let le = labels
        .get("le")?
        .parse()
        .ok()
        .filter(|le: &f64| !le.is_nan())?;
    let others = labels
        .iter()
        .filter(|(name, _)| *name != "le" && *name != METRIC_NAME);
    Some((Labels::new(others.chain([(METRIC_NAME, base)])), le))
}

/// Whether the name of a metric says that it is a counter, by the conventions of Prometheus.
fn is_counter_name(name: &str) -> bool {
    ["_total", "_count", "_sum", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

fn selects(selection: &LogSelection, record: &LogRecord) -> bool {
    selection
        .severity
        .is_none_or(|lowest| lowest <= record.severity)
        && selection
            .body
            .as_ref()
            .is_none_or(|pattern| pattern.0.is_match(&record.body))
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
