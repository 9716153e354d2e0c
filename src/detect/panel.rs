//! The recent past of everything that a check looks at, bucket by bucket.

mod reread;
mod unlike;
mod unshown;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use unshown::{Beside, Kin};

use super::{Cell, Group, GroupKey, HostId, RatioWords, Track, Unsound, track::Feeders};
use crate::{
    event::{Interval, Kind, Severity, Span, Timestamp, Unit},
    reduce::LossReason,
};

/// What a check sees of its service.
///
/// A metric of a host costs about 120 bytes, and where the past is remembered, 4 more for each bucket
/// of it (8 with an exposure): 8.6 KB for six hours of 10 s. A counter of deltas costs about 100 bytes more, a
/// ratio 250.
///
/// What comes from the plan is not saved with it, and is to be told again by [`Panel::settle`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Panel {
    #[serde(skip)]
    resolution: Span,
    #[serde(skip)]
    depth: usize,
    /// Never reordered: bindings and detectors refer to groups by index.
    groups: Vec<Group>,
    /// Every index of `groups` once.
    #[serde(skip)]
    by_key: BTreeMap<GroupKey, usize>,
    /// Groups of which nothing is left, and the open deployments that may know them by index.
    #[serde(skip)]
    gone: Vec<Gone>,
    /// Indices of groups that are used again.
    #[serde(skip)]
    free: Vec<u32>,
    /// Message templates of the selected log records, by text.
    pub templates: BTreeMap<Arc<str>, TemplateTrack>,
    /// When a limit refused data that the check selects last: what it would show was not seen.
    refused_last: Option<Timestamp>,
    /// End of the latest bucket in which data was lost of which nobody knows whose it was.
    hole: Option<Timestamp>,
    /// By the name of several hosts, the end of the latest bucket with data of which nobody knows whose it is.
    unclear: BTreeMap<Arc<str>, Timestamp>,
    /// From when to when there was what is forgotten, for it was read as something else. Apart, ascending.
    rereads: Vec<Interval>,
}

/// Groups of which nothing is left.
#[derive(Clone, Debug)]
struct Gone {
    groups: Vec<u32>,
    /// Deployments that were open already when they went.
    known_to: BTreeSet<String>,
}

/// Where a series feeds a panel: a track of a group. It is good only for the panel that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    group: u32,
    slot: u32,
}

impl Place {
    /// The index of its group.
    pub fn group(self) -> usize {
        self.group as usize
    }
}

/// A message template that the check selects.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// How long a track is silent, beyond the past that its panel remembers, before that is freed.
const FORGOTTEN_AFTER: Span = Span::from_hours(24);

/// How long what was refused may take to come again, or five buckets if that is longer: scrapes are seldom
/// further apart.
const REFUSED_PATIENCE: Span = Span::from_minutes(5);

/// Buckets in which every group is looked at once for what can be freed.
const FORGETTING_ROUND: usize = 360;

impl Panel {
    /// An empty panel that remembers `depth` buckets of the given width; 0: of each track only what
    /// its latest bucket held.
    pub fn new(resolution: Span, depth: usize) -> Self {
        Self {
            resolution,
            depth,
            groups: Vec::new(),
            by_key: BTreeMap::new(),
            gone: Vec::new(),
            free: Vec::new(),
            templates: BTreeMap::new(),
            refused_last: None,
            hole: None,
            unclear: BTreeMap::new(),
            rereads: Vec::new(),
        }
    }

    /// Notes that a limit refused data at a time that the check selects.
    pub fn refuse(&mut self, at: Timestamp) {
        self.refused_last = self.refused_last.max(Some(at));
    }

    /// Whether data that the check selects was refused by a limit at a time or after it. Until what was refused
    /// has had the time to come again, nobody knows whether it is.
    pub fn has_refused_since(&self, at: Timestamp) -> bool {
        let patience = self.refused_patience();
        self.refused_last.is_some_and(|last| at <= last + patience)
    }

    /// How long what a limit refused may take to come again.
    pub fn refused_patience(&self) -> Span {
        REFUSED_PATIENCE.max(self.resolution.times(5))
    }

