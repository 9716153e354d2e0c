//! What a breach tells: since when, how large, and on which hosts.

use super::*;

/// The evidence of the first breach, or of the last one.
fn breaches(run: &Run) -> impl DoubleEndedIterator<Item = &Evidence> {
    let findings = run.findings.iter().map(|(_, finding)| finding);
    let breaches = findings.filter(|finding| finding.state == CheckState::Breach);
    breaches.filter_map(|finding| finding.evidence.first())
}

fn told<'a>(run: &'a Run, name: &str) -> &'a Evidence {
    let last = || run.last();
    breaches(run)
        .next()
        .unwrap_or_else(|| panic!("{name} is no breach: {:?}", last()))
}

fn names(hosts: usize) -> Vec<String> {
    (0..hosts).map(|host| format!("h{host:04}")).collect()
}

/// Hosts of the one-box, those of the fleet, how many of the former are harmed, by which factor, and when.
const HARMS: [(usize, usize, usize, f64, i64); 9] = [
    (1, 3, 1, 2.0, 100),
    (1, 3, 1, 3.0, 60),
    (2, 4, 2, 2.0, 120),
    (1, 7, 1, 2.0, 40),
    (4, 10, 2, 2.0, 120),
    (5, 12, 3, 1.5, 90),
    (3, 20, 3, 1.3, 0),
    (1, 20, 1, 1.5, 5),
    (10, 30, 5, 1.5, 80),
];

#[test]
fn a_harm_of_a_level_is_told_with_its_onset_its_size_and_its_hosts() {
    for (one_box, fleet, harmed, factor, onset) in HARMS {
        for seed in 0..3 {
            let mut scene = Scene::new(one_box, fleet);
            scene.before = 720;
            let mut hosts = Hosts::new(seed, scene.hosts(), 0.1, 0.7, 0.04);
            let run = scene.run(|host, bucket| {
                let is_ill = host < harmed && onset <= bucket;
                gauge(0.1 * if is_ill { factor } else { 1.0 } * hosts.value(host, bucket))
            });
            let found = told(&run, "it");
            let name =
                format!("{harmed} of {one_box} beside {fleet}, ×{factor}, {seed}: {found:?}");
            assert!((since(&scene, found) - onset).abs() <= 2, "{name}");
            assert_eq!(found.hosts, names(harmed), "{name}");
            let effect = found.effect.expect("a size");
            assert!((effect.ln_1p() - factor.ln()).abs() < 0.15, "{name}");
            let (low, high) = found.interval.expect("an interval");
            assert!(0.0 < low && low < effect && effect < high, "{name}");
            let ratio = found.observed.unwrap() / found.expected.unwrap();
            assert!((ratio - 1.0 - effect).abs() < 1e-9, "{name}");
        }
    }
}

#[test]
fn a_harm_of_events_is_told_since_it_began() {
    for (one_box, fleet, harmed, selects) in [
        (1, 4, 1, Selects::Logs),
        (4, 12, 2, Selects::Logs),
        (1, 8, 1, Selects::Metric),
        (3, 6, 3, Selects::Metric),
    ] {
        let mut scene = Scene::new(one_box, fleet);
        (scene.kind, scene.metric, scene.selects) = (Kind::Counter, "errors_total", selects);
        scene.unit = Unit::Count;
        scene.before = 720;
        let mut noise = Noise::new(5);
        let mut counted = vec![0.0; scene.hosts()];
        let run = scene.run(|host, bucket| {
            let is_ill = host < harmed && 100 <= bucket;
            let count = noise.poisson(if is_ill { 0.8 } else { 0.05 });
            if host < harmed && 100 <= bucket {
                counted[host] += count;
            }
            events(count, 10.0, None)
        });
        let name = format!("{harmed} of {one_box} beside {fleet}");
        let found = told(&run, &name);
        let name = format!("{name}: {found:?}");
        assert!((since(&scene, found) - 100).abs() <= 4, "{name}");
        assert_eq!(found.hosts, names(harmed), "{name}");
        let (low, high) = found.interval.expect("an interval");
        assert!(0.0 < low && low < 15.0 && 15.0 < high, "{name}");
        assert!(found.note.contains("events on "), "{name}");
        assert!(!found.note.contains("excluded"), "{name}");
    }
}

