//! The `checks` of a configuration.

use super::{
    Check, DetectorPlan, LogSelection, Pattern, Selection, SeriesSelection, SeriesSelector,
    detectors::{DETECTORS, DetectorKey, detector},
    grammar::compile,
    selector::LabelMatcher,
    tree::{Tree, quoted},
    units::{self, Complaint, Measure},
    walk::{Entries, Place},
};
use crate::event::{Kind, Severity, Span, Unit};

const KEYS: [&str; 13] = [
    "metric",
    "logs",
    "kind",
    "per",
    "quantile",
    "unit",
    "bounds",
    "derivative",
    "sigma",
    "compare",
    "absent",
    "load",
    "new",
];

const KINDS: [(&str, Kind); 4] = [
    ("gauge", Kind::Gauge),
    ("counter", Kind::Counter),
    ("histogram", Kind::Histogram),
    ("summary", Kind::Summary),
];

const UNITS: [(&str, Unit); 6] = [
    ("percent", Unit::Percent),
    ("ratio", Unit::Ratio),
    ("seconds", Unit::Seconds),
    ("milliseconds", Unit::Milliseconds),
    ("bytes", Unit::Bytes),
    ("count", Unit::Count),
];

/// Reads a check; `None` where it has a fault that leaves nothing to work with.
pub(super) fn check(name: &str, place: &Place<'_>, resolution: Span) -> Option<Check> {
    let keys = place.map(&KEYS)?;
    if matches!(&place.node.value, Tree::Map(pairs) if pairs.is_empty()) {
        place.fault(
            "the check is empty",
            "name a metric or logs, and one detector",
        );
        return None;
    }
    if let Some(new) = keys.get("new") {
        new.fault("new stands outside of logs", "write logs: {new: true}");
    }
    let (selection, is_new) = selection(&keys);
    let measure = measure(&keys, selection.as_ref());
    let chosen = detector_keys(&keys, is_new);
    // Every detector is read, so that its faults are reported even where there is one too many.
    let mut detectors: Vec<DetectorPlan> = chosen
        .iter()
        .filter_map(|key| {
            let key_place = keys.get(key.name()).unwrap_or(place);
            fits(*key, &keys, key_place);
            detector(*key, key_place, measure, resolution)
        })
        .collect();
    Some(Check {
        name: name.to_owned(),
        selection: selection?,
        detector: detectors.pop()?,
    })
}

/// The detectors that the check names; anything but one is a fault.
fn detector_keys(keys: &Entries<'_>, is_new: bool) -> Vec<DetectorKey> {
    let mut found: Vec<(&str, DetectorKey)> = DETECTORS
        .into_iter()
        .filter(|(key, _)| keys.has(key))
        .collect();
    if is_new {
        found.push(("logs.new", DetectorKey::New));
    }
    if found.is_empty() {
        keys.place.fault(
            "the check has no detector",
            "add one of bounds, derivative, sigma, compare, absent, load or logs: {new: true}",
        );
    } else if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        keys.place.fault(
            format!(
                "the check has {} detectors: {}",
                names.len(),
                names.join(", ")
            ),
            "make a check of its own for each",
        );
    }
    found.into_iter().map(|(_, key)| key).collect()
}

/// Reports a detector that cannot look at what is selected.
fn fits(detector: DetectorKey, keys: &Entries<'_>, place: &Place<'_>) {
    match detector {
        DetectorKey::Derivative | DetectorKey::Sigma | DetectorKey::Load => {
            if keys.has("logs") && !keys.has("metric") {
                place.fault(
                    format!("{} does not work on logs", detector.name()),
                    "look at a metric, or use bounds or compare on the rate of records",
                );
            }
        }
        DetectorKey::Bounds | DetectorKey::Compare | DetectorKey::Absent | DetectorKey::New => {}
    }
    let ignored = match detector {
        DetectorKey::Absent | DetectorKey::Load => ["per", "quantile"].as_slice(),
        DetectorKey::Bounds
        | DetectorKey::Derivative
        | DetectorKey::Sigma
        | DetectorKey::Compare
        | DetectorKey::New => &[],
    };
    for key in ignored.iter().filter(|_| keys.has("metric")) {
        if let Some(extra) = keys.get(key) {
            extra.fault(
                format!("{} does not use {key}", detector.name()),
                "leave it out",
            );
        }
    }
}

/// What the bounds of the check are compared with, also where the selection has a fault.
fn measure(keys: &Entries<'_>, selection: Option<&Selection>) -> Measure {
    match selection {
        Some(Selection::Logs(_)) => Measure::Records,
        Some(Selection::Series(series)) => Measure::Metric {
            unit: series.unit,
            rate: series.per.is_none()
                && series.quantile.is_none()
                && matches!(series.kind, None | Some(Kind::Unknown | Kind::Counter)),
        },
        None if keys.has("logs") && !keys.has("metric") => Measure::Records,
        None => Measure::Metric {
            unit: None,
            rate: true,
        },
    }
}

