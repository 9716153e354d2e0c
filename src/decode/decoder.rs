//! One decoder for every kind of request, with memory that one request after the other uses.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    DecodeError, Encoding, Format, Scratch, Size, StreamLabels, batches, compression::Decompressor,
    loki, otlp, otlp_json, remote_write, remote_write_2,
};
use crate::event::{BODY_BYTES_MAX, Batch, KeyHash, Raw, RawBatch, canonical};

/// What one request may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes after decompression.
    pub decompressed_bytes: usize,
    /// Series, samples and log records, of each.
    pub samples_per_request: usize,
}

/// Reads requests, one after the other. In the steady state nothing is allocated for a sample, a
/// label or a log record of the protobuf formats.
#[derive(Debug)]
pub struct Decoder {
    batch: RawBatch,
    /// `None`: all attributes tell the stream.
    stream_labels: Option<Arc<BTreeSet<String>>>,
    decompressor: Decompressor,
    symbols: remote_write_2::Symbols,
    scratch: Scratch,
    /// Whether the last request was decompressed: then its bytes are here, not with the caller.
    is_unpacked: bool,
}

impl Decoder {
    /// Of the attributes of a log record only those named in `stream_labels` tell its stream.
    pub fn new(keys: KeyHash, stream_labels: Arc<BTreeSet<String>>) -> Self {
        Self::with(keys, Some(stream_labels))
    }

    /// All attributes of a log record tell its stream: none is left out.
    pub fn of_all_attributes(keys: KeyHash) -> Self {
        Self::with(keys, None)
    }

    fn with(keys: KeyHash, stream_labels: Option<Arc<BTreeSet<String>>>) -> Self {
        Self {
            batch: RawBatch::new(keys, canonical::read),
            stream_labels,
            decompressor: Decompressor::new(),
            symbols: remote_write_2::Symbols::default(),
            scratch: Scratch::default(),
            is_unpacked: false,
        }
    }

    /// Reads a request; [`Decoder::raw`] shows what it holds. After an error that is nothing.
    ///
    /// # Errors
    /// The request is damaged as a whole, or over a limit.
    pub fn read(
        &mut self,
        format: Format,
        encoding: Encoding,
        bytes: &[u8],
        limits: DecodeLimits,
    ) -> Result<(), DecodeError> {
        let read = self.try_read(format, encoding, bytes, limits);
        if read.is_err() {
            self.clear();
        }
        read
    }

    /// What the last request holds. `bytes` are those that were read.
    pub fn raw<'a>(&'a self, bytes: &'a [u8]) -> Raw<'a> {
        let body = if self.is_unpacked {
            self.decompressor.bytes()
        } else {
            bytes
        };
        Raw::new(body, &self.batch)
    }

    /// What the last request holds, as values of its own. `bytes` are those that were read.
    pub fn batch(&self, bytes: &[u8]) -> Batch {
        batches::owned(self.raw(bytes))
    }

    /// Forgets the last request.
    pub fn clear(&mut self) {
        self.batch.reuse(canonical::read);
        self.decompressor.clear();
        self.is_unpacked = false;
    }

    /// Bytes of memory that it holds on to.
    pub fn memory_bytes(&self) -> usize {
        self.batch.memory_bytes()
            + self.decompressor.memory_bytes()
            + self.symbols.memory_bytes()
            + self.scratch.memory_bytes()
    }

