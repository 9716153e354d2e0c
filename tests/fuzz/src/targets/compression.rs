//! Bodies in snappy, gzip and zstd, one after the other through one memory.

use crate::decode::{Encoding, compression};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let limit = crate::common::LIMITS.decompressed_bytes;
    crate::common::bounded(|| {
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
}
