//! Hosts that were never seen before, and change in the midst of the bake.

use super::*;

/// Scrapes a minute apart: an hour of past, two minutes of grace, an hour of bake.
fn scene(one_box: usize, fleet: usize) -> Scene {
    let mut scene = Scene::new(one_box, fleet);
    scene.resolution = Span::from_seconds(60);
    scene.direction = Direction::Both;
    (scene.before, scene.grace, scene.after) = (60, 2, 60);
    scene
}

/// Hosts that differ by a tenth; those of the one-box come with the deployment and are so many times as large.
fn run(scene: &Scene, seed: u64, factor: impl Fn(i64) -> f64) -> Run {
    let mut hosts = Hosts::new(1_000 + seed, scene.hosts(), 0.1, 0.5, 0.05);
    scene.run(|host, bucket| {
        let value = 0.1 * hosts.value(host, bucket);
        let is_new = host < scene.one_box;
        if is_new && bucket < 1 {
            return None;
        }
        gauge(value * if is_new { factor(bucket) } else { 1.0 })
    })
}

/// Of 20 runs, how many fail, and are withheld at the end.
fn outcomes(scene: &Scene, factor: impl Fn(i64) -> f64) -> [usize; 2] {
    let mut found = [0; 2];
    for seed in 0..20 {
        let run = run(scene, seed, &factor);
        found[0] += usize::from(run.breached().is_some());
        found[1] += usize::from(run.last().state == CheckState::NoData);
    }
    found
}

#[test]
fn a_harm_that_begins_in_the_midst_of_the_bake_is_found() {
    let mut failed = Vec::new();
    for (one_box, fleet, factor, least) in [
        (1, 8, 1.6, 14),
        (2, 8, 1.5, 15),
        (3, 20, 1.5, 19),
        (5, 40, 1.4, 19),
    ] {
        let scene = scene(one_box, fleet);
        let harm = |bucket| if bucket < 28 { 1.0 } else { factor };
        let [found, _] = outcomes(&scene, harm);
        failed.push((one_box, fleet, factor, found, least));
    }
    let are_found = failed.iter().all(|(.., found, least)| least <= found);
    assert!(are_found, "{failed:?}");
}

#[test]
fn it_says_since_when_and_by_how_much() {
    let scene = scene(3, 20);
    let run = run(&scene, 5, |bucket| if bucket < 28 { 1.0 } else { 1.8 });
    let mut findings = run.findings.iter();
    let breach = findings.find(|(_, finding)| finding.state == CheckState::Breach);
    let evidence = &breach.expect("it is found").1.evidence[0];
    let began = since(&scene, evidence);
    assert!((26..=30).contains(&began), "{began}: {evidence:?}");
    let effect = evidence.effect.expect("it has a size");
    assert!((0.5..1.2).contains(&effect), "{evidence:?}");
}

/// What warms up ends where the fleet is.
#[test]
fn what_warms_up_is_no_harm() {
    type Factor = fn(i64) -> f64;
    // Of single hosts that stand apart by themselves, and warm up for longer than they are watched, one or two fail.
    let worlds: [(&str, &str, usize, Factor); 5] = [
        ("nothing happens", "latency_seconds", 0, |_| 1.0),
        (
            "its share of the traffic comes by and by",
            "rate",
            2,
            |bucket| (0.65 + 0.01 * bucket as f64).min(1.0),
        ),
        ("cold caches", "latency_seconds", 1, |bucket| {
            1.0 + 0.6 * (-bucket as f64 / 15.0).exp()
        }),
        (
            "it fills up, to more than the fleet has",
            "process_resident_memory_bytes",
            0,
            |bucket| 1.15 - 0.6 * (-bucket as f64 / 20.0).exp(),
        ),
        ("it stands apart", "queue_depth", 0, |_| 1.3),
    ];
    for (name, metric, most, factor) in worlds {
        for (one_box, fleet) in [(1, 8), (3, 20)] {
            let mut scene = scene(one_box, fleet);
            scene.metric = metric;
            let [failed, _] = outcomes(&scene, factor);
            assert!(failed <= most, "{name}, {one_box} beside {fleet}: {failed}");
        }
    }
}

/// Of requests in flight there are five at first and less than one at the end, on all hosts alike; bursts of a queue
/// are as long as a block.
#[test]
fn small_numbers_and_bursts_are_no_harm() {
    type World = fn(&mut Noise, i64) -> f64;
    let worlds: [(&str, World); 2] = [
        ("in_flight", |noise, bucket| {
            noise.poisson(5.0 * (-bucket.max(0) as f64 / 30.0).exp())
        }),
        ("queue_depth", |noise, _| {
            if noise.uniform() < 0.03 {
                -100.0 * noise.uniform().ln()
            } else {
                0.0
            }
        }),
    ];
    for (name, world) in worlds {
        let mut found = [0; 2];
        for (one_box, fleet) in [(1, 4), (2, 8), (3, 20)] {
            let mut scene = scene(one_box, fleet);
            scene.metric = name;
            for seed in 0..10 {
                let mut noise = Noise::new(seed);
                let mut bursts = vec![(0, 0.0); scene.hosts()];
                let mut alive = Hosts::new(seed, scene.hosts(), 0.1, 0.5, 0.05);
                let run = scene.run_many(&[name, "alive_seconds"], |metric, host, bucket| {
                    if metric == 1 {
                        return gauge(alive.value(host, bucket));
                    }
                    let value = world(&mut noise, bucket);
                    let burst = &mut bursts[host];
                    *burst = match *burst {
                        (left, value) if 0 < left => (left - 1, value),
                        _ => (if value > 6.0 { 5 } else { 0 }, value),
                    };
                    (one_box <= host || 1 <= bucket)
                        .then(|| gauge(burst.1))
                        .flatten()
                });
                found[0] += usize::from(run.breached().is_some());
                found[1] += usize::from(run.last().state == CheckState::NoData);
            }
        }
        assert!(found[0] == 0 && found[1] == 0, "{name}: {found:?}");
    }
}
