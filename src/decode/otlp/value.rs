//! OTLP's `AnyValue` and its form as text: read from JSON, or written straight from protobuf.

use std::{borrow::Cow, fmt::Write};

use super::super::{
    DecodeError, Fault,
    protobuf::{Field, Reader},
};

/// A value of an attribute or the body of a log record.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::decode) enum AnyValue<'a> {
    Absent,
    Text(Cow<'a, str>),
    Boolean(bool),
    Integer(i64),
    Double(f64),
    List(Vec<AnyValue<'a>>),
    Map(Vec<(Cow<'a, str>, AnyValue<'a>)>),
}

impl<'a> AnyValue<'a> {
    /// The value as the text of a label or of a body: strings as they are, numbers in decimals,
    /// bytes in base64, lists and maps as compact JSON, an absent value as nothing.
    pub(in crate::decode) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Absent => Cow::Borrowed(""),
            Self::Text(text) => text,
            Self::Boolean(value) => Cow::Borrowed(boolean_text(value)),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Double(value) => Cow::Owned(double_text(value)),
            Self::List(_) | Self::Map(_) => {
                let mut out = String::new();
                self.write_json(&mut out);
                Cow::Owned(out)
            }
        }
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Absent => out.push_str("null"),
            Self::Text(text) => write_quoted(text, out),
            Self::Boolean(value) => out.push_str(boolean_text(*value)),
            Self::Integer(value) => write!(out, "{value}").expect(WRITES),
            Self::Double(value) => double_json(*value, out),
            Self::List(values) => {
                let mut separator = '[';
                for value in values {
                    out.push(separator);
                    separator = ',';
                    value.write_json(out);
                }
                out.push_str(if values.is_empty() { "[]" } else { "]" });
            }
            Self::Map(pairs) => {
                let mut separator = '{';
                for (key, value) in pairs {
                    out.push(separator);
                    separator = ',';
                    write_quoted(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push_str(if pairs.is_empty() { "{}" } else { "}" });
            }
        }
    }
}

/// An `AnyValue` in protobuf that is not read yet: the fields of this number in a message. Where there
/// are several they are one value in pieces, as protobuf has it.
#[derive(Clone, Copy)]
pub(super) struct WireValue<'a> {
    holder: Reader<'a>,
    number: u32,
}

/// A `KeyValue` in protobuf.
#[derive(Clone, Copy)]
pub(super) struct WirePair<'a> {
    /// The key, if there is one.
    pub(super) key: Option<Field<'a>>,
    pub(super) value: WireValue<'a>,
}

/// What a value in protobuf holds: the last field, and from which on it may go on.
#[derive(Clone, Copy)]
struct Told<'a> {
    field: Field<'a>,
    first: usize,
}

impl<'a> WireValue<'a> {
    /// The value in the fields of this number.
    pub(super) fn new(holder: Reader<'a>, number: u32) -> Self {
        Self { holder, number }
    }

    /// The field that holds the value, if that is a text.
    pub(super) fn plain_text(self) -> Result<Option<Field<'a>>, Fault> {
        Ok(self
            .told()?
            .map(|told| told.field)
            .filter(|field| field.number == 1))
    }

    /// Writes the value as the text of a label or of a body, as [`AnyValue::into_text`] has it.
    pub(super) fn write_text(self, out: &mut dyn Write) -> Result<(), Fault> {
        let Some(told) = self.told()? else {
            return Ok(());
        };
        let field = told.field;
        match field.number {
            1 => put(out, field.text()?),
            2 => put(out, boolean_text(field.boolean()?)),
            3 => write!(out, "{}", field.int64()?).expect(WRITES),
            4 => put(out, &double_text(field.double()?)),
            7 => base64(field.bytes()?, out),
            _ => self.write_nested(told, out)?,
        }
        Ok(())
    }

    fn write_json(self, out: &mut dyn Write) -> Result<(), Fault> {
        let Some(told) = self.told()? else {
            put(out, "null");
            return Ok(());
        };
        let field = told.field;
        match field.number {
            1 => write_quoted(field.text()?, out),
            4 => double_json(field.double()?, out),
            7 => {
                put(out, "\"");
                base64(field.bytes()?, out);
                put(out, "\"");
            }
            5 | 6 => self.write_nested(told, out)?,
            _ => self.write_text(out)?,
        }
        Ok(())
    }

    fn write_nested(self, told: Told<'_>, out: &mut dyn Write) -> Result<(), Fault> {
        let is_list = told.field.number == 5;
        let [open, close] = if is_list { ["[", "]"] } else { ["{", "}"] };
        let mut separator = open;
        self.each_field(|from, field| {
            if from < told.first || field.number != told.field.number {
                return Ok(());
            }
            let mut holder = field.message()?;
            loop {
                let rest = holder;
                let Some(item) = holder.next()? else { break };
                if item.number != 1 {
                    continue;
                }
                put(out, separator);
                separator = ",";
                if is_list {
                    // Each element is a value of its own.
                    WireValue::new(rest.until(holder), 1).write_json(out)?;
                } else {
                    let pair = WirePair::read(item.message()?)?;
                    write_quoted(pair.key()?, out);
                    put(out, ":");
                    pair.value.write_json(out)?;
                }
            }
            Ok(())
        })?;
        if separator == open {
            put(out, open);
        }
        put(out, close);
        Ok(())
    }

    /// Finds the last field that holds something: a later kind of value takes the place of an earlier.
    fn told(self) -> Result<Option<Told<'a>>, Fault> {
        let mut told: Option<Told<'a>> = None;
        self.each_field(|from, field| {
            match (field.number, &mut told) {
                (1..=7, Some(told)) if told.field.number == field.number => told.field = field,
                (1..=7, _) => told = Some(Told { field, first: from }),
                _ => {}
            }
            Ok(())
        })?;
        Ok(told)
    }

    fn each_field(
        self,
        mut each: impl FnMut(usize, Field<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.holder.for_each(|field| {
            if field.number != self.number {
                return Ok(());
            }
            let mut message = field.message()?;
            loop {
                let from = message.offset();
                let Some(field) = message.next()? else {
                    return Ok(());
                };
                each(from, field)?;
            }
        })
    }
}

