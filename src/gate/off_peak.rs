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
        // Moscow gave up summer time in 2011, and moved for good in 2014.
        let window = (60, 5 * 60);
        check("Europe/Moscow", window, &[("2010-07-01T21:00:00Z", Ok(()))]);
        check("Europe/Moscow", window, &[("2012-01-01T21:00:00Z", Ok(()))]);
        let winter = "2015-01-01T21:00:00Z";
        check(
            "Europe/Moscow",
            window,
            &[(winter, Err("2015-01-01T22:00:00Z"))],
        );
        // Samoa left out the 30th of December 2011.
        check(
            "Pacific/Apia",
            (6 * 60, 8 * 60),
            &[("2011-12-29T18:00:00Z", Err("2011-12-30T16:00:00Z"))],
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

    const ZONES: [&str; 12] = [
        "UTC",
        "Europe/Warsaw",
        "Europe/London",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Pacific/Chatham",
        "Antarctica/Troll",
    ];

    /// Around every change of clocks from 2020 to 2037, and anywhere.
    fn instants() -> impl Strategy<Value = (usize, i64)> {
        (
            0..ZONES.len(),
            0..40_usize,
            -1_800..1_800_i64,
            any::<bool>(),
        )
            .prop_map(|(index, nth, minute, near)| {
                let start: jiff::Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
                let zone = TimeZoneDatabase::bundled().get(ZONES[index]).unwrap();
                let change = zone.following(start).nth(nth % 36);
                let base = match change {
                    Some(change) if near => change.timestamp().as_second(),
                    Some(_) | None => start.as_second() + 86_400 * 150 * nth as i64,
                };
                (index, base + minute * 60)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_off_peak_reads_so_on_the_clock(
            (index, seconds) in instants(), from in 0..1_440_u16, length in 1..1_440_u16,
        ) {
            let to = (from + length) % MINUTES_OF_DAY;
            prop_assume!(from != to);
            let now = Timestamp::from_seconds(seconds);
            let zone = TimeZoneDatabase::bundled().get(ZONES[index]).unwrap();
            let local = |at: Timestamp| {
                let at = jiff::Timestamp::from_nanosecond(i128::from(at.nanos())).unwrap();
                let time = zone.to_datetime(at).time();
                time.hour() as u16 * 60 + time.minute() as u16
            };
            let reads_in = |minute: u16| if from < to {
                (from..to).contains(&minute)
            } else {
                minute >= from || minute < to
            };
            // Within a day of a change of clocks, an hour may read otherwise.
            let near_change = {
                let day = jiff::Span::new().hours(27);
                let at = jiff::Timestamp::from_second(seconds).unwrap();
                zone.following(at - day).next().is_some_and(|next| next.timestamp() < at + day)
            };
            match hours(ZONES[index], &[(from, to)], now) {
                Hours::OffPeak => prop_assert!(near_change || reads_in(local(now))),
                Hours::Peak(next) => {
                    prop_assert!(near_change || !reads_in(local(now)));
                    let next = next.expect("a window comes every day");
                    prop_assert!(now < next);
                    prop_assert_eq!(hours(ZONES[index], &[(from, to)], next), Hours::OffPeak);
                    // It is the first: nothing in between is off-peak.
                    let before = Timestamp::from_nanos(next.nanos() - 1);
                    prop_assert_eq!(hours(ZONES[index], &[(from, to)], before), Hours::Peak(Some(next)));
                    let middle = Timestamp::from_nanos(now.nanos().midpoint(next.nanos()));
                    prop_assert_eq!(hours(ZONES[index], &[(from, to)], middle), Hours::Peak(Some(next)));
                }
            }
        }
    }
}
