//! A change of the configuration: open gates finish under theirs, new ones go by the new one, and what
//! both have in common is known from the start.

use std::sync::Arc;

use crate::{
    engine::{ChangeRefusal, Engine, Input, Output, PromotionRequest},
    event::{
        Batch, Begin, DeploymentEvent, End, KeyHash, Labels, LogRecord, METRIC_NAME, Point,
        SeriesBlock, SeriesMeta, Severity, Timestamp, Value,
    },
    gate::{Verdict, VerdictState},
    plan::Plan,
};

const BEFORE: &str = r"
resolution: 10s
lateness: 10s
checks:
  cpu: {metric: cpu, bounds: {max: 90}}
  usual: {metric: cpu, sigma: {k: 6}}
  errors: {logs: {severity: ERROR}, bounds: {max: 1000/m}}
services:
  web: {match: {service: web}, stages: [{name: onebox, bake: 2m, checks: [cpu, {check: usual, mode: advisory}, errors]}]}
";

/// Another bound; another check in another stage, whose name comes first; a service that is new.
const AFTER: &str = r#"
resolution: 10s
lateness: 10s
checks:
  a-few: {logs: {severity: ERROR, body: "number 1"}, bounds: {max: 500/m}}
  cpu: {metric: cpu, bounds: {max: 50}}
  usual: {metric: cpu, sigma: {k: 6}}
  errors: {logs: {severity: ERROR}, bounds: {max: 1000/m}}
  memory: {metric: memory, bounds: {max: 10}}
services:
  db: {match: {service: db}, stages: [{name: all, bake: 2m, checks: [memory]}]}
  web:
    match: {service: web}
    stages:
      - {name: first, bake: 1m, checks: [a-few]}
      - {name: onebox, bake: 2m, checks: [cpu, {check: usual, mode: advisory}, errors]}
"#;

fn plan(text: &str) -> Arc<Plan> {
    Arc::new(Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}")))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + second)
}

fn series(metric: &str, host: &str, service: &str, second: i64, value: f64) -> SeriesBlock {
    let labels = [(METRIC_NAME, metric), ("host", host), ("service", service)];
    SeriesBlock {
        labels: Labels::new(labels),
        meta: SeriesMeta::default(),
        points: vec![Point {
            at: at(second),
            start: None,
            value: Value::Number(value),
        }],
    }
}

/// What all hosts send in a second.
fn batch(second: i64) -> Batch {
    let mut batch = Batch::default();
    for host in ["h0", "h1", "h2"] {
        let cpu = 70.0 + (second * 7 % 5) as f64;
        batch.series.push(series("cpu", host, "web", second, cpu));
        batch.logs.push(LogRecord {
            at: at(second),
            severity: Severity::ERROR,
            body: format!("number {}", second % 3),
            attributes: Labels::new([("host", host), ("service", "web")]),
            count: 1,
        });
    }
    let used = 5.0 + (second % 3) as f64;
    let memory = series("memory", "h9", "db", second, used);
    batch.series.push(memory);
    batch
}

/// An engine that is fed second by second.
struct Run {
    engine: Engine,
    second: i64,
    outputs: Vec<Output>,
}

impl Run {
    fn new(text: &str) -> Self {
        Self {
            engine: Engine::new(plan(text)),
            second: 0,
            outputs: Vec::new(),
        }
    }

    fn step(&mut self, input: Input<'_>) {
        self.engine.step(input, &mut self.outputs);
    }

    /// Goes on up to a second.
    fn until(&mut self, end: i64) -> &mut Self {
        while self.second < end {
            self.step(Input::Batch(&batch(self.second)));
            self.second += 1;
            self.step(Input::Tick(at(self.second)));
        }
        self
    }

    fn begin(&mut self, deployment: &str, service: &str, stage: &str) -> &mut Self {
        self.step(Input::Deployment(DeploymentEvent::Begin(Begin {
            at: at(self.second),
            deployment: deployment.to_owned(),
            service: service.to_owned(),
            stage: stage.to_owned(),
            region: None,
            version: "v2".to_owned(),
            one_box: vec![if service == "db" { "h9" } else { "h0" }.to_owned()],
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        })));
        self
    }

