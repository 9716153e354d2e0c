//! Plain text log lines, read by patterns from the configuration.
//!
//! A line that no pattern matches continues the record before it, as a stack trace does; before the
//! first record it is a reject.

use std::io::Read;

use jiff::{civil::DateTime, fmt::strtime::BrokenDownTime, tz::TimeZone};
use regex::Regex;

use super::{
    DecodeError, Refusal,
    lines::{LINE_BYTES_MAX, Line, LineReader},
};
use crate::event::{Batch, Labels, LogRecord, RejectReason, Severity, Timestamp};

/// Longest body that continuation lines make, in bytes; what goes beyond is cut off.
pub const BODY_BYTES_MAX: usize = 8192;

const TIME: &str = "time";
const SEVERITY: &str = "severity";
const BODY: &str = "body";

/// How lines are read.
#[derive(Clone, Debug)]
pub struct LinePattern {
    /// Has the named group `time`, and optionally `severity` and `body` (default: the whole line).
    /// Other named groups are attributes.
    pub regex: Regex,
    /// How the time is written, in jiff's strptime notation; `None`: RFC 3339, the same without an
    /// offset, or Unix seconds.
    pub time_format: Option<String>,
    /// IANA zone of times without an offset, or `UTC`.
    pub zone: String,
}

/// Reads log records line by line; the first pattern that matches a line reads it.
#[derive(Debug)]
pub struct PlainLineReader<R> {
    lines: LineReader<R>,
    patterns: Vec<(LinePattern, TimeZone)>,
    /// The record that the next lines may continue.
    open: Option<LogRecord>,
}

impl<R: Read> PlainLineReader<R> {
    /// Starts at the first line.
    ///
    /// # Errors
    /// A pattern has no group `time`, or names a zone that is not known.
    pub fn new(reader: R, patterns: Vec<LinePattern>) -> Result<Self, DecodeError> {
        let patterns = patterns
            .into_iter()
            .map(|pattern| Ok((zone_of(&pattern)?, pattern)))
            .map(|pair| pair.map(|(zone, pattern)| (pattern, zone)))
            .collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            lines: LineReader::new(reader, LINE_BYTES_MAX),
            patterns,
            open: None,
        })
    }

    /// The records that end within the next `lines_max` lines, with the rejects; `None` at the end.
    ///
    /// # Errors
    /// The reader failed.
    pub fn batch(&mut self, lines_max: usize) -> Result<Option<Batch>, DecodeError> {
        let mut batch = Batch::default();
        for count in 0..lines_max {
            let Some(Line { number, bytes }) = self.lines.next_line()? else {
                batch.logs.extend(self.open.take());
                return Ok(if count == 0 && batch.is_empty() {
                    None
                } else {
                    Some(batch)
                });
            };
            let read = match bytes.map(std::str::from_utf8) {
                Some(Ok(line)) => match read_line(&self.patterns, line) {
                    Some(read) => read,
                    None if self.open.as_mut().is_some_and(|open| continues(open, line)) => {
                        continue;
                    }
                    None if line.trim().is_empty() => continue,
                    None => Err(Refusal::new(
                        RejectReason::Malformed,
                        format!(
                            "no pattern matches {:?}",
                            line.chars().take(80).collect::<String>()
                        ),
                    )),
                },
                Some(Err(_)) => Err(Refusal::new(RejectReason::NotUtf8, "the line is not utf-8")),
                None => Err(Refusal::new(
                    RejectReason::OverLimit,
                    "over the limit on its length",
                )),
            };
            // After a refused line its continuation has no record to belong to.
            batch.logs.extend(self.open.take());
            match read {
                Ok(record) => self.open = Some(record),
                Err(refusal) => batch.rejects.log(refusal.reason, || {
                    format!("line {number}: {}", refusal.detail)
                }),
            }
        }
        Ok(Some(batch))
    }
}

fn zone_of(pattern: &LinePattern) -> Result<TimeZone, DecodeError> {
    let bad = |detail: String| DecodeError::BadPattern {
        pattern: pattern.regex.as_str().to_owned(),
        detail,
    };
    if !pattern
        .regex
        .capture_names()
        .flatten()
        .any(|name| name == TIME)
    {
        return Err(bad(
            "it has no group \"time\": write (?<time>…) around the time".to_owned(),
        ));
    }
    if pattern.zone.is_empty() || pattern.zone == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(&pattern.zone).map_err(|_| {
        bad(format!(
            "zone {:?} is not known: use an IANA name such as Europe/Warsaw",
            pattern.zone
        ))
    })
}

