//! The network doors: OTLP, remote write, the gates' API, the engine's own metrics.
//!
//! Whatever comes in is decoded where it came in ([`intake`]) and gets its place in one order of inputs
//! ([`sequence`]). One thread makes inputs durable, a group at a time ([`recorder`]); only then do they
//! count. Whoever brought a batch puts it into the shards; ticks and deployment events go to the thread
//! that owns the engine ([`worker`]), which saves its state from time to time ([`saver`]) and publishes
//! what follows ([`published`]). Questions are answered from what is published, without waiting for
//! anything. A start goes on where the journal ends ([`recovery`]). When the core dies, no verdict is given
//! out any more.
//!
//! Every path stands in one table ([`routes`]) with the operation that it is; a [`guard`] asks of each
//! request and RPC whether its caller may ([`access`]), over encrypted connections where the
//! configuration says so ([`tls`]). Tools that drive deployments have doors of their own ([`flagger`],
//! [`query`]).
//!
//! The configuration may be another one later ([`reload`]): a change is an input like any other, behind which
//! nothing is taken until the core goes by it.
//!
//! What is fetched instead of being sent ([`sources`]) takes the same way, but only its range is recorded
//! ([`fetched`]).

pub mod client;
pub mod codec;
pub mod convert;

mod access;
#[cfg(test)]
mod access_tests;
mod answers;
mod api;
mod backlog;
mod board;
mod bodies;
mod chronicle;
mod clock;
mod clock_step;
mod connections;
mod core;
#[cfg(test)]
mod drivers_tests;
mod exposition;
#[cfg(test)]
mod failure_tests;
mod feed;
mod fetched;
mod fields;
mod flagger;
mod gates;
mod guard;
mod health;
mod history;
mod http_request;
mod idle;
mod intake;
#[cfg(feature = "kafka")]
mod kafka;
mod listener;
mod loki;
mod lookup;
pub(crate) mod markup;
mod metadata;
mod metrics;
mod offsets;
mod otlp_grpc;
mod otlp_http;
mod page;
pub(crate) mod plot;
mod preflight;
mod promotion;
mod published;
mod query;
mod recorder;
mod recovery;
mod recovery_error;
mod recovery_put;
#[cfg(test)]
mod recovery_tests;
mod recovery_told;
mod reload;
mod remote_write;
mod repeats;
mod requests;
mod routes;
mod saver;
mod sequence;
mod server;
mod shared;
mod sink_counters;
mod sources;
mod start_error;
mod tls;
pub(crate) mod url;
mod watch;
mod worker;

pub use access::AccessError;
pub use board::Deployment;
pub use clock::Clock;
pub use core::{Ending, Unavailable};
#[cfg(test)]
pub(crate) use feed::FeedDriver;
pub use feed::{Feed, Shown};
pub use preflight::{Obstacle, obstacles};
pub use recovery_error::RecoveryError;
pub use reload::{ReloadError, Reloaded, Reloader, Source as ConfigSource};
pub use server::{Addresses, Server, Settings};
pub use sink_counters::{SinkCounters, Undelivered};
pub use start_error::StartError;

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
