//! Tests of OTLP in JSON: the table of what other decoders lose, and agreement with protobuf.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{InstrumentationScope, KeyValue, any_value::Value as Pb},
    metrics::v1::{NumberDataPoint, metric::Data as PbData, number_data_point::Value as PbNumber},
    resource::v1::Resource as PbResource,
};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    decode::otlp::{
        self,
        generated::{logs_request, metrics_request},
    },
    event::{Histogram, Labels, RejectReason, SeriesBlock, Severity, Value as Sample},
};

fn double(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

#[test]
fn a_name_that_stands_twice_refuses_its_point_even_without_a_value() {
    let attribute = |value: Value| json!({"key": "d", "value": value});
    let point = json!({
        "timeUnixNano": "1",
        "asDouble": 1.0,
        "attributes": [
            attribute(json!({})),
            attribute(json!({"stringValue": "a"})),
        ],
    });
    let metric = json!({"name": "m", "gauge": {"dataPoints": [point]}});
    let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    let batch = metrics(request.to_string().as_bytes()).unwrap();
    assert!(batch.series.is_empty(), "{batch:?}");
    assert_eq!(batch.rejects.samples[&RejectReason::BadLabels].count, 1);
}

fn base64(bytes: &[u8]) -> Value {
    super::super::otlp::value::base64_text(bytes).into()
}

fn encode_any(value: Option<&Pb>) -> Value {
    match value {
        None => json!({}),
        Some(Pb::StringValue(text)) => json!({ "stringValue": text }),
        Some(Pb::BoolValue(value)) => json!({ "boolValue": value }),
        Some(Pb::IntValue(value)) => json!({ "intValue": value.to_string() }),
        Some(Pb::DoubleValue(value)) => json!({ "doubleValue": double(*value) }),
        Some(Pb::BytesValue(bytes)) => json!({ "bytesValue": base64(bytes) }),
        Some(Pb::ArrayValue(list)) => {
            let values = list
                .values
                .iter()
                .map(|value| encode_any(value.value.as_ref()));
            json!({ "arrayValue": { "values": values.collect::<Vec<_>>() } })
        }
        Some(Pb::KvlistValue(map)) => {
            json!({ "kvlistValue": { "values": encode_pairs(&map.values) } })
        }
        Some(other) => panic!("{other:?} is not generated"),
    }
}

fn encode_pairs(pairs: &[KeyValue]) -> Value {
    let pair = |pair: &KeyValue| {
        let value = pair
            .value
            .as_ref()
            .map(|value| encode_any(value.value.as_ref()));
        json!({ "key": pair.key, "value": value })
    };
    pairs.iter().map(pair).collect()
}

fn encode_resource(resource: Option<&PbResource>) -> Value {
    resource.map_or(
        Value::Null,
        |found| json!({ "attributes": encode_pairs(&found.attributes) }),
    )
}

fn encode_scope(scope: Option<&InstrumentationScope>) -> Value {
    scope.map_or(
        Value::Null,
        |found| json!({ "name": found.name, "version": found.version }),
    )
}

/// The fields that all points have.
macro_rules! point {
    ($point:expr, $rest:tt) => {{
        let mut fields = json!($rest);
        fields["attributes"] = encode_pairs(&$point.attributes);
        fields["startTimeUnixNano"] = json!($point.start_time_unix_nano.to_string());
        fields["timeUnixNano"] = json!($point.time_unix_nano);
        fields["flags"] = json!($point.flags);
        fields
    }};
}

fn numbers(points: &[NumberDataPoint]) -> Vec<Value> {
    let one = |point: &NumberDataPoint| {
        let mut fields = point!(point, {});
        match point.value {
            Some(PbNumber::AsDouble(value)) => fields["asDouble"] = double(value),
            Some(PbNumber::AsInt(value)) => fields["asInt"] = json!(value.to_string()),
            None => {}
        }
        fields
    };
    points.iter().map(one).collect()
}

fn encode_metrics(request: &ExportMetricsServiceRequest) -> Vec<u8> {
    let data = |data: &PbData| match data {
        PbData::Gauge(gauge) => (
            "gauge",
            json!({ "dataPoints": numbers(&gauge.data_points) }),
        ),
        PbData::Sum(sum) => (
            "sum",
            json!({
                "dataPoints": numbers(&sum.data_points),
                "aggregationTemporality": sum.aggregation_temporality,
                "isMonotonic": sum.is_monotonic,
            }),
        ),
        PbData::Histogram(histogram) => (
            "histogram",
            json!({
                "aggregationTemporality": histogram.aggregation_temporality,
                "dataPoints": histogram.data_points.iter().map(|point| point!(point, {
                    "count": point.count.to_string(), "sum": point.sum.map(double),
                    "bucketCounts": point.bucket_counts, "explicitBounds": point.explicit_bounds,
                })).collect::<Vec<_>>(),
            }),
        ),
        PbData::ExponentialHistogram(histogram) => (
            "exponentialHistogram",
            json!({
                "aggregationTemporality": histogram.aggregation_temporality,
                "dataPoints": histogram.data_points.iter().map(|point| point!(point, {
                    "count": point.count, "sum": point.sum.map(double), "scale": point.scale,
                    "zeroCount": point.zero_count.to_string(), "zeroThreshold": point.zero_threshold,
                    "positive": point.positive.as_ref().map(|side| json!({
                        "offset": side.offset, "bucketCounts": side.bucket_counts,
                    })),
                    "negative": point.negative.as_ref().map(|side| json!({
                        "offset": side.offset, "bucketCounts": side.bucket_counts,
                    })),
                })).collect::<Vec<_>>(),
            }),
        ),
        // A zero is added because prost takes -0.0 for the default, and leaves it out.
        PbData::Summary(summary) => (
            "summary",
            json!({
                "dataPoints": summary.data_points.iter().map(|point| point!(point, {
                    "count": point.count, "sum": double(point.sum + 0.0),
                    "quantileValues": point.quantile_values.iter().map(|pair| json!({
                        "quantile": pair.quantile, "value": double(pair.value + 0.0),
                    })).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
            }),
        ),
    };
    let resources = request.resource_metrics.iter().map(|in_resource| {
        let scopes = in_resource.scope_metrics.iter().map(|scope| {
            let metrics = scope.metrics.iter().map(|metric| {
                let mut fields = Map::new();
                fields.insert("name".into(), json!(metric.name));
                fields.insert("unit".into(), json!(metric.unit));
                if let Some((key, value)) = metric.data.as_ref().map(data) {
                    fields.insert(key.into(), value);
                }
                Value::Object(fields)
            });
            json!({ "scope": encode_scope(scope.scope.as_ref()), "metrics": metrics.collect::<Vec<_>>() })
        });
        let resource = encode_resource(in_resource.resource.as_ref());
        json!({ "resource": resource, "scopeMetrics": scopes.collect::<Vec<_>>() })
    });
    json!({ "resourceMetrics": resources.collect::<Vec<_>>() })
        .to_string()
        .into_bytes()
}

fn encode_logs(request: &ExportLogsServiceRequest) -> Vec<u8> {
    let resources = request.resource_logs.iter().map(|in_resource| {
        let scopes = in_resource.scope_logs.iter().map(|scope| {
            let records = scope.log_records.iter().map(|record| {
                json!({
                    "timeUnixNano": record.time_unix_nano.to_string(),
                    "observedTimeUnixNano": record.observed_time_unix_nano,
                    "severityNumber": record.severity_number,
                    "severityText": record.severity_text,
                    "body": record.body.as_ref().map(|body| encode_any(body.value.as_ref())),
                    "attributes": encode_pairs(&record.attributes),
                    "eventName": record.event_name,
                })
            });
            json!({ "logRecords": records.collect::<Vec<_>>() })
        });
        let resource = encode_resource(in_resource.resource.as_ref());
        json!({ "resource": resource, "scopeLogs": scopes.collect::<Vec<_>>() })
    });
    json!({ "resourceLogs": resources.collect::<Vec<_>>() })
        .to_string()
        .into_bytes()
}

proptest! {
    #[test]
    fn metrics_in_json_mean_the_same_as_in_protobuf(request in metrics_request()) {
        let from_json = metrics(&encode_metrics(&request)).unwrap();
        let from_protobuf = otlp::metrics(&request.encode_to_vec()).unwrap();
        prop_assert_eq!(format!("{from_json:?}"), format!("{from_protobuf:?}"));
    }

    #[test]
    fn logs_in_json_mean_the_same_as_in_protobuf(request in logs_request()) {
        let from_json = logs(&encode_logs(&request)).unwrap();
        prop_assert_eq!(from_json, otlp::logs(&request.encode_to_vec()).unwrap());
    }

    #[test]
    fn arbitrary_text_never_panics(text in r#"[\[\]{}":,a-z0-9.-]{0,60}"#, bytes: Vec<u8>) {
        metrics(text.as_bytes()).ok();
        logs(text.as_bytes()).ok();
        metrics(&bytes).ok();
    }

    #[test]
    fn any_value_anywhere_never_panics(request in metrics_request(), place: prop::sample::Index) {
        // A value of another type in the place of any one value of a request.
        let mut document: Value = serde_json::from_slice(&encode_metrics(&request)).unwrap();
        for odd in [json!(true), json!("x"), json!(-1.5), json!([1]), json!({"a": 1}), Value::Null] {
            let mut count = 0;
            visit(&mut document, &mut |_| count += 1);
            let target = place.index(count);
            let mut at = 0;
            visit(&mut document, &mut |value| {
                if at == target {
                    *value = odd.clone();
                }
                at += 1;
            });
            metrics(document.to_string().as_bytes()).ok();
        }
    }
}

fn visit(value: &mut Value, each: &mut dyn FnMut(&mut Value)) {
    each(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, each)),
        Value::Object(fields) => fields.values_mut().for_each(|field| visit(field, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn gauge(point: &str) -> Batch {
    let text = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
    );
    metrics(text.as_bytes()).unwrap()
}

#[test]
fn numbers_are_read_in_every_legal_form() {
    for (field, expected) in [
        (r#""asDouble":1.5"#, 1.5),
        (r#""asDouble":5"#, 5.0),
        (r#""asDouble":"2.5""#, 2.5),
        (r#""asInt":"7""#, 7.0),
        (r#""asInt":7"#, 7.0),
        (r#""asInt":-7"#, -7.0),
        (r#""asInt":1.0"#, 1.0),
        (r#""asInt":-1e2"#, -100.0),
        (r#""asInt":"1e2""#, 100.0),
        (r#""asDouble":"NaN""#, f64::NAN),
        (r#""asDouble":"Infinity""#, f64::INFINITY),
        (r#""asDouble":"-Infinity""#, f64::NEG_INFINITY),
    ] {
        for time in [r#""timeUnixNano":"9""#, r#""timeUnixNano":9"#] {
            let batch = gauge(&format!("{{{time},{field},\"unknown\":[{{}}]}}"));
            let Sample::Number(value) = batch.series[0].points[0].value else {
                panic!("{field}")
            };
            assert!(
                value == expected || (value.is_nan() && expected.is_nan()),
                "{field}: {value}"
            );
        }
    }
}

#[test]
fn a_wrong_type_rejects_its_point_and_tells_the_path() {
    for (point, path) in [
        (
            r#"{"timeUnixNano":9,"asDouble":"abc"}"#,
            "dataPoints[0].asDouble must be a number",
        ),
        (
            r#"{"timeUnixNano":9,"asDouble":true}"#,
            "asDouble must be a number, found true",
        ),
        (
            r#"{"timeUnixNano":9,"asInt":1.5}"#,
            "asInt must be an integer, found 1.5",
        ),
        (
            r#"{"timeUnixNano":-1,"asInt":1}"#,
            "timeUnixNano must be an unsigned integer",
        ),
        (
            r#"{"timeUnixNano":9,"asInt":1,"attributes":{}}"#,
            "attributes must be an array",
        ),
        (
            r#"{"timeUnixNano":9,"asInt":1,"attributes":[{"key":"a","value":{"intValue":[]}}]}"#,
            "attributes[0].value.intValue must be an integer, found an array",
        ),
        (
            "7",
            "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0] must be an object",
        ),
    ] {
        let batch = gauge(&format!(r#"{point},{{"timeUnixNano":9,"asInt":1}}"#));
        assert_eq!(batch.sample_count(), 1, "{point}");
        let reject = &batch.rejects.samples[&RejectReason::Malformed];
        assert_eq!(reject.count, 1);
        assert!(reject.example.contains(path), "{}", reject.example);
    }
}

#[test]
fn a_point_without_value_is_a_reject_unless_it_says_so() {
    let batch = gauge(r#"{"timeUnixNano":9},{"timeUnixNano":9,"flags":1}"#);
    assert_eq!(batch.rejects.samples[&RejectReason::NoValue].count, 1);
    assert_eq!(batch.series[0].points[0].value, Sample::Stale);
}

#[test]
fn enums_are_read_as_numbers_and_as_names() {
    for (temporality, good) in [
        ("2", true),
        ("\"AGGREGATION_TEMPORALITY_CUMULATIVE\"", true),
        ("\"2\"", true),
        ("0", false),
        ("\"sometimes\"", false),
    ] {
        let text = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","sum":{{"isMonotonic":true,
            "aggregationTemporality":{temporality},"dataPoints":[{{"timeUnixNano":9,"asInt":1}}]}}}}]}}]}}]}}"#
        );
        let batch = metrics(text.as_bytes()).unwrap();
        let found = (batch.sample_count(), batch.rejects.sample_count());
        assert_eq!(found, (u64::from(good), u64::from(!good)), "{temporality}");
    }
    for (severity, number) in [
        ("17", 17),
        ("\"SEVERITY_NUMBER_ERROR\"", 17),
        ("\"SEVERITY_NUMBER_WARN3\"", 15),
        ("\"SEVERITY_NUMBER_UNSPECIFIED\"", 0),
    ] {
        let text = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":9,"severityNumber":{severity}}}]}}]}}]}}"#
        );
        assert_eq!(
            logs(text.as_bytes()).unwrap().logs[0].severity.number(),
            number,
            "{severity}"
        );
    }
}

#[test]
fn empty_requests_are_empty_and_broken_ones_are_refused_at_their_place() {
    for text in [
        "{}",
        r#"{"resourceMetrics":[]}"#,
        r#"{"resourceMetrics":[{}]}"#,
        r#"{"x":1}"#,
    ] {
        assert!(metrics(text.as_bytes()).unwrap().is_empty(), "{text}");
        assert!(logs(text.as_bytes()).unwrap().is_empty(), "{text}");
    }
    for (text, place) in [("", 0), ("[]", 0), ("{\"a\":\n1", 7), ("{\"a\":}", 6)] {
        let Err(DecodeError::Malformed { offset, .. }) = metrics(text.as_bytes()) else {
            panic!("{text}")
        };
        assert_eq!(offset, place, "{text}");
    }
}

#[test]
fn half_a_pair_of_surrogates_or_a_deep_value_costs_only_itself() {
    let text = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
        {"timeUnixNano":"9","body":{"stringValue":"ok"}},
        {"timeUnixNano":"9","body":{"stringValue":"cut \ud83d"}}]}]}]}"#;
    let batch = logs(text).unwrap();
    let bodies: Vec<_> = batch.logs.iter().map(|record| &*record.body).collect();
    assert_eq!(bodies, ["ok", "cut \u{fffd}"]);

    let open = r#"{"arrayValue":{"values":["#.repeat(60);
    let close = "]}}".repeat(60);
    let attribute = format!(r#"{{"key":"a","value":{open}{{"stringValue":"x"}}{close}}}"#);
    let deep = format!(r#"{{"timeUnixNano":9,"asInt":1,"attributes":[{attribute}]}}"#);
    let batch = gauge(&format!(r#"{deep},{{"timeUnixNano":9,"asInt":1}}"#));
    assert_eq!(batch.sample_count(), 1);
    let reject = &batch.rejects.samples[&RejectReason::Malformed];
    assert_eq!(reject.count, 1);
    assert!(
        reject.example.contains("dataPoints[0] cannot be read"),
        "{reject:?}"
    );
}

#[test]
fn a_container_of_a_wrong_type_is_one_reject_and_its_neighbours_stand() {
    let good = r#"{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":9,"asInt":1}]}}]}]}"#;
    for bad in [
        "5",
        r#"{"scopeMetrics":{}}"#,
        r#"{"scopeMetrics":[5]}"#,
        r#"{"scopeMetrics":[{"metrics":5}]}"#,
        r#"{"scopeMetrics":[{"metrics":[5]}]}"#,
        r#"{"scopeMetrics":[{"metrics":[{"gauge":5}]}]}"#,
        r#"{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":5}}]}]}"#,
    ] {
        let batch = metrics(format!(r#"{{"resourceMetrics":[{bad},{good}]}}"#).as_bytes()).unwrap();
        assert_eq!(
            (batch.sample_count(), batch.rejects.sample_count()),
            (1, 1),
            "{bad}"
        );
    }
    let batch = metrics(br#"{"resourceMetrics":5}"#).unwrap();
    assert_eq!(batch.rejects.sample_count(), 1);
}

#[test]
fn a_record_that_cannot_be_read_is_of_its_resource_and_has_the_severity_that_is_told() {
    let host = r#"{"attributes":[{"key":"host","value":{"stringValue":"h1"}}]}"#;
    let of = |record: &str| {
        let request = format!(
            r#"{{"resourceLogs":[{{"resource":{host},"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#
        );
        let batch = logs(request.as_bytes()).unwrap();
        assert_eq!((batch.logs.len(), batch.rejects.log_count()), (0, 1));
        let [unread] = &batch.unread[..] else {
            panic!("{batch:?}")
        };
        assert_eq!(unread.attributes, Labels::new([("host", "h1")]));
        unread.severity
    };
    for (record, severity) in [
        (r#"{"severityNumber":17}"#, Some(Severity::ERROR)),
        (r#"{"severityText":"info"}"#, Some(Severity::INFO)),
        (
            r#"{"timeUnixNano":"9","body":5,"severityNumber":9}"#,
            Some(Severity::INFO),
        ),
        (
            r#"{"timeUnixNano":"9","severityNumber":17.5,"severityText":"INFO"}"#,
            None,
        ),
        ("5", None),
    ] {
        assert_eq!(of(record), severity, "{record}");
    }
    // Of a resource that cannot be read nobody knows whose records they are.
    let bad =
        r#"{"resourceLogs":[{"resource":{"attributes":5},"scopeLogs":[{"logRecords":[{}]}]}]}"#;
    let batch = logs(bad.as_bytes()).unwrap();
    assert_eq!((batch.rejects.log_count(), batch.unread.len()), (1, 0));
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let batch = metrics(include_bytes!(
        "../../../fixtures/payloads/otlp_metrics_example.json"
    ))
    .unwrap();
    let names: Vec<_> = batch
        .series
        .iter()
        .map(|block| block.labels.to_string())
        .collect();
    assert_eq!(
        names[0],
        r#"my.counter{my.counter.attr="some value",otel_scope_name="my.library",otel_scope_version="1.0.0",service.name="my.service"}"#
    );
    let value = |block: &SeriesBlock| block.points[0].value.clone();
    assert_eq!(value(&batch.series[0]), Sample::Number(5.0));
    assert_eq!(value(&batch.series[1]), Sample::Number(10.0));
    // The example contradicts the specification: three counts with one bound.
    assert_eq!(batch.sample_count(), 2);
    let reject = &batch.rejects.samples[&RejectReason::BadHistogram];
    assert!(
        reject.example.contains("my.histogram"),
        "{}",
        reject.example
    );

    let batch = logs(include_bytes!(
        "../../../fixtures/payloads/otlp_logs_example.json"
    ))
    .unwrap();
    let record = &batch.logs[0];
    assert_eq!(
        (record.body.as_str(), record.severity.number()),
        ("Example log record", 9)
    );
    let attribute = |name| record.attributes.get(name).unwrap();
    assert_eq!(attribute("double.attribute"), "637.704");
    assert_eq!(attribute("array.attribute"), r#"["many","values"]"#);
    assert_eq!(
        attribute("map.attribute"),
        r#"{"some.map.key":"some value"}"#
    );
    assert_eq!(attribute("service.name"), "my.service");
}

#[test]
fn a_histogram_in_json_keeps_its_parts() {
    let text = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","histogram":{
        "aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"9","count":"3","sum":4.5,
        "bucketCounts":["1","2"],"explicitBounds":[0.5]}]}}]}]}]}"#;
    let batch = metrics(text).unwrap();
    let expected = Histogram::Explicit {
        bounds: vec![0.5],
        counts: vec![1.0, 2.0],
        sum: Some(4.5),
    };
    assert_eq!(
        batch.series[0].points[0].value,
        Sample::Histogram(Box::new(expected))
    );
}