/// What the check looks at, and whether it asks for new templates.
fn selection(keys: &Entries<'_>) -> (Option<Selection>, bool) {
    match (keys.get("metric"), keys.get("logs")) {
        (Some(_), Some(logs)) => {
            logs.fault(
                "the check has a metric and logs",
                "make a check of its own for each",
            );
            (None, false)
        }
        (None, None) => {
            keys.place
                .fault("the check looks at nothing", "add metric: or logs:");
            (None, false)
        }
        (Some(metric), None) => (series(keys, metric).map(Selection::Series), false),
        (None, Some(logs)) => {
            for key in ["kind", "per", "quantile", "unit"] {
                if let Some(extra) = keys.get(key) {
                    extra.fault(format!("{key} does not apply to logs"), "leave it out");
                }
            }
            match log_records(logs) {
                Some((selection, is_new)) => (Some(Selection::Logs(selection)), is_new),
                None => (None, false),
            }
        }
    }
}

fn series(keys: &Entries<'_>, metric: &Place<'_>) -> Option<SeriesSelection> {
    let kind = keys.get("kind").and_then(|place| place.word(&KINDS));
    let unit = keys.get("unit").and_then(|place| place.word(&UNITS));
    let per = keys.get("per").and_then(selector);
    let quantile = keys.get("quantile").and_then(|place| {
        if matches!(kind, Some(Kind::Gauge | Kind::Counter)) {
            place.fault(
                "a quantile is taken of a histogram or a summary",
                "leave out kind or quantile",
            );
        }
        if keys.has("per") {
            place.fault(
                "quantile and per do not go together",
                "leave out one of them",
            );
        }
        place.read(|value| {
            units::finite(value).and_then(|quantile| {
                if 0.0 < quantile && quantile < 1.0 {
                    Ok(quantile)
                } else {
                    Err(Complaint::new(
                        format!("quantile {quantile} is not between 0 and 1"),
                        "write 0.99 for the 99th percentile",
                    ))
                }
            })
        })
    });
    let selector = selector(metric)?;
    Some(SeriesSelection {
        selector,
        kind,
        per,
        quantile,
        unit,
    })
}

/// A selector of series.
pub(super) fn selector(place: &Place<'_>) -> Option<SeriesSelector> {
    let text = place.text()?;
    match SeriesSelector::parse(text) {
        Ok(selector) => Some(selector),
        Err(error) => {
            place.fault(
                format!("{} is no selector: {error}", quoted(text)),
                "write name, name{label=\"value\"}, {__name__=~\"regex\"} or *",
            );
            None
        }
    }
}

fn log_records(place: &Place<'_>) -> Option<(LogSelection, bool)> {
    let keys = place.map(&["severity", "body", "new", "attributes"])?;
    let severity = keys.get("severity").and_then(severity);
    let body = keys.get("body").and_then(pattern);
    // A value that is no flag was reported; it still says that new templates are meant.
    let is_new = keys
        .get("new")
        .is_some_and(|place| place.flag().unwrap_or(true));
    let attributes = keys.get("attributes").map(matchers).unwrap_or_default();
    Some((
        LogSelection {
            severity,
            body,
            attributes,
        },
        is_new,
    ))
}

fn severity(place: &Place<'_>) -> Option<Severity> {
    let severity = match &place.node.value {
        // Only the ranges: their parts are no words of a configuration.
        Tree::Text(text) => match Severity::from_name(text) {
            range @ (Severity::TRACE
            | Severity::DEBUG
            | Severity::INFO
            | Severity::WARN
            | Severity::ERROR
            | Severity::FATAL) => range,
            _ => Severity::UNKNOWN,
        },
        Tree::Nothing
        | Tree::Flag(_)
        | Tree::Integer(_)
        | Tree::Number(_)
        | Tree::List(_)
        | Tree::Map(_) => Severity::UNKNOWN,
    };
    if severity == Severity::UNKNOWN {
        place.fault(
            format!("{} is no severity", place.node.value),
            "write TRACE, DEBUG, INFO, WARN, ERROR or FATAL",
        );
        return None;
    }
    Some(severity)
}

/// A regular expression that is found anywhere in a text.
pub(super) fn pattern(place: &Place<'_>) -> Option<Pattern> {
    match compile(place.text()?) {
        Ok(regex) => Some(Pattern(regex)),
        Err(problem) => {
            place.fault(
                problem,
                "correct it; the syntax is that of Rust's regex crate",
            );
            None
        }
    }
}

/// Conditions that labels equal values, sorted by label.
pub(super) fn matchers(place: &Place<'_>) -> Vec<LabelMatcher> {
    let mut matchers: Vec<LabelMatcher> = place
        .free_map()
        .iter()
        .filter_map(|(label, value)| Some(LabelMatcher::equal(*label, value.text()?)))
        .collect();
    matchers.sort_by(|a, b| a.label.cmp(&b.label));
    matchers
}
