//! OTLP metrics and logs in JSON.

use crate::decode::{Encoding, Format};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    crate::common::read(Format::OtlpMetricsJson, Encoding::Identity, bytes).ok();
    crate::common::read(Format::OtlpLogsJson, Encoding::Identity, bytes).ok();
}
