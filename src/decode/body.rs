//! What the body of a request is: which decoder reads it, and how it is compressed.

use crate::event::Signal;

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
    /// Prometheus remote write 2.0.
    RemoteWrite2,
    /// Loki's push, protobuf.
    LokiPush,
    /// Loki's push, JSON.
    LokiPushJson,
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

impl Format {
    /// What it carries.
    pub const fn signal(self) -> Signal {
        match self {
            Self::RemoteWrite1 | Self::RemoteWrite2 | Self::OtlpMetrics | Self::OtlpMetricsJson => {
                Signal::Metrics
            }
            Self::OtlpLogs | Self::OtlpLogsJson | Self::LokiPush | Self::LokiPushJson => {
                Signal::Logs
            }
        }
    }

    /// All formats.
    pub const ALL: [Self; 8] = [
        Self::RemoteWrite1,
        Self::OtlpMetrics,
        Self::OtlpLogs,
        Self::OtlpMetricsJson,
        Self::OtlpLogsJson,
        Self::RemoteWrite2,
        Self::LokiPush,
        Self::LokiPushJson,
    ];

    /// The byte that stands for it in a journal; never reused for another format.
    pub const fn code(self) -> u8 {
        match self {
            Self::RemoteWrite1 => 1,
            Self::OtlpMetrics => 2,
            Self::OtlpLogs => 3,
            Self::OtlpMetricsJson => 4,
            Self::OtlpLogsJson => 5,
            Self::RemoteWrite2 => 6,
            Self::LokiPush => 7,
            Self::LokiPushJson => 8,
        }
    }

    /// The format of a code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.code() == code)
    }
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Zstd, Self::Snappy];

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
