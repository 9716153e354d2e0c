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

    /// Takes OpenTelemetry's number, or one of the tens of pino and bunyan that are beyond it: 30 is INFO, 40 WARN,
    /// 50 ERROR, 60 FATAL.
    pub fn from_level(number: i64) -> Self {
        match Self::from_number(number) {
            Self::UNKNOWN => Self::from_tens(number),
            known => known,
        }
    }

    /// Reads the usual words in any case: `ERROR`, `err`, `warning`, `crit`, `I`, … They may be in brackets, have a
    /// colon behind them, and be written as OpenTelemetry writes its numbers: `ERROR2`, `SEVERITY_NUMBER_ERROR2`.
    /// Of numbers, those of pino and bunyan are read, 10 to 60 in tens. Others may be OpenTelemetry's or
    /// syslog's, which mean the opposite. What is not known is [`Severity::UNKNOWN`].
    pub fn from_name(name: &str) -> Self {
        let name = bare(name.as_bytes());
        let mut lower = [0u8; 24];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return Self::UNKNOWN;
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let word = lower.strip_prefix(b"severity_number_").unwrap_or(lower);
        match word {
            [b'1'..=b'6', b'0'] => Self::from_tens(i64::from(word[0] - b'0') * 10),
            [word @ .., nth @ b'2'..=b'4'] => {
                Self::of_range(word).map_or(Self::UNKNOWN, |Self(first)| Self(first + (nth - b'1')))
            }
            word => Self::of_word(word),
        }
    }

    /// The numbers of pino and bunyan.
    fn from_tens(number: i64) -> Self {
        match number {
            10 => Self::TRACE,
            20 => Self::DEBUG,
            30 => Self::INFO,
            40 => Self::WARN,
            50 => Self::ERROR,
            60 => Self::FATAL,
            _ => Self::UNKNOWN,
        }
    }

    /// The lowest of one of OpenTelemetry's ranges, by its name.
    fn of_range(word: &[u8]) -> Option<Self> {
        match word {
            b"trace" => Some(Self::TRACE),
            b"debug" => Some(Self::DEBUG),
            b"info" => Some(Self::INFO),
            b"warn" => Some(Self::WARN),
            b"error" => Some(Self::ERROR),
            b"fatal" => Some(Self::FATAL),
            _ => None,
        }
    }

    fn of_word(word: &[u8]) -> Self {
        match word {
            b"trace" | b"finest" | b"finer" | b"verbose" | b"t" | b"trc" | b"trce" | b"vrb" => {
                Self::TRACE
            }
            b"debug" | b"fine" | b"config" | b"d" | b"dbg" | b"dbug" => Self::DEBUG,
            b"info" | b"information" | b"informational" | b"notice" | b"note" | b"i" | b"inf" => {
                Self::INFO
            }
            b"warn" | b"warning" | b"w" | b"wrn" => Self::WARN,
            b"error" | b"err" | b"severe" | b"e" | b"failure" | b"fail" | b"exception" => {
                Self::ERROR
            }
            b"fatal" | b"critical" | b"crit" | b"alert" | b"emerg" | b"emergency" | b"panic"
            | b"dpanic" | b"f" | b"ftl" => Self::FATAL,
            _ => Self::UNKNOWN,
        }
    }

    /// OpenTelemetry's number, 0 for unknown.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A word without blanks, brackets and colons around it.
fn bare(mut word: &[u8]) -> &[u8] {
    loop {
        let before = word;
        word = word.trim_ascii();
        word = match word {
            [b'[', inner @ .., b']']
            | [b'(', inner @ .., b')']
            | [b'<', inner @ .., b'>']
            | [inner @ .., b':'] => inner,
            word => word,
        };
        if word.len() == before.len() {
            return word;
        }
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
            ("ERROR2", Severity(18)),
            ("error4", Severity(20)),
            ("FATAL3", Severity(23)),
            ("Warn2", Severity(14)),
            ("INFO4", Severity(12)),
            ("debug3", Severity(7)),
            ("TRACE2", Severity(2)),
            ("SEVERITY_NUMBER_ERROR", Severity::ERROR),
            ("SEVERITY_NUMBER_FATAL4", Severity(24)),
            ("SEVERITY_NUMBER_UNSPECIFIED", Severity::UNKNOWN),
            ("[ERROR]", Severity::ERROR),
            (" [ warn ]: ", Severity::WARN),
            ("error:", Severity::ERROR),
            ("<Fatal>", Severity::FATAL),
            ("DPANIC", Severity::FATAL),
            ("EXCEPTION", Severity::ERROR),
            ("fail", Severity::ERROR),
            ("10", Severity::TRACE),
            ("20", Severity::DEBUG),
            ("30", Severity::INFO),
            ("40", Severity::WARN),
            ("50", Severity::ERROR),
            ("60", Severity::FATAL),
            // Of words without ranges, of numbers that mean several things, and of what is no word.
            ("err2", Severity::UNKNOWN),
            ("error1", Severity::UNKNOWN),
            ("error5", Severity::UNKNOWN),
            ("70", Severity::UNKNOWN),
            ("3", Severity::UNKNOWN),
            ("17", Severity::UNKNOWN),
            ("[]", Severity::UNKNOWN),
            (":", Severity::UNKNOWN),
            ("[error", Severity::UNKNOWN),
        ] {
            assert_eq!(Severity::from_name(name), severity, "{name}");
        }
        let levels = [
            (17, 17),
            (20, 20),
            (30, 9),
            (50, 17),
            (60, 21),
            (0, 0),
            (70, 0),
            (-50, 0),
        ];
        for (level, number) in levels {
            assert_eq!(Severity::from_level(level).number(), number, "{level}");
        }
        assert_eq!(Severity::from_number(18).to_string(), "ERROR");
        assert_eq!(Severity::from_number(99), Severity::UNKNOWN);
    }
}
