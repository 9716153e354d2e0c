//! The parts of a request that are read into values: attributes, points, records.

use std::borrow::Cow;

use super::{
    super::{
        Refusal,
        otlp::{
            points::{
                Attributes, Buckets, Data, ExplicitPoint, ExponentialPoint, PointData, PointHead,
                Record, SummaryPoint, severity,
            },
            value::AnyValue,
        },
    },
    cursor::Cursor,
};
use crate::event::Severity;

const TEMPORALITIES: [(&str, i64); 3] = [
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

/// The attributes of a resource, a point or a record.
pub(super) fn attributes<'v>(holder: &Cursor<'v, '_>) -> Result<Attributes<'v>, Refusal> {
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

/// What a metric with its data under this key says of its points.
pub(super) fn metric_data(
    key: &str,
    temporality: Option<&Cursor<'_, '_>>,
    monotonic: Option<&Cursor<'_, '_>>,
) -> Result<Data, Refusal> {
    let temporality = || temporality.map_or(Ok(0), |number| number.enumeration(&TEMPORALITIES));
    Ok(match key {
        "sum" => Data::Sum {
            monotonic: monotonic.map_or(Ok(false), Cursor::boolean)?,
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

/// A point of this kind of data.
pub(super) fn point<'v>(
    data: Data,
    item: &Cursor<'v, '_>,
) -> Result<(PointHead<'v>, PointData), Refusal> {
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

/// A log record.
pub(super) fn record<'v>(item: &Cursor<'v, '_>) -> Result<Record<'v>, Refusal> {
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

/// The severity of a record; `None` where it cannot be read.
pub(super) fn severity_of(item: &Cursor<'_, '_>) -> Option<Severity> {
    let number = severity_number(item).ok()?;
    let text = item.text_field("severityText").ok()?;
    Some(severity(number, &text))
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
    item.enum_field("severityNumber")
}
