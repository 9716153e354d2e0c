//! Reads lines of bounded length from any reader.

use std::io::{BufRead, BufReader, Read};

use super::DecodeError;

/// Longest line that the line formats read, in bytes: longer ones are rejects.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Reads lines one after the other; a line over the limit is passed over, never held in memory.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: BufReader<R>,
    line_bytes_max: usize,
    line: Vec<u8>,
    number: u64,
}

/// A line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Its bytes without the line end (`\n` or `\r\n`); `None` if it is over the limit.
    pub bytes: Option<&'a [u8]>,
}

impl<R: Read> LineReader<R> {
    /// Reads lines of at most `line_bytes_max` bytes.
    pub fn new(reader: R, line_bytes_max: usize) -> Self {
        let reader = BufReader::with_capacity(1 << 16, reader);
        Self {
            reader,
            line_bytes_max,
            line: Vec::new(),
            number: 0,
        }
    }

    /// The next line, or `None` at the end. A last line needs no line end. A byte order mark at the
    /// start of the file is no part of the first line.
    ///
    /// # Errors
    /// The reader failed.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, DecodeError> {
        self.line.clear();
        let bound = self.line_bytes_max as u64 + 2;
        let read = (&mut self.reader)
            .take(bound)
            .read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let ended = self.line.pop_if(|byte| *byte == b'\n').is_some();
        if ended || self.line.len() <= self.line_bytes_max + 1 {
            self.line.pop_if(|byte| *byte == b'\r');
        } else {
            self.skip_line()?;
        }
        let mut bytes = &self.line[..];
        if self.number == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        let bytes = (bytes.len() <= self.line_bytes_max).then_some(bytes);
        Ok(Some(Line {
            number: self.number,
            bytes,
        }))
    }

    fn skip_line(&mut self) -> Result<(), DecodeError> {
        self.reader.skip_until(b'\n')?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], max: usize) -> Vec<(u64, Option<String>)> {
        let mut reader = LineReader::new(bytes, max);
        let mut lines = vec![];
        while let Some(line) = reader.next_line().unwrap() {
            let text = line
                .bytes
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            lines.push((line.number, text));
        }
        lines
    }

    #[test]
    fn lines_end_in_any_usual_way() {
        let expected = [
            (1, Some("a".to_owned())),
            (2, Some(String::new())),
            (3, Some("b".to_owned())),
        ];
        for text in ["a\n\nb\n", "a\r\n\r\nb\r\n", "a\n\nb", "\u{feff}a\n\nb"] {
            assert_eq!(lines(text.as_bytes(), 10), expected, "{text:?}");
        }
        assert_eq!(lines(b"", 10), []);
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_the_next_one_stands() {
        for long in ["abcdef", &"x".repeat(1000)] {
            let text = format!("abcde\n{long}\nabcde\r\n{long}");
            assert_eq!(
                lines(text.as_bytes(), 5),
                [
                    (1, Some("abcde".into())),
                    (2, None),
                    (3, Some("abcde".into())),
                    (4, None)
                ]
            );
        }
    }
}
