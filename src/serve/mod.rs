//! The network doors: OTLP, remote write, the gates' API, the engine's own metrics.
//!
//! [`Server`] owns one thread with the core, and four listeners. Whatever comes in is decoded where
//! it came in ([`intake`]) and handed over a bounded queue to the core ([`core`]), which records it,
//! takes it, and publishes what follows ([`published`]). Questions are answered from what is
//! published, without waiting for the core. When the core dies, no verdict is given out any more.

pub mod client;
pub mod codec;
pub mod convert;

mod api;
mod clock;
mod core;
mod exposition;
#[cfg(test)]
mod failure_tests;
mod fields;
mod gates;
mod health;
mod http_request;
mod intake;
mod listener;
mod metrics;
mod otlp_grpc;
mod otlp_http;
mod page;
mod published;
mod remote_write;
mod requests;
mod server;
mod shared;

pub use clock::Clock;
pub use core::{Ending, Unavailable};
pub use server::{Addresses, Server, Settings, StartError};

/// The types and services that `proto/` describes, as generated.
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    reason = "generated; the proto files are the documentation"
)]
pub mod pb {
    tonic::include_proto!("sluice.v1");
}
