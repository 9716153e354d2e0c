//! Hosts that went while others came in their place: pods that were moved.

use super::{Absent, HostId, Presence, View};
use crate::event::Timestamp;

impl Absent {
    /// Takes those out of the absent hosts in whose place another one came at that time: no longer before or after
    /// than a host may be silent. Each that came, and is here, stands for one that went: also for one that went in
    /// the grace and is none of these hosts.
    pub(super) fn moved(
        &self,
        view: &View<'_>,
        presences: &[(HostId, Presence)],
        absent: &mut Vec<(HostId, Timestamp)>,
    ) -> Vec<(HostId, Timestamp)> {
        let here = presences
            .iter()
            .filter(|(_, presence)| *presence == Presence::Here);
        let mut came: Vec<Timestamp> = here
            .filter_map(|(host, _)| self.came(view, *host))
            .collect();
        if came.is_empty() {
            return Vec::new();
        }
        came.sort_unstable();
        let mut take = |was_there: Timestamp, since: Timestamp| {
            let replaces = |at: &Timestamp| {
                was_there < *at && since <= *at + self.after && *at <= since + self.after
            };
            let successor = came.iter().position(replaces);
            successor.map(|index| came.remove(index))
        };
        // Whoever is not heard of any more went before those that are.
        for since in self.gone(view) {
            take(self.began_at, since);
        }
        absent.sort_by_key(|(_, since)| *since);
        let mut moved = Vec::new();
        absent.retain(|(host, since)| {
            let was_there = self.came(view, *host).unwrap_or(self.began_at);
            let spoke = !self.silent_since_begin(*host);
            let is_moved = spoke && take(was_there, *since).is_some();
            if is_moved {
                moved.push((*host, *since));
            }
            !is_moved
        });
        moved
    }

    /// Since when those are silent that are neither judged nor of the fleet and went since the deployment began, the
    /// first to go first: where nobody is named, only who speaks after the grace is judged.
    fn gone(&self, view: &View<'_>) -> Vec<Timestamp> {
        let groups = view.panel.groups();
        let mut others: Vec<HostId> = groups
            .flat_map(|(_, group)| group.tracks.iter().map(|track| track.host))
            .filter(|host| !self.heard.contains_key(host))
            .collect();
        others.sort_unstable();
        others.dedup();
        let last = others.into_iter().filter_map(|host| self.past(view, host));
        let went = |last: &Timestamp| self.began_at < *last && *last + self.after < view.bucket.end;
        let mut gone: Vec<Timestamp> = last.filter(went).collect();
        gone.sort_unstable();
        gone
    }

    /// When the first data ever of a host came that nobody knew of when the deployment began: of one that was
    /// named its silence was known. One that came in the grace is such a host, too.
    fn came(&self, view: &View<'_>, host: HostId) -> Option<Timestamp> {
        self.heard.get(&host).filter(|heard| heard.is_late)?;
        let first = if self.is_log {
            view.hosts.get(host).first_seen
        } else {
            let tracks = view
                .panel
                .groups()
                .filter_map(|(_, group)| group.track(host));
            let known = tracks.filter(|track| track.has_data());
            known.map(|track| track.first_seen).min()?
        };
        (self.began_at <= first).then_some(first)
    }
}
