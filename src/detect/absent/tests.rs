//! What absence says, bucket by bucket.

use super::*;
use crate::{
    detect::test_support::{
        Bench, Feed, first, log_check, series_check, silence_is_never_ok, states,
    },
    reduce::LossReason,
};
use CheckState::{Breach, NoData, Ok, Undecided, Warming};
use NoDataCause::{NeverArrived, NoFleet, NothingSelected};

fn plan() -> DetectorPlan {
    DetectorPlan::Absent {
        after: Span::from_minutes(5),
    }
}

fn silent_from(host: &'static str, bucket: i64) -> impl Fn(&str, i64) -> Feed {
    move |name, at| {
        if name == host && bucket <= at {
            Feed::Silent
        } else {
            Feed::Value(1.0)
        }
    }
}

#[test]
fn silence_is_never_ok_here_of_all_places() {
    silence_is_never_ok(&series_check(plan()), |_, _| Feed::Value(1.0));
    silence_is_never_ok(&log_check(plan()), |_, _| Feed::Records(1.0));
}

type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    fn(&str, i64) -> Feed,
    CheckState,
    Option<NoDataCause>,
);
const ROWS: [Row; 8] = [
    (
        "all speak",
        &["c1"],
        &["f1"],
        |_, _| Feed::Value(1.0),
        Ok,
        None,
    ),
    (
        "stopped, the fleet speaks",
        &["c1"],
        &["f1", "f2"],
        |host, at| silent_from("c1", 100)(host, at),
        Breach,
        None,
    ),
    (
        "never heard, the fleet speaks",
        &["c1"],
        &["f1", "f2"],
        |host, at| silent_from("c1", -999)(host, at),
        Breach,
        None,
    ),
    (
        "a removed fleet host is no outage",
        &["c1"],
        &["f1", "f2"],
        |host, at| match host {
            "f1" => silent_from("f1", 0)(host, at),
            _ => silent_from("c1", 100)(host, at),
        },
        Breach,
        None,
    ),
    (
        "all fall silent at once",
        &["c1"],
        &["f1", "f2"],
        |_, at| {
            if at < 100 {
                Feed::Value(1.0)
            } else {
                Feed::Silent
            }
        },
        NoData,
        Some(NoFleet),
    ),
    (
        "another judged host speaks",
        &["c1", "c2"],
        &[],
        |host, at| silent_from("c2", 100)(host, at),
        Breach,
        None,
    ),
    (
        "the lone host stops before the deployment",
        &["c1"],
        &[],
        |host, at| silent_from("c1", 0)(host, at),
        NoData,
        Some(NeverArrived),
    ),
    (
        "nobody ever",
        &["c1"],
        &["f1"],
        |_, _| Feed::Silent,
        NoData,
        Some(NothingSelected),
    ),
];

#[test]
fn a_silent_host_is_a_breach_only_with_a_witness() {
    for (name, one_box, fleet, feed, state, cause) in ROWS {
        let mut bench = Bench::new(series_check(plan()), one_box, fleet);
        let last = bench.run(200, feed).pop().unwrap();
        assert_eq!(
            (last.state, last.cause.clone()),
            (state, cause),
            "{name}: {last:?}"
        );
    }
}

#[test]
fn the_breach_comes_when_the_time_is_over_and_says_who_and_since_when() {
    let mut bench = Bench::new(series_check(plan()), &["c1", "c2"], &["f1"]);
    let findings = bench.run(200, silent_from("c2", 100));
    assert_eq!(first(&findings, Breach), Some(100 + 30));
    let evidence = &findings[130].evidence[0];
    assert_eq!(evidence.hosts, ["c2"]);
    assert_eq!(evidence.first_breach, Some(bench.at(100)));
    assert_eq!(
        (evidence.observed, evidence.expected),
        (Some(310.0), Some(300.0))
    );
    assert_eq!(evidence.note, "silent for 5m10s on c2, while others speak");
}

