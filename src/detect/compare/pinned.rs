//! A metric that hardly ever leaves one value: a success rate of 100 %, an error count of nothing.

use serde::{Deserialize, Serialize};

use super::sample::{median_of, without_worst};
use crate::detect::stats::mean;

/// Share of equal samples above which a metric counts as pinned to a value.
const PINNED_SHARE: f64 = 0.97;
/// Samples of the last five that must leave the pinned value.
pub(super) const PINNED_SAMPLES: usize = 3;

/// A metric that is pinned to a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pinned {
    value: f64,
    departure_max: f64,
    /// Departures of the last five samples, newest last; NaN where the fleet departed too.
    last: [f64; 5],
    /// The smallest departure that any [`PINNED_SAMPLES`] of five samples shared so far, on each
    /// side: up, down.
    worst: [f64; 2],
}

impl Pinned {
    /// Whether the past of all hosts is pinned, and where.
    pub(super) fn find<'a>(hosts: impl Iterator<Item = &'a Vec<f64>>) -> Option<Self> {
        let finite = hosts.flatten().copied().filter(|value| value.is_finite());
        let values: Vec<f64> = finite.collect();
        let value = median_of(&values);
        let equal = values.iter().filter(|other| **other == value).count() as f64;
        if values.is_empty() || equal <= PINNED_SHARE * values.len() as f64 {
            return None;
        }
        let departures = values.iter().map(|other| (other - value).abs());
        Some(Self {
            value,
            departure_max: departures.fold(0.0, f64::max),
            last: [f64::NAN; 5],
            worst: [0.0; 2],
        })
    }

    /// Takes the values of a sample, NaN where there was none. Of several one-box hosts that one counts
    /// not which departs most: it may have fallen ill by itself.
    pub(super) fn take(&mut self, own: &[f64], fleet: &[f64]) {
        let Some(all) = mean(own.iter().copied().filter(|value| value.is_finite())) else {
            return;
        };
        let fleet = fleet.iter().filter(|value| value.is_finite());
        let others = fleet.fold(0.0_f64, |worst, value| {
            worst.max((value - self.value).abs())
        });
        let departure = self.shared(all, own);
        self.last.rotate_left(1);
        self.last[4] = if others < 0.5 * departure.abs() {
            departure
        } else {
            f64::NAN
        };
        for (worst, side) in self.worst.iter_mut().zip([1.0, -1.0]) {
            let mut sizes = self.last.map(|departure| (departure * side).max(0.0));
            sizes.sort_unstable_by(|a, b| b.total_cmp(a));
            *worst = worst.max(sizes[PINNED_SAMPLES - 1]);
        }
    }

    /// Whether it was left on this side, in some samples out of five: farther than it ever was, and
    /// by at least `least`. What happened once stands: a success rate that was never below 100 %
    /// and lost half of the requests for minutes is not forgiven, not even in the grace.
    pub(super) fn is_left(&self, side: f64, least: f64) -> bool {
        let worst = if side > 0.0 {
            self.worst[0]
        } else {
            self.worst[1]
        };
        worst > (2.0 * self.departure_max).max(least)
    }

    /// How far the one-box departs whose mean is `all`, without the host that does most.
    fn shared(&self, all: f64, hosts: &[f64]) -> f64 {
        let departure = all - self.value;
        if hosts.len() < 2 {
            return departure;
        }
        let [up, down] = without_worst(hosts).map(|rest| rest - self.value);
        if departure > 0.0 {
            up.max(0.0)
        } else {
            down.min(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned() -> Pinned {
        let past = vec![1.0; 40];
        Pinned::find([&past, &past].into_iter()).unwrap()
    }

    #[test]
    fn three_of_five_departures_count_and_stay() {
        let mut success = pinned();
        for own in [0.5, 1.0, 0.5, 1.0] {
            success.take(&[own], &[1.0, 1.0]);
        }
        assert!(!success.is_left(-1.0, 0.005));
        success.take(&[0.5], &[1.0, 1.0]);
        assert!(success.is_left(-1.0, 0.005) && !success.is_left(1.0, 0.005));
        for _ in 0..10 {
            success.take(&[1.0], &[1.0, 1.0]);
        }
        assert!(success.is_left(-1.0, 0.005));
    }

    #[test]
    fn what_one_host_of_several_does_alone_does_not_count() {
        let mut success = pinned();
        for _ in 0..5 {
            success.take(&[0.2, 1.0], &[1.0, 1.0]);
            success.take(&[0.2, f64::NAN], &[1.0, 1.0]);
        }
        assert!(!success.is_left(-1.0, 0.005));
        for _ in 0..3 {
            success.take(&[0.2, 0.9], &[1.0, 1.0]);
        }
        assert!(success.is_left(-1.0, 0.005) && !success.is_left(1.0, 0.005));
    }

    #[test]
    fn what_the_fleet_does_too_does_not_count() {
        let mut success = pinned();
        for _ in 0..5 {
            success.take(&[0.5], &[0.6, 1.0]);
        }
        assert!(!success.is_left(-1.0, 0.005));
    }

    #[test]
    fn a_metric_that_moves_is_not_pinned() {
        let past: Vec<f64> = (0..40).map(|step| f64::from(step % 10)).collect();
        assert!(Pinned::find([&past].into_iter()).is_none());
    }
}
