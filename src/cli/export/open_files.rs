//! Data as files in open formats, one behind the other as they come.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};

use super::Failure;
use crate::event::{
    Batch, DeploymentEvent, ExponentialBuckets, Histogram, Kind, LogRecord, METRIC_NAME, Point,
    SeriesBlock, Temporality, Unit, Value,
};

/// Whole numbers beyond are no longer exact as a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Files of a recording; each is made when it gets its first line.
#[derive(Debug)]
pub(super) struct OpenFiles {
    deployments: Lines,
    told: Lines,
    untold: Lines,
    logs: Lines,
    counted: Lines,
    /// Distributions that no open format can hold.
    inexact: u64,
    /// Log records that an attribute keeps from being written with their number.
    uncounted: u64,
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    bytes: u64,
}

impl OpenFiles {
    pub(super) fn new(directory: &Path) -> Self {
        let lines = |name: &str| Lines {
            path: directory.join(name),
            file: None,
            bytes: 0,
        };
        Self {
            deployments: lines("deployments.jsonl"),
            told: lines("told.metrics.jsonl"),
            untold: lines("untold.prom"),
            logs: lines("all.logs.jsonl"),
            counted: lines("counted.log.jsonl"),
            inexact: 0,
            uncounted: 0,
        }
    }

    pub(super) fn deployment(&mut self, event: &DeploymentEvent) -> Result<(), Failure> {
        let line =
            serde_json::to_string(event).map_err(|error| Failure::Told(error.to_string()))?;
        self.deployments.line(&line)
    }

    pub(super) fn batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let mut metrics = Vec::new();
        for block in &batch.series {
            if is_told(block) {
                metrics.extend(metric(block, &mut self.inexact));
            } else {
                self.samples(block)?;
            }
        }
        if !metrics.is_empty() {
            let request = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]});
            self.told.line(&request.to_string())?;
        }
        let (single, counted): (Vec<_>, Vec<_>) =
            batch.logs.iter().partition(|record| record.count == 1);
        if !single.is_empty() {
            let records: Vec<Json> = single.into_iter().map(log_record).collect();
            let request = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]});
            self.logs.line(&request.to_string())?;
        }
        for record in counted {
            match counted_record(record) {
                Some(line) => self.counted.line(&line.to_string())?,
                None => self.uncounted += record.count,
            }
        }
        Ok(())
    }

    /// How many bytes were written.
    pub(super) fn bytes(&self) -> u64 {
        let Self {
            deployments,
            told,
            untold,
            logs,
            counted,
            ..
        } = self;
        let all = [deployments, told, untold, logs, counted];
        all.map(|lines| lines.bytes).iter().sum()
    }

    /// Ends all files. Says what is not in them.
    pub(super) fn finish(mut self) -> Result<Vec<String>, Failure> {
        for lines in [
            &mut self.deployments,
            &mut self.told,
            &mut self.untold,
            &mut self.logs,
            &mut self.counted,
        ] {
            lines.finish()?;
        }
        let mut left_out = Vec::new();
        if 0 < self.inexact {
            left_out.push(format!(
                "{} distributions are left out: OTLP holds only whole numbers of values in a bucket",
                self.inexact
            ));
        }
        if 0 < self.uncounted {
            left_out.push(format!(
                "{} log records are left out: an attribute of theirs has the name of a field of the file",
                self.uncounted
            ));
        }
        Ok(left_out)
    }

    /// Samples whose kind the name or the configuration tells: a line each.
    fn samples(&mut self, block: &SeriesBlock) -> Result<(), Failure> {
        let metric = block.labels.metric();
        let mut series = String::new();
        // Readers of before names in quotes take what is written without them.
        let is_plain = is_plain_name(metric, true);
        if is_plain {
            series.push_str(metric);
            series.push('{');
        } else {
            series.push('{');
            quote(&mut series, metric);
        }
        let mut is_first = is_plain;
        for (name, value) in block.labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            if !std::mem::take(&mut is_first) {
                series.push(',');
            }
            put_name(&mut series, name, false);
            series.push('=');
            quote(&mut series, value);
        }
        series.push('}');
        if block.meta.unit != Unit::Unknown {
            let mut line = String::from("# UNIT ");
            put_name(&mut line, metric, true);
            line.push(' ');
            line.push_str(block.meta.unit.symbol());
            self.untold.line(&line)?;
        }
        for point in &block.points {
            // The stale marker is a NaN: neither is a measurement.
            let value = match point.value {
                Value::Number(value) => value,
                Value::Stale | Value::Histogram(_) => f64::NAN,
            };
            let millis = point.at.nanos().div_euclid(1_000_000);
            self.untold.line(&format!("{series} {value} {millis}"))?;
        }
        Ok(())
    }
}