/// Scrapes of a minute, each host's at another second: a pipeline that stands still is left by one host
/// after the other, and found again by one after the other.
#[test]
fn an_outage_of_the_pipeline_is_no_absence_whoever_falls_silent_first_and_comes_back_last() {
    const EVERY: i64 = 6;
    let outage = 100..140;
    for phase in 0..EVERY {
        for dies in [None, Some(160)] {
            let mut bench = Bench::new(series_check(plan()), &["c1"], &["f1", "f2", "f3"]);
            let findings = bench.run(260, |host, bucket| {
                let own = match host {
                    "c1" => phase,
                    "f1" => 1,
                    "f2" => 3,
                    _ => 5,
                };
                let is_dead = host == "c1" && dies.is_some_and(|at| at <= bucket);
                let is_due = (bucket - own).rem_euclid(EVERY) == 0;
                if is_due && !is_dead && !outage.contains(&bucket) {
                    Feed::Value(bucket as f64)
                } else {
                    Feed::Silent
                }
            });
            let seen = states(&findings);
            assert!(seen.contains(&NoData), "{phase}: {seen:?}");
            match (dies, first(&findings, Breach)) {
                (None, None) => {}
                (Some(died), Some(at)) => {
                    // The last word was at most a scrape before.
                    assert!(
                        (died + 25..=died + 31).contains(&(at as i64)),
                        "{phase}: {at}"
                    );
                }
                (_, at) => panic!("{phase}, dies {dies:?}: breach {at:?}"),
            }
        }
    }
}

#[test]
fn a_host_that_is_never_heard_has_the_grace_to_speak_up() {
    let mut bench = Bench::new(series_check(plan()), &["c1"], &["f1"]).grace(60);
    let findings = bench.run(200, silent_from("c1", -999));
    assert_eq!(states(&findings), [Warming, Breach]);
    assert_eq!(first(&findings, Breach), Some(60));
}

#[test]
fn values_that_cannot_be_used_are_absent_and_the_note_says_so() {
    let mut bench = Bench::new(series_check(plan()), &["c1"], &["f1"]);
    let findings = bench.run(100, |host, bucket| {
        if host == "c1" && 10 <= bucket {
            Feed::Lost(LossReason::NotFinite)
        } else {
            Feed::Value(1.0)
        }
    });
    assert_eq!(states(&findings), [Ok, Undecided, Breach]);
    let note = &findings[99].evidence[0].note;
    assert!(
        note.ends_with("what came could not be used (not_finite)"),
        "{note}"
    );
}

#[test]
fn a_living_log_stream_without_the_record_is_absent() {
    // A heartbeat each minute; the stream itself stays alive.
    let mut bench = Bench::new(log_check(plan()), &["c1"], &["f1"]);
    let findings = bench.run(200, |host, bucket| {
        let is_beat = bucket.rem_euclid(6) == 0 && (host != "c1" || bucket < 100);
        Feed::Records(if is_beat { 1.0 } else { 0.0 })
    });
    // Five beats are all that it may miss.
    assert_eq!(states(&findings), [Ok, Breach]);
    // The last beat was in bucket 96.
    assert_eq!(first(&findings, Breach), Some(97 + 30));
}

#[test]
fn a_beat_before_the_deployment_is_remembered_but_proves_nothing_since() {
    let mut bench = Bench::new(log_check(plan()), &["c1"], &["f1"]);
    let findings = bench.run(20, |host, bucket| {
        Feed::Records(if host == "c1" && 0 <= bucket {
            0.0
        } else {
            1.0
        })
    });
    assert_eq!(states(&findings), [Warming]);
}

