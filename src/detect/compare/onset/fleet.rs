//! Whether the fleet is what changed, and not the one-box.
//!
//! Where traffic moves from the old version to the new at once, as with blue and green stacks, the old hosts idle
//! beside new ones that do just what those did before. The difference is no proof of harm then. It is harm
//! all the same where the one-box is beyond what the fleet ever was, and where the fleet fell little, on some of
//! its hosts, or long before.
//!
//! A base load, or what is held, falls less than the traffic does. So where the busiest counter of events that is known
//! shows that the traffic moved from the fleet to the one-box, no other metric need show it, too.
//!
//! Nothing of the kind is asked where less is harm: a one-box that does not rise with all others may be broken.

use super::scene::{Aspect, Row, Scene};
use crate::{
    detect::{
        Group, HostId,
        compare::{
            class::{Class, Measure},
            reading::{Reader, past},
            terms::Terms,
        },
        stats::{mean, median, quantile},
    },
    event::Kind,
};

/// The logarithm of the factor by which the middle host of the fleet must have fallen, and nearly every one.
const FALL: f64 = 1.098_612_288_668_109_8;
const FALL_EACH: f64 = std::f64::consts::LN_2;
/// Share of the fleet's hosts that need not have.
const OTHERS_MAX: f64 = 0.2;
/// Part of the past, up to the deployment, that tells from where it fell: a day's season is no fall.
const LATEST_PART: usize = 4;
/// Share of the fleet's values that are not higher than where it was.
const HIGH: f64 = 0.95;
/// The logarithm of the factor by which the one-box may be above that: hosts differ.
const BEYOND: f64 = 0.095_310_179_804_324_87;
/// The logarithm of the factor by which its traffic must have risen, and by which it may be below that of the fleet
/// before.
const RISE: f64 = std::f64::consts::LN_2;
/// Buckets before the deployment that tell which counter is the busiest.
const BUSY_BUCKETS: usize = 60;
/// Values that tell a level.
const VALUES_MIN: usize = 3;

impl Row {
    /// The logarithm of its mean in some buckets.
    fn level(&self, buckets: std::ops::Range<usize>) -> Option<f64> {
        let (mut seen, mut exposure, mut count) = (0.0, 0.0, 0);
        for bucket in buckets.filter(|bucket| self.value(*bucket).is_some()) {
            seen += self.seen[bucket];
            exposure += self.exposure[bucket];
            count += 1;
        }
        let level = (seen / exposure).ln();
        (VALUES_MIN <= count && !level.is_nan()).then_some(level)
    }
}

impl Scene {
    /// Whether nearly all of the fleet fell, and these hosts of the one-box are no higher since a bucket than the
    /// fleet was before.
    pub(super) fn is_change_of_fleet(&self, hosts: &[usize], bucket: usize) -> bool {
        self.has_fallen(bucket) && self.is_no_higher(hosts, bucket)
    }

    /// Whether these hosts are no higher than the fleet was, and its traffic moved to the one-box. Right after the grace,
    /// which ends with the bucket `settled`, there is little to go by but what was in it.
    pub(super) fn goes_along(
        &self,
        (reader, one_box): (&Reader<'_>, &[HostId]),
        hosts: &[usize],
        (began, settled): (usize, usize),
    ) -> bool {
        let since = if self.has_levels(settled) {
            settled
        } else {
            began
        };
        self.is_no_higher(hosts, since) && has_traffic_moved(reader, one_box, since)
    }

    /// Whether most of the fleet has a level since a bucket.
    fn has_levels(&self, bucket: usize) -> bool {
        let since = bucket..self.buckets();
        let known = self.fleet().iter();
        let known = known.filter(|row| row.level(since.clone()).is_some());
        self.fleet_len() < 2 * known.count()
    }

    fn latest_past(&self) -> std::ops::Range<usize> {
        self.begun - self.begun / LATEST_PART..self.begun
    }

    fn has_fallen(&self, bucket: usize) -> bool {
        let (latest, since) = (self.latest_past(), bucket..self.buckets());
        let fall = |row: &Row| Some(row.level(latest.clone())? - row.level(since.clone())?);
        let mut falls: Vec<f64> = self.fleet().iter().filter_map(fall).collect();
        let stayed = falls.iter().filter(|fall| **fall < FALL_EACH).count() as f64;
        let is_all = stayed <= OTHERS_MAX * falls.len() as f64;
        is_all && median(&mut falls).is_some_and(|fall| FALL <= fall)
    }

    fn is_no_higher(&self, hosts: &[usize], bucket: usize) -> bool {
        if matches!(self.aspect, Aspect::Difference { .. }) {
            return false;
        }
        let values = self.fleet().iter().flat_map(|row| row.values(self.begun));
        let high = quantile(&mut values.collect::<Vec<f64>>(), HIGH);
        let both = self.level(hosts, bucket).zip(high);
        both.is_some_and(|(level, high)| level <= high.ln() + BEYOND)
    }

    fn level(&self, hosts: &[usize], bucket: usize) -> Option<f64> {
        let since = bucket..self.buckets();
        let levels = hosts.iter();
        mean(levels.filter_map(|host| self.row(*host).level(since.clone())))
    }

    /// Whether these hosts of the one-box rose to where the fleet was before.
    fn has_risen(&self, hosts: &[usize], bucket: usize) -> bool {
        let latest = self.latest_past();
        let fleet = self.fleet().iter();
        let before = mean(fleet.filter_map(|row| row.level(latest.clone())));
        let own = hosts.iter();
        let own = mean(own.filter_map(|host| self.row(*host).level(latest.clone())));
        let both = self.level(hosts, bucket).zip(before);
        both.is_some_and(|(level, before)| {
            before - RISE <= level && own.is_none_or(|own| own + RISE <= level)
        })
    }
}

/// Whether the traffic of the service moved from the fleet to these hosts of the one-box, as the busiest counter of
/// events that is known tells since a bucket.
fn has_traffic_moved(reader: &Reader<'_>, one_box: &[HostId], bucket: usize) -> bool {
    if reader.terms.is_log {
        return false;
    }
    let terms = Terms {
        has_per: false,
        ..reader.terms.clone()
    };
    let reader = Reader::new(reader.view, &terms);
    let rate = |group: &Group| {
        let hosts = reader.view.fleet.iter();
        let values = hosts.flat_map(|host| {
            let track = group.track(*host);
            past(&terms, track, terms.past_until, BUSY_BUCKETS)
        });
        let values = values.map(|(value, _)| f64::from(value));
        mean(values.filter(|value| value.is_finite()))
    };
    let groups = reader.view.panel.groups().map(|(_, group)| group);
    let counted = groups.filter_map(|group| {
        let class = Class::of(group);
        let is_traffic = group.kind == Kind::Counter
            && class.measure == Measure::Count
            && class.speaks_of.is_none();
        let rate = is_traffic.then(|| rate(group)).flatten()?;
        Some((rate, class, group))
    });
    let busiest = counted.max_by(|(a, ..), (b, ..)| a.total_cmp(b));
    busiest.is_some_and(|(_, class, group)| {
        let scene = Scene::read((&reader, group), one_box, &class, true);
        let all: Vec<usize> = (0..one_box.len()).collect();
        scene.has_fallen(bucket)
            && scene.has_risen(&all, bucket)
            && scene.is_no_higher(&all, bucket)
    })
}
