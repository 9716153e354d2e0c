//! Random export requests, for the tests of both forms.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{
        AnyValue as PbValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
        any_value::Value as Pb,
    },
    logs::v1::{LogRecord as PbRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        self as pb, Metric as PbMetric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        exponential_histogram_data_point::Buckets as PbBuckets, metric::Data as PbData,
        number_data_point::Value as PbNumber, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource as PbResource,
};
use proptest::{collection::vec, option, prelude::*};

fn text(text: &str) -> PbValue {
    PbValue {
        value: Some(Pb::StringValue(text.to_owned())),
    }
}

pub(super) fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

fn any_value() -> impl Strategy<Value = PbValue> {
    let leaf = prop_oneof![
        "[a-z\"]{0,2}".prop_map(Pb::StringValue),
        any::<bool>().prop_map(Pb::BoolValue),
        any::<i64>().prop_map(Pb::IntValue),
        any::<f64>().prop_map(Pb::DoubleValue),
        vec(any::<u8>(), 0..5).prop_map(Pb::BytesValue),
    ];
    let leaf = option::of(leaf).prop_map(|value| PbValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list =
            vec(inner.clone(), 0..3).prop_map(|values| Pb::ArrayValue(ArrayValue { values }));
        let map = vec(("[a-z]{1,2}", inner), 0..3).prop_map(|pairs| {
            let values = pairs.into_iter().map(|(key, value)| KeyValue {
                key,
                value: Some(value),
                ..KeyValue::default()
            });
            Pb::KvlistValue(KeyValueList {
                values: values.collect(),
            })
        });
        prop_oneof![list, map].prop_map(|value| PbValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let one = ("[a-d]{1,2}", any_value()).prop_map(|(key, value)| KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    });
    vec(one, 0..3)
}

/// Attributes, start, time and flags.
type Head = (Vec<KeyValue>, u64, u64, u32);

fn head() -> impl Strategy<Value = Head> {
    (
        attributes(),
        0u64..3,
        prop_oneof![1 => Just(0u64), 9 => 1u64..9, 1 => any::<u64>()],
        0u32..2,
    )
}

fn buckets() -> impl Strategy<Value = Option<PbBuckets>> {
    option::of((-5i32..5, vec(0u64..3, 0..3))).prop_map(|side| {
        side.map(|(offset, bucket_counts)| PbBuckets {
            offset,
            bucket_counts,
        })
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "one strategy for each of the five kinds of metric"
)]
fn data() -> impl Strategy<Value = PbData> {
    let number = (
        head(),
        option::of(prop_oneof![
            any::<f64>().prop_map(PbNumber::AsDouble),
            any::<i64>().prop_map(PbNumber::AsInt),
        ]),
    )
        .prop_map(|((attributes, start, at, flags), value)| NumberDataPoint {
            attributes,
            start_time_unix_nano: start,
            time_unix_nano: at,
            flags,
            value,
            exemplars: vec![],
        })
        .boxed();
    let explicit = (
        head(),
        option::of(any::<f64>()),
        vec(0u64..3, 0..4),
        vec(0u8..9, 0..3),
        0u64..2,
    )
        .prop_map(
            |((attributes, start, at, flags), sum, counts, bounds, off)| pb::HistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: at,
                flags,
                count: counts.iter().sum::<u64>() + off,
                sum,
                bucket_counts: counts,
                explicit_bounds: bounds.into_iter().map(f64::from).collect(),
                ..Default::default()
            },
        );
    let exponential = (
        head(),
        option::of(any::<f64>()),
        -11i32..22,
        0u64..3,
        buckets(),
        buckets(),
    )
        .prop_map(
            |((attributes, start, at, flags), sum, scale, zero_count, positive, negative)| {
                let side = |side: &Option<PbBuckets>| {
                    side.as_ref()
                        .map_or(0, |side| side.bucket_counts.iter().sum())
                };
                pb::ExponentialHistogramDataPoint {
                    attributes,
                    start_time_unix_nano: start,
                    time_unix_nano: at,
                    flags,
                    count: zero_count + side(&positive) + side(&negative),
                    sum,
                    scale,
                    zero_count,
                    positive,
                    negative,
                    ..Default::default()
                }
            },
        );
    let summary = (
        head(),
        0u64..9,
        any::<f64>(),
        vec((0.0..=1.0, any::<f64>()), 0..3),
    )
        .prop_map(|((attributes, start, at, flags), count, sum, quantiles)| {
            pb::SummaryDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: at,
                flags,
                count,
                sum,
                quantile_values: quantiles
                    .into_iter()
                    .map(|(quantile, value)| ValueAtQuantile { quantile, value })
                    .collect(),
            }
        });
    prop_oneof![
        vec(number.clone(), 0..3).prop_map(|data_points| PbData::Gauge(pb::Gauge { data_points })),
        (vec(number, 0..3), 0i32..4, any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| PbData::Sum(pb::Sum {
                data_points,
                aggregation_temporality,
                is_monotonic
            })
        ),
        (vec(explicit, 0..3), 0i32..4).prop_map(|(data_points, aggregation_temporality)| {
            PbData::Histogram(pb::Histogram {
                data_points,
                aggregation_temporality,
            })
        }),
        (vec(exponential, 0..3), 0i32..4).prop_map(|(data_points, aggregation_temporality)| {
            PbData::ExponentialHistogram(pb::ExponentialHistogram {
                data_points,
                aggregation_temporality,
            })
        }),
        vec(summary, 0..3).prop_map(|data_points| PbData::Summary(pb::Summary { data_points })),
    ]
}

