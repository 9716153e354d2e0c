//! The fleet whose events are counted, and what takes its place when it is gone.

use serde::{Deserialize, Serialize};

use super::{CONFIRM, Count, CountsTest, Member, Tallies};
use crate::detect::{
    Group, HostId, Unsound,
    compare::{
        LATE_ALPHA,
        reading::Reader,
        reference::{settled, speaks},
    },
    state::{counted, possible},
    stats::mean,
};

/// Fleet hosts from which on they tell how much hosts differ.
pub(super) const HOSTS_MIN: usize = 3;
/// Between-host variation of rates that is always and at most assumed.
const VARIATION: (f64, f64) = (0.25, 1.0);

/// Whose events are counted beside those of the one-box.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "CountsFleet")]
pub(super) struct Fleet {
    /// Between-host coefficient of variation of rates.
    variation: f64,
    /// Whether most of those are gone that it began with, and whoever comes and goes counts.
    is_open: bool,
    /// For how many buckets it has been what it is, and how many it takes to see anything.
    age: usize,
    least: usize,
}

impl Fleet {
    pub(super) fn new(variation: f64) -> Self {
        Self {
            variation,
            is_open: false,
            age: 0,
            least: 0,
        }
    }

    /// The part of alpha that is left beside this fleet: of one that others took the place of, what was kept for
    /// what comes late.
    pub(super) fn alpha(&self, alpha: f64) -> f64 {
        if self.is_open {
            alpha * LATE_ALPHA
        } else {
            alpha
        }
    }

    pub(super) fn step(&mut self) {
        self.age += 1;
    }

    /// Refuses a saved one that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of buckets", self.age as u64)?;
        counted("number of buckets", self.least as u64)?;
        let is_sound = self.variation.is_finite() && 0.0 < self.variation;
        possible("variation of rates", is_sound)
    }
}

impl CountsTest {
    /// The fleet hosts that it compares with.
    pub(in crate::detect::compare) fn fleet(&self) -> impl Iterator<Item = HostId> {
        self.fleet.iter().map(|member| member.host)
    }

    /// Whether it has seen enough beside the fleet of now.
    pub(in crate::detect::compare) fn sees(&self) -> bool {
        self.epoch.least <= self.epoch.age
    }

    /// Goes on beside the fleet hosts that are here, and whoever comes later. What is known of the one-box is its
    /// factor beside the hosts of before: the mean of as many others differs from theirs as hosts do. What was
    /// counted beside those is no evidence any more.
    pub(in crate::detect::compare) fn go_on(&mut self, reader: &Reader<'_>, group: &Group) {
        if self.epoch.is_open {
            return;
        }
        let fleet = reader.view.fleet.iter();
        let here = fleet.filter(|host| speaks(reader, group, **host)).count();
        let (before, now) = (self.fleet.len().max(1) as f64, here.max(1) as f64);
        let sigma = self.epoch.variation * (1.0 / before + 1.0 / now).sqrt();
        self.epoch.is_open = true;
        self.epoch.age = 0;
        self.epoch.least = reader.terms.buckets(CONFIRM);
        for side in &mut self.sides {
            side.go_on(sigma);
        }
        self.tallies.fill(Tallies::default());
        let count = self.count;
        self.late.retain(|start| count < *start);
        self.late_from.clear();
        self.half_age = 0;
        self.round_age = 0;
        for member in self.one_box.iter_mut().chain(&mut self.fleet) {
            member.count = Count::default();
        }
        self.adopt(reader, group);
    }

    /// Between two rounds, where it is open: takes in the fleet hosts that have settled, and lets those go that
    /// are silent.
    pub(super) fn adopt(&mut self, reader: &Reader<'_>, group: &Group) {
        if !self.epoch.is_open {
            return;
        }
        self.fleet
            .retain(|member| speaks(reader, group, member.host));
        let mut known: Vec<HostId> = self.fleet().collect();
        known.sort_unstable();
        let come = settled(reader, group).into_iter();
        let come = come.filter(|host| known.binary_search(host).is_err());
        let member = |host: HostId| {
            let until = group.track(host).map(|track| track.last_seen);
            Member::since(host, until)
        };
        self.fleet.extend(come.map(member));
    }
}

/// The coefficient of variation of the hosts' rates beyond what chance alone makes.
pub(super) fn variation(fleet: &[Vec<Count>]) -> f64 {
    let rates: Vec<(f64, f64)> = fleet
        .iter()
        .map(|counts| {
            counts.iter().fold((0.0, 0.0), |(events, exposure), count| {
                (events + count.events, exposure + count.exposure)
            })
        })
        .filter(|(_, exposure)| *exposure > 0.0)
        .collect();
    let events: f64 = rates.iter().map(|(events, _)| events).sum();
    let exposure: f64 = rates.iter().map(|(_, exposure)| exposure).sum();
    if rates.len() < HOSTS_MIN || events <= 0.0 {
        return VARIATION.1;
    }
    let rate = events / exposure;
    let squares = rates.iter().map(|(events, exposure)| {
        let expected = rate * exposure;
        let excess = (events - expected).powi(2) - expected;
        excess / (expected * expected)
    });
    let squared = mean(squares).unwrap_or(0.0) * rates.len() as f64 / (rates.len() - 1) as f64;
    squared.max(0.0).sqrt().clamp(VARIATION.0, VARIATION.1)
}
