//! A small bench for the tests of detectors: it feeds buckets and collects findings.

use std::sync::Arc;

use super::{
    Before, Cell, CheckState, Detector, Finding, GroupKey, HostBook, HostId, Panel, Setup, Stat,
    TemplateTrack, View,
};
use crate::{
    event::{Interval, Kind, Labels, METRIC_NAME, Severity, Span, Timestamp, Unit},
    plan::{
        Check, DetectorPlan, LabelMatcher, LogSelection, Mode, Selection, SeriesSelection,
        SeriesSelector,
    },
    reduce::LossReason,
};

/// 2026-03-01T10:00:00Z, when the deployment of every test begins, in seconds.
pub(super) const BEGAN_SECONDS: i64 = 1_772_359_200;

/// What one host sends of one metric in one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed {
    /// Nothing.
    Silent,
    /// A gauge.
    Value(f64),
    /// A value and what it is divided by.
    Weighted(f64, f64),
    /// So many events, and what they are divided by: both counted.
    Ratio(f64, f64),
    /// A living log stream with so many records that the check selects.
    Records(f64),
    /// Something that could not be used.
    Lost(LossReason),
}

/// The detector of one check in one deployment, and what it is fed with. Buckets are 10 s wide
/// unless set otherwise and counted from the beginning of the deployment; the past is negative.
pub(super) struct Bench {
    pub(super) panel: Panel,
    pub(super) hosts: HostBook,
    pub(super) one_box: Vec<HostId>,
    pub(super) fleet: Vec<HostId>,
    check: Check,
    detector: Option<Detector>,
    resolution: Span,
    pub(super) next: i64,
    past_until: i64,
    grace: i64,
    bake: i64,
    alpha: f64,
    metrics: Vec<&'static str>,
}

/// A check over the series of one metric.
pub(super) fn series_check(detector: DetectorPlan) -> Check {
    Check {
        name: "tested".to_owned(),
        selection: Selection::Series(SeriesSelection {
            selector: SeriesSelector {
                matchers: vec![LabelMatcher::equal(METRIC_NAME, "m")],
            },
            kind: None,
            per: None,
            quantile: None,
            unit: None,
        }),
        detector,
    }
}

/// A check over ERROR records.
pub(super) fn log_check(detector: DetectorPlan) -> Check {
    Check {
        name: "tested".to_owned(),
        selection: Selection::Logs(LogSelection {
            severity: Some(Severity::ERROR),
            body: None,
            attributes: Vec::new(),
        }),
        detector,
    }
}

impl Bench {
    /// No grace, a bake of two hours, 1 % alpha, a past of an hour.
    pub(super) fn new(check: Check, one_box: &[&str], fleet: &[&str]) -> Self {
        let mut bench = Self {
            panel: Panel::new(Span::from_seconds(10), 100_000),
            hosts: HostBook::default(),
            one_box: Vec::new(),
            fleet: Vec::new(),
            check,
            detector: None,
            resolution: Span::from_seconds(10),
            next: -360,
            past_until: 0,
            grace: 0,
            bake: 720,
            alpha: 0.01,
            metrics: vec!["m"],
        };
        let first = bench.at(bench.next);
        for name in fleet {
            bench.fleet.push(bench.hosts.add(Arc::from(*name), first));
        }
        for name in one_box {
            bench.one_box.push(bench.hosts.add(Arc::from(*name), first));
        }
        bench
    }

    pub(super) fn grace(mut self, buckets: i64) -> Self {
        self.grace = buckets;
        self
    }

    /// The new version ran from this bucket on, before the deployment was told.
    pub(super) fn past_until(mut self, bucket: i64) -> Self {
        self.past_until = bucket;
        self
    }

    pub(super) fn bake(mut self, buckets: i64) -> Self {
        self.bake = buckets;
        self
    }

    pub(super) fn past(mut self, buckets: i64) -> Self {
        self.next = -buckets;
        self
    }

