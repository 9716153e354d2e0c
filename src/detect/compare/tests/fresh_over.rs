//! Hosts that were never seen before, and what all of their bake shows beside six fleet hosts or more.

use super::*;

/// Scrapes a minute apart: an hour of past, two minutes of grace, an hour of bake.
fn scene(one_box: usize, fleet: usize) -> Scene {
    let mut scene = Scene::new(one_box, fleet);
    scene.resolution = Span::from_seconds(60);
    scene.direction = Direction::Both;
    (scene.before, scene.grace, scene.after) = (60, 2, 60);
    scene
}

/// Runs it with hosts that differ by a tenth and vary by a tenth; those of the one-box come with the deployment.
/// `harm` makes another number of the logarithm of the level of one of them.
fn run(scene: &Scene, seed: u64, harm: impl Fn(i64, f64) -> f64) -> Run {
    let mut noise = Noise::new(3_000 + seed);
    let places: Vec<f64> = (0..scene.hosts()).map(|_| 0.1 * noise.normal()).collect();
    scene.run(|host, bucket| {
        let own = 0.1 * noise.normal();
        let is_new = host < scene.one_box;
        if is_new && bucket < 1 {
            return None;
        }
        let own = if is_new { harm(bucket, own) } else { own };
        gauge(0.1 * (places[host] + own).exp())
    })
}

/// Of 20 runs, how many fail, and are withheld at the end.
fn outcomes(scene: &Scene, harm: impl Fn(i64, f64) -> f64) -> [usize; 2] {
    let mut found = [0; 2];
    for seed in 0..20 {
        let run = run(scene, seed, &harm);
        found[0] += usize::from(run.breached().is_some());
        found[1] += usize::from(run.last().state == CheckState::NoData);
    }
    found
}

/// So much above itself in these buckets.
fn during(is_out: impl Fn(i64) -> bool, factor: f64) -> impl Fn(i64, f64) -> f64 {
    move |bucket, own| own + if is_out(bucket) { factor.ln() } else { 0.0 }
}

#[test]
fn what_comes_and_goes_on_hosts_without_a_past_is_no_pass() {
    let every_ten = |bucket: i64| 10 <= bucket && bucket % 10 == 4;
    let half_an_hour = |bucket: i64| (12..42).contains(&bucket);
    let twice = |bucket: i64| 5 <= bucket && bucket % 25 < 6;
    for (one_box, fleet) in [(1, 8), (2, 8), (3, 20)] {
        let scene = scene(one_box, fleet);
        let name = format!("{one_box} beside {fleet}");
        let [failed, _] = outcomes(&scene, during(every_ten, 5.0));
        assert!(18 <= failed, "{name}, one minute in ten: {failed}");
        let [failed, withheld] = outcomes(&scene, during(half_an_hour, 2.0));
        assert!(
            18 <= failed + withheld,
            "{name}, half an hour: {failed} {withheld}"
        );
        let [failed, withheld] = outcomes(&scene, during(twice, 3.0));
        assert!(
            18 <= failed + withheld,
            "{name}, twice: {failed} {withheld}"
        );
        // One short spell may be chance.
        let [failed, withheld] = outcomes(&scene, during(|bucket| bucket == 30, 5.0));
        assert!(failed + withheld <= 1, "{name}, once: {failed} {withheld}");
    }
}

#[test]
fn it_says_how_often_it_came_and_went() {
    let run = run(
        &scene(3, 20),
        1,
        during(|bucket| 10 <= bucket && bucket % 10 == 4, 5.0),
    );
    let last = run.last();
    assert_eq!(last.state, CheckState::Breach, "{last:?}");
    let told = &last.evidence[0];
    let expected =
        "it came and went: 5 times, 5 min in all; fleet hosts at most 0 times in as long";
    assert!(told.note.ends_with(expected), "{told:?}");
    assert_eq!(since(&scene(3, 20), told), 14);
    let effect = told.effect.expect("it has a size");
    assert!((3.0..5.0).contains(&effect), "{told:?}");
}

/// Restless hosts have a level as any other.
#[test]
fn what_is_restless_on_hosts_without_a_past_is_no_pass() {
    for (one_box, fleet, factor, least) in [(1, 8, 3.0, 0), (2, 8, 5.0, 12), (3, 20, 5.0, 19)] {
        let scene = scene(one_box, fleet);
        let [failed, withheld] = outcomes(&scene, |bucket, own| {
            own * if 10 <= bucket { factor } else { 1.0 }
        });
        let name = format!("{one_box} beside {fleet}: {failed} {withheld}");
        assert!(least <= failed && 18 <= failed + withheld, "{name}");
    }
}

#[test]
fn it_says_how_restless_they_are() {
    let mut scene = scene(3, 20);
    (scene.metric, scene.unit) = ("utilization", Unit::Ratio);
    // Points, not factors: no single value is far out.
    let run = |factor: f64| {
        let mut noise = Noise::new(9);
        scene.run(|host, bucket| {
            let is_new = host < scene.one_box;
            let size = if is_new { 0.015 * factor } else { 0.015 };
            let value = 0.5 + size * (noise.uniform() - 0.5) * 2.0;
            (!is_new || 1 <= bucket).then(|| gauge(value)).flatten()
        })
    };
    let last = run(6.0).last().clone();
    assert_eq!(last.state, CheckState::Breach, "{last:?}");
    assert!(last.evidence[0].note.starts_with("spreads ×"), "{last:?}");
    assert_eq!(run(1.0).last().state, CheckState::Undecided);
}

