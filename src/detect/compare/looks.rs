//! When the many-host comparison may look, and how much of alpha each look may spend.

use serde::{Deserialize, Serialize};

use super::terms::Terms;
use crate::{
    detect::{Unsound, state::counted},
    event::Span,
};

/// Ratio of the times of two looks at all that was seen since the grace.
const GROWTH: f64 = 1.5;
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
/// How many trailing windows there are.
pub(super) const TRAILING_COUNT: usize = 3;
/// Buckets before the spread of values, or a trend, means something.
const SPREAD_BUCKETS_MIN: usize = 30;
/// Time before a trend means something.
const TREND_MIN: Span = Span::from_minutes(15);

/// The schedule of one metric, fixed before the first look. Alpha is that of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Looks {
    /// How many buckets since the grace have closed.
    count: usize,
    /// At which counts the window since the grace is looked at, ascending.
    since: Vec<usize>,
    /// Half the length of each trailing window, in buckets; 0: the bake is too short for it.
    pub(super) halves: [usize; TRAILING_COUNT],
    /// Alpha of one look.
    pub(super) alpha_since: f64,
    pub(super) alpha_trailing: [f64; TRAILING_COUNT],
    pub(super) alpha_spread: f64,
    pub(super) alpha_trend: f64,
    /// Buckets before the first look at the trend.
    trend_from: usize,
    /// Chance of excluding a harm at the tolerance, at one look.
    pub(super) beta: f64,
}

/// What a closing bucket calls for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// A look at all that was seen since the grace.
    pub(super) since: bool,
    /// A look at the spread.
    pub(super) spread: bool,
    /// A look at the trend.
    pub(super) trend: bool,
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
            .take_while(|count| *count < horizon)
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
        let used = halves.iter().filter(|half| **half > 0).count() as f64;
        let alpha_trailing = halves.map(|half| {
            let looks = horizon.checked_div(half).unwrap_or(0).saturating_sub(1);
            SHARE_TRAILING * alpha / (used * looks.max(1) as f64)
        });
        let looks = since.len() as f64;
        let spread_looks = since.iter().filter(|count| **count >= SPREAD_BUCKETS_MIN);
        let trend_from = terms.buckets(TREND_MIN).max(SPREAD_BUCKETS_MIN);
        let trend_looks = since.iter().filter(|count| **count >= trend_from).count();
        Self {
            count: 0,
            halves,
            alpha_since: SHARE_SINCE * alpha / looks,
            alpha_trailing,
            alpha_spread: SHARE_SPREAD * alpha / spread_looks.count().max(1) as f64,
            alpha_trend: SHARE_TREND * alpha / trend_looks.max(1) as f64,
            trend_from,
            beta: BETA / looks,
            since,
        }
    }

    /// Refuses a saved schedule that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of buckets", self.count as u64)?;
        self.halves
            .into_iter()
            .try_for_each(|half| counted("length of a window", half as u64))
    }

    /// Counts a bucket.
    pub(super) fn step(&mut self) -> Due {
        self.count += 1;
        let mut due = Due {
            since: self.since.binary_search(&self.count).is_ok(),
            ..Due::default()
        };
        due.spread = due.since && self.count >= SPREAD_BUCKETS_MIN;
        due.trend = due.since && self.count >= self.trend_from;
        for (index, half) in self.halves.into_iter().enumerate() {
            due.half[index] = half > 0 && self.count.is_multiple_of(half);
            due.trailing[index] = due.half[index] && self.count >= 2 * half;
        }
        due
    }

    /// How many buckets since the grace have closed.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}
