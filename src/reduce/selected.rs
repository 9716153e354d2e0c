//! One selected series: its points in a bucket → its partial.

use serde::{Deserialize, Serialize};

use crate::event::{Histogram, Kind, MaybeTimestamp, SeriesMeta, Span, Timestamp};

use super::{
    GaugePartial, IncreasePartial, Partial, Registration,
    bucket::Sample,
    contradicted::Contradicted,
    counter::{Counter, CounterPoint, is_held},
    distribution::{Distribution, DistributionPoint},
    growth::{Context, Stamp},
};

/// A series that some check selects, with what is remembered of it between buckets. There may be
/// millions of them: what few have is kept elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(super) struct Selected {
    /// What the protocol told when the series was bound.
    pub(super) meta: SeriesMeta,
    /// What it is reduced as.
    pub(super) kind: Kind,
    /// When it was bound or had data last, in hours: see [`hour`].
    pub(super) heard: u32,
    host_known_since: MaybeTimestamp,
    counter: Counter,
    rare: Option<Box<Rare>>,
}

/// What few series have.
#[derive(Clone, Debug, Default)]
struct Rare {
    /// What a counter gained in too short a time, waiting for the next bucket.
    held: Option<IncreasePartial>,
    /// Only of series that ever sent a distribution.
    distribution: Option<Distribution>,
    /// The latest that was told against its kind.
    contradicted: Option<Contradicted>,
}

/// A series as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Selected")]
struct Saved {
    meta: SeriesMeta,
    registration: Registration,
    heard: u32,
    counter: Counter,
    held: Option<IncreasePartial>,
    distribution: Option<Distribution>,
    contradicted: Option<Contradicted>,
}

/// The number of the hour of a time.
pub(super) fn hour(at: Timestamp) -> u32 {
    let hours = at.nanos().div_euclid(Span::from_hours(1).nanos());
    u32::try_from(hours.max(0)).unwrap_or(u32::MAX)
}

impl Selected {
    /// A series that is bound at a time.
    pub(super) fn new(meta: SeriesMeta, registration: Registration, at: Timestamp) -> Self {
        let Registration {
            kind,
            host_known_since,
        } = registration;
        Self {
            meta,
            kind,
            heard: hour(at),
            host_known_since,
            counter: Counter::default(),
            rare: None,
        }
    }

    /// The latest that was told against its kind, if anything was.
    pub(super) fn contradicted(&self) -> Option<Contradicted> {
        self.rare.as_ref()?.contradicted
    }

    /// Notes what was told against its kind.
    pub(super) fn contradict(&mut self, told: Contradicted) {
        self.rare.get_or_insert_default().contradicted = Some(told);
    }

    /// Takes it for another kind from now on. What a gauge was last is where a counter begins.
    pub(super) fn turn(&mut self, kind: Kind) {
        if kind != Kind::Counter {
            self.counter = Counter::default();
        }
        if let Some(rare) = &mut self.rare {
            (rare.held, rare.contradicted) = (None, None);
        }
        self.kind = kind;
        // It was not born now.
        self.host_known_since = None.into();
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
            host_known_since: self.host_known_since.get(),
        };
        let numbers = samples.iter().filter(|sample| sample.histogram().is_none());
        let numbers = numbers.count();
        if numbers < samples.len() {
            let points = samples
                .iter()
                .filter_map(|sample| distribution_point(sample, histograms));
            let rare = self.rare.get_or_insert_default();
            let (partial, unusable) = rare
                .distribution
                .get_or_insert_default()
                .reduce(points, context);
            return (partial.map(Partial::Histogram), numbers as u64 + unusable);
        }
        match self.kind {
            Kind::Counter => {
                let held = self.rare.as_mut().and_then(|rare| rare.held.take());
                let points = samples.iter().map(counter_point);
                let (mut gained, unusable) = self.counter.reduce(held, points, context);
                if let Some(held) = gained.take_if(|gained| is_held(gained, context)) {
                    self.rare.get_or_insert_default().held = Some(held);
                }
                (gained.map(Partial::Increase), unusable)
            }
            Kind::Gauge | Kind::Summary | Kind::Unknown => {
                // Somebody may tell later that it counts.
                if self.meta.kind == Kind::Unknown
                    && let Some(last) = samples.last()
                {
                    self.counter = Counter::at(stamp(last), last.value);
                }
                let partial = gauge(samples.iter().map(|sample| sample.value));
                (partial.map(Partial::Gauge), 0)
            }
            Kind::Histogram => (None, numbers as u64),
        }
    }
}

