//! Metrics of which senders tell by name alone what they are.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    detect::{Cell, HostId},
    engine::{
        Directory, Engine, Input, Output,
        binding::Feed,
        test_support::{at, begin, plan},
    },
    event::{
        Batch, Interval, KeyHash, Kind, Labels, METRIC_NAME, MetricMeta, Point, SeriesBlock,
        SeriesMeta, Span, Temporality, Unit, Value,
    },
    gate::{
        Verdict,
        VerdictState::{Fail, NoData, Pass, Pending},
    },
    reduce::{Epoch, Reading, Reducer, ReducerLimits, SeriesId, Turned},
};

const HOSTS: i64 = 8;
/// Seconds before the deployment, of grace, and of bake.
const BEFORE: i64 = 1_800;
const GRACE: i64 = 60;
const BAKE: i64 = 1_200;
/// Seconds between two ticks.
const STEP: i64 = 10;

/// What comes in a run.
struct Story<'a> {
    checks: &'static str,
    /// Metrics, each counting so many a second on the hosts of the fleet.
    metrics: &'static [(&'static str, i64)],
    /// How many times as many on the one-box while the deployment is open.
    factor: i64,
    /// When what is told of all metrics, in seconds from the begin of the deployment on.
    told: &'a [(i64, Kind)],
    /// Whether the one-box counts from zero once the deployment began.
    restarts: bool,
    /// Whether a metric of that name comes as deltas, from a sender that tells its kind.
    delta: Option<&'static str>,
    /// Seconds before the deployment, of grace, and of bake.
    before: i64,
    grace: i64,
    bake: i64,
}

/// A story of one metric that is told to count.
const JOBS: Story<'static> = Story {
    checks: "rate: {metric: jobs, bounds: {max: 9/s}}",
    metrics: &[("jobs", 4)],
    factor: 1,
    told: &[],
    restarts: false,
    delta: None,
    before: BEFORE,
    grace: GRACE,
    bake: BAKE,
};

fn block(metric: &str, host: i64, meta: SeriesMeta, point: Point) -> SeriesBlock {
    let host = format!("h{host}");
    let revision = if meta.kind == Kind::Unknown {
        ""
    } else {
        "otel"
    };
    let labels = [
        (METRIC_NAME, metric),
        ("host", &host),
        ("service", "web"),
        ("revision", revision),
    ];
    SeriesBlock {
        labels: Labels::new(labels),
        meta,
        points: vec![point],
    }
}

/// What all hosts have counted at a time.
fn sent(story: &Story<'_>, second: i64) -> Batch {
    let mut batch = Batch::default();
    for (metric, rate) in story.metrics {
        for host in 0..HOSTS {
            let open = if host == 0 { second.max(0) } else { 0 };
            let noise = (second * 7 + host * 3) % 5;
            let begun = if story.restarts && 0 < open {
                0
            } else {
                10_000
            };
            let total = rate * (second + begun + open * (story.factor - 1)) + noise;
            let point = Point {
                at: at(second) - Span::from_seconds(3),
                start: None,
                value: Value::Number(total as f64),
            };
            batch
                .series
                .push(block(metric, host, SeriesMeta::default(), point));
        }
    }
    if let Some(metric) = story.delta {
        let meta = SeriesMeta {
            kind: Kind::Counter,
            temporality: Temporality::Delta,
            ..SeriesMeta::default()
        };
        let point = Point {
            at: at(second) - Span::from_seconds(3),
            start: Some(at(second - STEP) - Span::from_seconds(3)),
            value: Value::Number(40.0),
        };
        batch.series.push(block(metric, 0, meta, point));
    }
    batch
}

fn metadata(story: &Story<'_>, kind: Kind) -> Batch {
    let told = |(metric, _): &(&str, i64)| MetricMeta {
        metric: (*metric).to_owned(),
        kind,
        unit: Unit::Unknown,
    };
    Batch {
        metadata: story.metrics.iter().map(told).collect(),
        ..Batch::default()
    }
}

