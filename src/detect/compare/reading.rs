//! What the comparison reads from the panel: a bucket's value of a host, and its past.

use super::terms::Terms;
use crate::{
    detect::{Group, HostId, Track, View},
    event::Timestamp,
};

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
        if self.role(host) != role {
            return None;
        }
        let cell = group.track(host)?.cell(self.view.bucket)?;
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
        };
        let is_finite =
            reading.value.is_finite() && reading.exposure.is_finite() && reading.events.is_finite();
        is_finite.then_some(reading)
    }
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
