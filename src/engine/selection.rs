//! What the plan says of a series or a log stream before anything is remembered of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{binding::Looker, told::Told, unshown::is_kin};
use crate::{
    event::{Kind, Labels, METRIC_NAME, SeriesMeta, Severity, Temporality},
    plan::{
        Check, LabelMatcher, LabelRoles, LogSelection, Plan, Selection, SeriesSelection,
        ServicePlan, renamed,
    },
    reduce::{Lookers, Select, StreamClasses},
};

/// Answers what is selected, by whom and as what, from the plan alone: it never changes, so that
/// any number of threads may ask it.
#[derive(Debug)]
pub struct Selector {
    plan: Arc<Plan>,
    /// In the order of their names.
    owners: Vec<Owner>,
    /// What the class of a log record means.
    classes: Vec<Class>,
    /// Names of the attributes that tell a log stream: the roles, and what any selector asks for.
    stream_labels: BTreeSet<String>,
}

/// The label, and the key of `match`, by which a service is named in examples.
const SERVICE: &str = "service";

/// A service and what its stages look at.
#[derive(Debug)]
struct Owner {
    name: String,
    /// Whether it owns what the role of the service names: where there is no `match`, or it says so.
    is_by_name: bool,
    /// Whether it also owns what a label of the name `service` says is its.
    is_by_label: bool,
    matchers: Vec<LabelMatcher>,
    /// The checks that its stages use, ascending by name.
    checks: Vec<Check>,
    /// The number of the first of them among those of all services.
    first: u32,
}

/// A log check of a service.
#[derive(Debug)]
pub(super) struct Class {
    /// Its place among the services.
    pub(super) service: usize,
    /// Its place among the checks of the service.
    pub(super) panel: usize,
    selection: LogSelection,
}

/// How a check takes a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Way {
    /// As a value of its own.
    Value,
    /// As a part of a ratio: the numerator, what it is divided by, or both.
    Ratio {
        is_numerator: bool,
        is_exposure: bool,
    },
    /// As a distribution with the labels `base`, or the bucket of a classic one with the upper
    /// bound `le`.
    Quantiles { base: Labels, le: Option<f64> },
}

impl Class {
    /// Whether it selects the same records.
    pub(super) fn selects_as(&self, other: &Self) -> bool {
        self.selection == other.selection
    }
}

impl Selector {
    /// Takes from the plan what is asked for.
    pub fn new(plan: Arc<Plan>) -> Self {
        let mut owners: Vec<Owner> = Vec::new();
        let mut first = 0;
        for service in plan.services.values() {
            let checks: Vec<Check> = checks(&plan, service).cloned().collect();
            let count = checks.len() as u32;
            let mut matchers = service.matchers.clone();
            // `match: {service: NAME}` is what is meant without it, whatever the label is called.
            let is_role = plan.labels.service.iter().any(|name| name == SERVICE);
            let said = LabelMatcher::equal(SERVICE, service.name.clone());
            let is_by_label = is_role && matchers.as_ref().is_some_and(|all| all.contains(&said));
            if is_by_label && let Some(matchers) = &mut matchers {
                matchers.retain(|matcher| *matcher != said);
            }
            owners.push(Owner {
                name: service.name.clone(),
                is_by_name: is_by_label || matchers.is_none(),
                is_by_label,
                matchers: matchers.unwrap_or_default(),
                checks,
                first,
            });
            first += count;
        }
        let mut classes = Vec::new();
        for (service, owner) in owners.iter().enumerate() {
            for (panel, check) in owner.checks.iter().enumerate() {
                if let Selection::Logs(selection) = &check.selection {
                    classes.push(Class {
                        service,
                        panel,
                        selection: selection.clone(),
                    });
                }
            }
        }
        Self {
            stream_labels: stream_labels(&plan),
            owners,
            classes,
            plan,
        }
    }

