//! Loki's push in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::{Encoding, Format};

mod common;

fuzz_target!(|bytes: &[u8]| {
    common::read(Format::LokiPushJson, Encoding::Identity, bytes).ok();
});
