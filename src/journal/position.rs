//! Places in a journal, with the names of the files that they lie in.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

/// Digits of a segment's number in its file name: as many as the largest number has.
const NAME_DIGITS: usize = 20;
/// What the name of a segment ends with.
const NAME_END: &str = ".journal";

/// Where an entry starts, or where the next one will. Later entries have larger positions.
///
/// As text it is `SEGMENT:OFFSET`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Number of the segment; the first one has the number 1.
    pub segment: u64,
    /// Bytes from the start of the segment's file.
    pub offset: u64,
}

/// Text that is no position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionError {
    /// What was given.
    pub given: String,
}

impl Position {
    /// Before the first entry of the first segment.
    pub const START: Self = Self {
        segment: 0,
        offset: 0,
    };
}

/// The name of the file of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number:0NAME_DIGITS$}{NAME_END}")
}

/// The number of a segment, by the name of its file, compressed or not; `None`: it is no segment.
pub fn segment_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(name);
    let digits = name.strip_suffix(NAME_END)?;
    let is_number = digits.len() == NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number)?;
    (number > 0).then_some(number)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError {
            given: text.to_owned(),
        };
        let (segment, offset) = text.split_once(':').ok_or_else(error)?;
        Ok(Self {
            segment: segment.parse().map_err(|_| error())?,
            offset: offset.parse().map_err(|_| error())?,
        })
    }
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no place in a journal: write SEGMENT:OFFSET as `sluice journal verify` prints it",
            self.given
        )
    }
}

impl std::error::Error for PositionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_numbers() {
        for number in [1, 42, u64::MAX] {
            let name = segment_name(number);
            assert_eq!(segment_number(Path::new(&name)), Some(number), "{name}");
            let name = format!("a/{name}.zst");
            assert_eq!(segment_number(Path::new(&name)), Some(number), "{name}");
        }
        for name in [
            "inputs.journal",
            "1.journal",
            "00000000000000000001.journal.cut",
            "0000000000000000000x.journal",
            "99999999999999999999.journal",
            "00000000000000000000.journal",
        ] {
            assert_eq!(segment_number(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn positions_are_ordered_and_read_back_from_their_text() {
        let early = Position {
            segment: 2,
            offset: 900,
        };
        let late = Position {
            segment: 10,
            offset: 8,
        };
        assert!(Position::START < early && early < late);
        assert_eq!(late.to_string().parse(), Ok(late));
        for text in ["", "7", "7:", ":7", "a:1", "1:2:3", "-1:2"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
