//! When a process of a host began anew, as its counts and what is said about it tell.
//!
//! A process that dies and is started again is seen in no level, and in no rate: what it counts goes on from
//! zero, and the gap is filled. Three things tell of it:
//! - most counts of a process fall to (next to) nothing at once, see [`Life`]. One that falls alone, while others
//!   of its process go on, is at fault by itself, or of a worker that is recycled; the sums of several containers
//!   keep more than half where one of several goes. Neither is a birth;
//! - a start time of it moves to just now;
//! - what watches containers counts a restart.
//!
//! All of it within [`APART`](crate::detect::BIRTHS_APART) is one birth of the host: a start is told by several, each
//! at its own pace. Counts that soon jump back to where they were are those of two replicas behind one address,
//! scraped in turns: what they seemed to tell is taken back, and for an hour they tell no more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    binding::{Bindings, Origin, Source},
    service::Service,
};
use crate::{
    detect::is_start_time,
    event::{Interval, Kind, Labels, Span, Timestamp},
    reduce::{Life, Partial, SeriesId},
};

/// A start that is told moves to just now if it is this young.
const RECENT: Span = Span::from_minutes(5);
/// A start may wander by this much without meaning a birth.
const START_JITTER: Span = Span::from_seconds(1);
/// Within this time counts jump back if they are of two replicas.
const BACK_WITHIN: Span = Span::from_minutes(5);
/// How often in a row they must for that: once it may be chance.
const BACK_TIMES: u8 = 2;
/// How long counts of two replicas tell nothing, since they fell last.
const TORN_FOR: Span = Span::from_hours(1);

/// How a series tells of births, beside what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teller {
    /// A gauge of the second in which something of the host began.
    Start,
    /// A counter of restarts of the host's containers.
    Restarts,
}

/// What the series of a process said of its life in the bucket that is spread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// The series that was taken last.
    latest: Option<SeriesId>,
    begun: u32,
    going: u32,
    lost: f64,
    counted: f64,
    gained: f64,
    start: Option<Timestamp>,
    has_restarted: bool,
}

/// What is remembered of the lives of a host's processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Lives {
    /// The latest start that was ever told.
    start: Option<Timestamp>,
    /// The processes whose counts fell of late, in the order of their names.
    fallen: Vec<Fallen>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fallen {
    process: Option<Arc<str>>,
    /// By how much they fell last, and whether they have not jumped back yet.
    lost: f64,
    is_down: bool,
    /// How often in a row they jumped back after they fell, and since when.
    back: u8,
    since: Timestamp,
    /// End of the bucket in which they fell last.
    at: Timestamp,
}

/// What a process of a host did.
enum Did {
    Nothing,
    Begin,
    /// It never began: what fell since this time has jumped back.
    Return(Timestamp),
}

impl Teller {
    /// How a series tells of births, if it does.
    pub(super) fn of(labels: &Labels, kind: Kind) -> Option<Self> {
        let name = labels.metric();
        match kind {
            Kind::Counter if name == "kube_pod_container_status_restarts_total" => {
                Some(Self::Restarts)
            }
            Kind::Gauge | Kind::Unknown if is_start_time(name) => Some(Self::Start),
            Kind::Counter | Kind::Gauge | Kind::Unknown | Kind::Histogram | Kind::Summary => None,
        }
    }
}

impl Tally {
    /// Takes what a series of the process did; once, however many panels it feeds.
    pub(super) fn add(&mut self, series: SeriesId, did: &Partial) {
        if self.latest.replace(series) == Some(series) {
            return;
        }
        match did.life() {
            Life::Unknown => {}
            Life::GoesOn => self.going += 1,
            Life::Begun { lost, counted } => {
                self.begun += 1;
                self.lost += lost;
                self.counted += counted;
            }
        }
        self.gained += did.gained();
    }

