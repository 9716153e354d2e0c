//! Compares the one-box with the fleet, metric by metric.
//!
//! The fleet is the noise model: whatever happens to all hosts cancels, and how much hosts differ
//! is measured, not assumed. Which test judges a metric depends on what there is to compare with:
//! - many hosts with a past: [`hosts`], the change of the one-box against the same change of each
//!   fleet host;
//! - few hosts with a past: [`own_past`], farther from the fleet than it ever was, or by the signs of
//!   [`pinned`], [`flat`](super::flat) and [`relapse`];
//! - a one-box without a past: [`fresh`], its level against how fleet hosts differ;
//! - rare events: [`counts`], its share of all events; log records under another share of the traffic: [`records`].
//!
//! Beside the metrics the [`births`] of processes are compared, where series that the check selects tell of them.
//!
//! Hosts that join the one-box later are judged by [`late`]; which fleet hosts there are to compare with at each moment
//! is followed by [`reference`].

mod births;
mod class;
mod company;
mod contrast;
mod counts;
mod dispersion;
mod follower;
mod fresh;
mod grid;
mod hosts;
mod late;
mod looks;
mod metric;
mod onset;
mod otherwise;
mod outcome;
mod own_past;
mod pasts;
mod pinned;
mod presence;
mod reading;
mod records;
mod reference;
mod relapse;
mod report;
mod sample;
mod scale;
mod slot;
mod state;
mod terms;
mod turns;

#[cfg(test)]
mod tests;

use super::{
    Basis, CheckState, Coverage, Covered, Evidence, Finding, Group, HostId, NoDataCause, Setup,
    View,
};
use crate::event::{Span, Timestamp};
use births::Births;
use class::Class;
use metric::Metric;
use presence::{Absence, Presence};
use reading::Reader;
pub(super) use state::State;
use terms::Terms;

/// Share of alpha that is kept for what appears after judging began: half of it for hosts of the one-box, and the
/// other half for metrics, together with the births of processes.
const LATE_SHARE: f64 = 0.1;
/// The part of a metric's alpha that is kept for hosts that come late, of the one-box or, where it must be judged
/// beside another fleet, of that.
const LATE_ALPHA: f64 = 0.5 * LATE_SHARE / (1.0 - LATE_SHARE);
/// How long a metric may take to be judged after the grace.
const ARRIVAL: Span = Span::from_minutes(5);

/// What is said of metrics that could not be compared for most of the time, or at its end.
const TOO_LITTLE: &str = "too little data of one-box and fleet at the same time to compare";
const GONE: &str =
    "the fleet hosts that it was compared with are gone, and no others were there for long enough";

/// The `compare` detector.
#[derive(Clone, Debug)]
pub struct Compare {
    coverage: Coverage,
    terms: Terms,
    /// The metrics that are judged; empty until the grace has ended.
    metrics: Vec<Metric>,
    /// How many groups of the panel were looked at.
    known_groups: Vec<bool>,
    late_count: u32,
    has_begun: bool,
    /// Unless records are counted; `None` until the grace has ended.
    births: Option<Births>,
}

/// What a bucket said beside the tests.
#[derive(Default)]
struct Heard {
    absences: Vec<(usize, Absence)>,
    is_fleet_alive: bool,
    /// Whether metrics wait for their turn to begin.
    is_reading: bool,
    /// Whether the bake is over before another bucket closes.
    is_last: bool,
}

impl Compare {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        Self {
            coverage: Coverage::new(setup),
            terms: Terms::new(setup),
            metrics: Vec::new(),
            known_groups: Vec::new(),
            late_count: 0,
            has_begun: false,
            births: None,
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        let covered = self.coverage.observe(view);
        if view.bucket.start < self.terms.grace_until {
            return match covered {
                Covered::Yes => self.awaiting_grace(),
                Covered::Waiting(what) => Finding::unheard(what),
                Covered::No(cause, hosts) => Self::no_data(view, cause, hosts),
            };
        }
        let terms = self.terms.clone();
        let reader = Reader::new(view, &terms);
        // What is read in another way from now on is another metric.
        let were_judged = self.judging().next().is_some();
        self.metrics
            .retain(|metric| !view.panel.group(metric.index).is_forgotten());
        // If all is, nothing has begun yet.
        let are_judged = self.judging().next().is_some();
        self.has_begun &= are_judged || !were_judged;
        self.adopt(&reader);
        if !terms.is_log {
            let births = self.births.get_or_insert_with(|| Births::new(&reader));
            births.observe(&reader);
        }
        let mut heard = Heard {
            is_reading: self.begin(&reader),
            is_last: reader.is_last(),
            ..Heard::default()
        };
        for metric in &mut self.metrics {
            let group = view.panel.group(metric.index);
            let absence = metric.observe(&reader, group);
            heard.is_fleet_alive |= Presence::is_fleet_alive(&reader, group);
            if let Some(absence) = absence
                && metric.speaks_of.is_none()
                && !terms.is_log
            {
                heard.absences.push((metric.index, absence));
            }
        }
        self.conclude(view, covered, heard)
    }

