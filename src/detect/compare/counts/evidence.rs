//! What the events of some hosts say, at any time, and of harm that begins late.

use serde::{Deserialize, Serialize};

use super::{Noise, Speakers, clipped::Clipped};
use crate::detect::{
    Unsound,
    compare::grid::{CAPS_COUNT, Grid, Mark, widened},
    state::possible,
    stats::log_sum_exp,
};

/// How often evidence begins anew.
pub(super) const LATE_COUNT: usize = 3;
/// What evidence is gathered over: all since the judging began, and since each late start.
pub(super) const WINDOWS: usize = 1 + LATE_COUNT;
/// Share of the whole that is put on harm that begins late.
const LATE_SHARE: f64 = 0.4;

/// The evidence of one set of one-box hosts against the fleet: a mixture of processes that begin
/// with the judging, or later. Each is 1 until it begins and none expects to grow where nothing is
/// wrong, so that their mixture does not either: however often it is looked at, it exceeds `1 / alpha`
/// with a chance of `alpha` at most. What begins later begins with what was learned of the hosts until
/// then, and needs two nats more, but is not diluted by the time before the harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CountsEvidence")]
pub(super) struct Evidence {
    grid: Grid,
    weights: [Vec<f64>; CAPS_COUNT],
    /// What the past says of healthy factors, beside the fleet of then.
    known: [Vec<f64>; CAPS_COUNT],
    late: Vec<Mark>,
}

/// What harm takes: evidence at any time, or at the last look, a number that is too rare by chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    log_evidence: f64,
    tail: Option<f64>,
}

impl Bar {
    /// The bar that the others must clear where one host is not to be the only reason. Evidence at any time
    /// and the last look have the whole chance each: the harm has cleared a bar of its own before.
    pub(super) fn shared(tail: f64, is_last: bool) -> Self {
        Self {
            log_evidence: -tail.ln(),
            tail: is_last.then_some(tail),
        }
    }

    /// The bar of a chance of `alpha`, of which a share is kept for the last look.
    pub(super) fn new(alpha: f64, share_last: f64, is_last: bool) -> Self {
        Self {
            log_evidence: -(alpha * (1.0 - share_last)).ln(),
            tail: is_last.then_some(alpha * share_last),
        }
    }
}

impl Evidence {
    /// Learns from the rounds of the past of those who speak: one of so many sets, of so many hosts.
    pub(super) fn new(
        side: f64,
        noise: &Noise,
        past: &[Clipped],
        (speakers, sets): (Speakers, usize),
        hosts: usize,
    ) -> Self {
        let kept = (0..hosts).filter(|index| speakers.has(*index, sets));
        let mut grid = Grid::new(side, noise.variation, kept.count(), noise.units);
        for round in past {
            let (counted, share) = round.of(speakers, sets);
            grid.observe(&counted, share);
        }
        let weights = grid.begin();
        Self {
            grid,
            known: weights.clone(),
            weights,
            late: Vec::new(),
        }
    }

    /// Refuses saved evidence that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        possible("number of late starts", self.late.len() <= LATE_COUNT)?;
        self.grid.check(&self.weights)?;
        self.grid.check(&self.known)?;
        self.late.iter().try_for_each(Mark::check)
    }

    /// Begins anew beside another fleet, whose own factor has a logarithm of this standard deviation.
    pub(super) fn go_on(&mut self, sigma: f64) {
        self.weights = self.known.each_ref().map(|known| widened(known, sigma));
        self.grid.restart();
        self.late.clear();
    }

    pub(super) fn begin_late(&mut self) {
        if self.late.len() < LATE_COUNT {
            self.late.push(self.grid.mark(&self.weights));
        }
    }

    pub(super) fn observe(&mut self, round: &Clipped, speakers: Speakers, sets: usize) {
        let (counted, share) = round.of(speakers, sets);
        self.grid.observe(&counted, share);
    }

    /// The logarithm of the mixture.
    pub(super) fn log_evidence(&self) -> f64 {
        let parts = (0..WINDOWS).map(|window| self.part(window));
        log_sum_exp(parts.collect::<Vec<_>>().into_iter())
    }

    /// The logarithm of what a window adds to the mixture: the first is all since the judging began.
    fn part(&self, window: usize) -> f64 {
        let evidence = match window.checked_sub(1) {
            None => self.grid.log_evidence(&self.weights),
            Some(late) => {
                let mark = self.late.get(late);
                mark.map_or(0.0, |mark| self.grid.late_evidence(mark))
            }
        };
        evidence + share(window).ln()
    }

    /// Whether the mixture clears a bar, or a window of it does at the last look.
    pub(super) fn clears(&self, bar: Bar) -> bool {
        let windows = 0..=self.late.len();
        bar.log_evidence <= self.log_evidence()
            || windows.into_iter().any(|window| self.is_rare(bar, window))
    }

    /// Whether what one window adds is enough.
    pub(super) fn clears_in(&self, bar: Bar, window: usize) -> bool {
        bar.log_evidence <= self.part(window) || self.is_rare(bar, window)
    }

    fn is_rare(&self, bar: Bar, window: usize) -> bool {
        let Some(tail) = bar.tail else { return false };
        let chance = match window.checked_sub(1) {
            None => self.grid.tail(&self.weights),
            Some(late) => {
                let mark = self.late.get(late);
                mark.map_or(1.0, |mark| self.grid.late_tail(mark))
            }
        };
        chance <= share(window) * tail
    }

    /// The smallest harm that is excluded, see [`Grid::excluded`].
    pub(super) fn excluded(&self, evidence: f64) -> Option<f64> {
        self.grid.excluded(&self.weights, evidence)
    }

    /// See [`Grid::tail_at`].
    pub(super) fn tail_at(&self, factor: f64) -> f64 {
        self.grid.tail_at(factor)
    }

    /// See [`Grid::uncertainty`].
    pub(super) fn uncertainty(&self) -> (f64, f64) {
        self.grid.uncertainty(&self.weights)
    }

    /// The usual factor of these hosts in a window, from what was before it.
    pub(super) fn usual(&self, window: usize) -> f64 {
        let mark = window.checked_sub(1).and_then(|late| self.late.get(late));
        mark.map_or_else(
            || self.grid.usual(&self.weights),
            |mark| self.grid.late_usual(mark),
        )
    }
}