    /// The services that own series and streams with these labels, ascending.
    pub(super) fn owners(&self, labels: &Labels) -> impl Iterator<Item = usize> {
        let told = role(labels, &self.plan.labels.service);
        let owns = move |owner: &Owner| {
            let name = Some(owner.name.as_str());
            let is_labelled = owner.is_by_label && labels.get(SERVICE) == name;
            let is_named = !owner.is_by_name || told == name || is_labelled;
            is_named && matches_all(&owner.matchers, labels)
        };
        (0..)
            .zip(&self.owners)
            .filter(move |(_, owner)| owns(owner))
            .map(|(index, _)| index)
    }

    /// The name of a service by its place.
    pub(super) fn owner_name(&self, service: usize) -> &str {
        &self.owners[service].name
    }

    /// Whether a series is only there beside others of its name that are compared.
    pub(super) fn is_bystander(&self, labels: &Labels, kind: Kind) -> bool {
        let is_told = Told::of(labels, &self.plan.labels).is_some();
        !is_told && self.lookers(labels, kind).0.is_empty()
    }

    /// The check that a number of [`Lookers`] stands for.
    pub(super) fn looker(&self, number: u32) -> Option<Looker> {
        let service = self.owners.partition_point(|owner| owner.first <= number);
        let service = service.checked_sub(1)?;
        Some(Looker {
            service: service as u32,
            panel: number - self.owners[service].first,
        })
    }

    /// What the classes of log records mean, by class.
    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// What the series is, if a check of its services that selects it or the protocol or the name tells. Of
    /// several checks the first by name counts.
    fn kind(&self, owners: &[usize], labels: &Labels, meta: SeriesMeta) -> Kind {
        let checks = owners.iter().flat_map(|owner| &self.owners[*owner].checks);
        let told = checks.filter_map(|check| match &check.selection {
            Selection::Series(selection) if selection.selector.matches(labels) => {
                Some((&check.name, selection.kind?))
            }
            Selection::Series(_) | Selection::Logs(_) => None,
        });
        let configured = told.min_by_key(|(name, _)| *name).map(|(_, kind)| kind);
        match (configured, meta.kind) {
            (None, Kind::Unknown) => match Kind::of_name(labels.metric()) {
                Kind::Unknown => Kind::Gauge,
                kind => kind,
            },
            (Some(kind), _) | (None, kind) => kind,
        }
    }
}

impl Select for Selector {
    fn series(&self, labels: &Labels, meta: SeriesMeta) -> Option<Kind> {
        // What tells the version of a host is needed whoever owns it.
        let is_told = || !self.owners.is_empty() && Told::of(labels, &self.plan.labels).is_some();
        let owners: Vec<usize> = self.owners(labels).collect();
        if owners.is_empty() {
            return is_told().then_some(Kind::Gauge);
        }
        let kind = self.kind(&owners, labels, meta);
        // Others of the name of a counter that is compared tell whether that gained nothing.
        let is_cumulative = meta.temporality == Temporality::Cumulative;
        let is_selected = owners
            .iter()
            .flat_map(|owner| &self.owners[*owner].checks)
            .any(|check| {
                let way = way(&check.selection, labels, kind);
                way.is_some() || (is_cumulative && is_kin(check, labels, kind, None))
            });
        (is_selected || is_told()).then_some(kind)
    }

    fn lookers(&self, labels: &Labels, kind: Kind) -> Lookers {
        let owners = self.owners(labels).map(|owner| &self.owners[owner]);
        let looking = owners.flat_map(|owner| {
            let numbered = (owner.first..).zip(&owner.checks);
            numbered.filter(|(_, check)| way(&check.selection, labels, kind).is_some())
        });
        Lookers(looking.map(|(number, _)| number).collect())
    }

    fn stream_lookers(&self, classes: &StreamClasses) -> Lookers {
        let looking = classes.0.iter().map(|class| {
            let Class { service, panel, .. } = self.classes[*class as usize];
            self.owners[service].first + panel as u32
        });
        Lookers(looking.collect())
    }

