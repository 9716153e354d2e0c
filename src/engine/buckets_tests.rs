//! Histograms whose bucket bounds change with the version.

use crate::{
    engine::{
        Engine, Input, Output,
        test_support::{at, begin, plan},
    },
    event::{
        Batch, Histogram, Kind, Labels, METRIC_NAME, Point, SeriesBlock, SeriesMeta, Temporality,
        Value,
    },
    gate::{
        Verdict,
        VerdictState::{Fail, NoData, Pass},
    },
};

const HOSTS: i64 = 8;
/// Seconds before the deployment, and of bake.
const BEFORE: i64 = 3_600;
const BAKE: i64 = 1_800;
const STEP: i64 = 10;

const OLD: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const NEW: &[f64] = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// A share from 0.98 to 1.02 that looks like chance, the same each time.
fn noise(host: i64, second: i64) -> f64 {
    let mut word = (host as u64 + 1) << 32 ^ (second + 100_000) as u64;
    for _ in 0..3 {
        word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    0.98 + 0.04 * (word >> 40) as f64 / (1u64 << 24) as f64
}

/// What a host tells of 200 requests whose latencies are exponential with this mean.
fn told(host: i64, second: i64, bounds: &[f64], mean: f64) -> SeriesBlock {
    let mean = mean * noise(host, second);
    let below = |bound: f64| 200.0 * (1.0 - (-bound / mean).exp());
    let mut counts = Vec::new();
    let mut before = 0.0;
    for bound in bounds.iter().copied().chain([f64::INFINITY]) {
        counts.push(below(bound) - before);
        before = below(bound);
    }
    let host = format!("h{host}");
    SeriesBlock {
        labels: Labels::new([(METRIC_NAME, "latency"), ("host", &*host)]),
        meta: SeriesMeta {
            kind: Kind::Histogram,
            temporality: Temporality::Delta,
            ..SeriesMeta::default()
        },
        points: vec![Point {
            at: at(second),
            start: Some(at(second - STEP)),
            value: Value::Histogram(Box::new(Histogram::Explicit {
                bounds: bounds.to_vec(),
                counts,
                sum: None,
            })),
        }],
    }
}

/// The last verdict where the one-box tells these bounds from the deployment on, and this mean from its tenth
/// minute on; before, as the fleet, 80 ms over the old ones.
fn last(bounds: &[f64], mean: f64) -> Verdict {
    let plan = plan(&format!(
        "
checks:
  c: {{metric: latency, compare: {{}}}}
services:
  web: {{match: {{}}, stages: [{{name: onebox, bake: {BAKE}s, grace: 2m, checks: [c]}}]}}
"
    ));
    let mut engine = Engine::new(plan);
    let mut outputs = Vec::new();
    for second in (-BEFORE..BAKE + 60).step_by(STEP as usize) {
        if second == 0 {
            engine.step(begin("d", at(0), &["h0"]), &mut outputs);
        }
        let mut batch = Batch::default();
        for host in 0..HOSTS {
            let is_new = host == 0 && 0 <= second;
            let bounds = if is_new { bounds } else { OLD };
            let mean = if is_new && 600 <= second { mean } else { 0.08 };
            batch.series.push(told(host, second, bounds, mean));
        }
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(second + 1)), &mut outputs);
    }
    let verdicts = outputs.into_iter().filter_map(|output| match output {
        Output::Verdict(verdict) => Some(verdict),
        _ => None,
    });
    *verdicts.last().expect("the deployment has a verdict")
}

#[test]
fn other_bounds_alone_are_no_harm_and_hide_none() {
    for (name, bounds, mean, expected) in [
        ("the same", OLD, 0.08, Pass),
        ("other bounds", NEW, 0.08, Pass),
        ("slower", OLD, 0.16, Fail),
        ("slower over other bounds", NEW, 0.16, Fail),
        // A bound in common that is above nearly all: nobody can tell.
        ("one bound far off", &[0.001, 2.5], 0.16, NoData),
        // Nobody can tell.
        ("no bound in common", &[7.0, 8.0][..], 0.08, NoData),
    ] {
        let verdict = last(bounds, mean);
        assert_eq!(verdict.verdict, expected, "{name}: {:?}", verdict.reasons);
    }
}
