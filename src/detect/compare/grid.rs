//! An e-process for "the one-box has more (or fewer) than its share of the events".
//!
//! Given that an event happens on the one-box or on the fleet, it falls on the one-box with the
//! probability `e g / (e g + 1 - e)`, where `e` is its share of the exposure and `g` its own factor,
//! whatever the common rate does. A healthy one-box has a factor near 1, drawn like that of any
//! host; a harmed one has that times at least 1.2. The ratio of the two mixtures is an e-process.

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

use crate::detect::{Unsound, state::possible, stats::log_sum_exp};

/// Distance of two points of the grid, as logarithms of the factor.
const STEP: f64 = 0.1;
/// Points on each side of 1 for a healthy factor: up to 55 times.
const HEALTHY_POINTS: usize = 40;
/// Harm: points from 1.2 times to 50 times.
const HARM_FIRST: usize = 2;
const HARM_LAST: usize = 39;
/// All points: from 1/55 to 55 times 50.
const POINTS: usize = 2 * HEALTHY_POINTS + 1 + HARM_LAST;
/// How many times better the past must be explained by hosts of any factor than by such as the fleet's are,
/// before what is known of those says nothing of them.
const UNLIKE_TIMES: f64 = 20.0;
/// Most events of one host in one round that count: bursts are one event, or a few.
pub(super) const CAPS: [f64; CAPS_COUNT] = [1.0, 4.0, 16.0];
/// How many caps there are.
pub(super) const CAPS_COUNT: usize = 3;

/// The evidence of one set of one-box hosts against the fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Grid {
    /// 1: more is harm; -1: fewer.
    side: f64,
    /// Logarithms of the weights of the healthy factors.
    prior: Vec<f64>,
    /// For each cap and point, the logarithm of the likelihood.
    likelihood: [Vec<f64>; CAPS_COUNT],
    /// For each cap, how many capped events count as one: from 1 to the cap.
    units: [f64; CAPS_COUNT],
    /// What the last look needs, by cap.
    total: [Total; LAST_CAPS],
}

/// Events so far, by one cap, in its units.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "CountsTotal")]
struct Total {
    one_box: f64,
    fleet: f64,
    /// Of each event, the share of the exposure that the one-box had.
    shares: f64,
}

/// Where evidence that begins late begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CountsMark")]
pub(super) struct Mark {
    /// By cap, logarithms of the weights of the healthy factors, with all that was learned until then.
    weights: [Vec<f64>; LAST_CAPS],
    /// For each point, the logarithm of the likelihood until then: by [`LATE_CAP`] only, which is enough to
    /// find what the rest is too diluted for.
    likelihood: Vec<f64>,
    total: [Total; LAST_CAPS],
}

impl Mark {
    /// Refuses a saved mark that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        possible(
            "number of points",
            self.likelihood.len() == POINTS
                && self
                    .weights
                    .iter()
                    .all(|weights| weights.len() == 2 * HEALTHY_POINTS + 1),
        )
    }
}

/// Which cap late evidence counts by.
const LATE_CAP: usize = 1;
/// By how many caps, the smallest first, the last look counts. Events that come one by one are seen
/// best where each counts as one; bursts that harm makes longer, where a few of them do.
const LAST_CAPS: usize = 2;

/// The events of one round, by cap.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) one_box: [f64; CAPS_COUNT],
    pub(super) fleet: [f64; CAPS_COUNT],
    /// As how many hosts those of the one-box, and of the fleet, counted each.
    pub(super) parts: [[f64; CAPS_COUNT]; 2],
}

impl Counted {
    /// Whether anything happened.
    pub(super) fn is_empty(&self) -> bool {
        self.one_box[0] == 0.0 && self.fleet[0] == 0.0
    }
}

