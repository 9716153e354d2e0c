//! Load: a load test reached the peak of another stage, per host.

use serde::{Deserialize, Serialize};

use super::{
    Basis, CheckState, Coverage, Evidence, Extent, Finding, HostId, NoDataCause, Panel, Setup,
    Unsound, View,
    coverage::{self, base_patience},
    wording::{blind, number, percent, selection_name, uncovered},
};
use crate::{
    event::{Interval, Span, Timestamp},
    plan::DetectorPlan,
};

/// Length of the windows whose means are compared: a peak of one bucket is noise.
const WINDOW: Span = Span::from_minutes(1);
/// How long a host that says nothing more counts as one that is there.
const MISSED_FOR: Span = Span::from_minutes(30);

/// The judged hosts' rate must once reach `factor` times the other stage's peak.
///
/// Both sides are the highest mean of a trailing minute, summed over the selected series of a host
/// and averaged over hosts. On the judged side hosts without data count as 0, and only minutes
/// since the deployment began count; on the other side, all that the panel remembers, where at
/// least half of the hosts that were there then have data: pods are replaced. Reaching it is a positive
/// proof, and stays one as long as the judged hosts are heard. While it is not reached the gate waits; at the
/// end of the bake that is a breach.
#[derive(Clone, Debug)]
pub struct Load {
    coverage: Coverage,
    selection: String,
    factor: f64,
    of: String,
    began_at: Timestamp,
    grace_until: Timestamp,
    bake_until: Timestamp,
    /// The hosts that `peak` is of.
    fleet: Vec<HostId>,
    /// The other stage's peak per host, per second.
    peak: Option<f64>,
    /// The judged hosts' highest rate per host, and when its minute ended.
    reached: Option<(f64, Timestamp)>,
    is_proven: bool,
    is_failed: bool,
}

/// What was learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "LoadState")]
pub(super) struct State {
    coverage: coverage::State,
    fleet: Vec<HostId>,
    peak: Option<f64>,
    reached: Option<(f64, Timestamp)>,
    is_proven: bool,
    is_failed: bool,
}

impl Load {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        let (factor, of) = match &setup.check.detector {
            DetectorPlan::Load { factor, of } => (*factor, of.clone()),
            DetectorPlan::Bounds { .. }
            | DetectorPlan::Derivative { .. }
            | DetectorPlan::Sigma { .. }
            | DetectorPlan::Compare { .. }
            | DetectorPlan::Absent { .. }
            | DetectorPlan::NewTemplate => (1.0, String::new()),
        };
        Self {
            coverage: Coverage::new(setup),
            selection: selection_name(setup.check),
            factor,
            of,
            began_at: setup.began_at,
            grace_until: setup.grace_until,
            bake_until: setup.bake_until,
            fleet: Vec::new(),
            peak: None,
            reached: None,
            is_proven: false,
            is_failed: false,
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        let uncovered = uncovered(&mut self.coverage, view, &self.selection, Basis::Slo);
        if self.is_proven {
            // The load may be over, and nothing move any more; but a host that is gone since says
            // nothing of how the change bore it.
            let is_gone = |finding: &Finding| {
                finding.cause.is_some() && finding.cause != Some(NoDataCause::Lifeless)
            };
            return uncovered
                .filter(is_gone)
                .unwrap_or_else(|| self.finding(view, CheckState::Ok));
        }
        self.learn_peak(view);
        let rate = self.rate(view);
        if let Some(rate) = rate
            && self.reached.is_none_or(|(highest, _)| highest < rate)
        {
            self.reached = Some((rate, view.bucket.end));
        }
        if self.is_failed {
            return self.finding(view, CheckState::Breach);
        }
        if let Some(finding) = uncovered {
            return finding;
        }
        let Some(target) = self.target() else {
            return self.without_peak(view);
        };
        match self.reached {
            Some((reached, _)) if target <= reached => {
                self.is_proven = true;
                self.finding(view, CheckState::Ok)
            }
            Some(_) | None if self.bake_until <= view.bucket.end => {
                self.is_failed = true;
                self.finding(view, CheckState::Breach)
            }
            Some(_) | None => {
                let mut finding = self.finding(view, CheckState::Warming);
                finding.awaiting = Some(format!(
                    "a load of {}/s per host, {} so far, until {}",
                    number(target),
                    number(self.reached.map_or(0.0, |(reached, _)| reached)),
                    self.bake_until.next_whole_second()
                ));
                finding
            }
        }
    }

    /// What was learned and latched: whoever adds a field decides here whether it is kept.
    pub(super) fn save(&self) -> State {
        let Self {
            coverage,
            selection: _,
            factor: _,
            of: _,
            began_at: _,
            grace_until: _,
            bake_until: _,
            fleet,
            peak,
            reached,
            is_proven,
            is_failed,
        } = self;
        State {
            coverage: coverage.save(),
            fleet: fleet.clone(),
            peak: *peak,
            reached: *reached,
            is_proven: *is_proven,
            is_failed: *is_failed,
        }
    }

