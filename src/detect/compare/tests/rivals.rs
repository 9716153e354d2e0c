//! Rare events of the one-box beside a fleet host that is ill, too.

use super::*;

/// Events of hosts of which the last is ill from the deployment on, and the first from bucket 60 on.
fn events_of(fleet: usize, seed: u64, ill: f64, harm: f64, selects: Selects) -> Run {
    let mut scene = Scene::new(1, fleet);
    (scene.kind, scene.metric, scene.unit) = (Kind::Counter, "errors_total", Unit::Count);
    (scene.selects, scene.before) = (selects, 540);
    let mut noise = Noise::new(seed);
    let last = scene.hosts() - 1;
    scene.run(|host, bucket| {
        let factor = match host {
            0 if 60 <= bucket => harm,
            host if host == last && 0 <= bucket => ill,
            _ => 1.0,
        };
        events(noise.poisson(0.04 * factor), 10.0, None)
    })
}

#[test]
fn a_sick_host_of_a_small_fleet_hides_no_harm_of_events() {
    for fleet in [3, 4, 5] {
        for selects in [Selects::Metric, Selects::Logs] {
            for seed in 0..2 {
                let run = events_of(fleet, seed, 25.0, 20.0, selects);
                let last = run.last();
                let is_told = last.state == CheckState::Breach
                    || last.cause == Some(NoDataCause::Rivalled)
                    || last.cause == Some(NoDataCause::Likely);
                assert!(is_told, "{fleet}, {seed}: {last:?}");
                let healthy = events_of(fleet, seed, 25.0, 1.0, selects);
                let last = healthy.last();
                assert_eq!(last.cause, None, "{fleet}, {seed}: {last:?}");
            }
        }
    }
    let run = events_of(3, 0, 25.0, 10.0, Selects::Metric);
    let last = run.last();
    assert_eq!(last.cause, Some(NoDataCause::Rivalled), "{last:?}");
    assert!(
        last.evidence[0].note.contains("h0003 of the fleet"),
        "{last:?}"
    );
}
