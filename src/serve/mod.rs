//! The network doors: OTLP, remote write, the gates' API, the engine's own metrics.

pub mod codec;

/// The types and services that `proto/` describes, as generated.
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated; the proto files are the documentation"
)]
pub mod pb {
    tonic::include_proto!("sluice.v1");
}
