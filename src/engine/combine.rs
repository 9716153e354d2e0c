//! Many series of one host → one cell: sums and means that do not depend on the order of arrival.

use crate::{
    detect::{Cell, HostId, Place, RatioWords, Word},
    event::Span,
    reduce::Partial,
};

/// What one series gives to one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Contribution {
    /// The cell.
    pub(super) cell: CellKey,
    /// Which part of the cell.
    pub(super) share: Share,
    /// Level: mean of a gauge, rate of a counter.
    pub(super) value: f64,
    /// Lowest sample.
    pub(super) min: f64,
    /// Highest sample.
    pub(super) max: f64,
    /// Events in the bucket.
    pub(super) events: f64,
    /// The time that it is of, in seconds; `None`: the bucket.
    pub(super) seconds: Option<f64>,
    /// Whether its series began anew.
    pub(super) has_restarted: bool,
}

/// What contributions make of a place in a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gathered {
    /// Its cell.
    Cell(Cell),
    /// Words of the ratio that is there.
    Ratio(RatioWords),
}

/// A cell: one metric of one host in one panel of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CellKey {
    pub(super) service: usize,
    pub(super) panel: u32,
    pub(super) place: Place,
    /// The host that the place is of.
    pub(super) host: HostId,
}

/// Which part of a cell a contribution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    /// Values of which the mean is taken.
    Mean,
    /// Rates that are summed.
    Sum,
    /// Part of the numerator.
    Numerator,
    /// Part of the exposure.
    Exposure,
}

impl Contribution {
    /// What a partial gives to a cell. A counter's rate is summed, a gauge's mean is averaged,
    /// unless the configuration puts it into a ratio.
    pub(super) fn new(cell: CellKey, partial: &Partial, share: Option<Share>) -> Self {
        let value = partial.level();
        let (share_of_kind, min, max, events) = match partial {
            Partial::Gauge(gauge) => (Share::Mean, gauge.min, gauge.max, 0.0),
            Partial::Increase(increase) => (Share::Sum, value, value, increase.increase),
            Partial::Histogram(added) => (Share::Sum, value, value, added.histogram.count()),
        };
        Self {
            cell,
            share: share.unwrap_or(share_of_kind),
            value,
            min,
            max,
            events,
            seconds: seconds(partial),
            has_restarted: 0 < partial.resets(),
        }
    }

    /// The order in which contributions are added up: by what they say, never by who said it first.
    fn order(&self) -> (CellKey, Share, [u64; 4]) {
        let bits = [self.value, self.min, self.max, self.events].map(f64::to_bits);
        (self.cell, self.share, bits)
    }
}

/// The time that a partial is of, in seconds; `None`: the bucket.
pub(super) fn seconds(partial: &Partial) -> Option<f64> {
    match partial {
        Partial::Gauge(_) => None,
        Partial::Increase(increase) => Some(increase.seconds),
        Partial::Histogram(added) => Some(added.seconds),
    }
}

/// The cell that a series makes alone: the same as [`gather`] would make of it.
pub(super) fn sole(partial: &Partial) -> Option<Cell> {
    let value = partial.level();
    let (min, max, events) = match partial {
        Partial::Gauge(gauge) => (
            f64::INFINITY.min(gauge.min),
            f64::NEG_INFINITY.max(gauge.max),
            // Also the sign of this zero is that of a sum of none.
            std::iter::empty::<f64>().sum(),
        ),
        Partial::Increase(increase) => (value, value, increase.increase),
        Partial::Histogram(added) => (value, value, added.histogram.count()),
    };
    value.is_finite().then_some(Cell {
        value,
        min,
        max,
        events,
        exposure: None,
    })
}

/// Adds the contributions of a bucket up, ascending by key.
pub(super) fn gather(
    contributions: &mut [Contribution],
    bucket: Span,
) -> impl Iterator<Item = (CellKey, Gathered)> {
    contributions.sort_unstable_by_key(Contribution::order);
    contributions
        .chunk_by(|a, b| a.cell == b.cell)
        .filter_map(move |parts| {
            let words = ratio(parts, bucket);
            let gathered = match words {
                Some(words) => Gathered::Ratio(words),
                None => Gathered::Cell(cell(parts)?),
            };
            Some((parts.first()?.cell, gathered))
        })
}

/// What contributions say of the sides of a ratio, if they are of one.
fn ratio(parts: &[Contribution], bucket: Span) -> Option<RatioWords> {
    let of = |share: Share| parts.iter().filter(move |part| part.share == share);
    let side = |share: Share| {
        of(share).next()?;
        let seconds = of(share).map(|part| part.seconds.unwrap_or(bucket.seconds_f64()));
        Some(Word {
            rate: of(share).map(|part| part.value).sum(),
            seconds: seconds.fold(0.0, f64::max),
            events: of(share).map(|part| part.events).sum(),
        })
    };
    let words = RatioWords {
        numerator: side(Share::Numerator),
        exposure: side(Share::Exposure),
        has_restarted: of(Share::Exposure).any(|part| part.has_restarted),
        is_replaced: false,
    };
    (words.numerator.is_some() || words.exposure.is_some()).then_some(words)
}

