//! What a bucket tells the panels of log checks.

use crate::{
    engine::{
        Engine, Input,
        test_support::{at, begin, plan, record},
    },
    event::{Batch, LogRecord, Severity, Span},
    gate::{Verdict, VerdictState},
};

const BAKE_MINUTES: i64 = 60;

/// What became of a deployment under a log check. `send` gives what comes in the ten seconds that begin at a
/// time, counted from the deployment, beside a sign of life.
fn verdict(limits: &str, check: &str, send: impl Fn(i64, &mut Vec<LogRecord>)) -> Verdict {
    verdict_beside(Severity::INFO, limits, check, send)
}

/// The same, with a sign of life of this severity.
fn verdict_beside(
    alive: Severity,
    limits: &str,
    check: &str,
    send: impl Fn(i64, &mut Vec<LogRecord>),
) -> Verdict {
    let text = format!(
        "resolution: 10s\nlateness: 0s\nlimits: {limits}\nchecks:\n  logs: {check}\nservices:\n  web:\n    \
         stages: [{{name: onebox, bake: {BAKE_MINUTES}m, grace: 0s, checks: [logs]}}]\n"
    );
    let mut engine = Engine::new(plan(&text));
    let mut outputs = Vec::new();
    for seconds in (-3_600..=BAKE_MINUTES * 60).step_by(10) {
        if seconds == 0 {
            engine.step(begin("d", at(0), &["h1"]), &mut outputs);
        }
        let mut batch = Batch::default();
        batch.logs.push(record(at(seconds), alive, "alive", 1));
        send(seconds, &mut batch.logs);
        engine.step(Input::Batch(&batch), &mut outputs);
        let end = at(seconds) + Span::from_seconds(10);
        engine.step(Input::Tick(end), &mut outputs);
    }
    engine.verdict("d").expect("it has begun")
}

const BOUNDS: &str = "{logs: {severity: ERROR}, bounds: {max: 5/m}}";
const NEW: &str = "{logs: {severity: ERROR, new: true}}";

#[test]
fn counts_that_senders_told_do_not_wrap_around() {
    let send = |seconds: i64, logs: &mut Vec<LogRecord>| {
        if 1_200 <= seconds {
            for (severity, count) in [(Severity::ERROR, u64::MAX), (Severity::FATAL, 1)] {
                logs.push(record(at(seconds), severity, "out of memory", count));
            }
        }
    };
    for check in [BOUNDS, NEW] {
        let verdict = verdict("{}", check, send);
        assert_eq!(verdict.verdict, VerdictState::Fail, "{:?}", verdict.reasons);
    }
}

#[test]
fn errors_that_are_all_late_are_not_passed() {
    // Each minute an error; from some time on they come in time.
    let late = |until: i64| {
        move |seconds: i64, logs: &mut Vec<LogRecord>| {
            if seconds % 60 == 0 {
                let delay = if seconds < until { 30 } else { 0 };
                logs.push(record(at(seconds - delay), Severity::ERROR, "timeout", 1));
            }
        }
    };
    for check in [BOUNDS, NEW] {
        let verdict = verdict("{}", check, late(i64::MAX));
        assert_eq!(verdict.verdict, VerdictState::NoData, "{check}");
        assert_eq!(
            verdict.reasons,
            ["logs: ERROR records: what came could not be used (late) on h1"]
        );
        // A few of many do no harm, nor do those of the time before.
        for until in [-60, 5 * 60] {
            let verdict = self::verdict("{}", check, late(until));
            assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
        }
    }
    // Late records that the check does not select do none at all.
    let verdict = verdict("{}", BOUNDS, |seconds, logs| {
        logs.push(record(at(seconds - 30), Severity::INFO, "late", 1));
    });
    assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
}

#[test]
fn an_error_that_has_no_name_for_want_of_room_is_not_passed() {
    let send = |severity: Severity| {
        move |seconds: i64, logs: &mut Vec<LogRecord>| {
            for name in ["a", "b", "c", "d"] {
                logs.push(record(at(seconds), Severity::INFO, name, 1));
            }
            if seconds == 1_800 {
                logs.push(record(at(seconds), severity, "not there before", 1));
            }
        }
    };
    let full = "{templates: 5}";
    let verdict = verdict(full, NEW, send(Severity::ERROR));
    assert_eq!(verdict.verdict, VerdictState::NoData);
    assert_eq!(
        verdict.reasons,
        ["logs: ERROR records: what came could not be used (limits.templates) on h1"]
    );
    // What the check does not look at may be nameless.
    let all = "{logs: {new: true}}";
    for (check, severity) in [(NEW, Severity::WARN), (all, Severity::WARN)] {
        let verdict = self::verdict(full, check, send(severity));
        assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
    }
}

#[test]
fn records_that_tell_no_severity_prove_nothing_about_errors() {
    let nothing = |_: i64, _: &mut Vec<LogRecord>| {};
    let once = |seconds: i64, logs: &mut Vec<LogRecord>| {
        if seconds == -600 {
            logs.push(record(at(seconds), Severity::WARN, "slow", 1));
        }
    };
    for check in [BOUNDS, NEW, "{logs: {new: true}}"] {
        let verdict = verdict_beside(Severity::UNKNOWN, "{}", check, nothing);
        assert_eq!(verdict.verdict, VerdictState::NoData, "{check}");
        assert!(
            verdict.reasons[0].contains("tell no severity"),
            "{:?}",
            verdict.reasons
        );
        let verdict = verdict_beside(Severity::UNKNOWN, "{}", check, once);
        assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
    }
    // Who does not ask for a severity needs none.
    let any = "{logs: {body: error}, bounds: {max: 5/m}}";
    let verdict = verdict_beside(Severity::UNKNOWN, "{}", any, nothing);
    assert_eq!(verdict.verdict, VerdictState::Pass, "{:?}", verdict.reasons);
}
