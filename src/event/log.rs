//! Log records and their severity.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Labels, Timestamp};

/// Severity of a log record on OpenTelemetry's scale: 1–4 TRACE, 5–8 DEBUG, 9–12 INFO, 13–16 WARN,
/// 17–20 ERROR, 21–24 FATAL; 0 is unknown.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Severity(u8);

/// One log record, or several equal ones.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// When it was written.
    pub at: Timestamp,
    /// Its severity.
    pub severity: Severity,
    /// Its message.
    pub body: String,
    /// Attributes of the record and of its resource or stream.
    pub attributes: Labels,
    /// How many equal records it stands for; at least 1.
    pub count: u64,
}

/// Log records that could not be read, of a stream that could.
#[derive(Clone, Debug, PartialEq)]
pub struct UnreadLog {
    /// When they were written, or what came with them was, where that could be read.
    pub at: Option<Timestamp>,
    /// Their severity; `None`: it may be any.
    pub severity: Option<Severity>,
    /// The attributes that could be read.
    pub attributes: Labels,
    /// How many there are; at least 1.
    pub count: u64,
}

impl Severity {
    /// Not told.
    pub const UNKNOWN: Self = Self(0);
    /// The lowest of the TRACE range.
    pub const TRACE: Self = Self(1);
    /// The lowest of the DEBUG range.
    pub const DEBUG: Self = Self(5);
    /// The lowest of the INFO range.
    pub const INFO: Self = Self(9);
    /// The lowest of the WARN range.
    pub const WARN: Self = Self(13);
    /// The lowest of the ERROR range.
    pub const ERROR: Self = Self(17);
    /// The lowest of the FATAL range.
    pub const FATAL: Self = Self(21);

    /// Takes OpenTelemetry's number; what is out of range is unknown.
    pub fn from_number(number: i64) -> Self {
        match u8::try_from(number) {
            Ok(number @ 1..=24) => Self(number),
            _ => Self::UNKNOWN,
        }
    }

    /// Reads the usual words in any case: `ERROR`, `err`, `warning`, `crit`, `I`, …
    /// What is not known is [`Severity::UNKNOWN`].
    pub fn from_name(name: &str) -> Self {
        let mut lower = [0u8; 16];
        let name = name.trim().as_bytes();
        let Some(lower) = lower.get_mut(..name.len()) else {
            return Self::UNKNOWN;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        match &*lower {
            b"trace" | b"finest" | b"finer" | b"verbose" | b"t" => Self::TRACE,
            b"debug" | b"fine" | b"config" | b"d" => Self::DEBUG,
            b"info" | b"information" | b"informational" | b"notice" | b"note" | b"i" => Self::INFO,
            b"warn" | b"warning" | b"w" => Self::WARN,
            b"error" | b"err" | b"severe" | b"e" | b"failure" => Self::ERROR,
            b"fatal" | b"critical" | b"crit" | b"alert" | b"emerg" | b"emergency" | b"panic"
            | b"f" => Self::FATAL,
            _ => Self::UNKNOWN,
        }
    }

    /// OpenTelemetry's number, 0 for unknown.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1..=4 => "TRACE",
            5..=8 => "DEBUG",
            9..=12 => "INFO",
            13..=16 => "WARN",
            17..=20 => "ERROR",
            21..=24 => "FATAL",
            _ => "UNKNOWN",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_read_from_words_in_any_case() {
        for (name, severity) in [
            ("ERROR", Severity::ERROR),
            ("err", Severity::ERROR),
            ("Warning", Severity::WARN),
            ("CRITICAL", Severity::FATAL),
            ("", Severity::UNKNOWN),
            ("a very long word indeed", Severity::UNKNOWN),
        ] {
            assert_eq!(Severity::from_name(name), severity, "{name}");
        }
        assert_eq!(Severity::from_number(18).to_string(), "ERROR");
        assert_eq!(Severity::from_number(99), Severity::UNKNOWN);
    }
}
