//! Whom a deployment means, by what it names and by what the labels tell.

use std::sync::Arc;

use crate::{
    engine::{Engine, Input},
    event::{
        Batch, Begin, DeploymentEvent, KeyHash, Labels, LogRecord, METRIC_NAME, Point, SeriesBlock,
        SeriesMeta, Severity, Timestamp, Value,
    },
    gate::{Verdict, VerdictState},
    plan::Plan,
};

const PLAN: &str = r"
resolution: 1s
lateness: 0s
checks:
  cpu: {metric: cpu, bounds: {max: 90%}}
  beside: {metric: cpu, compare: {tolerance: 50%}}
  errors: {logs: {severity: ERROR}, bounds: {max: 1000/m}}
  up: {metric: cpu, absent: 4s}
services:
  shop:
    stages:
      - {name: onebox, regions: [eu, us], bake: 1m, grace: 5s, checks: [cpu]}
      - {name: beta, match: {env: dev}, bake: 1m, grace: 5s, checks: [cpu]}
      - {name: beside, regions: [eu, us], bake: 2m, grace: 5s, checks: [beside]}
      - {name: logs, match: {env: dev}, bake: 1m, grace: 5s, checks: [errors]}
      - {name: everyone, bake: 1m, grace: 10s, checks: [up, cpu]}
      - {name: bounds, bake: 1m, grace: 10s, checks: [cpu]}
";

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + second)
}

/// Whose samples come in which seconds: `h1 region=eu env=prod sick`.
type Told = (&'static str, std::ops::Range<i64>);

/// What a deployment says in the end; restored from its own bytes every 20 seconds if so asked.
fn verdict(hosts: &[Told], begin: &str, is_restarted: bool) -> Verdict {
    let plan = Arc::new(Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}")));
    let mut engine = Engine::new(Arc::clone(&plan));
    let mut outputs = Vec::new();
    for second in 0..160 {
        let mut batch = Batch::default();
        for (host, seconds) in hosts {
            let mut words = host.split(' ');
            let mut labels = vec![("service", "shop"), ("host", words.next().unwrap())];
            let is_sick = host.ends_with("sick");
            labels.extend(words.filter_map(|word| word.split_once('=')));
            if !seconds.contains(&second) {
                continue;
            }
            batch.logs.push(LogRecord {
                at: at(second),
                severity: Severity::ERROR,
                body: "no".to_owned(),
                attributes: Labels::new(labels.clone()),
                count: 1,
            });
            labels.push((METRIC_NAME, "cpu"));
            batch.series.push(SeriesBlock {
                labels: Labels::new(labels),
                meta: SeriesMeta::default(),
                points: vec![Point {
                    at: at(second),
                    start: None,
                    value: Value::Number(
                        if is_sick { 0.95 } else { 0.5 } + (second * 7 % 5) as f64 / 100.0,
                    ),
                }],
            });
        }
        if second == 20 {
            let event = DeploymentEvent::Begin(read(begin));
            engine.step(Input::Deployment(event), &mut outputs);
        }
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(second + 1)), &mut outputs);
        if is_restarted && second % 20 == 0 {
            let bytes = engine.save();
            engine = Engine::restore(Arc::clone(&plan), KeyHash::new(0), &bytes).unwrap();
        }
    }
    engine.verdict("d").unwrap()
}

/// `stage/region hosts of the one-box / hosts of the fleet`.
fn read(begin: &str) -> Begin {
    let (place, hosts) = begin.split_once(' ').unwrap();
    let (stage, region) = place.split_once('/').unwrap_or((place, ""));
    let (one_box, fleet) = hosts.split_once('/').unwrap_or((hosts, ""));
    let names = |names: &str| names.split_whitespace().map(str::to_owned).collect();
    Begin {
        at: at(20),
        deployment: "d".to_owned(),
        service: "shop".to_owned(),
        stage: stage.to_owned(),
        region: Some(region.to_owned()).filter(|region| !region.is_empty()),
        version: "v2".to_owned(),
        one_box: names(one_box),
        fleet: names(fleet),
        weight: 1.0,
        hotfix: None,
    }
}

fn check(hosts: &[Told], begin: &str, expected: VerdictState, reason: &str) {
    for is_restarted in [false, true] {
        let verdict = verdict(hosts, begin, is_restarted);
        let case = format!("{hosts:?}, {begin}, {is_restarted}: {:?}", verdict.reasons);
        assert_eq!(verdict.verdict, expected, "{case}");
        let mut reasons = verdict.reasons.iter();
        assert!(reasons.any(|told| told.contains(reason)), "{case}");
    }
}

const ALWAYS: std::ops::Range<i64> = 0..160;

