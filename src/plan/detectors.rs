//! The detector of a check: which one, and its parameters.

use super::{
    DetectorPlan, Direction, Slope,
    tree::Tree,
    units::{self, Complaint, Measure},
    walk::{Entries, Place},
};
use crate::event::{Span, Unit};

/// Deviation of a sigma check that does not say it, in robust standard deviations.
const SIGMA_K: f64 = 4.0;
/// Window of a derivative check that does not say it.
const DERIVATIVE_OVER: Span = Span::from_minutes(30);
/// Fewest buckets of that window, so that a coarse resolution still shows a trend.
const DERIVATIVE_BUCKETS_MIN: i64 = 10;
/// Longest window of a derivative check.
const DERIVATIVE_OVER_MAX: Span = Span::from_hours(7 * 24);

const DIRECTIONS: [(&str, Direction); 3] = [
    ("up", Direction::Up),
    ("down", Direction::Down),
    ("both", Direction::Both),
];

/// The keys that choose a detector. `NewTemplate` is chosen by `logs: {new: true}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DetectorKey {
    Bounds,
    Derivative,
    Sigma,
    Compare,
    Absent,
    Load,
    New,
}

pub(super) const DETECTORS: [(&str, DetectorKey); 6] = [
    ("bounds", DetectorKey::Bounds),
    ("derivative", DetectorKey::Derivative),
    ("sigma", DetectorKey::Sigma),
    ("compare", DetectorKey::Compare),
    ("absent", DetectorKey::Absent),
    ("load", DetectorKey::Load),
];

impl DetectorKey {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bounds => "bounds",
            Self::Derivative => "derivative",
            Self::Sigma => "sigma",
            Self::Compare => "compare",
            Self::Absent => "absent",
            Self::Load => "load",
            Self::New => "logs",
        }
    }
}

/// Reads the parameters of a detector; `None` where they leave nothing to work with.
pub(super) fn detector(
    key: DetectorKey,
    place: &Place<'_>,
    measure: Measure,
    resolution: Span,
) -> Option<DetectorPlan> {
    match key {
        DetectorKey::Bounds => bounds(place, measure, resolution),
        DetectorKey::Derivative => derivative(place, resolution),
        DetectorKey::Sigma => sigma(place),
        DetectorKey::Compare => compare(place),
        DetectorKey::Absent => {
            let after = place.read(units::span)?;
            at_least_a_bucket(place, after, resolution);
            Some(DetectorPlan::Absent { after })
        }
        DetectorKey::Load => load(place),
        DetectorKey::New => Some(DetectorPlan::NewTemplate),
    }
}

fn bounds(place: &Place<'_>, measure: Measure, resolution: Span) -> Option<DetectorPlan> {
    let keys = place.map(&["min", "max", "for"])?;
    let min = keys.read("min", |value| units::bound(value, measure));
    let max = keys.read("max", |value| units::bound(value, measure));
    if !keys.has("min") && !keys.has("max") {
        place.fault("the bounds have neither min nor max", "add one of them");
    }
    if let (Some(min), Some(max)) = (min, max)
        && min.of(Unit::Unknown) > max.of(Unit::Unknown)
    {
        place.fault("min is above max", "swap them");
    }
    let mut for_at_least = Span::ZERO;
    if let Some(for_place) = keys.get("for")
        && let Some(span) = for_place.read(units::span)
    {
        for_at_least = span;
        if span != Span::ZERO {
            at_least_a_bucket(for_place, span, resolution);
        }
    }
    let within = match measure {
        Measure::Metric { .. } => Span::ZERO,
        Measure::Records => ["min", "max"]
            .into_iter()
            .filter_map(|key| keys.get(key))
            .map(|limit| units::records_within(&limit.node.value))
            .max()
            .unwrap_or(Span::ZERO),
    };
    Some(DetectorPlan::Bounds {
        min,
        max,
        for_at_least,
        within,
    })
}

