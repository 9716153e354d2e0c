//! `sluice schema`: prints the JSON Schema of the configuration.

use super::{exit, print};
use crate::plan::Plan;

pub(super) fn run() -> u8 {
    print::answered(print::answer(Plan::SCHEMA), exit::PASS)
}
