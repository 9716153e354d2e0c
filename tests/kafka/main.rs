//! Reading from, and writing to, a Kafka cluster that is real but for its broker, which runs in another process and
//! can be broken.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail with the test"
)]

mod engine;
mod mock;
mod support;

mod deployments;
mod faults;
mod kill;
mod reading;
mod recovery;
mod verdicts;
