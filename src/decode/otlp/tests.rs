//! Tests of OTLP in protobuf, against the same requests decoded by prost.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue as PbValue, KeyValue, any_value::Value as Pb},
    metrics::v1::{
        self as pb, Metric as PbMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        exponential_histogram_data_point::Buckets as PbBuckets, metric::Data as PbData,
        number_data_point::Value as PbNumber,
    },
};
use proptest::prelude::*;
use prost::Message;

use super::{
    generated::{logs_request, metrics_request, pair, resource},
    *,
};
use crate::event::{
    ExponentialBuckets, Histogram, Kind, Labels, Point, RejectReason, SeriesMeta, Severity,
    Temporality, Timestamp, Unit, Value,
};

/// A sample as the reference or the decoder tells it; as text, because NaN is no equal of itself.
fn told(labels: &Labels, meta: SeriesMeta, point: &Point) -> String {
    format!("{labels:?} {meta:?} {point:?}")
}

fn samples(batch: &Batch) -> Vec<String> {
    let blocks = batch.series.iter();
    blocks
        .flat_map(|block| {
            block
                .points
                .iter()
                .map(|point| told(&block.labels, block.meta, point))
        })
        .collect()
}

fn pb_text(value: &PbValue) -> String {
    fn json(value: Option<&PbValue>) -> serde_json::Value {
        match value.and_then(|value| value.value.as_ref()) {
            Some(Pb::ArrayValue(list)) => {
                list.values.iter().map(|value| json(Some(value))).collect()
            }
            // A map of serde_json is sorted, ours keeps the order of the sender.
            Some(Pb::KvlistValue(_)) => unreachable!("maps are written by hand below"),
            Some(Pb::BoolValue(value)) => (*value).into(),
            Some(Pb::IntValue(value)) => (*value).into(),
            Some(Pb::DoubleValue(value)) => points_text(*value).parse().unwrap(),
            Some(Pb::StringValue(text)) => text.as_str().into(),
            Some(Pb::BytesValue(bytes)) => base64(bytes).into(),
            _ => serde_json::Value::Null,
        }
    }
    fn write(value: Option<&PbValue>) -> String {
        match value.and_then(|value| value.value.as_ref()) {
            Some(Pb::DoubleValue(value)) => points_text(*value),
            Some(Pb::ArrayValue(list)) => {
                let items: Vec<_> = list.values.iter().map(|value| write(Some(value))).collect();
                format!("[{}]", items.join(","))
            }
            Some(Pb::KvlistValue(map)) => {
                let items = map.values.iter();
                let items =
                    items.map(|pair| format!("{:?}:{}", pair.key, write(pair.value.as_ref())));
                format!("{{{}}}", items.collect::<Vec<_>>().join(","))
            }
            _ => json(value).to_string(),
        }
    }
    match &value.value {
        None => String::new(),
        Some(Pb::StringValue(text)) => text.clone(),
        Some(Pb::BytesValue(bytes)) => base64(bytes),
        Some(_) => write(Some(value)),
    }
}

fn points_text(value: f64) -> String {
    value::AnyValue::Double(value).into_text().into_owned()
}

fn base64(bytes: &[u8]) -> String {
    value::base64_text(bytes)
}

fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| pair.value.as_ref().map_or(String::new(), pb_text);
    attributes
        .iter()
        .map(|pair| (pair.key.clone(), text(pair)))
        .collect()
}

fn conflicting(pairs: &[(String, String)]) -> bool {
    pairs
        .iter()
        .any(|a| pairs.iter().any(|b| a.0 == b.0 && a.1 != b.1))
}

