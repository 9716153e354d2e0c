//! Log records of an OTLP request, borrowed.
//!
//! A record has attributes that differ from one to the next (trace ids, user ids). Only those that tell
//! its stream are read; they are written out in the canonical form.

use std::collections::BTreeSet;

use super::{
    super::{Fault, Refusal, protobuf::Reader},
    DecodeError, ResourcePiece, part,
    points::timestamp,
    value::{self, AnyValue},
};
use crate::event::{Piece, RawBatch, RawLog, Severity, canonical};

/// Which attributes tell the stream of a log record.
#[derive(Clone, Copy, Debug)]
pub enum StreamLabels<'a> {
    /// All of them.
    All,
    /// Those with these names.
    Named(&'a BTreeSet<String>),
}

/// Memory that one request after another uses.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Names and values of a record's stream.
    pairs: Vec<(Piece, Piece)>,
    order: Vec<usize>,
    region: Vec<u8>,
}

/// The records of one resource.
pub(super) struct Walk<'a, 'b> {
    bytes: &'a [u8],
    stream_labels: StreamLabels<'b>,
    /// How many pairs at the front of the scratch are of the resource, or why it cannot be used.
    resource: Result<usize, Refusal>,
    scratch: &'b mut Scratch,
    out: &'b mut RawBatch,
}

/// What a record holds beside its attributes.
struct Record<'a> {
    at_nanos: u64,
    observed_nanos: u64,
    severity_number: i64,
    severity_text: &'a str,
    body: Body<'a>,
    event_name: Option<Piece>,
}

enum Body<'a> {
    AsItStands(Piece),
    Value(AnyValue<'a>),
}

impl StreamLabels<'_> {
    fn contains(&self, name: &[u8]) -> bool {
        match self {
            Self::All => !name.is_empty(),
            Self::Named(names) => std::str::from_utf8(name).is_ok_and(|name| names.contains(name)),
        }
    }
}

impl<'a, 'b> Walk<'a, 'b> {
    pub(super) fn new(
        bytes: &'a [u8],
        stream_labels: StreamLabels<'b>,
        resource: &ResourcePiece,
        scratch: &'b mut Scratch,
        out: &'b mut RawBatch,
    ) -> Result<Self, DecodeError> {
        scratch.pairs.clear();
        let mut walk = Self {
            bytes,
            stream_labels,
            resource: Ok(0),
            scratch,
            out,
        };
        let attributes = walk.out.bytes(bytes, resource.piece).to_vec();
        let read = Reader::new(super::LOGS, &attributes).for_each(|field| {
            let (key, value) = value::key_value(field.message()?)?;
            if walk.stream_labels.contains(key.as_bytes()) {
                let key = walk.written(key.as_bytes());
                let value = walk.written(value.into_text().as_bytes());
                walk.scratch.pairs.push((key, value));
            }
            Ok::<_, Fault>(())
        });
        walk.resource = part(read)?.map(|()| walk.scratch.pairs.len());
        Ok(walk)
    }

    pub(super) fn record(&mut self, message: Reader<'a>) -> Result<(), DecodeError> {
        let taken = match self.resource.clone() {
            Ok(resource) => {
                self.scratch.pairs.truncate(resource);
                self.take(message)
            }
            Err(refusal) => Err(refusal.into()),
        };
        if let Err(refusal) = part(taken)? {
            self.out
                .rejects
                .log(refusal.reason, || format!("log record: {}", refusal.detail));
        }
        Ok(())
    }

    fn take(&mut self, message: Reader<'a>) -> Result<(), Fault> {
        let record = self.read(message)?;
        let nanos = match record.at_nanos {
            0 => record.observed_nanos,
            nanos => nanos,
        };
        let at = timestamp(nanos)?;
        let severity = match Severity::from_number(record.severity_number) {
            Severity::UNKNOWN => Severity::from_name(record.severity_text),
            known => known,
        };
        let body = match record.body {
            Body::AsItStands(piece) => piece,
            Body::Value(value) => self.written(value.into_text().as_bytes()),
        };
        let stream = self.stream(record.event_name);
        let hash = self.out.keys().single(self.out.bytes(self.bytes, stream));
        self.out.logs.push(RawLog {
            at,
            severity,
            body,
            hash,
            stream,
            count: 1,
        });
        Ok(())
    }