pub(in crate::decode) fn metrics_request() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let metric = (
        "[a-c.]{0,3}",
        prop_oneof!["s", "By", "1", "x"],
        option::of(data()),
    )
        .prop_map(|(name, unit, data)| PbMetric {
            name,
            unit,
            data,
            ..PbMetric::default()
        });
    let scope = ("[ab]?", "[12]?").prop_map(|(name, version)| InstrumentationScope {
        name,
        version,
        ..InstrumentationScope::default()
    });
    let of_resource = (
        option::of(attributes()),
        option::of(scope),
        vec(metric, 0..3),
    );
    vec(of_resource, 0..3).prop_map(|resources| {
        let resource_metrics =
            resources
                .into_iter()
                .map(|(attributes, scope, metrics)| ResourceMetrics {
                    resource: attributes.map(resource),
                    scope_metrics: vec![ScopeMetrics {
                        scope,
                        metrics,
                        ..ScopeMetrics::default()
                    }],
                    ..ResourceMetrics::default()
                });
        ExportMetricsServiceRequest {
            resource_metrics: resource_metrics.collect(),
        }
    })
}

pub(in crate::decode) fn logs_request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (
        0u64..3,
        0u64..3,
        0i32..26,
        "[a-z]{0,5}",
        option::of(any_value()),
        attributes(),
    )
        .prop_map(
            |(at, observed, number, severity_text, body, attributes)| PbRecord {
                time_unix_nano: at,
                observed_time_unix_nano: observed,
                severity_number: number,
                severity_text,
                body,
                attributes,
                event_name: if number % 5 == 0 {
                    "started".to_owned()
                } else {
                    String::new()
                },
                ..PbRecord::default()
            },
        );
    vec((option::of(attributes()), vec(record, 0..3)), 0..3).prop_map(|resources| {
        let resource_logs = resources
            .into_iter()
            .map(|(attributes, log_records)| ResourceLogs {
                resource: attributes.map(resource),
                scope_logs: vec![ScopeLogs {
                    log_records,
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            });
        ExportLogsServiceRequest {
            resource_logs: resource_logs.collect(),
        }
    })
}

pub(super) fn resource(attributes: Vec<KeyValue>) -> PbResource {
    PbResource {
        attributes,
        ..PbResource::default()
    }
}
