//! Simulated deployments for the tests of the comparison as a whole.

mod behaviour;
mod churn;
mod few_events;
mod few_hosts;
mod fresh_change;
mod fresh_hosts;
mod fresh_over;
mod jobs;
mod leaks;
mod one_host;
mod onset;
mod rivals;
mod scrapes;
mod traffic;

use super::*;
use crate::{
    detect::{Before, Cell, GroupKey, HostBook, Panel, Stat},
    event::{Interval, Kind, Labels, Severity, Unit},
    plan::{
        Check, DetectorPlan, Direction, LabelMatcher, LogSelection, Mode, Selection,
        SeriesSelection, SeriesSelector,
    },
};

/// A deployment that is simulated bucket by bucket.
#[derive(Clone)]
struct Scene {
    one_box: usize,
    fleet: usize,
    /// Buckets before the deployment, of grace, and of bake after that.
    before: i64,
    grace: i64,
    after: i64,
    resolution: Span,
    metric: &'static str,
    kind: Kind,
    unit: Unit,
    direction: Direction,
    tolerance: Option<f64>,
    weight: f64,
    /// The least and the largest that was told before.
    past_shares: Option<(f64, f64)>,
    selects: Selects,
    /// Whether the metric is divided by another.
    has_per: bool,
    /// Whether ids and names run the other way.
    is_reversed: bool,
    /// A host of the one-box that is none of it before a bucket.
    joins: Option<(usize, i64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Selects {
    Metric,
    Everything,
    Logs,
}

/// What a run of the scene gave.
struct Run {
    findings: Vec<(i64, Finding)>,
}

/// A generator of pseudo-random numbers that is the same on every machine.
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        let mut noise = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1);
        for _ in 0..4 {
            noise.uniform();
        }
        noise
    }

    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        let limit = (-mean).exp();
        let (mut count, mut product) = (0.0, self.uniform());
        while product > limit {
            count += 1.0;
            product *= self.uniform();
        }
        count
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a host may say nothing in a bucket"
)]
fn gauge(value: f64) -> Option<Cell> {
    Some(Cell {
        value,
        min: value,
        max: value,
        events: 0.0,
        exposure: None,
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a host may say nothing in a bucket"
)]
fn events(count: f64, seconds: f64, exposure: Option<f64>) -> Option<Cell> {
    let value = count / seconds;
    Some(Cell {
        value,
        min: value,
        max: value,
        events: count,
        exposure,
    })
}

impl Scene {
    fn new(one_box: usize, fleet: usize) -> Self {
        Self {
            one_box,
            fleet,
            before: 180,
            grace: 12,
            after: 240,
            resolution: Span::from_seconds(10),
            metric: "latency_seconds",
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            direction: Direction::Up,
            tolerance: None,
            weight: 1.0,
            past_shares: None,
            selects: Selects::Metric,
            has_per: false,
            is_reversed: false,
            joins: None,
        }
    }

    fn hosts(&self) -> usize {
        self.one_box + self.fleet
    }

    fn check(&self) -> Check {
        let series = |matchers: Vec<LabelMatcher>| {
            Selection::Series(SeriesSelection {
                per: self.has_per.then(|| SeriesSelector {
                    matchers: vec![LabelMatcher::equal("__name__", "requests_total")],
                }),
                selector: SeriesSelector { matchers },
                kind: None,
                quantile: None,
                unit: None,
            })
        };
        Check {
            name: "check".to_owned(),
            selection: match self.selects {
                Selects::Metric => series(vec![LabelMatcher::equal("__name__", self.metric)]),
                Selects::Everything => series(Vec::new()),
                Selects::Logs => Selection::Logs(LogSelection {
                    severity: None,
                    body: None,
                    attributes: Vec::new(),
                }),
            },
            detector: DetectorPlan::Compare {
                tolerance: self.tolerance,
                direction: self.direction,
            },
        }
    }

    /// Runs it; `cell` gives the value of a host (the one-box first) in a bucket, counted from the
    /// deployment.
    fn run(&self, mut cell: impl FnMut(usize, i64) -> Option<Cell>) -> Run {
        self.run_many(&[self.metric], |_, host, bucket| cell(host, bucket))
    }

    /// The hosts by their ids, the one-box first.
    fn cast(&self, start: Timestamp) -> (HostBook, Vec<HostId>) {
        let mut book = HostBook::default();
        let mut ids: Vec<HostId> = (0..self.hosts())
            .map(|host| {
                let name = if self.is_reversed {
                    self.hosts() - host
                } else {
                    host
                };
                let joins = self.joins.filter(|(late, _)| *late == host);
                let first = joins.map_or(0, |(_, from)| self.before + from);
                let first_seen = start + self.resolution.times(first);
                book.add(format!("h{name:04}").into(), first_seen)
            })
            .collect();
        if self.is_reversed {
            ids.reverse();
        }
        (book, ids)
    }

    fn panel(&self, metrics: &[&str]) -> (Panel, Vec<usize>) {
        let mut panel = Panel::new(self.resolution, 2_160);
        let groups = metrics
            .iter()
            .map(|metric| {
                let key = GroupKey {
                    labels: Labels::new([("__name__", *metric)]),
                    stat: Stat::Value,
                    ..GroupKey::default()
                };
                panel.group_index(&key, self.kind, self.unit)
            })
            .collect();
        (panel, groups)
    }

    fn run_many(
        &self,
        metrics: &[&str],
        mut cell: impl FnMut(usize, usize, i64) -> Option<Cell>,
    ) -> Run {
        let check = self.check();
        let start = Timestamp::from_seconds(1_700_000_000).floor(self.resolution);
        let began_at = start + self.resolution.times(self.before);
        let grace_until = began_at + self.resolution.times(self.grace);
        let setup = Setup {
            check: &check,
            mode: Mode::Blocking,
            began_at,
            before: Before {
                until: began_at,
                shares: self.past_shares,
            },
            grace_until,
            bake_min_until: grace_until,
            bake_until: grace_until + self.resolution.times(self.after),
            resolution: self.resolution,
            alpha: 0.01,
            weight: self.weight,
        };
        let (mut book, ids) = self.cast(start);
        let by_name = |hosts: &[HostId]| {
            let mut hosts = hosts.to_vec();
            hosts.sort_by_key(|host| book.name(*host).to_owned());
            hosts
        };
        let (one_box, fleet) = (by_name(&ids[..self.one_box]), by_name(&ids[self.one_box..]));
        let (mut panel, groups) = self.panel(metrics);
        let mut compare = Compare::new(&setup);
        let mut run = Run {
            findings: Vec::new(),
        };
        for number in 0..self.before + self.grace + self.after {
            let from = start + self.resolution.times(number);
            let bucket = Interval {
                start: from,
                end: from + self.resolution,
            };
            panel.clear_templates();
            for (metric, group) in groups.iter().enumerate() {
                for (host, id) in ids.iter().enumerate() {
                    if let Some(cell) = cell(metric, host, number - self.before) {
                        if panel.record(*group, *id, bucket, cell) {
                            book.moved(*id, bucket);
                        }
                        if self.selects == Selects::Logs {
                            book.heard_log(*id, Severity::INFO, bucket);
                        }
                    }
                }
            }
            if number >= self.before {
                let mut one_box = one_box.clone();
                if let Some((late, from)) = self.joins
                    && number - self.before < from
                {
                    one_box.retain(|host| *host != ids[late]);
                }
                let view = View {
                    bucket,
                    panel: &panel,
                    hosts: &book,
                    one_box: &one_box,
                    fleet: &fleet,
                    request_refused_last: None,
                };
                run.findings
                    .push((number - self.before, compare.observe(&view)));
            }
        }
        run
    }
}

impl Run {
    fn first(&self, state: CheckState) -> Option<i64> {
        let mut found = self
            .findings
            .iter()
            .filter(|(_, finding)| finding.state == state);
        found.next().map(|(bucket, _)| *bucket)
    }

    fn breached(&self) -> Option<i64> {
        self.first(CheckState::Breach)
    }

    fn last(&self) -> &Finding {
        &self.findings.last().unwrap().1
    }
}

/// The bucket in which a breach began, counted from the deployment.
fn since(scene: &Scene, evidence: &Evidence) -> i64 {
    let start = Timestamp::from_seconds(1_700_000_000).floor(scene.resolution);
    let began_at = start + scene.resolution.times(scene.before);
    let since = evidence.first_breach.expect("when it began") - began_at;
    since.nanos() / scene.resolution.nanos()
}

/// Healthy hosts that differ, drift slowly and share a common season: logarithms around a level.
struct Hosts {
    noise: Noise,
    offsets: Vec<f64>,
    states: Vec<f64>,
    persistence: f64,
    sigma: f64,
}

impl Hosts {
    fn new(seed: u64, hosts: usize, offset: f64, persistence: f64, sigma: f64) -> Self {
        let mut noise = Noise::new(seed);
        let offsets = (0..hosts).map(|_| offset * noise.normal()).collect();
        let states = (0..hosts).map(|_| sigma * noise.normal()).collect();
        Self {
            noise,
            offsets,
            states,
            persistence,
            sigma,
        }
    }

    fn value(&mut self, host: usize, bucket: i64) -> f64 {
        let fresh = (1.0 - self.persistence * self.persistence).sqrt() * self.sigma;
        self.states[host] = self.persistence * self.states[host] + fresh * self.noise.normal();
        let season = 0.4 * (std::f64::consts::TAU * bucket as f64 / 1_000.0).sin();
        (season * (1.0 + 0.3 * self.offsets[host]) + self.offsets[host] + self.states[host]).exp()
    }
}

/// Runs of a healthy scene that breach, of how many.
fn false_alarms(scene: &Scene, runs: u64, persistence: f64, sigma: f64) -> usize {
    (0..runs)
        .filter(|seed| {
            let mut hosts = Hosts::new(*seed, scene.hosts(), 0.15, persistence, sigma);
            scene
                .run(|host, bucket| gauge(0.1 * hosts.value(host, bucket)))
                .breached()
                .is_some()
        })
        .count()
}
