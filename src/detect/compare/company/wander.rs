//! How far a level wanders by itself, where samples resemble their neighbours.
//!
//! How far medians ever went in the past tells how far they may go, as long as the past holds many of them that have
//! little to do with each other. Of a gauge that wanders with a memory of a quarter of an hour an hour holds two to
//! four, and the more metrics there are, the surer one of them had a past in which it hardly moved. So a level must be
//! beyond what the variance of all hosts says as well, not only beyond the farthest that the one-box ever was.
//!
//! The model is a level that forgets where it was at a steady rate (an Ornstein-Uhlenbeck process, AR(1) in samples)
//! of variance `s²` and recall `r`. The mean of `n` samples of it in a row has the variance `s² v(n)` with
//! `v(n) = 2 r/n (1 - r/n (1 - exp(-n/r)))`, which is 1 for `n` far below `r`, and `2 r/n` far above. Blocks of `b`
//! samples vary about their own mean over a past of `P` samples by `s² (v(b) - v(P))`, which is less than they vary by,
//! and less the shorter the past is; the mean of a later window of `n` is from the mean of the past by
//! `s² (v(n) + v(P))`. The recall is that for which neighbouring blocks correlate as they do,
//! `(1 - exp(-b/r))² / (2 (exp(-b/r) - 1 + b/r))`, pooled over hosts, and corrected for the shortness of the past.
//! Then a healthy level, divided by the root of what it varies by, is one of Student's t.
//!
//! Simulated: one gauge a host, log-normal with a standard deviation of a fifth, the mean of two scrapes a minute, an
//! hour of past and one of bake. Healthy deployments that failed without this bound and with it, in percent of 6,000
//! (of four hours, 3,000), at an alpha of 1 %, a tenth and an eightieth of it (as of one of ten or 80 metrics). Noise:
//! 30 % of the variance is white.
//!
//! | hosts, correlation over a minute | 1 % | 0.1 % | 0.0125 % |
//! | --- | --- | --- | --- |
//! | 1 v 2, 0.5 | 0.15, 0.07 | 0.03, 0.00 | 0.00, 0.00 |
//! | 1 v 2, 0.8 | 2.4, 0.37 | 1.5, 0.02 | 0.23, 0.00 |
//! | 1 v 4, 0.8 | 0.82, 0.30 | 0.53, 0.05 | 0.15, 0.00 |
//! | 1 v 1, 0.94 | 10.6, 1.4 | 8.2, 0.23 | 3.4, 0.00 |
//! | 1 v 2, 0.94 | 7.6, 1.3 | 5.1, 0.35 | 2.1, 0.05 |
//! | 1 v 4, 0.94 | 2.9, 1.3 | 2.0, 0.37 | 0.73, 0.03 |
//! | 2 v 4, 0.94 | 0.58, 0.10 | 0.37, 0.03 | 0.10, 0.00 |
//! | 1 v 2, 0.94, noise | 6.6, 2.3 | 4.9, 0.88 | 2.5, 0.23 |
//! | 1 v 4, 0.94, noise | 3.4, 1.7 | 2.5, 0.55 | 1.6, 0.13 |
//! | 1 v 2, 0.97 | 10.4, 1.9 | 7.5, 0.58 | 3.6, 0.17 |
//! | 1 v 4, 0.97 | 4.4, 1.9 | 3.4, 0.62 | 1.7, 0.17 |
//! | 1 v 2, 0.94, four hours of past | 3.4, 1.2 | 2.1, 0.10 | 0.30, 0.03 |
//! | 1 v 4, 0.94, four hours of past | 2.6, 1.5 | 1.6, 0.30 | 0.37, 0.07 |
//!
//! Harm of ×1.5 since the deployment that was found, likewise, in percent of 1,000; by the standard deviation. Part of
//! what is lost is withheld as likely when the bake ends.
//!
//! | hosts, correlation, standard deviation | 1 % | 0.1 % | 0.0125 % |
//! | --- | --- | --- | --- |
//! | 1 v 2, 0, 0.2 | 100, 100 | 100, 98 | 99, 91 |
//! | 1 v 4, 0, 0.2 | 100, 100 | 100, 100 | 100, 100 |
//! | 1 v 2, 0.5, 0.1 | 100, 99 | 100, 94 | 99, 82 |
//! | 1 v 4, 0.5, 0.1 | 100, 100 | 100, 100 | 100, 99 |
//! | 1 v 2, 0.5, 0.2 | 83, 72 | 72, 44 | 44, 16 |
//! | 1 v 4, 0.5, 0.2 | 86, 85 | 79, 71 | 51, 37 |
//! | 1 v 2, 0.8, 0.1 | 98, 79 | 97, 50 | 90, 25 |
//! | 1 v 4, 0.8, 0.1 | 99, 98 | 98, 88 | 91, 65 |
//! | 1 v 2, 0.94, 0.05 | 100, 90 | 100, 69 | 97, 37 |
//! | 1 v 4, 0.94, 0.05 | 100, 100 | 100, 96 | 99, 92 |
//! | 1 v 2, 0.94, 0.1 | 91, 56 | 87, 24 | 69, 11 |
//! | 1 v 4, 0.94, 0.1 | 92, 85 | 89, 63 | 69, 37 |
//!
//! Beside one fleet host the past of that is its load as well, and tells nothing of how far apart two wander.

