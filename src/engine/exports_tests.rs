//! What is missing from an export: nothing gained, or nothing known.

use crate::{
    engine::{
        Engine, Input, Output,
        test_support::{at, begin, plan},
    },
    event::{
        Batch, Kind, Labels, METRIC_NAME, Point, SeriesBlock, SeriesMeta, Span, Temporality, Unit,
        Value,
    },
    gate::{
        Verdict,
        VerdictState::{Fail, NoData, Pass},
    },
};

const HOSTS: usize = 8;
/// Seconds before the deployment, and of bake.
const BEFORE: i64 = 3_600;
const BAKE: i64 = 1_800;
/// Seconds between two ticks.
const STEP: i64 = 10;

/// What sends a metric.
#[derive(Clone, Copy, Debug)]
struct Sender {
    host: usize,
    service: &'static str,
    version: &'static str,
}

/// A number from 0 to 9 that looks like chance, the same each time.
fn digit(host: usize, second: i64) -> i64 {
    let mut word = (host as u64 + 1) << 32 ^ (second + 100_000) as u64;
    for _ in 0..3 {
        word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (word >> 32) as i64 % 10
}

/// The application of a host.
fn app(host: usize) -> Sender {
    Sender {
        host,
        service: "web",
        version: "",
    }
}

impl Sender {
    fn send(self, batch: &mut Batch, metric: &str, kind: Kind, point: Point) {
        let host = format!("h{}", self.host);
        let labels = [
            (METRIC_NAME, metric),
            ("host", &host),
            ("service.name", self.service),
            ("version", self.version),
        ];
        let is_delta = point.start.is_some();
        let temporality = if is_delta {
            Temporality::Delta
        } else {
            Temporality::Cumulative
        };
        batch.series.push(SeriesBlock {
            labels: Labels::new(labels),
            meta: SeriesMeta {
                kind,
                temporality,
                unit: Unit::Unknown,
            },
            points: vec![point],
        });
    }

    /// A gain in the seconds before.
    fn delta(self, batch: &mut Batch, metric: &str, second: i64, seconds: i64, gained: i64) {
        let point = Point {
            at: at(second) - Span::from_seconds(7),
            start: Some(at(second - seconds) - Span::from_seconds(7)),
            value: Value::Number(gained as f64),
        };
        self.send(batch, metric, Kind::Counter, point);
    }

    fn number(self, batch: &mut Batch, metric: &str, kind: Kind, second: i64, value: f64) {
        let point = Point {
            at: at(second) - Span::from_seconds(7),
            start: None,
            value: Value::Number(value),
        };
        self.send(batch, metric, kind, point);
    }

    fn total(self, batch: &mut Batch, metric: &str, second: i64, total: i64) {
        self.number(batch, metric, Kind::Counter, second, total as f64);
    }
}

/// The verdict on a deployment of the first host (of two where they are compared) after its bake.
fn verdict(checks: &str, mut send: impl FnMut(i64, &mut Batch)) -> Verdict {
    let names: Vec<&str> = checks
        .lines()
        .filter_map(|line| line.trim().split_once(':').map(|(name, _)| name))
        .collect();
    let text = format!(
        "resolution: 10s\nlateness: 0s\nchecks:\n{checks}\nservices:\n  web:\n    match: {{}}\n    \
         stages: [{{name: onebox, bake: {BAKE}s, grace: 0s, checks: [{}]}}]\n",
        names.join(", ")
    );
    let mut engine = Engine::new(plan(&text));
    let mut outputs: Vec<Output> = Vec::new();
    let one_box: &[&str] = if text.contains("compare") {
        &["h0", "h1"]
    } else {
        &["h0"]
    };
    for second in (-BEFORE..=BAKE + 60).step_by(STEP as usize) {
        if second == 0 {
            engine.step(begin("d", at(0), one_box), &mut outputs);
        }
        let mut batch = Batch::default();
        send(second, &mut batch);
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(second)), &mut outputs);
    }
    engine.verdict("d").unwrap()
}

/// What a host sends beside what is checked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beside {
    Nothing,
    /// A gauge in each bucket.
    Gauge,
    /// Deltas in each bucket, of the same resource.
    Deltas,
}

