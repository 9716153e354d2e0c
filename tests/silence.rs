//! Silence is never PASS: every kind of check against every way in which data can be missing.
//!
//! The engine is driven directly, because a recording cannot hold what comes late or from the
//! future. Each kind has a healthy control that passes in the same harness.

mod common;

use std::sync::Arc;

use VerdictState::{Fail, NoData, Pass};
use common::{Driver, batch, begin, block, noise::Noise, plan, point, record};
use sluice::{
    engine::Input,
    event::{
        Batch, Begin, DeploymentEvent, Hotfix, Kind, LogRecord, SeriesBlock, Severity, Span, Step,
        StepOutcome, Timestamp, Value,
    },
    gate::VerdictState,
    plan::{Mode, Plan, Skippable},
};

const RESOLUTION: Span = Span::from_seconds(60);
const BEGAN: i64 = 1_772_532_000;
/// Buckets before the deployment, of the bake, and after it.
const PAST: i64 = 300;
const BAKE: i64 = 60;
const AFTER: i64 = 10;
const ONE_BOX: [&str; 2] = ["c1", "c2"];
const FLEET: [&str; 6] = ["f1", "f2", "f3", "f4", "f5", "f6"];

/// A check, and the same check with a selector that nothing fulfils; `None` where nothing can be
/// asked of log records that a healthy stream must contain.
struct CheckKind {
    check: &'static str,
    empty: Option<&'static str>,
}

/// How data is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing was ever sent.
    NeverArrived,
    /// Nothing is sent from the middle of the bake on.
    StoppedMidBake,
    /// Every value since the deployment is NaN, and there are no log records.
    OnlyNan,
    /// Only stale markers since the deployment, and no log records.
    OnlyStale,
    /// Everything since the deployment comes after its bucket was closed.
    OnlyLate,
    /// Everything since the deployment is ten minutes ahead of the clock.
    OnlyFuture,
    /// All values since the deployment are the same, and there are no log records.
    Constant,
    /// A source tells in the middle of the bake that it lost data; all that comes is healthy.
    SourceLost,
}

const FAULTS: [Fault; 8] = [
    Fault::NeverArrived,
    Fault::StoppedMidBake,
    Fault::OnlyNan,
    Fault::OnlyStale,
    Fault::OnlyLate,
    Fault::OnlyFuture,
    Fault::Constant,
    Fault::SourceLost,
];

/// Whom it befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    OneBox,
    Everyone,
}

#[test]
fn bounds_do_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: cpu, bounds: {min: 0, max: 90}}",
        empty: Some("{metric: cqu, bounds: {min: 0, max: 90}}"),
    });
}

#[test]
fn bounds_of_a_ratio_do_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: errors_total, per: requests_total, bounds: {max: 5%}}",
        empty: Some("{metric: errors_total, per: reqests_total, bounds: {max: 5%}}"),
    });
}

#[test]
fn a_limited_derivative_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: memory, derivative: {max: 20%/h, over: 30m}}",
        empty: Some("{metric: memry, derivative: {max: 20%/h, over: 30m}}"),
    });
}

#[test]
fn a_statistical_derivative_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: memory, derivative: {over: 30m}}",
        empty: Some("{metric: memry, derivative: {over: 30m}}"),
    });
}

#[test]
fn sigma_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: cpu, sigma: {}}",
        empty: Some("{metric: cqu, sigma: {}}"),
    });
}

#[test]
fn compare_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: cpu, compare: {}}",
        empty: Some("{metric: cqu, compare: {}}"),
    });
}

#[test]
fn compare_of_a_ratio_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: errors_total, per: requests_total, compare: {direction: up}}",
        empty: Some("{metric: errors_total, per: reqests_total, compare: {direction: up}}"),
    });
}

#[test]
fn compare_of_everything_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: '*', compare: {}}",
        empty: Some("{metric: '{__name__=~\"x.*\"}', compare: {}}"),
    });
}