#[test]
fn a_named_host_of_another_region_proves_nothing() {
    use VerdictState::{NoData, Pass};
    let (eu, us, unknown) = ("h1 region=eu", "h2 region=us", "h3");
    let all = [(eu, ALWAYS), (us, ALWAYS), (unknown, ALWAYS)];
    check(&all, "onebox/us h1", NoData, "h1 is in eu, not in us");
    check(&all, "onebox/us h1 h2", NoData, "h1 is in eu, not in us");
    check(&all, "onebox/us h2", Pass, "covered and in range: cpu");
    check(&all, "onebox/us h3", Pass, "covered and in range: cpu");
    // One series of it may be told by somebody who is elsewhere.
    let probed = [(eu, ALWAYS), ("h1 region=us", ALWAYS)];
    check(&probed, "onebox/us h1", Pass, "covered and in range: cpu");
    // It was not heard of when the deployment began.
    let late = [(eu, 22..160)];
    check(&late, "onebox/us h1", NoData, "h1 is in eu, not in us");
    check(&late, "onebox/eu h1", Pass, "covered and in range: cpu");
}

#[test]
fn a_named_host_of_another_stage_proves_nothing() {
    use VerdictState::{NoData, Pass};
    let all = [
        ("h1 env=prod", ALWAYS),
        ("h2 env=dev", ALWAYS),
        ("h3", ALWAYS),
    ];
    for (stage, check_of_it) in [("beta", "cpu"), ("logs", "errors")] {
        let covered = format!("covered and in range: {check_of_it}");
        let other = "h1 is not of the stage: env is prod";
        check(&all, &format!("{stage} h1"), NoData, other);
        check(&all, &format!("{stage} h2 h1"), NoData, other);
        check(&all, &format!("{stage} h2"), Pass, &covered);
        check(&all, &format!("{stage} h3"), Pass, &covered);
    }
    // It is of the stage from the deployment on.
    let relabelled = [("h1 env=prod", 0..22), ("h1 env=dev", 22..160)];
    check(&relabelled, "beta h1", Pass, "covered and in range: cpu");
}

#[test]
fn hosts_of_one_name_are_told_apart_by_region_and_by_what_stages_ask_for() {
    use VerdictState::{Fail, NoData, Pass};
    let covered = "covered and in range: cpu";
    for (sick, well, place, other) in [
        (
            "h1 region=eu sick",
            "h1 region=us",
            "onebox/eu",
            "onebox/us",
        ),
        (
            "h1 region=us sick",
            "h1 region=eu",
            "onebox/us",
            "onebox/eu",
        ),
    ] {
        let all = [(sick, ALWAYS), (well, ALWAYS)];
        let shown = format!("on h1 ({})", &place[7..]);
        check(&all, &format!("{place} h1"), Fail, &shown);
        check(&all, &format!("{other} h1"), Pass, covered);
    }
    for (dev, prod, expected, reason) in [
        ("h1 env=dev sick", "h1 env=prod", Fail, "on h1 (dev)"),
        ("h1 env=dev", "h1 env=prod sick", Pass, covered),
    ] {
        check(
            &[(dev, ALWAYS), (prod, ALWAYS)],
            "beta h1",
            expected,
            reason,
        );
    }
    let two = [("h1 region=eu", ALWAYS), ("h1 region=us", 10..160)];
    let which = "h1 is 2 hosts (eu and us), and the deployment does not tell which";
    check(&two, "bounds h1", NoData, which);
    // What tells no region is of the only host of its name, and of none where there are two.
    let untold = ("h1", ALWAYS);
    let only = [two[0].clone(), untold.clone(), ("h2 region=us", ALWAYS)];
    check(&only, "onebox/eu h1", Pass, covered);
    let [first, second] = two;
    for order in [
        [untold.clone(), first.clone(), second.clone()],
        [first, second, untold],
    ] {
        let unclear =
            "h1 is 2 hosts (eu and us), and some of what the check selects does not tell of which";
        check(&order, "onebox/us h1", NoData, unclear);
    }
}

#[test]
fn a_named_fleet_of_another_region_is_not_compared_with() {
    let all = [
        ("c region=us", ALWAYS),
        ("f1 region=us", ALWAYS),
        ("f2 region=us", ALWAYS),
        ("f3 region=us", ALWAYS),
        ("e1 region=eu", ALWAYS),
        ("e2 region=eu", ALWAYS),
        ("e3 region=eu", ALWAYS),
    ];
    let none = "beside: no fleet is left to compare with: e1 is in eu, not in us; e2 is in eu";
    check(&all, "beside/us c/e1 e2 e3", VerdictState::NoData, none);
    let compared = verdict(&all, "beside/us c/f1 f2 f3", false);
    assert_eq!(compared.verdict, VerdictState::Pass);
    let with_others = verdict(&all, "beside/us c/f1 f2 f3 e1 e2 e3", false);
    assert_eq!(with_others, compared);
}