fn read_line(
    patterns: &[(LinePattern, TimeZone)],
    line: &str,
) -> Option<Result<LogRecord, Refusal>> {
    patterns.iter().find_map(|(pattern, zone)| {
        let groups = pattern.regex.captures(line)?;
        let group = |name| groups.name(name).map(|found| found.as_str());
        let time = group(TIME).unwrap_or("");
        let Some(at) = read_time(time, pattern.time_format.as_deref(), zone) else {
            let detail = match &pattern.time_format {
                Some(format) => format!("time {time:?} is not written as {format:?}"),
                None => format!("time {time:?} is not RFC 3339 or Unix seconds: set time_format"),
            };
            return Some(Err(Refusal::new(RejectReason::NoTimestamp, detail)));
        };
        let attributes = pattern.regex.capture_names().flatten();
        let attributes = attributes.filter(|name| ![TIME, SEVERITY, BODY].contains(name));
        let attributes = attributes.map(|name| (name, group(name).unwrap_or("")));
        Some(Ok(LogRecord {
            at,
            severity: group(SEVERITY).map_or(Severity::UNKNOWN, read_severity),
            body: group(BODY).unwrap_or(line).to_owned(),
            attributes: Labels::new(attributes),
            count: 1,
        }))
    })
}

fn read_severity(text: &str) -> Severity {
    text.trim()
        .parse()
        .map_or_else(|_| Severity::from_name(text), Severity::from_level)
}

fn read_time(text: &str, format: Option<&str>, zone: &TimeZone) -> Option<Timestamp> {
    let (instant, civil): (Option<jiff::Timestamp>, Option<DateTime>) = match format {
        Some(format) => {
            let parsed = BrokenDownTime::parse(format, text).ok()?;
            (parsed.to_timestamp().ok(), parsed.to_datetime().ok())
        }
        None => match text.parse::<Timestamp>() {
            Ok(at) => return Some(at),
            Err(_) => (None, text.trim().parse().ok()),
        },
    };
    let instant = match instant {
        Some(instant) => instant,
        // Of a time that a change of the clocks made twofold, the earlier one.
        None => civil?.to_zoned(zone.clone()).ok()?.timestamp(),
    };
    i64::try_from(instant.as_nanosecond())
        .ok()
        .map(Timestamp::from_nanos)
}

