//! The words and numbers that a person is shown.

use super::{
    class::Bystander,
    outcome::{Outcome, Scale},
};
use crate::{
    detect::{CheckState, Evidence, Group, Stat, wording::number},
    event::Unit,
};

/// Most metrics without a fault that are shown.
pub(super) const QUIET_MAX: usize = 5;

/// The evidence of one metric; the state may differ from what the test says.
pub(super) fn evidence(
    group: &Group,
    outcome: &Outcome,
    state: CheckState,
    speaks_of: Option<Bystander>,
    hosts: Vec<String>,
) -> Evidence {
    let mut note = note(outcome, group.unit);
    if let Stat::Quantile(tenths) = group.key.stat {
        note = format!("{} {note}", quantile_name(tenths));
    }
    if let Some(speaks_of) = speaks_of {
        note = format!("{note}; informs only: it speaks of {}", speaks_of.phrase());
    }
    let shown = |value: f64| outcome.scale.shown(value);
    Evidence {
        metric: metric(group),
        state,
        observed: outcome.observed,
        expected: outcome.expected,
        effect: outcome.effect.map(shown),
        interval: outcome
            .interval
            .map(|(low, high)| (shown(low), shown(high))),
        detectable: outcome.detectable.map(shown),
        hosts: if state == CheckState::Breach {
            hosts
        } else {
            Vec::new()
        },
        first_breach: outcome.first_breach.filter(|_| state == CheckState::Breach),
        basis: outcome.basis,
        note,
    }
}

/// What a person should know where one host of several, or a few of them, is the reason.
pub(super) fn alone(names: &str) -> String {
    format!("{names} alone is the reason, which may be its own fault: replace it, and look again")
}

/// What a person should know where the fleet is what changed.
pub(super) const FLEET_FELL: &str = "nearly all hosts of the fleet fell to a third or less of what they were, and the one-box is where the fleet \
     was before: nothing is left to compare it with";
/// The same of what is larger than what would have been seen, and yet no breach.
pub(super) const UNEXPLAINED: &str =
    "that is more than would have been seen, but no rule found it certain: look at it";

/// What a person should know where a host of the fleet stands where the one-box does.
pub(super) fn rival(name: &str) -> String {
    format!(
        "{name} of the fleet is as far out, so that either may be ill by itself: replace {name}, and look again"
    )
}

/// The same where that host is out on the other side.
pub(super) fn outlier(name: &str) -> String {
    format!(
        "{name} of the fleet is far out on the other side, which hides it: replace {name}, and look again"
    )
}

/// The same where that host is out on the same side, but less far, or was before the deployment.
pub(super) fn restless(name: &str) -> String {
    format!(
        "{name} of the fleet is far out by itself, or was before, which hides it: replace {name}, and look again"
    )
}

/// The metric as a person reads it.
pub(super) fn metric(group: &Group) -> String {
    group.key.labels.to_string()
}

fn quantile_name(tenths: u16) -> String {
    if tenths.is_multiple_of(10) {
        format!("p{}", tenths / 10)
    } else {
        format!("p{}.{}", tenths / 10, tenths % 10)
    }
}

fn note(outcome: &Outcome, unit: Unit) -> String {
    let Some(effect) = outcome.effect else {
        return match (&outcome.remark, outcome.detectable) {
            (Some(remark), _) if outcome.state == CheckState::Breach => remark.clone(),
            (Some(remark), Some(detectable)) => {
                format!("{remark}; {} or more is excluded", times(detectable))
            }
            (Some(remark), None) => format!("{remark}; nothing is excluded yet"),
            (None, _) => "too little data to compare".to_owned(),
        };
    };
    let difference = match outcome.scale {
        Scale::Relative => format!("{} {} the fleet", percent(effect.exp_m1()), side(effect)),
        Scale::Size => format!(
            "{} of the usual size {} the fleet",
            percent(effect),
            side(effect)
        ),
        Scale::Points => format!("{} {} the fleet", points(effect), side(effect)),
        Scale::Times => format!("{} the fleet's rate", times(effect)),
        Scale::Spread => format!("spreads {} as wide as the fleet", times(effect)),
        Scale::Absolute => format!(
            "{} → {}{}",
            number(outcome.expected.unwrap_or(0.0)),
            number(outcome.observed.unwrap_or(0.0)),
            suffix(unit)
        ),
    };
    let interval = outcome
        .interval
        .map_or_else(String::new, |(low, high)| match outcome.scale {
            Scale::Relative => format!(
                " ({} … {})",
                signed(100.0 * low.exp_m1()),
                percent(high.exp_m1())
            ),
            Scale::Size => format!(" ({} … {})", signed(100.0 * low), percent(high)),
            Scale::Points => format!(" ({} … {})", signed(100.0 * low), points(high)),
            Scale::Times | Scale::Spread => format!(" ({} … {})", times(low), times(high)),
            Scale::Absolute => format!(" ({} … {}{})", change(low), change(high), suffix(unit)),
        });
    let remark = outcome
        .remark
        .as_ref()
        .map_or_else(String::new, |remark| format!("; {remark}"));
    let power = match (outcome.state, outcome.detectable) {
        (CheckState::Breach, _) | (_, None) => String::new(),
        (_, Some(detectable)) => match outcome.scale {
            Scale::Times => format!("; {} or more is excluded", times(detectable)),
            Scale::Relative => format!("; could have seen {}", percent(detectable.exp_m1())),
            Scale::Size => format!("; could have seen {}", percent(detectable)),
            Scale::Points => format!("; could have seen {}", points(detectable)),
            Scale::Spread => format!("; could have seen {}", times(detectable)),
            Scale::Absolute => String::new(),
        },
    };
    format!("{difference}{interval}{remark}{power}")
}

/// A difference with its sign.
fn change(value: f64) -> String {
    let sign = if value < 0.0 { "" } else { "+" };
    format!("{sign}{}", number(value))
}

/// The unit of a number, as a person reads it.
fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Percent => " %",
        Unit::Seconds => " s",
        Unit::Milliseconds => " ms",
        Unit::Microseconds => " us",
        Unit::Nanoseconds => " ns",
        Unit::Bytes => " bytes",
        Unit::Unknown | Unit::Ratio | Unit::Count => "",
    }
}

fn side(effect: f64) -> &'static str {
    if effect < 0.0 { "below" } else { "above" }
}

fn percent(share: f64) -> String {
    format!("{} %", signed(100.0 * share))
}

fn points(share: f64) -> String {
    format!("{} points", signed(100.0 * share))
}

/// Three digits are enough for a person.
fn signed(value: f64) -> String {
    let size = value.abs();
    if size < 10.0 {
        format!("{value:+.1}")
    } else if size < 1e4 {
        format!("{value:+.0}")
    } else {
        format!("{value:+.1e}")
    }
}

fn times(log: f64) -> String {
    let factor = log.exp();
    if factor < 10.0 {
        format!("×{factor:.2}")
    } else {
        format!("×{factor:.0}")
    }
}
