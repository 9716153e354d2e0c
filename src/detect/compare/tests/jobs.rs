//! Work that comes seldom, on each host at its own time.

use super::*;

/// Buckets between two jobs of a host, and of one.
const EVERY: i64 = 360;
const LASTS: i64 = 30;

/// One host beside nineteen, an hour of past with jobs that take three times as long as what is usual. `own`:
/// whether the fleet has such jobs as well. The deployment makes everything on the one-box so many times as
/// large.
fn first_breach(seed: u64, own: bool, harm: f64) -> Option<i64> {
    let mut scene = Scene::new(1, 19);
    (scene.before, scene.after) = (2 * EVERY, EVERY);
    let mut noise = Noise::new(seed);
    let phases: Vec<i64> = (0..scene.hosts())
        .map(|_| (noise.uniform() * EVERY as f64) as i64)
        .collect();
    let run = scene.run(|host, bucket| {
        let is_busy = (bucket + phases[host]).rem_euclid(EVERY) < LASTS && (own || host == 0);
        let usual = if is_busy { 3.0 } else { 1.0 };
        let harm = if host == 0 && bucket >= 0 { harm } else { 1.0 };
        gauge(usual * harm * (0.05 * noise.normal()).exp())
    });
    run.breached().map(|at| at - scene.grace)
}

#[test]
fn a_job_that_hosts_have_by_themselves_fails_nothing() {
    for seed in 0..16 {
        assert_eq!(first_breach(seed, true, 1.0), None, "{seed}");
        assert_eq!(first_breach(seed, false, 1.0), None, "alone, {seed}");
    }
}

#[test]
fn a_harm_beside_such_jobs_is_found_as_soon_as_they_are_no_excuse() {
    // While it could be a job it is not told from one.
    for (harm, within) in [(6.0, 2 * LASTS), (1.5, 5 * LASTS)] {
        for seed in 0..8 {
            let at = first_breach(seed, true, harm);
            assert!(at.is_some_and(|at| at <= within), "{harm} {seed}: {at:?}");
        }
    }
}
