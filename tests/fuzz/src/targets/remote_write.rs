//! Remote write 1.0, compared with prost.

use prost::Message;

use super::native_histogram;
use crate::{
    common,
    decode::{Encoding, Format, remote_write},
    event::{KeyCache, KeyHash, Raw, RawBatch, canonical},
    wire,
};

/// The histograms of a request, which the target of their own compares.
#[derive(Clone, PartialEq, Message)]
struct Histograms {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<HistogramSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramSeries {
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<native_histogram::Wire>,
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = common::read(Format::RemoteWrite1, Encoding::Identity, bytes);
    common::read(Format::RemoteWrite1, Encoding::Snappy, bytes).ok();
    // Text that is not UTF-8, or damage within a label, refuses everything with prost and only the series
    // here: then there is nothing to compare.
    let Ok(wire) = wire::WriteRequest::decode(bytes) else {
        return;
    };
    match read {
        Ok(_) => compare(bytes, &wire),
        Err(error) => {
            let is_odd = common::is_odd(&error) || Histograms::decode(bytes).is_err();
            assert!(is_odd, "{error}");
        }
    }
    recognise(bytes);
    // The same once more in the order and the forms that prost writes.
    let again = wire.encode_to_vec();
    recognise(&again);
    let wire = wire::WriteRequest::decode(&again[..]).expect("what prost wrote");
    compare(&again, &wire);
}

/// Demands that a request, and what is almost the same, is read alike whether its keys came before or not.
fn recognise(bytes: &[u8]) {
    let mut cache = KeyCache::new();
    let (_, out) = walked(bytes, Some(&cache));
    let raw = Raw::new(bytes, &out);
    let keys = out.series.iter();
    let keys = keys.map(|series| (series.hash, raw.key(series)[0], 0));
    let edition = cache.edition().clone();
    cache.learn(&edition, keys);
    let mut other = bytes.to_vec();
    if let Some(byte) = other.get_mut(bytes.len() / 2) {
        *byte ^= 1;
    }
    for bytes in [bytes, &other] {
        assert_eq!(walked(bytes, Some(&cache)).0, walked(bytes, None).0);
    }
}

/// What is read of a request: as text, but for where its keys are remembered, and as it is.
fn walked(bytes: &[u8], cache: Option<&KeyCache>) -> (String, RawBatch) {
    let mut out = RawBatch::new(KeyHash::new(1), canonical::read);
    let walked = remote_write::walk(bytes, cache, &mut out);
    let mut plain = out.clone();
    plain.edition = None;
    for series in &mut plain.series {
        series.place = None;
    }
    (
        format!(
            "{walked:?} {:?} {:?} {:?}",
            plain.series, plain.points, plain.metadata
        ),
        out,
    )
}

fn compare(bytes: &[u8], wire: &wire::WriteRequest) {
    let batch = remote_write::decode(bytes).expect("what prost reads");
    let expected: Vec<_> = wire
        .timeseries
        .iter()
        .filter_map(|series| {
            let pairs: Vec<_> = series
                .labels
                .iter()
                .map(|label| (&*label.name, &*label.value))
                .collect();
            Some((common::usable(&pairs)?, series))
        })
        .flat_map(|(labels, series)| {
            series.samples.iter().filter_map(move |sample| {
                let nanos = sample.timestamp.checked_mul(1_000_000)?;
                Some((labels.clone(), nanos, sample.value.to_bits()))
            })
        })
        .collect();
    let is_odd = common::are_odd(&batch.rejects);
    let told = common::numbers(&batch);
    assert!(
        told == expected || is_odd,
        "{told:#?}\n{expected:#?}\n{}",
        batch.rejects
    );
}
