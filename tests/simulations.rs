//! A short form of the simulations: `cargo bench --bench simulate` is the long one.

#[path = "../benches/simulations/mod.rs"]
mod simulations;

use simulations::{
    HOUR, MINUTE, Scene, Watched, World, compare,
    worlds::{Counts, Effect, Gauge, Nature, Nuisance},
};
use sluice::{plan::Direction, source::backtest::Rate};

/// Of so many healthy deployments some are failed by chance: fewer than is certainly more than alpha.
fn holds(scene: &Scene, runs: u64, build: impl Fn(u64) -> Box<dyn World>) {
    let mut failed = Rate::default();
    for seed in 0..runs {
        // Other worlds than those of the long form.
        failed.count(scene.run(&mut *build(1_000_000 + seed)).breach.is_some());
    }
    assert!(failed.interval().0 <= scene.alpha, "{failed:?}");
}

#[test]
fn healthy_gauges_are_failed_as_rarely_as_alpha_says() {
    for (one_box, nature) in [
        (5, Nature::IID),
        (5, Nature::CORRELATED),
        (5, Nature::HEAVY),
        (2, Nature::UNEQUAL),
        (5, Nature::SEASONAL),
    ] {
        let mut scene = Scene::strict(one_box, 50 - one_box);
        scene.after = 2 * HOUR;
        holds(&scene, 60, |seed| {
            Box::new(Gauge::new(seed, 50, one_box, nature, Effect::Nothing))
        });
    }
}

#[test]
fn healthy_counts_are_failed_as_rarely_as_alpha_says() {
    for nuisance in [
        Nuisance::Poisson,
        Nuisance::Unequal,
        Nuisance::Burst,
        Nuisance::Sticky,
        Nuisance::All,
    ] {
        let mut scene = Scene::strict(5, 45);
        scene.after = HOUR;
        scene.watched = Watched::Records;
        scene.detector = compare(None, Direction::Up);
        holds(&scene, 40, |seed| {
            Box::new(Counts::new(seed, (5, 45), 3.6, nuisance, 1.0))
        });
    }
}

#[test]
fn large_harm_is_found_within_minutes() {
    let scene = Scene::strict(5, 45);
    for seed in 0..10 {
        let mut world = Gauge::new(seed, 50, 5, Nature::CORRELATED, Effect::Level(2.0, 0));
        let seen = scene.run(&mut world);
        assert!(
            seen.breach.is_some_and(|at| at <= MINUTE),
            "{seed}: {seen:?}"
        );
    }
}