    fn try_read(
        &mut self,
        format: Format,
        encoding: Encoding,
        bytes: &[u8],
        limits: DecodeLimits,
    ) -> Result<(), DecodeError> {
        let limit = limits.decompressed_bytes.min(BODY_BYTES_MAX);
        self.is_unpacked = encoding != Encoding::Identity;
        let body = if self.is_unpacked {
            self.decompressor.read(encoding, bytes, limit)?;
            self.decompressor.bytes()
        } else {
            self.decompressor.clear();
            if limit < bytes.len() {
                return Err(DecodeError::TooLarge {
                    which: Size::Raw,
                    limit_bytes: limit as u64,
                    actual_bytes: Some(bytes.len() as u64),
                });
            }
            bytes
        };
        self.batch.limit(limits.samples_per_request, limit);
        let out = &mut self.batch;
        match format {
            Format::RemoteWrite1 => remote_write::walk(body, out),
            Format::RemoteWrite2 => remote_write_2::walk(body, &mut self.symbols, out),
            Format::OtlpMetrics => otlp::walk_metrics(body, out),
            Format::OtlpLogs => {
                let stream_labels = stream_labels(self.stream_labels.as_deref());
                otlp::walk_logs(body, stream_labels, &mut self.scratch, out)
            }
            Format::LokiPush => {
                let stream_labels = stream_labels(self.stream_labels.as_deref());
                loki::walk(body, stream_labels, &mut self.scratch, out)
            }
            Format::OtlpMetricsJson => {
                check_json(body, limit)?;
                self.take(&otlp_json::metrics(body)?)
            }
            Format::OtlpLogsJson => {
                check_json(body, limit)?;
                self.take(&otlp_json::logs(body)?)
            }
            Format::LokiPushJson => {
                check_json(body, limit)?;
                self.take(&loki::decode_json(body)?)
            }
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<(), DecodeError> {
        let stream_labels = stream_labels(self.stream_labels.as_deref());
        self.batch
            .take(batch, |name| stream_labels.contains(name.as_bytes()));
        super::check(&self.batch)
    }
}

fn stream_labels(named: Option<&BTreeSet<String>>) -> StreamLabels<'_> {
    named.map_or(StreamLabels::All, StreamLabels::Named)
}

/// What a value in JSON is taken to need in memory: the value itself, its name, its share of the map that
/// it is in, and what becomes of it.
const JSON_VALUE_BYTES: usize = 128;

/// Refuses JSON of so many values that they would take far more memory than the limit: they are read
/// into a tree, and the shortest takes two bytes.
fn check_json(body: &[u8], limit: usize) -> Result<(), DecodeError> {
    let values = body.iter().filter(|byte| b",[{".contains(byte)).count();
    if limit.max(1 << 20) < values.saturating_mul(JSON_VALUE_BYTES) {
        return Err(DecodeError::TooMany {
            limit: limit / JSON_VALUE_BYTES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::METRIC_NAME;

    const LIMITS: DecodeLimits = DecodeLimits {
        decompressed_bytes: 1 << 20,
        samples_per_request: 1000,
    };

    fn decoder() -> Decoder {
        Decoder::new(KeyHash::new(9), Arc::default())
    }

    /// A remote-write request with one sample of the metric `name`.
    fn request(name: &str) -> Vec<u8> {
        let mut labels = Vec::new();
        canonical::write_pair(METRIC_NAME.as_bytes(), name.as_bytes(), &mut labels);
        let sample = b"\x12\x0b\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\x01";
        let series = [&labels[..], sample].concat();
        [&[0x0a, series.len() as u8][..], &series].concat()
    }

    fn names(decoder: &Decoder, bytes: &[u8]) -> Vec<String> {
        let raw = decoder.raw(bytes);
        let series = raw.batch.series.iter();
        series
            .map(|series| raw.labels(series).unwrap().metric().to_owned())
            .collect()
    }

    #[test]
    fn requests_follow_each_other_through_one_decoder() {
        let mut decoder = decoder();
        let packed = snap::raw::Encoder::new().compress_vec(&request("packed"));
        let plain = request("plain");
        for (encoding, bytes, name) in [
            (Encoding::Snappy, &packed.unwrap(), "packed"),
            (Encoding::Identity, &plain, "plain"),
        ] {
            for _ in 0..2 {
                decoder
                    .read(Format::RemoteWrite1, encoding, bytes, LIMITS)
                    .unwrap();
                assert_eq!(names(&decoder, bytes), [name]);
            }
        }
    }

    #[test]
    fn nothing_of_a_refused_request_is_seen() {
        let mut decoder = decoder();
        let good = request("up");
        let cut = [&good[..], &good[..good.len() - 1]].concat();
        for format in Format::ALL {
            decoder
                .read(Format::RemoteWrite1, Encoding::Identity, &good, LIMITS)
                .unwrap();
            let damaged: &[u8] = if format == Format::RemoteWrite1 {
                &cut
            } else {
                b"\x0a\x05"
            };
            let read = decoder.read(format, Encoding::Identity, damaged, LIMITS);
            assert!(read.is_err(), "{format:?}");
            assert!(decoder.raw(damaged).batch.is_empty(), "{format:?}");
        }
    }

    #[test]
    fn limits_hold_for_every_format() {
        let mut decoder = decoder();
        let limits = DecodeLimits {
            decompressed_bytes: 10,
            ..LIMITS
        };
        for format in Format::ALL {
            let read = decoder.read(format, Encoding::Identity, &[b' '; 11], limits);
            let error = read.unwrap_err();
            assert!(matches!(
                error,
                DecodeError::TooLarge {
                    which: Size::Raw,
                    ..
                }
            ));
        }
        let limits = DecodeLimits {
            samples_per_request: 1,
            ..LIMITS
        };
        let two = [request("a"), request("b")].concat();
        let json = br#"{"streams":[{"stream":{},"values":[["1","x"],["2","y"]]}]}"#;
        for (format, bytes) in [
            (Format::RemoteWrite1, &two[..]),
            (Format::LokiPushJson, json),
        ] {
            let mut read = |limits| decoder.read(format, Encoding::Identity, bytes, limits);
            assert_eq!(read(limits), Err(DecodeError::TooMany { limit: 1 }));
            assert_eq!(read(LIMITS), Ok(()));
        }
    }
}
