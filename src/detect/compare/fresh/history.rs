//! What fresh hosts and the fleet said since the grace, read once more as a whole.
//!
//! A level is no memory: what came and went, and how restless a host is, only the series itself tells.

use super::{FreshTest, Said};
use crate::{
    detect::{
        Group, HostId,
        compare::{
            pasts::past_buckets,
            reading::{self, Reader},
        },
        stats::median,
    },
    event::{Span, Timestamp},
};

/// Fleet hosts from which on they tell what is usual.
const MANY_HOSTS: usize = 6;
/// Share of the time that a host must have data for, if it is to say what it did in all of it.
const COVERED_MIN: f64 = 0.8;
/// Length of a column: what lasts less is no spell.
const COLUMN: Span = Span::from_minutes(1);
/// Fewest columns that tell anything.
const COLUMNS_MIN: usize = 20;
/// How many times as long as the judged time the past of the fleet is looked at, at most.
const PASTS_MAX: usize = 4;

/// What the hosts said over a time, by bucket.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) hosts: Vec<(HostId, Vec<Said>)>,
}

/// What they said since the grace, and what the fleet said before the deployment over as long a time each.
#[derive(Debug)]
pub(super) struct History {
    pub(super) from: Timestamp,
    /// Buckets of a column.
    pub(super) column: usize,
    pub(super) one_box: Stretch,
    pub(super) fleet: Stretch,
    pub(super) before: Vec<Stretch>,
}

impl History {
    /// Reads it, where there is enough of it, and of the fleet.
    pub(super) fn read(test: &FreshTest, reader: &Reader<'_>, group: &Group) -> Option<Self> {
        let is_placed = test.one_box.iter().any(|recent| recent.place != 0.0);
        if is_placed {
            return None;
        }
        let (terms, view) = (reader.terms, reader.view);
        let width = terms.resolution;
        let end = view.bucket.end;
        let judged = terms.buckets(end - terms.grace_until);
        let count = judged.min(past_buckets(view.one_box.len() + view.fleet.len()));
        let cadences = view.fleet.iter().filter_map(|host| {
            let track = group.track(*host).filter(|track| track.has_data())?;
            Some(terms.buckets(track.cadence()) as f64)
        });
        let cadence = median(&mut cadences.collect::<Vec<f64>>())? as usize;
        let column = terms.buckets(COLUMN).max(cadence);
        if count / column < COLUMNS_MIN {
            return None;
        }
        let divisor = terms.divisor(group.kind, terms.has_per);
        let read = |hosts: &[HostId], to: Timestamp, divisor: f64| -> Stretch {
            let said = |host: HostId| -> (HostId, Vec<Said>) {
                let past = reading::past(terms, group.track(host), to, count).into_iter();
                let said = past.map(|(value, exposure)| {
                    test.said((f64::from(value) / divisor, f64::from(exposure)))
                });
                (host, said.collect())
            };
            let hosts = hosts.iter().map(|host| said(*host));
            let is_covered = |(_, said): &(HostId, Vec<Said>)| COVERED_MIN <= covered(said, column);
            Stretch {
                hosts: hosts.filter(is_covered).collect(),
            }
        };
        let one_box: Vec<HostId> = test.one_box.iter().map(|recent| recent.host).collect();
        let history = Self {
            from: end - width.times(count as i64),
            column,
            fleet: read(view.fleet, end, 1.0),
            before: (0..PASTS_MAX)
                .map(|turn| {
                    let to = terms.past_until - width.times((turn * count) as i64);
                    read(view.fleet, to, 1.0)
                })
                .take_while(|stretch| MANY_HOSTS <= stretch.hosts.len())
                .collect(),
            one_box: read(&one_box, end, divisor),
        };
        let is_whole = history.one_box.hosts.len() == one_box.len();
        (is_whole && MANY_HOSTS <= history.fleet.hosts.len()).then_some(history)
    }
}

/// The share of the columns that have data.
fn covered(said: &[Said], column: usize) -> f64 {
    let columns = said.chunks(column);
    let known = columns.clone().filter(|said| said.iter().any(Said::is_any));
    known.count() as f64 / columns.len().max(1) as f64
}

/// What was said, as numbers on the working scale.
fn numbers(said: &[Said]) -> impl Iterator<Item = f64> {
    let any = said.iter().filter(|said| said.is_any());
    any.map(|said| said.sum)
}

/// The middles of the columns of a host; NaN where one has no data.
fn columns(said: &[Said], column: usize) -> Vec<f64> {
    let middle = |said: &[Said]| {
        let mut numbers: Vec<f64> = numbers(said).collect();
        median(&mut numbers).unwrap_or(f64::NAN)
    };
    said.chunks(column).map(middle).collect()
}

impl Stretch {
    /// How far each host is from the middle of these fleet hosts, by column.
    pub(super) fn distances(&self, fleet: &Self, column: usize) -> Vec<(HostId, Vec<f64>)> {
        let of = |stretch: &Self| -> Vec<(HostId, Vec<f64>)> {
            let hosts = stretch.hosts.iter();
            hosts
                .map(|(host, said)| (*host, columns(said, column)))
                .collect()
        };
        let others = of(fleet);
        let count = others.first().map_or(0, |(_, columns)| columns.len());
        let middle = |index: usize| {
            let known = others.iter().map(|(_, columns)| columns[index]);
            let known = known.filter(|number| number.is_finite());
            median(&mut known.collect::<Vec<f64>>()).unwrap_or(f64::NAN)
        };
        let middles: Vec<f64> = (0..count).map(middle).collect();
        let mut own = of(self);
        for (_, columns) in &mut own {
            for (number, middle) in columns.iter_mut().zip(&middles) {
                *number -= middle;
            }
        }
        own
    }
}

/// How far two successive values of a host are apart.
pub(super) fn wiggles(said: &[Said]) -> impl Iterator<Item = f64> {
    let mut last = f64::NAN;
    numbers(said)
        .map(move |number| (number - std::mem::replace(&mut last, number)).abs())
        .filter(|wiggle| wiggle.is_finite())
}
