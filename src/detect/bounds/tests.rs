//! Limits, and what is held against them.

use super::*;
use crate::detect::test_support::{
    Bench, Feed, first, log_check, series_check, silence_is_never_ok, states,
};
use CheckState::{Breach, NoData, Ok, Undecided, Warming};

fn plan(min: Option<f64>, max: Option<f64>, for_minutes: i64) -> DetectorPlan {
    DetectorPlan::Bounds {
        min: min.map(Limit::new),
        max: max.map(Limit::new),
        for_at_least: Span::from_minutes(for_minutes),
        within: Span::ZERO,
    }
}

fn per_minute(min: Option<f64>, max: Option<f64>) -> Check {
    log_check(DetectorPlan::Bounds {
        min: min.map(|count| Limit::new(count / 60.0)),
        max: max.map(|count| Limit::new(count / 60.0)),
        for_at_least: Span::ZERO,
        within: Span::from_minutes(1),
    })
}

#[test]
fn silence_is_never_in_range() {
    silence_is_never_ok(&series_check(plan(None, Some(90.0), 0)), |_, _| {
        Feed::Value(50.0)
    });
    silence_is_never_ok(&log_check(plan(None, Some(1.0), 0)), |_, _| {
        Feed::Records(0.0)
    });
}

#[test]
fn values_are_held_against_both_limits() {
    // Ten healthy buckets, then the value.
    for (min, max, minutes, value, expected) in [
        (None, Some(90.0), 0, 91.0, vec![Ok, Breach]),
        (None, Some(90.0), 0, 90.0, vec![Ok]),
        (Some(10.0), None, 0, 9.0, vec![Ok, Breach]),
        (Some(10.0), Some(90.0), 0, 50.0, vec![Ok]),
        (None, Some(90.0), 5, 91.0, vec![Ok, Undecided, Breach]),
        (None, Some(90.0), 60, 91.0, vec![Ok, Undecided]),
        (None, Some(90.0), 0, f64::NAN, vec![Ok, NoData]),
        (None, Some(90.0), 0, f64::INFINITY, vec![Ok, NoData]),
    ] {
        let mut bench = Bench::new(series_check(plan(min, max, minutes)), &["c1"], &[]);
        let findings = bench.run(90, |_, bucket| {
            Feed::Value(if 10 <= bucket { value } else { 50.0 })
        });
        assert_eq!(states(&findings), expected, "{value} in {min:?}..{max:?}");
    }
}

#[test]
fn a_breach_needs_its_whole_duration_without_a_value_in_range() {
    let mut bench = Bench::new(series_check(plan(None, Some(90.0), 5)), &["c1"], &[]);
    let findings = bench.run(200, |_, bucket| match bucket {
        // A gap of a minute neither ends nor interrupts the stretch; a value in range does.
        60..66 => Feed::Silent,
        50 => Feed::Value(50.0),
        40..90 => Feed::Value(95.0),
        _ => Feed::Value(50.0),
    });
    let breach = first(&findings, Breach).unwrap();
    assert_eq!(breach, 51 + 30 - 1);
    let evidence = &findings[breach].evidence[0];
    assert_eq!(evidence.first_breach, Some(bench.at(51)));
    assert_eq!(
        (evidence.observed, evidence.expected),
        (Some(95.0), Some(90.0))
    );
    assert_eq!(evidence.hosts, ["c1"]);
    assert_eq!(evidence.basis, Basis::Slo);
    assert_eq!(evidence.note, "95 above the limit of 90, on c1");
    assert_eq!(findings[95].state, Ok, "it heals");
}

#[test]
fn a_gap_beyond_the_patience_ends_the_stretch() {
    let mut bench = Bench::new(series_check(plan(None, Some(90.0), 5)), &["c1"], &[]);
    let findings = bench.run(60, |_, bucket| match bucket {
        10..25 | 45..60 => Feed::Value(95.0),
        25..45 => Feed::Silent,
        _ => Feed::Value(50.0),
    });
    assert_eq!(first(&findings, Breach), None);
    assert_eq!(findings[44].state, NoData);
}

#[test]
fn restarts_are_forgiven_within_the_grace_only() {
    for (until, expected) in [(30, vec![Warming, Ok]), (40, vec![Warming, Breach, Ok])] {
        let mut bench = Bench::new(series_check(plan(None, Some(90.0), 0)), &["c1"], &[]).grace(30);
        let findings = bench.run(100, |_, bucket| {
            Feed::Value(if bucket < until { 99.0 } else { 50.0 })
        });
        assert_eq!(states(&findings), expected);
    }
}

