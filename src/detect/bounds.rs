//! Bounds: the value stays within limits that the owner set.

mod running;
mod state;
mod window;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Basis, Cell, CheckState, Coverage, Evidence, Finding, Group, HostId, NoDataCause, Setup, Track,
    View,
    coverage::{NO_EXPOSURE, base_patience, patience},
    wording::{blind, host_list, metric_name, number, selection_name, uncovered},
};
use crate::{
    event::{Interval, Kind, Span, Timestamp, Unit},
    plan::{Check, DetectorPlan, Limit, Selection},
    reduce::LossReason,
};
pub(super) use state::State;
pub(crate) use window::ratio_time;

/// How long a ratio may lack its denominator (no requests at all) before the host counts as not
/// covered: a host without traffic proves nothing.
const IDLE_PATIENCE: Span = Span::from_minutes(10);

/// How long a limit that was last seen exceeded counts as exceeded, where nobody asks for coverage.
const EXCESS_MEMORY: Span = Span::from_minutes(30);

/// The value of each judged host stays in `[min, max]`.
///
/// With `for: 0` a single sample outside is a breach; else the means of the buckets must be outside
/// for that long, without a bucket in range in between. A gap is neither in range nor out, and ends
/// the stretch when it is longer than the patience of the series. Buckets that begin in the grace
/// are not judged: restarts and cold caches are forgiven there. A breach stands while its stretch
/// does; latching is the gate's.
///
/// A ratio of events that has to be out of range for some time is that of the sums of both sides over the latest third of
/// such a time, and out since the first bucket in it that is.
///
/// Of log records, what is held against a rate is their count over the time that the rate is for,
/// up to now and since the grace: `5/m` allows five within any minute, however they fall into
/// buckets.
#[derive(Clone, Debug)]
pub struct Bounds {
    coverage: Coverage,
    check: Check,
    selection: String,
    min: Option<Limit>,
    max: Option<Limit>,
    for_at_least: Span,
    /// For logs: the time whose records are counted; zero: each bucket by itself.
    within: Span,
    began_at: Timestamp,
    grace_until: Timestamp,
    /// By group and host: the stretch that is out of range. Empty on healthy hosts.
    runs: BTreeMap<(usize, HostId), Run>,
    /// By index of the host: end of the latest bucket that was judged.
    judged: Vec<Option<Timestamp>>,
}

/// A stretch out of range.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Run {
    start: Timestamp,
    end: Timestamp,
    worst: Reading,
}

/// A value against its limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "BoundsReading")]
struct Reading {
    observed: f64,
    limit: f64,
    /// Distance to the limit as a share of the larger of both; negative out of range.
    headroom: f64,
}

impl Bounds {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        let (min, max, for_at_least, within) = match setup.check.detector {
            DetectorPlan::Bounds {
                min,
                max,
                for_at_least,
                within,
            } => (min, max, for_at_least, within),
            DetectorPlan::Derivative { .. }
            | DetectorPlan::Sigma { .. }
            | DetectorPlan::Compare { .. }
            | DetectorPlan::Absent { .. }
            | DetectorPlan::NewTemplate
            | DetectorPlan::Load { .. } => (None, None, Span::ZERO, Span::ZERO),
        };
        Self {
            coverage: Coverage::new(setup),
            check: setup.check.clone(),
            selection: selection_name(setup.check),
            min,
            max,
            for_at_least,
            within,
            began_at: setup.began_at,
            grace_until: setup.grace_until,
            runs: BTreeMap::new(),
            judged: Vec::new(),
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        let uncovered = uncovered(&mut self.coverage, view, &self.selection, Basis::Slo);
        if view.bucket.start < self.judged_from() {
            return uncovered.unwrap_or_else(|| Finding::in_grace(self.grace_until));
        }
        self.judged.resize(view.hosts.len(), None);
        self.forget_reread(view);
        let closest = self.read(view);
        self.end_stale_runs(view);
        let breaches = self.evidence(view, CheckState::Breach);
        if !breaches.is_empty() {
            return Finding::new(CheckState::Breach, breaches);
        }
        if let Some(finding) = uncovered.or_else(|| self.unjudged(view)) {
            return finding;
        }
        let running = self.evidence(view, CheckState::Undecided);
        if !running.is_empty() {
            return self.running(view, running);
        }
        let closest = closest.or_else(|| self.read_of_late(view));
        let evidence = closest.map(|(reading, group, host)| {
            let mut evidence =
                self.describe(view, group, reading, CheckState::Ok, "closest to its limit");
            evidence.hosts = view.hosts.names([host]);
            evidence
        });
        Finding::new(CheckState::Ok, evidence.into_iter().collect())
    }

