//! Whether the hosts that are judged were heard: the proof that a PASS needs.

mod exposed;
mod heard;
mod state;

use std::collections::BTreeMap;

use super::{
    HostId, NoDataCause, Setup, Track, View, finding::REQUEST_OVER_LIMIT, wording::host_list,
};
use crate::{
    event::{Interval, Span, Timestamp},
    plan::{Check, DetectorPlan, Selection},
};
use exposed::Exposed;
use heard::{Heard, Sign, percent};
pub(super) use state::State;

/// Share of the bake, in percent, in which every judged host must have been heard.
const COVERED_PERCENT_MIN: u64 = 80;

/// Share, in percent, of the buckets that its cadence promises in which every judged host must have
/// data: what falls out at random leaves only ordinary gaps, and nothing to judge by.
const PROMISED_PERCENT_MIN: u64 = 50;

/// The reason where there is nothing to divide by.
pub(super) const NO_EXPOSURE: &str = "no_exposure";

/// Buckets with data from which on their mean distance counts as a cadence.
const CADENCE_BUCKETS_MIN: u64 = 10;

/// Follows, for one check of one deployment, which of the judged hosts were heard and when.
///
/// A host is heard while any series (or log record) that the check selects came from it within its
/// patience: two minutes, five buckets, or five times its own cadence, whichever is longest. Log
/// checks select what is rare on purpose, so there any record of the host counts.
///
/// Over the bake, a gap counts as heard only if it was ordinary: no longer than five times the
/// cadence (for logs: than the patience). A longer one is not heard from its beginning on, or else a
/// host that is dead half of the time, a little shorter than its patience each time, would look
/// covered. And of the buckets in which its cadence lets one expect data, half must have some.
///
/// So is a gap that is open when the gate may pass: what fell silent at the end of the bake, for longer than
/// is ordinary, is not covered, however short of its patience it is.
///
/// Once the bake is over, and a host was covered, it has only to be heard still: a gap while a step is awaited is
/// none of the bake.
///
/// A host whose first data ever comes when others are judged already is a new one of the same version: it owes
/// from there on. One that was silent and comes back owes all. While more than half of the hosts are so new that
/// a grace of their own is not over, the others are no proof for them.
///
/// Of a ratio, buckets in which there was nothing to divide by say nothing of it. Where the fleet, for the traffic that
/// the one-box is given, had something twice as often, the host is not covered.
///
/// Of log records nothing can be expected. So where some that are selected could not be used (they came late),
/// of the buckets that had any the same share must have had some in time: errors that are all late are
/// not seen.
#[derive(Clone, Debug)]
pub struct Coverage {
    is_log: bool,
    /// Whether records are selected by their severity.
    needs_severity: bool,
    /// Whether values are divided by an exposure.
    has_per: bool,
    /// Share of an ordinary host's traffic that a one-box host is given, at most 1.
    weight: f64,
    began_at: Timestamp,
    grace_until: Timestamp,
    bake_min_until: Timestamp,
    bake_until: Timestamp,
    heard: BTreeMap<HostId, Heard>,
    /// What was heard of the fleet's exposure.
    fleet: Exposed,
    /// Buckets since the grace.
    buckets: u64,
    /// Buckets of the bake that had closed before the first that was seen: a recording may begin in its middle.
    unseen: u64,
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
            needs_severity: needs_severity(setup.check),
            has_per: match &setup.check.selection {
                Selection::Series(series) => series.per.is_some(),
                Selection::Logs(_) => false,
            },
            weight: setup.weight.min(1.0),
            began_at: setup.began_at,
            grace_until: setup.grace_until,
            bake_min_until: setup.bake_min_until,
            bake_until: setup.bake_until,
            heard: BTreeMap::new(),
            fleet: Exposed::default(),
            buckets: 0,
            unseen: 0,
        }
    }

    /// Takes the bucket that has just closed. Call it once for each.
    pub fn observe(&mut self, view: &View<'_>) -> Covered {
        let judged = self.grace_until < view.bucket.end;
        if judged && self.buckets == 0 {
            let passed = view.bucket.start - self.grace_until.max(self.began_at);
            self.unseen = (passed.nanos() / view.panel.resolution().nanos()).max(0) as u64;
        }
        self.buckets += u64::from(judged);
        if judged && self.has_per {
            for host in view.fleet {
                self.fleet.count(view, *host);
            }
        }
        let mut missing: Vec<(NoDataCause, HostId)> = Vec::new();
        let (mut waiting, mut late) = (Vec::new(), Vec::new());
        for &host in view.one_box {
            let sign = self.sign(view, host);
            if judged {
                let before = self.buckets - 1;
                let joins = || Heard::joining(before, &sign, view, self.began_at);
                let heard = self.heard.entry(host).or_insert_with(joins);
                heard.count(&sign, view);
                if self.has_per {
                    heard.exposed.count(view, host);
                }
            }
            match sign.cause {
                None => match self.stale(view, &sign) {
                    None => {}
                    Some(last) if self.is_last(view) => {
                        missing.push((NoDataCause::Stopped { last }, host));
                    }
                    Some(_) => late.push(host),
                },
                Some(_) if view.bucket.end < self.patience_until(view, host) => waiting.push(host),
                // Of one value nobody tells whether it moves.
                Some(NoDataCause::Lifeless) if Self::is_new(view, host) => waiting.push(host),
                Some(cause) => missing.push((cause, host)),
            }
        }
        if self.is_last(view) && view.bucket.end <= self.bake_until {
            self.prove(view);
        }
        if let Some(reason) = self.blindness(view) {
            let reason = reason.to_owned();
            return Covered::No(NoDataCause::Unusable { reason }, Vec::new());
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
            let names = host_list(&view.hosts.names(waiting));
            return Covered::Waiting(format!("the first data of {names}"));
        }
        match self.share(view) {
            Covered::Yes if !late.is_empty() => {
                let names = host_list(&view.hosts.names(late));
                Covered::Waiting(format!("more data of {names}"))
            }
            covered => covered,
        }
    }

    /// Whether a host came so shortly ago that it may be still by chance.
    fn is_new(view: &View<'_>, host: HostId) -> bool {
        view.bucket.end - view.hosts.get(host).first_seen <= base_patience(view)
    }

    /// When a host was heard last that has been silent for longer than is ordinary, now that the gate may pass.
    fn stale(&self, view: &View<'_>, sign: &Sign) -> Option<Timestamp> {
        let last = sign.last?;
        let may_pass = self.bake_min_until <= view.bucket.end || self.is_last(view);
        (may_pass && sign.ordinary < view.bucket.end - last).then_some(last)
    }

    /// Whether the bake is over before another bucket closes.
    fn is_last(&self, view: &View<'_>) -> bool {
        self.bake_until < view.bucket.end + view.panel.resolution()
    }

    /// Why nothing can be said of the whole selection, if so. A series that a limit refuses might be the
    /// one that is bad, and a request that one refuses might hold it; of data that was lost without a trace
    /// nobody knows over how long it would have reached, so that the deployment during which it was cannot
    /// pass any more.
    fn blindness(&self, view: &View<'_>) -> Option<&'static str> {
        if view.panel.has_refused_since(self.began_at) {
            return Some("series_over_limit");
        }
        let patience = view.panel.refused_patience();
        let refused = view.request_refused_last;
        if refused.is_some_and(|last| self.began_at <= last + patience) {
            return Some(REQUEST_OVER_LIMIT);
        }
        if view.panel.rereads().iter().any(|lost| self.is_late(*lost)) {
            return Some("kind_told_late");
        }
        let hole = view.panel.hole()?;
        (self.began_at < hole).then_some("lost_in_kafka")
    }

    /// Whether what was read as something else, and is forgotten, is too much of the bake. It was heard, and
    /// proves nothing.
    fn is_late(&self, lost: Interval) -> bool {
        let bake = self.bake_min_until - self.grace_until;
        let missed_max = Span::from_nanos(bake.nanos() / 100 * (100 - COVERED_PERCENT_MIN as i64));
        let since = lost.start.max(self.grace_until).max(self.began_at);
        missed_max < lost.end - since
    }

    fn sign(&self, view: &View<'_>, host: HostId) -> Sign {
        if self.is_log {
            return self.log_sign(view, host);
        }
        let (mut first, mut last): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        let mut loss = None;
        let mut usual = Span::ZERO;
        let mut covered = 0;
        let mut is_unexposed = false;
        for (_, group) in view.panel.groups() {
            let Some(track) = group.track(host) else {
                continue;
            };
            is_unexposed |= track.is_unexposed();
            loss = loss.max(track.loss().map(|(reason, at)| (at, reason)));
            if track.has_data() {
                let earlier = first.map_or(track.first_seen, |first| first.min(track.first_seen));
                first = Some(earlier);
                last = last.max(Some(track.heard_last()));
                usual = usual.max(track.cadence());
                covered = covered.max(u64::from(track.heard_count()));
            }
        }
        let smallest = self.heard.get(&host).and_then(|heard| heard.cadence);
        let smallest = smallest.map_or(usual, |smallest| smallest.min(usual));
        let ordinary = view.panel.resolution().max(smallest).times(5);
        let patience = base_patience(view).max(usual.times(5));
        let silent = match last {
            None if view.panel.is_empty() => Some(NoDataCause::NothingSelected),
            None => Some(NoDataCause::NeverArrived),
            Some(last) if last <= self.began_at => Some(NoDataCause::NeverArrived),
            Some(last) if view.bucket.end - last > patience => Some(NoDataCause::Stopped { last }),
            Some(_) => None,
        };
        let cause = match (silent, loss) {
            (Some(_), _) if is_unexposed => Some(NoDataCause::Unusable {
                reason: NO_EXPOSURE.to_owned(),
            }),
            (Some(_), Some((at, reason))) if last.is_none_or(|last| last < at) => {
                Some(NoDataCause::Unusable {
                    reason: reason.cause().to_owned(),
                })
            }
            (Some(cause), _) => Some(cause),
            (None, _) => view.is_lifeless(host).then_some(NoDataCause::Lifeless),
        };
        Sign {
            first,
            last,
            ordinary,
            loss: loss
                .filter(|(at, _)| self.began_at < *at)
                .map(|(_, reason)| reason),
            records: (false, false),
            cadence: (CADENCE_BUCKETS_MIN <= covered).then_some(smallest),
            cause,
        }
    }

    fn log_sign(&self, view: &View<'_>, host: HostId) -> Sign {
        let last = view.hosts.get(host).log_last;
        let cause = view
            .log_life(host)
            .err()
            .or_else(|| (last? <= self.began_at).then_some(NoDataCause::NeverArrived))
            .or_else(|| {
                let is_told = view.hosts.get(host).tells_severity;
                (self.needs_severity && !is_told).then_some(NoDataCause::NoSeverity)
            });
        let tracks = view
            .panel
            .groups()
            .filter_map(|(_, group)| group.track(host));
        let (mut loss, mut is_used) = (None, false);
        for track in tracks {
            loss = loss.max(track.loss().map(|(reason, at)| (at, reason)));
            is_used |= track
                .cell(view.bucket)
                .is_some_and(|cell| 0.0 < cell.events);
        }
        let loss = loss.filter(|(at, _)| self.began_at < *at);
        Sign {
            first: Some(view.hosts.get(host).first_seen),
            last,
            ordinary: view.hosts.log_patience(host),
            cadence: None,
            loss: loss.map(|(_, reason)| reason),
            records: (is_used, loss.is_some_and(|(at, _)| at == view.bucket.end)),
            cause,
        }
    }

    /// Until when the host's silence is forgiven because the deployment has only begun: when its bake is over,
    /// silence is what was seen of it.
    fn patience_until(&self, view: &View<'_>, host: HostId) -> Timestamp {
        let patience = if self.is_log {
            view.hosts.log_patience(host)
        } else {
            Span::ZERO
        };
        let until = self.begin_patience_until(view);
        until.max(self.began_at + patience).min(self.bake_until)
    }

    fn begin_patience_until(&self, view: &View<'_>) -> Timestamp {
        let until = self.grace_until.max(self.began_at + base_patience(view));
        until.min(self.bake_until)
    }

    fn share(&self, view: &View<'_>) -> Covered {
        let lossy = view.one_box.iter().find_map(|host| {
            let heard = self.heard.get(host)?;
            let reason = heard.loss.filter(|_| heard.is_lossy())?;
            Some((reason, *host))
        });
        if let Some((reason, host)) = lossy {
            let reason = reason.cause().to_owned();
            return Covered::No(NoDataCause::Unusable { reason }, vec![host]);
        }
        let young = self.young(view);
        if view.one_box.len() < 2 * young.len() && !self.is_last(view) {
            let names = host_list(&view.hosts.names(young));
            return Covered::Waiting(format!("more data of {names}, which came after the others"));
        }
        let shares = view.one_box.iter().map(|host| {
            let (is_rich, share) = self.share_of(view, *host, &young);
            (is_rich, share, *host)
        });
        let poorest = shares.min_by_key(|(is_rich, share, _)| (*is_rich, *share));
        match poorest {
            Some((false, share, host)) => {
                let covered_percent = share as u8;
                let loss = self.heard.get(&host).and_then(|heard| heard.loss);
                let lost = loss.map(|reason| reason.cause().to_owned());
                Covered::No(
                    NoDataCause::Gaps {
                        covered_percent,
                        lost,
                    },
                    vec![host],
                )
            }
            Some(_) | None => Covered::Yes,
        }
    }

    /// Whether enough was heard of a host, and which share of what it owes in percent.
    fn share_of(&self, view: &View<'_>, host: HostId, young: &[HostId]) -> (bool, u64) {
        let heard = self.heard.get(&host).copied().unwrap_or_default();
        if heard.is_proven {
            return (true, 100);
        }
        let are_few = 2 * young.len() <= view.one_box.len();
        let owes_all = young.contains(&host) && !are_few;
        let since = self.buckets - if owes_all { 0 } else { heard.before };
        let owed = self.unseen + since;
        let covered = percent(heard.buckets + heard.pending, owed);
        if covered < COVERED_PERCENT_MIN {
            return (false, covered);
        }
        let promised = heard.promised(owed, view.panel.resolution());
        let filled = percent(heard.filled, promised);
        let exposed = heard.exposed.percent_of(&self.fleet, self.weight);
        let least = filled.min(exposed);
        (PROMISED_PERCENT_MIN <= least, least)
    }

    /// Remembers of which hosts enough was heard, when the bake ends.
    fn prove(&mut self, view: &View<'_>) {
        let young = self.young(view);
        for host in view.one_box {
            let (is_rich, _) = self.share_of(view, *host, &young);
            if let Some(heard) = self.heard.get_mut(host) {
                heard.is_proven |= is_rich;
            }
        }
    }
}