    pub(super) fn metrics(mut self, metrics: &[&'static str]) -> Self {
        self.metrics = metrics.to_vec();
        self
    }

    pub(super) fn resolution(mut self, seconds: i64) -> Self {
        self.resolution = Span::from_seconds(seconds);
        self.panel = Panel::new(self.resolution, 100_000);
        self
    }

    /// The start of a bucket.
    pub(super) fn at(&self, bucket: i64) -> Timestamp {
        Timestamp::from_seconds(BEGAN_SECONDS) + self.resolution.times(bucket)
    }

    /// Feeds one metric up to a bucket (exclusive); gives the findings since the deployment began.
    pub(super) fn run(
        &mut self,
        until: i64,
        mut feed: impl FnMut(&str, i64) -> Feed,
    ) -> Vec<Finding> {
        self.run_metrics(until, |_, host, bucket| feed(host, bucket))
    }

    /// Feeds all metrics up to a bucket (exclusive).
    pub(super) fn run_metrics(
        &mut self,
        until: i64,
        mut feed: impl FnMut(&str, &str, i64) -> Feed,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        while self.next < until {
            let number = self.next;
            self.panel.clear_templates();
            for metric in self.metrics.clone() {
                for host in self.hosts.ids() {
                    let name = Arc::clone(&self.hosts.get(host).name);
                    let fed = feed(metric, &name, number);
                    self.take(metric, host, self.interval(number), fed);
                }
            }
            findings.extend(self.close());
        }
        findings
    }

    /// Feeds message templates, all as ERROR; every log stream is alive.
    pub(super) fn run_templates(
        &mut self,
        until: i64,
        severity: Severity,
        mut feed: impl FnMut(&str, i64) -> Vec<(&'static str, u64)>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        while self.next < until {
            let bucket = self.interval(self.next);
            self.panel.clear_templates();
            for host in self.hosts.ids() {
                self.hosts.heard_log(host, Severity::INFO, bucket);
                let name = Arc::clone(&self.hosts.get(host).name);
                for (text, count) in feed(&name, self.next) {
                    let track = self
                        .panel
                        .templates
                        .entry(Arc::from(text))
                        .or_insert_with(|| TemplateTrack {
                            first_seen: bucket.start,
                            last_seen: bucket.end,
                            severity,
                            now: Vec::new(),
                        });
                    track.last_seen = bucket.end;
                    track.now.push((host, count));
                }
            }
            findings.extend(self.close());
        }
        findings
    }

    fn interval(&self, number: i64) -> Interval {
        Interval {
            start: self.at(number),
            end: self.at(number + 1),
        }
    }

    fn take(&mut self, metric: &str, host: HostId, bucket: Interval, fed: Feed) {
        let (value, events, exposure) = match fed {
            Feed::Silent => return,
            Feed::Value(value) => (value, 0.0, None),
            Feed::Weighted(value, exposure) => (value, 0.0, Some(exposure)),
            Feed::Ratio(events, exposure) => {
                let seconds = self.resolution.seconds_f64();
                (events / seconds, events, Some(exposure / seconds))
            }
            Feed::Records(count) => {
                self.hosts.heard_log(host, Severity::INFO, bucket);
                (count / self.resolution.seconds_f64(), count, None)
            }
            Feed::Lost(_) => (0.0, 0.0, None),
        };
        let key = GroupKey {
            labels: Labels::new([(METRIC_NAME, metric)]),
            stat: Stat::Value,
            ..GroupKey::default()
        };
        let kind = match fed {
            Feed::Ratio(..) => Kind::Counter,
            Feed::Silent
            | Feed::Value(_)
            | Feed::Weighted(..)
            | Feed::Records(_)
            | Feed::Lost(_) => Kind::Gauge,
        };
        let group = self.panel.group_index(&key, kind, Unit::Unknown);
        if let Feed::Lost(reason) = fed {
            self.panel.record_loss(group, host, bucket, reason);
            return;
        }
        let cell = Cell {
            value,
            min: value,
            max: value,
            events,
            exposure,
        };
        self.panel.record(group, host, bucket, cell);
        // The tests feed constants: life is not what they are about.
        self.hosts.moved(host, bucket);
    }

    fn close(&mut self) -> Option<Finding> {
        let bucket = self.interval(self.next);
        self.next += 1;
        if bucket.start < self.at(0) {
            return None;
        }
        let setup = Setup {
            check: &self.check,
            mode: Mode::Blocking,
            began_at: self.at(0),
            before: Before::until(self.at(self.past_until)),
            grace_until: self.at(self.grace),
            bake_min_until: self.at(0),
            bake_until: self.at(self.bake),
            resolution: self.resolution,
            alpha: self.alpha,
            weight: 1.0,
        };
        let view = View {
            bucket,
            panel: &self.panel,
            hosts: &self.hosts,
            one_box: &self.one_box,
            fleet: &self.fleet,
            request_refused_last: None,
        };
        let detector = self.detector.get_or_insert_with(|| Detector::new(&setup));
        let finding = detector.observe(&view);
        assert_eq!(
            finding.cause.is_some(),
            finding.state == CheckState::NoData,
            "{finding:?}"
        );
        let waits = matches!(finding.state, CheckState::Warming | CheckState::Undecided);
        assert_eq!(finding.awaiting.is_some(), waits, "{finding:?}");
        assert!(finding.evidence.len() <= Finding::EVIDENCE_MAX);
        Some(finding)
    }
}

/// The states in the order of their appearance, repetitions left out.
pub(super) fn states(findings: &[Finding]) -> Vec<CheckState> {
    let mut states: Vec<CheckState> = findings.iter().map(|finding| finding.state).collect();
    states.dedup();
    states
}

/// The first bucket whose finding is in the state.
pub(super) fn first(findings: &[Finding], state: CheckState) -> Option<usize> {
    findings.iter().position(|finding| finding.state == state)
}

/// Normal noise that depends on nothing but its arguments.
pub(super) fn noise(seed: u64, host: &str, bucket: i64) -> f64 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for byte in host.bytes() {
        state = mix(state ^ u64::from(byte));
    }
    state = mix(state ^ bucket as u64);
    (0..12)
        .map(|_| {
            state = mix(state);
            (state >> 11) as f64 / (1u64 << 53) as f64
        })
        .sum::<f64>()
        - 6.0
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ (value >> 31)).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

