//! Configuration text → [`Plan`], or every fault of the text.

use std::collections::BTreeMap;

use super::{
    Plan, access,
    checks::check,
    environment::{self, Environment},
    fault::{Fault, Faults},
    log_patterns,
    services::{KnownChecks, service},
    settings, sinks, sources,
    tree::{Node, Tree},
    walk::{Entries, FaultList, Place},
    wording,
};
use crate::event::Span;

const KEYS: [&str; 15] = [
    "listen",
    "tls",
    "access",
    "resolution",
    "lateness",
    "labels",
    "checks",
    "services",
    "log_patterns",
    "sources",
    "sinks",
    "limits",
    "journal",
    "external_url",
    "ledger",
];

/// Configuration of an engine that is started without one.
pub(super) const EMBEDDED: &str = include_str!("embedded.yaml");

const RESOLUTION: Span = Span::from_seconds(10);
const LATENESS: Span = Span::from_seconds(20);

impl Plan {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Every fault of the text: keys that are not known, values of the wrong type, unit or range,
    /// names that refer to nothing, and combinations that cannot work; or the one place where the
    /// text stops being YAML.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        Self::parse_in(text, &|_| None)
    }

    /// Reads a configuration whose values may refer to the environment: `${NAME}`, `${NAME:-default}`, and
    /// `$$` for a dollar. What the environment holds is never part of a fault.
    ///
    /// # Errors
    /// As [`Plan::parse`]; also a name that the environment does not have.
    pub fn parse_in(text: &str, environment: Environment<'_>) -> Result<Self, Faults> {
        let mut root = Node::read(text).map_err(|fault| Faults(vec![fault]))?;
        if matches!(root.value, Tree::Nothing) {
            return Err(Faults(vec![Fault {
                path: "configuration".to_owned(),
                line: None,
                problem: "there is nothing in it".to_owned(),
                remedy: "write checks and services".to_owned(),
            }]));
        }
        let unresolved = environment::expand(&mut root, environment);
        let faults = FaultList::new(unresolved);
        let plan = Place::root(&root, &faults)
            .map(&KEYS)
            .map(|keys| plan(&keys));
        let mut faults = faults.into_inner();
        match plan {
            Some(mut plan) if faults.is_empty() => {
                plan.digest = plan.compute_digest();
                plan.wording = wording::of(&root);
                Ok(plan)
            }
            Some(_) | None => {
                faults.sort_by_key(|fault: &Fault| fault.line.unwrap_or(u32::MAX));
                Err(Faults(faults))
            }
        }
    }

    /// The plan of an engine that is started without a configuration: one service, `default`,
    /// that everything belongs to, with the stages `onebox` and `prod`.
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED).expect("the embedded configuration has no faults")
    }
}

/// Reads every key; what has a fault gets its default, so that the reading goes on.
fn plan(keys: &Entries<'_>) -> Plan {
    let resolution = keys
        .read("resolution", settings::resolution)
        .unwrap_or(RESOLUTION);
    let checks_place = keys.require("checks", "add checks: {name: {metric: …, …}}");
    let check_places = checks_place.map(Place::named).unwrap_or_default();
    let names: Vec<&str> = check_places.iter().map(|(name, _)| *name).collect();
    let checks: BTreeMap<_, _> = check_places
        .iter()
        .filter_map(|(name, place)| Some(((*name).to_owned(), check(name, place, resolution)?)))
        .collect();
    let known = KnownChecks {
        names: &names,
        checks: &checks,
    };
    let services_place = keys.require("services", "add services: {name: {stages: […]}}");
    let service_places = services_place.map(Place::named).unwrap_or_default();
    if let Some(place) = services_place
        && matches!(&place.node.value, Tree::Map(pairs) if pairs.is_empty())
    {
        place.fault("there is no service", "add one: {name: {stages: […]}}");
    }
    let services: BTreeMap<_, _> = service_places
        .iter()
        .filter_map(|(name, place)| Some(((*name).to_owned(), service(name, place, known)?)))
        .collect();
    let tls = keys.get("tls").and_then(access::tls);
    let access = keys.get("access");
    let sinks = keys.get("sinks").map(sinks::sinks).unwrap_or_default();
    Plan {
        access: access
            .map(|place| access::access(place, tls.as_ref()))
            .unwrap_or_default(),
        tls,
        listen: keys.get("listen").map(settings::listen).unwrap_or_default(),
        resolution,
        lateness: keys
            .read("lateness", settings::lateness)
            .unwrap_or(LATENESS),
        labels: keys.get("labels").map(settings::labels).unwrap_or_default(),
        services,
        log_patterns: keys
            .get("log_patterns")
            .map_or_else(log_patterns::built_in, log_patterns::log_patterns),
        sources: keys
            .get("sources")
            .map(sources::sources)
            .unwrap_or_default(),
        sinks: sinks.sinks,
        verdict_topics: sinks.verdict_topics,
        external_url: keys.get("external_url").and_then(sinks::web_address),
        limits: keys.get("limits").map(settings::limits).unwrap_or_default(),
        journal: keys
            .get("journal")
            .map(settings::journal)
            .unwrap_or_default(),
        ledger: keys.get("ledger").map(settings::ledger).unwrap_or_default(),
        digest: String::new(),
        wording: String::new(),
        checks,
    }
}