impl Beside {
    fn send(self, batch: &mut Batch, sender: Sender, second: i64) {
        let level = 30 + digit(sender.host, second);
        match self {
            Self::Nothing => {}
            Self::Gauge => sender.number(batch, "cpu", Kind::Gauge, second, level as f64),
            Self::Deltas => sender.delta(batch, "cpu", second, STEP, level),
        }
    }
}

#[test]
fn a_delta_speaks_for_its_minute_whatever_else_its_host_sends() {
    let checks = "  errors: {metric: errors, bounds: {max: 30/m, for: 3m}}\n  \
                  cpu: {metric: cpu, bounds: {max: 1000}}";
    let since = [Beside::Gauge, Beside::Deltas].map(|beside| {
        let verdict = verdict(checks, |second, batch| {
            for host in 0..HOSTS {
                beside.send(batch, app(host), second);
                if second % 60 == 0 {
                    let errors = if host == 0 && 0 < second { 60 } else { 1 };
                    app(host).delta(batch, "errors", second, 60, errors);
                }
            }
        });
        assert_eq!(verdict.verdict, Fail, "{beside:?} {verdict:?}");
        verdict.since
    });
    let alone = verdict(checks.lines().next().unwrap(), |second, batch| {
        for host in 0..HOSTS {
            if second % 60 == 0 {
                let errors = if host == 0 && 0 < second { 60 } else { 1 };
                app(host).delta(batch, "errors", second, 60, errors);
            }
        }
    });
    assert_eq!(alone.verdict, Fail, "{alone:?}");
    assert_eq!(since, [alone.since; 2]);
}

#[test]
fn what_joins_on_the_one_box_does_not_dilute_its_deltas() {
    let checks = "  traffic: {metric: requests, compare: {}}\n  \
                  cpu: {metric: cpu, bounds: {max: 1000}}";
    for beside in [Beside::Nothing, Beside::Gauge] {
        let verdict = verdict(checks, |second, batch| {
            for host in 0..HOSTS {
                let is_new = host < 2 && 0 < second;
                if is_new && second % 60 != 0 {
                    beside.send(batch, app(host), second);
                }
                if second % 60 == 0 {
                    Beside::Gauge.send(batch, app(host), second);
                    let served = 6_000 + 20 * digit(host, second);
                    app(host).delta(batch, "requests", second, 60, served);
                }
            }
        });
        assert_eq!(verdict.verdict, Pass, "{beside:?} {verdict:?}");
    }
}

#[test]
fn an_agent_does_not_vouch_for_a_dead_application() {
    let checks = "  errors: {metric: errors, bounds: {max: 60/m}}\n  \
                  cpu: {metric: cpu, bounds: {max: 1000}}";
    for beside in [Beside::Gauge, Beside::Deltas] {
        for (dies, expected) in [(true, NoData), (false, Pass)] {
            let verdict = verdict(checks, |second, batch| {
                for host in 0..HOSTS {
                    let agent = Sender {
                        service: "agent",
                        ..app(host)
                    };
                    beside.send(batch, agent, second);
                    let has_errors = digit(host, second) < 2 || second == -BEFORE;
                    if has_errors && !(dies && host == 0 && 120 < second) {
                        app(host).delta(batch, "errors", second, STEP, 1);
                    }
                }
            });
            assert_eq!(verdict.verdict, expected, "{beside:?} {verdict:?}");
        }
    }
}

#[test]
fn deltas_go_on_when_a_version_replaces_another_on_its_host() {
    let checks = "  errors: {metric: errors, bounds: {max: 120/m}}\n  \
                  requests: {metric: requests, bounds: {min: 1}}";
    let verdict = verdict(checks, |second, batch| {
        for host in 0..HOSTS {
            let is_new = host == 0 && 0 < second;
            let sender = Sender {
                version: if is_new { "v2" } else { "v1" },
                ..app(host)
            };
            sender.delta(batch, "requests", second, STEP, 100);
            // Errors are rare, but each version has had one.
            if second == -BEFORE || second == 10 || second % 600 == 0 {
                sender.delta(batch, "errors", second, STEP, 1);
            }
        }
    });
    assert_eq!(verdict.verdict, Pass, "{verdict:?}");
}