use serde::{Deserialize, Serialize};

use super::Stakes;
use crate::detect::{
    Unsound,
    compare::follower::WINDOWS,
    state::possible,
    stats::{mean, median, student_quantile},
};

/// Blocks that a past is cut into at least: fewer tell nothing of how they correlate.
const BLOCKS_MIN: usize = 10;
/// Degrees of freedom up to which the others add to what the one-box knows of itself: they need not wander as it does,
/// and its own past speaks for it where it is long. One of five hosts, a tenth of alpha: with 14, 18 and 24 of them ×1.5
/// was found in 65, 70 and 73 % (correlation 0.5), and 0.43, 0.55 and 0.57 % of healthy ones failed (0.94 under noise).
const FREEDOM_ENOUGH: f64 = 18.0;
/// The same for the number of blocks that tell how neighbours correlate.
const BLOCKS_ENOUGH: f64 = 40.0;
/// The most that neighbouring samples are taken to correlate: beyond, blocks tell better.
const CORRELATION_MAX: f64 = 0.95;
/// Degrees of freedom of the variance of a past that is short beside the recall, and how many are added for each
/// recall that it is long; joined, as resistors are, with those of as many independent blocks. Up to a third below
/// what the traces of the matrix of covariances say, for the recall is estimated as well.
const FREEDOM_SHORT: f64 = 2.0;
const FREEDOM_PER_RECALL: f64 = 0.7;
/// Share of a day up to which a past is doubted in full; one of a whole day has seen what a day holds, and is believed.
const DAY_SHARE: f64 = 0.25;
/// Bounds of how many recalls long a block is: of what forgets at once, and of what never does.
const DECAY: (f64, f64) = (1e-3, 50.0);

/// How far a level wanders by itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareWander")]
pub(super) struct Wander {
    /// Variance of the level, at any length of past.
    variance: f64,
    /// Samples after which little is left of where it was.
    recall: f64,
    /// Degrees of freedom of the variance; 0: nothing is known.
    freedom: f64,
}

/// What the blocks of a past say.
struct Blocks {
    count: f64,
    /// Squares of their distances from their mean, and products of those of neighbours.
    squares: f64,
    products: f64,
}

impl Wander {
    /// Learns from the past of the one-box and of each fleet host, where there are so many samples in a `day`.
    pub(super) fn new(own: &[f64], others: &[Vec<f64>], day: f64) -> Self {
        let others = if others.len() < 2 { &[] } else { others };
        let past = own.iter().filter(|value| value.is_finite()).count();
        let block = (past / BLOCKS_MIN).clamp(1, WINDOWS[0]);
        let cut = |block: usize| {
            let others: Vec<Blocks> = others.iter().map(|past| Blocks::new(past, block)).collect();
            (Blocks::new(own, block), others)
        };
        let (own_samples, other_samples) = cut(1);
        let (by_sample, _) = Blocks::correlation(&own_samples, &other_samples);
        let by_sample = -1.0 / by_sample.min(CORRELATION_MAX).ln();
        let (own, others) = cut(block);
        let (past, block) = (past as f64, block as f64);
        let (found, error) = Blocks::correlation(&own, &others);
        // What blocks correlate beyond what samples let expect is a part that lasts, under noise that does not: it is
        // counted twice, as far as chance alone may hide as much.
        let beyond = found - kept(block / by_sample);
        let by_block = block / decay(found + beyond.clamp(0.0, error));
        let recall = by_block.max(by_sample).min(past.max(1.0));
        let of_past = FREEDOM_SHORT + FREEDOM_PER_RECALL * past / recall;
        let of_blocks = (own.count - 1.0).max(1.0);
        let of_own = of_past * of_blocks / (of_past + of_blocks);
        let spare = others.len().saturating_sub(1) as f64;
        let of_others = (spare * of_own).min((FREEDOM_ENOUGH - of_own).max(0.0));
        let freedom = of_own + of_others;
        // One of them may be restless.
        let mut variances: Vec<f64> = others.iter().map(Blocks::variance).collect();
        let pooled = median(&mut variances).unwrap_or(0.0);
        let seen = (own.variance() * of_own + pooled * of_others) / freedom;
        let doubt = ((1.0 - past / day) / (1.0 - DAY_SHARE)).clamp(0.0, 1.0);
        let share = of_mean(block, recall) - of_mean(past, recall);
        Self {
            variance: if share > 0.0 {
                (doubt * doubt) * seen / share
            } else {
                0.0
            },
            recall,
            freedom,
        }
    }

