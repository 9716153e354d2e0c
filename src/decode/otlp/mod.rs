//! OpenTelemetry's protocol in protobuf: export requests of metrics and of logs.
//!
//! What is stored or passed on as `MetricsData` and `LogsData` has the same fields and is read too.
//!
//! - The labels of a series are the attributes of its point and of its resource; where both have a
//!   key, the point wins. Names keep their dots. The scope is passed over.
//! - A sum is a counter if it is monotonic, else a gauge. A summary becomes `NAME_count` and
//!   `NAME_sum`, which count, and `NAME{quantile="…"}`, which are gauges.
//! - "No recorded value" is a stale marker. Exemplars are passed over.

use std::borrow::Cow;

use super::{
    DecodeError, Fault, Refusal,
    protobuf::{Field, Reader},
};
use crate::event::Batch;

pub(super) mod points;
pub(super) mod value;

use points::{
    Attributes, Buckets, Data, ExplicitPoint, ExponentialPoint, Metric, PointData, PointHead,
    Record, Resource, SummaryPoint,
};
use value::AnyValue;

const METRICS: &str = "otlp metrics";
const LOGS: &str = "otlp logs";

/// Decodes an `ExportMetricsServiceRequest`.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn metrics(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut batch = Batch::default();
    each_in_resource(METRICS, bytes, |resource, field| {
        metric(field.message()?, &mut batch, resource)
    })?;
    Ok(batch)
}

/// Decodes an `ExportLogsServiceRequest`.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn logs(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut batch = Batch::default();
    each_in_resource(LOGS, bytes, |resource, field| {
        match part(record(field.message()?))? {
            Ok(record) => record.add(&mut batch, resource),
            Err(refusal) => points::refuse_record(&mut batch, &refusal),
        }
        Ok(())
    })?;
    Ok(batch)
}

/// Calls `each` with every metric or log record and its resource. Both requests nest alike:
/// resource (1), then scopes (2), then what they hold (2).
fn each_in_resource<'a>(
    format: &'static str,
    bytes: &'a [u8],
    mut each: impl FnMut(&Resource<'a>, Field<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    Reader::new(format, bytes).for_each(|field| {
        if field.number != 1 {
            return Ok(());
        }
        let message = field.message()?;
        // The resource may stand behind what it is the resource of.
        let resource = part(resource(message))?;
        message.for_each(|field| {
            if field.number != 2 {
                return Ok(());
            }
            field.message()?.for_each(|field| match field.number {
                2 => each(&resource, field),
                _ => Ok(()),
            })
        })
    })
}

/// Tells damage of the whole from the refusal of a part.
fn part<T>(result: Result<T, Fault>) -> Result<Result<T, Refusal>, DecodeError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Part(refusal)) => Ok(Err(refusal)),
        Err(Fault::Whole(error)) => Err(error),
    }
}

