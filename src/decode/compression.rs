//! Bounded decompression: what a body claims or becomes is held against a limit first.

use std::{borrow::Cow, io::Read};

use flate2::read::MultiGzDecoder;

use super::{DecodeError, Size};

/// A snappy element of 3 bytes copies at most 64 bytes, so no block grows by more than this factor.
const SNAPPY_GROWTH_MAX: u64 = 22;

/// Base-2 logarithm of the largest zstd window that any limit allows (the format's usual cap).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Base-2 logarithm of the zstd window that decoders must support (RFC 8878, section 3.1.1.1.2).
const ZSTD_WINDOW_LOG_MIN: u32 = 23;

/// Decompresses a body by the name of its content encoding; the empty name and `identity` leave it
/// as it is. The limit is in bytes and holds for the decompressed body.
///
/// # Errors
/// An encoding that is not read, a damaged body, or one over the limit.
pub fn content_encoding<'a>(
    name: &str,
    bytes: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, DecodeError> {
    let name = name.trim();
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        if bytes.len() > limit {
            return Err(too_large(Size::Raw, limit, Some(bytes.len() as u64)));
        }
        return Ok(Cow::Borrowed(bytes));
    }
    let decompress = match () {
        () if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => gzip,
        () if name.eq_ignore_ascii_case("zstd") => zstd,
        () if name.eq_ignore_ascii_case("snappy") => snappy,
        () => {
            return Err(DecodeError::UnsupportedEncoding {
                given: name.to_owned(),
            });
        }
    };
    decompress(bytes, limit).map(Cow::Owned)
}

/// Decompresses a snappy block (not the framed format) to at most `limit` bytes.
///
/// # Errors
/// A damaged body, or one that claims more than the limit or than its bytes can hold.
pub fn snappy(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let damaged = |detail: String| DecodeError::Compression {
        encoding: "snappy",
        detail,
    };
    let claimed = snap::raw::decompress_len(bytes).map_err(|error| damaged(error.to_string()))?;
    if claimed > limit {
        return Err(too_large(Size::Decompressed, limit, Some(claimed as u64)));
    }
    if claimed as u64 > (bytes.len() as u64).saturating_mul(SNAPPY_GROWTH_MAX) {
        return Err(damaged(format!(
            "{} bytes cannot hold the {claimed} claimed",
            bytes.len()
        )));
    }
    let mut out = vec![0; claimed];
    let written = snap::raw::Decoder::new()
        .decompress(bytes, &mut out)
        .map_err(|error| damaged(error.to_string()))?;
    out.truncate(written);
    Ok(out)
}

/// Decompresses gzip, of one member or several, to at most `limit` bytes.
///
/// # Errors
/// A damaged or truncated body, or one over the limit.
pub fn gzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    bounded("gzip", MultiGzDecoder::new(bytes), limit)
}

/// Decompresses zstd, of one frame or several, to at most `limit` bytes.
///
/// # Errors
/// A damaged or truncated body, one over the limit, or one whose frame wants a window far beyond
/// the limit.
pub fn zstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let damaged = |detail: String| DecodeError::Compression {
        encoding: "zstd",
        detail,
    };
    if bytes.is_empty() {
        return Err(damaged("the body is empty".to_owned()));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)
        .map_err(|error| damaged(error.to_string()))?;
    let window_log =
        (usize::BITS - limit.leading_zeros()).clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
    decoder
        .window_log_max(window_log)
        .map_err(|error| damaged(error.to_string()))?;
    bounded("zstd", decoder, limit)
}

fn bounded(
    encoding: &'static str,
    reader: impl Read,
    limit: usize,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    reader
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|error| DecodeError::Compression {
            encoding,
            detail: error.to_string(),
        })?;
    if out.len() > limit {
        return Err(too_large(Size::Decompressed, limit, None));
    }
    Ok(out)
}