#[test]
fn who_is_silent_for_longer_than_usual_holds_the_gate_until_the_time_is_over() {
    // Every so many buckets, silent from one on; the bake ends with bucket 120, the time is over with 150 at most.
    for (every, from, holds) in [
        (1, 99, true),
        (1, 109, false),
        (3, 96, true),
        (3, 108, false),
        (6, 96, false),
    ] {
        let mut bench = Bench::new(series_check(plan()), &["c1"], &["f1", "f2"]).bake(120);
        let findings = bench.run(200, |host, bucket| {
            let is_due = bucket.rem_euclid(every) == 0 && (host != "c1" || bucket < from);
            if is_due {
                Feed::Value(1.0)
            } else {
                Feed::Silent
            }
        });
        let at_end = &findings[119];
        assert_eq!(at_end.holds, holds, "{every} {from}: {at_end:?}");
        let expected = if holds { Undecided } else { Ok };
        assert_eq!(at_end.state, expected, "{every} {from}: {at_end:?}");
        assert_eq!(findings[199].state, Breach);
        if every == 1 && holds {
            let awaiting = at_end.awaiting.as_deref().unwrap();
            assert_eq!(
                awaiting,
                "data of c1, or silence of 5m, until 2026-03-01T10:21:30Z"
            );
        }
    }
    // So does who falls silent while a step is awaited.
    let mut bench = Bench::new(series_check(plan()), &["c1"], &["f1", "f2"]).bake(120);
    let findings = bench.run(145, silent_from("c1", 125));
    assert_eq!(
        (findings[144].state, findings[144].holds),
        (Undecided, true)
    );
}

/// Pods of a one-box beside two of the fleet: `a` and `b` from the start, of which some go in bucket 100, and others
/// come at a time.
fn moved(gone: &[&str], come: &[&str], at: i64) -> Vec<Finding> {
    let mut bench = Bench::new(series_check(plan()), &["a", "b"], &["f1", "f2"]);
    let feed = |host: &str, bucket: i64| {
        if gone.contains(&host) && 100 <= bucket {
            Feed::Silent
        } else {
            Feed::Value(1.0)
        }
    };
    let mut findings = bench.run(at, feed);
    for name in come {
        let id = bench.hosts.add((*name).into(), bench.at(at));
        bench.one_box.push(id);
    }
    findings.extend(bench.run(200, feed));
    findings
}

#[test]
fn a_host_that_goes_while_another_comes_was_moved() {
    let rows: [(&[&str], &[&str], i64, CheckState); 8] = [
        (&["a"], &[], 101, Breach),
        (&["a"], &["c"], 101, NoData),
        // It came a little before: a surge.
        (&["a"], &["c"], 80, NoData),
        // Half an hour before, or too late.
        (&["a"], &["c"], 40, Breach),
        (&["a"], &["c"], 140, Breach),
        // As many as came.
        (&["a", "b"], &["c"], 101, Breach),
        (&["a", "b"], &["c", "d"], 101, NoData),
        // What comes and goes itself replaces nobody.
        (&["a", "c"], &["c"], 95, Breach),
    ];
    for (gone, come, at, expected) in rows {
        let findings = moved(gone, come, at);
        let last = &findings[findings.len() - 1];
        assert_eq!(last.state, expected, "{gone:?} {come:?} {at}: {last:?}");
        let has_failed = first(&findings, Breach).is_some();
        assert_eq!(has_failed, expected == Breach, "{gone:?} {come:?} {at}");
    }
}

/// A host that was named and is silent from the start replaces nobody when it speaks at last.
#[test]
fn a_host_that_was_named_takes_nobodys_place() {
    let mut bench = Bench::new(series_check(plan()), &["a", "b"], &["f1", "f2"]).grace(120);
    let findings = bench.run(200, |host, bucket| {
        let is_here = match host {
            "a" => bucket < 100,
            "b" => 101 <= bucket,
            _ => true,
        };
        if is_here {
            Feed::Value(1.0)
        } else {
            Feed::Silent
        }
    });
    assert!(first(&findings, Breach).is_some());
}

