//! Bodies in snappy, gzip and zstd, one after the other through one memory.

use crate::{
    common,
    decode::{DecodeError, Encoding, compression},
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let limit = common::BODY_BYTES;
    common::within(limit, || {
        let mut decompressor = compression::Decompressor::new();
        for encoding in Encoding::ALL {
            let kept = decompressor.read(encoding, bytes, limit);
            assert!(decompressor.bytes().len() <= limit);
            let fresh = compression::content_encoding(encoding.name(), bytes, limit);
            match (kept, fresh) {
                (Ok(()), Ok(fresh)) => assert_eq!(decompressor.bytes(), &*fresh),
                // What zstd says of damage depends on the memory that it writes to.
                (
                    Err(DecodeError::Compression { encoding: one, .. }),
                    Err(DecodeError::Compression {
                        encoding: other, ..
                    }),
                ) => assert_eq!(one, other),
                (kept, fresh) => {
                    assert_eq!(kept.err(), fresh.err());
                    assert!(decompressor.bytes().is_empty());
                }
            }
        }
    });
}