    /// Takes what a series says that tells of births.
    pub(super) fn hear(&mut self, teller: Teller, said: &Partial) {
        match (teller, said) {
            (Teller::Start, Partial::Gauge(gauge)) => {
                let start = Timestamp::from_seconds_f64(gauge.max).ok();
                self.start = self.start.max(start);
            }
            (Teller::Restarts, Partial::Increase(increase)) => {
                self.has_restarted |= increase.resets == 0 && 1.0 <= increase.increase;
            }
            (Teller::Start | Teller::Restarts, _) => {}
        }
    }
}

impl Lives {
    /// What a process did in a bucket.
    fn take(&mut self, process: Option<&Arc<str>>, tally: &Tally, bucket: Interval) -> Did {
        let is_told = self.starts(tally.start, bucket) || tally.has_restarted;
        let fell = self.falls(process, tally, bucket.end);
        match fell {
            Did::Begin | Did::Nothing if is_told => Did::Begin,
            did => did,
        }
    }

    /// Whether a start that is told is one of just now.
    fn starts(&mut self, told: Option<Timestamp>, bucket: Interval) -> bool {
        let Some(told) = told else {
            return false;
        };
        let known = self
            .start
            .replace(self.start.map_or(told, |known| known.max(told)));
        let has_moved = known.is_some_and(|known| START_JITTER < told - known);
        has_moved && bucket.start < told + RECENT && told < bucket.end + RECENT
    }

    fn falls(&mut self, process: Option<&Arc<str>>, tally: &Tally, end: Timestamp) -> Did {
        let is_begun = tally.going < tally.begun;
        let order = |known: &Fallen| known.process.as_ref().cmp(&process);
        match self.fallen.binary_search_by(order) {
            Err(index) if is_begun => {
                let fallen = Fallen {
                    process: process.cloned(),
                    lost: tally.lost,
                    is_down: true,
                    back: 0,
                    since: end,
                    at: end,
                };
                self.fallen.insert(index, fallen);
                Did::Begin
            }
            Err(_) => Did::Nothing,
            Ok(index) => {
                let known = &mut self.fallen[index];
                if !is_begun && known.at + TORN_FOR <= end {
                    self.fallen.remove(index);
                    return Did::Nothing;
                }
                known.take(is_begun, tally, end)
            }
        }
    }
}

impl Fallen {
    fn take(&mut self, is_begun: bool, tally: &Tally, end: Timestamp) -> Did {
        let is_torn = BACK_TIMES <= self.back && end < self.at + TORN_FOR;
        let risen = tally.gained - tally.counted;
        let is_back =
            self.is_down && end - self.at <= BACK_WITHIN && Life::is_back(self.lost, risen);
        if is_back {
            self.is_down = false;
            self.back = self.back.saturating_add(1);
        }
        let is_found = !is_torn && is_back && BACK_TIMES <= self.back;
        if is_begun {
            if self.is_down {
                (self.back, self.since) = (0, end);
            }
            (self.lost, self.is_down, self.at) = (tally.lost, true, end);
        }
        if is_found {
            Did::Return(self.since)
        } else if is_begun && self.back < BACK_TIMES {
            Did::Begin
        } else {
            Did::Nothing
        }
    }
}

impl Service {
    /// Takes what a process of one of its hosts said of its life. Says whether it began.
    fn live(&mut self, source: &Source, bucket: Interval) -> bool {
        let host = source.origin.owner.host;
        let lives = &mut self.facts[host.0 as usize].lives;
        let did = lives.take(source.origin.process.as_ref(), &source.tally, bucket);
        match did {
            Did::Nothing => {}
            Did::Begin => self.hosts.born(host, bucket),
            Did::Return(since) => self.hosts.unborn(host, since),
        }
        matches!(did, Did::Begin)
    }
}

impl Bindings {
    /// Takes what the processes said of their lives in a bucket, once all of it has come.
    pub(super) fn live(&mut self, services: &mut [Service], bucket: Interval) {
        for source in &self.sources {
            let Origin { service, owner, .. } = &source.origin;
            if source.has_said(bucket.end) && services[*service].live(source, bucket) {
                self.families.born(*service, owner.host, bucket.end);
            }
        }
    }
}

#[cfg(test)]
#[path = "births_tests.rs"]
mod tests;
