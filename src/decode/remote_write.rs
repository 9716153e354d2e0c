//! Prometheus remote write 1.0: `prometheus.WriteRequest`, already decompressed.

use super::{
    DecodeError, Fault, Refusal, batches,
    native_histogram::{self, GAP_BUCKETS_MAX},
    protobuf::{Field, Reader},
};
use crate::event::{
    Batch, Kind, Labels, METRIC_NAME, Point, RejectReason, SeriesMeta, Timestamp, Value,
};

const FORMAT: &str = "remote write 1.0";

/// Decodes a request. Exemplars and metadata are passed over: Prometheus sends both unasked, and a
/// request of nothing but metadata is an empty batch.
///
/// # Errors
/// The bytes are no protobuf, or cut off.
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut batch = Batch::default();
    let mut gap_budget = GAP_BUCKETS_MAX;
    Reader::new(FORMAT, bytes).for_each(|field| match field.number {
        1 => series(field.message()?, &mut batch, &mut gap_budget),
        _ => Ok(()),
    })?;
    Ok(batch)
}

fn series(
    message: Reader<'_>,
    batch: &mut Batch,
    gap_budget: &mut usize,
) -> Result<(), DecodeError> {
    // Labels may stand behind the samples, so they are read first.
    let labels = match labels(message) {
        Ok(labels) => Ok(labels),
        Err(Fault::Part(refusal)) => Err(refusal),
        Err(Fault::Whole(error)) => return Err(error),
    };
    message.for_each(|field| {
        let (kind, read) = match field.number {
            2 => (Kind::Unknown, sample(&field)),
            4 => (
                Kind::Histogram,
                native_histogram::decode(field.message()?, gap_budget),
            ),
            _ => return Ok(()),
        };
        let (labels, at, value) = match (&labels, read) {
            (_, Err(Fault::Whole(error))) => return Err(error),
            (Err(refusal), _) => {
                batch
                    .rejects
                    .sample(refusal.reason, || refusal.detail.clone());
                return Ok(());
            }
            (Ok(labels), Err(Fault::Part(refusal))) => {
                batch
                    .rejects
                    .sample(refusal.reason, || format!("{labels}: {}", refusal.detail));
                return Ok(());
            }
            (Ok(labels), Ok((at, value))) => (labels.clone(), at, value),
        };
        let meta = SeriesMeta {
            kind,
            ..SeriesMeta::default()
        };
        batches::append(
            batch,
            labels,
            meta,
            Point {
                at,
                start: None,
                value,
            },
        );
        Ok(())
    })
}

fn sample(field: &Field<'_>) -> Result<(Timestamp, Value), Fault> {
    let (mut value, mut millis) = (0.0, 0);
    field.message()?.for_each(|field| {
        match field.number {
            1 => value = field.double()?,
            2 => millis = field.int64()?,
            _ => {}
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok((
        native_histogram::millis(millis)?,
        Value::from_prometheus(value),
    ))
}

fn labels(message: Reader<'_>) -> Result<Labels, Fault> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    message.for_each(|field| {
        if field.number != 1 {
            return Ok(());
        }
        let (mut name, mut value) = ("", "");
        field.message()?.for_each(|field| {
            match field.number {
                1 => name = field.text()?,
                2 => value = field.text()?,
                _ => {}
            }
            Ok::<_, Fault>(())
        })?;
        pairs.push((name, value));
        Ok::<_, Fault>(())
    })?;
    check_labels(&pairs)?;
    Ok(Labels::new(pairs))
}

/// Demands that labels name a metric and that no name is empty or repeats.
pub(super) fn check_labels(pairs: &[(&str, &str)]) -> Result<(), Refusal> {
    let told = |what: &str| format!("{what} in {}", Labels::new(pairs.iter().copied()));
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(Refusal::new(
            RejectReason::BadLabels,
            told("a label without a name"),
        ));
    }
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[one, next]| one == next) {
        let what = format!("label {name:?} stands twice");
        return Err(Refusal::new(RejectReason::BadLabels, told(&what)));
    }
    if !pairs
        .iter()
        .any(|(name, value)| *name == METRIC_NAME && !value.is_empty())
    {
        return Err(Refusal::new(
            RejectReason::NoMetricName,
            told("no label __name__"),
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "remote_write_tests.rs"]
mod tests;
