//! A harm that neither a few hosts nor their past can prove, but that both show.
//!
//! Beside three to five fleet hosts margins are wide: an hour of past in which the load of all hosts changed calls for
//! four to six times what the one-box ever strayed by. So a harm of half as much again, which anybody sees on a chart,
//! was undecided when the bake ended, and passed. Then it is asked once more, in two ways that have little to do with
//! each other: whether the one-box strayed farther than it ever did, with the margins of one look, and whether it
//! changed from its past to the bake by more than fleet hosts did, by the spread among these alone (Student's t of
//! their changes, at five times the alpha of a breach). What both show is likely harm, which is no PASS.
//!
//! So is what strays so far that its past alone would fail it, and farther than it wanders by itself at five times
//! alpha, but not at alpha: a calm past of a wandering gauge would do that, too.

use std::{iter, slice};

use super::{CheckState, Class, Group, Member, OwnPastTest, Reader, matrix};
use crate::detect::{
    compare::{
        company::LIKELY_TIMES,
        contrast::{Change, Contrast, FleetFit, Noise},
        hosts::SHARED,
        pasts,
    },
    stats::median,
};

/// Fleet hosts whose spread tells anything.
const HOSTS_MIN: usize = 3;
/// Chance of either end of the interval that is shown.
const SHOWN_TAIL: f64 = 0.05;
/// What a person should know.
const LIKELY: &str = "likely harm, though few hosts with so short a past cannot prove it";

impl OwnPastTest {
    /// Looks for a harm that is likely, when the bake is over and nothing was found.
    pub(in crate::detect::compare) fn look_for_likely(
        &mut self,
        (reader, group): (&Reader<'_>, &Group),
        (class, alpha): (&Class, f64),
    ) {
        self.is_likely = false;
        if self.outcome.state != CheckState::Undecided || !reader.is_last() {
            return;
        }
        let is_shown = self.look_at_changes((reader, group), (class, alpha));
        if is_shown || self.is_likely_to_have_strayed() {
            self.outcome.state = CheckState::NoData;
            self.outcome.remark = Some(LIKELY.to_owned());
            self.is_likely = true;
        }
    }

    /// Whether the one-box strayed farther than it ever did and changed by more than fleet hosts did, which is told.
    fn look_at_changes(
        &mut self,
        (reader, group): (&Reader<'_>, &Group),
        (class, alpha): (&Class, f64),
    ) -> bool {
        if self.fleet.len() < HOSTS_MIN {
            return false;
        }
        let sides = self.sides.signs();
        let shown = sides.iter().find(|side| self.seems_to_have_strayed(**side));
        let contrast = |side: f64| self.contrast((reader, group), class.sigma_min(), side);
        let Some((side, contrast)) = shown.and_then(|side| Some((side, contrast(*side)?))) else {
            return false;
        };
        let tail = LIKELY_TIMES * alpha / sides.len() as f64;
        let tolerance = self.to_logarithm(self.tolerance, self.level);
        let harm = contrast.effect * side;
        let least = tolerance.max(contrast.critical(tail));
        if harm <= least {
            return false;
        }
        let margin = contrast.critical(SHOWN_TAIL);
        let outcome = &mut self.outcome;
        outcome.effect = Some(contrast.effect);
        outcome.interval = Some((contrast.effect - margin, contrast.effect + margin));
        outcome.detectable = Some(least);
        outcome.severity = harm / tolerance;
        true
    }

    /// Whether harm was likely when the bake ended, and not certain.
    pub(in crate::detect::compare) fn is_likely(&self) -> bool {
        self.outcome.state == CheckState::NoData && self.is_likely
    }

    /// Whether the one-box strayed farther than it ever did, be it that it may wander so far by itself: hosts whose
    /// load changed seem to, and how far they went is told by the others.
    fn seems_to_have_strayed(&self, side: f64) -> bool {
        let mut windows = 0..self.plain.own.windows.len();
        windows.any(|index| {
            let plain = &self.plain;
            plain.seems_to_have_strayed(index, side, &self.stakes) && self.agrees(index, side)
        })
    }

    /// Whether all of the one-box strayed farther than the past tells, and likely farther than it wanders by itself.
    fn is_likely_to_have_strayed(&self) -> bool {
        let plain = &self.plain;
        let windows = 0..plain.own.windows.len();
        let mut sides = self.sides.signs().iter();
        sides.any(|side| {
            windows.clone().any(|index| {
                plain.is_likely_to_have_strayed(index, *side, &self.stakes)
                    && self.agrees(index, *side)
                    && self.culprit(index, *side).is_none()
            })
        })
    }

    /// How much more the one-box changed from its past to what came after the grace than fleet hosts did; as
    /// logarithms, where levels compare. `None` if without the host that changed most to this side the others show less
    /// than half of it.
    fn contrast(
        &self,
        (reader, group): (&Reader<'_>, &Group),
        sigma_min: f64,
        side: f64,
    ) -> Option<Contrast> {
        let terms = reader.terms;
        let grace = terms.buckets(terms.grace_until - terms.began_at);
        let divisor = terms.divisor(group.kind, self.has_exposure);
        let change = |member: &Member, divisor: f64| {
            let (host, end) = (iter::once(member.host), reader.view.bucket.end);
            let since = pasts::since((reader, group), host, end);
            let mut values = matrix(&since, self.full);
            for values in &mut values {
                values.drain(..grace.min(values.len()));
                for value in values {
                    *value /= divisor;
                }
            }
            let mut departures = self.departures(slice::from_ref(member), &values);
            departures.retain(|departure| departure.is_finite());
            Some(Change {
                before: 0.0,
                after: median(&mut departures)?,
                weight: 1.0,
            })
        };
        let changes = |members: &[Member], divisor: f64| -> Vec<Change> {
            let changes = members.iter().filter_map(|member| change(member, divisor));
            changes.collect()
        };
        let noise = Noise {
            sigma_min,
            expected: None,
        };
        let fit = FleetFit::new(&changes(&self.fleet, 1.0), noise)?;
        let mut one_box = changes(&self.one_box, divisor);
        let all = fit.against(&one_box)?;
        one_box.sort_by(|a, b| (a.after * side).total_cmp(&(b.after * side)));
        one_box.pop();
        // Of a single host there is no rest.
        let rest = fit.against(&one_box).unwrap_or(all);
        (SHARED * all.effect * side < rest.effect * side).then_some(all)
    }
}