#[test]
fn a_ratio_needs_its_denominator() {
    let check = || {
        let mut check = series_check(plan(None, Some(0.01), 0));
        if let Selection::Series(series) = &mut check.selection {
            series.per = Some(series.selector.clone());
        }
        check
    };
    for (errors, requests, expected) in [
        (1.0, 1_000.0, vec![Ok]),
        (20.0, 1_000.0, vec![Breach]),
        (0.0, 0.0, vec![Warming, NoData]),
        (5.0, 0.0, vec![Warming, NoData]),
    ] {
        let mut bench = Bench::new(check(), &["c1"], &[]);
        let findings = bench.run(100, |_, _| Feed::Weighted(errors, requests));
        assert_eq!(states(&findings), expected, "{errors} of {requests}");
    }
    let mut bench = Bench::new(check(), &["c1"], &[]);
    let findings = bench.run(200, |_, bucket| {
        Feed::Weighted(0.0, if bucket < 50 { 10.0 } else { 0.0 })
    });
    assert_eq!(
        states(&findings),
        [Ok, NoData],
        "traffic that stops proves nothing"
    );
}

#[test]
fn what_comes_once_a_minute_is_covered_from_the_begin_on() {
    for offset in 0..6 {
        let check = series_check(plan(None, Some(90.0), 0));
        let mut bench = Bench::new(check, &["c1", "c2"], &[]);
        let findings = bench.run(60, |host, bucket| {
            let second = if host == "c1" { 0 } else { offset };
            match (bucket - second).rem_euclid(6) {
                3 => Feed::Value(50.0),
                _ => Feed::Silent,
            }
        });
        assert_eq!(states(&findings), [Warming, Ok], "{offset}");
    }
    // A gap at the begin that is long for what it sends is one, however long it was before.
    for (silent_until, expected) in [(4, vec![Warming, Ok]), (9, vec![Warming, NoData, Ok])] {
        let check = series_check(plan(None, Some(90.0), 0));
        let mut bench = Bench::new(check, &["c1"], &[]);
        let findings = bench.run(60, |_, bucket| match bucket {
            0.. if bucket < silent_until => Feed::Silent,
            _ => Feed::Value(50.0),
        });
        assert_eq!(states(&findings), expected, "{silent_until}");
    }
}

#[test]
fn the_worst_host_is_named_and_a_breach_outranks_a_silent_host() {
    let check = series_check(plan(None, Some(90.0), 0));
    let mut bench = Bench::new(check, &["c1", "c2", "c3"], &[]);
    let findings = bench.run(60, |host, bucket| match (host, bucket) {
        ("c1", 10..) => Feed::Value(92.0),
        ("c2", 20..) => Feed::Value(99.0),
        ("c3", 5..) => Feed::Silent,
        _ => Feed::Value(50.0),
    });
    let last = findings.last().unwrap();
    assert_eq!(last.state, Breach);
    assert_eq!(last.evidence[0].hosts, ["c1", "c2"]);
    assert_eq!(last.evidence[0].observed, Some(99.0));
    assert_eq!(last.evidence[0].first_breach, Some(bench.at(10)));
}

#[test]
fn no_error_records_are_in_range_while_the_stream_lives() {
    let mut bench = Bench::new(per_minute(None, Some(5.0)), &["c1"], &[]);
    let findings = bench.run(60, |_, bucket| {
        Feed::Records(if bucket == 40 { 6.0 } else { 0.0 })
    });
    assert_eq!(states(&findings), [Ok, Breach, Ok]);
    assert_eq!(first(&findings, Breach), Some(40));
    assert_eq!(findings[40].evidence[0].metric, "ERROR records");
}

