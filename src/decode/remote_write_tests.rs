//! Tests of remote write 1.0 against requests that prost encodes.

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
fn metadata_tells_what_metrics_are_by_their_names() {
    let cases = [
        (0, "a", "", None),
        (1, "b", "", Some((Kind::Counter, Unit::Unknown))),
        (2, "c", "bytes", Some((Kind::Gauge, Unit::Bytes))),
        (3, "d", "", Some((Kind::Histogram, Unit::Unknown))),
        (4, "e", "", Some((Kind::Histogram, Unit::Unknown))),
        (5, "f", "", Some((Kind::Summary, Unit::Unknown))),
        (6, "g", "", None),
        (7, "h", "furlongs", None),
        (8, "i", "", None),
        (-1, "j", "seconds", Some((Kind::Unknown, Unit::Seconds))),
    ];
    let entry = |kind: i32, family: &str, unit: &str| WireMetadata {
        kind,
        family: family.into(),
        help: "What it is.".into(),
        unit: unit.into(),
    };
    let bytes = WireRequest {
        timeseries: vec![],
        metadata: cases
            .iter()
            .map(|(kind, family, unit, _)| entry(*kind, family, unit))
            .collect(),
    }
    .encode_to_vec();
    let batch = decode(&bytes).unwrap();
    assert!(batch.is_empty(), "there is no data in it");
    let told = batch.metadata.iter();
    let told: Vec<_> = told
        .map(|told| (&*told.metric, told.kind, told.unit))
        .collect();
    let expected = cases.iter().filter_map(|(_, family, _, told)| {
        let (kind, unit) = (*told)?;
        Some((*family, kind, unit))
    });
    assert_eq!(told, expected.collect::<Vec<_>>());
    assert!(decode(&[]).unwrap().metadata.is_empty());
}

#[test]
fn metadata_that_is_damaged_costs_nothing_else() {
    let good = [
        &b"\x1a\x05\x08\x01\x12\x01a"[..],
        &request_of_one().encode_to_vec(),
    ];
    let good = good.concat();
    // A name that is cut off, none, one that is no text, numbers of the wrong type; what is no message at all
    // tells nothing, either.
    for damaged in [
        &b"\x1a\x04\x08\x01\x12\x05"[..],
        b"\x1a\x02\x08\x01",
        b"\x1a\x05\x08\x01\x12\x01\xff",
        b"\x1a\x06\x0a\x01x\x12\x01a",
        b"\x18\x05",
    ] {
        let mut out = RawBatch::new(KeyHash::new(0), read_labels);
        walk(&[damaged, &good].concat(), None, &mut out).unwrap();
        assert_eq!(
            (out.series.len(), out.metadata.len()),
            (1, 1),
            "{damaged:?}"
        );
        assert_eq!(out.metadata_unread, 1, "{damaged:?}");
    }
    // Cut off as a whole, the request is.
    assert!(decode(&[&good[..], b"\x1a\x05\x08\x01"].concat()).is_err());
}

