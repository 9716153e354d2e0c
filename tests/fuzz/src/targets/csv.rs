//! CSV recordings.

use crate::decode::csv::CsvReader;

/// Takes one input.
pub fn run(bytes: &[u8]) {
    crate::common::bounded(|| {
        let Ok(mut reader) = CsvReader::new(bytes) else {
            return;
        };
        while let Ok(Some(_)) = reader.batch(10) {}
    });
}
