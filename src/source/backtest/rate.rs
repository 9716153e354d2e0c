//! A share of trials, with the interval that Clopper and Pearson give for the chance behind it.

use statrs::function::beta::beta_reg;

/// How many of so many trials showed something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Trials that showed it; at most `trials`.
    pub hits: u64,
    /// All of them.
    pub trials: u64,
}

/// Chance that the interval misses on each side.
const TAIL: f64 = 0.025;

impl Rate {
    /// Counts a trial.
    pub fn count(&mut self, is_hit: bool) {
        self.hits += u64::from(is_hit);
        self.trials += 1;
    }

    /// The share; `None` without trials.
    pub fn share(self) -> Option<f64> {
        (self.trials > 0).then(|| self.hits as f64 / self.trials as f64)
    }

    /// The chances, in [0, 1], under which as many hits or more, and as many or fewer, come in at
    /// least 2.5 % of such series of trials: the exact 95 % interval for independent trials.
    pub fn interval(self) -> (f64, f64) {
        let (hits, misses) = (
            self.hits as f64,
            self.trials.saturating_sub(self.hits) as f64,
        );
        let low = if self.hits == 0 {
            0.0
        } else {
            beta_quantile(hits, misses + 1.0, TAIL)
        };
        let high = if misses == 0.0 {
            1.0
        } else {
            beta_quantile(hits + 1.0, misses, 1.0 - TAIL)
        };
        (low, high)
    }
}

/// The number below which a beta-distributed one is with the probability `share`. By bisection: the
/// distribution rises all the way, and this is not where time is spent.
fn beta_quantile(alpha: f64, beta: f64, share: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || high <= middle {
            break;
        }
        if beta_reg(alpha, beta, middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hits, trials, limits: `scipy.stats.binomtest(hits, trials).proportion_ci(method="exact")`.
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    const GOLDEN: &[(u64, u64, f64, f64)] = &[
        (0, 1, 0.000000000000000, 0.975000000000000),
        (1, 1, 0.025000000000000, 1.000000000000000),
        (0, 200, 0.000000000000000, 0.018275340355149),
        (1, 200, 0.000126581028009, 0.027541898457558),
        (3, 200, 0.003104107621555, 0.043208281917710),
        (20, 2000, 0.006118657542729, 0.015402125783561),
        (30, 2000, 0.010142718291242, 0.021344667511079),
        (1000, 2000, 0.477850554231110, 0.522149445768890),
        (5, 7, 0.290420863737343, 0.963307433823914),
        (199, 200, 0.972458101542442, 0.999873418971990),
    ];

    #[test]
    fn intervals_agree_with_scipy() {
        for (hits, trials, low, high) in GOLDEN {
            let rate = Rate {
                hits: *hits,
                trials: *trials,
            };
            let (found_low, found_high) = rate.interval();
            assert!((found_low - low).abs() < 1e-9, "{rate:?}: {found_low}");
            assert!((found_high - high).abs() < 1e-9, "{rate:?}: {found_high}");
        }
    }

    #[test]
    fn without_trials_nothing_is_known() {
        assert_eq!(Rate::default().interval(), (0.0, 1.0));
        assert_eq!(Rate::default().share(), None);
    }
}
