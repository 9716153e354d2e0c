//! Memory: reading a state takes no more than a small multiple of its bytes, whatever they claim; a day
//! of the same streams takes no more than its first hours; pods that are replaced for ever fill nothing.
//!
//! Alone in its file: what is allocated is counted for the whole process.

use std::sync::{Arc, Mutex, PoisonError};

use peak_alloc::PeakAlloc;
use sluice::{
    engine::{Engine, Input},
    event::{
        Batch, Begin, DeploymentEvent, Labels, LogRecord, METRIC_NAME, Point, SeriesBlock,
        SeriesMeta, Severity, Span, Timestamp, Value,
    },
    gate::GateState,
    plan::Plan,
    source::demo,
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Held by the test that counts.
static ALONE: Mutex<()> = Mutex::new(());

/// What each byte may cost: empty entries of a list are a byte each, and not in memory.
const TIMES_MAX: usize = 64;
/// What reading may cost beside: room that is taken ahead, at each level of nesting.
const BESIDE_MAX: usize = 4 << 20;

#[test]
fn reading_takes_no_more_memory_than_the_bytes_allow() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = state();
    let mut largest = 0.0_f64;
    // From every place on the state goes on with what claims the most for the least.
    let step = (state.len() / 2_000).max(1);
    for at in (0..state.len()).step_by(step) {
        for tail in [
            vec![0xff; 40],
            vec![0x00; 200_000],
            vec![0x01; 200_000],
            [&[0xff, 0xff, 0xff, 0x7f][..], &vec![0x00; 200_000]].concat(),
            [&[0xff, 0xff, 0x03][..], &vec![0x00; 200_000]].concat(),
            [&[0xff, 0xff, 0x03][..], &vec![0x01; 200_000]].concat(),
        ] {
            let bytes = [&state[..at], &tail].concat();
            let before = ALLOCATED.current_usage();
            ALLOCATED.reset_peak_usage();
            let read = GateState::decode(&bytes);
            let taken = ALLOCATED.peak_usage().saturating_sub(before);
            drop(read);
            largest = largest.max(taken as f64 / bytes.len() as f64);
            assert!(
                taken <= TIMES_MAX * bytes.len() + BESIDE_MAX,
                "{taken} bytes for {} at {at}",
                bytes.len()
            );
        }
    }
    // Else nothing was read.
    assert!(1.0 < largest, "{largest}");
}

/// The state of the demonstration's gate, in its bake.
fn state() -> Vec<u8> {
    let (plan, timeline) = demo::recording().expect("the demonstration is built in");
    let mut engine = Engine::new(Arc::new(plan));
    let mut longest = Vec::new();
    let mut outputs = Vec::new();
    for step in timeline.into_steps() {
        for event in step.events {
            engine.step(Input::Deployment(event), &mut outputs);
        }
        engine.step(Input::Batch(&step.batch), &mut outputs);
        engine.step(Input::Tick(step.bucket.end), &mut outputs);
        for state in engine.save_gates() {
            let bytes = state.encode();
            if longest.len() < bytes.len() {
                longest = bytes;
            }
        }
    }
    assert!(1_000 < longest.len(), "the gate has learned");
    longest
}

const PLAN: &str = r"
checks:
  cpu: {metric: cpu_busy_ratio, bounds: {max: 95%, for: 5m}}
  latency: {metric: request_seconds, sigma: {k: 6}}
  leak: {metric: resident_bytes, derivative: {max: 50%/h, over: 1h}}
  all: {metric: '*', compare: {}}
  error-logs: {logs: {severity: ERROR}, bounds: {max: 500/m}}
  new-errors: {logs: {severity: ERROR, new: true}}
  heartbeat: {metric: up, absent: 5m}
services:
  shop:
    stages:
      - {name: onebox, bake: 7d, checks: [cpu, latency, leak, all, error-logs, new-errors, heartbeat]}
";