/// A queue that has something in it in three of a hundred scrapes, and then in thirty.
#[test]
fn what_is_mostly_zero_is_seen_over_all_of_the_bake() {
    for (one_box, fleet, least) in [(2, 8, 14), (3, 20, 18)] {
        let mut scene = scene(one_box, fleet);
        (scene.metric, scene.unit) = ("queue_depth", Unit::Unknown);
        scene.resolution = Span::from_seconds(15);
        (scene.before, scene.grace, scene.after) = (240, 8, 240);
        let found = |chance: f64| {
            let runs = (0..20).filter(|seed| {
                let mut noise = Noise::new(*seed);
                let mut alive = Hosts::new(*seed, scene.hosts(), 0.1, 0.5, 0.05);
                let metrics = ["queue_depth", "alive_seconds"];
                let run = scene.run_many(&metrics, |metric, host, bucket| {
                    if metric == 1 {
                        return gauge(alive.value(host, bucket));
                    }
                    let is_new = host < one_box;
                    let chance = if is_new { chance } else { 0.03 };
                    let value = if noise.uniform() < chance {
                        -20.0 * noise.uniform().ln()
                    } else {
                        0.0
                    };
                    (!is_new || 1 <= bucket).then(|| gauge(value)).flatten()
                });
                run.breached().is_some() || run.last().state == CheckState::NoData
            });
            runs.count()
        };
        let name = format!("{one_box} beside {fleet}");
        let (ill, healthy) = (found(0.3), found(0.03));
        assert!(least <= ill, "{name}: {ill}");
        assert!(healthy <= 1, "{name}: {healthy}");
    }
}

/// What an early PASS would not wait for.
#[test]
fn nothing_passes_early_that_came_and_went() {
    let mut scene = scene(5, 40);
    scene.metric = "process_resident_memory_bytes";
    let passes = |is_out: fn(i64) -> bool| {
        let mut noise = Noise::new(5);
        let run = scene.run(|host, bucket| {
            let is_new = host < scene.one_box;
            let factor = if is_new && is_out(bucket) { 5.0 } else { 1.0 };
            let value = factor * (0.02 * noise.normal()).exp();
            (!is_new || 1 <= bucket).then(|| gauge(value)).flatten()
        });
        let passes = run
            .findings
            .iter()
            .map(|(bucket, finding)| (*bucket, finding.state));
        let passes = passes.filter(|(bucket, state)| 45 < *bucket && *state == CheckState::Ok);
        passes.count()
    };
    assert!(0 < passes(|_| false));
    assert_eq!(
        passes(|bucket| (10..41).contains(&bucket) && bucket % 10 == 0),
        0
    );
}

type World = fn(&mut Noise, &mut f64, i64) -> f64;

/// What healthy fresh hosts do; of hosts that stand apart, too.
#[test]
fn healthy_hosts_without_a_past_come_and_go_as_the_fleet_does() {
    let slow: World = |noise, state, _| {
        *state = 0.97 * *state + 0.05 * noise.normal();
        state.exp()
    };
    let worlds: [(&str, World); 6] = [
        ("independent", |noise, _, _| (0.2 * noise.normal()).exp()),
        ("slow", slow),
        ("heavy tails", |noise, _, _| {
            (0.1 * noise.normal() / noise.uniform().sqrt())
                .clamp(-4.0, 4.0)
                .exp()
        }),
        ("spikes", |noise, _, _| {
            let spike = if noise.uniform() < 0.02 { 4.0 } else { 1.0 };
            spike * (0.1 * noise.normal()).exp()
        }),
        ("small numbers", |noise, _, _| noise.poisson(6.0)),
        ("it warms up", |noise, _, bucket| {
            let cold = 0.8 * (-bucket.max(0) as f64 / 8.0).exp();
            (0.1 * noise.normal() + if bucket < 0 { 0.0 } else { cold }).exp()
        }),
    ];
    let mut found = Vec::new();
    for (name, world) in worlds {
        for (one_box, fleet) in [(1, 8), (3, 20)] {
            let scene = scene(one_box, fleet);
            let mut counts = [0; 2];
            for seed in 0..20 {
                let mut noise = Noise::new(7_000 + seed);
                let places: Vec<f64> = (0..scene.hosts()).map(|_| 0.15 * noise.normal()).collect();
                let mut states = vec![0.0; scene.hosts()];
                let run = scene.run(|host, bucket| {
                    let is_new = host < one_box;
                    // Only hosts that have just come are cold.
                    let age = if is_new { bucket } else { bucket.min(-1) };
                    let value = world(&mut noise, &mut states[host], age);
                    let is_count = name == "small numbers";
                    let value = if is_count {
                        value
                    } else {
                        value * places[host].exp()
                    };
                    (!is_new || 1 <= bucket).then(|| gauge(value)).flatten()
                });
                counts[0] += usize::from(run.breached().is_some());
                counts[1] += usize::from(run.last().state == CheckState::NoData);
            }
            found.push((name, one_box, fleet, counts));
        }
    }
    let failed: usize = found.iter().map(|(.., counts)| counts[0]).sum();
    let withheld: usize = found.iter().map(|(.., counts)| counts[1]).sum();
    assert!(failed <= 1 && withheld <= 4, "{found:?}");
}
