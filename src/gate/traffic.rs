//! The usual traffic of a stage by hour of the week, from which its off-peak hours are learned.

use serde::{Deserialize, Serialize};

use super::off_peak::Hours;
use crate::event::{Interval, Span, Timestamp};

/// Hours of a week.
pub const HOURS_OF_WEEK: usize = 168;

const HOUR: Span = Span::from_hours(1);

/// Share of an hour that must have data, or the hour is not learned from.
const SECONDS_MIN: f64 = 1_800.0;

/// Weight of the newest week in what is usual: a change of the service's habits is followed in weeks.
const NEWEST: f64 = 0.3;

/// The usual traffic by hour of the week, in UTC: a service that follows local clocks is an hour off
/// for some weeks after they change.
///
/// An hour is off-peak when its usual traffic is in the lowest third between that of the quietest and of
/// the busiest hour. A week of hours must have been seen before anything is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// By hour of the week from Thursday 00:00, as the epoch begins; the mean rate, or nothing yet.
    usual: Vec<Option<f64>>,
    /// Start of the hour that is under way.
    hour: Option<Timestamp>,
    /// What was counted in it.
    count: f64,
    /// Seconds of it that had data.
    seconds: f64,
}

impl Traffic {
    /// Takes the rate, per second, in the bucket that has just closed. Called in order of time.
    pub fn learn(&mut self, bucket: Interval, rate: f64) {
        let hour = bucket.start.floor(HOUR);
        if self.hour != Some(hour) {
            self.settle();
            self.hour = Some(hour);
        }
        if rate.is_finite() {
            let seconds = bucket.span().seconds_f64();
            self.count += rate * seconds;
            self.seconds += seconds;
        }
    }

    /// Whether it is off-peak.
    ///
    /// # Errors
    /// Not enough is learned: how many hours of the week were seen.
    pub fn hours(&self, now: Timestamp) -> Result<Hours, usize> {
        let seen: Vec<f64> = self.usual.iter().flatten().copied().collect();
        if seen.len() < HOURS_OF_WEEK {
            return Err(seen.len());
        }
        let quietest = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let busiest = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let limit = quietest + (busiest - quietest) / 3.0;
        let is_quiet = |hour: Timestamp| seen[index(hour)] <= limit;
        let hour = now.floor(HOUR);
        if is_quiet(hour) {
            return Ok(Hours::OffPeak);
        }
        let mut later = (1..=HOURS_OF_WEEK as i64).map(|hours| hour + HOUR.times(hours));
        Ok(Hours::Peak(later.find(|hour| is_quiet(*hour))))
    }

    fn settle(&mut self) {
        if let Some(hour) = self.hour
            && SECONDS_MIN <= self.seconds
        {
            let rate = self.count / self.seconds;
            self.usual.resize(HOURS_OF_WEEK, None);
            let usual = &mut self.usual[index(hour)];
            *usual = Some(usual.map_or(rate, |usual| usual + NEWEST * (rate - usual)));
        }
        self.count = 0.0;
        self.seconds = 0.0;
    }
}

fn index(hour: Timestamp) -> usize {
    let hours = hour.nanos().div_euclid(HOUR.nanos());
    hours.rem_euclid(HOURS_OF_WEEK as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Traffic of a service that is busy from 8 to 20 h UTC, and a third of that at night, seen for so
    /// many hours from a Thursday on.
    fn learned(hours: i64) -> Traffic {
        let mut traffic = Traffic::default();
        for minute in 0..=hours * 60 {
            let start = Timestamp::from_seconds(minute * 60);
            let busy = (8..20).contains(&(minute / 60 % 24));
            let bucket = Interval {
                start,
                end: start + Span::from_minutes(1),
            };
            traffic.learn(bucket, if busy { 90.0 } else { 30.0 });
        }
        traffic
    }

    #[test]
    fn after_a_week_the_quiet_hours_are_off_peak() {
        let traffic = learned(168);
        let at = |hour: i64| Timestamp::from_seconds(168 * 3_600 + hour * 3_600 + 1_800);
        assert_eq!(traffic.hours(at(3)), Ok(Hours::OffPeak));
        let night = Timestamp::from_seconds((168 + 20) * 3_600);
        assert_eq!(traffic.hours(at(8)), Ok(Hours::Peak(Some(night))));
        assert_eq!(traffic.hours(at(19)), Ok(Hours::Peak(Some(night))));
        assert_eq!(traffic.hours(at(20)), Ok(Hours::OffPeak));
    }

    #[test]
    fn before_that_it_says_how_much_it_knows() {
        assert_eq!(Traffic::default().hours(Timestamp::from_seconds(0)), Err(0));
        assert_eq!(learned(100).hours(Timestamp::from_seconds(0)), Err(100));
    }

    #[test]
    fn an_hour_without_data_is_not_learned() {
        let mut traffic = Traffic::default();
        let bucket = |hour: i64| Interval {
            start: Timestamp::from_seconds(hour * 3_600),
            end: Timestamp::from_seconds(hour * 3_600 + 60),
        };
        for hour in 0..300 {
            traffic.learn(bucket(hour), 5.0);
        }
        assert_eq!(traffic.hours(Timestamp::from_seconds(0)), Err(0));
    }
}
