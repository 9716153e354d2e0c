//! What every target does: read under a bound on memory, and tell what was read.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    decode::{DecodeError, DecodeLimits, Decoder, Encoding, Format},
    event::{Batch, KeyHash, Labels, Rejects, Value},
};

/// What bodies in protobuf may have, and what they may be decompressed to: little, so that an input of a
/// few kilobytes can go far beyond it.
pub const BODY_BYTES: usize = 1 << 16;

/// What lines and bodies in JSON may have: the limit of a line, below which no limit on JSON counts.
pub const TEXT_BYTES: usize = 1 << 20;

/// Runs `read` and demands that it never held more than four times as much as a line may have.
pub fn bounded<T>(read: impl FnOnce() -> T) -> T {
    within(TEXT_BYTES, read)
}

/// Runs `read` and demands that it never held more than four times the limit.
pub fn within<T>(limit: usize, read: impl FnOnce() -> T) -> T {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(read()));
    let most = 4 * limit as u64;
    assert!(info.bytes_max <= most, "{} bytes at a time", info.bytes_max);
    result.expect("the closure ran")
}

/// Reads a body with a decoder, and everything that its batch points to.
pub fn read(format: Format, encoding: Encoding, bytes: &[u8]) -> Result<u64, DecodeError> {
    let stream_labels: BTreeSet<String> = ["service.name", "app", "a", "level"]
        .map(str::to_owned)
        .into();
    let stream_labels = Arc::new(stream_labels);
    let limits = DecodeLimits {
        decompressed_bytes: limit(format),
        samples_per_request: 10_000,
    };
    within(limits.decompressed_bytes, || {
        let mut decoder = Decoder::new(KeyHash::new(1), stream_labels);
        decoder.read(format, encoding, bytes, limits)?;
        let raw = decoder.raw(bytes);
        for series in &raw.batch.series {
            assert_eq!(series.hash, raw.batch.keys().key(raw.key(series)));
            raw.labels(series).ok();
            for point in raw.points(series) {
                raw.point(point);
            }
        }
        for log in &raw.batch.logs {
            std::str::from_utf8(raw.bytes(log.body)).expect("a body is utf-8");
            let stream = [raw.bytes(log.stream), &[], &[]];
            crate::event::canonical::read(stream).expect("a stream is canonical");
        }
        Ok(raw.batch.sample_count() + raw.batch.log_count())
    })
}

fn limit(format: Format) -> usize {
    match format {
        Format::RemoteWrite1
        | Format::RemoteWrite2
        | Format::OtlpMetrics
        | Format::OtlpLogs
        | Format::LokiPush => BODY_BYTES,
        Format::OtlpMetricsJson | Format::OtlpLogsJson | Format::LokiPushJson => TEXT_BYTES,
    }
}

/// Whether it was refused for what prost reads and we do not: fields of the wire type that proto3 gave up,
/// and values in values deeper than anybody sends. Neither comes back out of prost.
pub fn is_odd(error: &DecodeError) -> bool {
    is_odd_text(&error.to_string())
}

/// The same for the labels of a part, where that refuses only the part.
pub fn are_odd(rejects: &Rejects) -> bool {
    let mut all = rejects.samples.values().chain(rejects.logs.values());
    all.any(|reject| is_odd_text(&reject.example))
}

fn is_odd_text(text: &str) -> bool {
    [
        "a group, which proto3 does not have",
        "messages nested over",
        "this is a message of 2.0",
    ]
    .iter()
    .any(|odd| text.contains(odd))
}

/// A sample as it is compared.
pub type Told = (Labels, i64, u64);

/// The numbers of a batch, in order.
pub fn numbers(batch: &Batch) -> Vec<Told> {
    batch
        .series
        .iter()
        .flat_map(|block| {
            block.points.iter().filter_map(|point| {
                let value = match point.value {
                    Value::Number(value) => value.to_bits(),
                    Value::Stale => Value::STALE_BITS,
                    Value::Histogram(_) => return None,
                };
                Some((block.labels.clone(), point.at.nanos(), value))
            })
        })
        .collect()
}

/// The labels of a series, if they can be used.
pub fn usable(pairs: &[(&str, &str)]) -> Option<Labels> {
    let names: BTreeSet<&str> = pairs.iter().map(|(name, _)| *name).collect();
    let is_usable = names.len() == pairs.len()
        && !names.contains("")
        && pairs.len() <= 1024
        && pairs.contains_key("__name__");
    is_usable.then(|| Labels::new(pairs.iter().copied()))
}

trait Pairs {
    fn contains_key(&self, name: &str) -> bool;
}

impl Pairs for [(&str, &str)] {
    fn contains_key(&self, name: &str) -> bool {
        self.iter()
            .any(|(key, value)| *key == name && !value.is_empty())
    }
}
