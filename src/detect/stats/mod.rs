//! Small numerical tools of the detectors.

mod rolling;
mod student;

pub(super) use rolling::RollingMedian;
pub(super) use student::student_quantile;

/// Makes the median absolute deviation an estimate of a normal standard deviation.
pub(super) const MAD_TO_SIGMA: f64 = 1.4826;

/// The median of the values, which are reordered; `None` without values. NaN must not be among them.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if below.len() == middle && values.len().is_multiple_of(2) {
        let lower = values[..middle]
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        return Some(f64::midpoint(lower, upper));
    }
    Some(upper)
}

/// A value below which the given share (in `[0, 1]`) of the values lies; they are reordered.
pub(super) fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let index = ((last as f64) * share.clamp(0.0, 1.0)).round() as usize;
    let (_, value, _) = values.select_nth_unstable_by(index.min(last), f64::total_cmp);
    Some(*value)
}

/// A standard deviation that outliers cannot move: 1.4826 times the median distance from the
/// median; 0 without values. The values are reordered.
pub(super) fn robust_sigma(values: &mut [f64]) -> f64 {
    let Some(center) = median(values) else {
        return 0.0;
    };
    for value in values.iter_mut() {
        *value = (*value - center).abs();
    }
    MAD_TO_SIGMA * median(values).unwrap_or(0.0)
}

/// Mean of the values; `None` without values.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum) = (0_u64, 0.0);
    for value in values {
        count += 1;
        sum += value;
    }
    (count > 0).then(|| sum / count as f64)
}

/// Logarithm of the sum of exponentials; negative infinity for no terms.
pub(super) fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.map(|term| (term - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_middle_of_the_two_in_the_middle() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![4.0, 1.0], Some(2.5)),
            (vec![9.0, 1.0, 5.0], Some(5.0)),
            (vec![2.0, 2.0, 8.0, 1.0], Some(2.0)),
            (vec![7.0, 1.0, 3.0, 5.0, 9.0, 11.0], Some(6.0)),
        ] {
            let mut copy = values.clone();
            assert_eq!(median(&mut copy), expected, "{values:?}");
        }
    }

    #[test]
    fn outliers_do_not_move_the_robust_sigma() {
        let mut plain: Vec<f64> = (0..101).map(f64::from).collect();
        assert_eq!(robust_sigma(&mut plain), 25.0 * MAD_TO_SIGMA);
        let mut spoilt: Vec<f64> = (0..101).map(f64::from).collect();
        spoilt[100] = 1e12;
        assert_eq!(robust_sigma(&mut spoilt), 25.0 * MAD_TO_SIGMA);
        assert_eq!(robust_sigma(&mut []), 0.0);
    }

    #[test]
    fn log_sum_exp_does_not_overflow() {
        let terms = [1000.0, 1000.0];
        assert!((log_sum_exp(terms.into_iter()) - (1000.0 + 2.0_f64.ln())).abs() < 1e-12);
        assert_eq!(log_sum_exp(std::iter::empty::<f64>()), f64::NEG_INFINITY);
    }

    #[test]
    fn quantiles_are_values_of_the_list() {
        let mut values: Vec<f64> = (0..101).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.01), Some(1.0));
        assert_eq!(quantile(&mut values, 1.0), Some(100.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }
}
