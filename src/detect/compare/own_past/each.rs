//! Each host of a one-box of several: whether one alone is the reason.

use serde::{Deserialize, Serialize};

use super::{Flat, Follower, OwnPastTest, WINDOWS, mean};
use crate::detect::{Unsound, state::possible};

/// What the others must show of the mean of all, for it to be more than the one's. Of two hosts the one
/// must show half of what the other does: halfway between a host that is well and one that is harmed
/// as the other is.
const SHARED: f64 = 2.0 / 3.0;
/// What they must show of the farthest that each of them ever strayed, once one host is known to be the
/// reason: then it takes more than their noise to say that it is the version after all.
const SHARED_BEYOND: f64 = 2.0;

/// The differences of each host to the fleet; empty where there is only one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "OwnPastEach")]
pub(super) struct Each(Vec<Follower>);

impl Each {
    /// Learns from the past of each.
    pub(super) fn new(pasts: &[Vec<f64>], floor: f64) -> Self {
        if pasts.len() < 2 {
            return Self::default();
        }
        let followers = pasts.iter().map(|past| Follower::new(past, floor));
        Self(followers.collect())
    }

    /// Refuses a saved one that would not go on, of a one-box of so many hosts.
    pub(super) fn check(&self, hosts: usize) -> Result<(), Unsound> {
        possible(
            "number of hosts",
            self.0.is_empty() || self.0.len() == hosts,
        )?;
        self.0.iter().try_for_each(Follower::check)
    }

    pub(super) fn push(&mut self, values: &[f64]) {
        for (follower, value) in self.0.iter_mut().zip(values) {
            follower.push(*value);
        }
    }

    /// How far a host is out on a side over the latest minutes, if that is more than the tolerance and
    /// farther than it ever was: hosts that always strayed have not fallen ill.
    fn out(follower: &Follower, side: f64, tolerance: f64) -> Option<f64> {
        let window = follower.windows.first()?;
        let level = window.level()? * side;
        (tolerance.max(window.level_max) < level).then_some(level)
    }

    /// Whether a host still is out.
    pub(super) fn is_out(&self, host: usize, side: f64, tolerance: f64) -> bool {
        let follower = self.0.get(host);
        follower.is_some_and(|follower| Self::out(follower, side, tolerance).is_some())
    }

    /// The host that is farthest out.
    pub(super) fn farthest_out(&self, side: f64, tolerance: f64) -> Option<usize> {
        let hosts = self.0.iter().enumerate();
        let out = hosts
            .filter_map(|(host, follower)| Some((Self::out(follower, side, tolerance)?, host)));
        let farthest = out.max_by(|(a, _), (b, _)| a.total_cmp(b));
        farthest.map(|(_, host)| host)
    }

    /// The host that alone is the reason why the mean of all strays this far over a window of so many
    /// samples, on a side; `is_known`: one was before.
    pub(super) fn culprit(
        &self,
        len: usize,
        side: f64,
        level: f64,
        is_known: bool,
    ) -> Option<usize> {
        let window = |follower: &Follower| {
            let window = follower.windows.iter().find(|window| window.len == len)?;
            Some((window.level()? * side, window.level_max))
        };
        let hosts = self.0.iter().enumerate();
        let hosts = hosts.filter_map(|(host, follower)| Some((window(follower)?, host)));
        let hosts: Vec<((f64, f64), usize)> = hosts.collect();
        let farthest = hosts
            .iter()
            .max_by(|((a, _), _), ((b, _), _)| a.total_cmp(b));
        let (_, worst) = *farthest?;
        let rest = || hosts.iter().filter(|(_, host)| *host != worst);
        let shown = mean(rest().map(|((level, _), _)| *level))?;
        let ever = mean(rest().map(|((_, level_max), _)| *level_max))?;
        let beyond = if is_known { SHARED_BEYOND * ever } else { 0.0 };
        (shown < (SHARED * level * side).max(beyond)).then_some(worst)
    }
}

impl OwnPastTest {
    /// Counts at how many samples in a row each window strays by what all hosts show; gives the host that
    /// alone is the reason, and on which side, where it is another.
    pub(super) fn follow_streaks(&mut self) -> Option<(usize, f64)> {
        let mut alone = self.alone_by_sign();
        for index in 0..self.streaks.len() {
            for (column, side) in [1.0, -1.0].into_iter().enumerate() {
                let strays = self.strays(index, side);
                let culprit = strays.then(|| self.culprit(index, side)).flatten();
                if self.sides.signs().contains(&side) {
                    alone = alone.or(culprit.map(|host| (host, side)));
                }
                let streak = &mut self.streaks[index][column];
                *streak = if strays && culprit.is_none() {
                    *streak + 1
                } else {
                    0
                };
            }
        }
        alone
    }

    /// The host that alone does what is told by other signs than windows: it stands still, left the
    /// value that all hosts are pinned to, or comes and goes.
    fn alone_by_sign(&self) -> Option<(usize, f64)> {
        let mut sides = self.sides.signs().iter().copied();
        let still = self.flat.as_ref().and_then(Flat::alone);
        still.zip(self.sides.signs().first().copied()).or_else(|| {
            let is_after = self.pinned.is_some() && WINDOWS[0] <= self.stakes.judged;
            let out = |side| Some((self.each.farthest_out(side, self.tolerance)?, side));
            let out = sides.clone().find_map(out).filter(|_| is_after);
            let relapse = self.relapse.as_ref();
            let restless = |side| Some((relapse?.restless(side)?, side));
            out.or_else(|| sides.find_map(restless))
        })
    }

    /// The host that alone is the reason why a window strays on a side.
    pub(super) fn culprit(&self, index: usize, side: f64) -> Option<usize> {
        let window = self.plain.own.windows.get(index)?;
        let is_known = self.alone.is_some_and(|(_, on)| on == side);
        let level = window.level()?;
        self.each.culprit(window.len, side, level, is_known)
    }

    /// The hosts of the one-box that may stand where they are: at no event, though there are occasions, or
    /// beyond the tolerance on the side that is no harm.
    pub(super) fn harmless(&self, own: &[f64], differences: &[f64]) -> Vec<usize> {
        let is_beyond = |difference: f64| match self.sides.signs() {
            [side] => difference * side < -self.tolerance,
            _ => false,
        };
        let is_harmless = |(value, difference): (&f64, &f64)| {
            (self.has_exposure && *value == 0.0) || is_beyond(*difference)
        };
        let hosts = own.iter().zip(differences).enumerate();
        let harmless = hosts.filter(|(_, reading)| is_harmless(*reading));
        harmless.map(|(host, _)| host).collect()
    }
}