#[test]
fn absent_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: cpu, absent: 5m}",
        empty: Some("{metric: cqu, absent: 5m}"),
    });
}

#[test]
fn load_does_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{metric: requests_total, load: {of: prod}}",
        empty: Some("{metric: reqests_total, load: {of: prod}}"),
    });
}

#[test]
fn bounded_log_rates_do_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{logs: {severity: ERROR}, bounds: {max: 30/m}}",
        empty: None,
    });
}

#[test]
fn compared_log_rates_do_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{logs: {severity: ERROR}, compare: {direction: up}}",
        empty: None,
    });
}

#[test]
fn absent_logs_do_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{logs: {body: served}, absent: 5m}",
        empty: Some("{logs: {body: serfed}, absent: 5m}"),
    });
}

#[test]
fn new_templates_do_not_pass_on_silence() {
    holds(&CheckKind {
        check: "{logs: {severity: ERROR, new: true}}",
        empty: None,
    });
}

/// The whole row of the matrix.
fn holds(kind: &CheckKind) {
    let healthy = configured(kind.check, "match: {service: app}");
    let control = run(&healthy, None);
    assert_eq!(
        control.last, Pass,
        "the healthy control of {} does not pass: {:?}",
        kind.check, control.reasons
    );
    let mut faults = Vec::new();
    let mut expect = |what: String, plan: &Arc<Plan>, fault: Option<(Fault, Scope)>| {
        let ran = run(plan, fault);
        if ran.passed || !matches!(ran.last, NoData | Fail) {
            faults.push(format!("{what}: {} {:?}", ran.last, ran.reasons));
        }
    };
    let mut hasty = Vec::new();
    // Whether something came is proven by what came, whatever else was lost.
    let is_presence = kind.check.contains("absent");
    for fault in FAULTS {
        if is_presence && fault == Fault::SourceLost {
            continue;
        }
        for scope in [Scope::OneBox, Scope::Everyone] {
            expect(
                format!("{fault:?} of {scope:?}"),
                &healthy,
                Some((fault, scope)),
            );
            // What a hotfix does not wait for is not data.
            let is_from_the_start = !matches!(
                fault,
                Fault::StoppedMidBake | Fault::Constant | Fault::SourceLost
            );
            if is_from_the_start && run_hotfix(&healthy, fault, scope) {
                hasty.push(format!("a hotfix passes on {fault:?} of {scope:?}"));
            }
        }
    }
    if let Some(empty) = kind.empty {
        let plan = configured(empty, "match: {service: app}");
        expect("a selector that matches nothing".to_owned(), &plan, None);
    }
    let plan = configured(kind.check, "match: {service: other}");
    expect("a service that matches nothing".to_owned(), &plan, None);
    expect("nothing required".to_owned(), &advisory(&healthy), None);
    if kind.check.contains("metric") {
        let mut plan = (*healthy).clone();
        plan.limits.series_per_service = 1;
        expect("series over the limit".to_owned(), &Arc::new(plan), None);
    }
    faults.append(&mut hasty);
    assert!(faults.is_empty(), "{}:\n{}", kind.check, faults.join("\n"));
}

#[test]
fn a_stage_that_requires_nothing_is_a_fault_of_the_configuration() {
    let text = text("{metric: cpu, bounds: {max: 90}}", "match: {service: app}");
    let advisory = text.replace("checks: [c]", "checks: [{check: c, mode: advisory}]");
    assert_ne!(text, advisory);
    let faults = Plan::parse(&advisory).expect_err("a stage needs a step or a blocking check");
    let faults = faults.to_string();
    assert!(
        faults.contains("services.app.stages[0]: the stage can never be proven"),
        "{faults}"
    );
}

#[test]
fn a_step_alone_can_be_required() {
    let healthy = configured("{metric: cpu, bounds: {max: 90}}", "match: {service: app}");
    let mut plan = (*advisory(&healthy)).clone();
    let app = plan
        .services
        .get_mut("app")
        .expect("the service is configured");
    app.stages[0].steps = vec!["smoke-tests".to_owned()];
    let ran = run(&Arc::new(plan), None);
    assert_eq!((ran.last, ran.passed), (VerdictState::Pending, false));
}

