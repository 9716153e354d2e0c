//! The canonical bytes of a label set: sorted pairs, framed as Prometheus' remote write frames them.
//!
//! Prometheus sends sorted labels without empty values, so that what it sends is canonical already
//! and stands only once in memory.

use super::{BadLabels, Labels, METRIC_NAME, RejectReason};

/// Key of a field of length-delimited bytes with number 1.
const FIRST: u8 = 0x0a;
/// Key of a field of length-delimited bytes with number 2.
const SECOND: u8 = 0x12;

/// Appends the canonical bytes of labels.
pub fn write(labels: &Labels, out: &mut Vec<u8>) {
    for (name, value) in labels.iter() {
        write_pair(name.as_bytes(), value.as_bytes(), out);
    }
}

/// How many bytes a pair takes.
#[inline]
pub fn pair_len(name: &[u8], value: &[u8]) -> usize {
    let inner = inner_len(name, value);
    1 + varint_len(inner) + inner
}

#[inline]
fn inner_len(name: &[u8], value: &[u8]) -> usize {
    2 + varint_len(name.len()) + varint_len(value.len()) + name.len() + value.len()
}

/// Appends one pair.
#[inline]
pub fn write_pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let inner = inner_len(name, value);
    out.push(FIRST);
    write_varint(inner, out);
    out.push(FIRST);
    write_varint(name.len(), out);
    out.extend_from_slice(name);
    out.push(SECOND);
    write_varint(value.len(), out);
    out.extend_from_slice(value);
}

/// Reads a key that is the canonical bytes of labels.
///
/// # Errors
/// It is something else.
pub fn read([key, ..]: [&[u8]; 3]) -> Result<Labels, BadLabels> {
    pairs(key).map(Labels::new).ok_or_else(|| BadLabels {
        reason: RejectReason::Malformed,
        detail: "the labels are not in the canonical form".to_owned(),
    })
}

/// The name of the metric in canonical bytes.
pub fn metric(mut bytes: &[u8]) -> Option<&str> {
    loop {
        let (name, value) = pair(&mut bytes)?;
        if name == METRIC_NAME.as_bytes() {
            return std::str::from_utf8(value).ok();
        }
    }
}

fn pairs(mut bytes: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    while !bytes.is_empty() {
        let (name, value) = pair(&mut bytes)?;
        pairs.push((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ));
    }
    Some(pairs)
}

fn pair<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut pair = take(bytes, FIRST)?;
    let name = take(&mut pair, FIRST)?;
    let value = take(&mut pair, SECOND)?;
    pair.is_empty().then_some((name, value))
}

fn take<'a>(bytes: &mut &'a [u8], key: u8) -> Option<&'a [u8]> {
    let mut rest = bytes.strip_prefix(&[key])?;
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        len |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte < 0x80 {
            break;
        }
        if 28 < shift {
            return None;
        }
    }
    let (taken, after) = rest.split_at_checked(len)?;
    *bytes = after;
    Some(taken)
}

fn write_varint(mut value: usize, out: &mut Vec<u8>) {
    while 0x80 <= value {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_come_back(pairs: Vec<(String, String)>) {
            let labels = Labels::new(pairs);
            let mut bytes = Vec::new();
            write(&labels, &mut bytes);
            let told: usize = labels
                .iter()
                .map(|(name, value)| pair_len(name.as_bytes(), value.as_bytes()))
                .sum();
            prop_assert_eq!(bytes.len(), told);
            prop_assert_eq!(metric(&bytes).unwrap_or_default(), labels.metric());
            prop_assert_eq!(read([&bytes, &[], &[]]), Ok(labels));
        }

        #[test]
        fn a_metric_is_found_among_other_labels(name in "[A-Z_a-z]{1,20}") {
            let labels = Labels::new([(METRIC_NAME, "up"), (name.as_str(), "other")]);
            let mut bytes = Vec::new();
            write(&labels, &mut bytes);
            prop_assert_eq!(metric(&bytes), Some(labels.metric()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = metric(&bytes);
            read([&bytes, &[], &[]]).ok();
        }
    }

    #[test]
    fn long_labels_come_back() {
        let labels = Labels::new([("a", "x".repeat(200)), ("b", "y".repeat(20_000))]);
        let mut bytes = Vec::new();
        write(&labels, &mut bytes);
        assert_eq!(read([&bytes, &[], &[]]), Ok(labels));
    }
}
