//! Hosts that are silent for longer than usual, but not for so long that they are absent.

use super::{Absent, Basis, CheckState, Evidence, Finding, HostId, Presence, View, base_patience};
use crate::event::{Span, Timestamp};

/// How many times the usual distance of its words a host may be silent.
const USUAL_MAX: i64 = 5;

impl Absent {
    /// What is said of them: a little more time decides, also when the bake is over.
    pub(super) fn hush(
        &self,
        view: &View<'_>,
        presences: &[(HostId, Presence)],
    ) -> Option<Finding> {
        let now = view.bucket.end;
        let here = presences
            .iter()
            .filter(|(_, presence)| *presence == Presence::Here);
        let silent = here.filter_map(|(host, _)| {
            let since = self.last(*host)?;
            (self.patience(view, *host) < now - since).then_some((since, *host))
        });
        let silent: Vec<(Timestamp, HostId)> = silent.collect();
        let (since, host) = silent.iter().copied().min()?;
        let until = (since + self.after).next_whole_second();
        let first = view.hosts.name(host);
        let names = view.hosts.names(silent.iter().map(|(_, host)| *host));
        let silence = now - since;
        let note = format!(
            "{first} silent for {}, longer than usual",
            silence.whole_seconds()
        );
        let mut evidence = Evidence::bare(&self.selection, CheckState::Undecided, Basis::Slo, note);
        evidence.observed = Some(silence.seconds_f64());
        evidence.expected = Some(self.after.seconds_f64());
        evidence.hosts = names;
        let mut finding = Finding::new(CheckState::Undecided, vec![evidence]);
        finding.awaiting = Some(format!(
            "data of {first}, or silence of {}, until {until}",
            self.after
        ));
        // Somebody speaks, or is absent some day; also where the silence began while a step was awaited.
        finding.holds = true;
        Some(finding)
    }

    /// How long a host may be silent that has spoken since the deployment began.
    fn patience(&self, view: &View<'_>, host: HostId) -> Span {
        let usual = self.heard.get(&host).and_then(|heard| {
            let time = heard.last? - self.began_at;
            Some(Span::from_nanos(
                time.nanos() / i64::from(heard.words.max(1)),
            ))
        });
        let usual = usual.unwrap_or(Span::ZERO).times(USUAL_MAX);
        base_patience(view).max(usual)
    }
}