#[test]
fn metadata_is_bounded_as_samples_are() {
    let entries = b"\x1a\x05\x08\x01\x12\x01a".repeat(3);
    let mut out = RawBatch::new(KeyHash::new(0), read_labels);
    out.limit(2, 1 << 10);
    let error = walk(&entries, None, &mut out).unwrap_err();
    assert_eq!(error, DecodeError::TooMany { limit: 2 });
    out.limit(3, 1 << 10);
    assert_eq!(walk(&entries, None, &mut out), Ok(()));
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

#[test]
fn an_integer_histogram_undoes_deltas_fills_gaps_and_shifts_indices() {
    let wire = WireHistogram {
        count_int: Some(11),
        sum: 18.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count_int: 2,
        positive_spans: vec![span(-2, 2), span(1, 1)],
        positive_deltas: vec![1, 1, -1],
        negative_spans: vec![span(4, 1)],
        negative_deltas: vec![5],
        timestamp: 1_000,
        ..Default::default()
    };
    assert_eq!(
        histogram(wire),
        Ok(Histogram::Exponential {
            scale: 3,
            zero_count: 2.0,
            zero_threshold: 0.001,
            positive: ExponentialBuckets {
                offset: -3,
                counts: vec![1.0, 2.0, 0.0, 1.0]
            },
            negative: ExponentialBuckets {
                offset: 3,
                counts: vec![5.0]
            },
            sum: Some(18.5),
        })
    );
}

#[test]
fn a_float_histogram_holds_its_counts_as_they_are() {
    let wire = WireHistogram {
        count_float: Some(3.5),
        sum: 1.0,
        positive_spans: vec![span(1, 2)],
        positive_counts: vec![1.0, 2.5],
        ..Default::default()
    };
    let Ok(Histogram::Exponential { positive, .. }) = histogram(wire) else {
        panic!()
    };
    assert_eq!(
        positive,
        ExponentialBuckets {
            offset: 0,
            counts: vec![1.0, 2.5]
        }
    );
}

#[test]
fn of_a_zero_count_told_as_integer_and_as_float_the_later_stands() {
    let wire = WireHistogram {
        count_int: Some(0),
        zero_count_int: 57,
        ..WireHistogram::default()
    };
    let mut bytes = wire.encode_to_vec();
    // Field 7, a double.
    bytes.push(0x39);
    bytes.extend(2.5f64.to_le_bytes());
    let mut gap_budget = GAP_BUCKETS_MAX;
    let (_, _, value) =
        native_histogram::decode(Reader::new(FORMAT, &bytes), &mut gap_budget).unwrap();
    let Value::Histogram(histogram) = value else {
        panic!("{value:?}")
    };
    assert!(
        matches!(*histogram, Histogram::Exponential { zero_count, .. } if zero_count == 2.5),
        "{histogram:?}"
    );
}

#[test]
fn custom_buckets_become_explicit_bounds() {
    let wire = WireHistogram {
        count_int: Some(4),
        sum: 7.0,
        schema: -53,
        custom_values: vec![1.0, 2.0, 5.0],
        positive_spans: vec![span(1, 1), span(1, 1)],
        positive_deltas: vec![3, -2],
        ..Default::default()
    };
    assert_eq!(
        histogram(wire),
        Ok(Histogram::Explicit {
            bounds: vec![1.0, 2.0, 5.0],
            counts: vec![0.0, 3.0, 0.0, 1.0],
            sum: Some(7.0),
        })
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of what is wrong")]
fn histograms_that_contradict_themselves_are_rejected() {
    use RejectReason::{BadHistogram, OverLimit, Unsupported};
    let base = || WireHistogram {
        count_int: Some(3),
        positive_spans: vec![span(0, 2)],
        positive_deltas: vec![1, 1],
        ..Default::default()
    };
    let custom = || WireHistogram {
        schema: -53,
        custom_values: vec![1.0],
        ..base()
    };
    assert!(histogram(base()).is_ok() && histogram(custom()).is_ok());
    let cases = [
        (
            WireHistogram {
                schema: 9,
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                count_int: Some(4),
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_deltas: vec![1],
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_deltas: vec![1, -2],
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_spans: vec![span(0, u32::MAX)],
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_spans: vec![span(0, 1), span(-1, 1)],
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_spans: vec![span(i32::MIN, 2)],
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_spans: vec![span(i32::MAX, 2)],
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_spans: vec![span(0, 1), span(i32::MAX, 1)],
                ..base()
            },
            OverLimit,
        ),
        (
            WireHistogram {
                zero_threshold: f64::NAN,
                ..base()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                reset_hint: 3,
                ..base()
            },
            Unsupported,
        ),
        (
            WireHistogram {
                custom_values: vec![],
                ..custom()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                custom_values: vec![2.0, 1.0],
                ..custom()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                custom_values: vec![f64::NAN],
                ..custom()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                positive_spans: vec![span(-1, 2)],
                ..custom()
            },
            BadHistogram,
        ),
        (
            WireHistogram {
                zero_count_int: 1,
                ..custom()
            },
            BadHistogram,
        ),
    ];
    for (wire, reason) in cases {
        assert_eq!(histogram(wire.clone()), Err(reason), "{wire:?}");
    }
}

#[test]
fn empty_buckets_between_spans_are_bounded_for_the_whole_request() {
    let sparse = WireHistogram {
        count_int: Some(2),
        positive_spans: vec![span(0, 1), span(8000, 1)],
        positive_deltas: vec![1, 0],
        ..Default::default()
    };
    let histograms = vec![sparse; 200];
    let batch = one(WireSeries {
        labels: up(),
        histograms,
        ..Default::default()
    });
    assert_eq!(batch.sample_count(), (GAP_BUCKETS_MAX / 8000) as u64);
    assert_eq!(batch.sample_count() + batch.rejects.sample_count(), 200);
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

/// Walks a request, and tells what a decoder leaves behind but for where keys are remembered.
fn walked(bytes: &[u8], cache: Option<&KeyCache>) -> (String, usize) {
    let mut out = RawBatch::new(KeyHash::new(5), read_labels);
    let walked = walk(bytes, cache, &mut out);
    let known = out.series.iter().filter(|series| series.place.is_some());
    let known = known.count();
    for series in &mut out.series {
        series.place = None;
    }
    out.edition = None;
    (format!("{walked:?} {out:?}"), known)
}

/// Remembers the series of a request.
fn remember(cache: &mut KeyCache, bytes: &[u8]) {
    let mut out = RawBatch::new(KeyHash::new(5), read_labels);
    if walk(bytes, Some(cache), &mut out).is_err() {
        return;
    }
    let edition = cache.edition().clone();
    let raw = Raw::new(bytes, &out);
    let keys = out.series.iter().filter(|series| series.place.is_none());
    let keys = keys.map(|series| (series.hash, raw.key(series)[0], 1));
    cache.learn(&edition, keys);
}

fn plain(numbers: &[(u8, u8)]) -> Vec<u8> {
    let series = |(name, more): &(u8, u8)| {
        let mut labels = vec![label("__name__", &format!("m{name}"))];
        labels.extend((0..*more).map(|number| label(&format!("l{number}"), "v")));
        WireSeries {
            labels,
            samples: vec![WireSample {
                value: 1.5,
                timestamp: 1_000,
            }],
            ..Default::default()
        }
    };
    let timeseries = numbers.iter().map(series).collect();
    let metadata = vec![];
    WireRequest {
        timeseries,
        metadata,
    }
    .encode_to_vec()
}

#[test]
fn series_that_repeat_are_recognised() {
    let mut cache = KeyCache::new();
    // The labels of one are the beginning of those of the next.
    let bytes = plain(&[(1, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 1)]);
    remember(&mut cache, &bytes);
    let (told, known) = walked(&bytes, Some(&cache));
    assert_eq!(known, 6);
    assert_eq!(told, walked(&bytes, None).0);
    let (told, known) = walked(&plain(&[(1, 0), (1, 2), (2, 0), (3, 0)]), Some(&cache));
    assert_eq!(known, 3);
    assert_eq!(
        told,
        walked(&plain(&[(1, 0), (1, 2), (2, 0), (3, 0)]), None).0
    );
}

proptest! {
    #[test]
    fn what_is_remembered_changes_nothing_that_is_read(
        requests in prop::collection::vec(prop::collection::vec((0..4_u8, 0..3_u8), 0..12), 1..5),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut cache = KeyCache::new();
        for numbers in &requests {
            let mut bytes = plain(numbers);
            prop_assert_eq!(walked(&bytes, Some(&cache)).0, walked(&bytes, None).0);
            remember(&mut cache, &bytes);
            if !bytes.is_empty() {
                for (at, byte) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= byte;
                }
            }
            prop_assert_eq!(walked(&bytes, Some(&cache)).0, walked(&bytes, None).0);
        }
    }
}
