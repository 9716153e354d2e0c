//! Writes remote write 1.0 and 2.0 without owned messages; [`golden`](super::golden) holds it to
//! what prost writes.

use hashbrown::HashMap;

/// One series with its one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// Labels as 1.0 encodes them.
    pub(crate) region: &'a [u8],
    pub(crate) is_counter: bool,
    pub(crate) value: f64,
    pub(crate) at_ms: i64,
}

/// Appends a label as it stands in a series of 1.0.
pub(crate) fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    let len = text_len(name) + text_len(value);
    out.push(0x0a);
    varint(out, len as u64);
    out.push(0x0a);
    text(out, name.as_bytes());
    out.push(0x12);
    text(out, value.as_bytes());
}

/// Names and values of encoded labels.
pub(crate) fn labels(mut region: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let mut message = take(&mut region)?;
        Some((take(&mut message)?, take(&mut message)?))
    })
}

/// A request of 1.0.
pub(crate) fn request_1_0<'a>(out: &mut Vec<u8>, readings: impl Iterator<Item = Reading<'a>>) {
    for reading in readings {
        let sample = sample_len(reading);
        let len = reading.region.len() + 1 + varint_len(sample as u64) + sample;
        out.push(0x0a);
        varint(out, len as u64);
        out.extend_from_slice(reading.region);
        write_sample(out, reading, sample);
    }
}

/// A request of 2.0: a table of symbols, then series that refer to it.
pub(crate) fn request_2_0<'a>(
    out: &mut Vec<u8>,
    readings: impl Iterator<Item = Reading<'a>> + Clone,
) {
    let mut symbols: Vec<&[u8]> = vec![b""];
    let mut known: HashMap<&[u8], u32, foldhash::fast::FixedState> = HashMap::default();
    let mut refs: Vec<u32> = Vec::new();
    let mut lens: Vec<usize> = Vec::new();
    for reading in readings.clone() {
        let before = refs.len();
        for symbol in labels(reading.region).flat_map(|(name, value)| [name, value]) {
            let next = symbols.len() as u32;
            let reference = *known.entry(symbol).or_insert(next);
            if reference == next {
                symbols.push(symbol);
            }
            refs.push(reference);
        }
        lens.push(refs.len() - before);
    }
    for symbol in symbols {
        out.push(0x22);
        text(out, symbol);
    }
    let mut rest = refs.as_slice();
    for (reading, count) in readings.zip(lens) {
        let (mine, others) = rest.split_at(count);
        rest = others;
        series_2_0(out, reading, mine);
    }
}

fn series_2_0(out: &mut Vec<u8>, reading: Reading<'_>, refs: &[u32]) {
    let packed: usize = refs
        .iter()
        .map(|&reference| varint_len(u64::from(reference)))
        .sum();
    let sample = sample_len(reading);
    // References, the sample, and two bytes of metadata: the kind.
    let len = 1 + varint_len(packed as u64) + packed + 1 + varint_len(sample as u64) + sample + 4;
    out.push(0x2a);
    varint(out, len as u64);
    out.push(0x0a);
    varint(out, packed as u64);
    for &reference in refs {
        varint(out, u64::from(reference));
    }
    write_sample(out, reading, sample);
    let kind = if reading.is_counter { 1 } else { 2 };
    out.extend_from_slice(&[0x2a, 2, 0x08, kind]);
}

/// Length of a sample's message. Zeros are left out, as proto3 has it.
fn sample_len(reading: Reading<'_>) -> usize {
    let value = if reading.value == 0.0 { 0 } else { 9 };
    value + 1 + varint_len(reading.at_ms as u64)
}

fn write_sample(out: &mut Vec<u8>, reading: Reading<'_>, len: usize) {
    out.push(0x12);
    varint(out, len as u64);
    if reading.value != 0.0 {
        out.push(0x09);
        out.extend_from_slice(&reading.value.to_le_bytes());
    }
    out.push(0x10);
    varint(out, reading.at_ms as u64);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Length of a field that holds text, with its tag.
fn text_len(text: &str) -> usize {
    1 + varint_len(text.len() as u64) + text.len()
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while 0x80 <= number {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a field with a length off the front, and gives its content.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (_, rest) = bytes.split_first()?;
    let (len, rest) = read_varint(rest)?;
    let (content, rest) = rest.split_at_checked(len as usize)?;
    *bytes = rest;
    Some(content)
}

/// Reads a number, and gives what follows it.
pub(crate) fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}
