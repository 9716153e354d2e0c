//! Short excursions that come back: each heals before a window is full of it, but there are many.

use serde::{Deserialize, Serialize};

use super::follower::{Follower, least_sigma};
use crate::detect::{
    Unsound,
    state::{counted, possible},
};

/// Separate excursions that are too many.
const EPISODES: usize = 4;
/// Of these another host than the one that led most must have led so many, or the version is not the reason.
const LED_BY_OTHERS: usize = 2;
/// One host that comes and goes by itself does so still, if it last did in this share of the time.
const STILL: usize = 4;
/// How much farther than ever before an excursion must go.
const BEYOND_PAST: f64 = 1.75;
/// How far the farthest of the past is at least, in standard deviations of single samples.
const LEAST_SIGMAS: f64 = 2.0;
/// Samples that make a past.
const SAMPLES_MIN: usize = 24;

/// The count of excursions on each side.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareRelapse")]
pub(super) struct Relapse {
    center: f64,
    /// Distance from the usual at which an excursion begins.
    reach: f64,
    /// Samples so far.
    taken: usize,
    /// Up, down.
    sides: [Side; 2],
}

/// The excursions on one side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "CompareRelapseSide")]
struct Side {
    /// Whether the last sample was out.
    is_out: bool,
    /// The host that led as this excursion began, if it counts.
    leader: Option<usize>,
    /// How many there were, by the host of the one-box that led: was farthest out as they began.
    led: Vec<usize>,
    /// Which sample began the latest.
    last: usize,
}

impl Relapse {
    /// Learns from the past of the one-box's distance to the fleet, which is followed by `own`, how far it ever
    /// went; `floor` is the smallest distance that counts.
    pub(super) fn learn(past: &[f64], own: &Follower, floor: f64) -> Option<Self> {
        let center = own.center;
        let finite = past.iter().copied().filter(|value| value.is_finite());
        let mut finite: Vec<f64> = finite.collect();
        let distances = finite.iter().map(|value| (value - center).abs());
        let farthest = distances.fold(0.0, f64::max);
        // One that never went so far was lucky, and of few values the next was not far.
        let farthest = farthest.max(LEAST_SIGMAS * least_sigma(&mut finite)) + own.step;
        (finite.len() >= SAMPLES_MIN).then_some(Self {
            center,
            reach: (BEYOND_PAST * farthest).max(floor),
            taken: 0,
            sides: Default::default(),
        })
    }

    /// Refuses a saved count that would not go on, of a one-box of so many hosts.
    pub(super) fn check(&self, hosts: usize) -> Result<(), Unsound> {
        counted("number of samples", self.taken as u64)?;
        for side in &self.sides {
            possible("latest excursion", side.last <= self.taken)?;
            possible("host", side.led.len() <= hosts.max(1))?;
            let led = side.leader.map(|leader| side.led.get(leader).copied());
            possible(
                "host that leads",
                led.is_none_or(|led| 0 < led.unwrap_or(0)),
            )?;
            for episodes in &side.led {
                counted("number of excursions", *episodes as u64)?;
            }
        }
        Ok(())
    }

    /// Takes the distances of a sample, of all of the one-box and of each of its hosts; NaN: there is none.
    /// An excursion lasts until the one-box is back, and counts if no fleet host goes as far while it lasts: of
    /// two that are hit alike now one is farther out and now the other.
    pub(super) fn take(&mut self, own: f64, each: &[f64], others: &[f64]) {
        if own.is_nan() {
            return;
        }
        self.taken += 1;
        let distance = own - self.center;
        let is_alone = others.iter().all(|other| {
            let is_near = other.abs() < distance.abs();
            is_near || other.is_nan()
        });
        for (side, sign) in self.sides.iter_mut().zip([1.0, -1.0]) {
            let is_now = distance * sign > self.reach;
            if is_now && !side.is_out && is_alone {
                let hosts = each.iter().enumerate().filter(|(_, value)| !value.is_nan());
                let leader = hosts.max_by(|(_, a), (_, b)| (*a * sign).total_cmp(&(*b * sign)));
                side.begin(leader.map_or(0, |(host, _)| host), each.len());
                side.last = self.taken;
            } else if is_now && !is_alone {
                side.share();
            } else if !is_now {
                side.leader = None;
            }
            side.is_out = is_now;
        }
    }

    /// Whether there were too many on this side. Where the one-box has several hosts, they must not all be led
    /// by the same one: that host comes and goes by itself. A version that makes all of them restless makes
    /// now one lead and now another.
    pub(super) fn is_chronic(&self, sign: f64) -> bool {
        let side = self.side(sign);
        EPISODES <= side.episodes() && (side.led.len() < 2 || side.is_led_by_several())
    }

    /// The host that comes and goes by itself on this side, and still does.
    pub(super) fn restless(&self, sign: f64) -> Option<usize> {
        let side = self.side(sign);
        let is_one = EPISODES <= side.episodes() && 1 < side.led.len() && !side.is_led_by_several();
        let is_still = self.taken - side.last <= self.taken / STILL;
        let hosts = side.led.iter().enumerate();
        let most = hosts.max_by_key(|(_, led)| **led).map(|(host, _)| host);
        most.filter(|_| is_one && is_still)
    }

