//! One host of several: what it shows alone, and what joins later.

use super::*;

/// Gauges of which some hosts of the one-box are worse from one bucket until another.
fn harmed(scene: &Scene, seed: u64, ill: usize, from: i64, until: i64) -> Run {
    let mut hosts = Hosts::new(seed, scene.hosts(), 0.1, 0.8, 0.05);
    scene.run(|host, bucket| {
        let is_ill = host < ill && (from..until).contains(&bucket);
        gauge(0.1 * if is_ill { 1.6 } else { 1.0 } * hosts.value(host, bucket))
    })
}

#[test]
fn a_harm_of_one_host_alone_fails_nothing_and_is_no_pass_while_it_lasts() {
    for (one_box, fleet) in [(2, 20), (3, 12), (2, 4), (3, 5)] {
        let mut scene = Scene::new(one_box, fleet);
        scene.before = 720;
        for seed in 0..4 {
            let lasting = harmed(&scene, seed, 1, 60, 1_000);
            let name = format!("{one_box} of {fleet}, {seed}");
            assert_eq!(lasting.breached(), None, "{name}");
            let last = lasting.last();
            assert_eq!(last.cause, Some(NoDataCause::OneHost), "{name}: {last:?}");
            let note = &last.evidence[0].note;
            assert!(note.contains("h0000 alone"), "{name}: {note}");
            let healed = harmed(&scene, seed, 1, 60, 120);
            assert_eq!(healed.breached(), None, "{name}: {:?}", healed.last());
            let last = healed.last();
            assert_ne!(last.state, CheckState::NoData, "{name}: {last:?}");
            let shared = harmed(&scene, seed, one_box, 60, 1_000);
            assert!(shared.breached().is_some(), "{name}");
        }
    }
}

#[test]
fn a_harm_of_one_host_that_the_mean_of_five_hides_is_no_pass() {
    let scene = Scene::new(5, 12);
    let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.1);
    let run = scene.run(|host, bucket| {
        let is_ill = host == 4 && bucket >= 0;
        gauge(0.1 * if is_ill { 1.25 } else { 1.0 } * hosts.value(host, bucket))
    });
    assert_eq!(run.breached(), None);
    assert_eq!(
        run.last().cause,
        Some(NoDataCause::OneHost),
        "{:?}",
        run.last()
    );
}

#[test]
fn one_sick_host_of_three_is_no_pass_however_far_its_values_are_clipped() {
    // They drift so slowly that their past tells little of it: beyond the clip is not beyond what hosts do.
    for seed in 0..8 {
        for (factor, is_sick) in [(4.0, true), (1.0, false)] {
            let mut scene = Scene::new(3, 8);
            scene.after = 330;
            let mut hosts = Hosts::new(seed, scene.hosts(), 0.1, 0.997, 0.15);
            let run = scene.run(|host, bucket| {
                let is_ill = host == 1 && bucket >= 0;
                gauge(0.1 * if is_ill { factor } else { 1.0 } * hosts.value(host, bucket))
            });
            let last = run.last();
            assert_eq!(run.breached(), None, "{seed} ×{factor}: {last:?}");
            let is_alone = last.cause == Some(NoDataCause::OneHost);
            assert_eq!(is_alone, is_sick, "{seed} ×{factor}: {last:?}");
        }
    }
}

#[test]
fn errors_of_one_host_alone_are_no_pass() {
    for (one_box, rate) in [(2, 0.6), (5, 0.3)] {
        let mut scene = Scene::new(one_box, 20);
        (scene.metric, scene.kind, scene.unit) = ("errors", Kind::Counter, Unit::Count);
        let mut noise = Noise::new(2);
        let run = scene.run(|host, bucket| {
            let is_ill = host == 1 && bucket >= 0;
            events(
                noise.poisson(if is_ill { rate } else { 0.06 }),
                10.0,
                Some(20.0),
            )
        });
        assert_eq!(run.breached(), None, "{one_box}: {:?}", run.last());
        assert_eq!(
            run.last().cause,
            Some(NoDataCause::OneHost),
            "{:?}",
            run.last()
        );
        let note = &run.last().evidence[0].note;
        assert!(note.contains("h0001 alone"), "{note}");
    }
}

