//! The body of an accepted request, as it came.

use bytes::Bytes;

use crate::{
    decode::{
        DecodeError, DecodeLimits, Encoding, Format, compression, loki, otlp, otlp_json,
        remote_write, remote_write_2,
    },
    event::Batch,
    plan::Limits,
};

/// The body of a request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Which decoder reads it.
    pub format: Format,
    /// How it is compressed.
    pub encoding: Encoding,
    /// The bytes as they came.
    pub bytes: Bytes,
}

/// What the decoders of a plan accept at most.
pub fn decode_limits(limits: &Limits) -> DecodeLimits {
    DecodeLimits {
        decompressed_bytes: limits.decompressed_bytes,
        samples_per_request: limits.samples_per_request,
    }
}

impl Body {
    /// Decompresses and decodes. A live run and a replay both call this, so that they cannot differ.
    ///
    /// # Errors
    /// The body is damaged as a whole, or has more than `decompressed_bytes_max` bytes.
    pub fn decode(&self, decompressed_bytes_max: usize) -> Result<Batch, DecodeError> {
        let bytes = compression::content_encoding(
            self.encoding.name(),
            &self.bytes,
            decompressed_bytes_max,
        )?;
        match self.format {
            Format::RemoteWrite1 => remote_write::decode(&bytes),
            Format::RemoteWrite2 => remote_write_2::decode(&bytes),
            Format::OtlpMetrics => otlp::metrics(&bytes),
            Format::OtlpLogs => otlp::logs(&bytes),
            Format::OtlpMetricsJson => otlp_json::metrics(&bytes),
            Format::OtlpLogsJson => otlp_json::logs(&bytes),
            Format::LokiPush => loki::decode(&bytes),
            Format::LokiPushJson => loki::decode_json(&bytes),
        }
    }
}
