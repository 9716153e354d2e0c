//! Tests of OTLP in protobuf, against the same requests decoded by prost.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{InstrumentationScope, KeyValue},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        self as pb, Metric as PbMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        metric::Data as PbData, number_data_point::Value as PbNumber,
    },
};
use proptest::prelude::*;
use prost::Message;

use super::{
    generated::{logs_request, metrics_request, pair, resource},
    *,
};
use crate::event::{
    Kind, Labels, RejectReason, SCOPE_LABELS, SeriesMeta, Severity, Temporality, Unit, Value,
};

proptest! {
    #[test]
    fn metrics_agree_with_what_prost_decodes(request in metrics_request()) {
        let bytes = request.encode_to_vec();
        let decoded = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        let batch = metrics(&bytes).unwrap();
        prop_assert_eq!(reference::samples_of(&batch), reference::samples(&decoded));
    }

    #[test]
    fn logs_agree_with_what_prost_decodes(request in logs_request()) {
        let bytes = request.encode_to_vec();
        let decoded = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        let batch = logs(&bytes).unwrap();
        let expected = reference::records(&decoded);
        prop_assert_eq!(batch.rejects.log_count(), expected.refused);
        prop_assert_eq!(batch.logs, expected.taken);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        metrics(&bytes).ok();
        logs(&bytes).ok();
    }

    #[test]
    fn a_damaged_request_never_panics(request in metrics_request(), bit: prop::sample::Index, cut: prop::sample::Index) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.truncate(cut.index(bytes.len()) + 1);
            metrics(&bytes).ok();
            logs(&bytes).ok();
        }
    }
}

fn one_metric(data: PbData) -> ExportMetricsServiceRequest {
    let metric = PbMetric {
        name: "m".into(),
        unit: "s".into(),
        data: Some(data),
        ..PbMetric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(vec![
                pair("service.name", "checkout"),
                pair("host", "h1"),
            ])),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn one_point() -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: 5,
        value: Some(PbNumber::AsInt(7)),
        attributes: vec![pair("host", "h2")],
        ..NumberDataPoint::default()
    }
}

#[test]
fn a_point_has_its_resources_attributes_and_its_own_win() {
    let data = PbData::Gauge(pb::Gauge {
        data_points: vec![one_point()],
    });
    let batch = metrics(&one_metric(data).encode_to_vec()).unwrap();
    let block = &batch.series[0];
    assert_eq!(
        block.labels.to_string(),
        r#"m{host="h2",service.name="checkout"}"#
    );
    assert_eq!(
        block.meta,
        SeriesMeta {
            kind: Kind::Gauge,
            unit: Unit::Seconds,
            ..SeriesMeta::default()
        }
    );
    assert_eq!(block.points[0].value, Value::Number(7.0));
}

#[test]
fn a_name_that_stands_twice_refuses_its_point_even_without_a_value() {
    let valueless = KeyValue {
        key: "b".into(),
        ..KeyValue::default()
    };
    let point = NumberDataPoint {
        attributes: vec![valueless, pair("b", "x")],
        ..one_point()
    };
    let data = PbData::Gauge(pb::Gauge {
        data_points: vec![point],
    });
    let request = one_metric(data);
    let batch = metrics(&request.encode_to_vec()).unwrap();
    assert!(batch.series.is_empty(), "{batch:?}");
    assert_eq!(batch.rejects.samples[&RejectReason::BadLabels].count, 1);
    assert_eq!(reference::samples_of(&batch), reference::samples(&request));
}

#[test]
fn sums_are_counters_gauges_or_refused() {
    use Temporality::{Cumulative, Delta};
    for (is_monotonic, aggregation_temporality, expected) in [
        (true, 1, Ok((Kind::Counter, Delta))),
        (true, 2, Ok((Kind::Counter, Cumulative))),
        (true, 0, Err(RejectReason::NoTemporality)),
        (false, 1, Err(RejectReason::Unsupported)),
        (false, 2, Ok((Kind::Gauge, Cumulative))),
        (false, 9, Err(RejectReason::NoTemporality)),
    ] {
        let sum = pb::Sum {
            data_points: vec![one_point()],
            aggregation_temporality,
            is_monotonic,
        };
        let batch = metrics(&one_metric(PbData::Sum(sum)).encode_to_vec()).unwrap();
        let found = match batch.series.first() {
            Some(block) => Ok((block.meta.kind, block.meta.temporality)),
            None => Err(*batch.rejects.samples.keys().next().unwrap()),
        };
        assert_eq!(found, expected, "{is_monotonic} {aggregation_temporality}");
    }
}

