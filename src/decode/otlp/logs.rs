//! Log records of an OTLP request, borrowed.

use super::{
    super::{Fault, Refusal, Scratch, StreamLabels, check, excerpt, protobuf::Reader},
    DecodeError, part,
    points::{severity, timestamp},
    value::{WirePair, WireValue},
};
use crate::event::{Piece, RawBatch, RawLog, Severity};

/// The records of one resource.
pub(super) struct Walk<'a, 'b> {
    bytes: &'a [u8],
    stream_labels: StreamLabels<'b>,
    /// Why the resource cannot be used, if so: then no record of it can.
    resource: Result<(), Refusal>,
    scratch: &'b mut Scratch,
    out: &'b mut RawBatch,
}

/// What a record holds beside its attributes and its body.
#[derive(Default)]
struct Record<'a> {
    at_nanos: u64,
    observed_nanos: u64,
    severity_number: i64,
    severity_text: &'a str,
    event_name: Option<Piece>,
}

const EVENT_NAME: &str = "event.name";

/// Number of the body in a record.
const BODY: u32 = 5;

impl<'a, 'b> Walk<'a, 'b> {
    /// Starts with the attributes of a resource, which may stand behind its records.
    pub(super) fn new(
        bytes: &'a [u8],
        stream_labels: StreamLabels<'b>,
        message: Reader<'a>,
        scratch: &'b mut Scratch,
        out: &'b mut RawBatch,
    ) -> Result<Self, DecodeError> {
        scratch.start_shared();
        let mut walk = Self {
            bytes,
            stream_labels,
            resource: Ok(()),
            scratch,
            out,
        };
        walk.resource = part(walk.attributes_of_resource(message))?;
        walk.scratch.share(bytes, walk.out);
        Ok(walk)
    }

    pub(super) fn record(&mut self, message: Reader<'a>) -> Result<(), DecodeError> {
        check(self.out)?;
        self.scratch.start_record();
        let taken = match &self.resource {
            Ok(()) => self.take(message),
            Err(refusal) => Err(refusal.clone().into()),
        };
        if let Err(refusal) = part(taken)? {
            self.out.rejects.log(refusal.reason, || {
                format!("log record: {}", excerpt(&refusal.detail))
            });
            if self.resource.is_ok() {
                self.scratch
                    .unread(self.bytes, severity_of(message), self.out);
            }
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
        let severity = severity(record.severity_number, record.severity_text);
        if let Some(event) = record.event_name
            && self.stream_labels.contains(EVENT_NAME.as_bytes())
        {
            let (name, ()) = self.out.write(|out| out.extend(EVENT_NAME.as_bytes()));
            self.scratch.push_first(name, event);
        }
        let body = self.text(WireValue::new(message, BODY))?;
        let (stream, hash) = self.scratch.stream(self.bytes, self.out)?;
        self.out.log(RawLog {
            at,
            severity,
            body,
            hash,
            stream,
            count: 1,
        });
        Ok(())
    }

    /// Reads a record; its attributes that tell the stream go to the scratch.
    fn read(&mut self, message: Reader<'a>) -> Result<Record<'a>, Fault> {
        let mut record = Record::default();
        message.for_each(|field| {
            match field.number {
                1 => record.at_nanos = field.fixed64()?,
                2 => record.severity_number = field.int64()?,
                3 => record.severity_text = field.text()?,
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

    fn attributes_of_resource(&mut self, message: Reader<'a>) -> Result<(), Fault> {
        message.for_each(|field| {
            if field.number != 1 {
                return Ok(());
            }
            field.message()?.for_each(|field| match field.number {
                1 => self.attribute(field.message()?),
                _ => Ok(()),
            })
        })
    }

    fn attribute(&mut self, message: Reader<'a>) -> Result<(), Fault> {
        let pair = WirePair::read(message)?;
        let Some(key) = pair.key.filter(|key| {
            key.bytes()
                .is_ok_and(|name| self.stream_labels.contains(name))
        }) else {
            return Ok(());
        };
        key.text()?;
        let value = self.text(pair.value)?;
        Ok(self.scratch.push(Piece::of_body(key.range()?), value)?)
    }

    fn text(&mut self, value: WireValue<'_>) -> Result<Piece, Fault> {
        if let Some(field) = value.plain_text()? {
            // A text stays where it stands.
            field.text()?;
            return Ok(Piece::of_body(field.range()?));
        }
        let (piece, written) = self.out.write(|out| value.write_text(out));
        written.map(|()| piece)
    }
}

/// The severity of a record that cannot be read; `None` where damage may hide it.
fn severity_of(message: Reader<'_>) -> Option<Severity> {
    let (mut number, mut text) = (0, "");
    let read = message.for_each(|field| {
        match field.number {
            2 => number = field.int64()?,
            3 => text = field.text()?,
            _ => {}
        }
        Ok::<_, Fault>(())
    });
    read.ok().map(|()| severity(number, text))
}
