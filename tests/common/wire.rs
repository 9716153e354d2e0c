//! Requests as senders make them, and the messages to read them back with prost.

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

/// `prometheus.WriteRequest`, as far as series of numbers go.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    /// Series.
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
}

/// A series.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    /// Its labels.
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    /// Its samples.
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
}

/// A label.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// A sample.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Sample {
    /// Its value.
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

/// `io.prometheus.write.v2.Request`, as far as series of numbers go.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request2 {
    /// The table of symbols.
    #[prost(string, repeated, tag = "4")]
    pub(crate) symbols: Vec<String>,
    /// Series.
    #[prost(message, repeated, tag = "5")]
    pub(crate) timeseries: Vec<TimeSeries2>,
}

/// A series whose labels are symbols.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries2 {
    /// Names and values in turn.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) labels_refs: Vec<u32>,
    /// Its samples.
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
}

/// `logproto.PushRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PushRequest {
    /// Streams.
    #[prost(message, repeated, tag = "1")]
    pub(crate) streams: Vec<Stream>,
}

/// A stream.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stream {
    /// Its labels as a selector.
    #[prost(string, tag = "1")]
    pub(crate) labels: String,
    /// Its entries.
    #[prost(message, repeated, tag = "2")]
    pub(crate) entries: Vec<Entry>,
}

/// An entry of a log.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    /// When it was written.
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<prost_types::Timestamp>,
    /// Its text.
    #[prost(string, tag = "2")]
    pub(crate) line: String,
    /// Its own attributes.
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<Label>,
}

const MILLIS: i64 = 1_772_000_000_000;
const NANOS: u64 = 1_772_000_000_000_000_000;

/// Twelve labels of about 280 bytes, as exporters in a cluster have them.
pub(crate) fn labels(series: usize) -> Vec<(String, String)> {
    let (host, endpoint) = (series / 50, series % 50);
    [
        ("__name__", "http_server_requests_seconds_count".to_owned()),
        ("cluster", "production-eu-west-1".to_owned()),
        ("container", "checkout".to_owned()),
        ("endpoint", format!("/api/v1/resource/{endpoint:04}")),
        (
            "instance",
            format!("10.12.{}.{}:9090", host / 250, host % 250),
        ),
        ("job", "checkout-service".to_owned()),
        ("method", "GET".to_owned()),
        ("namespace", "shop".to_owned()),
        (
            "node",
            format!("ip-10-12-{host}.eu-west-1.compute.internal"),
        ),
        ("outcome", "SUCCESS".to_owned()),
        ("pod", format!("checkout-7d9f8b6c5d-{host:05}")),
        ("status", "200".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn sample(series: usize) -> Sample {
    Sample {
        value: series as f64 * 1.5 + 1.0,
        timestamp: MILLIS,
    }
}

/// Remote write 1.0 with one sample a series.
pub(crate) fn remote_write(series: usize) -> Vec<u8> {
    let timeseries = (0..series).map(|series| TimeSeries {
        labels: labels(series)
            .into_iter()
            .map(|(name, value)| Label { name, value })
            .collect(),
        samples: vec![sample(series)],
    });
    let timeseries = timeseries.collect();
    WriteRequest { timeseries }.encode_to_vec()
}

/// Remote write 2.0 with the same series.
pub(crate) fn remote_write_2(series: usize) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut numbers = std::collections::BTreeMap::from([(String::new(), 0)]);
    let mut timeseries = Vec::new();
    for series in 0..series {
        let mut labels_refs = Vec::new();
        for symbol in labels(series).into_iter().flat_map(|(a, b)| [a, b]) {
            let number = numbers.entry(symbol.clone()).or_insert_with(|| {
                symbols.push(symbol);
                symbols.len() as u32 - 1
            });
            labels_refs.push(*number);
        }
        timeseries.push(TimeSeries2 {
            labels_refs,
            samples: vec![sample(series)],
        });
    }
    Request2 {
        symbols,
        timeseries,
    }
    .encode_to_vec()
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the field of a message is optional"
)]
fn resource(host: usize) -> Option<Resource> {
    Some(Resource {
        attributes: vec![
            attribute("service.name", "checkout".to_owned()),
            attribute("service.version", "v42".to_owned()),
            attribute("host.name", format!("host-{host:04}")),
            attribute("cloud.region", "eu-west-1".to_owned()),
        ],
        ..Resource::default()
    })
}

/// OTLP metrics: 20 resources with 25 metrics of `points` points each.
pub(crate) fn otlp_metrics(points: usize) -> Vec<u8> {
    let point = |metric: usize, point: usize| NumberDataPoint {
        attributes: vec![
            attribute("http.route", format!("/api/v1/resource/{point:04}")),
            attribute("http.request.method", "GET".to_owned()),
            attribute("http.response.status_code", format!("{}", 200 + point)),
        ],
        start_time_unix_nano: NANOS - 60_000_000_000,
        time_unix_nano: NANOS,
        value: Some(number_data_point::Value::AsDouble(metric as f64 + 0.5)),
        ..NumberDataPoint::default()
    };
    let metric = |number: usize| Metric {
        name: format!("http.server.request.metric_{number:02}"),
        unit: "s".to_owned(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: (0..points).map(|index| point(number, index)).collect(),
        })),
        ..Metric::default()
    };
    let resource_metrics = (0..20).map(|host| ResourceMetrics {
        resource: resource(host),
        scope_metrics: vec![ScopeMetrics {
            metrics: (0..25).map(metric).collect(),
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    });
    ExportMetricsServiceRequest {
        resource_metrics: resource_metrics.collect(),
    }
    .encode_to_vec()
}

/// OTLP logs: 20 resources with 100 records each, every second with an attribute of its stream.
pub(crate) fn otlp_logs() -> Vec<u8> {
    let record = |number: usize| {
        let mut attributes = vec![attribute("user.id", format!("{number}"))];
        if number.is_multiple_of(2) {
            attributes.push(attribute("logger", "checkout.cart".to_owned()));
        }
        LogRecord {
            time_unix_nano: NANOS + number as u64,
            severity_number: 17,
            severity_text: "ERROR".to_owned(),
            body: Some(AnyValue {
                value: Some(any_value::Value::StringValue(format!(
                    "payment {number} failed: upstream closed the connection"
                ))),
            }),
            attributes,
            ..LogRecord::default()
        }
    };
    let resource_logs = (0..20).map(|host| ResourceLogs {
        resource: resource(host),
        scope_logs: vec![ScopeLogs {
            log_records: (0..100).map(record).collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    });
    ExportLogsServiceRequest {
        resource_logs: resource_logs.collect(),
    }
    .encode_to_vec()
}

/// Loki's push: 20 streams with 100 entries each.
pub(crate) fn loki() -> Vec<u8> {
    let entry = |number: usize| Entry {
        timestamp: Some(prost_types::Timestamp {
            seconds: MILLIS / 1000,
            nanos: number as i32,
        }),
        line: format!("payment {number} failed: upstream closed the connection"),
        metadata: vec![Label {
            name: "level".to_owned(),
            value: "error".to_owned(),
        }],
    };
    let streams = (0..20).map(|host| Stream {
        labels: format!("{{app=\"checkout\", host=\"host-{host:04}\"}}"),
        entries: (0..100).map(entry).collect(),
    });
    PushRequest {
        streams: streams.collect(),
    }
    .encode_to_vec()
}