#[test]
fn a_share_is_told_in_the_points_that_it_lost_since() {
    let mut scene = Scene::new(1, 8);
    (scene.metric, scene.unit) = ("error_ratio", Unit::Ratio);
    scene.before = 540;
    let mut noise = Noise::new(2);
    let run = scene.run(|host, bucket| {
        let share = if host == 0 && 60 <= bucket {
            0.06
        } else {
            0.01
        };
        gauge(noise.poisson(share * 300.0) / 300.0)
    });
    let found = told(&run, "it");
    assert!((found.effect.unwrap() - 0.05).abs() < 0.01, "{found:?}");
    assert!((since(&scene, found) - 60).abs() <= 2, "{found:?}");
}

#[test]
fn what_was_nothing_is_told_by_what_it_is() {
    for fleet in [3, 7, 20] {
        let mut scene = Scene::new(1, fleet);
        (scene.metric, scene.unit) = ("queue_length", Unit::Count);
        scene.before = 540;
        let mut noise = Noise::new(3);
        let run = scene.run(|host, bucket| {
            gauge(if host == 0 && 60 <= bucket {
                noise.poisson(5.0)
            } else {
                0.0
            })
        });
        let found = told(&run, "it");
        assert!(found.note.starts_with("0 → "), "{found:?}");
        assert_eq!(found.expected, Some(0.0), "{found:?}");
        assert!((found.effect.unwrap() - 5.0).abs() < 2.0, "{found:?}");
        let (low, high) = found.interval.unwrap();
        assert!(0.0 < low && low < 5.0 && 5.0 < high, "{found:?}");
        assert!((since(&scene, found) - 60).abs() <= 2, "{found:?}");
    }
}

#[test]
fn a_probe_that_fails_now_and_then_is_told_by_how_often() {
    for fleet in [3, 7] {
        let mut scene = Scene::new(1, fleet);
        (scene.metric, scene.unit, scene.direction) = ("up", Unit::Unknown, Direction::Both);
        (scene.before, scene.resolution) = (270, Span::from_seconds(20));
        let mut noise = Noise::new(10);
        let run = scene.run(|host, bucket| {
            let fails = if host == 0 && 60 <= bucket {
                0.4
            } else {
                0.002
            };
            gauge(if noise.uniform() < fails { 0.0 } else { 1.0 })
        });
        // What failed it at first is told by more once there is more.
        let found = breaches(&run).next_back().expect("a breach");
        let effect = found.effect.unwrap();
        assert!((-0.5..-0.3).contains(&effect), "{found:?}");
        // The first that fails is seldom the first that could.
        assert!((since(&scene, found) - 60).abs() <= 20, "{found:?}");
    }
}

#[test]
fn a_leak_is_told_from_where_it_bends_and_by_where_it_is() {
    let mut scene = Scene::new(1, 12);
    (scene.metric, scene.unit) = ("memory_bytes", Unit::Bytes);
    (scene.before, scene.after) = (540, 540);
    let mut hosts = Hosts::new(4, scene.hosts(), 0.1, 0.5, 0.01);
    let leak = |bucket: i64| 1.0 + (bucket - 60).max(0) as f64 / 720.0;
    let mut now = 0;
    let run = scene.run(|host, bucket| {
        now = bucket;
        gauge(1e9 * if host == 0 { leak(bucket) } else { 1.0 } * hosts.value(host, bucket))
    });
    let found = told(&run, "it");
    let at = run.breached().unwrap();
    assert!((since(&scene, found) - 60).abs() <= 18, "{found:?}");
    let (low, high) = found.interval.unwrap();
    let size = leak(at) - 1.0;
    assert!(0.0 < low && low < size && size < high, "{size} {found:?}");
    assert!(
        (size - found.effect.unwrap()).abs() < 0.05,
        "{size} {found:?}"
    );
    let of_trend = found.note.contains("still moves away from the fleet, by +");
    let of_bend = found.note.contains("moved away from the fleet by and by");
    assert!(of_trend || of_bend, "{found:?}");
}

#[test]
fn a_wider_spread_is_told_since_it_began() {
    let mut scene = Scene::new(1, 12);
    scene.before = 720;
    scene.after = 540;
    let mut noise = Noise::new(8);
    let run = scene.run(|host, bucket| {
        let sigma = if host == 0 && 120 <= bucket {
            0.2
        } else {
            0.05
        };
        gauge(0.1 * (sigma * noise.normal()).exp())
    });
    let found = told(&run, "it");
    assert!(found.note.contains("spreads ×"), "{found:?}");
    assert!((since(&scene, found) - 120).abs() <= 4, "{found:?}");
    let (low, high) = found.interval.unwrap();
    assert!(low < 3.0 && 3.0 < high && high < 9.0, "{found:?}");
}