impl From<Saved> for Selected {
    fn from(saved: Saved) -> Self {
        let Saved {
            meta,
            registration,
            heard,
            counter,
            held,
            distribution,
            contradicted,
        } = saved;
        let Registration {
            kind,
            host_known_since,
        } = registration;
        let is_rare = held.is_some() || distribution.is_some() || contradicted.is_some();
        let rare = Rare {
            held,
            distribution,
            contradicted,
        };
        Self {
            meta,
            kind,
            heard,
            host_known_since,
            counter,
            rare: is_rare.then(|| Box::new(rare)),
        }
    }
}

impl From<Selected> for Saved {
    fn from(selected: Selected) -> Self {
        let Selected {
            meta,
            kind,
            heard,
            host_known_since,
            counter,
            rare,
        } = selected;
        let Rare {
            held,
            distribution,
            contradicted,
        } = rare.map_or_else(Rare::default, |rare| *rare);
        Self {
            meta,
            registration: Registration {
                kind,
                host_known_since,
            },
            heard,
            counter,
            held,
            distribution,
            contradicted,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Temporality, Unit};

    const RESOLUTION: Span = Span::from_seconds(10);

    fn counter() -> Selected {
        let meta = SeriesMeta {
            kind: Kind::Counter,
            temporality: Temporality::Cumulative,
            unit: Unit::Count,
        };
        let registration = Registration {
            kind: Kind::Counter,
            host_known_since: Some(Timestamp::from_seconds(7)).into(),
        };
        Selected::new(meta, registration, Timestamp::from_seconds(7_200))
    }

    fn sample(temporality: Temporality, millis: i64, value: f64) -> Sample {
        let at = Timestamp::from_millis(7_200_000 + millis);
        let meta = SeriesMeta {
            temporality,
            ..SeriesMeta::default()
        };
        Sample::new(0, meta, at, Timestamp::MIN, value)
    }

    fn saved_and_loaded(selected: &Selected) -> Selected {
        let bytes = postcard::to_allocvec(selected).expect("it can be written");
        postcard::from_bytes(&bytes).expect("it can be read")
    }

    /// What the next bucket makes of it.
    fn gains(mut selected: Selected, samples: &[Sample]) -> Option<Partial> {
        selected.reduce(samples, &mut [], RESOLUTION).0
    }

    #[test]
    fn a_million_of_them_are_not_much() {
        assert_eq!(size_of::<Selected>(), 48);
    }

    #[test]
    fn what_a_counter_remembers_survives_a_restart() {
        use Temporality::{Cumulative, Delta};
        let next = [sample(Cumulative, 20_000, 12.0)];
        let new = counter();
        assert_eq!(
            gains(new.clone(), &next),
            gains(saved_and_loaded(&new), &next)
        );

        let mut known = counter();
        known.reduce(&[sample(Cumulative, 10_000, 5.0)], &mut [], RESOLUTION);
        let loaded = saved_and_loaded(&known);
        let Some(Partial::Increase(gained)) = gains(loaded, &next) else {
            panic!("a counter that is known gains");
        };
        assert_eq!((gained.increase, gained.seconds), (7.0, 10.0));

        // A tenth of a second says nothing yet, and waits.
        let mut hasty = counter();
        hasty.reduce(&[sample(Delta, 10_000, 3.0)], &mut [], RESOLUTION);
        let too_soon = [sample(Delta, 10_050, 2.0)];
        assert_eq!(hasty.reduce(&too_soon, &mut [], RESOLUTION), (None, 0));
        let later = [sample(Delta, 20_000, 4.0)];
        let Some(Partial::Increase(gained)) = gains(saved_and_loaded(&hasty), &later) else {
            panic!("what waited is told");
        };
        assert_eq!(gained.increase, 6.0);
        assert_eq!(gains(hasty, &later), Some(Partial::Increase(gained)));
    }
}
