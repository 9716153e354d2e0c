//! What a way looks like: a line that goes on, or one that has come to its end.
//!
//! A line is held against what comes to stand: a step, a rise up to some time, and an approach to a level with
//! some time constant, as of memory that fills up. The sums of squares that they leave are compared as the
//! likelihoods of normal values; those of values that resemble their neighbours are worth as many independent ones
//! as in an AR(1) process (Bartlett 1946). What was emptied and leaks is such an approach and a line.

/// Twice the logarithm of how much more likely a way that bends must be than a line, to be one.
const BENT: f64 = 6.0;
/// The same of a line beside an approach, where the line alone is not it.
const GOES_ON: f64 = 10.0;
/// Fewest points that tell.
const POINTS_MIN: usize = 12;
/// Time constants of approaches, as shares of the whole time: the shortest, the ratio of two, and how many.
const SHORTEST: f64 = 0.02;
const RATIO: f64 = 1.15;
const CONSTANTS: i32 = 33;
/// Parts of that ratio in which the best of them is looked for again.
const FINER: i32 = 8;
/// The longest of an approach that is over by now, so that what still rises is something else.
const OVER: f64 = 0.34;
/// Largest correlation of neighbours that is believed.
const CORRELATION_MAX: f64 = 0.95;

/// What a model leaves of the values, and the factor of its last term.
struct Fit {
    residuals: Vec<f64>,
    squares: f64,
    factor: f64,
}

impl Fit {
    /// By least squares, beside a constant.
    fn of(values: &[f64], terms: &[Vec<f64>]) -> Self {
        let ones = vec![1.0; values.len()];
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(terms.len() + 1);
        let mut residuals = values.to_vec();
        let mut factor = 0.0;
        for term in std::iter::once(&ones).chain(terms) {
            let mut term = term.clone();
            for known in &basis {
                take_out(&mut term, known);
            }
            factor = take_out(&mut residuals, &term);
            basis.push(term);
        }
        let squares = dot(&residuals, &residuals);
        Self {
            residuals,
            squares: squares.max(f64::MIN_POSITIVE),
            factor,
        }
    }

    /// Twice the logarithm of how much more likely it is than another.
    fn evidence(&self, other: &Self) -> f64 {
        let pairs = self.residuals.windows(2);
        let products: f64 = pairs.map(|pair| pair[0] * pair[1]).sum();
        let correlation = (products / self.squares).clamp(0.0, CORRELATION_MAX);
        let worth = self.residuals.len() as f64 * (1.0 - correlation) / (1.0 + correlation);
        worth * (other.squares / self.squares).ln()
    }
}

