//! One host of the many-host comparison: its usual place in the fleet, and sums over windows.

use serde::{Deserialize, Serialize};

use super::{
    hosts::{Farthest, Together, usual},
    looks::TRAILING_COUNT,
    reading::{HostPast, hold, per_exposure},
    scale::Working,
};
use crate::detect::{
    HostId,
    stats::{MAD_TO_SIGMA, median},
};

/// Robust standard deviations at which single values are clipped.
const CLIP_SIGMAS: f64 = 4.0;
/// The same in tolerances, where that is more.
const CLIP_TOLERANCES: f64 = 4.0;
/// Robust standard deviations at which distances of two successive values are clipped. One outlier among the values of
/// the first look at a spread then makes it look less than half as wide again, which is accepted; and what spreads
/// three times as wide looks 2.9 times as wide (2.3 times with half of it, which few hosts cannot prove).
const WIGGLE_SIGMAS: f64 = 8.0;
/// Values that tell the spread of the fleet well enough.
const SPREAD_VALUES: usize = 20_000;

/// How far single values may lie from where a host usually is, and distances of two successive ones from
/// zero, before they are clipped.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "CompareClip")]
pub(super) struct Clip {
    pub(super) level: f64,
    pub(super) wiggle: f64,
}

/// One host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareSlot")]
pub(super) struct Slot {
    pub(super) host: HostId,
    /// Its usual distance from the middle of the fleet.
    center: f64,
    pub(super) before: Sums,
    pub(super) since: Sums,
    /// For each trailing window, the half that is over and the one that runs.
    pub(super) halves: [[Sums; 2]; TRAILING_COUNT],
    /// Since the grace, over time.
    pub(super) trend: Trend,
    /// The value before, relative to the fleet.
    last: f64,
}

/// Sums over time for a line through values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CompareTrend")]
pub(super) struct Trend {
    count: f64,
    time: f64,
    squares: f64,
    sum: f64,
    moment: f64,
}

impl Trend {
    pub(super) fn add(&mut self, time: f64, value: f64) {
        self.count += 1.0;
        self.time += time;
        self.squares += time * time;
        self.sum += value;
        self.moment += time * value;
    }

    /// How much the least-squares line rises over so much time; `None` with too few values.
    pub(super) fn rise(&self, over: f64) -> Option<f64> {
        let scatter = self.squares - self.time * self.time / self.count;
        let slope = (self.moment - self.time * self.sum / self.count) / scatter;
        (self.count >= 3.0 && scatter > 0.0 && slope.is_finite()).then_some(slope * over)
    }

    /// Number of values.
    pub(super) fn count(&self) -> f64 {
        self.count
    }
}

/// Sums over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) count: f64,
    /// Of clipped values relative to the middle of the fleet; of numerators.
    pub(super) sum: f64,
    /// Of the same without clipping; of denominators.
    pub(super) plain: f64,
    /// Of the values on the working scale.
    pub(super) level: f64,
    /// Of distances between successive clipped values.
    pub(super) wiggle: f64,
}

/// One value of a host: numerator, denominator, and the value on the working scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) exposure: f64,
    /// On the working scale.
    pub(super) scaled: f64,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.plain += other.plain;
        self.level += other.level;
        self.wiggle += other.wiggle;
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }
}

impl Slot {
    /// Takes a value that is judged; `middle` is the middle of the fleet in the same bucket, `time`
    /// the number of the bucket.
    pub(super) fn take(
        &mut self,
        working: &Working,
        clip: Clip,
        number: Number,
        middle: f64,
        time: f64,
    ) {
        let sums = self.sums(working, clip, number, middle);
        self.since.add(&sums);
        if sums.count > 0.0 && !working.is_ratio() {
            self.trend.add(time, sums.sum);
        }
        for halves in &mut self.halves {
            halves[1].add(&sums);
        }
    }

    /// The trailing window: the half that is over and the one that runs.
    pub(super) fn trailing(&self, window: usize) -> Sums {
        self.halves[window][0].plus(&self.halves[window][1])
    }

