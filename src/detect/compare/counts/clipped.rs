//! Counts of a round, clipped: bursts are one event, or a few.
//!
//! A host with many times the exposure of another has many times its events, but a clipped count has
//! no room for them, and would not be in proportion to the exposure. So a host counts as several, each with the
//! exposure of a small one: its events are dealt out among them at random, each of them is clipped, and
//! their sum is expected. Whatever factor the hosts' rates had, the mean of that is in proportion to the
//! exposure.
//!
//! Where all have many events, even the largest cap leaves no room for a harm: then they count as several by that.

use super::{Speakers, round::Count};
use crate::detect::compare::grid::{CAPS, CAPS_COUNT, Counted};

/// Exposures so small that no more events than this share of the cap are expected are never cut: what
/// is clipped there is next to nothing.
const RARE: f64 = 0.1;
/// Share of the largest cap that a part of the fleet may usually have: there is room for a few times as many.
const USUAL: f64 = 0.25;
/// Most parts that a small host is cut into for that.
const PARTS_MAX: f64 = 2.0;
/// Share of a side's exposure that may be of hosts that are smaller than a part.
const SMALLER: f64 = 0.1;

/// The counts of a round as the grid takes them.
#[derive(Clone, Debug)]
pub(super) struct Clipped {
    /// Of each host of the one-box.
    one_box: Vec<([f64; CAPS_COUNT], f64)>,
    fleet: [f64; CAPS_COUNT],
    fleet_exposure: f64,
    /// Into how many parts hosts are cut: of the one-box, and of the fleet.
    parts: [[f64; CAPS_COUNT]; 2],
}

impl Clipped {
    pub(super) fn new(one_box: &[Count], fleet: &[Count]) -> Self {
        let part = part(one_box, fleet);
        let clip = |count: &Count| clip(count, &part);
        let mut of_fleet = [0.0; CAPS_COUNT];
        for count in fleet {
            for (sum, events) in of_fleet.iter_mut().zip(clip(count)) {
                *sum += events;
            }
        }
        Self {
            one_box: one_box
                .iter()
                .map(|count| (clip(count), count.exposure))
                .collect(),
            fleet: of_fleet,
            fleet_exposure: fleet.iter().map(|count| count.exposure).sum(),
            parts: [one_box, fleet].map(|side| parts(side, &part)),
        }
    }

    /// What some hosts of the one-box counted beside the fleet, and their share of the exposure.
    pub(super) fn of(&self, speakers: Speakers, sets: usize) -> (Counted, f64) {
        let mut counted = Counted {
            one_box: [0.0; CAPS_COUNT],
            fleet: self.fleet,
            parts: self.parts,
        };
        let mut exposure = 0.0;
        let hosts = self.one_box.iter().enumerate();
        for (_, (events, of_host)) in hosts.filter(|(index, _)| speakers.has(*index, sets)) {
            exposure += of_host;
            for (sum, events) in counted.one_box.iter_mut().zip(events) {
                *sum += events;
            }
        }
        (counted, exposure / (exposure + self.fleet_exposure))
    }
}

/// The exposure of a part, by cap.
fn part(one_box: &[Count], fleet: &[Count]) -> [f64; CAPS_COUNT] {
    let whole = one_box.iter().chain(fleet);
    let (events, exposure, largest) =
        whole.fold((0.0, 0.0, 0.0_f64), |(events, sum, most), count| {
            (
                events + count.events,
                sum + count.exposure,
                most.max(count.exposure),
            )
        });
    let rare = exposure / events * RARE;
    if rare.is_nan() || largest <= rare {
        return [f64::INFINITY; CAPS_COUNT];
    }
    let small = [one_box, fleet]
        .map(small)
        .into_iter()
        .fold(f64::INFINITY, f64::min);
    let mut part = CAPS.map(|cap| small.max(rare * cap));
    let last = CAPS_COUNT - 1;
    let (events, exposure) = fleet.iter().fold((0.0, 0.0), |(events, sum), count| {
        (events + count.events, sum + count.exposure)
    });
    let roomy = (exposure / events * USUAL * CAPS[last]).max(small / PARTS_MAX);
    part[last] = part[last].min(roomy);
    part
}

/// The exposure of the smallest hosts of a side, but for those that have next to nothing of it.
fn small(side: &[Count]) -> f64 {
    let mut exposures: Vec<f64> = side.iter().map(|count| count.exposure).collect();
    exposures.sort_unstable_by(f64::total_cmp);
    let mut rest = SMALLER * exposures.iter().sum::<f64>();
    let small = exposures.into_iter().find(|exposure| {
        rest -= exposure;
        rest < 0.0
    });
    small.unwrap_or(f64::INFINITY)
}

/// Into how many parts the hosts of a side are cut, by exposure.
fn parts(side: &[Count], part: &[f64; CAPS_COUNT]) -> [f64; CAPS_COUNT] {
    let whole: f64 = side.iter().map(|count| count.exposure).sum();
    part.map(|part| {
        let parts = side
            .iter()
            .map(|count| count.exposure * (count.exposure / part).max(1.0));
        (parts.sum::<f64>() / whole.max(f64::MIN_POSITIVE)).max(1.0)
    })
}

