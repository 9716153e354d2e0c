//! Native histograms, in a series that is right otherwise.

use crate::decode::{Encoding, Format};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let mut series = b"\x0a\x0d\x0a\x08__name__\x12\x01a\x22".to_vec();
    prost::encoding::encode_varint(bytes.len() as u64, &mut series);
    series.extend_from_slice(bytes);
    let mut request = vec![0x0a];
    prost::encoding::encode_varint(series.len() as u64, &mut request);
    request.extend(series);
    crate::common::read(Format::RemoteWrite1, Encoding::Identity, &request).ok();
}