    /// Takes what [`Load::save`] gave.
    pub(super) fn restore(&mut self, state: State, extent: Extent) -> Result<(), Unsound> {
        let State {
            coverage,
            fleet,
            peak,
            reached,
            is_proven,
            is_failed,
        } = state;
        extent.hosts(&fleet)?;
        self.coverage.restore(coverage, extent)?;
        self.fleet = fleet;
        self.peak = peak;
        self.reached = reached;
        self.is_proven = is_proven;
        self.is_failed = is_failed;
        Ok(())
    }

    /// What must be reached: `None` where the other stage served nothing.
    fn target(&self) -> Option<f64> {
        self.peak
            .map(|peak| peak * self.factor)
            .filter(|target| target.is_finite() && 0.0 < *target)
    }

    fn without_peak(&self, view: &View<'_>) -> Finding {
        let until = self.grace_until.max(self.began_at + base_patience(view));
        if view.bucket.end < until {
            return Finding::unheard(format!("the first data of stage {}", self.of));
        }
        blind(
            view,
            &self.selection,
            Basis::Slo,
            NoDataCause::NoFleet,
            view.fleet.iter().copied(),
        )
    }

    /// Takes the peak of the past when the hosts are seen first, and the latest minute from then
    /// on.
    fn learn_peak(&mut self, view: &View<'_>) {
        let window = window_buckets(view.panel);
        let length = view.panel.resolution().times(window as i64);
        let from = if self.fleet == view.fleet {
            view.bucket.end - length
        } else {
            self.fleet = view.fleet.to_vec();
            self.peak = None;
            Timestamp::MIN
        };
        let peak = minutes(view.panel, &self.fleet, from, view.bucket.end, window)
            .into_iter()
            .filter(|minute| 0 < minute.hosts && minute.there <= 2 * minute.hosts)
            .map(|minute| minute.sum / minute.hosts.max(1) as f64)
            .fold(None, |peak: Option<f64>, rate| {
                Some(peak.map_or(rate, |peak| peak.max(rate)))
            });
        self.peak = match (self.peak, peak) {
            (Some(old), Some(new)) => Some(old.max(new)),
            (old, new) => old.or(new),
        };
    }

    /// Rate per host of the judged hosts over the latest minute, if it lies in the deployment.
    fn rate(&self, view: &View<'_>) -> Option<f64> {
        let window = window_buckets(view.panel);
        let from = view.bucket.end - view.panel.resolution().times(window as i64);
        if from < self.began_at || view.one_box.is_empty() {
            return None;
        }
        let minute = minutes(view.panel, view.one_box, from, view.bucket.end, window).pop()?;
        (0 < minute.hosts).then(|| minute.sum / view.one_box.len() as f64)
    }

    fn finding(&self, view: &View<'_>, state: CheckState) -> Finding {
        let (reached, at) = self
            .reached
            .map_or((0.0, None), |(rate, at)| (rate, Some(at)));
        let target = self.target().unwrap_or(0.0);
        let effect = (0.0 < target).then(|| reached / target - 1.0);
        let mut note = format!(
            "highest rate {}/s per host, {}/s needed for the peak of {}",
            number(reached),
            number(target),
            self.of
        );
        if let Some(effect) = effect {
            note = format!("{note} ({})", percent(effect));
        }
        if let (CheckState::Ok, Some(at)) = (state, at) {
            note = format!("{note}, reached at {}", at.whole_seconds());
        }
        let mut evidence = Evidence::bare(&self.selection, state, Basis::Slo, note);
        evidence.observed = Some(reached);
        evidence.expected = Some(target);
        evidence.effect = effect;
        evidence.hosts = view.hosts.names(view.one_box.iter().copied());
        evidence.first_breach = (state == CheckState::Breach).then_some(self.began_at);
        Finding::new(state, vec![evidence])
    }
}

/// One trailing window over some hosts.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    /// Sum over hosts of their mean rates.
    sum: f64,
    /// How many hosts have data in it.
    hosts: usize,
    /// How many hosts were there: they had data before or in it, and until shortly before.
    there: usize,
}

fn window_buckets(panel: &Panel) -> usize {
    WINDOW.div_ceil(panel.resolution()).max(1)
}