/// What six hosts send at a time, in hours; the same day after day but for a little noise.
fn sent(hours: f64, index: i64) -> Batch {
    let at = start() + Span::from_nanos((hours * 3.6e12) as i64);
    let mut batch = Batch::default();
    for host in 0..6_u8 {
        let noise = f64::from((index * 7 + i64::from(host) * 13) as u32 % 101) / 101.0;
        let day = (hours / 24.0 * std::f64::consts::TAU).sin();
        for (metric, value) in [
            ("up", 1.0),
            ("cpu_busy_ratio", 0.4 + 0.1 * day + 0.05 * noise),
            ("request_seconds", 0.2 + 0.01 * noise),
            ("resident_bytes", 1e9 + 1e6 * noise),
            ("requests_total", 100.0 * index as f64 + 10.0 * noise),
        ] {
            let labels = [
                (METRIC_NAME, metric.to_owned()),
                ("service", "shop".to_owned()),
                ("host", format!("h{host}")),
            ];
            batch.series.push(SeriesBlock {
                labels: Labels::new(labels),
                meta: SeriesMeta::default(),
                points: vec![Point {
                    at,
                    start: None,
                    value: Value::Number(value),
                }],
            });
        }
        batch.logs.push(LogRecord {
            at,
            severity: Severity::ERROR,
            body: format!("request {index} of user {} timed out", index * 31 % 997),
            attributes: Labels::new([("service", "shop".to_owned()), ("host", format!("h{host}"))]),
            count: 1,
        });
    }
    batch
}

fn start() -> Timestamp {
    Timestamp::from_seconds(1_772_000_000)
}

#[test]
fn a_day_takes_no_more_memory_than_its_first_hours() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let empty = ALLOCATED.current_usage();
    let plan = Plan::parse(PLAN).expect("the plan is sound");
    let mut engine = Engine::new(Arc::new(plan));
    let mut outputs = Vec::new();
    let mut held = Vec::new();
    let per_hour = 120;
    for index in 0..30 * per_hour {
        let hours = f64::from(index) / f64::from(per_hour);
        let batch = sent(hours, i64::from(index));
        if index == 2 * per_hour {
            let begin = Begin {
                at: start() + Span::from_seconds(7_200),
                deployment: "d1".to_owned(),
                service: "shop".to_owned(),
                stage: "onebox".to_owned(),
                region: None,
                version: "v2".to_owned(),
                one_box: vec!["h0".to_owned()],
                fleet: Vec::new(),
                weight: 1.0,
                hotfix: None,
            };
            engine.step(
                Input::Deployment(DeploymentEvent::Begin(begin)),
                &mut outputs,
            );
        }
        engine.step(Input::Batch(&batch), &mut outputs);
        let now = start() + Span::from_nanos((hours * 3.6e12) as i64) + Span::from_seconds(25);
        engine.step(Input::Tick(now), &mut outputs);
        outputs.clear();
        if index % (6 * per_hour) == 6 * per_hour - 1 {
            held.push(ALLOCATED.current_usage() - empty);
        }
    }
    // The seasons of `sigma` are learned over the first day; what comes after is the same again.
    let [.., before, after] = held[..] else {
        panic!("it was looked at several times")
    };
    assert!(
        after <= before + before / 100,
        "bytes after each 6 h: {held:?}"
    );
    assert!(held[3] <= held[0] * 3 / 2, "bytes after each 6 h: {held:?}");
}

const PODS: &str = r"
resolution: 5m
lateness: 0s
checks:
  limits: {metric: '*', bounds: {max: 1e12}}
services:
  shop:
    stages:
      - {name: onebox, bake: 1h, checks: [limits]}
";

/// What a generation of pods sends: each has names of its own, in a label that tells no host too.
fn sent_by_pods(at: Timestamp, generation: i64) -> Batch {
    let mut batch = Batch::default();
    for pod in 0..30 {
        for metric in 0..30 {
            let labels = [
                (METRIC_NAME, format!("metric_{metric}")),
                ("service", "shop".to_owned()),
                ("host", format!("shop-{generation}-{pod}")),
                ("cgroup", format!("/pods/{generation}/{pod}")),
            ];
            batch.series.push(SeriesBlock {
                labels: Labels::new(labels),
                meta: SeriesMeta::default(),
                points: vec![Point {
                    at,
                    start: None,
                    value: Value::Number(1.0),
                }],
            });
        }
    }
    batch
}

#[test]
fn pods_that_are_replaced_for_ever_take_no_more_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let empty = ALLOCATED.current_usage();
    let plan = Plan::parse(PODS).expect("the plan is sound");
    let mut engine = Engine::new(Arc::new(plan));
    let mut held = Vec::new();
    let per_hour = 12;
    for index in 0..7 * 24 * per_hour {
        let at = start() + Span::from_minutes(5 * index);
        // Four generations a day.
        let batch = sent_by_pods(at, index / (6 * per_hour));
        engine.step(Input::Batch(&batch), &mut Vec::new());
        engine.step(Input::Tick(at + Span::from_minutes(5)), &mut Vec::new());
        if index % (24 * per_hour) == 24 * per_hour - 1 {
            held.push(ALLOCATED.current_usage() - empty);
        }
    }
    let (early, late) = (held[1].max(held[2]), held[5].max(held[6]));
    assert!(late <= early + early / 10, "bytes after each day: {held:?}");
}