#[test]
fn hosts_that_join_later_are_judged_too() {
    for (factor, is_harm) in [(1.0, false), (12.0, true)] {
        let mut scene = Scene::new(2, 20);
        scene.after = 400;
        scene.joins = Some((1, 90));
        let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let is_new = host == 1;
            if is_new && bucket < 90 {
                return None;
            }
            gauge(0.1 * if is_new { factor } else { 1.0 } * hosts.value(host, bucket))
        });
        let last = run.last();
        assert_eq!(run.breached().is_some(), is_harm, "×{factor}: {last:?}");
        let note = &last.evidence[0].note;
        assert!(note.contains("h0001, which came after"), "{note}");
    }
}

/// Pods are added while the traffic that they get grows: what they owe begins with them.
#[test]
fn a_host_that_joins_near_the_end_owes_what_is_left() {
    let mut scene = Scene::new(2, 20);
    scene.after = 400;
    scene.joins = Some((1, 300));
    let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.05);
    let run = scene.run(|host, bucket| {
        let value = hosts.value(host, bucket);
        (host != 1 || 300 <= bucket)
            .then(|| gauge(0.1 * value))
            .flatten()
    });
    assert_eq!(run.last().cause, None, "{:?}", run.last());
    let early = run
        .findings
        .iter()
        .find(|(_, finding)| finding.state == CheckState::NoData);
    assert_eq!(early, None);
}

#[test]
fn errors_of_hosts_that_join_later_count() {
    for (rate, is_harm) in [(0.05, false), (2.0, true)] {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.kind, scene.unit) = ("errors", Kind::Counter, Unit::Count);
        scene.joins = Some((1, 60));
        let mut noise = Noise::new(2);
        let run = scene.run(|host, bucket| {
            let is_new = host == 1;
            if is_new && bucket < 60 {
                return None;
            }
            events(
                noise.poisson(if is_new { rate } else { 0.05 }),
                10.0,
                Some(20.0),
            )
        });
        let is_found = run.breached().is_some() || run.last().cause == Some(NoDataCause::OneHost);
        assert_eq!(is_found, is_harm, "{rate}: {:?}", run.last());
    }
}

/// What the hosts of a one-box of two beside four show.
type Fault = fn(f64, i64) -> f64;

/// Faults that other signs than windows tell, of one host and of both.
const SIGNS: [(&str, Fault); 2] = [
    ("stands still", |_, _| 0.123),
    ("comes and goes", |value, bucket| {
        let is_out = bucket.rem_euclid(60) < 12;
        if is_out { 2.5 * value } else { value }
    }),
];

#[test]
fn what_one_host_of_a_few_does_alone_fails_nothing_whatever_tells_it() {
    for (remark, fault) in SIGNS {
        for ill in [1, 2] {
            let mut scene = Scene::new(2, 4);
            (scene.before, scene.after) = (720, 480);
            let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.1);
            let run = scene.run(|host, bucket| {
                let value = 0.1 * hosts.value(host, bucket);
                let is_ill = host < ill && bucket >= 30;
                // Two that hang do not hang at one value.
                let share = 1.0 + 0.1 * host as f64;
                gauge(if is_ill {
                    share * fault(value, bucket)
                } else {
                    value
                })
            });
            let last = run.last();
            let breached = run.breached();
            assert_eq!(breached.is_some(), ill == 2, "{remark}, {ill}: {last:?}");
            if ill == 2 {
                let note = &last.evidence[0].note;
                assert!(note.contains(remark), "{note}");
            } else if remark == "stands still" {
                // Its coverage is told first, where all of its values are the same.
                assert_eq!(last.state, CheckState::NoData, "{last:?}");
                assert_eq!(last.evidence[0].hosts, ["h0000"], "{last:?}");
            }
        }
    }
}

