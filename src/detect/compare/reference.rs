//! Whether there is a fleet to hold one metric against, bucket by bucket.
//!
//! Fleet hosts go and come while a bake lasts: pods are moved, a service grows by day. A test knows the hosts
//! that it began with. It goes on with those that are left while they are enough; when they are not, or when
//! most of them are gone and others are here, those that came take their place: as hosts that were never seen
//! before, after a grace of their own. Levels are then judged anew, each host of the one-box from its own usual
//! place in the old fleet ([`late`](super::late)); events go on with what was known of the one-box, less certain
//! by how much fleet hosts differ ([`counts`](super::counts)).
//!
//! The time in which the one-box spoke beside nobody is not seen: no more than half of the bake may be so, and
//! none at its end.

use serde::{Deserialize, Serialize};

use super::reading::Reader;
use crate::{
    detect::{Group, HostId, Track, Unsound, coverage::base_patience, state::counted},
    event::{Span, Timestamp},
};

/// Distances of its data for which a host is still there without a word, as for the one-box.
const ORDINARY: i64 = 5;

/// What is known of the fleet of one metric.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "CompareReference")]
pub(super) struct Reference {
    /// Since when too few of those that the test began with are left, and others could take their place.
    failing_since: Option<Timestamp>,
    /// Buckets that were judged, and those in which the one-box spoke beside nobody.
    buckets: u64,
    unseen: u64,
    /// Whether enough of those that the test knows are left for it to go on.
    is_standing: bool,
    /// Whether the one-box speaks, and nobody is there to compare it with.
    is_unseen: bool,
}

/// Whether a host reports the metric: it was heard within what is ordinary for it.
pub(super) fn speaks(reader: &Reader<'_>, group: &Group, host: HostId) -> bool {
    let end = reader.view.bucket.end;
    let track = group.track(host).filter(|track| track.has_data());
    track.is_some_and(|track| {
        if reader.terms.is_log {
            // What has no record in a bucket has none, while the stream lives.
            return reader.view.hosts.is_log_alive(host, end);
        }
        let distance = track.cadence().max(reader.terms.resolution);
        end - track.heard_last() <= distance.times(ORDINARY)
    })
}

/// Whether a host of the fleet can be compared with: it is not one that came within a grace ago.
pub(super) fn is_settled(reader: &Reader<'_>, track: &Track) -> bool {
    let grace = reader.terms.grace_until - reader.terms.began_at;
    track.first_seen + grace <= reader.view.bucket.start
}

/// The fleet hosts that speak and have settled, by name.
pub(super) fn settled(reader: &Reader<'_>, group: &Group) -> Vec<HostId> {
    let is_here = |host: &HostId| {
        let track = group.track(*host);
        track.is_some_and(|track| is_settled(reader, track)) && speaks(reader, group, *host)
    };
    reader.view.fleet.iter().copied().filter(is_here).collect()
}

impl Reference {
    /// Takes the bucket that has just closed, with the fleet hosts that the test knows, of which it needs so
    /// many at least. Says whether others must take their place by now: not before all that come back after a
    /// silence of everyone could have.
    pub(super) fn follow(
        &mut self,
        reader: &Reader<'_>,
        group: &Group,
        known: &[HostId],
        least: usize,
    ) -> bool {
        let end = reader.view.bucket.end;
        let grace_until = reader.terms.grace_until;
        let was_here = |host: &&HostId| {
            let track = group.track(**host).filter(|track| track.has_data());
            track.is_some_and(|track| grace_until < track.heard_last())
        };
        let here: Vec<HostId> = known.iter().filter(was_here).copied().collect();
        let standing = here
            .iter()
            .filter(|host| speaks(reader, group, **host))
            .count();
        self.is_standing = least <= standing;
        let are_most = here.len() <= 2 * standing;
        if self.is_standing && are_most {
            self.failing_since = None;
            return false;
        }
        let mut known = known.to_vec();
        known.sort_unstable();
        let is_other = |host: &&HostId| known.binary_search(host).is_err();
        let others = reader.view.fleet.iter().filter(is_other);
        let others = others.filter(|host| speaks(reader, group, **host)).count();
        if others == 0 && (self.is_standing || standing == 0) {
            self.failing_since = None;
            return false;
        }
        let since = *self.failing_since.get_or_insert(end);
        let distances = here
            .iter()
            .filter_map(|host| Some(group.track(*host)?.cadence()));
        let pause = base_patience(reader.view).max(distances.max().unwrap_or(Span::ZERO).times(2));
        pause <= end - since && !settled(reader, group).is_empty()
    }

    /// Notes whether the bucket could be compared with anybody.
    pub(super) fn note(&mut self, reader: &Reader<'_>, group: &Group, is_seen: bool) {
        let mut one_box = reader.view.one_box.iter();
        self.is_unseen = !is_seen && one_box.any(|host| speaks(reader, group, *host));
        self.buckets += 1;
        self.unseen += u64::from(self.is_unseen);
    }

    /// Whether enough of those that the test knows are left for it to go on.
    pub(super) fn is_standing(&self) -> bool {
        self.is_standing
    }

    /// Whether the one-box speaks, and nobody is there to compare it with.
    pub(super) fn is_unseen(&self) -> bool {
        self.is_unseen
    }

    /// Whether that was so for most of the time.
    pub(super) fn is_mostly_unseen(&self) -> bool {
        self.buckets < 2 * self.unseen
    }

    /// Refuses a saved reference that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of buckets", self.buckets)?;
        counted("number of buckets", self.unseen)
    }
}
