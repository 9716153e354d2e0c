//! Hosts that went while others came in their place: pods that were moved.

use super::{Absent, HostId, Presence, View};
use crate::event::Timestamp;

impl Absent {
    /// Takes those out of the absent hosts in whose place another one came at that time: no longer before or after
    /// than a host may be silent. Each that came, and is here, stands for one that went.
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
        came.sort_unstable();
        absent.sort_by_key(|(_, since)| *since);
        let mut moved = Vec::new();
        absent.retain(|(host, since)| {
            let was_there = self.came(view, *host).unwrap_or(self.began_at);
            let replaces = |at: &Timestamp| {
                was_there < *at && *since <= *at + self.after && *at <= *since + self.after
            };
            let spoke = !self.silent_since_begin(*host);
            let successor = came.iter().position(replaces).filter(|_| spoke);
            if let Some(index) = successor {
                came.remove(index);
                moved.push((*host, *since));
            }
            successor.is_none()
        });
        moved
    }

    /// When the first data ever of a host came that nobody knew of when the deployment began: of one that was
    /// named its silence was known.
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
