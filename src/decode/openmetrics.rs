//! `OpenMetrics` 1.0 and Prometheus' text format 0.0.4, with a time on each sample.
//!
//! `TYPE` and `UNIT` lines tell kind and unit. The series of a histogram or summary stay what they
//! are in Prometheus: `_bucket`, `_count` and `_sum` count, quantiles are gauges. Exemplars are
//! passed over. The two formats differ in the unit of time, which the caller tells.

use std::{borrow::Cow, collections::BTreeMap, io::Read, ops::Range};

use super::{
    DecodeError, Refusal,
    batches::SeriesTable,
    lines::{LINE_BYTES_MAX, Line, LineReader},
    remote_write::check_labels,
};
use crate::event::{
    Batch, Kind, Labels, METRIC_NAME, Point, RejectReason, SeriesMeta, Timestamp, Unit, Value,
};

/// Most families whose type is remembered; the kind of what comes after is unknown.
const FAMILIES_MAX: usize = 100_000;

/// What a time in the file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    /// Seconds with a fraction, as `OpenMetrics` has them (`.om`).
    Seconds,
    /// Whole milliseconds, as Prometheus' text format has them (`.prom`). What has a fraction is in seconds: nobody
    /// writes less than a millisecond there. So is what would be a time before 1973, and in seconds is one after.
    Milliseconds,
}

/// Reads an exposition, or several one after the other.
#[derive(Debug)]
pub struct OpenMetricsReader<R> {
    lines: LineReader<R>,
    time_unit: TimeUnit,
    families: BTreeMap<String, Family>,
    series: SeriesTable,
    is_ended: bool,
}

/// What `TYPE` and `UNIT` tell about a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: FamilyKind,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FamilyKind {
    #[default]
    Unknown,
    Gauge,
    Counter,
    Histogram,
    GaugeHistogram,
    Summary,
}

impl<R: Read> OpenMetricsReader<R> {
    /// Starts at the first line.
    pub fn new(reader: R, time_unit: TimeUnit) -> Self {
        Self {
            lines: LineReader::new(reader, LINE_BYTES_MAX),
            time_unit,
            families: BTreeMap::new(),
            series: SeriesTable::default(),
            is_ended: false,
        }
    }

    /// Whether `# EOF` stands behind everything that was read: without it an exposition in `OpenMetrics`
    /// is incomplete.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The samples and rejects of the next `lines_max` lines, grouped by series; `None` at the end.
    ///
    /// # Errors
    /// The reader failed.
    pub fn batch(&mut self, lines_max: usize) -> Result<Option<Batch>, DecodeError> {
        let mut batch = Batch::default();
        self.series.start_batch();
        for count in 0..lines_max {
            let Some(Line { number, bytes }) = self.lines.next_line()? else {
                if count == 0 {
                    return Ok(None);
                }
                break;
            };
            let bytes = bytes.map(<[u8]>::trim_ascii);
            if bytes != Some(b"") {
                self.is_ended = bytes == Some(b"# EOF");
            }
            let read = match bytes {
                Some([]) => Ok(()),
                Some([b'#', comment @ ..]) => {
                    read_comment(comment, &mut self.families, &mut self.series);
                    Ok(())
                }
                Some(line) => read_sample(
                    line,
                    self.time_unit,
                    &self.families,
                    &mut self.series,
                    &mut batch,
                ),
                None => Err(Refusal::new(
                    RejectReason::OverLimit,
                    "over the limit on its length",
                )),
            };
            if let Err(refusal) = read {
                batch.rejects.sample(refusal.reason, || {
                    format!("line {number}: {}", refusal.detail)
                });
            }
        }
        Ok(Some(batch))
    }
}