impl Grid {
    /// Starts without evidence. `variation` is the coefficient of variation of the rates of hosts,
    /// `hosts` how many the one-box has, `units` how many capped events count as one.
    pub(super) fn new(side: f64, variation: f64, hosts: usize, units: [f64; CAPS_COUNT]) -> Self {
        let sigma = (variation * variation).ln_1p().sqrt() / (hosts.max(1) as f64).sqrt();
        let weights: Vec<f64> = (0..=2 * HEALTHY_POINTS)
            .map(|point| {
                let z = (point as f64 - HEALTHY_POINTS as f64) * STEP / sigma;
                -0.5 * z * z
            })
            .collect();
        let whole = log_sum_exp(weights.iter().copied());
        Self {
            side,
            prior: weights.iter().map(|weight| weight - whole).collect(),
            likelihood: std::array::from_fn(|_| vec![0.0; POINTS]),
            units,
            total: Default::default(),
        }
    }

    /// Refuses a saved grid, with its weights from [`Grid::begin`], that would not go on.
    pub(super) fn check(&self, weights: &[Vec<f64>; CAPS_COUNT]) -> Result<(), Unsound> {
        let healthy = 2 * HEALTHY_POINTS + 1;
        let of_len = |points: &[Vec<f64>], len| points.iter().all(|points| points.len() == len);
        possible(
            "worth of an event",
            self.units.iter().all(|unit| 1.0 <= *unit),
        )?;
        possible(
            "number of points",
            self.prior.len() == healthy
                && of_len(weights, healthy)
                && of_len(&self.likelihood, POINTS),
        )
    }

    /// The logarithm of the factor at a point.
    fn log_factor(&self, point: usize) -> f64 {
        self.side * (point as f64 - HEALTHY_POINTS as f64) * STEP
    }

    /// How many events of a round, capped, count as one. A burst of a host that counts as several is one of
    /// all of them.
    fn unit(&self, cap: usize, counted: &Counted, share: f64) -> f64 {
        let (unit, spread) = (self.units[cap], self.units[CAPS_COUNT - 1] - 1.0);
        let of = |parts: &[f64; CAPS_COUNT]| {
            let parts = parts[cap].max(1.0);
            (1.0 + parts * spread).clamp(unit, parts * unit)
        };
        let [one_box, fleet] = counted.parts.each_ref().map(of);
        (1.0 - share) * one_box + share * fleet
    }

    /// Takes the events of a round in which the one-box had this share of the exposure.
    pub(super) fn observe(&mut self, counted: &Counted, share: f64) {
        if counted.is_empty() || !(0.0 < share && share < 1.0) {
            return;
        }
        let units: [f64; CAPS_COUNT] = std::array::from_fn(|cap| self.unit(cap, counted, share));
        for (cap, total) in self.total.iter_mut().enumerate() {
            let unit = units[cap];
            let (own, others) = (counted.one_box[cap], counted.fleet[cap]);
            total.one_box += own / unit;
            total.fleet += others / unit;
            total.shares += share * (own + others) / unit;
        }
        let odds = (share / (1.0 - share)).ln();
        for point in 0..POINTS {
            let log_odds = odds + self.log_factor(point);
            // ln of theta and of 1 - theta, without cancellation.
            let fleet = -softplus(log_odds);
            let one_box = -softplus(-log_odds);
            for (cap, unit) in units.iter().enumerate() {
                let events = counted.one_box[cap] * one_box + counted.fleet[cap] * fleet;
                self.likelihood[cap][point] += events / unit;
            }
        }
    }

    /// Turns what was learned so far into the prior: call it when the deployment begins.
    pub(super) fn begin(&mut self) -> [Vec<f64>; CAPS_COUNT] {
        let posteriors = std::array::from_fn(|cap| self.posterior(cap));
        self.restart();
        posteriors
    }

    /// Forgets what was counted since [`Grid::begin`].
    pub(super) fn restart(&mut self) {
        for points in &mut self.likelihood {
            points.fill(0.0);
        }
        self.total = Default::default();
    }

    /// What the past leaves of the healthy factors. Hosts that were given another share of the traffic all along
    /// are not drawn like any others: where their past says so clearly, it alone counts.
    fn posterior(&self, cap: usize) -> Vec<f64> {
        let healthy = &self.likelihood[cap][..self.prior.len()];
        let alike = log_sum_exp(self.prior.iter().zip(healthy).map(|(a, b)| a + b));
        let any = -(healthy.len() as f64).ln();
        let unlike = any + log_sum_exp(healthy.iter().copied());
        if alike + UNLIKE_TIMES.ln() < unlike {
            return updated(&vec![any; healthy.len()], healthy);
        }
        updated(&self.prior, healthy)
    }