/// Every verdict that was said, and the last. With `restarts` the engine goes on from its saved state before each
/// tick of the deployment.
fn run(story: &Story<'_>, restarts: bool) -> (Vec<String>, Verdict) {
    let name = story.checks.split(':').next().unwrap_or_default();
    let Story {
        before,
        grace,
        bake,
        ..
    } = story;
    let text = format!(
        "resolution: 10s\nlateness: 0s\nchecks:\n  {}\nservices:\n  web:\n    match: {{}}\n    stages: \
         [{{name: onebox, bake: {bake}s, grace: {grace}s, checks: [{name}]}}]\n",
        story.checks
    );
    let plan = plan(&text);
    let mut engine = Engine::new(Arc::clone(&plan));
    let mut outputs = Vec::new();
    for second in (-before..=bake + 60).step_by(STEP as usize) {
        for (when, kind) in story.told {
            if *when == second {
                engine.step(Input::Batch(&metadata(story, *kind)), &mut outputs);
            }
        }
        engine.step(Input::Batch(&sent(story, second)), &mut outputs);
        engine.step(Input::Tick(at(second)), &mut outputs);
        if restarts && 0 <= second {
            engine = Engine::restore(Arc::clone(&plan), KeyHash::new(0), &engine.save())
                .unwrap_or_else(|error| panic!("{error}"));
        }
        if second == 0 {
            engine.step(begin("d", at(second), &["h0"]), &mut outputs);
        }
    }
    let said = outputs.iter().filter_map(|output| match output {
        Output::Verdict(verdict) => Some(format!("{} {:?}", verdict.verdict, verdict.reasons)),
        Output::Shadow(_) | Output::Ended(_) | Output::Refused(_) | Output::Forgotten(_) => None,
    });
    (said.collect(), engine.verdict("d").unwrap())
}

/// The last verdict, which a restart does not change.
fn verdict(story: &Story<'_>) -> Verdict {
    let whole = run(story, false);
    let restarted = run(story, true);
    assert_eq!(whole.0, restarted.0);
    assert_eq!(whole.1, restarted.1);
    whole.1
}

#[test]
fn a_counter_that_only_metadata_tells_is_judged_by_its_rate() {
    let story = Story {
        told: &[(-BEFORE + 40, Kind::Counter)],
        ..JOBS
    };
    assert_eq!(
        verdict(&JOBS).verdict,
        Fail,
        "as a gauge it is out of range"
    );
    let passed = verdict(&story);
    assert_eq!(passed.verdict, Pass, "{:?}", passed.reasons);
    let harm = Story { factor: 3, ..story };
    assert_eq!(verdict(&harm).verdict, Fail);
}

#[test]
fn a_gauge_whose_name_says_that_it_counts_is_judged_by_its_level() {
    let story = Story {
        checks: "level: {metric: jobs_total, bounds: {max: 100000}}",
        metrics: &[("jobs_total", 4)],
        told: &[(-BEFORE, Kind::Gauge)],
        ..JOBS
    };
    let passed = verdict(&story);
    assert_eq!(passed.verdict, Pass, "{:?}", passed.reasons);
    let seen = passed.checks[0].observed.unwrap();
    assert!((40_000.0..50_000.0).contains(&seen), "{seen}");
}

#[test]
fn what_comes_within_minutes_of_the_first_samples_costs_a_deployment_nothing() {
    // In the grace, and while all is young.
    let story = Story {
        checks: "likewise: {metric: jobs, compare: {}}",
        told: &[(-BEFORE + 60, Kind::Counter)],
        ..JOBS
    };
    let passed = verdict(&story);
    assert_eq!(passed.verdict, Pass, "{:?}", passed.reasons);
    let harm = Story { factor: 2, ..story };
    assert_eq!(verdict(&harm).verdict, Fail);
}

#[test]
fn what_is_told_at_the_begin_of_a_bake_leaves_enough_of_it() {
    for check in [
        "likewise: {metric: jobs, compare: {}}",
        "trend: {metric: jobs, derivative: {max: 1000%/h, over: 10m}}",
        "some: {metric: jobs, bounds: {max: 1e9}}",
    ] {
        let story = Story {
            checks: check,
            told: &[(GRACE + 120, Kind::Counter)],
            ..JOBS
        };
        let passed = verdict(&story);
        assert_eq!(passed.verdict, Pass, "{check}: {:?}", passed.reasons);
        if check.starts_with("likewise") {
            // Whatever hosts were before is forgotten: twice as much may be a host's own.
            for (factor, expected) in [(2, NoData), (5, Fail)] {
                let harm = Story { factor, ..story };
                let found = verdict(&harm);
                assert_eq!(found.verdict, expected, "{factor}: {:?}", found.reasons);
            }
        }
    }
}

#[test]
fn what_a_gauge_was_suspected_of_is_nothing_to_a_counter() {
    // A new process counts from zero. As a level that is harm.
    let story = Story {
        checks: "likewise: {metric: jobs, compare: {}}",
        told: &[(GRACE + 20, Kind::Counter)],
        restarts: true,
        ..JOBS
    };
    let untold = Story { told: &[], ..story };
    assert_eq!(verdict(&untold).verdict, Fail);
    let passed = verdict(&story);
    assert_eq!(passed.verdict, Pass, "{:?}", passed.reasons);
}

