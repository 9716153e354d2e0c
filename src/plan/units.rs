//! The grammar of quantities: durations, ratios, sizes, rates and slopes.

use super::{Limit, Slope, tree::Tree};
use crate::event::{Span, Unit};

/// Longest duration that the configuration can name.
const SPAN_MAX: Span = Span::from_hours(366 * 24);

/// Why a value cannot be read, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub problem: String,
    pub remedy: String,
}

impl Complaint {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    fn unlike(wanted: &str, found: &Tree, remedy: impl Into<String>) -> Self {
        Self::new(format!("{found} is no {wanted}"), remedy)
    }
}

/// Units of time, longest first, with their nanoseconds.
const TIME_UNITS: [(&str, i64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Units of size, with their bytes.
const SIZE_UNITS: [(&str, f64); 12] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("PB", 1e15),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("PiB", 1_125_899_906_842_624.0),
];

/// Reads a duration: `90s`, `15m`, `12h`, `7d`, `250ms`, `1h30m`; a negative one with a leading
/// `-`, so that the caller can say why it is wrong.
pub(super) fn span(value: &Tree) -> Result<Span, Complaint> {
    const EXAMPLES: &str = "write a number with a unit, such as 90s, 15m, 12h, 7d, 250ms or 1h30m";
    match value {
        Tree::Integer(0) => Ok(Span::ZERO),
        Tree::Integer(number @ 1..) => Err(Complaint::new(
            format!("{number} has no unit"),
            format!("write {number}s, {number}m, {number}h or {number}d"),
        )),
        Tree::Text(text) => {
            let (sign, magnitude) = match text.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, text.as_str()),
            };
            let nanos = span_nanos(magnitude)
                .ok_or_else(|| Complaint::unlike("duration", value, EXAMPLES))?;
            if nanos > SPAN_MAX.nanos() {
                return Err(Complaint::new(
                    format!("{text} is too long"),
                    "write at most 366d",
                ));
            }
            Ok(Span::from_nanos(sign * nanos))
        }
        Tree::Nothing
        | Tree::Flag(_)
        | Tree::Integer(_)
        | Tree::Number(_)
        | Tree::List(_)
        | Tree::Map(_) => Err(Complaint::unlike("duration", value, EXAMPLES)),
    }
}

/// Pieces of a whole number and a unit, longest unit first; saturates where it is far too long.
fn span_nanos(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0i64;
    let mut units = TIME_UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return None;
        }
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at(letters);
        // The iterator goes on where the last unit stood, so that units only get shorter.
        let (_, nanos) = units.find(|(name, _)| *name == unit)?;
        let number = number.parse().unwrap_or(i64::MAX);
        total = total.saturating_add(nanos.saturating_mul(number));
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A number that may be written as text; never NaN or infinite.
fn number(text: &str) -> Option<f64> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// The number of a plain value.
pub(super) fn plain_number(value: &Tree) -> Option<f64> {
    match value {
        Tree::Integer(integer) => Some(*integer as f64),
        Tree::Number(number) => Some(*number).filter(|number| number.is_finite()),
        Tree::Text(text) => number(text),
        Tree::Nothing | Tree::Flag(_) | Tree::List(_) | Tree::Map(_) => None,
    }
}

/// Reads a finite number.
pub(super) fn finite(value: &Tree) -> Result<f64, Complaint> {
    plain_number(value).ok_or_else(|| Complaint::unlike("number", value, "write a finite number"))
}

/// Reads a ratio: `10%` or `0.1`. A plain number above 1 is taken for a forgotten percent sign.
pub(super) fn ratio(value: &Tree) -> Result<f64, Complaint> {
    if let Tree::Text(text) = value
        && let Some(percent) = text.strip_suffix('%').and_then(number)
    {
        return Ok(percent / 100.0);
    }
    match plain_number(value) {
        Some(number) if number > 1.0 => Err(Complaint::new(
            format!("{number} as a ratio is {}%", number * 100.0),
            format!(
                "write {number}% or {}; more than 1 only with a percent sign",
                number / 100.0
            ),
        )),
        Some(number) => Ok(number),
        None => Err(Complaint::unlike("ratio", value, "write 10% or 0.1")),
    }
}