#[test]
fn five_a_minute_are_five_in_any_minute_however_they_come() {
    // Buckets of ten seconds; each case has records in some of them.
    for (name, records, breach) in [
        ("one", &[(20, 1.0)][..], None),
        ("five at once", &[(20, 5.0)], None),
        (
            "five over a minute",
            &[(20, 2.0), (22, 1.0), (25, 2.0)],
            None,
        ),
        ("six at once", &[(20, 6.0)], Some(20)),
        (
            "six over a minute",
            &[(20, 2.0), (22, 2.0), (25, 2.0)],
            Some(25),
        ),
        ("six over more", &[(20, 3.0), (26, 3.0)], None),
        ("many", &[(20, 1e6)], Some(20)),
    ] {
        let mut bench = Bench::new(per_minute(None, Some(5.0)), &["c1"], &[]);
        let findings = bench.run(60, |_, bucket| {
            let of_bucket = records.iter().filter(|(at, _)| *at == bucket);
            Feed::Records(of_bucket.map(|(_, count)| count).sum())
        });
        assert_eq!(first(&findings, Breach), breach, "{name}");
        assert_eq!(findings[59].state, Ok, "{name}: it heals");
    }
}

#[test]
fn too_few_records_are_told_of_a_whole_minute_only() {
    for (records, expected) in [(1.0, vec![Ok]), (0.0, vec![Ok, Breach])] {
        let mut bench = Bench::new(per_minute(Some(1.0), Some(50.0)), &["c1"], &[]).grace(2);
        let findings = bench.run(60, |_, bucket| {
            Feed::Records(if bucket.rem_euclid(6) == 3 {
                records
            } else {
                0.0
            })
        });
        let states: Vec<CheckState> = states(&findings)
            .into_iter()
            .filter(|state| *state != Warming)
            .collect();
        assert_eq!(states, expected, "{records}");
        if records == 0.0 {
            assert_eq!(first(&findings, Breach), Some(7), "two of grace, then six");
        }
    }
}

#[test]
fn records_of_the_grace_are_not_counted_after_it() {
    let mut bench = Bench::new(per_minute(None, Some(5.0)), &["c1"], &[]).grace(10);
    let findings = bench.run(60, |_, bucket| {
        Feed::Records(if bucket == 9 { 100.0 } else { 0.0 })
    });
    assert_eq!(states(&findings), [Warming, Ok]);
}