    /// Refuses one that says nothing.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        possible(
            "wander",
            0.0 <= self.variance && 0.0 < self.recall && 0.0 < self.freedom,
        )
    }

    /// How far a healthy level of so many samples hardly ever gets from the middle of so long a past: what chance exceeds
    /// in one of the looks that have little to do with each other at the alpha of a side.
    pub(super) fn reach(&self, len: usize, past: usize, stakes: &Stakes) -> f64 {
        let apart = (len as f64).max(2.0 * self.recall);
        let looks = (stakes.planned / apart).max(1.0);
        let varies = of_mean(len as f64, self.recall) + of_mean(past as f64, self.recall);
        student_quantile(stakes.alpha / looks, self.freedom) * (self.variance * varies).sqrt()
    }
}

impl Blocks {
    fn new(past: &[f64], block: usize) -> Self {
        let finite = past.iter().copied().filter(|value| value.is_finite());
        let finite: Vec<f64> = finite.collect();
        let blocks = finite[finite.len() % block..].chunks_exact(block);
        let blocks = blocks.filter_map(|block| median(&mut block.to_vec()));
        let blocks: Vec<f64> = blocks.collect();
        let middle = mean(blocks.iter().copied()).unwrap_or(0.0);
        let pairs = blocks.array_windows();
        Self {
            count: blocks.len() as f64,
            squares: blocks.iter().map(|value| (value - middle).powi(2)).sum(),
            products: pairs
                .map(|[one, next]| (one - middle) * (next - middle))
                .sum(),
        }
    }

    fn variance(&self) -> f64 {
        self.squares / self.count.max(1.0)
    }

    /// How neighbours correlate: in the past of the one-box, and as far as that is short, of the others; and the
    /// standard error of that.
    fn correlation(own: &Self, others: &[Self]) -> (f64, f64) {
        let raw = |blocks: &Self| {
            let is_known = blocks.squares > 0.0;
            is_known.then_some(blocks.products / blocks.squares)
        };
        let (of_own, of_others) = (raw(own), mean(others.iter().filter_map(raw)));
        // The differences of all hosts to each other are as many as the others.
        let spare = others.len().saturating_sub(1) as f64;
        let weight = (spare * own.count).min((BLOCKS_ENOUGH - own.count).max(0.0));
        let known = [(of_own, own.count), (of_others, weight)];
        let known = known
            .into_iter()
            .filter_map(|(raw, count)| Some((raw?, count)));
        let (sum, count) = known.fold((0.0, 0.0), |(sum, all), (raw, count)| {
            (sum + raw * count, all + count)
        });
        if count <= 0.0 {
            return (0.0, 0.0);
        }
        let raw = sum / count;
        // Short pasts make the correlation look smaller than it is (Kendall 1954).
        let found = raw + (1.0 + 3.0 * raw) / own.count.max(1.0);
        let found = found.clamp(0.0, 1.0);
        (found, ((1.0 - found * found) / count).sqrt())
    }
}

/// Variance of the mean of so many samples, as a share of that of the level.
fn of_mean(len: f64, recall: f64) -> f64 {
    let times = len / recall;
    if times < 1e-6 {
        return 1.0;
    }
    2.0 / times * (1.0 + (-times).exp_m1() / times)
}

/// How neighbouring blocks correlate that are so many recalls long.
fn kept(part: f64) -> f64 {
    let lost = -(-part).exp_m1();
    if part.is_finite() {
        lost * lost / (2.0 * (part - lost))
    } else {
        0.0
    }
}

