//! Ends of the range of `bounds`, and how they are written.

use crate::event::Unit;

/// An end of the range that a value stays in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// In the unit of the metric (rates: per second); a share of which nobody said what is the whole, in
    /// shares of 1.
    value: f64,
    form: LimitForm,
}

/// How a limit is written, as far as that says more than its value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LimitForm {
    Plain,
    /// `90%`, and what the whole is only the protocol can tell.
    Share,
    /// `5/m`: of a metric, what a counter gains.
    Rate,
}

impl Limit {
    /// A limit in the unit of the metric.
    pub const fn new(value: f64) -> Self {
        let form = LimitForm::Plain;
        Self { value, form }
    }

    /// A limit of what a counter gains per second.
    pub const fn rate(value: f64) -> Self {
        let form = LimitForm::Rate;
        Self { value, form }
    }

    /// A share of the whole, whose size the configuration does not say: 90 % is 0.9.
    pub const fn share(value: f64) -> Self {
        let form = LimitForm::Share;
        Self { value, form }
    }

    /// Its value for a metric of this unit.
    pub fn of(self, unit: Unit) -> f64 {
        if self.is_share() && unit == Unit::Percent {
            100.0 * self.value
        } else {
            self.value
        }
    }

    /// Whether its value depends on the unit.
    pub(crate) fn is_share(self) -> bool {
        self.form == LimitForm::Share
    }

    /// Whether only of a counter it says what is meant.
    pub(crate) fn is_rate(self) -> bool {
        self.form == LimitForm::Rate
    }
}
