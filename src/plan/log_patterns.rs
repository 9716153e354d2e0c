//! How plain log lines are read: the built-in patterns and those of the configuration.

use jiff::{civil::date, fmt::strtime, tz::TimeZone};

use super::{LogPattern, Pattern, checks::pattern, grammar::compile, policies::zone, walk::Place};

/// Patterns where the configuration names none, tried in order.
const BUILT_IN: [(&str, Option<&str>); 5] = [
    // RFC 3339, with the level as a bare or bracketed word where there is one.
    (
        r"^\[?(?P<time>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:[Zz]|[+-]\d\d:?\d\d))\]?[\s:|-]+(?:[\[(<]?(?i:level=)?(?P<severity>(?i:trace|debug|info|notice|warn|warning|error|err|severe|fatal|critical|crit|alert|emerg|panic))\b[\])>]?[\s:|-]*)?(?P<body>.*)$",
        None,
    ),
    // Python's and log4j's time: `2026-03-01 10:00:00,123 ERROR …`.
    (
        r"^\[?(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?\]?[\s:|-]+(?:[\[(<]?(?P<severity>(?i:trace|debug|info|notice|warn|warning|error|err|severe|fatal|critical|crit|alert|emerg|panic))\b[\])>]?[\s:|-]*)?(?P<body>.*)$",
        Some("%Y-%m-%d %H:%M:%S"),
    ),
    // Apache's error log: `[Sun Dec 04 04:47:44 2005] [error] …`.
    (
        r"^\[(?P<time>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})\] \[(?:[\w.-]+:)?(?P<severity>\w+)\] (?P<body>.*)$",
        Some("%a %b %d %H:%M:%S %Y"),
    ),
    // The same with microseconds: `[Sun Dec 04 04:47:44.123456 2005] [core:error] …`.
    (
        r"^\[(?P<time>[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\.\d{1,9} \d{4})\] \[(?:[\w.-]+:)?(?P<severity>\w+)\] (?P<body>.*)$",
        Some("%a %b %d %H:%M:%S%.f %Y"),
    ),
    // syslog, which has no year: `Mar  1 10:00:00 host sshd[24200]: …`.
    (
        r"^(?:<\d{1,3}>)?(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?P<host>\S+) (?P<program>[^\s:\[]+)(?:\[(?P<pid>\d+)\])?: (?P<body>.*)$",
        Some("%b %d %H:%M:%S"),
    ),
];

/// The built-in patterns.
pub(super) fn built_in() -> Vec<LogPattern> {
    BUILT_IN
        .into_iter()
        .map(|(text, time_format)| LogPattern {
            pattern: Pattern(compile(text).expect("the built-in patterns are regular expressions")),
            time_format: time_format.map(str::to_owned),
            zone: "UTC".to_owned(),
        })
        .collect()
}

/// Reads `log_patterns`.
pub(super) fn log_patterns(place: &Place<'_>) -> Vec<LogPattern> {
    place.list().iter().filter_map(log_pattern).collect()
}

fn log_pattern(place: &Place<'_>) -> Option<LogPattern> {
    let keys = place.map(&["pattern", "time_format", "zone"])?;
    let time_format = keys.get("time_format").and_then(time_format);
    let zone = keys
        .get("zone")
        .map_or_else(|| Some("UTC".to_owned()), zone);
    let pattern_place = keys.require("pattern", "add pattern: '^(?<time>\\S+) (?<body>.*)$'")?;
    let pattern = pattern(pattern_place)?;
    if !pattern
        .0
        .capture_names()
        .flatten()
        .any(|name| name == "time")
    {
        pattern_place.fault(
            "the pattern has no group named time",
            "write (?<time>…) around it",
        );
        return None;
    }
    Some(LogPattern {
        pattern,
        time_format,
        zone: zone?,
    })
}

/// A format that reads back what it writes.
fn time_format(place: &Place<'_>) -> Option<String> {
    let format = place.text()?;
    if !reads_times(format) {
        place.fault(
            "the format cannot read times",
            "write strptime directives that tell year, date and time, such as %Y-%m-%d %H:%M:%S",
        );
        return None;
    }
    Some(format.to_owned())
}

