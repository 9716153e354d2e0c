//! Sluice watches the metric and log streams of hosts and services while a change is rolled out, and
//! answers one question at any moment: **may this change go on to the next environment?**
//!
//! It answers with a verdict (PASS, FAIL, PENDING, `NO_DATA`, or BYPASSED when a person overrode it),
//! the evidence behind it, and a stated false-alarm rate. It is a passive observer: it never changes
//! production; whatever drives the deployment acts on the verdict.
//!
//! # The path of a data point
//!
//! ```text
//!  source, serve ──> decode ──> journal ──> reduce ─────────> detect ────────> gate ─────> serve, cli
//!  OTLP              borrowed   inputs in   series by their   windows of a     findings
//!  remote write      views of   one order,  keys; partials    check, hosts     to a
//!  Loki push         the bytes  durable     of closed         in roles,        verdict
//!  files                        before they buckets           findings
//!                               count
//!  └──── edge: waits, fails ─────────────┘  └──── core: pure, deterministic ────┘
//! ```
//!
//! A file's room says what it may do. A room imports only rooms that stand before it; a test
//! (`tests/tidy.rs`) holds that.
//!
//! | room | purpose |
//! | --- | --- |
//! | [`event`] | the common currency: time, labels, samples, log records, deployment events |
//! | [`decode`] | bytes → events, one file for each wire or file format |
//! | [`reduce`] | samples → partials, on all cores: counters to increases, histograms, log templates, buckets |
//! | [`plan`] | configuration text → a checked plan |
//! | [`detect`] | one file for each kind of check: partials in, findings out |
//! | [`gate`] | findings → a verdict with its evidence; what stands in the way of a start |
//! | [`engine`] | the core as one state machine: [`engine::Input`] → [`engine::Output`] |
//! | [`journal`] | durable inputs and snapshots, so that a run can be recovered and replayed |
//! | [`ledger`] | the durable history of deployments, verdicts and overrides, for people and SQL |
//! | [`source`] | recordings: files in order of time, or journals; back-tests of them, with deployments that never happened |
//! | [`serve`] | the network doors: OTLP, remote write, Loki push, the gates' API, the doors of deployers, who may use them, metrics, the page; the order of inputs, recovery |
//! | [`sink`] | tells others of verdicts: Alertmanager, Grafana's webhook and annotations |
//! | [`cli`] | one file for each subcommand; the only code that prints |
//!
//! Beside the rooms stands the user's [`guide`]: pages of text, no code.
//!
//! # What holds everywhere
//!
//! - **The core is a state machine.** It never waits, reads a clock, logs or does I/O. Everything that
//!   can happen to it is a recorded input. A live run and a replay of the same inputs give the same
//!   verdicts to the byte.
//! - **Order does not matter between two ticks.** Series are named at ticks, in the order of their
//!   labels; buckets are sorted when they close; sums are taken in the order of their values.
//! - **Nothing counts before it is durable**, where there is a data directory, and nothing that was
//!   acknowledged is lost.
//! - **PASS is constructed from positive proof** ([`gate::Proof`]) that every required check was
//!   covered by data over the bake. Silence, NaN, an empty window or an error of ours never becomes
//!   PASS.
//! - **Bad data is not an error.** A decoder gives what it could read and counts what it refused; one
//!   bad sample does not void its batch.
//! - **Everything has a limit** with a name ([`plan::Limits`]), a default and a counter.
//!
//! # A replay in five lines
//!
//! ```
//! use std::sync::Arc;
//! use sluice::{engine::{Engine, Input}, event::Timestamp, plan::Plan};
//!
//! let mut engine = Engine::new(Arc::new(Plan::embedded()));
//! let mut outputs = Vec::new();
//! engine.step(Input::Tick(Timestamp::from_seconds(1_772_359_200)), &mut outputs);
//! assert!(outputs.is_empty(), "nobody has begun a deployment");
//! ```

pub mod cli;
pub mod decode;
pub mod detect;
pub mod engine;
pub mod event;
pub mod gate;
pub mod guide;
pub mod journal;
pub mod ledger;
pub mod plan;
pub mod reduce;
pub mod serve;
pub mod sink;
pub mod source;
