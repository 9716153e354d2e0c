//! The gates' API as JSON over HTTP, with the engine's own health.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use super::{
    core::{EventError, Unavailable},
    exposition, fields,
    http_request::{HttpRefusal, ask_to_retry, read_body},
    loki, page,
    promotion::{self, NoAnswer},
    published::{Deployment, Withheld},
    remote_write,
    requests::{FieldError, RefusalKind, check_begin, check_bypass, check_name, refused_field},
    shared::Shared,
};
use crate::{
    engine::Refusal,
    event::{DeploymentEvent, End, Timestamp},
    gate::Verdict,
};

/// The largest body of a request about deployments, in bytes.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A verdict as HTTP carries it.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// How far the deployment has come, in a few words.
    progress: String,
}

/// Why a request about deployments has no effect.
enum ApiError {
    Field(FieldError),
    Http(HttpRefusal),
    Event(EventError),
    NotFound(String),
}

/// The routes.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .route("/-/ready", get(ready))
        .route("/api/v1/write", post(remote_write::write))
        .route("/loki/api/v1/push", post(loki::push))
        .route("/api/v1/push", post(remote_write::write))
        .route("/api/v1/deployments", get(list).post(begin))
        .route("/api/v1/deployments/{id}/verdict", get(verdict))
        .route("/api/v1/deployments/{id}/steps", post(step))
        .route("/api/v1/deployments/{id}/end", post(end))
        .route("/api/v1/deployments/{id}/bypass", post(bypass))
        .route("/api/v1/may-promote", get(may_promote))
        .with_state(shared)
}

async fn index(State(shared): State<Arc<Shared>>) -> Response {
    match shared.published().board() {
        Ok(board) => Html(page::render(&board, shared.clock.now())).into_response(),
        Err(Withheld(_)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Html(page::stopped().to_owned()),
        )
            .into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, exposition::CONTENT_TYPE)];
    (content_type, exposition::render(&shared)).into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
    }
}

async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let board = shared
        .published()
        .board()
        .map_err(|Withheld(reason)| ApiError::Event(EventError::Unavailable(reason)))?;
    let deployments: Vec<Document<'_>> = board
        .newest_first()
        .into_iter()
        .map(|deployment| Document::of(deployment))
        .collect();
    Ok(Json(json!({ "deployments": deployments })).into_response())
}

async fn verdict(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    match shared.published().deployment(&id) {
        Ok(Some(deployment)) => Ok(Json(Document::of(&deployment)).into_response()),
        Ok(None) => Err(ApiError::NotFound(id)),
        Err(Withheld(reason)) => Ok(withheld(&id, reason)),
    }
}

async fn begin(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let begin = fields::begin(&body)?;
    check_begin(&begin)?;
    tell(&shared, DeploymentEvent::Begin(begin)).await
}

async fn step(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let step = fields::step(&body, id)?;
    check_name("step", &step.step)?;
    tell(&shared, DeploymentEvent::Step(step)).await
}

async fn end(
    State(shared): State<Arc<Shared>>,
    Path(deployment): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    fields::nothing(&read_body(&headers, body, BODY_BYTES_MAX).await?)?;
    tell(
        &shared,
        DeploymentEvent::End(End {
            at: Timestamp::MIN,
            deployment,
        }),
    )
    .await
}

async fn bypass(
    State(shared): State<Arc<Shared>>,
    Path(deployment): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let bypass = fields::bypass(&body, deployment)?;
    check_bypass(&bypass)?;
    tell(&shared, DeploymentEvent::Bypass(bypass)).await
}

async fn may_promote(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<promotion::Query>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|fault| FieldError::new("query", fault.body_text()))?;
    let request = query.into();
    match promotion::ask(&shared, &request) {
        Ok(answer) => Ok(Json(promotion::answer_to_json(&request, &answer)).into_response()),
        Err(NoAnswer::Refused(refusal)) => Err(EventError::Refused(refusal).into()),
        Err(NoAnswer::NotReady(reason)) => {
            let document = json!({ "allowed": false, "blockers": [], "error": reason });
            let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(document)).into_response();
            ask_to_retry(&mut response);
            Ok(response)
        }
    }
}

async fn tell(shared: &Shared, event: DeploymentEvent) -> Result<Response, ApiError> {
    let deployment = shared.tell(event).await?;
    Ok(Json(Document::of(&deployment)).into_response())
}

/// What is said of a deployment when the engine has stopped or does not know yet: never an old PASS.
fn withheld(id: &str, reason: Unavailable) -> Response {
    let reason = reason.to_string();
    let document = json!({
        "deployment": id,
        "verdict": "NO_DATA",
        "reasons": [reason],
        "progress": reason,
        "error": reason,
    });
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(document)).into_response();
    ask_to_retry(&mut response);
    response
}

impl<'a> Document<'a> {
    fn of(deployment: &'a Deployment) -> Self {
        Self {
            verdict: &deployment.verdict,
            progress: deployment.progress(),
        }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<HttpRefusal> for ApiError {
    fn from(refusal: HttpRefusal) -> Self {
        Self::Http(refusal)
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, field, message) = match self {
            Self::Field(error) => {
                let message = error.to_string();
                (StatusCode::BAD_REQUEST, Some(error.field), message)
            }
            Self::Http(refusal) => (refusal.status, None, refusal.message),
            Self::NotFound(deployment) => {
                let refusal = Refusal::UnknownDeployment { deployment };
                (
                    StatusCode::NOT_FOUND,
                    Some("deployment".to_owned()),
                    refusal.to_string(),
                )
            }
            Self::Event(EventError::Unavailable(reason)) => {
                (StatusCode::SERVICE_UNAVAILABLE, None, reason.to_string())
            }
            Self::Event(EventError::Refused(refusal)) => {
                let status = match RefusalKind::of(&refusal) {
                    RefusalKind::NotFound => StatusCode::NOT_FOUND,
                    RefusalKind::BadField => StatusCode::BAD_REQUEST,
                    RefusalKind::Exists | RefusalKind::Conflict => StatusCode::CONFLICT,
                    RefusalKind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
                };
                (
                    status,
                    Some(refused_field(&refusal).to_owned()),
                    refusal.to_string(),
                )
            }
        };
        let document = match field {
            Some(field) => json!({ "error": message, "field": field }),
            None => json!({ "error": message }),
        };
        let mut response = (status, Json(document)).into_response();
        ask_to_retry(&mut response);
        response
    }
}
