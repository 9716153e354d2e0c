//! The difference between the one-box and the fleet, measured by the spread among fleet hosts.

use serde::{Deserialize, Serialize};

use crate::detect::stats::{mean, student_quantile};

/// Fewest fleet hosts for which the level before is regressed on instead of subtracted.
const ANCOVA_HOSTS_MIN: usize = 10;

/// A host's level before the deployment and in the window that is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) before: f64,
    pub(super) after: f64,
    /// Of a one-box host: its share of the samples that hosts usually have in the window, at most 1.
    pub(super) weight: f64,
}

impl Change {
    /// That of a host that counts as such a part of one.
    pub(super) fn of_part(mut self, part: f64) -> Self {
        self.weight *= part;
        self
    }
}

/// What is known of the noise beside the fleet's spread at this look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    /// Smallest standard deviation of a host's change that is believed.
    pub(super) sigma_min: f64,
    /// The variance of a host's change that the past leads one to expect, and its weight in degrees
    /// of freedom.
    pub(super) expected: Option<(f64, f64)>,
}

/// One-box against fleet, at one look.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CompareContrast")]
pub(super) struct Contrast {
    /// How much more the one-box changed than the fleet did.
    pub(super) effect: f64,
    /// Standard error of the effect, from the spread among fleet hosts.
    pub(super) error: f64,
    /// Degrees of freedom of that.
    pub(super) freedom: f64,
    /// The largest rise and the largest fall that groups of fleet hosts, as many as the one-box
    /// has, show at the same time; both as effects.
    pub(super) placebo: (f64, f64),
}

/// The fleet at one look: what it has in common, and how far its hosts are from that.
#[derive(Clone, Debug)]
pub(super) struct FleetFit {
    before: f64,
    after: f64,
    slope: f64,
    /// Sum of squares of the levels before; `None`: the level before is subtracted.
    scatter: Option<f64>,
    variance: f64,
    freedom: f64,
    /// How much more each host changed than the fleet did.
    residuals: Vec<f64>,
}

impl FleetFit {
    /// Fits the fleet. `None` with fewer than three hosts.
    ///
    /// With enough hosts the level after is regressed on the level before (ANCOVA), else the level
    /// before is subtracted. Hosts are normal around what they have in common: then `effect /
    /// error` of a contrast is t-distributed when the deployment does nothing, whatever happens over
    /// time. The spread of few hosts is shrunk towards what their past leads one to expect: then that
    /// holds as far as the noise stays what it was.
    pub(super) fn new(fleet: &[Change], noise: Noise) -> Option<Self> {
        let m = fleet.len();
        if m < 3 {
            return None;
        }
        let (before, after) = means(fleet)?;
        let (mut sxx, mut sxy) = (0.0, 0.0);
        for host in fleet {
            let x = host.before - before;
            sxx += x * x;
            sxy += x * (host.after - after);
        }
        // Levels that hardly differ tell nothing of the slope.
        let spread_min = noise.sigma_min * 1e-3;
        let is_ancova = m >= ANCOVA_HOSTS_MIN && sxx > m as f64 * spread_min * spread_min;
        let slope = if is_ancova { sxy / sxx } else { 1.0 };
        let residual = |host: &Change| (host.after - after) - slope * (host.before - before);
        let residuals: Vec<f64> = fleet.iter().map(residual).collect();
        let squares: f64 = residuals.iter().map(|residual| residual.powi(2)).sum();
        let (mut freedom, mut squares) = ((m - if is_ancova { 2 } else { 1 }) as f64, squares);
        if let Some((variance, weight)) = noise.expected {
            freedom += weight;
            squares += weight * variance;
        }
        Some(Self {
            before,
            after,
            slope,
            scatter: is_ancova.then_some(sxx),
            variance: (squares / freedom).max(noise.sigma_min * noise.sigma_min),
            freedom,
            residuals,
        })
    }

    /// How much more a host changed than the fleet did.
    pub(super) fn excess(&self, host: &Change) -> f64 {
        (host.after - self.after) - self.slope * (host.before - self.before)
    }

