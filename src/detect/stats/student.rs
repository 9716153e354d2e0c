//! Quantiles of Student's t at the very small tails that many looks need.

use statrs::function::{beta::beta_reg, gamma::ln_gamma};

/// Smallest tail that is told apart; smaller ones count as this.
const TAIL_MIN: f64 = 1e-15;

/// The value that a t-distributed number with `freedom` degrees of freedom (above 0) exceeds with
/// the probability `tail`, in (0, 0.5); larger tails give 0.
///
/// Newton's method on the logarithms of both, in which the tail is nearly a straight line.
pub(in crate::detect) fn student_quantile(tail: f64, freedom: f64) -> f64 {
    if tail.is_nan() || tail >= 0.5 || freedom <= 0.0 {
        return 0.0;
    }
    let target = tail.max(TAIL_MIN).ln();
    // Brackets of the logarithm of the quantile: the tail falls from one half to below any target.
    let (mut low, mut high) = (-40.0_f64, 40.0_f64 * (1.0 + 1.0 / freedom));
    let mut at = 0.7_f64;
    for _ in 0..200 {
        let value = at.exp();
        let tail_here = upper_tail(value, freedom);
        let error = tail_here.ln() - target;
        if error > 0.0 {
            low = at;
        } else {
            high = at;
        }
        let slope = -(ln_density(value, freedom) + at).exp() / tail_here;
        let newton = at - error / slope;
        let next = if low < newton && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        if (next - at).abs() < 1e-14 * at.abs().max(1.0) {
            return next.exp();
        }
        at = next;
    }
    at.exp()
}

/// The probability that a t-distributed number exceeds the value, which is positive.
fn upper_tail(value: f64, freedom: f64) -> f64 {
    let share = freedom / (freedom + value * value);
    (0.5 * beta_reg(0.5 * freedom, 0.5, share)).max(f64::MIN_POSITIVE)
}

