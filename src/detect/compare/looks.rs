//! When the many-host comparison may look, and how much of alpha each look may spend.

use serde::{Deserialize, Serialize};

use super::terms::Terms;
use crate::{
    detect::{
        Unsound,
        state::{counted, possible},
    },
    event::Span,
};

/// Ratio of the times of two looks at all that was seen since the grace.
const GROWTH: f64 = 1.5;
/// Two looks are at least this ratio of their times apart, or the earlier one is left out: it would spend
/// alpha on what the later one sees too.
const APART: f64 = 1.2;
/// Shares of alpha: since the grace, trailing windows, spread, trend.
const SHARE_SINCE: f64 = 0.5;
const SHARE_TRAILING: f64 = 0.3;
const SHARE_SPREAD: f64 = 0.1;
const SHARE_TREND: f64 = 0.1;
/// Chance of excluding a harm that is as large as the tolerance.
const BETA: f64 = 0.05;
/// The trailing windows.
const TRAILING: [Span; TRAILING_COUNT] = [
    Span::from_minutes(5),
    Span::from_minutes(15),
    Span::from_minutes(60),
];
/// What a trailing window spends, relative to the others: the longest tells the smallest harm apart from
/// chance, and what the shortest can find is large.
const TRAILING_WEIGHTS: [f64; TRAILING_COUNT] = [0.2, 0.3, 0.5];
/// The trailing window that is asked for the spread of values too, beside all since the grace.
pub(super) const SPREAD_WINDOW: usize = TRAILING_COUNT - 1;
/// How many trailing windows there are.
pub(super) const TRAILING_COUNT: usize = 3;
/// Buckets before the spread of values, or a trend, means something.
const SPREAD_BUCKETS_MIN: usize = 30;
/// Time before a trend means something.
const TREND_MIN: Span = Span::from_minutes(15);

/// The schedule of one metric, fixed before the first look. Alpha is that of one side.
///
/// What is spent grows with the square root of what has been seen. Early looks can only find what is
/// large against the noise, which needs little alpha; what is small is found late or never. With
/// equal shares the last of twenty looks would have a twentieth; so it has a fifth, and the smallest
/// effect that it sees is an eighth smaller, while the first looks need one a quarter larger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Looks {
    /// How many buckets since the grace have closed.
    count: usize,
    /// At which counts the window since the grace is looked at, ascending; the last is the end.
    since: Vec<usize>,
    /// Half the length of each trailing window, in buckets; 0: the bake is too short for it.
    pub(super) halves: [usize; TRAILING_COUNT],
    /// Alpha of all looks since the grace, of all at the spread, and of all at the trend.
    since_alpha: f64,
    spread_alpha: f64,
    trend_alpha: f64,
    /// Alpha of one look.
    pub(super) alpha_trailing: [f64; TRAILING_COUNT],
    /// Buckets before the first look at the trend.
    trend_from: usize,
    /// Chance of excluding a harm at the tolerance, at one look.
    pub(super) beta: f64,
}

/// What a closing bucket calls for: alphas of looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Due {
    /// A look at all that was seen since the grace.
    pub(super) since: Option<f64>,
    /// A look at the spread since the grace.
    pub(super) spread: Option<f64>,
    /// A look at the spread in the longest trailing window.
    pub(super) spread_latest: Option<f64>,
    /// A look at the trend.
    pub(super) trend: Option<f64>,
    /// A half of the window ended.
    pub(super) half: [bool; TRAILING_COUNT],
    /// A look at the trailing window.
    pub(super) trailing: [bool; TRAILING_COUNT],
}

impl Looks {
    /// Plans the looks of one metric with this alpha for each side.
    pub(super) fn new(terms: &Terms, alpha: f64) -> Self {
        let horizon = terms.horizon();
        let mut since: Vec<usize> = (0..64)
            .map(|step| GROWTH.powi(step).ceil() as usize)
            .take_while(|count| *count as f64 * APART <= horizon as f64)
            .collect();
        since.push(horizon);
        if terms.grace_until < terms.bake_min_until {
            since.push(terms.buckets(terms.bake_min_until - terms.grace_until));
        }
        since.retain(|count| *count <= horizon);
        since.sort_unstable();
        since.dedup();
        let mut halves = [0; TRAILING_COUNT];
        for (index, span) in TRAILING.iter().enumerate() {
            let half = (terms.buckets(*span) / 2).max(1);
            let is_new = !halves[..index].contains(&half);
            // The first and shortest always exists: it confirms what others found.
            if index == 0 || (is_new && 2 * half < horizon) {
                halves[index] = half;
            }
        }
        let used = halves.iter().zip(TRAILING_WEIGHTS);
        let used = used.filter(|(half, _)| **half > 0);
        let whole: f64 = used.map(|(_, weight)| weight).sum();
        let alpha_trailing = std::array::from_fn(|window| {
            let looks = looks_at(halves[window], horizon);
            SHARE_TRAILING * alpha * TRAILING_WEIGHTS[window] / (whole * looks)
        });
        let looks = since.len() as f64;
        Self {
            count: 0,
            halves,
            since_alpha: SHARE_SINCE * alpha,
            spread_alpha: SHARE_SPREAD * alpha,
            trend_alpha: SHARE_TREND * alpha,
            alpha_trailing,
            trend_from: terms.buckets(TREND_MIN).max(SPREAD_BUCKETS_MIN),
            beta: BETA / looks,
            since,
        }
    }