/// What part of a recall a block is, from how neighbouring blocks correlate.
fn decay(correlation: f64) -> f64 {
    let (mut low, mut high) = DECAY;
    for _ in 0..40 {
        let middle = (low * high).sqrt();
        if kept(middle) > correlation {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(host: usize, slow: f64, samples: usize) -> Vec<f64> {
        let host = host as f64;
        let at = |time: usize| {
            let time = time as f64;
            (slow * time + 1.3 * host).sin() + 0.3 * (0.31 * time * (host + 1.0)).cos()
        };
        (0..samples).map(at).collect()
    }

    fn stakes(planned: f64) -> Stakes {
        Stakes {
            planned,
            alpha: 0.004,
            judged: 60,
        }
    }

    /// Recall, degrees of freedom and how far levels over 6 and 24 samples reach: computed by numpy from the same
    /// formulas, written down once more, with the quantiles from Simpson's rule.
    #[test]
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    fn what_wanders_agrees_with_numpy() {
        for (slow, samples, others, recall, freedom, reaches) in [
            (
                0.12,
                60,
                3,
                60.0,
                6.230769230769232,
                [7.3952479432, 7.2005955295],
            ),
            (
                0.14,
                60,
                3,
                38.91202662162219,
                6.883036520819907,
                [5.8523337679, 5.6113509608],
            ),
            (
                0.9,
                60,
                3,
                4.4127384089077415,
                15.156682321824299,
                [1.2940591850, 0.8427355638],
            ),
            (
                0.2,
                60,
                1,
                19.495725746223673,
                2.8423263177231735,
                [11.6667752650, 10.7018823456],
            ),
            (
                0.03,
                24,
                2,
                19.495725746223673,
                4.5418583150186835,
                [3.7346285370, 3.4743519591],
            ),
            (
                0.3,
                300,
                3,
                19.495725746223673,
                18.0,
                [2.3295172760, 2.0717341180],
            ),
        ] {
            let others: Vec<Vec<f64>> =
                (1..=others).map(|host| past(host, slow, samples)).collect();
            let wander = Wander::new(&past(0, slow, samples), &others, 1_440.0);
            assert_eq!(wander.check(), Ok(()));
            let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-8;
            let is_learned = near(wander.recall, recall) && near(wander.freedom, freedom);
            assert!(is_learned, "{slow}, {samples}: {wander:?}");
            for (len, reach) in [6, 24].into_iter().zip(reaches) {
                let found = wander.reach(len, samples, &stakes(90.0));
                assert!(near(found, reach), "{slow}, {samples}, {len}: {found}");
            }
        }
    }

    #[test]
    fn the_mean_of_many_samples_varies_less() {
        for (len, recall, expected) in [
            (1e-7, 1.0, 1.0),
            (1.0, 1e-3, 2e-3),
            // Of a recall's length: 2 (1 - (1 - 1/e)) = 2 / e.
            (7.0, 7.0, 2.0 / std::f64::consts::E),
        ] {
            let found = of_mean(len, recall);
            assert!(
                (found / expected - 1.0).abs() < 2e-3,
                "{len}, {recall}: {found}"
            );
        }
    }

    #[test]
    fn decay_is_that_for_which_blocks_correlate_so() {
        for (part, correlation) in [(0.01, 0.993_361), (0.3, 0.822_858), (4.0, 0.159_643)] {
            let found = (kept(part), decay(correlation));
            let is_near =
                (found.0 - correlation).abs() < 1e-6 && (found.1 / part - 1.0).abs() < 1e-3;
            assert!(is_near, "{part}: {found:?}");
        }
        assert_eq!(kept(f64::INFINITY), 0.0);
        assert!(decay(1.2) < 0.002 && 49.0 < decay(0.0) && 49.0 < decay(-0.4));
    }

    #[test]
    fn what_never_moved_may_move_nowhere() {
        for samples in [0, 5, 60] {
            let wander = Wander::new(&vec![3.0; samples], &[], 1_440.0);
            assert_eq!(wander.check(), Ok(()), "{samples}");
            assert_eq!(wander.reach(6, samples, &stakes(60.0)), 0.0, "{samples}");
        }
    }

    #[test]
    fn a_past_of_a_day_is_believed() {
        let reach = |samples: usize, day: f64| {
            let wander = Wander::new(&past(0, 0.9, samples), &[], day);
            wander.reach(6, samples, &stakes(60.0))
        };
        let doubted = reach(300, 1_440.0);
        assert!(0.0 < doubted);
        for (day, share) in [(1_200.0, 1.0), (480.0, 0.5), (300.0, 0.0), (200.0, 0.0)] {
            let found = reach(300, day) / doubted;
            assert!((found - share).abs() < 1e-9, "{day}: {found}");
        }
    }

    #[test]
    fn a_damaged_one_is_refused() {
        let mut wander = Wander::new(&past(0, 0.9, 60), &[], 1_440.0);
        wander.freedom = f64::NAN;
        assert!(wander.check().is_err());
    }
}
