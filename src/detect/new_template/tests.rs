//! Tests of new templates.

use super::{chance::draw_chance, *};
use crate::{
    detect::test_support::{
        BEGAN_SECONDS, Bench, Feed, first, log_check, silence_is_never_ok, states,
    },
    plan::DetectorPlan,
};
use CheckState::{Breach, NoData, Ok, Undecided, Warming};

const FLEET_9: [&str; 9] = ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9"];
const NEW: &str = "NullPointerException at <*>";
const OLD: &str = "timeout after <*> ms";

/// Each host writes an old error each minute; who writes the new one is the row's.
fn run(
    one_box: &[&str],
    fleet: &[&str],
    severity: Severity,
    is_new: impl Fn(&str, i64) -> bool,
) -> Vec<Finding> {
    let check = log_check(DetectorPlan::NewTemplate);
    let mut bench = Bench::new(check, one_box, fleet).grace(30);
    bench.run_templates(720, severity, |host, bucket| {
        let mut templates = Vec::new();
        if bucket.rem_euclid(6) == 0 {
            templates.push((OLD, 1));
        }
        if is_new(host, bucket) {
            templates.push((NEW, 2));
        }
        templates
    })
}

#[test]
fn dead_log_streams_are_never_ok() {
    silence_is_never_ok(&log_check(DetectorPlan::NewTemplate), |_, _| {
        Feed::Records(0.0)
    });
}

type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    Severity,
    fn(&str, i64) -> bool,
    &'static [CheckState],
);
const FLEET: &[&str] = &FLEET_9;
const ROWS: [Row; 8] = [
    (
        "nothing new",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |_, _| false,
        &[Warming, Ok],
    ),
    (
        "on the one-box again and again",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |host, at| host == "c1" && 60 <= at,
        &[Warming, Ok, Undecided, Breach],
    ),
    (
        "a single burst is chance",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |host, at| host == "c1" && (60..80).contains(&at),
        &[Warming, Ok, Undecided],
    ),
    (
        "the fleet writes it too",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |_, at| 60 <= at,
        &[Warming, Ok],
    ),
    (
        "the fleet writes it later",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |host, at| (host == "c1" && 60 <= at) || (host == "f1" && at == 100),
        &[Warming, Ok, Undecided, Ok],
    ),
    (
        "it was seen before",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |host, at| host == "c1" && (at == -300 || 60 <= at),
        &[Warming, Ok],
    ),
    (
        "only while it restarts",
        &["c1"],
        FLEET,
        Severity::ERROR,
        |host, at| host == "c1" && (0..30).contains(&at),
        &[Warming, Ok],
    ),
    (
        "new information never blocks",
        &["c1"],
        FLEET,
        Severity::INFO,
        |host, at| host == "c1" && 60 <= at,
        &[Warming, Ok],
    ),
];

#[test]
fn a_new_error_is_a_breach_when_chance_cannot_put_it_on_the_one_box_alone() {
    for (name, one_box, fleet, severity, is_new, expected) in ROWS {
        let findings = run(one_box, fleet, severity, is_new);
        assert_eq!(states(&findings), expected, "{name}");
    }
}

#[test]
fn what_the_new_version_wrote_before_the_deployment_was_told_is_new() {
    for (until, is_breach) in [(0, false), (-30, true)] {
        let check = log_check(DetectorPlan::NewTemplate);
        let mut bench = Bench::new(check, &["c1"], &FLEET_9).past_until(until);
        let findings = bench.run_templates(700, Severity::ERROR, |host, at| {
            let mut texts = vec![("known", 1)];
            if host == "c1" && -20 <= at {
                texts.push((NEW, 2));
            }
            texts
        });
        assert_eq!(first(&findings, Breach).is_some(), is_breach, "{until}");
    }
}

#[test]
fn the_breach_says_what_where_and_since_when() {
    let findings = run(&["c1"], &FLEET_9, Severity::ERROR, |host, at| {
        host == "c1" && 60 <= at
    });
    let breach = first(&findings, Breach).unwrap();
    let evidence = &findings[breach].evidence[0];
    assert_eq!(evidence.metric, NEW);
    assert_eq!(evidence.hosts, ["c1"]);
    assert_eq!(
        evidence.first_breach,
        Some(Timestamp::from_seconds(BEGAN_SECONDS + 600))
    );
    assert_eq!(evidence.basis, Basis::Exchangeable);
    assert_eq!(
        evidence.note,
        format!(
            "new template \"{NEW}\", {} times on c1, never before and not on the fleet \
             (chance 0.001, 0.0025 allowed)",
            2 * (breach + 1 - 60)
        )
    );
}

