//! What hosts counted, gathered until each of them had its turn.
//!
//! A count speaks for the time since the one before. Where hosts are scraped less often than buckets
//! close, one after the other, few of them speak in the same bucket: what each counted is summed up for
//! a round, in which all had a scrape. Where all are scraped in every bucket, a round is one bucket.

use serde::{Deserialize, Serialize};

use crate::{
    detect::{
        Group, HostId, Track,
        compare::{
            reading::{HOLD_MAX, HostPast, Reader, Role},
            terms::Terms,
        },
    },
    event::{Span, Timestamp},
};

/// What may be missing now and then, in buckets, without making a round longer.
const SLACK: f64 = 0.25;

/// Events of a host, and what they are to be divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "CountsCount")]
pub(in crate::detect::compare) struct Count {
    pub(in crate::detect::compare) events: f64,
    pub(in crate::detect::compare) exposure: f64,
}

/// A host, and what it counted in the round that runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "CountsMember")]
pub(super) struct Member {
    pub(super) host: HostId,
    /// Until when it was counted.
    until: Option<Timestamp>,
    pub(super) count: Count,
}

impl Member {
    pub(super) fn new(host: HostId) -> Self {
        Self {
            host,
            until: None,
            count: Count::default(),
        }
    }

    /// One that was counted until then.
    pub(super) fn since(host: HostId, until: Option<Timestamp>) -> Self {
        Self {
            until,
            ..Self::new(host)
        }
    }

    /// Takes what it said in the bucket, if anything; a one-box host has so much of an ordinary host's traffic.
    pub(super) fn observe(
        &mut self,
        reader: &Reader<'_>,
        group: &Group,
        (role, weight): (Role, f64),
    ) {
        let Some(reading) = reader.read(group, self.host, role) else {
            return;
        };
        let terms = reader.terms;
        let end = reader.view.bucket.end;
        let buckets = match self.until.replace(end) {
            Some(until) if !terms.is_log => (end - until).div_ceil(terms.resolution),
            // A part of it was counted before one began to judge.
            None if 1 < distance(reader, group, self.host) => return,
            Some(_) | None => 1,
        };
        let width = terms.resolution.seconds_f64();
        let since = buckets.min(HOLD_MAX) as f64 * width;
        let known = reading
            .seconds
            .filter(|seconds| width < (seconds - since).abs());
        let seconds = known.unwrap_or(since);
        let per_second = match role {
            _ if terms.has_per => reading.exposure,
            Role::OneBox => weight,
            Role::Fleet | Role::Other => 1.0,
        };
        self.count.events += reading.events;
        self.count.exposure += per_second * seconds;
    }
}

/// How many buckets a round has: as many as lie between two scrapes of the rarest of the one-box, and of
/// the middle one of the fleet.
pub(super) fn length(
    reader: &Reader<'_>,
    group: &Group,
    one_box: impl Iterator<Item = HostId>,
    fleet: impl Iterator<Item = HostId>,
) -> usize {
    if reader.terms.is_log {
        return 1;
    }
    let rarest = one_box.map(|host| distance(reader, group, host)).max();
    let mut fleet: Vec<usize> = fleet.map(|host| distance(reader, group, host)).collect();
    fleet.sort_unstable();
    let middle = fleet.get(fleet.len() / 2).copied();
    rarest.max(middle).unwrap_or(1)
}

/// How many buckets lie between two scrapes of a host.
fn distance(reader: &Reader<'_>, group: &Group, host: HostId) -> usize {
    let track = group.track(host).filter(|track| 1 < track.covered);
    track.map_or(1, |track| distance_of(track, reader.terms.resolution))
}

fn distance_of(track: &Track, width: Span) -> usize {
    // From the first sample to the last, without the bucket of the first.
    let buckets = (track.last_seen - track.first_seen).div_ceil(width) - 1;
    let distance = buckets as f64 / f64::from(track.covered - 1);
    ((distance - SLACK).ceil() as usize).clamp(1, HOLD_MAX)
}

/// What a host counted in the rounds of its past, oldest first; the last ends where the past ends.
pub(super) fn past(terms: &Terms, past: &HostPast, round: usize) -> Vec<Count> {
    let width = terms.resolution.seconds_f64();
    let len = past.values.len();
    let rounds = len.div_ceil(round);
    let mut counts = vec![Count::default(); rounds];
    let mut last = None;
    for (bucket, (value, exposure)) in past.values.iter().enumerate() {
        if !(value.is_finite() && exposure.is_finite()) {
            continue;
        }
        let buckets = match last.replace(bucket) {
            Some(last) if !terms.is_log => (bucket - last).min(HOLD_MAX),
            Some(_) | None => 1,
        };
        let seconds = buckets as f64 * width;
        let count = &mut counts[rounds - 1 - (len - 1 - bucket) / round];
        count.events += (f64::from(*value) * seconds).round();
        count.exposure += f64::from(*exposure) * seconds;
    }
    counts
}
