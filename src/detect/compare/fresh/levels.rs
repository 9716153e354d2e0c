//! Where one-box and fleet are now, and how much hosts differ.

use crate::detect::{
    HostId,
    compare::hosts::{SHARED, SHARED_TAIL},
    stats::student_quantile,
};

/// The levels of the hosts over the latest block, and how much hosts differ.
pub(super) struct Levels {
    pub(super) each: Vec<(f64, HostId)>,
    pub(super) own: f64,
    /// The same without the value of each host that is farthest up, and without the one that is farthest
    /// down, where a level is a mean.
    pub(super) rest: [f64; 2],
    pub(super) fleet: f64,
    /// Of the one-box since the grace.
    pub(super) since: f64,
    pub(super) fleet_hosts: f64,
    pub(super) variance: f64,
    /// Degrees of freedom of the variance.
    pub(super) nu: f64,
}

impl Levels {
    pub(super) fn now(&self) -> f64 {
        self.own - self.fleet
    }

    pub(super) fn whole(&self) -> f64 {
        self.since - self.fleet
    }

    /// What stands now and stood since the grace.
    pub(super) fn harm(&self, side: f64) -> f64 {
        (self.now() * side).min(self.whole() * side)
    }

    /// The standard error of the difference of so many one-box hosts.
    pub(super) fn error(&self, hosts: usize) -> f64 {
        (self.variance * (1.0 / hosts as f64 + 1.0 / self.fleet_hosts)).sqrt()
    }

    /// The host without which the others show too little of the difference on a side; of one host there
    /// is none.
    pub(super) fn culprit(&self, side: f64) -> Option<HostId> {
        let others = self
            .each
            .len()
            .checked_sub(1)
            .filter(|others| 0 < *others)?;
        let farthest =
            |(a, _): &&(f64, HostId), (b, _): &&(f64, HostId)| (a * side).total_cmp(&(b * side));
        let (worst, host) = *self.each.iter().max_by(farthest)?;
        let rest = (self.own * self.each.len() as f64 - worst) / others as f64;
        let shown = (rest - self.fleet) * side;
        let critical = student_quantile(SHARED_TAIL, self.nu) * self.error(others);
        (shown <= (SHARED * self.now() * side).max(critical)).then_some(host)
    }
}
