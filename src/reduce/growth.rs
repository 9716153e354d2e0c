//! When a cumulative count was born, when it restarted, and how long it took to gain what it has.
//!
//! # Birth
//! The first point of a cumulative series tells a total, not a gain. Most often the series is old
//! and only we are new: then it is a baseline and nothing more. But the first error of a fresh
//! canary appears as a counter *born at 1*, and an increase that begins at the second point never
//! sees it: for a new host that is exactly the failure to catch. So the first value counts
//! from zero where we can know that the series is as new as it looks:
//! - its start is told, and lies after the host was first seen (nothing of it can have been
//!   missed) or within [`RECENT`] of the point: gained since its start;
//! - its start is not told, but the host has been seen for at least [`RECENT`] without it: gained
//!   within one bucket.
//!
//! A start that equals the time of the point means "not known" (OTLP), and is treated so.
//!
//! # Restart
//! A count that falls restarted, compared with the point *before* it, not with the first: 4, 10, 6
//! is a restart though 6 is above 4. So did one whose start moved on; a start that moves by less
//! than [`START_JITTER`] without leaving the point before behind is a sender that computes it anew
//! each time from its uptime. After a restart, all that the point tells was gained since.
//!
//! # Life
//! That a count restarted does not say that its process did. A sum over several workers or containers falls by
//! what one of them had when that goes; a count of 32 bits wraps; a scrape behind a balancer meets another
//! replica, which counted from long ago. So a process is said to have begun only if
//! - its start is told, moved on, and lies after the point before: one that moved on to an earlier time is of
//!   another replica; or
//! - no start is told, and the count fell below half of what it was, not from where counts wrap.
//!
//! Who counts several things must begin with most of them: that is not seen here, but where they meet.

use serde::{Deserialize, Serialize};

use super::Life;
use crate::event::{MaybeTimestamp, Span, Timestamp};

/// A start or a host this close to the point is part of what we watch.
pub(super) const RECENT: Span = Span::from_minutes(5);

/// How far a start may wander without meaning a restart.
const START_JITTER: Span = Span::from_seconds(1);

/// How far the clock that tells a start may be behind the one that tells points.
const START_SKEW: Span = Span::from_minutes(1);

/// Where counts of 31, 32, 63 and 64 bits wrap.
const WRAPS: [f64; 4] = [
    2_147_483_648.0,
    4_294_967_296.0,
    9_223_372_036_854_775_808.0,
    18_446_744_073_709_551_616.0,
];

/// What the reduction of a series must know beside its points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) resolution: Span,
    pub(super) host_known_since: Option<Timestamp>,
}

/// When a point was taken, and since when it counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub(super) at: Timestamp,
    pub(super) start: MaybeTimestamp,
}

impl Context {
    /// A gain in less time than this says nothing yet: an SDK that shuts down re-sends its counts
    /// some 100 ms after the last regular point, and a rate over that is noise.
    pub(super) fn seconds_min(self) -> f64 {
        self.resolution.seconds_f64() / 100.0
    }

    /// In how many seconds the first value of a cumulative series was gained; `None`: it is only a
    /// baseline.
    pub(super) fn birth_seconds(self, first: Stamp) -> Option<f64> {
        if let Some(start) = first.known_start() {
            let seen_whole = self.host_known_since.is_some_and(|since| since <= start);
            let seconds = (first.at - start).seconds_f64();
            return (seen_whole || first.at - start <= RECENT).then_some(seconds);
        }
        let host_known = first.at - self.host_known_since?;
        (RECENT <= host_known).then(|| self.resolution.seconds_f64())
    }

    /// In how many seconds a delta point was gained. What came before `previous` was told then, also by a
    /// sender that gives the start of its process with each point.
    pub(super) fn delta_seconds(self, point: Stamp, previous: Option<Timestamp>) -> f64 {
        let since = point.known_start().max(previous);
        since
            .map_or(self.resolution, |since| point.at - since)
            .seconds_f64()
    }
}

