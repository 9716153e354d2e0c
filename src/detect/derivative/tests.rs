//! Tests of the derivative detector.

use super::*;
use crate::detect::NoDataCause;
use crate::detect::test_support::{
    Bench, Feed, first, noise, series_check, silence_is_never_ok, states,
};
use CheckState::{Breach, NoData, Ok, Undecided, Warming};

fn limited(per_hour: f64, minutes: i64) -> Check {
    series_check(DetectorPlan::Derivative {
        max: Some(Slope::Relative(per_hour / 3_600.0)),
        min: None,
        over: Span::from_minutes(minutes),
    })
}

fn unlimited() -> Check {
    series_check(DetectorPlan::Derivative {
        max: None,
        min: None,
        over: Span::from_minutes(30),
    })
}

/// Hours since the deployment began.
fn hours(bucket: i64) -> f64 {
    bucket as f64 / 360.0
}

#[test]
fn silence_is_never_flat() {
    silence_is_never_ok(&limited(0.1, 60), |_, _| Feed::Value(50.0));
    silence_is_never_ok(&unlimited(), |host, bucket| {
        Feed::Value(100.0 + noise(1, host, bucket))
    });
}

#[test]
fn a_leak_is_told_from_what_only_looks_like_one() {
    // In two teeth of a saw a leak of a tenth an hour could hide: that is not in range.
    type Row = (&'static str, fn(i64) -> f64, CheckState);
    let rows: [Row; 9] = [
        ("flat", |_| 100.0, Ok),
        ("noise", |at| 100.0 + 3.0 * noise(7, "c1", at), Ok),
        ("slow enough", |at| 100.0 + 4.0 * hours(at), Ok),
        (
            "a leak",
            |at| 100.0 + 30.0 * hours(at) + 2.0 * noise(7, "c1", at),
            Breach,
        ),
        (
            "a saw-tooth of 15 minutes",
            |at| 100.0 + 50.0 * (at.rem_euclid(90) as f64 / 90.0),
            Undecided,
        ),
        (
            "a saw-tooth of 40 minutes",
            |at| 100.0 + 50.0 * (at.rem_euclid(240) as f64 / 240.0),
            Undecided,
        ),
        (
            "a leak under a saw-tooth",
            |at| 100.0 + 40.0 * hours(at) + 20.0 * (at.rem_euclid(30) as f64 / 30.0),
            Breach,
        ),
        (
            "a cache that fills up",
            |at| 100.0 - 40.0 * (-(at as f64) / 90.0).exp(),
            Ok,
        ),
        (
            "a restart in the middle",
            |at| {
                if at < 360 {
                    100.0
                } else {
                    100.0 - 60.0 * (-((at - 360) as f64) / 40.0).exp()
                }
            },
            Ok,
        ),
    ];
    for (name, level, expected) in rows {
        let mut bench = Bench::new(limited(0.1, 60), &["c1"], &[]);
        let findings = bench.run(720, |_, bucket| Feed::Value(level(bucket)));
        let is_leak = expected == Breach;
        assert_eq!(first(&findings, Breach).is_some(), is_leak, "{name}");
        assert_eq!(findings[0].state, Warming, "{name}");
        assert_eq!(states(&findings).contains(&Ok), expected == Ok, "{name}");
    }
}

#[test]
fn falls_have_limits_too_and_the_note_says_when_it_is_used_up() {
    let check = series_check(DetectorPlan::Derivative {
        max: None,
        min: Some(Slope::Absolute(-5.0 / 3_600.0)),
        over: Span::from_minutes(60),
    });
    let mut bench = Bench::new(check, &["c1", "c2"], &[]);
    let findings = bench.run(720, |host, bucket| {
        let pace = if host == "c2" { 20.0 } else { 0.0 };
        Feed::Value(100.0 - pace * hours(bucket))
    });
    let last = findings.last().unwrap();
    assert_eq!(last.state, Breach);
    let evidence = &last.evidence[0];
    assert_eq!(evidence.hosts, ["c2"]);
    assert!((evidence.observed.unwrap() + 20.0).abs() < 0.1);
    assert!((evidence.expected.unwrap() + 5.0).abs() < 1e-9);
    assert_eq!(evidence.basis, Basis::Slo);
    assert!(
        evidence
            .note
            .starts_with("slope -20/h, -5/h allowed, on c2; at this pace used up in about 3."),
        "{}",
        evidence.note
    );
}

#[test]
fn a_ramp_that_began_before_the_grace_ended_is_judged_after_it() {
    let mut bench = Bench::new(limited(0.1, 60), &["c1"], &[]).grace(180);
    let findings = bench.run(720, |_, bucket| {
        // Memory fills up after a restart, within the grace.
        Feed::Value(if bucket < 170 {
            10.0 + bucket as f64
        } else {
            180.0
        })
    });
    assert_eq!(states(&findings), [Warming, Ok]);
    // Half of the window is full with bucket 359; the next look comes within two minutes.
    let look = first(&findings, Ok).unwrap();
    assert!((359..359 + 12).contains(&look), "{look}");
}

#[test]
fn against_a_fleet_only_a_trend_of_its_own_counts() {
    const FLEET: [&str; 8] = ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"];
    // Everybody grows with the day; who grows more is the row's, in percent an hour.
    for (name, extra, expected) in [("like the fleet", 0.0, false), ("a leak", 20.0, true)] {
        let mut bench = Bench::new(unlimited(), &["c1", "c2"], &FLEET);
        let findings = bench.run(720, |host, bucket| {
            let own = if host.starts_with('c') { extra } else { 0.0 };
            let base = 100.0 + 15.0 * hours(bucket) + own * hours(bucket.max(0));
            Feed::Value(base + noise(3, host, bucket))
        });
        assert_eq!(first(&findings, Breach).is_some(), expected, "{name}");
        let last = &findings.last().unwrap().evidence[0];
        assert_eq!(last.basis, Basis::GaussianHosts);
        if expected {
            assert_eq!(last.hosts, ["c1", "c2"]);
            assert!(last.observed.unwrap() > last.expected.unwrap() + 0.05);
        }
    }
}

/// A saw-tooth of a third, each host's at its own time.
fn saw(host: &str, bucket: i64) -> f64 {
    let phase = host.bytes().map(i64::from).sum::<i64>() * 37;
    100.0 + 30.0 * (bucket + phase).rem_euclid(90) as f64 / 90.0
}

#[test]
fn beside_a_fleet_a_leak_is_found_below_saw_teeth_and_what_could_hide_in_them_is_told() {
    const FLEET: [&str; 6] = ["f1", "f2", "f3", "f4", "f5", "f6"];
    for (pace, expected) in [(0.0, false), (100.0, true)] {
        let mut bench = Bench::new(unlimited(), &["c1"], &FLEET);
        let findings = bench.run(720, |host, bucket| {
            let own = if host == "c1" { pace } else { 0.0 };
            Feed::Value(saw(host, bucket) + own * hours(bucket.max(0)))
        });
        assert_eq!(first(&findings, Breach).is_some(), expected, "{pace}");
        if !expected {
            assert_eq!(findings.last().unwrap().state, Undecided);
        }
    }
}

#[test]
fn beside_a_fleet_memory_that_fills_again_is_no_leak_until_it_exceeds_what_it_was() {
    const FLEET: [&str; 7] = ["f1", "f2", "f3", "f4", "f5", "f6", "f7"];
    const MEMORY: &str = "process_resident_memory_bytes";
    // Which metric, what the restart takes, how fast it comes back in hours, and the leak in percent an hour.
    for (metric, lost, refill, pace, expected) in [
        (MEMORY, 60.0, 1.0 / 6.0, 0.0, false),
        (MEMORY, 60.0, 1.0 / 3.0, 0.0, false),
        (MEMORY, 60.0, 2.0 / 3.0, 0.0, false),
        (MEMORY, 20.0, 1.0 / 3.0, 0.0, false),
        ("process_open_fds", 60.0, 1.0 / 3.0, 0.0, false),
        (MEMORY, 60.0, 1.0 / 3.0, 20.0, true),
        (MEMORY, 60.0, 1.0 / 3.0, 100.0, true),
        (MEMORY, 0.0, 1.0, 20.0, true),
        // A queue is not gathered anew: it grows.
        ("queue_depth", 60.0, 1.0 / 3.0, 0.0, true),
    ] {
        for has_past in [true, false] {
            let mut bench = Bench::new(unlimited(), &["c1"], &FLEET).metrics(&[metric]);
            let findings = bench.run_metrics(720, |_, host, bucket| {
                let is_judged = host == "c1" && 0 <= bucket;
                if host == "c1" && !is_judged && !has_past {
                    return Feed::Silent;
                }
                let lacks = if is_judged {
                    lost * (-hours(bucket) / refill).exp()
                } else {
                    0.0
                };
                let leaked = if is_judged { pace * hours(bucket) } else { 0.0 };
                let saw = saw(host, bucket) / 15.0;
                Feed::Value(100.0 + saw - lacks + leaked + noise(9, host, bucket) / 3.0)
            });
            let told = format!("{metric} {lost} {refill} {pace} {has_past}");
            assert_eq!(first(&findings, Breach).is_some(), expected, "{told}");
            // While it fills, a leak may hide in it.
            let at = first(&findings, Undecided).expect("it is not in range while it rises");
            let early = &findings[at..=at];
            assert_eq!(states(early), [Undecided], "{told}");
            if expected {
                assert!(lost == 0.0 || first(&findings, Ok).is_none(), "{told}");
            } else {
                let last = findings.last().unwrap();
                assert!([Ok, Undecided].contains(&last.state), "{told}: {last:?}");
            }
        }
    }
}

#[test]
fn without_a_fleet_the_past_is_the_measure_and_its_lack_is_said() {
    for (past, pace, expected) in [(2_160, 0.0, Ok), (2_160, 60.0, Breach), (300, 60.0, NoData)] {
        let mut bench = Bench::new(unlimited(), &["c1"], &[]).past(past);
        let findings = bench.run(720, |host, bucket| {
            Feed::Value(100.0 + pace * hours(bucket.max(0)) + 2.0 * noise(5, host, bucket))
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, expected, "{past} {pace} {last:?}");
        assert_eq!(last.evidence[0].basis, Basis::Model);
    }
}

/// Few hosts with an hour of past each, below saw-teeth of a quarter of an hour; some leak from the beginning on.
fn few(fleet: &[&'static str], leaking: &[&str], pace: f64) -> Vec<Finding> {
    let mut bench = Bench::new(unlimited(), &["c1"], fleet);
    bench.run(720, |host, bucket| {
        let own = if leaking.contains(&host) { pace } else { 0.0 };
        Feed::Value(saw(host, bucket) + own * hours(bucket.max(0)))
    })
}

#[test]
fn beside_few_hosts_an_hour_of_past_tells_a_leak_from_saw_teeth() {
    for fleet in [&[][..], &["f1"], &["f1", "f2"]] {
        let leak = few(fleet, &["c1"], 300.0);
        assert!(
            first(&leak, Breach).is_some(),
            "{fleet:?}: {:?}",
            leak.last()
        );
        // A third of that, three times as much as the teeth in an hour, is not certain.
        let likely = few(fleet, &["c1"], 100.0);
        let last = likely.last().unwrap();
        assert_eq!(last.cause, Some(NoDataCause::Likely), "{fleet:?}: {last:?}");
        assert!(last.evidence[0].note.contains("likely harm"), "{last:?}");
        let healthy = few(fleet, &[], 0.0);
        let last = healthy.last().unwrap();
        assert!(first(&healthy, Breach).is_none(), "{fleet:?}");
        assert!([Ok, Undecided].contains(&last.state), "{fleet:?}: {last:?}");
    }
    // What a host of the fleet does as well is not the version's fault.
    let shared = few(&["f1", "f2"], &["c1", "f2"], 100.0);
    assert_eq!(shared.last().unwrap().state, Undecided);
    assert!(first(&shared, Breach).is_none());
}

#[test]
fn a_likely_leak_of_the_latest_window_is_not_hidden_by_the_time_before_it() {
    for pace in [100.0, 150.0, 200.0, 300.0] {
        let mut bench = Bench::new(unlimited(), &["c1"], &[]);
        let findings = bench.run(720, |host, bucket| {
            Feed::Value(saw(host, bucket) + pace * hours((bucket - 560).max(0)))
        });
        let last = findings.last().unwrap();
        assert_eq!(last.cause, Some(NoDataCause::Likely), "{pace}: {last:?}");
    }
}

#[test]
fn memory_that_fills_again_to_where_it_was_is_no_leak() {
    let mut bench = Bench::new(unlimited(), &["c1"], &[]).past(1_080);
    let findings = bench.run(720, |_, bucket| {
        let lacks = if bucket < 0 {
            0.0
        } else {
            60.0 * (-hours(bucket)).exp()
        };
        Feed::Value(saw("c1", bucket) / 10.0 + 90.0 - lacks)
    });
    assert!(first(&findings, Breach).is_none());
    assert_ne!(findings.last().unwrap().state, NoData);
}

#[test]
fn nothing_to_hold_a_trend_against_is_no_data_that_says_what_helps() {
    let feed = |bucket: i64| Feed::Value(100.0 + (bucket % 3) as f64);
    let mut bench = Bench::new(unlimited(), &["c1"], &[]).past(0);
    let findings = bench.run(720, |_, bucket| feed(bucket));
    let last = findings.last().unwrap();
    assert_eq!(last.cause, Some(NoDataCause::NoPast), "{last:?}");
    let note = &last.evidence[0].note;
    assert!(
        note.contains("52m30s of data") && note.contains("max:"),
        "{note}"
    );
    assert_eq!(findings[findings.len() - 2].state, Undecided);
    // An owner's limit needs no past.
    let mut bench = Bench::new(limited(0.1, 60), &["c1"], &[]).past(0);
    let findings = bench.run(720, |_, bucket| feed(bucket));
    assert_eq!(findings.last().unwrap().state, Ok);
    // Nor does one metric of several, which came with the version.
    let mut bench = Bench::new(unlimited(), &["c1"], &[]).metrics(&["m", "new"]);
    let findings = bench.run_metrics(720, |metric, _, bucket| {
        if metric == "m" || 0 <= bucket {
            feed(bucket)
        } else {
            Feed::Silent
        }
    });
    assert_eq!(findings.last().unwrap().state, Undecided);
}

#[test]
fn samples_too_rare_for_any_trend_are_no_data() {
    let mut bench = Bench::new(limited(0.1, 30), &["c1"], &[]);
    let findings = bench.run(720, |_, bucket| {
        if bucket.rem_euclid(60) == 0 {
            Feed::Value(100.0 + (bucket % 7) as f64)
        } else {
            Feed::Silent
        }
    });
    let last = findings.last().unwrap();
    assert_eq!(last.cause, Some(NoDataCause::TooFew), "{last:?}");
    assert!(last.evidence[0].note.contains("over:"), "{last:?}");
}

#[test]
fn healthy_fleets_are_rarely_blamed() {
    let mut blamed = 0;
    for seed in 0..40 {
        let mut bench =
            Bench::new(unlimited(), &["c1"], &["f1", "f2", "f3", "f4", "f5"]).resolution(60);
        let mut levels = [100.0; 6];
        let findings = bench.run(120, |host, bucket| {
            // A random walk that reverts: real levels wander.
            let index = host.bytes().map(usize::from).sum::<usize>() % 6;
            levels[index] += 0.05 * (100.0 - levels[index]) + noise(seed, host, bucket);
            Feed::Value(levels[index])
        });
        blamed += usize::from(first(&findings, Breach).is_some());
    }
    assert!(blamed <= 1, "{blamed} of 40");
}

#[test]
fn a_metric_that_was_forgotten_is_not_waited_for() {
    let mut bench = Bench::new(limited(0.1, 60), &["c1"], &[]).metrics(&["m", "old"]);
    let feed = |metric: &str, _: &str, bucket: i64| {
        if metric == "m" || bucket < -300 {
            Feed::Value(100.0 + (bucket % 3) as f64)
        } else {
            Feed::Silent
        }
    };
    bench.run_metrics(0, feed);
    bench.panel.forget_tracks(bench.at(-100));
    bench
        .panel
        .forget_groups(&std::collections::BTreeSet::new());
    let findings = bench.run_metrics(720, feed);
    assert_eq!(findings.last().unwrap().state, Ok);
}