    /// What one value adds; remembers it as the last one.
    fn sums(&mut self, working: &Working, clip: Clip, number: Number, middle: f64) -> Sums {
        if working.is_ratio() {
            if !(number.value.is_finite() && number.exposure > 0.0) {
                return Sums::default();
            }
            return Sums {
                count: 1.0,
                sum: number.value,
                plain: number.exposure,
                ..Sums::default()
            };
        }
        let plain = number.scaled - middle;
        if !plain.is_finite() {
            return Sums::default();
        }
        let clipped = self.center + (plain - self.center).clamp(-clip.level, clip.level);
        let wiggle = (clipped - self.last).abs().min(clip.wiggle);
        self.last = clipped;
        Sums {
            count: 1.0,
            sum: clipped,
            plain,
            level: number.scaled,
            wiggle: if wiggle.is_finite() { wiggle } else { 0.0 },
        }
    }
}

/// What the past tells.
pub(super) struct Learned {
    /// The usual places of the hosts, the one-box first.
    pub(super) slots: Vec<Slot>,
    /// How far from it single values may lie before they are clipped.
    pub(super) clip: Clip,
    /// How levels and spreads varied.
    pub(super) placebos: [Placebo; 2],
    /// How far hosts went by themselves.
    pub(super) farthest: Farthest,
}

/// Learns from the past of hosts, the one-box first.
pub(super) fn learn(
    working: &Working,
    tolerance: f64,
    pasts: &[HostPast],
    one_box_count: usize,
) -> Learned {
    let numbers: Vec<Vec<f64>> = pasts
        .iter()
        .map(|past| {
            past.values
                .iter()
                .map(|value| working.of_past(*value))
                .collect()
        })
        .collect();
    let fleet = &numbers[one_box_count..];
    let holds: Vec<usize> = fleet.iter().map(|numbers| hold_of(numbers)).collect();
    let middles = middles(fleet, &holds);
    let fleet_values = (pasts.len() - one_box_count) * middles.len();
    let stride = (fleet_values / SPREAD_VALUES).max(1);
    let mut distances = Vec::new();
    let mut slots = Vec::with_capacity(pasts.len());
    let mut finite: Vec<f64> = Vec::with_capacity(middles.len());
    for (index, (past, numbers)) in pasts.iter().zip(&numbers).enumerate() {
        finite.clear();
        let relative = numbers
            .iter()
            .zip(&middles)
            .map(|(number, middle)| number - middle);
        finite.extend(relative.filter(|value| value.is_finite()));
        let center = median(&mut finite).unwrap_or(0.0);
        if index >= one_box_count {
            // The values were reordered: a stride takes any of them.
            let thinned = finite.iter().skip(index % stride).step_by(stride);
            distances.extend(thinned.map(|value| (value - center).abs()));
        }
        slots.push(Slot {
            host: past.host,
            center,
            before: Sums::default(),
            since: Sums::default(),
            halves: [[Sums::default(); 2]; TRAILING_COUNT],
            trend: Trend::default(),
            last: f64::NAN,
        });
    }
    let sigma = MAD_TO_SIGMA * median(&mut distances).unwrap_or(0.0);
    let clip = Clip {
        level: (CLIP_SIGMAS * sigma).max(CLIP_TOLERANCES * tolerance),
        wiggle: WIGGLE_SIGMAS * sigma,
    };
    // Windows are counted in samples: of those that come in every other bucket or less, the past is too.
    let is_sparse = holds.iter().any(|hold| 1 < *hold);
    let samples = |numbers: &Vec<f64>| numbers.iter().filter(|number| number.is_finite()).count();
    let samples = is_sparse.then(|| fleet.iter().map(samples).max().unwrap_or(0));
    let middles = (&middles[..], samples);
    let hosts = (pasts, &numbers[..], one_box_count);
    let (placebos, farthest) = fill(working, clip, &mut slots, hosts, middles);
    Learned {
        slots,
        clip,
        placebos,
        farthest,
    }
}

