//! What a detector is shown: the panel of its check, with the hosts in their roles.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{NoDataCause, Panel};
use crate::{
    event::{Interval, Severity, Span, Timestamp},
    plan::{Check, Mode},
};

/// A host of a service in one run. Ids follow the order of arrival: nothing a person sees may
/// depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostId(pub u32);

/// The hosts of a service and their signs of life.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostBook {
    hosts: Vec<Host>,
    log_gap_usual: Span,
}

/// The least that a log stream may be silent.
const LOG_PATIENCE_MIN: Span = Span::from_minutes(2);

/// What tells of a birth within this time, or three buckets if that is longer, tells of the same one: what
/// watches a process from outside may be a minute late, and so may its next scrape.
pub const BIRTHS_APART: Span = Span::from_minutes(2);
/// Most births of a host that are remembered, and for how long.
const BIRTHS_MAX: usize = 64;
const BIRTHS_KEPT: Span = Span::from_hours(24);

/// Whether a gauge of this name is the second in which a process, a container or a machine began.
pub fn is_start_time(name: &str) -> bool {
    const OTHERS: [&str; 3] = [
        "container_start_time_seconds",
        "kube_pod_container_state_started",
        "node_boot_time_seconds",
    ];
    name.ends_with("process_start_time_seconds") || OTHERS.contains(&name)
}

/// One host and its signs of life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Its name; empty for series without a host label.
    pub name: Arc<str>,
    /// When its first sample or log record was seen.
    pub first_seen: Timestamp,
    /// End of the latest bucket with a log record of any kind.
    pub log_last: Option<Timestamp>,
    /// Whether any of its log records told a severity.
    pub tells_severity: bool,
    /// Longest stretch between two buckets with log records.
    pub log_gap_longest: Span,
    /// End of the latest bucket in which anything of it moved: a value that differs from the one
    /// before, an event. An exporter that repeats its last values for ever is not alive.
    pub moved_last: Option<Timestamp>,
    /// Longest stretch between two buckets in which something moved.
    pub still_longest: Span,
    /// When a process of it began anew, as far as is remembered: ends of the buckets that tell it, ascending,
    /// [`BIRTHS_APART`] or more from each other and from `first_seen`.
    pub births: Vec<Timestamp>,
    /// Nothing of it is remembered but its id.
    pub is_gone: bool,
    /// What a person is shown instead of its name, where others have that too. Not saved.
    #[serde(skip)]
    shown: Option<Arc<str>>,
}

/// What was before a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Until when hosts are what they were before: when the deployment began, or earlier where hosts ran the new
    /// version before that was told.
    pub until: Timestamp,
    /// The least and the largest share of an ordinary host's traffic that deployments of the version told of the same
    /// hosts before: steps of one rollout. `None`: none told one.
    pub shares: Option<(f64, f64)>,
}

/// What a detector is made from, when a deployment begins.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The check.
    pub check: &'a Check,
    /// Whether it can block.
    pub mode: Mode,
    /// When the deployment began.
    pub began_at: Timestamp,
    /// What was before it.
    pub before: Before,
    /// Until when restarts and cold caches are forgiven.
    pub grace_until: Timestamp,
    /// From when on the gate may pass early.
    pub bake_min_until: Timestamp,
    /// When the bake is over at the latest.
    pub bake_until: Timestamp,
    /// Width of a bucket.
    pub resolution: Span,
    /// The check's share of the gate's alpha; 0 for a check that makes no statistical promise.
    pub alpha: f64,
    /// Share of an ordinary host's traffic that a one-box host is given; above 0.
    pub weight: f64,
}

/// What a detector is shown when a bucket has closed.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The bucket that has just closed.
    pub bucket: Interval,
    /// What the check sees.
    pub panel: &'a Panel,
    /// Names and signs of life.
    pub hosts: &'a HostBook,
    /// The hosts that are judged, ascending by name: the one-box, or all hosts of the stage where
    /// there is none.
    pub one_box: &'a [HostId],
    /// The hosts that they are compared with, ascending by name; for `load`, the hosts of the stage
    /// whose peak is meant.
    pub fleet: &'a [HostId],
    /// When a limit refused a request last that may have held what the check selects.
    pub request_refused_last: Option<Timestamp>,
}

impl Before {
    /// Nothing is known but until when it lasted.
    pub const fn until(until: Timestamp) -> Self {
        Self {
            until,
            shares: None,
        }
    }
}

impl Host {
    fn new(name: Arc<str>, first_seen: Timestamp) -> Self {
        Self {
            name,
            first_seen,
            log_last: None,
            tells_severity: false,
            log_gap_longest: Span::ZERO,
            moved_last: None,
            still_longest: Span::ZERO,
            births: Vec::new(),
            is_gone: false,
            shown: None,
        }
    }

    /// From when on all of its births are known.
    pub fn births_known_since(&self) -> Timestamp {
        match self.births.first() {
            Some(first) if BIRTHS_MAX <= self.births.len() => *first,
            Some(_) | None => self.first_seen,
        }
    }

    /// How many births there were after a time, and not after another.
    pub fn births_within(&self, after: Timestamp, until: Timestamp) -> usize {
        let is_within = |at: &&Timestamp| after < **at && **at <= until;
        self.births.iter().filter(is_within).count()
    }
}

impl HostBook {
    /// Adds a host and gives its id.
    pub fn add(&mut self, name: Arc<str>, first_seen: Timestamp) -> HostId {
        let id = HostId(u32::try_from(self.hosts.len()).expect("hosts are bounded by the series"));
        self.hosts.push(Host::new(name, first_seen));
        id
    }

