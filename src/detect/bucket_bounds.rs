//! With which bucket bounds hosts tell the histograms of a metric → the bounds that all of them share.
//!
//! Within a bucket values are taken as evenly spread, so that the quantiles of equal latencies differ where the
//! bounds do: a version with a newer client library would look faster or slower. Over the bounds that all share
//! they are alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{HostId, Unsound, state::possible};
use crate::event::{Span, Timestamp};

/// How long a host that is silent still counts.
const HEARD_WITHIN: Span = Span::from_minutes(10);

/// The bounds of each host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BucketBounds {
    /// Each once.
    sets: Vec<Vec<f64>>,
    /// By host: an index of `sets`, and the end of the latest bucket with it.
    hosts: BTreeMap<HostId, (u32, Timestamp)>,
}

impl BucketBounds {
    /// Takes what a host told in a bucket with this end.
    pub(super) fn note(&mut self, host: HostId, end: Timestamp, bounds: &[f64]) {
        if let Some((set, last)) = self.hosts.get_mut(&host)
            && self.sets[*set as usize] == bounds
        {
            *last = end;
            return;
        }
        let known = self.sets.iter().position(|set| set == bounds);
        let set = known.unwrap_or_else(|| {
            self.sets.push(bounds.to_vec());
            self.sets.len() - 1
        });
        self.hosts.insert(host, (set as u32, end));
        self.keep(|_| true);
    }

    /// Keeps these hosts, and the bounds that one of them has.
    pub(super) fn keep(&mut self, is_kept: impl Fn(HostId) -> bool) {
        self.hosts.retain(|host, _| is_kept(*host));
        let mut sets = Vec::new();
        let mut renamed = vec![None; self.sets.len()];
        for (set, _) in self.hosts.values_mut() {
            let name = &mut renamed[*set as usize];
            *set = *name.get_or_insert_with(|| {
                sets.push(std::mem::take(&mut self.sets[*set as usize]));
                sets.len() as u32 - 1
            });
        }
        self.sets = sets;
    }

    /// The bounds that all share that were heard of late, ascending; `None`: they have no others.
    pub(super) fn shared(&self, now: Timestamp) -> Option<Vec<f64>> {
        if self.sets.len() < 2 {
            return None;
        }
        let living = self
            .hosts
            .values()
            .filter(|(_, at)| now - *at <= HEARD_WITHIN);
        let mut living: Vec<u32> = living.map(|(set, _)| *set).collect();
        living.sort_unstable();
        living.dedup();
        let mut living = living.into_iter().map(|set| &self.sets[set as usize]);
        let mut shared = living.next()?.clone();
        let mut is_mixed = false;
        for other in living {
            is_mixed = true;
            shared.retain(|bound| other.contains(bound));
        }
        is_mixed.then_some(shared)
    }

    /// Checks what was saved.
    ///
    /// # Errors
    /// It contradicts itself, or refers to hosts that do not exist.
    pub(super) fn settle(&self, hosts: usize) -> Result<(), Unsound> {
        let bounds = self.sets.iter().flatten();
        possible(
            "bound of a bucket",
            bounds.clone().all(|bound| bound.is_finite()),
        )?;
        let mut indices = self.hosts.keys().map(|host| host.0 as usize);
        if let Some(index) = indices.find(|index| hosts <= *index) {
            return Err(Unsound::Host { index });
        }
        let known = |(set, _): &(u32, Timestamp)| (*set as usize) < self.sets.len();
        possible("number of bounds", self.hosts.values().all(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_seconds(1_772_000_000 + 60 * minute)
    }

    #[test]
    fn hosts_share_the_bounds_that_all_of_them_have() {
        let (old, new) = ([0.1, 0.25, 0.5, 1.0], [0.05, 0.1, 0.2, 0.5, 1.0]);
        let mut known = BucketBounds::default();
        for host in [1, 2, 3] {
            known.note(HostId(host), minute(0), &old);
        }
        assert_eq!(known.shared(minute(0)), None);
        known.note(HostId(1), minute(1), &new);
        assert_eq!(known.shared(minute(1)), Some(vec![0.1, 0.5, 1.0]));
        known.note(HostId(2), minute(2), &new);
        assert_eq!(known.shared(minute(2)), Some(vec![0.1, 0.5, 1.0]));
        // The last one with the old ones is gone.
        assert_eq!(known.shared(minute(11)), None);
        known.note(HostId(3), minute(12), &[7.0]);
        known.note(HostId(1), minute(12), &new);
        assert_eq!(known.shared(minute(12)), Some(vec![]));
        known.keep(|host| host != HostId(3));
        assert_eq!((known.shared(minute(12)), known.sets.len()), (None, 1));
    }

    #[test]
    fn a_state_that_contradicts_itself_is_refused() {
        let mut known = BucketBounds::default();
        known.note(HostId(1), minute(0), &[1.0]);
        known.settle(2).unwrap();
        assert_eq!(known.settle(1), Err(Unsound::Host { index: 1 }));
        let mut torn = known.clone();
        torn.sets.clear();
        torn.settle(2).unwrap_err();
        known.sets[0][0] = f64::NAN;
        known.settle(2).unwrap_err();
    }
}
