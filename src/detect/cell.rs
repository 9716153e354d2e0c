//! What one bucket held of one metric of one host.

use serde::{Deserialize, Serialize};

use crate::event::Span;

/// One bucket of one metric of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean of a gauge, rate per second of a counter or of log records, a quantile. With an
    /// exposure: the rate of the numerator.
    pub value: f64,
    /// Lowest sample in the bucket.
    pub min: f64,
    /// Highest sample in the bucket.
    pub max: f64,
    /// How many events: the increase of a counter, the number of log records; 0 for gauges.
    pub events: f64,
    /// Rate per second of what the value is divided by (`per`); `None`: nothing.
    pub exposure: Option<f64>,
}

impl Cell {
    /// The same events, of no more than a time: before it nothing was gained.
    pub(super) fn within(self, time: Span, resolution: Span) -> Self {
        let is_longer = || (time + resolution).seconds_f64() < self.events / self.value;
        if self.exposure.is_some() || self.events <= 0.0 || self.value <= 0.0 || !is_longer() {
            return self;
        }
        let value = self.events / time.max(resolution).seconds_f64();
        Self {
            value,
            min: value,
            max: value,
            ..self
        }
    }
}

/// A [`Cell`] in fewer bytes: an exposure is never NaN, which stands for none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "Cell", into = "Cell")]
pub(super) struct PackedCell {
    pub(super) value: f64,
    min: f64,
    max: f64,
    events: f64,
    pub(super) exposure: f64,
}

impl From<Cell> for PackedCell {
    fn from(cell: Cell) -> Self {
        let Cell {
            value,
            min,
            max,
            events,
            exposure,
        } = cell;
        Self {
            value,
            min,
            max,
            events,
            exposure: exposure.unwrap_or(f64::NAN),
        }
    }
}

impl From<PackedCell> for Cell {
    fn from(packed: PackedCell) -> Self {
        let PackedCell {
            value,
            min,
            max,
            events,
            exposure,
        } = packed;
        Self {
            value,
            min,
            max,
            events,
            exposure: (!exposure.is_nan()).then_some(exposure),
        }
    }
}
