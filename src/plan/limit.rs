//! Ends of the range of `bounds`, and how they are written.

use crate::event::Unit;

/// An end of the range that a value stays in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// In the unit of the metric (rates: per second); a share of which nobody said what is the whole, in
    /// shares of 1.
    value: f64,
    form: LimitForm,
    /// The time that it is written for, where it is written for one.
    per: Option<RateTime>,
}

/// A time that rates are written for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RateTime {
    name: &'static str,
    seconds: f64,
}

const PER_SECOND: RateTime = RateTime {
    name: "s",
    seconds: 1.0,
};

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
        Self::of_form(value, LimitForm::Plain)
    }

    /// A limit of what a counter gains per second.
    pub const fn rate(value: f64) -> Self {
        Self::of_form(value, LimitForm::Rate)
    }

    /// A share of the whole, whose size the configuration does not say: 90 % is 0.9.
    pub const fn share(value: f64) -> Self {
        Self::of_form(value, LimitForm::Share)
    }

    const fn of_form(value: f64, form: LimitForm) -> Self {
        let per = None;
        Self { value, form, per }
    }

    /// The same, written for a time of so many seconds: `5/m` is for 60.
    #[must_use]
    pub fn written_for(self, seconds: f64) -> Self {
        let names = [("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
        let mut times = names
            .into_iter()
            .map(|(name, seconds)| RateTime { name, seconds });
        // What is written for less than a second is told per second.
        let per = times.find(|time| time.seconds == seconds);
        Self { per, ..self }
    }

    /// A value that is held against it, or its own, as a person reads it: where it is a rate, for the time that the
    /// limit is written for, and by default a second.
    pub fn shown(self, value: f64, is_rate: bool, number: impl Fn(f64) -> String) -> String {
        let by_default = (is_rate || self.is_rate()).then_some(PER_SECOND);
        match self.per.or(by_default) {
            Some(RateTime { name, seconds }) => format!("{}/{name}", number(value * seconds)),
            None => number(value),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_for_the_time_that_the_limit_is_written_for() {
        let shown = |limit: Limit, is_rate| limit.shown(0.5, is_rate, |value| value.to_string());
        let rate = Limit::rate(1.0);
        for (limit, is_rate, expected) in [
            (Limit::new(1.0), false, "0.5"),
            (Limit::share(1.0), false, "0.5"),
            (Limit::new(1.0), true, "0.5/s"),
            (rate, false, "0.5/s"),
            (rate.written_for(1e-3), false, "0.5/s"),
            (rate.written_for(1.0), true, "0.5/s"),
            (rate.written_for(60.0), true, "30/m"),
            (Limit::new(1.0).written_for(3_600.0), true, "1800/h"),
            (rate.written_for(86_400.0), true, "43200/d"),
        ] {
            assert_eq!(shown(limit, is_rate), expected, "{limit:?}");
        }
    }
}