fn read_comment(comment: &[u8], families: &mut BTreeMap<String, Family>, series: &mut SeriesTable) {
    let Ok(comment) = std::str::from_utf8(comment) else {
        return;
    };
    let mut words = comment.split_ascii_whitespace();
    let (Some(keyword), Some(name), Some(word)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    let name = name.trim_matches('"');
    let known = families.get(name).copied();
    let mut family = known.unwrap_or_default();
    match keyword {
        "TYPE" => family.kind = FamilyKind::from_name(word),
        "UNIT" => family.unit = Unit::from_name(word),
        _ => return,
    }
    if known == Some(family) || (known.is_none() && families.len() == FAMILIES_MAX) {
        return;
    }
    families.insert(name.to_owned(), family);
    series.clear();
}

fn read_sample(
    line: &[u8],
    time_unit: TimeUnit,
    families: &BTreeMap<String, Family>,
    series: &mut SeriesTable,
    batch: &mut Batch,
) -> Result<(), Refusal> {
    let malformed = |detail: &str| Refusal::new(RejectReason::Malformed, detail);
    let end = series_end(line).ok_or_else(|| malformed("the labels do not end with }"))?;
    let (name, rest) = line.split_at(end);
    let rest = std::str::from_utf8(rest)
        .map_err(|_| Refusal::new(RejectReason::NotUtf8, "the line is not utf-8"))?;
    let mut words = rest.split_ascii_whitespace();
    let value = words
        .next()
        .ok_or_else(|| Refusal::new(RejectReason::NoValue, "a series without a value"))?;
    let value: f64 = value.parse().map_err(|_| {
        Refusal::new(
            RejectReason::NoValue,
            format!("value {value:?} is no number"),
        )
    })?;
    let time = words.next().filter(|word| !word.starts_with('#'));
    let Some(time) = time else {
        let detail = "the sample has no timestamp: write recordings with times";
        return Err(Refusal::new(RejectReason::NoTimestamp, detail));
    };
    let at = read_time(time, time_unit)?;
    if words.next().is_some_and(|word| !word.starts_with('#')) {
        return Err(malformed("text behind the timestamp"));
    }
    let id = series.find(name, || read_series(name, families))?;
    let point = Point {
        at,
        start: None,
        value: Value::from_prometheus(value),
    };
    series.append(batch, id, point);
    Ok(())
}

/// Whole numbers that are a time after March 1973 in seconds, and one before it in milliseconds.
const WHOLE_SECONDS: Range<i64> = 100_000_000..100_000_000_000;

fn read_time(text: &str, unit: TimeUnit) -> Result<Timestamp, Refusal> {
    let whole = || text.parse::<i64>().ok();
    let millis = || whole().and_then(|millis| millis.checked_mul(1_000_000));
    let seconds = || {
        let is_number = text.parse::<f64>().is_ok();
        is_number.then(|| text.parse().ok()).flatten()
    };
    let at = match unit {
        TimeUnit::Milliseconds
            if text.contains('.') || whole().is_some_and(|at| WHOLE_SECONDS.contains(&at)) =>
        {
            seconds()
        }
        TimeUnit::Milliseconds => millis().map(Timestamp::from_nanos),
        TimeUnit::Seconds => seconds(),
    };
    at.ok_or_else(|| {
        let expected = match unit {
            TimeUnit::Milliseconds => "milliseconds or seconds",
            TimeUnit::Seconds => "seconds",
        };
        let detail = format!("timestamp {text:?} is not in {expected} since 1970");
        Refusal::new(RejectReason::NoTimestamp, detail)
    })
}

/// Where name and labels end: at the first blank, or at the brace that closes the labels.
fn series_end(line: &[u8]) -> Option<usize> {
    let name_end = line
        .iter()
        .position(|byte| matches!(byte, b'{' | b' ' | b'\t'))
        .unwrap_or(line.len());
    let blanks = line[name_end..]
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    if line.get(name_end + blanks) != Some(&b'{') {
        return Some(name_end);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in line.iter().enumerate().skip(name_end + blanks) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(index + 1),
            _ => {}
        }
    }
    None
}

fn read_series(
    bytes: &[u8],
    families: &BTreeMap<String, Family>,
) -> Result<(Labels, SeriesMeta), Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refusal::new(RejectReason::NotUtf8, "name or labels are not utf-8"))?;
    let (name, labels) = text.split_once('{').unwrap_or((text, "}"));
    let mut pairs = Vec::new();
    if !name.trim().is_empty() {
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name.trim())));
    }
    read_labels(labels, &mut pairs)?;
    let borrowed: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    check_labels(&borrowed)?;
    let labels = Labels::new(borrowed);
    let meta = meta(&labels, families);
    Ok((labels, meta))
}