/// Nothing can be seen within less than a bucket.
fn at_least_a_bucket(place: &Place<'_>, span: Span, resolution: Span) {
    if span < resolution {
        place.fault(
            format!("{span} is shorter than the resolution of {resolution}"),
            format!("write at least {resolution}, or lower the resolution"),
        );
    }
}

fn derivative(place: &Place<'_>, resolution: Span) -> Option<DetectorPlan> {
    let keys = place.map(&["max", "min", "over"])?;
    let max = keys.read("max", |value| signed_slope(value, 1.0));
    let min = keys.read("min", |value| signed_slope(value, -1.0));
    let over = keys.get("over").and_then(|over_place| {
        let over = over_place.read(units::span)?;
        at_least_a_bucket(over_place, over, resolution);
        if over > DERIVATIVE_OVER_MAX {
            over_place.fault(format!("{over} is too long"), "write at most 7d");
        }
        Some(over)
    });
    let over = over.unwrap_or(DERIVATIVE_OVER.max(resolution.times(DERIVATIVE_BUCKETS_MIN)));
    Some(DetectorPlan::Derivative { max, min, over })
}

/// A slope that is not of the wrong sign: `max` is a rise, `min` a fall.
fn signed_slope(value: &Tree, sign: f64) -> Result<Slope, Complaint> {
    let slope = units::slope(value)?;
    let (Slope::Absolute(amount) | Slope::Relative(amount)) = slope;
    if amount * sign >= 0.0 {
        return Ok(slope);
    }
    Err(if sign > 0.0 {
        Complaint::new(
            "max is the steepest rise, but the slope falls",
            "write it without the minus sign, or write min",
        )
    } else {
        Complaint::new(
            "min is the steepest fall, but the slope rises",
            "write it with a minus sign, such as -1%/h, or write max",
        )
    })
}

fn sigma(place: &Place<'_>) -> Option<DetectorPlan> {
    let keys = place.map(&["k", "direction"])?;
    let k = keys.read("k", |value| {
        units::finite(value).and_then(|k| {
            if 0.0 < k && k <= 100.0 {
                Ok(k)
            } else {
                Err(Complaint::new(
                    format!("k of {k} is not between 0 and 100"),
                    "write the allowed deviation in standard deviations, such as 4",
                ))
            }
        })
    });
    let direction = direction(&keys);
    Some(DetectorPlan::Sigma {
        k: k.unwrap_or(SIGMA_K),
        direction,
    })
}

fn compare(place: &Place<'_>) -> Option<DetectorPlan> {
    let keys = place.map(&["tolerance", "direction"])?;
    let tolerance = keys.read("tolerance", |value| {
        units::ratio(value).and_then(|tolerance| {
            if (0.0..=10.0).contains(&tolerance) {
                Ok(tolerance)
            } else {
                Err(Complaint::new(
                    format!("tolerance {value} is not between 0 and 1000%"),
                    "write the accepted difference, such as 10%",
                ))
            }
        })
    });
    let direction = direction(&keys);
    Some(DetectorPlan::Compare {
        tolerance,
        direction,
    })
}

fn direction(keys: &Entries<'_>) -> Direction {
    keys.get("direction")
        .and_then(|place| place.word(&DIRECTIONS))
        .unwrap_or_default()
}

fn load(place: &Place<'_>) -> Option<DetectorPlan> {
    let keys = place.map(&["factor", "of"])?;
    let factor = keys.read("factor", |value| {
        // A factor above 1 is usual here, so a plain number is no forgotten percent sign.
        let factor = units::plain_number(value).map_or_else(|| units::ratio(value), Ok)?;
        if 0.0 < factor && factor <= 100.0 {
            Ok(factor)
        } else {
            Err(Complaint::new(
                format!("factor {value} is not between 0 and 100"),
                "write the share of the peak that must be reached, such as 1.0",
            ))
        }
    });
    let of = keys
        .require("of", "name the stage whose peak is meant, such as of: prod")?
        .name()?;
    Some(DetectorPlan::Load {
        factor: factor.unwrap_or(1.0),
        of: of.to_owned(),
    })
}
