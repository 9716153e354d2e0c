//! How far the hosts are from what is usual for them, beside each other.

use super::{Member, OwnPastTest, mean, median_of, quantile};
use crate::detect::HostId;

/// Share of the excursions of what is usually nothing that are not larger.
const LARGE_EXCURSION: f64 = 0.95;
/// Share of the past that must have been one: of what is rarer, four of six samples are not by chance.
const EXCURSIONS_MIN: f64 = 0.02;

/// How far hosts are from what is usual for them, relative to each other.
pub(super) struct Differences {
    pub(super) own: f64,
    /// Of each host of the one-box.
    pub(super) each: Vec<f64>,
    pub(super) others: Vec<f64>,
    /// The fleet's level relative to what is usual; 1 where levels do not compare.
    pub(super) load: f64,
}

impl OwnPastTest {
    /// The fleet hosts that it compares with.
    pub(in crate::detect::compare) fn fleet(&self) -> impl Iterator<Item = HostId> {
        self.fleet.iter().map(|member| member.host)
    }

    /// Allows the one-box to differ by so much on each side.
    pub(in crate::detect::compare) fn allowing(mut self, allowance: [f64; 2]) -> Self {
        self.allowance = allowance;
        self
    }

    /// How far a value is from what is usual, as far as another share of the traffic does not explain it:
    /// of what it would be if it follows the traffic, what it would be if it does not, and what lies
    /// between, the nearest to what is expected.
    pub(super) fn departure(&self, value: f64, usual: f64, expected: f64) -> f64 {
        let [up, down] = self.allowance;
        let other = value * (down - up).exp();
        let (low, high) = (value.min(other), value.max(other));
        if expected.is_finite() && low <= high {
            (usual + expected).clamp(low, high) - usual
        } else {
            value - usual
        }
    }

    /// The fleet's level relative to what is usual.
    pub(super) fn load_of(&self, fleet: &[f64]) -> f64 {
        if !self.is_comparable {
            return 1.0;
        }
        let ratios = fleet.iter().zip(&self.fleet);
        let ratios: Vec<f64> = ratios.map(|(value, member)| value / member.usual).collect();
        median_of(&ratios)
    }

    pub(super) fn differences(&self, own: &[f64], fleet: &[f64], is_relative: bool) -> Differences {
        let size = |member: &Member| if is_relative { member.usual } else { 1.0 };
        let fleet_now = fleet.iter().zip(&self.fleet);
        let of_fleet: Vec<f64> = fleet_now
            .map(|(value, member)| (value - member.usual) / size(member))
            .collect();
        let middle = median_of(&of_fleet);
        let one_box = own.iter().zip(&self.one_box);
        let own: Vec<f64> = one_box
            .map(|(value, member)| {
                let size = size(member);
                self.departure(*value, member.usual, middle * size) / size
            })
            .collect();
        let load = self.load_of(fleet);
        // Differences grow with the load of all hosts: under one that the past did not see they are
        // scaled down to it.
        let excess = (load / self.load_max).max(1.0);
        let others = (0..of_fleet.len())
            .map(|index| {
                let mut rest = of_fleet.clone();
                let of_this = rest.swap_remove(index);
                if rest.is_empty() {
                    of_this / excess
                } else {
                    (of_this - median_of(&rest)) / excess
                }
            })
            .collect();
        let each = own.iter().map(|value| (value - middle) / excess).collect();
        let own = mean(own.into_iter().filter(|value| value.is_finite())).unwrap_or(f64::NAN);
        Differences {
            own: (own - middle) / excess,
            each,
            others,
            load,
        }
    }
}

/// How far what is usually nothing strays now and then, by the differences of the past: the size that hardly
/// any of them exceeds; 0 for what is more than nothing, or strays too seldom to do it by chance for most
/// of a window. Medians say nothing of it, and its mean is a part of a unit: a few samples with one unit
/// each would be many times the usual.
pub(super) fn excursions(own: &[Vec<f64>], own_past: &[f64], other_pasts: &[Vec<f64>]) -> f64 {
    if own.iter().any(|values| median_of(values) != 0.0) {
        return 0.0;
    }
    let everyone = other_pasts.iter().flatten().chain(own_past);
    let sizes: Vec<f64> = everyone
        .map(|value| value.abs())
        .filter(|size| size.is_finite())
        .collect();
    let strayed = |size: &f64| *size > 0.0;
    let mut strays: Vec<f64> = sizes.iter().copied().filter(strayed).collect();
    if (strays.len() as f64) < EXCURSIONS_MIN * sizes.len() as f64 {
        return 0.0;
    }
    quantile(&mut strays, LARGE_EXCURSION).unwrap_or(0.0)
}
