//! Pods that are replaced for ever do not fill the engine, and nobody sees that those of long ago are
//! forgotten.

use std::sync::Arc;

use crate::{
    engine::{Engine, Input, Output},
    event::{
        Batch, Begin, DeploymentEvent, End, KeyHash, Labels, LogRecord, METRIC_NAME, Point,
        SeriesBlock, SeriesMeta, Severity, Timestamp, Value,
    },
    gate::{Verdict, VerdictState},
    plan::Plan,
};

/// Seven generations of pods are more than the limit allows.
const PLAN: &str = r"
resolution: 10m
lateness: 0s
limits: {series_per_service: 10000}
checks:
  all: {metric: '*', bounds: {max: 1e12}}
  errors: {logs: {severity: ERROR}, bounds: {max: 1000/m}}
services:
  web:
    stages:
      - {name: onebox, bake: 1h, grace: 0s, checks: [all, errors]}
";

const PODS: usize = 30;
const METRICS: usize = 50;
/// How long a generation of pods lives, in buckets of ten minutes.
const LIFE: i64 = 36;

fn at(step: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + step * 600)
}

fn pod(generation: i64, number: usize) -> String {
    format!("web-{generation}-{number}")
}

/// What the pods of a generation send at a time, each generation with a version of its own.
fn sent(step: i64, generation: i64) -> Batch {
    sent_as(step, generation, generation)
}

fn sent_as(step: i64, generation: i64, version: i64) -> Batch {
    let mut batch = Batch::default();
    for number in 0..PODS {
        let host = pod(generation, number);
        for metric in 0..METRICS {
            batch.series.push(SeriesBlock {
                labels: Labels::new([
                    (METRIC_NAME, format!("metric_{metric}_total")),
                    ("host", host.clone()),
                    ("service", "web".to_owned()),
                    ("version", format!("v{version}")),
                ]),
                meta: SeriesMeta::default(),
                points: vec![Point {
                    at: at(step),
                    start: None,
                    value: Value::Number((step * 7) as f64),
                }],
            });
        }
        batch.logs.push(LogRecord {
            at: at(step),
            severity: Severity::INFO,
            body: "alive".to_owned(),
            attributes: Labels::new([("host", host), ("service", "web".to_owned())]),
            count: 1,
        });
    }
    batch
}

fn begin(step: i64, generation: i64, one_box: Vec<String>) -> Input<'static> {
    Input::Deployment(DeploymentEvent::Begin(Begin {
        at: at(step),
        deployment: format!("d{generation}"),
        service: "web".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: format!("v{generation}"),
        one_box,
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    }))
}

fn engine() -> Engine {
    engine_of(PLAN)
}

fn engine_of(plan: &str) -> Engine {
    let plan = Plan::parse(plan).unwrap_or_else(|faults| panic!("{faults}"));
    Engine::with_keys(Arc::new(plan), KeyHash::new(7))
}

/// Runs generations of pods, each with a deployment, after every sixth step by way of `again`.
fn run(generations: i64, again: impl Fn(Engine) -> Engine) -> (Engine, Vec<Verdict>, [u64; 2]) {
    let mut engine = engine();
    let mut outputs = Vec::new();
    let mut most = [0; 2];
    for step in 0..generations * LIFE {
        let generation = step / LIFE;
        engine.step(Input::Batch(&sent(step, generation)), &mut outputs);
        engine.step(Input::Tick(at(step + 1)), &mut outputs);
        if step % LIFE == 10 {
            engine.step(begin(step + 1, generation, Vec::new()), &mut outputs);
        }
        if step % 6 == 5 {
            engine = again(engine);
        }
        let counters = engine.reducer_counters();
        for (most, now) in most
            .iter_mut()
            .zip([counters.selected_series, counters.streams])
        {
            *most = now.max(*most);
        }
    }
    let verdicts = outputs.into_iter().filter_map(|output| match output {
        Output::Verdict(verdict) => Some(*verdict),
        Output::Refused(refusal) => panic!("{refusal:?}"),
        Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) => None,
    });
    (engine, verdicts.collect(), most)
}

