//! A real `sluice serve` that is killed, and whose disk refuses, while senders write to it.
//!
//! # What is held
//! - **Nothing acknowledged is lost.** Every body that was answered with success stands in the journal.
//! - **Nothing is counted twice.** A sender that got no answer sends the same bytes again, so that a body
//!   may stand in the journal as often as it was sent. Its samples count once all the same: of one series
//!   and time only one stays. (Log records have nothing that tells a second one from a repetition, so
//!   that a repeated body of logs counts again: delivery is at least once there, and here only compared.)
//! - **The state is that of an uninterrupted run.** What the engine said, through all of its starts, is
//!   line by line what `sluice replay` says of its journal in one go.
//! - **An act that somebody answers for is whole.** An override or a hotfix that was acknowledged is in
//!   force and in the history, whose chain is whole; one that got no answer is in both or in neither. The
//!   history is what the journal tells, record by record.
//! - **No false PASS**, and no false FAIL either. This part knows nothing of the journal: the values of
//!   each bucket are chosen so that its mean tells if any of them is missing or came twice (see
//!   [`load`]), checks allow nothing but that mean, and a deployment that must pass does so only if that
//!   held all the time. One that must fail does so because of a single sample.
//!
//! # How to run it
//! `cargo test --test crash` kills a dozen times. `SLUICE_CRASH_KILLS=200` asks for more,
//! `SLUICE_CRASH_SEED` for the choices of a run that failed: it prints its seed. What happens between two
//! kills depends on the machine all the same.
//!
//! The faults of the disk are real ones: a limit for the size of files (`prlimit`), a file system that is
//! full (`unshare`), and system calls that fail (`strace`). Where a system has no `strace`, or does not let
//! us trace or mount, these are passed over; with `SLUICE_CRASH_FAULTS=required` that is a failure.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail with the test"
)]
#![expect(
    clippy::print_stdout,
    reason = "a run tells its seed, and what it has seen"
)]

mod acts;
mod engine;
mod evidence;
mod faults;
mod http;
mod kill;
mod ledger;
mod load;
mod payloads;
mod random;
mod run;
#[allow(dead_code, reason = "shared with tests that send more")]
#[path = "../common/wire.rs"]
mod wire;