/// Fills in the sums of the past, and learns how levels and spreads varied and how far hosts went: over
/// buckets, or over so many samples where those are rarer.
fn fill(
    working: &Working,
    clip: Clip,
    slots: &mut [Slot],
    (pasts, numbers, one_box_count): (&[HostPast], &[Vec<f64>], usize),
    (middles, samples): (&[f64], Option<usize>),
) -> ([Placebo; 2], Farthest) {
    let mut levels = Placebo::new(samples.unwrap_or(middles.len()));
    let mut spreads = levels.clone();
    let mut farthest = Farthest::new(samples.unwrap_or(middles.len()));
    let mut one_box = Together::default();
    let mut clipped = Vec::with_capacity(middles.len());
    let mut wiggles = Vec::with_capacity(middles.len());
    let mut plain = Vec::with_capacity(middles.len());
    let number = |mean: f64| {
        if working.is_ratio() {
            working.of_value(mean)
        } else {
            mean
        }
    };
    for (index, (slot, (past, numbers))) in
        slots.iter_mut().zip(pasts.iter().zip(numbers)).enumerate()
    {
        for values in [&mut clipped, &mut wiggles, &mut plain] {
            values.clear();
        }
        for ((value, number), middle) in past.values.iter().zip(numbers).zip(middles) {
            let number = Number {
                value: f64::from(value.0),
                exposure: f64::from(value.1),
                scaled: *number,
            };
            let sums = slot.sums(working, clip, number, *middle);
            slot.before.add(&sums);
            let is_there = sums.count > 0.0;
            let (level, as_it_came) = if working.is_ratio() {
                let ratio = per_exposure(sums.sum, sums.plain);
                (ratio, ratio)
            } else {
                (sums.sum, sums.plain)
            };
            let all = [
                (&mut clipped, level),
                (&mut wiggles, sums.wiggle),
                (&mut plain, as_it_came),
            ];
            for (values, value) in all {
                values.push(if is_there { value } else { f64::NAN });
            }
        }
        slot.last = f64::NAN;
        if samples.is_some() {
            for values in [&mut clipped, &mut wiggles, &mut plain] {
                values.retain(|value| value.is_finite());
            }
        }
        levels.learn(&clipped, number);
        if !working.is_ratio() {
            spreads.learn(&wiggles, f64::ln);
        }
        if index < one_box_count {
            one_box.add(&plain);
        } else {
            farthest.learn_fleet(&plain, usual(working, &plain), number);
        }
    }
    let one_box = one_box.means();
    farthest.learn_one_box(&one_box, usual(working, &one_box), number);
    ([levels, spreads], farthest)
}

/// Where hosts usually are, relative to the middle of the fleet; `None` of one that was never there with it.
pub(super) fn places(
    working: &Working,
    hosts: &[&HostPast],
    fleet: &[HostPast],
) -> Vec<Option<f64>> {
    let numbers = |past: &HostPast| -> Vec<f64> {
        let values = past.values.iter();
        values.map(|value| working.of_past(*value)).collect()
    };
    let fleet: Vec<Vec<f64>> = fleet.iter().map(numbers).collect();
    let holds: Vec<usize> = fleet.iter().map(|numbers| hold_of(numbers)).collect();
    let middles = middles(&fleet, &holds);
    let place = |past: &&HostPast| {
        let relative = numbers(past).into_iter().zip(&middles);
        let relative = relative.map(|(number, middle)| number - middle);
        let mut finite: Vec<f64> = relative.filter(|value| value.is_finite()).collect();
        median(&mut finite)
    };
    hosts.iter().map(place).collect()
}

/// The distances of these hosts, the one-box first, to the middle of the fleet, bucket by bucket and clipped as
/// values that are judged are; NaN where there is none.
pub(super) fn distances(
    slots: &[Slot],
    clip: Clip,
    numbers: &[Vec<f64>],
    one_box_count: usize,
) -> Vec<Vec<f64>> {
    let fleet = &numbers[one_box_count..];
    let holds: Vec<usize> = fleet.iter().map(|numbers| hold_of(numbers)).collect();
    let middles = middles(fleet, &holds);
    let of = |(slot, numbers): (&Slot, &Vec<f64>)| {
        let distance = |(number, middle): (&f64, &f64)| {
            slot.center + (number - middle - slot.center).clamp(-clip.level, clip.level)
        };
        numbers.iter().zip(&middles).map(distance).collect()
    };
    slots.iter().zip(numbers).map(of).collect()
}

