//! The recent past of everything that a check looks at, bucket by bucket.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::HostId;
use crate::{
    event::{Interval, Kind, Labels, Severity, Span, Timestamp, Unit},
    reduce::LossReason,
};

/// Which number of a metric a group holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stat {
    /// The value itself: mean of a gauge, rate of a counter, rate of log records.
    #[default]
    Value,
    /// A quantile of a distribution, in tenths of a percent (990 is p99).
    Quantile(u16),
}

/// What makes two series of different hosts comparable: equal labels but for the roles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Metric name and labels without host, service, region and version.
    pub labels: Labels,
    /// Which number of it.
    pub stat: Stat,
}

/// What a check sees of its service.
#[derive(Clone, Debug)]
pub struct Panel {
    resolution: Span,
    depth: usize,
    /// Grown, never reordered: bindings and detectors refer to groups by index.
    groups: Vec<Group>,
    /// Every index of `groups` once.
    by_key: BTreeMap<GroupKey, usize>,
    /// Message templates of the selected log records, by text.
    pub templates: BTreeMap<Arc<str>, TemplateTrack>,
}

/// One metric over all hosts.
#[derive(Clone, Debug)]
pub struct Group {
    /// What it is.
    pub key: GroupKey,
    /// What the series count or measure.
    pub kind: Kind,
    /// Their unit, from the configuration, the protocol, or unknown.
    pub unit: Unit,
    /// By host.
    tracks: Vec<Option<Box<Track>>>,
}

/// One metric of one host: the recent past, newest last.
#[derive(Clone, Debug)]
pub struct Track {
    /// Number of the bucket after the newest, counted from the epoch.
    next: i64,
    depth: usize,
    values: VecDeque<f32>,
    /// As long as `values`, or empty where the metric has no exposure.
    exposures: VecDeque<f32>,
    /// The bucket that has just closed, if it has data.
    pub cell: Option<Cell>,
    /// Start of the first bucket with data.
    pub first_seen: Timestamp,
    /// End of the latest bucket with data.
    pub last_seen: Timestamp,
    /// How many buckets had data.
    pub covered: u64,
    /// Longest stretch between two buckets with data, from end to start.
    pub gap_longest: Span,
    /// The latest loss and the end of the bucket that told it.
    pub loss: Option<(LossReason, Timestamp)>,
}

/// One bucket of one metric of one host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Mean of a gauge, rate per second of a counter or of log records, a quantile. With an
    /// exposure: the rate of the numerator.
    pub value: f64,
    /// Lowest sample in the bucket.
    pub min: f64,
    /// Highest sample in the bucket.
    pub max: f64,
    /// How many events: the increase of a counter, the number of log records; 0 for gauges.
    pub events: f64,
    /// Rate per second of what the value is divided by (`per`); `None`: nothing.
    pub exposure: Option<f64>,
}

/// A message template that the check selects.
#[derive(Clone, Debug)]
pub struct TemplateTrack {
    /// Start of the first bucket that had it, on any host.
    pub first_seen: Timestamp,
    /// End of the latest bucket that had it.
    pub last_seen: Timestamp,
    /// The highest severity it came with.
    pub severity: Severity,
    /// In the bucket that has just closed: hosts and counts, ascending by host.
    pub now: Vec<(HostId, u64)>,
}

impl Panel {
    /// An empty panel that remembers `depth` buckets of the given width.
    pub fn new(resolution: Span, depth: usize) -> Self {
        Self {
            resolution,
            depth: depth.max(1),
            groups: Vec::new(),
            by_key: BTreeMap::new(),
            templates: BTreeMap::new(),
        }
    }

    /// The index of the group, which is made if it is new. Kind and unit are those of the first
    /// series.
    pub fn group_index(&mut self, key: &GroupKey, kind: Kind, unit: Unit) -> usize {
        if let Some(index) = self.by_key.get(key) {
            return *index;
        }
        let index = self.groups.len();
        self.groups.push(Group {
            key: key.clone(),
            kind,
            unit,
            tracks: Vec::new(),
        });
        self.by_key.insert(key.clone(), index);
        index
    }

