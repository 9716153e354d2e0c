//! OTLP metrics and logs in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::{Encoding, Format};

mod common;

fuzz_target!(|bytes: &[u8]| {
    common::read(Format::OtlpMetricsJson, Encoding::Identity, bytes).ok();
    common::read(Format::OtlpLogsJson, Encoding::Identity, bytes).ok();
});
