//! Log records as flat JSON.

use crate::decode::log_lines::LogLineReader;

/// Takes one input.
pub fn run(bytes: &[u8]) {
    crate::common::bounded(|| {
        let mut reader = LogLineReader::new(bytes);
        while let Ok(Some(_)) = reader.batch(10) {}
    });
}
