//! Whether the one-box still reports a metric that the fleet reports.

use serde::{Deserialize, Serialize};

use super::{
    class::Class,
    reading::{HostPast, Reader, Reading, Role, per_exposure},
};
use crate::{
    detect::{
        Extent, Group, HostId, NoDataCause, Track, Unsound,
        state::{counted, possible},
        stats::{median, quantile},
    },
    event::{Span, Timestamp},
};

/// Shortest silence of a metric that means anything.
const PATIENCE: Span = Span::from_minutes(5);
/// The same in buckets.
const PATIENCE_BUCKETS: i64 = 5;
/// The same in longest gaps that the metric ever had on any host.
const PATIENCE_GAPS: i64 = 3;
/// Share of buckets in which every fleet host must report a metric before a one-box that never did
/// is missing it.
const REGULAR_MIN: f64 = 0.5;
/// Chance that a healthy host says nothing for that long.
const SILENT_CHANCE_MAX: f64 = 0.01;
/// Share, in percent, of the buckets that the fleet reports in which a one-box host must.
const REPORTED_PERCENT_MIN: u64 = 50;
/// Buckets that the fleet must have reported before that share tells anything.
const REPORTED_MIN: f64 = 10.0;
/// Share of the fleet's hosts that report a metric more rarely: what the poorest do is no measure.
const REPORTED_QUANTILE: f64 = 0.25;
/// Share of the fleet's usual value at which a host is dead.
const DEAD_SHARE: f64 = 0.01;
/// Values that tell well enough what the fleet never is.
const LEARN_VALUES: usize = 20_000;

/// Follows one metric.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Presence {
    /// At or below this a one-box host does not work; only where the fleet never was there.
    dead_at: Option<f64>,
    /// Since when each one-box host is.
    dead_since: Vec<(HostId, Timestamp)>,
    /// When a fleet host was last, after all: with little load, at night.
    fleet_dead_last: Option<Timestamp>,
    /// Buckets that each host reported since this follows.
    heard: Vec<(HostId, u64)>,
    buckets: u64,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Absence {
    pub(super) cause: NoDataCause,
    pub(super) hosts: Vec<HostId>,
    pub(super) remark: &'static str,
}

impl Presence {
    /// Learns from the fleet's past at which value a host would be dead.
    pub(super) fn learn(&mut self, class: &Class, fleet: &[HostPast]) {
        if class.is_share() {
            return;
        }
        let whole: usize = fleet.iter().map(|past| past.values.len()).sum();
        let stride = (whole / LEARN_VALUES).max(1);
        let mut values: Vec<f64> = fleet
            .iter()
            .flat_map(|past| past.values.iter().step_by(stride))
            .map(|(value, exposure)| per_exposure(f64::from(*value), f64::from(*exposure)))
            .filter(|value| value.is_finite())
            .collect();
        let lowest = quantile(&mut values, 0.01);
        let usual = median(&mut values);
        self.dead_at = usual
            .zip(lowest)
            .filter(|(_, lowest)| *lowest > 0.0)
            .map(|(usual, lowest)| (DEAD_SHARE * usual).min(0.5 * lowest));
    }

