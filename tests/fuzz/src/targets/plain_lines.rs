//! Plain log lines: syslog's, and those of a program in Java with stack traces.

use std::sync::LazyLock;

use regex::Regex;

use crate::{
    common,
    decode::plain_lines::{LinePattern, PlainLineReader},
};

static PATTERNS: LazyLock<[LinePattern; 2]> = LazyLock::new(|| {
    [
        pattern(
            r"^(?<time>\S+) (?<host>\S+) (?<program>[^:\[]+)(\[\d+\])?: (?<body>.*)$",
            None,
            "UTC",
        ),
        pattern(
            r"^(?<time>\d+-\d+-\d+ \d+:\d+:\d+)[.,]\d+ +(?<severity>[A-Z]+) (?<body>.*)$",
            Some("%Y-%m-%d %H:%M:%S"),
            "Europe/Warsaw",
        ),
    ]
});

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let patterns = PATTERNS.to_vec();
    let mut reader = PlainLineReader::new(bytes, patterns).expect("patterns of ours");
    common::bounded(|| while let Ok(Some(_)) = reader.batch(10) {});
}

fn pattern(regex: &str, time_format: Option<&str>, zone: &str) -> LinePattern {
    LinePattern {
        regex: Regex::new(regex).expect("a pattern of ours"),
        time_format: time_format.map(str::to_owned),
        zone: zone.to_owned(),
    }
}