/// Fewest buckets of the past that tell how means over windows vary.
const PLACEBO_BUCKETS_MIN: usize = 60;
/// Fewest blocks of one length that the past must hold.
const PLACEBO_BLOCKS_MIN: usize = 3;
/// Variances are taken this much larger than they were: hosts drift farther than a short past shows.
const PLACEBO_INFLATION: f64 = 1.5;

/// How much the hosts' distances to the fleet, averaged over windows of some length, or the logarithms of
/// their spreads, varied in the past: what a change from one window to another is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "ComparePlacebo")]
pub(super) struct Placebo {
    /// Lengths of blocks in buckets, the sums of squares between blocks of a host, and their degrees
    /// of freedom.
    lengths: Vec<(usize, f64, f64)>,
}

impl Placebo {
    fn new(buckets: usize) -> Self {
        let lengths = (0..32).map(|power| 1_usize << power);
        let fits = |length: &usize| {
            buckets >= PLACEBO_BUCKETS_MIN && length * PLACEBO_BLOCKS_MIN <= buckets
        };
        Self {
            lengths: lengths
                .take_while(fits)
                .map(|length| (length, 0.0, 0.0))
                .collect(),
        }
    }

    /// Learns from the past of one host, NaN where there was no value: how the number that is made of the
    /// mean of a block varies.
    fn learn(&mut self, values: &[f64], number: impl Fn(f64) -> f64) {
        for (length, squares, freedom) in &mut self.lengths {
            let blocks = values.rchunks_exact(*length).filter_map(|block| {
                let finite = block.iter().filter(|value| value.is_finite());
                let count = finite.clone().count();
                let number = number(finite.sum::<f64>() / count as f64);
                (count * 2 >= *length && number.is_finite()).then_some(number)
            });
            let (mut count, mut sum, mut whole) = (0.0, 0.0, 0.0);
            for block in blocks {
                count += 1.0;
                sum += block;
                whole += block * block;
            }
            if count >= 2.0 {
                *squares += (whole - sum * sum / count).max(0.0);
                *freedom += count - 1.0;
            }
        }
    }

    fn variance(&self, index: usize) -> Option<f64> {
        let (_, squares, freedom) = self.lengths.get(index)?;
        (*freedom >= 2.0 * PLACEBO_BLOCKS_MIN as f64).then(|| squares / freedom)
    }

    /// The same where the past holds windows as long.
    pub(super) fn change_within(&self, buckets: f64) -> Option<f64> {
        let (longest, ..) = *self.lengths.last()?;
        self.change(buckets).filter(|_| buckets <= longest as f64)
    }

    /// The variance of a host's change from the past to a window of so many buckets; `None` where
    /// the past is too short to tell.
    pub(super) fn change(&self, buckets: f64) -> Option<f64> {
        let longest = self.lengths.len().checked_sub(1)?;
        let fitting = self.lengths.iter();
        let index = fitting
            .take_while(|(length, ..)| *length as f64 <= buckets)
            .count()
            .saturating_sub(1);
        // The level before is the mean of a few of the longest blocks.
        let before = self.variance(longest)? / PLACEBO_BLOCKS_MIN as f64;
        Some(PLACEBO_INFLATION * (self.variance(index)? + before))
    }
}

/// How many buckets each value of a host stands for.
fn hold_of(numbers: &[f64]) -> usize {
    let is_there = |number: &f64| number.is_finite();
    let first = numbers.iter().position(is_there);
    let last = numbers.iter().rposition(is_there);
    let Some((first, last)) = first.zip(last) else {
        return 1;
    };
    let samples = numbers.iter().filter(|number| is_there(number)).count();
    hold(last - first, samples - 1)
}

