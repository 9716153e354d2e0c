//! Kayenta's Mann-Whitney classifier, reimplemented from what it computes; held against its own cases.

use sluice::plan::Direction;
use statrs::function::erf::erfc_inv;

/// Its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classifier {
    /// Share of the estimate that the confidence limit must exceed.
    pub(crate) tolerance: f64,
    pub(crate) confidence: f64,
    /// Effect sizes from which on, and down to which, a difference counts.
    pub(crate) increase: f64,
    pub(crate) decrease: f64,
    pub(crate) direction: Direction,
    /// Whether missing data is no data, instead of zero.
    pub(crate) removes_nan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Pass,
    High,
    Low,
    NoData,
}

/// How the size of an effect is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    MeanRatio,
    /// The chance that a value of the experiment exceeds one of the control.
    CommonLanguage,
}

impl Classifier {
    /// As the Netflix judge sets it.
    pub(crate) const NETFLIX: Self = Self {
        tolerance: 0.25,
        confidence: 0.98,
        increase: 1.0,
        decrease: 1.0,
        direction: Direction::Both,
        removes_nan: true,
    };

    pub(crate) fn classify(&self, control: &[f64], experiment: &[f64], measure: Measure) -> Class {
        if control.is_empty() || experiment.is_empty() {
            return if self.removes_nan {
                Class::NoData
            } else {
                Class::Pass
            };
        }
        let mut all: Vec<f64> = control.iter().chain(experiment).copied().collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values
        };
        if all.len() == 1 || sorted(control) == sorted(experiment) {
            return Class::Pass;
        }
        let (estimate, low, high) = self.shift(control, experiment);
        let bound = self.tolerance * estimate.abs();
        let size = effect(control, experiment, measure);
        let (counts_up, counts_down) = (
            self.direction != Direction::Down,
            self.direction != Direction::Up,
        );
        // A ratio to nothing is no number, and then does not hold it back.
        let is_large = |is_beyond: bool| size.is_nan() || is_beyond;
        if counts_up && low > bound && is_large(size >= self.increase) {
            Class::High
        } else if counts_down && high < -bound && is_large(size <= self.decrease) {
            Class::Low
        } else {
            Class::Pass
        }
    }

    /// Hodges and Lehmann's shift with its confidence limits, by the normal approximation of the rank
    /// sum.
    fn shift(&self, control: &[f64], experiment: &[f64]) -> (f64, f64, f64) {
        let mut differences: Vec<f64> = experiment
            .iter()
            .flat_map(|own| control.iter().map(move |other| own - other))
            .collect();
        differences.sort_by(f64::total_cmp);
        let (m, n) = (control.len() as f64, experiment.len() as f64);
        let normal = std::f64::consts::SQRT_2 * erfc_inv(1.0 - self.confidence);
        let rank = m * n / 2.0 - normal * (m * n * (m + n + 1.0) / 12.0).sqrt();
        let rank = rank.round().max(1.0) as usize;
        let count = differences.len();
        let middle = f64::midpoint(differences[(count - 1) / 2], differences[count / 2]);
        (middle, differences[rank - 1], differences[count - rank])
    }
}

fn effect(control: &[f64], experiment: &[f64], measure: Measure) -> f64 {
    match measure {
        Measure::MeanRatio => {
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let (own, other) = (mean(experiment), mean(control));
            // Kayenta gives no number where the control is zero, and none where the experiment is.
            if other == 0.0 || own == 0.0 {
                f64::NAN
            } else {
                own / other
            }
        }
        Measure::CommonLanguage => {
            let wins = experiment.iter().flat_map(|own| {
                control.iter().map(move |other| match own.total_cmp(other) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                })
            });
            wins.sum::<f64>() / (control.len() * experiment.len()) as f64
        }
    }
}
