//! What is a birth of a host's process, and what of it fails a deployment.

use std::sync::Arc;

use super::*;
use crate::{
    engine::{Engine, Input, Output, test_support::at},
    event::{
        Batch, Begin, DeploymentEvent, METRIC_NAME, Point, SeriesBlock, SeriesMeta, Temporality,
        Unit, Value,
    },
    gate::{Verdict, VerdictState},
    plan::Plan,
};

/// Seconds between two scrapes, of the past, of the grace, and of the bake with it.
const SCRAPE: i64 = 20;
const BEFORE: i64 = 3_600;
const GRACE: i64 = 120;
const BAKE: i64 = 3_600;

/// What a host tells in a scrape: metric, value, and the start in seconds if it tells one.
type Told = Vec<(&'static str, f64, Option<i64>)>;

/// By host, when it began anew; what a host tells at a second.
type Births<'a> = &'a dyn Fn(usize) -> Vec<i64>;
type Tell<'a> = &'a dyn Fn(i64) -> Told;

/// What a run ended with.
struct Run {
    verdict: Verdict,
    /// By host, when it began anew.
    births: Vec<Vec<Timestamp>>,
}

impl Run {
    /// Runs a deployment on the first of so many hosts.
    fn of(one_box: usize, hosts: usize, tell: impl Fn(usize, i64) -> Told) -> Self {
        let text = format!(
            "resolution: 10s\nlateness: 0s\nchecks: {{all: {{metric: '*', compare: {{}}}}}}\nservices:\n  web:\n    \
             match: {{service: web}}\n    stages: [{{name: onebox, bake: {BAKE}s, grace: {GRACE}s, checks: [all]}}]\n",
        );
        let plan = Plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let mut engine = Engine::new(Arc::new(plan));
        let mut outputs: Vec<Output> = Vec::new();
        let name = |host: usize| format!("h{host:02}");
        for second in (-BEFORE..=BAKE + SCRAPE).step_by(SCRAPE as usize) {
            if second == 0 {
                let begin = Begin {
                    fleet: (one_box..hosts).map(name).collect(),
                    one_box: (0..one_box).map(name).collect(),
                    ..crate::engine::test_support::beginning("d", at(0), &[])
                };
                let event = DeploymentEvent::Begin(begin);
                engine.step(Input::Deployment(event), &mut outputs);
            }
            let mut batch = Batch::default();
            for host in 0..hosts {
                let told = tell(host, second).into_iter();
                batch
                    .series
                    .extend(told.map(|told| series(&name(host), second, told)));
            }
            engine.step(Input::Batch(&batch), &mut outputs);
            engine.step(Input::Tick(at(second + 1)), &mut outputs);
        }
        let verdicts = outputs.into_iter().filter_map(|output| match output {
            Output::Verdict(verdict) => Some(*verdict),
            Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) | Output::Refused(_) => {
                None
            }
        });
        let service = &engine.world.directory.services[0];
        let births = (0..hosts).map(|host| {
            let id = service.by_name[name(host).as_str()][0];
            service.hosts.get(id).births.clone()
        });
        Self {
            verdict: verdicts.last().expect("it has a verdict"),
            births: births.collect(),
        }
    }
}

fn series(
    host: &str,
    second: i64,
    (metric, value, start): (&str, f64, Option<i64>),
) -> SeriesBlock {
    let is_gauge = metric.contains("start_time") || metric == "level";
    SeriesBlock {
        labels: Labels::new([(METRIC_NAME, metric), ("host", host), ("service", "web")]),
        meta: SeriesMeta {
            kind: if is_gauge { Kind::Gauge } else { Kind::Counter },
            temporality: Temporality::Cumulative,
            unit: Unit::Unknown,
        },
        points: vec![Point {
            at: at(second),
            start: start.map(at),
            value: Value::Number(value),
        }],
    }
}

/// What a process counts that has lived for so many seconds on a host.
fn counts(host: usize, age: i64) -> Told {
    let age = age as f64 * (1.0 + 0.01 * host as f64);
    vec![
        ("requests_total", 20.0 * age, None),
        ("cpu_seconds_total", 0.2 * age, None),
        ("sent_bytes_total", 3e4 * age, None),
    ]
}

