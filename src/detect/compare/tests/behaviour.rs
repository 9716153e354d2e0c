//! What a person may expect of the comparison.

use super::*;

#[test]
fn healthy_deployments_are_rarely_failed_whatever_the_noise() {
    // Three hosts with half an hour of strongly correlated past, while the load doubles, carry about
    // 5 %, not 1 %.
    for (one_box, fleet, persistence, sigma, runs, allowed) in [
        (2, 20, 0.0, 0.10, 40, 1),
        (2, 20, 0.95, 0.10, 40, 1),
        (1, 12, 0.9, 0.20, 60, 1),
        (1, 3, 0.9, 0.10, 60, 4),
        (1, 5, 0.6, 0.10, 60, 1),
    ] {
        let mut scene = Scene::new(one_box, fleet);
        scene.direction = Direction::Both;
        scene.after = 180;
        let failed = false_alarms(&scene, runs, persistence, sigma);
        assert!(
            failed <= allowed,
            "{one_box} of {fleet}, {persistence}: {failed} of {runs}"
        );
    }
}

#[test]
fn a_harm_is_found_and_its_size_is_told() {
    for (one_box, fleet, factor, within) in [
        (2, 20, 2.0, 20),
        (2, 20, 1.3, 40),
        (1, 12, 2.0, 20),
        (1, 3, 2.0, 90),
        (1, 5, 2.0, 90),
    ] {
        let scene = Scene::new(one_box, fleet);
        for seed in 0..5 {
            let mut hosts = Hosts::new(seed, scene.hosts(), 0.1, 0.8, 0.05);
            let run = scene.run(|host, bucket| {
                let harm = if host < one_box && bucket >= 0 {
                    factor
                } else {
                    1.0
                };
                gauge(0.1 * harm * hosts.value(host, bucket))
            });
            let at = run.breached();
            assert!(
                at.is_some_and(|at| at - scene.grace <= within),
                "{one_box} of {fleet}, {factor}, {seed}: {at:?}"
            );
            let evidence = &run.last().evidence[0];
            let effect = evidence.effect.unwrap();
            assert!(
                (effect / (factor - 1.0) - 1.0).abs() < 0.5,
                "{one_box} of {fleet}: {effect} is not {}: {}",
                factor - 1.0,
                evidence.note
            );
            assert!(evidence.first_breach.is_some() && evidence.hosts.len() == one_box);
        }
    }
}

