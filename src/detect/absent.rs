//! Absence: what a host is expected to send does not fall silent.

mod hush;
mod moved;
#[cfg(test)]
mod tests;
mod unseen;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Basis, CheckState, Evidence, Extent, Finding, HostId, NoDataCause, Setup, Unsound, View,
    coverage::base_patience,
    wording::{blind, host_list, selection_name},
};
use crate::{
    event::{Span, Timestamp},
    plan::{Check, DetectorPlan, Selection},
};

/// No judged host is without any of the selected series (or log records) for longer than `after`.
///
/// Silence is a breach only where others prove for that long that the pipeline works: more than half of
/// the fleet hosts that spoke of late go on to speak; or, if the fleet does not send it, another judged
/// host does. Without such witnesses a dead host looks like a dead pipeline: that is no data. When all
/// fall silent together, some are silent first, and when they come back, some come last: what is proven
/// ends when half of `after` (or the usual gap between two words of a host, if that is longer) is over
/// without a word, and goes on when the pipeline has worked again for that long. A host that was never
/// heard has the longer of `after` and the grace to speak up.
///
/// What was silent for longer than half of the time since the grace, all its longer silences together, is not covered,
/// though it speaks again.
///
/// A host that goes while another one comes, whose first data ever is of that time, was moved: that is no data,
/// as many times as others have come. A host that the deployer named cannot be replaced by another.
///
/// Who is silent for longer than usual, but not for so long yet, is undecided; when the bake ends, that is awaited.
///
/// Presence is its own coverage here: a sample that arrived is the proof, even if its value stands
/// still for ever (`up` is 1 on every healthy host).
#[derive(Clone, Debug)]
pub struct Absent {
    selection: String,
    is_log: bool,
    after: Span,
    began_at: Timestamp,
    grace_until: Timestamp,
    bake_until: Timestamp,
    heard: BTreeMap<HostId, Heard>,
    pipeline: Pipeline,
}

/// What was heard of a host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "AbsentHeard")]
struct Heard {
    /// End of the latest bucket with anything selected, since the past that the panel remembers.
    last: Option<Timestamp>,
    /// How long it was silent before that.
    gap: Span,
    /// What of [`Pipeline::proven`] was over at its last word since the deployment began.
    proven: Span,
    /// For how long since the grace it was silent beyond what is allowed, and spoke again.
    unseen: Span,
    /// In how many buckets it was heard since the deployment began.
    words: u32,
    /// Whether it was not known to be one of these hosts when the first bucket closed.
    is_late: bool,
}

/// Whether anything arrives at all, as others than the host in question show.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Pipeline {
    /// For how long it has been seen to work since the deployment began.
    proven: Span,
    /// End of the latest bucket in which it was not.
    broken: Option<Timestamp>,
}

/// What was learned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "AbsentState")]
pub(super) struct State {
    heard: BTreeMap<HostId, Heard>,
    pipeline: Pipeline,
}

/// For how many times `after` a fleet host that fell silent is expected to speak again; then it is gone.
const EXPECTED_FOR: i64 = 4;

/// What is to say of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Heard since the deployment began, and not silent for too long.
    Here,
    /// Not heard yet, and not expected yet.
    Awaited { until: Timestamp },
    /// Silent for too long, while others speak.
    Absent { since: Timestamp },
    /// Silent for too long, and so is everybody else.
    AllSilent,
    /// Silent for too long, and nobody else could tell.
    Alone,
}