fn resource(message: Reader<'_>) -> Result<Attributes<'_>, Fault> {
    let mut attributes = Vec::new();
    message.for_each(|field| match field.number {
        1 => field.message()?.for_each(|field| match field.number {
            1 => attribute(&field, &mut attributes),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok(attributes)
}

fn attribute<'a>(field: &Field<'a>, attributes: &mut Attributes<'a>) -> Result<(), Fault> {
    let (key, value) = value::key_value(field.message()?)?;
    attributes.push((key, value.into_text()));
    Ok(())
}

fn metric(
    message: Reader<'_>,
    batch: &mut Batch,
    resource: &Resource<'_>,
) -> Result<(), DecodeError> {
    let (mut name, mut unit, mut data) = (Ok(""), Ok(""), None);
    message.for_each(|field| {
        match field.number {
            1 => name = part(field.text())?,
            3 => unit = part(field.text())?,
            5 | 7 | 9 | 10 | 11 => data = Some(field),
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    let Some(field) = data else { return Ok(()) };
    let message = field.message()?;
    let data = metric_data(field.number, message)?;
    let (name, refused) = match name {
        Ok(name) => (name, None),
        Err(refusal) => ("\u{fffd}", Some(refusal)),
    };
    // A unit that is not UTF-8 is a unit that is not known.
    let metric = Metric {
        name,
        unit: unit.unwrap_or(""),
        data,
    };
    message.for_each(|field| {
        if field.number == 1 {
            let point = part(point(data, field.message()?))?;
            metric.add(batch, resource, refused.clone().map_or(point, Err));
        }
        Ok(())
    })
}

/// Reads temporality and monotony, which may stand behind the points.
fn metric_data(number: u32, message: Reader<'_>) -> Result<Data, DecodeError> {
    let (mut temporality, mut monotonic) = (0, false);
    if let 7 | 9 | 10 = number {
        message.for_each(|field| {
            match field.number {
                2 => temporality = field.int64()?,
                3 if number == 7 => monotonic = field.boolean()?,
                _ => {}
            }
            Ok::<_, DecodeError>(())
        })?;
    }
    Ok(match number {
        7 => Data::Sum {
            monotonic,
            temporality,
        },
        9 => Data::Histogram { temporality },
        10 => Data::Exponential { temporality },
        11 => Data::Summary,
        _ => Data::Gauge,
    })
}

fn point(data: Data, message: Reader<'_>) -> Result<(PointHead<'_>, PointData), Fault> {
    match data {
        Data::Gauge | Data::Sum { .. } => number_point(message),
        Data::Histogram { .. } => explicit_point(message),
        Data::Exponential { .. } => exponential_point(message),
        Data::Summary => summary_point(message),
    }
}

fn number_point(message: Reader<'_>) -> Result<(PointHead<'_>, PointData), Fault> {
    let mut head = PointHead::default();
    let mut value = None;
    message.for_each(|field| {
        match field.number {
            2 => head.start_nanos = field.fixed64()?,
            3 => head.at_nanos = field.fixed64()?,
            4 => value = Some(field.double()?),
            6 => value = Some(field.fixed64()?.cast_signed() as f64),
            7 => attribute(&field, &mut head.attributes)?,
            8 => head.flags = field.varint()?,
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    Ok((head, PointData::Number(value)))
}

fn explicit_point(message: Reader<'_>) -> Result<(PointHead<'_>, PointData), Fault> {
    let mut head = PointHead::default();
    let mut point = ExplicitPoint::default();
    message.for_each(|field| {
        match field.number {
            2 => head.start_nanos = field.fixed64()?,
            3 => head.at_nanos = field.fixed64()?,
            4 => point.count = field.fixed64()?,
            5 => point.sum = Some(field.double()?),
            6 => field.each_fixed64(|count| point.counts.push(count))?,
            7 => field.each_fixed64(|bits| point.bounds.push(f64::from_bits(bits)))?,
            9 => attribute(&field, &mut head.attributes)?,
            10 => head.flags = field.varint()?,
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    Ok((head, PointData::Explicit(point)))
}

fn exponential_point(message: Reader<'_>) -> Result<(PointHead<'_>, PointData), Fault> {
    let mut head = PointHead::default();
    let mut point = ExponentialPoint::default();
    message.for_each(|field| {
        match field.number {
            1 => attribute(&field, &mut head.attributes)?,
            2 => head.start_nanos = field.fixed64()?,
            3 => head.at_nanos = field.fixed64()?,
            4 => point.count = field.fixed64()?,
            5 => point.sum = Some(field.double()?),
            6 => point.scale = field.sint32()?,
            7 => point.zero_count = field.fixed64()?,
            8 => buckets(field.message()?, &mut point.positive)?,
            9 => buckets(field.message()?, &mut point.negative)?,
            10 => head.flags = field.varint()?,
            14 => point.zero_threshold = field.double()?,
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    Ok((head, PointData::Exponential(point)))
}

fn buckets(message: Reader<'_>, buckets: &mut Buckets) -> Result<(), DecodeError> {
    message.for_each(|field| match field.number {
        1 => {
            buckets.offset = field.sint32()?;
            Ok(())
        }
        2 => field.each_varint(|count| buckets.counts.push(count)),
        _ => Ok(()),
    })
}

fn summary_point(message: Reader<'_>) -> Result<(PointHead<'_>, PointData), Fault> {
    let mut head = PointHead::default();
    let mut point = SummaryPoint::default();
    message.for_each(|field| {
        match field.number {
            2 => head.start_nanos = field.fixed64()?,
            3 => head.at_nanos = field.fixed64()?,
            4 => point.count = field.fixed64()?,
            5 => point.sum = field.double()?,
            6 => {
                let mut quantile = (0.0, 0.0);
                field.message()?.for_each(|field| {
                    match field.number {
                        1 => quantile.0 = field.double()?,
                        2 => quantile.1 = field.double()?,
                        _ => {}
                    }
                    Ok::<_, DecodeError>(())
                })?;
                point.quantiles.push(quantile);
            }
            7 => attribute(&field, &mut head.attributes)?,
            8 => head.flags = field.varint()?,
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    Ok((head, PointData::Summary(point)))
}

fn record(message: Reader<'_>) -> Result<Record<'_>, Fault> {
    let mut record = Record {
        at_nanos: 0,
        observed_nanos: 0,
        severity_number: 0,
        severity_text: Cow::Borrowed(""),
        body: AnyValue::Absent,
        attributes: Vec::new(),
        event_name: Cow::Borrowed(""),
    };
    message.for_each(|field| {
        match field.number {
            1 => record.at_nanos = field.fixed64()?,
            2 => record.severity_number = field.int64()?,
            3 => record.severity_text = Cow::Borrowed(field.text()?),
            5 => record.body = AnyValue::read(field.message()?)?,
            6 => attribute(&field, &mut record.attributes)?,
            11 => record.observed_nanos = field.fixed64()?,
            12 => record.event_name = Cow::Borrowed(field.text()?),
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    Ok(record)
}

#[cfg(test)]
pub(super) mod generated;
#[cfg(test)]
mod tests;
