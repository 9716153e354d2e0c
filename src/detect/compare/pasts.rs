//! What the hosts that take part did up to the deployment.

use super::{
    own_past::OwnPastTest,
    reading::{HostPast, Past, Reader, past, per_exposure},
    scale::Working,
    slot,
    terms::Terms,
};
use crate::{
    detect::{
        Group, HostId,
        stats::{mean, median},
    },
    event::Timestamp,
};

/// Samples that make a past.
const PAST_SAMPLES_MIN: usize = 12;
/// Share of the usual number of samples that makes a past.
const PAST_SHARE_MIN: f64 = 0.5;
/// Most values of the past that are read for one metric.
const PAST_VALUES_MAX: usize = 360_000;
/// Most buckets of the past that are read.
const PAST_BUCKETS_MAX: usize = 2_160;

/// The pasts of the hosts that take part, up to the deployment.
pub(super) struct Pasts {
    /// What is counted without `per` is for as much traffic as the fleet had, where the one-box had its share before
    /// the deployment, too.
    pub(super) one_box: Vec<HostPast>,
    pub(super) fleet: Vec<HostPast>,
    /// The share of the traffic that it had then; 1: as much as a host of the fleet.
    pub(super) share: f64,
}

/// Share of the way, in logarithms, from what an ordinary host has to what the one-box is given from which on its past
/// was given that.
const SHARE_NEARER: f64 = 0.5;
/// The same from which on its past was given another share, farther from what is usual: traffic is shifted in steps.
const SHARE_OTHER: f64 = 1.5;
/// Of so many fleet hosts one may be farther out.
const SHARE_FEW: usize = 20;

/// How many buckets of the past are read of each of so many hosts.
pub(super) fn past_buckets(hosts: usize) -> usize {
    (PAST_VALUES_MAX / hosts.max(1)).clamp(60, PAST_BUCKETS_MAX)
}

impl Pasts {
    pub(super) fn read(reader: &Reader<'_>, group: &Group) -> Self {
        let view = reader.view;
        let hosts = view.one_box.len() + view.fleet.len();
        let count = past_buckets(hosts);
        let read = |hosts: &[HostId]| -> Vec<HostPast> {
            hosts
                .iter()
                .map(|host| HostPast {
                    host: *host,
                    values: past(
                        reader.terms,
                        group.track(*host),
                        reader.terms.past_until,
                        count,
                    ),
                })
                .collect()
        };
        let mut pasts = Self {
            one_box: read(view.one_box),
            fleet: read(view.fleet),
            share: 1.0,
        };
        // Columns before the first value of anyone tell nothing.
        let all = || pasts.one_box.iter().chain(&pasts.fleet);
        let empty = all()
            .map(|past| {
                past.values
                    .iter()
                    .take_while(|(value, _)| value.is_nan())
                    .count()
            })
            .min()
            .unwrap_or(0);
        for past in pasts.one_box.iter_mut().chain(&mut pasts.fleet) {
            past.values.drain(..empty);
        }
        let terms = reader.terms;
        pasts.scale(terms.divisor(group.kind, terms.has_per));
        pasts
    }

    /// Of which part of the traffic the rates of the one-box's past are scaled up, where those since the deployment are
    /// divided by so much: 1 where its past had its share, too.
    pub(super) fn part(&self, divisor: f64) -> f64 {
        if self.has_share() {
            1.0
        } else {
            divisor.min(1.0)
        }
    }

    /// Whether the one-box had a share of the traffic before the deployment, too.
    pub(super) fn has_share(&self) -> bool {
        self.share != 1.0
    }

    /// Where the one-box was beside the fleet, as a logarithm; 0 where that is not known.
    pub(super) fn place(&self) -> f64 {
        let (own, usual) = (mean(rates(&self.one_box)), mean(rates(&self.fleet)));
        let place = own.zip(usual).map(|(own, usual)| (own / usual).ln());
        place.filter(|place| place.is_finite()).unwrap_or(0.0)
    }

    /// Scales the past of the one-box by the share of the traffic that it had, where it is given one now.
    fn scale(&mut self, share: f64) {
        self.share = past_share(rates(&self.one_box), rates(&self.fleet), share);
        let values = self.one_box.iter_mut().flat_map(|past| &mut past.values);
        for (_, exposure) in values {
            *exposure = (f64::from(*exposure) * self.share) as f32;
        }
    }

    /// Events per fleet host and bucket, as rates tell.
    pub(super) fn events(&self, terms: &Terms) -> f64 {
        let width = terms.resolution.seconds_f64();
        let values = self.fleet.iter().flat_map(|past| past.values.iter());
        let rates = values
            .map(|(value, _)| f64::from(*value))
            .filter(|value| value.is_finite());
        mean(rates).unwrap_or(0.0) * width
    }

    /// All values of the fleet, for one unit of exposure each; thinned.
    pub(super) fn values(&self) -> Vec<f64> {
        let whole: usize = self.fleet.iter().map(|past| past.values.len()).sum();
        self.fleet
            .iter()
            .flat_map(|past| past.values.iter())
            .step_by((whole / 20_000).max(1))
            .map(|(value, exposure)| per_exposure(f64::from(*value), f64::from(*exposure)))
            .filter(|value| value.is_finite())
            .collect()
    }

