//! OTLP's `AnyValue`, borrowed, with its forms as text.

use std::{borrow::Cow, fmt::Write};

use super::super::{Fault, protobuf::Reader};

/// A value of an attribute or the body of a log record.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::decode) enum AnyValue<'a> {
    Absent,
    Text(Cow<'a, str>),
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Bytes(Cow<'a, [u8]>),
    List(Vec<AnyValue<'a>>),
    Map(Vec<(Cow<'a, str>, AnyValue<'a>)>),
}

impl<'a> AnyValue<'a> {
    /// Reads an `AnyValue` message.
    pub(super) fn read(message: Reader<'a>) -> Result<Self, Fault> {
        let mut value = Self::Absent;
        message.for_each(|field| {
            match field.number {
                1 => value = Self::Text(Cow::Borrowed(field.text()?)),
                2 => value = Self::Boolean(field.boolean()?),
                3 => value = Self::Integer(field.int64()?),
                4 => value = Self::Double(field.double()?),
                5 => {
                    let mut list = Vec::new();
                    field.message()?.for_each(|field| {
                        if field.number == 1 {
                            list.push(Self::read(field.message()?)?);
                        }
                        Ok::<_, Fault>(())
                    })?;
                    value = Self::List(list);
                }
                6 => {
                    let mut map = Vec::new();
                    field.message()?.for_each(|field| {
                        if field.number == 1 {
                            map.push(key_value(field.message()?)?);
                        }
                        Ok::<_, Fault>(())
                    })?;
                    value = Self::Map(map);
                }
                7 => value = Self::Bytes(Cow::Borrowed(field.bytes()?)),
                _ => {}
            }
            Ok::<_, Fault>(())
        })?;
        Ok(value)
    }

    /// The value as the text of a label or of a body: strings as they are, numbers in decimals,
    /// bytes in base64, lists and maps as compact JSON, an absent value as nothing.
    pub(in crate::decode) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Absent => Cow::Borrowed(""),
            Self::Text(text) => text,
            Self::Boolean(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::Double(value) => Cow::Owned(double_text(value)),
            Self::Bytes(bytes) => Cow::Owned(base64(&bytes)),
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
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => write!(out, "{value}").expect("writing to a string succeeds"),
            Self::Double(value) if value.is_finite() => out.push_str(&double_text(*value)),
            Self::Double(value) => write_quoted(&double_text(*value), out),
            Self::Bytes(bytes) => write_quoted(&base64(bytes), out),
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

/// Reads a `KeyValue` message.
pub(super) fn key_value(message: Reader<'_>) -> Result<(Cow<'_, str>, AnyValue<'_>), Fault> {
    let (mut key, mut value) = ("", AnyValue::Absent);
    message.for_each(|field| {
        match field.number {
            1 => key = field.text()?,
            2 => value = AnyValue::read(field.message()?)?,
            _ => {}
        }
        Ok::<_, Fault>(())
    })?;
    Ok((Cow::Borrowed(key), value))
}

fn write_quoted(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
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

/// Base64 with the standard alphabet and padding, as proto3 JSON writes bytes.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for place in 0..4 {
            let sextet = (group >> (18 - 6 * place)) & 63;
            out.push(if place <= chunk.len() {
                ALPHABET[sextet as usize] as char
            } else {
                '='
            });
        }
    }
    out
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
            (AnyValue::Bytes(b"\xff\x00a"[..].into()), "/wBh"),
            (AnyValue::Bytes(b"ab"[..].into()), "YWI="),
            (AnyValue::Bytes(b"a"[..].into()), "YQ=="),
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
}
