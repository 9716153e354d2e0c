//! What a one-box with less traffic, or with hardly any of something, may do.

use super::*;

/// Runs a scene in which hosts hold so much of something, the one-box so many times as much, with a noise of
/// 5 %.
fn levels(scene: &Scene, level: f64, factor: f64) -> Run {
    let mut hosts = Hosts::new(9, scene.hosts(), 0.1, 0.5, 0.05);
    scene.run(|host, bucket| {
        let is_new = host < scene.one_box && bucket >= 0;
        let value = level * if is_new { factor } else { 1.0 } * hosts.value(host, bucket);
        match scene.kind {
            Kind::Counter => events(10.0 * value, 10.0, None),
            Kind::Unknown | Kind::Gauge | Kind::Histogram | Kind::Summary => gauge(value),
        }
    })
}

/// One-boxes beside many hosts, beside few, and without a past.
fn companies() -> [Scene; 3] {
    let (mut few, mut fresh) = (Scene::new(1, 4), Scene::new(1, 4));
    few.before = 360;
    fresh.before = 40;
    [Scene::new(2, 20), few, fresh]
}

#[test]
fn gauges_and_the_processor_may_follow_the_traffic_or_not() {
    for (metric, kind, unit) in [
        ("process_cpu_seconds_total", Kind::Counter, Unit::Unknown),
        ("gc_pause_seconds_sum", Kind::Counter, Unit::Seconds),
        ("threads", Kind::Gauge, Unit::Count),
    ] {
        for mut scene in companies() {
            (scene.metric, scene.kind, scene.unit) = (metric, kind, unit);
            (scene.direction, scene.weight) = (Direction::Both, 0.05);
            for factor in [1.0, 0.3, 0.05] {
                let run = levels(&scene, 0.1, factor);
                let name = format!("{metric} ×{factor} of {}: {:?}", scene.fleet, run.last());
                assert_eq!(run.breached(), None, "{name}");
                // Half the cost may have hidden twice the harm.
                assert_ne!(run.last().state, CheckState::Ok, "{name}");
            }
            for factor in [8.0, 0.003] {
                let run = levels(&scene, 0.1, factor);
                let name = format!("{metric} ×{factor} of {}: {:?}", scene.fleet, run.last());
                // Next to nothing may be none at all.
                let is_lost = run.last().state == CheckState::NoData;
                assert!(run.breached().is_some() || is_lost, "{name}");
            }
        }
    }
}

#[test]
fn requests_follow_the_traffic() {
    for mut scene in companies() {
        (scene.metric, scene.kind, scene.unit) = ("requests_total", Kind::Counter, Unit::Count);
        (scene.direction, scene.weight) = (Direction::Both, 0.05);
        let run = levels(&scene, 100.0, 0.05);
        assert_eq!(run.breached(), None, "{}: {:?}", scene.fleet, run.last());
        let run = levels(&scene, 100.0, 1.0);
        assert!(
            run.breached().is_some(),
            "{}: {:?}",
            scene.fleet,
            run.last()
        );
    }
}

#[test]
fn records_may_follow_the_traffic_or_not() {
    let run = |factor: f64, direction| {
        let mut scene = Scene::new(2, 20);
        (scene.metric, scene.kind, scene.unit) = ("records", Kind::Counter, Unit::Count);
        (scene.direction, scene.weight, scene.selects) = (direction, 0.1, Selects::Logs);
        let mut noise = Noise::new(2);
        scene.run(|host, bucket| {
            let is_new = host < 2 && bucket >= 0;
            let rate = 0.5 * if is_new { factor } else { 1.0 };
            events(noise.poisson(rate), 10.0, None)
        })
    };
    for direction in [Direction::Up, Direction::Both] {
        for factor in [1.0, 0.3, 0.1] {
            let run = run(factor, direction);
            assert_eq!(run.breached(), None, "×{factor}: {:?}", run.last());
            // Ten times as many might be hidden.
            assert_eq!(run.last().state, CheckState::Undecided, "{:?}", run.last());
        }
        let run = run(4.0, direction);
        assert!(run.breached().is_some(), "{:?}", run.last());
    }
    for direction in [Direction::Down, Direction::Both] {
        assert!(run(0.0, direction).breached().is_some(), "{direction:?}");
    }
}

