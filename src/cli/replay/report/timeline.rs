//! The verdicts of a deployment over its bake, as a bar.

use std::fmt::Write as _;

use super::Story;
use crate::{
    event::Timestamp,
    gate::{LineKind, VerdictState},
};

/// Length of the bar in its own units.
const LENGTH: f64 = 1_000.0;
/// The least that a verdict takes of it: what stood for a second was said all the same.
const LENGTH_MIN: f64 = 4.0;

/// A verdict and how long it stood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) verdict: VerdictState,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// What the bar shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timeline {
    /// In order. A final verdict stands to the end of the bar; after one that is not, nothing is known.
    pub(super) stretches: Vec<Stretch>,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Timeline {
    pub(super) fn of(story: &Story) -> Self {
        let from = story.begin.at;
        let known_until = story.verdict.watermark.max(story.verdict.at);
        let until = story.bake_until.max(known_until).max(from);
        let end = if story.verdict.is_final {
            until
        } else {
            known_until
        };
        let changes = story
            .changes
            .iter()
            .filter(|change| change.kind == LineKind::Verdict);
        let mut stretches: Vec<Stretch> = Vec::new();
        for change in changes {
            if let Some(last) = stretches.last_mut() {
                last.until = change.at;
            }
            stretches.push(Stretch {
                verdict: change.verdict,
                from: change.at,
                until: end.max(change.at),
            });
        }
        Self {
            stretches,
            from,
            until,
        }
    }

    /// An image without text of its own: what it shows is told beside it.
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {LENGTH} 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\n\
             <rect class=\"rest\" width=\"{LENGTH}\" height=\"20\"/>\n",
            self.told()
        );
        // The earlier ones stand over the later ones, so that the least length is seen.
        for stretch in self.stretches.iter().rev() {
            let Stretch {
                verdict,
                from,
                until,
            } = stretch;
            let start = self.place(*from).min(LENGTH - LENGTH_MIN);
            let length = (self.place(*until) - start).max(LENGTH_MIN);
            writeln!(
                svg,
                "<rect class=\"{verdict}\" x=\"{start:.1}\" width=\"{length:.1}\" height=\"20\">\
                 <title>{verdict} from {} to {}</title></rect>",
                from.whole_seconds(),
                until.whole_seconds()
            )
            .expect("a text in memory takes what is written");
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn told(&self) -> String {
        let told = |stretch: &Stretch| format!("{} from {}", stretch.verdict, stretch.from);
        let told: Vec<String> = self.stretches.iter().map(told).collect();
        told.join(", ")
    }

    fn place(&self, at: Timestamp) -> f64 {
        let whole = (self.until - self.from).seconds_f64();
        if whole <= 0.0 {
            return 0.0;
        }
        let share = (at - self.from).seconds_f64() / whole;
        LENGTH * share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Change, *};
    use crate::{
        event::{Begin, Span},
        gate::Verdict,
    };

    fn second(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    /// A deployment that began at 0 with a bake of 100 s.
    fn story(changes: &[(i64, VerdictState)], watermark: i64, is_final: bool) -> Story {
        let change = |&(at, verdict): &(i64, VerdictState)| Change {
            kind: LineKind::Verdict,
            at: second(at),
            deployment: "d1".to_owned(),
            verdict,
            shadow: None,
            reasons: Vec::new(),
        };
        let (_, verdict) = *changes.last().unwrap();
        Story {
            begin: Begin {
                at: second(0),
                deployment: "d1".to_owned(),
                service: "shop".to_owned(),
                stage: "onebox".to_owned(),
                region: None,
                version: "v2".to_owned(),
                one_box: Vec::new(),
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            },
            bake_until: second(0) + Span::from_seconds(100),
            changes: changes.iter().map(change).collect(),
            verdict: Verdict {
                at: second(watermark),
                deployment: "d1".to_owned(),
                service: "shop".to_owned(),
                stage: "onebox".to_owned(),
                region: None,
                version: "v2".to_owned(),
                verdict,
                since: second(0),
                watermark: second(watermark),
                config_digest: String::new(),
                is_final,
                reasons: Vec::new(),
                checks: Vec::new(),
                shadow: None,
            },
        }
    }

    #[test]
    fn a_final_verdict_stands_to_the_end_and_another_one_as_far_as_it_is_known() {
        use VerdictState::{Fail, NoData, Pending};
        for (changes, watermark, is_final, expected) in [
            (
                &[(0, Pending), (40, Fail)][..],
                40,
                true,
                &[(Pending, 0, 40), (Fail, 40, 100)][..],
            ),
            (
                &[(0, Pending), (40, NoData), (50, Pending)],
                60,
                false,
                &[(Pending, 0, 40), (NoData, 40, 50), (Pending, 50, 60)],
            ),
            (&[(0, Pending)], 0, false, &[(Pending, 0, 0)]),
            (
                &[(0, Pending), (130, Fail)],
                130,
                true,
                &[(Pending, 0, 130), (Fail, 130, 130)],
            ),
        ] {
            let timeline = Timeline::of(&story(changes, watermark, is_final));
            let seconds = |at: Timestamp| at.seconds_f64() as i64;
            let found: Vec<(VerdictState, i64, i64)> = timeline
                .stretches
                .iter()
                .map(|stretch| {
                    (
                        stretch.verdict,
                        seconds(stretch.from),
                        seconds(stretch.until),
                    )
                })
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_stood_for_no_time_is_seen_within_the_bar() {
        use VerdictState::{Fail, Pending};
        let timeline = Timeline::of(&story(&[(0, Pending), (130, Fail)], 130, true));
        let svg = timeline.svg();
        assert!(
            svg.contains("<rect class=\"FAIL\" x=\"996.0\" width=\"4.0\""),
            "{svg}"
        );
        assert!(
            svg.contains(
                "aria-label=\"PENDING from 1970-01-01T00:00:00Z, FAIL from 1970-01-01T00:02:10Z\""
            ),
            "{svg}"
        );
    }
}
