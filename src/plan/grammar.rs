//! The grammar of selectors: `name{label="…",other=~"…"}`, `{__name__=~"…"}`, `*`.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::selector::{LabelMatcher, MatchOp, SeriesSelector};
use crate::event::METRIC_NAME;

/// Longest regular expression of a configuration, in bytes.
const REGEX_BYTES_MAX: usize = 512;
/// Largest compiled regular expression, in bytes.
const REGEX_SIZE_MAX: usize = 1 << 20;
/// Longest selector, in bytes.
const SELECTOR_BYTES_MAX: usize = 4096;
/// Most conditions of one selector.
const MATCHERS_MAX: usize = 64;

/// Text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// What is wrong.
    pub problem: String,
    /// Where, in characters from 1.
    pub position: usize,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.problem, self.position)
    }
}

impl std::error::Error for SelectorError {}

impl SeriesSelector {
    /// Reads a selector: a name (dots allowed), `name{label="…"}` with `=`, `!=`, `=~`, `!~`,
    /// conditions alone as in `{__name__=~"…"}`, or `*` for every series. Regular expressions
    /// are anchored at both ends. Label names may have dots; quotes are double or single, with the
    /// escapes `\\`, `\"`, `\'` and `\n`.
    ///
    /// # Errors
    /// The text is something else, names the metric twice, or holds a regular expression that is
    /// wrong or too large.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut reader = Reader { text, at: 0 };
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(reader.error(format!("more than {SELECTOR_BYTES_MAX} bytes")));
        }
        reader.skip_spaces();
        let selector = if reader.take("*") {
            Self::default()
        } else {
            reader.selector()?
        };
        reader.skip_spaces();
        match reader.rest().chars().next() {
            None => Ok(selector),
            Some(found) => Err(reader.error(format!("unexpected {found:?} after the selector"))),
        }
    }
}

/// Compiles a regular expression of the configuration within its limits.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > REGEX_BYTES_MAX {
        return Err(format!(
            "the regular expression has {} bytes, at most {REGEX_BYTES_MAX} are read",
            pattern.len()
        ));
    }
    build(pattern)
}

fn build(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the regular expression is too large when compiled".to_owned()
            }
            other => {
                // The message draws the expression over several lines; its last one says what is wrong.
                let message = other.to_string();
                let last = message.lines().last().unwrap_or_default();
                let reason = last.trim().trim_start_matches("error: ");
                format!("the regular expression is wrong: {reason}")
            }
        })
}

/// Compiles an expression that must match the whole text.
fn compile_anchored(pattern: &str) -> Result<Regex, String> {
    // Alone first: otherwise "a)(b" would become valid by the parentheses around it.
    compile(pattern)?;
    // `.` stands for a line end as well, as in Prometheus 3.
    build(&format!("^(?s:{pattern})$"))
}