/// Whether the format reads a known instant out of what it writes for it. Without a year, as syslog writes
/// times, nobody could tell when a line was written.
fn reads_times(format: &str) -> bool {
    let Ok(known) = date(2026, 3, 21).at(13, 14, 15, 0).to_zoned(TimeZone::UTC) else {
        return false;
    };
    let Ok(written) = strtime::format(format, &known) else {
        return false;
    };
    let Ok(read) = strtime::parse(format, &written) else {
        return false;
    };
    if let Ok(timestamp) = read.to_timestamp() {
        return timestamp == known.timestamp();
    }
    read.to_datetime()
        .is_ok_and(|read| read == known.datetime())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Severity, Timestamp};

    /// Finds the first pattern and reads time, severity and body with it.
    fn read(line: &str) -> Option<(String, Severity, String)> {
        let patterns = built_in();
        let (found, captures) = patterns.iter().find_map(|candidate| {
            candidate
                .pattern
                .0
                .captures(line)
                .map(|captures| (candidate, captures))
        })?;
        let time = &captures["time"];
        let time = match &found.time_format {
            None => time.parse::<Timestamp>().unwrap().to_string(),
            Some(format) => {
                let parsed = strtime::parse(format, time.replace('T', " ")).unwrap();
                match parsed.to_datetime() {
                    Ok(datetime) => datetime.to_string(),
                    Err(_) => format!("{:?}", (parsed.month(), parsed.day(), parsed.hour())),
                }
            }
        };
        let severity = captures.name("severity").map_or("", |group| group.as_str());
        Some((
            time,
            Severity::from_name(severity),
            captures["body"].to_owned(),
        ))
    }

    #[test]
    fn the_built_in_patterns_read_the_usual_lines() {
        for (line, time, severity, body) in [
            (
                "2026-03-01T10:00:00.5Z ERROR disk full",
                "2026-03-01T10:00:00.5Z",
                Severity::ERROR,
                "disk full",
            ),
            (
                "2026-03-01T11:00:00+01:00 [warn] slow",
                "2026-03-01T10:00:00Z",
                Severity::WARN,
                "slow",
            ),
            (
                "2026-03-01 10:00:00Z started",
                "2026-03-01T10:00:00Z",
                Severity::UNKNOWN,
                "started",
            ),
            (
                "2026-03-01 10:00:00,123 ERROR db: gone",
                "2026-03-01T10:00:00",
                Severity::ERROR,
                "db: gone",
            ),
            (
                "2026-03-01 10:00:00 - informative text",
                "2026-03-01T10:00:00",
                Severity::UNKNOWN,
                "informative text",
            ),
            (
                "[Sun Dec 04 04:47:44 2005] [error] mod_jk child workerEnv",
                "2005-12-04T04:47:44",
                Severity::ERROR,
                "mod_jk child workerEnv",
            ),
            (
                "[Sun Dec 04 04:47:44.250000 2005] [core:error] oops",
                "2005-12-04T04:47:44.25",
                Severity::ERROR,
                "oops",
            ),
            (
                "Dec 10 06:55:46 LabSZ sshd[24200]: Invalid user webmaster",
                "(Some(12), Some(10), Some(6))",
                Severity::UNKNOWN,
                "Invalid user webmaster",
            ),
            (
                "Mar  1 10:00:00 h1 cron: done",
                "(Some(3), Some(1), Some(10))",
                Severity::UNKNOWN,
                "done",
            ),
        ] {
            let expected = Some((time.to_owned(), severity, body.to_owned()));
            assert_eq!(read(line), expected, "{line}");
        }
        assert_eq!(read("    at java.lang.Thread.run(Thread.java:748)"), None);
    }

    #[test]
    fn a_time_format_must_read_what_it_writes() {
        for format in ["%Y-%m-%d %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%s"] {
            assert!(reads_times(format), "{format}");
        }
        for format in [
            "",
            "%Y-%m-%d",
            "%b %d %H:%M:%S",
            "%H:%M",
            "%Q!",
            "yesterday",
            "%",
        ] {
            assert!(!reads_times(format), "{format}");
        }
    }
}
