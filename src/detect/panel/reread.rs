//! Metrics that are read in another way from now on: what was made of them before is forgotten.

use super::{Panel, Place};
use crate::{
    detect::{Track, track::Feeders},
    event::{Interval, Timestamp},
};

/// Buckets from one data to the next of a metric that is read anew twice, at most, so that both are one loss.
const APART: i64 = 5;

/// How many losses are kept apart at most: of more, the earliest count as one.
const LOSSES_MAX: usize = 16;

impl Panel {
    /// Forgets a metric, at a time. What feeds it is to be bound again: it is another one from then on, with an
    /// index of its own as long as a deployment is open.
    pub fn reread_group(&mut self, group: usize, now: Timestamp) {
        let forgotten = &mut self.groups[group];
        if forgotten.is_forgotten() {
            return;
        }
        let tracks = std::mem::take(&mut forgotten.tracks);
        forgotten.buckets = None;
        forgotten.sort();
        let key = std::mem::take(&mut forgotten.key);
        self.by_key.remove(&key);
        for track in &tracks {
            self.note_reread(track, now);
        }
    }

    /// Forgets the past of one host, at a time. What feeds its place is to be bound again.
    pub fn reread_track(&mut self, place: Place, now: Timestamp) {
        let Some(track) = self.track_at(place) else {
            return;
        };
        let fresh = Track::new(track.host);
        let track = std::mem::replace(track, fresh);
        self.note_reread(&track, now);
    }

    /// Takes a place for one that nothing feeds, if its metric is there still.
    pub fn unfeed(&mut self, place: Place) {
        if let Some(track) = self.track_at(place) {
            track.feeders = Feeders::None;
        }
    }

    /// Takes a place for one that one more series feeds, if its metric is there still.
    pub fn feed(&mut self, place: Place) {
        if let Some(track) = self.track_at(place) {
            track.feeders = track.feeders.and_one();
        }
    }

    fn track_at(&mut self, place: Place) -> Option<&mut Track> {
        let tracks = &mut self.groups[place.group as usize].tracks;
        tracks.get_mut(place.slot as usize)
    }

    /// From when to when there was what is forgotten, for it was read as something else.
    pub fn rereads(&self) -> &[Interval] {
        &self.rereads
    }

    fn note_reread(&mut self, track: &Track, now: Timestamp) {
        if !track.has_data() {
            return;
        }
        let apart = self.resolution.times(APART);
        let mut lost = Interval {
            start: track.first_seen.min(now),
            end: now,
        };
        // What is read anew for a second time is lost as a whole.
        self.rereads.retain(|known| {
            let is_apart = known.end + apart < lost.start;
            if !is_apart {
                lost.start = lost.start.min(known.start);
                lost.end = lost.end.max(known.end);
            }
            is_apart
        });
        self.rereads.push(lost);
        if LOSSES_MAX < self.rereads.len() {
            let first = self.rereads.remove(0);
            self.rereads[0].start = first.start;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        detect::{Cell, GroupKey, HostId},
        event::{Kind, Labels, Span, Unit},
    };

    const WIDTH: Span = Span::from_seconds(10);

    fn bucket(number: i64) -> Interval {
        let start = Timestamp::from_seconds(number * 10);
        Interval {
            start,
            end: start + WIDTH,
        }
    }

    fn key() -> GroupKey {
        GroupKey {
            labels: Labels::new([("__name__", "jobs")]),
            ..GroupKey::default()
        }
    }

    /// A panel in which two hosts tell a gauge in so many buckets.
    fn panel(buckets: i64) -> (Panel, usize) {
        let mut panel = Panel::new(WIDTH, 100);
        let group = panel.group_of(&key(), Kind::Gauge, Unit::Unknown);
        for host in [1, 2] {
            let place = panel.bind(group, HostId(host));
            for number in 0..buckets {
                panel.record_at(place, bucket(number), Cell::default());
            }
        }
        (panel, group)
    }

    #[test]
    fn a_metric_that_is_read_anew_is_another_one() {
        let (mut panel, before) = panel(30);
        panel.reread_group(before, bucket(30).start);
        assert_eq!((panel.len(), panel.index_bound()), (0, 1));
        let after = panel.group_of(&key(), Kind::Counter, Unit::Unknown);
        assert_ne!(after, before);
        assert_eq!(
            panel.group(after).key,
            key(),
            "it is no second one of its name"
        );
        assert_eq!(panel.group(after).kind, Kind::Counter);
        // Nothing of it is used again before no deployment can know it.
        panel.bind(after, HostId(1));
        panel.forget_groups(&BTreeSet::from(["d1"]));
        assert_eq!(
            panel.group_of(&GroupKey::default(), Kind::Gauge, Unit::Unknown),
            2
        );
        assert_eq!(panel.rereads(), [lost(0, 30)]);
    }

    fn lost(first: i64, behind: i64) -> Interval {
        Interval {
            start: bucket(first).start,
            end: bucket(behind).start,
        }
    }

    #[test]
    fn it_is_noted_what_is_forgotten_and_of_how_long() {
        let (mut panel, group) = panel(31);
        let place = panel.bind(group, HostId(2));
        panel.reread_track(place, bucket(31).start);
        assert_eq!(panel.rereads(), [lost(0, 31)]);
        assert!(panel.group(group).track(HostId(1)).is_some());
        assert!(panel.group(group).track(HostId(2)).is_none());
        panel.bind(group, HostId(2));
        assert!(panel.has_one_feeder(place));
        panel.reread_track(place, bucket(35).start);
        assert_eq!(panel.rereads(), [lost(0, 31)], "there was nothing");
        // What is short hides nothing that was long, nor is it a part of it.
        panel.record_at(place, bucket(37), Cell::default());
        panel.reread_track(place, bucket(39).start);
        let both = [lost(0, 31), lost(37, 39)];
        assert_eq!(panel.rereads(), both);
        let bytes = postcard::to_allocvec(&panel).unwrap();
        let saved: Panel = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(saved.rereads(), both);
        // What is read anew twice is lost as a whole.
        panel.record_at(place, bucket(40), Cell::default());
        panel.reread_track(place, bucket(42).start);
        assert_eq!(panel.rereads(), [lost(0, 31), lost(37, 42)]);
        for round in 1..=20 {
            panel.record_at(place, bucket(100 * round), Cell::default());
            panel.reread_track(place, bucket(100 * round + 1).start);
        }
        assert_eq!(panel.rereads().len(), LOSSES_MAX);
        assert_eq!(panel.rereads()[0], lost(0, 501));
    }
}