    /// What stands in breach on the judged hosts, whether or not all of them are covered. What fell silent in
    /// breach stands for half an hour: silence is no recovery.
    pub fn excesses(&mut self, view: &View<'_>) -> Vec<Evidence> {
        self.judged.resize(view.hosts.len(), None);
        self.forget_reread(view);
        self.read(view);
        self.runs
            .retain(|_, run| view.bucket.end - run.end <= EXCESS_MEMORY);
        self.evidence(view, CheckState::Breach)
    }

    /// Forgets what was out of range of metrics that are read in another way now.
    fn forget_reread(&mut self, view: &View<'_>) {
        self.runs.retain(|(group, host), run| {
            let track = view.panel.group(*group).track(*host);
            track.is_some_and(|track| track.first_seen < run.end)
        });
    }

    /// Takes the cells; gives the reading that is closest to its limit.
    fn read(&mut self, view: &View<'_>) -> Option<(Reading, usize, HostId)> {
        let mut closest: Option<(Reading, usize, HostId)> = None;
        for (index, group) in view.panel.groups() {
            for &host in view.one_box {
                let Some(track) = group.track(host) else {
                    continue;
                };
                let Some(cell) = track.cell(view.bucket) else {
                    continue;
                };
                let at = view.bucket;
                let Some((reading, since)) = self.reading_at(view, group, track, (&cell, at))
                else {
                    continue;
                };
                if cell.exposure != Some(0.0) {
                    self.judged[host.0 as usize] = Some(at.end);
                }
                if reading.headroom < 0.0 {
                    self.extend_run(view, (index, host), reading, since);
                } else if !self.runs.is_empty() {
                    self.runs.remove(&(index, host));
                }
                if closest.is_none_or(|(best, ..)| reading.headroom < best.headroom) {
                    closest = Some((reading, index, host));
                }
            }
        }
        closest
    }

    /// The reading that is closest to its limit, of the values that still stand: those of a bucket
    /// that no scrape fell into.
    fn read_of_late(&self, view: &View<'_>) -> Option<(Reading, usize, HostId)> {
        let mut closest: Option<(Reading, usize, HostId)> = None;
        for (index, group) in view.panel.groups() {
            for &host in view.one_box {
                let Some(track) = group.track(host) else {
                    continue;
                };
                let Some((end, cell)) = track.latest() else {
                    continue;
                };
                if end <= self.judged_from() || patience(view, track) < view.bucket.end - end {
                    continue;
                }
                let at = Interval {
                    start: end - view.panel.resolution(),
                    end,
                };
                let Some((reading, _)) = self.reading_at(view, group, track, (&cell, at)) else {
                    continue;
                };
                if closest.is_none_or(|(best, ..)| reading.headroom < best.headroom) {
                    closest = Some((reading, index, host));
                }
            }
        }
        closest
    }

    /// What the limits are in: only a share depends on it.
    fn unit_of(&self, group: &Group) -> Unit {
        let mut limits = [self.min, self.max].into_iter().flatten();
        if limits.any(Limit::is_share) {
            group.known_unit()
        } else {
            group.unit
        }
    }

    /// What stands against the limits at the end of a bucket with a cell, and since when that is out of range, if it is.
    fn reading_at(
        &self,
        view: &View<'_>,
        group: &Group,
        track: &Track,
        (cell, bucket): (&Cell, Interval),
    ) -> Option<(Reading, Timestamp)> {
        if self.takes_windows(group) {
            return self.window(view, track, bucket.end);
        }
        let reading = if self.within <= view.panel.resolution() {
            self.reading(cell, self.unit_of(group))
        } else {
            self.counted(view, track)
        };
        Some((reading?, bucket.start))
    }

