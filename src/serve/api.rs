//! The gates' API as JSON over HTTP, with the engine's own health.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::{FromRequestParts, Path, Query, State, rejection::QueryRejection},
    response::{
        Html, IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    access::{Denied, Operation, Roles},
    board::Deployment,
    core::{EventError, Unavailable},
    exposition, fields,
    guard::refuse,
    http_request::{HttpRefusal, ask_to_retry, query_problem, read_body},
    lookup::Wanted,
    page,
    promotion::{self, NoAnswer},
    published::Withheld,
    requests::{FieldError, RefusalKind, check_begin, check_bypass, check_name, refused_field},
    shared::Shared,
    watch::Watcher,
};
use crate::{
    engine::Refusal,
    event::{DeploymentEvent, End, Timestamp},
    gate::Verdict,
};

/// The largest body of a request about deployments, in bytes.
const BODY_BYTES_MAX: usize = 4 << 20;

/// The longest `wait` of a request.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// The id of a deployment, as the path names it.
pub(super) struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|_| {
            let problem =
                "of the path is no UTF-8: encode each byte of it that is no letter or digit as %xx";
            ApiError::Field(FieldError::new("deployment", problem))
        })
    }
}

/// What is served, for programs.
const OPENAPI: &str = include_str!("../../proto/openapi.json");

/// How a verdict is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Patience {
    /// How long to wait until it is final: `30s`, `2m`.
    wait: Option<String>,
}

/// A verdict as HTTP carries it.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    /// How far the deployment has come, in a few words.
    progress: String,
}

/// Why a request about deployments has no effect.
#[derive(Debug)]
pub(super) enum ApiError {
    Field(FieldError),
    Http(HttpRefusal),
    Event(EventError),
    NotFound(String),
    Denied(Denied),
}

/// The `OpenAPI` document of all that is served here.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// 200 while the process lives.
pub(super) async fn healthy() -> &'static str {
    "healthy\n"
}

/// The page.
pub(super) async fn index(State(shared): State<Arc<Shared>>) -> Response {
    match shared.published().board() {
        Ok(board) => Html(page::render(
            &board,
            &shared.published().stats(),
            shared.clock.now(),
        ))
        .into_response(),
        Err(Withheld(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, Html(page::stopped())).into_response()
        }
    }
}

/// The engine's own metrics.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, exposition::CONTENT_TYPE)];
    (content_type, exposition::render(&shared)).into_response()
}

/// 200 when the engine can answer, 503 with the reason when it cannot.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.ready() {
        // Verdicts do not wait for the history, so that it is no reason to send anybody elsewhere.
        Ok(()) => match shared.published().chronicled().complaint() {
            None => "ready\n".into_response(),
            Some(complaint) => format!("ready, but {complaint}\n").into_response(),
        },
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        )
            .into_response(),
    }
}

/// Deployments, newest first, as many as one answer holds.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted?;
    let board = shared
        .published()
        .caught_up()
        .map_err(|Withheld(reason)| ApiError::Event(EventError::Unavailable(reason)))?;
    let page = wanted.page(&board, |deployment| {
        let document = Document::of(deployment);
        let bytes = serde_json::to_vec(&document).map_or(0, |text| text.len());
        (document, bytes)
    })?;
    let document = json!({ "deployments": page.items, "next_page_token": page.next });
    Ok(Json(document).into_response())
}

/// The verdict as it stands, or, with `wait`, as soon as it is final or the wait is over.
pub(super) async fn verdict(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    patience: Result<Query<Patience>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(patience) = patience?;
    if let Some(patience) = patience.duration()? {
        let _place = place(&shared)?;
        let mut watcher = Watcher::new(&shared, id.clone());
        let until_final = async {
            while let Some(Ok(deployment)) = watcher.next().await {
                if deployment.verdict.is_final || deployment.is_ended {
                    break;
                }
            }
        };
        // At the end of the wait the verdict as it stands is the answer.
        drop(timeout(patience, until_final).await);
    }
    match shared.published().deployment(&id) {
        Ok(Some(deployment)) => Ok(Json(Document::of(&deployment)).into_response()),
        Ok(None) => Err(ApiError::NotFound(id)),
        Err(Withheld(reason)) => Ok(withheld(&id, reason)),
    }
}