#[test]
fn a_bump_inside_the_grace_is_forgiven() {
    for (one_box, fleet) in [(2, 20), (1, 4)] {
        let mut scene = Scene::new(one_box, fleet);
        scene.grace = 30;
        let mut hosts = Hosts::new(7, scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run(|host, bucket| {
            let warming = host < one_box && (0..24).contains(&bucket);
            gauge(0.1 * if warming { 3.0 } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(run.breached(), None, "{one_box} of {fleet}");
        assert_eq!(run.first(CheckState::Warming), Some(0));
    }
}

#[test]
fn a_single_outlier_does_not_fail_a_deployment() {
    for (one_box, fleet) in [(2, 20), (1, 4)] {
        let scene = Scene::new(one_box, fleet);
        let mut hosts = Hosts::new(8, scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run(|host, bucket| {
            let is_spike = host < one_box && bucket == 60;
            gauge(0.1 * if is_spike { 50.0 } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(run.breached(), None, "{one_box} of {fleet}");
    }
}

#[test]
fn many_quiet_hosts_prove_that_there_is_no_harm() {
    let scene = Scene::new(2, 20);
    let mut hosts = Hosts::new(9, scene.hosts(), 0.1, 0.5, 0.03);
    let run = scene.run(|host, bucket| gauge(0.1 * hosts.value(host, bucket)));
    assert_eq!(run.last().state, CheckState::Ok, "{:?}", run.last());
    let evidence = &run.last().evidence[0];
    assert_eq!(evidence.basis, Basis::GaussianHosts);
    assert!(
        evidence
            .detectable
            .is_some_and(|detectable| (0.05..0.2).contains(&detectable))
    );
}

#[test]
fn a_fresh_one_box_is_judged_by_its_level() {
    for (factor, is_breach, cause) in [
        (1.0, false, None),
        (1.3, false, None),
        // Likely harm is no PASS.
        (3.2, false, Some(NoDataCause::Unproven)),
        (8.0, true, None),
    ] {
        let mut scene = Scene::new(1, 4);
        scene.resolution = Span::from_seconds(60);
        (scene.before, scene.grace, scene.after) = (60, 2, 30);
        let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let value = hosts.value(host, bucket);
            if host == 0 && bucket < 1 {
                return None;
            }
            gauge(0.1 * value * if host == 0 { factor } else { 1.0 })
        });
        let last = run.last();
        assert_eq!(run.breached().is_some(), is_breach, "{factor}: {last:?}");
        assert_eq!(last.cause, cause, "{factor}: {last:?}");
        assert_eq!(last.evidence[0].basis, Basis::Model);
    }
}

#[test]
fn a_lost_success_share_is_found_on_a_fresh_host() {
    let mut scene = Scene::new(1, 2);
    (scene.metric, scene.unit) = ("in_success_pct", Unit::Percent);
    scene.direction = Direction::Down;
    scene.resolution = Span::from_seconds(60);
    (scene.before, scene.grace, scene.after) = (60, 2, 20);
    let mut noise = Noise::new(4);
    let run = scene.run(|host, bucket| {
        if host == 0 && bucket < 1 {
            return None;
        }
        gauge(if host == 0 { 80.0 } else { 99.9 } + 0.05 * noise.normal())
    });
    assert!(
        run.breached().is_some_and(|at| at <= 14),
        "{:?}",
        run.breached()
    );
    let evidence = &run.last().evidence[0];
    assert!(
        (evidence.effect.unwrap() + 0.199).abs() < 0.01,
        "{}",
        evidence.note
    );
}

#[test]
fn more_errors_than_the_share_of_requests_are_found() {
    for (one_box, factor, is_breach) in [
        (2, 1.0, false),
        (2, 8.0, true),
        (4, 1.0, false),
        (4, 8.0, true),
    ] {
        for seed in 0..8 {
            let mut scene = Scene::new(one_box, 20);
            (scene.metric, scene.kind, scene.unit) = ("errors", Kind::Counter, Unit::Count);
            scene.has_per = true;
            let mut noise = Noise::new(seed);
            let run = scene.run(|host, bucket| {
                let harm = if host < one_box && bucket >= 0 {
                    factor
                } else {
                    1.0
                };
                events(noise.poisson(0.05 * harm), 10.0, Some(20.0))
            });
            assert_eq!(
                run.breached().is_some(),
                is_breach,
                "{one_box} {factor} {seed}: {:?}",
                run.last()
            );
            assert_eq!(run.last().evidence[0].basis, Basis::Model);
        }
    }
}

#[test]
fn one_sick_host_of_three_does_not_fail_the_deployment_for_its_errors() {
    let mut scene = Scene::new(3, 20);
    scene.selects = Selects::Logs;
    (scene.kind, scene.unit) = (Kind::Counter, Unit::Count);
    let mut noise = Noise::new(2);
    let run = scene.run(|host, bucket| {
        let sick = host == 1 && bucket >= 0;
        events(noise.poisson(if sick { 2.0 } else { 0.02 }), 10.0, None)
    });
    assert_eq!(run.breached(), None, "{:?}", run.last());
}

#[test]
fn less_traffic_by_plan_is_not_a_drop() {
    for (weight, is_breach) in [(0.5, false), (1.0, true)] {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.kind, scene.unit) = ("requests_total", Kind::Counter, Unit::Count);
        (scene.direction, scene.weight) = (Direction::Down, weight);
        let mut noise = Noise::new(11);
        let run = scene.run(|host, bucket| {
            let share = if host < 2 && bucket >= 0 { 0.5 } else { 1.0 };
            events(
                (1_000.0 * share * (0.05 * noise.normal()).exp()).round(),
                10.0,
                None,
            )
        });
        assert_eq!(
            run.breached().is_some(),
            is_breach,
            "{weight}: {:?}",
            run.last()
        );
    }
}

#[test]
fn a_wider_spread_at_the_same_level_is_found() {
    let mut scene = Scene::new(2, 20);
    scene.after = 400;
    let mut noise = Noise::new(12);
    let run = scene.run(|host, bucket| {
        let sigma = if host < 2 && bucket >= 0 { 0.09 } else { 0.03 };
        gauge(0.1 * (sigma * noise.normal()).exp())
    });
    assert!(run.breached().is_some(), "{:?}", run.last());
    assert!(
        run.last().evidence[0].note.contains("spreads"),
        "{}",
        run.last().evidence[0].note
    );
}

#[test]
fn a_metric_that_only_the_one_box_lost_is_no_data() {
    for (one_box, fleet) in [(2, 20), (1, 3)] {
        let mut scene = Scene::new(one_box, fleet);
        scene.selects = Selects::Everything;
        let mut hosts = Hosts::new(5, 2 * scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run_many(&["work_seconds", "queue_size"], |metric, host, bucket| {
            let value = hosts.value(host, bucket);
            let is_lost = metric == 1 && host == 0 && bucket >= 40;
            if is_lost { None } else { gauge(value) }
        });
        assert_eq!(run.last().state, CheckState::NoData, "{:?}", run.last());
        assert!(matches!(
            run.last().cause,
            Some(NoDataCause::Stopped { .. })
        ));
        let evidence = &run.last().evidence[0];
        assert_eq!(
            (evidence.metric.as_str(), evidence.hosts.len()),
            ("queue_size", 1)
        );
    }
}

#[test]
fn without_a_fleet_there_is_nothing_to_compare_with() {
    for (fleet, falls_silent) in [(0, false), (3, true)] {
        let scene = Scene::new(1, fleet);
        let mut hosts = Hosts::new(6, scene.hosts(), 0.1, 0.8, 0.05);
        let run = scene.run(|host, bucket| {
            let value = hosts.value(host, bucket);
            let is_silent = falls_silent && host > 0 && bucket >= -30;
            if is_silent { None } else { gauge(value) }
        });
        assert_eq!(
            run.last().cause,
            Some(NoDataCause::NoFleet),
            "{:?}",
            run.last()
        );
        assert!(run.first(CheckState::Ok).is_none());
    }
}

#[test]
fn metrics_of_the_machine_inform_but_do_not_fail() {
    let mut scene = Scene::new(2, 20);
    scene.selects = Selects::Everything;
    scene.direction = Direction::Both;
    let mut hosts = Hosts::new(13, scene.hosts(), 0.1, 0.5, 0.03);
    let run = scene.run_many(&["node_load", "work_seconds"], |metric, host, bucket| {
        let harm = if metric == 0 && host < 2 && bucket >= 0 {
            4.0
        } else {
            1.0
        };
        gauge(harm * hosts.value(host, bucket))
    });
    assert_eq!(run.breached(), None);
    let notes: Vec<&str> = run
        .last()
        .evidence
        .iter()
        .map(|evidence| evidence.note.as_str())
        .collect();
    assert!(
        notes.iter().any(|note| note.contains("informs only")),
        "{notes:?}"
    );
}

#[test]
fn units_of_measure_and_names_of_hosts_do_not_matter() {
    for (one_box, fleet) in [(2, 20), (1, 4)] {
        let states = |factor: f64, is_reversed: bool| -> Vec<CheckState> {
            let mut scene = Scene::new(one_box, fleet);
            scene.is_reversed = is_reversed;
            let mut hosts = Hosts::new(14, scene.hosts(), 0.1, 0.8, 0.05);
            let run = scene.run(|host, bucket| {
                let harm = if host < one_box && bucket >= 60 {
                    1.5
                } else {
                    1.0
                };
                gauge(factor * harm * hosts.value(host, bucket))
            });
            run.findings
                .iter()
                .map(|(_, finding)| finding.state)
                .collect()
        };
        let plain = states(1.0, false);
        assert!(plain.contains(&CheckState::Breach));
        // Powers of two, so that single precision rounds alike.
        assert_eq!(plain, states(1_024.0, false));
        assert_eq!(plain, states(1.0, true));
    }
}

#[test]
fn values_that_stand_still_everywhere_are_no_data() {
    let scene = Scene::new(1, 4);
    let run = scene.run(|_, _| gauge(5.0));
    assert_eq!(run.last().cause, Some(NoDataCause::Lifeless));
}

#[test]
fn many_metrics_take_turns_and_none_passes_before_all_were_looked_at() {
    let names: Vec<String> = (0..24).map(|metric| format!("queue_{metric:02}")).collect();
    let metrics: Vec<&str> = names.iter().map(String::as_str).collect();
    for harmed in [None, Some(metrics.len() - 1)] {
        let mut scene = Scene::new(10, 160);
        (scene.before, scene.after) = (40, 60);
        let mut noise = Noise::new(3);
        let run = scene.run_many(&metrics, |metric, host, bucket| {
            let is_harmed = Some(metric) == harmed && host < 10 && bucket >= 0;
            let harm = if is_harmed { 3.0 } else { 1.0 };
            gauge(harm * (10.0 + 0.1 * noise.normal()))
        });
        let waits = |(_, finding): &&(i64, Finding)| {
            finding.awaiting.as_deref() == Some("the past of the other metrics to be read")
        };
        let waiting: Vec<i64> = run
            .findings
            .iter()
            .filter(waits)
            .map(|(at, _)| *at)
            .collect();
        // 4 million values are 11 of 24 metrics of 360 thousand.
        assert_eq!(waiting, [scene.grace, scene.grace + 1], "{harmed:?}");
        let judged = run.first(CheckState::Ok).or(run.breached()).unwrap();
        assert!(scene.grace + 1 < judged, "{judged}");
        assert_eq!(run.breached().is_some(), harmed.is_some());
    }
}

/// Memory of hosts that were restarted at different times long ago: a saw-tooth on a plateau.
fn memory(noise: &mut Noise, host: usize, bucket: i64) -> f64 {
    let tooth = 0.03 * ((bucket + 37 * host as i64).rem_euclid(90) as f64 / 90.0);
    1.0e9 * (1.0 + 0.05 * host as f64) * (1.0 + tooth + 0.003 * noise.normal())
}

#[test]
fn a_leak_is_found_before_it_reaches_the_tolerance_and_a_refill_is_not_one() {
    for (leak_per_hour, restarts, is_harm) in [
        (0.04, false, true),
        (0.0, false, false),
        (0.0, true, false),
        (0.04, true, true),
    ] {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.unit) = ("process_memory_bytes", Unit::Bytes);
        (scene.before, scene.grace, scene.after) = (360, 60, 660);
        let mut noise = Noise::new(11);
        let run = scene.run(|host, bucket| {
            let hours = bucket as f64 / 360.0;
            let is_new = host < 2 && bucket >= 0;
            let leaked = if is_new { leak_per_hour * hours } else { 0.0 };
            let refill = if is_new && restarts {
                0.45 * (-hours / 0.3).exp()
            } else {
                0.0
            };
            gauge(memory(&mut noise, host, bucket) * (1.0 - refill) * (1.0 + leaked))
        });
        assert_eq!(
            run.breached().is_some(),
            is_harm,
            "{leak_per_hour} an hour, restarted: {restarts}: {:?}",
            run.last().evidence.first().map(|evidence| &evidence.note)
        );
        if is_harm {
            let evidence = &run.last().evidence[0];
            assert!(evidence.effect.unwrap() < 0.1, "{}", evidence.note);
        }
    }
}

#[test]
fn a_slow_leak_of_a_host_that_was_never_emptied_is_found() {
    for (leak_per_hour, restarts, is_harm) in [
        (0.015, false, true),
        (0.0, false, false),
        (0.0, true, false),
    ] {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.unit) = ("process_memory_bytes", Unit::Bytes);
        (scene.before, scene.grace, scene.after) = (360, 60, 660);
        let mut noise = Noise::new(11);
        let run = scene.run(|host, bucket| {
            let hours = bucket as f64 / 360.0;
            let is_new = host < 2 && bucket >= 0;
            let leaked = if is_new { leak_per_hour * hours } else { 0.0 };
            let refill = if is_new && restarts {
                0.45 * (-hours / 0.3).exp() - 0.01
            } else {
                0.0
            };
            gauge(memory(&mut noise, host, bucket) * (1.0 - refill) * (1.0 + leaked))
        });
        assert_eq!(
            run.breached().is_some(),
            is_harm,
            "{leak_per_hour} an hour, restarted: {restarts}: {:?}",
            run.last().evidence.first().map(|evidence| &evidence.note)
        );
    }
}

#[test]
fn a_harm_of_the_size_of_the_default_tolerance_is_found_where_it_is_certain() {
    for (tolerance, factor, is_harm) in [
        (None, 1.1, true),
        (None, 1.03, false),
        (Some(0.15), 1.1, false),
    ] {
        let mut scene = Scene::new(3, 20);
        (scene.after, scene.tolerance) = (600, tolerance);
        let mut hosts = Hosts::new(2, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let is_new = host < 3 && bucket >= 0;
            gauge(0.1 * if is_new { factor } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(
            run.breached().is_some(),
            is_harm,
            "{tolerance:?} ×{factor}: {:?}",
            run.last()
        );
    }
}

#[test]
fn twice_the_noise_of_one_host_among_few_is_found() {
    for (one_box, fleet, factor) in [(1, 30, 2.0), (2, 8, 3.0)] {
        let mut scene = Scene::new(one_box, fleet);
        (scene.before, scene.after) = (360, 660);
        let mut noise = Noise::new(12);
        let run = scene.run(|host, bucket| {
            let is_new = host < one_box && bucket >= 0;
            let sigma = if is_new { 0.05 * factor } else { 0.05 };
            gauge(0.1 * (sigma * noise.normal()).exp())
        });
        assert!(
            run.breached().is_some(),
            "{one_box} of {fleet}: {:?}",
            run.last()
        );
    }
}

#[test]
fn few_hosts_tell_a_value_that_stands_still_and_one_that_comes_and_goes() {
    type Fault = fn(f64, i64) -> f64;
    let faults: [(&str, Fault); 3] = [
        ("stands still", |_, _| 0.123),
        ("comes and goes", |value, bucket| {
            if bucket.rem_euclid(60) < 12 {
                2.5 * value
            } else {
                value
            }
        }),
        ("", |value, _| value),
    ];
    for (remark, fault) in faults {
        let mut scene = Scene::new(1, 4);
        (scene.before, scene.after) = (720, 480);
        let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.1);
        let run = scene.run(|host, bucket| {
            let value = 0.1 * hosts.value(host, bucket);
            gauge(if host == 0 && bucket >= 30 {
                fault(value, bucket)
            } else {
                value
            })
        });
        if remark.is_empty() {
            assert_eq!(run.breached(), None);
        } else {
            let note = &run.last().evidence[0].note;
            assert!(run.breached().is_some() && note.contains(remark), "{note}");
        }
    }
}

#[test]
fn few_hosts_may_stand_where_they_do_no_harm() {
    let rows = [
        (Direction::Up, 0.2, None, true),
        (Direction::Up, 0.01, None, false),
        (Direction::Up, 0.0, None, false),
        (Direction::Up, 0.0, Some(1.0), false),
        (Direction::Both, 0.01, None, true),
        (Direction::Both, 0.0, Some(1.0), true),
        (Direction::Down, 0.5, None, false),
    ];
    for one_box in [1, 2] {
        for (direction, stands_at, exposure, is_harm) in rows {
            let mut scene = Scene::new(one_box, 4);
            (scene.before, scene.after) = (720, 480);
            scene.direction = direction;
            let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.1);
            let run = scene.run(|host, bucket| {
                let moves = 0.1 * hosts.value(host, bucket);
                let stands = host < one_box && 30 <= bucket;
                let cell = gauge(if stands { stands_at } else { moves });
                cell.map(|cell| Cell { exposure, ..cell })
            });
            let what = format!("{one_box} {direction:?} at {stands_at}: {:?}", run.last());
            assert_eq!(run.breached().is_some(), is_harm, "{what}");
        }
    }
}

#[test]
fn a_lost_success_rate_is_not_forgiven_in_the_grace() {
    let mut scene = Scene::new(1, 3);
    (scene.metric, scene.unit) = ("success_percent", Unit::Percent);
    (scene.direction, scene.grace) = (Direction::Down, 60);
    scene.resolution = Span::from_minutes(1);
    (scene.before, scene.grace, scene.after) = (60, 10, 40);
    let run = scene.run(|host, bucket| {
        let is_lost = host == 0 && (1..4).contains(&bucket);
        gauge(if is_lost { 50.0 } else { 100.0 })
    });
    assert_eq!(run.breached(), Some(scene.grace), "at the first look");
    let healthy = scene.run(|_, _| gauge(100.0));
    assert_eq!(healthy.breached(), None);
}

#[test]
fn a_gauge_may_follow_the_traffic_or_not() {
    for (weight, factor) in [(0.5, 0.5), (0.5, 1.0), (0.5, 0.8)] {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.direction) = ("threads_busy", Direction::Both);
        (scene.unit, scene.weight) = (Unit::Count, weight);
        let mut hosts = Hosts::new(9, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let is_new = host < 2 && bucket >= 0;
            gauge(10.0 * if is_new { factor } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(run.breached(), None, "×{factor} at a weight of {weight}");
    }
    let mut scene = Scene::new(2, 20);
    (scene.metric, scene.direction) = ("threads_busy", Direction::Both);
    (scene.unit, scene.weight) = (Unit::Count, 0.5);
    let mut hosts = Hosts::new(9, scene.hosts(), 0.1, 0.5, 0.05);
    let run = scene.run(|host, bucket| {
        let is_new = host < 2 && bucket >= 0;
        gauge(10.0 * if is_new { 0.25 } else { 1.0 } * hosts.value(host, bucket))
    });
    assert!(run.breached().is_some(), "a quarter is too little");
}

#[test]
fn few_hosts_with_a_past_of_minutes_are_judged_as_if_they_were_new() {
    for (before, factor, is_harm) in [(40, 6.0, true), (40, 1.0, false), (20, 6.0, true)] {
        let mut scene = Scene::new(1, 3);
        scene.before = before;
        let mut hosts = Hosts::new(5, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let is_new = host == 0 && bucket >= 0;
            gauge(0.1 * if is_new { factor } else { 1.0 } * hosts.value(host, bucket))
        });
        assert_eq!(
            run.breached().is_some(),
            is_harm,
            "×{factor} after {before} buckets"
        );
    }
}

#[test]
fn errors_that_cease_everywhere_are_no_lack_of_data() {
    let mut scene = Scene::new(2, 12);
    (scene.metric, scene.kind) = ("errors_total", Kind::Counter);
    (scene.unit, scene.has_per) = (Unit::Count, true);
    for (still_failing, is_harm) in [(0, false), (2, true)] {
        let mut noise = Noise::new(8);
        let run = scene.run(|host, bucket| {
            let rate = if bucket < 0 || host < still_failing {
                20.0
            } else {
                0.0
            };
            events(noise.poisson(rate), 10.0, Some(100.0))
        });
        assert_eq!(run.breached().is_some(), is_harm, "{still_failing} go on");
        if !is_harm {
            assert_eq!(run.last().state, CheckState::Undecided);
        }
    }
}

/// What was configured or built is no estimate.
#[test]
fn a_constant_may_become_another_one_within_the_tolerance() {
    for (one_box, fleet) in [(2, 8), (3, 20)] {
        let breached = |before: f64, after: f64, tolerance: Option<f64>| {
            let mut scene = Scene::new(one_box, fleet);
            (scene.metric, scene.unit, scene.direction) =
                ("flags_enabled", Unit::Unknown, Direction::Both);
            scene.tolerance = tolerance;
            let mut alive = Hosts::new(1, scene.hosts(), 0.1, 0.5, 0.05);
            let metrics = ["flags_enabled", "alive_seconds"];
            let run = scene.run_many(&metrics, |metric, host, bucket| {
                let is_new = host < one_box && 0 <= bucket;
                gauge(match metric {
                    0 if is_new => after,
                    0 => before,
                    _ => alive.value(host, bucket),
                })
            });
            run.breached().is_some()
        };
        assert!(!breached(17.0, 18.0, None), "{one_box} beside {fleet}");
        assert!(!breached(17.0, 16.0, None), "{one_box} beside {fleet}");
        assert!(breached(17.0, 20.0, None), "{one_box} beside {fleet}");
        assert!(breached(17.0, 18.0, Some(0.02)), "{one_box} beside {fleet}");
    }
}
