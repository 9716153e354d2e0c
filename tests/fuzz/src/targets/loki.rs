//! Loki's push in protobuf.

use crate::decode::{Encoding, Format};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    crate::common::read(Format::LokiPush, Encoding::Identity, bytes).ok();
}
