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
    for (one_box, fleet) in [(2, 20), (3, 12)] {
        let mut scene = Scene::new(one_box, fleet);
        scene.before = 360;
        for seed in 0..4 {
            let lasting = harmed(&scene, seed, 1, 60, 1_000);
            let name = format!("{one_box} of {fleet}, {seed}");
            assert_eq!(lasting.breached(), None, "{name}");
            let last = lasting.last();
            assert_eq!(last.cause, Some(NoDataCause::OneHost), "{name}: {last:?}");
            let note = &last.evidence[0].note;
            assert!(note.contains("h0000 alone"), "{name}: {note}");
            let healed = harmed(&scene, seed, 1, 60, 120);
            assert_eq!(healed.breached(), None, "{name}");
            assert_ne!(healed.last().state, CheckState::NoData, "{name}");
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
