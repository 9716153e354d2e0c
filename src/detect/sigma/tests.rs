//! Tests of the sigma detector.

use super::*;
use crate::detect::test_support::{
    Bench, Feed, first, noise, series_check, silence_is_never_ok, states,
};
use CheckState::{Breach, NoData, Ok, Undecided, Warming};

fn check(direction: Direction) -> Check {
    series_check(DetectorPlan::Sigma { k: 4.0, direction })
}

/// 100 with a standard deviation of 3.
fn usual(host: &str, bucket: i64) -> f64 {
    100.0 + 3.0 * noise(11, host, bucket)
}

#[test]
fn silence_is_never_usual() {
    silence_is_never_ok(&check(Direction::Both), |host, bucket| {
        Feed::Value(usual(host, bucket))
    });
}

#[test]
fn only_what_lasts_and_harms_is_a_breach() {
    type Row = (&'static str, Direction, fn(i64) -> f64, bool);
    let rows: [Row; 9] = [
        ("usual", Direction::Both, |_| 0.0, false),
        (
            "higher",
            Direction::Up,
            |at| if 300 <= at { 40.0 } else { 0.0 },
            true,
        ),
        (
            "lower is no harm",
            Direction::Up,
            |at| if 300 <= at { -40.0 } else { 0.0 },
            false,
        ),
        (
            "lower",
            Direction::Down,
            |at| if 300 <= at { -40.0 } else { 0.0 },
            true,
        ),
        (
            "lower, both",
            Direction::Both,
            |at| if 300 <= at { -40.0 } else { 0.0 },
            true,
        ),
        (
            "slightly higher",
            Direction::Both,
            |at| if 300 <= at { 3.0 } else { 0.0 },
            false,
        ),
        (
            "one wild value a minute",
            Direction::Both,
            |at| if at.rem_euclid(6) == 0 { 500.0 } else { 0.0 },
            false,
        ),
        (
            "a spike of 40 s",
            Direction::Both,
            |at| if (300..304).contains(&at) { 900.0 } else { 0.0 },
            false,
        ),
        (
            "a restart within the grace",
            Direction::Both,
            |at| if (0..30).contains(&at) { 900.0 } else { 0.0 },
            false,
        ),
    ];
    for (name, direction, extra, is_breach) in rows {
        let mut bench = Bench::new(check(direction), &["c1"], &[]).grace(60);
        let findings = bench.run(720, |host, bucket| {
            Feed::Value(usual(host, bucket) + extra(bucket))
        });
        assert_eq!(first(&findings, Breach).is_some(), is_breach, "{name}");
        assert_eq!(findings[0].state, Warming, "{name}");
        let last = findings.last().unwrap().state;
        assert_eq!(last, if is_breach { Breach } else { Ok }, "{name}");
    }
}

#[test]
fn the_breach_says_what_is_usual_and_since_when() {
    let mut bench = Bench::new(check(Direction::Both), &["c1", "c2"], &[]);
    let findings = bench.run(400, |host, bucket| {
        let extra = if host == "c2" && 300 <= bucket {
            60.0
        } else {
            0.0
        };
        Feed::Value(usual(host, bucket) + extra)
    });
    let breach = first(&findings, Breach).unwrap();
    assert!((300 + 11..300 + 36).contains(&breach), "{breach}");
    let evidence = &findings[breach].evidence[0];
    assert_eq!(evidence.hosts, ["c2"]);
    assert_eq!(evidence.first_breach, Some(bench.at(300)));
    assert!((evidence.expected.unwrap() - 100.0).abs() < 2.0);
    assert!((evidence.effect.unwrap() - 0.6).abs() < 0.05);
    assert!(evidence.detectable.unwrap() < 0.3);
    assert_eq!(evidence.basis, Basis::Model);
}

#[test]
fn what_heals_is_in_range_again_and_was_not_learned() {
    let mut bench = Bench::new(check(Direction::Both), &["c1"], &[]);
    let findings = bench.run(720, |host, bucket| {
        let extra = if (200..500).contains(&bucket) {
            60.0
        } else {
            0.0
        };
        Feed::Value(usual(host, bucket) + extra)
    });
    let mut seen = states(&findings);
    seen.retain(|state| *state != Undecided);
    assert_eq!(seen, [Warming, Ok, Breach, Ok]);
}

#[test]
fn a_move_of_the_whole_fleet_is_not_charged_to_the_deployment() {
    for (name, fleet_moves, expected) in [("all move", 60.0, Undecided), ("alone", 0.0, Breach)] {
        let mut bench = Bench::new(check(Direction::Both), &["c1"], &["f1", "f2", "f3"]);
        let findings = bench.run(500, |host, bucket| {
            let extra = match host {
                _ if bucket < 300 => 0.0,
                "c1" => 60.0,
                _ => fleet_moves,
            };
            Feed::Value(usual(host, bucket) + extra)
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, expected, "{name}");
        let is_excused = last.evidence[0].note.contains("the fleet moved too");
        assert_eq!(is_excused, expected == Undecided, "{name}");
    }
}

#[test]
fn without_a_past_it_says_so_and_does_not_pass() {
    for past in [0, 20] {
        let mut bench = Bench::new(check(Direction::Both), &["c1"], &[]).past(past);
        let findings = bench.run(720, |host, bucket| {
            let extra = if 100 <= bucket { 100.0 } else { 0.0 };
            Feed::Value(usual(host, bucket) + extra)
        });
        assert_eq!(states(&findings), [Undecided, NoData], "{past}");
        let note = &findings[718].evidence[0].note;
        assert_eq!(note, "no history of its own on c1");
        let last = &findings[719];
        assert_eq!(last.cause, Some(NoDataCause::NoPast));
        assert_eq!(last.evidence[0].state, NoData);
    }
}

#[test]
fn one_host_without_a_past_beside_another_is_named() {
    let mut bench = Bench::new(check(Direction::Both), &["c1", "c2"], &[]);
    let findings = bench.run(720, |host, bucket| match host {
        "c2" if bucket < 0 => Feed::Silent,
        _ => Feed::Value(usual(host, bucket)),
    });
    let last = &findings[719];
    assert_eq!(last.state, Undecided);
    let awaiting = last.awaiting.as_deref();
    assert_eq!(
        awaiting,
        Some("nothing more: m has no history of its own on c2")
    );
}

#[test]
fn series_without_a_past_are_counted_in_a_sentence() {
    let mut bench = Bench::new(check(Direction::Both), &["c1", "c2"], &[]).past(0);
    let findings = bench.run(720, |host, bucket| Feed::Value(usual(host, bucket)));
    let note = &findings[718].evidence[0].note;
    assert_eq!(note, "no history of its own on c1, nor of 1 other series");
}

#[test]
fn the_hours_of_the_day_are_usual_where_the_past_shows_them() {
    // Ten-minute buckets; busy from 10 to 18, when the deployment comes.
    let day = |host: &str, bucket: i64| {
        let hour = (10.0 + bucket as f64 / 6.0).rem_euclid(24.0);
        let level = if (10.0..18.0).contains(&hour) {
            300.0
        } else {
            100.0
        };
        level + 3.0 * noise(2, host, bucket)
    };
    for (extra, expected) in [(0.0, Ok), (150.0, Breach)] {
        let mut bench = Bench::new(check(Direction::Both), &["c1"], &[])
            .resolution(600)
            .past(6 * 24 * 5)
            .bake(144);
        let findings = bench.run(36, |host, bucket| {
            Feed::Value(day(host, bucket) + if 0 <= bucket { extra } else { 0.0 })
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, expected);
        assert!(last.evidence[0].note.contains("usual at this hour"));
    }
}

#[test]
fn what_never_moved_is_out_when_it_moves_for_good() {
    for (value, expected) in [(0.0, Ok), (1.0, Breach)] {
        let mut bench = Bench::new(check(Direction::Up), &["c1"], &[]);
        let findings = bench.run(400, |_, bucket| {
            Feed::Value(if 200 <= bucket { value } else { 0.0 })
        });
        assert_eq!(findings.last().unwrap().state, expected);
    }
}

#[test]
fn a_sparse_series_is_judged_by_its_own_cadence() {
    let mut bench = Bench::new(check(Direction::Both), &["c1"], &[]).past(2_160);
    let findings = bench.run(720, |host, bucket| {
        if bucket.rem_euclid(6) != 0 {
            return Feed::Silent;
        }
        Feed::Value(usual(host, bucket) + if 120 <= bucket { 80.0 } else { 0.0 })
    });
    assert_eq!(findings.last().unwrap().state, Breach);
}

#[test]
fn healthy_hosts_are_rarely_blamed_also_when_their_noise_is_slow() {
    // AR(1) per bucket with a correlation time of 3 minutes, two hours, one host alone.
    let mut blamed = 0;
    for seed in 0..60 {
        let mut level = 0.0;
        let mut bench = Bench::new(check(Direction::Both), &["c1"], &[]).past(1_080);
        let findings = bench.run(720, |host, bucket| {
            level = 0.95 * level + 0.312 * noise(seed, host, bucket);
            Feed::Value(100.0 + 10.0 * level)
        });
        blamed += usize::from(first(&findings, Breach).is_some());
    }
    assert!(blamed <= 1, "{blamed} of 60");
}

#[test]
fn a_lone_host_that_always_moves_must_not_stand_still() {
    for (fleet, expected) in [(&[][..], Breach), (&["f1", "f2"][..], Ok)] {
        let mut bench = Bench::new(check(Direction::Both), &["c1"], fleet);
        let findings = bench.run(720, |host, bucket| {
            let at = if host == "c1" && 200 <= bucket {
                200
            } else {
                bucket
            };
            Feed::Value(100.0 + 7.0 * (usual(host, at) - 100.0))
        });
        assert_eq!(findings.last().unwrap().state, expected, "{fleet:?}");
        let Some(breach) = first(&findings, Breach) else {
            continue;
        };
        assert!((200 + 7..200 + 20).contains(&breach), "{breach}");
        let evidence = &findings[breach].evidence[0];
        assert!(evidence.note.contains("stands still"), "{}", evidence.note);
        assert!(bench.at(200) <= evidence.first_breach.unwrap());
    }
}

#[test]
fn a_lone_host_may_stand_where_it_does_no_harm() {
    let rows = [
        (Direction::Both, 123.0, None, Breach),
        (Direction::Up, 123.0, None, Breach),
        (Direction::Up, 97.0, None, Breach),
        (Direction::Up, -50.0, None, Ok),
        (Direction::Up, 0.0, None, Ok),
        (Direction::Up, 0.0, Some(50.0), Ok),
        (Direction::Down, 250.0, None, Ok),
        (Direction::Down, 0.0, Some(50.0), Breach),
    ];
    for (direction, stands_at, exposure, expected) in rows {
        let mut bench = Bench::new(check(direction), &["c1"], &[]);
        let findings = bench.run(720, |host, bucket| {
            let moves = 100.0 + 7.0 * (usual(host, bucket) - 100.0);
            let value = if 200 <= bucket { stands_at } else { moves };
            exposure.map_or(Feed::Value(value), |exposure| {
                Feed::Weighted(value * exposure, exposure)
            })
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, expected, "{direction:?} at {stands_at}");
    }
}

#[test]
fn a_lone_host_with_a_short_past_is_told_of_but_not_failed() {
    for (past, expected) in [(260, Undecided), (360, Breach)] {
        let mut bench = Bench::new(check(Direction::Both), &["c1"], &[]).past(past);
        let findings = bench.run(400, |host, bucket| {
            Feed::Value(usual(host, bucket) + if 200 <= bucket { 60.0 } else { 0.0 })
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, expected, "{past}");
        let informs = last.evidence[0].note.contains("informs only");
        assert_eq!(informs, expected == Undecided, "{}", last.evidence[0].note);
    }
}