    fn awaiting_grace(&self) -> Finding {
        Finding::in_grace(self.terms.grace_until)
    }

    fn no_data(view: &View<'_>, cause: NoDataCause, hosts: Vec<HostId>) -> Finding {
        let mut evidence = Evidence::bare("", CheckState::NoData, Basis::Model, cause.to_string());
        evidence.hosts = view.hosts.names(hosts);
        Finding::no_data(cause, vec![evidence])
    }

    /// There is nobody to compare with, which a deployer can mend.
    fn without_fleet() -> Finding {
        let note = "no fleet to compare with: every host that is known counts as the one-box; name its hosts \
                    in one_box when the deployment begins, or let a version label tell them (labels.version)";
        let evidence = Evidence::bare("", CheckState::NoData, Basis::Model, note);
        Finding::no_data(NoDataCause::NoFleet, vec![evidence])
    }

    /// There is nobody to judge, which a deployer can mend.
    fn without_one_box() -> Finding {
        let note = "no one-box to judge: every host that is known counts as the fleet; name its hosts in one_box \
                    when the deployment begins, or let a version label tell them (labels.version)";
        let evidence = Evidence::bare("", CheckState::NoData, Basis::Model, note);
        Finding::no_data(NoDataCause::NeverArrived, vec![evidence])
    }

    /// Takes in the groups that are new. Those that exist when judging begins split alpha evenly,
    /// whatever comes later gets ever smaller shares of the rest. What is read in another way now gets what is
    /// free for that it is another one.
    fn adopt(&mut self, reader: &Reader<'_>) {
        let terms = reader.terms;
        let panel = reader.view.panel;
        self.known_groups.resize(panel.index_bound(), false);
        let is_first = !self.known_groups.contains(&true);
        let mut adopted: Vec<Metric> = Vec::new();
        let mut awaited = 0_usize;
        for (index, group) in panel.groups() {
            let is_seen = |hosts: &[HostId]| {
                hosts
                    .iter()
                    .any(|host| group.track(*host).is_some_and(super::Track::has_data))
            };
            let roles = [reader.view.one_box, reader.view.fleet];
            if self.known_groups[index] {
                continue;
            }
            if roles.into_iter().any(is_seen) {
                self.known_groups[index] = true;
                adopted.push(Metric::new(index, group, terms));
            } else if !is_first && group.is_awaited() {
                awaited += 1;
            }
        }
        let on_time = if terms.is_log {
            terms.alpha
        } else {
            terms.alpha * (1.0 - LATE_SHARE)
        };
        let mut free = on_time;
        let mut share = 0.0_f64;
        for metric in self.judging() {
            free -= metric.alpha;
            share = share.max(metric.alpha);
        }
        if !self.has_begun {
            let judging = adopted.iter().filter(|metric| metric.speaks_of.is_none());
            share = on_time / (judging.count() + awaited).max(1) as f64;
        }
        for metric in &mut adopted {
            // Where nothing was free, rounding leaves next to nothing.
            if !self.has_begun || (0.0 < share && 0.5 * share < free) {
                metric.alpha = share;
                if metric.speaks_of.is_none() {
                    free -= share;
                }
            } else {
                self.late_count += 1;
                let order = f64::from(self.late_count);
                metric.alpha = 0.25 * LATE_SHARE * terms.alpha / (order * (order + 1.0));
            }
        }
        self.metrics.append(&mut adopted);
        let is_begun = is_first || self.judging().next().is_some();
        self.has_begun |= is_begun;
    }