/// The trailing windows that end with the buckets in `[from, to)`, oldest first, all of the same
/// end: the last ends at `to`. Windows that would reach back before the first bucket are left out,
/// except where there are fewer buckets than a window has.
fn minutes(
    panel: &Panel,
    hosts: &[HostId],
    from: Timestamp,
    to: Timestamp,
    window: usize,
) -> Vec<Minute> {
    let resolution = panel.resolution();
    // Newest first, so that tracks of different age line up.
    let mut all: Vec<Minute> = Vec::new();
    let mut sums: Vec<f64> = Vec::new();
    let mut heard: Vec<bool> = Vec::new();
    let mut lives: Vec<Interval> = Vec::new();
    for &host in hosts {
        sums.clear();
        heard.clear();
        let mut life: Option<Interval> = None;
        for (_, group) in panel.groups() {
            let Some(track) = group.track(host).filter(|track| track.has_data()) else {
                continue;
            };
            let (start, end) = (track.first_seen, track.last_seen + MISSED_FOR);
            life = Some(life.map_or(Interval { start, end }, |life| Interval {
                start: life.start.min(start),
                end: life.end.max(end),
            }));
            // Buckets after the newest of this track are missing from its values.
            let lag = (to - track.last_seen).div_ceil(resolution);
            let values: Vec<f32> = track.values(resolution, from, to).rev().collect();
            add_means(&values, lag, window, &mut sums, &mut heard);
        }
        lives.extend(life);
        if all.len() < sums.len() {
            all.resize(sums.len(), Minute::default());
        }
        for ((minute, sum), heard) in all.iter_mut().zip(&sums).zip(&heard) {
            minute.sum += sum;
            minute.hosts += usize::from(*heard);
        }
    }
    all.truncate((all.len() + 1).saturating_sub(window).max(1));
    let mut end = to;
    for minute in &mut all {
        let start = end - resolution.times(window as i64);
        let is_there = |life: &&Interval| life.start < end && start < life.end;
        minute.there = lives.iter().filter(is_there).count();
        end = end - resolution;
    }
    all.reverse();
    all
}