/// Suffix of the name, quantile, kind and value.
type Emitted = (&'static str, Option<String>, Kind, Value);

/// The rules once more, over the structs that prost decodes: samples, and how many are refused.
#[derive(Default)]
struct Reference {
    samples: Vec<String>,
    refused: u64,
}

impl Reference {
    fn add(
        &mut self,
        metric: &PbMetric,
        resource: &[(String, String)],
        meta: Option<(Kind, Temporality)>,
        head: (&[KeyValue], u64, u64, u32),
        values: Option<Vec<Emitted>>,
    ) {
        let own = pairs(head.0);
        let unit = match metric.unit.as_str() {
            "s" => Unit::Seconds,
            "By" => Unit::Bytes,
            "1" => Unit::Ratio,
            _ => Unit::Unknown,
        };
        let at = i64::try_from(head.2).unwrap_or(0);
        let (Some(meta), Some(values)) = (meta, values) else {
            self.refused += 1;
            return;
        };
        if metric.name.is_empty() || at == 0 || conflicting(&own) || conflicting(resource) {
            self.refused += 1;
            return;
        }
        for (suffix, quantile, kind, value) in values {
            let mut all = vec![("__name__".to_owned(), format!("{}{suffix}", metric.name))];
            all.extend(quantile.map(|quantile| ("quantile".to_owned(), quantile)));
            all.extend(own.iter().chain(resource).cloned());
            // Only a label without a value lets the resource's through.
            let unit = if suffix == "_count" {
                Unit::Count
            } else {
                unit
            };
            let meta = SeriesMeta {
                kind,
                temporality: meta.1,
                unit,
            };
            let point = Point {
                at: Timestamp::from_nanos(at),
                start: (head.1 > 0).then(|| Timestamp::from_nanos(head.1.cast_signed())),
                value: if head.3 & 1 == 1 { Value::Stale } else { value },
            };
            self.samples.push(told(&Labels::new(all), meta, &point));
        }
    }
}

fn temporality(number: i32) -> Option<Temporality> {
    match number {
        1 => Some(Temporality::Delta),
        2 => Some(Temporality::Cumulative),
        _ => None,
    }
}

fn number(point: &NumberDataPoint) -> Option<f64> {
    match point.value {
        Some(PbNumber::AsDouble(value)) => Some(value),
        Some(PbNumber::AsInt(value)) => Some(value as f64),
        None => None,
    }
}

fn reference(request: &ExportMetricsServiceRequest) -> Reference {
    let mut reference = Reference::default();
    for in_resource in &request.resource_metrics {
        let attributes = in_resource
            .resource
            .as_ref()
            .map_or(&[][..], |found| &found.attributes);
        let resource = pairs(attributes);
        for metric in in_resource
            .scope_metrics
            .iter()
            .flat_map(|scope| &scope.metrics)
        {
            reference_metric(&mut reference, metric, &resource);
        }
    }
    reference
}

#[expect(
    clippy::too_many_lines,
    reason = "one arm for each of the five kinds of metric"
)]
fn reference_metric(reference: &mut Reference, metric: &PbMetric, resource: &[(String, String)]) {
    let gauge = Some((Kind::Gauge, Temporality::Cumulative));
    match &metric.data {
        None => {}
        Some(PbData::Gauge(pb::Gauge { data_points })) => {
            for point in data_points {
                let head = (
                    &point.attributes[..],
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.flags,
                );
                let value = number(point).or((point.flags == 1).then_some(0.0));
                let value = value.map(|value| vec![("", None, Kind::Gauge, Value::Number(value))]);
                reference.add(metric, resource, gauge, head, value);
            }
        }
        Some(PbData::Sum(sum)) => {
            let meta = match (sum.is_monotonic, temporality(sum.aggregation_temporality)) {
                (true, Some(temporality)) => Some((Kind::Counter, temporality)),
                (false, Some(Temporality::Cumulative)) => gauge,
                _ => None,
            };
            for point in &sum.data_points {
                let head = (
                    &point.attributes[..],
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.flags,
                );
                let kind = meta.map_or(Kind::Unknown, |meta| meta.0);
                let value = number(point).or((point.flags == 1).then_some(0.0));
                let value = value.map(|value| vec![("", None, kind, Value::Number(value))]);
                reference.add(metric, resource, meta, head, value);
            }
        }
        Some(PbData::Histogram(histogram)) => {
            let meta = temporality(histogram.aggregation_temporality).map(|t| (Kind::Histogram, t));
            for point in &histogram.data_points {
                let head = (
                    &point.attributes[..],
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.flags,
                );
                let mut counts: Vec<f64> = point.bucket_counts.iter().map(|c| *c as f64).collect();
                let bounds = point.explicit_bounds.clone();
                if counts.is_empty() && bounds.is_empty() {
                    counts = vec![point.count as f64];
                }
                let good = counts.len() == bounds.len() + 1
                    && bounds.windows(2).all(|two| two[0] < two[1])
                    && counts.iter().sum::<f64>() == point.count as f64;
                let sum = point.sum.filter(|sum| sum.is_finite());
                let value = Value::Histogram(Box::new(Histogram::Explicit {
                    bounds,
                    counts,
                    sum,
                }));
                let value =
                    (good || point.flags == 1).then(|| vec![("", None, Kind::Histogram, value)]);
                reference.add(metric, resource, meta, head, value);
            }
        }
        Some(PbData::ExponentialHistogram(histogram)) => {
            let meta = temporality(histogram.aggregation_temporality).map(|t| (Kind::Histogram, t));
            for point in &histogram.data_points {
                let head = (
                    &point.attributes[..],
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.flags,
                );
                let side = |side: &Option<PbBuckets>| {
                    let side = side.clone().unwrap_or_default();
                    let counts = side
                        .bucket_counts
                        .iter()
                        .map(|count| *count as f64)
                        .collect();
                    ExponentialBuckets {
                        offset: side.offset,
                        counts,
                    }
                };
                let value = Value::Histogram(Box::new(Histogram::Exponential {
                    scale: point.scale,
                    zero_count: point.zero_count as f64,
                    zero_threshold: point.zero_threshold,
                    positive: side(&point.positive),
                    negative: side(&point.negative),
                    sum: point.sum.filter(|sum| sum.is_finite()),
                }));
                let good = (-10..=20).contains(&point.scale) || point.flags == 1;
                let value = good.then(|| vec![("", None, Kind::Histogram, value)]);
                reference.add(metric, resource, meta, head, value);
            }
        }
        Some(PbData::Summary(summary)) => {
            for point in &summary.data_points {
                let head = (
                    &point.attributes[..],
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.flags,
                );
                let mut values = vec![
                    (
                        "_count",
                        None,
                        Kind::Counter,
                        Value::Number(point.count as f64),
                    ),
                    ("_sum", None, Kind::Counter, Value::Number(point.sum)),
                ];
                for quantile in &point.quantile_values {
                    let label = Some(quantile.quantile.to_string());
                    values.push(("", label, Kind::Gauge, Value::Number(quantile.value)));
                }
                reference.add(metric, resource, gauge, head, Some(values));
            }
        }
    }
}