#[test]
fn a_counter_of_seconds_is_a_level_and_no_number_of_events() {
    for (factor, is_harm) in [(1.0, false), (1.2, true)] {
        let mut scene = Scene::new(1, 8);
        (scene.metric, scene.kind) = ("process_cpu_seconds_total", Kind::Counter);
        let run = levels(&scene, 0.2, factor);
        let last = run.last();
        assert_eq!(run.breached().is_some(), is_harm, "×{factor}: {last:?}");
        let note = &last.evidence[0].note;
        assert!(!note.contains("events"), "{note}");
    }
}

#[test]
fn a_process_that_has_just_begun_may_hold_less_memory() {
    for mut scene in companies() {
        (scene.metric, scene.unit) = ("process_resident_memory_bytes", Unit::Bytes);
        for (direction, is_harm) in [(Direction::Both, false), (Direction::Down, true)] {
            scene.direction = direction;
            let run = levels(&scene, 1e9, 0.1);
            let name = format!("{direction:?} of {}: {:?}", scene.fleet, run.last());
            assert_eq!(run.breached().is_some(), is_harm, "{name}");
        }
        scene.direction = Direction::Both;
        assert!(levels(&scene, 1e9, 10.0).breached().is_some());
    }
}

/// A share of the requests of every other bucket, of which some are lost.
fn shares(scene: &Scene, lost: impl Fn(usize, i64) -> f64) -> Run {
    let mut scene = scene.clone();
    (scene.metric, scene.unit, scene.direction) = ("success_ratio", Unit::Ratio, Direction::Down);
    scene.run(|host, bucket| {
        let is_scraped = (bucket + host as i64).rem_euclid(2) == 0;
        is_scraped
            .then(|| gauge(1.0 - lost(host, bucket)))
            .flatten()
    })
}

#[test]
fn a_request_that_fails_in_one_scrape_is_no_lost_success() {
    for (scene, latest) in companies().iter().zip([5, 60, 60]) {
        let last = scene.grace + scene.after - 2;
        for from in [scene.grace, 100, last] {
            for lost in [0.016, 0.05, 1.0] {
                let run = shares(scene, |host, bucket| {
                    let is_hit = host < scene.one_box && (from..from + 2).contains(&bucket);
                    if is_hit { lost } else { 0.0 }
                });
                let name = format!("{lost} at {from} of {}: {:?}", scene.fleet, run.last());
                assert_eq!(run.breached(), None, "{name}");
            }
        }
        // What lasts is found two scrapes later at most, or in a few minutes beside few hosts.
        let run = shares(scene, |host, bucket| {
            if host < scene.one_box && 0 <= bucket {
                0.2
            } else {
                0.0
            }
        });
        let breached = run.breached();
        let is_soon = breached.is_some_and(|breached| breached <= scene.grace + latest);
        assert!(is_soon, "{breached:?} of {}", scene.fleet);
    }
}

/// A queue that is mostly empty, of hosts that are scraped every so many buckets.
fn queues(fleet: usize, before: i64, every: i64, seed: u64, rate: f64) -> Run {
    let mut scene = Scene::new(1, fleet);
    (scene.metric, scene.unit) = ("queue_length", Unit::Count);
    (scene.before, scene.after) = (before, 360);
    let mut noise = Noise::new(seed);
    scene.run(|host, bucket| {
        let is_new = host == 0 && bucket >= 0;
        let is_scraped = (bucket + host as i64).rem_euclid(every) == 0;
        is_scraped
            .then(|| gauge(noise.poisson(if is_new { rate } else { 0.1 })))
            .flatten()
    })
}

#[test]
fn what_is_usually_nothing_is_measured_by_its_excursions() {
    // One at a time, for a quarter of an hour, beside few hosts that had one now and then.
    let mut scene = Scene::new(1, 3);
    (scene.metric, scene.unit) = ("queue_length", Unit::Count);
    (scene.before, scene.after) = (360, 360);
    let mut noise = Noise::new(4);
    let run = scene.run(|host, bucket| {
        let is_busy = host == 0 && (60..150).contains(&bucket);
        let value = noise.poisson(0.1);
        let is_scraped = bucket.rem_euclid(6) == 0;
        is_scraped
            .then(|| gauge(if is_busy { 1.0 } else { value }))
            .flatten()
    });
    assert_eq!(run.breached(), None, "{:?}", run.last());
    for (before, every) in [(360, 1), (360, 3), (360, 6), (40, 1), (40, 3)] {
        let of = |seed, rate| queues(3, before, every, seed, rate);
        let failed = (0..25).filter(|seed| of(*seed, 0.1).breached().is_some());
        assert_eq!(failed.count(), 0, "{before} {every}");
        let healthy = of(1, 0.1);
        for (_, finding) in &healthy.findings {
            let told = finding.evidence.iter().filter_map(|told| told.expected);
            assert!(told.into_iter().all(|expected| 0.0 <= expected));
        }
        assert!(of(1, 20.0).breached().is_some(), "{before} {every}");
    }
}