/// Appends a line to the body of a record, as far as there is room; always true.
fn continues(record: &mut LogRecord, line: &str) -> bool {
    let room = BODY_BYTES_MAX.saturating_sub(record.body.len() + 1);
    if room > 0 {
        record.body.push('\n');
        record
            .body
            .push_str(&line[..line.floor_char_boundary(room)]);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(regex: &str, time_format: Option<&str>, zone: &str) -> LinePattern {
        LinePattern {
            regex: Regex::new(regex).unwrap(),
            time_format: time_format.map(str::to_owned),
            zone: zone.to_owned(),
        }
    }

    fn usual() -> LinePattern {
        pattern(
            r"^(?<time>\S+) (?<severity>[A-Z]+) \[(?<thread>\w*)\] (?<body>.*)$",
            None,
            "UTC",
        )
    }

    fn read(patterns: Vec<LinePattern>, text: &[u8], lines_max: usize) -> Batch {
        let mut reader = PlainLineReader::new(text, patterns).unwrap();
        let mut all = Batch::default();
        while let Some(mut batch) = reader.batch(lines_max).unwrap() {
            all.logs.append(&mut batch.logs);
            for (reason, reject) in batch.rejects.logs {
                for _ in 0..reject.count {
                    all.rejects.log(reason, || reject.example.clone());
                }
            }
        }
        all
    }

    #[test]
    fn a_pattern_tells_time_severity_body_and_attributes() {
        let batch = read(
            vec![usual()],
            b"2026-03-01T10:00:00Z ERROR [main] it broke\n",
            10,
        );
        let expected = LogRecord {
            at: Timestamp::from_seconds(1_772_359_200),
            severity: Severity::ERROR,
            body: "it broke".to_owned(),
            attributes: Labels::new([("thread", "main")]),
            count: 1,
        };
        assert_eq!(batch.logs, [expected]);
    }

    #[test]
    fn times_are_read_by_format_and_in_their_zone() {
        for (text, format, zone, seconds) in [
            ("2026-03-01 10:00:00", None, "UTC", 1_772_359_200),
            (
                "2026-03-01 11:00:00,000",
                None,
                "Europe/Warsaw",
                1_772_359_200,
            ),
            (
                "2026-07-01 12:00:00",
                Some("%Y-%m-%d %H:%M:%S"),
                "Europe/Warsaw",
                1_782_900_000,
            ),
            (
                "01/Mar/2026:10:00:00 +0100",
                Some("%d/%b/%Y:%H:%M:%S %z"),
                "Asia/Tokyo",
                1_772_355_600,
            ),
            (
                "Sun Mar 01 10:00:00 2026",
                Some("%a %b %d %H:%M:%S %Y"),
                "",
                1_772_359_200,
            ),
            ("1772359200", None, "Europe/Warsaw", 1_772_359_200),
        ] {
            let pattern = pattern(r"^\[(?<time>[^\]]+)\] (?<body>.*)$", format, zone);
            let batch = read(vec![pattern], format!("[{text}] x").as_bytes(), 10);
            assert_eq!(batch.logs[0].at, Timestamp::from_seconds(seconds), "{text}");
        }
    }

    #[test]
    fn lines_that_match_nothing_continue_the_record_before_them() {
        let text = b"lost\n2026-03-01T10:00:00Z ERROR [a] it broke\n  at one\n  at two\n\
            2026-03-01T10:00:01Z INFO [b] fine\nnoon INFO [c] when\n  lost too\n\n";
        for lines_max in [1, 2, 100] {
            let batch = read(vec![usual()], text, lines_max);
            let bodies: Vec<_> = batch
                .logs
                .iter()
                .map(|record| record.body.as_str())
                .collect();
            assert_eq!(
                bodies,
                ["it broke\n  at one\n  at two", "fine"],
                "{lines_max}"
            );
            assert_eq!(batch.rejects.logs[&RejectReason::Malformed].count, 2);
            let reject = &batch.rejects.logs[&RejectReason::NoTimestamp];
            assert!(
                reject.example.starts_with("line 6: time \"noon\""),
                "{}",
                reject.example
            );
        }
    }

    #[test]
    fn a_body_grows_no_longer_than_its_limit() {
        let trace = "ü".repeat(100);
        let text = format!(
            "2026-03-01T10:00:00Z ERROR [a] x\n{}",
            format!("{trace}\n").repeat(100)
        );
        let batch = read(vec![usual()], text.as_bytes(), 10);
        let len = batch.logs[0].body.len();
        assert!(
            (BODY_BYTES_MAX - 1..=BODY_BYTES_MAX).contains(&len),
            "{len}"
        );
    }

    #[test]
    fn the_first_pattern_that_matches_reads_the_line() {
        let short = pattern(r"^(?<time>\d+) (?<body>.*)$", None, "UTC");
        let batch = read(vec![usual(), short], b"5 INFO [a] x\n6 y\n", 10);
        let bodies: Vec<_> = batch
            .logs
            .iter()
            .map(|record| record.body.as_str())
            .collect();
        assert_eq!(bodies, ["x", "y"]);
    }

    #[test]
    fn a_pattern_that_cannot_work_is_an_error() {
        for (pattern, word) in [
            (pattern("(?<when>.*)", None, "UTC"), "no group \"time\""),
            (
                pattern("(?<time>.*)", None, "Mars/Olympus"),
                "zone \"Mars/Olympus\" is not known",
            ),
        ] {
            let error = PlainLineReader::new(&b""[..], vec![pattern])
                .map(|_| ())
                .unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in r"[0-9A-Z \[\]:\n-]{0,60}", bytes: Vec<u8>, time in "[0-9: -]{0,12}") {
            let patterns = || vec![
                usual(),
                pattern("^(?<time>.{1,12})", Some("%Y %m %d %H:%M"), "Europe/Warsaw"),
            ];
            read(patterns(), text.as_bytes(), 3);
            read(patterns(), &bytes, 3);
            read(patterns(), time.as_bytes(), 3);
        }
    }
}
