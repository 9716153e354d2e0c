//! Series that tell one metric in ways that cannot be compared: as other kinds, in other units, over other buckets.

use super::{GroupKey, Panel, Place};
use crate::event::{Kind, Timestamp, Unit};

impl Panel {
    /// The index of the group of series of a kind and a unit, which is made if it is new: those that tell another kind
    /// than the first, or a unit in which its numbers cannot be read, are not of its group, and meet only each other.
    pub fn group_of(&mut self, key: &GroupKey, kind: Kind, unit: Unit) -> usize {
        let first = self.by_key.get(key).copied();
        if let Some(index) = first.filter(|index| self.groups[*index].takes(kind, unit)) {
            let group = &mut self.groups[index];
            if group.unit == Unit::Unknown {
                group.unit = unit;
            }
            return index;
        }
        let unlike = GroupKey {
            unlike: Some((kind, unit)),
            ..key.clone()
        };
        // Who was first may be forgotten before those that are unlike it.
        if first.is_some() || self.by_key.contains_key(&unlike) {
            return self.group_index(&unlike, kind, unit);
        }
        self.group_index(key, kind, unit)
    }

    /// Notes with which bucket bounds a host tells the histogram at a place, in a bucket with this end.
    pub fn note_buckets(&mut self, place: Place, end: Timestamp, bounds: &[f64]) {
        let group = &mut self.groups[place.group as usize];
        let host = group.tracks[place.slot as usize].host;
        let buckets = group.buckets.get_or_insert_default();
        buckets.note(host, end, bounds);
    }

    /// The bucket bounds that all hosts share that tell the histogram at a place, if they have others as well.
    pub fn shared_buckets(&self, place: Place, end: Timestamp) -> Option<Vec<f64>> {
        let group = &self.groups[place.group as usize];
        group.buckets.as_ref()?.shared(end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        detect::{Cell, HostId},
        event::{Interval, Labels, Span},
    };

    #[test]
    fn series_of_another_kind_or_unit_meet_only_each_other() {
        let mut panel = Panel::new(Span::from_seconds(10), 0);
        let key = GroupKey {
            labels: Labels::new([("__name__", "lat")]),
            ..GroupKey::default()
        };
        let mut of = |kind, unit| panel.group_of(&key, kind, unit);
        let first = of(Kind::Gauge, Unit::Unknown);
        // The first that tells a unit tells that of the group.
        assert_eq!(of(Kind::Gauge, Unit::Milliseconds), first);
        let in_seconds = of(Kind::Gauge, Unit::Seconds);
        assert_ne!(in_seconds, first);
        assert_eq!(of(Kind::Gauge, Unit::Seconds), in_seconds);
        assert_eq!(of(Kind::Gauge, Unit::Count), first);
        let counter = of(Kind::Counter, Unit::Unknown);
        assert!(![first, in_seconds].contains(&counter));
        assert_eq!(of(Kind::Counter, Unit::Unknown), counter);
        assert_eq!(panel.group(first).unit, Unit::Milliseconds);
        // Nobody was ever heard of the first and of the counters.
        let place = panel.bind(in_seconds, HostId(1));
        let bucket = Interval {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(10),
        };
        let cell = Cell {
            value: 1.0,
            min: 1.0,
            max: 1.0,
            events: 0.0,
            exposure: None,
        };
        panel.record_at(place, bucket, cell);
        panel.forget_groups(&BTreeSet::new());
        let mut of = |kind, unit| panel.group_of(&key, kind, unit);
        assert_eq!(of(Kind::Gauge, Unit::Seconds), in_seconds);
        assert_ne!(of(Kind::Gauge, Unit::Milliseconds), in_seconds);
        assert_eq!(of(Kind::Gauge, Unit::Seconds), in_seconds);
    }
}