#[test]
fn generations_of_pods_do_not_fill_the_engine() {
    let (mut engine, verdicts, most) = run(24, |engine| engine);
    for (most, per_pod) in most.into_iter().zip([METRICS, 1]) {
        let per_generation = (PODS * per_pod) as u64;
        assert!(
            (4 * per_generation..=6 * per_generation).contains(&most),
            "at most {most} series or log streams at a time"
        );
    }
    let passed = verdicts
        .iter()
        .filter(|verdict| verdict.verdict == VerdictState::Pass);
    assert_eq!(passed.count(), 24);
    let known = engine.hosts("web", "onebox", None);
    assert!(known.len() <= 6 * PODS, "{} hosts are known", known.len());

    // One of long ago that comes again is one of the hosts, with nothing of its past.
    let step = 24 * LIFE;
    for step in step..step + 2 {
        engine.step(Input::Batch(&sent(step, 2)), &mut Vec::new());
        engine.step(Input::Tick(at(step + 1)), &mut Vec::new());
    }
    let known = engine.hosts("web", "onebox", None);
    let back = known.iter().find(|host| *host.name == *pod(2, 0));
    let back = back.map(|host| (host.first_data, host.last_data));
    assert_eq!(back, Some((at(step), at(step + 2))));
    assert_eq!(
        known
            .iter()
            .filter(|host| host.name.starts_with("web-2-"))
            .count(),
        PODS
    );
}

#[test]
fn a_core_that_is_saved_and_restored_forgets_alike() {
    let (_, verdicts, most) = run(8, |engine| engine);
    let (_, resumed, most_resumed) = run(8, |engine| {
        let plan = Arc::clone(engine.plan());
        Engine::restore(plan, engine.keys(), &engine.save()).expect("what was saved fits")
    });
    assert_eq!(resumed, verdicts);
    // After a restart, streams are counted when they come again.
    assert_eq!(most_resumed[0], most[0]);
}

#[test]
fn what_an_open_gate_refers_to_stays() {
    let mut engine = engine();
    let mut outputs = Vec::new();
    // The first pods are replaced after some hours; a gate that waits for a host that never comes is open.
    for step in 0..3 * 144 {
        let generation = i64::from(LIFE <= step);
        engine.step(Input::Batch(&sent(step, generation)), &mut outputs);
        engine.step(Input::Tick(at(step + 1)), &mut outputs);
        if step == 2 {
            engine.step(begin(3, 1, vec![pod(9, 0)]), &mut outputs);
        }
    }
    let names = |engine: &Engine| -> Vec<String> {
        let known = engine.hosts("web", "onebox", None);
        known.iter().map(|host| host.name.to_string()).collect()
    };
    assert_eq!(
        engine.verdict("d1").map(|verdict| verdict.verdict),
        Some(VerdictState::NoData)
    );
    assert_eq!(names(&engine).len(), 2 * PODS);

    let end = End {
        at: at(3 * 144),
        deployment: "d1".to_owned(),
    };
    engine.step(Input::Deployment(DeploymentEvent::End(end)), &mut outputs);
    for step in 3 * 144..3 * 144 + 12 {
        engine.step(Input::Batch(&sent(step, 1)), &mut outputs);
        engine.step(Input::Tick(at(step + 1)), &mut outputs);
    }
    let names = names(&engine);
    assert!(
        names.len() == PODS && names.contains(&pod(1, 0)),
        "{names:?}"
    );
}

#[test]
fn hosts_of_an_earlier_deployment_of_a_version_are_not_judged_with_the_next() {
    let mut engine = engine();
    let mut outputs = Vec::new();
    for step in 0..3 * LIFE {
        // Back to the first version, on new pods.
        let batch = sent_as(step, step / LIFE, step / LIFE % 2);
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(step + 1)), &mut outputs);
        if step == 2 * LIFE + 3 {
            engine.step(begin(step + 1, 0, Vec::new()), &mut outputs);
        }
    }
    let verdict = engine.verdict("d0").expect("it has begun");
    assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
}

