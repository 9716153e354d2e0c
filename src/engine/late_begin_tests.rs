//! A deployment that is told when its hosts run the new version already.

use crate::{
    engine::{
        Engine, Input,
        test_support::{self, beginning, plan},
    },
    event::{Batch, Labels, METRIC_NAME, Point, SeriesBlock, SeriesMeta, Span, Timestamp, Value},
};

const PLAN: &str = "
resolution: 1m
lateness: 0s
checks: {cpu: {metric: cpu, bounds: {max: 90%}}}
services:
  web:
    stages:
      - {name: onebox, match: {tier: canary}, bake: 10m, checks: [cpu]}
      - {name: prod, bake: 10m, checks: [cpu]}
";

const RESOLUTION: Span = Span::from_minutes(1);

fn at(minute: i64) -> Timestamp {
    test_support::at(0) + RESOLUTION.times(minute)
}

/// Minutes up to the beginning of the deployment, in which hosts are seen: name, and from which minute on with
/// the new version; before that with the old one, from the first minute on.
fn engine(minutes: i64, hosts: &[(&str, i64)]) -> Engine {
    let mut engine = Engine::new(plan(PLAN));
    for minute in -minutes..0 {
        let series = hosts.iter().map(|(host, changes)| SeriesBlock {
            labels: Labels::new([
                (METRIC_NAME, "cpu"),
                ("host", *host),
                ("service", "web"),
                (
                    "tier",
                    if host.starts_with('c') {
                        "canary"
                    } else {
                        "rest"
                    },
                ),
                ("version", if *changes <= minute { "v2" } else { "v1" }),
            ]),
            meta: SeriesMeta::default(),
            points: vec![Point {
                at: at(minute),
                start: None,
                value: Value::Number(0.5),
            }],
        });
        let batch = Batch {
            series: series.collect(),
            ..Batch::default()
        };
        let mut outputs = Vec::new();
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(minute + 1)), &mut outputs);
    }
    engine
}

/// Until when hosts were what they were before a deployment, in minutes from its beginning.
fn past_until(engine: &Engine, one_box: &[&str]) -> i64 {
    let begin = beginning("d", at(0), one_box);
    let until = engine.world.directory.past_until(&begin, RESOLUTION);
    (until - at(0)).nanos() / RESOLUTION.nanos()
}

#[test]
fn the_past_ends_where_the_first_host_changed() {
    let engine = engine(90, &[("c1", -4), ("c2", -7), ("f1", -20), ("f2", 0)]);
    assert_eq!(past_until(&engine, &[]), -7);
    assert_eq!(past_until(&engine, &["c1"]), -4);
    assert_eq!(past_until(&engine, &["c1", "f1"]), -20);
    // Nobody has changed yet, or is known.
    assert_eq!(past_until(&engine, &["f2", "c9"]), 0);
}

#[test]
fn who_never_ran_another_version_or_changed_long_ago_has_the_whole_past() {
    let engine = engine(180, &[("c1", -180), ("c2", -61), ("f1", 0)]);
    assert_eq!(past_until(&engine, &["c1"]), 0);
    assert_eq!(past_until(&engine, &["c2"]), 0);
}
