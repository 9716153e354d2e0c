//! A counter that is missing: nothing gained, or nothing known.

use crate::{
    engine::{
        Engine, Input, Output,
        test_support::{at, begin, plan},
    },
    event::{Batch, Labels, METRIC_NAME, Point, SeriesBlock, SeriesMeta, Value},
    gate::{
        Verdict,
        VerdictState::{Fail, NoData, Pass},
    },
};

const HOSTS: i64 = 8;
/// Seconds before the deployment, and of bake.
const BEFORE: i64 = 3_600;
const BAKE: i64 = 2_400;
/// Seconds between two ticks, and between two scrapes.
const STEP: i64 = 10;
const SCRAPE: i64 = 30;
/// When the process of the one-box begins anew.
const BORN: i64 = 30;

const EVERYTHING: &str = "  c: {metric: '*', compare: {}}";
const RISES: &str = "  c: {metric: '*', compare: {direction: up}}";
const NAMED: &str = "  c: {metric: 'served_total{code=\"503\"}', compare: {direction: up}}";

/// What the one-box shows.
#[derive(Clone, Copy, Debug)]
struct Shown {
    /// Counts of `served_total{code="200"}` since then.
    served: Option<i64>,
    /// Its errors.
    errors: Option<f64>,
    /// Counts of `read_total` since then.
    read: Option<i64>,
    version: &'static str,
}

/// What is watched, and how it goes.
#[derive(Clone, Copy)]
struct Scene {
    check: &'static str,
    /// The metric that counts errors.
    errors: &'static str,
    /// Seconds between two errors of each host before the deployment, and of a fleet host after it.
    apart: i64,
    one_box: fn(i64) -> Shown,
}

const SCENE: Scene = Scene {
    check: EVERYTHING,
    errors: "served_total",
    apart: 2_000,
    one_box: restarted,
};

/// The process began anew, and had no error since.
fn restarted(second: i64) -> Shown {
    if second < BORN {
        return before(second);
    }
    Shown {
        served: Some(BORN),
        errors: None,
        read: Some(BORN),
        version: "",
    }
}

/// A process that began long ago.
fn before(second: i64) -> Shown {
    Shown {
        served: Some(-BEFORE),
        errors: Some(errors(0, 2_000, second)),
        read: Some(-BEFORE),
        version: "",
    }
}

