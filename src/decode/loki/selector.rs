//! The labels of a Loki stream in protobuf: `{app="web", zone="a"}`.

use std::ops::Range;

use super::super::Refusal;
use crate::event::RejectReason;

/// Reads pairs of labels from a selector, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Selector<'a> {
    text: &'a str,
    position: usize,
    is_started: bool,
}

/// Where a text stands in the selector, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// It is what it stands for.
    Plain(Range<usize>),
    /// It has escapes, as Go's strings have them.
    Escaped(Range<usize>),
}

impl<'a> Selector<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            position: 0,
            is_started: false,
        }
    }

    /// The next name and value, or `None` after the last.
    pub(super) fn next_pair(&mut self) -> Result<Option<(Text, Text)>, Refusal> {
        if !self.is_started {
            if self.peek().is_none() {
                return Ok(None);
            }
            self.expect('{')?;
            self.is_started = true;
        } else if self.peek() == Some(',') {
            self.expect(',')?;
        } else if self.peek() != Some('}') {
            return Err(bad("a label must be followed by a comma or a brace"));
        }
        if self.peek() == Some('}') {
            self.expect('}')?;
            return match self.peek() {
                None => Ok(None),
                Some(_) => Err(bad("something follows the closing brace")),
            };
        }
        let name = self.name()?;
        self.expect('=')?;
        let value = self.quoted()?;
        Ok(Some((name, value)))
    }

    fn name(&mut self) -> Result<Text, Refusal> {
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let rest = &self.text[self.position..];
        let len = rest
            .find(|c: char| c.is_whitespace() || "={}\",".contains(c))
            .unwrap_or(rest.len());
        if len == 0 {
            return Err(bad("a label without a name"));
        }
        let start = self.position;
        self.position += len;
        Ok(Text::Plain(start..self.position))
    }

    fn quoted(&mut self) -> Result<Text, Refusal> {
        let quote = self.peek();
        if !matches!(quote, Some('"' | '`')) {
            return Err(bad("the value of a label must be in quotes"));
        }
        self.position += 1;
        let start = self.position;
        let mut is_escaped = false;
        let mut bytes = self.text.as_bytes()[start..].iter().enumerate();
        while let Some((index, byte)) = bytes.next() {
            match byte {
                b'\\' if quote == Some('"') => {
                    is_escaped = true;
                    bytes.next();
                }
                b'"' | b'`' if quote == Some(char::from(*byte)) => {
                    let range = start..start + index;
                    self.position = range.end + 1;
                    return Ok(if is_escaped {
                        Text::Escaped(range)
                    } else {
                        Text::Plain(range)
                    });
                }
                _ => {}
            }
        }
        Err(bad("a value without a closing quote"))
    }

    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.position..];
        let trimmed = rest.trim_start();
        self.position += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn expect(&mut self, wanted: char) -> Result<(), Refusal> {
        if self.peek() == Some(wanted) {
            self.position += wanted.len_utf8();
            Ok(())
        } else {
            Err(bad(&format!("{wanted:?} is missing")))
        }
    }
}

/// Writes what a text with Go's escapes stands for. Numeric escapes may give bytes that are no UTF-8.
pub(super) fn unescape(text: &str, mut put: impl FnMut(&[u8])) -> Result<(), Refusal> {
    let unknown = || bad("an escape that does not exist");
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('\\') {
        put(plain.as_bytes());
        let kind = after.chars().next().ok_or_else(unknown)?;
        rest = &after[kind.len_utf8()..];
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => {
                let octal = after.get(..3).ok_or_else(unknown)?;
                let byte = u8::from_str_radix(octal, 8).map_err(|_| unknown())?;
                put(&[byte]);
                rest = &after[3..];
                continue;
            }
            _ => {
                let index = b"abfnrtv\\'\""
                    .iter()
                    .position(|known| char::from(*known) == kind)
                    .ok_or_else(unknown)?;
                put(&b"\x07\x08\x0c\n\r\t\x0b\\'\""[index..=index]);
                continue;
            }
        };
        let number = rest
            .get(..digits)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(unknown)?;
        rest = &rest[digits..];
        if kind == 'x' {
            put(&[number as u8]);
        } else {
            let scalar = char::from_u32(number).ok_or_else(unknown)?;
            put(scalar.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    put(rest.as_bytes());
    Ok(())
}

pub(super) fn bad(what: &str) -> Refusal {
    Refusal::new(
        RejectReason::BadLabels,
        format!("the labels of the stream: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Refusal> {
        let mut selector = Selector::new(text);
        let mut pairs = Vec::new();
        let own = |text: &str, part: Text| match part {
            Text::Plain(range) => Ok(text[range].to_owned()),
            Text::Escaped(range) => {
                let mut bytes = Vec::new();
                unescape(&text[range], |more| bytes.extend_from_slice(more))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        while let Some((name, value)) = selector.next_pair()? {
            pairs.push((own(text, name)?, own(text, value)?));
        }
        Ok(pairs)
    }

    #[test]
    fn selectors_are_read_as_loki_writes_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("{}", &[]),
            (r#"{app="web"}"#, &[("app", "web")]),
            (
                r#" { app = "web" , zone="a,b}", } "#,
                &[("app", "web"), ("zone", "a,b}")],
            ),
            (
                r#"{path="C:\\dir\n\"x\"",u="\u00e9\x41\101"}"#,
                &[("path", "C:\\dir\n\"x\""), ("u", "éAA")],
            ),
            (r"{a=`b\n`}", &[("a", r"b\n")]),
            (r#"{"a.b"="c"}"#, &[("a.b", "c")]),
        ] {
            let pairs = read(text).unwrap();
            let pairs: Vec<_> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
            assert_eq!(pairs, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "app",
            "{",
            "{app}",
            r#"{app="web""#,
            r#"{app="web} "#,
            "{app=web}",
            r#"{="web"}"#,
            r#"{a="b" c="d"}"#,
            r#"{a="b"} x"#,
            r#"{a="\q"}"#,
            r#"{a="\u12"}"#,
            r#"{a="\ud800"}"#,
            r#"{a="\U00110000"}"#,
            r#"{a="\x+1"}"#,
            "{,}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            read(&text).ok();
            read(&format!("{{a=\"{text}\"}}")).ok();
        }

        #[test]
        fn quoted_values_come_back(value: String) {
            let text = format!("{{a={}}}", serde_json::Value::from(value.clone()));
            prop_assert_eq!(read(&text), Ok(vec![("a".to_owned(), value)]));
        }
    }
}