#[test]
fn a_success_rate_that_one_host_of_a_few_lost_is_no_pass() {
    for (ill, lost) in [(1, 10.0), (1, 1.5), (2, 1.5), (0, 0.0)] {
        let mut scene = Scene::new(2, 3);
        (scene.metric, scene.unit) = ("success_percent", Unit::Percent);
        scene.direction = Direction::Down;
        (scene.before, scene.resolution) = (60, Span::from_minutes(1));
        let run = scene.run(|host, bucket| {
            let is_ill = host < ill && bucket >= 20;
            // Each loses a little in one minute of fifty.
            let usual = if bucket.rem_euclid(50) == 7 * host as i64 {
                99.9
            } else {
                100.0
            };
            gauge(if is_ill { usual - lost } else { usual })
        });
        let (last, name) = (run.last(), format!("{ill}: {lost}"));
        assert_eq!(run.breached().is_some(), ill == 2, "{name}: {last:?}");
        let is_alone = last.cause == Some(NoDataCause::OneHost);
        assert_eq!(is_alone, ill == 1, "{name}: {last:?}");
    }
}

#[test]
fn one_fresh_host_of_two_that_is_out_of_line_is_no_pass() {
    for (ill, factor) in [(1, 30.0), (2, 12.0), (0, 1.0)] {
        let scene = Scene::new(2, 5);
        let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            if host < 2 && bucket < 0 {
                return None;
            }
            let factor = if host < ill { factor } else { 1.0 };
            gauge(0.1 * factor * hosts.value(host, bucket))
        });
        let last = run.last();
        assert_eq!(run.breached().is_some(), ill == 2, "{ill}: {last:?}");
        let is_alone = last.cause == Some(NoDataCause::OneHost);
        assert_eq!(is_alone, ill == 1, "{ill}: {last:?}");
        if ill == 1 {
            let note = &last.evidence[0].note;
            assert!(note.contains("h0000 alone"), "{note}");
        }
    }
}

#[test]
fn beside_a_sick_host_of_the_fleet_a_harmed_one_box_does_not_pass() {
    let sizes = [(1, 4), (1, 8), (2, 12), (1, 20)];
    // One on the other side, and one that fell half of the past before the deployment.
    let ways = [(10.0, 0, 5.0), (0.1, 0, 5.0), (0.2, -90, 2.0)];
    let cases = sizes.iter().flat_map(|size| ways.map(|way| (*size, way)));
    // Three hosts that are left make nothing certain that is no more than a doubling.
    let cases = cases.filter(|((_, fleet), (_, since, _))| 4 < *fleet || *since == 0);
    for ((one_box, fleet), (ill, since, harm)) in cases {
        for harm in [1.0, harm] {
            let scene = Scene::new(one_box, fleet);
            let mut hosts = Hosts::new(3, scene.hosts(), 0.05, 0.5, 0.03);
            let run = scene.run(|host, bucket| {
                let factor = match host {
                    host if host < one_box && 0 <= bucket => harm,
                    host if host == one_box && since <= bucket => ill,
                    _ => 1.0,
                };
                gauge(0.1 * factor * hosts.value(host, bucket))
            });
            let last = run.last();
            let is_rivalled = last.cause == Some(NoDataCause::Rivalled);
            let name = format!("{one_box} of {fleet}, {ill}, {since}, {harm}: {last:?}");
            if harm > 1.0 {
                assert!(is_rivalled || run.breached().is_some(), "{name}");
            } else {
                assert!(
                    !is_rivalled && run.breached().is_none(),
                    "the others are well: {name}"
                );
            }
            let far = if ill > 1.0 {
                "as far out"
            } else {
                "far out on the other side"
            };
            let sick = format!("h{one_box:04} of the fleet is {far}");
            let told = last.evidence[0].note.contains(&sick);
            assert_eq!(told, is_rivalled, "{name}");
        }
    }
}