/// The plan with the check as advisory: then nothing is required. The configuration refuses this,
/// so that the gate's own rule is reached only this way.
fn advisory(plan: &Plan) -> Arc<Plan> {
    let mut plan = plan.clone();
    let app = plan
        .services
        .get_mut("app")
        .expect("the service is configured");
    app.stages[0].checks[0].mode = Mode::Advisory;
    Arc::new(plan)
}

fn configured(check: &str, matching: &str) -> Arc<Plan> {
    plan(&text(check, matching))
}

fn text(check: &str, matching: &str) -> String {
    format!(
        "resolution: 60s\nlateness: 0s\nchecks:\n  c: {check}\nservices:\n  app:\n    {matching}\n    \
         stages:\n      - {{name: canary, bake: {BAKE}m, grace: 5m, checks: [c]}}\n      \
         - {{name: prod, match: {{env: prod}}, steps: [smoke-tests]}}\n"
    )
}

struct Ran {
    /// Whether PASS was ever said.
    passed: bool,
    last: VerdictState,
    reasons: Vec<String>,
}

/// Whether a hotfix that skips the bake, and whose only step has passed, ever passes.
fn run_hotfix(plan: &Arc<Plan>, fault: Fault, scope: Scope) -> bool {
    let mut plan = Plan::clone(plan);
    let app = plan
        .services
        .get_mut("app")
        .expect("the service is configured");
    app.stages[0].steps = vec!["smoke-tests".to_owned()];
    app.stages[0].policies.hotfix_skips = vec![Skippable::Bake];
    let mut began = begin(at(0), "d");
    began.hotfix = Some(Hotfix {
        by: "ana".to_owned(),
        reason: "outage".to_owned(),
        ticket: "OPS-1".to_owned(),
        expires: at(10 * BAKE),
    });
    let step = Step {
        at: at(0),
        deployment: "d".to_owned(),
        step: "smoke-tests".to_owned(),
        outcome: StepOutcome::Passed,
    };
    run_from(&Arc::new(plan), began, Some(step), Some((fault, scope))).passed
}

fn run(plan: &Arc<Plan>, fault: Option<(Fault, Scope)>) -> Ran {
    run_from(plan, begin(at(0), "d"), None, fault)
}

fn run_from(
    plan: &Arc<Plan>,
    mut began: Begin,
    step: Option<Step>,
    fault: Option<(Fault, Scope)>,
) -> Ran {
    began.one_box = ONE_BOX.map(str::to_owned).to_vec();
    let mut told = vec![DeploymentEvent::Begin(began)];
    told.extend(step.map(DeploymentEvent::Step));
    let mut driver = Driver::new(plan);
    let mut hosts: Vec<Host> = ONE_BOX
        .iter()
        .chain(&FLEET)
        .map(|name| Host::new(name))
        .collect();
    let mut passed = false;
    for bucket in -PAST..BAKE + AFTER {
        if bucket == 0 {
            for event in told.drain(..) {
                driver.step(Input::Deployment(event));
            }
        }
        for host in &mut hosts {
            let healthy = host.send(bucket);
            let is_hit = fault
                .is_some_and(|(_, scope)| scope == Scope::Everyone || ONE_BOX.contains(&host.name));
            let sent = match fault {
                Some((fault, _)) if is_hit => damage(fault, bucket, healthy),
                Some(_) | None => healthy,
            };
            driver.step(Input::Batch(&sent));
        }
        if matches!(fault, Some((Fault::SourceLost, _))) && bucket == BAKE / 2 {
            driver.step(Input::Lost);
        }
        driver.step(Input::Tick(at(bucket + 1)));
        let verdict = driver.engine.verdict("d");
        passed |= verdict.is_some_and(|verdict| verdict.verdict == Pass);
    }
    passed |= driver.verdicts().any(|verdict| verdict.verdict == Pass);
    let last = driver.engine.verdict("d").expect("the deployment began");
    Ran {
        passed,
        last: last.verdict,
        reasons: last.reasons,
    }
}

