//! Tests of remote write 1.0 against requests that prost encodes.

mod histograms;
mod metadata;
mod repeats;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::event::{ExponentialBuckets, Histogram};

#[derive(Clone, PartialEq, Message)]
struct WireRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<WireSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<WireMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct WireMetadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<WireLabel>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<WireSample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<WireHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct WireLabel {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WireHistogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    zero_count_int: u64,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<WireSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<WireSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

fn label(name: &str, value: &str) -> WireLabel {
    WireLabel {
        name: name.into(),
        value: value.into(),
    }
}

fn span(offset: i32, length: u32) -> WireSpan {
    WireSpan { offset, length }
}

fn up() -> Vec<WireLabel> {
    vec![label("__name__", "up"), label("instance", "h1")]
}

fn one(series: WireSeries) -> Batch {
    request(vec![series])
}

fn request(timeseries: Vec<WireSeries>) -> Batch {
    decode(
        &WireRequest {
            timeseries,
            metadata: vec![],
        }
        .encode_to_vec(),
    )
    .unwrap()
}

fn request_of_one() -> WireRequest {
    WireRequest {
        timeseries: vec![WireSeries {
            labels: up(),
            samples: vec![WireSample {
                value: 1.5,
                timestamp: 1_700_000_000_000,
            }],
            ..Default::default()
        }],
        metadata: vec![],
    }
}

fn histogram(wire: WireHistogram) -> Result<Histogram, RejectReason> {
    let mut batch = one(WireSeries {
        labels: up(),
        histograms: vec![wire],
        ..Default::default()
    });
    match batch.series.pop() {
        Some(mut block) => {
            assert_eq!(block.meta.kind, Kind::Histogram);
            match block.points.remove(0).value {
                Value::Histogram(histogram) => Ok(*histogram),
                other => panic!("{other:?}"),
            }
        }
        None => Err(*batch.rejects.samples.keys().next().unwrap()),
    }
}

#[test]
fn samples_come_out_as_they_were_sent_and_stale_markers_are_no_numbers() {
    let stale = f64::from_bits(Value::STALE_BITS);
    let samples = vec![
        WireSample {
            value: 1.5,
            timestamp: 1_000,
        },
        WireSample {
            value: stale,
            timestamp: 2_000,
        },
    ];
    let exemplars = samples.clone();
    let batch = one(WireSeries {
        labels: up(),
        samples,
        exemplars,
        ..Default::default()
    });
    assert!(
        batch.rejects.is_empty(),
        "exemplars come unasked and are no rejects"
    );
    let block = &batch.series[0];
    assert_eq!(
        block.labels,
        Labels::new([("__name__", "up"), ("instance", "h1")])
    );
    assert_eq!(block.meta, SeriesMeta::default());
    let values: Vec<_> = block
        .points
        .iter()
        .map(|point| (point.at.millis(), &point.value))
        .collect();
    assert_eq!(
        values,
        [(1_000, &Value::Number(1.5)), (2_000, &Value::Stale)]
    );
}

#[test]
fn a_message_of_2_0_is_refused_and_not_taken_for_an_empty_one() {
    // A table of one symbol, or a series.
    for bytes in [&b"\x22\x00"[..], b"\x2a\x04\x0a\x02\x01\x02"] {
        let Err(DecodeError::Malformed { detail, .. }) = decode(bytes) else {
            panic!("{bytes:?}")
        };
        assert!(detail.contains("this is a message of 2.0"), "{detail}");
    }
}

#[test]
fn a_bad_series_is_rejected_with_all_its_samples_and_its_neighbours_stand() {
    let not_utf8 = WireLabel {
        name: b"x".into(),
        value: vec![0xff],
    };
    let cases = [
        (vec![label("job", "a")], RejectReason::NoMetricName),
        (vec![label("__name__", "")], RejectReason::NoMetricName),
        (
            vec![label("__name__", "a"), label("", "b")],
            RejectReason::BadLabels,
        ),
        (
            vec![label("__name__", "a"), label("b", "1"), label("b", "1")],
            RejectReason::BadLabels,
        ),
        (
            vec![label("__name__", "a"), not_utf8],
            RejectReason::NotUtf8,
        ),
    ];
    for (labels, reason) in cases {
        let samples = vec![
            WireSample {
                value: 1.0,
                timestamp: 1
            };
            2
        ];
        let bad = WireSeries {
            labels,
            samples: samples.clone(),
            ..Default::default()
        };
        let good = WireSeries {
            labels: up(),
            samples,
            ..Default::default()
        };
        let batch = request(vec![bad, good]);
        assert_eq!(batch.sample_count(), 2, "{reason:?}");
        let reject = &batch.rejects.samples[&reason];
        assert_eq!(reject.count, 2);
        assert!(!reject.example.is_empty());
    }
}

#[test]
fn a_timestamp_out_of_range_rejects_its_sample() {
    let samples = vec![WireSample {
        value: 1.0,
        timestamp: i64::MAX,
    }];
    let batch = one(WireSeries {
        labels: up(),
        samples,
        ..Default::default()
    });
    assert_eq!(batch.rejects.samples[&RejectReason::NoTimestamp].count, 1);
}

fn typical() -> Vec<u8> {
    let series = WireSeries {
        labels: up(),
        samples: vec![WireSample {
            value: 1.5,
            timestamp: 1_700_000_000_000,
        }],
        histograms: vec![WireHistogram {
            count_int: Some(3),
            positive_spans: vec![span(0, 2)],
            positive_deltas: vec![1, 1],
            ..Default::default()
        }],
        ..Default::default()
    };
    WireRequest {
        timeseries: vec![series.clone(), series],
        metadata: vec![],
    }
    .encode_to_vec()
}

#[test]
fn a_request_cut_off_anywhere_but_between_series_is_refused() {
    let bytes = typical();
    for end in 0..bytes.len() {
        let between = end == 0 || end == bytes.len() / 2;
        assert_eq!(decode(&bytes[..end]).is_ok(), between, "cut at {end}");
    }
}

#[test]
fn flipped_bits_never_panic() {
    let bytes = typical();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        decode(&flipped).ok();
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        decode(&bytes).ok();
    }

    #[test]
    fn every_sample_sent_comes_out(
        series in prop::collection::vec(
            ("[a-z]{1,4}", prop::collection::vec((any::<f64>(), -1_000_000i64..1_000_000), 0..4)),
            0..5,
        )
    ) {
        let sent = series.iter().map(|(name, points)| WireSeries {
            labels: vec![label("__name__", name)],
            samples: points.iter().map(|&(value, timestamp)| WireSample { value, timestamp }).collect(),
            ..Default::default()
        });
        let batch = request(sent.collect());
        let out: Vec<_> = batch.series.iter().flat_map(|block| {
            block.points.iter().map(|point| match point.value {
                Value::Number(value) => (block.labels.metric().to_owned(), value.to_bits(), point.at.millis()),
                Value::Stale | Value::Histogram(_) => panic!(),
            })
        }).collect();
        let expected: Vec<_> = series.iter().flat_map(|(name, points)| {
            // prost takes -0.0 for the default, and leaves it out.
            points.iter().map(|&(value, at)| (name.clone(), (value + 0.0).to_bits(), at))
        }).collect();
        prop_assert_eq!(out, expected);
    }
}
