//! Remote write 2.0, compared with prost.

use prost::Message;

use crate::{
    common,
    decode::{Encoding, Format, remote_write_2},
    wire,
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let read = common::read(Format::RemoteWrite2, Encoding::Identity, bytes);
    common::read(Format::RemoteWrite2, Encoding::Snappy, bytes).ok();
    // Text that is not UTF-8, or damage within a label, refuses everything with prost and only the series
    // here: then there is nothing to compare.
    let Ok(wire) = wire::Request2::decode(bytes) else {
        return;
    };
    // A table of symbols begins with the empty one.
    if wire.symbols.first().is_some_and(|first| !first.is_empty()) {
        assert!(read.is_err());
        return;
    }
    // Labels that refer to the table grow when they are written out: that is bounded.
    if read.is_ok() {
        compare(bytes, &wire);
    }
    let again = wire.encode_to_vec();
    let wire = wire::Request2::decode(&again[..]).expect("what prost wrote");
    compare(&again, &wire);
}

fn compare(bytes: &[u8], wire: &wire::Request2) {
    let batch = remote_write_2::decode(bytes).expect("what prost reads");
    let expected: Vec<_> = wire
        .timeseries
        .iter()
        .filter_map(|series| {
            let text = |number: &u32| wire.symbols.get(*number as usize).map(|text| &**text);
            let texts: Option<Vec<&str>> = series.labels_refs.iter().map(text).collect();
            let texts = texts.filter(|texts| texts.len().is_multiple_of(2))?;
            let pairs = texts.chunks(2).map(|two| (two[0], two[1]));
            // A label without a value is none.
            let pairs: Vec<_> = pairs
                .filter(|(name, value)| name.is_empty() || !value.is_empty())
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
