//! What the events of some hosts say, at any time, and of harm that begins late.

use serde::{Deserialize, Serialize};

use super::{HostPast, LEAVE_OUT_MAX, Noise, Speakers};
use crate::detect::{
    Unsound,
    compare::grid::{CAPS_COUNT, Counted, Grid, Mark},
    state::possible,
    stats::log_sum_exp,
};

/// How often evidence begins anew.
pub(super) const LATE_COUNT: usize = 3;
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
    /// Learns from the past of those who speak.
    pub(super) fn new(
        side: f64,
        noise: &Noise,
        one_box: &[HostPast],
        fleet: &[HostPast],
        speakers: Speakers,
        width: f64,
    ) -> Self {
        let sets = one_box.len().clamp(1, LEAVE_OUT_MAX);
        let kept: Vec<&HostPast> = one_box
            .iter()
            .enumerate()
            .filter(|(index, _)| speakers.has(*index, sets))
            .map(|(_, past)| past)
            .collect();
        let mut grid = Grid::new(side, noise.variation, kept.len(), noise.units);
        let columns = kept.iter().map(|past| past.values.len()).max().unwrap_or(0);
        for column in 0..columns {
            let mut counted = Counted::default();
            let (mut own, mut others) = (0.0, 0.0);
            for (hosts, is_one_box) in [(&kept, true), (&fleet.iter().collect(), false)] {
                for past in hosts {
                    let (value, exposure) = past.values[column];
                    if !(value.is_finite() && exposure.is_finite()) {
                        continue;
                    }
                    counted.add((f64::from(value) * width).round(), is_one_box);
                    *(if is_one_box { &mut own } else { &mut others }) += f64::from(exposure);
                }
            }
            if own > 0.0 && others > 0.0 {
                grid.observe(&counted, own / (own + others));
            }
        }
        let weights = grid.begin();
        Self {
            grid,
            weights,
            late: Vec::new(),
        }
    }

    /// Refuses saved evidence that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        possible("number of late starts", self.late.len() <= LATE_COUNT)?;
        self.grid.check(&self.weights)?;
        self.late.iter().try_for_each(Mark::check)
    }

    pub(super) fn begin_late(&mut self) {
        if self.late.len() < LATE_COUNT {
            self.late.push(self.grid.mark(&self.weights));
        }
    }

    pub(super) fn observe(
        &mut self,
        fleet: &Counted,
        own: &[(usize, f64, f64)],
        fleet_exposure: f64,
        speaks: impl Fn(usize) -> bool,
    ) {
        let mut counted = *fleet;
        let mut exposure = 0.0;
        for (index, events, host_exposure) in own {
            if speaks(*index) {
                counted.add(*events, true);
                exposure += host_exposure;
            }
        }
        if exposure > 0.0 {
            self.grid
                .observe(&counted, exposure / (exposure + fleet_exposure));
        }
    }

    /// The logarithm of the mixture.
    pub(super) fn log_evidence(&self) -> f64 {
        let since = self.grid.log_evidence(&self.weights) + (1.0 - LATE_SHARE).ln();
        let each = (LATE_SHARE / LATE_COUNT as f64).ln();
        let late = (0..LATE_COUNT).map(|index| {
            let mark = self.late.get(index);
            each + mark.map_or(0.0, |mark| self.grid.late_evidence(mark))
        });
        let terms: Vec<f64> = late.chain([since]).collect();
        log_sum_exp(terms.into_iter())
    }

    pub(super) fn clears(&self, bar: Bar) -> bool {
        if bar.log_evidence <= self.log_evidence() {
            return true;
        }
        let Some(tail) = bar.tail else { return false };
        let is_rare =
            |mark: &Mark| self.grid.late_tail(mark) <= LATE_SHARE * tail / LATE_COUNT as f64;
        self.grid.tail(&self.weights) <= (1.0 - LATE_SHARE) * tail || self.late.iter().any(is_rare)
    }

    /// The largest harm since a late start, as a logarithm of the ratio of rates to what is usual.
    pub(super) fn late_harm(&self) -> Option<f64> {
        let harms = self.late.iter().map(|mark| self.grid.late_harm(mark));
        harms.max_by(f64::total_cmp)
    }

    /// The smallest harm that is excluded, see [`Grid::excluded`].
    pub(super) fn excluded(&self, evidence: f64) -> Option<f64> {
        self.grid.excluded(&self.weights, evidence)
    }

    /// The usual factor of these hosts, from their own past.
    pub(super) fn usual(&self) -> f64 {
        self.grid.usual(&self.weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::HostId;

    /// Two hosts beside eight, an event on the fleet each bucket, and on the one-box as healthy hosts
    /// have them until `harmed_from`, then four times as often.
    fn evidence(buckets: usize, harmed_from: usize) -> Evidence {
        let past = |host: u32| HostPast {
            host: HostId(host),
            values: vec![(0.0, 1.0); 10],
        };
        let noise = Noise {
            variation: 0.25,
            units: [1.0; CAPS_COUNT],
        };
        let one_box = [past(0), past(1)];
        let fleet: Vec<HostPast> = (2..10).map(past).collect();
        let mut evidence = Evidence::new(1.0, &noise, &one_box, &fleet, Speakers::All, 10.0);
        for bucket in 0..buckets {
            if [buckets / 4, buckets / 2, 3 * buckets / 4].contains(&bucket) {
                evidence.begin_late();
            }
            let mut counted = Counted::default();
            counted.add(1.0, false);
            let is_harmed = harmed_from <= bucket;
            let events = if is_harmed || bucket.is_multiple_of(4) {
                1.0
            } else {
                0.0
            };
            evidence.observe(&counted, &[(0, events, 1.0), (1, 0.0, 1.0)], 8.0, |_| true);
        }
        evidence
    }

    #[test]
    fn harm_that_begins_late_is_not_diluted_by_the_health_before() {
        let bar = Bar::new(0.001, 0.2, false);
        let late = evidence(160, 120);
        assert!(late.grid.log_evidence(&late.weights) < bar.log_evidence);
        assert!(late.clears(bar), "{}", late.log_evidence());
        let effect = late.late_harm().unwrap();
        assert!((effect - 4.0_f64.ln()).abs() < 0.2, "{effect}");
        let healthy = evidence(160, 160);
        assert!(healthy.log_evidence() < 0.0, "{}", healthy.log_evidence());
        assert!(!healthy.clears(Bar::new(0.001, 0.2, true)));
    }

    /// Twelve events at a time on each fleet host, and as many for its tenth of the traffic on the one-box:
    /// what caps leave of them is many times the one-box's share.
    #[test]
    fn little_traffic_is_no_late_harm() {
        let mut evidence = evidence(0, 0);
        evidence.begin_late();
        for bucket in 0..400_u32 {
            let mut counted = Counted::default();
            for _ in 0..8 {
                counted.add(12.0, false);
            }
            let own = f64::from(u32::from(bucket.is_multiple_of(5))) * 6.0;
            evidence.observe(&counted, &[(0, own, 0.1)], 8.0, |_| true);
        }
        let harm = evidence.late_harm().unwrap();
        assert!(harm < 0.1, "{harm}");
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
