//! Drives the core in tests: plans from text, batches from few words, and all that it says.

pub(crate) mod noise;

use std::sync::Arc;

use sluice::{
    engine::{Engine, Input, Output},
    event::{
        Batch, Begin, Kind, Labels, LogRecord, METRIC_NAME, Point, SeriesBlock, SeriesMeta,
        Severity, Temporality, Timestamp, Unit, Value,
    },
    gate::Verdict,
    plan::Plan,
};

/// The core of a test, with all that it has said.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) outputs: Vec<Output>,
}

impl Driver {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self {
            engine: Engine::new(Arc::clone(plan)),
            outputs: Vec::new(),
        }
    }

    pub(crate) fn step(&mut self, input: Input<'_>) {
        self.engine.step(input, &mut self.outputs);
    }

    /// The verdicts that were said, in order.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Verdict(verdict) => Some(&**verdict),
            Output::Refused(_) | Output::Shadow(_) | Output::Ended(_) | Output::Forgotten(_) => {
                None
            }
        })
    }
}

pub(crate) fn plan(text: &str) -> Arc<Plan> {
    Arc::new(Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}\n{text}")))
}

/// A deployment of version v2 to the stage `canary` of the service `app`.
pub(crate) fn begin(at: Timestamp, deployment: &str) -> Begin {
    Begin {
        at,
        deployment: deployment.to_owned(),
        service: "app".to_owned(),
        stage: "canary".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: Vec::new(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    }
}

/// Samples of one series of the service `app`.
pub(crate) fn block(
    metric: &str,
    labels: &[(&str, &str)],
    kind: Kind,
    points: Vec<Point>,
) -> SeriesBlock {
    let names = [(METRIC_NAME, metric), ("service", "app")];
    SeriesBlock {
        labels: Labels::new(labels.iter().chain(&names).copied()),
        meta: SeriesMeta {
            kind,
            temporality: Temporality::Cumulative,
            unit: Unit::Unknown,
        },
        points,
    }
}

pub(crate) fn point(at: Timestamp, value: Value) -> Point {
    Point {
        at,
        start: None,
        value,
    }
}

/// A log record of the service `app`.
pub(crate) fn record(
    at: Timestamp,
    labels: &[(&str, &str)],
    severity: Severity,
    body: &str,
) -> LogRecord {
    LogRecord {
        at,
        severity,
        body: body.to_owned(),
        attributes: Labels::new(labels.iter().chain(&[("service", "app")]).copied()),
        count: 1,
    }
}

pub(crate) fn batch(series: Vec<SeriesBlock>, logs: Vec<LogRecord>) -> Batch {
    Batch {
        series,
        logs,
        ..Batch::default()
    }
}