/// Reads `name="value",…}`. A quoted text without a value is the name of the metric, and a quoted
/// label name may hold any character (Prometheus 3).
fn read_labels<'a>(
    mut text: &'a str,
    pairs: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
) -> Result<(), Refusal> {
    let malformed = |detail: &str, at: &str| {
        Refusal::new(RejectReason::Malformed, format!("{detail} at {at:?}"))
    };
    loop {
        text = text.trim_start();
        if text == "}" {
            return Ok(());
        }
        let name = if let Some(quoted) = text.strip_prefix('"') {
            let (name, after) =
                unquote(quoted).ok_or_else(|| malformed("a quote is not closed", text))?;
            text = after.trim_start();
            name
        } else {
            let end = text.find(['=', ',', '}', '"']).unwrap_or(text.len());
            let (name, after) = text.split_at(end);
            text = after;
            Cow::Borrowed(name.trim_end())
        };
        if let Some(after) = text.strip_prefix('=') {
            let quoted = after.trim_start().strip_prefix('"');
            let (value, after) = quoted
                .and_then(unquote)
                .ok_or_else(|| malformed("a label value is not in double quotes", text))?;
            pairs.push((name, value));
            text = after.trim_start();
        } else if matches!(name, Cow::Borrowed("")) {
            return Err(malformed("a label has no name", text));
        } else {
            pairs.push((Cow::Borrowed(METRIC_NAME), name));
        }
        match text.strip_prefix(',') {
            Some(after) => text = after,
            None if text == "}" => return Ok(()),
            None => return Err(malformed("labels are not parted by a comma", text)),
        }
    }
}

/// Takes text up to its closing quote, undoing `\\`, `\"` and `\n`; gives what stands behind.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((Cow::Owned(out), &text[index + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                escaped @ ('\\' | '"') => out.push(escaped),
                other => out.extend(['\\', other]),
            },
            char => out.push(char),
        }
    }
    None
}

/// Kind and unit of a series: those of the family that has its name, or its name without a suffix.
fn meta(labels: &Labels, families: &BTreeMap<String, Family>) -> SeriesMeta {
    let name = labels.metric();
    let (kind, unit) = if let Some(family) = families.get(name) {
        let kind = match family.kind {
            FamilyKind::Unknown => Kind::Unknown,
            FamilyKind::Counter => Kind::Counter,
            FamilyKind::Gauge
            | FamilyKind::Summary
            | FamilyKind::Histogram
            | FamilyKind::GaugeHistogram => Kind::Gauge,
        };
        (kind, family.unit)
    } else {
        let suffixed = name
            .rsplit_once('_')
            .and_then(|(stem, suffix)| Some((families.get(stem)?, suffix)));
        suffixed
            .and_then(|(family, suffix)| suffix_meta(*family, suffix))
            .unwrap_or_default()
    };
    SeriesMeta {
        kind,
        unit,
        ..SeriesMeta::default()
    }
}

fn suffix_meta(family: Family, suffix: &str) -> Option<(Kind, Unit)> {
    match (family.kind, suffix) {
        (FamilyKind::Counter, "total") | (FamilyKind::Histogram | FamilyKind::Summary, "sum") => {
            Some((Kind::Counter, family.unit))
        }
        (FamilyKind::Histogram, "bucket" | "count") | (FamilyKind::Summary, "count") => {
            Some((Kind::Counter, Unit::Count))
        }
        // The time at which the count began: it does not count.
        (FamilyKind::Counter | FamilyKind::Histogram | FamilyKind::Summary, "created") => {
            Some((Kind::Gauge, Unit::Seconds))
        }
        (FamilyKind::GaugeHistogram, "bucket" | "gcount") => Some((Kind::Gauge, Unit::Count)),
        (FamilyKind::GaugeHistogram, "gsum") => Some((Kind::Gauge, family.unit)),
        // Info metrics, read as gauges.
        (FamilyKind::Gauge, "info") => Some((Kind::Gauge, Unit::Unknown)),
        (
            FamilyKind::Unknown
            | FamilyKind::Gauge
            | FamilyKind::Counter
            | FamilyKind::Histogram
            | FamilyKind::GaugeHistogram
            | FamilyKind::Summary,
            _,
        ) => None,
    }
}

impl FamilyKind {
    fn from_name(name: &str) -> Self {
        match name {
            "counter" => Self::Counter,
            "gauge" | "info" | "stateset" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
#[path = "openmetrics_tests.rs"]
mod tests;
