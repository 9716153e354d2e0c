//! A gate decides by the data that has come, whatever times its deployer's reports have.

use super::{Change, Gate, GateError};
use crate::{
    detect::{Basis, Before, CheckState, Evidence, Finding},
    event::{Begin, Bypass, Hotfix, Span, Step, StepOutcome, Timestamp},
    gate::VerdictState,
    plan::{Plan, Skippable},
};

const PLAN: &str = "
checks: {}
services:
  web:
    stages:
      - {name: onebox, steps: [tests]}
";

fn start() -> Timestamp {
    Timestamp::from_seconds(1_772_359_200)
}

/// The gate of a deployment that began at the start.
fn gate(hotfix: Option<Hotfix>) -> Gate {
    let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
    let service = &plan.services["web"];
    let mut stage = service.stages[0].clone();
    stage.bake.min = Span::from_minutes(10);
    stage.bake.max = Span::from_minutes(10);
    stage.policies.hotfix_skips = vec![Skippable::Bake];
    let begin = Begin {
        at: start(),
        deployment: "d1".to_owned(),
        service: "web".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: Vec::new(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix,
    };
    let resolution = plan.resolution;
    Gate::open(
        begin,
        Before::until(start()),
        service,
        &stage,
        resolution,
        "",
        |_| unreachable!("no check"),
    )
}

/// A report of the step a number of seconds after the start.
fn report(gate: &mut Gate, outcome: StepOutcome, seconds: i64) -> Result<bool, GateError> {
    gate.report(&Step {
        at: start() + Span::from_seconds(seconds),
        deployment: "d1".to_owned(),
        step: "tests".to_owned(),
        outcome,
    })
}

/// The step passes a number of seconds after the start.
fn passes(gate: &mut Gate, seconds: i64) -> bool {
    report(gate, StepOutcome::Passed, seconds).unwrap()
}

/// The bucket closes that ends a number of seconds after the start.
fn close(gate: &mut Gate, seconds: i64) -> Option<Change> {
    let end = start() + Span::from_seconds(seconds);
    gate.observe(end, |_| unreachable!("no check"))
}

#[test]
fn a_step_ahead_of_the_data_does_not_end_the_bake() {
    let mut gate = gate(None);
    assert_eq!(close(&mut gate, 540), None);
    assert!(!passes(&mut gate, 601), "a minute of data is not there yet");
    assert_eq!(close(&mut gate, 590), None);
    assert_eq!(gate.state(), VerdictState::Pending);
    assert_eq!(close(&mut gate, 600), Some(Change::Verdict));
    assert_eq!(gate.state(), VerdictState::Pass);
    assert_eq!(gate.verdict().since, start() + Span::from_seconds(601));
}

#[test]
fn a_step_completes_the_proof_at_once_when_the_data_has_come() {
    let mut gate = gate(None);
    assert_eq!(close(&mut gate, 600), None);
    assert!(passes(&mut gate, 620));
    assert_eq!(gate.state(), VerdictState::Pass);
}

#[test]
fn a_step_that_fails_after_a_pass_is_refused_and_changes_nothing() {
    let mut gate = gate(None);
    close(&mut gate, 600);
    assert!(passes(&mut gate, 620));
    let passed = (gate.verdict(), gate.steps.clone());
    let refused = report(&mut gate, StepOutcome::Failed, 630).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "step \"tests\" failed after the gate had said PASS, at 2026-03-01T10:10:20Z: that is final and stands. \
         Roll the version back and end the deployment; to have it fail, begin another deployment of the \
         version and report the step there"
    );
    assert_eq!((gate.verdict(), gate.steps.clone()), passed);
    // A caller that did not hear our answer asks again.
    assert!(!passes(&mut gate, 640));
}

#[test]
fn a_failure_is_no_news_to_a_gate_that_failed_or_was_bypassed() {
    let bypass = Bypass {
        at: start(),
        deployment: "d1".to_owned(),
        by: "ana".to_owned(),
        reason: "known".to_owned(),
        ticket: "OPS-1".to_owned(),
    };
    let mut failed = gate(None);
    assert_eq!(report(&mut failed, StepOutcome::Failed, 10), Ok(true));
    assert_eq!(report(&mut failed, StepOutcome::Failed, 20), Ok(false));
    let mut bypassed = gate(None);
    assert_eq!(bypassed.bypass(bypass), Ok(true));
    assert_eq!(report(&mut bypassed, StepOutcome::Failed, 10), Ok(false));
    assert_eq!(bypassed.state(), VerdictState::Bypassed);
}

/// One that expires after five minutes.
fn hotfix() -> Hotfix {
    Hotfix {
        by: "mia".to_owned(),
        reason: "outage".to_owned(),
        ticket: "T1".to_owned(),
        expires: start() + Span::from_seconds(300),
    }
}

#[test]
fn a_failure_after_the_pass_of_a_hotfix_is_heard_by_what_it_did_not_wait_for() {
    let mut gate = gate(Some(hotfix()));
    close(&mut gate, 60);
    assert!(passes(&mut gate, 70));
    assert_eq!(gate.shadow().unwrap().verdict, VerdictState::Pending);
    assert_eq!(report(&mut gate, StepOutcome::Failed, 80), Ok(false));
    assert_eq!(close(&mut gate, 90), Some(Change::Shadow));
    assert_eq!(gate.shadow().unwrap().verdict, VerdictState::Fail);
    assert_eq!(gate.state(), VerdictState::Pass);
    // A caller that did not hear our answer asks again.
    assert_eq!(report(&mut gate, StepOutcome::Failed, 100), Ok(false));
}

