//! What a limit refused, and what was there before anybody looked.

use std::sync::Arc;

use crate::{
    engine::{
        Engine, Input, Output,
        test_support::{self, begin, number, plan},
    },
    event::{
        Batch, KeyHash, Labels, LogRecord, METRIC_NAME, Severity, Signal, Span, Timestamp,
        UnreadLog,
    },
    gate::VerdictState,
    plan::Plan,
};

/// Errors that the one-box counts are over the bound: whoever sees them fails it.
const CHECKS: &str = "
resolution: 10s
lateness: 0s
checks:
  cpu: {metric: cpu, bounds: {max: 90}}
  errors: {metric: errors_total, bounds: {max: 1/s}}
  logs: {logs: {severity: ERROR}, bounds: {max: 5/m}}
services:
  web: {stages: [{name: onebox, bake: 30m, grace: 0s, checks: [cpu, errors, logs]}]}
";

fn limited(limits: &str) -> Arc<Plan> {
    plan(&format!("{CHECKS}limits: {limits}\n"))
}

fn at(minute: f64) -> Timestamp {
    test_support::at(0) + Span::from_nanos((minute * 60e9) as i64)
}

/// A log record of the host, with more attributes.
fn record(attributes: &[(&str, &str)], at: Timestamp) -> LogRecord {
    let record = test_support::record(at, Severity::INFO, "alive", 1);
    let roles = record.attributes.iter();
    LogRecord {
        attributes: Labels::new(roles.chain(attributes.iter().copied())),
        ..record.clone()
    }
}

/// An engine that is fed each ten seconds.
struct Run {
    engine: Engine,
    /// Tens of seconds since the start.
    step: i64,
    outputs: Vec<Output>,
}

impl Run {
    fn new(plan: Arc<Plan>) -> Self {
        Self {
            engine: Engine::with_keys(plan, KeyHash::new(7)),
            step: 0,
            outputs: Vec::new(),
        }
    }

    /// Goes on up to a minute, with a healthy host that `send` adds to.
    fn until(&mut self, minute: i64, send: impl Fn(f64, &mut Batch)) -> &mut Self {
        while self.step < minute * 6 {
            let minute = self.step as f64 / 6.0;
            let now = at(minute);
            let mut batch = Batch::default();
            let cpu = 40.0 + (self.step * 7 % 5) as f64;
            batch.series.push(number(&[(METRIC_NAME, "cpu")], now, cpu));
            batch
                .series
                .push(number(&[(METRIC_NAME, "errors_total")], now, 7.0));
            batch.logs.push(record(&[], now));
            send(minute, &mut batch);
            self.engine.step(Input::Batch(&batch), &mut self.outputs);
            self.step += 1;
            let tick = Input::Tick(at(self.step as f64 / 6.0));
            self.engine.step(tick, &mut self.outputs);
        }
        self
    }

    fn begin(&mut self, deployment: &str) -> &mut Self {
        let begin = begin(deployment, at(self.step as f64 / 6.0), &["h1"]);
        self.engine.step(begin, &mut self.outputs);
        self
    }

    fn check(&self, deployment: &str, state: VerdictState, reason: &str) {
        let verdict = self.engine.verdict(deployment).expect("it has begun");
        let is_it = verdict.reasons.is_empty() && reason.is_empty()
            || verdict.reasons.iter().any(|told| told.contains(reason));
        assert!(
            verdict.verdict == state && is_it,
            "{:?} {:?} {:?}",
            self.engine.plan().limits,
            verdict.verdict,
            verdict.reasons
        );
    }
}

/// Adds what is sent at a time.
type Sends<'a> = &'a dyn Fn(f64, &mut Batch);