/// What a bound is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Values of a metric, with its unit as far as the configuration says it.
    Metric {
        unit: Option<Unit>,
        /// Whether it can be a rate: counters are judged as increase per second.
        rate: bool,
    },
    /// Log records per second.
    Records,
}

/// Reads a bound: a number, `90%`, `4GiB`, or a rate such as `5/m`; rates become per second.
pub(super) fn bound(value: &Tree, measure: Measure) -> Result<Limit, Complaint> {
    match measure {
        Measure::Records => record_rate(value),
        Measure::Metric { unit, rate } => match value {
            Tree::Text(text) => metric_bound(text, value, unit, rate),
            Tree::Integer(_) | Tree::Number(_) => finite(value).map(Limit::new),
            Tree::Nothing | Tree::Flag(_) | Tree::List(_) | Tree::Map(_) => {
                Err(Complaint::unlike("bound", value, "write a number"))
            }
        },
    }
}

fn record_rate(value: &Tree) -> Result<Limit, Complaint> {
    const REMEDY: &str = "write records per time, such as 5/m, 0.1/s or 300/h";
    match plain_number(value) {
        Some(0.0) => return Ok(Limit::new(0.0)),
        Some(count) => {
            return Err(Complaint::new(
                format!("{count} log records have no time"),
                REMEDY,
            ));
        }
        None => {}
    }
    let rate = match value {
        Tree::Text(text) => per_time(text),
        Tree::Nothing
        | Tree::Flag(_)
        | Tree::Integer(_)
        | Tree::Number(_)
        | Tree::List(_)
        | Tree::Map(_) => None,
    };
    let (rate, seconds) = rate
        .and_then(|(amount, seconds)| Some((number(amount)? / seconds, seconds)))
        .ok_or_else(|| Complaint::unlike("rate of log records", value, REMEDY))?;
    if rate < 0.0 {
        // Nothing is ever below it, and everything above.
        return Err(Complaint::new(
            format!("{value} is below zero, which no rate of log records ever is"),
            "write 0 or more, such as 5/m",
        ));
    }
    Ok(Limit::new(rate).written_for(seconds))
}

/// The time whose records are held against a rate: the one it is written for, or a longer one in which it
/// allows a record at all. Of none, no time: any record is one too many.
pub(super) fn records_within(value: &Tree) -> Span {
    let written = match value {
        Tree::Text(text) => per_time(text),
        Tree::Nothing
        | Tree::Flag(_)
        | Tree::Integer(_)
        | Tree::Number(_)
        | Tree::List(_)
        | Tree::Map(_) => None,
    };
    let Some((amount, seconds)) = written else {
        return Span::ZERO;
    };
    let rate = number(amount).map_or(0.0, |amount| amount / seconds);
    let shortest = shortest_within(rate);
    if shortest == Span::ZERO {
        return shortest;
    }
    shortest.max(Span::from_nanos((seconds * 1e9) as i64))
}

/// The shortest of a second, a minute, an hour or a day in which a rate per second allows a record.
pub(super) fn shortest_within(rate: f64) -> Span {
    if rate <= 0.0 {
        return Span::ZERO;
    }
    let times = [1, 60, 3_600].map(Span::from_seconds);
    // A rate is written as records per time: what allows exactly one may be a hair below.
    let mut allowing = times
        .into_iter()
        .filter(|time| 1.0 - 1e-9 <= rate * time.seconds_f64());
    allowing.next().unwrap_or(Span::from_hours(24))
}

