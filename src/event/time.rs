//! Event time: instants, spans and half-open intervals in whole nanoseconds.

use std::{
    borrow::Cow,
    fmt,
    ops::{Add, AddAssign, Sub},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Digits of a second down to a nanosecond.
const NANOS_DIGITS: usize = 9;

/// An instant of event time, in nanoseconds since the Unix epoch (UTC).
///
/// Ranges from 1677 to 2262; arithmetic saturates at these ends, so that a hostile timestamp cannot
/// overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A length of time in nanoseconds; may be negative as a difference.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span(i64);

/// A half-open interval of event time: `start <= at && at < end`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Interval {
    /// First instant that belongs to it.
    pub start: Timestamp,
    /// First instant that does not.
    pub end: Timestamp,
}

/// A time that may be absent, in the 8 bytes of one: [`Timestamp::MIN`] stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Timestamp>", into = "Option<Timestamp>")]
pub struct MaybeTimestamp(Timestamp);

/// Text or number that is no timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampError {
    /// What was given.
    pub given: String,
}

impl MaybeTimestamp {
    /// The time, if there is one.
    pub fn get(self) -> Option<Timestamp> {
        (self.0 != Timestamp::MIN).then_some(self.0)
    }
}

impl From<Option<Timestamp>> for MaybeTimestamp {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at.unwrap_or(Timestamp::MIN))
    }
}

impl From<MaybeTimestamp> for Option<Timestamp> {
    fn from(at: MaybeTimestamp) -> Self {
        at.get()
    }
}

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest instant.
    pub const MAX: Self = Self(i64::MAX);

    /// Takes nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Takes milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Takes whole seconds since the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Takes seconds since the Unix epoch with a fraction, rounded to microseconds (which is what a
    /// double of that size can tell apart).
    ///
    /// # Errors
    /// Not finite, or outside the range of [`Timestamp`].
    pub fn from_seconds_f64(seconds: f64) -> Result<Self, TimestampError> {
        let micros = (seconds * 1e6).round();
        if !micros.is_finite() || micros.abs() >= 9.2e15 {
            return Err(TimestampError {
                given: seconds.to_string(),
            });
        }
        Ok(Self((micros as i64) * 1_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the Unix epoch.
    pub fn seconds_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND as f64
    }

    /// The instant without its fraction of a second: as a person reads it. For what has happened.
    #[must_use]
    pub fn whole_seconds(self) -> Self {
        self.floor(Span::from_seconds(1))
    }

    /// The first whole second that is not before this instant: as a person reads it. For what is awaited,
    /// which is not over before.
    #[must_use]
    pub fn next_whole_second(self) -> Self {
        (self + Span::from_nanos(NANOS_PER_SECOND - 1)).whole_seconds()
    }

    /// The start of the bucket of the given width that holds this instant; buckets are aligned to
    /// the epoch.
    ///
    /// # Panics
    /// The width is not positive.
    #[must_use]
    pub fn floor(self, width: Span) -> Self {
        assert!(width.0 > 0, "a bucket has a width");
        Self(self.0.saturating_sub(self.0.rem_euclid(width.0)))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Takes nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Takes whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Takes whole minutes.
    pub const fn from_minutes(minutes: i64) -> Self {
        Self::from_seconds(minutes.saturating_mul(60))
    }

    /// Takes whole hours.
    pub const fn from_hours(hours: i64) -> Self {
        Self::from_seconds(hours.saturating_mul(3600))
    }

    /// Length in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Length in seconds.
    pub fn seconds_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND as f64
    }

    /// How many whole `width`s fit in, rounded up; 0 for a negative length.
    ///
    /// # Panics
    /// The width is not positive.
    pub fn div_ceil(self, width: Self) -> usize {
        assert!(width.0 > 0, "a bucket has a width");
        usize::try_from((i128::from(self.0) + i128::from(width.0) - 1) / i128::from(width.0))
            .unwrap_or(0)
    }

    /// The length without its fraction of a second, towards zero: as a person reads it. One that is
    /// shorter than a second stays as it is.
    #[must_use]
    pub const fn whole_seconds(self) -> Self {
        let rest = self.0 % NANOS_PER_SECOND;
        Self(if rest == self.0 { rest } else { self.0 - rest })
    }

    /// This length times a count.
    #[must_use]
    pub const fn times(self, count: i64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

impl Interval {
    /// Length of the interval.
    pub fn span(self) -> Span {
        self.end - self.start
    }

    /// Whether the instant belongs to it.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Timestamp {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// RFC 3339 in UTC, with as many decimals as the instant needs.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// Reads RFC 3339, or Unix seconds as a number with an optional fraction. Digits beyond a nanosecond are cut off.
impl FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let error = || TimestampError {
            given: text.to_owned(),
        };
        let trimmed = text.trim();
        if let Ok(seconds) = trimmed.parse::<i64>() {
            return match seconds.checked_mul(NANOS_PER_SECOND) {
                Some(nanos) => Ok(Self(nanos)),
                None => Err(error()),
            };
        }
        if let Ok(seconds) = trimmed.parse::<f64>() {
            return Self::from_seconds_f64(seconds).map_err(|_| error());
        }
        let parsed: jiff::Timestamp = to_nanos(trimmed).parse().map_err(|_| error())?;
        i64::try_from(parsed.as_nanosecond())
            .map(Self)
            .map_err(|_| error())
    }
}

/// The text of a time without the digits of its second beyond the ninth, which RFC 3339 allows.
fn to_nanos(text: &str) -> Cow<'_, str> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return Cow::Borrowed(text);
    };
    let zone = fraction.trim_start_matches(|letter: char| letter.is_ascii_digit());
    if fraction.len() - zone.len() <= NANOS_DIGITS {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{whole}.{}{zone}", &fraction[..NANOS_DIGITS]))
}

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_out_of_range() {
            return write!(
                f,
                "{:?} is out of range: times go from 1677-09-21 to 2262-04-11; a number is Unix seconds, not \
                 milliseconds",
                self.given
            );
        }
        write!(
            f,
            "{:?} is no timestamp: use RFC 3339 (2026-03-01T10:00:00Z) or Unix seconds (1772359200.5)",
            self.given
        )
    }
}

