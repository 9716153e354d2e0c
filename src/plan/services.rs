//! The `services` of a configuration and their stages.

use std::collections::BTreeMap;

use super::{
    Bake, Check, DetectorPlan, Mode, ServicePlan, StageCheck, StagePlan,
    checks::matchers,
    policies::policies,
    tree::{Tree, quoted},
    units::{self, Complaint},
    walk::{Entries, Place, suggestion},
};
use crate::event::Span;

/// Chance that a healthy deployment is failed, where the service does not say it.
const ALPHA: f64 = 0.01;

const STAGE_KEYS: [&str; 8] = [
    "name", "match", "regions", "steps", "checks", "bake", "grace", "policies",
];

const MODES: [(&str, Mode); 2] = [("blocking", Mode::Blocking), ("advisory", Mode::Advisory)];

/// The checks that stages can name.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownChecks<'a> {
    /// Every name that the configuration gives, also of checks with faults.
    pub names: &'a [&'a str],
    /// The checks that could be read.
    pub checks: &'a BTreeMap<String, Check>,
}

/// Reads a service; `None` where it is no map or has no stages.
pub(super) fn service(
    name: &str,
    place: &Place<'_>,
    known: KnownChecks<'_>,
) -> Option<ServicePlan> {
    let keys = place.map(&["match", "alpha", "stages"])?;
    let alpha = keys.read("alpha", |value| {
        units::ratio(value).and_then(|alpha| {
            if 0.0 < alpha && alpha <= 0.5 {
                Ok(alpha)
            } else {
                Err(Complaint::new(
                    format!("alpha {value} is not above 0 and at most 50%"),
                    "write the accepted chance of a false alarm, such as 1%",
                ))
            }
        })
    });
    let stage_list = keys.require("stages", "add stages: [{name: …, checks: […]}]")?;
    let places = stage_list.list();
    if places.is_empty() && matches!(stage_list.node.value, Tree::List(_)) {
        stage_list.fault(
            "the service has no stages",
            "add at least one: {name: …, checks: […]}",
        );
    }
    let names = stage_names(&places);
    let stages = places
        .iter()
        .filter_map(|place| stage(place, &names, known))
        .collect();
    Some(ServicePlan {
        name: name.to_owned(),
        matchers: keys.get("match").map(matchers),
        alpha: alpha.unwrap_or(ALPHA),
        stages,
    })
}

/// The names of the stages, as far as they can be read without reporting anything.
fn stage_names<'t>(places: &[Place<'t>]) -> Vec<&'t str> {
    let name =
        |place: &Place<'t>| match &place.node.value {
            Tree::Map(pairs) => pairs
                .iter()
                .find(|pair| pair.key == "name")
                .and_then(|pair| match &pair.value.value {
                    Tree::Text(text) => Some(text.as_str()),
                    Tree::Nothing
                    | Tree::Flag(_)
                    | Tree::Integer(_)
                    | Tree::Number(_)
                    | Tree::List(_)
                    | Tree::Map(_) => None,
                }),
            Tree::Nothing
            | Tree::Flag(_)
            | Tree::Integer(_)
            | Tree::Number(_)
            | Tree::Text(_)
            | Tree::List(_) => None,
        };
    // Unnamed stages stay in the list, so that its indexes are those of the configuration.
    places
        .iter()
        .map(|place| name(place).unwrap_or_default())
        .collect()
}

fn stage(place: &Place<'_>, names: &[&str], known: KnownChecks<'_>) -> Option<StagePlan> {
    let keys = place.map(&STAGE_KEYS)?;
    // A stage whose name cannot be read has other faults to tell.
    let name = keys.require("name", "give the stage a name");
    let name = name.and_then(Place::name).unwrap_or_default();
    if !name.is_empty() && names.iter().filter(|other| **other == name).count() > 1 {
        keys.get("name").unwrap_or(place).fault(
            format!("two stages are called {}", quoted(name)),
            "rename one of them",
        );
    }
    let checks = keys
        .get("checks")
        .map(|list| checks(list, names, known))
        .unwrap_or_default();
    let bake = keys.get("bake").map(bake).unwrap_or_default();
    let grace = keys.read("grace", not_negative);
    let stage = StagePlan {
        name: name.to_owned(),
        matchers: keys.get("match").map(matchers).unwrap_or_default(),
        regions: keys.get("regions").map(Place::names).unwrap_or_default(),
        steps: keys.get("steps").map(Place::names).unwrap_or_default(),
        checks,
        bake,
        grace: grace.unwrap_or_default(),
        policies: keys.get("policies").map(policies).unwrap_or_default(),
    };
    provable(&stage, &keys);
    Some(stage)
}