    fn extend_run(
        &mut self,
        view: &View<'_>,
        key: (usize, HostId),
        reading: Reading,
        start: Timestamp,
    ) {
        let run = self.runs.entry(key).or_insert(Run {
            start,
            end: view.bucket.end,
            worst: reading,
        });
        run.end = view.bucket.end;
        if reading.headroom < run.worst.headroom {
            run.worst = reading;
        }
    }

    fn judged_from(&self) -> Timestamp {
        self.grace_until.max(self.began_at)
    }

    /// The count of records over the time that the limits are for. Too few can be said only of all of it.
    fn counted(&self, view: &View<'_>, track: &Track) -> Option<Reading> {
        let resolution = view.panel.resolution();
        let time = resolution.times(self.within.div_ceil(resolution) as i64);
        let from = view.bucket.end - time;
        let since = from.max(self.judged_from());
        // The past has rates with the precision of f32, of numbers that were whole.
        let count = |rate: f32| (f64::from(rate) * resolution.seconds_f64()).round();
        let counts = track
            .values(resolution, since, view.bucket.end)
            .filter(|rate| rate.is_finite())
            .map(count);
        let rate = counts.sum::<f64>() / time.seconds_f64();
        self.against(rate, rate, Unit::Unknown, since == from)
    }

    /// The value against the limit that it is closest to, or beyond.
    fn reading(&self, cell: &Cell, unit: Unit) -> Option<Reading> {
        let (low, high) = match cell.exposure {
            Some(exposure) if exposure > 0.0 => {
                let ratio = cell.value / exposure;
                (ratio, ratio)
            }
            Some(_) => return None,
            None if self.for_at_least == Span::ZERO => (cell.min, cell.max),
            None => (cell.value, cell.value),
        };
        // What is divided by something is a share of 1, whatever its parts are counted in.
        let unit = cell.exposure.map_or(unit, |_| Unit::Unknown);
        self.against(low, high, unit, true)
    }

    fn against(&self, low: f64, high: f64, unit: Unit, is_whole: bool) -> Option<Reading> {
        if !low.is_finite() || !high.is_finite() {
            return None;
        }
        let upper = self.max.map(|limit| limit.of(unit));
        let upper = upper.map(|limit| Reading::new(high, limit, limit - high));
        let lower = self.min.filter(|_| is_whole);
        let lower = lower.map(|limit| limit.of(unit));
        let lower = lower.map(|limit| Reading::new(low, limit, low - limit));
        match (upper, lower) {
            (Some(upper), Some(lower)) if upper.headroom <= lower.headroom => Some(upper),
            (_, Some(lower)) => Some(lower),
            (upper, None) => upper,
        }
    }

    /// Ends the stretches whose series fell silent.
    fn end_stale_runs(&mut self, view: &View<'_>) {
        self.runs.retain(|(group, host), run| {
            let Some(track) = view.panel.group(*group).track(*host) else {
                return false;
            };
            view.one_box.contains(host) && view.bucket.end - run.end <= patience(view, track)
        });
    }

    /// Whether a judged host lacks values of late, though its series are heard.
    fn unjudged(&self, view: &View<'_>) -> Option<Finding> {
        let (is_log, is_ratio) = match &self.check.selection {
            Selection::Logs(_) => (true, false),
            Selection::Series(series) => (false, series.per.is_some()),
        };
        if is_log && self.min.is_none() {
            // No record at all is in range; that the stream lives is what the coverage says.
            return None;
        }
        let idle_patience = IDLE_PATIENCE.max(base_patience(view));
        let is_idle = |host: HostId, last: Timestamp| {
            let silence = view.bucket.end - last;
            let cadence = || {
                let tracks = view
                    .panel
                    .groups()
                    .filter_map(|(_, group)| group.track(host));
                tracks.map(|track| patience(view, track)).max()
            };
            idle_patience < silence && (is_ratio || cadence() < Some(silence))
        };
        let mut never = Vec::new();
        let mut idle = Vec::new();
        for &host in view.one_box {
            let last = self.judged[host.0 as usize];
            if is_idle(host, last.unwrap_or(self.grace_until)) {
                idle.push(host);
            } else if last.is_none() {
                never.push(host);
            }
        }
        if !idle.is_empty() {
            let reason = if is_ratio {
                NO_EXPOSURE
            } else {
                why_unjudged(view, &idle)
            };
            let cause = NoDataCause::Unusable {
                reason: reason.to_owned(),
            };
            return Some(blind(view, &self.selection, Basis::Slo, cause, idle));
        }
        (!never.is_empty()).then(|| {
            let names = host_list(&view.hosts.names(never));
            Finding::warming(format!("the first value of {names} after the grace"))
        })
    }

