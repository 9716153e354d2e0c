//! Whether the hosts that are judged were heard: the proof that a PASS needs.

use std::collections::BTreeMap;

use super::{HostId, NoDataCause, Setup, Track, View};
use crate::{
    event::{Span, Timestamp},
    plan::Selection,
};

/// Share of the bake, in percent, in which every judged host must have been heard.
const COVERED_PERCENT_MIN: u64 = 80;

/// Follows, for one check of one deployment, which of the judged hosts were heard and when.
///
/// A host is heard while any series (or log record) that the check selects came from it within its
/// patience: two minutes, five buckets, or five times its own cadence, whichever is longest. Log
/// checks select what is rare on purpose, so there any record of the host counts.
#[derive(Clone, Debug)]
pub struct Coverage {
    is_log: bool,
    began_at: Timestamp,
    grace_until: Timestamp,
    /// By host: buckets since the grace in which it was heard.
    heard: BTreeMap<HostId, u64>,
    /// Buckets since the grace.
    buckets: u64,
}

/// Whether the judged hosts were heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covered {
    /// All of them, up to now and over the bake.
    Yes,
    /// Too early to tell; the phrase says what is awaited.
    Waiting(String),
    /// Not all of them: why, and which, ascending by name.
    No(NoDataCause, Vec<HostId>),
}

impl Coverage {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        Self {
            is_log: matches!(setup.check.selection, Selection::Logs(_)),
            began_at: setup.began_at,
            grace_until: setup.grace_until,
            heard: BTreeMap::new(),
            buckets: 0,
        }
    }

    /// Takes the bucket that has just closed. Call it once for each.
    pub fn observe(&mut self, view: &View<'_>) -> Covered {
        let judged = self.grace_until < view.bucket.end;
        self.buckets += u64::from(judged);
        let mut missing: Vec<(NoDataCause, HostId)> = Vec::new();
        let mut waiting = Vec::new();
        for &host in view.one_box {
            let cause = self.silence(view, host);
            if judged {
                *self.heard.entry(host).or_insert(0) += u64::from(cause.is_none());
            }
            match cause {
                None => {}
                Some(_) if view.bucket.end < self.patience_until(view, host) => waiting.push(host),
                Some(cause) => missing.push((cause, host)),
            }
        }
        if view.one_box.is_empty() {
            return if view.bucket.end < self.begin_patience_until(view) {
                Covered::Waiting("the first data of its hosts".to_owned())
            } else {
                Covered::No(NoDataCause::NothingSelected, Vec::new())
            };
        }
        if let Some((cause, _)) = missing.first().cloned() {
            let hosts = missing.into_iter().map(|(_, host)| host).collect();
            return Covered::No(cause, hosts);
        }
        if !waiting.is_empty() {
            let names = view.hosts.names(waiting).join(", ");
            return Covered::Waiting(format!("the first data of {names}"));
        }
        self.share(view)
    }

    /// Why the host is not heard in this bucket, if it is not.
    fn silence(&self, view: &View<'_>, host: HostId) -> Option<NoDataCause> {
        if self.is_log {
            let life = view.log_life(host).err();
            return life.or_else(|| {
                let last = view.hosts.get(host).log_last?;
                (last <= self.began_at).then_some(NoDataCause::NeverArrived)
            });
        }
        let mut last: Option<Timestamp> = None;
        let mut loss = None;
        let mut patience = Span::ZERO;
        for (_, group) in view.panel.groups() {
            let Some(track) = group.track(host) else {
                continue;
            };
            loss = loss.max(track.loss.map(|(reason, at)| (at, reason)));
            if track.has_data() {
                last = last.max(Some(track.last_seen));
                patience = patience.max(cadence(track.first_seen, track.last_seen, track.covered));
            }
        }
        let patience = base_patience(view).max(patience.times(5));
        let silent = match last {
            None if view.panel.is_empty() => Some(NoDataCause::NothingSelected),
            None => Some(NoDataCause::NeverArrived),
            Some(last) if last <= self.began_at => Some(NoDataCause::NeverArrived),
            Some(last) if view.bucket.end - last > patience => Some(NoDataCause::Stopped { last }),
            Some(_) => None,
        };
        match (silent, loss) {
            (Some(_), Some((at, reason))) if last.is_none_or(|last| last < at) => {
                Some(NoDataCause::Unusable {
                    reason: reason.name().to_owned(),
                })
            }
            (Some(cause), _) => Some(cause),
            (None, _) => view.is_lifeless(host).then_some(NoDataCause::Lifeless),
        }
    }

    /// Until when the host's silence is forgiven because the deployment has only begun.
    fn patience_until(&self, view: &View<'_>, host: HostId) -> Timestamp {
        let patience = if self.is_log {
            view.hosts.log_patience(host)
        } else {
            Span::ZERO
        };
        self.begin_patience_until(view)
            .max(self.began_at + patience)
    }

    fn begin_patience_until(&self, view: &View<'_>) -> Timestamp {
        self.grace_until.max(self.began_at + base_patience(view))
    }

    fn share(&self, view: &View<'_>) -> Covered {
        let poorest = view
            .one_box
            .iter()
            .map(|host| (self.heard.get(host).copied().unwrap_or(0), *host))
            .min_by_key(|(heard, _)| *heard);
        match poorest {
            Some((heard, host)) if heard * 100 < self.buckets * COVERED_PERCENT_MIN => {
                let covered_percent = (heard * 100 / self.buckets) as u8;
                Covered::No(NoDataCause::Gaps { covered_percent }, vec![host])
            }
            Some(_) | None => Covered::Yes,
        }
    }
}

/// Two minutes or five buckets, whichever is longer.
pub(super) fn base_patience(view: &View<'_>) -> Span {
    Span::from_minutes(2).max(view.panel.resolution().times(5))
}

/// How long a series may be silent before it counts as gone.
pub(super) fn patience(view: &View<'_>, track: &Track) -> Span {
    base_patience(view).max(cadence(track.first_seen, track.last_seen, track.covered).times(5))
}

/// Mean distance of a series' buckets with data.
pub(super) fn cadence(first: Timestamp, last: Timestamp, covered: u64) -> Span {
    Span::from_nanos((last - first).nanos() / i64::try_from(covered.max(1)).unwrap_or(i64::MAX))
}
