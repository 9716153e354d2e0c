//! `sluice schema`: prints the JSON Schema of the configuration.

use std::io::{Write, stdout};

use super::exit;
use crate::plan::Plan;

pub(super) fn run() -> u8 {
    // Who closed the pipe has seen enough.
    drop(stdout().write_all(Plan::SCHEMA.as_bytes()));
    exit::PASS
}
