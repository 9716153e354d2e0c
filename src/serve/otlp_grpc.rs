//! OTLP over gRPC: metrics and logs.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use tonic::{Code, Request, Response, Status};

use super::{
    clock::Stopwatch,
    gates::unavailable,
    intake::{Taken, Turned},
    metrics::Source,
    otlp_http::{ExportResponse, PartialSuccess},
    shared::Shared,
};
use crate::{
    decode::DecodeError,
    event::Signal,
    journal::{Body, Encoding, Format},
};

/// The services as generated, with messages that stay bytes.
#[expect(
    unreachable_pub,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    clippy::default_constructed_unit_structs,
    reason = "generated code"
)]
pub(super) mod services {
    include!(concat!(
        env!("OUT_DIR"),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService.rs"
    ));
    include!(concat!(
        env!("OUT_DIR"),
        "/opentelemetry.proto.collector.logs.v1.LogsService.rs"
    ));
}

/// The metrics service.
#[derive(Clone, Debug)]
pub(super) struct OtlpMetrics(pub Arc<Shared>);

/// The logs service.
#[derive(Clone, Debug)]
pub(super) struct OtlpLogs(pub Arc<Shared>);

#[tonic::async_trait]
impl services::metrics_service_server::MetricsService for OtlpMetrics {
    async fn export(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        export(&self.0, Format::OtlpMetrics, request.into_inner()).await
    }
}

#[tonic::async_trait]
impl services::logs_service_server::LogsService for OtlpLogs {
    async fn export(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        export(&self.0, Format::OtlpLogs, request.into_inner()).await
    }
}

async fn export(shared: &Shared, format: Format, bytes: Bytes) -> Result<Response<Bytes>, Status> {
    shared.metrics.count(Source::OtlpGrpc, |metrics| {
        metrics.bytes += bytes.len() as u64;
    });
    // gRPC has decompressed the message already.
    let body = Body {
        format,
        encoding: Encoding::Identity,
        bytes,
    };
    let open = shared.intake.enter();
    let taken = match &open {
        Ok(_) => shared.intake.take(Source::OtlpGrpc, body).await,
        Err(turned) => Err(turned.clone()),
    };
    match taken {
        Ok(taken) => Ok(Response::new(response(&taken).encode_to_vec().into())),
        Err(turned) => {
            let status = status(&turned);
            // That one is counted where the transport's own refusals are: by `correct_status`.
            if status.code() != Code::ResourceExhausted {
                shared.metrics.reject(Source::OtlpGrpc, turned.reason());
            }
            Err(status)
        }
    }
}

fn response(taken: &Taken) -> ExportResponse {
    ExportResponse {
        partial_success: PartialSuccess::of(taken),
    }
}

fn status(turned: &Turned) -> Status {
    let message = turned.to_string();
    match turned {
        Turned::Decode(DecodeError::TooLarge { .. }) => Status::resource_exhausted(message),
        Turned::Decode(_) => Status::invalid_argument(message),
        Turned::Unavailable(_) => unavailable(message),
    }
}

/// The name of the service that takes logs.
const LOGS_SERVICE: &str = services::logs_service_server::SERVICE_NAME;

/// Bytes in front of a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The body of a call, which ends with an error when it is longer than the limit on requests as they come;
/// gRPC itself knows only what a message is decompressed to.
fn limited(body: axum::body::Body, limit: usize) -> axum::body::Body {
    let body = Limited::new(body, limit.saturating_add(PREFIX_BYTES));
    axum::body::Body::new(body.map_err(move |error| -> axum::BoxError {
        if !error.is::<LengthLimitError>() {
            return error;
        }
        // gRPC finds the status in it and answers with it.
        let message = format!("the body has more than {limit} bytes: send smaller batches");
        Status::resource_exhausted(message).into()
    }))
}

/// What a call of one of the two services carries.
fn signal(path: &str) -> Signal {
    match path.split('/').nth(1) {
        Some(LOGS_SERVICE) => Signal::Logs,
        Some(_) | None => Signal::Metrics,
    }
}

/// Counts a call, bounds its body, and corrects the codes with which the transport refuses messages: senders retry
/// `OUT_OF_RANGE` for ever, and take `INTERNAL` for our fault.
pub(super) async fn correct_status(
    axum::extract::State(shared): axum::extract::State<Arc<Shared>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let stopwatch = Stopwatch::start();
    shared
        .metrics
        .count(Source::OtlpGrpc, |metrics| metrics.requests += 1);
    let limit = shared.plan().limits.request_bytes;
    let signal = signal(request.uri().path());
    let mut response = next.run(request.map(|body| limited(body, limit))).await;
    shared.metrics.took(Source::OtlpGrpc, stopwatch.elapsed());
    let code = response
        .headers()
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()));
    let (code, reason) = match code {
        Some(Code::OutOfRange | Code::ResourceExhausted) => (Code::ResourceExhausted, "too_large"),
        Some(Code::Internal) => (Code::InvalidArgument, "malformed"),
        Some(Code::Unimplemented) => (Code::Unimplemented, "unsupported"),
        _ => return response,
    };
    if code == Code::ResourceExhausted
        && let Err(turned) = shared.intake.mark_over_limit(signal).await
    {
        shared.metrics.reject(Source::OtlpGrpc, turned.reason());
        return status(&turned).into_http();
    }
    shared.metrics.reject(Source::OtlpGrpc, reason);
    response
        .headers_mut()
        .insert(Status::GRPC_STATUS, (code as i32).into());
    response
}
