//! A running engine on real sockets, driven through every door. Time is the test's.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail with the test"
)]

mod support;

mod actions;
mod bad_input;
mod command_line;
mod doors;
mod gates;
mod history;
mod journal;
mod metadata;
mod over_limit;
mod payloads;
mod pipeline;
mod sinks;
mod starts;