/// Adds, for each window of one track, the mean of its values; newest first. `lag` buckets after
/// the newest value have no data.
fn add_means(
    values: &[f32],
    lag: usize,
    window: usize,
    sums: &mut Vec<f64>,
    heard: &mut Vec<bool>,
) {
    let len = values.len() + lag;
    if values.is_empty() {
        return;
    }
    if sums.len() < len {
        sums.resize(len, 0.0);
        heard.resize(len, false);
    }
    let value = |index: usize| {
        let value = values.get(index.checked_sub(lag)?)?;
        value.is_finite().then(|| f64::from(*value))
    };
    // Each window is summed afresh: a running sum would keep rounding errors of long gone peaks.
    for newest in 0..len {
        let (sum, count) = (newest..(newest + window).min(len))
            .filter_map(value)
            .fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        if 0 < count {
            sums[newest] += sum / f64::from(count);
            heard[newest] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::test_support::{
        Bench, Feed, first, series_check, silence_is_never_ok, states,
    };
    use CheckState::{Breach, NoData, Ok, Warming};

    fn plan(factor: f64) -> DetectorPlan {
        DetectorPlan::Load {
            factor,
            of: "prod".to_owned(),
        }
    }

    /// The fleet serves 100/s with a peak of 200/s for two minutes, an hour before.
    fn production(bucket: i64) -> Feed {
        Feed::Value(if (-300..-288).contains(&bucket) {
            200.0
        } else {
            100.0
        })
    }

    #[test]
    fn silence_never_proves_a_load() {
        silence_is_never_ok(&series_check(plan(1.0)), |host, bucket| match host {
            "c1" => Feed::Value(50.0),
            _ => production(bucket),
        });
    }

    #[test]
    fn the_peak_of_a_minute_per_host_must_be_reached_within_the_bake() {
        for (name, factor, load, length, expected) in [
            ("reached", 1.0, 201.0, 6, vec![Warming, Ok]),
            ("too short", 1.0, 201.0, 3, vec![Warming, Breach]),
            ("too low", 1.0, 199.0, 60, vec![Warming, Breach]),
            ("low enough a factor", 0.5, 101.0, 6, vec![Warming, Ok]),
            ("high a factor", 2.0, 399.0, 60, vec![Warming, Breach]),
        ] {
            let mut bench =
                Bench::new(series_check(plan(factor)), &["c1", "c2"], &["f1", "f2"]).bake(120);
            let findings = bench.run(150, |host, bucket| {
                if host.starts_with('f') {
                    production(bucket)
                } else if (40..40 + length).contains(&bucket) {
                    Feed::Value(load)
                } else {
                    Feed::Value(10.0)
                }
            });
            assert_eq!(states(&findings), expected, "{name}");
            if expected.contains(&Breach) {
                assert_eq!(first(&findings, Breach), Some(119), "{name}");
            } else {
                assert_eq!(first(&findings, Ok), Some(45), "{name}");
            }
        }
    }

    #[test]
    fn the_load_counts_per_host_and_series_are_summed() {
        // Two series of 110/s each on one of two hosts are 110/s per host, not 220.
        for (hosts, expected) in [(&["c1"][..], Ok), (&["c1", "c2"][..], Breach)] {
            let mut bench = Bench::new(series_check(plan(1.0)), hosts, &["f1"])
                .metrics(&["m", "n"])
                .bake(120);
            let findings = bench.run_metrics(150, |metric, host, bucket| match (metric, host) {
                ("m", "f1") => production(bucket),
                (_, "c1") => Feed::Value(110.0),
                _ => Feed::Value(0.0),
            });
            assert_eq!(findings.last().unwrap().state, expected, "{hosts:?}");
        }
    }

    #[test]
    fn a_host_that_falls_silent_after_the_load_test_takes_its_proof_along() {
        let mut bench = Bench::new(series_check(plan(1.0)), &["c1"], &["f1"]);
        let findings = bench.run(400, |host, bucket| match (host, bucket) {
            ("f1", _) => production(bucket),
            (_, ..20) => Feed::Value(250.0),
            _ => Feed::Silent,
        });
        assert_eq!(states(&findings), [Warming, Ok, NoData]);
    }

    #[test]
    fn a_proof_stands_when_the_load_test_is_over() {
        let mut bench = Bench::new(series_check(plan(1.0)), &["c1"], &["f1"]);
        let findings = bench.run(400, |host, bucket| match (host, bucket) {
            ("f1", _) => production(bucket),
            (_, ..20) => Feed::Value(250.0),
            _ => Feed::Value(0.0),
        });
        assert_eq!(states(&findings), [Warming, Ok]);
        let evidence = &findings[399].evidence[0];
        assert_eq!(
            (evidence.observed, evidence.expected),
            (Some(250.0), Some(200.0))
        );
        assert_eq!(
            evidence.note,
            "highest rate 250/s per host, 200/s needed for the peak of prod (+25 %), reached at \
             2026-03-01T10:01:00Z"
        );
    }

    #[test]
    fn a_series_that_is_sampled_each_minute_counts_like_one_sampled_each_bucket() {
        let mut bench = Bench::new(series_check(plan(1.0)), &["c1"], &["f1", "f2"]);
        let findings = bench.run(60, |host, bucket| {
            let is_due = host != "f2" || bucket.rem_euclid(6) == 0;
            match host {
                _ if !is_due => Feed::Silent,
                "c1" => Feed::Value(101.0),
                _ => Feed::Value(100.0),
            }
        });
        assert_eq!(findings.last().unwrap().state, Ok);
    }

    #[test]
    fn pods_that_were_replaced_do_not_take_the_peak_along() {
        let generations = ["f1", "f2", "g1", "g2", "h1", "h2"];
        for (load, expected) in [(201.0, Ok), (199.0, Breach)] {
            let mut bench = Bench::new(series_check(plan(1.0)), &["c1"], &generations)
                .past(1_080)
                .bake(120);
            let findings = bench.run(150, |host, bucket| {
                let lives = match &host[..1] {
                    "f" => -1_080..-700,
                    "g" => -700..-320,
                    "h" => -320..i64::MAX,
                    _ => return Feed::Value(load),
                };
                if lives.contains(&bucket) {
                    production(bucket)
                } else {
                    Feed::Silent
                }
            });
            assert_eq!(findings.last().unwrap().state, expected, "{load}");
        }
    }

    #[test]
    fn a_minute_in_which_most_hosts_are_silent_is_no_peak() {
        let mut bench = Bench::new(series_check(plan(1.0)), &["c1"], &["f1", "f2", "f3"]).bake(120);
        let findings = bench.run(150, |host, bucket| match host {
            "c1" => Feed::Value(201.0),
            // An outage: the last one serves all.
            "f1" if (-100..-60).contains(&bucket) => Feed::Value(300.0),
            _ if (-100..-60).contains(&bucket) => Feed::Silent,
            _ => production(bucket),
        });
        assert_eq!(findings.last().unwrap().state, Ok);
    }

    #[test]
    fn without_a_reference_nothing_is_proven() {
        for (name, fleet, rate) in [
            ("no hosts", &[][..], 0.0),
            ("an idle stage", &["f1"][..], 0.0),
        ] {
            let mut bench = Bench::new(series_check(plan(1.0)), &["c1"], fleet).bake(120);
            let findings = bench.run(150, |host, _| {
                Feed::Value(if host == "c1" { 500.0 } else { rate })
            });
            assert_eq!(states(&findings), [Warming, NoData], "{name}");
            assert_eq!(findings[149].cause, Some(NoDataCause::NoFleet), "{name}");
        }
    }
}
