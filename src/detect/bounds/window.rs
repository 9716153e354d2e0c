//! Ratios over a time: the sums of both sides over the latest `for`, against the limit.
//!
//! At ordinary traffic the ratio of one bucket is that of a few events: half of all requests may fail, and yet not
//! one in each bucket.

use super::{Bounds, Group, Reading, Selection, Track, View};
use crate::event::{Kind, Span, Timestamp, Unit};

/// The ratio over the latest `for`, or over as much of it as there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) reading: Reading,
    /// Start of its first bucket that is out of range by itself, or of all of it.
    pub(super) since: Timestamp,
    /// Whether it lies after the grace as a whole, and at least half of it has data.
    pub(super) is_whole: bool,
}

impl Bounds {
    /// Whether it is a ratio of events that has to be out of range for some time.
    pub(super) fn takes_windows(&self, group: &Group) -> bool {
        let is_ratio = match &self.check.selection {
            Selection::Series(series) => series.per.is_some(),
            Selection::Logs(_) => false,
        };
        is_ratio && group.kind == Kind::Counter && Span::ZERO < self.for_at_least
    }

    /// The window that ends with a bucket. `None` without anything to divide by.
    pub(super) fn window(&self, view: &View<'_>, track: &Track, end: Timestamp) -> Option<Window> {
        let resolution = view.panel.resolution();
        let buckets = self.for_at_least.div_ceil(resolution);
        let from = end - resolution.times(buckets as i64);
        let start = from.max(self.judged_from());
        let cells = track.weighted(resolution, start, end);
        let first = end - resolution.times(cells.len() as i64);
        let step = usual_step(track, resolution);
        // What a counter gained is told once for all the time since it was read before.
        let (mut sums, mut filled, mut gap) = ((0.0, 0.0), 0, 0);
        let mut out = None;
        for (index, (value, exposure)) in cells.enumerate() {
            let (value, exposure) = (f64::from(value), f64::from(exposure));
            if !value.is_finite() || !exposure.is_finite() {
                gap += 1;
                continue;
            }
            let is_first = filled == 0;
            let weight = if is_first { step.max(gap + 1) } else { gap + 1 } as f64;
            (gap, filled) = (0, filled + step);
            sums = (sums.0 + weight * value, sums.1 + weight * exposure);
            let is_out = |reading: Reading| reading.headroom < 0.0;
            if out.is_none() && self.of_ratio(value, exposure).is_some_and(is_out) {
                out = Some(first + resolution.times(index as i64));
            }
        }
        Some(Window {
            reading: self.of_ratio(sums.0, sums.1)?,
            since: out.unwrap_or(start),
            is_whole: self.judged_from() <= from && buckets <= 2 * filled,
        })
    }

    /// When the first window is whole, if each bucket has data.
    pub(super) fn whole_at(&self, resolution: Span) -> Timestamp {
        let from = self.judged_from();
        let bucket = from.floor(resolution);
        let first = if bucket == from {
            bucket
        } else {
            bucket + resolution
        };
        first + resolution.times(self.for_at_least.div_ceil(resolution) as i64)
    }

    fn of_ratio(&self, value: f64, exposure: f64) -> Option<Reading> {
        let ratio = (0.0 < exposure).then(|| value / exposure)?;
        self.against(ratio, ratio, Unit::Unknown, true)
    }
}

/// How many buckets there are usually from one with data to the next.
fn usual_step(track: &Track, resolution: Span) -> usize {
    let half = Span::from_nanos(resolution.nanos() / 2);
    let cadence = track.cadence() + half;
    usize::try_from(cadence.nanos() / resolution.nanos()).map_or(1, |step| step.max(1))
}
