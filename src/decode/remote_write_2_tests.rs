//! Tests of remote write 2.0 against requests that prost encodes.

use proptest::prelude::*;
use prost::Message;

use super::{super::remote_write, *};
use crate::event::{Batch, ExponentialBuckets, Histogram, Labels, Point, SeriesBlock};

#[derive(Clone, PartialEq, Message)]
struct WireRequest {
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<WireSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSeries {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<WireHistogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<WireExemplar>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<WireMetadata>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WireExemplar {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireMetadata {
    #[prost(uint32, tag = "1")]
    metric_type: u32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
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
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<WireSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Remote write 1.0, for comparison.
#[derive(Clone, PartialEq, Message)]
struct OldRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<OldSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct OldSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<OldLabel>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WireSample>,
}

#[derive(Clone, PartialEq, Message)]
struct OldLabel {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Builds the table of symbols as a sender does.
#[derive(Default)]
struct Table(Vec<Vec<u8>>);

impl Table {
    fn number(&mut self, symbol: &[u8]) -> u32 {
        if self.0.is_empty() {
            self.0.push(vec![]);
        }
        let known = self.0.iter().position(|known| known == symbol);
        known.unwrap_or_else(|| {
            self.0.push(symbol.to_vec());
            self.0.len() - 1
        }) as u32
    }

    fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        labels
            .iter()
            .flat_map(|(name, value)| [name, value])
            .map(|symbol| self.number(symbol.as_bytes()))
            .collect()
    }
}

const UP: [(&str, &str); 2] = [("__name__", "up"), ("instance", "h1")];

fn sample(value: f64, timestamp: i64) -> WireSample {
    WireSample {
        value,
        timestamp,
        start_timestamp: 0,
    }
}

fn span(offset: i32, length: u32) -> WireSpan {
    WireSpan { offset, length }
}

/// A request of one series that `change` makes something of.
fn bytes_of(labels: &[(&str, &str)], change: impl FnOnce(&mut WireSeries, &mut Table)) -> Vec<u8> {
    let mut table = Table::default();
    let mut series = WireSeries {
        labels_refs: table.refs(labels),
        ..WireSeries::default()
    };
    change(&mut series, &mut table);
    WireRequest {
        symbols: table.0,
        timeseries: vec![series],
    }
    .encode_to_vec()
}

fn one(labels: &[(&str, &str)], change: impl FnOnce(&mut WireSeries, &mut Table)) -> Batch {
    decode(&bytes_of(labels, change)).unwrap()
}

fn only(mut batch: Batch) -> SeriesBlock {
    assert!(batch.rejects.is_empty(), "{}", batch.rejects);
    assert_eq!(batch.series.len(), 1);
    batch.series.remove(0)
}

fn walked(bytes: &[u8]) -> RawBatch {
    let mut out = RawBatch::new(KeyHash::new(5), read_labels);
    walk(bytes, &mut Symbols::default(), &mut out).unwrap();
    out
}

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

#[test]
fn golden_bytes_are_read() {
    // Written by hand from the schema: symbols "", "__name__", "up", "job", "a"; one series with the
    // labels 1,2,3,4; a sample 1.5 at 1000 ms since 7 ms; a counter.
    let bytes = [
        &b"\x22\x00\x22\x08__name__\x22\x02up\x22\x03job\x22\x01a"[..],
        b"\x2a\x1a",
        b"\x0a\x04\x01\x02\x03\x04",
        b"\x12\x0e\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\xe8\x07\x18\x07",
        b"\x2a\x02\x08\x01",
    ]
    .concat();
    let block = only(decode(&bytes).unwrap());
    assert_eq!(
        block.labels,
        Labels::new([("__name__", "up"), ("job", "a")])
    );
    assert_eq!(block.meta.kind, Kind::Counter);
    let point = Point {
        at: millis(1000),
        start: Some(millis(7)),
        value: Value::Number(1.5),
    };
    assert_eq!(block.points, [point]);
}

#[test]
fn symbols_may_stand_behind_the_series() {
    let bytes = bytes_of(&UP, |series, _| series.samples.push(sample(1.0, 1)));
    let request = WireRequest::decode(&bytes[..]).unwrap();
    let series = WireRequest {
        symbols: vec![],
        ..request.clone()
    };
    let symbols = WireRequest {
        timeseries: vec![],
        ..request
    };
    let turned = [series.encode_to_vec(), symbols.encode_to_vec()].concat();
    assert_ne!(turned, bytes);
    assert_eq!(decode(&turned), decode(&bytes));
}

#[test]
fn a_reference_out_of_range_or_an_odd_number_of_them_rejects_the_samples_of_the_series() {
    for (refs, told) in [
        (vec![1, 2, 3, 99], "there are 5"),
        (vec![1, 2, u32::MAX, 4], "there are 5"),
        (vec![1, 2, 3], "odd"),
        (vec![1], "odd"),
    ] {
        let mut bytes = bytes_of(&UP, |series, _| {
            series.labels_refs = refs;
            series.samples = vec![sample(1.0, 1); 2];
            series.histograms = vec![WireHistogram::default()];
            series.exemplars = vec![WireExemplar::default(); 3];
        });
        // A good neighbour, with the same table.
        bytes.extend(
            WireRequest {
                symbols: vec![],
                timeseries: vec![WireSeries {
                    labels_refs: vec![1, 2],
                    samples: vec![sample(7.0, 2)],
                    ..WireSeries::default()
                }],
            }
            .encode_to_vec(),
        );
        let batch = decode(&bytes).unwrap();
        let reject = &batch.rejects.samples[&RejectReason::BadLabels];
        assert_eq!(reject.count, 3);
        assert!(reject.example.contains(told), "{}", reject.example);
        assert_eq!(batch.series.len(), 1);
        assert_eq!(batch.series[0].points[0].value, Value::Number(7.0));
        assert_eq!(walked(&bytes).exemplars, 3);
    }
}

#[test]
fn a_first_symbol_that_is_not_empty_refuses_the_request() {
    let request = WireRequest {
        symbols: vec![b"a".to_vec()],
        timeseries: vec![],
    };
    let error = decode(&request.encode_to_vec()).unwrap_err();
    assert!(
        matches!(error, DecodeError::Malformed { offset: 2, .. }),
        "{error}"
    );
}

#[test]
fn an_empty_table_is_fine_as_long_as_nobody_points_into_it() {
    assert!(decode(&[]).unwrap().is_empty());
    let mut request = WireRequest {
        symbols: vec![],
        timeseries: vec![WireSeries {
            labels_refs: vec![0, 0],
            samples: vec![sample(1.0, 1)],
            ..WireSeries::default()
        }],
    };
    let batch = decode(&request.encode_to_vec()).unwrap();
    assert_eq!(batch.rejects.samples[&RejectReason::BadLabels].count, 1);
    request.timeseries[0].labels_refs.clear();
    let batch = decode(&request.encode_to_vec()).unwrap();
    assert_eq!(batch.rejects.samples[&RejectReason::NoMetricName].count, 1);
}

#[test]
fn labels_are_checked_as_in_1_0_and_an_empty_value_is_no_label() {
    let with = |labels: &[(&str, &str)]| {
        one(labels, |series, _| {
            series.samples = vec![sample(1.0, 1); 2];
        })
    };
    for (labels, reason) in [
        (&[("job", "a")][..], RejectReason::NoMetricName),
        (&[("__name__", "")], RejectReason::NoMetricName),
        (&[("__name__", "a"), ("", "b")], RejectReason::BadLabels),
        (&[("__name__", "a"), ("", "")], RejectReason::BadLabels),
        (
            &[("__name__", "a"), ("b", "1"), ("b", "2")],
            RejectReason::BadLabels,
        ),
    ] {
        let batch = with(labels);
        assert_eq!(batch.rejects.samples[&reason].count, 2, "{labels:?}");
        assert!(batch.series.is_empty());
    }
    let block = only(with(&[("__name__", "a"), ("b", "")]));
    assert_eq!(block.labels, Labels::new([("__name__", "a")]));
}

#[test]
fn a_symbol_that_is_not_utf8_rejects_only_the_series_that_use_it() {
    let bytes = bytes_of(&UP, |series, table| {
        series.samples.push(sample(1.0, 1));
        let bad = table.number(&[0xff]);
        let name = table.number(b"name");
        series.labels_refs.extend([name, bad]);
    });
    let mut request = WireRequest::decode(&bytes[..]).unwrap();
    request.timeseries.push(WireSeries {
        labels_refs: vec![1, 2],
        samples: vec![sample(2.0, 1)],
        ..WireSeries::default()
    });
    let batch = decode(&request.encode_to_vec()).unwrap();
    assert_eq!(batch.rejects.samples[&RejectReason::NotUtf8].count, 1);
    assert_eq!(batch.series[0].points[0].value, Value::Number(2.0));
}

#[test]
#[expect(clippy::too_many_lines, reason = "three histograms, field by field")]
fn histograms_of_integers_floats_and_custom_buckets_tell_when_they_began() {
    let integers = WireHistogram {
        count_int: Some(3),
        sum: 4.0,
        schema: 2,
        positive_spans: vec![span(1, 2)],
        positive_deltas: vec![1, 1],
        timestamp: 2_000,
        start_timestamp: 1_000,
        ..WireHistogram::default()
    };
    let floats = WireHistogram {
        count_float: Some(3.5),
        sum: 4.0,
        positive_spans: vec![span(1, 2)],
        positive_counts: vec![1.0, 2.5],
        timestamp: 3_000,
        ..WireHistogram::default()
    };
    let custom = WireHistogram {
        count_int: Some(3),
        schema: -53,
        sum: f64::NAN,
        custom_values: vec![1.0, 2.0],
        positive_spans: vec![span(0, 1), span(1, 1)],
        positive_deltas: vec![2, -1],
        timestamp: 4_000,
        ..WireHistogram::default()
    };
    let stale = WireHistogram {
        sum: f64::from_bits(Value::STALE_BITS),
        timestamp: 5_000,
        ..WireHistogram::default()
    };
    let block = only(one(&UP, |series, table| {
        series.histograms = vec![integers, floats, custom, stale];
        series.created_timestamp = 500;
        let unit_ref = table.number(b"seconds");
        series.metadata = Some(WireMetadata {
            metric_type: HISTOGRAM as u32,
            help_ref: 0,
            unit_ref,
        });
    }));
    assert_eq!(block.meta.kind, Kind::Histogram);
    assert_eq!(block.meta.unit, Unit::Seconds);
    let exponential = |scale, counts: Vec<f64>| {
        Value::Histogram(Box::new(Histogram::Exponential {
            scale,
            zero_count: 0.0,
            zero_threshold: 0.0,
            positive: ExponentialBuckets { offset: 0, counts },
            negative: ExponentialBuckets::default(),
            sum: Some(4.0),
        }))
    };
    let explicit = Value::Histogram(Box::new(Histogram::Explicit {
        bounds: vec![1.0, 2.0],
        counts: vec![2.0, 0.0, 1.0],
        sum: None,
    }));
    let points: Vec<_> = block
        .points
        .into_iter()
        .map(|point| (point.at, point.start, point.value))
        .collect();
    assert_eq!(
        points,
        [
            (
                millis(2_000),
                Some(millis(1_000)),
                exponential(2, vec![1.0, 2.0])
            ),
            (
                millis(3_000),
                Some(millis(500)),
                exponential(0, vec![1.0, 2.5])
            ),
            (millis(4_000), Some(millis(500)), explicit),
            (millis(5_000), Some(millis(500)), Value::Stale),
        ]
    );
}

#[test]
fn a_count_begins_where_the_sample_says_else_where_the_series_says() {
    let block = only(one(&UP, |series, _| {
        series.samples = vec![
            WireSample {
                start_timestamp: 10,
                ..sample(1.0, 100)
            },
            sample(2.0, 200),
            WireSample {
                start_timestamp: i64::MAX,
                ..sample(3.0, 300)
            },
        ];
        series.created_timestamp = 20;
    }));
    let starts: Vec<_> = block.points.iter().map(|point| point.start).collect();
    // A start that cannot be is no start, and no reason to refuse a value.
    let [own, series] = [10, 20].map(|at| Some(millis(at)));
    assert_eq!(starts, [own, series, series]);
    let block = only(one(&UP, |series, _| series.samples = vec![sample(1.0, 1)]));
    assert_eq!(block.points[0].start, None);
}

#[test]
fn metadata_tells_the_kind_and_the_unit() {
    let meta = |name: &str, metric_type: u64, unit: &[u8]| {
        let block = only(one(&[("__name__", name)], |series, table| {
            series.samples = vec![sample(1.0, 1)];
            series.metadata = Some(WireMetadata {
                metric_type: metric_type as u32,
                help_ref: table.number(b"help"),
                unit_ref: table.number(unit),
            });
        }));
        (block.meta.kind, block.meta.unit)
    };
    for (name, metric_type, kind) in [
        ("a", 0, Kind::Unknown),
        ("a", COUNTER, Kind::Counter),
        ("a", GAUGE, Kind::Gauge),
        ("a_bucket", HISTOGRAM, Kind::Counter),
        ("a_count", HISTOGRAM, Kind::Counter),
        ("a_sum", HISTOGRAM, Kind::Counter),
        ("a", HISTOGRAM, Kind::Gauge),
        ("a_bucket", GAUGE_HISTOGRAM, Kind::Gauge),
        ("a", SUMMARY, Kind::Gauge),
        ("a_sum", SUMMARY, Kind::Counter),
        ("a", INFO, Kind::Gauge),
        ("a", STATE_SET, Kind::Gauge),
        ("a_count", 99, Kind::Unknown),
    ] {
        assert_eq!(
            meta(name, metric_type, b"bytes"),
            (kind, Unit::Bytes),
            "{name} {metric_type}"
        );
    }
    assert_eq!(meta("a", GAUGE, b"furlongs").1, Unit::Unknown);
    assert_eq!(meta("a", GAUGE, b"\xff").1, Unit::Unknown);
    let out_of_range = one(&UP, |series, _| {
        series.samples = vec![sample(1.0, 1)];
        series.metadata = Some(WireMetadata {
            unit_ref: 99,
            ..WireMetadata::default()
        });
    });
    assert_eq!(only(out_of_range).meta.unit, Unit::Unknown);
}

#[test]
fn stale_markers_are_told_by_their_bits() {
    let block = only(one(&UP, |series, _| {
        let other_nan = f64::from_bits(0x7ff8_0000_0000_0001);
        series.samples = vec![
            sample(f64::from_bits(Value::STALE_BITS), 1),
            sample(other_nan, 2),
        ];
    }));
    assert_eq!(block.points[0].value, Value::Stale);
    assert!(matches!(block.points[1].value, Value::Number(value) if value.is_nan()));
}

#[test]
fn one_bad_sample_leaves_the_others_of_its_series() {
    let batch = one(&UP, |series, _| {
        series.samples = vec![sample(1.0, 1), sample(2.0, i64::MAX), sample(3.0, 3)];
        series.histograms = vec![
            WireHistogram {
                schema: 99,
                ..WireHistogram::default()
            },
            WireHistogram::default(),
        ];
    });
    assert_eq!(batch.sample_count(), 3);
    let reject = &batch.rejects.samples[&RejectReason::NoTimestamp];
    assert_eq!(reject.count, 1);
    assert!(reject.example.starts_with("up{"), "{}", reject.example);
    let reject = &batch.rejects.samples[&RejectReason::BadHistogram];
    assert_eq!(reject.count, 1);
}

#[test]
fn unsorted_labels_are_the_same_series() {
    let sorted = only(one(&UP, |series, _| series.samples.push(sample(1.0, 1))));
    let turned = [UP[1], UP[0]];
    let unsorted = only(one(&turned, |series, _| {
        series.samples.push(sample(1.0, 1));
    }));
    assert_eq!(sorted, unsorted);
}

#[test]
fn labels_that_unfold_beyond_the_bound_refuse_the_request_and_take_no_memory() {
    // A symbol of 100 kB, named 20,000 times by two bytes.
    let request = WireRequest {
        symbols: vec![vec![], b"n".to_vec(), vec![b'x'; 100_000]],
        timeseries: vec![WireSeries {
            labels_refs: [1, 2].repeat(20_000),
            samples: vec![sample(1.0, 1)],
            ..WireSeries::default()
        }],
    };
    let bytes = request.encode_to_vec();
    let mut out = RawBatch::new(KeyHash::new(0), read_labels);
    out.limit(1000, 1 << 20);
    let error = walk(&bytes, &mut Symbols::default(), &mut out).unwrap_err();
    assert!(
        matches!(
            error,
            DecodeError::TooLarge {
                which: super::super::Size::Unfolded,
                ..
            }
        ),
        "{error}"
    );
    assert!(out.memory_bytes() <= 2 << 20, "{}", out.memory_bytes());
}

#[test]
fn more_samples_than_allowed_refuse_the_request() {
    let bytes = bytes_of(&UP, |series, _| series.samples = vec![sample(1.0, 1); 11]);
    let mut out = RawBatch::new(KeyHash::new(0), read_labels);
    for (limit, expected) in [
        (11, Ok(())),
        (10, Err(DecodeError::TooMany { limit: 10 })),
        (11, Ok(())),
    ] {
        out.limit(limit, 1 << 20);
        assert_eq!(walk(&bytes, &mut Symbols::default(), &mut out), expected);
    }
}

#[test]
fn a_request_cut_off_is_refused_and_flipped_bits_never_panic() {
    let bytes = bytes_of(&UP, |series, _| {
        series.samples.push(sample(1.0, 1));
        series.histograms.push(WireHistogram::default());
    });
    let symbols = WireRequest {
        symbols: WireRequest::decode(&bytes[..]).unwrap().symbols,
        timeseries: vec![],
    };
    for end in symbols.encoded_len() + 1..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        decode(&flipped).ok();
    }
}

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
        remote_write::walk(&old, &mut old_batch).unwrap();
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
