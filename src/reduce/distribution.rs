//! Points of a distribution → the values that were added to it.

use serde::{Deserialize, Serialize};

use crate::event::{Histogram, Temporality};

use super::{
    HistogramPartial, Life,
    growth::{Context, Stamp},
    histogram::{merge, subtract},
};

/// What is remembered of a distribution between buckets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Distribution {
    last: Option<Last>,
    /// What was added in too short a time, waiting for the next bucket.
    held: Option<HistogramPartial>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Last {
    stamp: Stamp,
    /// All values so far; `None` after a delta point.
    total: Option<Histogram>,
}

/// One point of a distribution.
#[derive(Debug)]
pub(super) struct DistributionPoint {
    pub(super) stamp: Stamp,
    pub(super) temporality: Temporality,
    pub(super) histogram: Histogram,
}

impl Distribution {
    /// Reduces the points of one bucket, ascending by time, all later than those before. The second
    /// result is how many points could not be used: buckets changed in between, and only what came
    /// after the change is kept.
    pub(super) fn reduce(
        &mut self,
        points: impl Iterator<Item = DistributionPoint>,
        context: Context,
    ) -> (Option<HistogramPartial>, u64) {
        let mut sum = self.held.take();
        let mut unusable = 0;
        for point in points {
            let gained = match point.temporality {
                Temporality::Cumulative => self.cumulative(point, context),
                Temporality::Delta => Some(self.delta(point, context)),
            };
            let Some(gained) = gained else { continue };
            let Some(sum) = &mut sum else {
                sum = Some(gained);
                continue;
            };
            let resets = sum.resets.saturating_add(gained.resets);
            let life = sum.life.then(gained.life, gained.histogram.count());
            if merge(&mut sum.histogram, &gained.histogram).is_ok() {
                sum.seconds += gained.seconds;
            } else {
                unusable += 1;
                *sum = gained;
            }
            (sum.resets, sum.life) = (resets, life);
        }
        if sum
            .as_ref()
            .is_some_and(|sum| sum.seconds < context.seconds_min())
        {
            self.held = sum.take();
        }
        (sum, unusable)
    }

    fn cumulative(
        &mut self,
        point: DistributionPoint,
        context: Context,
    ) -> Option<HistogramPartial> {
        let total = point.histogram;
        let Some(last) = self.last.take() else {
            let seconds = context.birth_seconds(point.stamp);
            self.remember(point.stamp, Some(total.clone()));
            return Some(HistogramPartial {
                histogram: total,
                seconds: seconds?,
                resets: 0,
                life: Life::Unknown,
            });
        };
        let counts = last
            .total
            .as_ref()
            .map(|before| (before.count(), total.count()));
        let life = counts.map_or(Life::Unknown, |counts| point.stamp.life(last.stamp, counts));
        let gained = match &last.total {
            None => None,
            Some(_) if point.stamp.restarts_after(last.stamp) => Some((total.clone(), true)),
            Some(before) => Some(match subtract(&total, before) {
                Some(gained) => (gained, false),
                None => (total.clone(), true),
            }),
        };
        self.remember(point.stamp, Some(total));
        let (histogram, restarted) = gained?;
        Some(HistogramPartial {
            histogram,
            seconds: point.stamp.seconds_since(last.stamp, restarted),
            resets: u32::from(restarted),
            life,
        })
    }

    fn delta(&mut self, point: DistributionPoint, context: Context) -> HistogramPartial {
        let previous = self.last.take().map(|last| last.stamp.at);
        self.remember(point.stamp, None);
        HistogramPartial {
            histogram: point.histogram,
            seconds: context.delta_seconds(point.stamp, previous),
            resets: 0,
            life: Life::Unknown,
        }
    }

    fn remember(&mut self, stamp: Stamp, total: Option<Histogram>) {
        self.last = Some(Last { stamp, total });
    }
}