impl Lines {
    fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.write(line).map_err(|error| self.failed(&error))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self
                .file
                .insert(BufWriter::new(File::create_new(&self.path)?)),
        };
        writeln!(file, "{line}")?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let ended = self.file.take().map(|file| {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()
        });
        ended.unwrap_or(Ok(())).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Told(format!("{}: {error}", self.path.display()))
    }
}

/// Whether a name of a metric, or of a label, can stand without quotes: letters, digits and `_`, of a metric
/// `:` too, and no digit first.
fn is_plain_name(name: &str, is_metric: bool) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (is_metric && c == ':');
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

fn put_name(text: &mut String, name: &str, is_metric: bool) {
    if is_plain_name(name, is_metric) {
        text.push_str(name);
    } else {
        quote(text, name);
    }
}

/// Whether OTLP can say what the sender told. A kind that nobody told must stay untold: there the name or
/// the configuration decides.
fn is_told(block: &SeriesBlock) -> bool {
    let has_histogram = |point: &Point| matches!(point.value, Value::Histogram(_));
    match block.meta.kind {
        Kind::Gauge | Kind::Counter | Kind::Histogram => true,
        Kind::Unknown | Kind::Summary => block.points.iter().any(has_histogram),
    }
}

/// The points of a series as OTLP metrics; numbers and distributions are different metrics.
fn metric(block: &SeriesBlock, inexact: &mut u64) -> Vec<Json> {
    let (mut numbers, mut explicit, mut exponential) = (Vec::new(), Vec::new(), Vec::new());
    let attributes = attributes(block.labels.iter().filter(|(name, _)| *name != METRIC_NAME));
    for point in &block.points {
        let mut json = json!({
            "attributes": attributes,
            "timeUnixNano": point.at.nanos().to_string(),
        });
        if let Some(start) = point.start {
            json["startTimeUnixNano"] = start.nanos().to_string().into();
        }
        match &point.value {
            Value::Stale => {
                json["flags"] = 1.into();
                match block.meta.kind {
                    Kind::Histogram => explicit.push(json),
                    Kind::Unknown | Kind::Gauge | Kind::Counter | Kind::Summary => {
                        numbers.push(json);
                    }
                }
            }
            Value::Number(value) => {
                json["asDouble"] = double(*value);
                numbers.push(json);
            }
            Value::Histogram(histogram) => {
                let list = match **histogram {
                    Histogram::Explicit { .. } => &mut explicit,
                    Histogram::Exponential { .. } => &mut exponential,
                };
                match distribution(histogram, json) {
                    Some(json) => list.push(json),
                    None => *inexact += 1,
                }
            }
        }
    }
    let temporality = match block.meta.temporality {
        Temporality::Delta => 1,
        Temporality::Cumulative => 2,
    };
    let numbers_as = if block.meta.kind == Kind::Counter {
        (
            "sum",
            json!({"isMonotonic": true, "aggregationTemporality": temporality}),
        )
    } else {
        ("gauge", json!({}))
    };
    let counted = || json!({"aggregationTemporality": temporality});
    [
        (numbers_as, numbers),
        (("histogram", counted()), explicit),
        (("exponentialHistogram", counted()), exponential),
    ]
    .into_iter()
    .filter(|(_, points)| !points.is_empty())
    .map(|((data, mut holder), points)| {
        holder["dataPoints"] = points.into();
        json!({
            "name": block.labels.metric(),
            "unit": block.meta.unit.symbol(),
            data: holder,
        })
    })
    .collect()
}

/// Adds a distribution to a data point; `None`: there are parts of values in a bucket.
fn distribution(histogram: &Histogram, mut point: Json) -> Option<Json> {
    point["count"] = whole(histogram.count())?;
    if let Some(sum) = histogram.sum() {
        point["sum"] = double(sum);
    }
    let counts = |counts: &[f64]| {
        counts
            .iter()
            .map(|count| whole(*count))
            .collect::<Option<Vec<_>>>()
    };
    match histogram {
        Histogram::Explicit {
            bounds,
            counts: all,
            sum: _,
        } => {
            point["bucketCounts"] = counts(all)?.into();
            point["explicitBounds"] = bounds.iter().map(|bound| double(*bound)).collect();
        }
        Histogram::Exponential {
            scale,
            zero_count,
            zero_threshold,
            positive,
            negative,
            sum: _,
        } => {
            let side = |buckets: &ExponentialBuckets| {
                let counts = counts(&buckets.counts)?;
                Some(json!({"offset": buckets.offset, "bucketCounts": counts}))
            };
            point["scale"] = (*scale).into();
            point["zeroCount"] = whole(*zero_count)?;
            point["zeroThreshold"] = double(*zero_threshold);
            point["positive"] = side(positive)?;
            point["negative"] = side(negative)?;
        }
    }
    Some(point)
}

