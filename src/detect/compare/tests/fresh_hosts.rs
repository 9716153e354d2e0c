//! Hosts that were never seen before: what is likely harm is no PASS, and what is healthy is one.

use super::*;

/// Scrapes a minute apart: an hour of past, two minutes of grace, half an hour of bake.
fn scene(one_box: usize, fleet: usize) -> Scene {
    let mut scene = Scene::new(one_box, fleet);
    scene.resolution = Span::from_seconds(60);
    (scene.before, scene.grace, scene.after) = (60, 2, 30);
    scene
}

/// Runs it with so many metrics, of which the first of the one-box is so many times as large; hosts differ by
/// `offset`.
fn run(scene: &Scene, seed: u64, metrics: usize, offset: f64, factor: f64) -> Run {
    let names: Vec<String> = (0..metrics).map(|name| format!("{name}_seconds")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut hosts: Vec<Hosts> = (0..metrics as u64)
        .map(|metric| Hosts::new(1_000 * seed + metric, scene.hosts(), offset, 0.5, 0.05))
        .collect();
    scene.run_many(&names, |metric, host, bucket| {
        let value = hosts[metric].value(host, bucket);
        let is_new = host < scene.one_box;
        if is_new && bucket < 1 {
            return None;
        }
        gauge(0.1 * value * if is_new && metric == 0 { factor } else { 1.0 })
    })
}

/// Of so many runs those that end with a PASS, and those that are withheld and failed.
fn verdicts(runs: u64, run: impl Fn(u64) -> Run) -> [usize; 3] {
    let mut counts = [0; 3];
    for seed in 0..runs {
        let run = run(seed);
        let last = run.last();
        let index = match (run.breached(), last.state) {
            (Some(_), _) => 2,
            (None, CheckState::NoData) => {
                assert_eq!(last.cause, Some(NoDataCause::Unproven), "{last:?}");
                1
            }
            (None, _) => 0,
        };
        counts[index] += 1;
    }
    counts
}

/// By hosts of one-box and fleet, of 40 runs: how many may pass of twice and of three times the level. Two
/// others tell too little of the former.
#[test]
fn a_likely_harm_is_no_pass() {
    let mut passed = Vec::new();
    for (one_box, fleet, doubled, tripled) in [
        (1, 2, 40, 4),
        (1, 3, 14, 0),
        (1, 4, 6, 0),
        (1, 8, 4, 0),
        (2, 3, 4, 0),
        (2, 4, 4, 0),
        (3, 3, 4, 0),
    ] {
        let scene = scene(one_box, fleet);
        for (factor, most) in [(2.0, doubled), (3.0, tripled)] {
            let [found, ..] = verdicts(40, |seed| run(&scene, seed, 1, 0.1, factor));
            passed.push((one_box, fleet, factor, found, most));
        }
    }
    let is_kept = passed.iter().all(|(.., found, most)| found <= most);
    assert!(is_kept, "{passed:?}");
}

#[test]
fn healthy_hosts_with_many_metrics_pass() {
    for (one_box, fleet) in [(1, 2), (1, 3), (1, 4), (1, 8), (2, 4)] {
        let scene = scene(one_box, fleet);
        for (metrics, offset) in [(12, 0.1), (40, 0.1), (12, 0.15)] {
            let found = verdicts(20, |seed| run(&scene, seed, metrics, offset, 1.0));
            let name = format!("{metrics} metrics, ±{offset}, {one_box} beside {fleet}: {found:?}");
            assert!(found[1] <= 1 && found[2] == 0, "{name}");
        }
    }
}

#[test]
fn what_is_likely_says_what_would_settle_it() {
    let run = run(&scene(1, 4), 3, 1, 0.1, 2.2);
    let last = run.last();
    assert_eq!(last.cause, Some(NoDataCause::Unproven), "{last:?}");
    let note = &last.evidence[0].note;
    let says = |what| assert!(note.contains(what), "{note}");
    says(" % above the fleet (");
    says("likely harm, but fresh hosts may differ by themselves");
    says("more hosts in the one-box");
}

/// Hosts of the fleet that are twice and half of the others make twice the level an ordinary one, which a PASS
/// says.
#[test]
fn as_far_out_as_hosts_are_passes_and_says_so() {
    let scene = scene(1, 4);
    let levels = [1.8, 0.5, 0.7, 1.4, 2.0];
    let mut hosts = Hosts::new(1, 5, 0.0, 0.5, 0.02);
    let run = scene.run(|host, bucket| {
        let value = levels[host] * hosts.value(host, bucket);
        (host > 0 || bucket >= 1).then(|| gauge(value)).flatten()
    });
    let last = run.last();
    assert_eq!(last.state, CheckState::Undecided, "{last:?}");
    let note = &last.evidence[0].note;
    assert!(
        note.contains("healthy hosts without a past may differ"),
        "{note}"
    );
}

#[test]
fn a_likely_harm_of_hosts_that_join_later_is_no_pass() {
    let mut scene = Scene::new(2, 20);
    scene.after = 400;
    scene.joins = Some((1, 90));
    let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.05);
    let run = scene.run(|host, bucket| {
        let is_new = host == 1;
        let value = 0.1 * if is_new { 2.2 } else { 1.0 } * hosts.value(host, bucket);
        (!is_new || bucket >= 90).then(|| gauge(value)).flatten()
    });
    let last = run.last();
    assert_eq!(last.cause, Some(NoDataCause::Unproven), "{last:?}");
    let note = &last.evidence[0].note;
    assert!(
        note.contains("h0001, which came after the others; likely harm"),
        "{note}"
    );
}

