//! Events of one host beside few others, and of hosts without a past.

use super::*;

/// An hour of past, five minutes of grace, 55 of bake.
fn scene(one_box: usize, fleet: usize) -> Scene {
    let mut scene = Scene::new(one_box, fleet);
    (scene.before, scene.grace, scene.after) = (360, 30, 330);
    (scene.metric, scene.kind, scene.unit) = ("errors_total", Kind::Counter, Unit::Count);
    scene
}

/// Runs it with so many events of a host in a second; a one-box without a past, where it is `fresh`, begins with the
/// deployment.
fn run(scene: &Scene, seed: u64, is_fresh: bool, rate: impl Fn(usize, i64) -> f64) -> Run {
    let mut noise = Noise::new(seed);
    scene.run(|host, bucket| {
        let count = noise.poisson(10.0 * rate(host, bucket));
        let is_there = !is_fresh || scene.one_box <= host || 2 <= bucket;
        is_there.then(|| events(count, 10.0, None)).flatten()
    })
}

/// The one-box has so many times the rate of the others.
fn harmed(scene: &Scene, seed: u64, is_fresh: bool, (rate, factor): (f64, f64)) -> Run {
    let one_box = scene.one_box;
    run(scene, seed, is_fresh, |host, bucket| {
        let is_new = host < one_box && 0 <= bucket;
        rate * if is_new { factor } else { 1.0 }
    })
}

/// More of them make a harm more certain, never less.
#[test]
fn events_of_a_fresh_host_beside_three_or_more_are_counted_however_frequent_they_are() {
    for (one_box, fleet) in [(1, 3), (1, 5), (2, 4)] {
        for rate in [0.03, 0.05, 0.1, 0.3] {
            for (factor, is_harm) in [(1.0, false), (4.0, true)] {
                for seed in 0..3 {
                    let run = harmed(&scene(one_box, fleet), seed, true, (rate, factor));
                    let name = format!("{one_box} of {fleet}, {rate} ×{factor}, {seed}");
                    let (last, is_found) = (run.last(), run.breached().is_some());
                    assert_eq!(is_found, is_harm, "{name}: {last:?}");
                    assert!(is_harm || last.cause.is_none(), "{name}: {last:?}");
                }
            }
        }
    }
}

#[test]
fn what_no_ignorance_excuses_is_no_pass_beside_one_or_two_hosts() {
    for (fleet, factor) in [(1, 10.0), (2, 6.0), (1, 1.0), (2, 1.0), (1, 2.0), (2, 2.0)] {
        for rate in [0.01, 0.03, 0.1, 0.3] {
            for selects in [Selects::Metric, Selects::Logs] {
                let mut scene = scene(1, fleet);
                scene.selects = selects;
                for seed in 0..3 {
                    let run = harmed(&scene, seed, true, (rate, factor));
                    let last = run.last();
                    let is_likely = last.cause == Some(NoDataCause::Likely);
                    let name = format!("{rate} ×{factor} beside {fleet}, {seed}: {last:?}");
                    assert_eq!(run.breached(), None, "{name}");
                    assert_eq!(is_likely, 2.0 < factor, "{name}");
                }
            }
        }
    }
}

/// Bursts of a dozen: that some quarters of the bake have more of them is no harm that lasts.
#[test]
fn bursts_beside_one_or_two_hosts_are_no_lasting_harm() {
    for fleet in [1, 2] {
        for seed in 0..20 {
            let mut noise = Noise::new(seed);
            let run = scene(1, fleet).run(|host, bucket| {
                let bursts = noise.poisson(0.05);
                let is_there = host > 0 || 2 <= bucket;
                is_there
                    .then(|| events(12.0 * bursts, 10.0, None))
                    .flatten()
            });
            let last = run.last();
            assert_eq!(run.breached(), None, "{fleet}, {seed}: {last:?}");
            assert_eq!(last.cause, None, "{fleet}, {seed}: {last:?}");
        }
    }
}

/// That of the one-box is the only other past beside one fleet host: both tell that events come singly.
#[test]
fn the_pasts_of_one_and_one_tell_that_events_come_singly() {
    for (rate, factor) in [(0.02, 5.0), (0.03, 4.0), (0.03, 1.0)] {
        for seed in 0..6 {
            let run = harmed(&scene(1, 1), seed, false, (rate, factor));
            let is_found = run.breached().is_some();
            let name = format!("{rate} ×{factor}, {seed}: {:?}", run.last());
            assert_eq!(is_found, factor > 1.0, "{name}");
        }
    }
}

#[test]
fn a_process_that_has_just_begun_has_nothing_to_drop() {
    for (direction, is_harm) in [(Direction::Both, false), (Direction::Down, true)] {
        for fleet in [4, 8] {
            let mut scene = scene(1, fleet);
            (scene.metric, scene.direction) = ("cache_evictions_total", direction);
            let run = run(&scene, 1, true, |host, _| if host > 0 { 0.05 } else { 0.0 });
            let name = format!("{direction:?} beside {fleet}: {:?}", run.last());
            assert_eq!(run.breached().is_some(), is_harm, "{name}");
        }
    }
}
