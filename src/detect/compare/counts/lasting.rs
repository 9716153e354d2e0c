//! What all events say, where those that are clipped say too little, or hosts are too few to say how much they differ.

use super::{CountsTest, HOSTS_MIN, Side, tally::Tally};

/// Evidence that excludes a harm: 1 / 5 %.
const EXCLUDED_EVIDENCE: f64 = 20.0;
/// How far the lower bound of a harm lies below what was seen.
const BOUND_SIGMAS: f64 = 2.0;
/// The same as a chance.
const BOUND_TAIL: f64 = 0.023;
/// A rate that is likely harm however little is known of hosts, as a logarithm: as of levels, nobody would call more than
/// twice the fleet's healthy for want of knowledge. Healthy hosts of which one has twice the errors of the other
/// stay below it.
const GROSS: f64 = 0.81;

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
    /// tolerance, or that is gross. Bursts do not last, and what does is no PASS even where clipping hides most of it, or
    /// nothing is known of how much hosts differ.
    pub(super) fn lasts(&self, side: &Side) -> bool {
        let tallies = &self.tallies[0];
        let usual = side.whole.usual(0);
        let effect = |tally: &Tally| tally.effect(usual) * side.sign;
        let starts = [&tallies.since].into_iter().chain(&tallies.late);
        let ends = tallies.late.iter().map(Some).chain([None]);
        let parts = starts
            .zip(ends)
            .map(|(from, to)| to.map_or(*from, |to| from.until(to)));
        let parts: Vec<Tally> = parts.collect();
        let is_whole = tallies.late.len() == self.late.len() && parts.iter().all(Tally::is_of_both);
        let is_known = super::USUAL_LEAST <= usual || 0.0 < side.sign;
        let least = parts.iter().map(effect).fold(f64::INFINITY, f64::min);
        let (unknown, chance) = self.variances(side);
        let bound = self.tolerance.ln_1p() + BOUND_SIGMAS * (unknown + chance).sqrt();
        is_whole && is_known && (bound < least || self.is_gross(side, (least, chance)))
    }

    /// Whether what each part of the bake shows at the `least` is gross, and chance alone does not explain it: not by
    /// all events, whose logarithm has this variance by chance, or not by those that are clipped.
    fn is_gross(&self, side: &Side, (least, chance): (f64, f64)) -> bool {
        let usual = side.whole.usual(0);
        let gross = GROSS.max(self.tolerance.ln_1p());
        let seen = self.tallies[0].since.effect(usual) * side.sign;
        let is_beyond = || {
            gross + BOUND_SIGMAS * chance.sqrt() < seen
                || side.whole.tail_at(usual * (gross * side.sign).exp()) < BOUND_TAIL
        };
        self.fleet.len() < HOSTS_MIN && gross < least && is_beyond()
    }

    /// The variance of the logarithm of the ratio of rates: as far as the usual one is not known, and by chance.
    fn variances(&self, side: &Side) -> (f64, f64) {
        let Tally { one_box, fleet, .. } = self.tallies[0].since;
        let (unknown, unit) = side.whole.uncertainty();
        (unknown, unit / (one_box + 0.5) + unit / (fleet + 0.5))
    }
}
