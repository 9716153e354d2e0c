//! Many series of one host → one cell: sums and means that do not depend on the order of arrival.

use crate::{
    detect::{Cell, HostId},
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
}

/// A cell: one metric of one host in one panel of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CellKey {
    pub(super) service: usize,
    pub(super) panel: usize,
    pub(super) group: usize,
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
        }
    }

    /// The order in which contributions are added up: by what they say, never by who said it first.
    fn order(&self) -> (CellKey, Share, [u64; 4]) {
        let bits = [self.value, self.min, self.max, self.events].map(f64::to_bits);
        (self.cell, self.share, bits)
    }
}

/// Adds contributions up to cells, ascending by key. A ratio without exposure gives no cell: what is
/// divided by nothing says nothing.
pub(super) fn cells(contributions: &mut [Contribution]) -> Vec<(CellKey, Cell)> {
    contributions.sort_unstable_by_key(Contribution::order);
    contributions
        .chunk_by(|a, b| a.cell == b.cell)
        .filter_map(|parts| Some((parts.first()?.cell, cell(parts)?)))
        .collect()
}

fn cell(parts: &[Contribution]) -> Option<Cell> {
    let of = |share: Share| parts.iter().filter(move |part| part.share == share);
    let sum = |share: Share| of(share).map(|part| part.value).sum::<f64>();
    let is_ratio = of(Share::Numerator)
        .chain(of(Share::Exposure))
        .next()
        .is_some();
    if is_ratio {
        let exposure = of(Share::Exposure).next().map(|_| sum(Share::Exposure))?;
        let value = sum(Share::Numerator);
        let events = of(Share::Numerator).map(|part| part.events).sum();
        return Some(Cell {
            value,
            min: value,
            max: value,
            events,
            exposure: Some(exposure),
        });
    }
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

    fn contribution(host: u32, share: Share, value: f64) -> Contribution {
        let cell = CellKey {
            service: 0,
            panel: 0,
            group: 0,
            host: HostId(host),
        };
        Contribution {
            cell,
            share,
            value,
            min: value - 1.0,
            max: value + 1.0,
            events: value,
        }
    }

    #[test]
    fn gauges_are_averaged_and_counters_summed() {
        let cells = cells(&mut [
            contribution(1, Share::Mean, 2.0),
            contribution(2, Share::Sum, 5.0),
            contribution(1, Share::Mean, 4.0),
            contribution(2, Share::Sum, 7.0),
        ]);
        let of = |index: usize| (cells[index].1.value, cells[index].1.min, cells[index].1.max);
        assert_eq!(of(0), (3.0, 1.0, 5.0));
        assert_eq!(of(1), (12.0, 12.0, 12.0));
    }

    #[test]
    fn a_ratio_needs_an_exposure_but_no_numerator() {
        assert!(cells(&mut [contribution(1, Share::Numerator, 3.0)]).is_empty());
        let zero = cells(&mut [contribution(1, Share::Exposure, 10.0)]);
        assert_eq!((zero[0].1.value, zero[0].1.exposure), (0.0, Some(10.0)));
    }

    #[test]
    fn sums_do_not_depend_on_the_order_of_arrival() {
        let values = [0.1, 0.2, 0.3, 1e16, -1e16, 0.7];
        let mut forward: Vec<_> = values
            .map(|value| contribution(1, Share::Sum, value))
            .into();
        let mut backward: Vec<_> = forward.iter().rev().copied().collect();
        let (forward, backward) = (cells(&mut forward), cells(&mut backward));
        assert_eq!(forward[0].1.value.to_bits(), backward[0].1.value.to_bits());
    }
}