    fn stream_labels(&self) -> &BTreeSet<String> {
        &self.stream_labels
    }

    fn stream(&self, attributes: &Labels) -> Option<StreamClasses> {
        let owners: Vec<usize> = self.owners(attributes).collect();
        if owners.is_empty() {
            return None;
        }
        let candidates = (0u32..).zip(&self.classes).filter(|(_, class)| {
            owners.contains(&class.service) && matches_all(&class.selection.attributes, attributes)
        });
        Some(StreamClasses(candidates.map(|(class, _)| class).collect()))
    }

    fn classify(
        &self,
        candidates: &StreamClasses,
        severity: Option<Severity>,
        body: Option<&str>,
        classes: &mut Vec<u32>,
    ) {
        classes.extend(candidates.0.iter().copied().filter(|class| {
            let selection = &self.classes[*class as usize].selection;
            let severities = selection.severity.zip(severity);
            let bodies = selection.body.as_ref().zip(body);
            severities.is_none_or(|(lowest, severity)| lowest <= severity)
                && bodies.is_none_or(|(pattern, body)| pattern.0.is_match(body))
        }));
    }
}

/// The checks that the stages of a service use, ascending by name, each once.
pub(super) fn checks<'a>(
    plan: &'a Plan,
    service: &'a ServicePlan,
) -> impl Iterator<Item = &'a Check> {
    let used = service.stages.iter().flat_map(|stage| &stage.checks);
    let names: BTreeSet<&str> = used.map(|used| used.check.as_str()).collect();
    names.into_iter().filter_map(|name| plan.checks.get(name))
}

/// The value of the first of the labels that is there.
pub(super) fn role<'a>(labels: &'a Labels, names: &[String]) -> Option<&'a str> {
    names.iter().find_map(|name| labels.get(name))
}

