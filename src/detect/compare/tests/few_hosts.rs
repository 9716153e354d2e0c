//! What few hosts and an hour of past can tell, and what they cannot.

use super::*;

const METRICS: [&str; 12] = [
    "depth_a", "depth_b", "depth_c", "depth_d", "depth_e", "depth_f", "depth_g", "depth_h",
    "depth_i", "depth_j", "depth_k", "depth_l",
];

/// Twelve gauges beside so many fleet hosts, with an hour of past, scraped each half a minute.
fn scene(fleet: usize) -> Scene {
    let mut scene = Scene::new(1, fleet);
    (scene.before, scene.after, scene.grace) = (360, 330, 30);
    (scene.selects, scene.direction, scene.unit) =
        (Selects::Everything, Direction::Both, Unit::Unknown);
    scene
}

fn scraped(bucket: i64, value: f64) -> Option<Cell> {
    gauge(value).filter(|_| bucket.rem_euclid(3) == 0)
}

#[test]
fn small_whole_numbers_are_no_harm_because_the_past_was_quiet_by_chance() {
    for fleet in [1, 3, 7] {
        for seed in 0..3 {
            let mut noise = Noise::new(seed);
            let run = scene(fleet).run_many(&METRICS, |_, _, bucket| {
                let count = noise.poisson(0.6);
                scraped(bucket, count)
            });
            let told = run.breached().or(run.first(CheckState::NoData));
            assert_eq!(told, None, "{fleet} fleet hosts, {seed}: {:?}", run.last());
        }
    }
}

#[test]
fn nor_is_noise_beside_one_host() {
    for seed in 0..6 {
        let mut noise = Noise::new(seed);
        let run = scene(1).run_many(&METRICS, |_, _, bucket| {
            let value = (0.3 * noise.normal()).exp();
            scraped(bucket, value)
        });
        let told = run.breached().or(run.first(CheckState::NoData));
        assert_eq!(told, None, "{seed}: {:?}", run.last());
    }
}

#[test]
fn a_gross_change_of_small_whole_numbers_is_found() {
    for fleet in [1, 3, 7] {
        let mut noise = Noise::new(5);
        let run = scene(fleet).run_many(&METRICS, |metric, host, bucket| {
            let is_harmed = metric == 4 && host == 0 && 90 <= bucket;
            let count = noise.poisson(if is_harmed { 12.0 } else { 0.6 });
            scraped(bucket, count)
        });
        let breached = run.breached();
        assert!(
            breached.is_some_and(|bucket| 90 < bucket),
            "{fleet}: {:?}",
            run.last()
        );
    }
}

#[test]
fn their_past_seconds_what_seven_hosts_cannot_prove_alone() {
    for seed in 0..2 {
        let run = |harm: f64| {
            let mut noise = Noise::new(seed);
            let mut hosts: Vec<Hosts> = (0..METRICS.len() as u64)
                .map(|metric| Hosts::new(100 * seed + metric, 8, 0.05, 0.8, 0.1))
                .collect();
            scene(7).run_many(&METRICS, |metric, host, bucket| {
                let is_harmed = metric == 3 && host == 0 && 90 <= bucket;
                let factor = if is_harmed { harm } else { 1.0 };
                let value = hosts[metric].value(host, bucket) * (0.02 * noise.normal()).exp();
                scraped(bucket, factor * value)
            })
        };
        let harmed = run(1.5);
        let is_found = harmed.breached().is_some_and(|bucket| 90 < bucket);
        assert!(is_found, "{seed}: {:?}", harmed.last());
        assert_eq!(run(1.0).breached(), None, "{seed}");
    }
}

/// A host beside four, whose load was higher in a part of the hour before: what that did to unequal levels hides a harm of
/// one of a dozen metrics from the past, but not from the four.
#[test]
fn what_few_hosts_and_their_past_both_show_is_no_pass() {
    let mut scene = Scene::new(1, 4);
    (scene.before, scene.grace, scene.after) = (360, 60, 660);
    scene.direction = Direction::Up;
    let levels = [0.9, 1.3, 1.0, 1.1, 1.7];
    let names: Vec<String> = (0..12).map(|name| format!("{name}_seconds")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = |seed: u64, load: f64, harm: f64| {
        let mut hosts: Vec<Hosts> = (0..12)
            .map(|metric| Hosts::new(100 * seed + metric, scene.hosts(), 0.0, 0.8, 0.08))
            .collect();
        scene.run_many(&names, |metric, host, bucket| {
            let load = if (-150..0).contains(&bucket) {
                load
            } else {
                1.0
            };
            let is_harmed = (metric, host) == (0, 0) && 0 <= bucket;
            let harm = if is_harmed { harm } else { 1.0 };
            gauge(levels[host] * load * harm * hosts[metric].value(host, bucket))
        })
    };
    let mut likely = 0;
    for (load, harm) in [(1.3, 1.4), (1.5, 1.5)] {
        for seed in 0..4 {
            let last = run(seed, load, harm).last().cause.clone();
            likely += usize::from(last == Some(NoDataCause::Likely));
        }
    }
    assert_eq!(likely, 4);
    for seed in 0..4 {
        let healthy = run(seed, 1.5, 1.0);
        assert_eq!(healthy.breached(), None, "{seed}");
        assert_eq!(healthy.last().cause, None, "{seed}: {:?}", healthy.last());
    }
}

/// A dozen gauges of each host that take a quarter of an hour to forget where they were (0.97 from one scrape to the
/// next): some had a past in which they hardly moved.
#[test]
fn what_wanders_slowly_is_no_harm_because_the_past_was_calm_by_chance() {
    let run = |fleet: usize, seed: u64, harm: f64| {
        let mut noise = Noise::new(seed);
        let mut levels: Vec<f64> = (0..METRICS.len() * (1 + fleet))
            .map(|_| noise.normal())
            .collect();
        scene(fleet).run_many(&METRICS, |metric, host, bucket| {
            scraped(bucket, 0.0)?;
            let level = &mut levels[metric * (1 + fleet) + host];
            *level = 0.97 * *level + (1.0_f64 - 0.97 * 0.97).sqrt() * noise.normal();
            let is_harmed = (metric, host) == (4, 0) && 90 <= bucket;
            gauge((0.2 * *level).exp() * if is_harmed { harm } else { 1.0 })
        })
    };
    let mut withheld = 0;
    for (fleet, seeds) in [(2, 0..4), (4, 8..11)] {
        for seed in seeds {
            let healthy = run(fleet, seed, 1.0);
            assert_eq!(
                healthy.breached(),
                None,
                "{fleet}, {seed}: {:?}",
                healthy.last()
            );
            withheld += usize::from(healthy.last().state == CheckState::NoData);
        }
        let harmed = run(fleet, 0, 20.0);
        let is_found = harmed.breached().is_some_and(|bucket| 90 < bucket);
        assert!(is_found, "{fleet}: {:?}", harmed.last());
    }
    assert_eq!(withheld, 1);
}