impl Absent {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        Self {
            selection: selection_name(setup.check),
            is_log: is_log(setup.check),
            after: after(&setup.check.detector),
            began_at: setup.began_at,
            grace_until: setup.grace_until,
            bake_until: setup.bake_until,
            heard: BTreeMap::new(),
            pipeline: Pipeline::default(),
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        // Where nobody is named, the hosts are those that speak after the grace: until then nobody is known, and
        // nothing works.
        let is_late = !self.heard.is_empty() || self.pipeline.broken.is_some();
        for &host in view.one_box.iter().chain(view.fleet) {
            self.hear(view, host, is_late);
        }
        self.prove(view);
        let now = view.bucket.end;
        if view.one_box.is_empty() {
            let until = self
                .grace_until
                .max(self.began_at + self.after.max(base_patience(view)))
                .min(self.bake_until);
            return if now < until {
                let until = until.next_whole_second();
                Finding::warming(format!("the first data of its hosts, until {until}"))
            } else {
                let cause = NoDataCause::NothingSelected;
                blind(view, &self.selection, Basis::Slo, cause, [])
            };
        }
        let presences: Vec<(HostId, Presence)> = view
            .one_box
            .iter()
            .map(|&host| (host, self.presence(view, host)))
            .collect();
        self.weigh(view, &presences)
    }

    /// What was learned: whoever adds a field decides here whether it is kept.
    pub(super) fn save(&self) -> State {
        let Self {
            selection: _,
            is_log: _,
            after: _,
            began_at: _,
            grace_until: _,
            bake_until: _,
            heard,
            pipeline,
        } = self;
        State {
            heard: heard.clone(),
            pipeline: *pipeline,
        }
    }

    /// Takes what [`Absent::save`] gave.
    pub(super) fn restore(&mut self, state: State, extent: Extent) -> Result<(), Unsound> {
        let State { heard, pipeline } = state;
        extent.hosts(heard.keys())?;
        self.heard = heard;
        self.pipeline = pipeline;
        Ok(())
    }

    /// Takes what came of a host in the bucket; its remembered past when it is seen first.
    fn hear(&mut self, view: &View<'_>, host: HostId, is_late: bool) {
        let Some(heard) = self.heard.get(&host) else {
            let heard = Heard {
                last: self.past(view, host),
                is_late,
                ..Heard::default()
            };
            self.heard.insert(host, heard);
            return;
        };
        let is_here = {
            let tracks = || {
                view.panel
                    .groups()
                    .filter_map(|(_, group)| group.track(host))
            };
            if self.is_log {
                tracks()
                    .filter_map(|track| track.cell(view.bucket))
                    .any(|cell| 0.0 < cell.events)
            } else {
                tracks().any(|track| track.cell(view.bucket).is_some())
            }
        };
        if is_here {
            let now = view.bucket.end;
            let gap = heard.last.map_or(Span::ZERO, |last| now - last);
            let mut heard = Heard {
                gap,
                words: heard.words.saturating_add(1),
                ..*heard
            };
            heard.came_back(self.after, self.grace_until, now);
            heard.last = Some(now);
            self.heard.insert(host, heard);
        }
    }

    /// Adds the bucket to what is proven, if others than a host that is silent show that data arrives.
    fn prove(&mut self, view: &View<'_>) {
        let now = view.bucket.end;
        let width = view.bucket.end - view.bucket.start;
        let speaks = |host: &HostId| {
            let last = self.last(*host);
            last.is_some_and(|last| now - last <= self.pause(*host, width))
        };
        let is_expected = |host: &&HostId| {
            let last = self.last(**host);
            last.is_some_and(|last| now - last <= self.after.times(EXPECTED_FOR))
        };
        let expected = view.fleet.iter().filter(is_expected).count();
        let speaking = view.fleet.iter().filter(|host| speaks(host)).count();
        let works = if 0 < expected {
            expected < 2 * speaking
        } else {
            view.one_box.iter().any(speaks)
        };
        let pauses = view.one_box.iter().map(|host| self.pause(*host, width));
        let patience = pauses.max().unwrap_or(self.after);
        if !works {
            self.pipeline.broken = Some(now);
        } else if self.pipeline.broken.is_none_or(|at| patience < now - at) {
            self.pipeline.proven = self.pipeline.proven + width;
        }
        for heard in self.heard.values_mut() {
            if heard.last == Some(now) {
                heard.proven = self.pipeline.proven;
            }
        }
    }

    /// How long a host may say nothing until its silence counts.
    fn pause(&self, host: HostId, width: Span) -> Span {
        let half = Span::from_nanos(self.after.nanos() / 2);
        let usual = self.heard.get(&host).map_or(Span::ZERO, |heard| heard.gap);
        half.max(usual + width).min(self.after)
    }

