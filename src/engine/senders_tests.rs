//! What senders leave out, and what they mean by a unit.

use std::{ops::Range, sync::Arc};

use crate::{
    engine::{Engine, Input, Output},
    event::{
        Batch, Begin, DeploymentEvent, Kind, Labels, METRIC_NAME, Point, SeriesBlock, SeriesMeta,
        Span, Temporality, Timestamp, Unit, Value,
    },
    gate::{Verdict, VerdictState},
    plan::Plan,
};

/// How a counter is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Cumulative,
    /// As deltas, also where nothing was gained.
    Deltas,
    /// As deltas, without those of nothing: as the SDKs of OpenTelemetry do.
    SparseDeltas,
}

const HOSTS: usize = 20;
const ONE_BOX: usize = 2;
/// Minutes before the deployment, and of bake.
const BEFORE: i64 = 60;
const BAKE: i64 = 60;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + 60 * minute)
}

/// A number below 1 that looks like chance, the same each time.
fn chance(host: usize, minute: i64) -> f64 {
    let mut word = (host as u64 + 1) << 32 ^ (minute + 1_000) as u64;
    for _ in 0..3 {
        word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

fn series(metric: &str, host: usize, meta: SeriesMeta, minute: i64, value: f64) -> SeriesBlock {
    let host = format!("h{host:02}");
    let is_delta = meta.temporality == Temporality::Delta;
    SeriesBlock {
        labels: Labels::new([(METRIC_NAME, metric), ("host", &host), ("service", "web")]),
        meta,
        points: vec![Point {
            at: at(minute),
            start: is_delta.then(|| at(minute - 1)),
            value: Value::Number(value),
        }],
    }
}

fn counter(temporality: Temporality, unit: Unit) -> SeriesMeta {
    SeriesMeta {
        kind: Kind::Counter,
        temporality,
        unit,
    }
}

fn begin(one_box: Range<usize>, fleet: Range<usize>) -> Begin {
    let host = |index: usize| format!("h{index:02}");
    Begin {
        at: at(0),
        deployment: "d".to_owned(),
        service: "web".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: one_box.map(host).collect(),
        fleet: fleet.map(host).collect(),
        weight: 1.0,
        hotfix: None,
    }
}

/// Runs a deployment of the first hosts under a check; `send` fills in what is sent in a minute.
fn verdicts(checks: &str, mut send: impl FnMut(i64, &mut Batch)) -> Vec<Verdict> {
    let names: Vec<&str> = checks
        .lines()
        .filter_map(|line| line.trim().split_once(':').map(|(name, _)| name))
        .collect();
    let text = format!(
        "resolution: 10s\nlateness: 10s\nchecks:\n{checks}\nservices:\n  web:\n    match: {{service: web}}\n    \
         stages: [{{name: onebox, bake: {BAKE}m, grace: 0s, checks: [{}]}}]\n",
        names.join(", ")
    );
    let plan = Plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
    let mut engine = Engine::new(Arc::new(plan));
    let mut outputs: Vec<Output> = Vec::new();
    for minute in -BEFORE..=BAKE {
        if minute == 0 {
            let event = DeploymentEvent::Begin(begin(0..ONE_BOX, ONE_BOX..HOSTS));
            engine.step(Input::Deployment(event), &mut outputs);
        }
        let mut batch = Batch::default();
        send(minute, &mut batch);
        engine.step(Input::Batch(&batch), &mut outputs);
        engine.step(Input::Tick(at(minute)), &mut outputs);
    }
    engine.step(Input::Tick(at(BAKE + 1)), &mut outputs);
    let verdicts = outputs.into_iter().filter_map(|output| match output {
        Output::Verdict(verdict) => Some(*verdict),
        Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) | Output::Refused(_) => None,
    });
    verdicts.collect()
}

/// Requests that show that a host lives, and errors now and then; the one-box has so many times more.
fn errors(told: Told, factor: f64) -> impl FnMut(i64, &mut Batch) {
    let mut totals = vec![[0.0; 2]; HOSTS];
    move |minute, batch| {
        for (host, [requests, errors]) in totals.iter_mut().enumerate() {
            let is_new = 0 < minute && host < ONE_BOX;
            let rate = 0.2 * if is_new { factor } else { 1.0 };
            // The first minute has one on every host: what never counted anything is not known.
            let is_first = minute == -BEFORE;
            let fails = if is_first || chance(host, minute) < rate {
                1.0
            } else {
                0.0
            };
            let served = 50.0 + (10.0 * chance(host, minute + 500)).floor();
            *requests += served;
            *errors += fails;
            let temporality = if told == Told::Cumulative {
                Temporality::Cumulative
            } else {
                Temporality::Delta
            };
            let meta = counter(temporality, Unit::Count);
            let value = |total: f64, gained: f64| match told {
                Told::Cumulative => total,
                Told::Deltas | Told::SparseDeltas => gained,
            };
            let block = series("requests", host, meta, minute, value(*requests, served));
            batch.series.push(block);
            if told != Told::SparseDeltas || 0.0 < fails {
                let block = series("errors", host, meta, minute, value(*errors, fails));
                batch.series.push(block);
            }
        }
    }
}

#[test]
fn what_a_delta_leaves_out_is_a_gain_of_nothing() {
    let checks = "  served: {metric: requests, bounds: {min: 0}}\n  \
                  failed: {metric: errors, compare: {direction: up}}";
    for (factor, expected) in [(1.0, VerdictState::Pass), (4.0, VerdictState::Fail)] {
        let of = |told| verdicts(checks, errors(told, factor));
        let sparse = of(Told::SparseDeltas);
        assert_eq!(sparse, of(Told::Deltas), "x{factor}");
        let cumulative = of(Told::Cumulative);
        let last = |verdicts: &[Verdict]| verdicts.last().map(|last| (last.verdict, last.at));
        assert_eq!(last(&sparse), last(&cumulative), "x{factor}");
        assert_eq!(last(&sparse).map(|(state, _)| state), Some(expected));
    }
}

/// What shows that a host lives may be selected by no check: then a gap is nothing gained for as long as the
/// host may be taken for alive.
#[test]
fn deltas_that_are_all_that_is_selected_are_compared_as_totals_are() {
    let checks = "  failed: {metric: errors, compare: {direction: up}}";
    for (factor, expected) in [(1.0, VerdictState::Pass), (4.0, VerdictState::Fail)] {
        for told in [Told::Cumulative, Told::Deltas, Told::SparseDeltas] {
            let verdicts = verdicts(checks, errors(told, factor));
            let last = verdicts.last().unwrap();
            assert_eq!(last.verdict, expected, "x{factor} {told:?} {last:?}");
        }
    }
}

#[test]
fn a_host_whose_deltas_cease_is_no_pass() {
    let checks = "  failed: {metric: errors, compare: {direction: up}}";
    let mut healthy = errors(Told::SparseDeltas, 1.0);
    let verdicts = verdicts(checks, |minute, batch| {
        healthy(minute, batch);
        if 0 < minute {
            let is_alive = |block: &SeriesBlock| block.labels.get("host") != Some("h00");
            batch.series.retain(is_alive);
        }
    });
    let last = verdicts.last().unwrap();
    assert_eq!(last.verdict, VerdictState::NoData, "{last:?}");
}

/// A host that is slow sends late, too: what of its errors comes after their bucket is lost, and told then.
/// The gaps are no minutes without errors.
#[test]
fn deltas_that_come_late_are_not_taken_for_health() {
    let checks = "  served: {metric: requests, bounds: {min: 0}}\n  \
                  failed: {metric: errors, compare: {direction: up}}";
    let mut harmed = errors(Told::SparseDeltas, 4.0);
    let mut held = Vec::new();
    let verdicts = verdicts(checks, |minute, batch| {
        // What a host of the one-box counts in an even minute comes two minutes late.
        let is_late = |block: &SeriesBlock| {
            let host = block.labels.get("host");
            let is_new = 0 < minute && (host == Some("h00") || host == Some("h01"));
            is_new && minute % 2 == 0 && block.labels.metric() == "errors"
        };
        harmed(minute, batch);
        let late: Vec<SeriesBlock> = batch
            .series
            .extract_if(.., |block| is_late(block))
            .collect();
        if minute % 2 == 0 {
            batch.series.append(&mut held);
            held = late;
        }
    });
    let last = verdicts.last().unwrap();
    assert_ne!(last.verdict, VerdictState::Pass, "{last:?}");
}

#[test]
fn a_limit_holds_for_deltas_as_for_totals() {
    // Twelve a minute and host in every second minute: six a minute.
    let every_second = |told: Told| {
        move |minute: i64, batch: &mut Batch| {
            for host in 0..HOSTS {
                let gained = if minute % 2 == 0 { 12.0 } else { 0.0 };
                let (temporality, value) = match told {
                    Told::Cumulative => {
                        let total = 12.0 * ((minute + 1_000) >> 1) as f64;
                        (Temporality::Cumulative, total)
                    }
                    Told::Deltas | Told::SparseDeltas => (Temporality::Delta, gained),
                };
                let meta = counter(temporality, Unit::Count);
                let alive = series("requests", host, meta, minute, value + 1.0);
                batch.series.push(alive);
                if told != Told::SparseDeltas || gained > 0.0 {
                    let block = series("errors", host, meta, minute, value);
                    batch.series.push(block);
                }
            }
        }
    };
    let checks = "  served: {metric: requests, bounds: {min: 0}}\n  \
                  failed: {metric: errors, bounds: {max: 10/m, for: 3m}}";
    for told in [Told::Cumulative, Told::Deltas, Told::SparseDeltas] {
        let verdicts = verdicts(checks, every_second(told));
        let last = verdicts.last().unwrap();
        assert_eq!(last.verdict, VerdictState::Pass, "{told:?} {last:?}");
    }
}

#[test]
fn a_delta_that_falls_silent_is_absent_though_its_host_speaks() {
    let checks =
        "  served: {metric: requests, bounds: {min: 0}}\n  beats: {metric: beats, absent: 5m}";
    let verdicts = verdicts(checks, |minute, batch| {
        for host in 0..HOSTS {
            let meta = counter(Temporality::Delta, Unit::Count);
            let served = 50.0 + (10.0 * chance(host, minute)).floor();
            batch
                .series
                .push(series("requests", host, meta, minute, served));
            if minute < 10 || host != 0 {
                batch.series.push(series("beats", host, meta, minute, 1.0));
            }
        }
    });
    let last = verdicts.last().unwrap();
    assert_eq!(last.verdict, VerdictState::Fail, "{last:?}");
    assert!(last.reasons[0].contains("h00"), "{last:?}");
}

#[test]
fn the_protocol_tells_of_what_a_limit_is_a_share() {
    let meta = |unit| SeriesMeta {
        kind: Kind::Gauge,
        temporality: Temporality::Cumulative,
        unit,
    };
    for (metric, unit, level, expected) in [
        ("used", Unit::Percent, 50.0, VerdictState::Pass),
        ("used", Unit::Percent, 95.0, VerdictState::Fail),
        ("used", Unit::Ratio, 0.5, VerdictState::Pass),
        ("used", Unit::Ratio, 0.95, VerdictState::Fail),
        ("used", Unit::Unknown, 0.5, VerdictState::Pass),
        ("used_percent", Unit::Unknown, 50.0, VerdictState::Pass),
        ("used_percent", Unit::Unknown, 95.0, VerdictState::Fail),
    ] {
        let checks = format!("  full: {{metric: {metric}, bounds: {{max: 90%}}}}");
        let verdicts = verdicts(&checks, |minute, batch| {
            for host in 0..HOSTS {
                let value = level * (1.0 + 0.01 * chance(host, minute));
                let block = series(metric, host, meta(unit), minute, value);
                batch.series.push(block);
            }
        });
        let last = verdicts.last().unwrap();
        assert_eq!(last.verdict, expected, "{metric} {unit:?} {level} {last:?}");
    }
}

#[test]
fn the_unit_one_makes_no_share_of_what_counts_things() {
    let checks = "  traffic: {metric: served, compare: {direction: up}}";
    for (kind, name) in [(Kind::Counter, "a counter"), (Kind::Gauge, "a gauge")] {
        let mut totals = [0.0; HOSTS];
        let verdicts = verdicts(checks, |minute, batch| {
            for (host, total) in totals.iter_mut().enumerate() {
                // 3 % more on the one-box is within what is accepted of rates and levels; of shares it would
                // be hundreds of points.
                let factor = if 0 < minute && host < ONE_BOX {
                    1.03
                } else {
                    1.0
                };
                let now = 6_000.0 * factor * (1.0 + 0.1 * chance(host, minute));
                *total += now;
                let meta = SeriesMeta {
                    kind,
                    ..counter(Temporality::Cumulative, Unit::Ratio)
                };
                let value = if kind == Kind::Counter { *total } else { now };
                batch
                    .series
                    .push(series("served", host, meta, minute, value));
            }
        });
        let last = verdicts.last().unwrap();
        assert_eq!(last.verdict, VerdictState::Pass, "{name} {last:?}");
    }
}

#[test]
fn silence_over_a_bake_that_is_shorter_than_any_patience_is_no_data() {
    let text = "resolution: 10s\nlateness: 10s\nchecks: {cpu: {metric: cpu, bounds: {max: 1}}, \
                up: {metric: up, absent: 15m}}\nservices: {web: {match: {service: web}, \
                stages: [{name: onebox, bake: 1m, checks: [cpu, up]}]}}\n";
    let plan = Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    let mut engine = Engine::new(Arc::new(plan));
    let mut outputs = Vec::new();
    engine.step(Input::Tick(at(0)), &mut outputs);
    let event = DeploymentEvent::Begin(begin(0..1, 0..0));
    engine.step(Input::Deployment(event), &mut outputs);
    for second in 1..=120 {
        let tick = at(0) + Span::from_seconds(second);
        engine.step(Input::Tick(tick), &mut outputs);
    }
    let verdict = engine.verdict("d").unwrap();
    assert_eq!(verdict.verdict, VerdictState::NoData, "{verdict:?}");
}
