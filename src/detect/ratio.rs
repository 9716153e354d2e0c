//! A rate that is divided by another: both of the same time, however often each of them is told.
//!
//! The two may come from different scrapes, each at a pace of its own. So what one side says waits until the
//! other has spoken, and a cell is of all that both said since the cell before.
//!
//! A numerator that is missing is 0 only if it never was there: errors that never happened. One that was seen
//! is awaited: NaN, silence and what comes too late are no proof of health. It is new again when the process
//! that counts the exposure begins anew.
//!
//! Something of nothing, errors while no request is counted, is no ratio, and no health either: it waits until there
//! is an exposure that it can be of.

use serde::{Deserialize, Serialize};

use super::{Cell, pace::Pace};
use crate::event::{Interval, Span};

/// What one side of a ratio says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// Per second.
    pub rate: f64,
    /// The time that it is of; above 0.
    pub seconds: f64,
    /// How many events: the increase of a counter; 0 for gauges.
    pub events: f64,
}

/// What a bucket says of both sides of a ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RatioWords {
    /// What is divided.
    pub numerator: Option<Word>,
    /// What it is divided by.
    pub exposure: Option<Word>,
    /// Whether what counts the exposure began anew.
    pub has_restarted: bool,
    /// Whether what counted the numerator has been replaced by something that never did.
    pub is_replaced: bool,
}

/// What is remembered of a ratio between its cells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ratio {
    numerator: Option<Word>,
    exposure: Option<Word>,
    /// Whether the numerator was seen: then it is awaited.
    is_known: bool,
    /// Of the numerator, if it ever said anything.
    pace: Option<Pace>,
    /// Whether all that the numerator says since the cell before is assumed.
    is_assumed: bool,
}

/// A cell of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weighed {
    pub(super) cell: Cell,
    /// Whether its numerator is no more than assumed.
    pub(super) is_assumed: bool,
}

impl Ratio {
    /// Takes what the bucket that has just closed says; gives the cell that it completes.
    pub(super) fn hear(&mut self, bucket: Interval, words: RatioWords) -> Option<Weighed> {
        if words.has_restarted {
            self.exposure = None;
            if words.numerator.is_none() {
                *self = Self::default();
            }
        }
        self.exposure = both(self.exposure, words.exposure);
        if let Some(word) = words.numerator {
            self.is_known = true;
            let stretch = Span::from_nanos((1e9 * word.seconds) as i64);
            match &mut self.pace {
                Some(pace) => pace.speak(bucket.end, stretch),
                None => self.pace = Some(Pace::new(bucket, stretch)),
            }
            self.say(word, false);
        }
        self.weigh(words.is_replaced)
    }

    /// Notes that the numerator is there, though nothing can be made of it.
    pub(super) fn expect(&mut self) {
        self.is_known = true;
    }

    /// Takes a numerator that is missing for nothing gained in a time; gives the cell that this completes.
    pub(super) fn gain_nothing(
        &mut self,
        bucket: Interval,
        stretch: Span,
        is_assumed: bool,
    ) -> Option<Weighed> {
        if let Some(pace) = &mut self.pace {
            pace.fill(bucket.end, is_assumed);
        }
        let nothing = Word {
            seconds: stretch.seconds_f64(),
            ..Word::NOTHING
        };
        self.say(nothing, is_assumed);
        self.weigh(false)
    }

    /// The pace of the numerator, if it ever said anything.
    pub(super) fn pace(&self) -> Option<&Pace> {
        self.pace.as_ref()
    }

    fn say(&mut self, word: Word, is_assumed: bool) {
        self.is_assumed = is_assumed && (self.is_assumed || self.numerator.is_none());
        self.numerator = both(self.numerator, Some(word));
    }

    /// Whether a numerator waits for an exposure that is told, and is nothing.
    pub(super) fn is_unexposed(&self) -> bool {
        let is_any = |word: Word| word.rate != 0.0 || word.events != 0.0;
        self.numerator.is_some_and(is_any) && self.exposure.is_some_and(|word| word.rate <= 0.0)
    }

    fn weigh(&mut self, is_replaced: bool) -> Option<Weighed> {
        if self.is_unexposed() {
            return None;
        }
        let is_awaited = self.is_known && !is_replaced;
        let exposure = self.exposure?;
        let numerator = match self.numerator {
            Some(numerator) => numerator,
            None if is_awaited => return None,
            None => Word::NOTHING,
        };
        (self.numerator, self.exposure) = (None, None);
        let is_assumed = std::mem::take(&mut self.is_assumed);
        let cell = Cell {
            value: numerator.rate,
            min: numerator.rate,
            max: numerator.rate,
            events: numerator.events,
            exposure: Some(exposure.rate),
        };
        Some(Weighed { cell, is_assumed })
    }
}