proptest! {
    #[test]
    fn metrics_agree_with_what_prost_decodes(request in metrics_request()) {
        let bytes = request.encode_to_vec();
        let decoded = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        let expected = reference(&decoded);
        let batch = metrics(&bytes).unwrap();
        prop_assert_eq!(samples(&batch), expected.samples);
        prop_assert_eq!(batch.rejects.sample_count(), expected.refused);
    }

    #[test]
    fn logs_agree_with_what_prost_decodes(request in logs_request()) {
        let bytes = request.encode_to_vec();
        let decoded = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        let (mut expected, mut refused) = (vec![], 0);
        for in_resource in &decoded.resource_logs {
            let resource = in_resource.resource.as_ref().map_or(vec![], |found| pairs(&found.attributes));
            for record in in_resource.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                let nanos = [record.time_unix_nano, record.observed_time_unix_nano];
                let Some(at) = nanos.into_iter().find(|nanos| *nanos > 0) else {
                    refused += 1;
                    continue;
                };
                let mut all = vec![("event.name".to_owned(), record.event_name.clone())];
                all.extend(pairs(&record.attributes));
                all.extend(resource.clone());
                let severity = if (1..=24).contains(&record.severity_number) {
                    Severity::from_number(i64::from(record.severity_number))
                } else {
                    Severity::from_name(&record.severity_text)
                };
                expected.push(crate::event::LogRecord {
                    at: Timestamp::from_nanos(at.cast_signed()),
                    severity,
                    body: record.body.as_ref().map_or(String::new(), pb_text),
                    attributes: Labels::new(all),
                    count: 1,
                });
            }
        }
        let batch = logs(&bytes).unwrap();
        prop_assert_eq!(batch.logs, expected);
        prop_assert_eq!(batch.rejects.log_count(), refused);
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