pub(super) fn matches_all(matchers: &[LabelMatcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

/// How a check takes a series; `None` if it does not select it.
pub(super) fn way(selection: &Selection, labels: &Labels, kind: Kind) -> Option<Way> {
    let Selection::Series(selection) = selection else {
        return None;
    };
    let selector = &selection.selector;
    if let Some(per) = &selection.per {
        let (is_numerator, is_exposure) = (selector.matches(labels), per.matches(labels));
        return (is_numerator || is_exposure).then_some(Way::Ratio {
            is_numerator,
            is_exposure,
        });
    }
    let (base, le) = match (classic_of(selection, labels), kind) {
        (Some((base, le)), _) => (base, Some(le)),
        (None, Kind::Histogram) => (labels.clone(), None),
        (None, Kind::Unknown | Kind::Gauge | Kind::Counter | Kind::Summary) => {
            let is_value = selection
                .quantile
                .is_none_or(|quantile| tells_quantile(labels, quantile));
            return (is_value && selector.matches(labels)).then_some(Way::Value);
        }
    };
    (selector.matches(&base) || selector.matches(labels)).then_some(Way::Quantiles { base, le })
}

/// Whether a series is this quantile of a summary.
fn tells_quantile(labels: &Labels, quantile: f64) -> bool {
    let told = labels.get("quantile").and_then(|told| told.parse().ok());
    told.is_some_and(|told: f64| (told - quantile).abs() < 1e-9)
}

/// The classic distribution that the series is a bucket of, unless the check means the bucket
/// itself.
fn classic_of(selection: &SeriesSelection, labels: &Labels) -> Option<(Labels, f64)> {
    let is_named = selection
        .selector
        .metric()
        .is_some_and(|name| name == labels.metric());
    if is_named && selection.quantile.is_none() {
        return None;
    }
    classic_bucket(labels)
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

fn stream_labels(plan: &Plan) -> BTreeSet<String> {
    let LabelRoles {
        host,
        service,
        region,
        version,
        ignore: _,
    } = &plan.labels;
    let roles = [host, service, region, version].into_iter().flatten();
    let services: &BTreeMap<String, ServicePlan> = &plan.services;
    let owned = services
        .values()
        .filter_map(|service| service.matchers.as_ref())
        .flatten();
    let staged = services
        .values()
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
    let renamed = asked.clone().filter_map(|name| renamed(name));
    let renamed = renamed.map(str::to_owned);
    roles.chain(asked).cloned().chain(renamed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SeriesSelector;

    #[test]
    fn a_kind_is_configured_for_the_services_whose_checks_tell_it() {
        let text = "
checks:
  as-counter: {metric: jobs, kind: counter, bounds: {max: 1/s}}
  as-it-comes: {metric: jobs, bounds: {max: 1}}
services:
  api: {stages: [{name: all, checks: [as-counter]}]}
  web: {stages: [{name: all, checks: [as-it-comes]}]}
";
        let plan = Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
        let selector = Selector::new(Arc::new(plan));
        for (service, kind) in [("api", Kind::Counter), ("web", Kind::Gauge)] {
            let labels = Labels::new([(METRIC_NAME, "jobs"), ("service", service)]);
            assert_eq!(selector.series(&labels, SeriesMeta::default()), Some(kind));
        }
    }

    #[test]
    fn a_quantile_is_also_that_of_a_summary_which_tells_it() {
        let selection = Selection::Series(SeriesSelection {
            selector: SeriesSelector::parse("wait_seconds").unwrap(),
            kind: None,
            per: None,
            quantile: Some(0.99),
            unit: None,
        });
        for (metric, told, is_value) in [
            ("wait_seconds", "0.99", true),
            ("wait_seconds", "0.990", true),
            ("wait_seconds", "0.9", false),
            ("wait_seconds", "", false),
            ("other_seconds", "0.99", false),
        ] {
            let labels = Labels::new([(METRIC_NAME, metric), ("quantile", told)]);
            for kind in [Kind::Gauge, Kind::Summary, Kind::Unknown] {
                let way = way(&selection, &labels, kind);
                assert_eq!(matches!(way, Some(Way::Value)), is_value, "{metric} {told}");
                assert_eq!(way.is_some(), is_value, "{metric} {told}");
            }
        }
    }

    #[test]
    fn a_match_of_the_own_name_is_what_is_meant_without_one() {
        let text = "
checks:
  up: {metric: up, bounds: {min: 1}}
services:
  api: {match: {service: api}, stages: [{name: all, checks: [up]}]}
  dev: {match: {service: dev, deployment.environment.name: dev}, stages: [{name: all, checks: [up]}]}
  other: {match: {service: api, zone: b}, stages: [{name: all, checks: [up]}]}
";
        let plan = Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
        let selector = Selector::new(Arc::new(plan));
        let owners = |labels: &[(&str, &str)]| -> Vec<String> {
            let labels = Labels::new(labels.iter().copied());
            let owners = selector.owners(&labels);
            owners
                .map(|owner| selector.owner_name(owner).to_owned())
                .collect()
        };
        for role in ["service.name", "service", "job"] {
            assert_eq!(owners(&[(role, "api")]), ["api"], "{role}");
            // What the label was called before counts, too.
            for environment in ["deployment.environment.name", "deployment.environment"] {
                assert_eq!(owners(&[(role, "dev"), (environment, "dev")]), ["dev"]);
                assert_eq!(owners(&[(role, "dev"), (environment, "prod")]), [""; 0]);
            }
        }
        // Another name is a label like others.
        assert_eq!(
            owners(&[("service", "api"), ("zone", "b")]),
            ["api", "other"]
        );
        assert_eq!(owners(&[("job", "api"), ("zone", "b")]), ["api"]);
        // As a label it counts beside what tells another name.
        let both = [("service.name", "front"), ("service", "api")];
        assert_eq!(owners(&both), ["api"]);
    }
}
