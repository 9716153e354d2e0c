//! OTLP over HTTP: metrics and logs, protobuf and JSON.

use std::sync::Arc;

use axum::{
    Router,
    body::Body as HttpBody,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;
use serde_json::json;

use super::{
    access::{Denied, Operation},
    clock::Stopwatch,
    guard,
    http_request::{HttpRefusal, ask_to_retry, header_text, media_type},
    intake::Taken,
    metrics::Source,
    shared::Shared,
};
use crate::{
    event::Signal,
    journal::{Body, Encoding, Format},
};

/// The answer to an export, the same for metrics and logs.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportResponse {
    /// Unset when everything was taken.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What was not taken.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    /// Data points or log records that were not taken.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

impl PartialSuccess {
    /// What was not taken; `None` if everything was. Of summaries each series was counted by itself, and
    /// which of them were lost together is not known: then at most as many as came are told, and that.
    pub(super) fn of(taken: &Taken) -> Option<Self> {
        let rejected = taken.rejected_count();
        if rejected == 0 {
            // A warning, as the protocol has it.
            return taken.remark.map(|remark| Self {
                rejected: 0,
                error_message: remark.to_owned(),
            });
        }
        let mut error_message = taken.to_string();
        if 0 < taken.parts {
            error_message.push_str("; a summary counts once for each of its series");
        }
        Some(Self {
            rejected: i64::try_from(rejected.min(taken.sent)).unwrap_or(i64::MAX),
            error_message,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Protobuf,
    Json,
}

/// The paths, all with POST.
#[cfg(test)]
pub(super) const PATHS: [&str; 2] = ["/v1/metrics", "/v1/logs"];

/// The routes.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    let guard = || middleware::from_fn_with_state(Arc::clone(&shared), admit);
    let signal = |signal: Signal| {
        post(
            move |state: State<Arc<Shared>>, headers: HeaderMap, body: HttpBody| {
                export(signal, state, headers, body)
            },
        )
        .route_layer(guard())
        .fallback(wrong_method)
    };
    Router::new()
        .route("/v1/metrics", signal(Signal::Metrics))
        .route("/v1/logs", signal(Signal::Logs))
        .fallback(wrong_path)
        .with_state(shared)
}

/// Guards a path; who may not is told so as OTLP tells errors.
async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let denied = match guard::admit(&shared, Operation::Push, &mut request) {
        Ok(()) => return next.run(request).await,
        Err(denied) => denied,
    };
    let (status, reason) = match denied {
        Denied::Stranger(_) => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Denied::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
    };
    let refusal = HttpRefusal::new(status, reason, denied.to_string());
    let mut response = refuse(request.headers(), &refusal);
    if status == StatusCode::UNAUTHORIZED {
        guard::challenge(&mut response);
    }
    response
}

async fn export(
    signal: Signal,
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: HttpBody,
) -> Response {
    let stopwatch = Stopwatch::start();
    shared
        .metrics
        .count(Source::OtlpHttp, |metrics| metrics.requests += 1);
    let answer = match take(signal, &shared, &headers, body).await {
        Ok((syntax, taken)) => answer(signal, syntax, PartialSuccess::of(&taken)),
        Err(refusal) => {
            shared.metrics.reject(Source::OtlpHttp, refusal.reason);
            refuse(&headers, &refusal)
        }
    };
    shared.metrics.took(Source::OtlpHttp, stopwatch.elapsed());
    answer
}

async fn take(
    signal: Signal,
    shared: &Shared,
    headers: &HeaderMap,
    body: HttpBody,
) -> Result<(Syntax, Taken), HttpRefusal> {
    let syntax = syntax(headers).ok_or_else(|| {
        HttpRefusal::unsupported("content type must be application/x-protobuf or application/json")
    })?;
    let named = header_text(headers, header::CONTENT_ENCODING);
    let encoding = match Encoding::from_name(named) {
        Some(encoding @ (Encoding::Identity | Encoding::Gzip | Encoding::Zstd)) => encoding,
        Some(Encoding::Snappy) | None => {
            let message = format!("content encoding {named:?} is not read: send gzip or zstd");
            return Err(HttpRefusal::unsupported(message));
        }
    };
    let format = match (signal, syntax) {
        (Signal::Metrics, Syntax::Protobuf) => Format::OtlpMetrics,
        (Signal::Metrics, Syntax::Json) => Format::OtlpMetricsJson,
        (Signal::Logs, Syntax::Protobuf) => Format::OtlpLogs,
        (Signal::Logs, Syntax::Json) => Format::OtlpLogsJson,
    };
    let open = shared.intake.enter()?;
    let limit = shared.plan().limits.request_bytes;
    let bytes = shared
        .intake
        .read((format, encoding), headers, body, limit)
        .await?;
    shared.metrics.count(Source::OtlpHttp, |metrics| {
        metrics.bytes += bytes.len() as u64;
    });
    let taken = shared
        .intake
        .take(
            Source::OtlpHttp,
            Body {
                format,
                encoding,
                bytes,
            },
        )
        .await?;
    drop(open);
    Ok((syntax, taken))
}

fn answer(signal: Signal, syntax: Syntax, partial_success: Option<PartialSuccess>) -> Response {
    match syntax {
        Syntax::Protobuf => typed(
            syntax,
            StatusCode::OK,
            ExportResponse { partial_success }.encode_to_vec(),
        ),
        Syntax::Json => {
            let document = partial_success.map_or_else(
                || json!({}),
                |partial| {
                    let rejected = match signal {
                        Signal::Metrics => "rejectedDataPoints",
                        Signal::Logs => "rejectedLogRecords",
                    };
                    // proto3 JSON writes 64-bit integers as strings.
                    json!({"partialSuccess": {
                        rejected: partial.rejected.to_string(),
                        "errorMessage": partial.error_message,
                    }})
                },
            );
            typed(syntax, StatusCode::OK, document.to_string().into_bytes())
        }
    }
}

/// The body of an error is a `google.rpc.Status` in the syntax of the request.
fn refuse(headers: &HeaderMap, refusal: &HttpRefusal) -> Response {
    let code = match refusal.status {
        StatusCode::SERVICE_UNAVAILABLE => tonic::Code::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE => tonic::Code::ResourceExhausted,
        StatusCode::UNAUTHORIZED => tonic::Code::Unauthenticated,
        StatusCode::FORBIDDEN => tonic::Code::PermissionDenied,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => tonic::Code::Unimplemented,
        _ => tonic::Code::InvalidArgument,
    };
    let syntax = syntax(headers).unwrap_or(Syntax::Protobuf);
    let body = match syntax {
        Syntax::Protobuf => tonic_types::Status {
            code: code.into(),
            message: refusal.message.clone(),
            details: Vec::new(),
        }
        .encode_to_vec(),
        Syntax::Json => json!({"code": i32::from(code), "message": refusal.message})
            .to_string()
            .into_bytes(),
    };
    let mut response = typed(syntax, refusal.status, body);
    ask_to_retry(&mut response);
    response
}

async fn wrong_method(headers: HeaderMap) -> Response {
    let refusal = HttpRefusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "unsupported",
        "use the method POST",
    );
    let mut response = refuse(&headers, &refusal);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn wrong_path(headers: HeaderMap) -> Response {
    let message = "use the path /v1/metrics or /v1/logs";
    refuse(
        &headers,
        &HttpRefusal::new(StatusCode::NOT_FOUND, "unsupported", message),
    )
}

fn syntax(headers: &HeaderMap) -> Option<Syntax> {
    match media_type(headers).essence.as_str() {
        "application/x-protobuf" => Some(Syntax::Protobuf),
        "application/json" => Some(Syntax::Json),
        _ => None,
    }
}

fn typed(syntax: Syntax, status: StatusCode, body: Vec<u8>) -> Response {
    let media_type = match syntax {
        Syntax::Protobuf => "application/x-protobuf",
        Syntax::Json => "application/json",
    };
    (status, [(header::CONTENT_TYPE, media_type)], body).into_response()
}
