//! Log records as flat JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::log_lines::LogLineReader;

mod common;

fuzz_target!(|bytes: &[u8]| {
    common::bounded(|| {
        let mut reader = LogLineReader::new(bytes);
        while let Ok(Some(_)) = reader.batch(10) {}
    });
});
