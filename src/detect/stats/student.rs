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

    /// Degrees of freedom, tail, quantile: computed with 40 digits by mpmath and equal to SciPy's.
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    const GOLDEN: &[(f64, f64, f64)] = &[
        (1.0, 4.000000e-01, 0.32491969623290625),
        (1.0, 5.000000e-02, 6.3137515146750427),
        (1.0, 1.000000e-02, 31.820515953773957),
        (1.0, 2.500000e-04, 1273.2392829357641),
        (1.0, 1.000000e-05, 31830.988607907089),
        (1.0, 1.000000e-07, 3183098.8618378021),
        (1.0, 1.000000e-10, 3183098861.8379066),
        (2.0, 4.000000e-01, 0.28867513459481282),
        (2.0, 5.000000e-02, 2.9199855803537256),
        (2.0, 1.000000e-02, 6.9645567342832741),
        (2.0, 2.500000e-04, 44.704587292930664),
        (2.0, 1.000000e-05, 223.60344363403719),
        (2.0, 1.000000e-07, 2236.0676420895791),
        (2.0, 1.000000e-10, 70710.678108048149),
        (3.0, 4.000000e-01, 0.27667066233268985),
        (3.0, 5.000000e-02, 2.3533634348018238),
        (3.0, 1.000000e-02, 4.5407028585681335),
        (3.0, 2.500000e-04, 16.326334609802502),
        (3.0, 1.000000e-05, 47.927728375933923),
        (3.0, 1.000000e-07, 222.57159094719873),
        (3.0, 1.000000e-10, 2225.7692846830932),
        (4.0, 4.000000e-01, 0.27072229470759736),
        (4.0, 5.000000e-02, 2.1318467863266503),
        (4.0, 1.000000e-02, 3.7469473879791968),
        (4.0, 2.500000e-04, 10.306254681807759),
        (4.0, 1.000000e-05, 23.332182700829275),
        (4.0, 1.000000e-07, 73.985758047768895),
        (4.0, 1.000000e-10, 416.17514032960412),
        (6.5, 4.000000e-01, 0.26393564561523148),
        (6.5, 5.000000e-02, 1.9167358915249271),
        (6.5, 1.000000e-02, 3.0633655106601126),
        (6.5, 2.500000e-04, 6.3946577366845199),
        (6.5, 1.000000e-05, 10.94107844164109),
        (6.5, 1.000000e-07, 22.618838655072351),
        (6.5, 1.000000e-10, 65.787063054968376),
        (8.0, 4.000000e-01, 0.26192109674883231),
        (8.0, 5.000000e-02, 1.8595480375308984),
        (8.0, 1.000000e-02, 2.8964594477096223),
        (8.0, 2.500000e-04, 5.6174108072271551),
        (8.0, 1.000000e-05, 8.9070268708434378),
        (8.0, 1.000000e-07, 16.320703793552822),
        (8.0, 1.000000e-10, 39.129562973382648),
        (10.0, 4.000000e-01, 0.26018482949208018),
        (10.0, 5.000000e-02, 1.8124611228116764),
        (10.0, 1.000000e-02, 2.7637694581126962),
        (10.0, 2.500000e-04, 5.0489727481807771),
        (10.0, 1.000000e-05, 7.526954019339651),
        (10.0, 1.000000e-07, 12.492209687558763),
        (10.0, 1.000000e-10, 25.466008021697726),
        (18.0, 4.000000e-01, 0.25712304263817058),
        (18.0, 5.000000e-02, 1.7340636066175387),
        (18.0, 1.000000e-02, 2.5523796301822515),
        (18.0, 2.500000e-04, 4.2331673002494929),
        (18.0, 1.000000e-05, 5.7223311699696076),
        (18.0, 1.000000e-07, 8.1146439272684085),
        (18.0, 1.000000e-10, 12.705880035472047),
        (43.0, 4.000000e-01, 0.25492025367775144),
        (43.0, 5.000000e-02, 1.6810707032025196),
        (43.0, 1.000000e-02, 2.416250128762972),
        (43.0, 2.500000e-04, 3.76541520906451),
        (43.0, 1.000000e-05, 4.7911529544903313),
        (43.0, 1.000000e-07, 6.1800877118193222),
        (43.0, 1.000000e-10, 8.2656108657141145),
        (97.0, 4.000000e-01, 0.25404309466429103),
        (97.0, 5.000000e-02, 1.6607146101230249),
        (97.0, 1.000000e-02, 2.3654072653476238),
        (97.0, 2.500000e-04, 3.6020881783973008),
        (97.0, 1.000000e-05, 4.48532544582233),
        (97.0, 1.000000e-07, 5.5996610464628384),
        (97.0, 1.000000e-10, 7.1078401508574204),
        (998.0, 4.000000e-01, 0.25341465095650957),
        (998.0, 5.000000e-02, 1.6463818766348761),
        (998.0, 1.000000e-02, 2.330090170838514),
        (998.0, 2.500000e-04, 3.4922263452635846),
        (998.0, 1.000000e-05, 4.2854790336893625),
        (998.0, 1.000000e-07, 5.2360723867771883),
        (998.0, 1.000000e-10, 6.4280108120481083),
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
