//! Off-peak windows: when a deployment may start, by the clock of an IANA time zone.
//!
//! The zones are those that are compiled in, so that the same configuration means the same on every
//! machine and in every replay. A time of day that does not exist, since clocks were put forward over
//! it, is the next instant that does; one that exists twice is the first of the two. A window ends by
//! the local clock too: in the two nights of the year it is an hour shorter or longer in real time.

use jiff::{
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use crate::event::Timestamp;

/// How many days ahead the next window is looked for: one that a change of clocks swallows comes
/// again on the next day.
const DAYS_AHEAD: usize = 9;

const MINUTES_OF_DAY: u16 = 24 * 60;

/// Whether an instant is off-peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hours {
    /// It is.
    OffPeak,
    /// It is not; where it is known, when it will be.
    Peak(Option<Timestamp>),
}

/// Whether `now` is in one of the windows of the day: minutes `[from, to)` of local time, over midnight
/// where `from > to`. A zone that is not known has no off-peak hours.
pub fn hours(zone: &str, windows: &[(u16, u16)], now: Timestamp) -> Hours {
    let zone = TimeZoneDatabase::bundled().get(zone);
    let at = jiff::Timestamp::from_nanosecond(i128::from(now.nanos()));
    let (Ok(zone), Ok(at)) = (zone, at) else {
        return Hours::Peak(None);
    };
    let today = zone.to_datetime(at).date();
    // A window of the day before may run over midnight, and clocks over the date line.
    let first = [
        today.yesterday(),
        today.yesterday().and_then(Date::yesterday),
    ];
    let mut day = first.into_iter().flatten().last().unwrap_or(today);
    let mut next: Option<Timestamp> = None;
    for _ in 0..DAYS_AHEAD {
        for (from, to) in windows {
            let Some((start, end)) = on_day(&zone, day, *from, *to) else {
                continue;
            };
            if start <= now && now < end {
                return Hours::OffPeak;
            }
            if now < start && start < end {
                next = Some(next.map_or(start, |next| next.min(start)));
            }
        }
        match day.tomorrow() {
            Ok(tomorrow) => day = tomorrow,
            Err(_) => break,
        }
    }
    Hours::Peak(next)
}

/// The window that begins on a day of the zone. It is empty where a change of clocks swallows it.
fn on_day(zone: &TimeZone, day: Date, from: u16, to: u16) -> Option<(Timestamp, Timestamp)> {
    let last = if to <= from {
        day.tomorrow().ok()?
    } else {
        day
    };
    Some((instant(zone, day, from)?, instant(zone, last, to)?))
}

