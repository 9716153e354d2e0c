//! Flagger's webhooks: what a canary may do, as a status code.
//!
//! Flagger takes a status up to 202 for yes. The deployment is named by the `metadata` of the webhook:
//! `deployment` is its id; without it, `service` (the name of the canary, if it is missing), `stage`,
//! `region` and `version` say which open deployment is meant, and several gates are no answer.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{
    board::Deployment,
    http_request::{HttpRefusal, ask_to_retry, read_body},
    lookup::{self, NotFound},
    shared::Shared,
};
use crate::gate::VerdictState;

/// The largest body of a webhook, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What Flagger sends; what it sends beside this is not needed.
#[derive(Debug, Deserialize)]
struct Webhook {
    /// Name of the canary.
    name: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// What Flagger wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// May it be promoted?
    Confirm,
    /// May the analysis go on?
    Check,
    /// Must it be rolled back? Yes means that it must.
    Rollback,
}

/// Yes only on PASS: for `confirm-promotion`.
pub(super) async fn confirm(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(Question::Confirm, &shared, &headers, body).await
}

/// Yes unless FAIL, from an engine that sees the present: for `rollout`. It promotes nothing.
pub(super) async fn check(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(Question::Check, &shared, &headers, body).await
}

/// Yes only on FAIL: for `rollback`, which is inverted.
pub(super) async fn rollback(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(Question::Rollback, &shared, &headers, body).await
}

async fn answer(question: Question, shared: &Shared, headers: &HeaderMap, body: Body) -> Response {
    let (status, text) = match asked(shared, headers, body).await {
        Ok(found) => {
            let verdict = &found.deployment.verdict;
            let blind = match shared.ready() {
                Err(reason) => Some(reason),
                Ok(()) if found.is_recovering => Some("the engine reads its journal"),
                Ok(()) => None,
            };
            match blind {
                // Of what has happened since, the engine knows nothing: a FAIL may be among it.
                Some(reason) if question == Question::Check => {
                    (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())
                }
                Some(_) | None => {
                    let status = if question.is_yes(verdict.verdict) {
                        StatusCode::OK
                    } else {
                        StatusCode::CONFLICT
                    };
                    (status, words(&found.deployment))
                }
            }
        }
        Err(refusal) => (refusal.status, refusal.message),
    };
    let mut response = (status, format!("{text}\n")).into_response();
    ask_to_retry(&mut response);
    response
}

async fn asked(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<lookup::Found, HttpRefusal> {
    let body = read_body(headers, body, BODY_BYTES_MAX).await?;
    let webhook: Webhook = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the body is no webhook of Flagger: {error}");
        HttpRefusal::new(StatusCode::BAD_REQUEST, "malformed", message)
    })?;
    let found = webhook.find(shared);
    found.map_err(|error| {
        let status = match &error {
            NotFound::Nothing => StatusCode::NOT_FOUND,
            NotFound::Several(_) => StatusCode::UNPROCESSABLE_ENTITY,
            NotFound::Withheld(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        HttpRefusal::new(status, "unknown", error.to_string())
    })
}

/// The verdict and its first reason: Flagger shows it in its events.
fn words(deployment: &Deployment) -> String {
    let verdict = &deployment.verdict;
    match deployment.first_reason() {
        Some(reason) => format!("{} {}: {reason}", verdict.deployment, verdict.verdict),
        None => format!("{} {}", verdict.deployment, verdict.verdict),
    }
}

impl Question {
    fn is_yes(self, verdict: VerdictState) -> bool {
        match self {
            Self::Confirm => verdict == VerdictState::Pass,
            Self::Check => verdict != VerdictState::Fail,
            Self::Rollback => verdict == VerdictState::Fail,
        }
    }
}

impl Webhook {
    fn find(&self, shared: &Shared) -> Result<lookup::Found, NotFound> {
        let given = |key: &str| {
            let metadata = self.metadata.as_ref()?;
            let value = metadata.get(key)?;
            (!value.is_empty()).then_some(value.as_str())
        };
        let id = given("deployment");
        let service = match id {
            Some(_) => given("service"),
            None => given("service").or(Some(&self.name)),
        };
        let (stage, region, version) = (given("stage"), given("region"), given("version"));
        let text = |given: Option<&str>| given.unwrap_or_default().to_owned();
        let wanted = lookup::Wanted {
            service: text(service),
            stage: text(stage),
            region: text(region),
            ..lookup::Wanted::default()
        };
        lookup::find(shared.published(), id, |deployment| {
            let is_version = version.is_none_or(|version| version == deployment.begin.version);
            wanted.takes(deployment) && is_version
        })
    }
}