fn log_record(record: &LogRecord) -> Json {
    json!({
        "timeUnixNano": record.at.nanos().to_string(),
        "severityNumber": record.severity.number(),
        "body": {"stringValue": record.body},
        "attributes": attributes(record.attributes.iter()),
    })
}

/// A record that stands for several; `None`: an attribute has the name of a field.
fn counted_record(record: &LogRecord) -> Option<Json> {
    let mut json = json!({
        "timestamp": record.at.to_string(),
        "severity": record.severity.to_string(),
        "body": record.body,
        "count": record.count,
    });
    for (name, value) in record.attributes.iter() {
        if json.get(name).is_some() {
            return None;
        }
        json[name] = value.into();
    }
    Some(json)
}

fn attributes<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Json {
    pairs
        .map(|(name, value)| json!({"key": name, "value": {"stringValue": value}}))
        .collect()
}

/// A double as proto3 JSON has it.
fn double(value: f64) -> Json {
    if value.is_nan() {
        "NaN".into()
    } else if value == f64::INFINITY {
        "Infinity".into()
    } else if value == f64::NEG_INFINITY {
        "-Infinity".into()
    } else {
        value.into()
    }
}

/// A number of values, if it is a whole one.
fn whole(count: f64) -> Option<Json> {
    let is_whole = count.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&count);
    is_whole.then(|| (count as u64).into())
}