    /// Remembers where late evidence begins, with the weights of healthy factors from [`Grid::begin`].
    pub(super) fn mark(&self, weights: &[Vec<f64>; CAPS_COUNT]) -> Mark {
        Mark {
            weights: std::array::from_fn(|cap| updated(&weights[cap], &self.likelihood[cap])),
            likelihood: self.likelihood[LATE_CAP].clone(),
            total: self.total,
        }
    }

    /// The logarithm of the e-value, with the weights of healthy factors from [`Grid::begin`].
    pub(super) fn log_evidence(&self, weights: &[Vec<f64>; CAPS_COUNT]) -> f64 {
        let by_cap = (0..CAPS_COUNT).map(|cap| log_ratio(&weights[cap], &self.likelihood[cap]));
        log_sum_exp(by_cap.collect::<Vec<_>>().into_iter()) - (CAPS_COUNT as f64).ln()
    }

    /// The logarithm of the e-value since a mark.
    pub(super) fn late_evidence(&self, mark: &Mark) -> f64 {
        let points = self.likelihood[LATE_CAP].iter().zip(&mark.likelihood);
        let points: Vec<f64> = points.map(|(now, then)| now - then).collect();
        log_ratio(&mark.weights[LATE_CAP], &points)
    }

    /// The chance, since a mark, that [`Grid::tail`] gives for all.
    pub(super) fn late_tail(&self, mark: &Mark) -> f64 {
        tail(|cap| self.tail_of(&self.total[cap].since(&mark.total[cap]), &mark.weights[cap]))
    }

    /// The usual factor of the one-box, with all that was learned until a mark.
    pub(super) fn late_usual(&self, mark: &Mark) -> f64 {
        self.log_usual(&mark.weights[LATE_CAP]).exp()
    }

    /// The chance that a healthy one-box has so many of the events, or more (fewer, where that is
    /// harm), with the weights of healthy factors from [`Grid::begin`]. It is for a single look that
    /// was fixed beforehand: there it needs less than the evidence, which may be looked at any time. It
    /// is looked at by several caps, and the rarest counts, that many times.
    pub(super) fn tail(&self, weights: &[Vec<f64>; CAPS_COUNT]) -> f64 {
        tail(|cap| self.tail_of(&self.total[cap], &weights[cap]))
    }

    /// The same of a one-box with this factor.
    pub(super) fn tail_at(&self, factor: f64) -> f64 {
        tail(|cap| self.chance(&self.total[cap], factor))
    }

    fn tail_of(&self, total: &Total, weights: &[f64]) -> f64 {
        if total.one_box + total.fleet <= 0.0 {
            return 1.0;
        }
        let weighted = weights.iter().enumerate();
        weighted
            .map(|(point, weight)| weight.exp() * self.chance(total, self.log_factor(point).exp()))
            .sum()
    }

    /// The chance that a one-box with this factor has so many of the events, or more (fewer, where that is harm).
    fn chance(&self, total: &Total, factor: f64) -> f64 {
        let (one_box, fleet) = (total.one_box, total.fleet);
        let share = total.share();
        if !(0.0 < share && share < 1.0) {
            return 1.0;
        }
        let odds = share / (1.0 - share) * factor;
        let share = odds / (1.0 + odds);
        match self.side {
            side if side > 0.0 && one_box > 0.0 => beta_reg(one_box, fleet + 1.0, share),
            side if side < 0.0 && fleet > 0.0 => beta_reg(fleet, one_box + 1.0, 1.0 - share),
            _ => 1.0,
        }
    }