/// Server-sent events: `verdict` for the present and for every change until the deployment ends, and
/// `error` where the engine can tell no more.
pub(super) async fn watch(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    match shared.published().deployment(&id) {
        Ok(Some(_)) => {}
        Ok(None) => return Err(ApiError::NotFound(id)),
        Err(Withheld(reason)) => return Ok(withheld(&id, reason)),
    }
    let held = (Watcher::new(&shared, id), place(&shared)?);
    let events = stream::unfold(held, |(mut watcher, place)| async {
        let event = match watcher.next().await? {
            Ok(deployment) => Event::default()
                .event("verdict")
                .json_data(Document::of(&deployment)),
            Err(lost) => Event::default()
                .event("error")
                .json_data(json!({ "error": lost.to_string() })),
        };
        Some((event, (watcher, place)))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// A place among those who wait.
///
/// # Errors
/// All are taken.
fn place(shared: &Shared) -> Result<OwnedSemaphorePermit, ApiError> {
    shared.places.take().ok_or_else(|| {
        let message =
            "half of all connections wait for verdicts: come again, or raise limits.connections";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        ApiError::Http(HttpRefusal::new(status, "busy", message))
    })
}

/// Opens a gate.
pub(super) async fn begin(
    State(shared): State<Arc<Shared>>,
    Extension(roles): Extension<Roles>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let begin = fields::begin(&body)?;
    let operation = Operation::of_begin(&begin);
    let allowed = shared.guard.load().demand(operation, roles);
    allowed.map_err(ApiError::Denied)?;
    check_begin(&begin)?;
    tell(&shared, DeploymentEvent::Begin(begin)).await
}

/// Reports how a step went.
pub(super) async fn step(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let step = fields::step(&body, id)?;
    check_name("deployment", &step.deployment)?;
    check_name("step", &step.step)?;
    tell(&shared, DeploymentEvent::Step(step)).await
}

/// Closes a gate.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Id(deployment): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    fields::nothing(&read_body(&headers, body, BODY_BYTES_MAX).await?)?;
    check_name("deployment", &deployment)?;
    tell(
        &shared,
        DeploymentEvent::End(End {
            at: Timestamp::MIN,
            deployment,
        }),
    )
    .await
}

/// Lets a person override a gate.
pub(super) async fn bypass(
    State(shared): State<Arc<Shared>>,
    Id(deployment): Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let bypass = fields::bypass(&body, deployment)?;
    check_bypass(&bypass)?;
    tell(&shared, DeploymentEvent::Bypass(bypass)).await
}

/// Says what stands in the way of the next stage or region.
pub(super) async fn may_promote(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<promotion::Query>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|fault| query_fault(&fault))?;
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

impl Patience {
    fn duration(&self) -> Result<Option<Duration>, FieldError> {
        let Some(text) = &self.wait else {
            return Ok(None);
        };
        let number = |unit: char| text.strip_suffix(unit)?.parse::<u32>().ok();
        let seconds = number('s')
            .map(u64::from)
            .or_else(|| Some(u64::from(number('m')?) * 60));
        match seconds.map(Duration::from_secs) {
            Some(wait) if wait <= WAIT_MAX => Ok(Some(wait)),
            Some(_) | None => {
                let problem = format!("is {text:?}: it must be a time up to 5m, such as 30s");
                Err(FieldError::new("wait", problem))
            }
        }
    }
}

impl<'a> Document<'a> {
    fn of(deployment: &'a Deployment) -> Self {
        Self {
            verdict: &deployment.verdict,
            progress: deployment.progress(),
        }
    }
}

fn query_fault(rejection: &QueryRejection) -> FieldError {
    FieldError::new("query", query_problem(&rejection.body_text()))
}

/// Answers for a path that there is not.
pub(super) async fn no_path(uri: http::Uri) -> Response {
    let message = format!("nothing is at {}: see /api/v1/openapi.json", uri.path());
    (StatusCode::NOT_FOUND, Json(json!({ "error": message }))).into_response()
}

/// Answers for a method that a path does not have.
pub(super) async fn no_method(method: http::Method, uri: http::Uri) -> Response {
    let path = uri.path();
    let message = format!("{path} does not take {method}: see /api/v1/openapi.json");
    let document = Json(json!({ "error": message }));
    (StatusCode::METHOD_NOT_ALLOWED, document).into_response()
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Field(query_fault(&rejection))
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
            Self::Denied(denied) => return refuse(denied),
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
