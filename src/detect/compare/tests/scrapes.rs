//! Scrapes that are rarer than buckets.

use super::*;

/// What a person is shown of hosts that are scraped every so many buckets and have an event in twenty
/// seconds, the one-box so many times as many; among so many requests a second.
fn shown(every: i64, factor: f64, requests: Option<f64>) -> Finding {
    let mut scene = Scene::new(2, 10);
    (scene.metric, scene.kind, scene.unit) = ("errors_total", Kind::Counter, Unit::Count);
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
