//! The effect that a check shows, as a picture in a line of its table.

use std::fmt::Write as _;

use super::markup::escape;
use crate::gate::{CheckReport, plain_number};

/// Width and height of the picture, in its own units; nothing is in the middle.
const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 16.0;
/// How far from the middle the farthest mark stands.
const REACH: f64 = 0.5 * WIDTH - 4.0;

/// A line for no effect, a bar for the interval, a dot for the effect, and ticks where it would have been seen by
/// now. Empty where nothing of that is known.
pub(crate) fn effect(report: &CheckReport) -> String {
    let Some(effect) = report.effect.filter(|effect| effect.is_finite()) else {
        return String::new();
    };
    let ends = report.interval.into_iter().flatten();
    let marks = ends.chain([effect]).chain(report.detectable);
    let farthest = marks
        .filter(|mark| mark.is_finite())
        .fold(0.0_f64, |farthest, mark| farthest.max(mark.abs()));
    if farthest <= 0.0 {
        return String::new();
    }
    let at = |mark: f64| 0.5 * WIDTH + REACH * (mark / farthest).clamp(-1.0, 1.0);
    let (middle, whole) = (0.5 * WIDTH, HEIGHT);
    let mut picture = format!(
        "<svg class=\"effect\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\
         <path class=\"none\" d=\"M{middle:.1} 0V{whole}\"/>",
        escape(&label(report, effect)),
    );
    let mut put = |text: std::fmt::Arguments<'_>| {
        picture.write_fmt(text).expect("a string takes any text");
    };
    if let Some(seen) = report.detectable.filter(|seen| seen.is_finite()) {
        for side in [-1.0, 1.0] {
            put(format_args!(
                "<path class=\"seen\" d=\"M{:.1} 3V13\"/>",
                at(side * seen)
            ));
        }
    }
    if let Some([low, high]) = report.interval {
        let (from, to) = (at(low), at(high));
        put(format_args!(
            "<path class=\"interval\" d=\"M{from:.1} 8H{to:.1}\"/>"
        ));
    }
    put(format_args!(
        "<circle cx=\"{:.1}\" cy=\"8\" r=\"3.5\"/></svg>",
        at(effect)
    ));
    picture
}

/// The same in words, for whoever cannot see it.
fn label(report: &CheckReport, effect: f64) -> String {
    let mut label = format!("effect {}", plain_number(effect));
    if let Some([low, high]) = report.interval {
        let (low, high) = (plain_number(low), plain_number(high));
        write!(label, ", between {low} and {high}").expect("a string takes any text");
    }
    if let Some(seen) = report.detectable {
        write!(label, ", seen from {} on", plain_number(seen)).expect("a string takes any text");
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::CheckState;

    fn report(
        effect: Option<f64>,
        interval: Option<[f64; 2]>,
        detectable: Option<f64>,
    ) -> CheckReport {
        CheckReport {
            check: "latency".to_owned(),
            kind: "compare".to_owned(),
            metric: String::new(),
            mode: "blocking".to_owned(),
            state: CheckState::Breach,
            observed: None,
            expected: None,
            effect,
            interval,
            detectable,
            hosts: Vec::new(),
            first_breach: None,
            basis: None,
            note: String::new(),
        }
    }

    #[test]
    fn marks_stand_where_their_numbers_are() {
        let picture = effect(&report(Some(0.3), Some([0.2, 0.4]), Some(0.1)));
        for part in [
            "aria-label=\"effect 0.3, between 0.2 and 0.4, seen from 0.1 on\"",
            "class=\"interval\" d=\"M118.0 8H156.0\"",
            "<circle cx=\"137.0\"",
            "class=\"seen\" d=\"M61.0 3V13\"",
            "class=\"seen\" d=\"M99.0 3V13\"",
        ] {
            assert!(picture.contains(part), "{part}: {picture}");
        }
    }

    #[test]
    fn without_an_effect_there_is_no_picture() {
        for nothing in [None, Some(f64::NAN), Some(0.0)] {
            assert_eq!(effect(&report(nothing, None, None)), "");
        }
        let endless = effect(&report(Some(1.0), Some([0.5, f64::INFINITY]), None));
        assert!(endless.contains("M118.0 8H156.0"), "{endless}");
    }
}