fn instant(zone: &TimeZone, day: Date, minute: u16) -> Option<Timestamp> {
    let (day, minute) = if minute == MINUTES_OF_DAY {
        (day.tomorrow().ok()?, 0)
    } else {
        (day, minute)
    };
    let hour = i8::try_from(minute / 60).ok()?;
    let minute = i8::try_from(minute % 60).ok()?;
    let local = day.to_datetime(Time::new(hour, minute, 0, 0).ok()?);
    let at = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
        AmbiguousOffset::Gap { after, .. } => {
            // Read by the clock that is put forward, the time lies before the change.
            let earlier = after.to_timestamp(local).ok()?;
            zone.following(earlier).next()?.timestamp()
        }
    };
    i64::try_from(at.as_nanosecond())
        .ok()
        .map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// What is said in a zone with one window, at each of some instants.
    fn check(zone: &str, window: (u16, u16), cases: &[(&str, Result<(), &str>)]) {
        for (now, expected) in cases {
            let expected = match expected {
                Ok(()) => Hours::OffPeak,
                Err(next) => Hours::Peak(Some(at(next))),
            };
            assert_eq!(hours(zone, &[window], at(now)), expected, "{zone} {now}");
        }
    }

    #[test]
    fn a_window_over_midnight_holds_both_its_days() {
        check(
            "Europe/Warsaw",
            (22 * 60, 6 * 60),
            &[
                ("2026-01-10T20:59:59Z", Err("2026-01-10T21:00:00Z")),
                ("2026-01-10T21:00:00Z", Ok(())),
                ("2026-01-10T23:30:00Z", Ok(())),
                ("2026-01-11T04:59:59Z", Ok(())),
                ("2026-01-11T05:00:00Z", Err("2026-01-11T21:00:00Z")),
                // Summer time is an hour ahead.
                ("2026-07-10T19:59:59Z", Err("2026-07-10T20:00:00Z")),
                ("2026-07-11T03:59:59Z", Ok(())),
                ("2026-07-11T04:00:00Z", Err("2026-07-11T20:00:00Z")),
            ],
        );
    }

    #[test]
    fn a_time_that_clocks_jump_over_is_the_next_that_exists() {
        // 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
        check(
            "Europe/Warsaw",
            (2 * 60 + 30, 4 * 60),
            &[
                ("2026-03-29T00:59:59Z", Err("2026-03-29T01:00:00Z")),
                ("2026-03-29T01:00:00Z", Ok(())),
                ("2026-03-29T01:59:59Z", Ok(())),
                ("2026-03-29T02:00:00Z", Err("2026-03-30T00:30:00Z")),
            ],
        );
        // All of the window is jumped over: there is none on that day.
        check(
            "Europe/Warsaw",
            (2 * 60 + 10, 2 * 60 + 50),
            &[
                ("2026-03-29T00:59:59Z", Err("2026-03-30T00:10:00Z")),
                ("2026-03-29T01:00:00Z", Err("2026-03-30T00:10:00Z")),
            ],
        );
        // The night is an hour shorter in real time.
        check(
            "Europe/Warsaw",
            (22 * 60, 6 * 60),
            &[
                ("2026-03-28T21:00:00Z", Ok(())),
                ("2026-03-29T03:59:59Z", Ok(())),
                ("2026-03-29T04:00:00Z", Err("2026-03-29T20:00:00Z")),
            ],
        );
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first_of_the_two() {
        // 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC; 02:30 is 00:30 and 01:30 UTC.
        check(
            "Europe/Warsaw",
            (2 * 60 + 30, 4 * 60),
            &[
                ("2026-10-25T00:29:59Z", Err("2026-10-25T00:30:00Z")),
                ("2026-10-25T00:30:00Z", Ok(())),
                ("2026-10-25T01:10:00Z", Ok(())),
                ("2026-10-25T02:59:59Z", Ok(())),
                ("2026-10-25T03:00:00Z", Err("2026-10-26T01:30:00Z")),
            ],
        );
        check(
            "Europe/Warsaw",
            (60, 2 * 60 + 30),
            &[
                ("2026-10-25T00:29:59Z", Ok(())),
                ("2026-10-25T00:30:00Z", Err("2026-10-26T00:00:00Z")),
                ("2026-10-25T01:10:00Z", Err("2026-10-26T00:00:00Z")),
            ],
        );
    }

    #[test]
    fn the_rules_of_a_zone_change_with_the_years() {
        let night = (60, 5 * 60);
        // Moscow gave up summer time in 2011, and moved for good in 2014.
        check(
            "Europe/Moscow",
            night,
            &[
                ("2010-07-01T21:00:00Z", Ok(())),
                ("2012-01-01T21:00:00Z", Ok(())),
                ("2015-01-01T21:00:00Z", Err("2015-01-01T22:00:00Z")),
            ],
        );
        // São Paulo has had no summer time since 2019.
        check(
            "America/Sao_Paulo",
            night,
            &[
                ("2018-12-15T02:59:59Z", Err("2018-12-15T03:00:00Z")),
                ("2018-12-15T03:00:00Z", Ok(())),
                ("2019-12-15T03:00:00Z", Err("2019-12-15T04:00:00Z")),
                ("2019-12-15T07:59:59Z", Ok(())),
            ],
        );
        // Istanbul stayed in summer time in 2016.
        check(
            "Europe/Istanbul",
            night,
            &[
                ("2015-12-15T22:59:59Z", Err("2015-12-15T23:00:00Z")),
                ("2016-12-15T22:00:00Z", Ok(())),
                ("2016-12-16T02:00:00Z", Err("2016-12-16T22:00:00Z")),
            ],
        );
        // Pyongyang was put back by half an hour at the midnight that began the 15th of August 2015 ...
        check(
            "Asia/Pyongyang",
            (23 * 60 + 45, 15),
            &[
                ("2015-08-14T14:44:59Z", Err("2015-08-14T14:45:00Z")),
                ("2015-08-14T14:45:00Z", Ok(())),
                ("2015-08-14T15:05:00Z", Ok(())),
                ("2015-08-14T15:44:59Z", Ok(())),
                ("2015-08-14T15:45:00Z", Err("2015-08-15T15:15:00Z")),
            ],
        );
        // ... and forward again, from 23:30 to midnight, on the 4th of May 2018.
        check(
            "Asia/Pyongyang",
            (23 * 60 + 40, 30),
            &[
                ("2018-05-04T14:59:59Z", Err("2018-05-04T15:00:00Z")),
                ("2018-05-04T15:00:00Z", Ok(())),
                ("2018-05-04T15:29:59Z", Ok(())),
                ("2018-05-04T15:30:00Z", Err("2018-05-05T14:40:00Z")),
            ],
        );
    }

    #[test]
    fn a_day_that_is_left_out_has_no_window_and_ends_the_one_before() {
        // Samoa left out the 30th of December 2011, at 10:00 UTC.
        check(
            "Pacific/Apia",
            (6 * 60, 8 * 60),
            &[("2011-12-29T18:00:00Z", Err("2011-12-30T16:00:00Z"))],
        );
        // The night of the 29th ends where its morning would have been, and the one of the day that is not
        // there begins.
        check(
            "Pacific/Apia",
            (22 * 60, 6 * 60),
            &[
                ("2011-12-30T07:59:59Z", Err("2011-12-30T08:00:00Z")),
                ("2011-12-30T08:00:00Z", Ok(())),
                ("2011-12-30T10:00:00Z", Ok(())),
                ("2011-12-30T15:59:59Z", Ok(())),
                ("2011-12-30T16:00:00Z", Err("2011-12-31T08:00:00Z")),
            ],
        );
    }

    #[test]
    fn the_whole_day_is_off_peak_and_an_unknown_zone_never() {
        for now in ["2026-03-29T01:00:00Z", "2026-10-25T00:00:00Z"] {
            let whole = hours("Europe/Warsaw", &[(0, MINUTES_OF_DAY)], at(now));
            assert_eq!(whole, Hours::OffPeak);
            let unknown = hours("Europe/Nowhere", &[(0, MINUTES_OF_DAY)], at(now));
            assert_eq!(unknown, Hours::Peak(None));
        }
        for now in [Timestamp::MIN, Timestamp::MAX] {
            hours("Europe/Warsaw", &[(22 * 60, 6 * 60)], now);
        }
    }

    /// With halves and quarters of an hour, summer time of half an hour and of two, rules that changed, days
    /// that were left out.
    const ZONES: [&str; 18] = [
        "UTC",
        "Europe/Warsaw",
        "Europe/London",
        "Europe/Istanbul",
        "Europe/Moscow",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "America/Caracas",
        "Asia/Kathmandu",
        "Asia/Pyongyang",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Pacific/Apia",
        "Pacific/Kwajalein",
        "Pacific/Chatham",
        "Antarctica/Troll",
    ];

    const DAY_MINUTES: i64 = 24 * 60;

    /// Minutes around every change of clocks from 1986 to 2037, and anywhere, since the Unix epoch.
    fn minutes() -> impl Strategy<Value = (usize, i64)> {
        let around = -2 * DAY_MINUTES..2 * DAY_MINUTES;
        (0..ZONES.len(), 0..104_usize, around, any::<bool>()).prop_map(
            |(index, nth, minute, near)| {
                let start: jiff::Timestamp = "1986-01-01T00:00:00Z".parse().unwrap();
                let zone = TimeZoneDatabase::bundled().get(ZONES[index]).unwrap();
                let changes: Vec<i64> = zone
                    .following(start)
                    .take(104)
                    .map(|change| change.timestamp().as_second())
                    .collect();
                let base = match changes.len() {
                    count @ 1.. if near => changes[nth % count],
                    _ => start.as_second() + 86_400 * 150 * nth as i64,
                };
                (index, base.div_euclid(60) + minute)
            },
        )
    }

    /// What a person sees who looks at the clock on the wall once a minute: the window of a day begins when the
    /// clock first shows its time or a later one, and ends likewise.
    struct Wall {
        first: i64,
        shown: Vec<jiff::civil::DateTime>,
    }

    impl Wall {
        fn watch(zone: &TimeZone, minute: i64) -> Self {
            let first = minute - 4 * DAY_MINUTES;
            let shown = (first..minute + 5 * DAY_MINUTES)
                .map(|minute| zone.to_datetime(jiff::Timestamp::from_second(60 * minute).unwrap()));
            let shown = shown.collect();
            Self { first, shown }
        }

        fn shows(&self, day: Date, minute: u16) -> usize {
            let time = day.to_datetime(Time::midnight()) + jiff::Span::new().minutes(minute);
            let shown = self.shown.iter().position(|shown| time <= *shown);
            shown.unwrap_or(self.shown.len())
        }

        /// By minute: whether it is off-peak.
        fn off_peak(&self, from: u16, to: u16) -> Vec<bool> {
            let mut off_peak = vec![false; self.shown.len()];
            let (mut day, last) = (
                self.shown[0].date(),
                self.shown[self.shown.len() - 1].date(),
            );
            while day < last {
                let end = if to <= from {
                    day.tomorrow().unwrap()
                } else {
                    day
                };
                let window = self.shows(day, from)..self.shows(end, to);
                for minute in window {
                    off_peak[minute] = true;
                }
                day = day.tomorrow().unwrap();
            }
            off_peak
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_off_peak_is_what_the_clock_on_the_wall_shows(
            (index, minute) in minutes(), from in 0..1_440_u16, length in 1..=1_440_u16,
        ) {
            let to = if from + length <= MINUTES_OF_DAY { from + length } else { from + length - MINUTES_OF_DAY };
            let zone = TimeZoneDatabase::bundled().get(ZONES[index]).unwrap();
            let wall = Wall::watch(&zone, minute);
            let off_peak = wall.off_peak(from, to);
            let here = usize::try_from(minute - wall.first).unwrap();
            let expected = if off_peak[here] {
                Hours::OffPeak
            } else {
                let next = off_peak[here..].iter().position(|is_off_peak| *is_off_peak);
                let next = minute + i64::try_from(next.expect("a window comes every day")).unwrap();
                Hours::Peak(Some(Timestamp::from_seconds(60 * next)))
            };
            for second in [0, 59] {
                let now = Timestamp::from_seconds(60 * minute + second);
                prop_assert_eq!(
                    hours(ZONES[index], &[(from, to)], now), expected,
                    "{} at {}, {} to {}", ZONES[index], now, from, to
                );
            }
        }
    }
}