/// Takes out of values what lies along a term, and says how much of it that is.
fn take_out(values: &mut [f64], term: &[f64]) -> f64 {
    let size = dot(term, term);
    if size <= 1e-12 * term.len() as f64 {
        return 0.0;
    }
    let factor = dot(values, term) / size;
    for (value, term) in values.iter_mut().zip(term) {
        *value -= factor * term;
    }
    factor
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn best(fits: impl Iterator<Item = Fit>) -> Option<Fit> {
    fits.min_by(|a, b| a.squares.total_cmp(&b.squares))
}

/// How far these values at these times, from 0 to 1, rise along the line that goes on; `None`: they have come to
/// stand, or that is as likely.
pub(super) fn rise(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let (times, values): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let along =
        |of: &dyn Fn(f64) -> f64| -> Vec<f64> { times.iter().map(|time| of(*time)).collect() };
    let constants: Vec<f64> = (0..CONSTANTS)
        .map(|step| SHORTEST * RATIO.powi(step))
        .collect();
    let approach = |constant: f64| along(&|time| -(-time / constant).exp());
    let until = |end: f64| along(&|time| time.min(end));
    let from = |begin: f64| along(&|time| f64::from(u8::from(begin <= time)));
    let inner = &times[2..times.len() - 1];
    let line = Fit::of(&values, std::slice::from_ref(&times));
    let step = best(inner.iter().map(|time| Fit::of(&values, &[from(*time)])))?;
    let ended = inner.iter().map(|time| Fit::of(&values, &[until(*time)]));
    let approached = |constant: f64| Fit::of(&values, &[approach(constant)]);
    let squares = |constant: &f64| approached(*constant).squares;
    let nearest = constants.iter().copied();
    let nearest = nearest.min_by(|a, b| squares(a).total_cmp(&squares(b)))?;
    // What is emptied falls so far that a constant nearby is no fit.
    let finer = (-FINER..=FINER).map(|part| RATIO.powf(f64::from(part) / f64::from(FINER)));
    let approaches = finer.map(|ratio| approached(nearest * ratio));
    let bent = best(ended.chain(approaches))?;
    if line.squares <= step.squares && bent.evidence(&line) < BENT {
        return Some(line.factor);
    }
    let short = || constants.iter().filter(|constant| **constant < OVER);
    let filled = short().map(|constant| Fit::of(&values, &[approach(*constant), times.clone()]));
    let goes_on = best(filled)?;
    let both = short().flat_map(|constant| inner.iter().map(move |time| (*constant, *time)));
    let stepped = both.map(|(constant, time)| Fit::of(&values, &[approach(constant), from(time)]));
    let stands = best(stepped.chain([step, bent]))?;
    (GOES_ON < goes_on.evidence(&stands)).then_some(goes_on.factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a way at 60 times, with a noise of this size.
    fn points(noise: f64, of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let point = |index: i32| {
            let time = (f64::from(index) + 0.5) / 60.0;
            let wave = (f64::from(index * index) * 1.7).sin();
            (time, of(time) + noise * wave)
        };
        (0..60).map(point).collect()
    }

    #[test]
    fn a_line_goes_on_and_what_comes_to_stand_does_not() {
        for noise in [0.001, 0.01, 0.03] {
            let rises = |of: &dyn Fn(f64) -> f64| rise(&points(noise, of));
            let line = rises(&|time| 0.1 * time).expect("a line");
            assert!((line - 0.1).abs() < noise, "{line}");
            for begin in [0.2, 0.5, 0.8] {
                let step = |time: f64| if begin < time { 0.1 } else { 0.0 };
                assert_eq!(rises(&step), None, "a step at {begin}, {noise}");
            }
            for end in [0.3, 0.5] {
                assert_eq!(
                    rises(&|time| 0.1 * time.min(end) / end),
                    None,
                    "until {end}, {noise}"
                );
            }
            for constant in [0.05, 0.1, 0.2, 0.3] {
                let filled = rises(&|time: f64| -0.2 * (-time / constant).exp());
                assert_eq!(filled, None, "with {constant}, {noise}");
            }
        }
    }

    #[test]
    fn what_fills_up_and_leaks_goes_on_as_it_leaks() {
        for constant in [0.03, 0.1, 0.2] {
            let points = points(0.003, |time| 0.1 * time - 0.2 * (-time / constant).exp());
            let line = rise(&points).expect("a line");
            assert!((line - 0.1).abs() < 0.01, "{constant}: {line}");
        }
    }

    #[test]
    fn few_points_and_equal_ones_rise_nowhere() {
        assert_eq!(rise(&[]), None);
        assert_eq!(rise(&points(0.01, |time| time)[..POINTS_MIN - 1]), None);
        assert!(rise(&points(0.0, |_| 1.0)).is_none_or(|rise| rise.abs() < 1e-9));
    }

    /// The sum of squares and the slope: computed by numpy.linalg.lstsq.
    #[test]
    fn least_squares_agree_with_numpy() {
        let times = [0.0, 0.1, 0.3, 0.4, 0.7, 0.8, 1.0];
        let values = [1.0, 1.2, 1.1, 1.7, 1.6, 2.1, 2.0];
        let approach: Vec<f64> = times
            .iter()
            .map(|time: &f64| -(-time / 0.25).exp())
            .collect();
        let fit = Fit::of(&values, &[approach, times.to_vec()]);
        assert!(
            (fit.squares - 0.213_178_967_253_736_56).abs() < 1e-9,
            "{}",
            fit.squares
        );
        assert!(
            (fit.factor - 0.998_742_714_551_570_7).abs() < 1e-9,
            "{}",
            fit.factor
        );
    }
}