/// A ratio of which a twentieth at most may fail, for five minutes.
fn ratio() -> Check {
    let mut check = series_check(plan(None, Some(0.05), 5));
    if let Selection::Series(series) = &mut check.selection {
        series.per = Some(series.selector.clone());
    }
    check
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn a_ratio_with_a_time_is_that_of_the_sums_over_a_third_of_it() {
    type Row = (&'static str, fn(i64) -> (f64, f64), Option<usize>);
    let rows: [Row; 8] = [
        // A request every half a minute, of which every other one fails.
        (
            "half of few",
            |at| {
                let is_one = at.rem_euclid(3) == 0;
                (
                    f64::from(is_one && 100 <= at && at % 2 == 0),
                    f64::from(is_one),
                )
            },
            Some(131),
        ),
        // A request every 20 seconds, of which one in an hour and a half fails; and two within two minutes.
        (
            "one in hundreds",
            |at| {
                let is_one = at.rem_euclid(2) == 0;
                (f64::from(at.rem_euclid(540) == 0), f64::from(is_one))
            },
            None,
        ),
        (
            "two at once",
            |at| {
                let is_one = at.rem_euclid(2) == 0;
                (f64::from([100, 112].contains(&at)), f64::from(is_one))
            },
            None,
        ),
        (
            "a tenth of many",
            |at| (if 100 <= at { 10.0 } else { 0.0 }, 100.0),
            Some(129),
        ),
        (
            "a tenth for four minutes",
            |at| (if (100..120).contains(&at) { 10.0 } else { 0.0 }, 100.0),
            None,
        ),
        (
            "all for half a minute",
            |at| (if (100..103).contains(&at) { 100.0 } else { 0.0 }, 100.0),
            None,
        ),
        (
            "from the begin on",
            |at| (if 0 <= at { 10.0 } else { 0.0 }, 100.0),
            Some(59),
        ),
        (
            "in the grace only",
            |at| (if (0..30).contains(&at) { 90.0 } else { 0.0 }, 100.0),
            None,
        ),
    ];
    for (name, feed, expected) in rows {
        let mut bench = Bench::new(ratio(), &["c1"], &[]).grace(30);
        let findings = bench.run(300, |_, bucket| {
            let (errors, requests) = feed(bucket);
            Feed::Ratio(errors, requests)
        });
        assert_eq!(first(&findings, Breach), expected, "{name}");
        if name == "from the begin on" {
            let evidence = &findings[59].evidence[0];
            assert_eq!(evidence.observed.map(number).as_deref(), Some("0.1"));
            assert_eq!(evidence.first_breach, Some(bench.at(30)));
            let early = findings[40].awaiting.as_deref().unwrap();
            assert!(early.ends_with("until 2026-03-01T10:10:00Z"), "{early}");
        }
        if name == "a tenth of many" {
            assert_eq!(findings[129].evidence[0].first_breach, Some(bench.at(100)));
        }
    }
}

#[test]
fn a_ratio_weighs_each_of_its_values_by_the_time_that_it_is_of() {
    // Read every ten seconds, and once after seventy: then some failed, before nothing.
    let mut bench = Bench::new(ratio(), &["c1"], &[]);
    let findings = bench.run(200, |_, bucket| match bucket {
        100..106 => Feed::Silent,
        106 => Feed::Ratio(6.0, 100.0),
        _ => Feed::Ratio(0.0, 100.0),
    });
    let told = |at: usize| findings[at].evidence[0].observed.unwrap();
    assert!(
        (told(106) - 0.06 * 7.0 / 10.0).abs() < 0.001,
        "{}",
        told(106)
    );
    assert!(
        (told(107) - 0.06 * 7.0 / 10.0).abs() < 0.001,
        "{}",
        told(107)
    );
}

#[test]
fn what_is_out_of_range_when_the_bake_ends_holds_the_gate() {
    let check = || series_check(plan(None, Some(90.0), 5));
    for (from, until, breach) in [
        (100, 300, Some(129)),
        (119, 300, Some(148)),
        (100, 125, None),
    ] {
        let mut bench = Bench::new(check(), &["c1"], &[]).bake(120);
        let findings = bench.run(200, |_, bucket| {
            Feed::Value(if (from..until).contains(&bucket) {
                95.0
            } else {
                50.0
            })
        });
        assert_eq!(first(&findings, Breach), breach);
        let held: Vec<usize> = (119..200).filter(|at| findings[*at].holds).collect();
        let end = breach.unwrap_or(until as usize);
        assert_eq!(held, (119..end).collect::<Vec<_>>(), "{from} {until}");
    }
    let mut bench = Bench::new(check(), &["c1"], &[]).bake(120);
    let findings = bench.run(140, |_, bucket| {
        Feed::Value(if 120 <= bucket { 95.0 } else { 50.0 })
    });
    let last = &findings[139];
    assert_eq!(
        (last.state, last.holds),
        (Undecided, true),
        "while a step is awaited, what begins later is awaited, too"
    );
}

#[test]
fn rates_are_told_as_their_limit_is_written() {
    let told = |check: Check, feed: fn() -> Feed| {
        let mut bench = Bench::new(check, &["c1"], &[]);
        let findings = bench.run(90, |_, _| feed());
        let evidence = findings.last().unwrap().evidence[0].clone();
        (evidence.note, evidence.observed.unwrap())
    };
    let bounds = |limit: Limit, within| DetectorPlan::Bounds {
        min: None,
        max: Some(limit),
        for_at_least: Span::ZERO,
        within,
    };
    let minute = Span::from_minutes(1);
    // Two records in each ten seconds.
    let records = || Feed::Records(2.0);
    for (limit, within, expected) in [
        (
            Limit::new(5.0 / 60.0).written_for(60.0),
            minute,
            "12/m above the limit of 5/m, on c1",
        ),
        (
            Limit::new(0.1).written_for(1.0),
            minute,
            "0.2/s above the limit of 0.1/s, on c1",
        ),
        (
            Limit::new(0.0),
            Span::ZERO,
            "0.2/s above the limit of 0/s, on c1",
        ),
    ] {
        let (note, observed) = told(log_check(bounds(limit, within)), records);
        assert_eq!((note.as_str(), observed), (expected, 0.2));
    }
    // Who writes a rate means one; what is no rate has no time.
    for (limit, expected) in [
        (
            Limit::rate(1.0).written_for(60.0),
            "120/m above the limit of 60/m, on c1",
        ),
        (Limit::new(1.0), "2 above the limit of 1, on c1"),
    ] {
        let check = series_check(bounds(limit, Span::ZERO));
        assert_eq!(told(check, || Feed::Value(2.0)).0, expected);
    }
}