/// Reports a stage that could never pass, or would pass without proof.
fn provable(stage: &StagePlan, keys: &Entries<'_>) {
    // What was written but could not be read has its own faults; do not add to them.
    let written = |key: &str| {
        keys.get(key).is_some_and(|place| match &place.node.value {
            Tree::List(items) => !items.is_empty(),
            Tree::Nothing
            | Tree::Flag(_)
            | Tree::Integer(_)
            | Tree::Number(_)
            | Tree::Text(_)
            | Tree::Map(_) => true,
        })
    };
    let is_blocking = stage
        .checks
        .iter()
        .any(|check| check.mode == Mode::Blocking);
    let all_read = match keys.get("checks").map(|place| &place.node.value) {
        None => true,
        Some(Tree::List(items)) => items.len() == stage.checks.len(),
        Some(_) => false,
    };
    if !written("steps") && !written("checks") {
        keys.place.fault(
            "the stage can never be proven",
            "name at least one step or check",
        );
    } else if !written("steps") && !is_blocking && all_read {
        keys.place.fault(
            "the stage can never be proven: all its checks are advisory",
            "make a check blocking, or name a step",
        );
    } else if stage.bake.max > Span::ZERO && !is_blocking && all_read {
        keys.get("bake").unwrap_or(&keys.place).fault(
            "a bake without a blocking check proves nothing",
            "name a check, or drop the bake",
        );
    }
    if stage.grace > Span::ZERO
        && stage.grace >= stage.bake.max
        && let Some(grace) = keys.get("grace")
    {
        grace.fault(
            format!(
                "grace {} leaves nothing of the bake of {}",
                stage.grace, stage.bake.max
            ),
            "shorten grace, or lengthen bake",
        );
    }
}

fn not_negative(value: &Tree) -> Result<Span, Complaint> {
    let span = units::span(value)?;
    if span < Span::ZERO {
        return Err(Complaint::new(
            format!("{span} is negative"),
            "write 0s or more",
        ));
    }
    Ok(span)
}

fn bake(place: &Place<'_>) -> Bake {
    if !matches!(place.node.value, Tree::Map(_)) {
        let span = place.read(not_negative).unwrap_or_default();
        return Bake {
            min: span,
            max: span,
        };
    }
    let Some(keys) = place.map(&["min", "max"]) else {
        return Bake::default();
    };
    let min = keys.read("min", not_negative);
    let max = if keys.get("min").is_some() && keys.get("max").is_none() {
        min
    } else {
        keys.require("max", "add max, the longest bake")
            .and_then(|max| max.read(not_negative))
    };
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        keys.get("min").unwrap_or(place).fault(
            format!("min {min} is longer than max {max}"),
            "swap them, or write one duration",
        );
    }
    // A bake that names only max has no shortest time; one that names only min has no longer one.
    Bake {
        min: min.unwrap_or_default(),
        max: max.unwrap_or_default(),
    }
}

fn checks(list: &Place<'_>, stages: &[&str], known: KnownChecks<'_>) -> Vec<StageCheck> {
    let mut found: Vec<StageCheck> = Vec::new();
    for place in list.list() {
        let Some((check, name_place)) = stage_check(&place) else {
            continue;
        };
        if !known.names.contains(&check.check.as_str()) {
            name_place.fault(
                format!("there is no check {}", quoted(&check.check)),
                suggestion(
                    &check.check,
                    known.names.iter().copied().filter(|name| !name.is_empty()),
                    "checks",
                ),
            );
            continue;
        }
        if found.iter().any(|other| other.check == check.check) {
            name_place.fault(
                format!("{} stands twice in the stage", quoted(&check.check)),
                "keep one of them",
            );
            continue;
        }
        if let Some(Check {
            detector: DetectorPlan::Load { of, .. },
            ..
        }) = known.checks.get(&check.check)
            && !stages.contains(&of.as_str())
        {
            name_place.fault(
                format!(
                    "the load check {} is of stage {}, which this service has not",
                    quoted(&check.check),
                    quoted(of)
                ),
                suggestion(
                    of,
                    stages.iter().copied().filter(|name| !name.is_empty()),
                    "stages",
                ),
            );
        }
        found.push(check);
    }
    found
}

/// A plain name, or `{check, mode, weight}`; with the place of the name.
fn stage_check<'t>(place: &Place<'t>) -> Option<(StageCheck, Place<'t>)> {
    if !matches!(place.node.value, Tree::Map(_)) {
        let check = place.text()?.to_owned();
        return Some((
            StageCheck {
                check,
                mode: Mode::default(),
                weight: 1,
            },
            place.clone(),
        ));
    }
    let keys = place.map(&["check", "mode", "weight"])?;
    let name = keys.require(
        "check",
        "name the check, as in {check: cpu, mode: advisory}",
    )?;
    let mode = keys
        .get("mode")
        .and_then(|place| place.word(&MODES))
        .unwrap_or_default();
    let weight = keys.read("weight", |value| match value {
        Tree::Integer(weight @ 1..=100) => Ok(*weight as u32),
        other => Err(Complaint::new(
            format!("weight {other} is no whole number from 1 to 100"),
            "write 1 for an ordinary share of alpha",
        )),
    });
    let check = name.text()?.to_owned();
    Some((
        StageCheck {
            check,
            mode,
            weight: weight.unwrap_or(1),
        },
        name.clone(),
    ))
}
