//! Whether a body that a limit refused may have held data, by how it begins.
//!
//! Nobody reads such a body as a whole. But noise, or a header that claims gigabytes over six bytes, costs no check
//! anything: what can be no request of its format was nobody's data. What is not known for sure may have been.

use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::{
    Encoding, Format,
    compression::{SNAPPY_GROWTH_MAX, ZSTD_WINDOW_LOG_MIN},
};

/// Bytes that are decompressed at most.
const BYTES_MAX: usize = 512;

/// Compressed bytes that are looked at, at most: those of the first block of any encoder.
const COMPRESSED_BYTES_MAX: usize = 256 << 10;

/// The wire type of protobuf of what has a length: messages and texts.
const LENGTH_DELIMITED: u8 = 2;

/// The type of the elements of snappy that bring their bytes with them.
const LITERAL: u8 = 0;

/// Whether a body that begins like this may be a request of the format. `len` is how long the body is, in bytes,
/// where that is known; what is not there of the body is taken for sound.
pub(crate) fn may_hold_data(
    format: Format,
    encoding: Encoding,
    beginning: &[u8],
    len: Option<usize>,
) -> bool {
    let compressed = &beginning[..beginning.len().min(COMPRESSED_BYTES_MAX)];
    let unpacked = match encoding {
        Encoding::Identity => Some(compressed.to_vec()),
        Encoding::Gzip => first_bytes(MultiGzDecoder::new(compressed)),
        Encoding::Zstd => zstd(compressed),
        Encoding::Snappy => snappy(compressed, len),
    };
    unpacked.is_some_and(|bytes| may_begin(format, &bytes))
}

/// Whether a request of the format may begin with these bytes.
fn may_begin(format: Format, bytes: &[u8]) -> bool {
    // The fields of the outermost message; each is a message or a text.
    let fields: &[u8] = match format {
        // Series; metadata.
        Format::RemoteWrite1 => &[1, 3],
        // Symbols; series.
        Format::RemoteWrite2 => &[4, 5],
        Format::OtlpMetrics | Format::OtlpLogs | Format::LokiPush => &[1],
        Format::OtlpMetricsJson | Format::OtlpLogsJson | Format::LokiPushJson => {
            let mut text = bytes.iter().filter(|byte| !byte.is_ascii_whitespace());
            return text.next().is_none_or(|first| *first == b'{');
        }
    };
    bytes
        .first()
        .is_none_or(|key| key & 7 == LENGTH_DELIMITED && fields.contains(&(key >> 3)))
}

/// The first bytes that a decompressor gives; `None` if it finds damage before any.
fn first_bytes(mut decoder: impl Read) -> Option<Vec<u8>> {
    let mut bytes = vec![0; BYTES_MAX];
    loop {
        match decoder.read(&mut bytes) {
            Ok(read) => bytes.truncate(read),
            // Only the beginning is here.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => bytes.clear(),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        }
        return Some(bytes);
    }
}

fn zstd(compressed: &[u8]) -> Option<Vec<u8>> {
    const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
    if compressed
        .iter()
        .zip(MAGIC)
        .any(|(found, right)| *found != right)
    {
        return None;
    }
    // A larger window is refused, but may well be one: memory is not asked for on its word.
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed).ok()?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MIN).ok()?;
    Some(first_bytes(decoder).unwrap_or_default())
}

/// A snappy block is how long it becomes, and then elements, of which the first has to bring its bytes with it.
fn snappy(compressed: &[u8], len: Option<usize>) -> Option<Vec<u8>> {
    let claimed = match snap::raw::decompress_len(compressed) {
        Ok(claimed) => claimed as u64,
        // So short a beginning tells nothing.
        Err(_) if compressed.len() < 5 && len.is_none() => return Some(Vec::new()),
        Err(_) => return None,
    };
    if let Some(len) = len {
        let len = len as u64;
        // An element has a byte of its content at least, and 5 bytes before that at most.
        let (least, most) = (
            len.saturating_sub(5) / 6,
            len.saturating_mul(SNAPPY_GROWTH_MAX),
        );
        if !(least..=most).contains(&claimed) {
            return None;
        }
    }
    let header = compressed.iter().take_while(|byte| 0x80 <= **byte).count() + 1;
    let Some((tag, rest)) = compressed.get(header..).unwrap_or_default().split_first() else {
        return Some(Vec::new());
    };
    if tag & 3 != LITERAL {
        return None;
    }
    // From 60 on as many bytes hold the length as it is more than 59.
    let length_bytes = usize::from(tag >> 2).saturating_sub(59);
    let literal = rest.get(length_bytes..).unwrap_or_default();
    Some(literal[..literal.len().min(1)].to_vec())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn compress(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
            Encoding::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        }
    }

    /// How requests of the formats begin.
    fn beginning(format: Format) -> &'static [u8] {
        match format {
            Format::RemoteWrite1 => b"\x0a\x40\x0a\x10\x0a\x08__name__",
            Format::RemoteWrite2 => b"\x22\x00\x22\x08__name__",
            Format::OtlpMetrics | Format::OtlpLogs => b"\x0a\xf0\x01\x0a\x20service.name",
            Format::LokiPush => b"\x0a\x30\x0a\x10{host=\"h1\"}",
            Format::OtlpMetricsJson | Format::OtlpLogsJson => b" \n{\"resourceMetrics\": [",
            Format::LokiPushJson => b"{\"streams\":[{\"stream\":{",
        }
    }

    #[test]
    fn whatever_may_be_a_request_may_hold_data_wherever_it_is_cut() {
        for format in Format::ALL {
            for encoding in Encoding::ALL {
                let noise = (0..1_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8);
                let body: Vec<u8> = beginning(format).iter().copied().chain(noise).collect();
                let packed = compress(encoding, &body);
                for end in 0..=packed.len() {
                    assert!(
                        may_hold_data(format, encoding, &packed[..end], None),
                        "{format:?} {encoding:?} {end}"
                    );
                }
                let len = Some(packed.len());
                assert!(
                    may_hold_data(format, encoding, &packed, len),
                    "{format:?} {encoding:?}"
                );
            }
        }
    }

    #[test]
    fn noise_and_bombs_hold_none() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(!may_hold_data(
            Format::RemoteWrite1,
            Encoding::Snappy,
            &bomb,
            Some(6)
        ));
        for format in Format::ALL {
            for encoding in Encoding::ALL {
                for content in [0, b'x', 0xff].map(|byte| vec![byte; 100_000]) {
                    let packed = compress(encoding, &content);
                    for (bytes, len) in [(&packed[..], Some(packed.len())), (&packed, None)] {
                        assert!(
                            !may_hold_data(format, encoding, bytes, len),
                            "{format:?} {encoding:?} {:?}",
                            content[0]
                        );
                    }
                    if encoding != Encoding::Identity {
                        assert!(
                            !may_hold_data(format, encoding, &content, Some(100_000)),
                            "{format:?} {encoding:?} {:?}",
                            content[0]
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_snappy_block_holds_neither_more_nor_less_than_its_elements_can() {
        let block = |claimed: &[u8]| [claimed, b"\x04\x0a\x00"].concat();
        let holds = |claimed: &[u8], len: usize| {
            may_hold_data(
                Format::RemoteWrite1,
                Encoding::Snappy,
                &block(claimed),
                Some(len),
            )
        };
        assert!(holds(&[2], 4));
        assert!(holds(&[88], 4));
        assert!(!holds(&[89], 4));
        // 120 bytes cannot take a megabyte to tell.
        assert!(!holds(&[120], 1 << 20));
    }
}
