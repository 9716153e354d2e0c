//! OpenMetrics and Prometheus' text.

use crate::decode::openmetrics::{OpenMetricsReader, TimeUnit};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    for unit in [TimeUnit::Seconds, TimeUnit::Milliseconds] {
        crate::common::bounded(|| {
            let mut reader = OpenMetricsReader::new(bytes, unit);
            while let Ok(Some(_)) = reader.batch(10) {}
        });
    }
}
