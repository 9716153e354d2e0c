//! How much of the bake a host was seen in. Silence of which nobody can tell whether the host or the pipeline is dead
//! does not become health when somebody speaks again.

use super::{Absent, Basis, Finding, Heard, HostId, NoDataCause, Presence, View, blind};
use crate::event::{Span, Timestamp};

impl Heard {
    /// Adds a silence that has just ended, if it was longer than is allowed: as much of it as was to be judged.
    pub(super) fn came_back(&mut self, after: Span, judged_from: Timestamp, now: Timestamp) {
        if let Some(last) = self.last.filter(|last| after < now - *last) {
            self.unseen = self.unseen + (now - last.max(judged_from)).max(Span::ZERO);
        }
    }
}

impl Absent {
    /// What is said where a host is here that was unseen for more than half of the time since the grace: data that comes
    /// later may make up for it.
    pub(super) fn unseen(
        &self,
        view: &View<'_>,
        presences: &[(HostId, Presence)],
    ) -> Option<Finding> {
        let now = view.bucket.end;
        let judged = now - self.grace_until;
        let here = presences
            .iter()
            .filter(|(_, presence)| *presence == Presence::Here);
        let unseen = here.filter_map(|(host, _)| Some((*host, self.heard.get(host)?.unseen)));
        let unseen: Vec<(HostId, Span)> = unseen
            .filter(|(_, unseen)| Span::ZERO < *unseen && judged < unseen.times(2))
            .collect();
        let (host, longest) = unseen.iter().copied().max_by_key(|(_, unseen)| *unseen)?;
        if now < self.bake_until {
            return Some(Finding::warming(format!(
                "more of {} from {}, which was silent for {} of {}",
                self.selection,
                view.hosts.name(host),
                longest.whole_seconds(),
                judged.whole_seconds()
            )));
        }
        let seen = (judged - longest).seconds_f64() / judged.seconds_f64();
        let cause = NoDataCause::Gaps {
            covered_percent: (100.0 * seen) as u8,
            lost: None,
        };
        let hosts = unseen.into_iter().map(|(host, _)| host);
        Some(blind(view, &self.selection, Basis::Slo, cause, hosts))
    }
}
