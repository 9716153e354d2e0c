//! OpenTelemetry's protocol in JSON: export requests of metrics and of logs.
//!
//! Read as proto3 JSON with OTLP's own rules: 64-bit integers as strings or numbers, enums as
//! numbers (their names are accepted), unknown fields passed over. A value of a wrong type rejects
//! the point or record that it belongs to, and the reject tells its path; nothing becomes a silent
//! default. What the fields mean is the same as in [`otlp`](super::otlp).

use std::borrow::Cow;

use serde_json::Value;

use super::{
    DecodeError, Refusal,
    otlp::{
        points::{
            Attributes, Buckets, Data, ExplicitPoint, ExponentialPoint, Metric, PointData,
            PointHead, Record, Resource, SummaryPoint, refuse_record,
        },
        value::AnyValue,
    },
};
use crate::event::Batch;

mod cursor;

use cursor::Cursor;

const METRICS: &str = "otlp/json metrics";
const LOGS: &str = "otlp/json logs";

const TEMPORALITIES: [(&str, i64); 3] = [
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

/// Decodes an `ExportMetricsServiceRequest` in JSON; also one line of a `*.metrics.jsonl`.
///
/// # Errors
/// The bytes are no JSON object.
pub fn metrics(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let document = document(METRICS, bytes)?;
    let mut batch = Batch::default();
    let walked = each_in_resource(
        &Cursor::root(&document),
        ["resourceMetrics", "scopeMetrics", "metrics"],
        &mut |item, resource| {
            if let Err(refusal) = item.and_then(|item| metric(item, &mut batch, resource)) {
                refuse_sample(&mut batch, &refusal);
            }
        },
    );
    if let Err(refusal) = walked {
        refuse_sample(&mut batch, &refusal);
    }
    Ok(batch)
}

/// Decodes an `ExportLogsServiceRequest` in JSON; also one line of a `*.logs.jsonl`.
///
/// # Errors
/// The bytes are no JSON object.
pub fn logs(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let document = document(LOGS, bytes)?;
    let mut batch = Batch::default();
    let walked = each_in_resource(
        &Cursor::root(&document),
        ["resourceLogs", "scopeLogs", "logRecords"],
        &mut |item, resource| match item.and_then(record) {
            Ok(record) => record.add(&mut batch, resource),
            Err(refusal) => refuse_record(&mut batch, &refusal),
        },
    );
    if let Err(refusal) = walked {
        refuse_record(&mut batch, &refusal);
    }
    Ok(batch)
}

pub(super) fn document(format: &'static str, bytes: &[u8]) -> Result<Value, DecodeError> {
    let malformed = |offset, detail| DecodeError::Malformed {
        format,
        offset,
        detail,
    };
    match serde_json::from_slice(bytes) {
        Ok(document @ Value::Object(_)) => Ok(document),
        Ok(_) => Err(malformed(0, "the request is not a json object".to_owned())),
        Err(error) => {
            let lines_before = error.line().saturating_sub(1);
            let line_start: usize = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .take(lines_before)
                .map(<[u8]>::len)
                .sum();
            Err(malformed(
                (line_start + error.column()).min(bytes.len()),
                error.to_string(),
            ))
        }
    }
}

/// Calls `each` with every metric or log record and its resource; a container of a wrong type comes
/// as one refusal, in place of what it would hold.
fn each_in_resource(
    root: &Cursor<'_, '_>,
    [resources, scopes, items]: [&'static str; 3],
    each: &mut dyn FnMut(Result<&Cursor<'_, '_>, Refusal>, &Resource<'_>),
) -> Result<(), Refusal> {
    let Some(list) = root.field(resources)? else {
        return Ok(());
    };
    for in_resource in list.items()? {
        let resource = resource(&in_resource);
        let walk = |each: &mut dyn FnMut(Result<&Cursor<'_, '_>, Refusal>, &Resource<'_>)| {
            let Some(list) = in_resource.field(scopes)? else {
                return Ok(());
            };
            for in_scope in list.items()? {
                let walked = each_in_scope(&in_scope, items, &mut |item| each(Ok(item), &resource));
                if let Err(refusal) = walked {
                    each(Err(refusal), &resource);
                }
            }
            Ok(())
        };
        if let Err(refusal) = walk(each) {
            each(Err(refusal), &resource);
        }
    }
    Ok(())
}

fn each_in_scope(
    in_scope: &Cursor<'_, '_>,
    items: &'static str,
    each: &mut dyn FnMut(&Cursor<'_, '_>),
) -> Result<(), Refusal> {
    let Some(list) = in_scope.field(items)? else {
        return Ok(());
    };
    for item in list.items()? {
        each(&item);
    }
    Ok(())
}

fn refuse_sample(batch: &mut Batch, refusal: &Refusal) {
    batch
        .rejects
        .sample(refusal.reason, || refusal.detail.clone());
}

fn resource<'v>(in_resource: &Cursor<'v, '_>) -> Resource<'v> {
    match in_resource.field("resource")? {
        Some(resource) => attributes(&resource),
        None => Ok(Vec::new()),
    }
}

fn attributes<'v>(holder: &Cursor<'v, '_>) -> Result<Attributes<'v>, Refusal> {
    holder.list_field("attributes", |item| {
        let (key, value) = key_value(item)?;
        Ok((key, value.into_text()))
    })
}

fn key_value<'v>(item: &Cursor<'v, '_>) -> Result<(Cow<'v, str>, AnyValue<'v>), Refusal> {
    let value = item
        .field("value")?
        .map_or(Ok(AnyValue::Absent), |value| any_value(&value))?;
    Ok((item.text_field("key")?, value))
}

fn any_value<'v>(holder: &Cursor<'v, '_>) -> Result<AnyValue<'v>, Refusal> {
    if let Some(value) = holder.field("stringValue")? {
        return value.text().map(AnyValue::Text);
    }
    if let Some(value) = holder.field("boolValue")? {
        return value.boolean().map(AnyValue::Boolean);
    }
    if let Some(value) = holder.field("intValue")? {
        return value.i64().map(AnyValue::Integer);
    }
    if let Some(value) = holder.field("doubleValue")? {
        return value.double().map(AnyValue::Double);
    }
    if let Some(value) = holder.field("arrayValue")? {
        return value
            .list_field("values", |item| any_value(item))
            .map(AnyValue::List);
    }
    if let Some(value) = holder.field("kvlistValue")? {
        return value
            .list_field("values", |item| key_value(item))
            .map(AnyValue::Map);
    }
    if let Some(value) = holder.field("bytesValue")? {
        // It is base64 here, and base64 is what becomes of bytes.
        return value.text().map(AnyValue::Text);
    }
    Ok(AnyValue::Absent)
}

fn metric(
    item: &Cursor<'_, '_>,
    batch: &mut Batch,
    resource: &Resource<'_>,
) -> Result<(), Refusal> {
    let (name, unit) = (item.text_field("name"), item.text_field("unit"));
    for key in [
        "gauge",
        "sum",
        "histogram",
        "exponentialHistogram",
        "summary",
    ] {
        let Some(holder) = item.field(key)? else {
            continue;
        };
        let Some(list) = holder.field("dataPoints")? else {
            return Ok(());
        };
        let head = metric_data(key, &holder);
        for item in list.items()? {
            let mut add = || -> Result<(), Refusal> {
                let (name, unit, data) = (name.clone()?, unit.clone()?, head.clone()?);
                let metric = Metric {
                    name: &name,
                    unit: &unit,
                    data,
                };
                metric.add(batch, resource, point(data, &item));
                Ok(())
            };
            if let Err(refusal) = add() {
                refuse_sample(batch, &refusal);
            }
        }
        return Ok(());
    }
    Ok(())
}

fn metric_data(key: &str, holder: &Cursor<'_, '_>) -> Result<Data, Refusal> {
    let temporality = || holder.enum_field("aggregationTemporality", &TEMPORALITIES);
    Ok(match key {
        "sum" => Data::Sum {
            monotonic: holder
                .field("isMonotonic")?
                .map_or(Ok(false), |field| field.boolean())?,
            temporality: temporality()?,
        },
        "histogram" => Data::Histogram {
            temporality: temporality()?,
        },
        "exponentialHistogram" => Data::Exponential {
            temporality: temporality()?,
        },
        "summary" => Data::Summary,
        _ => Data::Gauge,
    })
}

fn point<'v>(data: Data, item: &Cursor<'v, '_>) -> Result<(PointHead<'v>, PointData), Refusal> {
    let head = PointHead {
        attributes: attributes(item)?,
        start_nanos: item.u64_field("startTimeUnixNano")?,
        at_nanos: item.u64_field("timeUnixNano")?,
        flags: item.u64_field("flags")?,
    };
    let point = match data {
        Data::Gauge | Data::Sum { .. } => PointData::Number(number(item)?),
        Data::Histogram { .. } => PointData::Explicit(ExplicitPoint {
            count: item.u64_field("count")?,
            sum: item.double_field("sum")?,
            counts: item.list_field("bucketCounts", count)?,
            bounds: item.list_field("explicitBounds", bound)?,
        }),
        Data::Exponential { .. } => PointData::Exponential(ExponentialPoint {
            count: item.u64_field("count")?,
            sum: item.double_field("sum")?,
            scale: item.i32_field("scale")?,
            zero_count: item.u64_field("zeroCount")?,
            zero_threshold: item.double_field("zeroThreshold")?.unwrap_or(0.0),
            positive: buckets(item, "positive")?,
            negative: buckets(item, "negative")?,
        }),
        Data::Summary => PointData::Summary(SummaryPoint {
            count: item.u64_field("count")?,
            sum: item.double_field("sum")?.unwrap_or(0.0),
            quantiles: item.list_field("quantileValues", |pair| {
                let number = |key| Ok(pair.double_field(key)?.unwrap_or(0.0));
                Ok((number("quantile")?, number("value")?))
            })?,
        }),
    };
    Ok((head, point))
}

fn number(item: &Cursor<'_, '_>) -> Result<Option<f64>, Refusal> {
    if item.has("asInt") {
        let value = item.field("asInt")?.map(|value| value.i64()).transpose()?;
        return Ok(value.map(|value| value as f64));
    }
    item.double_field("asDouble")
}

fn count(item: &Cursor<'_, '_>) -> Result<u64, Refusal> {
    item.u64()
}

fn bound(item: &Cursor<'_, '_>) -> Result<f64, Refusal> {
    item.double()
}

fn buckets(item: &Cursor<'_, '_>, key: &'static str) -> Result<Buckets, Refusal> {
    let Some(side) = item.field(key)? else {
        return Ok(Buckets::default());
    };
    Ok(Buckets {
        offset: side.i32_field("offset")?,
        counts: side.list_field("bucketCounts", count)?,
    })
}

fn record<'v>(item: &Cursor<'v, '_>) -> Result<Record<'v>, Refusal> {
    Ok(Record {
        at_nanos: item.u64_field("timeUnixNano")?,
        observed_nanos: item.u64_field("observedTimeUnixNano")?,
        severity_number: severity_number(item)?,
        severity_text: item.text_field("severityText")?,
        body: item
            .field("body")?
            .map_or(Ok(AnyValue::Absent), |body| any_value(&body))?,
        attributes: attributes(item)?,
        event_name: item.text_field("eventName")?,
    })
}

/// The number, also by its name: `SEVERITY_NUMBER_ERROR`, `SEVERITY_NUMBER_ERROR2`.
fn severity_number(item: &Cursor<'_, '_>) -> Result<i64, Refusal> {
    const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    if let Some(field) = item.field("severityNumber")?
        && let Some(name) = field
            .value
            .as_str()
            .and_then(|text| text.strip_prefix("SEVERITY_NUMBER_"))
    {
        let level = name.trim_end_matches(['2', '3', '4']);
        let step: i64 = name[level.len()..].parse().unwrap_or(1);
        if let Some(index) = LEVELS.iter().position(|candidate| *candidate == level)
            && step <= 4
        {
            return Ok(index as i64 * 4 + step);
        }
        if name == "UNSPECIFIED" {
            return Ok(0);
        }
    }
    item.enum_field("severityNumber", &[])
}

#[cfg(test)]
mod tests;
