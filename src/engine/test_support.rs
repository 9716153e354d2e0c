//! What tests of the engine have in common: a plan, the time, what a host sends, a deployment of it.

use std::sync::Arc;

use super::Input;
use crate::{
    event::{
        Begin, DeploymentEvent, Labels, LogRecord, Point, SeriesBlock, SeriesMeta, Severity,
        Timestamp, Value,
    },
    plan::Plan,
};

/// The labels of the one host that most tests know.
const ROLES: [(&str, &str); 2] = [("host", "h1"), ("service", "web")];

/// The plan of a text that has no faults.
pub(super) fn plan(text: &str) -> Arc<Plan> {
    Arc::new(Plan::parse(text).unwrap_or_else(|faults| panic!("{faults}")))
}

/// Seconds after the start of a test's time.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_772_359_200 + second)
}

/// A gauge, or what is taken by its name for something else, of the host.
pub(super) fn number(labels: &[(&str, &str)], at: Timestamp, value: f64) -> SeriesBlock {
    let point = Point {
        at,
        start: None,
        value: Value::Number(value),
    };
    SeriesBlock {
        labels: Labels::new(labels.iter().chain(&ROLES).copied()),
        meta: SeriesMeta::default(),
        points: vec![point],
    }
}

/// A log record of the host.
pub(super) fn record(at: Timestamp, severity: Severity, body: &str, count: u64) -> LogRecord {
    LogRecord {
        at,
        severity,
        body: body.to_owned(),
        attributes: Labels::new(ROLES),
        count,
    }
}

/// Version `v2` enters the stage `onebox` of the service `web`.
pub(super) fn beginning(deployment: &str, at: Timestamp, one_box: &[&str]) -> Begin {
    Begin {
        at,
        deployment: deployment.to_owned(),
        service: "web".to_owned(),
        stage: "onebox".to_owned(),
        region: None,
        version: "v2".to_owned(),
        one_box: one_box.iter().map(|host| (*host).to_owned()).collect(),
        fleet: Vec::new(),
        weight: 1.0,
        hotfix: None,
    }
}

/// The same, as it is told to an engine.
pub(super) fn begin(deployment: &str, at: Timestamp, one_box: &[&str]) -> Input<'static> {
    Input::Deployment(DeploymentEvent::Begin(beginning(deployment, at, one_box)))
}