/// The share of the chance that a window has.
fn share(window: usize) -> f64 {
    if window == 0 {
        1.0 - LATE_SHARE
    } else {
        LATE_SHARE / LATE_COUNT as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::compare::counts::round::Count;

    /// Two hosts beside eight, an event on the fleet each bucket, and on the one-box as healthy hosts
    /// have them until `harmed_from`, then four times as often.
    fn evidence(buckets: usize, harmed_from: usize) -> Evidence {
        let noise = Noise {
            variation: 0.25,
            units: [1.0; CAPS_COUNT],
        };
        let one = |events: f64| Count {
            events,
            exposure: 1.0,
        };
        let mut evidence = Evidence::new(1.0, &noise, &[], (Speakers::All, 0), 2);
        for bucket in 0..buckets {
            if [buckets / 4, buckets / 2, 3 * buckets / 4].contains(&bucket) {
                evidence.begin_late();
            }
            let is_harmed = harmed_from <= bucket;
            let events = if is_harmed || bucket.is_multiple_of(4) {
                1.0
            } else {
                0.0
            };
            let mut fleet = vec![one(0.0); 8];
            fleet[bucket % 8].events = 1.0;
            let round = Clipped::new(&[one(events), one(0.0)], &fleet);
            evidence.observe(&round, Speakers::All, 0);
        }
        evidence
    }

    #[test]
    fn harm_that_begins_late_is_not_diluted_by_the_health_before() {
        let bar = Bar::new(0.001, 0.2, false);
        let late = evidence(160, 120);
        assert!(late.grid.log_evidence(&late.weights) < bar.log_evidence);
        assert!(late.clears(bar), "{}", late.log_evidence());
        let usual = late.usual(WINDOWS - 1);
        assert!(usual.ln().abs() < 0.2, "{usual}");
        let healthy = evidence(160, 160);
        assert!(healthy.log_evidence() < 0.0, "{}", healthy.log_evidence());
        assert!(!healthy.clears(Bar::new(0.001, 0.2, true)));
    }

    /// Twelve events at a time on each fleet host, and as many for its tenth of the traffic on the one-box:
    /// what caps leave of whole hosts is many times that.
    #[test]
    fn little_traffic_is_no_late_harm() {
        let mut evidence = evidence(0, 0);
        evidence.begin_late();
        for bucket in 0..400_u32 {
            let count = |events: f64, exposure: f64| Count { events, exposure };
            let own = if bucket.is_multiple_of(5) { 2.0 } else { 1.0 };
            let round = Clipped::new(&[count(own, 0.1)], &[count(12.0, 1.0); 8]);
            evidence.observe(&round, Speakers::All, 0);
        }
        assert!(evidence.log_evidence() < 0.0, "{}", evidence.log_evidence());
        assert!(!evidence.clears(Bar::new(0.001, 0.2, true)));
    }

    #[test]
    fn until_something_happens_the_mixture_is_one() {
        let fresh = evidence(0, 0);
        assert!(
            fresh.log_evidence().abs() < 1e-9,
            "{}",
            fresh.log_evidence()
        );
    }
}