/// Seconds that are spent now and then, a second or so each time.
fn pauses(scene: &Scene, seed: u64, chance: f64, factor: f64) -> Run {
    let mut scene = scene.clone();
    (scene.metric, scene.kind) = ("gc_pause_seconds_sum", Kind::Counter);
    scene.direction = Direction::Both;
    let mut noise = Noise::new(seed);
    scene.run(|host, bucket| {
        let is_new = host < scene.one_box && bucket >= 0;
        let is_paused = noise.uniform() < chance;
        let seconds = -noise.uniform().ln() * if is_new { factor } else { 1.0 };
        events(if is_paused { seconds } else { 0.0 }, 10.0, None)
    })
}

#[test]
fn seconds_that_are_spent_in_lumps_fail_nothing_healthy() {
    for scene in &companies() {
        for chance in [0.02, 0.1, 0.4] {
            let failed = (0..25).filter(|seed| {
                let run = pauses(scene, *seed, chance, 1.0);
                run.breached().is_some()
            });
            let failed = failed.count();
            assert!(failed <= 1, "{failed} at {chance} of {}", scene.fleet);
        }
    }
}

#[test]
fn what_few_requests_make_is_noisier() {
    for mut scene in companies() {
        scene.direction = Direction::Both;
        for (metric, idle) in [
            ("process_cpu_seconds_total", 2.0),
            ("process_cpu_seconds_total", 0.0),
            ("requests_total", 0.0),
        ] {
            (scene.metric, scene.kind, scene.unit) = (metric, Kind::Counter, Unit::Unknown);
            for (weight, requests) in [(0.05, 20.0), (0.2, 20.0), (0.2, 100.0)] {
                scene.weight = weight;
                let failed = (0..20).filter(|seed| {
                    let mut noise = Noise::new(*seed);
                    let run = scene.run(|host, bucket| {
                        let is_new = host < scene.one_box && bucket >= 0;
                        let share = if is_new { weight } else { 1.0 };
                        events(idle + noise.poisson(requests * share), 10.0, None)
                    });
                    run.breached().is_some()
                });
                let failed = failed.count();
                let name = format!("{metric}, {weight} of {requests}, {}", scene.fleet);
                assert!(failed <= 1, "{failed}: {name}");
            }
        }
    }
}

#[test]
fn events_that_only_the_one_box_has_are_no_pass_though_nobody_had_any_before() {
    let last = |restarts: i64| {
        let mut scene = Scene::new(1, 7);
        (scene.metric, scene.kind, scene.unit) = ("restarts_total", Kind::Counter, Unit::Count);
        let every = scene.after / (restarts + 1);
        let run = scene.run(|host, bucket| {
            let judged = bucket - scene.grace;
            let is_one = host == 0 && 0 < judged && judged % every == 0;
            let is_one = is_one && judged / every <= restarts;
            events(if is_one { 1.0 } else { 0.0 }, 10.0, None)
        });
        run.last().clone()
    };
    let many = last(6);
    let is_withheld = many.cause == Some(NoDataCause::Likely) || many.state == CheckState::Breach;
    assert!(is_withheld, "{many:?}");
    let few = last(2);
    assert_eq!(few.state, CheckState::Undecided, "{few:?}");
}

