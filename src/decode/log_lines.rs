//! Log records as flat JSON, one a line: `{"timestamp", "severity", "body", …attributes}`.
//!
//! Other usual names are accepted: `time` or `ts` for the time, `level` for the severity, `message`
//! or `msg` for the body. Every other field is an attribute; objects are flattened with dots
//! (`{"http": {"code": 500}}` is `http.code`). An optional `count` stands for that many equal records.

use std::{borrow::Cow, io::Read};

use serde_json::{Map, Value};

use super::{
    DecodeError, Refusal,
    lines::{LINE_BYTES_MAX, Line, LineReader},
};
use crate::event::{Batch, Labels, LogRecord, RejectReason, Severity, Timestamp, UnreadLog};

const TIMES: [&str; 3] = ["timestamp", "time", "ts"];
const SEVERITIES: [&str; 2] = ["severity", "level"];
const BODIES: [&str; 3] = ["body", "message", "msg"];
const COUNT: &str = "count";

/// Reads log records line by line.
#[derive(Debug)]
pub struct LogLineReader<R> {
    lines: LineReader<R>,
}

impl<R: Read> LogLineReader<R> {
    /// Starts at the first line.
    pub fn new(reader: R) -> Self {
        Self {
            lines: LineReader::new(reader, LINE_BYTES_MAX),
        }
    }

    /// The records and rejects of the next `lines_max` lines; `None` at the end.
    ///
    /// # Errors
    /// The reader failed.
    pub fn batch(&mut self, lines_max: usize) -> Result<Option<Batch>, DecodeError> {
        let mut batch = Batch::default();
        for count in 0..lines_max {
            let Some(Line { number, bytes }) = self.lines.next_line()? else {
                if count == 0 {
                    return Ok(None);
                }
                break;
            };
            let read = match bytes.map(<[u8]>::trim_ascii) {
                Some([]) => continue,
                Some(line) => record(line, None),
                None => Err(Unreadable::from(Refusal::new(
                    RejectReason::OverLimit,
                    "over the limit on its length",
                ))),
            };
            take_record(read, &mut batch, || format!("line {number}"));
        }
        Ok(Some(batch))
    }
}

/// Why a record is refused, and what could be read of it.
#[derive(Debug)]
pub(super) struct Unreadable {
    refusal: Refusal,
    unread: Option<UnreadLog>,
}

impl From<Refusal> for Unreadable {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            unread: None,
        }
    }
}

/// Puts a record into a batch, or counts it as refused; `place` tells where it stands.
pub(super) fn take_record(
    read: Result<LogRecord, Unreadable>,
    batch: &mut Batch,
    place: impl FnOnce() -> String,
) {
    match read {
        Ok(record) => batch.logs.push(record),
        Err(Unreadable { refusal, unread }) => {
            batch.rejects.log(refusal.reason, || {
                format!("{}: {}", place(), refusal.detail)
            });
            batch.unread.extend(unread);
        }
    }
}

/// Reads one record. One without a time was written at `written_at`, where that is known.
pub(super) fn record(line: &[u8], written_at: Option<Timestamp>) -> Result<LogRecord, Unreadable> {
    let malformed = |detail: String| Refusal::new(RejectReason::Malformed, detail);
    let text = std::str::from_utf8(line)
        .map_err(|_| Refusal::new(RejectReason::NotUtf8, "the line is not utf-8"))?;
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or(&what);
        malformed(format!(
            "no json object: {what}, at column {}",
            error.column()
        ))
    })?;
    let at = match (take(&mut fields, &TIMES), written_at) {
        (None, Some(at)) => Ok(at),
        (given, _) => time(given),
    };
    let severity = severity(take(&mut fields, &SEVERITIES));
    let body = take(&mut fields, &BODIES).map(|body| scalar_text(&body).into_owned());
    let body = body.ok_or_else(|| {
        Refusal::new(
            RejectReason::NoValue,
            "no body: name the message body, message or msg",
        )
    });
    let count = match fields.remove(COUNT) {
        None | Some(Value::Null) => Ok(1),
        Some(count) => count
            .as_u64()
            .filter(|count| *count > 0)
            .ok_or_else(|| malformed(format!("count must be a positive integer, found {count}"))),
    };
    let mut attributes = Vec::with_capacity(fields.len());
    flatten(None, &fields, &mut attributes);
    let known = UnreadLog {
        at: at.as_ref().ok().copied(),
        severity: severity.as_ref().ok().copied(),
        attributes: Labels::new(attributes),
        count: 1,
    };
    match at.and_then(|at| Ok((at, severity?, body?, count?))) {
        Ok((at, severity, body, count)) => Ok(LogRecord {
            at,
            severity,
            body,
            attributes: known.attributes,
            count,
        }),
        Err(refusal) => Err(Unreadable {
            refusal,
            unread: Some(known),
        }),
    }
}

