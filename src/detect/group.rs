//! One metric of a check over all hosts.

use serde::{Deserialize, Serialize};

use super::{HostId, Track, Unsound, bucket_bounds::BucketBounds};
use crate::event::{Kind, Labels, Unit};

/// Which number of a metric a group holds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Stat {
    /// The value itself: mean of a gauge, rate of a counter, rate of log records.
    #[default]
    Value,
    /// A quantile of a distribution, in tenths of a percent (990 is p99).
    Quantile(u16),
}

/// What makes two series of different hosts comparable: equal labels but for the roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// Metric name and labels without host, service, region and version.
    pub labels: Labels,
    /// Which number of it.
    pub stat: Stat,
    /// What its series count or measure, and in which unit, where another group of the same name was first and its
    /// series tell otherwise.
    pub unlike: Option<(Kind, Unit)>,
}

/// One metric over all hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// What it is.
    pub key: GroupKey,
    /// What the series count or measure.
    pub kind: Kind,
    /// Their unit, from the configuration, the protocol, or unknown.
    pub unit: Unit,
    /// Never reordered while series are bound: bindings refer to tracks by index. One for each host.
    pub(super) tracks: Vec<Track>,
    /// Of the first quantile of a histogram: the bounds of its buckets.
    pub(super) buckets: Option<Box<BucketBounds>>,
    /// Every index of `tracks` once, ascending by host.
    #[serde(skip)]
    order: Vec<u32>,
}

/// Words in the names of metrics that are shares of 100.
pub(super) const PERCENT: &[&str] = &["percent", "pct"];

/// Whether one of the words that the name of a metric is made of is one of these.
pub(super) fn has_word(name: &str, words: &[&str]) -> bool {
    let mut parts = name.split(['_', '.', '-', ':', '/']);
    parts.any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

impl Group {
    pub(super) fn new(key: GroupKey, kind: Kind, unit: Unit) -> Self {
        Self {
            key,
            kind,
            unit,
            tracks: Vec::new(),
            buckets: None,
            order: Vec::new(),
        }
    }

    /// Whether a value of any host that is remembered, or its latest one, is larger than this. What is divided
    /// by an exposure is not looked at: a ratio of small counts may be anything.
    pub(super) fn exceeds(&self, limit: f64) -> bool {
        self.tracks.iter().any(|track| track.exceeds(limit))
    }

    /// Whether series of a kind and a unit can be compared with its own.
    pub(super) fn takes(&self, kind: Kind, unit: Unit) -> bool {
        let is_kind = kind == self.kind || kind == Kind::Unknown || self.kind == Kind::Unknown;
        is_kind && !unit.contradicts(self.unit)
    }

    /// The unit that configuration or protocol tell, else the one that the name does: of shares, whether they
    /// are of 100.
    pub fn known_unit(&self) -> Unit {
        let is_percent = || has_word(self.key.labels.metric(), PERCENT);
        if self.unit == Unit::Unknown && is_percent() {
            Unit::Percent
        } else {
            self.unit
        }
    }

    /// The track of a host, if it ever had data (or losses).
    pub fn track(&self, host: HostId) -> Option<&Track> {
        let slot = self.find(host).ok()?;
        Some(&self.tracks[slot as usize]).filter(|track| track.is_known())
    }

    pub(super) fn settle(&mut self, depth: usize, hosts: usize) -> Result<(), Unsound> {
        let mut order: Vec<(HostId, u32)> = Vec::with_capacity(self.tracks.len());
        for (track, slot) in self.tracks.iter_mut().zip(0..) {
            let index = track.host.0 as usize;
            if hosts <= index {
                return Err(Unsound::Host { index });
            }
            track.settle(depth)?;
            order.push((track.host, slot));
        }
        order.sort_unstable();
        if order.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Unsound::Impossible {
                what: "two tracks of one host",
            });
        }
        self.order = order.into_iter().map(|(_, slot)| slot).collect();
        self.buckets
            .as_ref()
            .map_or(Ok(()), |buckets| buckets.settle(hosts))
    }

    /// Orders the tracks by their hosts.
    pub(super) fn sort(&mut self) {
        let mut order: Vec<u32> = (0..self.tracks.len() as u32).collect();
        order.sort_unstable_by_key(|slot| self.tracks[*slot as usize].host);
        self.order = order;
    }

    /// Whether [`Panel::forget_groups`] has left nothing of it: every metric has a name.
    pub(super) fn is_forgotten(&self) -> bool {
        self.tracks.is_empty() && self.key == GroupKey::default()
    }

    /// Whether series feed it, and none has told anything yet.
    pub(super) fn is_awaited(&self) -> bool {
        let are_untold = self.tracks.iter().all(|track| !track.is_known());
        are_untold && self.tracks.iter().any(Track::has_feeders)
    }

    /// The slot of a host, whether or not it ever had data.
    pub(super) fn slot(&self, host: HostId) -> Option<u32> {
        self.find(host).ok()
    }

    /// The slot of a host, or its place in `order`.
    fn find(&self, host: HostId) -> Result<u32, usize> {
        let host_of = |slot: u32| self.tracks[slot as usize].host;
        // Most groups have a track for every host.
        if let Some(slot) = self.order.get(host.0 as usize)
            && host_of(*slot) == host
        {
            return Ok(*slot);
        }
        self.order
            .binary_search_by_key(&host, |slot| host_of(*slot))
            .map(|index| self.order[index])
    }

    pub(super) fn slot_or_new(&mut self, host: HostId) -> u32 {
        match self.find(host) {
            Ok(slot) => slot,
            Err(index) => {
                let slot = u32::try_from(self.tracks.len()).expect("hosts are numbered in 32 bits");
                reserve_for_one(&mut self.tracks);
                self.tracks.push(Track::new(host));
                reserve_for_one(&mut self.order);
                self.order.insert(index, slot);
                slot
            }
        }
    }
}

/// Grows by an eighth where there is no room: most groups get a track for each host once, and
/// doubling would waste as much as they hold.
fn reserve_for_one<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(1));
    }
}