fn at(bucket: i64) -> Timestamp {
    Timestamp::from_seconds(BEGAN) + RESOLUTION.times(bucket)
}

/// What the fault leaves of what a healthy host sends in a bucket.
fn damage(fault: Fault, bucket: i64, healthy: Batch) -> Batch {
    let since = match fault {
        Fault::NeverArrived => -PAST,
        Fault::StoppedMidBake => BAKE / 2,
        Fault::OnlyNan
        | Fault::OnlyStale
        | Fault::OnlyLate
        | Fault::OnlyFuture
        | Fault::Constant => 0,
        Fault::SourceLost => return healthy,
    };
    if bucket < since {
        return healthy;
    }
    match fault {
        Fault::SourceLost => healthy,
        Fault::NeverArrived | Fault::StoppedMidBake => Batch::default(),
        Fault::OnlyNan => with_value(healthy, &Value::Number(f64::NAN)),
        Fault::OnlyStale => with_value(healthy, &Value::Stale),
        Fault::Constant => with_value(healthy, &Value::Number(50.0)),
        Fault::OnlyLate => shifted(healthy, RESOLUTION.times(-3)),
        Fault::OnlyFuture => shifted(healthy, Span::from_minutes(10)),
    }
}

fn with_value(mut batch: Batch, value: &Value) -> Batch {
    batch.logs.clear();
    for point in batch.series.iter_mut().flat_map(|block| &mut block.points) {
        point.value = value.clone();
    }
    batch
}

fn shifted(mut batch: Batch, by: Span) -> Batch {
    for point in batch.series.iter_mut().flat_map(|block| &mut block.points) {
        point.at += by;
    }
    for record in &mut batch.logs {
        record.at += by;
    }
    batch
}

/// A healthy host.
struct Host {
    name: &'static str,
    noise: Noise,
    requests: f64,
    errors: f64,
}

impl Host {
    fn new(name: &'static str) -> Self {
        let seed = name
            .bytes()
            .fold(7, |seed, byte| seed * 31 + u64::from(byte));
        Self {
            name,
            noise: Noise::new(seed),
            requests: 1e6,
            errors: 1e3,
        }
    }

    fn is_new(&self) -> bool {
        ONE_BOX.contains(&self.name)
    }

    /// Two samples of each series, a line of traffic, and some errors of an old kind.
    fn send(&mut self, bucket: i64) -> Batch {
        let times = [10, 40].map(|second| at(bucket) + Span::from_seconds(second));
        let mut series: Vec<SeriesBlock> = Vec::new();
        let mut logs: Vec<LogRecord> = Vec::new();
        let env = if self.is_new() { "canary" } else { "prod" };
        let labels = [("host", self.name), ("env", env)];
        for time in times {
            let rate = if self.is_new() { 60.0 } else { 50.0 } + self.noise.normal();
            let served = (30.0 * rate).round();
            self.requests += served;
            self.errors += (0.01 * served + 3.0 * self.noise.normal()).max(0.0).round();
            let cpu = 50.0 + 2.0 * self.noise.normal();
            let memory = 1e9 + 5e6 * self.noise.normal();
            for (metric, kind, value) in [
                ("cpu", Kind::Gauge, cpu),
                ("memory", Kind::Gauge, memory),
                ("requests_total", Kind::Counter, self.requests),
                ("errors_total", Kind::Counter, self.errors),
            ] {
                let points = vec![point(time, Value::Number(value))];
                series.push(block(metric, &labels, kind, points));
            }
            let text = format!("served {served} requests");
            logs.push(record(time, &labels, Severity::INFO, &text));
            if self.noise.uniform() < 0.1 {
                logs.push(record(time, &labels, Severity::ERROR, "upstream timed out"));
            }
        }
        batch(series, logs)
    }
}