#[test]
fn what_is_told_in_the_middle_of_a_bake_is_no_proof() {
    for check in [
        "likewise: {metric: jobs, compare: {}}",
        "trend: {metric: jobs, derivative: {max: 1000%/h, over: 10m}}",
        "usual: {metric: jobs, sigma: {k: 6}}",
        "some: {metric: jobs, bounds: {max: 1e9}}",
    ] {
        let story = Story {
            checks: check,
            told: &[(GRACE + BAKE / 2, Kind::Counter)],
            ..JOBS
        };
        let held = verdict(&story);
        assert_eq!(held.verdict, NoData, "{check}: {:?}", held.reasons);
        let reason = &held.reasons[0];
        assert!(reason.contains("kind_told_late"), "{check}: {reason}");
    }
}

#[test]
fn a_short_bake_does_not_pass_on_what_was_thrown_away() {
    for bake in [120, 180, 240, 300] {
        // What came before the bake is none of it, whenever it is told.
        for (told, is_seen) in [(bake / 5, true), (bake / 2, false), (bake - 20, false)] {
            for before in [10, 600] {
                let story = Story {
                    checks: "some: {metric: jobs, bounds: {max: 1e9}}",
                    told: &[(told / STEP * STEP, Kind::Counter)],
                    before,
                    grace: 0,
                    bake,
                    ..JOBS
                };
                let held = verdict(&story);
                let wanted = if is_seen { Pass } else { NoData };
                let reasons = &held.reasons;
                assert_eq!(held.verdict, wanted, "{bake} {told} {before}: {reasons:?}");
            }
        }
    }
}

#[test]
fn a_short_loss_hides_no_long_one() {
    let story = Story {
        checks: "some: {metric: jobs, bounds: {max: 1e9}}",
        told: &[(GRACE + 400, Kind::Counter), (GRACE + 600, Kind::Gauge)],
        ..JOBS
    };
    let held = verdict(&story);
    assert_eq!(held.verdict, NoData, "{:?}", held.reasons);
}

#[test]
fn senders_that_contradict_each_other_leave_it_to_the_name() {
    let story = Story {
        told: &[(-BEFORE, Kind::Counter), (-BEFORE, Kind::Gauge)],
        ..JOBS
    };
    let (by_name, disputed) = (verdict(&JOBS), verdict(&story));
    assert_eq!(disputed.reasons, by_name.reasons);
}

#[test]
fn series_whose_protocol_tells_what_they_are_keep_what_is_known_of_them() {
    // One of the hosts tells as deltas what all tell without a kind: they never met, and do now.
    let story = Story {
        checks: "rate: {metric: jobs, bounds: {max: 9/s}}",
        told: &[(-BEFORE + 40, Kind::Counter)],
        delta: Some("jobs"),
        ..JOBS
    };
    let passed = verdict(&story);
    assert_eq!(passed.verdict, Pass, "{:?}", passed.reasons);
    let seen = passed.checks[0].observed.unwrap();
    assert!((7.5..8.5).contains(&seen), "{seen}");
}

#[test]
fn a_unit_that_moves_a_series_elsewhere_leaves_nothing_of_it_behind() {
    let plan = plan(
        "resolution: 10s\nchecks:\n  level: {metric: jobs, bounds: {max: 9}}\nservices:\n  web:\n    \
         match: {}\n    stages: [{name: onebox, bake: 20m, checks: [level]}]\n",
    );
    let gauge = |kind, unit| SeriesMeta {
        kind,
        unit,
        ..SeriesMeta::default()
    };
    let untold = gauge(Kind::Unknown, Unit::Unknown);
    let bytes = gauge(Kind::Gauge, Unit::Bytes);
    let labels = ["a", "b"].map(|host| Labels::new([(METRIC_NAME, "jobs"), ("host", host)]));
    // With others of its metric, and alone.
    for has_other in [true, false] {
        let mut directory = Directory::new(Arc::clone(&plan));
        let [one, other] = [SeriesId(0), SeriesId(1)];
        directory.bind_series(one, &labels[0], untold, Kind::Gauge);
        let target = |directory: &mut Directory, id: SeriesId| {
            let (_, place, _) = directory.bindings.fed(id).next().unwrap();
            place
        };
        let before = target(&mut directory, one);
        if has_other {
            directory.bind_series(other, &labels[1], bytes, Kind::Gauge);
        } else {
            let panel = &mut directory.services[0].panels[0].panel;
            panel.group_of(&panel.group(0).key.clone(), Kind::Gauge, Unit::Bytes);
        }
        let bucket = Interval {
            start: at(0),
            end: at(10),
        };
        directory.watermark = at(10);
        let panel = &mut directory.services[0].panels[0].panel;
        panel.record_at(before, bucket, Cell::default());
        // In a unit that is none of its own, but what the others are told in.
        for (unit, moves) in [(Unit::Bytes, false), (Unit::Seconds, true)] {
            let turned = Turned {
                series: one,
                is_other: false,
            };
            directory.reread_series(&[turned], &|_| Reading {
                labels: labels[0].clone(),
                meta: gauge(Kind::Unknown, unit),
                own: Kind::Unknown,
                kind: Kind::Gauge,
            });
            let after = target(&mut directory, one);
            let panel = &directory.services[0].panels[0].panel;
            assert!(panel.has_one_feeder(after), "{unit:?}");
            assert_eq!(after != before, moves);
            assert_eq!(panel.rereads().len(), usize::from(moves));
            let was = panel.group(before.group());
            assert_eq!(was.track(HostId(0)).is_some(), !moves);
        }
        let panel = &directory.services[0].panels[0].panel;
        assert_eq!(panel.len(), 1 + usize::from(has_other));
        if has_other {
            let place = target(&mut directory, other);
            assert!(directory.services[0].panels[0].panel.has_one_feeder(place));
        }
    }
}

