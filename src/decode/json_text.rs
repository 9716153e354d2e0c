//! A JSON document as the text that its parts stand in, so that a request never becomes one tree.
//!
//! A tree takes up to three hundred times the bytes that it is read from. Containers are therefore walked
//! as text, and only the parts that they hold (a point, a record, the attributes of a resource) are
//! read into values, one after the other. A part that would take more than the whole request may is
//! refused alone.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, value::RawValue};

use super::{DecodeError, Fault, Refusal};
use crate::event::RejectReason;

/// What the parts of a document may take in memory where no limit of a request holds, in bytes.
pub(super) const PART_BYTES_MAX: usize = 64 << 20;

/// What an element of a list or a further entry of an object is taken to need in memory: its place, and
/// as much again while a list grows.
const ELEMENT_BYTES: usize = 128;
/// What an object is taken to need: the node of the map that its first entries are in.
const OBJECT_BYTES: usize = 768;

/// Where something stands in a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Key(&'static str),
    Index(usize),
}

/// A part of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'b, 'p> {
    text: &'b str,
    pub(super) path: Path<'p>,
}

impl<'p> Path<'p> {
    const ROOT: Path<'static> = Path {
        parent: None,
        step: Step::Key(""),
    };

    /// The path of a field.
    pub(super) fn key(&'p self, key: &'static str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// The path of an element.
    pub(super) fn index(&'p self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }
}

/// The fields of a document with these names; absent if they are null.
///
/// # Errors
/// The bytes are no JSON object.
pub(super) fn document<'b, const N: usize>(
    format: &'static str,
    bytes: &'b [u8],
    names: [&'static str; N],
) -> Result<[Option<Part<'b, 'static>>; N], DecodeError> {
    let malformed = |offset, detail| DecodeError::Malformed {
        format,
        offset,
        detail,
    };
    let text = str::from_utf8(bytes)
        .map_err(|error| malformed(error.valid_up_to(), "the text is not utf-8".to_owned()))?;
    match fields(text, names) {
        Ok(found) => {
            let root: &'static Path<'static> = &Path::ROOT;
            let mut names = names.into_iter();
            Ok(found.map(|text| {
                let name = names.next().unwrap_or("");
                text.map(|text| Part {
                    text,
                    path: root.key(name),
                })
            }))
        }
        // Damage is told before the wrong type, as by a reader of the whole.
        Err(_) => Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => malformed(0, "the request is not a json object".to_owned()),
            Err(error) => malformed(place(bytes, &error), error.to_string()),
        }),
    }
}

/// Where an error was found, in bytes from the start.
fn place(bytes: &[u8], error: &serde_json::Error) -> usize {
    let lines_before = error.line().saturating_sub(1);
    let line_start: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(lines_before)
        .map(<[u8]>::len)
        .sum();
    (line_start + error.column()).min(bytes.len())
}

impl<'b, 'p> Part<'b, 'p> {
    /// The fields of an object with these names; absent if they are null, as in proto3 JSON. Of two
    /// with one name the last stands.
    pub(super) fn fields<const N: usize>(
        &'p self,
        names: [&'static str; N],
    ) -> Result<[Option<Part<'b, 'p>>; N], Refusal> {
        let found = fields(self.text, names).map_err(|_| self.wrong("an object"))?;
        let mut names = names.into_iter();
        Ok(found.map(|text| {
            let name = names.next().unwrap_or("");
            text.map(|text| Part {
                text,
                path: self.path.key(name),
            })
        }))
    }

    /// Calls `each` with the elements of a list, until it fails.
    pub(super) fn each(
        &self,
        mut each: impl FnMut(&Part<'b, '_>) -> Result<(), DecodeError>,
    ) -> Result<(), Fault> {
        if !self.text.starts_with('[') {
            return Err(self.wrong("an array").into());
        }
        let mut failed = None;
        let mut index = 0;
        let take = |text| {
            let path = self.path.index(index);
            index += 1;
            let taken = each(&Part { text, path });
            taken.map_err(|error| failed = Some(error)).is_ok()
        };
        let mut reader = serde_json::Deserializer::from_str(self.text);
        match (reader.deserialize_seq(Elements(take)), failed) {
            (_, Some(error)) => Err(error.into()),
            (Err(_), None) => Err(self.wrong("an array").into()),
            (Ok(()), None) => Ok(()),
        }
    }

    /// The part as a value that takes at most about `bytes_max` bytes of memory. The half of a pair
    /// of surrogates becomes the replacement character: senders cut texts anywhere.
    pub(super) fn value(&self, bytes_max: usize) -> Result<Value, Refusal> {
        let is_small = self.text.len().saturating_mul(OBJECT_BYTES) <= bytes_max;
        if !is_small && bytes_max < memory_bytes(self.text) {
            return Err(Refusal::new(
                RejectReason::OverLimit,
                format!(
                    "{} takes over {bytes_max} bytes in memory: send fewer values in one",
                    self.path
                ),
            ));
        }
        let read = serde_json::from_str(self.text).or_else(|error| match mended(self.text) {
            Some(text) => serde_json::from_str(&text),
            None => Err(error),
        });
        read.map_err(|error| {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or(&what);
            let detail = format!("{} cannot be read: {what}", self.path);
            Refusal::new(RejectReason::Malformed, detail)
        })
    }

    /// Whether it is an object.
    pub(super) fn is_object(&self) -> bool {
        self.text.starts_with('{')
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        self.text.starts_with('[')
    }

    /// The refusal of a part that is not what it should be.
    fn wrong(&self, expected: &str) -> Refusal {
        let found = match self.text.as_bytes().first() {
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            Some(b'"') => "a string",
            _ => self.text,
        };
        Refusal::new(
            RejectReason::Malformed,
            format!("{} must be {expected}, found {found}", self.path),
        )
    }
}

/// The texts of the fields with these names.
fn fields<'b, const N: usize>(
    text: &'b str,
    names: [&'static str; N],
) -> Result<[Option<&'b str>; N], serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Fields(names))?;
    reader.end()?;
    Ok(found)
}

/// Visits an object and keeps some of its fields.
struct Fields<const N: usize>([&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(name) = map.next_key_seed(Name(&self.0))? {
            match name {
                Some(index) => {
                    let text = map.next_value::<&RawValue>()?.get();
                    found[index] = (text != "null").then_some(text);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Reads a name as the place that it has among those that are wanted. Its bytes, because it need not be
/// a text: it may hold half a pair of surrogates.
struct Name<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| known.as_bytes() == name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        self.visit_bytes(name.as_bytes())
    }
}

/// Visits the elements of a list without keeping them, as long as they are taken.
struct Elements<F>(F);

impl<'de, F: FnMut(&'de str) -> bool> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if !self.0(element.get()) {
                return Err(A::Error::custom("not taken"));
            }
        }
        Ok(())
    }
}

