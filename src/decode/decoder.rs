//! One decoder for every kind of request, with memory that one request after the other uses.

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
};

use super::{
    DecodeError, Encoding, Format, Scratch, Size, StreamLabels, batches, compression::Decompressor,
    loki, otlp, otlp_json, remote_write, remote_write_2,
};
use crate::event::{BODY_BYTES_MAX, Batch, KeyCache, KeyHash, Raw, RawBatch, canonical};

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
        self.read_with(None, format, encoding, bytes, limits)
    }

    /// The same with what is remembered of keys, which spares work where the format is one whose keys are
    /// remembered: remote write 1.0. It is held only while the decompressed bytes are walked.
    ///
    /// # Errors
    /// The request is damaged as a whole, or over a limit.
    ///
    /// # Panics
    /// A thread panicked while it wrote to the cache.
    pub fn read_with(
        &mut self,
        cache: Option<&RwLock<KeyCache>>,
        format: Format,
        encoding: Encoding,
        bytes: &[u8],
        limits: DecodeLimits,
    ) -> Result<(), DecodeError> {
        let read = self.try_read(cache, format, encoding, bytes, limits);
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
        cache: Option<&RwLock<KeyCache>>,
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
        let part_bytes_max = limit.max(1 << 20);
        match format {
            Format::RemoteWrite1 => {
                let cache =
                    cache.map(|cache| cache.read().expect("no thread panicked while it learned"));
                remote_write::walk(body, cache.as_deref(), out)
            }
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
            Format::OtlpMetricsJson => otlp_json::walk_metrics(body, part_bytes_max, out),
            Format::OtlpLogsJson => {
                let stream_labels = stream_labels(self.stream_labels.as_deref());
                let scratch = &mut self.scratch;
                otlp_json::walk_logs(body, stream_labels, part_bytes_max, scratch, out)
            }
            Format::LokiPushJson => {
                let stream_labels = stream_labels(self.stream_labels.as_deref());
                let scratch = &mut self.scratch;
                loki::walk_json(body, stream_labels, part_bytes_max, scratch, out)
            }
        }
    }
}

fn stream_labels(named: Option<&BTreeSet<String>>) -> StreamLabels<'_> {
    named.map_or(StreamLabels::All, StreamLabels::Named)
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

    #[test]
    fn bodies_in_json_inside_the_limits_are_taken_whatever_their_texts_hold() {
        let pairs = ["a", "b", "c", "d"]
            .map(|key| format!(r#"{{"key":"{key}","value":{{"stringValue":"v"}}}}"#))
            .join(",");
        let point = format!(r#"{{"timeUnixNano":"9","asDouble":1.5,"attributes":[{pairs}]}}"#);
        let points = vec![point; 1000].join(",");
        let metrics = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"gauge":{{"dataPoints":[{points}]}},"name":"m"}}]}}]}}]}}"#
        );
        let text = r#"{\"a\":[1,2,3,{\"b\":4},5]},"#.repeat(30);
        let record = format!(r#"{{"timeUnixNano":"9","body":{{"stringValue":"{text}"}}}}"#);
        let records = vec![record; 1000].join(",");
        let logs =
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
        let entries = vec![format!(r#"["9","{text}"]"#); 1000].join(",");
        let push = format!(r#"{{"streams":[{{"stream":{{}},"values":[{entries}]}}]}}"#);
        let mut decoder = decoder();
        for (format, body) in [
            (Format::OtlpMetricsJson, metrics),
            (Format::OtlpLogsJson, logs),
            (Format::LokiPushJson, push),
        ] {
            let bytes = body.as_bytes();
            let read = decoder.read(format, Encoding::Identity, bytes, LIMITS);
            assert_eq!(read, Ok(()), "{format:?}, {} bytes", bytes.len());
            let batch = decoder.raw(bytes).batch;
            assert_eq!(batch.sample_count() + batch.log_count(), 1000, "{format:?}");
        }
    }
}
