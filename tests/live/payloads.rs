//! Requests as senders in the field make them.

use std::io::Write;

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message;
use sluice::event::Timestamp;
use tonic::{Request, Status, codec::CompressionEncoding, transport::Endpoint};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) series: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) histograms: Vec<StaleHistogram>,
}

/// What Prometheus sends of a histogram that is gone.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StaleHistogram {
    #[prost(double, tag = "3")]
    pub(crate) sum: f64,
    #[prost(int64, tag = "15")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    /// 1 a counter, 2 a gauge.
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) family: String,
}

/// The answer to an export, for metrics and logs alike.
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
    pub(crate) error_message: String,
}

/// A series of remote write, as Prometheus labels it.
pub(crate) fn series(labels: &[(&str, &str)], value: f64, at: Timestamp) -> TimeSeries {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).into(),
        value: (*value).into(),
    };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: vec![Sample {
            value,
            timestamp: at.millis(),
        }],
        histograms: Vec::new(),
    }
}

/// A load that moves a little, as that of a living host does, and stays well in range.
pub(crate) fn busy(at: Timestamp) -> f64 {
    0.5 + (at.nanos() / 10_000_000_000 % 7) as f64 / 100.0
}

/// The CPU of a host of the service, as Prometheus sends it.
pub(crate) fn cpu_series(host: &str, value: f64, at: Timestamp) -> TimeSeries {
    series(
        &[
            ("__name__", "cpu_busy_ratio"),
            ("instance", host),
            ("job", "checkout"),
        ],
        value,
        at,
    )
}

/// What Prometheus sends each minute, in requests of nothing else.
pub(crate) fn metadata(family: &str, kind: i32) -> Vec<u8> {
    let family = family.to_owned();
    let request = WriteRequest {
        series: Vec::new(),
        metadata: vec![Metadata { kind, family }],
    };
    snappy(&request.encode_to_vec())
}

pub(crate) fn write_request(series: Vec<TimeSeries>) -> Vec<u8> {
    snappy(
        &WriteRequest {
            series,
            metadata: Vec::new(),
        }
        .encode_to_vec(),
    )
}

pub(crate) fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue {
        value: Some(any_value::Value::StringValue(value.to_owned())),
    });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn resource(host: &str) -> Resource {
    Resource {
        attributes: vec![
            attribute("service.name", "checkout"),
            attribute("host.name", host),
        ],
        ..Resource::default()
    }
}

/// The CPU of a host as OTLP has it.
pub(crate) fn otlp_cpu(host: &str, value: f64, at: Timestamp) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: at.nanos() as u64,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "cpu_busy_ratio".to_owned(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(host)),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

/// The same in JSON, as SDKs write it.
pub(crate) fn otlp_cpu_json(host: &str, value: f64, at: Timestamp) -> String {
    serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "checkout"}},
            {"key": "host.name", "value": {"stringValue": host}},
        ]},
        "scopeMetrics": [{"metrics": [{"name": "cpu_busy_ratio", "gauge": {"dataPoints": [
            {"timeUnixNano": at.nanos().to_string(), "asDouble": value},
        ]}}]}],
    }]})
    .to_string()
}

/// Equal log records of a host.
pub(crate) fn otlp_logs(
    host: &str,
    severity: i32,
    count: usize,
    at: Timestamp,
) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: at.nanos() as u64,
        severity_number: severity,
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue(
                "the payment failed".to_owned(),
            )),
        }),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(host)),
            scope_logs: vec![ScopeLogs {
                log_records: vec![record; count],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// Exports over gRPC, as an SDK or a collector does. The request may be any message.
pub(crate) async fn export_grpc<T: Message + Default + 'static>(
    address: std::net::SocketAddr,
    signal: &'static str,
    compression: Option<CompressionEncoding>,
    request: T,
) -> Result<ExportResponse, Status> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    if let Some(compression) = compression {
        client = client.send_compressed(compression);
    }
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(match signal {
        "metrics" => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "logs" => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        other => panic!("no signal {other}"),
    });
    let codec = ProstCodec::<T, ExportResponse>::default();
    client
        .unary(Request::new(request), path, codec)
        .await
        .map(tonic::Response::into_inner)
}

/// Sends raw bytes as the message of an export of metrics.
pub(crate) async fn export_bytes(
    address: std::net::SocketAddr,
    message: &'static [u8],
) -> Result<Bytes, Status> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    );
    let codec = sluice::serve::codec::BytesCodec;
    let request = Request::new(Bytes::from_static(message));
    client
        .unary(request, path, codec)
        .await
        .map(tonic::Response::into_inner)
}
