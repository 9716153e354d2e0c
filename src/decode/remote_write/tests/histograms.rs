//! Native histograms.

use super::*;

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
