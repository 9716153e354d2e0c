//! Prometheus remote write 1.0.

use std::sync::Arc;

use axum::{
    body::Body as HttpBody,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    clock::Stopwatch,
    http_request::{HttpRefusal, header_text, media_type},
    intake::Taken,
    metrics::Source,
    shared::Shared,
};
use crate::journal::{Body, Encoding, Format};

const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Takes a write request. The answer is 204 when everything was written, 400 with the reasons when
/// a part was refused (the rest is written), 503 when the sender has to come again.
pub(super) async fn write(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: HttpBody,
) -> Response {
    let stopwatch = Stopwatch::start();
    shared
        .metrics
        .count(Source::RemoteWrite, |metrics| metrics.requests += 1);
    let answer = match take(&shared, &headers, body).await {
        Ok(taken) => {
            let answer = if taken.rejected_count() == 0 {
                StatusCode::NO_CONTENT.into_response()
            } else {
                (StatusCode::BAD_REQUEST, format!("{taken}\n")).into_response()
            };
            with_written(answer, &taken)
        }
        Err(refusal) => {
            shared.metrics.reject(Source::RemoteWrite, refusal.reason);
            with_written(refusal.into_response(), &Taken::default())
        }
    };
    shared
        .metrics
        .took(Source::RemoteWrite, stopwatch.elapsed());
    answer
}

async fn take(shared: &Shared, headers: &HeaderMap, body: HttpBody) -> Result<Taken, HttpRefusal> {
    let format = protocol(headers)?;
    let open = shared.intake.enter()?;
    let limit = shared.plan().limits.request_bytes;
    let bytes = shared
        .intake
        .read((format, Encoding::Snappy), headers, body, limit)
        .await?;
    shared.metrics.count(Source::RemoteWrite, |metrics| {
        metrics.bytes += bytes.len() as u64;
    });
    let body = Body {
        format,
        encoding: Encoding::Snappy,
        bytes,
    };
    let taken = shared.intake.take(Source::RemoteWrite, body).await?;
    drop(open);
    Ok(taken)
}

/// Remote write says by its content type which message it sends. A sender without one is an old
/// sender of 1.0, and a missing content encoding means the only one that there is.
fn protocol(headers: &HeaderMap) -> Result<Format, HttpRefusal> {
    let given = media_type(headers);
    let format = match (given.essence.as_str(), given.proto.as_deref()) {
        ("", _) | ("application/x-protobuf", None | Some("prometheus.WriteRequest")) => {
            Format::RemoteWrite1
        }
        ("application/x-protobuf", Some("io.prometheus.write.v2.Request")) => Format::RemoteWrite2,
        _ => {
            let named = header_text(headers, header::CONTENT_TYPE);
            return Err(HttpRefusal::unsupported(format!(
                "content type {named:?} is not read: send application/x-protobuf, with \
                 proto=io.prometheus.write.v2.Request for remote write 2.0"
            )));
        }
    };
    let named = header_text(headers, header::CONTENT_ENCODING);
    if !named.is_empty() && !named.eq_ignore_ascii_case("snappy") {
        let message = format!("content encoding {named:?} is not read: send a snappy block");
        return Err(HttpRefusal::unsupported(message));
    }
    Ok(format)
}

fn with_written(mut response: Response, taken: &Taken) -> Response {
    for (name, count) in [
        (SAMPLES_WRITTEN, taken.samples),
        (HISTOGRAMS_WRITTEN, taken.histograms),
        (EXEMPLARS_WRITTEN, 0),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from(count));
    }
    response
}