/// Beside many hosts, whose spread is known, a harm well beyond the tolerance is likely, though fresh hosts may differ;
/// beside few it is ordinary.
#[test]
fn beside_many_hosts_a_harm_of_a_third_is_no_pass() {
    for (one_box, fleet, factor, expected) in [
        (4, 21, 1.35, Some(NoDataCause::Unproven)),
        (10, 40, 1.3, Some(NoDataCause::Unproven)),
        (2, 8, 1.35, None),
        (4, 21, 1.0, None),
        (10, 40, 1.08, None),
    ] {
        let scene = scene(one_box, fleet);
        for seed in 0..3 {
            let run = run(&scene, seed, 1, 0.05, factor);
            let (last, name) = (run.last(), format!("{one_box} beside {fleet}, {factor}"));
            assert_eq!(last.cause, expected, "{name}, {seed}: {last:?}");
            // Nor is it excluded earlier, where the gate might pass by that.
            let excluded = run.first(CheckState::Ok);
            assert!(factor < 1.2 || excluded.is_none(), "{name}: {excluded:?}");
        }
    }
}

/// What may be negative, in its usual size: drifts that take a quarter of an hour, around an offset of each host.
fn offsets(scene: &Scene, seed: u64, offset: f64, harm: f64) -> Run {
    let mut scene = scene.clone();
    (scene.metric, scene.unit, scene.direction) =
        ("ntp_offset_seconds", Unit::Seconds, Direction::Both);
    let mut hosts = Hosts::new(seed, scene.hosts(), offset, 0.93, 1.0);
    scene.run(|host, bucket| {
        let season = 0.4 * (std::f64::consts::TAU * bucket as f64 / 1_000.0).sin();
        let value = hosts.value(host, bucket).ln();
        // Without the season that those hosts share.
        let value = value - season * (1.0 + 0.3 * hosts.offsets[host]);
        let is_new = host < scene.one_box;
        (!is_new || bucket >= 1)
            .then(|| gauge(value + if is_new { harm } else { 0.0 }))
            .flatten()
    })
}

#[test]
fn what_drifts_around_zero_is_no_harm_of_a_fresh_host_but_far_from_it_is() {
    let (mut withheld, mut runs) = (0, 0);
    for (one_box, fleet) in [(1, 1), (1, 2), (2, 2), (1, 5), (2, 20)] {
        let scene = scene(one_box, fleet);
        for offset in [0.0, 1.0] {
            for seed in 0..20 {
                let healthy = offsets(&scene, seed, offset, 0.0);
                let name = format!("{one_box} beside {fleet}, ±{offset}, {seed}");
                let last = healthy.last();
                assert_eq!(healthy.breached(), None, "{name}: {last:?}");
                runs += 1;
                withheld += usize::from(last.state == CheckState::NoData);
            }
        }
        for harm in [20.0, -20.0] {
            let gross = offsets(&scene, 1, 0.3, harm);
            let (last, is_found) = (gross.last(), gross.breached().is_some());
            let is_no_pass = is_found || last.state == CheckState::NoData;
            assert!(is_no_pass, "{one_box} beside {fleet}: {last:?}");
        }
    }
    assert!(20 * withheld <= runs, "{withheld} of {runs}");
}

/// Clocks of which each has an offset of its own: those of one or two others may be fast by chance.
#[test]
fn a_fresh_host_below_zero_is_no_harm_because_two_others_are_above() {
    for levels in [&[-3.0, 5.0][..], &[-3.0, 5.0, 4.0]] {
        let scene = scene(1, levels.len() - 1);
        let mut noise = Noise::new(3);
        let run = scene.run(|host, bucket| {
            let value = levels[host] + 0.5 * noise.normal();
            (host > 0 || bucket >= 1).then(|| gauge(value)).flatten()
        });
        let last = run.last();
        assert_eq!((run.breached(), &last.cause), (None, &None), "{last:?}");
        // One number below zero tells that there is none.
        let run = scene.run(|host, bucket| {
            let value = levels[host] + 0.5 * noise.normal();
            let value = if host == 0 { -1.0 } else { value };
            (host > 0 || bucket >= 1).then(|| gauge(value)).flatten()
        });
        let is_no_pass = run.breached().is_some() || run.last().state == CheckState::NoData;
        assert!(is_no_pass, "{:?}", run.last());
    }
}
