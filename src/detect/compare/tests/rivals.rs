//! The one-box beside a fleet host that is ill, too.

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

/// What happens to gauges of a one-box of so many hosts beside so many, of which the last is ill by a factor from a
/// bucket on.
#[derive(Clone, Copy, Debug)]
struct Ill {
    one_box: usize,
    fleet: usize,
    by: f64,
    since: i64,
}

impl Ill {
    /// A run with an hour of past, whose one-box is harmed by a factor from the deployment until a bucket.
    fn run(self, seed: u64, direction: Direction, harm: f64, until: i64) -> Run {
        let mut scene = Scene::new(self.one_box, self.fleet);
        (scene.before, scene.after, scene.direction) = (360, 360, direction);
        let last = scene.hosts() - 1;
        let mut noise = Noise::new(seed);
        scene.run(|host, bucket| {
            let factor = match host {
                host if host < self.one_box && (0..until).contains(&bucket) => harm,
                host if host == last && self.since <= bucket => self.by,
                _ => 1.0,
            };
            gauge(factor * (0.1 * noise.normal()).exp())
        })
    }
}

#[test]
fn a_harm_that_one_of_two_fleet_hosts_hides_is_no_pass() {
    let of_two = |by: f64, since: i64| Ill {
        one_box: 1,
        fleet: 2,
        by,
        since,
    };
    let (up, both) = (Direction::Up, Direction::Both);
    for (ill, direction, harm, told) in [
        (of_two(10.0, 0), up, 5.0, "as far out"),
        (of_two(1.6, 0), up, 1.5, "as far out"),
        (of_two(10.0, -120), up, 5.0, "as far out"),
        (of_two(10.0, -300), up, 2.0, "far out by itself, or was"),
        (of_two(0.1, 0), up, 1.5, "far out on the other side"),
        (of_two(0.1, 0), both, 0.3, "as far out"),
        (
            Ill {
                one_box: 2,
                ..of_two(10.0, 0)
            },
            up,
            3.0,
            "as far out",
        ),
    ] {
        for seed in 0..2 {
            let run = ill.run(seed, direction, harm, 1_000);
            let (last, name) = (run.last(), format!("{ill:?}, {seed}"));
            assert_eq!(last.cause, Some(NoDataCause::Rivalled), "{name}: {last:?}");
            let sick = format!("h{:04} of the fleet is {told}", ill.one_box + 1);
            let note = &last.evidence[0].note;
            assert!(note.contains(&sick), "{name}: {note}");
        }
    }
}

#[test]
fn a_sick_host_of_two_costs_a_healthy_one_box_nothing() {
    for (by, since) in [(10.0, 0), (1.6, 60), (10.0, -180), (0.1, 0), (0.1, -180)] {
        let ill = Ill {
            one_box: 1,
            fleet: 2,
            by,
            since,
        };
        for seed in 0..3 {
            for direction in [Direction::Up, Direction::Both] {
                let healthy = ill.run(seed, direction, 1.0, 1_000);
                let last = healthy.last();
                assert_ne!(last.state, CheckState::Breach, "{ill:?}, {seed}: {last:?}");
                let is_rivalled = last.cause == Some(NoDataCause::Rivalled);
                assert!(!is_rivalled, "{ill:?}, {seed}: {last:?}");
            }
        }
    }
    let ill = Ill {
        one_box: 1,
        fleet: 2,
        by: 10.0,
        since: 0,
    };
    let healed = ill.run(1, Direction::Up, 5.0, 240);
    assert_eq!(healed.last().cause, None, "{:?}", healed.last());
}

#[test]
fn two_hosts_of_which_one_is_ill_exclude_no_harm_before_the_end() {
    let ill = Ill {
        one_box: 1,
        fleet: 2,
        by: 10.0,
        since: 0,
    };
    let run = ill.run(1, Direction::Up, 5.0, 1_000);
    assert_eq!(run.first(CheckState::Ok), None, "{:?}", run.last());
}

#[test]
fn a_host_of_seven_that_fell_ill_before_the_deployment_hides_no_harm() {
    let ill = Ill {
        one_box: 1,
        fleet: 7,
        by: 10.0,
        since: -180,
    };
    for seed in 0..3 {
        let run = ill.run(seed, Direction::Up, 2.0, 1_000);
        let last = run.last();
        let is_told = run.breached().is_some() || last.cause == Some(NoDataCause::Rivalled);
        assert!(is_told, "{seed}: {last:?}");
        let healthy = ill.run(seed, Direction::Up, 1.0, 1_000);
        assert_eq!(healthy.breached(), None, "{seed}");
        assert_eq!(healthy.last().cause, None, "{seed}: {:?}", healthy.last());
    }
}

/// Busy seconds of a one-box that always had a tenth of the traffic, beside two hosts of which the last falls ill. As much
/// as that share may hide of a harm is not forgiven: its past had it, too.
#[test]
fn a_share_of_the_traffic_that_is_as_old_as_the_past_hides_no_harm_behind_a_sick_host() {
    let mut scene = Scene::new(1, 2);
    (scene.metric, scene.kind, scene.unit) =
        ("process_cpu_seconds_total", Kind::Counter, Unit::Seconds);
    (scene.before, scene.after, scene.direction) = (360, 360, Direction::Up);
    scene.weight = 0.1;
    let run = |seed: u64, harm: f64| {
        let mut noise = Noise::new(seed);
        scene.run(|host, bucket| {
            let factor = match host {
                0 if 0 <= bucket => 0.1 * harm,
                0 => 0.1,
                2 if 0 <= bucket => 10.0,
                _ => 1.0,
            };
            events(40.0 * factor * (0.05 * noise.normal()).exp(), 10.0, None)
        })
    };
    for seed in 0..3 {
        let (harmed, healthy) = (run(seed, 5.0), run(seed, 1.0));
        let last = harmed.last();
        let is_told = harmed.breached().is_some() || last.state == CheckState::NoData;
        assert!(is_told, "{seed}: {last:?}");
        assert_eq!(healthy.breached(), None, "{seed}");
        assert_ne!(healthy.last().cause, Some(NoDataCause::Rivalled), "{seed}");
    }
}
