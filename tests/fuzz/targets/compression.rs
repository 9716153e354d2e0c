//! Bodies in snappy, gzip and zstd, one after the other through one memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::decode::{Encoding, compression};

mod common;

fuzz_target!(|bytes: &[u8]| {
    let limit = common::LIMITS.decompressed_bytes;
    common::bounded(|| {
        let mut decompressor = compression::Decompressor::new();
        for encoding in Encoding::ALL {
            let kept = decompressor
                .read(encoding, bytes, limit)
                .map(|()| decompressor.bytes().to_vec());
            assert!(kept.as_ref().is_ok_and(|kept| kept.len() <= limit) || decompressor.bytes().is_empty());
            let fresh = compression::content_encoding(encoding.name(), bytes, limit);
            assert_eq!(kept, fresh.map(std::borrow::Cow::into_owned));
        }
    });
});
