//! A query in Prometheus' API that answers with our own verdict, and with nothing else.
//!
//! `sluice_verdict{deployment="d1"}` is 1 on PASS and 0 on everything else; a deployment that is not
//! known gives an empty vector, which is never a go. An expression around it is refused: `or vector(1)`
//! is how silence is turned into a yes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Form, State, rejection::FormRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    board::Deployment,
    http_request::{ask_to_retry, query_problem},
    lookup::{self, NotFound},
    shared::Shared,
};
use crate::{
    event::METRIC_NAME,
    gate::VerdictState,
    plan::{LabelMatcher, MatchOp, SeriesSelector},
};

/// The only metric.
const METRIC: &str = "sluice_verdict";
/// What Flagger asks to see whether anybody answers.
const PROBE: &str = "vector(1)";

/// The parameters, in the URL of a GET or in the form of a POST. The time is always now.
#[derive(Debug, Deserialize)]
pub(super) struct Parameters {
    query: String,
}

/// What is asked.
enum Asked {
    Probe,
    Verdict(SeriesSelector),
}

/// Why there is no answer.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// Answers an instant query.
pub(super) async fn query(
    State(shared): State<Arc<Shared>>,
    parameters: Result<Form<Parameters>, FormRejection>,
) -> Response {
    let samples = parameters
        .map_err(|rejection| {
            Refusal::bad(format!("query {}", query_problem(&rejection.body_text())))
        })
        .and_then(|Form(parameters)| asked(&parameters.query))
        .and_then(|asked| samples(&shared, &asked));
    match samples {
        Ok(samples) => Json(json!({
            "status": "success",
            "data": {"resultType": "vector", "result": samples},
        }))
        .into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn asked(query: &str) -> Result<Asked, Refusal> {
    let query = query.trim();
    if query == PROBE {
        return Ok(Asked::Probe);
    }
    let selector = SeriesSelector::parse(query).map_err(|error| {
        Refusal::bad(format!(
            "{error}: only a plain {METRIC}{{deployment=\"…\"}} is answered here"
        ))
    })?;
    if selector.metric() != Some(METRIC) {
        return Err(Refusal::bad(format!(
            "only {METRIC}{{deployment=\"…\"}} is answered here"
        )));
    }
    Ok(Asked::Verdict(selector))
}

fn samples(shared: &Shared, asked: &Asked) -> Result<Vec<Value>, Refusal> {
    let now = shared.clock.now().seconds_f64();
    let selector = match asked {
        Asked::Probe => {
            shared.ready().map_err(Refusal::unavailable)?;
            return Ok(vec![json!({"metric": {}, "value": [now, "1"]})]);
        }
        Asked::Verdict(selector) => selector,
    };
    let id = selector
        .matchers
        .iter()
        .find(|matcher| matcher.label == "deployment" && matches!(matcher.op, MatchOp::Equal));
    let id = id.map(|matcher| matcher.value.as_str());
    let found = lookup::find(shared.published(), id, |deployment| {
        selector
            .matchers
            .iter()
            .all(|matcher| is_met(matcher, deployment))
    });
    match found {
        Ok(found) => Ok(vec![sample(&found.deployment, now)]),
        Err(NotFound::Nothing) => Ok(Vec::new()),
        Err(error @ NotFound::Several(_)) => Err(Refusal::bad(error.to_string())),
        Err(NotFound::Withheld(reason)) => Err(Refusal::unavailable(reason.to_string())),
    }
}

fn is_met(matcher: &LabelMatcher, deployment: &Deployment) -> bool {
    let begin = &deployment.begin;
    matcher.matches_value(match matcher.label.as_str() {
        METRIC_NAME => METRIC,
        "deployment" => &begin.deployment,
        "service" => &begin.service,
        "stage" => &begin.stage,
        "region" => begin.region.as_deref().unwrap_or(""),
        "version" => &begin.version,
        _ => "",
    })
}

fn sample(deployment: &Deployment, now: f64) -> Value {
    let begin = &deployment.begin;
    let is_pass = deployment.verdict.verdict == VerdictState::Pass;
    json!({
        "metric": {
            METRIC_NAME: METRIC,
            "deployment": begin.deployment,
            "service": begin.service,
            "stage": begin.stage,
            "region": begin.region.as_deref().unwrap_or(""),
            "version": begin.version,
            "verdict": deployment.verdict.verdict.name(),
        },
        "value": [now, if is_pass { "1" } else { "0" }],
    })
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "bad_data",
            message: message.into(),
        }
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "unavailable",
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let document = json!({
            "status": "error",
            "errorType": self.kind,
            "error": self.message,
        });
        let mut response = (self.status, Json(document)).into_response();
        ask_to_retry(&mut response);
        response
    }
}