/// A number from 0 to 9 that looks like chance, the same each time.
fn digit(host: i64, second: i64) -> i64 {
    let mut word = (host as u64 + 1) << 32 ^ (second + 100_000) as u64;
    for _ in 0..3 {
        word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (word >> 32) as i64 % 10
}

/// How many errors a host has had.
fn errors(host: i64, apart: i64, second: i64) -> f64 {
    (3 + (second + BEFORE + 317 * host).div_euclid(apart)) as f64
}

fn block(host: i64, labels: &[(&str, &str)], second: i64, value: f64) -> SeriesBlock {
    let host = format!("h{host}");
    let labels = labels.iter().copied().chain([("host", &*host)]);
    SeriesBlock {
        labels: Labels::new(labels),
        meta: SeriesMeta::default(),
        points: vec![Point {
            at: at(second),
            start: None,
            value: Value::Number(value),
        }],
    }
}

fn scrape(host: i64, second: i64, scene: &Scene, batch: &mut Batch) {
    let shown = if host == 0 {
        (scene.one_box)(second)
    } else {
        Shown {
            errors: Some(errors(host, scene.apart, second)),
            ..before(second)
        }
    };
    // Somewhat more or less each time.
    let counted = |since: i64, each: i64| (each * (second - since) + digit(host, second)) as f64;
    let mut send = |name: &str, code: &str, value: Option<f64>| {
        let labels = [
            (METRIC_NAME, name),
            ("code", code),
            ("version", shown.version),
        ];
        batch
            .series
            .extend(value.map(|value| block(host, &labels, second, value)));
    };
    let served = shown.served.map(|since| counted(since, 20));
    send("served_total", "200", served);
    send("read_total", "", shown.read.map(|since| counted(since, 5)));
    send(scene.errors, "503", shown.errors);
}

/// Runs a deployment of the first host; `save`: the second at which the engine is saved, and goes on from that.
fn verdicts(scene: &Scene, save: Option<i64>, spoil: fn(i64, &mut Batch)) -> Vec<Verdict> {
    let text = format!(
        "resolution: 10s\nlateness: 0s\nchecks:\n{}\nservices:\n  web:\n    match: {{}}\n    \
         stages: [{{name: onebox, bake: {BAKE}s, grace: 2m, checks: [c]}}]\n",
        scene.check
    );
    let mut engine = Engine::new(plan(&text));
    let mut outputs: Vec<Output> = Vec::new();
    for second in (-BEFORE..=BAKE + 60).step_by(STEP as usize) {
        if second == 0 {
            engine.step(begin("d", at(0), &["h0"]), &mut outputs);
        }
        let mut batch = Batch::default();
        if second % SCRAPE == 0 {
            for host in 0..HOSTS {
                scrape(host, second, scene, &mut batch);
            }
        }
        spoil(second, &mut batch);
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(second)), &mut outputs);
        if save == Some(second) {
            let bytes = engine.save();
            engine = Engine::restore(plan(&text), engine.keys(), &bytes).unwrap();
        }
    }
    let verdicts = outputs.into_iter().filter_map(|output| match output {
        Output::Verdict(verdict) => Some(*verdict),
        Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) | Output::Refused(_) => None,
    });
    verdicts.collect()
}

fn verdict(scene: &Scene) -> Verdict {
    verdicts(scene, None, |_, _| {}).pop().unwrap()
}

#[test]
fn a_counter_that_a_process_has_not_shown_yet_has_gained_nothing() {
    for check in [EVERYTHING, RISES, NAMED] {
        let verdict = verdict(&Scene { check, ..SCENE });
        assert_eq!(verdict.verdict, Pass, "{check} {verdict:?}");
    }
}

#[test]
fn so_has_a_counter_that_a_host_never_had() {
    /// A host that comes with the deployment.
    fn fresh(second: i64) -> Shown {
        let is_there = BORN <= second;
        Shown {
            served: is_there.then_some(BORN),
            errors: None,
            read: is_there.then_some(BORN),
            version: "",
        }
    }
    for check in [EVERYTHING, NAMED] {
        let verdict = verdict(&Scene {
            check,
            one_box: fresh,
            ..SCENE
        });
        assert_eq!(verdict.verdict, Pass, "{check} {verdict:?}");
    }
}

#[test]
fn another_version_that_takes_over_begins_anew() {
    fn versioned(second: i64) -> Shown {
        let version = if second < BORN { "v1" } else { "v2" };
        Shown {
            version,
            ..restarted(second)
        }
    }
    let verdict = verdict(&Scene {
        one_box: versioned,
        ..SCENE
    });
    assert_eq!(verdict.verdict, Pass, "{verdict:?}");
}

#[test]
fn errors_that_come_after_the_restart_are_judged() {
    fn failing(second: i64) -> Shown {
        let errors = (second - 900).div_euclid(60);
        Shown {
            errors: if second < BORN {
                before(second).errors
            } else {
                (0 < errors).then_some(errors as f64)
            },
            ..restarted(second)
        }
    }
    for check in [EVERYTHING, RISES, NAMED] {
        let verdict = verdict(&Scene {
            check,
            one_box: failing,
            ..SCENE
        });
        assert_eq!(verdict.verdict, Fail, "{check} {verdict:?}");
    }
}