#[test]
fn what_stands_beside_what_is_compared_turns_as_well() {
    // Untold, `served_total` counts by its name, that of the one-box as all: those with another code are not
    // looked at. Told to be a gauge, none of them speaks for a counter that is silent.
    let checks = "c: {metric: 'served_total{code=\"503\"}', compare: {}}";
    let text = format!(
        "resolution: 10s\nlateness: 0s\nchecks:\n  {checks}\nservices:\n  web:\n    match: {{}}\n    \
         stages: [{{name: onebox, bake: 20m, checks: [c]}}]\n"
    );
    let mut directory = Directory::new(plan(&text));
    let selector = Arc::clone(directory.selector());
    let mut reducer = Reducer::new(
        Span::from_seconds(10),
        ReducerLimits {
            series: 100,
            samples_per_bucket: 100,
            templates: 100,
            future: Span::from_minutes(5),
            labels: 8,
            label_bytes: 100,
        },
        KeyHash::new(0),
        selector,
    );
    let labels = ["200", "503"]
        .map(|code| Labels::new([(METRIC_NAME, "served_total"), ("code", code), ("host", "a")]));
    let series = labels.map(|labels| SeriesBlock {
        labels,
        meta: SeriesMeta::default(),
        points: vec![Point {
            at: at(5),
            start: None,
            value: Value::Number(7.0),
        }],
    });
    let values = Batch {
        series: series.to_vec(),
        ..Batch::default()
    };
    let told = Batch {
        metadata: vec![MetricMeta {
            metric: "served_total".to_owned(),
            kind: Kind::Gauge,
            unit: Unit::Unknown,
        }],
        ..Batch::default()
    };
    let kin = |directory: &Directory| {
        let all = [SeriesId(0), SeriesId(1)].into_iter();
        let feeds = all.flat_map(|id| directory.bindings.routes.of(id).to_vec());
        feeds.filter(|feed| matches!(feed, Feed::Kin(..))).count()
    };
    let mut number = 0;
    for (batch, count) in [(&values, 2), (&told, 0)] {
        reducer.put(batch, &BTreeSet::new());
        number += 1;
        let closed = Some(at(10 * i64::from(number)));
        reducer.advance(
            Epoch {
                number,
                closed,
                ..Epoch::default()
            },
            &mut directory,
        );
        while reducer.close_next().is_some() {}
        assert_eq!(kin(&directory), count);
    }
}

#[test]
fn both_sides_of_a_ratio_are_read_anew_if_one_is() {
    let story = Story {
        checks: "errors: {metric: errors, per: requests, bounds: {max: 60%}}",
        metrics: &[("errors", 4), ("requests", 10)],
        told: &[(-BEFORE + 40, Kind::Counter)],
        delta: Some("requests"),
        ..JOBS
    };
    let passed = verdict(&story);
    assert_eq!(passed.verdict, Pass, "{:?}", passed.reasons);
    let seen = passed.checks[0].observed.unwrap();
    // The one-box counts requests twice: 10 a second so and 4 as deltas.
    assert!((0.27..0.30).contains(&seen), "{seen}");
}

#[test]
fn a_bound_that_a_gauge_had_left_is_left_no_more_when_it_counts() {
    let story = Story {
        checks: "rate: {metric: jobs, bounds: {max: 9/s, for: 10m}}",
        told: &[(-60, Kind::Counter)],
        ..JOBS
    };
    let (said, last) = run(&story, false);
    assert_eq!(last.verdict, Pass, "{said:?}");
    assert!(
        !said
            .iter()
            .any(|said| said.starts_with(&Pending.to_string()) && said.contains("above"))
    );
}
