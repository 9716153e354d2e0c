//! Short excursions that come back: each heals before a window is full of it, but there are many.

use serde::{Deserialize, Serialize};

use crate::detect::{Unsound, state::counted};

/// Separate excursions that are too many.
const EPISODES: usize = 4;
/// How much farther than ever before an excursion must go.
const BEYOND_PAST: f64 = 1.75;
/// Samples that make a past.
const SAMPLES_MIN: usize = 24;

/// The count of excursions on each side.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareRelapse")]
pub(super) struct Relapse {
    center: f64,
    /// Distance from the usual at which an excursion begins.
    reach: f64,
    /// Whether the last sample was out, and how many excursions there were: up, down.
    sides: [(bool, usize); 2],
}

impl Relapse {
    /// Learns from the past of the one-box's distance to the fleet how far it ever went; `floor` is
    /// the smallest distance that counts.
    pub(super) fn learn(past: &[f64], center: f64, floor: f64) -> Option<Self> {
        let finite = past.iter().filter(|value| value.is_finite());
        let distances = finite.map(|value| (value - center).abs());
        let (samples, farthest) = distances.fold((0, 0.0_f64), |(samples, farthest), distance| {
            (samples + 1, farthest.max(distance))
        });
        (samples >= SAMPLES_MIN).then_some(Self {
            center,
            reach: (BEYOND_PAST * farthest).max(floor),
            sides: [(false, 0); 2],
        })
    }

    /// Refuses a saved count that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        let mut sides = self.sides.iter();
        sides.try_for_each(|(_, episodes)| counted("number of excursions", *episodes as u64))
    }

    /// Takes the distances of a bucket; NaN: there is none. An excursion counts if no fleet host
    /// goes as far in the same bucket.
    pub(super) fn take(&mut self, own: f64, others: &[f64]) {
        if own.is_nan() {
            return;
        }
        let distance = own - self.center;
        let is_alone = others.iter().all(|other| {
            let is_near = other.abs() < distance.abs();
            is_near || other.is_nan()
        });
        for ((is_out, episodes), side) in self.sides.iter_mut().zip([1.0, -1.0]) {
            let is_now = is_alone && distance * side > self.reach;
            if is_now && !*is_out {
                *episodes += 1;
            }
            *is_out = is_now;
        }
    }

    /// Whether there were too many on this side.
    pub(super) fn is_chronic(&self, side: f64) -> bool {
        self.sides[usize::from(side < 0.0)].1 >= EPISODES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Relapse {
        let past: Vec<f64> = (0..30).map(|step| f64::from(step % 3) - 1.0).collect();
        Relapse::learn(&past, 0.0, 0.5).unwrap()
    }

    #[test]
    fn four_separate_excursions_are_too_many() {
        let mut relapse = calm();
        for value in [3.0, 3.0, 3.0, 0.0, 3.0, 0.0, 4.0, 0.5] {
            relapse.take(value, &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0), "three excursions");
        relapse.take(2.0, &[0.1]);
        assert!(relapse.is_chronic(1.0) && !relapse.is_chronic(-1.0));
    }

    #[test]
    fn excursions_of_the_fleet_do_not_count() {
        let mut relapse = calm();
        for step in 0..10 {
            let value = if step % 2 == 0 { 3.0 } else { 0.0 };
            relapse.take(value, &[value, f64::NAN]);
        }
        assert!(!relapse.is_chronic(1.0));
    }

    #[test]
    fn a_short_past_does_not_tell() {
        assert!(Relapse::learn(&[0.0; 23], 0.0, 0.5).is_none());
    }
}