#[test]
fn a_counter_that_vanishes_by_itself_is_silent() {
    /// Its process goes on.
    fn vanished(second: i64) -> Shown {
        Shown {
            errors: before(second).errors.filter(|_| second < BORN),
            ..before(second)
        }
    }
    /// Its process began anew, and showed it for a while.
    fn shown_since(second: i64) -> Shown {
        Shown {
            errors: if second < BORN {
                before(second).errors
            } else {
                (second < 600).then_some(1.0)
            },
            ..restarted(second)
        }
    }
    for one_box in [vanished, shown_since] {
        for check in [EVERYTHING, NAMED] {
            let verdict = verdict(&Scene {
                check,
                one_box,
                ..SCENE
            });
            assert_eq!(verdict.verdict, NoData, "{check} {verdict:?}");
        }
    }
}

#[test]
fn a_host_or_a_name_that_falls_silent_proves_nothing() {
    /// Nothing of the host comes.
    fn dead(second: i64) -> Shown {
        let is_there = second < 600;
        let shown = restarted(second);
        Shown {
            served: shown.served.filter(|_| is_there),
            read: shown.read.filter(|_| is_there),
            ..shown
        }
    }
    /// Nothing of the name does.
    fn renamed(second: i64) -> Shown {
        let shown = restarted(second);
        Shown {
            served: shown.served.filter(|_| second < BORN),
            ..shown
        }
    }
    for (one_box, check) in [
        (dead as fn(i64) -> Shown, EVERYTHING),
        (dead, NAMED),
        (renamed, EVERYTHING),
        (renamed, RISES),
        (renamed, NAMED),
    ] {
        let verdict = verdict(&Scene {
            check,
            one_box,
            ..SCENE
        });
        assert_eq!(verdict.verdict, NoData, "{check} {verdict:?}");
    }
}

/// Errors of a name of their own, of which there is no other.
#[test]
fn a_name_that_nothing_shows_has_gained_nothing_only_if_it_is_rare() {
    for check in [EVERYTHING, RISES] {
        for (apart, expected) in [(2_000, Pass), (90, NoData)] {
            let verdict = verdict(&Scene {
                check,
                errors: "failed_total",
                apart,
                ..SCENE
            });
            assert_eq!(verdict.verdict, expected, "{check} {apart} {verdict:?}");
        }
    }
}

#[test]
fn where_data_of_the_host_is_lost_a_gap_is_no_proof() {
    fn lossy(second: i64, batch: &mut Batch) {
        let of_it = batch.series.iter_mut();
        let of_it = of_it.filter(|block| block.labels.get("host") == Some("h0"));
        for block in of_it.filter(|_| BORN <= second) {
            if block.labels.metric() == "read_total" && second % 60 == 0 {
                block.points[0].value = Value::Number(f64::NAN);
            }
        }
    }
    let verdicts = verdicts(&SCENE, None, lossy);
    let last = verdicts.last().unwrap();
    assert_eq!(last.verdict, NoData, "{last:?}");
}

#[test]
fn a_gauge_that_a_process_does_not_show_is_silent() {
    let verdict = verdict(&Scene {
        errors: "queue_length",
        ..SCENE
    });
    assert_eq!(verdict.verdict, NoData, "{verdict:?}");
}

#[test]
fn what_is_to_be_there_is_absent() {
    let verdict = verdict(&Scene {
        check: "  c: {metric: 'served_total{code=\"503\"}', absent: 5m}",
        ..SCENE
    });
    assert_ne!(verdict.verdict, Pass, "{verdict:?}");
}

/// Whenever it is saved: also within the bucket of the restart.
#[test]
fn an_engine_that_goes_on_fills_what_it_would_have_filled() {
    for check in [EVERYTHING, NAMED] {
        let scene = Scene { check, ..SCENE };
        let whole = verdicts(&scene, None, |_, _| {});
        for second in [BORN - 10, BORN, BORN + 10, 200, 1_000] {
            let saved = verdicts(&scene, Some(second), |_, _| {});
            assert_eq!(saved, whole, "{check} {second}");
        }
    }
}
