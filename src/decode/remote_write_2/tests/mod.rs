//! Tests of remote write 2.0 against requests that prost encodes.

mod laws;
mod messages;

use prost::Message;

use super::*;
use crate::event::{ExponentialBuckets, Histogram, Labels, Point};
use messages::{
    UP, WireExemplar, WireHistogram, WireMetadata, WireRequest, WireSample, WireSeries, bytes_of,
    millis, one, only, sample, span, walked,
};

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
