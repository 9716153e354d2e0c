//! Tests of the comparison as a whole, on simulated deployments.

use super::*;
use crate::{
    detect::{Cell, GroupKey, HostBook, Panel, Stat},
    event::{Interval, Kind, Labels, Unit},
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
    selects: Selects,
    /// Whether ids and names run the other way.
    is_reversed: bool,
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

fn gauge(value: f64) -> Option<Cell> {
    Some(Cell {
        value,
        min: value,
        max: value,
        events: 0.0,
        exposure: None,
    })
}

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
            selects: Selects::Metric,
            is_reversed: false,
        }
    }

    fn hosts(&self) -> usize {
        self.one_box + self.fleet
    }

    fn check(&self) -> Check {
        let series = |matchers: Vec<LabelMatcher>| {
            Selection::Series(SeriesSelection {
                selector: SeriesSelector { matchers },
                kind: None,
                per: None,
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
            grace_until,
            bake_min_until: grace_until,
            bake_until: grace_until + self.resolution.times(self.after),
            resolution: self.resolution,
            alpha: 0.01,
            weight: self.weight,
        };
        let mut book = HostBook::default();
        let mut ids: Vec<HostId> = (0..self.hosts())
            .map(|host| {
                let name = if self.is_reversed {
                    self.hosts() - host
                } else {
                    host
                };
                book.add(format!("h{name:04}").into(), start)
            })
            .collect();
        if self.is_reversed {
            ids.reverse();
        }
        let by_name = |mut hosts: Vec<HostId>, book: &HostBook| {
            hosts.sort_by_key(|host| book.name(*host).to_owned());
            hosts
        };
        let one_box = by_name(ids[..self.one_box].to_vec(), &book);
        let fleet = by_name(ids[self.one_box..].to_vec(), &book);
        let mut panel = Panel::new(self.resolution, 2_160);
        let groups: Vec<usize> = metrics
            .iter()
            .map(|metric| {
                let key = GroupKey {
                    labels: Labels::new([("__name__", *metric)]),
                    stat: Stat::Value,
                };
                panel.group_index(&key, self.kind, self.unit)
            })
            .collect();
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
            panel.clear_cells();
            for (metric, group) in groups.iter().enumerate() {
                for (host, id) in ids.iter().enumerate() {
                    if let Some(cell) = cell(metric, host, number - self.before) {
                        if panel.record(*group, *id, bucket, cell) {
                            book.moved(*id, bucket);
                        }
                        if self.selects == Selects::Logs {
                            book.heard_log(*id, bucket);
                        }
                    }
                }
            }
            if number >= self.before {
                let view = View {
                    bucket,
                    panel: &panel,
                    hosts: &book,
                    one_box: &one_box,
                    fleet: &fleet,
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

#[test]
fn healthy_deployments_are_rarely_failed_whatever_the_noise() {
    for (one_box, fleet, persistence, sigma, runs) in [
        (2, 20, 0.0, 0.10, 60),
        (2, 20, 0.95, 0.10, 60),
        (1, 12, 0.9, 0.20, 60),
        (1, 3, 0.9, 0.10, 60),
        (1, 5, 0.6, 0.10, 60),
    ] {
        let mut scene = Scene::new(one_box, fleet);
        scene.direction = Direction::Both;
        scene.after = 180;
        let failed = false_alarms(&scene, runs, persistence, sigma);
        assert!(
            failed <= 1,
            "{one_box} of {fleet}, {persistence}: {failed} of {runs}"
        );
    }
}

#[test]
fn a_harm_is_found_and_its_size_is_told() {
    for (one_box, fleet, factor, within) in [
        (2, 20, 2.0, 20),
        (2, 20, 1.3, 40),
        (1, 12, 2.0, 20),
        (1, 3, 2.0, 90),
        (1, 5, 2.0, 90),
    ] {
        let scene = Scene::new(one_box, fleet);
        for seed in 0..5 {
            let mut hosts = Hosts::new(seed, scene.hosts(), 0.1, 0.8, 0.05);
            let run = scene.run(|host, bucket| {
                let harm = if host < one_box && bucket >= 0 {
                    factor
                } else {
                    1.0
                };
                gauge(0.1 * harm * hosts.value(host, bucket))
            });
            let at = run.breached();
            assert!(
                at.is_some_and(|at| at - scene.grace <= within),
                "{one_box} of {fleet}, {factor}, {seed}: {at:?}"
            );
            let evidence = &run.last().evidence[0];
            let effect = evidence.effect.unwrap();
            assert!(
                (effect / (factor - 1.0) - 1.0).abs() < 0.5,
                "{one_box} of {fleet}: {effect} is not {}: {}",
                factor - 1.0,
                evidence.note
            );
            assert!(evidence.first_breach.is_some() && evidence.hosts.len() == one_box);
        }
    }
}

#[test]
fn a_bump_inside_the_grace_is_forgiven() {
    for (one_box, fleet) in [(2, 20), (1, 4)] {
        let mut scene = Scene::new(one_box, fleet);
        scene.grace = 30;
        let mut hosts = Hosts::new(7, scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run(|host, bucket| {
            let warming = host < one_box && (0..24).contains(&bucket);
            gauge(0.1 * if warming { 3.0 } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(run.breached(), None, "{one_box} of {fleet}");
        assert_eq!(run.first(CheckState::Warming), Some(0));
    }
}

#[test]
fn a_single_outlier_does_not_fail_a_deployment() {
    for (one_box, fleet) in [(2, 20), (1, 4)] {
        let scene = Scene::new(one_box, fleet);
        let mut hosts = Hosts::new(8, scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run(|host, bucket| {
            let is_spike = host < one_box && bucket == 60;
            gauge(0.1 * if is_spike { 50.0 } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(run.breached(), None, "{one_box} of {fleet}");
    }
}

#[test]
fn many_quiet_hosts_prove_that_there_is_no_harm() {
    let scene = Scene::new(2, 20);
    let mut hosts = Hosts::new(9, scene.hosts(), 0.1, 0.5, 0.03);
    let run = scene.run(|host, bucket| gauge(0.1 * hosts.value(host, bucket)));
    assert_eq!(run.last().state, CheckState::Ok, "{:?}", run.last());
    let evidence = &run.last().evidence[0];
    assert_eq!(evidence.basis, Basis::GaussianHosts);
    assert!(
        evidence
            .detectable
            .is_some_and(|detectable| (0.1..0.3).contains(&detectable))
    );
}

#[test]
fn a_fresh_one_box_is_judged_by_its_level() {
    for (factor, is_breach) in [(1.0, false), (1.3, false), (8.0, true)] {
        let mut scene = Scene::new(1, 4);
        scene.resolution = Span::from_seconds(60);
        (scene.before, scene.grace, scene.after) = (60, 2, 30);
        let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let value = hosts.value(host, bucket);
            if host == 0 && bucket < 1 {
                return None;
            }
            gauge(0.1 * value * if host == 0 { factor } else { 1.0 })
        });
        assert_eq!(
            run.breached().is_some(),
            is_breach,
            "{factor}: {:?}",
            run.last()
        );
        assert_eq!(run.last().evidence[0].basis, Basis::Model);
    }
}

#[test]
fn a_lost_success_share_is_found_on_a_fresh_host() {
    let mut scene = Scene::new(1, 2);
    (scene.metric, scene.unit) = ("in_success_pct", Unit::Percent);
    scene.direction = Direction::Down;
    scene.resolution = Span::from_seconds(60);
    (scene.before, scene.grace, scene.after) = (60, 2, 20);
    let mut noise = Noise::new(4);
    let run = scene.run(|host, bucket| {
        if host == 0 && bucket < 1 {
            return None;
        }
        gauge(if host == 0 { 80.0 } else { 99.9 } + 0.05 * noise.normal())
    });
    assert!(
        run.breached().is_some_and(|at| at <= 14),
        "{:?}",
        run.breached()
    );
    let evidence = &run.last().evidence[0];
    assert!(
        (evidence.effect.unwrap() + 0.199).abs() < 0.01,
        "{}",
        evidence.note
    );
}

#[test]
fn more_errors_than_the_share_of_requests_are_found() {
    for (one_box, factor, is_breach) in [
        (2, 1.0, false),
        (2, 8.0, true),
        (4, 1.0, false),
        (4, 8.0, true),
    ] {
        for seed in 0..8 {
            let mut scene = Scene::new(one_box, 20);
            (scene.metric, scene.kind, scene.unit) = ("errors", Kind::Counter, Unit::Count);
            let mut noise = Noise::new(seed);
            let run = scene.run(|host, bucket| {
                let harm = if host < one_box && bucket >= 0 {
                    factor
                } else {
                    1.0
                };
                events(noise.poisson(0.05 * harm), 10.0, Some(20.0))
            });
            assert_eq!(
                run.breached().is_some(),
                is_breach,
                "{one_box} {factor} {seed}: {:?}",
                run.last()
            );
            assert_eq!(run.last().evidence[0].basis, Basis::Model);
        }
    }
}

#[test]
fn one_sick_host_of_three_does_not_fail_the_deployment_for_its_errors() {
    let mut scene = Scene::new(3, 20);
    scene.selects = Selects::Logs;
    (scene.kind, scene.unit) = (Kind::Counter, Unit::Count);
    let mut noise = Noise::new(2);
    let run = scene.run(|host, bucket| {
        let sick = host == 1 && bucket >= 0;
        events(noise.poisson(if sick { 2.0 } else { 0.02 }), 10.0, None)
    });
    assert_eq!(run.breached(), None, "{:?}", run.last());
}

#[test]
fn less_traffic_by_plan_is_not_a_drop() {
    for (weight, is_breach) in [(0.5, false), (1.0, true)] {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.kind, scene.unit) = ("requests_total", Kind::Counter, Unit::Count);
        (scene.direction, scene.weight) = (Direction::Down, weight);
        let mut noise = Noise::new(11);
        let run = scene.run(|host, bucket| {
            let share = if host < 2 && bucket >= 0 { 0.5 } else { 1.0 };
            events(
                (1_000.0 * share * (0.05 * noise.normal()).exp()).round(),
                10.0,
                None,
            )
        });
        assert_eq!(
            run.breached().is_some(),
            is_breach,
            "{weight}: {:?}",
            run.last()
        );
    }
}

#[test]
fn a_wider_spread_at_the_same_level_is_found() {
    let mut scene = Scene::new(2, 20);
    scene.after = 400;
    let mut noise = Noise::new(12);
    let run = scene.run(|host, bucket| {
        let sigma = if host < 2 && bucket >= 0 { 0.09 } else { 0.03 };
        gauge(0.1 * (sigma * noise.normal()).exp())
    });
    assert!(run.breached().is_some(), "{:?}", run.last());
    assert!(
        run.last().evidence[0].note.contains("spreads"),
        "{}",
        run.last().evidence[0].note
    );
}

#[test]
fn a_metric_that_only_the_one_box_lost_is_no_data() {
    for (one_box, fleet) in [(2, 20), (1, 3)] {
        let mut scene = Scene::new(one_box, fleet);
        scene.selects = Selects::Everything;
        let mut hosts = Hosts::new(5, 2 * scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run_many(&["work_seconds", "queue_size"], |metric, host, bucket| {
            let value = hosts.value(host, bucket);
            let is_lost = metric == 1 && host == 0 && bucket >= 40;
            if is_lost { None } else { gauge(value) }
        });
        assert_eq!(run.last().state, CheckState::NoData, "{:?}", run.last());
        assert!(matches!(
            run.last().cause,
            Some(NoDataCause::Stopped { .. })
        ));
        let evidence = &run.last().evidence[0];
        assert_eq!(
            (evidence.metric.as_str(), evidence.hosts.len()),
            ("queue_size", 1)
        );
    }
}

#[test]
fn without_a_fleet_there_is_nothing_to_compare_with() {
    for (fleet, falls_silent) in [(0, false), (3, true)] {
        let scene = Scene::new(1, fleet);
        let mut hosts = Hosts::new(6, scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run(|host, bucket| {
            let value = hosts.value(host, bucket);
            let is_silent = falls_silent && host > 0 && bucket >= -30;
            if is_silent { None } else { gauge(value) }
        });
        assert_eq!(
            run.last().cause,
            Some(NoDataCause::NoFleet),
            "{:?}",
            run.last()
        );
        assert!(run.first(CheckState::Ok).is_none());
    }
}

#[test]
fn metrics_of_the_machine_inform_but_do_not_fail() {
    let mut scene = Scene::new(2, 20);
    scene.selects = Selects::Everything;
    scene.direction = Direction::Both;
    let mut hosts = Hosts::new(13, scene.hosts(), 0.1, 0.5, 0.03);
    let run = scene.run_many(&["node_load", "work_seconds"], |metric, host, bucket| {
        let harm = if metric == 0 && host < 2 && bucket >= 0 {
            4.0
        } else {
            1.0
        };
        gauge(harm * hosts.value(host, bucket))
    });
    assert_eq!(run.breached(), None);
    let notes: Vec<&str> = run
        .last()
        .evidence
        .iter()
        .map(|evidence| evidence.note.as_str())
        .collect();
    assert!(
        notes.iter().any(|note| note.contains("informs only")),
        "{notes:?}"
    );
}

#[test]
fn units_of_measure_and_names_of_hosts_do_not_matter() {
    for (one_box, fleet) in [(2, 20), (1, 4)] {
        let states = |factor: f64, is_reversed: bool| -> Vec<CheckState> {
            let mut scene = Scene::new(one_box, fleet);
            scene.is_reversed = is_reversed;
            let mut hosts = Hosts::new(14, scene.hosts(), 0.1, 0.8, 0.05);
            let run = scene.run(|host, bucket| {
                let harm = if host < one_box && bucket >= 60 {
                    1.5
                } else {
                    1.0
                };
                gauge(factor * harm * hosts.value(host, bucket))
            });
            run.findings
                .iter()
                .map(|(_, finding)| finding.state)
                .collect()
        };
        let plain = states(1.0, false);
        assert!(plain.contains(&CheckState::Breach));
        // Powers of two, so that single precision rounds alike.
        assert_eq!(plain, states(1_024.0, false));
        assert_eq!(plain, states(1.0, true));
    }
}

#[test]
fn values_that_stand_still_everywhere_are_no_data() {
    let scene = Scene::new(1, 4);
    let run = scene.run(|_, _| gauge(5.0));
    assert_eq!(run.last().cause, Some(NoDataCause::Lifeless));
}
