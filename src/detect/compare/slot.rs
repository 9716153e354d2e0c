//! One host of the many-host comparison: its usual place in the fleet, and sums over windows.

use serde::{Deserialize, Serialize};

use super::{looks::TRAILING_COUNT, reading::HostPast, scale::Working};
use crate::detect::{
    HostId,
    stats::{MAD_TO_SIGMA, median},
};

/// Robust standard deviations at which single values are clipped.
const CLIP_SIGMAS: f64 = 4.0;
/// The same in tolerances, where that is more.
const CLIP_TOLERANCES: f64 = 4.0;
/// Values that tell the spread of the fleet well enough.
const SPREAD_VALUES: usize = 20_000;

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
    /// The value before, relative to the fleet.
    last: f64,
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
    /// Takes a value that is judged; `middle` is the middle of the fleet in the same bucket.
    pub(super) fn take(&mut self, working: &Working, clip: f64, number: Number, middle: f64) {
        let sums = self.sums(working, clip, number, middle);
        self.since.add(&sums);
        for halves in &mut self.halves {
            halves[1].add(&sums);
        }
    }

    /// The trailing window: the half that is over and the one that runs.
    pub(super) fn trailing(&self, window: usize) -> Sums {
        self.halves[window][0].plus(&self.halves[window][1])
    }

    /// What one value adds; remembers it as the last one.
    fn sums(&mut self, working: &Working, clip: f64, number: Number, middle: f64) -> Sums {
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
        let clipped = self.center + (plain - self.center).clamp(-clip, clip);
        let wiggle = (clipped - self.last).abs();
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

/// Learns the usual places of the hosts, the one-box first, and how far from it single values may
/// lie before they are clipped.
pub(super) fn learn(
    working: &Working,
    tolerance: f64,
    pasts: &[HostPast],
    one_box_count: usize,
) -> (Vec<Slot>, f64) {
    let numbers: Vec<Vec<f64>> = pasts
        .iter()
        .map(|past| {
            past.values
                .iter()
                .map(|value| working.of_past(*value))
                .collect()
        })
        .collect();
    let middles = middles(&numbers[one_box_count..]);
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
            last: f64::NAN,
        });
    }
    let sigma = MAD_TO_SIGMA * median(&mut distances).unwrap_or(0.0);
    let clip = (CLIP_SIGMAS * sigma).max(CLIP_TOLERANCES * tolerance);
    for (slot, (past, numbers)) in slots.iter_mut().zip(pasts.iter().zip(&numbers)) {
        for ((value, number), middle) in past.values.iter().zip(numbers).zip(&middles) {
            let number = Number {
                value: f64::from(value.0),
                exposure: f64::from(value.1),
                scaled: *number,
            };
            let sums = slot.sums(working, clip, number, *middle);
            slot.before.add(&sums);
        }
        slot.last = f64::NAN;
    }
    (slots, clip)
}

/// The middle of the fleet in each bucket.
fn middles(fleet: &[Vec<f64>]) -> Vec<f64> {
    let columns = fleet.iter().map(Vec::len).max().unwrap_or(0);
    let mut scratch = Vec::with_capacity(fleet.len());
    (0..columns)
        .map(|column| {
            scratch.clear();
            let values = fleet
                .iter()
                .filter_map(|numbers| numbers.get(column).copied());
            scratch.extend(values.filter(|value| value.is_finite()));
            median(&mut scratch).unwrap_or(f64::NAN)
        })
        .collect()
}
