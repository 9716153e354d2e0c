//! What the comparison reads from the panel: a bucket's value of a host, and its past.

use super::terms::Terms;
use crate::{
    detect::{Cell, Group, HostId, Track, View},
    event::Timestamp,
};

/// Most buckets that a value stands for.
pub(super) const HOLD_MAX: usize = 30;

/// What a host is in this deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Neither of the two.
    Other,
    /// It is judged.
    OneBox,
    /// It is compared with.
    Fleet,
}

/// One bucket of the panel, seen by one deployment.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) terms: &'a Terms,
    /// By host id.
    roles: Vec<Role>,
}

/// What one host said in one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// Value, or rate of the numerator; the one-box's counts are scaled to full traffic.
    pub(super) value: f64,
    /// Rate of the denominator; 1 where there is none.
    pub(super) exposure: f64,
    /// How many events, not scaled.
    pub(super) events: f64,
    /// In how many seconds they happened; `None`: there are none.
    pub(super) seconds: Option<f64>,
}

impl<'a> Reader<'a> {
    /// Looks at the bucket of the view.
    pub(super) fn new(view: &'a View<'a>, terms: &'a Terms) -> Self {
        let mut roles = vec![Role::Other; view.hosts.len()];
        for (hosts, role) in [(view.fleet, Role::Fleet), (view.one_box, Role::OneBox)] {
            for host in hosts {
                if let Some(slot) = roles.get_mut(host.0 as usize) {
                    *slot = role;
                }
            }
        }
        Self { view, terms, roles }
    }

    /// Whether the bake is over before another bucket closes.
    pub(super) fn is_last(&self) -> bool {
        self.terms.bake_until < self.view.bucket.end + self.terms.resolution
    }

    /// What the host is.
    pub(super) fn role(&self, host: HostId) -> Role {
        self.roles
            .get(host.0 as usize)
            .copied()
            .unwrap_or(Role::Other)
    }

    /// What the host said in this bucket, if it has the given role and said anything finite.
    pub(super) fn read(&self, group: &Group, host: HostId, role: Role) -> Option<Reading> {
        let cell = group.track(host)?.cell(self.view.bucket)?;
        self.reading(group, host, role, cell)
    }

    /// What a fleet host says: in this bucket, or in one before that still stands for it.
    pub(super) fn held(&self, group: &Group, host: HostId) -> Option<Reading> {
        let track = group.track(host)?;
        let (end, cell) = track.latest()?;
        let width = self.terms.resolution;
        let life = (track.last_seen - track.first_seen).div_ceil(width);
        let samples = usize::try_from(track.covered).unwrap_or(usize::MAX);
        let stands = width.times(hold(life, samples) as i64);
        if stands <= self.view.bucket.end - end {
            return None;
        }
        self.reading(group, host, Role::Fleet, cell)
    }

    fn reading(&self, group: &Group, host: HostId, role: Role, cell: Cell) -> Option<Reading> {
        if self.role(host) != role {
            return None;
        }
        if self.terms.has_per && cell.exposure.is_none() {
            return None;
        }
        let divisor = match role {
            Role::OneBox if self.terms.began_at <= self.view.bucket.start => {
                self.terms.divisor(group.kind, cell.exposure.is_some())
            }
            Role::OneBox | Role::Fleet | Role::Other => 1.0,
        };
        let reading = Reading {
            value: cell.value / divisor,
            exposure: cell.exposure.unwrap_or(1.0),
            events: cell.events,
            seconds: (0.0 < cell.events && 0.0 < cell.value).then(|| cell.events / cell.value),
        };
        let is_finite =
            reading.value.is_finite() && reading.exposure.is_finite() && reading.events.is_finite();
        is_finite.then_some(reading)
    }
}

/// How many buckets a value stands for, where so many samples lie over so many buckets: their distance. A
/// scrape seldom comes in every bucket, and hosts are scraped one after the other; without this a bucket
/// would have a few of the hosts only, another few than the next. What is missing now and then does not
/// stretch it.
pub(super) fn hold(buckets: usize, samples: usize) -> usize {
    let distance = buckets as f64 / samples.max(1) as f64;
    (distance.round() as usize).clamp(1, HOLD_MAX)
}

/// The past of a track as values and exposures, one for each of the `count` buckets before `to`,
/// oldest first; NaN where there was no data.
pub(super) fn past(terms: &Terms, track: Option<&Track>, to: Timestamp, count: usize) -> Past {
    let width = terms.resolution;
    let to = to.floor(width);
    let from = to - width.times(count as i64);
    let mut past = vec![(f32::NAN, f32::NAN); count];
    let Some(track) = track else {
        return past;
    };
    let end = to.min(track.last_seen);
    if end <= from {
        return past;
    }
    let missing = (to - end).div_ceil(width);
    let known = track.weighted(width, from, to);
    let first = count.saturating_sub(missing).saturating_sub(known.len());
    for (slot, value) in past[first..].iter_mut().zip(known) {
        *slot = value;
    }
    past
}

/// A host and its past.
#[derive(Clone, Debug)]
pub(super) struct HostPast {
    pub(super) host: HostId,
    pub(super) values: Past,
}

/// Values and exposures.
pub(super) type Past = Vec<(f32, f32)>;

/// The value for one unit of exposure; NaN where there is no exposure.
pub(super) fn per_exposure(value: f64, exposure: f64) -> f64 {
    if exposure > 0.0 {
        value / exposure
    } else {
        f64::NAN
    }
}
