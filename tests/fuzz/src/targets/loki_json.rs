//! Loki's push in JSON.

use crate::decode::{Encoding, Format};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    crate::common::read(Format::LokiPushJson, Encoding::Identity, bytes).ok();
}
