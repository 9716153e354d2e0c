//! The body of an accepted request: which decoder reads it, and how.

use bytes::Bytes;

use crate::{
    decode::{DecodeError, compression, otlp, otlp_json, remote_write},
    event::Batch,
};

/// Which decoder reads a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Prometheus remote write 1.0.
    RemoteWrite1,
    /// OTLP metrics, protobuf.
    OtlpMetrics,
    /// OTLP logs, protobuf.
    OtlpLogs,
    /// OTLP metrics, JSON.
    OtlpMetricsJson,
    /// OTLP logs, JSON.
    OtlpLogsJson,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// gzip, of one member or several.
    Gzip,
    /// zstd, of one frame or several.
    Zstd,
    /// A snappy block.
    Snappy,
}

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
            Format::OtlpMetrics => otlp::metrics(&bytes),
            Format::OtlpLogs => otlp::logs(&bytes),
            Format::OtlpMetricsJson => otlp_json::metrics(&bytes),
            Format::OtlpLogsJson => otlp_json::logs(&bytes),
        }
    }
}

impl Format {
    const ALL: [Self; 5] = [
        Self::RemoteWrite1,
        Self::OtlpMetrics,
        Self::OtlpLogs,
        Self::OtlpMetricsJson,
        Self::OtlpLogsJson,
    ];

    /// The byte that stands for it in a journal; never reused for another format.
    pub const fn code(self) -> u8 {
        match self {
            Self::RemoteWrite1 => 1,
            Self::OtlpMetrics => 2,
            Self::OtlpLogs => 3,
            Self::OtlpMetricsJson => 4,
            Self::OtlpLogsJson => 5,
        }
    }

    /// The format of a code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.code() == code)
    }
}

impl Encoding {
    const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Zstd, Self::Snappy];

    /// The byte that stands for it in a journal; never reused for another encoding.
    pub const fn code(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Gzip => 1,
            Self::Zstd => 2,
            Self::Snappy => 3,
        }
    }

    /// The encoding of a code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|encoding| encoding.code() == code)
    }

    /// Its name in a `Content-Encoding` header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }

    /// Reads a `Content-Encoding` header; the empty name is [`Encoding::Identity`].
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        if name.is_empty() {
            return Some(Self::Identity);
        }
        if name.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL
            .into_iter()
            .find(|encoding| name.eq_ignore_ascii_case(encoding.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_what_they_stand_for() {
        for format in Format::ALL {
            assert_eq!(Format::from_code(format.code()), Some(format));
        }
        for encoding in Encoding::ALL {
            assert_eq!(Encoding::from_code(encoding.code()), Some(encoding));
            assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
        }
        assert_eq!((Format::from_code(0), Encoding::from_code(9)), (None, None));
        assert_eq!(Encoding::from_name(""), Some(Encoding::Identity));
        assert_eq!(Encoding::from_name(" X-GZIP "), Some(Encoding::Gzip));
        assert_eq!(Encoding::from_name("br"), None);
    }
}
