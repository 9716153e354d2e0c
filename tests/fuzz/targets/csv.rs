//! CSV recordings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::csv::CsvReader;

mod common;

fuzz_target!(|bytes: &[u8]| {
    common::bounded(|| {
        let Ok(mut reader) = CsvReader::new(bytes) else {
            return;
        };
        while let Ok(Some(_)) = reader.batch(10) {}
    });
});