impl Word {
    const NOTHING: Self = Self {
        rate: 0.0,
        seconds: 0.0,
        events: 0.0,
    };

    /// What this and a later one say together.
    fn and(self, later: Self) -> Self {
        let seconds = self.seconds + later.seconds;
        Self {
            rate: self.rate + (later.rate - self.rate) * (later.seconds / seconds),
            seconds,
            events: self.events + later.events,
        }
    }
}

fn both(before: Option<Word>, later: Option<Word>) -> Option<Word> {
    match (before, later) {
        (Some(before), Some(later)) => Some(before.and(later)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    fn bucket(number: i64) -> Interval {
        let start = Timestamp::from_seconds(number * 10);
        Interval {
            start,
            end: start + Span::from_seconds(10),
        }
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "a side of a ratio that has something to say"
    )]
    fn word(rate: f64, seconds: f64) -> Option<Word> {
        Some(Word {
            rate,
            seconds,
            events: rate * seconds,
        })
    }

    fn words(numerator: Option<Word>, exposure: Option<Word>) -> RatioWords {
        RatioWords {
            numerator,
            exposure,
            ..RatioWords::default()
        }
    }

    /// Numerator, its events, and exposure of the cell that the last of the buckets completes.
    fn last(ratio: &mut Ratio, buckets: &[RatioWords]) -> Option<(f64, f64, Option<f64>)> {
        let weighed = (0..).zip(buckets);
        let weighed = weighed.map(|(number, words)| ratio.hear(bucket(number), *words));
        let cell = weighed.last()??.cell;
        Some((cell.value, cell.events, cell.exposure))
    }

    #[test]
    fn a_ratio_needs_an_exposure_but_no_numerator() {
        let mut ratio = Ratio::default();
        let exposure = word(10.0, 10.0);
        let zero = Some((0.0, 0.0, Some(10.0)));
        assert_eq!(last(&mut ratio, &[words(None, exposure)]), zero);
        let numerator = word(3.0, 10.0);
        assert_eq!(last(&mut ratio, &[words(numerator, None)]), None);
        // What it said waits for the exposure of the same time.
        let both = Some((3.0, 30.0, Some(10.0)));
        assert_eq!(last(&mut ratio, &[words(None, exposure)]), both);
    }

    #[test]
    fn something_of_nothing_waits_for_an_exposure() {
        let mut ratio = Ratio::default();
        let nothing = Some((0.0, 0.0, Some(0.0)));
        let idle = words(word(0.0, 10.0), word(0.0, 10.0));
        assert_eq!(last(&mut ratio, &[idle]), nothing);
        let failing = words(word(5.0, 10.0), word(0.0, 10.0));
        assert_eq!(last(&mut ratio, &[failing, failing]), None);
        assert!(ratio.is_unexposed());
        // What comes then is of all of that time.
        let answered = words(word(5.0, 10.0), word(3.0, 10.0));
        let whole = Some((5.0, 150.0, Some(1.0)));
        assert_eq!(last(&mut ratio, &[answered]), whole);
        assert!(!ratio.is_unexposed());
    }

    #[test]
    fn a_numerator_that_was_seen_is_awaited() {
        let mut ratio = Ratio::default();
        let exposure = |rate| words(None, word(rate, 10.0));
        last(&mut ratio, &[words(word(1.0, 10.0), word(10.0, 10.0))]);
        let silent = [exposure(10.0), exposure(20.0)];
        assert_eq!(last(&mut ratio, &silent), None);
        // What comes is of all of the time in which it was awaited.
        let late = [words(word(2.0, 30.0), word(60.0, 10.0))];
        assert_eq!(last(&mut ratio, &late), Some((2.0, 60.0, Some(30.0))));

        let mut lost = Ratio::default();
        lost.expect();
        assert_eq!(last(&mut lost, &[exposure(10.0)]), None);
    }

    #[test]
    fn a_process_that_begins_anew_may_never_have_had_an_error() {
        let mut ratio = Ratio::default();
        let known = words(word(1.0, 10.0), word(10.0, 10.0));
        let silent = words(None, word(10.0, 10.0));
        let restarted = RatioWords {
            has_restarted: true,
            exposure: word(7.0, 10.0),
            ..silent
        };
        last(&mut ratio, &[known, silent]);
        assert_eq!(last(&mut ratio, &[restarted]), Some((0.0, 0.0, Some(7.0))));
        let zero = Some((0.0, 0.0, Some(10.0)));
        assert_eq!(last(&mut ratio, &[silent]), zero);
        last(&mut ratio, &[known]);
        let replaced = RatioWords {
            is_replaced: true,
            ..silent
        };
        assert_eq!(last(&mut ratio, &[replaced]), zero);
        assert_eq!(last(&mut ratio, &[silent]), None);
    }
}
