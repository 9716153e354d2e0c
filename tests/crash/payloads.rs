//! Requests as senders make them.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        AggregationTemporality, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        metric, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message;

pub(crate) use crate::wire::Sample;
use crate::wire::{Label, TimeSeries, WriteRequest};

/// What came of an OTLP export.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected: i64,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// A series of a host of the service.
pub(crate) fn series(metric: &str, host: &str, samples: Vec<Sample>) -> TimeSeries {
    let labels = [("__name__", metric), ("instance", host), ("job", "web")];
    let label = |(name, value): (&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    TimeSeries {
        labels: labels.into_iter().map(label).collect(),
        samples,
    }
}

/// A body of remote write 1.0.
pub(crate) fn write_request(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    let request = WriteRequest { timeseries }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(value.to_owned())),
    }
}

fn resource(host: &str) -> Resource {
    Resource {
        attributes: vec![
            attribute("service.name", "web"),
            attribute("host.name", host),
        ],
        ..Resource::default()
    }
}

/// What hosts gained in steps of `step_millis` before each time.
pub(crate) fn delta_sums(metric: &str, hosts: &[(&str, Vec<Sample>)], step_millis: i64) -> Vec<u8> {
    let nanos = |millis: i64| (millis * 1_000_000).cast_unsigned();
    let point = |gain: &Sample| NumberDataPoint {
        start_time_unix_nano: nanos(gain.timestamp - step_millis),
        time_unix_nano: nanos(gain.timestamp),
        value: Some(number_data_point::Value::AsDouble(gain.value)),
        ..NumberDataPoint::default()
    };
    let metric = |gains: &[Sample]| Metric {
        name: metric.to_owned(),
        data: Some(metric::Data::Sum(Sum {
            data_points: gains.iter().map(point).collect(),
            aggregation_temporality: AggregationTemporality::Delta.into(),
            is_monotonic: true,
        })),
        ..Metric::default()
    };
    let of_host = |(host, gains): &(&str, Vec<Sample>)| ResourceMetrics {
        resource: Some(resource(host)),
        scope_metrics: vec![ScopeMetrics {
            metrics: vec![metric(gains)],
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: hosts.iter().map(of_host).collect(),
    }
    .encode_to_vec()
}

/// One record of an error of each host for each of its times.
pub(crate) fn error_logs(hosts: &[(&str, &[i64])]) -> Vec<u8> {
    let record = |millis: &i64| LogRecord {
        time_unix_nano: (millis * 1_000_000).cast_unsigned(),
        severity_number: 17,
        body: Some(text(&format!("payment {millis} failed"))),
        ..LogRecord::default()
    };
    let of_host = |(host, times): &(&str, &[i64])| ResourceLogs {
        resource: Some(resource(host)),
        scope_logs: vec![ScopeLogs {
            log_records: times.iter().map(record).collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: hosts.iter().map(of_host).collect(),
    }
    .encode_to_vec()
}
