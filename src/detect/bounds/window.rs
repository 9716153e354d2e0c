//! Ratios of events over a time: the sums of both sides, against the limit.
//!
//! At ordinary traffic the ratio of one bucket is that of a few events: half of all requests may fail, and yet not
//! one in each bucket. Of all of `for` a short burst would be out as well. A third of it is between: what has to
//! be out all the time is the ratio over the latest third.

use super::{Bounds, Group, Reading, Selection, Track, View};
use crate::event::{Kind, Span, Timestamp, Unit};

/// The time over which the ratio is taken that has to be out of range for some time.
pub(crate) fn ratio_time(for_at_least: Span) -> Span {
    Span::from_nanos(for_at_least.nanos() / 3)
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

    /// The ratio over the latest third of `for` up to a time, or over as much of it as is judged, and the start of
    /// the first bucket in it that is out of range by itself, or of all of it. `None` without anything to divide by.
    pub(super) fn window(
        &self,
        view: &View<'_>,
        track: &Track,
        end: Timestamp,
    ) -> Option<(Reading, Timestamp)> {
        let resolution = view.panel.resolution();
        let buckets = ratio_time(self.for_at_least).div_ceil(resolution).max(1);
        let from = end - resolution.times(buckets as i64);
        let start = from.max(self.judged_from());
        let cells = track.weighted(resolution, start, end);
        let first = end - resolution.times(cells.len() as i64);
        // What a counter gained is told once for all the time since it was read before.
        let (mut sums, mut gap, mut least) = ((0.0, 0.0), 0, usual_step(track, resolution));
        let mut out = None;
        for (index, (value, exposure)) in cells.enumerate() {
            let (value, exposure) = (f64::from(value), f64::from(exposure));
            if !value.is_finite() || !exposure.is_finite() {
                gap += 1;
                continue;
            }
            let weight = (gap + 1).max(least) as f64;
            (gap, least) = (0, 1);
            sums = (sums.0 + weight * value, sums.1 + weight * exposure);
            let is_out = |reading: Reading| reading.headroom < 0.0;
            if out.is_none() && self.of_ratio(value, exposure).is_some_and(is_out) {
                out = Some(first + resolution.times(index as i64));
            }
        }
        Some((self.of_ratio(sums.0, sums.1)?, out.unwrap_or(start)))
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