fn ln_density(value: f64, freedom: f64) -> f64 {
    let half = 0.5 * (freedom + 1.0);
    ln_gamma(half)
        - ln_gamma(0.5 * freedom)
        - 0.5 * (freedom * std::f64::consts::PI).ln()
        - half * (value * value / freedom).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Degrees of freedom, tail, quantile: computed with 40 digits by one library and confirmed by another.
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    const GOLDEN: &[(f64, f64, f64)] = &[
        (1.0, 4.000000e-01, 0.324919696232906),
        (1.0, 5.000000e-02, 6.31375151467504),
        (1.0, 1.000000e-02, 31.820515953774),
        (1.0, 2.500000e-04, 1273.23928293576),
        (1.0, 1.000000e-05, 31830.9886079071),
        (1.0, 1.000000e-07, 3183098.8618378),
        (1.0, 1.000000e-10, 3183098861.83791),
        (2.0, 4.000000e-01, 0.288675134594813),
        (2.0, 5.000000e-02, 2.91998558035373),
        (2.0, 1.000000e-02, 6.96455673428327),
        (2.0, 2.500000e-04, 44.7045872929307),
        (2.0, 1.000000e-05, 223.603443634037),
        (2.0, 1.000000e-07, 2236.06764208958),
        (2.0, 1.000000e-10, 70710.6781080481),
        (3.0, 4.000000e-01, 0.27667066233269),
        (3.0, 5.000000e-02, 2.35336343480182),
        (3.0, 1.000000e-02, 4.54070285856813),
        (3.0, 2.500000e-04, 16.3263346098025),
        (3.0, 1.000000e-05, 47.9277283759339),
        (3.0, 1.000000e-07, 222.571590947199),
        (3.0, 1.000000e-10, 2225.76928468309),
        (4.0, 4.000000e-01, 0.270722294707597),
        (4.0, 5.000000e-02, 2.13184678632665),
        (4.0, 1.000000e-02, 3.7469473879792),
        (4.0, 2.500000e-04, 10.3062546818078),
        (4.0, 1.000000e-05, 23.3321827008293),
        (4.0, 1.000000e-07, 73.9857580477689),
        (4.0, 1.000000e-10, 416.175140329604),
        (6.5, 4.000000e-01, 0.263935645615231),
        (6.5, 5.000000e-02, 1.91673589152493),
        (6.5, 1.000000e-02, 3.06336551066011),
        (6.5, 2.500000e-04, 6.39465773668452),
        (6.5, 1.000000e-05, 10.9410784416411),
        (6.5, 1.000000e-07, 22.6188386550724),
        (6.5, 1.000000e-10, 65.7870630549684),
        (8.0, 4.000000e-01, 0.261921096748832),
        (8.0, 5.000000e-02, 1.8595480375309),
        (8.0, 1.000000e-02, 2.89645944770962),
        (8.0, 2.500000e-04, 5.61741080722715),
        (8.0, 1.000000e-05, 8.90702687084344),
        (8.0, 1.000000e-07, 16.3207037935528),
        (8.0, 1.000000e-10, 39.1295629733826),
        (10.0, 4.000000e-01, 0.26018482949208),
        (10.0, 5.000000e-02, 1.81246112281168),
        (10.0, 1.000000e-02, 2.7637694581127),
        (10.0, 2.500000e-04, 5.04897274818078),
        (10.0, 1.000000e-05, 7.52695401933965),
        (10.0, 1.000000e-07, 12.4922096875588),
        (10.0, 1.000000e-10, 25.4660080216977),
        (18.0, 4.000000e-01, 0.257123042638171),
        (18.0, 5.000000e-02, 1.73406360661754),
        (18.0, 1.000000e-02, 2.55237963018225),
        (18.0, 2.500000e-04, 4.23316730024949),
        (18.0, 1.000000e-05, 5.72233116996961),
        (18.0, 1.000000e-07, 8.11464392726841),
        (18.0, 1.000000e-10, 12.705880035472),
        (43.0, 4.000000e-01, 0.254920253677751),
        (43.0, 5.000000e-02, 1.68107070320252),
        (43.0, 1.000000e-02, 2.41625012876297),
        (43.0, 2.500000e-04, 3.76541520906451),
        (43.0, 1.000000e-05, 4.79115295449033),
        (43.0, 1.000000e-07, 6.18008771181932),
        (43.0, 1.000000e-10, 8.26561086571411),
        (97.0, 4.000000e-01, 0.254043094664291),
        (97.0, 5.000000e-02, 1.66071461012302),
        (97.0, 1.000000e-02, 2.36540726534762),
        (97.0, 2.500000e-04, 3.6020881783973),
        (97.0, 1.000000e-05, 4.48532544582233),
        (97.0, 1.000000e-07, 5.59966104646284),
        (97.0, 1.000000e-10, 7.10784015085742),
        (998.0, 4.000000e-01, 0.25341465095651),
        (998.0, 5.000000e-02, 1.64638187663488),
        (998.0, 1.000000e-02, 2.33009017083851),
        (998.0, 2.500000e-04, 3.49222634526358),
        (998.0, 1.000000e-05, 4.28547903368936),
        (998.0, 1.000000e-07, 5.23607238677719),
        (998.0, 1.000000e-10, 6.42801081204811),
    ];

    #[test]
    fn quantiles_agree_with_independent_ones_to_nine_digits() {
        for &(freedom, tail, expected) in GOLDEN {
            let quantile = student_quantile(tail, freedom);
            let error = (quantile / expected - 1.0).abs();
            assert!(error < 1e-9, "{freedom} {tail}: {quantile}, not {expected}");
        }
    }

    #[test]
    fn senseless_arguments_give_a_number() {
        for (tail, freedom) in [(0.7, 5.0), (f64::NAN, 5.0), (0.01, 0.0), (0.01, -3.0)] {
            assert_eq!(student_quantile(tail, freedom), 0.0);
        }
        for (tail, freedom) in [(0.0, 1.0), (-1.0, 3.0), (1e-300, 1e9), (0.499_999, 0.1)] {
            assert!(student_quantile(tail, freedom).is_finite());
        }
    }
}