/// How the errors of the one-box are told once the deployment has begun; half of its requests fail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Errors {
    Told,
    NotANumber,
    Silent,
    /// Silent, by a process that counts anew and has had no error.
    NeverAgain,
}

#[test]
fn a_numerator_that_is_missing_is_no_health() {
    let checks = "  errors: {metric: errors_total, per: requests_total, bounds: {max: 10%}}";
    for (told, expected) in [
        (Errors::Told, Fail),
        (Errors::NotANumber, NoData),
        (Errors::Silent, NoData),
        (Errors::NeverAgain, Pass),
    ] {
        let mut totals = [[0; 2]; HOSTS];
        let verdict = verdict(checks, |second, batch| {
            for (host, [requests, errors]) in totals.iter_mut().enumerate() {
                let is_new = host == 0 && 0 < second;
                if is_new && second == STEP && told == Errors::NeverAgain {
                    *requests = 0;
                }
                *requests += 100 + digit(host, second);
                *errors += if is_new { 50 } else { digit(host, second) / 8 };
                app(host).total(batch, "requests_total", second, *requests);
                let told = if is_new { told } else { Errors::Told };
                match told {
                    Errors::Told => app(host).total(batch, "errors_total", second, *errors),
                    Errors::NotANumber => {
                        let kind = Kind::Counter;
                        app(host).number(batch, "errors_total", kind, second, f64::NAN);
                    }
                    Errors::Silent | Errors::NeverAgain => {}
                }
            }
        });
        assert_eq!(verdict.verdict, expected, "{told:?} {verdict:?}");
    }
}

#[test]
fn a_numerator_that_was_never_there_is_zero() {
    let checks = "  errors: {metric: errors_total, per: requests_total, bounds: {max: 10%}}";
    let verdict = verdict(checks, |second, batch| {
        for host in 0..HOSTS {
            app(host).total(batch, "requests_total", second, second + 2 * BEFORE);
        }
    });
    assert_eq!(verdict.verdict, Pass, "{verdict:?}");
}

#[test]
fn both_sides_of_a_ratio_are_of_the_same_time() {
    let checks = "  errors: {metric: errors_total, per: requests_total, \
                  bounds: {max: 10%, for: 2m}}";
    for (share, expected) in [(9, Pass), (11, Fail)] {
        // Each 60 seconds, of which one side tells more often, or at another second.
        for (numerator, exposure) in [(60, 10), (10, 60), (60, 60), (10, 10)] {
            for phase in [0, 30] {
                let verdict = verdict(checks, |second, batch| {
                    for host in 0..HOSTS {
                        let new = if host == 0 { second.max(0) } else { 0 };
                        let errors = second + BEFORE + (share - 1) * new;
                        if (second + phase) % numerator == 0 {
                            app(host).total(batch, "errors_total", second, errors);
                        }
                        if second % exposure == 0 {
                            let requests = 100 * (second + BEFORE);
                            app(host).total(batch, "requests_total", second, requests);
                        }
                    }
                });
                let told = (numerator, exposure, phase, share);
                assert_eq!(verdict.verdict, expected, "{told:?} {verdict:?}");
            }
        }
    }
}

#[test]
fn deltas_of_a_numerator_that_are_left_out_are_zero() {
    let checks = "  errors: {metric: errors, per: requests, bounds: {max: 10%, for: 2m}}";
    for (errors, expected) in [(0, Pass), (50, Fail)] {
        let verdict = verdict(checks, |second, batch| {
            for host in 0..HOSTS {
                app(host).delta(batch, "requests", second, STEP, 100);
                let is_harmed = host == 0 && 0 < second;
                let errors = if is_harmed {
                    errors
                } else {
                    digit(host, second) / 9
                };
                if 0 < errors {
                    app(host).delta(batch, "errors", second, STEP, errors);
                }
            }
        });
        assert_eq!(verdict.verdict, expected, "{errors} {verdict:?}");
    }
}