    /// Forgets all of a host but its name and id.
    pub fn forget(&mut self, id: HostId) {
        let host = &mut self.hosts[id.0 as usize];
        let name = Arc::clone(&host.name);
        *host = Host {
            is_gone: true,
            ..Host::new(name, Timestamp::MIN)
        };
    }

    /// A host that was forgotten has come back, with nothing of its past.
    pub fn welcome(&mut self, id: HostId, first_seen: Timestamp) {
        let host = &mut self.hosts[id.0 as usize];
        *host = Host::new(Arc::clone(&host.name), first_seen);
    }

    /// The host.
    pub fn get(&self, id: HostId) -> &Host {
        &self.hosts[id.0 as usize]
    }

    /// Shows a host to people by another name, or by its own again.
    pub fn show_as(&mut self, id: HostId, name: Option<String>) {
        self.hosts[id.0 as usize].shown = name.map(Arc::from);
    }

    /// The name of a host, as a person is shown it: with where it is, if others have that name too.
    pub fn name(&self, id: HostId) -> &str {
        let host = self.get(id);
        let name = host.shown.as_deref().unwrap_or(&host.name);
        if name.is_empty() { "(no host)" } else { name }
    }

    /// The names of hosts, sorted.
    pub fn names(&self, ids: impl IntoIterator<Item = HostId>) -> Vec<String> {
        let mut names: Vec<String> = ids.into_iter().map(|id| self.name(id).to_owned()).collect();
        names.sort();
        names
    }

    /// Notes a log record of the host in the bucket.
    pub fn heard_log(&mut self, id: HostId, severity: Severity, bucket: Interval) {
        let host = &mut self.hosts[id.0 as usize];
        host.tells_severity |= severity != Severity::UNKNOWN;
        advance(&mut host.log_last, &mut host.log_gap_longest, bucket);
        advance(&mut host.moved_last, &mut host.still_longest, bucket);
    }

    /// Notes that something of the host moved in the bucket.
    pub fn moved(&mut self, id: HostId, bucket: Interval) {
        let host = &mut self.hosts[id.0 as usize];
        advance(&mut host.moved_last, &mut host.still_longest, bucket);
    }

    /// Notes that a process of the host began anew in the bucket.
    pub fn born(&mut self, id: HostId, bucket: Interval) {
        let host = &mut self.hosts[id.0 as usize];
        let apart = BIRTHS_APART.max(bucket.span().times(3));
        let last = host.births.last().copied().unwrap_or(host.first_seen);
        if bucket.end < last + apart {
            return;
        }
        host.births
            .retain(|birth| bucket.end < *birth + BIRTHS_KEPT);
        if BIRTHS_MAX <= host.births.len() {
            host.births.remove(0);
        }
        host.births.push(bucket.end);
    }

    /// Takes back that a process of the host began anew at this time or later.
    pub fn unborn(&mut self, id: HostId, since: Timestamp) {
        let births = &mut self.hosts[id.0 as usize].births;
        births.retain(|birth| *birth < since);
    }

    /// How long a host's log stream may be silent before its silence is no sign of health: two
    /// minutes, or three times the longest gap that it, or the usual host, ever had, whichever is
    /// longest.
    pub fn log_patience(&self, id: HostId) -> Span {
        let gap = self.get(id).log_gap_longest.max(self.log_gap_usual);
        LOG_PATIENCE_MIN.max(gap.times(3))
    }

    /// Learns the usual gap between log records: the median over hosts of the longest that each
    /// had. A stream that is young has not shown its own gaps yet.
    pub fn learn_log_gaps(&mut self) {
        let streams = self.hosts.iter().filter(|host| host.log_last.is_some());
        let mut gaps: Vec<Span> = streams.map(|host| host.log_gap_longest).collect();
        let middle = gaps.len() / 2;
        if middle < gaps.len() {
            self.log_gap_usual = *gaps.select_nth_unstable(middle).1;
        }
    }

    /// Whether the host's log stream showed life within its patience.
    pub fn is_log_alive(&self, id: HostId, now: Timestamp) -> bool {
        self.get(id)
            .log_last
            .is_some_and(|last| now - last <= self.log_patience(id))
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The ids, in the order of arrival.
    pub fn ids(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len() as u32).map(HostId)
    }
}

fn advance(last: &mut Option<Timestamp>, gap_longest: &mut Span, bucket: Interval) {
    if let Some(last) = *last
        && last < bucket.end
    {
        *gap_longest = (*gap_longest).max(bucket.start - last);
    }
    *last = Some(last.map_or(bucket.end, |last| last.max(bucket.end)));
}

impl View<'_> {
    /// Whether anything of the host has moved of late. Values that stand still on all metrics at
    /// once for longer than they ever did (and than 20 buckets, and 10 minutes) are those of a dead
    /// exporter.
    pub fn is_lifeless(&self, host: HostId) -> bool {
        let host = self.hosts.get(host);
        let patience = Span::from_minutes(10)
            .max(self.panel.resolution().times(20))
            .max(host.still_longest.times(3));
        let since = host.moved_last.unwrap_or(host.first_seen);
        self.bucket.end - since > patience || host.moved_last.is_none()
    }

    /// Whether the host's log stream shows life, and if not, why.
    ///
    /// # Errors
    /// The cause that a finding should give.
    pub fn log_life(&self, host: HostId) -> Result<(), NoDataCause> {
        match self.hosts.get(host).log_last {
            None => Err(NoDataCause::NoLifeSign),
            Some(last) if self.bucket.end - last > self.hosts.log_patience(host) => {
                Err(NoDataCause::Stopped { last })
            }
            Some(_) => Ok(()),
        }
    }
}