    /// The smallest harm, as a factor of the healthy rate, that is excluded with the given
    /// evidence (20 for 5 %): how much better no harm explains the events than this harm does.
    /// `None`: not even the largest is.
    pub(super) fn excluded(&self, weights: &[Vec<f64>; CAPS_COUNT], evidence: f64) -> Option<f64> {
        let cap = CAPS_COUNT - 1;
        let points = &self.likelihood[cap];
        let healthy = log_sum_exp(
            weights[cap]
                .iter()
                .zip(points)
                .map(|(weight, likelihood)| weight + likelihood),
        );
        let harmed = |harm: usize| {
            log_sum_exp(
                weights[cap]
                    .iter()
                    .zip(&points[harm..])
                    .map(|(weight, likelihood)| weight + likelihood),
            )
        };
        // From the largest down, as far as each is excluded.
        let mut smallest = None;
        for harm in (1..=HARM_LAST).rev() {
            if healthy - harmed(harm) < evidence.ln() {
                break;
            }
            smallest = Some((self.side * harm as f64 * STEP).exp());
        }
        smallest
    }

    /// The usual factor of the one-box, from its own past.
    pub(super) fn usual(&self, weights: &[Vec<f64>; CAPS_COUNT]) -> f64 {
        self.log_usual(&weights[CAPS_COUNT - 1]).exp()
    }

    /// The variance of the logarithm of that, and how many events, hardly clipped, count as one.
    pub(super) fn uncertainty(&self, weights: &[Vec<f64>; CAPS_COUNT]) -> (f64, f64) {
        let cap = CAPS_COUNT - 1;
        let usual = self.log_usual(&weights[cap]);
        let weighted = weights[cap].iter().enumerate();
        let squares =
            weighted.map(|(point, weight)| weight.exp() * (self.log_factor(point) - usual).powi(2));
        (squares.sum(), self.units[cap])
    }

    fn log_usual(&self, weights: &[f64]) -> f64 {
        let weighted = weights.iter().enumerate();
        weighted
            .map(|(point, weight)| weight.exp() * self.log_factor(point))
            .sum()
    }
}

impl Total {
    /// What was added since an earlier one.
    fn since(&self, earlier: &Self) -> Self {
        Self {
            one_box: self.one_box - earlier.one_box,
            fleet: self.fleet - earlier.fleet,
            shares: self.shares - earlier.shares,
        }
    }

    /// The share of the exposure that the one-box had, by events; not a share where there were none.
    fn share(&self) -> f64 {
        self.shares / (self.one_box + self.fleet)
    }
}

/// The chance that by any of the caps the events are as rare as these (Bonferroni).
fn tail(by_cap: impl Fn(usize) -> f64) -> f64 {
    let rarest = (0..LAST_CAPS).map(by_cap).fold(1.0, f64::min);
    (rarest * LAST_CAPS as f64).min(1.0)
}

/// Logarithms of weights of healthy factors, less certain by a factor whose logarithm has this standard
/// deviation.
pub(super) fn widened(weights: &[f64], sigma: f64) -> Vec<f64> {
    let kernel = |distance: usize| -0.5 * (distance as f64 * STEP / sigma).powi(2);
    let widened = (0..weights.len()).map(|to| {
        let from = weights.iter().enumerate();
        log_sum_exp(from.map(|(from, weight)| weight + kernel(to.abs_diff(from))))
    });
    let widened: Vec<f64> = widened.collect();
    let whole = log_sum_exp(widened.iter().copied());
    widened.into_iter().map(|weight| weight - whole).collect()
}

/// Logarithms of weights, updated by those of a likelihood, which may have more points.
fn updated(weights: &[f64], likelihood: &[f64]) -> Vec<f64> {
    let updated = weights.iter().zip(likelihood);
    let updated: Vec<f64> = updated.map(|(weight, point)| weight + point).collect();
    let whole = log_sum_exp(updated.iter().copied());
    updated.into_iter().map(|weight| weight - whole).collect()
}