fn too_large(which: Size, limit: usize, actual_bytes: Option<u64>) -> DecodeError {
    DecodeError::TooLarge {
        which,
        limit_bytes: limit as u64,
        actual_bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn compress(name: &str, bytes: &[u8]) -> Vec<u8> {
        match name {
            "gzip" => {
                let mut encoder =
                    flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "zstd" => zstd::encode_all(bytes, 3).unwrap(),
            "snappy" => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            other => panic!("{other}"),
        }
    }

    const ENCODINGS: [&str; 3] = ["gzip", "zstd", "snappy"];

    #[test]
    fn a_body_up_to_the_limit_comes_back_and_one_byte_more_is_refused() {
        let body = b"one two three one two three one two three".repeat(100);
        for name in ENCODINGS {
            let packed = compress(name, &body);
            assert_eq!(
                &*content_encoding(name, &packed, body.len()).unwrap(),
                &body[..],
                "{name}"
            );
            let error = content_encoding(name, &packed, body.len() - 1).unwrap_err();
            assert!(
                matches!(
                    error,
                    DecodeError::TooLarge {
                        which: Size::Decompressed,
                        ..
                    }
                ),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn several_members_or_frames_are_one_body() {
        for name in ["gzip", "zstd"] {
            let packed = [compress(name, b"first "), compress(name, b"second")].concat();
            assert_eq!(
                &*content_encoding(name, &packed, 100).unwrap(),
                b"first second",
                "{name}"
            );
        }
    }

    #[test]
    fn a_body_without_compression_is_borrowed_and_bounded() {
        for name in ["", " identity ", "Identity"] {
            assert!(matches!(
                content_encoding(name, b"abc", 3),
                Ok(Cow::Borrowed(b"abc"))
            ));
            assert_eq!(
                content_encoding(name, b"abc", 2),
                Err(DecodeError::TooLarge {
                    which: Size::Raw,
                    limit_bytes: 2,
                    actual_bytes: Some(3)
                })
            );
        }
    }

    #[test]
    fn an_unknown_encoding_is_named() {
        assert_eq!(
            content_encoding("br", b"", 1),
            Err(DecodeError::UnsupportedEncoding {
                given: "br".to_owned()
            })
        );
    }

    #[test]
    fn a_snappy_body_that_claims_four_gibibytes_is_refused_by_its_header() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61];
        assert_eq!(
            snappy(&bomb, 64 << 20),
            Err(DecodeError::TooLarge {
                which: Size::Decompressed,
                limit_bytes: 64 << 20,
                actual_bytes: Some(0xffff_ffff)
            })
        );
    }

    #[test]
    fn a_snappy_body_that_claims_more_than_it_can_hold_is_refused_before_allocating() {
        let bomb = [0xff, 0xff, 0xff, 0x1f, 0x00, 0x61];
        assert!(matches!(
            snappy(&bomb, usize::MAX),
            Err(DecodeError::Compression { encoding: "snappy", detail }) if detail.contains("cannot hold")
        ));
    }

    #[test]
    fn the_most_compressible_snappy_body_is_still_read() {
        let zeros = vec![0; 1 << 20];
        assert_eq!(snappy(&compress("snappy", &zeros), 1 << 20).unwrap(), zeros);
    }

    #[test]
    fn a_zstd_frame_that_wants_a_huge_window_is_refused() {
        // Magic, a frame header without content size, and a window descriptor of 2^31 bytes.
        let bomb = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert!(matches!(
            zstd(&bomb, 1 << 20),
            Err(DecodeError::Compression { .. })
        ));
    }

    #[test]
    fn a_body_cut_off_anywhere_is_refused() {
        for name in ENCODINGS {
            let packed = compress(name, b"some body some body some body with text 0123456789");
            for end in 0..packed.len() {
                let result = content_encoding(name, &packed[..end], 1000);
                assert!(
                    matches!(result, Err(DecodeError::Compression { .. })),
                    "{name} cut at {end}: {result:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_stay_within_the_limit(bytes: Vec<u8>, limit in 0usize..10_000) {
            for name in ENCODINGS {
                if let Ok(out) = content_encoding(name, &bytes, limit) {
                    prop_assert!(out.len() <= limit);
                }
            }
        }
    }
}
