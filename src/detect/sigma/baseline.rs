//! The history of one track, frozen when a deployment begins: what its blocks of time looked like.

use serde::{Deserialize, Serialize};

use crate::{
    detect::{
        Track, Unsound,
        robust::{lag_one, median, spread},
        state::{counted, possible},
    },
    event::{Span, Timestamp, Unit},
};

/// Values in a block: a median of fewer is fooled by a short spike.
const BLOCK_VALUES: usize = 6;
/// Shortest block.
const BLOCK_MIN: Span = Span::from_minutes(1);
/// Past values without which there is no history.
const VALUES_MIN: usize = 30;
/// Past blocks without which there is no history.
const BLOCKS_MIN: usize = 5;
/// Length of a past that shows the hours of the day.
const DAYS_FOR_HOURS: i64 = 3;
/// Blocks of an hour without which the hour takes the level of the whole day.
const HOUR_BLOCKS_MIN: usize = 3;
/// Spread of blocks below which a metric is never believed to be stiller, as a share of its level.
const BLOCK_SPREAD_MIN: f64 = 0.02;
/// Likewise of single values.
const VALUE_SPREAD_MIN: f64 = 0.01;
/// Share of a bound below which the distance to it does not count as a level.
const BOUND_SHARE_MIN: f64 = 0.002;
const HOUR: Span = Span::from_hours(1);

/// The history of one track.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Baseline {
    /// Length of a block in buckets.
    pub(super) block: usize,
    /// Level, or levels of the 24 hours of the day (UTC).
    centers: Vec<f64>,
    /// Robust standard deviation of single values; above 0.
    pub(super) scale: f64,
    /// Robust standard deviation of blocks, the uncertainty of the center included; above 0.
    pub(super) block_scale: f64,
    /// Correlation of neighbouring blocks; in [0, 0.95].
    pub(super) phi: f64,
    /// Largest deviation of any block.
    pub(super) deviation_max: f64,
    /// How many blocks it is from.
    pub(super) blocks: usize,
    /// What sizes are relative to: the level, or the distance to the bound that it sits at.
    pub(super) size: f64,
}

impl Baseline {
    /// Reads the past before the deployment. `None`: there is too little of it.
    pub(super) fn of(
        track: &Track,
        unit: Unit,
        resolution: Span,
        before: Timestamp,
    ) -> Option<Self> {
        let values: Vec<f64> = track
            .weighted(resolution, Timestamp::MIN, before)
            .map(ratio)
            .collect();
        let mut usable: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        if usable.len() < VALUES_MIN {
            return None;
        }
        let block = block_buckets(track, resolution);
        // The last value may be older than the deployment: blocks are counted back from it.
        let end = before.min(track.last_seen);
        let length = resolution.times(block as i64);
        let blocks: Vec<(Timestamp, f64)> = values
            .rchunks_exact(block)
            .enumerate()
            .filter_map(|(index, chunk)| {
                let at = end - length.times(index as i64 + 1);
                Some((at, block_median(chunk.iter().copied())?))
            })
            .collect();
        if blocks.len() < BLOCKS_MIN {
            return None;
        }
        let centers = centers(&blocks, resolution.times(values.len() as i64));
        let level = median(&mut usable)?;
        let mut baseline = Self {
            block,
            centers,
            scale: 0.0,
            block_scale: 0.0,
            phi: 0.0,
            deviation_max: 0.0,
            blocks: blocks.len(),
            size: size(level, unit),
        };
        let mut deviations: Vec<f64> = blocks
            .iter()
            .map(|(at, value)| value - baseline.center(*at))
            .collect();
        baseline.phi = lag_one(&deviations);
        baseline.deviation_max = deviations.iter().fold(0.0, |max, v| v.abs().max(max));
        let step = length.times(1).nanos() / block as i64;
        let mut singles: Vec<f64> = values
            .iter()
            .rev()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .map(|(index, value)| {
                value - baseline.center(end - Span::from_nanos(step * (index as i64 + 1)))
            })
            .collect();
        let fallback = rms(&singles);
        baseline.scale = positive([
            spread(&mut singles),
            VALUE_SPREAD_MIN * baseline.size,
            fallback,
        ]);
        let independent = blocks.len() as f64 * (1.0 - baseline.phi) / (1.0 + baseline.phi);
        let fallback = rms(&deviations);
        baseline.block_scale = positive([
            spread(&mut deviations),
            BLOCK_SPREAD_MIN * baseline.size,
            fallback,
        ]) * (1.0 + 1.0 / independent).sqrt();
        Some(baseline)
    }