#[test]
fn what_was_refused_is_taken_when_there_is_room_and_blinds_only_who_was_there() {
    // Room for the first pods and for hardly any of the second.
    let mut engine = engine_of(&PLAN.replace("10000", "1600"));
    let mut outputs = Vec::new();
    for step in 0..6 * LIFE {
        engine.step(
            Input::Batch(&sent(step, (step / LIFE).min(1))),
            &mut outputs,
        );
        engine.step(Input::Tick(at(step + 1)), &mut outputs);
        match step {
            40 => engine.step(begin(step + 1, 1, vec![pod(1, 0)]), &mut outputs),
            // Until what was refused has had the time to come again, five buckets, nobody knows whether it is.
            196 => engine.step(begin(step + 1, 2, vec![pod(1, 0)]), &mut outputs),
            _ => {}
        }
    }
    let verdicts = ["d1", "d2"].map(|name| engine.verdict(name).expect("it has begun"));
    let states = verdicts.each_ref().map(|verdict| verdict.verdict);
    assert_eq!(
        states,
        [VerdictState::NoData, VerdictState::Pass],
        "{verdicts:?}"
    );
    assert!(
        verdicts[0].reasons[0].contains("series_over_limit"),
        "{verdicts:?}"
    );
}

/// What hosts with a version and a load send in a step.
fn loads(step: i64, hosts: &[(&str, &str, f64)]) -> Batch {
    let series = hosts.iter().map(|(host, version, load)| SeriesBlock {
        labels: Labels::new([
            (METRIC_NAME, "load"),
            ("host", host),
            ("service", "web"),
            ("version", version),
        ]),
        meta: SeriesMeta::default(),
        points: vec![Point {
            at: at(step),
            start: None,
            value: Value::Number(load + (step % 2) as f64),
        }],
    });
    Batch {
        series: series.collect(),
        ..Batch::default()
    }
}

#[test]
fn a_host_that_was_gone_is_judged_whenever_it_comes_back() {
    let plan = PLAN
        .replace("1e12", "50")
        .replace("lateness: 0s", "lateness: 10m");
    // The hosts are looked through at step 162, when the sample of that step waits for its bucket to close:
    // those heard before step 17 are gone. Their series are, but for those heard in step 12 or later.
    for (last, back) in [(11, 162), (11, 163), (14, 162), (14, 170)] {
        for is_restarted in [false, true] {
            let mut engine = engine_of(&plan);
            let mut outputs = Vec::new();
            for step in 0..190 {
                let mut hosts = vec![("h1", "v1", 10.0), ("h3", "v1", 11.0)];
                let version = if step < back { "v1" } else { "v2" };
                hosts.push(("h4", version, 12.0));
                if step < 10 {
                    hosts.push(("h9", "v1", 13.0));
                }
                if step <= last {
                    hosts.push(("h2", "v1", 14.0));
                }
                if back <= step {
                    hosts.push(("h2", "v2", 99.0));
                }
                engine.step(Input::Batch(&loads(step, &hosts)), &mut outputs);
                engine.step(Input::Tick(at(step + 1)), &mut outputs);
                if step == 175 {
                    engine.step(begin(step + 1, 2, Vec::new()), &mut outputs);
                }
                if is_restarted && step % 5 == 0 {
                    let plan = Arc::clone(engine.plan());
                    engine = Engine::restore(plan, engine.keys(), &engine.save()).unwrap();
                    // Of open buckets a state holds nothing: they are read again.
                    engine.step(Input::Batch(&loads(step, &hosts)), &mut outputs);
                }
            }
            let case = format!("{last} {back} {is_restarted}");
            let known = engine.hosts("web", "onebox", None);
            let found = known.iter().find(|host| *host.name == *"h2");
            let first = found.map(|host| host.first_data);
            assert_eq!(first, Some(at(back)), "{case}");
            let verdict = engine.verdict("d2").expect("it has begun");
            assert_eq!(verdict.verdict, VerdictState::Fail, "{case}");
            assert!(verdict.reasons[0].contains("h2"), "{verdict:?}");
        }
    }
}