/// The age of what was begun at these seconds, or long ago.
fn age(second: i64, births: &[i64]) -> i64 {
    let latest = births.iter().rfind(|birth| **birth <= second);
    second - latest.unwrap_or(&-100_000)
}

/// A process that is begun anew with so many seconds between, as often as it is said.
fn looping(from: i64, apart: i64, times: i64) -> Vec<i64> {
    (0..times).map(|time| from + apart * time).collect()
}

fn note(run: &Run) -> String {
    run.verdict.reasons.join("; ")
}

#[test]
fn a_crash_loop_fails_beside_many_few_and_one() {
    for (fleet, births) in [(12, 5), (7, 5), (3, 5), (2, 5), (1, 5)] {
        let loops = looping(610, 310, births);
        let run = Run::of(1, 1 + fleet, |host, second| {
            let births: &[i64] = if host == 0 { &loops } else { &[] };
            counts(host, age(second, births))
        });
        assert_eq!(run.births[0].len(), births as usize, "{fleet}");
        assert_eq!(
            run.verdict.verdict,
            VerdictState::Fail,
            "{fleet}: {}",
            note(&run)
        );
        let said = note(&run);
        assert!(
            said.contains("all: process restarted") && said.contains("on h00"),
            "{said}"
        );
    }
}

#[test]
fn three_births_withhold_the_pass_and_one_does_not() {
    for (births, expected) in [
        (0, VerdictState::Pass),
        (1, VerdictState::Pass),
        (3, VerdictState::NoData),
    ] {
        let loops = looping(610, 610, births);
        let run = Run::of(1, 8, |host, second| {
            let births: &[i64] = if host == 0 { &loops } else { &[] };
            counts(host, age(second, births))
        });
        assert_eq!(run.verdict.verdict, expected, "{births}: {}", note(&run));
    }
}