    /// Notes that data was lost in the bucket, of which nobody knows whose it was.
    pub fn tear(&mut self, bucket: Interval) {
        self.hole = Some(bucket.end);
    }

    /// End of the latest bucket in which data was lost of which nobody knows whose it was.
    pub fn hole(&self) -> Option<Timestamp> {
        self.hole
    }

    /// Notes that data was in a bucket with this end which may be of any of the hosts of a name.
    pub fn note_unclear(&mut self, name: &Arc<str>, end: Timestamp) {
        match self.unclear.get_mut(name) {
            Some(last) => *last = end.max(*last),
            None => {
                self.unclear.insert(Arc::clone(name), end);
            }
        }
    }

    /// Whether there was such data after a time.
    pub fn is_unclear_since(&self, name: &str, at: Timestamp) -> bool {
        self.unclear.get(name).is_some_and(|last| at < *last)
    }

    /// Completes a panel that was saved: its width and depth come from the plan, `hosts` says how
    /// many hosts there are.
    ///
    /// # Errors
    /// What was saved contradicts itself, or refers to hosts that do not exist. Then it is not to be
    /// used.
    pub fn settle(&mut self, resolution: Span, depth: usize, hosts: usize) -> Result<(), Unsound> {
        (self.resolution, self.depth) = (resolution, depth);
        self.by_key.clear();
        for (index, group) in self.groups.iter_mut().enumerate() {
            if group.is_forgotten() {
                continue;
            }
            if self.by_key.insert(group.key.clone(), index).is_some() {
                return Err(Unsound::Impossible {
                    what: "two groups of one metric",
                });
            }
            group.settle(depth, hosts)?;
        }
        let noted = self.templates.values().flat_map(|template| &template.now);
        let mut noted = noted.map(|(host, _)| host.0 as usize);
        match noted.find(|index| hosts <= *index) {
            Some(index) => Err(Unsound::Host { index }),
            None => Ok(()),
        }
    }

    /// Forgets what feeds it: series are to be bound again.
    pub fn unbind(&mut self) {
        for track in self.groups.iter_mut().flat_map(|group| &mut group.tracks) {
            track.feeders = Feeders::None;
        }
    }

    /// The index of the group, which is made if it is new. Kind and unit are those of the first
    /// series.
    pub fn group_index(&mut self, key: &GroupKey, kind: Kind, unit: Unit) -> usize {
        if let Some(index) = self.by_key.get(key) {
            return *index;
        }
        let group = Group::new(key.clone(), kind, unit);
        let index = if let Some(free) = self.free.pop() {
            let index = free as usize;
            self.groups[index] = group;
            index
        } else {
            self.groups.push(group);
            self.groups.len() - 1
        };
        self.by_key.insert(key.clone(), index);
        index
    }

    /// Makes room for a series of the host in the group, and gives the place that it feeds.
    pub fn bind(&mut self, group: usize, host: HostId) -> Place {
        let place = self.place(group, host);
        self.feed(place);
        place
    }