#[test]
fn what_stands_still_is_not_told_by_how_far_it_stands() {
    let mut scene = Scene::new(1, 4);
    (scene.before, scene.after) = (720, 480);
    let mut hosts = Hosts::new(3, scene.hosts(), 0.1, 0.5, 0.1);
    let run = scene.run(|host, bucket| {
        let value = 0.1 * hosts.value(host, bucket);
        gauge(if host == 0 && 30 <= bucket {
            0.123
        } else {
            value
        })
    });
    let found = told(&run, "it");
    assert!(found.note.starts_with("it stands still"), "{found:?}");
    assert_eq!((found.effect, found.interval), (None, None));
}

/// All of the load moves from the fleet to the one-box at once; `factor` is what the version makes of it, and
/// `stay` how many fleet hosts keep theirs.
fn moved(seed: u64, factor: f64, stay: usize, left: f64) -> Run {
    let mut scene = Scene::new(3, 6);
    (scene.metric, scene.unit) = ("cpu_usage", Unit::Count);
    scene.before = 360;
    let mut hosts = Hosts::new(seed, scene.hosts(), 0.05, 0.5, 0.05);
    scene.run(|host, bucket| {
        let value = hosts.value(host, 0);
        let has_load = if host < 3 {
            20 <= bucket
        } else {
            bucket < 20 || host < 3 + stay
        };
        let harm = if host < 3 { factor } else { 1.0 };
        gauge(value * if has_load { harm } else { left })
    })
}

#[test]
fn a_fleet_that_loses_its_load_at_once_is_no_proof_of_harm_nor_of_health() {
    for seed in 0..3 {
        let run = moved(seed, 1.0, 0, 0.06);
        assert_eq!(run.breached(), None, "{seed}: {:?}", run.last());
        let last = run.last();
        assert_eq!(last.cause, Some(NoDataCause::FleetFell), "{seed}: {last:?}");
        // Beyond what the fleet ever was, beside hosts that still serve, or beside a fleet that fell little, it is.
        for (factor, stay, left) in [(2.5, 0, 0.06), (1.0, 4, 0.06), (5.0, 0, 0.8)] {
            let run = moved(seed, factor, stay, left);
            let name = format!("{seed}, ×{factor}, {stay}: {:?}", run.last());
            assert_ne!(run.last().cause, Some(NoDataCause::FleetFell), "{name}");
            assert!(stay > 0 || run.breached().is_some(), "{name}");
        }
    }
}

/// A service whose traffic moves from the fleet to the one-box, or stays. What its processor does costs a base load, too,
/// and so many times as much with the new version.
fn service(moves: bool, factor: f64, left: f64) -> Run {
    let mut scene = Scene::new(4, 4);
    (scene.kind, scene.unit) = (Kind::Counter, Unit::Unknown);
    (scene.selects, scene.direction, scene.before) = (Selects::Everything, Direction::Both, 360);
    let mut noise = Noise::new(3);
    let metrics = ["requests_total", "process_cpu_seconds_total"];
    scene.run_many(&metrics, |metric, host, bucket| {
        let is_new = host < 4;
        let is_idle = moves && is_new != (20 <= bucket);
        let traffic = match (is_idle, is_new) {
            (true, true) => 0.01,
            (true, false) => left,
            (false, _) => 1.0,
        };
        let factor = if is_new && 20 <= bucket { factor } else { 1.0 };
        let value = match metric {
            0 => noise.poisson(200.0 * traffic),
            _ => factor * (0.4 + 0.6 * traffic) * (0.05 * noise.normal()).exp(),
        };
        events(value, 10.0, None)
    })
}

#[test]
fn traffic_that_moves_takes_all_metrics_of_its_hosts_along() {
    let healthy = service(true, 1.0, 0.01);
    assert_eq!(healthy.breached(), None, "{:?}", healthy.last());
    let last = healthy.last();
    assert_eq!(last.state, CheckState::NoData, "{last:?}");
    let cpu = last
        .evidence
        .iter()
        .find(|told| told.metric.contains("cpu"));
    assert!(
        cpu.is_some_and(|cpu| cpu.note.contains("nothing is left")),
        "{last:?}"
    );
    // Where it is beyond what the fleet ever was, or the fleet still serves, or no traffic moved at all, it is harm.
    for (moves, factor, left) in [(true, 2.0, 0.01), (true, 1.5, 0.8), (false, 1.5, 1.0)] {
        let harmed = service(moves, factor, left);
        assert!(harmed.breached().is_some(), "{moves} ×{factor} {left}");
    }
}