#[test]
fn a_limit_blinds_whoever_looks_at_what_it_refuses() {
    const MORE: [(&str, &str); 4] = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    const BAD: f64 = 1_000.0;
    let labelled = |minute: f64, batch: &mut Batch| {
        let labels: Vec<(&str, &str)> = [(METRIC_NAME, "errors_total")]
            .into_iter()
            .chain(MORE)
            .collect();
        // It is the last to come.
        if 10.0 <= minute {
            let errors = number(&labels, at(minute), minute * BAD);
            batch.series.push(errors);
        }
    };
    let logged = |minute: f64, batch: &mut Batch| {
        batch.logs.push(record(&[("region", "eu")], at(minute)));
        batch.logs.push(record(&[("version", "v2")], at(minute)));
    };
    let many = |minute: f64, batch: &mut Batch| {
        for second in 1..4 {
            let now = at(minute) + Span::from_seconds(second);
            batch
                .series
                .push(number(&[(METRIC_NAME, "cpu")], now, 99.0));
        }
    };
    let send: [(&str, Sends<'_>, &str); 5] = [
        ("{labels: 6}", &labelled, "errors: "),
        ("{label_bytes: 40}", &labelled, "errors: "),
        ("{series: 2}", &labelled, "errors: "),
        ("{series: 2}", &logged, "logs: "),
        (
            "{samples_per_bucket: 2}",
            &many,
            "cpu: what came could not be used (limits.samples_per_bucket) on h1",
        ),
    ];
    for (limits, send, reason) in send {
        let mut run = Run::new(limited(limits));
        run.until(30, send).begin("d").until(70, send);
        run.check("d", VerdictState::NoData, reason);
        // Without what is refused it is well.
        let mut run = Run::new(limited(limits));
        run.until(30, |_, _| {}).begin("d").until(70, |_, _| {});
        run.check("d", VerdictState::Pass, "");
    }
}

#[test]
fn what_was_refused_once_blinds_nobody_later() {
    let mut run = Run::new(limited("{series_per_service: 2}"));
    let once = |minute: f64, batch: &mut Batch| {
        if minute == 20.0 {
            let labels = [(METRIC_NAME, "errors_total"), ("code", "500")];
            batch.series.push(number(&labels, at(minute), 1.0));
        }
    };
    run.until(10, once).begin("during").until(26, once);
    run.begin("after").until(60, once);
    run.check("during", VerdictState::NoData, "series_over_limit");
    run.check("after", VerdictState::Pass, "");
}

/// Which checks say that a limit refused a whole request, in the reasons of a deployment.
fn blind(run: &Run, deployment: &str) -> (VerdictState, Vec<String>) {
    let verdict = run.engine.verdict(deployment).expect("it has begun");
    let reasons = verdict.reasons.iter();
    let told = reasons.filter(|reason| reason.contains("(request_over_limit): a limit refused"));
    let checks = told.filter_map(|reason| Some(reason.split_once(':')?.0.to_owned()));
    (verdict.verdict, checks.collect())
}

#[test]
fn a_request_over_a_limit_blinds_every_check_of_such_data_for_five_minutes() {
    let none: &[&str] = &[];
    for (signal, checks) in [
        (Signal::Metrics, &["cpu", "errors"][..]),
        (Signal::Logs, &["logs"]),
    ] {
        let mut run = Run::new(plan(CHECKS));
        run.until(5, |_, _| {}).begin("long");
        run.until(20, |_, _| {}).begin("during");
        run.until(22, |_, _| {});
        run.engine.step(Input::OverLimit(signal), &mut run.outputs);
        run.until(26, |_, _| {}).begin("soon");
        // Neither a restart nor another configuration makes it forgotten.
        let saved = run.engine.save();
        run.engine = Engine::restore(plan(CHECKS), KeyHash::new(7), &saved).unwrap();
        let more = CHECKS.replace("max: 90", "max: 91");
        run.engine.step(Input::Plan(plan(&more)), &mut run.outputs);
        run.begin("changed").until(28, |_, _| {}).begin("later");
        run.until(70, |_, _| {});
        let expect = |deployment: &str, state: VerdictState, checks: &[&str]| {
            let found = blind(&run, deployment);
            let checks: Vec<String> = checks.iter().map(|check| (*check).to_owned()).collect();
            assert_eq!(found, (state, checks), "{signal:?} {deployment}");
        };
        for deployment in ["long", "during", "soon", "changed"] {
            expect(deployment, VerdictState::NoData, checks);
        }
        expect("later", VerdictState::Pass, none);
    }
}

#[test]
fn a_request_over_a_limit_hides_no_breach_and_waits_for_the_first_tick() {
    let bad = |minute: f64, batch: &mut Batch| {
        let errors = number(
            &[(METRIC_NAME, "errors_total")],
            at(minute),
            minute * 1_000.0,
        );
        batch.series = vec![errors];
    };
    let mut run = Run::new(plan(CHECKS));
    run.until(20, |_, _| {}).begin("d");
    run.engine
        .step(Input::OverLimit(Signal::Metrics), &mut run.outputs);
    run.until(60, bad);
    assert_eq!(blind(&run, "d").0, VerdictState::Fail);
    // Of what comes before any tick it is not known when that was.
    let mut run = Run::new(plan(CHECKS));
    run.engine
        .step(Input::OverLimit(Signal::Logs), &mut run.outputs);
    run.until(3, |_, _| {}).begin("d").until(40, |_, _| {});
    assert_eq!(blind(&run, "d").0, VerdictState::NoData);
    run.begin("later").until(80, |_, _| {});
    assert_eq!(blind(&run, "later").0, VerdictState::Pass);
}

#[test]
fn a_record_that_cannot_be_read_blinds_whoever_might_have_looked_at_it() {
    let blind = "logs: ERROR records: what came could not be used (unreadable) on h1";
    for (service, severity, state, reason) in [
        ("web", None, VerdictState::NoData, blind),
        ("web", Some(Severity::ERROR), VerdictState::NoData, blind),
        ("web", Some(Severity::INFO), VerdictState::Pass, ""),
        ("api", None, VerdictState::Pass, ""),
    ] {
        let once = |minute: f64, batch: &mut Batch| {
            if minute == 40.0 {
                batch.unread.push(UnreadLog {
                    at: None,
                    severity,
                    attributes: Labels::new([("host", "h1"), ("service", service)]),
                    count: 3,
                });
            }
        };
        let mut run = Run::new(plan(CHECKS));
        run.until(20, once).begin("d").until(60, once);
        run.check("d", state, reason);
    }
}

#[test]
fn a_counter_that_is_looked_at_only_now_has_gained_nothing_yet() {
    let old = |minute: f64, batch: &mut Batch| {
        let labels = [(METRIC_NAME, "old_total")];
        batch.series.push(number(&labels, at(minute), 50_000.0));
    };
    let after = CHECKS.replace("errors_total", "old_total");
    let mut run = Run::new(plan(CHECKS));
    run.until(30, old);
    run.engine.step(Input::Plan(plan(&after)), &mut run.outputs);
    // A restart changes nothing.
    let saved = run.engine.save();
    run.engine = Engine::restore(plan(&after), KeyHash::new(7), &saved).unwrap();
    run.begin("d").until(70, old);
    run.check("d", VerdictState::Pass, "");
    // What is born later than that gains from zero.
    let mut run = Run::new(plan(CHECKS));
    run.until(30, |_, _| {});
    run.engine.step(Input::Plan(plan(&after)), &mut run.outputs);
    run.until(40, |_, _| {}).begin("d").until(70, old);
    run.check("d", VerdictState::Fail, "errors: ");
}

#[test]
fn a_change_that_leaves_more_series_than_fit_blinds_and_can_be_restored() {
    const APART: &str = "
resolution: 10s
lateness: 0s
limits: {series_per_service: 2}
checks:
  errors: {metric: errors_total, bounds: {max: 1/s}}
  cpu: {metric: cpu, bounds: {max: 90}}
services:
  api: {stages: [{name: onebox, bake: 30m, grace: 0s, checks: [errors]}]}
  web: {stages: [{name: onebox, bake: 30m, grace: 0s, checks: [cpu, errors]}]}
";
    let together = APART.replace("web: {stages", "web: {match: {}, stages");
    let send = |minute: f64, batch: &mut Batch| {
        for host in ["h1", "h2"] {
            let mut block = number(&[(METRIC_NAME, "errors_total")], at(minute), 7.0);
            block.labels = Labels::new([
                (METRIC_NAME, "errors_total"),
                ("host", host),
                ("service", "api"),
            ]);
            batch.series.push(block);
        }
    };
    let mut run = Run::new(plan(APART));
    run.until(30, send);
    run.engine
        .step(Input::Plan(plan(&together)), &mut run.outputs);
    run.until(45, send);
    let saved = run.engine.save();
    let mut restored = Run::new(plan(&together));
    restored.engine = Engine::restore(plan(&together), KeyHash::new(7), &saved).unwrap();
    restored.step = run.step;
    for run in [&mut run, &mut restored] {
        run.begin("d").until(80, send);
        run.check("d", VerdictState::NoData, "series_over_limit");
    }
    assert!(run.engine.save() == restored.engine.save());
}