#[test]
fn the_worst_of_what_is_undecided_is_told_first() {
    let check = log_check(DetectorPlan::NewTemplate);
    let mut bench = Bench::new(check, &["c1"], &["f1"]);
    let findings = bench.run_templates(700, Severity::ERROR, |host, at| {
        let mut texts = vec![("known", 1)];
        if host == "c1" && at == 60 {
            texts.push(("once", 1));
        }
        if host == "c1" && (61..400).contains(&at) {
            texts.push((NEW, 2));
        }
        texts
    });
    let undecided = first(&findings, Undecided).unwrap();
    assert_eq!(findings[undecided].evidence[0].metric, "once");
    let last = findings.last().unwrap();
    assert_eq!(last.state, Undecided);
    let told: Vec<&str> = last.evidence.iter().map(|told| &*told.metric).collect();
    assert_eq!(told, [NEW, "once"]);
}

#[test]
fn several_hosts_at_once_are_evidence_without_waiting() {
    let findings = run(
        &["c1", "c2", "c3"],
        &FLEET_9,
        Severity::ERROR,
        |host, at| host.starts_with('c') && 60 <= at,
    );
    // Three of twelve hosts: 1 in 220 is not below 1 in 400, but three cells each soon are.
    let breach = first(&findings, Breach).unwrap();
    assert!((60..130).contains(&breach), "{breach}");
    assert!((draw_chance(3, 12, 3) - 1.0 / 220.0).abs() < 1e-12);
    assert_eq!(draw_chance(1, 10, 2), 0.1);
}

#[test]
fn one_sick_host_of_two_is_not_the_deployment() {
    let findings = run(&["c1", "c2"], &FLEET_9, Severity::ERROR, |host, at| {
        host == "c1" && 60 <= at
    });
    assert_eq!(first(&findings, Breach), None);
    assert_eq!(findings[findings.len() - 2].state, Undecided);
    // But nobody can tell, and nobody is told that it is well.
    let last = findings.last().unwrap();
    assert_eq!(
        (last.state, &last.cause),
        (NoData, &Some(NoDataCause::OneHost))
    );
    assert!(last.evidence[0].note.contains("replace it"), "{last:?}");
}

/// Two of eleven hosts write it in three of their cells, or once each.
#[test]
fn what_is_hardly_chance_is_no_pass() {
    for (again, expected) in [
        (200, (NoData, Some(NoDataCause::Likely))),
        (60, (Undecided, None)),
    ] {
        let findings = run(&["c1", "c2"], &FLEET_9, Severity::ERROR, |host, at| {
            host.starts_with('c') && at == 60 || host == "c1" && at == again
        });
        assert_eq!(first(&findings, Breach), None);
        assert_eq!(findings[findings.len() - 2].state, Undecided);
        let last = findings.last().unwrap();
        assert_eq!((last.state, last.cause.clone()), expected, "{last:?}");
    }
}

#[test]
fn a_lone_host_needs_three_cells_and_a_past() {
    for (past, expected) in [(360, Breach), (1, Undecided)] {
        let check = log_check(DetectorPlan::NewTemplate);
        let mut bench = Bench::new(check, &[], &[]).past(past);
        let first_seen = bench.at(-past);
        bench.one_box = vec![bench.hosts.add(Arc::from("c1"), first_seen)];
        let findings = bench.run_templates(720, Severity::ERROR, |_, at| {
            if 60 <= at { vec![(NEW, 1)] } else { Vec::new() }
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, expected, "{past}");
        assert_eq!(last.evidence[0].basis, Basis::Model);
    }
}

#[test]
fn a_fleet_whose_streams_are_dead_is_no_fleet() {
    let check = log_check(DetectorPlan::NewTemplate);
    let mut bench = Bench::new(check, &["c1"], &[]);
    bench.fleet = vec![bench.hosts.add(Arc::from("f1"), Timestamp::MIN)];
    let findings = bench.run(720, |host, _| {
        if host == "f1" {
            Feed::Silent
        } else {
            Feed::Records(0.0)
        }
    });
    let last = findings.last().unwrap();
    assert_eq!(last.state, Ok);
    assert_eq!(last.evidence[0].basis, Basis::Model);
    assert_ne!(last.state, NoData);
}

#[test]
fn the_severity_below_which_nothing_blocks_is_warn() {
    for (given, expected) in [
        (None, Severity::ERROR),
        (Some(Severity::INFO), Severity::WARN),
        (Some(Severity::FATAL), Severity::FATAL),
    ] {
        let mut check = log_check(DetectorPlan::NewTemplate);
        if let Selection::Logs(logs) = &mut check.selection {
            logs.severity = given;
        }
        assert_eq!(template_severity(&check), expected);
    }
}