/// A stage without a one-box: nobody is judged before the grace is over, and then who speaks. Each pod that comes takes
/// the place of one that goes six buckets later.
#[test]
fn a_hand_over_over_the_end_of_the_grace_is_one() {
    // When pods come, and whether one that nobody replaced goes in bucket 70.
    let rows: [(&[i64], bool, CheckState); 4] = [
        (&[27, 40, 55], false, NoData),
        (&[10, 27, 40], false, NoData),
        // Who came for one that went within the grace does not stand for another.
        (&[10, 27, 40], true, Breach),
        (&[10, 15, 20], false, Ok),
    ];
    for (come, is_lost, expected) in rows {
        let mut bench = Bench::new(series_check(plan()), &[], &[]).grace(30);
        let old = ["old-0", "old-1", "old-2", "old-3", "old-4"];
        let new = ["new-0", "new-1", "new-2"];
        let from = bench.at(-360);
        let add = |bench: &mut Bench, name: &str, at| bench.hosts.add(name.into(), at);
        let ids: Vec<(&str, HostId)> = (old.iter().chain(&new))
            .map(|name| (*name, add(&mut bench, name, from)))
            .collect();
        let span = |name: &str| {
            let number = name[4..].parse::<usize>().unwrap();
            match come.get(number) {
                Some(at) if name.starts_with("new") => (*at, i64::MAX),
                Some(at) => (-360, at + 6),
                None if is_lost && number == 3 => (-360, 70),
                None => (-360, i64::MAX),
            }
        };
        let mut findings = Vec::new();
        for bucket in -360..200 {
            for (name, id) in &ids {
                let (first, last) = span(name);
                let is_heard = first.max(30) <= bucket && bucket < last;
                if is_heard && !bench.one_box.contains(id) {
                    bench.one_box.push(*id);
                }
            }
            findings.extend(bench.run(bucket + 1, |name, at| {
                let (first, last) = span(name);
                if (first..last).contains(&at) {
                    Feed::Value(at as f64)
                } else {
                    Feed::Silent
                }
            }));
        }
        let last = &findings[findings.len() - 1];
        assert_eq!(last.state, expected, "{come:?} {is_lost}: {last:?}");
    }
}

/// When hosts speak, and why that is no coverage.
type Pauses = (&'static str, fn(i64) -> bool, Option<NoDataCause>);

/// A silence of everybody proves nothing against a host, and nothing for it either.
#[test]
fn silence_of_half_of_the_bake_is_no_health_though_all_speak_again() {
    let gaps = |percent| NoDataCause::Gaps {
        covered_percent: percent,
        lost: None,
    };
    let rows: [Pauses; 5] = [
        ("always", |_| true, None),
        (
            "all but its ends",
            |at| !(31..359).contains(&at),
            Some(gaps(0)),
        ),
        (
            "more than half",
            |at| !(90..270).contains(&at),
            Some(gaps(45)),
        ),
        ("six minutes", |at| !(120..156).contains(&at), None),
        (
            "a minute of seven",
            |at| at < 30 || at % 42 < 6,
            Some(gaps(21)),
        ),
    ];
    for (name, speaks, cause) in rows {
        for fleet in [&[][..], &["f1", "f2", "f3"]] {
            for check in [series_check(plan()), log_check(plan())] {
                let is_log = is_log(&check);
                let mut bench = Bench::new(check, &["c1"], fleet).grace(30).bake(360);
                let findings = bench.run(360, |_, at| match (speaks(at), is_log) {
                    (false, _) => Feed::Silent,
                    (true, false) => Feed::Value(at as f64),
                    (true, true) => Feed::Records(1.0),
                });
                // Of the grace nothing is asked.
                assert!(findings[..30].iter().all(|finding| finding.state == Ok));
                let last = findings.last().unwrap();
                let state = if cause.is_some() { NoData } else { Ok };
                assert_eq!(
                    (last.state, &last.cause),
                    (state, &cause),
                    "{name}: {last:?}"
                );
                // Nor does it pass early.
                let is_early = |finding: &&Finding| finding.state == Ok;
                let late = findings[300..].iter().filter(is_early).count();
                assert_eq!(late == 0, cause.is_some(), "{name}");
            }
        }
    }
}

#[test]
fn data_that_comes_after_the_bake_makes_up_for_what_it_lacked() {
    let mut bench = Bench::new(series_check(plan()), &["c1"], &["f1"])
        .grace(30)
        .bake(360);
    let findings = bench.run(700, |_, at| {
        if (31..359).contains(&at) {
            Feed::Silent
        } else {
            Feed::Value(at as f64)
        }
    });
    // As long as it was silent; a bucket's finding is of its end.
    assert_eq!(first(&findings[360..], Ok), Some(30 + 2 * 329 - 361));
}