/// Takes the field with the first of the names that is there.
fn take(fields: &mut Map<String, Value>, names: &[&str]) -> Option<Value> {
    names
        .iter()
        .find_map(|name| fields.remove(*name).filter(|value| !value.is_null()))
}

fn time(value: Option<Value>) -> Result<Timestamp, Refusal> {
    let refused = |detail: String| Refusal::new(RejectReason::NoTimestamp, detail);
    let value = value.ok_or_else(|| refused("no timestamp".to_owned()))?;
    scalar_text(&value)
        .parse()
        .map_err(|error| refused(format!("{error}")))
}

fn severity(value: Option<Value>) -> Result<Severity, Refusal> {
    match value {
        None => Ok(Severity::UNKNOWN),
        Some(Value::String(name)) => Ok(Severity::from_name(&name)),
        Some(Value::Number(number)) => Ok(number
            .as_i64()
            .map_or(Severity::UNKNOWN, Severity::from_level)),
        Some(other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => {
            let detail = format!("severity must be a word or a number, found {other}");
            Err(Refusal::new(RejectReason::Malformed, detail))
        }
    }
}

fn flatten(prefix: Option<&str>, fields: &Map<String, Value>, out: &mut Vec<(String, String)>) {
    for (name, value) in fields {
        let name = prefix.map_or_else(|| name.clone(), |prefix| format!("{prefix}.{name}"));
        match value {
            Value::Null => {}
            Value::Object(nested) => flatten(Some(&name), nested, out),
            _ if name.is_empty() => {}
            value => out.push((name, scalar_text(value).into_owned())),
        }
    }
}

fn scalar_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Cow::Owned(value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Batch {
        LogLineReader::new(text)
            .batch(usize::MAX)
            .unwrap()
            .unwrap_or_default()
    }

    #[test]
    fn the_usual_names_of_time_severity_and_body_are_all_read() {
        for line in [
            r#"{"timestamp":"1970-01-01T00:00:01.5Z","severity":"error","body":"no","host":"h1"}"#,
            r#"{"time":1.5,"level":"ERR","message":"no","host":"h1","gone":null}"#,
            r#"{"ts":"1.5","severity":17,"msg":"no","host":"h1","count":1}"#,
        ] {
            let expected = LogRecord {
                at: Timestamp::from_millis(1_500),
                severity: Severity::ERROR,
                body: "no".to_owned(),
                attributes: Labels::new([("host", "h1")]),
                count: 1,
            };
            assert_eq!(read(line.as_bytes()).logs, [expected], "{line}");
        }
    }

    #[test]
    fn attributes_are_flattened_and_a_count_stands_for_equal_records() {
        let batch = read(
            br#"{"timestamp":1,"body":{"a":1},"count":3,"message":"kept","http":{"code":500,"ok":false,"tags":["x",1]}}"#,
        );
        let record = &batch.logs[0];
        assert_eq!(
            (record.body.as_str(), record.count, batch.log_count()),
            (r#"{"a":1}"#, 3, 3)
        );
        let attributes: Vec<_> = record.attributes.iter().collect();
        assert_eq!(
            attributes,
            [
                ("http.code", "500"),
                ("http.ok", "false"),
                ("http.tags", r#"["x",1]"#),
                ("message", "kept")
            ]
        );
        assert_eq!(record.severity, Severity::UNKNOWN);
    }

    #[test]
    fn a_bad_line_is_a_reject_with_its_number_and_the_others_stand() {
        use RejectReason::{Malformed, NoTimestamp, NoValue, NotUtf8};
        for (line, reason) in [
            (&b"not json"[..], Malformed),
            (b"[1]", Malformed),
            (b"{\"timestamp\":1,\"body\":\"\xff\"}", NotUtf8),
            (br#"{"body":"a"}"#, NoTimestamp),
            (br#"{"timestamp":"noon","body":"a"}"#, NoTimestamp),
            (br#"{"timestamp":[1],"body":"a"}"#, NoTimestamp),
            (br#"{"timestamp":1}"#, NoValue),
            (br#"{"timestamp":1,"body":"a","count":0}"#, Malformed),
            (br#"{"timestamp":1,"body":"a","count":1.5}"#, Malformed),
            (br#"{"timestamp":1,"body":"a","severity":{}}"#, Malformed),
        ] {
            let good = br#"{"timestamp":1,"body":"a"}"#;
            let batch = read(&[good, &b"\n"[..], line, b"\n\n", good].concat());
            assert_eq!(batch.logs.len(), 2, "{}", String::from_utf8_lossy(line));
            let reject = &batch.rejects.logs[&reason];
            assert!(
                reject.count == 1 && reject.example.starts_with("line 2: "),
                "{reject:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in r#"[{}":,a-z0-9\n-]{0,60}"#, bytes: Vec<u8>) {
            read(text.as_bytes());
            read(&bytes);
        }
    }
}