    fn side(&self, sign: f64) -> &Side {
        &self.sides[usize::from(sign < 0.0)]
    }
}

impl Side {
    /// An excursion begins that this one of so many hosts leads.
    fn begin(&mut self, leader: usize, hosts: usize) {
        self.led.resize(hosts.max(1), 0);
        self.led[leader] += 1;
        self.leader = Some(leader);
    }

    /// A fleet host goes as far: this excursion does not count.
    fn share(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.led[leader] -= 1;
        }
    }

    fn episodes(&self) -> usize {
        self.led.iter().sum()
    }

    fn is_led_by_several(&self) -> bool {
        let episodes = self.episodes();
        let most = self.led.iter().max().copied().unwrap_or(0);
        LED_BY_OTHERS.max(episodes / EPISODES) <= episodes - most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Relapse {
        let past: Vec<f64> = (0..30)
            .map(|step| (f64::from(step * 7 % 30) - 14.5) / 15.0)
            .collect();
        Relapse::learn(&past, &Follower::new(&past, 0.1), 0.5).unwrap()
    }

    #[test]
    fn four_separate_excursions_are_too_many() {
        let mut relapse = calm();
        for value in [3.0, 3.0, 3.0, 0.0, 3.0, 0.0, 4.0, 0.5] {
            relapse.take(value, &[], &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0), "three excursions");
        relapse.take(2.5, &[], &[0.1]);
        assert!(relapse.is_chronic(1.0) && !relapse.is_chronic(-1.0));
    }

    #[test]
    fn of_few_values_the_next_but_one_is_no_excursion() {
        let past: Vec<f64> = (0..60).map(|step| 0.5 * f64::from(step % 4 - 1)).collect();
        let mut relapse = Relapse::learn(&past, &Follower::new(&past, 0.1), 0.1).unwrap();
        for value in [2.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0] {
            relapse.take(value, &[], &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0), "{relapse:?}");
        for value in [4.0, 0.0, 4.0, 0.0, 4.0, 0.0, 4.0, 0.0] {
            relapse.take(value, &[], &[0.1]);
        }
        assert!(relapse.is_chronic(1.0));
    }

    #[test]
    fn excursions_of_the_fleet_do_not_count() {
        let mut relapse = calm();
        for step in 0..10 {
            let value = if step % 2 == 0 { 3.0 } else { 0.0 };
            relapse.take(value, &[], &[value, f64::NAN]);
        }
        assert!(!relapse.is_chronic(1.0));
    }

    #[test]
    fn of_two_that_are_hit_alike_neither_comes_and_goes() {
        let mut relapse = calm();
        for step in 0..20 {
            let other = if step % 2 == 0 { 2.9 } else { 3.1 };
            relapse.take(3.0, &[], &[other]);
        }
        assert!(!relapse.is_chronic(1.0), "an incident of both");
        assert_eq!(relapse.sides[0].episodes(), 0);
        for _ in 0..4 {
            relapse.take(0.0, &[], &[0.1]);
            relapse.take(3.0, &[], &[0.1]);
        }
        assert!(relapse.is_chronic(1.0), "what is its own still counts");
    }

    #[test]
    fn excursions_that_one_host_of_several_leads_do_not_count() {
        let mut relapse = calm();
        for step in 0..20 {
            let value = if step % 2 == 0 { 3.0 } else { 0.0 };
            relapse.take(value, &[0.5, 2.0 * value, f64::NAN], &[0.1]);
        }
        assert!(!relapse.is_chronic(1.0), "the second host alone");
        assert_eq!(
            (relapse.restless(1.0), relapse.restless(-1.0)),
            (Some(1), None)
        );
        for _ in 0..10 {
            relapse.take(0.0, &[0.0; 3], &[0.1]);
        }
        assert_eq!(relapse.restless(1.0), None, "it has healed");
        // Two by another are enough, of twelve it takes three.
        for (of_second, of_third, is_chronic) in
            [(3, 1, false), (2, 2, true), (10, 2, false), (9, 3, true)]
        {
            let mut relapse = calm();
            for (host, times) in [(1, of_second), (2, of_third)] {
                for _ in 0..times {
                    let mut each = [0.0; 3];
                    each[host] = 9.0;
                    relapse.take(3.0, &each, &[0.1]);
                    relapse.take(0.0, &[0.0; 3], &[0.1]);
                }
            }
            assert_eq!(
                relapse.is_chronic(1.0),
                is_chronic,
                "{of_second} and {of_third}"
            );
        }
    }

    #[test]
    fn a_damaged_count_is_refused() {
        let mut relapse = calm();
        relapse.take(3.0, &[9.0, 0.0], &[0.1]);
        assert_eq!(relapse.check(2), Ok(()));
        assert!(relapse.check(1).is_err(), "a host that is not there leads");
        relapse.sides[0].last = 2;
        assert!(relapse.check(2).is_err(), "an excursion that is to come");
    }

    #[test]
    fn a_short_past_does_not_tell() {
        let past = [0.0; 23];
        assert!(Relapse::learn(&past, &Follower::new(&past, 0.1), 0.5).is_none());
    }
}