    /// Refuses a saved schedule that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of buckets", self.count as u64)?;
        possible("number of looks", !self.since.is_empty())?;
        self.halves
            .into_iter()
            .try_for_each(|half| counted("length of a window", half as u64))
    }

    /// Counts a bucket; `is_last`: the bake ends with it, also where judging began late.
    pub(super) fn step(&mut self, is_last: bool) -> Due {
        self.count += 1;
        let horizon = self.horizon();
        let is_end = self.count == horizon || (is_last && self.count < horizon);
        let mut due = Due::default();
        for (index, half) in self.halves.into_iter().enumerate() {
            due.half[index] = half > 0 && self.count.is_multiple_of(half);
            let is_turn = due.half[index] || is_end;
            due.trailing[index] = half > 0 && is_turn && 2 * half <= self.count;
        }
        if is_end || self.since.binary_search(&self.count).is_ok() {
            let at = if is_end { horizon } else { self.count };
            due.since = self.share(self.since_alpha, 1, at);
            due.trend = self.share(self.trend_alpha, self.trend_from, at);
            due.spread = self.share(self.spread_share(), SPREAD_BUCKETS_MIN, at);
            if self.count < SPREAD_BUCKETS_MIN {
                due.spread = None;
            }
            if self.count < self.trend_from {
                due.trend = None;
            }
        }
        if due.trailing[SPREAD_WINDOW] {
            let looks = looks_at(self.halves[SPREAD_WINDOW], horizon);
            due.spread_latest = Some(self.spread_share() / looks);
        }
        due
    }

    /// What the spread may spend since the grace, and again in the longest trailing window if there is
    /// one.
    fn spread_share(&self) -> f64 {
        if self.halves[SPREAD_WINDOW] > 0 {
            0.5 * self.spread_alpha
        } else {
            self.spread_alpha
        }
    }

    /// What the latest look at all since the grace could spend.
    pub(super) fn alpha_since(&self) -> f64 {
        let spent = self.share(self.since_alpha, 1, self.count);
        spent.unwrap_or(self.since_alpha)
    }

    /// The part of `alpha` of the latest look up to a count, among those from `from` on.
    fn share(&self, alpha: f64, from: usize, count: usize) -> Option<f64> {
        let mut looks = self.since.iter().filter(|look| from <= **look);
        let weight = |look: &usize| (*look as f64).sqrt();
        let whole: f64 = looks.clone().map(weight).sum();
        let latest = looks.rfind(|look| **look <= count)?;
        Some(alpha * weight(latest) / whole)
    }

    /// How many buckets will be judged.
    fn horizon(&self) -> usize {
        self.since.last().copied().unwrap_or(1)
    }

    /// How many buckets since the grace have closed.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// How often a trailing window is looked at: when it is full, then whenever a half of it ends, and at
/// the end.
fn looks_at(half: usize, horizon: usize) -> f64 {
    let full = horizon.checked_div(half).unwrap_or(0).saturating_sub(1);
    let is_odd = half > 0 && 2 * half < horizon && !horizon.is_multiple_of(half);
    (full + usize::from(is_odd)).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::compare::terms::Sides, event::Timestamp};

    fn looks(buckets: i64, bake_min: i64) -> Looks {
        let at = |bucket: i64| Timestamp::from_seconds(1_772_359_200 + 10 * bucket);
        let terms = Terms {
            began_at: at(0),
            past_until: at(0),
            past_shares: None,
            grace_until: at(0),
            bake_min_until: at(bake_min),
            bake_until: at(buckets),
            resolution: Span::from_seconds(10),
            alpha: 0.01,
            weight: 1.0,
            tolerance: None,
            sides: Sides::Up,
            is_log: false,
            has_per: false,
            is_everything: false,
        };
        Looks::new(&terms, 0.01)
    }

    /// What is spent from a first bucket on, which is late where judging begins late.
    fn spent(buckets: i64, bake_min: i64, late: i64) -> [f64; 4] {
        let mut looks = looks(buckets, bake_min);
        let mut spent = [0.0; 4];
        for bucket in late..buckets {
            let due = looks.step(bucket == buckets - 1);
            spent[0] += due.since.unwrap_or(0.0);
            let trailing = due.trailing.into_iter().zip(looks.alpha_trailing);
            spent[1] += trailing
                .map(|(due, alpha)| if due { alpha } else { 0.0 })
                .sum::<f64>();
            spent[2] += due.spread.unwrap_or(0.0) + due.spread_latest.unwrap_or(0.0);
            spent[3] += due.trend.unwrap_or(0.0);
        }
        spent
    }

    #[test]
    fn no_bake_spends_more_than_alpha_and_one_of_some_length_all_of_it() {
        let shares = [SHARE_SINCE, SHARE_TRAILING, SHARE_SPREAD, SHARE_TREND];
        for (buckets, bake_min) in [
            (1, 1),
            (7, 3),
            (59, 10),
            (659, 360),
            (2_160, 60),
            (8_640, 0),
        ] {
            for late in [0, 3] {
                let spent = spent(buckets, bake_min, late);
                for (spent, share) in spent.into_iter().zip(shares) {
                    let allowed = share * 0.01;
                    assert!(spent <= allowed * (1.0 + 1e-9), "{buckets} {late}: {spent}");
                    let is_long = 400 <= buckets && late == 0;
                    assert!(!is_long || 0.999 * allowed < spent, "{buckets}: {spent}");
                }
            }
        }
    }

    #[test]
    fn the_last_look_may_spend_the_most_and_is_not_lost_where_judging_begins_late() {
        let mut looks = looks(660, 660);
        let alphas: Vec<f64> = (0..657)
            .filter_map(|bucket| looks.step(bucket == 656).since)
            .collect();
        assert!(alphas.is_sorted(), "{alphas:?}");
        assert!(10.0 * alphas[0] < alphas[alphas.len() - 1]);
        assert!(
            0.15 * SHARE_SINCE * 0.01 < alphas[alphas.len() - 1],
            "{alphas:?}"
        );
    }
}