    /// Where each of these hosts of the one-box usually is, relative to the middle of the fleet; `None`: their
    /// past is not remembered any more.
    pub(super) fn places(&self, working: &Working, hosts: &[HostId]) -> Option<Vec<(HostId, f64)>> {
        let one_box = self.one_box.iter();
        let one_box = one_box.filter(|past| hosts.contains(&past.host));
        let own: Vec<&HostPast> = one_box.collect();
        let places = slot::places(working, &own, &self.fleet);
        let hosts = own.iter().map(|past| past.host);
        let places = hosts.zip(places).map(|(host, place)| Some((host, place?)));
        places.collect()
    }

    /// The hosts of one-box and fleet that have a past.
    pub(super) fn known(&self) -> (Vec<HostPast>, Vec<HostPast>) {
        let usual = usual_samples(&self.fleet);
        let of = |hosts: &[HostPast]| {
            let known = hosts.iter().filter(|past| has_past(&past.values, usual));
            known.cloned().collect()
        };
        (of(&self.one_box), of(&self.fleet))
    }

    /// Whether a host of the one-box has no past, or the whole fleet has none.
    pub(super) fn are_unknown(&self) -> bool {
        let usual = usual_samples(&self.fleet);
        let is_known = |past: &HostPast| has_past(&past.values, usual);
        !self.one_box.iter().all(is_known) || !self.fleet.iter().any(is_known)
    }

    /// Whether that of a host of the one-box is so short that nothing can exceed it. That proves nothing: it is as good
    /// as never seen before.
    pub(super) fn are_short(&self, terms: &Terms) -> bool {
        let usual = usual_samples(&self.fleet);
        let known = self.one_box.iter();
        let mut known = known.filter(|past| has_past(&past.values, usual));
        known.any(|past| OwnPastTest::is_short(terms, &past.values))
    }

    /// Buckets between two samples.
    pub(super) fn cadence(&self) -> usize {
        let cadences = self.fleet.iter().filter_map(|past| {
            let first = past
                .values
                .iter()
                .position(|(value, _)| value.is_finite())?;
            let last = past
                .values
                .iter()
                .rposition(|(value, _)| value.is_finite())?;
            (last - first).checked_div(samples(&past.values).checked_sub(1)?)
        });
        cadences.max().unwrap_or(1).max(1)
    }
}

/// The mean of each of these hosts that said anything.
fn rates(hosts: &[HostPast]) -> Vec<f64> {
    let rate = |past: &HostPast| {
        let values = past.values.iter().map(|(value, _)| f64::from(*value));
        mean(values.filter(|value| value.is_finite()))
    };
    hosts.iter().filter_map(rate).collect()
}

/// The usual number of samples of these hosts.
pub(super) fn usual_samples(hosts: &[HostPast]) -> usize {
    let counts = hosts.iter().map(|past| samples(&past.values) as f64);
    median(&mut counts.collect::<Vec<f64>>()).unwrap_or(0.0) as usize
}

/// What hosts said from the deployment on, up to a time.
pub(super) fn since(
    (reader, group): (&Reader<'_>, &Group),
    hosts: impl Iterator<Item = HostId>,
    to: Timestamp,
) -> Vec<HostPast> {
    let terms = reader.terms;
    let count = (to - terms.began_at).div_ceil(terms.resolution);
    let read = |host: HostId| HostPast {
        host,
        values: past(terms, group.track(host), to, count),
    };
    hosts.map(read).collect()
}

/// Which share of the traffic hosts with such rates had before they were given this one, beside the fleet's. That they
/// had one is known where they were nearer to it than to what is usual, and farther from that than hosts of the fleet
/// are. Where they were far beyond it, they had another one, which their rates tell.
pub(super) fn past_share(own: Vec<f64>, mut fleet: Vec<f64>, share: f64) -> f64 {
    let (own, usual) = (mean(own), mean(fleet.iter().copied()));
    let (Some(own), Some(usual)) = (own, usual) else {
        return 1.0;
    };
    fleet.sort_unstable_by(f64::total_cmp);
    let few = fleet.len() / SHARE_FEW;
    let is_out = if share < 1.0 {
        own < fleet[few]
    } else {
        fleet[fleet.len() - 1 - few] < own
    };
    let way = (own / usual).ln() / share.ln();
    if share == 1.0 || !is_out || way <= SHARE_NEARER {
        1.0
    } else if SHARE_OTHER < way && way.is_finite() {
        own / usual
    } else {
        share
    }
}

fn samples(values: &Past) -> usize {
    values.iter().filter(|(value, _)| value.is_finite()).count()
}

pub(super) fn has_past(values: &Past, usual: usize) -> bool {
    let samples = samples(values);
    samples >= PAST_SAMPLES_MIN && samples as f64 >= PAST_SHARE_MIN * usual as f64
}