    /// The latest presence that the panel remembers.
    fn past(&self, view: &View<'_>, host: HostId) -> Option<Timestamp> {
        let resolution = view.panel.resolution();
        view.panel
            .groups()
            .filter_map(|(_, group)| group.track(host))
            .filter(|track| track.has_data())
            .filter_map(|track| {
                if !self.is_log {
                    return Some(track.heard_last());
                }
                let silent = track
                    .values(resolution, Timestamp::MIN, track.last_seen)
                    .rev()
                    .position(|value| 0.0 < value)?;
                Some(track.last_seen - resolution.times(silent as i64))
            })
            .max()
    }

    fn presence(&self, view: &View<'_>, host: HostId) -> Presence {
        let now = view.bucket.end;
        let last = self.last(host).filter(|last| self.began_at < *last);
        let since = last.unwrap_or(self.began_at);
        if last.is_some() && now - since <= self.after {
            return Presence::Here;
        }
        let until = self.grace_until.max(since + self.after);
        if now <= until {
            return Presence::Awaited { until };
        }
        let proven = self.pipeline.proven - self.proven_at(host);
        if self.after < proven {
            Presence::Absent { since }
        } else if view.fleet.is_empty() && view.one_box.len() < 2 {
            Presence::Alone
        } else {
            Presence::AllSilent
        }
    }

    fn proven_at(&self, host: HostId) -> Span {
        self.heard
            .get(&host)
            .map_or(Span::ZERO, |heard| heard.proven)
    }

    fn silent_since_begin(&self, host: HostId) -> bool {
        self.last(host).is_none_or(|last| last <= self.began_at)
    }

    fn last(&self, host: HostId) -> Option<Timestamp> {
        self.heard.get(&host)?.last
    }

    fn weigh(&self, view: &View<'_>, presences: &[(HostId, Presence)]) -> Finding {
        let mut absent = Vec::new();
        let mut unknown = Vec::new();
        let mut awaited: Option<(HostId, Timestamp)> = None;
        for &(host, presence) in presences {
            match presence {
                Presence::Here => {}
                Presence::Awaited { until } => {
                    awaited = awaited
                        .filter(|(_, latest)| until <= *latest)
                        .or(Some((host, until)));
                }
                Presence::Absent { since } => absent.push((host, since)),
                Presence::AllSilent | Presence::Alone => unknown.push((host, presence)),
            }
        }
        let moved = self.moved(view, presences, &mut absent);
        if !absent.is_empty() {
            return self.breach(view, &absent);
        }
        if let Some(last) = moved.iter().map(|(_, since)| *since).min() {
            let cause = NoDataCause::Stopped { last };
            let hosts = moved.into_iter().map(|(host, _)| host);
            return blind(view, &self.selection, Basis::Slo, cause, hosts);
        }
        if let Some((_, presence)) = unknown.first() {
            let cause = self.cause(*presence, &unknown);
            let hosts = unknown.into_iter().map(|(host, _)| host);
            return blind(view, &self.selection, Basis::Slo, cause, hosts);
        }
        if let Some((host, until)) = awaited {
            if self.bake_until <= view.bucket.end && self.silent_since_begin(host) {
                // Nobody waited long enough to call it absent; that it was there nobody saw.
                let cause = NoDataCause::NeverArrived;
                return blind(view, &self.selection, Basis::Slo, cause, [host]);
            }
            return Finding::warming(format!(
                "{} from {}, until {}",
                self.selection,
                view.hosts.name(host),
                until.next_whole_second()
            ));
        }
        self.still(view)
            .or_else(|| self.unseen(view, presences))
            .or_else(|| self.hush(view, presences))
            .unwrap_or_else(|| self.present(view))
    }

