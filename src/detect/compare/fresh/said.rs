//! What hosts said, so that it can be put together to a level.

use serde::{Deserialize, Serialize};

use super::{FreshTest, LOOKS_PER_BLOCK, Recent, SAMPLES_MIN, SINCE_MAX};
use crate::detect::{
    compare::sample::without_worst,
    stats::{mean, median},
};

/// What was said in one bucket. Where windows are compared by ratios of sums these are numerator and denominator,
/// else a number on the working scale, of one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareSaid")]
pub(super) struct Said {
    pub(super) sum: f64,
    of: f64,
}

impl Said {
    /// There was no sample.
    pub(super) const NOTHING: Self = Self {
        sum: f64::NAN,
        of: 1.0,
    };

    pub(super) fn is_any(&self) -> bool {
        self.sum.is_finite() && 0.0 < self.of
    }
}

/// The sum of what was said.
fn sum(said: impl IntoIterator<Item = Said>) -> Said {
    let none = Said { sum: 0.0, of: 0.0 };
    said.into_iter().fold(none, |sum, said| Said {
        sum: sum.sum + said.sum,
        of: sum.of + said.of,
    })
}

impl FreshTest {
    /// Takes what a host said of one bucket.
    pub(super) fn said(&self, (value, exposure): (f64, f64)) -> Said {
        if self.working.is_ratio() {
            Said {
                sum: value,
                of: exposure,
            }
        } else {
            Said {
                sum: self.working.of_sums(value, exposure),
                of: 1.0,
            }
        }
    }

    /// The level of a host over a window, if it has enough samples. What is often zero, or of an exposure, is added
    /// up: its middle is mostly zero, however much of it there is.
    pub(super) fn level(&self, said: impl Iterator<Item = Said>) -> Option<f64> {
        let any: Vec<Said> = said.filter(Said::is_any).collect();
        if any.len() < SAMPLES_MIN {
            return None;
        }
        if self.working.is_ratio() {
            let whole = sum(any);
            return Some(self.working.of_sums(whole.sum, whole.of));
        }
        let mut numbers: Vec<f64> = any.iter().map(|said| said.sum).collect();
        if self.is_share {
            mean(numbers)
        } else {
            median(&mut numbers)
        }
    }

    /// The level of a host over the latest block, from where it usually is.
    pub(super) fn latest(&self, recent: &Recent) -> Option<f64> {
        let level = self.level(recent.values.iter().copied());
        level.map(|level| level - recent.place)
    }

    /// The same without the value that is farthest up, and without the one that is farthest down, of a share.
    pub(super) fn rest_of(recent: &Recent) -> [f64; 2] {
        let numbers: Vec<f64> = recent.values.iter().map(|said| said.sum).collect();
        without_worst(&numbers).map(|level| level - recent.place)
    }

    /// Remembers what the one-box said.
    pub(super) fn remember(&mut self) {
        if !self.count.is_multiple_of(self.since_stride) {
            return;
        }
        let latest = self
            .one_box
            .iter()
            .filter_map(|recent| recent.values.back());
        let whole = sum(latest.copied().filter(Said::is_any));
        if 0.0 < whole.of {
            self.since.push(if self.working.is_ratio() {
                whole
            } else {
                Said {
                    sum: whole.sum / whole.of,
                    of: 1.0,
                }
            });
        }
        if self.since.len() == SINCE_MAX {
            let mut index = 0;
            self.since.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.since_stride *= 2;
        }
    }

    /// The level of the one-box since the grace, as far as it is harm on each side (up, down).
    ///
    /// A burst of what is mostly zero is a giant beside a fleet that just then has none, and most of what a host
    /// had in all of an hour. So it is no level of the host before it is there in what was before the latest block,
    /// too; where that is too little, before each part of that block shows it.
    pub(super) fn since(&self) -> Option<[f64; 2]> {
        let places = self.one_box.iter().map(|recent| recent.place);
        let place = mean(places).unwrap_or(0.0);
        let level = |said: &[Said]| Some(self.level(said.iter().copied())? - place);
        if !self.working.is_ratio() {
            return level(&self.since).map(|level| [level; 2]);
        }
        // Scrapes seldom come in every bucket.
        let block = (self.block * self.since.len())
            .div_ceil(self.count.max(1))
            .max(1);
        let (before, latest) = self.since.split_at(self.since.len().saturating_sub(block));
        if 2 * block <= before.len() {
            return level(before).map(|level| [level; 2]);
        }
        let parts = latest.chunks(block.div_ceil(LOOKS_PER_BLOCK));
        let levels = parts.map(|part| {
            let whole = sum(part.iter().copied());
            self.working.of_sums(whole.sum, whole.of) - place
        });
        let none = [f64::INFINITY, f64::NEG_INFINITY];
        let ends = levels.fold(none, |[low, high], level| [low.min(level), high.max(level)]);
        ends[0].is_finite().then_some(ends)
    }
}