fn cell(parts: &[Contribution]) -> Option<Cell> {
    let of = |share: Share| parts.iter().filter(move |part| part.share == share);
    let sum = |share: Share| of(share).map(|part| part.value).sum::<f64>();
    let (means, sums) = (of(Share::Mean).count(), of(Share::Sum).count());
    let mut value = sum(Share::Sum);
    if means > 0 {
        value += sum(Share::Mean) / means as f64;
    }
    let (min, max) = if sums > 0 {
        (value, value)
    } else {
        let min = parts
            .iter()
            .map(|part| part.min)
            .fold(f64::INFINITY, f64::min);
        let max = parts
            .iter()
            .map(|part| part.max)
            .fold(f64::NEG_INFINITY, f64::max);
        (min, max)
    };
    let events = of(Share::Sum).map(|part| part.events).sum();
    value.is_finite().then_some(Cell {
        value,
        min,
        max,
        events,
        exposure: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::{GroupKey, Panel},
        event::{Kind, Unit},
        reduce::{GaugePartial, IncreasePartial},
    };

    /// Cells of as many hosts as asked for.
    fn keys<const COUNT: usize>() -> [CellKey; COUNT] {
        let mut panel = Panel::new(Span::from_seconds(10), 1);
        let group = panel.group_index(&GroupKey::default(), Kind::Gauge, Unit::Unknown);
        std::array::from_fn(|index| {
            let host = HostId(index as u32);
            CellKey {
                service: 0,
                panel: 0,
                place: panel.bind(group, host),
                host,
            }
        })
    }

    fn contribution(cell: CellKey, share: Share, value: f64) -> Contribution {
        Contribution {
            cell,
            share,
            value,
            min: value - 1.0,
            max: value + 1.0,
            events: value,
            seconds: None,
            has_restarted: false,
        }
    }

    fn gathered(contributions: &mut [Contribution]) -> Vec<Gathered> {
        let gathered = gather(contributions, Span::from_seconds(10));
        gathered.map(|(_, gathered)| gathered).collect()
    }

    fn sums(contributions: &mut [Contribution]) -> Vec<Cell> {
        let cells = gathered(contributions)
            .into_iter()
            .map(|gathered| match gathered {
                Gathered::Cell(cell) => cell,
                Gathered::Ratio(words) => panic!("a ratio: {words:?}"),
            });
        cells.collect()
    }

    #[test]
    fn gauges_are_averaged_and_counters_summed() {
        let [gauge, counter] = keys();
        let cells = sums(&mut [
            contribution(gauge, Share::Mean, 2.0),
            contribution(counter, Share::Sum, 5.0),
            contribution(gauge, Share::Mean, 4.0),
            contribution(counter, Share::Sum, 7.0),
        ]);
        let of = |index: usize| (cells[index].value, cells[index].min, cells[index].max);
        assert_eq!(of(0), (3.0, 1.0, 5.0));
        assert_eq!(of(1), (12.0, 12.0, 12.0));
    }

    #[test]
    fn each_side_of_a_ratio_is_summed_by_itself() {
        let [key, other] = keys();
        let mut parts = [
            contribution(key, Share::Exposure, 10.0),
            contribution(key, Share::Numerator, 3.0),
            contribution(key, Share::Exposure, 5.0),
            contribution(other, Share::Exposure, 1.0),
        ];
        (parts[0].seconds, parts[0].has_restarted) = (Some(60.0), true);
        let word = |rate, seconds| Word {
            rate,
            seconds,
            events: rate,
        };
        let words = RatioWords {
            numerator: Some(word(3.0, 10.0)),
            exposure: Some(word(15.0, 60.0)),
            has_restarted: true,
            is_replaced: false,
        };
        let without = RatioWords {
            exposure: Some(word(1.0, 10.0)),
            ..RatioWords::default()
        };
        assert_eq!(gathered(&mut parts), [words, without].map(Gathered::Ratio));
    }

    #[test]
    fn sums_do_not_depend_on_the_order_of_arrival() {
        let [key] = keys();
        let values = [0.1, 0.2, 0.3, 1e16, -1e16, 0.7];
        let mut forward: Vec<_> = values
            .map(|value| contribution(key, Share::Sum, value))
            .into();
        let mut backward: Vec<_> = forward.iter().rev().copied().collect();
        let (forward, backward) = (sums(&mut forward), sums(&mut backward));
        assert_eq!(forward[0].value.to_bits(), backward[0].value.to_bits());
    }

    #[test]
    fn a_series_alone_makes_the_cell_that_it_makes_among_one() {
        let [key] = keys();
        let mut checked = 0;
        for value in [0.0, -0.0, 0.1, -3.5, 1e300, f64::MAX, f64::MIN_POSITIVE] {
            for count in [1, 3] {
                let gauge = Partial::Gauge(GaugePartial {
                    count,
                    sum: value,
                    min: value,
                    max: value,
                    last: value,
                });
                let counter = Partial::Increase(IncreasePartial {
                    increase: value.abs(),
                    seconds: f64::from(count) / 10.0,
                    resets: 0,
                    life: crate::reduce::Life::Unknown,
                });
                for partial in [gauge, counter] {
                    let among_one = sums(&mut [Contribution::new(key, &partial, None)]);
                    let alone: Vec<Cell> = sole(&partial).into_iter().collect();
                    // Also the sign of a zero.
                    assert_eq!(format!("{alone:?}"), format!("{among_one:?}"));
                    checked += alone.len();
                }
            }
        }
        assert!(20 < checked, "{checked}");
    }
}