impl Coverage {
    /// The hosts that came after the others, and whose own grace is not over.
    fn young(&self, view: &View<'_>) -> Vec<HostId> {
        let grace = self.grace_until - self.began_at;
        let resolution = view.panel.resolution();
        let is_young = |host: &HostId| {
            let heard = self.heard.get(host).filter(|heard| 0 < heard.before);
            heard.is_some_and(|heard| {
                let age = (self.buckets - heard.before).min(1 << 20);
                resolution.times(age as i64) < grace
            })
        };
        view.one_box.iter().copied().filter(is_young).collect()
    }
}

/// Whether the check selects records by their severity.
fn needs_severity(check: &Check) -> bool {
    match &check.selection {
        Selection::Logs(logs) => {
            logs.severity.is_some() || matches!(check.detector, DetectorPlan::NewTemplate)
        }
        Selection::Series(_) => false,
    }
}

/// Two minutes or five buckets, whichever is longer.
pub(super) fn base_patience(view: &View<'_>) -> Span {
    silence_min(view.panel.resolution())
}

/// How long a series may be silent at least: two minutes or five buckets, whichever is longer.
pub(crate) fn silence_min(resolution: Span) -> Span {
    Span::from_minutes(2).max(resolution.times(5))
}

/// How long a series may be silent before it counts as gone.
pub(super) fn patience(view: &View<'_>, track: &Track) -> Span {
    base_patience(view).max(track.cadence().times(5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::{
            CheckState, Finding,
            test_support::{Bench, Feed, series_check},
        },
        plan::{DetectorPlan, Limit},
    };

    const BAKE: i64 = 90;

    /// A host that sends every so many buckets, and nothing in the last so many of the bake.
    fn last(every: i64, silent: i64) -> Finding {
        let limit = Limit::new(2.0);
        let check = series_check(DetectorPlan::Bounds {
            min: None,
            max: Some(limit),
            for_at_least: Span::ZERO,
            within: Span::ZERO,
        });
        let mut bench = Bench::new(check, &["a"], &[]).bake(BAKE);
        let mut findings = bench.run(BAKE, |_, bucket| {
            if bucket.rem_euclid(every) == 0 && bucket < BAKE - silent {
                Feed::Value(1.0)
            } else {
                Feed::Silent
            }
        });
        findings.pop().expect("a finding for each bucket")
    }

    /// Two minutes are forgiven while more may come, but no more comes.
    #[test]
    fn who_falls_silent_when_the_bake_ends_is_not_covered() {
        for (every, silent, expected) in [
            (1, 0, CheckState::Ok),
            (1, 5, CheckState::Ok),
            (1, 6, CheckState::NoData),
            (1, 11, CheckState::NoData),
            (3, 11, CheckState::Ok),
            (3, 16, CheckState::NoData),
        ] {
            let finding = last(every, silent);
            assert_eq!(finding.state, expected, "{every} {silent}: {finding:?}");
            let is_stopped = matches!(finding.cause, Some(NoDataCause::Stopped { .. }));
            assert_eq!(is_stopped, expected == CheckState::NoData, "{finding:?}");
        }
    }

    /// What had closed before a recording begins was not seen, however well the rest was.
    #[test]
    fn the_part_of_the_bake_before_a_recording_is_not_covered() {
        for (from, expected) in [
            (0, CheckState::Ok),
            (BAKE / 10, CheckState::Ok),
            (BAKE / 2, CheckState::NoData),
            (BAKE - 2, CheckState::NoData),
        ] {
            let check = series_check(DetectorPlan::Bounds {
                min: None,
                max: Some(Limit::new(2.0)),
                for_at_least: Span::ZERO,
                within: Span::ZERO,
            });
            let mut bench = Bench::new(check, &["a"], &[]).bake(BAKE);
            bench.run(0, |_, _| Feed::Value(1.0));
            bench.next = from;
            let findings = bench.run(BAKE, |_, _| Feed::Value(1.0));
            let last = findings.last().expect("the bake has an end");
            assert_eq!(last.state, expected, "{from}: {last:?}");
        }
    }

    /// While a step is awaited, what was proven of the bake stands; what was not is made up for.
    #[test]
    fn a_gap_after_the_bake_takes_nothing_from_it() {
        for (gap, expected) in [(100..160, CheckState::Ok), (60..120, CheckState::NoData)] {
            let check = series_check(DetectorPlan::Bounds {
                min: None,
                max: Some(Limit::new(2.0)),
                for_at_least: Span::ZERO,
                within: Span::ZERO,
            });
            let mut bench = Bench::new(check, &["a"], &[]).bake(BAKE);
            let findings = bench.run(600, |_, bucket| {
                if gap.contains(&bucket) {
                    Feed::Silent
                } else {
                    Feed::Value(1.0)
                }
            });
            let silent = &findings[gap.end as usize - 1];
            assert_eq!(silent.state, CheckState::NoData, "{gap:?}: {silent:?}");
            let after = &findings[gap.end as usize + 5];
            assert_eq!(after.state, expected, "{gap:?}: {after:?}");
            let last = &findings[599];
            assert_eq!(last.state, CheckState::Ok, "{gap:?}: {last:?}");
        }
    }

    /// A limit that two hosts keep, of which `b` is one of the judged only from a bucket on; it was heard in the
    /// past, or was not.
    fn joined(at: i64, was_heard: bool) -> Vec<Finding> {
        let check = series_check(DetectorPlan::Bounds {
            min: None,
            max: Some(Limit::new(2.0)),
            for_at_least: Span::ZERO,
            within: Span::ZERO,
        });
        let mut bench = Bench::new(check, &["a"], &["b"]).grace(12).bake(BAKE);
        let feed = |host: &str, bucket: i64| {
            if host == "a" || at <= bucket || (was_heard && bucket < -20) {
                Feed::Value(1.0)
            } else {
                Feed::Silent
            }
        };
        let mut findings = bench.run(at, feed);
        let b = bench.fleet.remove(0);
        bench.one_box.push(b);
        findings.extend(bench.run(BAKE, feed));
        findings
    }

    #[test]
    fn who_comes_later_owes_from_there_on_and_who_comes_back_owes_all() {
        for (at, was_heard, expected) in [
            (60, false, CheckState::Ok),
            (60, true, CheckState::NoData),
            // Of two, one alone is no crowd.
            (85, false, CheckState::Ok),
        ] {
            let findings = joined(at, was_heard);
            let last = &findings[findings.len() - 1];
            assert_eq!(last.state, expected, "{at} {was_heard}: {last:?}");
        }
    }

    /// One that was there all the time is no proof for three that came just now.
    #[test]
    fn a_crowd_that_comes_in_the_end_is_not_covered() {
        for (at, expected) in [(70, CheckState::Ok), (80, CheckState::NoData)] {
            let check = series_check(DetectorPlan::Bounds {
                min: None,
                max: Some(Limit::new(2.0)),
                for_at_least: Span::ZERO,
                within: Span::ZERO,
            });
            let mut bench = Bench::new(check, &["a"], &["b", "c", "d"]);
            bench = bench.grace(12).bake(BAKE);
            let feed = |host: &str, bucket: i64| {
                if host == "a" || at <= bucket {
                    Feed::Value(1.0)
                } else {
                    Feed::Silent
                }
            };
            bench.run(at, feed);
            bench.one_box.append(&mut bench.fleet);
            let findings = bench.run(BAKE, feed);
            let last = &findings[findings.len() - 1];
            assert_eq!(last.state, expected, "{at}: {last:?}");
            let is_awaited = findings[4].awaiting.is_some();
            assert!(is_awaited, "{at}: {:?}", findings[4]);
        }
    }

    /// The last finding of a ratio, where a host has something to divide by in these buckets.
    fn of_ratio(is_exposed: impl Fn(&str, i64) -> bool) -> Finding {
        let mut check = series_check(DetectorPlan::Bounds {
            min: None,
            max: Some(Limit::new(0.1)),
            for_at_least: Span::ZERO,
            within: Span::ZERO,
        });
        if let Selection::Series(series) = &mut check.selection {
            series.per = Some(series.selector.clone());
        }
        let mut bench = Bench::new(check, &["c1"], &["f1", "f2"]).bake(360);
        let findings = bench.run(360, |host, bucket| {
            let requests = if is_exposed(host, bucket) { 50.0 } else { 0.0 };
            Feed::Weighted(0.0, requests)
        });
        findings.last().unwrap().clone()
    }

    #[test]
    fn a_host_without_traffic_is_not_covered_beside_a_busy_fleet() {
        let is_own = |host: &str| host == "c1";
        let ends = |bucket: i64| !(18..342).contains(&bucket);
        let idle = of_ratio(|host, bucket| !is_own(host) || ends(bucket));
        assert!(
            matches!(idle.cause, Some(NoDataCause::Gaps { .. })),
            "{idle:?}"
        );
        // A service of few requests is as it is.
        let few = of_ratio(|host, bucket| (bucket + host.len() as i64).rem_euclid(9) == 0);
        assert_eq!(few.state, CheckState::Ok, "{few:?}");
        let half = of_ratio(|host, bucket| !is_own(host) || bucket % 3 != 0);
        assert_eq!(half.state, CheckState::Ok, "{half:?}");
    }
}
