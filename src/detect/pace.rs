//! When a counter that leaves out what it did not gain is missing because it gained nothing.
//!
//! A sender of deltas exports all of its counters at once, but leaves out those that gained nothing. What a
//! counter said last speaks for the time in which that was gained. After that it gained nothing in the time of
//! an export that it is not part of. Where no export of its sender is seen, the silence itself is taken for
//! that, one word for each such time, while its sender may be taken for alive.

use serde::{Deserialize, Serialize};

use crate::event::{Interval, Span, Timestamp};

/// When a counter spoke, and for how long each word stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// Start of the bucket with its first word.
    pub(super) first: Timestamp,
    /// End of the latest bucket with a word of its own, or in which it is known to have gained nothing.
    pub(super) heard: Timestamp,
    /// The same, or end of a later one in which it is assumed to have gained nothing.
    pub(super) filled: Timestamp,
    /// How many words it said, with those that are known to be nothing.
    pub(super) words: u32,
    /// For how long its latest two words stand; zero: not known yet.
    pub(super) stretches: [Span; 2],
}

impl Pace {
    /// Of a counter that speaks for the first time.
    pub(super) fn new(bucket: Interval, stretch: Span) -> Self {
        Self {
            first: bucket.start,
            heard: bucket.end,
            filled: bucket.end,
            words: 1,
            stretches: [stretch; 2],
        }
    }

    /// Notes a word of a bucket with this end.
    pub(super) fn speak(&mut self, end: Timestamp, stretch: Span) {
        self.fill(end, false);
        self.stretches = [stretch, self.stretches[0]];
    }

    /// Notes that it gained nothing up to this end.
    pub(super) fn fill(&mut self, end: Timestamp, is_assumed: bool) {
        self.filled = end;
        if !is_assumed {
            self.heard = end;
            self.words = self.words.saturating_add(1);
        }
    }

    /// Mean distance of its words.
    pub(super) fn cadence(&self) -> Span {
        let whole = self.heard - self.first;
        Span::from_nanos(whole.nanos() / i64::from(self.words.max(1)))
    }

    /// How long it may be silent: five times the usual distance of its words, or longer if that is the least.
    pub(super) fn patience(&self, silence_min: Span) -> Span {
        silence_min.max(self.cadence().times(5))
    }

    /// Whether an export of its sender, of so long a time, shows that it gained nothing in the bucket. What is
    /// exported at another pace, several times while its last word stands, shows nothing. Of two words the
    /// shorter counts: after a pause one stands for longer than the next.
    pub(super) fn is_left_out(&self, bucket: Interval, exported: Span) -> bool {
        let [latest, before] = self.stretches;
        latest.min(before) <= exported.min(bucket.end - self.filled).times(2)
    }

    /// Whether it may be taken for nothing gained that it is silent in the bucket, though no export of its
    /// sender is seen: its last word stands no more. Of two words the longer counts: the last of a process that
    /// shuts down stands for less. An export may come somewhat later than the one before: of one that has left
    /// out next to nothing so far, the next has to be overdue by half of that.
    pub(super) fn is_overdue(&self, bucket: Interval, resolution: Span, silence_min: Span) -> bool {
        let [latest, before] = self.stretches;
        let stands = latest.max(before);
        let is_dense = self.cadence().times(4) < stands.times(5);
        let slack = if is_dense && self.filled == self.heard {
            let halves = stands.nanos() / 2 / resolution.nanos();
            resolution.times(halves)
        } else {
            Span::ZERO
        };
        stands != Span::ZERO
            && stands + slack <= bucket.end - self.filled
            && bucket.end - self.heard <= self.patience(silence_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: Span = Span::from_seconds(10);
    const SILENCE: Span = Span::from_minutes(10);

    fn bucket(second: i64) -> Interval {
        let end = Timestamp::from_seconds(second);
        Interval {
            start: end - WIDTH,
            end,
        }
    }

    fn spoke(stretches: [i64; 2]) -> Pace {
        let mut pace = Pace::new(bucket(0), Span::from_seconds(stretches[1]));
        pace.speak(
            Timestamp::from_seconds(60),
            Span::from_seconds(stretches[0]),
        );
        pace
    }

    #[test]
    fn an_export_at_its_own_pace_shows_what_it_leaves_out() {
        let minute = spoke([60, 60]);
        for (end, exported, expected) in [
            (120, 60, true),
            // A little early, or after an export that was lost.
            (110, 52, true),
            (240, 120, true),
            // It spoke for this time itself.
            (70, 60, false),
            // At another pace.
            (120, 10, false),
        ] {
            let exported = Span::from_seconds(exported);
            let found = minute.is_left_out(bucket(end), exported);
            assert_eq!(found, expected, "{end} {exported}");
        }
        let paused = spoke([120, 10]);
        assert!(paused.is_left_out(bucket(70), WIDTH));
    }

    #[test]
    fn silence_is_one_word_for_each_of_its_words() {
        for (stretches, expected) in [
            ([60, 60], vec![150, 210, 270]),
            ([10, 10], vec![70, 80, 90]),
            // The last word of a process that shut down stands for less.
            ([10, 60], vec![150, 210, 270]),
        ] {
            let mut pace = spoke(stretches);
            let mut filled = Vec::new();
            for second in (70..10_000).step_by(10) {
                if pace.is_overdue(bucket(second), WIDTH, SILENCE) {
                    pace.fill(bucket(second).end, true);
                    filled.push(second);
                }
            }
            assert_eq!(filled[..3], expected, "{stretches:?}");
            let last = *filled.last().unwrap();
            assert!(600 < last && last <= 660, "{stretches:?} {last}");
        }
        let mut sparse = spoke([60, 60]);
        sparse.speak(Timestamp::from_seconds(600), Span::from_minutes(1));
        let overdue = |second| sparse.is_overdue(bucket(second), WIDTH, SILENCE);
        assert_eq!([650, 660].map(overdue), [false, true]);
        assert!(!spoke([0, 0]).is_overdue(bucket(500), WIDTH, SILENCE));
    }
}
