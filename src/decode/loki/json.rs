//! Loki's push in JSON: `{"streams": [{"stream": {…}, "values": [["<nanoseconds>", "line", {…}?]]}]}`.

use serde_json::{Map, Value};

use super::{
    super::{
        DecodeError, Fault, Refusal, Scratch, StreamLabels, batches, check, excerpt,
        json_text::{PART_BYTES_MAX, Part, document},
    },
    Level, Walk, part,
};
use crate::event::{Batch, KeyHash, Raw, RawBatch, RawLog, RejectReason, Timestamp, canonical};

const FORMAT: &str = "loki push json";

/// Walks a push request in JSON. `scratch` is memory that is used again; what is read into values takes
/// at most about `part_bytes_max` bytes of memory at a time, and what would take more is refused.
///
/// # Errors
/// The bytes are no JSON object, or it has no list of streams; over a limit of `out`.
pub fn walk_json(
    bytes: &[u8],
    stream_labels: StreamLabels<'_>,
    part_bytes_max: usize,
    scratch: &mut Scratch,
    out: &mut RawBatch,
) -> Result<(), DecodeError> {
    out.reuse(canonical::read);
    let [streams] = document(FORMAT, bytes, ["streams"])?;
    let Some(streams) = streams.filter(Part::is_list) else {
        return Err(DecodeError::Malformed {
            format: FORMAT,
            offset: 0,
            detail: "no list \"streams\"".to_owned(),
        });
    };
    let mut json = Json {
        walk: Walk {
            bytes: &[],
            stream_labels,
            scratch,
            out,
            level: Level::default(),
        },
        part_bytes_max,
    };
    let walked = streams.each(|stream| {
        json.walk.level = Level::default();
        let walked = json.stream(stream);
        json.settle(walked)
    });
    json.settle(walked)?;
    check(out)
}

/// Decodes a push request in JSON into values of its own, with all attributes.
///
/// # Errors
/// The bytes are no JSON object, or it has no list of streams.
pub fn decode_json(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let mut out = RawBatch::new(KeyHash::new(0), canonical::read);
    let (all, scratch) = (StreamLabels::All, &mut Scratch::default());
    walk_json(bytes, all, PART_BYTES_MAX, scratch, &mut out)?;
    Ok(batches::owned(Raw::new(bytes, &out)))
}

/// One request.
struct Json<'b> {
    walk: Walk<'static, 'b>,
    part_bytes_max: usize,
}

impl Json<'_> {
    fn stream(&mut self, stream: &Part<'_, '_>) -> Result<(), Fault> {
        let [labels, entries] = stream.fields(["stream", "values"])?;
        let Some(entries) = entries else {
            let told = "a stream without \"values\", a list of times and lines";
            return Err(malformed(told).into());
        };
        if !entries.is_list() {
            return Err(malformed("\"values\" is no list").into());
        }
        self.walk.scratch.start_shared();
        let read = part(self.labels(labels.as_ref()))?;
        self.walk.scratch.share(&[], self.walk.out);
        entries.each(|entry| {
            check(self.walk.out)?;
            let taken = match &read {
                Ok(()) => part(self.entry(entry))?,
                Err(refusal) => Err(refusal.clone()),
            };
            if let Err(refusal) = taken {
                self.walk.refuse(&refusal);
                if read.is_ok() {
                    let level = self.level_of(entry);
                    self.walk.unread(level);
                }
            }
            Ok(())
        })
    }

    fn labels(&mut self, labels: Option<&Part<'_, '_>>) -> Result<(), Fault> {
        let Some(labels) = labels else { return Ok(()) };
        if !labels.is_object() {
            return Err(malformed("\"stream\" is no object").into());
        }
        match labels.value(self.part_bytes_max)? {
            Value::Object(labels) => self.pairs(&labels, "label", None),
            _ => Ok(()),
        }
    }

    fn entry(&mut self, entry: &Part<'_, '_>) -> Result<(), Fault> {
        self.walk.scratch.start_record();
        let entry = entry.value(self.part_bytes_max)?;
        let (at, line, metadata) = match entry.as_array().map(Vec::as_slice) {
            Some([at, line]) => (at, line, None),
            Some([at, line, metadata]) => (at, line, Some(metadata)),
            Some(_) | None => {
                return Err(malformed("an entry is no list of a time and a line").into());
            }
        };
        let at = timestamp(at)?;
        let line = line.as_str();
        let line =
            line.ok_or_else(|| Refusal::new(RejectReason::NoValue, "a line that is no text"))?;
        let level = self.metadata(metadata)?;
        let Walk {
            scratch,
            out,
            level: of_stream,
            ..
        } = &mut self.walk;
        let (body, ()) = out.write(|out| out.extend(line.as_bytes()));
        let (stream, hash) = scratch.stream(&[], out)?;
        out.log(RawLog {
            at,
            severity: level.severity(*of_stream),
            body,
            hash,
            stream,
            count: 1,
        });
        Ok(())
    }

    /// What an entry that cannot be read tells of its severity.
    fn level_of(&mut self, entry: &Part<'_, '_>) -> Option<Level> {
        let entry = entry.value(self.part_bytes_max).ok()?;
        self.metadata(entry.as_array()?.get(2)).ok()
    }

    /// Takes the metadata of an entry, and gives the level that they tell.
    fn metadata(&mut self, metadata: Option<&Value>) -> Result<Level, Fault> {
        let mut level = Level::default();
        match metadata {
            None | Some(Value::Null) => {}
            Some(Value::Object(metadata)) => {
                self.pairs(metadata, "structured metadata", Some(&mut level))?;
            }
            Some(_) => return Err(malformed("structured metadata that is no object").into()),
        }
        Ok(level)
    }

    fn pairs(
        &mut self,
        pairs: &Map<String, Value>,
        what: &str,
        mut level: Option<&mut Level>,
    ) -> Result<(), Fault> {
        for (name, value) in pairs.iter().filter(|(name, _)| !name.is_empty()) {
            let Some(value) = value.as_str() else {
                let detail = format!("{what} {:?} is no text", excerpt(name));
                return Err(Refusal::new(RejectReason::BadLabels, detail).into());
            };
            let texts = [name, value].map(str::as_bytes);
            let walk = &mut self.walk;
            let level = level.as_deref_mut().unwrap_or(&mut walk.level);
            level.see(texts[0], texts[1]);
            if walk.stream_labels.contains(texts[0]) {
                let [name, value] = texts.map(|text| walk.out.write(|out| out.extend(text)).0);
                walk.scratch.push(name, value)?;
            }
        }
        Ok(())
    }

    /// Lets damage of the whole through; the refusal of a part is counted.
    fn settle(&mut self, result: Result<(), Fault>) -> Result<(), DecodeError> {
        if let Err(refusal) = part(result)? {
            self.walk.refuse(&refusal);
        }
        Ok(())
    }
}

fn timestamp(at: &Value) -> Result<Timestamp, Refusal> {
    let at = at.as_str().ok_or_else(|| {
        let detail = "a time that is no text: write nanoseconds since 1970 in quotes";
        Refusal::new(RejectReason::NoTimestamp, detail)
    })?;
    let nanos = at.parse().ok().filter(|nanos| *nanos != 0);
    nanos.map(Timestamp::from_nanos).ok_or_else(|| {
        let at = excerpt(at);
        let detail = format!("time {at:?}: write nanoseconds since 1970 in quotes");
        Refusal::new(RejectReason::NoTimestamp, detail)
    })
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(RejectReason::Malformed, detail)
}