struct Reader<'t> {
    text: &'t str,
    /// Byte offset, always at the start of a character.
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, problem: impl Into<String>) -> SelectorError {
        self.error_at(self.at, problem)
    }

    fn error_at(&self, at: usize, problem: impl Into<String>) -> SelectorError {
        SelectorError {
            problem: problem.into(),
            position: self.text[..at].chars().count() + 1,
        }
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn selector(&mut self) -> Result<SeriesSelector, SelectorError> {
        let mut matchers = Vec::new();
        let start = self.at;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || "_.:/-".contains(c));
        if name.starts_with(|c: char| !c.is_ascii_alphabetic() && c != '_' && c != ':') {
            return Err(self.error_at(start, "a metric name begins with a letter or _"));
        }
        if !name.is_empty() {
            matchers.push(LabelMatcher::equal(METRIC_NAME, name));
        }
        self.skip_spaces();
        if self.take("{") {
            self.conditions(&mut matchers)?;
        } else if name.is_empty() {
            return Err(self.error("expected a metric name, { or *"));
        }
        if matchers.is_empty() {
            return Err(self.error_at(start, "no condition at all; write * for every series"));
        }
        Ok(SeriesSelector { matchers })
    }

    /// What stands between the braces, the closing one included.
    fn conditions(&mut self, matchers: &mut Vec<LabelMatcher>) -> Result<(), SelectorError> {
        let is_named = !matchers.is_empty();
        loop {
            self.skip_spaces();
            if self.take("}") {
                return Ok(());
            }
            let start = self.at;
            let matcher = self.condition()?;
            if is_named && matcher.label == METRIC_NAME {
                return Err(self.error_at(start, "the metric name is given twice"));
            }
            if matchers.len() == MATCHERS_MAX {
                return Err(self.error_at(start, format!("more than {MATCHERS_MAX} conditions")));
            }
            matchers.push(matcher);
            self.skip_spaces();
            if !self.take(",") && !self.rest().starts_with('}') {
                return Err(self.error("expected , or }"));
            }
        }
    }

    fn condition(&mut self) -> Result<LabelMatcher, SelectorError> {
        let label = if self.rest().starts_with(['"', '\'']) {
            self.quoted()?
        } else {
            let is_part = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
            self.take_while(is_part).to_owned()
        };
        if label.is_empty() {
            return Err(self.error("expected a label name"));
        }
        self.skip_spaces();
        let operators = ["=~", "!~", "!=", "="];
        let Some(operator) = operators.into_iter().find(|operator| self.take(operator)) else {
            return Err(self.error("expected =, !=, =~ or !~"));
        };
        self.skip_spaces();
        let start = self.at;
        let value = self.quoted()?;
        let regex = || compile_anchored(&value).map_err(|problem| self.error_at(start, problem));
        let op = match operator {
            "=~" => MatchOp::Regex(regex()?),
            "!~" => MatchOp::NotRegex(regex()?),
            "!=" => MatchOp::NotEqual,
            _ => MatchOp::Equal,
        };
        Ok(LabelMatcher { label, op, value })
    }

    /// Text in quotes, without its escapes.
    fn quoted(&mut self) -> Result<String, SelectorError> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let Some((_, quote @ ('"' | '\''))) = chars.next() else {
            return Err(self.error("expected a value in quotes"));
        };
        let mut value = String::new();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, escaped @ ('\\' | '"' | '\''))) => value.push(escaped),
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => {
                        return Err(self.error_at(
                            start + offset,
                            format!(
                                "unknown escape \\{}: write \\\\ for a backslash",
                                other.escape_debug()
                            ),
                        ));
                    }
                    None => break,
                },
                c if c == quote => {
                    self.at = start + offset + c.len_utf8();
                    return Ok(value);
                }
                c => value.push(c),
            }
        }
        Err(self.error_at(start, "the quote is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Labels;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        SeriesSelector::parse(selector)
            .unwrap()
            .matches(&Labels::new(labels.iter().copied()))
    }

    #[test]
    fn selectors_select_what_they_say() {
        let series = [
            (METRIC_NAME, "http.requests_total"),
            ("code", "503"),
            ("host.name", "h1"),
            ("path", "C:\\a \"b\""),
            ("query", "select\n1"),
        ];
        for (selector, expected) in [
            ("*", true),
            (" * ", true),
            ("http.requests_total", true),
            ("http.requests_total{}", true),
            ("http.requests", false),
            (r#"http.requests_total{code="503"}"#, true),
            (r#"http.requests_total{code=~"5.."}"#, true),
            (r#"http.requests_total{code=~"5"}"#, false),
            (r#"http.requests_total{code=~"4|50"}"#, false),
            (r#"http.requests_total{code!~"5.."}"#, false),
            (
                r#"http.requests_total { code != '200' , host.name = "h1", }"#,
                true,
            ),
            (r#"{__name__=~"http\\.req.*"}"#, true),
            (r#"{__name__=~"http_req.*"}"#, false),
            (r#"{"host.name"="h1"}"#, true),
            (r#"{query=~"sel.*"}"#, true),
            (r#"{query=~".+"}"#, true),
            (r#"{query=~"select"}"#, false),
            (r#"{path="C:\\a \"b\""}"#, true),
            (r#"{absent=""}"#, true),
            (r#"{absent!=""}"#, false),
        ] {
            assert_eq!(matches(selector, &series), expected, "{selector}");
        }
    }

    #[test]
    fn faults_name_the_character() {
        for (selector, message) in [
            ("", "expected a metric name, { or * at character 1"),
            (
                "{}",
                "no condition at all; write * for every series at character 1",
            ),
            (
                "5xx",
                "a metric name begins with a letter or _ at character 1",
            ),
            (
                "up down",
                "unexpected 'd' after the selector at character 4",
            ),
            ("up{", "expected a label name at character 4"),
            ("up{a", "expected =, !=, =~ or !~ at character 5"),
            ("up{a=b}", "expected a value in quotes at character 6"),
            ("up{a=\"é\" b=\"c\"}", "expected , or } at character 10"),
            ("up{a=\"b}", "the quote is not closed at character 6"),
            ("up{a=\"b\\", "the quote is not closed at character 6"),
            (
                "up{a=\"b\\d\"}",
                "unknown escape \\d: write \\\\ for a backslash at character 8",
            ),
            (
                "up{__name__=\"x\"}",
                "the metric name is given twice at character 4",
            ),
            (
                "up{a=~\"(\"}",
                "the regular expression is wrong: unclosed group at character 7",
            ),
            (
                "up{a=~\"b)(c\"}",
                "the regular expression is wrong: unopened group at character 7",
            ),
            (
                "up{a=~\"((a{100}){100}){100}\"}",
                "the regular expression is too large when compiled at character 7",
            ),
        ] {
            let error = SeriesSelector::parse(selector).unwrap_err();
            assert_eq!(error.to_string(), message, "{selector}");
        }
        let long = format!("up{{a=~\"{}\"}}", "x".repeat(513));
        assert_eq!(
            SeriesSelector::parse(&long).unwrap_err().problem,
            "the regular expression has 513 bytes, at most 512 are read"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[a{}=~!\"'\\\\,*. é(]{0,40}") {
            if let Ok(selector) = SeriesSelector::parse(&text) {
                prop_assert!(selector.matchers.len() <= MATCHERS_MAX);
            }
        }
    }
}