    /// Whether a single series feeds the place: then what it says is the whole cell.
    pub fn has_one_feeder(&self, place: Place) -> bool {
        self.groups[place.group as usize].tracks[place.slot as usize].feeders == Feeders::One
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

    /// How many groups there are; those that were forgotten are none.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The bound of all indices of groups, for what is kept by index: that of a group that was forgotten may
    /// be unused for now.
    pub fn index_bound(&self) -> usize {
        self.groups.len()
    }

    /// Width of a bucket.
    pub fn resolution(&self) -> Span {
        self.resolution
    }

    /// Adds the bucket that has just closed to a track, which is made if it is new. Says whether
    /// the metric moved: a value other than the one before, or any event.
    pub fn record(&mut self, group: usize, host: HostId, bucket: Interval, cell: Cell) -> bool {
        let place = self.place(group, host);
        self.record_at(place, bucket, cell)
    }

    /// Like [`Panel::record`], at a place that [`Panel::bind`] gave. Where a limit cut samples of the bucket
    /// off, what is left says nothing of the whole: then the bucket has no data.
    pub fn record_at(&mut self, place: Place, bucket: Interval, cell: Cell) -> bool {
        let (resolution, depth) = (self.resolution, self.depth);
        let track = self.track_mut(place);
        if track.loss() == Some((LossReason::OverLimit, bucket.end)) {
            return false;
        }
        track.record(resolution, depth, bucket, cell)
    }

    /// Takes what the bucket that has just closed says of both sides of the ratio at a place. Says whether
    /// the metric moved.
    pub fn record_ratio_at(&mut self, place: Place, bucket: Interval, words: RatioWords) -> bool {
        let room = (self.resolution, self.depth);
        self.track_mut(place).record_ratio(room, bucket, words)
    }

    /// Takes the bucket that has just closed for one in which the counter of deltas that feeds the place gained
    /// nothing, if it is missing and that is what its absence means. `exported` is the time of which its sender
    /// exported others in the bucket; `None`: it was not heard. Says whether the metric moved.
    pub fn gain_nothing_at(
        &mut self,
        place: Place,
        bucket: Interval,
        exported: Option<Span>,
    ) -> bool {
        let room = (self.resolution, self.depth);
        let silence_min = super::coverage::silence_min(self.resolution);
        let track = self.track_mut(place);
        track.gain_nothing(room, bucket, exported, silence_min)
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
        let place = self.place(group, host);
        self.record_loss_at(place, bucket, reason);
    }

    /// Like [`Panel::record_loss`], at a place that [`Panel::bind`] gave.
    pub fn record_loss_at(&mut self, place: Place, bucket: Interval, reason: LossReason) {
        let track = self.track_mut(place);
        if !track.is_known() {
            track.first_seen = bucket.start;
        }
        let known = track.loss().filter(|(_, at)| *at == bucket.end);
        let reason = known.map_or(reason, |(known, _)| known.max(reason));
        track.lose(reason, bucket.end);
    }

    /// Like [`Panel::record_loss_at`], of the numerator of a ratio: from now on it is awaited, unless its sender
    /// says that it ended.
    pub fn record_numerator_loss_at(&mut self, place: Place, bucket: Interval, reason: LossReason) {
        self.record_loss_at(place, bucket, reason);
        if reason != LossReason::Stale {
            self.track_mut(place).expect_numerator();
        }
    }

    /// Forgets which templates the bucket that closed before had; called before a bucket is
    /// recorded. Cells need no forgetting: they know their bucket.
    pub fn clear_templates(&mut self) {
        for template in self.templates.values_mut() {
            template.now.clear();
        }
    }

    /// Forgets templates that were not seen since a time, those seen last first, while there are more than
    /// `max`: one that comes again is new again, so that none is forgotten without need.
    pub fn forget_templates(&mut self, before: Timestamp, max: usize) {
        let surplus = self.templates.len().saturating_sub(max);
        let idle = self.templates.iter();
        let idle = idle.filter(|(_, template)| 0 < surplus && template.last_seen < before);
        let mut idle: Vec<(Timestamp, Arc<str>)> = idle
            .map(|(text, template)| (template.last_seen, Arc::clone(text)))
            .collect();
        idle.sort_unstable();
        for (_, text) in idle.into_iter().take(surplus) {
            self.templates.remove(&text);
        }
    }

    /// Frees the pasts of tracks that have been silent for so long that nothing can refer to them: a
    /// day more than the panel remembers. Hosts come and go; what they measured must not stay for
    /// ever. Each call looks at a part of the groups, a round of buckets at all of them.
    pub fn forget(&mut self, bucket: Interval) {
        if self.depth == 0 {
            return;
        }
        let depth = i64::try_from(self.depth).unwrap_or(i64::MAX);
        let remembered = self.resolution.times(depth) + FORGOTTEN_AFTER;
        let number = bucket.start.nanos().div_euclid(self.resolution.nanos());
        let turn = number.rem_euclid(FORGETTING_ROUND as i64) as usize;
        for group in self.groups.iter_mut().skip(turn).step_by(FORGETTING_ROUND) {
            for track in &mut group.tracks {
                if track.last_seen + remembered < bucket.end {
                    track.forget();
                }
            }
        }
    }

    /// Forgets the tracks that had nothing since a time, whatever feeds them: series are to be bound
    /// again. Groups keep their indices.
    pub fn forget_tracks(&mut self, before: Timestamp) {
        self.unclear.retain(|_, last| before <= *last);
        for group in &mut self.groups {
            group.tracks.retain(|track| {
                let loss = track.loss().map_or(Timestamp::MIN, |(_, at)| at);
                before <= track.last_seen.max(loss)
            });
            group.tracks.shrink_to_fit();
            group.sort();
            if let Some(mut buckets) = group.buckets.take() {
                buckets.keep(|host| group.slot(host).is_some());
                group.buckets = Some(buckets);
            }
        }
    }

    /// Forgets the groups that have no track any more. Their indices are used again when none of the
    /// deployments is open any more that are `open` now.
    pub fn forget_groups(&mut self, open: &BTreeSet<&str>) {
        let waiting = self.gone.iter().flat_map(|gone| &gone.groups);
        let known: BTreeSet<u32> = waiting.chain(&self.free).copied().collect();
        let mut groups = Vec::new();
        for (index, group) in (0..).zip(&mut self.groups) {
            if group.tracks.is_empty() && !known.contains(&index) {
                self.by_key.remove(&std::mem::take(&mut group.key));
                groups.push(index);
            }
        }
        self.gone.push(Gone {
            groups,
            known_to: open.iter().map(|open| (*open).to_owned()).collect(),
        });
        let Self { gone, free, .. } = self;
        gone.retain_mut(|gone| {
            gone.known_to.retain(|known| open.contains(known.as_str()));
            if gone.known_to.is_empty() {
                free.append(&mut gone.groups);
            }
            !gone.groups.is_empty()
        });
    }

    fn place(&mut self, group: usize, host: HostId) -> Place {
        let slot = self.groups[group].slot_or_new(host);
        let group = u32::try_from(group).expect("groups are bounded by the series");
        Place { group, slot }
    }

    fn track_mut(&mut self, place: Place) -> &mut Track {
        &mut self.groups[place.group as usize].tracks[place.slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::Stat, event::Labels};

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
            ..GroupKey::default()
        };
        let group = panel.group_index(&key, Kind::Gauge, Unit::Unknown);
        for (number, value) in cells {
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
    fn a_cell_is_of_its_bucket_only() {
        let panel = panel(100, &[(1, 1.0), (2, 2.0)]);
        let track = panel.group(0).track(HostId(1)).unwrap();
        assert_eq!(track.cell(bucket(1)), None);
        assert_eq!(track.cell(bucket(2)), Some(cell(2.0)));
        assert_eq!(track.cell(bucket(3)), None);
    }

    #[test]
    fn without_depth_only_the_latest_bucket_is_remembered() {
        let panel = panel(0, &[(1, 1.0), (2, 2.0), (5, 5.0)]);
        assert!(values(&panel, 0, 1_000).is_empty());
        let track = panel.group(0).track(HostId(1)).unwrap();
        assert_eq!(track.cell(bucket(5)), Some(cell(5.0)));
        assert_eq!(
            (track.covered, track.gap_longest),
            (3, Span::from_seconds(20))
        );
    }

    #[test]
    fn hosts_are_found_whatever_the_order_in_which_they_were_bound() {
        let mut panel = Panel::new(WIDTH, 0);
        let group = panel.group_index(&GroupKey::default(), Kind::Gauge, Unit::Unknown);
        for host in [7, 2, 9, 0, 4] {
            let place = panel.bind(group, HostId(host));
            assert!(panel.has_one_feeder(place));
            assert!(panel.group(group).track(HostId(host)).is_none(), "no data");
            panel.record_at(place, bucket(1), cell(f64::from(host)));
        }
        let again = panel.bind(group, HostId(4));
        assert!(!panel.has_one_feeder(again));
        for host in 0..12 {
            let track = panel.group(group).track(HostId(host));
            let value = track.and_then(|track| track.cell(bucket(1)));
            let known = [7, 2, 9, 0, 4].contains(&host);
            assert_eq!(value, known.then(|| cell(f64::from(host))), "{host}");
        }
    }

    #[test]
    fn the_past_of_a_host_that_is_long_gone_is_freed_and_begins_anew() {
        let mut panel = panel(3, &[(1, 1.0), (2, 2.0)]);
        let day = 8_640 + 3;
        for number in day..day + 2 + FORGETTING_ROUND as i64 {
            panel.forget(bucket(number));
            let freed = values(&panel, 0, i64::MAX / 1_000_000_000).is_empty();
            // Group 0 is looked at once a round.
            let was_looked_at = number.rem_euclid(FORGETTING_ROUND as i64) == 0;
            assert!(!freed || was_looked_at || 9_000 < number, "{number}");
            assert!(freed || number < 9_000, "{number}");
        }
        let group = panel.group_index(
            &GroupKey {
                labels: Labels::new([("__name__", "cpu")]),
                stat: Stat::Value,
                ..GroupKey::default()
            },
            Kind::Gauge,
            Unit::Unknown,
        );
        panel.record(group, HostId(1), bucket(9_010), cell(7.0));
        let seen = values(&panel, 0, 1_000_000);
        assert!(seen.len() == 3 && seen[0].is_nan() && seen[1].is_nan());
        assert_eq!(seen[2], 7.0);
        panel.forget(bucket(9_360));
        assert_eq!(values(&panel, 0, 1_000_000).len(), 3, "it is heard again");
    }

    #[test]
    fn an_index_is_used_again_when_nobody_can_know_it_any_more() {
        let mut panel = panel(10, &[(1, 1.0)]);
        let group = |panel: &mut Panel, name: &str| {
            let key = GroupKey {
                labels: Labels::new([("__name__", name)]),
                stat: Stat::Value,
                ..GroupKey::default()
            };
            panel.group_index(&key, Kind::Gauge, Unit::Unknown)
        };
        let other = group(&mut panel, "memory");
        panel.record(other, HostId(2), bucket(900), cell(2.0));
        panel.forget_tracks(bucket(900).start);
        let open = BTreeSet::from(["d1", "d2"]);
        panel.forget_groups(&open);
        assert_eq!(
            panel.groups().map(|(index, _)| index).collect::<Vec<_>>(),
            [other]
        );
        assert_eq!((panel.len(), panel.index_bound()), (1, 2));
        assert_eq!(group(&mut panel, "disk"), 2, "d1 may know the first");
        panel.bind(2, HostId(2));
        panel.forget_groups(&BTreeSet::from(["d2", "d3"]));
        assert_eq!(group(&mut panel, "net"), 3, "so may d2");
        panel.bind(3, HostId(2));
        panel.forget_groups(&BTreeSet::from(["d3"]));
        assert_eq!(group(&mut panel, "cpu"), 0);
        assert!(panel.group(0).track(HostId(1)).is_none());
        assert_eq!(panel.groups().count(), 4);
    }

    #[test]
    fn of_too_many_templates_those_unseen_for_longest_are_forgotten() {
        let mut panel = Panel::new(WIDTH, 0);
        for number in 0..6 {
            let Interval { start, end } = bucket(number);
            let template = TemplateTrack {
                first_seen: start,
                last_seen: end,
                severity: Severity::ERROR,
                now: Vec::new(),
            };
            // Not in the order of their age.
            let text = format!("{} fails", number * 5 % 6);
            panel.templates.insert(text.into(), template);
        }
        panel.forget_templates(bucket(3).end, 6);
        assert_eq!(panel.templates.len(), 6, "there is room");
        panel.forget_templates(bucket(3).end, 4);
        let texts: Vec<&str> = panel.templates.keys().map(|text| &**text).collect();
        assert_eq!(texts, ["1 fails", "2 fails", "3 fails", "4 fails"]);
        panel.forget_templates(bucket(3).end, 1);
        assert_eq!(panel.templates.len(), 3, "those seen of late stay");
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
