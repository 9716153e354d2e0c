//! The laws of the algebra, and what Prometheus would say.

use proptest::prelude::*;

use crate::event::ExponentialBuckets;

use super::*;

fn explicit(bounds: &[f64], counts: &[f64]) -> Histogram {
    Histogram::Explicit {
        bounds: bounds.to_vec(),
        counts: counts.to_vec(),
        sum: None,
    }
}

#[test]
fn over_fewer_bounds_what_lies_between_stays_together() {
    let fine = explicit(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    for (shared, counts) in [
        (&[1.0, 2.0, 3.0, 4.0][..], &[1.0, 2.0, 3.0, 4.0, 5.0][..]),
        (&[2.0, 4.0], &[3.0, 7.0, 5.0]),
        (&[3.0], &[6.0, 9.0]),
        (&[], &[15.0]),
    ] {
        assert_eq!(coarsened(fine.clone(), shared), explicit(shared, counts));
    }
}

#[test]
fn a_quantile_tells_nothing_where_nearly_all_lie_in_one_coarse_bucket() {
    let own = [1.0, 2.0, 4.0, 8.0];
    for (shared, counts, q, expected) in [
        // Nothing is lost between 1 and 2.
        (&[1.0, 2.0, 8.0][..], &[0.0, 10.0, 0.0, 0.0][..], 0.5, true),
        (&[1.0, 8.0], &[0.0, 10.0, 0.0], 0.5, false),
        (&[1.0, 8.0], &[3.0, 7.0, 0.0], 0.5, true),
        // Beyond 1 nobody knows how far.
        (&[1.0], &[5.0, 5.0], 0.9, false),
        (&[], &[10.0], 0.5, false),
    ] {
        let coarse = explicit(shared, counts);
        assert_eq!(tells(&coarse, &own, q), expected, "{shared:?} {counts:?}");
    }
}

fn buckets(offset: i32, counts: &[f64]) -> ExponentialBuckets {
    ExponentialBuckets {
        offset,
        counts: counts.to_vec(),
    }
}

fn exponential(scale: i32, zero: (f64, f64), positive: (i32, &[f64])) -> Histogram {
    Histogram::Exponential {
        scale,
        zero_count: zero.0,
        zero_threshold: zero.1,
        positive: buckets(positive.0, positive.1),
        negative: ExponentialBuckets::default(),
        sum: None,
    }
}

fn merged(a: &Histogram, b: &Histogram) -> Histogram {
    let mut sum = a.clone();
    merge(&mut sum, b).unwrap();
    sum
}

#[test]
fn quantiles_of_explicit_buckets_are_linear_as_prometheus_has_them() {
    let uniform = explicit(&[1.0, 2.0, 4.0], &[10.0, 10.0, 20.0, 0.0]);
    let tail = explicit(&[1.0, 2.0], &[1.0, 0.0, 9.0]);
    let negative = explicit(&[-1.0, 1.0], &[5.0, 5.0, 0.0]);
    for (histogram, q, expected) in [
        (&uniform, 0.0, Some(0.0)),
        (&uniform, 0.125, Some(0.5)),
        (&uniform, 0.25, Some(1.0)),
        (&uniform, 0.5, Some(2.0)),
        (&uniform, 0.75, Some(3.0)),
        (&uniform, 1.0, Some(4.0)),
        (&uniform, 1.5, None),
        (&uniform, f64::NAN, None),
        (&tail, 0.99, Some(2.0)),
        (&negative, 0.25, Some(-1.0)),
        (&explicit(&[1.0], &[0.0, 0.0]), 0.5, None),
        (&explicit(&[], &[3.0]), 0.5, None),
    ] {
        assert_eq!(quantile(histogram, q), expected, "{q} of {histogram:?}");
    }
}

#[test]
fn quantiles_of_exponential_buckets_are_geometric() {
    // (1, 2], (2, 4] with ten values each.
    let histogram = exponential(0, (0.0, 0.0), (0, &[10.0, 10.0]));
    for (q, expected) in [
        (0.25, 2f64.sqrt()),
        (0.5, 2.0),
        (0.75, 8f64.sqrt()),
        (1.0, 4.0),
    ] {
        let value = quantile(&histogram, q).unwrap();
        assert!((value - expected).abs() < 1e-12, "{q}: {value}");
    }
    let zeros = exponential(0, (8.0, 0.5), (0, &[2.0]));
    assert_eq!(quantile(&zeros, 0.4), Some(0.25));
    let mut both = zeros;
    if let Histogram::Exponential { negative, .. } = &mut both {
        *negative = buckets(0, &[10.0]);
    }
    // Ten of twenty in [-2, -1): half of them below -sqrt(2); the zero bucket is symmetric.
    assert!((quantile(&both, 0.25).unwrap() + 2f64.sqrt()).abs() < 1e-12);
    assert_eq!(quantile(&both, 0.7), Some(0.0));
}

#[test]
fn classic_buckets_become_a_histogram() {
    let infinity = f64::INFINITY;
    for (given, expected) in [
        (
            vec![(infinity, 10.0), (1.0, 4.0), (2.0, 7.0)],
            Some(explicit(&[1.0, 2.0], &[4.0, 3.0, 3.0])),
        ),
        // Falling counts are lifted, equal bounds added up, non-numbers left out.
        (
            vec![(1.0, 5.0), (2.0, 3.0), (infinity, 6.0)],
            Some(explicit(&[1.0, 2.0], &[5.0, 0.0, 1.0])),
        ),
        (
            vec![(1.0, 2.0), (1.0, 1.0), (f64::NAN, 9.0), (infinity, 3.0)],
            Some(explicit(&[1.0], &[3.0, 0.0])),
        ),
        (vec![(infinity, 3.0)], Some(explicit(&[], &[3.0]))),
        (vec![(1.0, 2.0), (infinity, f64::NAN)], None),
        (vec![], None),
    ] {
        assert_eq!(
            from_cumulative_buckets(given.clone()),
            expected,
            "{given:?}"
        );
    }
}

#[test]
fn different_buckets_do_not_mix() {
    let a = explicit(&[1.0], &[1.0, 1.0]);
    let others = [
        explicit(&[2.0], &[1.0, 1.0]),
        exponential(0, (0.0, 0.0), (0, &[1.0])),
    ];
    for other in others {
        let mut into = a.clone();
        assert_eq!(merge(&mut into, &other), Err(Incompatible));
        assert_eq!(into, a);
        assert_eq!(subtract(&a, &other), None);
    }
}

#[test]
fn a_bucket_that_lost_values_is_a_restart_even_if_the_count_grew() {
    let older = explicit(&[1.0], &[5.0, 1.0]);
    assert_eq!(subtract(&explicit(&[1.0], &[4.0, 9.0]), &older), None);
    let older = exponential(3, (0.0, 0.0), (0, &[5.0, 1.0]));
    let newer = exponential(3, (0.0, 0.0), (1, &[9.0]));
    assert_eq!(subtract(&newer, &older), None);
    let newer = exponential(3, (2.0, 0.0), (-1, &[1.0, 5.0, 1.0]));
    let gained = exponential(3, (2.0, 0.0), (-1, &[1.0]));
    assert_eq!(subtract(&newer, &older), Some(gained));
}

#[test]
fn a_sender_that_goes_coarser_has_not_restarted() {
    // Scale 1 has buckets (1, √2], (√2, 2], (2, …]; scale 0 (1, 2], (2, 4].
    let older = exponential(1, (0.0, 0.0), (0, &[1.0, 2.0, 3.0]));
    let newer = exponential(0, (0.0, 0.0), (0, &[4.0, 3.0]));
    let gained = exponential(0, (0.0, 0.0), (0, &[1.0]));
    assert_eq!(subtract(&newer, &older), Some(gained));
}

#[test]
fn a_wider_zero_bucket_swallows_what_it_covers() {
    let narrow = exponential(0, (1.0, 0.0), (-2, &[1.0, 2.0, 4.0]));
    let wide = exponential(0, (5.0, 0.4), (0, &[1.0]));
    // 0.4 lies in (0.25, 0.5], so the common zero bucket ends at 0.5.
    let both = exponential(0, (7.0, 0.5), (-1, &[2.0, 5.0]));
    assert_eq!(merged(&narrow, &wide), both);
    assert_eq!(merged(&wide, &narrow), both);
}

#[test]
fn hostile_offsets_neither_allocate_nor_overflow() {
    let far = |offset| exponential(20, (0.0, 0.0), (offset, &[1.0, 0.0, 1.0]));
    for (a, b) in [(i32::MIN, i32::MAX), (i32::MAX, i32::MAX), (0, i32::MAX)] {
        let sum = merged(&far(a), &far(b));
        assert_eq!(sum.count(), 4.0);
        let Histogram::Exponential { positive, .. } = &sum else {
            panic!("still exponential")
        };
        assert!(positive.counts.len() <= EXPONENTIAL_BUCKETS_MAX);
        assert!(quantile(&sum, 0.5).is_some_and(f64::is_finite));
        assert!(subtract(&sum, &far(a)).is_some());
    }
    let odd = exponential(i32::MIN, (1.0, f64::MAX), (i32::MAX, &[1.0]));
    assert_eq!(merged(&odd, &far(5)).count(), 4.0);
    assert_eq!(merged(&far(5), &odd).count(), 4.0);
    assert_eq!(
        normalized(exponential(0, (0.0, 0.0), (0, &vec![1.0; 9_000]))).count(),
        9_000.0
    );
}

#[test]
fn contradictions_are_found() {
    for (histogram, expected) in [
        (explicit(&[1.0, 2.0], &[1.0, 1.0, 1.0]), Ok(())),
        (explicit(&[1.0], &[1.0]), Err(Flaw::Inconsistent)),
        (
            explicit(&[2.0, 1.0], &[1.0, 1.0, 1.0]),
            Err(Flaw::Inconsistent),
        ),
        (explicit(&[1.0], &[-1.0, 1.0]), Err(Flaw::Inconsistent)),
        (
            explicit(&[f64::INFINITY], &[1.0, 1.0]),
            Err(Flaw::NotFinite),
        ),
        (explicit(&[1.0], &[f64::NAN, 1.0]), Err(Flaw::NotFinite)),
        (
            exponential(21, (0.0, 0.0), (0, &[1.0])),
            Err(Flaw::Inconsistent),
        ),
        (
            exponential(0, (0.0, -1.0), (0, &[1.0])),
            Err(Flaw::Inconsistent),
        ),
        (
            exponential(0, (f64::NAN, 0.0), (0, &[1.0])),
            Err(Flaw::NotFinite),
        ),
    ] {
        assert_eq!(inspect(&histogram), expected, "{histogram:?}");
    }
}

fn counts(len: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((0u32..50).prop_map(f64::from), len)
}

fn explicits() -> impl Strategy<Value = Histogram> {
    (counts(5), prop::option::of(0.0..100.0)).prop_map(|(counts, sum)| Histogram::Explicit {
        bounds: vec![-1.0, 0.5, 1.0, 4.0],
        counts,
        sum,
    })
}

/// Exponential histograms of several scales, zero buckets and ranges.
fn exponentials() -> impl Strategy<Value = Histogram> {
    let side = || (-40i32..40, (0usize..20).prop_flat_map(counts));
    let threshold = prop::sample::select(vec![0.0, 1e-3, 0.3, 0.3, 2.0]);
    (-2i32..5, 0u32..9, threshold, side(), side()).prop_map(
        |(scale, zeros, zero_threshold, positive, negative)| {
            normalized(Histogram::Exponential {
                scale,
                zero_count: f64::from(zeros),
                zero_threshold,
                positive: buckets(positive.0, &positive.1),
                negative: buckets(negative.0, &negative.1),
                sum: None,
            })
        },
    )
}

fn any_two_or_three() -> impl Strategy<Value = [Histogram; 3]> {
    prop_oneof![
        [explicits(), explicits(), explicits()],
        [exponentials(), exponentials(), exponentials()],
    ]
}

/// Equal but for the rounding of sums.
fn assert_same(a: &Histogram, b: &Histogram) -> Result<(), TestCaseError> {
    let without_sum = |histogram: &Histogram| {
        let mut histogram = histogram.clone();
        match &mut histogram {
            Histogram::Explicit { sum, .. } | Histogram::Exponential { sum, .. } => *sum = None,
        }
        histogram
    };
    prop_assert_eq!(without_sum(a), without_sum(b));
    prop_assert_eq!(a.sum().is_some(), b.sum().is_some());
    let (one, other) = (a.sum().unwrap_or(0.0), b.sum().unwrap_or(0.0));
    prop_assert!((one - other).abs() <= 1e-9 * one.abs().max(1.0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn merging_is_commutative_and_associative([a, b, c] in any_two_or_three()) {
        assert_same(&merged(&a, &b), &merged(&b, &a))?;
        assert_same(&merged(&merged(&a, &b), &c), &merged(&a, &merged(&b, &c)))?;
        prop_assert_eq!(merged(&a, &b).count(), a.count() + b.count());
    }

    #[test]
    fn subtracting_undoes_merging([a, b, _] in any_two_or_three()) {
        let difference = subtract(&merged(&a, &b), &b).unwrap();
        // On the scale and zero bucket that both share.
        let nothing = subtract(&b, &b).unwrap();
        prop_assert_eq!(nothing.count(), 0.0);
        let mut expected = merged(&a, &nothing);
        if a.sum().is_none() || b.sum().is_none() {
            match &mut expected {
                Histogram::Explicit { sum, .. } | Histogram::Exponential { sum, .. } => *sum = None,
            }
        }
        assert_same(&difference, &expected)?;
    }

    #[test]
    fn quantiles_rise_and_stay_inside_of_populated_buckets([a, ..] in any_two_or_three()) {
        let values: Vec<f64> = (0..=40)
            .filter_map(|step| quantile(&a, f64::from(step) / 40.0))
            .collect();
        prop_assert_eq!(values.is_empty(), a.count() == 0.0);
        prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{values:?}");
        if let Histogram::Explicit { bounds, counts, .. } = &a {
            for value in &values {
                // The bucket (or, at a bound, one of the two) that holds the value is populated.
                let index = bounds.partition_point(|bound| bound < value);
                let at_bound = bounds.get(index) == Some(value) || *value == 0.0;
                prop_assert!(counts[index] > 0.0 || at_bound && counts[index + 1] > 0.0);
            }
        }
    }
}
