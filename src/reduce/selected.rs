//! One selected series: its points in a bucket → its partial.

use serde::{Deserialize, Serialize};

use crate::event::{Histogram, Kind, SeriesMeta, Span, Timestamp};

use super::{
    GaugePartial, Partial, Registration,
    bucket::Sample,
    counter::{Counter, CounterPoint},
    distribution::{Distribution, DistributionPoint},
    growth::{Context, Stamp},
};

/// A series that some check selects, with what is remembered of it between buckets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Selected {
    /// What the protocol told when the series was bound.
    pub(super) meta: SeriesMeta,
    pub(super) registration: Registration,
    /// When it was bound or had data last, in hours: see [`hour`].
    pub(super) heard: u32,
    counter: Counter,
    /// Only for series that ever sent a distribution.
    distribution: Option<Box<Distribution>>,
}

/// The number of the hour of a time.
pub(super) fn hour(at: Timestamp) -> u32 {
    let hours = at.nanos().div_euclid(Span::from_hours(1).nanos());
    u32::try_from(hours.max(0)).unwrap_or(u32::MAX)
}

impl Selected {
    /// A series that is bound at a time.
    pub(super) fn new(meta: SeriesMeta, registration: Registration, at: Timestamp) -> Self {
        Self {
            meta,
            registration,
            heard: hour(at),
            counter: Counter::default(),
            distribution: None,
        }
    }

    /// Reduces the samples of one bucket, ascending by time. The second result is how many of them
    /// do not fit the series. A point that is a distribution is taken as one whatever the kind;
    /// numbers beside it are not.
    pub(super) fn reduce(
        &mut self,
        samples: &[Sample],
        histograms: &mut [Histogram],
        resolution: Span,
    ) -> (Option<Partial>, u64) {
        let context = Context {
            resolution,
            host_known_since: self.registration.host_known_since.get(),
        };
        let numbers = samples.iter().filter(|sample| sample.histogram().is_none());
        let numbers = numbers.count();
        if numbers < samples.len() {
            let points = samples
                .iter()
                .filter_map(|sample| distribution_point(sample, histograms));
            let (partial, unusable) = self
                .distribution
                .get_or_insert_default()
                .reduce(points, context);
            return (partial.map(Partial::Histogram), numbers as u64 + unusable);
        }
        match self.registration.kind {
            Kind::Counter => {
                let (partial, unusable) = self
                    .counter
                    .reduce(samples.iter().map(counter_point), context);
                (partial.map(Partial::Increase), unusable)
            }
            Kind::Gauge | Kind::Summary | Kind::Unknown => {
                let partial = gauge(samples.iter().map(|sample| sample.value));
                (partial.map(Partial::Gauge), 0)
            }
            Kind::Histogram => (None, numbers as u64),
        }
    }
}

fn counter_point(sample: &Sample) -> CounterPoint {
    CounterPoint {
        stamp: stamp(sample),
        temporality: sample.temporality(),
        value: sample.value,
    }
}

/// Takes the distribution of a sample; each is taken once.
fn distribution_point(sample: &Sample, histograms: &mut [Histogram]) -> Option<DistributionPoint> {
    let taken = Histogram::Explicit {
        bounds: Vec::new(),
        counts: Vec::new(),
        sum: None,
    };
    let histogram = std::mem::replace(&mut histograms[sample.histogram()?], taken);
    Some(DistributionPoint {
        stamp: stamp(sample),
        temporality: sample.temporality(),
        histogram,
    })
}

fn stamp(sample: &Sample) -> Stamp {
    Stamp {
        at: sample.at,
        start: sample.start().into(),
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