    /// Refuses a saved presence that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(self.dead_since.iter().map(|(host, _)| host))?;
        extent.hosts(self.heard.iter().map(|(host, _)| host))?;
        counted("number of buckets", self.buckets)?;
        for (_, buckets) in &self.heard {
            counted("number of buckets", *buckets)?;
        }
        possible(
            "order of hosts",
            self.heard.is_sorted_by(|(a, _), (b, _)| a < b),
        )
    }

    /// Whether any fleet host reported the metric of late.
    pub(super) fn is_fleet_alive(reader: &Reader<'_>, group: &Group) -> bool {
        let end = reader.view.bucket.end;
        reader.view.fleet.iter().any(|host| {
            group.track(*host).is_some_and(|track| {
                track.has_data()
                    && end - track.heard_last() <= patience(reader, [track].into_iter())
            })
        })
    }

    /// Takes the bucket that has just closed; gives what is missing.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) -> Option<Absence> {
        let end = reader.view.bucket.end;
        self.buckets += 1;
        let fleet: Vec<(HostId, &Track)> = reader
            .view
            .fleet
            .iter()
            .filter_map(|host| Some((*host, group.track(*host)?)))
            .filter(|(_, track)| track.has_data())
            .collect();
        for (host, track) in &fleet {
            if track.cell(reader.view.bucket).is_some() {
                self.count(*host);
            }
        }
        for host in reader.view.one_box {
            if group
                .track(*host)
                .is_some_and(|track| track.cell(reader.view.bucket).is_some())
            {
                self.count(*host);
            }
        }
        self.follow_dead(reader, group);
        let patience = patience(reader, fleet.iter().map(|(_, track)| *track));
        if end <= reader.terms.grace_until + patience {
            return None;
        }
        let speaking: Vec<(HostId, &Track)> = fleet
            .iter()
            .copied()
            .filter(|(_, track)| end - track.heard_last() <= patience)
            .collect();
        // Of hosts that are gone altogether nothing is expected.
        let is_expected = |(host, track): &&(HostId, &Track)| {
            end - track.heard_last() <= patience || !reader.view.is_lifeless(*host)
        };
        let expected = fleet.iter().filter(is_expected).count();
        if speaking.is_empty() || speaking.len() * 2 < expected {
            return None;
        }
        self.silent(reader, group, &speaking, patience)
            .or_else(|| self.dead(reader, patience))
            .or_else(|| self.torn(reader, &speaking))
    }

    /// One-box hosts that lack most of what the fleet reports: what is left of them is too little to
    /// stand for the whole, however short each gap is.
    fn torn(&self, reader: &Reader<'_>, speaking: &[(HostId, &Track)]) -> Option<Absence> {
        let own = reader.view.one_box.iter().map(|host| self.heard_of(*host));
        if own.min()? * 100 >= self.buckets * REPORTED_PERCENT_MIN {
            // Nobody can have promised more.
            return None;
        }
        let fleet = speaking.iter().map(|(host, _)| self.heard_of(*host) as f64);
        let usual = quantile(&mut fleet.collect::<Vec<_>>(), REPORTED_QUANTILE)?;
        // What comes with requests comes more rarely to whom fewer are given.
        let promised = usual * reader.terms.weight.min(1.0);
        if promised < REPORTED_MIN {
            return None;
        }
        let shares = reader.view.one_box.iter().filter_map(|host| {
            // Who comes later owes from its first data on.
            let promised = promised * self.part_since_born(reader, *host);
            let share = 100.0 * self.heard_of(*host) as f64 / promised;
            (REPORTED_MIN <= promised).then_some((share as u64, *host))
        });
        let mut torn: Vec<(u64, HostId)> = shares
            .filter(|(share, _)| *share < REPORTED_PERCENT_MIN)
            .collect();
        torn.sort_unstable();
        let (poorest, _) = *torn.first()?;
        Some(Absence {
            cause: NoDataCause::Gaps {
                covered_percent: poorest as u8,
                lost: None,
            },
            hosts: torn.into_iter().map(|(_, host)| host).collect(),
            remark: "that the fleet has",
        })
    }

    /// The part of the time that this follows in which a host was there.
    fn part_since_born(&self, reader: &Reader<'_>, host: HostId) -> f64 {
        let age = reader.view.bucket.end - reader.view.hosts.get(host).first_seen;
        let age = age.div_ceil(reader.terms.resolution) as f64;
        (age / self.buckets as f64).min(1.0)
    }

    fn heard_of(&self, host: HostId) -> u64 {
        let index = self.heard.binary_search_by_key(&host, |(host, _)| *host);
        index.map_or(0, |index| self.heard[index].1)
    }

    fn count(&mut self, host: HostId) {
        match self.heard.binary_search_by_key(&host, |(host, _)| *host) {
            Ok(index) => self.heard[index].1 += 1,
            Err(index) => self.heard.insert(index, (host, 1)),
        }
    }

    fn silent(
        &self,
        reader: &Reader<'_>,
        group: &Group,
        speaking: &[(HostId, &Track)],
        patience: Span,
    ) -> Option<Absence> {
        let end = reader.view.bucket.end;
        let mut latest: Option<Timestamp> = None;
        let mut hosts = Vec::new();
        for host in reader.view.one_box {
            match group.track(*host).filter(|track| track.has_data()) {
                Some(track) => {
                    let patience = patience.max(own_patience(track, reader));
                    if end - track.heard_last() > patience {
                        latest = latest.max(Some(track.heard_last()));
                        hosts.push(*host);
                    }
                }
                None if self.is_regular(reader, speaking) => hosts.push(*host),
                None => {}
            }
        }
        if hosts.is_empty() {
            return None;
        }
        let cause = match latest {
            Some(last) if reader.terms.began_at < last => NoDataCause::Stopped { last },
            Some(_) | None => NoDataCause::NeverArrived,
        };
        Some(Absence {
            cause,
            hosts,
            remark: "while the fleet reports it",
        })
    }

    /// Whether every fleet host reports the metric so regularly that a healthy one would have.
    fn is_regular(&self, reader: &Reader<'_>, speaking: &[(HostId, &Track)]) -> bool {
        let shares = speaking
            .iter()
            .map(|(host, _)| self.heard_of(*host) as f64 / self.buckets as f64);
        let poorest = shares.fold(1.0, f64::min);
        let gaps = speaking
            .iter()
            .map(|(_, track)| track.gap_longest.div_ceil(reader.terms.resolution));
        let gap = gaps.max().unwrap_or(0).max(1) as f64;
        let chance = (1.0 - poorest).powf(self.buckets as f64 / gap);
        poorest >= REGULAR_MIN && chance <= SILENT_CHANCE_MAX
    }

    fn follow_dead(&mut self, reader: &Reader<'_>, group: &Group) {
        let Some(dead_at) = self.dead_at else { return };
        let mut fleet = reader.view.fleet.iter();
        let is_dead = |reading: Reading| per_exposure(reading.value, reading.exposure) <= dead_at;
        let is_fleet_dead = fleet.any(|host| {
            let reading = reader.read(group, *host, Role::Fleet);
            reading.is_some_and(is_dead)
        });
        if is_fleet_dead {
            self.fleet_dead_last = Some(reader.view.bucket.start);
        }
        for host in reader.view.one_box {
            let Some(reading) = reader.read(group, *host, Role::OneBox) else {
                continue;
            };
            let is_dead = is_dead(reading);
            let known = self.dead_since.iter().position(|(dead, _)| dead == host);
            match (is_dead, known) {
                (true, None) => self.dead_since.push((*host, reader.view.bucket.start)),
                (false, Some(index)) => {
                    self.dead_since.remove(index);
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn dead(&self, reader: &Reader<'_>, patience: Span) -> Option<Absence> {
        let end = reader.view.bucket.end;
        let mut dead: Vec<(HostId, Timestamp)> = self
            .dead_since
            .iter()
            .copied()
            .filter(|(_, since)| end - *since >= patience && self.fleet_dead_last < Some(*since))
            .collect();
        dead.sort_unstable();
        let last = dead.iter().map(|(_, since)| *since).min()?;
        Some(Absence {
            cause: NoDataCause::Stopped { last },
            hosts: dead.into_iter().map(|(host, _)| host).collect(),
            remark: "at zero, which the fleet never is",
        })
    }
}

fn patience<'a>(reader: &Reader<'_>, tracks: impl Iterator<Item = &'a Track>) -> Span {
    let base = PATIENCE.max(reader.terms.resolution.times(PATIENCE_BUCKETS));
    tracks.fold(base, |patience, track| {
        patience.max(track.gap_longest.times(PATIENCE_GAPS))
    })
}

/// A host's own gaps count too, but for the one that the deployment made.
fn own_patience(track: &Track, reader: &Reader<'_>) -> Span {
    let cadence = reader.terms.resolution.times(PATIENCE_BUCKETS);
    let began_at = reader.terms.began_at;
    if track.heard_last() <= began_at || track.first_seen >= began_at {
        return cadence.max(track.gap_longest.times(PATIENCE_GAPS));
    }
    cadence
}
