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

use serde::{Deserialize, Serialize};

use crate::event::{MaybeTimestamp, Span, Timestamp};

/// A start or a host this close to the point is part of what we watch.
pub(super) const RECENT: Span = Span::from_minutes(5);

/// How far a start may wander without meaning a restart.
const START_JITTER: Span = Span::from_seconds(1);

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

    /// The time since the point before; after a restart, since that if it is later. In seconds.
    pub(super) fn seconds_since(self, previous: Self, restarted: bool) -> f64 {
        let mut since = previous.at;
        if restarted && let Some(start) = self.known_start() {
            since = since.max(start);
        }
        (self.at - since).seconds_f64()
    }
}