    fn change(&mut self, text: &str) -> &mut Self {
        self.step(Input::Plan(plan(text)));
        self
    }

    fn verdict(&self, deployment: &str) -> Verdict {
        self.engine.verdict(deployment).unwrap()
    }
}

/// All that an engine said.
fn said(run: &Run) -> String {
    format!("{:?}", run.outputs)
}

#[test]
fn an_open_gate_finishes_under_the_plan_that_it_began_with() {
    let mut run = Run::new(BEFORE);
    run.until(45).begin("old", "web", "onebox").until(65);
    run.change(AFTER)
        .begin("new", "web", "onebox")
        .begin("db", "db", "all");
    assert_eq!(run.engine.retired(), 1);
    run.until(300);
    let (old, new, db) = (run.verdict("old"), run.verdict("new"), run.verdict("db"));
    let digests = [plan(BEFORE), plan(AFTER)].map(|plan| plan.digest.clone());
    assert_eq!(old.verdict, VerdictState::Pass, "{old:?}");
    assert_eq!(
        (&old.config_digest, &new.config_digest),
        (&digests[0], &digests[1])
    );
    assert_eq!(new.verdict, VerdictState::Fail, "{new:?}");
    assert!(new.reasons[0].contains("cpu"), "{new:?}");
    // A service that is new knows its hosts from what comes.
    assert_eq!(db.verdict, VerdictState::Pass, "{db:?}");
    assert_eq!(run.engine.retired(), 0);
    // What came before stays readable.
    let saved = run.engine.save();
    let restored = Engine::restore(plan(AFTER), KeyHash::new(1), &saved).unwrap();
    assert_eq!(restored.verdict("old"), Some(old));
}

#[test]
fn an_old_gate_says_what_it_would_have_said_without_the_change() {
    let mut changed = Run::new(BEFORE);
    changed.until(45).begin("old", "web", "onebox").until(67);
    changed.change(AFTER).until(400);
    let mut unchanged = Run::new(BEFORE);
    unchanged.until(45).begin("old", "web", "onebox").until(400);
    assert_eq!(changed.verdict("old"), unchanged.verdict("old"));
    assert_eq!(said(&changed), said(&unchanged));
}

#[test]
fn what_both_plans_have_in_common_is_known_from_the_start() {
    // In the middle of a bucket, with and without an open gate that keeps the old plan at work.
    for with_old in [false, true] {
        let mut changed = Run::new(BEFORE);
        changed.until(100);
        if with_old {
            changed.begin("old", "web", "onebox");
        }
        changed.until(133).change(AFTER);
        assert_eq!(changed.engine.retired(), usize::from(with_old));
        let mut always = Run::new(AFTER);
        always.until(133);
        for run in [&mut changed, &mut always] {
            run.begin("new", "web", "onebox").until(500);
        }
        let (mut new, same) = (changed.verdict("new"), always.verdict("new"));
        if with_old {
            let beside = new.reasons.pop().expect("the old one is open there");
            assert!(beside.starts_with("also under deployment old"), "{beside}");
        }
        assert!(
            new.checks
                .iter()
                .any(|check| check.check == "errors" && check.observed.is_some())
        );
        assert_eq!(new, same);
    }
}

#[test]
fn a_state_is_saved_with_the_plans_that_are_at_work() {
    // Nothing waits in a bucket that is open: that is put again by whoever reads the journal.
    let [before, after] = [BEFORE, AFTER].map(|text| text.replace("lateness: 10s", "lateness: 0s"));
    let mut run = Run::new(&before);
    run.until(45)
        .begin("old", "web", "onebox")
        .until(65)
        .change(&after);
    run.begin("new", "web", "onebox").until(90);
    let saved = run.engine.save();
    assert_eq!(
        Engine::saved_plan(&saved).unwrap().unwrap().digest,
        plan(&after).digest
    );
    let mut restored = Run {
        engine: Engine::restore(plan(&after), KeyHash::new(7), &saved).unwrap(),
        second: run.second,
        outputs: Vec::new(),
    };
    assert_eq!(restored.engine.retired(), 1);
    run.outputs.clear();
    run.until(400);
    restored.until(400);
    assert_eq!(said(&restored), said(&run));
    assert!(!run.outputs.is_empty());
    assert!(restored.engine.save() == run.engine.save());
}