/// What a text is taken to need in memory once it is read into values.
fn memory_bytes(text: &str) -> usize {
    let mut bytes = text.len();
    let mut is_quoted = false;
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' => {
                rest.next();
            }
            b'{' if !is_quoted => bytes += OBJECT_BYTES,
            b'[' | b',' if !is_quoted => bytes += ELEMENT_BYTES,
            _ => {}
        }
    }
    bytes
}

/// The text with the replacement character in the place of each half of a pair of surrogates; `None` if
/// there is none.
fn mended(text: &str) -> Option<String> {
    let escape = |at: usize| -> Option<u16> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        at += match (escape(at), escape(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => {
                mended.push_str(&text[kept..at]);
                mended.push_str("\\ufffd");
                kept = at + 6;
                6
            }
            // What is escaped is one character, and only quotes and backslashes matter.
            _ => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    mended.push_str(&text[kept..]);
    (kept > 0).then_some(mended)
}

/// `resourceMetrics[0].resource`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        parent.fmt(f)?;
        match self.step {
            Step::Key(key) if parent.parent.is_none() => f.write_str(key),
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn part(text: &str) -> Part<'_, 'static> {
        Part {
            text,
            path: Path::ROOT,
        }
    }

    #[test]
    fn halves_of_pairs_are_replaced_and_nothing_else() {
        for (text, expected) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (
                r#""\uDE00\ud83d\ud83d\ude00!""#,
                "\u{fffd}\u{fffd}\u{1f600}!",
            ),
            (r#""\\ud83d \ud83d""#, "\\ud83d \u{fffd}"),
            (r#""é\ud83dé\"\ud83d\n""#, "é\u{fffd}é\"\u{fffd}\n"),
        ] {
            assert_eq!(part(text).value(1 << 20), Ok(json!(expected)), "{text}");
        }
        assert_eq!(mended(r#""\ud83d\ude00 \u00e9 \\ud83d""#), None);
        let [found] = fields(r#"{"\ud83d":1,"a":2,"b":null}"#, ["a"]).unwrap();
        assert_eq!(found, Some("2"));
    }

    #[test]
    fn a_part_that_takes_too_much_memory_is_refused() {
        let list = format!("[{}0]", "0,".repeat(20_000));
        let refusal = part(&list).value(1 << 20).unwrap_err();
        assert_eq!(refusal.reason, RejectReason::OverLimit);
        // Commas and brackets in a text take no memory.
        let text = json!(list.repeat(10)).to_string();
        assert!(part(&text).value(1 << 20).is_ok());
        assert!(part(&list).value(4 << 20).is_ok());
    }

    #[test]
    fn deep_values_are_refused_and_passed_over_where_nobody_wants_them() {
        let deep = format!("{}1{}", "[".repeat(1 << 17), "]".repeat(1 << 17));
        let refusal = part(&deep).value(64 << 20).unwrap_err();
        assert_eq!(refusal.reason, RejectReason::Malformed);
        let text = format!(r#"{{"deep":{deep},"a":1}}"#);
        let [found] = document("test", text.as_bytes(), ["a"]).unwrap();
        assert_eq!(found.map(|part| part.text), Some("1"));
    }

    proptest! {
        #[test]
        fn mending_never_panics_and_leaves_whole_texts(
            text in r#"[\\uU"dDeE8é0-9]{0,24}"#, whole: String,
        ) {
            mended(&text);
            prop_assert_eq!(mended(&json!(whole).to_string()), None);
        }
    }
}
