//! What is said when the bake is over, and no PASS can be given.

use super::{
    Awaiting, CheckState, Derivative, Evidence, Finding, Group, Outcome, PAST_WINDOWS_MIN, Span,
    View, metric_name, rules::FLEET_MIN,
};
use crate::detect::{Basis, NoDataCause, Track};

/// A group with what its latest look said.
type Looked<'a> = (usize, &'a Group, &'a Outcome);

impl Derivative {
    /// Why nothing is proven though nothing breached: a trend that is likely and not certain, or that there was
    /// nothing to hold trends against, or too few samples for any look.
    pub(super) fn unproven(&self, view: &View<'_>, basis: Basis) -> Option<Finding> {
        if view.bucket.end + view.panel.resolution() <= self.grace_until + self.bake {
            return None;
        }
        let groups = view.panel.groups();
        let looked: Vec<Looked<'_>> = groups
            .filter_map(|(index, group)| Some((index, group, self.groups[index].as_deref()?)))
            .collect();
        let likely = looked.iter().filter(|(.., outcome)| outcome.is_likely());
        let likely: Vec<Evidence> = likely
            .take(Finding::EVIDENCE_MAX)
            .map(|(index, _, outcome)| {
                let mut evidence = self.describe(view, *index, outcome, basis);
                evidence.state = CheckState::NoData;
                evidence.note.push_str("; likely harm, though not certain");
                evidence
            })
            .collect();
        if !likely.is_empty() {
            return Some(Finding::no_data(NoDataCause::Likely, likely));
        }
        let is_blind = looked.iter().all(|(.., outcome)| outcome.reading.is_none());
        let mut cause = None;
        let unjudged = looked.iter().filter_map(|(_, group, outcome)| {
            let is_due = is_blind || self.is_old(view, group);
            let (why, note) = match outcome.awaiting {
                Awaiting::Comparison if is_due => (NoDataCause::NoPast, self.lacks_past()),
                Awaiting::HalfWindow if is_blind => (NoDataCause::TooFew, self.lacks_samples()),
                _ => return None,
            };
            cause.get_or_insert(why);
            let name = metric_name(&self.check, group);
            let mut evidence = Evidence::bare(name, CheckState::NoData, basis, note);
            evidence.hosts = view.hosts.names(view.one_box.iter().copied());
            Some(evidence)
        });
        let unjudged: Vec<Evidence> = unjudged.take(Finding::EVIDENCE_MAX).collect();
        Some(Finding::no_data(cause?, unjudged))
    }

    /// Whether a metric was there before the deployment: what came with the version has no past anywhere.
    fn is_old(&self, view: &View<'_>, group: &Group) -> bool {
        let mut hosts = view.one_box.iter().chain(view.fleet);
        let is_old = |track: &Track| track.has_data() && track.first_seen < self.past_until;
        hosts.any(|host| group.track(*host).is_some_and(is_old))
    }

    fn lacks_past(&self) -> String {
        let windows = PAST_WINDOWS_MIN as i64 + 3;
        let past = Span::from_nanos(self.window.nanos() / 4 * windows).whole_seconds();
        format!(
            "nothing to hold its trend against: it takes {FLEET_MIN} fleet hosts, or {past} of data of a host \
             before the deployment; or give the check a limit (max:)"
        )
    }

    fn lacks_samples(&self) -> String {
        format!(
            "too few samples for a trend over {}: give the check a longer window (over:)",
            self.window
        )
    }
}

impl Outcome {
    /// Whether a trend was likely harm at the latest look, or was about to be certain.
    fn is_likely(&self) -> bool {
        let is_open = self.state == CheckState::Undecided;
        let reading = self.reading.filter(|_| is_open);
        reading.is_some_and(|reading| {
            reading.is_likely || (reading.exceeds && reading.basis == Basis::Model)
        })
    }
}
