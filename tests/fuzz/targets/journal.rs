//! The journal's reader.
#![no_main]

use std::{io::Cursor, path::Path};

use libfuzzer_sys::fuzz_target;
use sluice::journal::Reader;

mod common;

fuzz_target!(|bytes: &[u8]| {
    common::bounded(|| {
        let Ok(reader) = Reader::new(Cursor::new(bytes), Path::new("fuzz")) else {
            return;
        };
        // A reader that fails ends.
        for entry in reader.take(1 << 16) {
            if entry.is_err() {
                break;
            }
        }
    });
});
