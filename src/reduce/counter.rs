//! Points of a counter → what it gained.

use serde::{Deserialize, Serialize};

use crate::event::Temporality;

use super::{
    IncreasePartial,
    growth::{Context, Stamp},
};

/// What is remembered of a counter between buckets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counter {
    last: Option<Last>,
    /// A gain in too short a time, waiting for the next bucket; rare.
    held: Option<Box<IncreasePartial>>,
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
    /// Reduces the points of one bucket, ascending by time, all later than those before. The second
    /// result is how many points could not be used: gains below zero.
    pub(super) fn reduce(
        &mut self,
        points: impl Iterator<Item = CounterPoint>,
        context: Context,
    ) -> (Option<IncreasePartial>, u64) {
        let mut sum = self.held.take().map(|held| *held);
        let mut unusable = 0;
        for point in points {
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
        if sum.is_some_and(|sum| sum.seconds < context.seconds_min()) {
            self.held = sum.take().map(Box::new);
        }
        (sum, unusable)
    }

    fn cumulative(&mut self, point: CounterPoint, context: Context) -> Option<IncreasePartial> {
        let last = self.last.replace(Last {
            stamp: point.stamp,
            total: Some(point.value),
        });
        let Some(last) = last else {
            let seconds = context.birth_seconds(point.stamp)?;
            return Some(IncreasePartial::new(point.value, seconds, 0));
        };
        let total = last.total?;
        let restarted = point.value < total || point.stamp.restarts_after(last.stamp);
        let gain = if restarted {
            point.value
        } else {
            point.value - total
        };
        let seconds = point.stamp.seconds_since(last.stamp, restarted);
        Some(IncreasePartial::new(gain, seconds, u32::from(restarted)))
    }

    fn delta(&mut self, point: CounterPoint, context: Context) -> IncreasePartial {
        let last = self.last.replace(Last {
            stamp: point.stamp,
            total: None,
        });
        let seconds = context.delta_seconds(point.stamp, last.map(|last| last.stamp.at));
        IncreasePartial::new(point.value, seconds, 0)
    }
}

impl IncreasePartial {
    fn new(increase: f64, seconds: f64, resets: u32) -> Self {
        Self {
            increase: increase.clamp(0.0, f64::MAX),
            seconds,
            resets,
        }
    }

    fn add(&mut self, other: &Self) {
        self.increase = (self.increase + other.increase).min(f64::MAX);
        self.seconds += other.seconds;
        self.resets = self.resets.saturating_add(other.resets);
    }
}