/// Appends a text in quotes, as Prometheus' text format has it.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            char => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        decode::{
            log_lines::LogLineReader,
            openmetrics::{OpenMetricsReader, TimeUnit},
            otlp_json,
        },
        event::{Labels, SeriesMeta, Severity, Timestamp},
    };

    /// What a recording holds, without regard to how it is grouped.
    type Held = BTreeMap<String, u64>;

    fn held(batches: &[Batch]) -> Held {
        let mut held = Held::new();
        for batch in batches {
            assert!(batch.rejects.is_empty(), "{:?}", batch.rejects);
            for block in &batch.series {
                for point in &block.points {
                    let key = format!("{} {:?} {point:?}", block.labels, block.meta);
                    *held.entry(key).or_default() += 1;
                }
            }
            for log in &batch.logs {
                let LogRecord {
                    at,
                    severity,
                    body,
                    attributes,
                    count,
                } = log;
                let key = format!("{at} {severity} {body:?} {attributes}");
                *held.entry(key).or_default() += count;
            }
        }
        held
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test that reads what was written"
    )]
    fn read(directory: &Path) -> Vec<Batch> {
        let text = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
        let lines = |name: &str| -> Vec<Vec<u8>> {
            let text = text(name);
            let lines = text
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            lines.map(<[u8]>::to_vec).collect()
        };
        let mut batches = Vec::new();
        for line in lines("told.metrics.jsonl") {
            batches.push(otlp_json::metrics(&line).expect("it is OTLP/JSON"));
        }
        for line in lines("all.logs.jsonl") {
            batches.push(otlp_json::logs(&line).expect("it is OTLP/JSON"));
        }
        let untold = text("untold.prom");
        let mut reader = OpenMetricsReader::new(&untold[..], TimeUnit::Milliseconds);
        while let Some(batch) = reader.batch(100).expect("it is text") {
            batches.push(batch);
        }
        let counted = text("counted.log.jsonl");
        let mut reader = LogLineReader::new(&counted[..]);
        while let Some(batch) = reader.batch(100).expect("it is text") {
            batches.push(batch);
        }
        batches
    }

    fn labels(metric: &'static str) -> impl Strategy<Value = Labels> {
        let word = "[a-z\"\\\\\n\u{e9}{},= ]{1,6}";
        prop::collection::btree_map("[a-c.]{1,3}", word, 0..4).prop_map(move |pairs| {
            let name = (METRIC_NAME.to_owned(), metric.to_owned());
            Labels::new(pairs.into_iter().chain([name]))
        })
    }

    fn explicit() -> impl Strategy<Value = Histogram> {
        (0..9_u32, 0..9_u32, prop::option::of(-5.0..50.0)).prop_map(|(low, high, sum)| {
            Histogram::Explicit {
                bounds: vec![0.5],
                counts: vec![f64::from(low), f64::from(high)],
                sum,
            }
        })
    }

    fn exponential() -> impl Strategy<Value = Histogram> {
        (0..9_u32, -3..3, prop::option::of(-5.0..50.0)).prop_map(|(count, offset, sum)| {
            Histogram::Exponential {
                scale: 2,
                zero_count: f64::from(count),
                zero_threshold: 0.25,
                positive: ExponentialBuckets {
                    offset,
                    counts: vec![f64::from(count), 1.0],
                },
                negative: ExponentialBuckets::default(),
                sum,
            }
        })
    }

    fn block() -> impl Strategy<Value = SeriesBlock> {
        let numbers = prop_oneof![
            6 => (-1e9..1e9).prop_map(Value::Number),
            1 => Just(Value::Number(0.1 + 0.2)),
            1 => Just(Value::Number(f64::INFINITY)),
        ];
        let kinds = prop_oneof![
            (
                labels("untold_total"),
                Just(Kind::Unknown),
                numbers.clone().boxed()
            ),
            (
                labels("a.gauge"),
                Just(Kind::Gauge),
                numbers.clone().boxed()
            ),
            (labels("counted"), Just(Kind::Counter), numbers.boxed()),
            (
                labels("spread"),
                Just(Kind::Histogram),
                prop_oneof![
                    explicit().prop_map(|histogram| Value::Histogram(Box::new(histogram))),
                    exponential().prop_map(|histogram| Value::Histogram(Box::new(histogram))),
                    Just(Value::Stale),
                ]
                .boxed()
            ),
        ];
        let units = prop::sample::select(vec![Unit::Unknown, Unit::Ratio, Unit::Bytes]);
        let delta = any::<bool>();
        (
            kinds,
            units,
            delta,
            // The epoch itself is how OTLP says that a start is not told.
            prop::option::of(1..1_000_i64),
            1_000..9_000_i64,
        )
            .prop_map(|((labels, kind, value), unit, is_delta, start, at)| {
                let counts = matches!(kind, Kind::Counter | Kind::Histogram);
                let is_told = kind != Kind::Unknown;
                SeriesBlock {
                    labels,
                    meta: SeriesMeta {
                        kind,
                        temporality: if is_delta && counts {
                            Temporality::Delta
                        } else {
                            Temporality::Cumulative
                        },
                        unit: if is_told { unit } else { Unit::Unknown },
                    },
                    points: vec![Point {
                        at: Timestamp::from_nanos(at * 1_000_000_000),
                        start: start
                            .filter(|_| counts)
                            .map(|start| Timestamp::from_nanos(start * 1_000_000_001)),
                        value,
                    }],
                }
            })
    }

    fn record() -> impl Strategy<Value = LogRecord> {
        (1_000..9_000_i64, "[ -~\n]{1,20}", labels("x"), 1..3_u64).prop_map(
            |(at, body, labels, count)| LogRecord {
                at: Timestamp::from_nanos(at * 1_000_000_007),
                severity: Severity::ERROR,
                body,
                attributes: labels.retain(|name| name != METRIC_NAME),
                count,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_exported_is_read_back(
            batches in prop::collection::vec(
                (prop::collection::vec(block(), 0..5), prop::collection::vec(record(), 0..4)),
                0..4,
            )
        ) {
            let batches: Vec<Batch> = batches
                .into_iter()
                .map(|(series, logs)| Batch {
                    series,
                    logs,
                    ..Batch::default()
                })
                .collect();
            let directory = tempfile::tempdir().expect("a directory can be made");
            let mut files = OpenFiles::new(directory.path());
            for batch in &batches {
                prop_assert!(files.batch(batch).is_ok());
            }
            let left_out = files.finish();
            prop_assert!(matches!(&left_out, Ok(left_out) if left_out.is_empty()));
            prop_assert_eq!(held(&read(directory.path())), held(&batches));
        }
    }

    #[test]
    fn what_no_open_format_holds_is_counted() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut files = OpenFiles::new(directory.path());
        let part = Histogram::Explicit {
            bounds: vec![],
            counts: vec![0.5],
            sum: None,
        };
        let at = Timestamp::from_seconds(1);
        let batch = Batch {
            series: vec![SeriesBlock {
                labels: Labels::new([(METRIC_NAME, "spread")]),
                meta: SeriesMeta::default(),
                points: vec![Point {
                    at,
                    start: None,
                    value: Value::Histogram(Box::new(part)),
                }],
            }],
            logs: vec![LogRecord {
                at,
                severity: Severity::ERROR,
                body: "no".to_owned(),
                attributes: Labels::new([("body", "another")]),
                count: 2,
            }],
            ..Batch::default()
        };
        assert!(files.batch(&batch).is_ok());
        let Ok(left_out) = files.finish() else {
            panic!("everything was written")
        };
        let [inexact, uncounted] = &left_out[..] else {
            panic!("{left_out:?}")
        };
        assert!(inexact.starts_with("1 distributions"), "{inexact}");
        assert!(uncounted.starts_with("2 log records"), "{uncounted}");
        assert_eq!(held(&read(directory.path())), Held::new());
    }
}