/// The middle of the fleet in each bucket: of what each host said in it, or before for as long as that
/// stands.
fn middles(fleet: &[Vec<f64>], holds: &[usize]) -> Vec<f64> {
    let columns = fleet.iter().map(Vec::len).max().unwrap_or(0);
    let mut scratch = Vec::with_capacity(fleet.len());
    // The latest value of each host, and its column.
    let mut latest = vec![(f64::NAN, 0); fleet.len()];
    (0..columns)
        .map(|column| {
            scratch.clear();
            for ((numbers, hold), latest) in fleet.iter().zip(holds).zip(&mut latest) {
                if let Some(number) = numbers.get(column).filter(|number| number.is_finite()) {
                    *latest = (*number, column);
                }
                let (number, at) = *latest;
                if number.is_finite() && column - at < *hold {
                    scratch.push(number);
                }
            }
            median(&mut scratch).unwrap_or(f64::NAN)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::test_support::noise;

    #[test]
    fn the_rise_is_that_of_the_least_squares_line() {
        let mut trend = Trend::default();
        for (time, value) in [(0.0, 1.0), (1.0, 1.0), (2.0, 4.0), (5.0, 5.0)] {
            trend.add(time, value);
        }
        // numpy.polyfit([0, 1, 2, 5], [1, 1, 4, 5], 1)[0] = 0.857142...
        let rise = trend.rise(7.0).unwrap();
        assert!((rise - 6.0).abs() < 1e-12, "{rise}");
        assert_eq!(Trend::default().rise(1.0), None);
    }

    #[test]
    fn a_value_stands_until_the_next_one_is_due() {
        const NONE: f64 = f64::NAN;
        // Scraped in every third bucket, one host after the other; the last one stops.
        let fleet = [
            vec![1.0, NONE, NONE, 2.0, NONE, NONE, 3.0, NONE, NONE, 4.0],
            vec![NONE, 5.0, NONE, NONE, 6.0, NONE, NONE, 7.0, NONE, NONE],
            vec![NONE, NONE, 9.0, NONE, NONE, 9.0, NONE, NONE, NONE, NONE],
        ];
        let holds: Vec<usize> = fleet.iter().map(|numbers| hold_of(numbers)).collect();
        assert_eq!(holds, [3, 3, 3]);
        assert_eq!(
            middles(&fleet, &holds),
            [1.0, 3.0, 5.0, 5.0, 6.0, 6.0, 6.0, 7.0, 5.0, 5.5]
        );
        // What comes in nearly every bucket stands for its own.
        for (numbers, expected) in [
            (vec![1.0, NONE, 3.0, 4.0, 5.0, 6.0], 1),
            (vec![1.0], 1),
            (vec![NONE], 1),
            (vec![1.0, NONE, 2.0, NONE, 3.0, 4.0, NONE, 5.0], 2),
        ] {
            assert_eq!(hold_of(&numbers), expected, "{numbers:?}");
        }
    }

    #[test]
    fn longer_blocks_of_white_noise_vary_less_and_of_a_drift_do_not() {
        let (mut white, mut drift) = (Placebo::new(360), Placebo::new(360));
        for host in 0..20 {
            let values: Vec<f64> = (0..360).map(|step| noise(host, "white", step)).collect();
            white.learn(&values, |mean| mean);
            let slope = noise(host, "slope", 0) / 100.0;
            let values: Vec<f64> = (0..360).map(|step| f64::from(step) * slope).collect();
            drift.learn(&values, |mean| mean);
        }
        let (short, long) = (white.change(1.0).unwrap(), white.change(64.0).unwrap());
        assert!((short / 1.5 - 1.0).abs() < 0.1, "{short}");
        assert!(long < short / 30.0, "{long}");
        let (short, long) = (drift.change(1.0).unwrap(), drift.change(64.0).unwrap());
        assert!(long > 0.5 * short, "{short} {long}");
        assert_eq!(Placebo::new(59).change(1.0), None);
    }

    /// The variance of a change by the length of the window in buckets: computed by numpy.
    #[test]
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    fn the_scale_of_changes_agrees_with_numpy() {
        let mut placebo = Placebo::new(96);
        for host in 0..5 {
            let host = f64::from(host);
            let at = |time: i32| {
                let time = f64::from(time);
                (0.9 * time + host).sin() + 0.3 * (0.31 * time * (host + 1.0)).cos()
            };
            placebo.learn(&(0..96).map(at).collect::<Vec<f64>>(), |mean| mean);
        }
        for (buckets, variance) in [
            (1.0, 0.8697536478188532),
            (5.0, 0.2977226867629971),
            (20.0, 0.013989878999319319),
            (64.0, 0.006105876677272732),
        ] {
            let found = placebo.change(buckets).unwrap();
            assert!((found - variance).abs() < 1e-9, "{buckets}: {found}");
        }
    }
}
