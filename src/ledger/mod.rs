//! The durable history of deployments: how they began, every change of a verdict with its evidence, steps,
//! overrides, ends, and every configuration that was taken meanwhile.
//!
//! It is a database of `SQLite`, `ledger.sqlite` in the data directory, that plain SQL reads: the views
//! `deployments`, `verdicts`, `shadows`, `steps`, `reloads` and `acts`. Records are only appended. Each carries the SHA-256 of
//! the record before it and of itself, so that a change, a removal or an insertion afterwards is noticed
//! ([`History::verify`]); retention removes the oldest records and keeps where their chain ended.
//!
//! The ledger is made of what the engine says, and the journal is the truth: a record is known by a key
//! that a replay of the same inputs gives it again, so that what a crash cut off is appended by the
//! recovery, and nothing twice.

mod history;
mod record;
mod store;

#[cfg(test)]
mod tests;

pub use history::{Behind, Broken, Entry, Filter, History, Page, Verdicts, Verified};
pub use record::{Kind, Record, Reload};
pub use store::{Head, Ledger, LedgerError};

/// The database, in a data directory.
pub const FILE: &str = "ledger.sqlite";