#[test]
fn bad_points_are_rejected_with_their_reason_and_good_ones_stand() {
    let cases = [
        (
            NumberDataPoint {
                time_unix_nano: 0,
                ..one_point()
            },
            RejectReason::NoTimestamp,
        ),
        (
            NumberDataPoint {
                time_unix_nano: u64::MAX,
                ..one_point()
            },
            RejectReason::NoTimestamp,
        ),
        (
            NumberDataPoint {
                value: None,
                ..one_point()
            },
            RejectReason::NoValue,
        ),
        (
            NumberDataPoint {
                attributes: vec![pair("", "x")],
                ..one_point()
            },
            RejectReason::BadLabels,
        ),
        (
            NumberDataPoint {
                attributes: vec![pair("a", "x"), pair("a", "y")],
                ..one_point()
            },
            RejectReason::BadLabels,
        ),
    ];
    for (bad, reason) in cases {
        let data = PbData::Gauge(pb::Gauge {
            data_points: vec![bad, one_point()],
        });
        let batch = metrics(&one_metric(data).encode_to_vec()).unwrap();
        assert_eq!(batch.sample_count(), 1, "{reason:?}");
        assert_eq!(batch.rejects.samples[&reason].count, 1);
    }
}

#[test]
fn text_that_is_not_utf_8_rejects_what_it_belongs_to() {
    let data = PbData::Gauge(pb::Gauge {
        data_points: vec![one_point(), one_point()],
    });
    let bytes = one_metric(data).encode_to_vec();
    for (word, good, reason) in [
        ("h2", 1, RejectReason::NotUtf8),
        ("h1", 0, RejectReason::NotUtf8),
    ] {
        let mut bytes = bytes.clone();
        let at = bytes
            .windows(2)
            .position(|two| two == word.as_bytes())
            .unwrap();
        bytes[at] = 0xff;
        let batch = metrics(&bytes).unwrap();
        assert_eq!(
            (batch.sample_count(), batch.rejects.samples[&reason].count),
            (good, 2 - good)
        );
    }
}

#[test]
fn a_record_that_cannot_be_read_is_of_its_resource_and_has_the_severity_that_is_told() {
    let record = LogRecord {
        time_unix_nano: 1,
        severity_number: 17,
        severity_text: "hh".to_owned(),
        ..LogRecord::default()
    };
    let untimely = LogRecord {
        time_unix_nano: 0,
        ..record.clone()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(vec![pair("host", "h1")])),
            scope_logs: vec![ScopeLogs {
                log_records: vec![untimely, record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let mut bytes = request.encode_to_vec();
    let text = bytes.windows(2).rposition(|two| two == b"hh").unwrap();
    bytes[text] = 0xff;
    let batch = logs(&bytes).unwrap();
    assert_eq!((batch.logs.len(), batch.rejects.log_count()), (0, 2));
    let severities: Vec<_> = batch.unread.iter().map(|unread| unread.severity).collect();
    assert_eq!(severities, [Some(Severity::ERROR), None]);
    for unread in batch.unread {
        assert_eq!(unread.attributes, Labels::new([("host", "h1")]));
    }
}

#[test]
fn a_request_cut_off_within_its_resource_is_refused() {
    let data = PbData::Gauge(pb::Gauge {
        data_points: vec![one_point()],
    });
    let bytes = one_metric(data).encode_to_vec();
    for end in 1..bytes.len() {
        let error = metrics(&bytes[..end]).unwrap_err();
        assert!(
            matches!(
                error,
                DecodeError::Malformed {
                    format: METRICS,
                    ..
                }
            ),
            "{end}: {error}"
        );
    }
}

#[test]
fn two_scopes_with_one_metric_are_two_series() {
    let gauge = PbData::Gauge(pb::Gauge {
        data_points: vec![one_point()],
    });
    let mut request = one_metric(gauge);
    let scopes = &mut request.resource_metrics[0].scope_metrics;
    scopes.push(scopes[0].clone());
    scopes.push(scopes[0].clone());
    for (scope, version) in scopes.iter_mut().zip(["", "1", "2"]) {
        scope.scope = Some(InstrumentationScope {
            name: "http".to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        });
    }
    scopes.push(ScopeMetrics {
        scope: None,
        ..scopes[0].clone()
    });
    let batch = metrics(&request.encode_to_vec()).unwrap();
    let told: Vec<_> = batch
        .series
        .iter()
        .map(|block| SCOPE_LABELS.map(|name| block.labels.get(name)))
        .collect();
    let http = Some("http");
    assert_eq!(
        told,
        [
            [http, None],
            [http, Some("1")],
            [http, Some("2")],
            [None, None]
        ]
    );
    // What no limit lets through would stand in every key: its points are refused, and no others.
    let long = "x".repeat(1 << 17);
    let scopes = &mut request.resource_metrics[0].scope_metrics;
    scopes[1].scope.as_mut().unwrap().name = long;
    let batch = metrics(&request.encode_to_vec()).unwrap();
    assert_eq!((batch.sample_count(), batch.rejects.sample_count()), (3, 1));
}
