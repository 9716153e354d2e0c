//! Metrics of which senders tell by name alone what they are.

use std::sync::Arc;

use crate::{
    engine::{
        Engine, Input, Output,
        test_support::{at, begin, plan},
    },
    event::{
        Batch, KeyHash, Kind, Labels, METRIC_NAME, MetricMeta, Point, SeriesBlock, SeriesMeta,
        Span, Temporality, Unit, Value,
    },
    gate::{
        Verdict,
        VerdictState::{Fail, NoData, Pass, Pending},
    },
};

const HOSTS: i64 = 8;
/// Seconds before the deployment, of grace, and of bake.
const BEFORE: i64 = 1_800;
const GRACE: i64 = 60;
const BAKE: i64 = 1_200;
/// Seconds between two ticks.
const STEP: i64 = 10;

/// What comes in a run.
struct Story {
    checks: &'static str,
    /// Metrics, each counting so many a second on the hosts of the fleet.
    metrics: &'static [(&'static str, i64)],
    /// How many times as many on the one-box while the deployment is open.
    factor: i64,
    /// When what is told of all metrics, in seconds from the begin of the deployment on.
    told: &'static [(i64, Kind)],
    /// Whether the one-box counts from zero once the deployment began.
    restarts: bool,
    /// Whether a metric of that name comes as deltas, from a sender that tells its kind.
    delta: Option<&'static str>,
}

/// A story of one metric that is told to count.
const JOBS: Story = Story {
    checks: "rate: {metric: jobs, bounds: {max: 9/s}}",
    metrics: &[("jobs", 4)],
    factor: 1,
    told: &[],
    restarts: false,
    delta: None,
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
fn sent(story: &Story, second: i64) -> Batch {
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

fn metadata(story: &Story, kind: Kind) -> Batch {
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
fn run(story: &Story, restarts: bool) -> (Vec<String>, Verdict) {
    let name = story.checks.split(':').next().unwrap_or_default();
    let text = format!(
        "resolution: 10s\nlateness: 0s\nchecks:\n  {}\nservices:\n  web:\n    match: {{}}\n    stages: \
         [{{name: onebox, bake: {BAKE}s, grace: {GRACE}s, checks: [{name}]}}]\n",
        story.checks
    );
    let plan = plan(&text);
    let mut engine = Engine::new(Arc::clone(&plan));
    let mut outputs = Vec::new();
    for second in (-BEFORE..=BAKE + 60).step_by(STEP as usize) {
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
fn verdict(story: &Story) -> Verdict {
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
fn what_counts_no_more_is_no_silent_counter() {
    let story = Story {
        checks: "likewise: {metric: 'jobs_total{revision=\"otel\"}', compare: {}}",
        metrics: &[("jobs_total", 4)],
        told: &[(-BEFORE / 2, Kind::Gauge)],
        delta: Some("jobs_total"),
        ..JOBS
    };
    let held = verdict(&story);
    assert_eq!(held.verdict, NoData, "{:?}", held.reasons);
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
