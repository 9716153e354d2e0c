//! A metric that one-box and fleet tell with different values of a label, as another kind or in another unit, so
//! that they never meet.

use crate::{
    detect::{Group, View, finding::TOLD_OTHERWISE},
    event::{Kind, Labels, Timestamp, Unit},
};

/// Most labels that may differ for two metrics to be taken for one that is told otherwise.
const LABELS_MAX: usize = 3;

/// Most metrics that are compared with all others for it.
pub(super) const SOUGHT_MAX: usize = 3;

/// Says with which labels the one-box has reported since the deployment began what the fleet reports as this
/// metric, if it does: of several the one with the fewest other labels. They are not taken for one, as they may
/// be what the check is there to see: `code="200"` of the fleet, `code="500"` of the one-box.
pub(super) fn told_otherwise(view: &View<'_>, index: usize, began_at: Timestamp) -> Option<String> {
    let group = view.panel.group(index);
    let others = view.panel.groups().filter(|(other, _)| *other != index);
    let candidates = others.filter_map(|(_, other)| {
        if other.key.stat != group.key.stat {
            return None;
        }
        let differing = differing(&other.key.labels, &group.key.labels)?;
        let speaks = |host| {
            let track = other.track(host).filter(|track| track.has_data());
            track.is_some_and(|track| began_at < track.heard_last())
        };
        let is_of_one_box = view.one_box.iter().any(|host| speaks(*host));
        let is_of_fleet = view.fleet.iter().any(|host| speaks(*host));
        (is_of_one_box && !is_of_fleet).then_some((differing, other))
    });
    let (nearest, other) = candidates.min_by_key(|(differing, _)| differing.len())?;
    if nearest.is_empty() {
        let (ours, theirs) = (manner(other), manner(group));
        return Some(format!(
            "the one-box tells it as {ours}, the fleet as {theirs}: nobody can compare them"
        ));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (name, own, other) in &nearest {
        ours.push(format!("{name}={own}"));
        theirs.push(format!("{name}={other}"));
    }
    Some(format!(
        "the one-box tells {}, the fleet {}: what only tells versions or containers apart is left out with \
         {TOLD_OTHERWISE}",
        ours.join(" and "),
        theirs.join(" and ")
    ))
}

/// What the series of a metric count or measure, and in which unit.
fn manner(group: &Group) -> String {
    let kind = match group.kind {
        Kind::Counter => "a counter",
        Kind::Gauge | Kind::Unknown => "a gauge",
        Kind::Histogram => "a histogram",
        Kind::Summary => "a summary",
    };
    match group.unit {
        Unit::Unknown => kind.to_owned(),
        unit => format!("{kind} in {}", unit.symbol()),
    }
}

/// The labels that both have with different values, if they differ in nothing else, and in few.
fn differing<'a>(ours: &'a Labels, theirs: &'a Labels) -> Option<Vec<(&'a str, &'a str, &'a str)>> {
    if ours.len() != theirs.len() || ours.metric() != theirs.metric() {
        return None;
    }
    let mut found = Vec::new();
    for ((name, own), (other_name, other)) in ours.iter().zip(theirs.iter()) {
        if name != other_name {
            return None;
        }
        if own != other {
            found.push((name, own, other));
        }
        if LABELS_MAX < found.len() {
            return None;
        }
    }
    Some(found)
}