/// The rows that every detector must answer without Ok: silence in all its forms. `feed` is what a
/// healthy host sends.
pub(super) fn silence_is_never_ok(check: &Check, feed: impl Fn(&str, i64) -> Feed) {
    type Row = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        i64,
    );
    const NEVER: i64 = -10_000;
    let rows: [Row; 6] = [
        ("never arrived, with a fleet", &["c1"], &["f1", "f2"], NEVER),
        ("never arrived, alone", &["c1"], &[], NEVER),
        (
            "stopped when the deployment began",
            &["c1"],
            &["f1", "f2"],
            0,
        ),
        ("stopped when it began, alone", &["c1"], &[], 0),
        ("no hosts", &[], &["f1", "f2"], NEVER),
        ("nobody at all", &[], &[], NEVER),
    ];
    for (name, one_box, fleet, stops) in rows {
        let mut bench = Bench::new(check.clone(), one_box, fleet);
        let findings = bench.run(720, |host, bucket| {
            if host.starts_with('c') && stops <= bucket {
                Feed::Silent
            } else {
                feed(host, bucket)
            }
        });
        for finding in &findings {
            assert_ne!(finding.state, CheckState::Ok, "{name}: {finding:?}");
        }
        let last = findings.last().expect("buckets were fed").state;
        assert!(
            matches!(last, CheckState::NoData | CheckState::Breach),
            "{name}: {last:?}"
        );
    }
    let mut bench = Bench::new(check.clone(), &["c1"], &["f1", "f2"]);
    let findings = bench.run(720, |_, _| Feed::Silent);
    assert_eq!(first(&findings, CheckState::Ok), None, "empty selection");
    let mut bench = Bench::new(check.clone(), &["c1"], &["f1", "f2"]);
    let findings = bench.run(720, |host, bucket| {
        if host.starts_with('c') && 300 <= bucket {
            Feed::Silent
        } else {
            feed(host, bucket)
        }
    });
    let last = findings.last().expect("buckets were fed").state;
    assert_ne!(last, CheckState::Ok, "stopped in the middle");
}