/// The logarithm of the ratio of the mixture over harms to the mixture over healthy factors.
fn log_ratio(weights: &[f64], points: &[f64]) -> f64 {
    let healthy = log_sum_exp(
        weights
            .iter()
            .zip(points)
            .map(|(weight, likelihood)| weight + likelihood),
    );
    let peak = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shifted: Vec<f64> = points.iter().map(|point| (point - peak).exp()).collect();
    let mut harmed = 0.0;
    for (index, weight) in weights.iter().enumerate() {
        let reach = &shifted[index + HARM_FIRST..=index + HARM_LAST];
        harmed += weight.exp() * reach.iter().sum::<f64>();
    }
    let harms = (HARM_LAST - HARM_FIRST + 1) as f64;
    (harmed / harms).max(f64::MIN_POSITIVE).ln() + peak - healthy
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events by one-box host, by fleet host, and the one-box's share of the exposure.
    type Bucket = (Vec<f64>, Vec<f64>, f64);

    fn add(counted: &mut Counted, events: f64, is_one_box: bool) {
        let side = if is_one_box {
            &mut counted.one_box
        } else {
            &mut counted.fleet
        };
        for (sum, cap) in side.iter_mut().zip(CAPS) {
            *sum += events.clamp(0.0, cap);
        }
    }

    fn evidence(
        side: f64,
        variation: f64,
        hosts: usize,
        before: &[Bucket],
        after: &[Bucket],
    ) -> (f64, f64) {
        let mut grid = Grid::new(side, variation, hosts, CAPS);
        let feed = |grid: &mut Grid, buckets: &[Bucket]| {
            for (one_box, fleet, share) in buckets {
                let mut counted = Counted::default();
                for events in one_box {
                    add(&mut counted, *events, true);
                }
                for events in fleet {
                    add(&mut counted, *events, false);
                }
                grid.observe(&counted, *share);
            }
        };
        feed(&mut grid, before);
        let weights = grid.begin();
        feed(&mut grid, after);
        (grid.log_evidence(&weights), grid.usual(&weights))
    }

    /// Computed term by term, without logarithms, in another language.
    #[test]
    fn evidence_agrees_with_an_independent_sum() {
        let before = [
            (vec![1.0, 0.0], vec![2.0, 0.0, 1.0], 0.3),
            (vec![0.0, 3.0], vec![0.0, 1.0, 0.0], 0.35),
            (vec![0.0, 0.0], vec![1.0, 0.0, 0.0], 0.3),
        ];
        let after = [
            (vec![5.0, 2.0], vec![1.0, 0.0, 0.0], 0.3),
            (vec![0.0, 20.0], vec![0.0, 1.0, 2.0], 0.25),
            (vec![3.0, 0.0], vec![0.0, 0.0, 0.0], 0.3),
        ];
        let (log_evidence, usual) = evidence(1.0, 0.5, 2, &before, &after);
        assert!(
            (log_evidence - 1.160_100_710_288_238_6).abs() < 1e-9,
            "{log_evidence}"
        );
        assert!((usual - 1.007_344_014_230_468).abs() < 1e-9, "{usual}");
        let six = vec![(vec![1.0], vec![0.0, 0.0], 0.2); 6];
        let (log_evidence, usual) = evidence(1.0, 0.25, 1, &[], &six);
        assert!(
            (log_evidence - 6.239_778_295_226_31).abs() < 1e-9,
            "{log_evidence}"
        );
        assert!((usual - 1.0).abs() < 1e-9, "{usual}");
    }

    /// The tail of a binomial, mixed over the factors: computed by `scipy.stats.binom`.
    #[test]
    fn the_tail_of_the_last_look_agrees_with_scipy() {
        for (side, own, others, expected) in TAILS {
            let mut grid = Grid::new(side, 0.25, 2, [1.0; CAPS_COUNT]);
            let weights = grid.begin();
            for (is_own, events) in [(true, own), (false, others)] {
                for _ in 0..events {
                    let mut counted = Counted::default();
                    add(&mut counted, 1.0, is_own);
                    grid.observe(&counted, 0.1);
                }
            }
            // By both caps the same, and looked at twice.
            let expected = f64::min(2.0 * expected, 1.0);
            let tail = grid.tail(&weights);
            assert!((tail / expected - 1.0).abs() < 1e-9, "{side} {own}: {tail}");
        }
        assert_eq!(
            Grid::new(1.0, 0.25, 2, CAPS).tail(&[vec![], vec![], vec![]]),
            1.0
        );
    }

    /// The tail of a binomial at one factor: computed by `scipy.stats.binom`.
    #[test]
    fn the_tail_at_a_factor_agrees_with_scipy() {
        for (side, own, others, factor, expected) in [
            (1.0, 20, 80, 1.5, 0.072_627_708_309_938),
            (-1.0, 2, 80, 0.5, 0.187_654_898_650_060),
        ] {
            let mut grid = Grid::new(side, 0.25, 2, [1.0; CAPS_COUNT]);
            for (is_own, events) in [(true, own), (false, others)] {
                for _ in 0..events {
                    let mut counted = Counted::default();
                    add(&mut counted, 1.0, is_own);
                    grid.observe(&counted, 0.1);
                }
            }
            let tail = grid.tail_at(factor);
            assert!(
                (tail / (2.0 * expected) - 1.0).abs() < 1e-9,
                "{side}: {tail}"
            );
        }
        assert_eq!(Grid::new(1.0, 0.25, 2, CAPS).tail_at(2.0), 1.0);
    }

    /// Side, events on the one-box and on the fleet, tail.
    #[expect(
        clippy::unreadable_literal,
        reason = "a table of numbers, not of words"
    )]
    const TAILS: [(f64, u32, u32, f64); 3] = [
        (1.0, 20, 80, 0.006869724957623102),
        (1.0, 8, 80, 0.6515476374941651),
        (-1.0, 2, 80, 0.013907391126979092),
    ];

    #[test]
    fn fewer_events_are_harm_only_where_fewer_is_worse() {
        let none = vec![(vec![0.0, 0.0], vec![1.0, 1.0, 1.0, 1.0], 1.0 / 3.0); 40];
        let (up, _) = evidence(1.0, 0.25, 2, &[], &none);
        let (down, _) = evidence(-1.0, 0.25, 2, &[], &none);
        assert!(up < 0.0 && down > 10.0, "{up} {down}");
    }

    /// The fleet's hosts have an event in each bucket, the one-box as often as `own` says.
    fn beside(buckets: u32, own: impl Fn(u32) -> bool) -> Vec<Bucket> {
        let one_box = |bucket| if own(bucket) { 1.0 } else { 0.0 };
        let bucket = |bucket| (vec![one_box(bucket)], vec![1.0; 4], 0.2);
        (0..buckets).map(bucket).collect()
    }

    #[test]
    fn a_past_that_is_unlike_any_other_host_is_what_is_healthy() {
        for every in [10, 20] {
            let alike = |buckets| beside(buckets, |bucket| bucket.is_multiple_of(every));
            for side in [1.0, -1.0] {
                let (healthy, usual) = evidence(side, 0.25, 1, &alike(360), &alike(120));
                assert!(healthy < 1.0, "{every} {side}: {healthy}");
                assert!(usual < 3.0 / f64::from(every), "{every}: {usual}");
            }
            let often = beside(120, |bucket| bucket.is_multiple_of(every / 5));
            let (harmed, _) = evidence(1.0, 0.25, 1, &alike(360), &often);
            assert!(harmed > 5.0, "{every}: {harmed}");
        }
    }

    #[test]
    fn a_harm_is_excluded_when_enough_events_say_so() {
        let mut grid = Grid::new(1.0, 0.25, 2, CAPS);
        let weights = grid.begin();
        assert_eq!(grid.excluded(&weights, 20.0), None);
        let mut last = f64::INFINITY;
        for round in 0..4 {
            for _ in 0..30 {
                let counted = Counted {
                    one_box: [1.0; CAPS_COUNT],
                    fleet: [9.0; CAPS_COUNT],
                    ..Counted::default()
                };
                grid.observe(&counted, 0.1);
            }
            let excluded = grid.excluded(&weights, 20.0).unwrap_or(f64::MAX);
            assert!(excluded <= last, "{round}: {excluded}");
            last = excluded;
        }
        assert!(last < 6.0, "{last}");
    }
}