    /// Refuses a saved history that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("length of a block", self.block as u64)?;
        possible("length of a block", 0 < self.block)?;
        possible("number of hours", matches!(self.centers.len(), 1 | 24))
    }

    /// What is expected at a time.
    pub(super) fn center(&self, at: Timestamp) -> f64 {
        let hour = at.nanos().div_euclid(HOUR.nanos()).rem_euclid(24) as usize;
        self.centers[hour % self.centers.len()]
    }

    /// Whether the hours of the day are told apart.
    pub(super) fn knows_hours(&self) -> bool {
        1 < self.centers.len()
    }
}

/// The median of a block, where at least half of the values that it needs are there.
pub(super) fn block_median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if values.len() < BLOCK_VALUES / 2 {
        return None;
    }
    median(&mut values)
}

/// A value over its exposure; not finite where there is none.
pub(super) fn ratio((value, exposure): (f32, f32)) -> f64 {
    f64::from(value) / f64::from(exposure)
}

fn block_buckets(track: &Track, resolution: Span) -> usize {
    let step = track.cadence().div_ceil(resolution).max(1);
    (step * BLOCK_VALUES).max(BLOCK_MIN.div_ceil(resolution))
}

fn centers(blocks: &[(Timestamp, f64)], past: Span) -> Vec<f64> {
    let level = |values: &mut Vec<f64>| median(values);
    let mut all: Vec<f64> = blocks.iter().map(|(_, value)| *value).collect();
    let overall = level(&mut all).unwrap_or(0.0);
    if past < Span::from_hours(24 * DAYS_FOR_HOURS) {
        return vec![overall];
    }
    let mut hours: Vec<Vec<f64>> = vec![Vec::new(); 24];
    for (at, value) in blocks {
        let hour = at.nanos().div_euclid(HOUR.nanos()).rem_euclid(24) as usize;
        hours[hour].push(*value);
    }
    hours
        .iter_mut()
        .map(|values| {
            if values.len() < HOUR_BLOCKS_MIN {
                overall
            } else {
                level(values).unwrap_or(overall)
            }
        })
        .collect()
}

/// What a deviation is large or small against: the level; of a share near its upper bound, the
/// distance to the bound, because 99 % is a disaster where 99.99 % is usual.
fn size(level: f64, unit: Unit) -> f64 {
    let bound = match unit {
        Unit::Percent => 100.0,
        Unit::Ratio => 1.0,
        Unit::Unknown
        | Unit::Seconds
        | Unit::Milliseconds
        | Unit::Microseconds
        | Unit::Nanoseconds
        | Unit::Bytes
        | Unit::Count => {
            return level.abs();
        }
    };
    level
        .abs()
        .min((bound - level).abs().max(BOUND_SHARE_MIN * bound))
}

fn rms(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|value| value * value).sum();
    (squares / values.len().max(1) as f64).sqrt()
}

/// The larger of the first two; where both are 0, the third; where nothing ever moved, a trifle,
/// so that any move is large.
fn positive([spread, least, fallback]: [f64; 3]) -> f64 {
    let scale = spread.max(least);
    if 0.0 < scale {
        scale
    } else if 0.0 < fallback {
        fallback
    } else {
        1e-9
    }
}