#[test]
fn a_host_that_goes_within_the_grace_is_absent_unless_others_come() {
    use VerdictState::{NoData, Pass};
    let gone = "h2 is silent since 2026-03-01T10:00:25Z";
    let covered = "covered and in range: up, cpu";
    let stays = ("h1", ALWAYS);
    check(&[stays.clone(), ("h2", 0..25)], "everyone ", NoData, gone);
    // What does not ask whether anything is absent says nothing of it.
    let covered_cpu = "covered and in range: cpu";
    check(
        &[stays.clone(), ("h2", 0..25)],
        "bounds ",
        Pass,
        covered_cpu,
    );
    for replaced in [
        // One pod for another, earlier or later, or all of them.
        vec![stays.clone(), ("h2", 0..25), ("h3", 23..160)],
        vec![stays.clone(), ("h2", 0..25), ("h3", 50..160)],
        vec![("h1", 0..26), ("h2", 0..25), ("h3", 24..160)],
        // It restarts, or was gone before.
        vec![stays.clone(), ("h2", 0..25), ("h2", 40..160)],
        vec![stays, ("h2", 0..15)],
    ] {
        check(&replaced, "everyone ", Pass, covered);
    }
}

#[test]
fn a_phrase_names_a_few_of_many_hosts() {
    let all: Vec<Told> = [
        "h1 region=eu",
        "h2 region=eu",
        "h3 region=eu",
        "h4 region=eu",
        "h5 region=eu",
    ]
    .map(|host| (host, ALWAYS))
    .to_vec();
    let told = "h3 is in eu, not in us; and 2 more hosts";
    check(&all, "onebox/us h1 h2 h3 h4 h5", VerdictState::NoData, told);
}

#[test]
fn phrases_stay_short_where_very_many_hosts_are_named() {
    let names: Vec<String> = (0..2_000).map(|host| format!("host-{host:05}")).collect();
    let hosts = names.join(" ");
    let plan = Arc::new(Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}")));
    let mut engine = Engine::new(plan);
    let begin = read(&format!("onebox/us {hosts}"));
    engine.step(
        Input::Deployment(DeploymentEvent::Begin(begin)),
        &mut Vec::new(),
    );
    for (second, state) in [(22, VerdictState::Pending), (400, VerdictState::NoData)] {
        engine.step(Input::Tick(at(second)), &mut Vec::new());
        let verdict = engine.verdict("d").unwrap();
        assert_eq!(verdict.verdict, state, "{:?}", verdict.reasons);
        let notes = verdict.checks.iter().map(|check| &check.note);
        for phrase in notes.chain(&verdict.reasons) {
            assert!(phrase.len() < 1_200, "{phrase}");
        }
    }
}

#[test]
fn whom_a_deployment_names_as_fleet_is_not_judged_where_there_are_others() {
    use VerdictState::{Fail, Pass};
    let all = [
        ("h1", ALWAYS),
        ("h2 sick", ALWAYS),
        ("h3", ALWAYS),
        ("h4", ALWAYS),
    ];
    check(&all, "bounds /", Fail, "h2");
    check(&all, "bounds / h2", Pass, "covered and in range: cpu");
    check(&all, "bounds / h1 h3", Fail, "h2");
    // So short a past proves nothing.
    check(
        &all,
        "beside/eu / h1 h3 h4",
        Pass,
        "cpu +85 % above the fleet",
    );
    // Where nobody else is left, all are judged.
    check(&all, "bounds / h1 h2 h3 h4", Fail, "h2");
}

#[test]
fn the_shares_of_a_rollout_are_those_that_its_earlier_steps_told_of_the_same_hosts() {
    let plan = Arc::new(Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}")));
    let mut engine = Engine::new(plan);
    let step = |second: i64, deployment: &str, text: &str, weight: f64| Begin {
        at: at(second),
        deployment: deployment.to_owned(),
        weight,
        ..read(text)
    };
    let mut outputs = Vec::new();
    for begin in [
        step(0, "d0", "onebox/us h1", 1.0),
        step(10, "d1", "onebox/us h1 h2", 0.1),
        step(20, "d2", "onebox/us h2", 0.25),
        step(20, "d3", "onebox/eu h1", 0.01),
        step(20, "d4", "onebox/us h7", 0.02),
        Begin {
            version: "v1".to_owned(),
            ..step(20, "d5", "onebox/us h1", 0.03)
        },
    ] {
        let event = Input::Deployment(DeploymentEvent::Begin(begin));
        engine.step(event, &mut outputs);
    }
    for (second, hosts, expected) in [
        (30, "onebox/us h2 h3", Some((0.1, 0.25))),
        (30, "onebox/us h1", Some((0.1, 1.0))),
        (15, "onebox/us h2", Some((0.1, 0.1))),
        (5, "onebox/us h1", None),
        (30, "onebox/us h9", None),
        (30, "onebox/us ", None),
    ] {
        let begin = step(second, "d9", hosts, 0.5);
        assert_eq!(engine.shares_before(&begin), expected, "{second} {hosts}");
    }
}
