//! From findings to a verdict: the gate of one deployment.
//!
//! A [`Gate`] is a small state machine. It is told of steps, of closed buckets and of a person's
//! decision, and weighs them by one rule, in this order: FAIL if a blocking check breached or a step
//! failed (latched); `NO_DATA` if a required check lacks coverage; PENDING while anything is awaited;
//! PASS only from a [`Proof`] that every required check was covered over the bake and every step
//! passed.
//!
//! A [`History`] knows the gates of a whole pipeline, and says what stands in the way of a start
//! ([`Blocker`]). A deployment that begins all the same is held: its gate can fail, but not pass before
//! what held it is gone.

mod beside;
mod blocker;
mod checks;
mod decision;
mod off_peak;
mod pipeline;
mod reasons;
mod refusal;
mod saved;
mod state;
mod traffic;
mod verdict;

pub use beside::Beside;
pub use blocker::{Blocker, Standing};
pub use checks::GateCheck;
pub use decision::{Decision, Proof};
pub use off_peak::{Hours, hours};
pub use pipeline::{Ailment, Asker, Attempt, Conditions, History, Place, Start};
pub(crate) use reasons::few_hosts;
pub use reasons::unnamed_hosts;
pub use refusal::GateError;
pub use saved::{GateState, RestoreError, STATE_VERSION};
pub use state::{Change, Gate};
pub use traffic::{HOURS_OF_WEEK, Traffic};
pub use verdict::{CheckReport, Line, LineKind, Shadow, Verdict, VerdictState, plain_number};
