//! The trend of one track over a window, such that saw-teeth and restarts do not feign one.

use crate::{
    detect::{
        Track,
        robust::{lag_one, median, quantile, spread, theil_sen},
    },
    event::{Interval, Span},
};

/// Into how many blocks a window is cut, at most.
const BLOCKS_MAX: usize = 30;
/// Blocks with data that a trend needs at least.
const BLOCKS_MIN: usize = 6;
/// Which quantile of a third counts as its lower (upper) envelope.
const ENVELOPE: f64 = 0.1;

/// The trend of one track over a window. Slopes are per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trend {
    /// Theil and Sen's slope over medians of blocks.
    pub(super) slope: f64,
    /// Standard error of the slope, with the correlation of neighbours taken into account.
    pub(super) error: f64,
    /// Degrees of freedom of `error`; at least 1.
    pub(super) freedom: f64,
    /// The median of the window.
    pub(super) level: f64,
    /// Medians of the thirds of the window.
    pub(super) thirds: [f64; 3],
    /// Lower envelope of the first and of the last third.
    low: [f64; 2],
    /// Upper envelope of the first and of the last third.
    high: [f64; 2],
    /// The slope over the later half.
    pub(super) late: f64,
    /// Length of the window.
    pub(super) seconds: f64,
}

impl Trend {
    /// The trend, if at least half of the window has data.
    pub(super) fn of(track: &Track, resolution: Span, window: Interval) -> Option<Self> {
        let (points, expected) = blocks(track, resolution, window);
        if points.len() < BLOCKS_MIN.max(expected.div_ceil(2)) {
            return None;
        }
        let seconds = window.span().seconds_f64();
        let slope = theil_sen(&points)?;
        let mut offsets: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
        let offset = median(&mut offsets.clone())?;
        for value in &mut offsets {
            *value -= offset;
        }
        let phi = lag_one(&offsets);
        let count = (points.len() as f64 * (1.0 - phi) / (1.0 + phi)).max(3.0);
        let late: Vec<(f64, f64)> = points
            .iter()
            .copied()
            .filter(|(x, _)| seconds / 2.0 <= *x)
            .collect();
        let third = |index: f64| -> Vec<f64> {
            points
                .iter()
                .filter(|(x, _)| seconds * index / 3.0 <= *x && *x < seconds * (index + 1.0) / 3.0)
                .map(|(_, y)| *y)
                .collect()
        };
        let (mut first, mut middle, mut last) = (third(0.0), third(1.0), third(2.0));
        Some(Self {
            slope,
            error: spread(&mut offsets) * (12.0 / count).sqrt() / seconds,
            freedom: count - 2.0,
            level: median(&mut points.iter().map(|(_, y)| *y).collect::<Vec<_>>())?,
            thirds: [
                median(&mut first)?,
                median(&mut middle)?,
                median(&mut last)?,
            ],
            low: [
                quantile(&mut first, ENVELOPE)?,
                quantile(&mut last, ENVELOPE)?,
            ],
            high: [
                quantile(&mut first, 1.0 - ENVELOPE)?,
                quantile(&mut last, 1.0 - ENVELOPE)?,
            ],
            late: theil_sen(&late)?,
            seconds,
        })
    }

    /// The same with rise and fall swapped.
    pub(super) fn flipped(self) -> Self {
        Self {
            slope: -self.slope,
            level: -self.level,
            thirds: self.thirds.map(|level| -level),
            low: self.high.map(|level| -level),
            high: self.low.map(|level| -level),
            late: -self.late,
            ..self
        }
    }

    /// Whether the whole window rises, faster than the limit (per second), and still does: what a
    /// leak does, and neither a saw-tooth (its lower envelope stands), nor a restart (its level
    /// falls), nor a cache that fills up (its later half is flat).
    pub(super) fn is_sustained_rise(&self, limit: f64) -> bool {
        // The middles of the outer thirds are two thirds of the window apart.
        let expected = self.slope * self.seconds * 2.0 / 3.0;
        let [first, middle, last] = self.thirds;
        0.0 < self.slope
            && limit < self.slope
            && expected / 2.0 <= last - first
            && expected / 4.0 <= last - middle
            && expected / 2.0 <= self.low[1] - self.low[0]
            && self.slope / 2.0 <= self.late
    }
}

/// Medians of blocks by the time of their middle, in seconds from the start of the window, and how
/// many blocks there should be.
fn blocks(track: &Track, resolution: Span, window: Interval) -> (Vec<(f64, f64)>, usize) {
    if !track.has_data() {
        return (Vec::new(), 1);
    }
    let buckets = window.span().div_ceil(resolution).max(1);
    let step = track.cadence().div_ceil(resolution).clamp(1, buckets);
    let width = buckets.div_ceil(BLOCKS_MAX).max(step);
    let mut points = Vec::with_capacity(buckets / width + 1);
    let mut block = Vec::with_capacity(width);
    let lead = window_lead(track, resolution, window);
    for (index, (value, exposure)) in track
        .weighted(resolution, window.start, window.end)
        .enumerate()
    {
        let index = index + lead;
        if index.is_multiple_of(width) {
            close(&mut block, &mut points, index, width, resolution);
        }
        let value = f64::from(value) / f64::from(exposure);
        if value.is_finite() {
            block.push(value);
        }
        if (index + 1).is_multiple_of(width) {
            close(&mut block, &mut points, index + 1, width, resolution);
        }
    }
    let end = buckets.div_ceil(width) * width;
    close(&mut block, &mut points, end, width, resolution);
    (points, buckets.div_ceil(width))
}

/// How many buckets of the window lie before the oldest that the track remembers.
fn window_lead(track: &Track, resolution: Span, window: Interval) -> usize {
    let remembered = track
        .values(resolution, crate::event::Timestamp::MIN, track.last_seen)
        .len();
    let oldest = track.last_seen - resolution.times(remembered as i64);
    (oldest - window.start).div_ceil(resolution)
}

fn close(
    block: &mut Vec<f64>,
    points: &mut Vec<(f64, f64)>,
    end: usize,
    width: usize,
    resolution: Span,
) {
    if let Some(value) = median(block) {
        let middle = (end as f64 - width as f64 / 2.0) * resolution.seconds_f64();
        points.push((middle, value));
    }
    block.clear();
}
