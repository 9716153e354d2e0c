//! The targets: one function for each thing that reads bytes from outside.

mod compression;
mod csv;
mod deployments;
mod journal;
mod json_logs;
mod json_samples;
mod log_lines;
mod loki;
mod loki_json;
mod native_histogram;
mod openmetrics;
mod otlp_json;
mod otlp_logs;
mod otlp_metrics;
mod plain_lines;
mod remote_write;
mod remote_write_2;

/// Takes one input. It panics where something is wrong.
pub type Target = fn(&[u8]);

/// All targets by their names.
pub const TARGETS: [(&str, Target); 17] = [
    ("compression", compression::run),
    ("csv", csv::run),
    ("deployments", deployments::run),
    ("journal", journal::run),
    ("json_logs", json_logs::run),
    ("json_samples", json_samples::run),
    ("log_lines", log_lines::run),
    ("loki", loki::run),
    ("loki_json", loki_json::run),
    ("native_histogram", native_histogram::run),
    ("openmetrics", openmetrics::run),
    ("otlp_json", otlp_json::run),
    ("otlp_logs", otlp_logs::run),
    ("otlp_metrics", otlp_metrics::run),
    ("plain_lines", plain_lines::run),
    ("remote_write", remote_write::run),
    ("remote_write_2", remote_write_2::run),
];
