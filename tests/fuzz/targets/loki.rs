//! Loki's push in protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::{Encoding, Format};

mod common;

fuzz_target!(|bytes: &[u8]| {
    common::read(Format::LokiPush, Encoding::Identity, bytes).ok();
});
