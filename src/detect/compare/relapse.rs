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
    /// Whether an excursion that counts has not come back yet, and how many there were: up, down.
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

    /// Takes the distances of a sample; NaN: there is none. An excursion counts if no fleet host goes as
    /// far in the same sample, and, of a one-box of several hosts, if in one of its samples what is left
    /// without the host that shows most of it (`rest`: up, down) is as far out.
    pub(super) fn take(&mut self, own: f64, rest: Option<[f64; 2]>, others: &[f64]) {
        if own.is_nan() {
            return;
        }
        let distance = own - self.center;
        let is_alone = others.iter().all(|other| {
            let is_near = other.abs() < distance.abs();
            is_near || other.is_nan()
        });
        let (center, reach) = (self.center, self.reach);
        let is_beyond = |value: f64, side: f64| (value - center) * side > reach;
        let sides = [1.0, -1.0].into_iter().zip(rest.unwrap_or([own; 2]));
        for ((counts, episodes), (side, rest)) in self.sides.iter_mut().zip(sides) {
            let is_out = is_alone && is_beyond(own, side);
            let is_shared = is_beyond(rest, side);
            if is_out && is_shared && !*counts {
                *episodes += 1;
            }
            *counts = is_out && (*counts || is_shared);
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
            relapse.take(value, None, &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0), "three excursions");
        relapse.take(2.0, None, &[0.1]);
        assert!(relapse.is_chronic(1.0) && !relapse.is_chronic(-1.0));
    }

    #[test]
    fn excursions_of_the_fleet_do_not_count() {
        let mut relapse = calm();
        for step in 0..10 {
            let value = if step % 2 == 0 { 3.0 } else { 0.0 };
            relapse.take(value, None, &[value, f64::NAN]);
        }
        assert!(!relapse.is_chronic(1.0));
    }

    #[test]
    fn excursions_of_one_host_of_several_do_not_count() {
        let mut relapse = calm();
        for step in 0..20 {
            let value = if step % 2 == 0 { 3.0 } else { 0.0 };
            relapse.take(value, Some([0.5, value]), &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0));
        // Long ones count once, though the others waver.
        let mut rest = [5.0, 0.0].into_iter().cycle();
        for step in 0..24 {
            let value = if step % 8 < 7 { 3.0 } else { 0.0 };
            relapse.take(value, rest.next().map(|rest| [rest, value]), &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0), "three excursions");
        relapse.take(3.0, Some([3.0, 3.0]), &[0.1]);
        assert!(relapse.is_chronic(1.0) && !relapse.is_chronic(-1.0));
    }

    #[test]
    fn a_short_past_does_not_tell() {
        assert!(Relapse::learn(&[0.0; 23], 0.0, 0.5).is_none());
    }
}
