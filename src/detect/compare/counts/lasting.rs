//! What all events say, where those that are clipped say too little.

use super::{CountsTest, Side, tally::Tally};

/// Evidence that excludes a harm: 1 / 5 %.
const EXCLUDED_EVIDENCE: f64 = 20.0;
/// How far the lower bound of a harm lies below what was seen.
const BOUND_SIGMAS: f64 = 2.0;

impl CountsTest {
    /// The smallest harm that is excluded on every side; without events it stays what it was. What was seen is not
    /// excluded, whatever remains of it when it is clipped.
    pub(super) fn excluded(&self, has_events: bool) -> Option<f64> {
        if !has_events {
            return self.outcome.detectable;
        }
        let since = &self.tallies[0].since;
        self.sides.iter().try_fold(0.0_f64, |worst, side| {
            let excluded = side.whole.excluded(EXCLUDED_EVIDENCE)?.ln().abs();
            let seen = since.effect(side.whole.usual(0)) * side.sign;
            (seen < excluded).then(|| worst.max(excluded))
        })
    }

    /// Whether, when the bake is over, each quarter of it shows a harm so large that its lower bound is above the
    /// tolerance. Bursts do not last, and what does is no PASS even where clipping hides most of it.
    pub(super) fn lasts(&self, side: &Side) -> bool {
        let tallies = &self.tallies[0];
        let usual = side.whole.usual(0);
        let effect = |tally: &Tally| tally.effect(usual) * side.sign;
        let least = self.tolerance.ln_1p() + BOUND_SIGMAS * self.error(side);
        let starts = [&tallies.since].into_iter().chain(&tallies.late);
        let ends = tallies.late.iter().map(Some).chain([None]);
        let mut parts = starts
            .zip(ends)
            .map(|(from, to)| to.map_or(*from, |to| from.until(to)));
        let is_whole = tallies.late.len() == self.late.len();
        let is_known = super::USUAL_LEAST <= usual || 0.0 < side.sign;
        is_whole && is_known && parts.all(|part| part.is_of_both() && least < effect(&part))
    }

    /// The standard error of the logarithm of the ratio of rates: by chance, and as far as the usual one is not known.
    fn error(&self, side: &Side) -> f64 {
        let Tally { one_box, fleet, .. } = self.tallies[0].since;
        let (variance, unit) = side.whole.uncertainty();
        (variance + unit / (one_box + 0.5) + unit / (fleet + 0.5)).sqrt()
    }
}