    /// These hosts against the fleet. `None` without any.
    ///
    /// The variance of a level over a part of the samples is at most inversely proportional to that
    /// part, and less where neighbouring samples resemble each other. So a one-box host that lacks
    /// samples counts as that part of a host.
    pub(super) fn against(&self, one_box: &[Change]) -> Option<Contrast> {
        let k: f64 = one_box.iter().map(|host| host.weight).sum();
        if k <= 0.0 {
            return None;
        }
        let own = |number: fn(&Change) -> f64| {
            let weighted = one_box.iter().map(|host| host.weight * number(host));
            weighted.sum::<f64>() / k
        };
        let (own_before, own_after) = (own(|host| host.before), own(|host| host.after));
        let distance = own_before - self.before;
        let mut inflation = 1.0 / k + 1.0 / self.residuals.len() as f64;
        if let Some(scatter) = self.scatter {
            inflation += distance * distance / scatter;
        }
        let effect = (own_after - self.after) - self.slope * distance;
        let error = (self.variance * inflation).sqrt();
        let groups = self
            .residuals
            .chunks_exact((k as usize).max(1))
            .filter_map(|group| mean(group.iter().copied()));
        let placebo = groups.fold((0.0_f64, 0.0_f64), |(rise, fall), group| {
            (rise.max(group), fall.min(group))
        });
        (effect.is_finite() && error.is_finite()).then_some(Contrast {
            effect,
            error,
            freedom: self.freedom,
            placebo,
        })
    }
}

impl Contrast {
    /// What an effect must exceed to be significant at this tail.
    pub(super) fn critical(&self, tail: f64) -> f64 {
        student_quantile(tail, self.freedom) * self.error
    }

    /// Whether the effect on this side (1 up, -1 down) exceeds what any group of the fleet shows.
    pub(super) fn exceeds_placebo(&self, side: f64) -> bool {
        let placebo = if side > 0.0 {
            self.placebo.0
        } else {
            -self.placebo.1
        };
        self.effect * side > placebo
    }
}

