//! Where one-box and fleet are now, and how much hosts differ.

use crate::detect::{
    HostId,
    compare::hosts::{ENOUGH_HOSTS, SHARED, SHARED_TAIL},
    stats::student_quantile,
};

/// Weight of what is assumed of fresh hosts where harm must be certain, in degrees of freedom.
const CAUTIOUS: f64 = 4.0;
/// The same where it must be likely: what is usual counts as one host more. With two, a doubled level of one
/// fresh host beside 3 others passes half as often again; with none, two hosts that happen to agree would
/// make everything harm.
const USUAL: f64 = 1.0;
/// Chance that a healthy host is farther out than that.
const USUAL_TAIL: f64 = 0.06;
/// As many degrees of freedom as make no difference from a normal distribution.
const NORMAL: f64 = 1e6;

/// How much hosts differ: the variance that is assumed of fresh ones, and that between fleet hosts.
pub(super) struct Spread {
    pub(super) prior: f64,
    pub(super) between: f64,
    /// Degrees of freedom of that between fleet hosts.
    pub(super) freedom: f64,
}

/// The levels of the hosts over the latest block, and how much hosts differ.
pub(super) struct Levels {
    pub(super) each: Vec<(f64, HostId)>,
    pub(super) own: f64,
    /// The same without the value of each host that is farthest up, and without the one that is farthest
    /// down, where a level is a mean.
    pub(super) rest: [f64; 2],
    pub(super) fleet: f64,
    /// Of the one-box since the grace, as far as it is harm on each side (up, down).
    pub(super) since: [f64; 2],
    pub(super) fleet_hosts: f64,
    pub(super) spread: Spread,
}

impl Spread {
    /// Degrees of freedom of the variance of which one is certain.
    pub(super) fn nu(&self) -> f64 {
        CAUTIOUS + self.freedom
    }

    /// The variance where what is assumed has so many degrees of freedom.
    fn variance(&self, weight: f64) -> f64 {
        (weight * self.prior + self.freedom * self.between) / (weight + self.freedom)
    }
}

impl Levels {
    pub(super) fn now(&self) -> f64 {
        self.own - self.fleet
    }

    pub(super) fn whole(&self, side: f64) -> f64 {
        self.since[usize::from(side < 0.0)] - self.fleet
    }

    /// What stands now and stood since the grace.
    pub(super) fn harm(&self, side: f64) -> f64 {
        (self.now() * side).min(self.whole(side) * side)
    }

    /// The standard error of the difference of so many one-box hosts.
    pub(super) fn error(&self, hosts: usize) -> f64 {
        self.error_of(self.spread.variance(CAUTIOUS), hosts)
    }

    fn error_of(&self, variance: f64, hosts: usize) -> f64 {
        (variance * (1.0 / hosts as f64 + 1.0 / self.fleet_hosts)).sqrt()
    }

    /// How far out healthy fresh hosts usually are at most, on one side. Something is assumed of how much
    /// they differ, which must not hide what is `gross`. And of many metrics one may be out by as much as
    /// fleet hosts differ with a chance of `tail`: that is a normal quantile, since one that allowed for how
    /// few hosts it was measured with would see nothing; beside few hosts the assumption stands.
    pub(super) fn usual(&self, tail: f64, gross: f64) -> f64 {
        let hosts = self.each.len();
        let freedom = USUAL + self.spread.freedom;
        let assumed = student_quantile(USUAL_TAIL, freedom)
            * self.error_of(self.spread.variance(USUAL), hosts);
        let measured = student_quantile(tail, NORMAL) * self.error_of(self.spread.between, hosts);
        assumed.min(gross).max(measured)
    }

    /// How far out healthy hosts are by chance on one side with a chance of `tail`, as far as fleet hosts tell; `None`
    /// where they are too few to tell.
    pub(super) fn measured(&self, tail: f64) -> Option<f64> {
        let are_many = ENOUGH_HOSTS as f64 <= self.spread.freedom + 1.0;
        are_many.then(|| self.ordinary(tail))
    }

    /// The same however few they are.
    pub(super) fn ordinary(&self, tail: f64) -> f64 {
        let error = self.error_of(self.spread.between, self.each.len());
        student_quantile(tail, self.spread.freedom.max(1.0)) * error
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
        let critical = student_quantile(SHARED_TAIL, self.spread.nu()) * self.error(others);
        (shown <= (SHARED * self.now() * side).max(critical)).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against scipy, from the same formula written down once more: one-box and fleet hosts, variance between
    /// fleet hosts.
    #[test]
    fn what_is_usual_agrees_with_scipy() {
        for (one_box, fleet, between, expected) in [
            // What is assumed stands for what is not known.
            (1, 3, 0.01, 0.542_641_629_171),
            (1, 2, 0.0, 0.794_194_359_620),
            // Of one host nothing is known, but nobody passes as much as this.
            (1, 1, 0.0, 0.81),
            // Hosts that differ.
            (2, 4, 0.04, 0.498_512_236_451),
            (1, 8, 0.04, 0.610_550_304_920),
        ] {
            let levels = Levels {
                each: (0..one_box).map(|host| (0.0, HostId(host))).collect(),
                own: 0.0,
                rest: [0.0; 2],
                fleet: 0.0,
                since: [0.0; 2],
                fleet_hosts: f64::from(fleet),
                spread: Spread {
                    prior: 0.35 * 0.35,
                    between,
                    freedom: f64::from(fleet - 1),
                },
            };
            let found = levels.usual(0.002, 0.81);
            let name = format!("{one_box} beside {fleet}: {found}");
            assert!((found - expected).abs() < 1e-5, "{name}");
        }
    }
}