#[test]
fn a_plan_may_come_back_and_no_more_than_a_few_work_on() {
    let text = |max: u32| BEFORE.replace("max: 90", &format!("max: {max}"));
    let mut run = Run::new(&text(90));
    run.until(30).begin("d0", "web", "onebox").change(&text(91));
    run.begin("d1", "web", "onebox").change(&text(90));
    assert_eq!(run.engine.retired(), 1);
    run.begin("d2", "web", "onebox").change(&text(92));
    run.begin("d3", "web", "onebox").change(&text(93));
    run.begin("d4", "web", "onebox");
    assert_eq!(run.engine.retired(), 3);
    let refused = run.engine.may_change(&plan(&text(94)));
    let open = vec!["d1".to_owned()];
    assert_eq!(refused, Err(ChangeRefusal::TooMany { open }));
    run.change(&text(94));
    assert_eq!(run.engine.plan().digest, plan(&text(93)).digest);
    // One of those that are at work may come back.
    run.change(&text(92)).change(&text(93)).until(40);
    run.step(Input::Deployment(DeploymentEvent::End(End {
        at: at(40),
        deployment: "d1".to_owned(),
    })));
    assert_eq!(run.engine.may_change(&plan(&text(94))), Ok(()));
    run.until(400);
    for (deployment, max) in [("d0", 90), ("d2", 90), ("d3", 92), ("d4", 93)] {
        let verdict = run.verdict(deployment);
        assert_eq!(verdict.verdict, VerdictState::Pass, "{verdict:?}");
        assert_eq!(verdict.config_digest, plan(&text(max)).digest);
    }
    assert_eq!(run.engine.retired(), 0);
}

#[test]
fn what_buckets_are_made_of_cannot_change() {
    let run = Run::new(BEFORE);
    for (from, to, key) in [
        ("resolution: 10s", "resolution: 20s", "resolution"),
        ("lateness: 10s", "lateness: 20s", "lateness"),
        ("checks:", "limits: {series: 7}\nchecks:", "limits"),
    ] {
        let other = plan(&BEFORE.replacen(from, to, 1));
        let refused = run.engine.may_change(&other);
        assert_eq!(refused, Err(ChangeRefusal::Fixed { key }));
    }
}

#[test]
fn what_is_unhealthy_stays_so_over_a_change() {
    let sick = BEFORE
        .replace("max: 90", "max: 60")
        .replace("bake: 2m,", "bake: 2m, policies: {start_blockers: true},");
    let kinds = |run: &Run| -> Vec<&'static str> {
        let request = PromotionRequest {
            service: "web".to_owned(),
            version: "v3".to_owned(),
            ..PromotionRequest::default()
        };
        let promotion = run.engine.may_promote(&request, at(run.second)).unwrap();
        let blockers = promotion.blockers.iter();
        blockers.map(crate::gate::Blocker::kind).collect()
    };
    let mut run = Run::new(&sick);
    run.until(60);
    let before = kinds(&run);
    assert!(!before.is_empty());
    // Nobody starts in the moment before the next bucket says it anew, whatever is changed.
    for (from, to) in [
        ("bake: 2m", "bake: 3m"),
        ("{service: web}", "{}"),
        ("max: 60", "max: 50"),
    ] {
        run.change(&sick.replacen(from, to, 1));
        assert_eq!(kinds(&run), before, "{to}");
        run.until(run.second + 20);
        assert_eq!(kinds(&run), before, "{to}");
    }
}

#[test]
fn a_gate_that_is_settled_is_restored_under_a_plan_that_came_back() {
    // What the gate knows by number, the world of the plan that comes back may not have.
    let mut run = Run::new(BEFORE);
    run.until(45).begin("old", "web", "onebox").until(300);
    run.change(&BEFORE.replace("match: {service: web}", "match: {service: other}"));
    run.until(320).change(BEFORE);
    assert_eq!(run.engine.retired(), 0);
    let old = run.verdict("old");
    assert_eq!(old.verdict, VerdictState::Pass, "{old:?}");
    let restored = Engine::restore(plan(BEFORE), KeyHash::new(1), &run.engine.save()).unwrap();
    assert_eq!(restored.verdict("old"), Some(old));
}
