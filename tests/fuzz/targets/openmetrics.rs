//! OpenMetrics and Prometheus' text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::openmetrics::{OpenMetricsReader, TimeUnit};

mod common;

fuzz_target!(|bytes: &[u8]| {
    for unit in [TimeUnit::Seconds, TimeUnit::Milliseconds] {
        common::bounded(|| {
            let mut reader = OpenMetricsReader::new(bytes, unit);
            while let Ok(Some(_)) = reader.batch(10) {}
        });
    }
});