fn means(hosts: &[Change]) -> Option<(f64, f64)> {
    let before = mean(hosts.iter().map(|host| host.before))?;
    let after = mean(hosts.iter().map(|host| host.after))?;
    Some((before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: [(f64, f64); 12] = [
        (0.1, 0.22),
        (0.4, 0.35),
        (-0.3, -0.2),
        (0.25, 0.31),
        (0.05, -0.01),
        (-0.15, -0.05),
        (0.6, 0.52),
        (-0.45, -0.5),
        (0.33, 0.41),
        (-0.02, 0.1),
        (0.18, 0.12),
        (-0.27, -0.2),
    ];
    const ONE_BOX: [(f64, f64); 2] = [(0.2, 0.5), (-0.1, 0.3)];

    fn against(one_box: &[Change], fleet: &[Change], noise: Noise) -> Option<Contrast> {
        FleetFit::new(fleet, noise)?.against(one_box)
    }

    fn plain(sigma_min: f64) -> Noise {
        Noise {
            sigma_min,
            expected: None,
        }
    }

    fn changes(pairs: &[(f64, f64)]) -> Vec<Change> {
        let change = |&(before, after): &(f64, f64)| Change {
            before,
            after,
            weight: 1.0,
        };
        pairs.iter().map(change).collect()
    }

    /// Effect and error computed by an independent least-squares routine.
    #[test]
    fn effect_and_error_agree_with_an_independent_regression() {
        for (hosts, effect, error, freedom) in [
            (12, 0.319_971_487_577_831_2, 0.061_134_137_653_127_04, 10.0),
            (5, 0.316, 0.070_398_863_627_219_17, 4.0),
        ] {
            let contrast =
                against(&changes(&ONE_BOX), &changes(&FLEET[..hosts]), plain(0.001)).unwrap();
            assert!((contrast.effect - effect).abs() < 1e-12, "{contrast:?}");
            assert!((contrast.error - error).abs() < 1e-12, "{contrast:?}");
            assert_eq!(contrast.freedom, freedom);
        }
    }

    #[test]
    fn the_placebo_is_the_largest_change_of_as_many_fleet_hosts() {
        let fleet = [(0.0, 0.0), (0.0, 0.6), (0.0, -0.3), (0.0, -0.3)];
        let single = against(&changes(&[(0.0, 0.5)]), &changes(&fleet), plain(0.001)).unwrap();
        assert_eq!(single.placebo, (0.6, -0.3));
        assert!(!single.exceeds_placebo(1.0));
        let pair = against(&changes(&[(0.0, 0.5); 2]), &changes(&fleet), plain(0.001)).unwrap();
        assert!((pair.placebo.0 - 0.3).abs() < 1e-12 && (pair.placebo.1 + 0.3).abs() < 1e-12);
        assert!(pair.exceeds_placebo(1.0) && !pair.exceeds_placebo(-1.0));
    }

    #[test]
    fn the_spread_of_few_hosts_is_shrunk_towards_the_expected_one() {
        let fleet = changes(&FLEET[..5]);
        let plain = against(&changes(&ONE_BOX), &fleet, plain(0.001)).unwrap();
        let noise = Noise {
            sigma_min: 0.001,
            expected: Some((0.04, 6.0)),
        };
        let shrunk = against(&changes(&ONE_BOX), &fleet, noise).unwrap();
        assert_eq!(shrunk.effect, plain.effect);
        assert_eq!(shrunk.freedom, plain.freedom + 6.0);
        let inflation = 1.0 / 2.0 + 1.0 / 5.0;
        let expected = (4.0 * plain.error * plain.error + 6.0 * 0.04 * inflation) / 10.0;
        assert!((shrunk.error * shrunk.error - expected).abs() < 1e-12);
    }

    #[test]
    fn a_host_that_lacks_samples_counts_as_a_part_of_a_host() {
        let fleet = changes(&FLEET);
        let whole = against(&changes(&ONE_BOX), &fleet, plain(0.001)).unwrap();
        let mut poor = changes(&ONE_BOX);
        poor[1].weight = 0.25;
        let weighted = against(&poor, &fleet, plain(0.001)).unwrap();
        let single = against(&poor[..1], &fleet, plain(0.001)).unwrap();
        let mean = 0.8 * single.effect + 0.2 * (2.0 * whole.effect - single.effect);
        assert!((weighted.effect - mean).abs() < 1e-12, "{weighted:?}");
        assert!(whole.error < weighted.error && weighted.error < single.error);
        // A quarter of a host has four times the variance of one.
        poor.remove(0);
        let quarter = against(&poor, &fleet, plain(0.001)).unwrap();
        let host = against(&changes(&ONE_BOX[1..]), &fleet, plain(0.001)).unwrap();
        assert_eq!(quarter.effect, host.effect);
        let variance = (host.error / whole.error).powi(2);
        assert!(variance < (quarter.error / whole.error).powi(2) / 3.0);
    }

    #[test]
    fn too_few_hosts_give_no_contrast() {
        assert_eq!(
            against(&changes(&ONE_BOX), &changes(&FLEET[..2]), plain(0.01)),
            None
        );
        assert_eq!(against(&[], &changes(&FLEET), plain(0.01)), None);
    }

    /// Effect, error, degrees of freedom, and what an effect must exceed at a tail of 2.5e-4: computed by
    /// `scipy.stats.linregress` and `scipy.stats.t.isf`.
    #[test]
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    fn shrunk_errors_and_their_critical_values_agree_with_scipy() {
        for (hosts, expected, effect, error, freedom, critical) in [
            (
                12,
                Some((0.04, 6.0)),
                0.3199714875778312,
                0.10529601764752497,
                16.0,
                0.4576531971990079,
            ),
            (
                5,
                Some((0.04, 6.0)),
                0.316,
                0.137048896383736,
                10.0,
                0.691956143009734,
            ),
            (
                8,
                Some((0.01, 6.0)),
                0.3325000000000001,
                0.07290338706914683,
                13.0,
                0.33517051259036884,
            ),
            (
                12,
                None,
                0.3199714875778312,
                0.06113413765312703,
                10.0,
                0.30866459499417065,
            ),
        ] {
            let noise = Noise {
                sigma_min: 1e-6,
                expected,
            };
            let contrast = against(&changes(&ONE_BOX), &changes(&FLEET[..hosts]), noise).unwrap();
            let quantile = crate::detect::stats::student_quantile(2.5e-4, contrast.freedom);
            assert!((contrast.effect - effect).abs() < 1e-9, "{contrast:?}");
            assert!((contrast.error - error).abs() < 1e-9, "{contrast:?}");
            assert!((contrast.freedom - freedom).abs() < 1e-9, "{contrast:?}");
            assert!(
                (quantile * contrast.error - critical).abs() < 1e-9,
                "{contrast:?}"
            );
        }
    }
}