impl Stamp {
    fn known_start(self) -> Option<Timestamp> {
        self.start.get().filter(|start| *start < self.at)
    }

    /// Whether the start says that the count began anew after `previous`.
    pub(super) fn restarts_after(self, previous: Self) -> bool {
        let (Some(start), Some(before)) = (self.start.get(), previous.start.get()) else {
            return self.known_start().is_some_and(|start| previous.at < start);
        };
        before < start && (previous.at < start || START_JITTER < start - before)
    }

    /// What a point of a count tells of its process after a `previous` one, by what was counted before and is
    /// now.
    pub(super) fn life(self, previous: Self, (before, now): (f64, f64)) -> Life {
        let begun = Life::Begun {
            lost: (before - now).max(0.0),
            counted: now,
        };
        if let (Some(start), Some(known)) = (self.start.get(), previous.start.get()) {
            let has_moved = START_JITTER < start - known;
            return if has_moved && previous.at < start + START_SKEW {
                begun
            } else if now < before || has_moved || START_JITTER < known - start {
                Life::Unknown
            } else {
                Life::GoesOn
            };
        }
        let is_wrap = || WRAPS.iter().any(|end| (0.9 * end..=*end).contains(&before));
        if before <= now && 0.0 < before {
            Life::GoesOn
        } else if now < 0.5 * before && !is_wrap() {
            begun
        } else {
            Life::Unknown
        }
    }

    /// The time since the point before; after a restart, since that if it is later. In seconds.
    pub(super) fn seconds_since(self, previous: Self, restarted: bool) -> f64 {
        let mut since = previous.at;
        if restarted && let Some(start) = self.known_start() {
            since = since.max(start);
        }
        (self.at - since).seconds_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_began_if_its_start_moved_to_now_or_its_count_fell_below_half() {
        let stamp = |at: i64, start: Option<i64>| Stamp {
            at: Timestamp::from_seconds(at),
            start: start.map(Timestamp::from_seconds).into(),
        };
        let begun = |lost: f64, counted: f64| Life::Begun { lost, counted };
        let cases = [
            ("it rises", (None, None), (10.0, 12.0), Life::GoesOn),
            ("it stands", (None, None), (10.0, 10.0), Life::GoesOn),
            (
                "it counted nothing yet",
                (None, None),
                (0.0, 0.0),
                Life::Unknown,
            ),
            ("it falls", (None, None), (10.0, 4.0), begun(6.0, 4.0)),
            (
                "a part of it goes",
                (None, None),
                (10.0, 6.0),
                Life::Unknown,
            ),
            ("it wraps", (None, None), (4.2e9, 5.0), Life::Unknown),
            (
                "its start stands",
                (Some(0), Some(0)),
                (10.0, 12.0),
                Life::GoesOn,
            ),
            (
                "its start wanders",
                (Some(0), Some(1)),
                (10.0, 12.0),
                Life::GoesOn,
            ),
            (
                "it falls beside its start",
                (Some(0), Some(0)),
                (10.0, 1.0),
                Life::Unknown,
            ),
            (
                "it starts anew",
                (Some(0), Some(995)),
                (10.0, 12.0),
                begun(0.0, 12.0),
            ),
            (
                "a clock is behind",
                (Some(0), Some(950)),
                (10.0, 2.0),
                begun(8.0, 2.0),
            ),
            (
                "a younger replica",
                (Some(0), Some(500)),
                (10.0, 2.0),
                Life::Unknown,
            ),
            (
                "an older replica",
                (Some(500), Some(0)),
                (10.0, 22.0),
                Life::Unknown,
            ),
        ];
        for (name, (before, now), counts, life) in cases {
            let found = stamp(1_005, now).life(stamp(990, before), counts);
            assert_eq!(found, life, "{name}");
        }
    }
}