impl<'a> WirePair<'a> {
    /// Finds key and value in a `KeyValue` message.
    pub(super) fn read(message: Reader<'a>) -> Result<Self, DecodeError> {
        let mut key = None;
        message.for_each(|field| {
            match field.number {
                1 => key = Some(field),
                2 => {
                    field.bytes()?;
                }
                _ => {}
            }
            Ok::<_, DecodeError>(())
        })?;
        let value = WireValue::new(message, 2);
        Ok(Self { key, value })
    }

    /// The key as text; empty where there is none.
    pub(super) fn key(&self) -> Result<&'a str, Fault> {
        self.key.map_or(Ok(""), |key| key.text())
    }
}

const WRITES: &str = "what texts are written to does not fail";

fn put(out: &mut dyn Write, text: &str) {
    out.write_str(text).expect(WRITES);
}

fn boolean_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn double_json(value: f64, out: &mut dyn Write) {
    if value.is_finite() {
        put(out, &double_text(value));
    } else {
        write_quoted(&double_text(value), out);
    }
}

/// Writes a text as JSON has it.
fn write_quoted(text: &str, out: &mut dyn Write) {
    put(out, "\"");
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        put(out, &text[plain..index]);
        put(out, escape);
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect(WRITES);
        }
        plain = index + 1;
    }
    put(out, &text[plain..]);
    put(out, "\"");
}
/// A double in the fewest digits that tell it: `10`, `0.1`, `1e300`, `NaN`, `Infinity`.
fn double_text(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "Infinity".to_owned()
        } else {
            "-Infinity".to_owned()
        }
    } else if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// Base64 of bytes, for tests.
#[cfg(test)]
pub(in crate::decode) fn base64_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    base64(bytes, &mut text);
    text
}

/// Writes base64 with the standard alphabet and padding, as proto3 JSON has bytes.
fn base64(bytes: &[u8], out: &mut dyn Write) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for place in 0..4 {
            let sextet = (group >> (18 - 6 * place)) & 63;
            let digit = if place <= chunk.len() {
                ALPHABET[sextet as usize] as char
            } else {
                '='
            };
            out.write_char(digit).expect(WRITES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_text_that_people_expect() {
        let text = |text: &'static str| AnyValue::Text(text.into());
        for (value, expected) in [
            (AnyValue::Absent, ""),
            (text("a \"b\""), "a \"b\""),
            (AnyValue::Boolean(true), "true"),
            (AnyValue::Integer(-7), "-7"),
            (AnyValue::Double(10.0), "10"),
            (AnyValue::Double(637.704), "637.704"),
            (AnyValue::Double(1e300), "1e300"),
            (AnyValue::Double(f64::NAN), "NaN"),
            (AnyValue::Double(f64::NEG_INFINITY), "-Infinity"),
            (AnyValue::List(vec![]), "[]"),
            (AnyValue::Map(vec![]), "{}"),
            (
                AnyValue::Map(vec![
                    (
                        "k\n".into(),
                        AnyValue::List(vec![text("\"x\""), AnyValue::Absent]),
                    ),
                    ("n".into(), AnyValue::Double(f64::INFINITY)),
                ]),
                r#"{"k\n":["\"x\"",null],"n":"Infinity"}"#,
            ),
        ] {
            assert_eq!(value.clone().into_text(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_value_in_protobuf_has_the_text_of_the_same_value_in_json() {
        // A KeyValue without a key: its value is field 2.
        let text = |value: &[u8]| {
            let holder = [&[0x12, value.len() as u8][..], value].concat();
            let mut text = String::new();
            WireValue::new(Reader::new("test", &holder), 2)
                .write_text(&mut text)
                .map(|()| text)
        };
        for (value, expected) in [
            (&b""[..], ""),
            (b"\x0a\x02hi", "hi"),
            (b"\x10\x01", "true"),
            (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "-1"),
            (b"\x21\0\0\0\0\0\0\xf0\x7f", "Infinity"),
            (b"\x3a\x03\xff\0a", "/wBh"),
            (b"\x3a\x01a", "YQ=="),
            (b"\x2a\0", "[]"),
            (b"\x32\0", "{}"),
            // A later kind of value takes the place of an earlier one.
            (b"\x2a\x04\x0a\x02\x10\x01\x0a\x01x", "x"),
            // Two fields of one kind of list are one list.
            (
                b"\x2a\x06\x0a\0\x0a\x02\x10\x01\x2a\x05\x0a\x03\x3a\x01a",
                r#"[null,true,"YQ=="]"#,
            ),
            (
                b"\x32\x0b\x0a\x09\x0a\x02\"\x01\x12\x03\x0a\x01\n",
                r#"{"\"\u0001":"\n"}"#,
            ),
        ] {
            assert_eq!(text(value), Ok(expected.to_owned()), "{value:?}");
        }
        assert!(text(b"\x0a\x01\xff").is_err());
    }
}