fn metric_bound(
    text: &str,
    value: &Tree,
    unit: Option<Unit>,
    rate: bool,
) -> Result<Limit, Complaint> {
    if let Some(plain) = number(text) {
        return Ok(Limit::new(plain));
    }
    let mismatch = |is: &str| {
        Complaint::new(
            format!("{text} is {is}, but the check says another unit or kind"),
            "write a plain number in the metric's own unit, or correct unit and kind",
        )
    };
    if let Some(percent) = text.strip_suffix('%').and_then(number) {
        return match unit.unwrap_or_default() {
            Unit::Percent => Ok(Limit::new(percent)),
            Unit::Ratio => Ok(Limit::new(percent / 100.0)),
            Unit::Unknown => Ok(Limit::share(percent / 100.0)),
            Unit::Seconds
            | Unit::Milliseconds
            | Unit::Microseconds
            | Unit::Nanoseconds
            | Unit::Bytes
            | Unit::Count => Err(mismatch("a share")),
        };
    }
    let (amount, seconds) = match per_time(text) {
        Some(_) if !rate => return Err(mismatch("a rate")),
        Some((amount, seconds)) => (amount, Some(seconds)),
        None => (text, None),
    };
    let limit = |amount: f64| match seconds {
        Some(seconds) => Limit::rate(amount / seconds).written_for(seconds),
        None => Limit::new(amount),
    };
    if let Some(plain) = number(amount) {
        return Ok(limit(plain));
    }
    match (size(amount), unit.unwrap_or_default()) {
        (Some(bytes), Unit::Bytes | Unit::Unknown) => Ok(limit(bytes)),
        (
            Some(_),
            Unit::Percent
            | Unit::Ratio
            | Unit::Seconds
            | Unit::Milliseconds
            | Unit::Microseconds
            | Unit::Nanoseconds
            | Unit::Count,
        ) => Err(mismatch("a size")),
        (None, _) if span_nanos(text).is_some() => Err(Complaint::new(
            format!("{text} is a duration"),
            "write a plain number in the metric's own unit, such as 0.25 for seconds",
        )),
        (None, _) => Err(Complaint::unlike(
            "bound",
            value,
            "write a number, or one with %, B, kB, MB, GB, KiB, MiB, GiB, /s, /m or /h",
        )),
    }
}

/// Reads a slope: `1%/h` relative to the level, or `5MB/h`, `0.5/m`, `1e6/h`.
pub(super) fn slope(value: &Tree) -> Result<Slope, Complaint> {
    const REMEDY: &str = "write a change per time, such as 1%/h, 5MB/h, 0.5/m or 1e6/d";
    match plain_number(value) {
        Some(0.0) => return Ok(Slope::Absolute(0.0)),
        Some(number) => return Err(Complaint::new(format!("{number} has no time"), REMEDY)),
        None => {}
    }
    let Tree::Text(text) = value else {
        return Err(Complaint::unlike("slope", value, REMEDY));
    };
    let unlike = || Complaint::unlike("slope", value, REMEDY);
    let (amount, seconds) = per_time(text).ok_or_else(unlike)?;
    if let Some(percent) = amount.strip_suffix('%').and_then(number) {
        return Ok(Slope::Relative(percent / 100.0 / seconds));
    }
    let absolute = number(amount).or_else(|| size(amount)).ok_or_else(unlike)?;
    Ok(Slope::Absolute(absolute / seconds))
}

/// Reads a limit of bytes: `32MiB`, or a whole number.
pub(super) fn byte_count(value: &Tree) -> Result<usize, Complaint> {
    let bytes = match value {
        Tree::Integer(integer) => Some(*integer as f64),
        Tree::Text(text) => size(text),
        Tree::Nothing | Tree::Flag(_) | Tree::Number(_) | Tree::List(_) | Tree::Map(_) => None,
    };
    match bytes {
        Some(bytes) if (1.0..=1e15).contains(&bytes) => Ok(bytes.round() as usize),
        Some(_) => Err(Complaint::new(
            format!("{value} bytes is out of range"),
            "write at least 1 byte; no limit is switched off by 0",
        )),
        None => Err(Complaint::unlike(
            "size",
            value,
            "write bytes, such as 16KiB or 32MiB",
        )),
    }
}

