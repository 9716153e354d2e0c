//! One decoder for every kind of request, with memory that one request after the other uses.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    DecodeError, Encoding, Format, Scratch, Size, compression::Decompressor, loki, otlp, otlp_json,
    remote_write, remote_write_2,
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
    stream_labels: Arc<BTreeSet<String>>,
    decompressor: Decompressor,
    symbols: remote_write_2::Symbols,
    scratch: Scratch,
    /// Whether the last request was decompressed: then its bytes are here, not with the caller.
    is_unpacked: bool,
}

impl Decoder {
    /// Of the attributes of a log record only those named in `stream_labels` tell its stream.
    pub fn new(keys: KeyHash, stream_labels: Arc<BTreeSet<String>>) -> Self {
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
                let stream_labels = (&*self.stream_labels).into();
                otlp::walk_logs(body, stream_labels, &mut self.scratch, out)
            }
            Format::LokiPush => {
                let stream_labels = (&*self.stream_labels).into();
                loki::walk(body, stream_labels, &mut self.scratch, out)
            }
            Format::OtlpMetricsJson => self.take(&otlp_json::metrics(body)?),
            Format::OtlpLogsJson => self.take(&otlp_json::logs(body)?),
            Format::LokiPushJson => self.take(&loki::decode_json(body)?),
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<(), DecodeError> {
        self.batch.take(batch, &self.stream_labels);
        super::check(&self.batch)
    }
}
