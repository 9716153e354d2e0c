//! Letters from outside that would garble a log, a terminal or a page.

/// Whether a letter does something to what stands around it instead of being seen: control characters, which
/// terminals obey and logs are split by, and those of Unicode that turn the direction of a line, break it, or
/// take no room, so that two names look the same.
pub fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{061c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// The longest name of a deployment, service, stage, region, version, step or host, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// Checks what deployers call things.
///
/// # Errors
/// It is longer than [`NAME_BYTES_MAX`], or holds letters that would garble a log or a page. The problem reads
/// on behind the name of its field.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "has {} bytes, at most {NAME_BYTES_MAX} are taken",
            name.len()
        ));
    }
    if !name.is_empty() && name.trim().is_empty() {
        return Err(format!("is {name:?}: it must have letters"));
    }
    if name.chars().any(is_invisible) {
        return Err(format!("is {name:?}: it must be printable"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_sees_is_kept_and_what_moves_it_is_told() {
        for letter in ['a', ' ', 'ż', '日', '…', '\u{fffd}', '\u{200d}'] {
            assert!(!is_invisible(letter), "{letter:?}");
        }
        for letter in [
            '\0', '\t', '\n', '\r', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}',
            '\u{2028}', '\u{feff}',
        ] {
            assert!(is_invisible(letter), "{letter:?}");
        }
    }
}
