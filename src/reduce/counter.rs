//! Points of a counter → what it gained.

use serde::{Deserialize, Serialize};

use crate::event::{MaybeTimestamp, Temporality, Timestamp};

use super::{
    IncreasePartial, Life,
    growth::{Context, Stamp},
};

/// What is remembered of a counter between buckets: its latest point, if it had one. There is one of them
/// for each selected series, so that every byte counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "Option<Last>", into = "Option<Last>")]
pub(super) struct Counter {
    at: MaybeTimestamp,
    start: MaybeTimestamp,
    /// NaN stands for none: no point is.
    total: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Last {
    stamp: Stamp,
    /// The total; `None` after a delta point.
    total: Option<f64>,
}

/// One point of a counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterPoint {
    pub(super) stamp: Stamp,
    pub(super) temporality: Temporality,
    pub(super) value: f64,
}

impl Counter {
    /// Reduces the points of one bucket, ascending by time, all later than those before, together with
    /// what was gained in too short a time before them and was `held` back. Gives what was gained, and how
    /// many points could not be used: gains below zero. [`is_held`] says whether that has to wait.
    ///
    /// Senders of deltas leave out what gained nothing. So a delta speaks for the whole bucket at least, or
    /// one error in a bucket of a minute that was exported each ten seconds would be six a minute.
    pub(super) fn reduce(
        &mut self,
        held: Option<IncreasePartial>,
        points: impl Iterator<Item = CounterPoint>,
        context: Context,
    ) -> (Option<IncreasePartial>, u64) {
        let mut sum = held;
        let (mut unusable, mut is_delta) = (0, false);
        for point in points {
            is_delta |= point.temporality == Temporality::Delta;
            let gained = match point.temporality {
                Temporality::Cumulative => self.cumulative(point, context),
                Temporality::Delta if point.value < 0.0 => {
                    unusable += 1;
                    None
                }
                Temporality::Delta => Some(self.delta(point, context)),
            };
            let Some(gained) = gained else { continue };
            match &mut sum {
                Some(sum) => sum.add(&gained),
                None => sum = Some(gained),
            }
        }
        if let Some(sum) = &mut sum
            && is_delta
            && !is_held(sum, context)
        {
            sum.seconds = sum.seconds.max(context.resolution.seconds_f64());
        }
        (sum, unusable)
    }

    /// A counter that stood there.
    pub(super) fn at(stamp: Stamp, total: f64) -> Self {
        let total = Some(total);
        Some(Last { stamp, total }).into()
    }

    /// Notes a point; gives the one before.
    fn replace(&mut self, stamp: Stamp, total: Option<f64>) -> Option<Last> {
        let before = Option::from(*self);
        *self = Some(Last { stamp, total }).into();
        before
    }

    fn cumulative(&mut self, point: CounterPoint, context: Context) -> Option<IncreasePartial> {
        let Some(last) = self.replace(point.stamp, Some(point.value)) else {
            let seconds = context.birth_seconds(point.stamp)?;
            return Some(IncreasePartial::new(point.value, seconds, 0));
        };
        let total = last.total?;
        let life = point.stamp.life(last.stamp, (total, point.value));
        let restarted = point.value < total || point.stamp.restarts_after(last.stamp);
        let gain = if restarted {
            point.value
        } else {
            point.value - total
        };
        let seconds = point.stamp.seconds_since(last.stamp, restarted);
        Some(IncreasePartial {
            life,
            ..IncreasePartial::new(gain, seconds, u32::from(restarted))
        })
    }

    fn delta(&mut self, point: CounterPoint, context: Context) -> IncreasePartial {
        let last = self.replace(point.stamp, None);
        let seconds = context.delta_seconds(point.stamp, last.map(|last| last.stamp.at));
        IncreasePartial::new(point.value, seconds, 0)
    }
}

impl Default for Counter {
    fn default() -> Self {
        None.into()
    }
}

impl From<Option<Last>> for Counter {
    fn from(last: Option<Last>) -> Self {
        let (at, start, total) = last.map_or((None, None.into(), None), |last| {
            (Some(last.stamp.at), last.stamp.start, last.total)
        });
        Self {
            at: at.into(),
            start,
            total: total.unwrap_or(f64::NAN),
        }
    }
}

impl From<Counter> for Option<Last> {
    fn from(counter: Counter) -> Self {
        let Counter { at, start, total } = counter;
        let at: Timestamp = at.get()?;
        Some(Last {
            stamp: Stamp { at, start },
            total: (!total.is_nan()).then_some(total),
        })
    }
}

/// Whether a gain was made in so short a time that it says nothing by itself: it waits for the next bucket.
pub(super) fn is_held(gained: &IncreasePartial, context: Context) -> bool {
    gained.seconds < context.seconds_min()
}

impl IncreasePartial {
    fn new(increase: f64, seconds: f64, resets: u32) -> Self {
        Self {
            increase: increase.clamp(0.0, f64::MAX),
            seconds,
            resets,
            life: Life::Unknown,
        }
    }

    fn add(&mut self, other: &Self) {
        self.increase = (self.increase + other.increase).min(f64::MAX);
        self.seconds += other.seconds;
        self.resets = self.resets.saturating_add(other.resets);
        self.life = self.life.then(other.life, other.increase);
    }
}