/// Where doubles begin to leave out whole numbers.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// Reads a limit of things: a whole number, at least 1.
pub(super) fn count(value: &Tree) -> Result<usize, Complaint> {
    match value {
        Tree::Integer(integer @ 1..) => Ok(usize::try_from(*integer).unwrap_or(usize::MAX)),
        // 1e6 is read as a float. What is below 2^53 is exact.
        Tree::Number(number) if number.fract() == 0.0 && (1.0..WHOLE_MAX).contains(number) => {
            Ok(*number as usize)
        }
        Tree::Integer(_)
        | Tree::Nothing
        | Tree::Flag(_)
        | Tree::Number(_)
        | Tree::Text(_)
        | Tree::List(_)
        | Tree::Map(_) => Err(Complaint::unlike(
            "count",
            value,
            "write a whole number, at least 1; no limit is switched off by 0",
        )),
    }
}

/// `5MB/h` → `("5MB", 3600.0)`.
fn per_time(text: &str) -> Option<(&str, f64)> {
    let (amount, unit) = text.rsplit_once('/')?;
    let (_, nanos) = TIME_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    Some((amount.trim(), *nanos as f64 / 1e9))
}

/// `4GiB` → bytes.
fn size(text: &str) -> Option<f64> {
    let letters = text.len()
        - text
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .len();
    let (amount, unit) = text.split_at(text.len() - letters);
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(number(amount.trim_end())? * bytes).filter(|bytes| bytes.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Tree {
        Tree::Text(text.to_owned())
    }

    #[test]
    fn durations_are_numbers_with_units_that_get_shorter() {
        for (written, nanos) in [
            ("90s", 90_000_000_000),
            ("15m", 900_000_000_000),
            ("12h", 43_200_000_000_000),
            ("7d", 604_800_000_000_000),
            ("250ms", 250_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1s500ms", 1_500_000_000),
            ("-5s", -5_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(
                span(&text(written)),
                Ok(Span::from_nanos(nanos)),
                "{written}"
            );
        }
        for written in [
            "", "-", "5", "s", "5 m", "5min", "1.5h", "30m1h", "5m5m", "5µs", "٣s",
        ] {
            assert!(span(&text(written)).is_err(), "{written}");
        }
        assert_eq!(
            span(&text("99999999999999999999d")),
            Err(Complaint::new(
                "99999999999999999999d is too long",
                "write at most 366d"
            ))
        );
        assert_eq!(
            span(&Tree::Integer(5)),
            Err(Complaint::new("5 has no unit", "write 5s, 5m, 5h or 5d"))
        );
    }

    #[test]
    fn every_duration_reads_back_what_it_prints() {
        for nanos in [
            0,
            1,
            1_001,
            250_000_000,
            5_400_000_000_000,
            86_399_999_999_999,
        ] {
            let written = Span::from_nanos(nanos).to_string();
            // Microseconds print as nanoseconds.
            assert_eq!(
                span(&text(&written)),
                Ok(Span::from_nanos(nanos)),
                "{written}"
            );
        }
    }

    #[test]
    fn ratios_are_percents_or_fractions() {
        for (value, expected) in [
            (text("10%"), 0.1),
            (text("0.1%"), 0.001),
            (text("250%"), 2.5),
            (text("0.1"), 0.1),
            (Tree::Number(0.25), 0.25),
            (Tree::Integer(1), 1.0),
        ] {
            assert_eq!(ratio(&value), Ok(expected), "{value}");
        }
        for value in [
            text("ten"),
            text("%"),
            text("NaN%"),
            Tree::Integer(10),
            Tree::Number(f64::NAN),
        ] {
            assert!(ratio(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn bounds_take_the_unit_of_the_metric() {
        let metric = |unit, rate| Measure::Metric { unit, rate };
        for (value, measure, expected) in [
            (text("90%"), metric(Some(Unit::Ratio), true), 0.9),
            (text("90%"), metric(Some(Unit::Percent), true), 90.0),
            (text("4GiB"), metric(None, true), 4_294_967_296.0),
            (text("500MB"), metric(Some(Unit::Bytes), true), 5e8),
            (Tree::Number(1e9), metric(None, false), 1e9),
            (Tree::Integer(-3), metric(None, false), -3.0),
            (Tree::Integer(0), Measure::Records, 0.0),
        ] {
            let found = bound(&value, measure);
            assert_eq!(found, Ok(Limit::new(expected)), "{value} {measure:?}");
        }
        for (value, expected, seconds) in [
            ("5/m", 5.0 / 60.0, 60.0),
            ("0.1/s", 0.1, 1.0),
            ("300/h", 300.0 / 3600.0, 3_600.0),
        ] {
            let found = bound(&text(value), Measure::Records);
            let expected = Limit::new(expected).written_for(seconds);
            assert_eq!(found, Ok(expected), "{value}");
        }
        for (value, expected, seconds) in [
            ("6MB/m", 1e5, 60.0),
            ("300/m", 5.0, 60.0),
            ("5/s", 5.0, 1.0),
        ] {
            let found = bound(&text(value), metric(None, true));
            let expected = Limit::rate(expected).written_for(seconds);
            assert_eq!(found, Ok(expected), "{value}");
        }
        // Of what, only the protocol can tell.
        let share = bound(&text("90%"), metric(None, true));
        assert_eq!(share, Ok(Limit::share(0.9)));
        for (unit, expected) in [
            (Unit::Percent, 90.0),
            (Unit::Ratio, 0.9),
            (Unit::Unknown, 0.9),
        ] {
            assert_eq!(Limit::share(0.9).of(unit), expected);
            assert_eq!(Limit::new(0.9).of(unit), 0.9);
        }
        for (value, measure) in [
            (text("5 parsecs"), metric(None, true)),
            (text("90%"), metric(Some(Unit::Bytes), true)),
            (text("4GiB"), metric(Some(Unit::Seconds), true)),
            (text("5/m"), metric(None, false)),
            (text("250ms"), metric(None, true)),
            (text("5/fortnight"), metric(None, true)),
            (Tree::Number(f64::INFINITY), metric(None, true)),
            (Tree::Flag(true), metric(None, true)),
            (Tree::Integer(5), Measure::Records),
            (text("90%"), Measure::Records),
            (text("1e999/s"), Measure::Records),
        ] {
            assert!(bound(&value, measure).is_err(), "{value} {measure:?}");
        }
    }

    #[test]
    fn slopes_are_changes_per_time() {
        for (written, expected) in [
            ("1%/h", Slope::Relative(0.01 / 3600.0)),
            ("-2%/d", Slope::Relative(-0.02 / 86_400.0)),
            ("5MB/h", Slope::Absolute(5e6 / 3600.0)),
            ("0.5/m", Slope::Absolute(0.5 / 60.0)),
            ("1e6/h", Slope::Absolute(1e6 / 3600.0)),
        ] {
            assert_eq!(slope(&text(written)), Ok(expected), "{written}");
        }
        for written in ["1%", "5", "MB/h", "1/month", "/h", ""] {
            assert!(slope(&text(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn limits_are_positive() {
        assert_eq!(byte_count(&text("16KiB")), Ok(16_384));
        assert_eq!(byte_count(&Tree::Integer(100)), Ok(100));
        assert_eq!(count(&Tree::Integer(7)), Ok(7));
        for value in [
            Tree::Integer(0),
            Tree::Integer(-1),
            text("0B"),
            text("-1KiB"),
            text("1e300PB"),
        ] {
            assert!(byte_count(&value).is_err(), "{value}");
            assert!(count(&value).is_err(), "{value}");
        }
    }
}