    /// The groups with their indices, in the order of their keys.
    pub fn groups(&self) -> impl Iterator<Item = (usize, &Group)> {
        self.by_key
            .values()
            .map(|index| (*index, &self.groups[*index]))
    }

    /// The group at an index that [`Panel::group_index`] gave.
    pub fn group(&self, index: usize) -> &Group {
        &self.groups[index]
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing was ever selected.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Width of a bucket.
    pub fn resolution(&self) -> Span {
        self.resolution
    }

    /// Adds the bucket that has just closed to a track, which is made if it is new. Says whether
    /// the metric moved: a value other than the one before, or any event.
    pub fn record(&mut self, group: usize, host: HostId, bucket: Interval, cell: Cell) -> bool {
        let (resolution, depth) = (self.resolution, self.depth);
        let track = self.groups[group].track_mut(host, depth, bucket.start);
        let before = track
            .values
            .back()
            .copied()
            .filter(|value| value.is_finite());
        track.record(resolution, bucket, cell);
        cell.events > 0.0
            || cell.exposure.is_some_and(|exposure| exposure > 0.0)
            || cell.min < cell.max
            || before.is_some_and(|before| before != cell.value as f32)
    }

    /// Notes that data of a track was lost in the bucket that has just closed. Of several reasons in
    /// one bucket the greatest stands, whatever order they come in.
    pub fn record_loss(
        &mut self,
        group: usize,
        host: HostId,
        bucket: Interval,
        reason: LossReason,
    ) {
        let depth = self.depth;
        let track = self.groups[group].track_mut(host, depth, bucket.start);
        let known = track.loss.filter(|(_, at)| *at == bucket.end);
        let reason = known.map_or(reason, |(known, _)| known.max(reason));
        track.loss = Some((reason, bucket.end));
    }

    /// Forgets the cells of the bucket that closed before; called before a bucket is recorded.
    pub fn clear_cells(&mut self) {
        for group in &mut self.groups {
            for track in group.tracks.iter_mut().flatten() {
                track.cell = None;
            }
        }
        for template in self.templates.values_mut() {
            template.now.clear();
        }
    }
}

impl Group {
    /// The track of a host, if it ever had data (or losses).
    pub fn track(&self, host: HostId) -> Option<&Track> {
        self.tracks.get(host.0 as usize)?.as_deref()
    }

    fn track_mut(&mut self, host: HostId, depth: usize, at: Timestamp) -> &mut Track {
        let index = host.0 as usize;
        if self.tracks.len() <= index {
            self.tracks.resize_with(index + 1, || None);
        }
        self.tracks[index].get_or_insert_with(|| Box::new(Track::new(depth, at)))
    }
}

impl Track {
    fn new(depth: usize, at: Timestamp) -> Self {
        Self {
            next: i64::MIN,
            depth,
            values: VecDeque::new(),
            exposures: VecDeque::new(),
            cell: None,
            first_seen: at,
            last_seen: Timestamp::MIN,
            covered: 0,
            gap_longest: Span::ZERO,
            loss: None,
        }
    }

    fn record(&mut self, resolution: Span, bucket: Interval, cell: Cell) {
        let number = bucket.start.nanos().div_euclid(resolution.nanos());
        if self.covered == 0 {
            self.first_seen = bucket.start;
        } else {
            self.gap_longest = self.gap_longest.max(bucket.start - self.last_seen);
            let missing = usize::try_from(number - self.next)
                .unwrap_or(0)
                .min(self.depth);
            for _ in 0..missing {
                self.push(f32::NAN, cell.exposure.map(|_| f32::NAN));
            }
        }
        self.push(
            cell.value as f32,
            cell.exposure.map(|exposure| exposure as f32),
        );
        self.next = number + 1;
        self.last_seen = bucket.end;
        self.covered += 1;
        self.cell = Some(cell);
    }

    fn push(&mut self, value: f32, exposure: Option<f32>) {
        if self.values.len() == self.depth {
            self.values.pop_front();
            self.exposures.pop_front();
        }
        self.values.push_back(value);
        if let Some(exposure) = exposure {
            self.exposures.push_back(exposure);
        }
    }

    /// Whether it ever had a usable value.
    pub fn has_data(&self) -> bool {
        self.covered > 0
    }