#[test]
fn a_hotfix_expires_by_the_later_of_data_and_report() {
    let hotfix = hotfix();
    for (closed, reported, is_skipped) in [(280, 290, true), (280, 300, false), (300, 290, false)] {
        let mut gate = gate(Some(hotfix.clone()));
        assert_eq!(close(&mut gate, closed), None);
        let is_passed = passes(&mut gate, reported);
        assert_eq!(is_passed, is_skipped, "{closed} {reported}");
        assert_eq!(gate.shadow().is_some(), is_skipped, "{closed} {reported}");
    }
}

#[test]
fn a_pass_names_what_is_out_of_range_but_only_informs() {
    let plan = Plan::parse(
        "
checks:
  leak: {metric: rss, derivative: {}}
  everything: {metric: '*', bounds: {max: 1e9}}
services:
  web: {stages: [{name: onebox, steps: [tests], checks: [{check: leak, mode: advisory}, everything]}]}
",
    );
    let plan = plan.unwrap_or_else(|faults| panic!("{faults}"));
    let service = &plan.services["web"];
    let begin = gate(None).begin;
    let mut gate = Gate::open(
        begin,
        Before::until(start()),
        service,
        &service.stages[0],
        plan.resolution,
        "",
        |name| &plan.checks[name],
    );
    let entry = |metric: &str, state, note: &str| Evidence {
        hosts: vec!["h1".to_owned()],
        ..Evidence::bare(metric, state, Basis::Slo, note)
    };
    let leaks = Evidence {
        first_breach: Some(start() + Span::from_nanos(1_500_000_001)),
        ..entry("rss", CheckState::Breach, "rises by 3 %/h")
    };
    gate.checks[0].finding = Some(Finding::new(CheckState::Breach, vec![leaks]));
    let of_machine = "+40 %; informs only: it speaks of the machine";
    let metrics = vec![
        entry("latency", CheckState::Ok, "in range"),
        entry("node_load1", CheckState::Undecided, of_machine),
    ];
    gate.checks[1].finding = Some(Finding::new(CheckState::Ok, metrics));
    assert!(passes(&mut gate, 10));
    assert_eq!(
        gate.verdict().reasons,
        [
            "passes; advisory: leak: rss rises by 3 %/h, on h1, since 2026-03-01T10:00:01Z",
            "passes; advisory: everything: node_load1 +40 %; informs only: it speaks of the machine, on h1",
            "covered and in range: everything",
            "steps passed: tests",
        ]
    );
}

#[test]
fn what_decides_soon_is_waited_for_though_the_bake_is_over() {
    let plan = Plan::parse(
        "
checks:
  cpu: {metric: cpu, bounds: {max: 90, for: 5m}}
services:
  web: {stages: [{name: onebox, bake: 10m, checks: [cpu]}]}
",
    );
    let plan = plan.unwrap_or_else(|faults| panic!("{faults}"));
    let service = &plan.services["web"];
    let mut gate = Gate::open(
        gate(None).begin,
        Before::until(start()),
        service,
        &service.stages[0],
        plan.resolution,
        "",
        |name| &plan.checks[name],
    );
    let mut finding = Finding::new(CheckState::Undecided, Vec::new());
    finding.awaiting = Some("a value in range, until 10:12".to_owned());
    gate.watermark = start() + Span::from_minutes(10);
    for (holds, state, expected) in [
        (true, CheckState::Undecided, VerdictState::Pending),
        (false, CheckState::Undecided, VerdictState::Pass),
        (false, CheckState::Ok, VerdictState::Pass),
        (false, CheckState::Breach, VerdictState::Fail),
    ] {
        (finding.holds, finding.state) = (holds, state);
        gate.checks[0].finding = Some(finding.clone());
        let decision = gate.decide();
        assert_eq!(decision.state, expected, "{holds} {state:?}");
        if holds {
            let reason = "cpu: undecided, waits for a value in range, until 10:12";
            assert_eq!(decision.reasons, [reason]);
        }
    }
}

#[test]
fn times_in_reasons_have_no_fractions_of_a_second() {
    let mut gate = gate(None);
    let begin = Begin {
        at: start() + Span::from_nanos(123_456_789),
        ..gate.begin.clone()
    };
    let stage = gate.stage.clone();
    let plan = Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}"));
    gate = Gate::open(
        begin,
        Before::until(start()),
        &plan.services["web"],
        &stage,
        plan.resolution,
        "",
        |_| unreachable!("no check"),
    );
    close(&mut gate, 60);
    let reasons = gate.verdict().reasons;
    assert_eq!(reasons[1], "bake: 59s of 10m, until 2026-03-01T10:10:01Z");
    gate.end(start() + Span::from_nanos(60_987_654_321));
    let ended =
        "the deployment ended at 2026-03-01T10:01:00Z before its gate could decide; until then:";
    assert_eq!(gate.verdict().reasons[0], ended);
}
