//! Metrics that are read in another way from now on: what was made of them before is forgotten.

use super::{Panel, Place};
use crate::{
    detect::Track,
    event::{Span, Timestamp},
};

/// What is forgotten of a metric that is not known for longer is as if it came now: senders tell of a metric
/// within a minute. Or five buckets, if that is longer.
const SHORT: Span = Span::from_minutes(5);

impl Panel {
    /// Forgets a metric, at a time. What feeds it is to be bound again: it is another one from then on, with an
    /// index of its own as long as a deployment is open.
    pub fn reread_group(&mut self, group: usize, now: Timestamp) {
        let forgotten = &mut self.groups[group];
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
        let track = self.track_mut(place);
        let fresh = Track::new(track.host);
        let track = std::mem::replace(track, fresh);
        self.note_reread(&track, now);
    }

    /// When something was forgotten last that had been there for long, for it was read as something else.
    pub fn reread_last(&self) -> Option<Timestamp> {
        self.reread_last
    }

    fn note_reread(&mut self, track: &Track, now: Timestamp) {
        let short = SHORT.max(self.resolution.times(5));
        if track.has_data() && short < now - track.first_seen {
            self.reread_last = self.reread_last.max(Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        detect::{Cell, GroupKey, HostId},
        event::{Interval, Kind, Labels, Unit},
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
        assert_eq!(
            panel.reread_last(),
            None,
            "it was there for no more than five minutes"
        );
    }

    #[test]
    fn it_is_noted_when_more_is_forgotten_than_what_came_of_late() {
        let (mut panel, group) = panel(31);
        let place = panel.bind(group, HostId(2));
        let now = bucket(31).start;
        panel.reread_track(place, now);
        assert_eq!(panel.reread_last(), Some(now));
        assert!(panel.group(group).track(HostId(1)).is_some());
        assert!(panel.group(group).track(HostId(2)).is_none());
        panel.bind(group, HostId(2));
        assert!(panel.has_one_feeder(place));
        let bytes = postcard::to_allocvec(&panel).unwrap();
        let saved: Panel = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(saved.reread_last(), Some(now));
    }
}