/// The last finding of two hosts beside ten with a tenth of the traffic, always or since the deployment only, and
/// so many times what goes with it. An ordinary host has so many events in a bucket.
fn tenth((told, is_always): (bool, bool), metric: &'static str, mean: f64, factor: f64) -> Finding {
    let mut scene = Scene::new(2, 10);
    (scene.metric, scene.kind, scene.unit) = (metric, Kind::Counter, Unit::Count);
    (scene.direction, scene.before) = (Direction::Both, 360);
    scene.weight = if told { 0.1 } else { 1.0 };
    let mut noise = Noise::new(4);
    let run = scene.run(|host, bucket| {
        let share = if host < 2 && (is_always || 0 <= bucket) {
            0.1
        } else {
            1.0
        };
        let factor = if host < 2 && 0 <= bucket { factor } else { 1.0 };
        events(noise.poisson(mean * share * factor), 10.0, None)
    });
    let breached = run.findings.iter().map(|(_, finding)| finding);
    let mut breached = breached.filter(|finding| finding.state == CheckState::Breach);
    breached.next().unwrap_or_else(|| run.last()).clone()
}

#[test]
fn a_share_of_the_traffic_may_be_as_old_as_the_past() {
    for (told, is_always) in [(true, false), (true, true), (false, true)] {
        for (metric, mean, harm) in [("requests_total", 100.0, 0.5), ("errors_total", 0.5, 6.0)] {
            for (factor, is_harm) in [(1.0, false), (harm, true)] {
                let found = tenth((told, is_always), metric, mean, factor);
                let name = format!("{told} {is_always} {metric} ×{factor}: {found:?}");
                assert_eq!(found.state == CheckState::Breach, is_harm, "{name}");
                assert!(is_harm || found.state != CheckState::NoData, "{name}");
            }
        }
    }
}

/// The last finding, or the first breach, of two hosts beside ten that go from a tenth of the traffic to a half of it,
/// and so many times what goes with it.
fn shifted(
    scene: &Scene,
    shares: Option<(f64, f64)>,
    value: impl Fn(&mut Noise, f64) -> Option<Cell>,
    factor: f64,
) -> Finding {
    let mut scene = scene.clone();
    (scene.weight, scene.past_shares) = (0.5, shares);
    let mut noise = Noise::new(6);
    let run = scene.run(|host, bucket| {
        let share = match (host < 2, 0 <= bucket) {
            (true, true) => 0.5 * factor,
            (true, false) => 0.1,
            (false, _) => 1.0,
        };
        value(&mut noise, share)
    });
    let found = run.findings.iter().map(|(_, finding)| finding);
    let mut breached = found.filter(|finding| finding.state == CheckState::Breach);
    breached.next().unwrap_or_else(|| run.last()).clone()
}

#[test]
fn traffic_may_be_shifted_in_steps() {
    let mut scene = Scene::new(2, 10);
    (scene.direction, scene.before) = (Direction::Both, 360);
    (scene.kind, scene.unit) = (Kind::Counter, Unit::Count);
    for (metric, mean, harm) in [("requests_total", 100.0, 0.5), ("errors_total", 1.0, 6.0)] {
        scene.metric = metric;
        for (factor, is_harm) in [(1.0, false), (harm, true)] {
            let value =
                |noise: &mut Noise, share: f64| events(noise.poisson(mean * share), 10.0, None);
            let found = shifted(&scene, None, value, factor);
            assert_eq!(
                found.state == CheckState::Breach,
                is_harm,
                "{metric} ×{factor}: {found:?}"
            );
        }
    }
    // Part of what is not counted follows the traffic. Only who was told knows that the share was another one.
    (scene.metric, scene.kind, scene.unit) = ("go_goroutines", Kind::Gauge, Unit::Unknown);
    let value = |noise: &mut Noise, share: f64| {
        gauge((40.0 + 60.0 * share) * (1.0 + 0.03 * noise.normal()))
    };
    for (shares, factor, is_harm) in [
        (None, 1.0, true),
        (Some((0.1, 0.1)), 1.0, false),
        (Some((0.1, 0.1)), 8.0, true),
    ] {
        let found = shifted(&scene, shares, value, factor);
        assert_eq!(
            found.state == CheckState::Breach,
            is_harm,
            "{shares:?} ×{factor}: {found:?}"
        );
    }
    // What does not follow it was where the fleet is, and has nowhere to go.
    for (harm, is_harm) in [(1.0, false), (1.5, true)] {
        let harmed = |noise: &mut Noise, share: f64| {
            let is_harmed = share == 0.5;
            gauge(if is_harmed { harm } else { 1.0 } * (1.0 + 0.03 * noise.normal()))
        };
        let found = shifted(&scene, Some((0.1, 0.1)), harmed, 1.0);
        assert_eq!(
            found.state == CheckState::Breach,
            is_harm,
            "×{harm}: {found:?}"
        );
    }
}