    /// One entry for each metric that is out of range: for long enough, or not yet.
    fn evidence(&self, view: &View<'_>, state: CheckState) -> Vec<Evidence> {
        let mut by_group: BTreeMap<usize, (Run, Vec<HostId>)> = BTreeMap::new();
        for ((group, host), run) in &self.runs {
            let is_long = self.for_at_least <= run.end - run.start;
            if is_long != (state == CheckState::Breach) {
                continue;
            }
            let (worst, hosts) = by_group.entry(*group).or_insert((*run, Vec::new()));
            if run.worst.headroom < worst.worst.headroom {
                worst.worst = run.worst;
            }
            worst.start = worst.start.min(run.start);
            hosts.push(*host);
        }
        let mut entries: Vec<(f64, Evidence)> = by_group
            .into_iter()
            .map(|(group, (run, hosts))| {
                let names = view.hosts.names(hosts);
                let phrase = format!("on {}", host_list(&names));
                let mut evidence = self.describe(view, group, run.worst, state, &phrase);
                evidence.hosts = names;
                evidence.first_breach = Some(run.start);
                (run.worst.headroom, evidence)
            })
            .collect();
        entries.sort_by(|a, b| {
            a.0.total_cmp(&b.0)
                .then_with(|| a.1.metric.cmp(&b.1.metric))
        });
        entries.truncate(Finding::EVIDENCE_MAX);
        entries.into_iter().map(|(_, evidence)| evidence).collect()
    }

    fn describe(
        &self,
        view: &View<'_>,
        group: usize,
        reading: Reading,
        state: CheckState,
        phrase: &str,
    ) -> Evidence {
        let group = view.panel.group(group);
        let metric = metric_name(&self.check, group);
        let side = match (reading.headroom < 0.0, reading.limit <= reading.observed) {
            (true, true) => "above the limit of",
            (true, false) => "below the limit of",
            (false, true) => "not below the limit of",
            (false, false) => "not above the limit of",
        };
        let shown = |value| self.shown(group, reading.limit, value);
        let (observed, limit) = (shown(reading.observed), shown(reading.limit));
        let note = format!("{observed} {side} {limit}, {phrase}");
        let mut evidence = Evidence::bare(metric, state, Basis::Slo, note);
        evidence.observed = Some(reading.observed);
        evidence.expected = Some(reading.limit);
        evidence.effect = (reading.limit != 0.0)
            .then(|| (reading.observed - reading.limit) / reading.limit.abs());
        evidence
    }
}

/// In words.
impl Bounds {
    /// A value that was held against this limit, in the unit in which the limit is written.
    fn shown(&self, group: &Group, limit: f64, value: f64) -> String {
        let is_rate = match &self.check.selection {
            Selection::Logs(_) => true,
            Selection::Series(series) => series.per.is_none() && group.kind == Kind::Counter,
        };
        let unit = self.unit_of(group);
        let mut limits = [self.max, self.min].into_iter().flatten();
        limits.find(|end| end.of(unit) == limit).map_or_else(
            || number(value),
            |limit| limit.shown(value, is_rate, number),
        )
    }
}

impl Reading {
    fn new(observed: f64, limit: f64, distance: f64) -> Self {
        let size = observed.abs().max(limit.abs()).max(f64::MIN_POSITIVE);
        Self {
            observed,
            limit,
            headroom: distance / size,
        }
    }
}

/// Why hosts that are heard have no values.
fn why_unjudged(view: &View<'_>, hosts: &[HostId]) -> &'static str {
    let groups = || view.panel.groups();
    let tracks = hosts
        .iter()
        .flat_map(|host| groups().filter_map(|(_, group)| group.track(*host)));
    let latest = tracks.filter_map(Track::loss).max_by_key(|(_, at)| *at);
    match latest {
        Some((reason @ LossReason::BeyondBuckets, _)) => reason.cause(),
        Some(_) | None => LossReason::NotFinite.cause(),
    }
}

#[cfg(test)]
mod tests;
