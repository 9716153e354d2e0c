//! The median of the last few values, kept as they come.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::detect::{Unsound, state::possible};

/// The median of the last `len` values. Windows are small (at most some hundred), so that a sorted
/// array beats every cleverer structure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::detect) struct RollingMedian {
    len: usize,
    /// Newest last; NaN where there was no value.
    order: VecDeque<f64>,
    /// The values of `order` that are not NaN, ascending.
    sorted: Vec<f64>,
}

impl RollingMedian {
    /// An empty window of `len` values (at least one).
    pub(in crate::detect) fn new(len: usize) -> Self {
        let len = len.max(1);
        Self {
            len,
            order: VecDeque::with_capacity(len),
            sorted: Vec::with_capacity(len),
        }
    }

    /// How many values it holds when it is full.
    pub(in crate::detect) fn capacity(&self) -> usize {
        self.len
    }

    /// Refuses a saved window that would not go on.
    pub(in crate::detect) fn check(&self) -> Result<(), Unsound> {
        let mut values: Vec<f64> = self.order.iter().copied().collect();
        values.retain(|value| !value.is_nan());
        values.sort_unstable_by(f64::total_cmp);
        let is_sorted = self.sorted.is_sorted() && values == self.sorted;
        possible(
            "window",
            0 < self.len && self.order.len() <= self.len && is_sorted,
        )
    }

    /// Takes the next value; NaN: there is none. Gives the value that left the window.
    pub(in crate::detect) fn push(&mut self, value: f64) -> Option<f64> {
        let mut left = None;
        if self.order.len() == self.len
            && let Some(oldest) = self.order.pop_front()
        {
            left = Some(oldest);
            if !oldest.is_nan() {
                let at = self.sorted.partition_point(|other| *other < oldest);
                self.sorted.remove(at);
            }
        }
        self.order.push_back(value);
        if !value.is_nan() {
            let at = self.sorted.partition_point(|other| *other < value);
            self.sorted.insert(at, value);
        }
        left
    }

    /// The median, if the window is full and at least half of it has values.
    pub(in crate::detect) fn median(&self) -> Option<f64> {
        let (low, high) = self.middle()?;
        Some(if low == high {
            low
        } else {
            f64::midpoint(low, high)
        })
    }

    /// The same, but of two middle values the one nearer to zero, and zero between two signs.
    pub(in crate::detect) fn median_towards_zero(&self) -> Option<f64> {
        let (low, high) = self.middle()?;
        Some(if low < 0.0 && high > 0.0 {
            0.0
        } else if low.abs() < high.abs() {
            low
        } else {
            high
        })
    }

    /// The one or two values in the middle.
    fn middle(&self) -> Option<(f64, f64)> {
        if self.order.len() < self.len || self.sorted.len() * 2 < self.len {
            return None;
        }
        let middle = self.sorted.len() / 2;
        let low = if self.sorted.len() % 2 == 1 {
            middle
        } else {
            middle - 1
        };
        Some((self.sorted[low], self.sorted[middle]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::stats::median;

    #[test]
    fn it_equals_the_median_of_the_last_values() {
        let mut rolling = RollingMedian::new(6);
        let mut all: Vec<f64> = Vec::new();
        let mut state = 12_345_u64;
        for step in 0..300 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let value = if step % 7 == 3 {
                f64::NAN
            } else {
                ((state >> 33) % 10) as f64
            };
            all.push(value);
            let left = rolling.push(value);
            if step < 6 {
                assert!(left.is_none());
            } else {
                assert_eq!(left.map(f64::to_bits), Some(all[step - 6].to_bits()));
            }
            let expected = all.len().checked_sub(6).and_then(|from| {
                let mut last: Vec<f64> = all[from..]
                    .iter()
                    .copied()
                    .filter(|value| !value.is_nan())
                    .collect();
                median(&mut last)
            });
            assert_eq!(rolling.median(), expected, "step {step}");
        }
    }

    #[test]
    fn of_two_middle_values_the_nearer_to_zero_is_taken() {
        for (values, expected) in [
            ([1.0, 2.0, 5.0, 9.0], 2.0),
            ([-9.0, -5.0, -2.0, 0.0], -2.0),
            ([-3.0, -1.0, 4.0, 5.0], 0.0),
            ([0.0, 0.0, 4.0, 4.0], 0.0),
        ] {
            let mut rolling = RollingMedian::new(4);
            for value in values {
                rolling.push(value);
            }
            assert_eq!(rolling.median_towards_zero(), Some(expected));
        }
    }

    #[test]
    fn a_window_that_is_mostly_gaps_has_no_median() {
        let mut rolling = RollingMedian::new(4);
        for value in [1.0, f64::NAN, f64::NAN, f64::NAN] {
            rolling.push(value);
        }
        assert_eq!(rolling.median(), None);
    }
}
