//! What holds for any request: it means what prost reads, and what remote write 1.0 would say.

use proptest::prelude::*;
use prost::Message;

use super::{
    super::{super::remote_write, *},
    messages::{
        OldLabel, OldRequest, OldSeries, Table, WireMetadata, WireRequest, WireSample, WireSeries,
        sample, walked,
    },
};
use crate::event::Labels;

/// Labels of a series by name: unique and sorted.
fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("[a-z]{1,6}", "[a-zé0-9]{1,8}", 0..5).prop_flat_map(|others| {
        ("[a-z_]{1,200}").prop_map(move |name| {
            let metric = (METRIC_NAME.to_owned(), name);
            std::iter::once(metric).chain(others.clone()).collect()
        })
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        decode(&bytes).ok();
    }

    #[test]
    fn both_versions_bring_the_same_series_with_the_same_key(
        all in prop::collection::vec(
            (labels(), prop::collection::vec((any::<f64>(), 1i64..1_000_000), 1..4)),
            0..5,
        )
    ) {
        let mut table = Table::default();
        let mut new = WireRequest::default();
        let mut old = OldRequest::default();
        for (labels, points) in &all {
            let borrowed: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            let samples: Vec<_> = points.iter().map(|&(value, at)| sample(value, at)).collect();
            new.timeseries.push(WireSeries {
                labels_refs: table.refs(&borrowed),
                samples: samples.clone(),
                ..WireSeries::default()
            });
            let labels = labels.iter().map(|(name, value)| OldLabel {
                name: name.clone(),
                value: value.clone(),
            });
            old.timeseries.push(OldSeries { labels: labels.collect(), samples });
        }
        new.symbols = table.0;
        let (new, old) = (new.encode_to_vec(), old.encode_to_vec());
        let (new_batch, mut old_batch) =
            (walked(&new), RawBatch::new(KeyHash::new(5), remote_write::read_labels));
        remote_write::walk(&old, None, &mut old_batch).unwrap();
        let told = |raw: Raw<'_>| -> Vec<_> {
            raw.batch.series.iter().map(|series| {
                let points: Vec<_> = raw.points(series).iter()
                    .map(|point| (point.at, point.value.to_bits()))
                    .collect();
                (series.hash, raw.key(series).map(<[u8]>::to_vec), points)
            }).collect()
        };
        prop_assert_eq!(told(Raw::new(&new, &new_batch)), told(Raw::new(&old, &old_batch)));
        prop_assert_eq!(new_batch.series.len(), all.len());
    }

    #[test]
    fn what_prost_decodes_comes_out(
        all in prop::collection::vec(
            (
                labels(),
                prop::collection::vec((any::<f64>(), 1i64..1_000_000, 0i64..1_000), 0..4),
                0u32..9,
                0i64..3,
            ),
            0..5,
        )
    ) {
        let mut table = Table::default();
        let timeseries = all.iter().map(|(labels, points, metric_type, created)| {
            let labels: Vec<_> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            WireSeries {
                labels_refs: table.refs(&labels),
                samples: points.iter().map(|&(value, timestamp, start_timestamp)| WireSample {
                    value,
                    timestamp,
                    start_timestamp,
                }).collect(),
                metadata: Some(WireMetadata { metric_type: *metric_type, ..WireMetadata::default() }),
                created_timestamp: *created,
                ..WireSeries::default()
            }
        });
        let timeseries = timeseries.collect();
        let bytes = WireRequest { symbols: table.0, timeseries }.encode_to_vec();
        let wire = WireRequest::decode(&bytes[..]).unwrap();
        let text = |number: u32| String::from_utf8(wire.symbols[number as usize].clone()).unwrap();
        let told = |millis: i64| (millis != 0).then_some(millis);
        let expected: Vec<_> = wire.timeseries.iter().flat_map(|series| {
            let labels = series.labels_refs.chunks(2).map(|two| (text(two[0]), text(two[1])));
            let labels = Labels::new(labels);
            series.samples.iter().map(move |sample| {
                let start = told(sample.start_timestamp).or(told(series.created_timestamp));
                (labels.clone(), sample.timestamp, start, sample.value.to_bits())
            })
        }).collect();
        let batch = decode(&bytes).unwrap();
        prop_assert!(batch.rejects.is_empty());
        let out: Vec<_> = batch.series.iter().flat_map(|block| {
            block.points.iter().map(|point| match point.value {
                Value::Number(value) => (
                    block.labels.clone(),
                    point.at.millis(),
                    point.start.map(Timestamp::millis),
                    value.to_bits(),
                ),
                Value::Stale | Value::Histogram(_) => panic!(),
            })
        }).collect();
        prop_assert_eq!(out, expected);
    }
}
