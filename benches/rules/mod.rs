//! The rules by which deployments are judged today, as their users run them: Kayenta's Mann-Whitney
//! judge, a ratio with consecutive failures as in Argo Rollouts and Flagger, and three sigma of the
//! one-box's own past.

#![allow(
    dead_code,
    reason = "the bench and the test that include this use different parts of it"
)]

pub(crate) mod kayenta;
pub(crate) mod stage;

use kayenta::{Class, Classifier, Measure};
use sluice::plan::Direction;

/// One metric of one deployment: means over the hosts of the one-box and of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) direction: Direction,
    /// Whether it counts errors: thresholds are wider then.
    pub(crate) is_count: bool,
    /// By bucket; NaN: nothing.
    pub(crate) one_box: Vec<f64>,
    pub(crate) fleet: Vec<f64>,
}

/// When a rule is asked, in buckets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The first bucket after the deployment and its grace.
    pub(crate) from: usize,
    /// Buckets before the deployment.
    pub(crate) before: usize,
    /// Seconds of a bucket.
    pub(crate) width: usize,
}

/// A rule of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// At the end of the bake, as it is designed.
    KayentaOnce,
    /// Every ten minutes on all that was seen, as it is run.
    KayentaEvery,
    /// The five-minute mean is 20 % above (errors: twice) the fleet's, three minutes in a row.
    Ratio,
    /// Three samples in a row beyond three standard deviations of its own last hour.
    ThreeSigma,
}

impl Rule {
    pub(crate) const ALL: [Self; 4] = [
        Self::KayentaOnce,
        Self::KayentaEvery,
        Self::Ratio,
        Self::ThreeSigma,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KayentaOnce => "Mann-Whitney (Kayenta), once at the end",
            Self::KayentaEvery => "Mann-Whitney (Kayenta), every 10 min",
            Self::Ratio => "±20 % ratio, 3 min in a row (Argo, Flagger)",
            Self::ThreeSigma => "3 sigma of its own past, 3 in a row",
        }
    }

    /// The bucket at whose end the first of the metrics fails the deployment.
    pub(crate) fn fails(self, metrics: &[Metric], times: Times) -> Option<usize> {
        metrics
            .iter()
            .filter_map(|metric| self.fails_by(metric, times))
            .min()
    }

    fn fails_by(self, metric: &Metric, times: Times) -> Option<usize> {
        let minute = 60_usize.div_ceil(times.width).max(1);
        let end = metric.one_box.len();
        match self {
            Self::KayentaOnce => metric.kayenta(times, end).then(|| end.saturating_sub(1)),
            Self::KayentaEvery => {
                let step = (600 / times.width).max(1);
                let looks = (times.from + step..=end).step_by(step);
                looks
                    .into_iter()
                    .find(|look| metric.kayenta(times, *look))
                    .map(|look| look - 1)
            }
            Self::Ratio => {
                let window = (300 / times.width).max(1);
                let looks = (times.from + window..=end).step_by(minute);
                let beyond = looks.map(|look| (look - 1, metric.is_off(look - window, look)));
                three_in_a_row(beyond)
            }
            Self::ThreeSigma => {
                let hour = (3_600 / times.width).max(1);
                let past = &metric.one_box[times.before.saturating_sub(hour)..times.before];
                let (mean, sigma) = mean_and_sigma(past)?;
                let beyond = (times.from..end).map(|bucket| {
                    let distance = metric.one_box[bucket] - mean;
                    (
                        bucket,
                        metric.is_harm(distance) && distance.abs() > 3.0 * sigma,
                    )
                });
                three_in_a_row(beyond)
            }
        }
    }
}

impl Metric {
    fn is_harm(&self, difference: f64) -> bool {
        match self.direction {
            Direction::Up => difference > 0.0,
            Direction::Down => difference < 0.0,
            Direction::Both => difference != 0.0,
        }
    }

    /// Whether the mean of a window is off by more than the ratio.
    fn is_off(&self, from: usize, to: usize) -> bool {
        let mean = |values: &[f64]| mean_and_sigma(&values[from..to]).map(|(mean, _)| mean);
        let (Some(own), Some(fleet)) = (mean(&self.one_box), mean(&self.fleet)) else {
            return false;
        };
        let factor = if self.is_count { 2.0 } else { 1.2 };
        let (high, low) = (fleet * factor, fleet / factor);
        self.is_harm(own - fleet) && (own > high.max(low) || own < low.min(high))
    }

    fn kayenta(&self, times: Times, end: usize) -> bool {
        // A point a minute, as its queries give.
        let minute = 60_usize.div_ceil(times.width).max(1);
        let points = |values: &[f64]| -> Vec<f64> {
            let window = values.get(times.from..end).unwrap_or_default();
            let means = window.chunks(minute).filter_map(mean_and_sigma);
            means.map(|(mean, _)| mean).collect()
        };
        let classifier = Classifier {
            direction: self.direction,
            ..Classifier::NETFLIX
        };
        let class = classifier.classify(
            &points(&self.fleet),
            &points(&self.one_box),
            Measure::MeanRatio,
        );
        matches!(class, Class::High | Class::Low)
    }
}

fn three_in_a_row(looks: impl Iterator<Item = (usize, bool)>) -> Option<usize> {
    let mut row = 0;
    for (bucket, is_beyond) in looks {
        row = if is_beyond { row + 1 } else { 0 };
        if row == 3 {
            return Some(bucket);
        }
    }
    None
}

/// Of the values that are there.
fn mean_and_sigma(values: &[f64]) -> Option<(f64, f64)> {
    let values = || values.iter().copied().filter(|value| value.is_finite());
    let count = values().count() as f64;
    if count == 0.0 {
        return None;
    }
    let mean = values().sum::<f64>() / count;
    let squares: f64 = values().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (count - 1.0).max(1.0)).sqrt()))
}
