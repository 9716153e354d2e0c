//! What leaks, and what only rises.

use super::*;

/// Buckets of ten seconds in a minute and an hour.
const MINUTE: i64 = 6;
const HOUR: f64 = 360.0;

/// Memory of a one-box of two beside eight, which is what it was times this, by hours since the deployment.
fn run(seed: u64, noise: f64, tolerance: Option<f64>, of: impl Fn(f64) -> f64) -> Run {
    let mut scene = Scene::new(2, 8);
    (scene.metric, scene.unit) = ("process_resident_memory_bytes", Unit::Bytes);
    (scene.before, scene.grace, scene.after) = (60 * MINUTE, 5 * MINUTE, 55 * MINUTE);
    scene.tolerance = tolerance;
    let mut random = Noise::new(seed);
    let places: Vec<f64> = (0..scene.hosts()).map(|_| 0.05 * random.normal()).collect();
    scene.run(|host, bucket| {
        let is_new = host < 2 && 0 <= bucket;
        let factor = if is_new {
            of(bucket as f64 / HOUR)
        } else {
            1.0
        };
        gauge(4e8 * factor * (places[host] + noise * random.normal()).exp())
    })
}

fn note(run: &Run) -> &str {
    run.last()
        .evidence
        .first()
        .map_or("", |evidence| &evidence.note)
}

fn is_healthy(name: &str, run: &Run) {
    assert_eq!(run.breached(), None, "{name}: {}", note(run));
}

#[test]
fn a_step_within_the_tolerance_is_no_leak() {
    for seed in 0..3 {
        for (tolerance, size) in [(None, 0.03), (Some(0.5), 0.1)] {
            for minute in [8.0, 20.0, 40.0] {
                let step = |hours: f64| {
                    if hours < minute / 60.0 {
                        1.0
                    } else {
                        1.0 + size
                    }
                };
                let run = run(seed, 0.02, tolerance, step);
                is_healthy(&format!("+{size} at minute {minute}"), &run);
            }
        }
    }
}

#[test]
fn a_rise_that_has_ended_is_no_leak() {
    for seed in 0..3 {
        for rise in [0.02, 0.03] {
            let of = |hours: f64| 1.0 + rise * ((60.0 * hours - 15.0) / 10.0).clamp(0.0, 1.0);
            is_healthy(&format!("+{rise}"), &run(seed, 0.02, None, of));
        }
    }
}

#[test]
fn memory_that_fills_up_again_and_ends_a_little_higher_is_no_leak() {
    for seed in 0..3 {
        for seconds in [200.0, 600.0, 1200.0] {
            for (tolerance, more) in [
                (None, 0.0),
                (None, 0.03),
                (Some(0.3), 0.1),
                (Some(0.3), 0.2),
            ] {
                let filled = |hours: f64| 1.0 - 0.35 * (-hours * 3600.0 / seconds).exp();
                let run = run(seed, 0.02, tolerance, |hours| (1.0 + more) * filled(hours));
                is_healthy(&format!("+{more} with {seconds} s"), &run);
            }
        }
    }
}

#[test]
fn a_leak_is_found_and_told_by_its_pace() {
    for (per_hour, noise) in [(0.05, 0.01), (0.1, 0.02), (0.2, 0.05)] {
        for seed in 0..3 {
            let run = run(seed, noise, None, |hours| 1.0 + per_hour * hours);
            let note = note(&run);
            assert!(run.breached().is_some(), "+{per_hour} an hour: {note}");
            // What is large is found by its size first.
            let is_told =
                note.contains("still moves away from the fleet, by +") && note.contains("in a day");
            assert!(is_told || 0.05 < per_hour, "{note}");
        }
    }
}
