//! Statistics that a few wild values do not move: medians, spreads, slopes, quantiles of t.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// What makes the median absolute deviation of normal noise its standard deviation.
const MAD_TO_SD: f64 = 1.482_6;
/// The 95 % quantile of the absolute value of a standard normal.
const ABS_NORMAL_Q95: f64 = 1.96;

/// The median; reorders the values. `None` without values.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if below.len() < middle || !values.len().is_multiple_of(2) {
        return Some(upper);
    }
    let lower = values[..middle]
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    Some(f64::midpoint(lower, upper))
}

/// The value that a share of all values (in [0, 1]) does not exceed; reorders the values. `None`
/// without values.
pub(super) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let index = ((values.len() as f64 * share).ceil() as usize)
        .saturating_sub(1)
        .min(values.len() - 1);
    Some(*values.select_nth_unstable_by(index, f64::total_cmp).1)
}

/// Robust standard deviation of values around 0: by their median and by their 95 % quantile,
/// whichever is larger, because noise that is mostly still has a median of nothing. Reorders and
/// makes the values absolute; 0 without values.
pub(super) fn spread(values: &mut [f64]) -> f64 {
    for value in values.iter_mut() {
        *value = value.abs();
    }
    let middle = median(values).unwrap_or(0.0) * MAD_TO_SD;
    let tail = quantile(values, 0.95).unwrap_or(0.0) / ABS_NORMAL_Q95;
    middle.max(tail)
}

/// Theil and Sen's slope: the median of the slopes between all pairs of points `(x, y)`. `None`
/// with fewer than two different x. Costs the square of the number of points.
pub(super) fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (x_before, y_before) in &points[..index] {
            if x_before < x {
                slopes.push((y - y_before) / (x - x_before));
            }
        }
    }
    median(&mut slopes)
}

/// Correlation of neighbours among values around 0, with Kendall's correction for short series; in
/// [0, 0.95]. Values are clipped at 4 of their spread first.
pub(super) fn lag_one(values: &[f64]) -> f64 {
    let clip = 4.0 * spread(&mut values.to_vec());
    if values.len() < 4 || clip <= 0.0 {
        return 0.0;
    }
    let clipped = |value: &f64| value.clamp(-clip, clip);
    let power: f64 = values.iter().map(|value| clipped(value).powi(2)).sum();
    let product: f64 = values
        .windows(2)
        .map(|pair| clipped(&pair[0]) * clipped(&pair[1]))
        .sum();
    let phi = product / power;
    (phi + (1.0 + 3.0 * phi) / values.len() as f64).clamp(0.0, 0.95)
}

/// The value that Student's t with `freedom` degrees of freedom (at least 1) exceeds with chance
/// `tail`, in (0, 0.5].
pub(super) fn student_t(freedom: f64, tail: f64) -> f64 {
    let distribution =
        StudentsT::new(0.0, 1.0, freedom.max(1.0)).expect("a t distribution has freedom");
    -distribution.inverse_cdf(tail.clamp(1e-12, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_need_no_order() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0, 7.0]), Some(6.0));
        assert_eq!(quantile(&mut [4.0, 2.0, 3.0, 1.0], 0.5), Some(2.0));
        assert_eq!(quantile(&mut [4.0, 2.0, 3.0, 1.0], 1.0), Some(4.0));
        assert_eq!(quantile(&mut [4.0, 2.0, 3.0, 1.0], 0.0), Some(1.0));
    }

    #[test]
    fn the_spread_of_normal_noise_is_its_standard_deviation() {
        let mut values: Vec<f64> = (1..1_000)
            .map(|index| -student_t(1e6, (f64::from(index) / 1_000.0).min(0.5)))
            .collect();
        // Half of them are 0 by the clamp: take the mirrored other half.
        let count = values.len() / 2;
        values.truncate(count);
        let measured = spread(&mut values);
        assert!((measured - 1.0).abs() < 0.02, "{measured}");
        assert_eq!(spread(&mut []), 0.0);
        assert_eq!(spread(&mut [2.0, 2.0]), 2.0 * MAD_TO_SD);
    }

    #[test]
    fn a_slope_survives_a_quarter_of_wild_points() {
        let points: Vec<(f64, f64)> = (0..40)
            .map(|index| {
                let x = f64::from(index);
                (x, if index % 5 == 0 { 1e6 } else { 2.0 * x + 1.0 })
            })
            .collect();
        let slope = theil_sen(&points).unwrap();
        assert!((slope - 2.0).abs() < 0.2, "{slope}");
        assert_eq!(theil_sen(&points[..1]), None);
    }

    #[test]
    fn quantiles_of_t_match_the_tables() {
        for (freedom, tail, value) in [
            (1.0, 0.01, 31.82),
            (5.0, 0.05, 2.015),
            (45.0, 0.000_25, 3.753),
        ] {
            let quantile = student_t(freedom, tail);
            assert!((quantile / value - 1.0).abs() < 2e-3, "{quantile} {value}");
        }
    }

    #[test]
    fn neighbours_that_agree_are_correlated() {
        let slow: Vec<f64> = (0..200)
            .map(|index| (f64::from(index) / 10.0).sin())
            .collect();
        let fast: Vec<f64> = (0..200)
            .map(|index| if index % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        assert!(lag_one(&slow) > 0.9);
        assert_eq!(lag_one(&fast), 0.0);
        assert_eq!(lag_one(&[0.0; 9]), 0.0);
    }
}
