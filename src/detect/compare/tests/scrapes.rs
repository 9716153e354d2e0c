//! Scrapes that are rarer than buckets.

use super::*;

/// What a person is shown of hosts that are scraped every so many buckets and have an event in twenty
/// seconds, the one-box so many times as many; among so many requests a second.
fn shown(every: i64, factor: f64, requests: Option<f64>) -> Finding {
    let mut scene = Scene::new(2, 10);
    (scene.metric, scene.kind, scene.unit) = ("errors_total", Kind::Counter, Unit::Count);
    scene.has_per = requests.is_some();
    let mut noise = Noise::new(2);
    let run = scene.run(|host, bucket| {
        let rate = if host < 2 && bucket >= 0 {
            0.05 * factor
        } else {
            0.05
        };
        let seconds = 10.0 * every as f64;
        let is_scraped = bucket.rem_euclid(every) == 0;
        is_scraped
            .then(|| events(noise.poisson(rate * seconds), seconds, requests))
            .flatten()
    });
    run.last().clone()
}

#[test]
fn rates_are_told_as_they_are_however_rarely_hosts_are_scraped() {
    for requests in [None, Some(10.0)] {
        for every in [1, 3, 6] {
            for factor in [1.0, 10.0] {
                let finding = shown(every, factor, requests);
                let name = format!("{every} {factor} {requests:?}: {finding:?}");
                let is_breach = finding.state == CheckState::Breach;
                assert_eq!(is_breach, factor > 1.0, "{name}");
                let evidence = &finding.evidence[0];
                let per = requests.unwrap_or(1.0);
                for (told, truth) in [
                    (evidence.observed, 0.05 * factor / per),
                    (evidence.expected, 0.05 / per),
                ] {
                    let told = told.unwrap();
                    assert!((told / truth).ln().abs() < 0.4, "{told} {truth}, {name}");
                }
            }
        }
    }
}

/// Errors among requests.
#[derive(Clone, Copy, Debug)]
struct Errors {
    /// Buckets between two scrapes, and by how many of them those of a host are later than those of the one
    /// before.
    every: i64,
    phase: i64,
    /// The share of an ordinary host's requests that the one-box has.
    weight: f64,
    /// Errors of an ordinary host between two scrapes.
    mean: f64,
    /// From which bucket on the one-box has how many times as many.
    harm: (i64, f64),
}

impl Errors {
    fn run(self, seed: u64, one_box: usize) -> Run {
        let mut scene = Scene::new(one_box, 8);
        (scene.metric, scene.kind, scene.unit) = ("errors_total", Kind::Counter, Unit::Count);
        (scene.weight, scene.has_per) = (self.weight, true);
        let mut noise = Noise::new(seed);
        scene.run(|host, bucket| {
            if (bucket - host as i64 * self.phase).rem_euclid(self.every) != 0 {
                return None;
            }
            let is_new = host < one_box && 0 <= bucket;
            let traffic = if is_new { self.weight } else { 1.0 };
            let (from, factor) = self.harm;
            let harm = if is_new && from <= bucket {
                factor
            } else {
                1.0
            };
            let seconds = 10.0 * self.every as f64;
            let count = noise.poisson(self.mean * traffic * harm);
            events(count, seconds, Some(100.0 * traffic))
        })
    }
}

#[test]
fn a_share_of_the_traffic_is_no_harm_however_rarely_hosts_are_scraped() {
    let (mut failed, mut runs) = (0, 0);
    for weight in [0.05, 0.2, 1.0, 5.0] {
        for (every, phase) in [(1, 0), (6, 0), (6, 1)] {
            for mean in [0.5, 3.0, 7.0, 12.0] {
                let errors = Errors {
                    every,
                    phase,
                    weight,
                    mean,
                    harm: (0, 1.0),
                };
                for seed in 0..4 {
                    let run = errors.run(seed, 1 + 2 * (seed as usize % 2));
                    runs += 1;
                    failed += u64::from(run.breached().is_some());
                    let state = run.last().state;
                    assert_ne!(state, CheckState::NoData, "{errors:?} {seed}");
                }
            }
        }
    }
    assert!(100 < runs && failed <= 1, "{failed} of {runs}");
}

#[test]
fn errors_that_begin_late_are_found_where_no_two_hosts_are_scraped_together() {
    for weight in [0.2, 1.0, 5.0] {
        let errors = Errors {
            every: 6,
            phase: 1,
            weight,
            mean: 1.0,
            harm: (150, 10.0),
        };
        for seed in 0..4 {
            let run = errors.run(seed, 1);
            let found = run.breached();
            assert!(
                found.is_some_and(|at| 150 < at),
                "{errors:?} {seed} {found:?}"
            );
        }
    }
}

#[test]
fn an_hour_of_past_is_an_hour_however_rarely_hosts_are_scraped() {
    for every in [1, 3, 6] {
        let mut scene = Scene::new(1, 3);
        (scene.before, scene.after) = (360, 360);
        let mut hosts = Hosts::new(5, scene.hosts(), 0.1, 0.5, 0.05);
        let run = scene.run(|host, bucket| {
            let is_new = host == 0 && bucket >= 0;
            let value = 0.1 * if is_new { 2.0 } else { 1.0 } * hosts.value(host, bucket);
            let is_scraped = (bucket + host as i64).rem_euclid(every) == 0;
            is_scraped.then(|| gauge(value)).flatten()
        });
        let breached = run.breached();
        assert!(
            breached.is_some(),
            "every {every} buckets: {:?}",
            run.last()
        );
    }
}

/// A host without a past beside eleven, all scraped every six buckets; `count` gives the events between two scrapes,
/// for the one-box or not.
fn fresh(seed: u64, count: impl Fn(&mut Noise, bool) -> f64) -> Run {
    let mut scene = Scene::new(1, 11);
    (scene.metric, scene.kind, scene.unit) = ("errors_total", Kind::Counter, Unit::Count);
    (scene.before, scene.after) = (360, 720);
    let mut noise = Noise::new(seed);
    scene.run(|host, bucket| {
        let is_new = host == 0;
        let is_scraped = bucket.rem_euclid(6) == 0 && (!is_new || 0 < bucket);
        is_scraped
            .then(|| events(count(&mut noise, is_new), 60.0, None))
            .flatten()
    })
}

#[test]
fn many_events_between_two_scrapes_hide_no_harm() {
    for seed in 0..3 {
        for (factor, is_harm) in [(1.0, false), (3.5, true)] {
            let run = fresh(seed, |noise, is_new| {
                noise.poisson(if is_new { 6.5 * factor } else { 6.5 })
            });
            let name = format!("{seed} ×{factor}: {:?}", run.last());
            assert_eq!(run.breached().is_some(), is_harm, "{name}");
        }
    }
}

/// Bursts that are larger and no more are nothing where they are clipped, and last for all of the bake.
#[test]
fn what_clipping_hides_for_all_of_the_bake_is_no_pass() {
    for (factor, is_harm) in [(1.0, false), (5.0, true)] {
        let run = fresh(1, |noise, is_new| {
            let size = if is_new { 30.0 * factor } else { 30.0 };
            if noise.uniform() < 0.2 { size } else { 0.0 }
        });
        let last = run.last();
        assert_eq!(run.breached(), None, "{last:?}");
        let is_likely = last.cause == Some(NoDataCause::Likely);
        assert_eq!(is_likely, is_harm, "×{factor}: {last:?}");
        let note = &last.evidence[0].note;
        assert!(!is_harm || !note.contains("is excluded"), "{note}");
    }
}
