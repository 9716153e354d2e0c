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

/// What a request of remote write 1.0 begins with that tells of metrics by their names.
const METADATA: u8 = 0x1a;

impl Body {
    /// Whether it begins with what is told of metrics by their names alone, as requests of nothing else do. It is
    /// not decompressed for that.
    pub fn begins_with_metadata(&self) -> bool {
        let first = match self.encoding {
            Encoding::Identity => self.bytes.first().copied(),
            Encoding::Snappy => first_of_snappy(&self.bytes),
            Encoding::Gzip | Encoding::Zstd => None,
        };
        self.format == Format::RemoteWrite1 && first == Some(METADATA)
    }

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

/// The first byte of what a block of snappy holds: behind its length there must be a literal.
fn first_of_snappy(block: &[u8]) -> Option<u8> {
    let length = block.iter().position(|byte| *byte < 0x80)? + 1;
    let (tag, rest) = block.get(length..)?.split_first()?;
    let is_literal = tag % 4 == 0;
    let more = usize::from((tag >> 2).saturating_sub(59));
    rest.get(more).copied().filter(|_| is_literal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_recognised_without_decompressing_it() {
        let metadata = b"\x1a\x05\x08\x01\x12\x01a";
        let samples = b"\x0a\x05\x08\x01\x12\x01a";
        let body = |format, encoding, bytes: Vec<u8>| Body {
            format,
            encoding,
            bytes: bytes.into(),
        };
        let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
        let is_it = |bytes: &[u8]| {
            let packed = body(Format::RemoteWrite1, Encoding::Snappy, snappy(bytes));
            let plain = body(Format::RemoteWrite1, Encoding::Identity, bytes.to_vec());
            let other = body(Format::RemoteWrite2, Encoding::Snappy, snappy(bytes));
            assert!(!other.begins_with_metadata());
            assert_eq!(packed.begins_with_metadata(), plain.begins_with_metadata());
            packed.begins_with_metadata()
        };
        // Of literals of different lengths.
        for times in [1, 10, 100, 20_000] {
            let mut noise = 7_u32;
            let mut long = metadata.repeat(times);
            for byte in long.iter_mut().skip(8) {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (noise >> 24) as u8;
            }
            assert!(is_it(&long), "{times}");
            assert!(is_it(&metadata.repeat(times)), "{times}");
            assert!(!is_it(&samples.repeat(times)), "{times}");
        }
        assert!(!is_it(b""));
        for damaged in [&b""[..], b"\xff", b"\x05", b"\x05\x01\x02", b"\x05\xf0"] {
            let body = body(Format::RemoteWrite1, Encoding::Snappy, damaged.to_vec());
            assert!(!body.begins_with_metadata(), "{damaged:?}");
        }
    }
}