    /// What is said of hosts whose values all stand still: an exporter that repeats its last values
    /// for ever is present, and is not alive. A log record is an event of its own.
    fn still(&self, view: &View<'_>) -> Option<Finding> {
        let hosts = view.one_box.iter().copied();
        let still: Vec<HostId> = hosts.filter(|host| view.is_lifeless(*host)).collect();
        let first = *still.first().filter(|_| !self.is_log)?;
        let until = self.grace_until.max(self.began_at + base_patience(view));
        Some(if view.bucket.end <= until {
            Finding::warming(format!("a value of {} that moves", view.hosts.name(first)))
        } else {
            blind(
                view,
                &self.selection,
                Basis::Slo,
                NoDataCause::Lifeless,
                still,
            )
        })
    }

    /// Why nothing can be said of hosts that are silent together with everybody else.
    fn cause(&self, presence: Presence, unknown: &[(HostId, Presence)]) -> NoDataCause {
        if self.heard.values().all(|heard| heard.last.is_none()) {
            return NoDataCause::NothingSelected;
        }
        match presence {
            Presence::Alone => match unknown.first().and_then(|(host, _)| self.last(*host)) {
                Some(last) if self.began_at < last => NoDataCause::Stopped { last },
                Some(_) | None => NoDataCause::NeverArrived,
            },
            Presence::AllSilent
            | Presence::Here
            | Presence::Awaited { .. }
            | Presence::Absent { .. } => NoDataCause::NoFleet,
        }
    }

    fn breach(&self, view: &View<'_>, absent: &[(HostId, Timestamp)]) -> Finding {
        let since = absent.iter().map(|(_, since)| *since).min();
        let silence = since.map_or(Span::ZERO, |since| view.bucket.end - since);
        let names = view.hosts.names(absent.iter().map(|(host, _)| *host));
        let mut note = format!(
            "silent for {} on {}, while others speak",
            silence.whole_seconds(),
            host_list(&names)
        );
        if let Some(reason) = absent.iter().find_map(|(host, _)| self.loss(view, *host)) {
            note.push_str("; what came could not be used (");
            note.push_str(reason);
            note.push(')');
        }
        let mut evidence = Evidence::bare(&self.selection, CheckState::Breach, Basis::Slo, note);
        evidence.observed = Some(silence.seconds_f64());
        evidence.expected = Some(self.after.seconds_f64());
        evidence.hosts = names;
        evidence.first_breach = since;
        Finding::new(CheckState::Breach, vec![evidence])
    }

    /// Why data of a silent host was lost, if any was lost since it fell silent.
    fn loss(&self, view: &View<'_>, host: HostId) -> Option<&'static str> {
        let since = self.last(host).unwrap_or(Timestamp::MIN).max(self.began_at);
        view.panel
            .groups()
            .filter_map(|(_, group)| group.track(host)?.loss())
            .filter(|(_, at)| since < *at)
            .max_by_key(|(reason, at)| (*at, *reason))
            .map(|(reason, _)| reason.cause())
    }

    fn present(&self, view: &View<'_>) -> Finding {
        let quietest = view
            .one_box
            .iter()
            .filter_map(|host| Some((self.last(*host)?, *host)))
            .min_by_key(|(last, _)| *last);
        let evidence = quietest.map(|(last, host)| {
            let silence = view.bucket.end - last;
            let note = format!(
                "the quietest, {}, silent for {}",
                view.hosts.name(host),
                silence.whole_seconds()
            );
            let mut evidence = Evidence::bare(&self.selection, CheckState::Ok, Basis::Slo, note);
            evidence.observed = Some(silence.seconds_f64());
            evidence.expected = Some(self.after.seconds_f64());
            evidence.hosts = view.hosts.names([host]);
            evidence
        });
        Finding::new(CheckState::Ok, evidence.into_iter().collect())
    }
}

fn is_log(check: &Check) -> bool {
    match check.selection {
        Selection::Logs(_) => true,
        Selection::Series(_) => false,
    }
}

fn after(plan: &DetectorPlan) -> Span {
    match plan {
        DetectorPlan::Absent { after } => *after,
        DetectorPlan::Bounds { .. }
        | DetectorPlan::Derivative { .. }
        | DetectorPlan::Sigma { .. }
        | DetectorPlan::Compare { .. }
        | DetectorPlan::NewTemplate
        | DetectorPlan::Load { .. } => Span::ZERO,
    }
}
