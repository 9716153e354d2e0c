//! One selected series: its points in a bucket → its partial.

use crate::event::{Kind, Span};

use super::{
    GaugePartial, Partial, Registration, SeriesId,
    bucket::{Datum, Sample},
    counter::{Counter, CounterPoint},
    distribution::{Distribution, DistributionPoint},
    growth::{Context, Stamp},
};

/// A series that some check selects, with what is remembered of it between buckets.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) series: SeriesId,
    pub(super) registration: Registration,
    counter: Counter,
    /// Only for series that ever sent a distribution.
    distribution: Option<Box<Distribution>>,
}

impl Selected {
    pub(super) fn new(series: SeriesId, registration: Registration) -> Self {
        Self {
            series,
            registration,
            counter: Counter::default(),
            distribution: None,
        }
    }

    /// Reduces the samples of one bucket, ascending by time. The second result is how many of them
    /// do not fit the series. A point that is a distribution is taken as one whatever the kind;
    /// numbers beside it are not.
    pub(super) fn reduce(
        &mut self,
        samples: &mut Vec<Sample>,
        resolution: Span,
    ) -> (Option<Partial>, u64) {
        let context = Context {
            resolution,
            host_known_since: self.registration.host_known_since,
        };
        let total = samples.len() as u64;
        let numbers = samples.iter().filter_map(number).count() as u64;
        if numbers < total {
            let (partial, unusable) = self
                .distribution
                .get_or_insert_default()
                .reduce(samples.drain(..).filter_map(distribution_point), context);
            return (partial.map(Partial::Histogram), numbers + unusable);
        }
        match self.registration.kind {
            Kind::Counter => {
                let points = samples
                    .drain(..)
                    .filter_map(|sample| counter_point(&sample));
                let (partial, unusable) = self.counter.reduce(points, context);
                (partial.map(Partial::Increase), unusable)
            }
            Kind::Gauge | Kind::Summary | Kind::Unknown => {
                let partial = gauge(samples.drain(..).filter_map(|sample| number(&sample)));
                (partial.map(Partial::Gauge), 0)
            }
            Kind::Histogram => {
                samples.clear();
                (None, numbers)
            }
        }
    }
}

fn number(sample: &Sample) -> Option<f64> {
    match sample.datum {
        Datum::Number(value) => Some(value),
        Datum::Histogram(_) => None,
    }
}

fn counter_point(sample: &Sample) -> Option<CounterPoint> {
    Some(CounterPoint {
        stamp: Stamp {
            at: sample.at,
            start: sample.start,
        },
        temporality: sample.temporality,
        value: number(sample)?,
    })
}

fn distribution_point(sample: Sample) -> Option<DistributionPoint> {
    match sample.datum {
        Datum::Number(_) => None,
        Datum::Histogram(histogram) => Some(DistributionPoint {
            stamp: Stamp {
                at: sample.at,
                start: sample.start,
            },
            temporality: sample.temporality,
            histogram: *histogram,
        }),
    }
}

/// Summarises a gauge's values, which come in order of time.
fn gauge(mut values: impl Iterator<Item = f64>) -> Option<GaugePartial> {
    let first = values.next()?;
    let mut partial = GaugePartial {
        count: 1,
        sum: first,
        min: first,
        max: first,
        last: first,
    };
    for value in values {
        partial.count = partial.count.saturating_add(1);
        partial.sum = (partial.sum + value).clamp(f64::MIN, f64::MAX);
        partial.min = partial.min.min(value);
        partial.max = partial.max.max(value);
        partial.last = value;
    }
    Some(partial)
}
