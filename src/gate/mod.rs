//! From findings to a verdict: the gate of one deployment.
//!
//! A [`Gate`] is a small state machine. It is told of steps, of closed buckets and of a person's
//! decision, and weighs them by one rule, in this order: FAIL if a blocking check breached or a step
//! failed (latched); `NO_DATA` if a required check lacks coverage; PENDING while anything is awaited;
//! PASS only from a [`Proof`] that every required check was covered over the bake and every step
//! passed.

mod decision;
mod reasons;
mod saved;
mod state;
mod verdict;

pub use decision::{Decision, Proof};
pub use saved::{GateState, RestoreError, STATE_VERSION};
pub use state::{Gate, GateCheck, GateError};
pub use verdict::{CheckReport, Line, LineKind, Verdict, VerdictState};