/// The events of a host, by cap.
fn clip(count: &Count, part: &[f64; CAPS_COUNT]) -> [f64; CAPS_COUNT] {
    let events = count.events.max(0.0);
    std::array::from_fn(|index| {
        let (cap, parts) = (CAPS[index], count.exposure / part[index]);
        if events <= cap {
            events
        } else if parts <= 1.0 {
            cap
        } else {
            parts * dealt(events, 1.0 / parts, cap)
        }
    })
}

/// How many of so many events, each of which is dealt here with this chance, are expected, no more than
/// the cap being counted.
fn dealt(events: f64, chance: f64, cap: f64) -> f64 {
    let events = events.round();
    let odds = chance / (1.0 - chance);
    let mut exactly = (events * (-chance).ln_1p()).exp();
    let (mut at_most, mut mean, mut number) = (0.0, 0.0, 0.0);
    while number < cap {
        at_most += exactly;
        mean += (1.0 - at_most).max(0.0);
        exactly *= (events - number) / (number + 1.0) * odds;
        number += 1.0;
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::test_support::noise;

    /// Summed term by term over the binomial distribution, in another language.
    #[test]
    fn what_is_dealt_agrees_with_an_independent_sum() {
        for (events, chance, cap, expected) in [
            (20.0, 0.05, 1.0, 0.641_514_077_591_457_1),
            (20.0, 0.5, 4.0, 3.998_489_379_882_812_5),
            (60.0, 0.2, 16.0, 11.839_192_449_189_955),
        ] {
            let mean = dealt(events, chance, cap);
            assert!((mean / expected - 1.0).abs() < 1e-9, "{mean} {expected}");
        }
    }

    /// So many coins of which one in four shows an event.
    fn coins(host: u64, round: i64, count: u64) -> f64 {
        let shows = |coin| noise(1_000 * host + coin, "coin", round) > 0.674;
        (0..count).filter(|coin| shows(*coin)).count() as f64
    }

    #[test]
    fn clipped_counts_are_in_proportion_to_the_exposure() {
        for (own, other) in [(2_u64, 40_u64), (8, 40), (40, 40), (40, 8)] {
            let count = |host, round, size: u64| Count {
                // Now and then everyone has none.
                events: if round % 3 == 0 {
                    0.0
                } else {
                    coins(host, round, size)
                },
                exposure: size as f64,
            };
            let mut sums = [[0.0; CAPS_COUNT]; 2];
            for round in 0..600 {
                let one_box: Vec<Count> = (0..2).map(|host| count(host, round, own)).collect();
                let fleet: Vec<Count> = (2..8).map(|host| count(host, round, other)).collect();
                let clipped = Clipped::new(&one_box, &fleet);
                let (counted, share) = clipped.of(Speakers::All, 0);
                assert!((share - (2 * own) as f64 / (2 * own + 6 * other) as f64).abs() < 1e-9);
                for (sums, side) in sums.iter_mut().zip([counted.one_box, counted.fleet]) {
                    for (sum, events) in sums.iter_mut().zip(side) {
                        *sum += events;
                    }
                }
            }
            let exposures = [(2 * own) as f64, (6 * other) as f64];
            let [of_own, of_fleet] = sums;
            for (of_own, of_fleet) in of_own.into_iter().zip(of_fleet) {
                let ratio: f64 = of_own / exposures[0] / (of_fleet / exposures[1]);
                assert!(ratio.ln().abs() < 0.15, "{own} {other}: {ratio}");
            }
        }
    }

    #[test]
    fn many_events_leave_room_for_a_harm() {
        let count = |events| Count {
            events,
            exposure: 60.0,
        };
        let clipped = Clipped::new(&[count(60.0)], &[count(6.0); 11]);
        let (counted, _) = clipped.of(Speakers::All, 0);
        let ratio = counted.one_box[2] / (counted.fleet[2] / 11.0);
        assert!((3.8..4.5).contains(&ratio), "{ratio}");
        // A burst on the one-box makes no room for itself.
        let clipped = Clipped::new(&[count(600.0)], &[count(3.0); 11]);
        assert_eq!(clipped.of(Speakers::All, 0).0.one_box[2], 16.0);
    }

    #[test]
    fn hosts_of_one_size_are_clipped_one_by_one() {
        let count = |events| Count {
            events,
            exposure: 10.0,
        };
        let clipped = Clipped::new(&[count(30.0)], &[count(2.0), count(0.0), count(9.0)]);
        let (counted, _) = clipped.of(Speakers::All, 0);
        assert_eq!(counted.one_box, [1.0, 4.0, 16.0]);
        assert_eq!(counted.fleet, [2.0, 6.0, 11.0]);
        assert_eq!(counted.parts, [[1.0; CAPS_COUNT]; 2]);
    }
}
