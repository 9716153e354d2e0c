//! Simulated deployments through the real detectors: one run is one deployment, looked at in every
//! bucket.

#![allow(
    dead_code,
    reason = "the bench and the test that include this use different parts of it"
)]

pub(crate) mod worlds;

use sluice::{
    detect::{
        Before, Cell, CheckState, Detector, GroupKey, HostBook, HostId, Panel, Setup, Stat, View,
    },
    event::{Interval, Kind, Labels, METRIC_NAME, Severity, Span, Timestamp, Unit},
    plan::{
        Check, DetectorPlan, Direction, LabelMatcher, LogSelection, Mode, Selection,
        SeriesSelection, SeriesSelector,
    },
};

pub(crate) const RESOLUTION: Span = Span::from_seconds(10);
/// Buckets in a minute.
pub(crate) const MINUTE: i64 = 6;
pub(crate) const HOUR: i64 = 360;
/// When every deployment begins.
const BEGAN: Timestamp = Timestamp::from_seconds(1_772_359_200);

/// What a world makes of a bucket. Buckets are counted from the deployment; the past is negative.
pub(crate) trait World {
    /// Fills in what each host shows, metric after metric, the one-box first.
    fn fill(&mut self, bucket: i64, cells: &mut [Option<Cell>]);
}

/// A deployment that is simulated.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) one_box: usize,
    pub(crate) fleet: usize,
    /// Buckets before the deployment, of grace, and of bake after that.
    pub(crate) before: i64,
    pub(crate) grace: i64,
    pub(crate) after: i64,
    /// From which bucket on the gate may pass.
    pub(crate) pass_from: i64,
    pub(crate) alpha: f64,
    pub(crate) watched: Watched,
    pub(crate) detector: DetectorPlan,
}

/// What the check selects.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Watched {
    /// One gauge.
    Gauge(&'static str, Unit),
    /// The quantiles of a distribution.
    Quantiles,
    /// Log records.
    Records,
}

/// What the detector said of a run, in buckets since the deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) breach: Option<i64>,
    /// When it first excluded a harm as large as the tolerance, and the gate might have passed.
    pub(crate) pass: Option<i64>,
    /// The smallest effect that it could have seen, as it said last.
    pub(crate) detectable: Option<f64>,
    /// Whether it ended without data, or with one host of several that nobody could judge.
    pub(crate) is_withheld: bool,
}

impl Scene {
    /// An hour of past, no grace, six hours of bake, both sides, without tolerance: nothing but the
    /// statistics stands between noise and a false alarm.
    pub(crate) fn strict(one_box: usize, fleet: usize) -> Self {
        Self {
            one_box,
            fleet,
            before: HOUR,
            grace: 0,
            after: 6 * HOUR,
            pass_from: 10 * MINUTE,
            alpha: 0.01,
            watched: Watched::Gauge("latency_seconds", Unit::Seconds),
            detector: compare(Some(0.0), Direction::Both),
        }
    }

    pub(crate) fn hosts(&self) -> usize {
        self.one_box + self.fleet
    }

    fn check(&self) -> Check {
        let selection = match self.watched {
            Watched::Gauge(name, _) => series(name),
            Watched::Quantiles => series("latency"),
            Watched::Records => Selection::Logs(LogSelection {
                severity: None,
                body: None,
                attributes: Vec::new(),
            }),
        };
        Check {
            name: "simulated".to_owned(),
            selection,
            detector: self.detector.clone(),
        }
    }

    /// The groups of the panel, in the order in which a world fills them.
    fn groups(&self, panel: &mut Panel) -> Vec<usize> {
        let (name, kind, unit, stats) = match self.watched {
            Watched::Gauge(name, unit) => (name, Kind::Gauge, unit, vec![Stat::Value]),
            Watched::Quantiles => (
                "latency",
                Kind::Histogram,
                Unit::Seconds,
                vec![
                    Stat::Quantile(500),
                    Stat::Quantile(900),
                    Stat::Quantile(990),
                ],
            ),
            Watched::Records => ("logs", Kind::Counter, Unit::Count, vec![Stat::Value]),
        };
        let labels = Labels::new([(METRIC_NAME, name)]);
        let group = |stat| {
            let labels = labels.clone();
            panel.group_index(
                &GroupKey {
                    labels,
                    stat,
                    ..GroupKey::default()
                },
                kind,
                unit,
            )
        };
        stats.into_iter().map(group).collect()
    }

    /// Runs it, to the first breach or the end of the bake.
    pub(crate) fn run(&self, world: &mut dyn World) -> Seen {
        let check = self.check();
        let at = |bucket: i64| BEGAN + RESOLUTION.times(bucket);
        let setup = Setup {
            check: &check,
            mode: Mode::Blocking,
            began_at: at(0),
            before: Before::until(at(0)),
            grace_until: at(self.grace),
            bake_min_until: at(self.pass_from.max(self.grace)),
            bake_until: at(self.grace + self.after),
            resolution: RESOLUTION,
            alpha: self.alpha,
            weight: 1.0,
        };
        let mut hosts = HostBook::default();
        let ids: Vec<HostId> = (0..self.hosts())
            .map(|host| hosts.add(format!("h{host:04}").into(), at(-self.before)))
            .collect();
        let (one_box, fleet) = ids.split_at(self.one_box);
        let mut panel = Panel::new(RESOLUTION, 2_160);
        let groups = self.groups(&mut panel);
        let mut detector = Detector::new(&setup);
        let mut cells = vec![None; groups.len() * ids.len()];
        let mut seen = Seen::default();
        for number in -self.before..self.grace + self.after {
            let bucket = Interval {
                start: at(number),
                end: at(number + 1),
            };
            panel.clear_templates();
            world.fill(number, &mut cells);
            for (group, cells) in groups.iter().zip(cells.chunks(ids.len())) {
                for (host, cell) in ids.iter().zip(cells) {
                    let Some(cell) = cell else { continue };
                    panel.record(*group, *host, bucket, *cell);
                    hosts.moved(*host, bucket);
                    if self.watched == Watched::Records {
                        hosts.heard_log(*host, Severity::INFO, bucket);
                    }
                }
            }
            if number < 0 {
                continue;
            }
            let finding = detector.observe(&View {
                bucket,
                panel: &panel,
                hosts: &hosts,
                one_box,
                fleet,
                request_refused_last: None,
            });
            let may_pass = self.pass_from.max(self.grace) <= number + 1;
            if finding.state == CheckState::Ok && may_pass && seen.pass.is_none() {
                seen.pass = Some(number + 1);
            }
            let told = finding.evidence.first();
            seen.detectable = told.and_then(|told| told.detectable).or(seen.detectable);
            seen.is_withheld = finding.state == CheckState::NoData;
            if finding.state == CheckState::Breach {
                seen.breach = Some(number + 1);
                break;
            }
        }
        seen
    }
}

pub(crate) fn compare(tolerance: Option<f64>, direction: Direction) -> DetectorPlan {
    DetectorPlan::Compare {
        tolerance,
        direction,
    }
}

fn series(name: &str) -> Selection {
    Selection::Series(SeriesSelection {
        selector: SeriesSelector {
            matchers: vec![LabelMatcher::equal(METRIC_NAME, name)],
        },
        kind: None,
        per: None,
        quantile: None,
        unit: None,
    })
}
