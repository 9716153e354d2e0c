//! Splits a message of flat JSON into its objects: one object, arrays of objects, or objects one
//! after the other, on lines or not.

use std::{fmt, ops::ControlFlow};

use serde::{
    Deserializer as _,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::{Deserializer, value::RawValue};

use super::Refusal;
use crate::event::RejectReason;

/// Longest object that is read, in bytes: longer ones are rejects, as lines of a file are.
const OBJECT_BYTES_MAX: usize = super::lines::LINE_BYTES_MAX;

/// Calls `take` for the text of each object, or for what stands in the place of one.
///
/// After damage the reading goes on with the line that follows the beginning of the damaged value,
/// so that neighbours on lines of their own stand. No value is read more often than it can be nested.
pub(super) fn objects(bytes: &[u8], take: &mut impl FnMut(Result<&str, Refusal>)) {
    let all = objects_while(bytes, &mut |object| {
        take(object);
        ControlFlow::Continue(())
    });
    debug_assert!(all.is_continue(), "nothing breaks it off");
}

/// As [`objects`], until `take` breaks it off.
pub(super) fn objects_while(
    bytes: &[u8],
    take: &mut impl FnMut(Result<&str, Refusal>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return values(text, take);
    }
    for line in bytes.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(text) => values(text, take)?,
            Err(_) => take(Err(Refusal::new(
                RejectReason::NotUtf8,
                "the line is not utf-8",
            )))?,
        }
    }
    ControlFlow::Continue(())
}

fn values(
    text: &str,
    take: &mut impl FnMut(Result<&str, Refusal>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut stream = Deserializer::from_str(rest).into_iter::<&RawValue>();
        match stream.next() {
            None => return ControlFlow::Continue(()),
            Some(Ok(value)) => {
                value_objects(value, take)?;
                rest = &rest[stream.byte_offset()..];
            }
            Some(Err(error)) => {
                take(Err(malformed(&error)))?;
                rest = rest.find('\n').map_or("", |end| &rest[end..]);
            }
        }
    }
}

fn value_objects(
    value: &RawValue,
    take: &mut impl FnMut(Result<&str, Refusal>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if !value.get().starts_with('[') {
        return object(value, take);
    }
    let mut flow = ControlFlow::Continue(());
    let mut items = Deserializer::from_str(value.get());
    let read = items.deserialize_seq(Items {
        take,
        flow: &mut flow,
    });
    flow?;
    match read {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => take(Err(malformed(&error))),
    }
}

fn object(
    value: &RawValue,
    take: &mut impl FnMut(Result<&str, Refusal>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let text = value.get();
    take(if !text.starts_with('{') {
        let head: String = text.chars().take(40).collect();
        Err(Refusal::new(
            RejectReason::Malformed,
            format!("no json object: {head}"),
        ))
    } else if text.len() > OBJECT_BYTES_MAX {
        Err(Refusal::new(
            RejectReason::OverLimit,
            format!("an object of {} bytes is over the limit", text.len()),
        ))
    } else {
        Ok(text)
    })
}

/// Visits the items of an array without keeping them.
struct Items<'t, F> {
    take: &'t mut F,
    /// Whether `take` broke it off.
    flow: &'t mut ControlFlow<()>,
}

impl<'de, F: FnMut(Result<&str, Refusal>) -> ControlFlow<()>> Visitor<'de> for Items<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items
            .next_element::<&RawValue>()
            .map_err(A::Error::custom)?
        {
            *self.flow = object(item, self.take);
            if self.flow.is_break() {
                return Err(A::Error::custom("broken off"));
            }
        }
        Ok(())
    }
}

/// What is wrong, without the position that the reader adds: it counts within the value.
pub(super) fn malformed(error: &serde_json::Error) -> Refusal {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or(&what);
    Refusal::new(
        RejectReason::Malformed,
        format!("no json object: {what}, at column {}", error.column()),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(bytes: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        objects(bytes, &mut |object| {
            seen.push(match object {
                Ok(text) => text.to_owned(),
                Err(refusal) => format!("! {}", refusal.reason.name()),
            });
        });
        seen
    }

    #[test]
    fn objects_stand_alone_in_arrays_and_on_lines() {
        for text in [
            r#"{"a":1} {"b":2}"#,
            "{\"a\":1}\n{\"b\":2}\n",
            "\u{feff}{\"a\":1}\r\n\r\n{\"b\":2}\r\n",
            r#"[{"a":1},{"b":2}]"#,
            " [ {\"a\":1} ]\n[{\"b\":2}]\n",
        ] {
            assert_eq!(
                split(text.as_bytes()),
                [r#"{"a":1}"#, r#"{"b":2}"#],
                "{text}"
            );
        }
        assert_eq!(split(b"{\n  \"a\": {\"b\": [1, {}]}\n}\n").len(), 1);
        assert_eq!(split(b" \n"), [""; 0]);
    }

    #[test]
    fn damage_is_one_refusal_and_its_neighbours_stand() {
        for damaged in [
            "{\"a\":",
            "{\"a\":1",
            "nope",
            "{\"x\":\"\u{1}\"}",
            "7",
            "[1]",
            "{]",
        ] {
            let text = format!("{{\"a\":1}}\n{damaged}\n{{\"b\":2}}\n");
            assert_eq!(
                split(text.as_bytes()),
                [r#"{"a":1}"#, "! malformed", r#"{"b":2}"#],
                "{damaged}"
            );
        }
        assert_eq!(
            split(br#"[{"a":1},2,{"b":2}]"#),
            [r#"{"a":1}"#, "! malformed", r#"{"b":2}"#]
        );
        assert_eq!(
            split(b"{\"a\":1}\n\xff\n{\"b\":2}"),
            [r#"{"a":1}"#, "! not_utf8", r#"{"b":2}"#]
        );
        let long = format!("{{\"a\":\"{}\"}}{{}}", "x".repeat(OBJECT_BYTES_MAX));
        assert_eq!(split(long.as_bytes()), ["! over_limit", "{}"]);
        // Nesting is bounded by the reader, not by the stack.
        assert_eq!(split("[".repeat(1 << 20).as_bytes()), ["! malformed"]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(text in r#"[{}\[\]":,a1\n-]{0,60}"#, bytes: Vec<u8>) {
            split(text.as_bytes());
            split(&bytes);
        }
    }
}