    /// Reads a record; its attributes that tell the stream are appended to the pairs.
    fn read(&mut self, message: Reader<'a>) -> Result<Record<'a>, Fault> {
        let mut record = Record {
            at_nanos: 0,
            observed_nanos: 0,
            severity_number: 0,
            severity_text: "",
            body: Body::Value(AnyValue::Absent),
            event_name: None,
        };
        message.for_each(|field| {
            match field.number {
                1 => record.at_nanos = field.fixed64()?,
                2 => record.severity_number = field.int64()?,
                3 => record.severity_text = field.text()?,
                5 => record.body = body(field.message()?)?,
                6 => self.attribute(field.message()?)?,
                11 => record.observed_nanos = field.fixed64()?,
                12 => {
                    field.text()?;
                    record.event_name = Some(Piece::of_body(field.range()?));
                }
                _ => {}
            }
            Ok::<_, Fault>(())
        })?;
        Ok(record)
    }

    fn attribute(&mut self, message: Reader<'a>) -> Result<(), Fault> {
        let mut key = None;
        message.for_each(|field| {
            if field.number == 1 {
                key = Some(field.range()?);
            }
            Ok::<_, DecodeError>(())
        })?;
        let Some(key) = key.filter(|key| self.stream_labels.contains(&self.bytes[key.clone()]))
        else {
            return Ok(());
        };
        let (_, value) = value::key_value(message)?;
        let value = self.written(value.into_text().as_bytes());
        self.scratch.pairs.push((Piece::of_body(key), value));
        Ok(())
    }

    /// Writes the stream: of pairs with one name that of the record stands, not that of its resource,
    /// and of two in one place the first.
    fn stream(&mut self, event_name: Option<Piece>) -> Piece {
        let (bytes, resource) = (self.bytes, self.resource.clone().unwrap_or(0));
        if let Some(event) = event_name
            && self.stream_labels.contains(EVENT_NAME.as_bytes())
        {
            let name = self.written(EVENT_NAME.as_bytes());
            self.scratch.pairs.insert(resource, (name, event));
        }
        let Scratch {
            pairs,
            order,
            region,
        } = &mut *self.scratch;
        // The resource's pairs stand in front for every record, but count last.
        order.clear();
        order.extend((resource..pairs.len()).chain(0..resource));
        let out = &*self.out;
        let text = |piece: Piece| out.bytes(bytes, piece);
        order.retain(|index| !text(pairs[*index].1).is_empty());
        order.sort_by_key(|index| text(pairs[*index].0));
        order.dedup_by(|later, first| text(pairs[*later].0) == text(pairs[*first].0));
        region.clear();
        for index in order {
            let (name, value) = pairs[*index];
            canonical::write_pair(text(name), text(value), region);
        }
        self.out
            .write(|out| out.extend_from_slice(&self.scratch.region))
            .0
    }

    fn written(&mut self, bytes: &[u8]) -> Piece {
        self.out.write(|out| out.extend_from_slice(bytes)).0
    }
}

const EVENT_NAME: &str = "event.name";

/// A text stays where it stands.
fn body(message: Reader<'_>) -> Result<Body<'_>, Fault> {
    let mut text = None;
    let mut is_text = true;
    message.for_each(|field| {
        if field.number == 1 {
            field.text()?;
            text = Some(Piece::of_body(field.range()?));
        } else {
            is_text = false;
        }
        Ok::<_, Fault>(())
    })?;
    match text {
        Some(piece) if is_text => Ok(Body::AsItStands(piece)),
        Some(_) | None => AnyValue::read(message).map(Body::Value),
    }
}
