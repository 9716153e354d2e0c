//! Loki push: log streams as promtail, Alloy, Vector, Fluent Bit and rsyslog send them to Loki.

use std::sync::Arc;

use axum::{
    body::Body as HttpBody,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};

use super::{
    clock::Stopwatch,
    http_request::{HttpRefusal, header_text, media_type},
    intake::Taken,
    metrics::Source,
    shared::Shared,
};
use crate::journal::{Body, Encoding, Format};

/// Takes a push. The answer is 204 when everything was taken, 400 with the reasons when a part was
/// refused (the rest is taken), 503 when the sender has to come again.
pub(super) async fn push(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: HttpBody,
) -> Response {
    let stopwatch = Stopwatch::start();
    shared
        .metrics
        .count(Source::Loki, |metrics| metrics.requests += 1);
    let answer = match take(&shared, &headers, body).await {
        Ok(taken) if taken.rejected_count() == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(taken) => (StatusCode::BAD_REQUEST, format!("{taken}\n")).into_response(),
        Err(refusal) => {
            shared.metrics.reject(Source::Loki, refusal.reason);
            refusal.into_response()
        }
    };
    shared.metrics.took(Source::Loki, stopwatch.elapsed());
    answer
}

async fn take(shared: &Shared, headers: &HeaderMap, body: HttpBody) -> Result<Taken, HttpRefusal> {
    let (format, encoding) = form(headers)?;
    let open = shared.intake.enter()?;
    let limit = shared.plan().limits.request_bytes;
    let bytes = shared
        .intake
        .read((format, encoding), headers, body, limit)
        .await?;
    shared
        .metrics
        .count(Source::Loki, |metrics| metrics.bytes += bytes.len() as u64);
    let body = Body {
        format,
        encoding,
        bytes,
    };
    let taken = shared.intake.take(Source::Loki, body).await?;
    drop(open);
    Ok(taken)
}

/// Protobuf is a snappy block, named or not; JSON is plain or gzip.
fn form(headers: &HeaderMap) -> Result<(Format, Encoding), HttpRefusal> {
    let named = header_text(headers, header::CONTENT_ENCODING);
    let encoding = Encoding::from_name(named);
    match (media_type(headers).essence.as_str(), encoding) {
        ("" | "application/x-protobuf", Some(Encoding::Identity | Encoding::Snappy)) => {
            Ok((Format::LokiPush, Encoding::Snappy))
        }
        ("application/json", Some(encoding @ (Encoding::Identity | Encoding::Gzip))) => {
            Ok((Format::LokiPushJson, encoding))
        }
        ("" | "application/x-protobuf" | "application/json", _) => {
            Err(HttpRefusal::unsupported(format!(
                "content encoding {named:?} is not read: send protobuf as a snappy block, or json plain or as gzip"
            )))
        }
        _ => Err(HttpRefusal::unsupported(
            "content type must be application/x-protobuf or application/json",
        )),
    }
}
