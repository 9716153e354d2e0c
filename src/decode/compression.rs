//! Bounded decompression: what a body claims or becomes is held against a limit first.

use std::{borrow::Cow, fmt, io::Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

use super::{DecodeError, Encoding, Size};
use crate::event::Spare;

/// A snappy element of 3 bytes copies at most 64 bytes, so no block grows by more than this factor.
pub(super) const SNAPPY_GROWTH_MAX: u64 = 22;

/// Base-2 logarithm of the largest zstd window that any limit allows (the format's usual cap).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Base-2 logarithm of the zstd window that decoders must support (RFC 8878, section 3.1.1.1.2).
pub(super) const ZSTD_WINDOW_LOG_MIN: u32 = 23;

/// What a buffer for a body of unknown size starts with, in bytes.
const FIRST_BYTES: usize = 64 << 10;

/// Decompresses one body after the other into memory that it keeps.
pub struct Decompressor {
    /// The bytes of the last body at the front, and those of longer ones before it: they are
    /// overwritten, so that nothing has to be filled with zeros first.
    buffer: Vec<u8>,
    len: usize,
    spare: Spare,
    zstd: Option<zstd::stream::raw::Decoder<'static>>,
}

impl Decompressor {
    /// Holds no memory yet.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            len: 0,
            spare: Spare::default(),
            zstd: None,
        }
    }

    /// Decompresses a body to at most `limit` bytes; [`Decompressor::bytes`] has them. A body that is
    /// not compressed is copied.
    ///
    /// # Errors
    /// A damaged body, or one over the limit.
    pub fn read(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        limit: usize,
    ) -> Result<(), DecodeError> {
        self.clear();
        self.len = match encoding {
            Encoding::Identity => {
                if bytes.len() > limit {
                    return Err(too_large(Size::Raw, limit, Some(bytes.len() as u64)));
                }
                grow(&mut self.buffer, bytes.len());
                self.buffer[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
            Encoding::Gzip => gzip_into(bytes, limit, &mut self.buffer)?,
            Encoding::Zstd => zstd_into(&mut self.zstd, bytes, limit, &mut self.buffer)?,
            Encoding::Snappy => snappy_into(bytes, limit, &mut self.buffer)?,
        };
        Ok(())
    }

    /// Forgets the last body; gives memory back if it is far more than was needed of late.
    pub fn clear(&mut self) {
        if let Some(kept) = self.spare.capacity(self.len, self.buffer.capacity(), 1) {
            self.buffer.truncate(kept);
            self.buffer.shrink_to(kept);
        }
        self.len = 0;
    }

    /// The last body.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Bytes of memory that it holds on to, but for what the decompressor of zstd has for itself.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("len", &self.len)
            .field("memory_bytes", &self.memory_bytes())
            .finish_non_exhaustive()
    }
}

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
    let decompress = match Encoding::from_name(name) {
        Some(Encoding::Gzip) => gzip,
        Some(Encoding::Zstd) => zstd,
        Some(Encoding::Snappy) => snappy,
        Some(Encoding::Identity) | None => {
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
    owned(|out| snappy_into(bytes, limit, out))
}

/// Decompresses gzip, of one member or several, to at most `limit` bytes.
///
/// # Errors
/// A damaged or truncated body, or one over the limit.
pub fn gzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    owned(|out| gzip_into(bytes, limit, out))
}

/// Decompresses zstd, of one frame or several, to at most `limit` bytes.
///
/// # Errors
/// A damaged or truncated body, one over the limit, or one whose frame wants a window far beyond
/// the limit.
pub fn zstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    owned(|out| zstd_into(&mut None, bytes, limit, out))
}

fn owned(
    decompress: impl FnOnce(&mut Vec<u8>) -> Result<usize, DecodeError>,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    let len = decompress(&mut out)?;
    out.truncate(len);
    Ok(out)
}