    /// The values of the buckets in `[from, to)`, oldest first, one for each bucket that is still
    /// remembered; NaN where there was no data. Buckets after the newest are not listed.
    pub fn values(
        &self,
        resolution: Span,
        from: Timestamp,
        to: Timestamp,
    ) -> impl ExactSizeIterator<Item = f32> + DoubleEndedIterator {
        self.values.range(self.range(resolution, from, to)).copied()
    }

    /// Like [`Track::values`], each with its exposure; 1 where the metric has none.
    pub fn weighted(
        &self,
        resolution: Span,
        from: Timestamp,
        to: Timestamp,
    ) -> impl ExactSizeIterator<Item = (f32, f32)> {
        self.range(resolution, from, to).map(|index| {
            (
                self.values[index],
                self.exposures.get(index).copied().unwrap_or(1.0),
            )
        })
    }

    fn range(&self, resolution: Span, from: Timestamp, to: Timestamp) -> std::ops::Range<usize> {
        if self.covered == 0 {
            return 0..0;
        }
        let oldest = self.next - self.values.len() as i64;
        let index = |at: Timestamp, round_up: bool| {
            let width = resolution.nanos();
            let number = at.nanos().div_euclid(width)
                + i64::from(round_up && at.nanos().rem_euclid(width) != 0);
            usize::try_from(number.saturating_sub(oldest))
                .unwrap_or(0)
                .min(self.values.len())
        };
        // A bucket belongs to [from, to) when it lies in it as a whole.
        let (start, end) = (index(from, true), index(to, false));
        start.min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: Span = Span::from_seconds(10);

    fn bucket(number: i64) -> Interval {
        let start = Timestamp::from_seconds(number * 10);
        Interval {
            start,
            end: start + WIDTH,
        }
    }

    fn cell(value: f64) -> Cell {
        Cell {
            value,
            min: value,
            max: value,
            events: 0.0,
            exposure: None,
        }
    }

    fn panel(depth: usize, cells: &[(i64, f64)]) -> Panel {
        let mut panel = Panel::new(WIDTH, depth);
        let key = GroupKey {
            labels: Labels::new([("__name__", "cpu")]),
            stat: Stat::Value,
        };
        let group = panel.group_index(&key, Kind::Gauge, Unit::Unknown);
        for (number, value) in cells {
            panel.clear_cells();
            panel.record(group, HostId(1), bucket(*number), cell(*value));
        }
        panel
    }

    fn values(panel: &Panel, from: i64, to: i64) -> Vec<f32> {
        let track = panel.group(0).track(HostId(1)).unwrap();
        track
            .values(
                WIDTH,
                Timestamp::from_seconds(from),
                Timestamp::from_seconds(to),
            )
            .collect()
    }

    #[test]
    fn a_gap_is_remembered_as_no_data() {
        let panel = panel(100, &[(1, 1.0), (2, 2.0), (5, 5.0)]);
        let seen = values(&panel, 0, 1_000);
        assert_eq!(seen.len(), 5);
        assert!(seen[2].is_nan() && seen[3].is_nan());
        assert_eq!(seen[4], 5.0);
        let track = panel.group(0).track(HostId(1)).unwrap();
        assert_eq!(
            (track.covered, track.gap_longest),
            (3, Span::from_seconds(20))
        );
    }

    #[test]
    fn a_window_holds_only_whole_buckets() {
        let panel = panel(100, &[(1, 1.0), (2, 2.0), (3, 3.0)]);
        assert_eq!(values(&panel, 10, 30), [1.0, 2.0]);
        assert_eq!(values(&panel, 15, 39), [2.0]);
        assert!(values(&panel, 40, 90).is_empty());
        assert!(values(&panel, 90, 40).is_empty());
    }

    #[test]
    fn the_past_beyond_the_depth_is_forgotten() {
        let panel = panel(2, &[(1, 1.0), (2, 2.0), (3, 3.0), (1_000_000, 4.0)]);
        let seen = values(&panel, 0, 100_000_000);
        assert_eq!(seen.len(), 2);
        assert!(seen[0].is_nan());
        assert_eq!(seen[1], 4.0);
    }
}
