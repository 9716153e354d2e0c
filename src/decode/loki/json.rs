//! Loki's push in JSON: `{"streams": [{"stream": {…}, "values": [["<nanoseconds>", "line", {…}?]]}]}`.

use serde_json::{Map, Value};

use super::{
    super::{DecodeError, Refusal, excerpt, otlp_json},
    Level,
};
use crate::event::{Batch, Labels, LogRecord, RejectReason, Timestamp};

const FORMAT: &str = "loki push json";

/// Decodes a push request in JSON.
///
/// # Errors
/// The bytes are no JSON object, or it has no list of streams.
pub fn decode_json(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let document = otlp_json::document(FORMAT, bytes)?;
    let Some(streams) = document.get("streams").and_then(Value::as_array) else {
        return Err(DecodeError::Malformed {
            format: FORMAT,
            offset: 0,
            detail: "no list \"streams\"".to_owned(),
        });
    };
    let mut batch = Batch::default();
    for stream in streams {
        take_stream(stream, &mut batch);
    }
    Ok(batch)
}

fn take_stream(stream: &Value, batch: &mut Batch) {
    let mut refuse = |refusal: &Refusal| {
        batch.rejects.log(refusal.reason, || {
            format!("log entry: {}", excerpt(&refusal.detail))
        });
    };
    let entries = match stream.get("values") {
        None | Some(Value::Null) => return,
        Some(Value::Array(entries)) => entries,
        Some(_) => return refuse(&malformed("\"values\" is no list")),
    };
    let labels = match stream.get("stream") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(labels)) => pairs(labels, "label"),
        Some(_) => Err(malformed("\"stream\" is no object")),
    };
    for entry in entries {
        let taken = labels.as_ref().map_err(Refusal::clone);
        match taken.and_then(|labels| record(entry, labels)) {
            Ok(record) => batch.logs.push(record),
            Err(refusal) => batch.rejects.log(refusal.reason, || {
                format!("log entry: {}", excerpt(&refusal.detail))
            }),
        }
    }
}

fn record(entry: &Value, labels: &[(&str, &str)]) -> Result<LogRecord, Refusal> {
    let (at, line, metadata) = match entry.as_array().map(Vec::as_slice) {
        Some([at, line]) => (at, line, None),
        Some([at, line, metadata]) => (at, line, Some(metadata)),
        Some(_) | None => return Err(malformed("an entry is no list of a time and a line")),
    };
    let at = at.as_str().ok_or_else(|| {
        let detail = "a time that is no text: write nanoseconds since 1970 in quotes";
        Refusal::new(RejectReason::NoTimestamp, detail)
    })?;
    let at = at.parse().ok().filter(|nanos| *nanos != 0).ok_or_else(|| {
        let at = excerpt(at);
        let detail = format!("time {at:?}: write nanoseconds since 1970 in quotes");
        Refusal::new(RejectReason::NoTimestamp, detail)
    })?;
    let line = line.as_str();
    let line = line.ok_or_else(|| Refusal::new(RejectReason::NoValue, "a line that is no text"))?;
    let metadata = match metadata {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(metadata)) => pairs(metadata, "structured metadata")?,
        Some(_) => return Err(malformed("structured metadata that is no object")),
    };
    let [mut own, mut of_stream] = [Level::default(); 2];
    for (level, pairs) in [(&mut own, &metadata[..]), (&mut of_stream, labels)] {
        for (name, value) in pairs {
            level.see(name.as_bytes(), value.as_bytes());
        }
    }
    Ok(LogRecord {
        at: Timestamp::from_nanos(at),
        severity: own.severity(of_stream),
        body: line.to_owned(),
        attributes: Labels::new(metadata.iter().chain(labels).copied()),
        count: 1,
    })
}

fn pairs<'v>(
    object: &'v Map<String, Value>,
    what: &str,
) -> Result<Vec<(&'v str, &'v str)>, Refusal> {
    object
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| {
            if let Some(value) = value.as_str() {
                Ok((&**name, value))
            } else {
                let name = excerpt(name);
                let detail = format!("{what} {name:?} is no text");
                Err(Refusal::new(RejectReason::BadLabels, detail))
            }
        })
        .collect()
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(RejectReason::Malformed, detail)
}