impl TimestampError {
    /// Whether it is written as a time, but of another age.
    fn is_out_of_range(&self) -> bool {
        let given = self.given.trim();
        let year = given.split_once('-').map(|(year, _)| year);
        let year = year
            .filter(|year| year.len() == 4)
            .and_then(|year| year.parse::<u32>().ok());
        let is_far = year.is_some_and(|year| !(1678..2262).contains(&year));
        is_far || given.parse().is_ok_and(f64::is_finite)
    }
}

impl std::error::Error for TimestampError {}

/// The shortest exact form in the configuration's grammar: `90s`, `15m`, `12h`, `7d`, `250ms`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 6] = [
            (86_400 * NANOS_PER_SECOND, "d"),
            (3_600 * NANOS_PER_SECOND, "h"),
            (60 * NANOS_PER_SECOND, "m"),
            (NANOS_PER_SECOND, "s"),
            (1_000_000, "ms"),
            (1, "ns"),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let mut rest = self.0.saturating_abs();
        for (size, name) in UNITS {
            if rest >= size {
                write!(f, "{}{name}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

/// Accepts what [`Timestamp::from_str`] reads, and plain numbers.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 timestamp or Unix seconds")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Timestamp, E> {
                let nanos = seconds.checked_mul(NANOS_PER_SECOND);
                let given = || seconds.to_string();
                nanos
                    .map(Timestamp)
                    .ok_or_else(|| E::custom(TimestampError { given: given() }))
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Timestamp, E> {
                self.visit_i64(i64::try_from(seconds).unwrap_or(i64::MAX))
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Timestamp, E> {
                Timestamp::from_seconds_f64(seconds).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Visitor)
        } else {
            i64::deserialize(deserializer).map(Timestamp)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_from_rfc_3339_and_from_unix_seconds() {
        let second = Timestamp::from_seconds(1_772_359_200);
        for text in [
            "2026-03-01T10:00:00Z",
            "2026-03-01T11:00:00+01:00",
            "1772359200",
            "1772359200.0",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Ok(second), "{text}");
        }
        assert_eq!(
            "1772359200.25".parse::<Timestamp>(),
            Ok(second + Span::from_nanos(250_000_000))
        );
        for zone in ["Z", "+00:00", "z"] {
            let text = format!("2026-03-01T10:00:00.123456789999{zone}");
            let nanos = Span::from_nanos(123_456_789);
            assert_eq!(text.parse::<Timestamp>(), Ok(second + nanos), "{text}");
        }
        for (text, problem) in [
            ("", "is no timestamp"),
            ("yesterday", "is no timestamp"),
            ("2026-13-01T10:00:00Z", "is no timestamp"),
            ("NaN", "is no timestamp"),
            ("inf", "is no timestamp"),
            ("1e300", "is out of range"),
            ("99999999999999999", "is out of range"),
            ("1772359200000", "not milliseconds"),
            ("9999-12-31T23:59:59Z", "is out of range"),
            ("2026-03-01T10:00:00.0000000000xZ", "is no timestamp"),
            ("0001-01-01T00:00:00Z", "is out of range"),
        ] {
            let told = text.parse::<Timestamp>().unwrap_err().to_string();
            assert!(told.contains(problem), "{told}");
        }
        for millis in ["1772359200000", "18446744073709551615"] {
            let told = serde_json::from_str::<Timestamp>(millis).unwrap_err();
            assert!(told.to_string().contains("not milliseconds"), "{told}");
        }
    }

    #[test]
    fn timestamps_print_as_rfc_3339_in_utc() {
        assert_eq!(
            Timestamp::from_seconds(1_772_359_200).to_string(),
            "2026-03-01T10:00:00Z"
        );
        assert_eq!(
            Timestamp::from_millis(1_500).to_string(),
            "1970-01-01T00:00:01.5Z"
        );
    }

    #[test]
    fn people_read_whole_seconds() {
        let second = Timestamp::from_seconds(1_772_359_200);
        for (nanos, passed, awaited) in [(0, 0, 0), (1, 0, 1), (999_999_999, 0, 1), (-1, -1, 0)] {
            let at = second + Span::from_nanos(nanos);
            assert_eq!(at.whole_seconds(), second + Span::from_seconds(passed));
            assert_eq!(at.next_whole_second(), second + Span::from_seconds(awaited));
        }
        for (nanos, text) in [
            (61_500_000_000, "1m1s"),
            (250_000_000, "250ms"),
            (-1_200_000_000, "-1s"),
            (0, "0s"),
        ] {
            assert_eq!(Span::from_nanos(nanos).whole_seconds().to_string(), text);
        }
        assert_eq!(
            Timestamp::MAX.next_whole_second(),
            Timestamp::MAX.whole_seconds()
        );
    }

    #[test]
    fn a_bucket_starts_at_a_multiple_of_its_width_also_before_the_epoch() {
        let width = Span::from_seconds(10);
        assert_eq!(
            Timestamp::from_seconds(19).floor(width),
            Timestamp::from_seconds(10)
        );
        assert_eq!(
            Timestamp::from_seconds(20).floor(width),
            Timestamp::from_seconds(20)
        );
        assert_eq!(
            Timestamp::from_seconds(-1).floor(width),
            Timestamp::from_seconds(-10)
        );
    }

    #[test]
    fn spans_print_in_the_grammar_of_the_configuration() {
        for (seconds, text) in [
            (0, "0s"),
            (90, "1m30s"),
            (900, "15m"),
            (43_200, "12h"),
            (-5, "-5s"),
        ] {
            assert_eq!(Span::from_seconds(seconds).to_string(), text);
        }
        assert_eq!(Span::from_nanos(250_000_000).to_string(), "250ms");
    }
}