    /// Lets metrics begin whose turn has come; says whether others still wait for theirs.
    fn begin(&mut self, reader: &Reader<'_>) -> bool {
        let panel = reader.view.panel;
        let mut ready: Vec<&mut Metric> = self
            .metrics
            .iter_mut()
            .filter(|metric| metric.is_ready(reader, panel.group(metric.index)))
            .collect();
        let turns = turns::turns(reader, ready.len());
        for metric in ready.iter_mut().take(turns) {
            metric.begin(reader, panel.group(metric.index));
        }
        turns < ready.len()
    }

    /// Sums up.
    fn conclude(&self, view: &View<'_>, covered: Covered, heard: Heard) -> Finding {
        let Heard {
            absences,
            is_fleet_alive,
            is_reading,
            is_last,
        } = heard;
        let births = self
            .births
            .as_ref()
            .and_then(|births| births.fault(is_last));
        let states = self.judging().filter_map(Metric::state).chain(births);
        let states: Vec<CheckState> = states.collect();
        if states.contains(&CheckState::Breach) {
            return Finding::new(CheckState::Breach, self.evidence(view, CheckState::Breach));
        }
        match covered {
            Covered::Yes => {}
            Covered::Waiting(what) => return Finding::unheard(what),
            Covered::No(cause, hosts) => return Self::no_data(view, cause, hosts),
        }
        let is_early = view.bucket.end <= self.judged_by();
        if let Some(nobody) = Self::nobody(view, is_early, is_fleet_alive) {
            return nobody;
        }
        if let Some(missing) = self.missing(view, absences) {
            return missing;
        }
        if is_reading {
            return Finding::warming("the past of the other metrics to be read".to_owned());
        }
        let is_unseen = |metric: &Metric| metric.is_unseen();
        if !is_early && self.judging().any(is_unseen) {
            if is_last {
                return self.blind(view, is_unseen, GONE);
            }
            return Finding::unheard(
                "fleet hosts to compare with, in place of those that are gone",
            );
        }
        if states.contains(&CheckState::Warming) || (states.is_empty() && is_early) {
            if is_early {
                return Finding::warming(format!(
                    "enough data to compare, by {}",
                    self.judged_by()
                ));
            }
            let is_warming = |metric: &Metric| metric.state() == Some(CheckState::Warming);
            return self.blind(view, is_warming, TOO_LITTLE);
        }
        let is_blind = |metric: &Metric| metric.is_blind(&self.terms);
        if is_last && self.judging().any(is_blind) {
            return self.blind(view, is_blind, TOO_LITTLE);
        }
        if states.contains(&CheckState::NoData) {
            let evidence = self.evidence(view, CheckState::NoData);
            return Finding::no_data(self.doubt(), evidence);
        }
        if states.is_empty() {
            return self.of_bystanders(view);
        }
        let state = if states.contains(&CheckState::Undecided) {
            CheckState::Undecided
        } else {
            CheckState::Ok
        };
        Finding::new(state, self.evidence(view, state))
    }

    /// Nobody is there to judge, or to compare with.
    fn nobody(view: &View<'_>, is_early: bool, is_fleet_alive: bool) -> Option<Finding> {
        if view.fleet.is_empty() {
            return Some(Self::without_fleet());
        }
        if is_early {
            return None;
        }
        let is_of_fleet = |host: &HostId| view.fleet.contains(host);
        if view.one_box.iter().all(is_of_fleet) {
            return Some(Self::without_one_box());
        }
        (!is_fleet_alive).then(|| Self::no_data(view, NoDataCause::NoFleet, Vec::new()))
    }

    /// There are only metrics that inform, if any: nothing can be proven, and nothing is wrong.
    fn of_bystanders(&self, view: &View<'_>) -> Finding {
        if self.metrics.iter().any(|metric| metric.state().is_some()) {
            let state = CheckState::Undecided;
            Finding::new(state, self.evidence(view, state))
        } else {
            Self::no_data(view, NoDataCause::NoFleet, Vec::new())
        }
    }

