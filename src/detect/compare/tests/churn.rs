//! Fleet hosts that go and come while a bake lasts.

use super::*;

/// The one-box beside a fleet whose hosts are all replaced, one by one, from a bucket on: the second half of
/// the scene's fleet comes for the first.
fn replaced(old: usize, at: i64) -> (Scene, impl Fn(usize, i64) -> bool) {
    let mut scene = Scene::new(1, 2 * old);
    scene.after = 360;
    let is_here = move |host: usize, bucket: i64| match host.checked_sub(1) {
        None => true,
        Some(first) if first < old => bucket < at + first as i64,
        Some(second) => at + (second - old) as i64 <= bucket,
    };
    (scene, is_here)
}

/// Latencies of which the one-box has this many times its own from a bucket on.
fn latencies(
    (scene, is_here): (&Scene, &impl Fn(usize, i64) -> bool),
    seed: u64,
    (place, factor, from): (f64, f64, i64),
) -> Run {
    let mut hosts = Hosts::new(seed, scene.hosts(), 0.05, 0.8, 0.05);
    scene.run(|host, bucket| {
        let value = hosts.value(host, bucket);
        let own = if host == 0 { place } else { 1.0 };
        let harm = if host == 0 && from <= bucket {
            factor
        } else {
            1.0
        };
        is_here(host, bucket).then(|| gauge(0.1 * own * harm * value))?
    })
}

fn may_pass(finding: &Finding) -> bool {
    matches!(finding.state, CheckState::Ok | CheckState::Undecided)
}

#[test]
fn a_harm_beside_a_fleet_that_was_replaced_is_found_and_health_passes() {
    for old in [3, 8] {
        let (scene, is_here) = replaced(old, 120);
        for seed in 0..4 {
            let name = format!("{old}, {seed}");
            // Where the one-box was half as high again for ever, that is no harm.
            for place in [1.0, 1.5] {
                let healthy = latencies((&scene, &is_here), seed, (place, 1.0, 0));
                assert_eq!(healthy.breached(), None, "{name}: {:?}", healthy.last());
                assert!(may_pass(healthy.last()), "{name}: {:?}", healthy.last());
                // Beside strangers only what is gross is certain; what is likely is no pass.
                let likely = latencies((&scene, &is_here), seed, (place, 3.0, 200));
                assert!(!may_pass(likely.last()), "{name}: {:?}", likely.last());
                let gross = latencies((&scene, &is_here), seed, (place, 20.0, 200));
                let at = gross.breached();
                assert!(at.is_some_and(|at| 200 < at), "{name}: {:?}", gross.last());
                let note = &gross.last().evidence[0].note;
                assert!(note.contains("not all there"), "{name}: {note}");
            }
        }
    }
}

#[test]
fn a_bake_that_ends_without_anybody_to_compare_with_is_no_pass() {
    for old in [1, 3, 8] {
        // The last of the fleet goes two minutes before the end, or others come too late to be of use.
        for (at, comes) in [(372 - 12 - old as i64, false), (350, true)] {
            let (scene, is_here) = replaced(old, at);
            let is_here = |host, bucket| is_here(host, bucket) && (comes || host <= old);
            let run = latencies((&scene, &is_here), 1, (1.0, 1.0, 0));
            let last = run.last();
            assert_eq!(
                last.cause,
                Some(NoDataCause::NoFleet),
                "{old}, {at}: {last:?}"
            );
            let before = &run.findings[at as usize - 5].1;
            assert!(may_pass(before), "{old}, {at}: {before:?}");
        }
    }
}

#[test]
fn a_fleet_of_which_single_hosts_go_is_what_it_was() {
    for (old, gone) in [(3, 1), (8, 3)] {
        let scene = Scene::new(1, old);
        let is_here = |host: usize, bucket: i64| !(1..=gone).contains(&host) || bucket < 100;
        let run = latencies((&scene, &is_here), 1, (1.0, 1.0, 0));
        assert!(may_pass(run.last()), "{old}: {:?}", run.last());
        let harmed = latencies((&scene, &is_here), 1, (1.0, 3.0, 150));
        let note = &harmed.last().evidence[0].note;
        assert_eq!(harmed.last().state, CheckState::Breach, "{old}: {note}");
        assert!(!note.contains("not all there"), "{old}: {note}");
    }
}

#[test]
fn a_new_one_box_beside_pods_that_live_for_minutes_is_judged() {
    // Each pod lives for twenty minutes; of five places one is filled anew every four.
    let mut scene = Scene::new(1, 40);
    (scene.after, scene.before) = (480, 120);
    let is_here = |host: usize, bucket: i64| {
        let born = 24 * (host as i64 - 6) - 120;
        (host == 0 && 0 <= bucket) || (0 < host && (born..born + 120).contains(&bucket))
    };
    for seed in 0..4 {
        let healthy = latencies((&scene, &is_here), seed, (1.0, 1.0, 0));
        assert_eq!(healthy.breached(), None, "{seed}");
        assert!(may_pass(healthy.last()), "{seed}: {:?}", healthy.last());
        for (factor, from) in [(6.0, 100), (6.0, 350)] {
            let harmed = latencies((&scene, &is_here), seed, (1.0, factor, from));
            assert!(!may_pass(harmed.last()), "{seed}: {:?}", harmed.last());
            let is_most = from == 100;
            assert_eq!(harmed.breached().is_some(), is_most, "{seed}, {from}");
        }
    }
}

#[test]
fn errors_beside_a_fleet_that_was_replaced_are_counted_against_it() {
    for (rate, is_harm) in [(0.05, false), (1.0, true)] {
        let (mut scene, is_here) = replaced(4, 120);
        (scene.metric, scene.kind, scene.unit) = ("errors", Kind::Counter, Unit::Count);
        for seed in 0..4 {
            let mut noise = Noise::new(seed);
            let run = scene.run(|host, bucket| {
                let is_ill = host == 0 && 200 <= bucket;
                let count = noise.poisson(if is_ill { rate } else { 0.05 });
                is_here(host, bucket).then(|| events(count, 10.0, Some(20.0)))?
            });
            let last = run.last();
            assert_eq!(run.breached().is_some(), is_harm, "{seed}: {last:?}");
            assert!(is_harm || may_pass(last), "{seed}: {last:?}");
        }
    }
}

#[test]
fn a_metric_that_only_the_one_box_lost_is_missed_beside_new_hosts_too() {
    let (scene, is_here) = replaced(8, 60);
    let is_told = |host: usize, bucket: i64| is_here(host, bucket) && (host != 0 || bucket < 150);
    let run = latencies((&scene, &is_told), 1, (1.0, 1.0, 0));
    assert_eq!(run.last().state, CheckState::NoData, "{:?}", run.last());
}