#[test]
fn what_the_deployment_brings_and_what_all_hosts_do_is_no_harm() {
    // Twice within the grace; a push to everyone, five times; recycled each ten minutes, always; drained once.
    let begun = |_: usize| vec![5, 65];
    let pushed = |_: usize| looping(700, 300, 5);
    let recycled = |host: usize| looping(-3_500 + 37 * host as i64, 600, 12);
    let drained = |host: usize| if host == 0 { vec![1_500] } else { Vec::new() };
    let each_once = |host: usize| if host < 3 { vec![1_500] } else { Vec::new() };
    let all: [(&str, usize, Births<'_>); 5] = [
        ("begun", 1, &|host| {
            if host == 0 { begun(host) } else { Vec::new() }
        }),
        ("pushed", 1, &pushed),
        ("recycled", 1, &recycled),
        ("drained", 1, &drained),
        ("each once", 3, &each_once),
    ];
    for (name, one_box, births) in all {
        for fleet in [2, 7] {
            let run = Run::of(one_box, one_box + fleet, |host, second| {
                counts(host, age(second, &births(host)))
            });
            let told = note(&run);
            assert!(!told.contains("process"), "{name} {fleet}: {told}");
            assert_eq!(
                run.verdict.verdict,
                VerdictState::Pass,
                "{name} {fleet}: {told}"
            );
        }
    }
}

#[test]
fn one_host_of_three_that_loops_is_no_pass_and_no_failure() {
    let loops = looping(610, 310, 7);
    let run = Run::of(3, 11, |host, second| {
        let births: &[i64] = if host == 0 { &loops } else { &[] };
        counts(host, age(second, births))
    });
    assert_eq!(run.verdict.verdict, VerdictState::NoData, "{}", note(&run));
    assert!(note(&run).contains("h00 alone"), "{}", note(&run));
    // Two of them are the version.
    let run = Run::of(3, 11, |host, second| {
        let births: &[i64] = if host < 2 { &loops } else { &[] };
        counts(host, age(second, births))
    });
    assert_eq!(run.verdict.verdict, VerdictState::Fail, "{}", note(&run));
}

#[test]
fn a_fleet_host_that_loops_as_well_is_no_proof_either_way() {
    let loops = looping(610, 310, 7);
    let run = Run::of(1, 4, |host, second| {
        let births: &[i64] = if host < 2 { &loops } else { &[] };
        counts(host, age(second, births))
    });
    assert_eq!(run.verdict.verdict, VerdictState::NoData, "{}", note(&run));
    assert!(note(&run).contains("h01 of the fleet"), "{}", note(&run));
}

/// What falls and is no birth, and what is one, by what a single host tells in an hour.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of what falls")]
fn a_birth_is_of_most_counts_at_once() {
    let loops = looping(600, 300, 6);
    let pseudo = |second: i64| (second / SCRAPE).wrapping_mul(2_654_435_761) >> 7 & 1;
    let all: [(&str, usize, Tell<'_>); 11] = [
        ("a loop", 6, &|second| counts(0, age(second, &loops))),
        ("one that falls alone", 0, &|second| {
            let mut told = counts(0, age(second, &[]));
            told[0].1 = 20.0 * age(second, &loops) as f64;
            told
        }),
        ("a sum of three of which one goes", 0, &|second| {
            let part = if age(second, &loops) % 300 < 150 && 600 < second {
                0.67
            } else {
                1.0
            };
            let told = counts(0, age(second, &[])).into_iter();
            told.map(|(name, value, start)| (name, part * value, start))
                .collect()
        }),
        ("a count of 32 bits that wraps", 0, &|second| {
            vec![(
                "octets_total",
                (second + 5_000) as f64 * 2e7 % 4_294_967_296.0,
                None,
            )]
        }),
        ("two replicas in turns", 0, &|second| {
            let other = 0 < second && second / SCRAPE % 2 == 0;
            counts(
                0,
                if other {
                    second + 300
                } else {
                    age(second, &[])
                },
            )
        }),
        ("two replicas as it comes", 0, &|second| {
            let other = 0 < second && pseudo(second) == 0;
            counts(
                0,
                if other {
                    second + 300
                } else {
                    age(second, &[])
                },
            )
        }),
        ("a start that is told and moves", 6, &|second| {
            let age = age(second, &loops);
            vec![("requests_total", 20.0 * age as f64, Some(second - age))]
        }),
        ("a start that is told and stays", 0, &|second| {
            vec![(
                "requests_total",
                20.0 * age(second, &loops) as f64,
                Some(-100_000),
            )]
        }),
        ("starts of two replicas", 0, &|second| {
            let start = if second / SCRAPE % 2 == 0 {
                -50_000
            } else {
                -90_000
            };
            vec![(
                "requests_total",
                20.0 * (second - start) as f64,
                Some(start),
            )]
        }),
        ("a start time", 6, &|second| {
            let start = at(second - age(second, &loops)).seconds_f64();
            vec![
                ("process_start_time_seconds", start, None),
                ("level", second as f64, None),
            ]
        }),
        ("start times of two replicas", 0, &|second| {
            let start = if second / SCRAPE % 2 == 0 {
                -50_000
            } else {
                -90_000
            };
            vec![
                ("process_start_time_seconds", at(start).seconds_f64(), None),
                ("level", second as f64, None),
            ]
        }),
    ];
    for (name, births, tell) in all {
        let run = Run::of(1, 1, |_, second| tell(second));
        assert_eq!(run.births[0].len(), births, "{name}: {:?}", run.births[0]);
    }
}

#[test]
fn restarts_that_are_counted_from_outside_are_births_too_and_count_once() {
    let loops = looping(610, 310, 6);
    for has_counts in [false, true] {
        let run = Run::of(1, 8, |host, second| {
            let births: &[i64] = if host == 0 { &loops } else { &[] };
            // What watches is late by some seconds.
            let restarts = births.iter().filter(|birth| **birth + 50 <= second);
            let restarts = restarts.count() as f64;
            let mut told = vec![("kube_pod_container_status_restarts_total", restarts, None)];
            if has_counts {
                told.extend(counts(host, age(second, births)));
            }
            told.push(("level", (second + host as i64) as f64, None));
            told
        });
        assert_eq!(run.births[0].len(), 6, "{has_counts}: {:?}", run.births[0]);
        assert_eq!(run.verdict.verdict, VerdictState::Fail, "{}", note(&run));
    }
}