    /// What one-box and fleet do not both report, if anything.
    fn missing(&self, view: &View<'_>, absences: Vec<(usize, Absence)>) -> Option<Finding> {
        let cause = absences.first().map(|(_, first)| first.cause.clone())?;
        let absences = absences.into_iter().take(Finding::EVIDENCE_MAX);
        let mut evidence: Vec<(usize, Evidence)> = absences
            .map(|(index, absence)| (index, absent(view, index, absence)))
            .collect();
        for (index, evidence) in evidence.iter_mut().take(otherwise::SOUGHT_MAX) {
            let told = otherwise::told_otherwise(view, *index, self.terms.began_at);
            evidence.note.extend(told.map(|told| format!("; {told}")));
        }
        let evidence = evidence.into_iter().map(|(_, evidence)| evidence);
        Some(Finding::no_data(cause, evidence.collect()))
    }

    /// Why metrics, or births, are in doubt when the bake ends: one host is where they do not agree.
    fn doubt(&self) -> NoDataCause {
        let is_in_doubt = |metric: &&Metric| metric.state() == Some(CheckState::NoData);
        let doubts = self.judging().filter(is_in_doubt).map(Metric::doubt);
        let of_births = self.births.as_ref().and_then(Births::doubt);
        let mut doubts = doubts.chain(of_births);
        let first = doubts.next().unwrap_or(NoDataCause::OneHost);
        if doubts.all(|doubt| doubt == first) {
            first
        } else {
            NoDataCause::OneHost
        }
    }

    /// The metrics that do not only inform.
    fn judging(&self) -> impl Iterator<Item = &Metric> {
        let all = self.metrics.iter();
        all.filter(|metric| metric.speaks_of.is_none())
    }

    /// Too little of these metrics can be compared to find even a gross harm.
    fn blind(&self, view: &View<'_>, is_blind: impl Fn(&Metric) -> bool, note: &str) -> Finding {
        let blind = self.judging().filter(|metric| is_blind(metric));
        let evidence = blind.take(Finding::EVIDENCE_MAX).map(|metric| {
            let name = report::metric(view.panel.group(metric.index));
            Evidence::bare(name, CheckState::NoData, Basis::Model, note)
        });
        Finding::no_data(NoDataCause::NoFleet, evidence.collect())
    }

    fn judged_by(&self) -> Timestamp {
        let patience = ARRIVAL.max(self.terms.resolution.times(10));
        self.terms.grace_until + patience
    }

    /// The numbers, worst first: what breached; else what is undecided or comes closest. Metrics
    /// that only inform follow where they would have breached.
    fn evidence(&self, view: &View<'_>, state: CheckState) -> Vec<Evidence> {
        let mut shown: Vec<(&Metric, CheckState)> = self
            .metrics
            .iter()
            .filter_map(|metric| Some((metric, metric.state()?)))
            .filter(|(metric, is)| match metric.speaks_of {
                Some(_) => *is == CheckState::Breach,
                None => *is == state,
            })
            .collect();
        shown.sort_by(|(a, _), (b, _)| {
            let informs = a.speaks_of.is_some().cmp(&b.speaks_of.is_some());
            informs.then(b.severity().total_cmp(&a.severity()))
        });
        let limit = if state == CheckState::Breach {
            Finding::EVIDENCE_MAX
        } else {
            report::QUIET_MAX
        };
        let births = self.births.as_ref();
        let births = births.and_then(|births| births.evidence(view, &self.terms, state));
        let metrics = shown
            .into_iter()
            .take(limit - births.iter().len())
            .filter_map(|(metric, is)| {
                let group = view.panel.group(metric.index);
                let is = if metric.speaks_of.is_some() {
                    CheckState::Undecided
                } else {
                    is
                };
                let (outcome, hosts) = metric.told(view)?;
                let hosts = view.hosts.names(hosts.iter().copied());
                Some(report::evidence(
                    group,
                    &outcome,
                    is,
                    metric.speaks_of,
                    hosts,
                ))
            });
        births.iter().cloned().chain(metrics).collect()
    }
}

/// Whether a metric is of what a process gathers from its start on: memory, threads, connections and the like.
pub(super) fn is_gathered(group: &Group) -> bool {
    Class::of(group).is_gathered()
}

fn absent(view: &View<'_>, index: usize, absence: Absence) -> Evidence {
    let note = format!("{} {}", absence.cause, absence.remark);
    let metric = report::metric(view.panel.group(index));
    let mut evidence = Evidence::bare(metric, CheckState::NoData, Basis::Model, note);
    evidence.hosts = view.hosts.names(absence.hosts);
    evidence
}