/// Writes over the front of `out`, whose length only grows; gives how many bytes were written. So do
/// the two that follow.
fn snappy_into(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<usize, DecodeError> {
    let claimed =
        snap::raw::decompress_len(bytes).map_err(|error| damaged("snappy", error.to_string()))?;
    if claimed > limit {
        return Err(too_large(Size::Decompressed, limit, Some(claimed as u64)));
    }
    if claimed as u64 > (bytes.len() as u64).saturating_mul(SNAPPY_GROWTH_MAX) {
        let detail = format!("{} bytes cannot hold the {claimed} claimed", bytes.len());
        return Err(damaged("snappy", detail));
    }
    grow(out, claimed);
    snap::raw::Decoder::new()
        .decompress(bytes, &mut out[..claimed])
        .map_err(|error| damaged("snappy", error.to_string()))
}

fn gzip_into(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<usize, DecodeError> {
    let mut decoder = MultiGzDecoder::new(bytes);
    let mut len = 0;
    loop {
        let room = room(out, len, limit)?;
        match decoder.read(&mut out[len..room]) {
            Ok(0) => return Ok(len),
            Ok(read) => len += read,
            Err(error) => return Err(damaged("gzip", error.to_string())),
        }
    }
}

fn zstd_into(
    decoder: &mut Option<zstd::stream::raw::Decoder<'static>>,
    bytes: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<usize, DecodeError> {
    // After an error the decoder is in the middle of a frame, so it comes back only when all is well.
    let mut taken = match decoder.take() {
        Some(decoder) => decoder,
        None => zstd::stream::raw::Decoder::new().map_err(|error| zstd_damaged(&error))?,
    };
    let len = zstd_frames(&mut taken, bytes, limit, out)?;
    *decoder = Some(taken);
    Ok(len)
}

fn zstd_frames(
    decoder: &mut zstd::stream::raw::Decoder<'static>,
    bytes: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<usize, DecodeError> {
    let log = usize::BITS - limit.saturating_sub(1).leading_zeros();
    let log = log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX);
    let window = DParameter::WindowLogMax(log);
    decoder
        .set_parameter(window)
        .map_err(|error| zstd_damaged(&error))?;
    if bytes.is_empty() {
        return Err(damaged("zstd", "the body is empty".to_owned()));
    }
    let mut input = InBuffer::around(bytes);
    let (mut len, mut frame_start) = (0, 0);
    let mut claimed = frame_size(bytes)?;
    loop {
        let room = room(out, len, limit)?;
        let mut output = OutBuffer::around_pos(&mut out[..room], len);
        let hint = decoder
            .run(&mut input, &mut output)
            .map_err(|error| zstd_damaged(&error))?;
        len = output.pos();
        let is_read = input.pos() == bytes.len();
        if hint == 0 {
            let size = (len - frame_start) as u64;
            if claimed.is_some_and(|claimed| claimed != size) {
                let detail = format!("a frame of {size} bytes claims another size");
                return Err(damaged("zstd", detail));
            }
            decoder.reinit().map_err(|error| zstd_damaged(&error))?;
            if is_read {
                break;
            }
            frame_start = len;
            claimed = frame_size(&bytes[input.pos()..])?;
        } else if is_read && len < room {
            return Err(damaged("zstd", "the last frame is cut off".to_owned()));
        }
    }
    if limit < len {
        return Err(too_large(Size::Decompressed, limit, None));
    }
    Ok(len)
}

/// The size that the frame at the start of `bytes` claims, if it claims one. zstd checks it only where it
/// decompresses a frame at once, which depends on the memory there is; but a body that is taken today
/// must be taken when the journal is replayed.
///
/// Formats older than zstd 0.8 are refused: nobody sends them, and they know no limit on the window.
fn frame_size(bytes: &[u8]) -> Result<Option<u64>, DecodeError> {
    const MAGIC: u32 = 0xfd2f_b528;
    // Only the upper 28 bits of this one are told.
    const SKIPPABLE: u32 = 0x184d_2a50;
    if let Some(magic) = bytes.first_chunk().map(|magic| u32::from_le_bytes(*magic))
        && magic != MAGIC
        && magic & !0xf != SKIPPABLE
    {
        let detail = format!("a frame begins with {magic:#010x} and not with {MAGIC:#010x}");
        return Err(damaged("zstd", detail));
    }
    // What is no whole header is cut off: the decompressor tells.
    Ok(zstd::zstd_safe::get_frame_content_size(bytes).unwrap_or(None))
}

/// Gives how far `out` may be written, which is beyond `len`: at most one byte over the limit, so
/// that a body over it is told from one that has just as many bytes.
fn room(out: &mut Vec<u8>, len: usize, limit: usize) -> Result<usize, DecodeError> {
    if limit < len {
        return Err(too_large(Size::Decompressed, limit, None));
    }
    let most = limit.saturating_add(1);
    if len == out.len() {
        grow(out, len.saturating_mul(2).max(FIRST_BYTES).min(most));
    }
    Ok(out.len().min(most))
}

fn grow(out: &mut Vec<u8>, len: usize) {
    if out.len() < len {
        if out.capacity() < len {
            out.reserve_exact(len - out.len());
        }
        out.resize(len, 0);
    }
}

fn zstd_damaged(error: &std::io::Error) -> DecodeError {
    damaged("zstd", error.to_string())
}

fn damaged(encoding: &'static str, detail: String) -> DecodeError {
    DecodeError::Compression { encoding, detail }
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
    fn bodies_follow_each_other_through_one_memory() {
        let mut decompressor = Decompressor::new();
        let long = b"0123456789".repeat(50_000);
        let bodies: [&[u8]; 5] = [b"first", &long, b"", b"a", &long[..300_001]];
        for (name, encoding) in [
            ("gzip", Encoding::Gzip),
            ("zstd", Encoding::Zstd),
            ("snappy", Encoding::Snappy),
        ] {
            for body in bodies {
                let packed = compress(name, body);
                decompressor.read(encoding, &packed, 500_000).unwrap();
                assert_eq!(decompressor.bytes(), body, "{name}");
                let cut = &packed[..packed.len() - 1];
                assert!(decompressor.read(encoding, cut, 500_000).is_err());
                assert_eq!(decompressor.bytes(), b"");
                if !body.is_empty() {
                    let error = decompressor.read(encoding, &packed, body.len() - 1);
                    assert!(matches!(error, Err(DecodeError::TooLarge { .. })), "{name}");
                }
            }
        }
        decompressor.read(Encoding::Identity, b"xy", 2).unwrap();
        assert_eq!(decompressor.bytes(), b"xy");
        assert!(decompressor.read(Encoding::Identity, b"xyz", 2).is_err());
    }

    #[test]
    fn memory_for_one_large_body_is_given_back() {
        let mut decompressor = Decompressor::new();
        let zeros = compress("snappy", &vec![0; 40 << 20]);
        decompressor
            .read(Encoding::Snappy, &zeros, 64 << 20)
            .unwrap();
        assert!(40 << 20 <= decompressor.memory_bytes());
        let small = compress("snappy", b"small");
        for _ in 0..100 {
            decompressor
                .read(Encoding::Snappy, &small, 64 << 20)
                .unwrap();
        }
        assert_eq!(decompressor.bytes(), b"small");
        assert!(decompressor.memory_bytes() <= 4 << 20);
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
    fn a_zstd_frame_of_another_size_than_it_claims_is_refused_whatever_the_memory() {
        // A content size of 180 bytes, and a last block without any; twice.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 180, 0x01, 0x00, 0x00];
        for body in [&frame[..], &[frame, frame].concat()] {
            for room in [0, 18, 179, 180, 4096] {
                let mut decompressor = Decompressor::new();
                decompressor
                    .read(Encoding::Identity, &vec![0; room], 1 << 16)
                    .unwrap();
                let read = decompressor.read(Encoding::Zstd, body, 1 << 16);
                assert!(
                    matches!(read, Err(DecodeError::Compression { .. })),
                    "{room}: {read:?}"
                );
            }
        }
    }

    #[test]
    fn a_frame_of_a_zstd_before_0_8_is_refused_and_a_skippable_one_skipped() {
        // Magic of 0.7, no content size, a window of 2^27 bytes, a raw block of five bytes, the end.
        let old = b"\x27\xb5\x2f\xfd\x00\x88\x40\x00\x05hello\xc0\x00\x00";
        let new = compress("zstd", b"hello");
        let skippable = b"\x5f\x2a\x4d\x18\x02\x00\x00\x00ab";
        for body in [old.to_vec(), [&new[..], old].concat()] {
            assert!(matches!(
                zstd(&body, 1 << 16),
                Err(DecodeError::Compression { encoding: "zstd", detail }) if detail.contains("0xfd2fb527")
            ));
        }
        let body = [skippable, &new[..], skippable, &new].concat();
        assert_eq!(zstd(&body, 1 << 16).unwrap(), b"hellohello");
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
