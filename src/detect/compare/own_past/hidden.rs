//! A harm that one of two fleet hosts hides.
//!
//! Beside two hosts the one-box is held against their middle. One of them that falls ill takes that along by half of
//! its way, and if it did before the deployment, the past tells of it as of what is usual; so a one-box that is far
//! out seems to be well. So when the bake is over and nothing was found, the one-box is held against each of the two
//! alone, as beside a fleet of one host. If it strays, one of those two has moved. It was the one-box if that is
//! beyond the tolerance from where it was itself, farther than it ever was, and no less far than the host went to the
//! other side: a host that falls behind is ill, while the others share its load. And it was hidden if the other host
//! is, or was, at least half as far out. Whether the version moved the one-box, or what befell that host, nobody
//! knows: that is no PASS.
//!
//! It is asked once, so margins are those of one look. Of 24 runs each with an hour of past and of bake, of samples
//! that vary by a tenth, independent or not (AR(1), 0.9): a one-box at 1.5, 2 or 5 times its level beside a host at 10
//! from the deployment, or half an hour before, on passed in all; now in none. Healthy ones beside a host at 0.1 to 10
//! times its level end as before, but where all hosts wander by a fifth over an hour or two: there 13 of 312 more are
//! `NO_DATA`.
//!
//! All is read anew from what the panel remembers, as long as that holds the past when the bake ends.

use std::slice;

use super::{
    CheckState, Class, Follower, Group, HostPast, Member, Outcome, OwnPastTest, Reader, at, matrix,
    mean, samples,
};
use crate::detect::compare::{
    pasts::{Pasts, since},
    report,
};

/// Share of the one-box's way that a host must have gone to be as far out.
const NEAR: f64 = 0.7;

/// The most that what falls may lose: of nothing there is no logarithm.
const LOST: f64 = -0.99;

/// The one-box beside one host of the fleet alone.
struct Pair {
    test: OwnPastTest,
    /// How far each is from where it usually is, whatever the other does.
    own: Follower,
    other: Follower,
    /// Accepted difference, in the unit of those.
    tolerance: f64,
}

impl Pair {
    /// Follows the two from their past to the end of the bucket; `None`: nothing could exceed what is remembered.
    fn new(
        (reader, group): (&Reader<'_>, &Group),
        (class, alpha): (&Class, f64),
        (part, allowance): (f64, [f64; 2]),
        one_box: &[HostPast],
        other: &HostPast,
    ) -> Option<Self> {
        let (terms, other) = (reader.terms, slice::from_ref(other));
        let mut pasts = one_box.iter().chain(other);
        if pasts.any(|past| OwnPastTest::is_short(terms, &past.values)) {
            return None;
        }
        let divisor = terms.divisor(group.kind, terms.has_per);
        let stakes = (terms, terms.has_per, part);
        let mut test = OwnPastTest::new(stakes, class, alpha, one_box, other).allowing(allowance);
        if !test.has_past() {
            return None;
        }
        let past = [one_box, other].map(|hosts| matrix(hosts, test.full));
        let end = reader.view.bucket.end;
        let mut now = [one_box, other].map(|hosts| {
            let hosts = hosts.iter().map(|past| past.host);
            matrix(&since((reader, group), hosts, end), test.full)
        });
        for value in now[0].iter_mut().flatten() {
            *value /= divisor;
        }
        for column in 0..now[1].first().map_or(0, Vec::len) {
            if let Some(own) = test.take(&at(&now[0], column), &at(&now[1], column), false) {
                test.describe(None, &own);
            }
        }
        let follow = |members: &[Member], side: usize| {
            let mut follower = Follower::new(&test.departures(members, &past[side]), 0.0);
            for value in test.departures(members, &now[side]) {
                follower.push(value);
            }
            follower
        };
        let (own, other) = (follow(&test.one_box, 0), follow(&test.fleet, 1));
        Some(Self {
            tolerance: test.to_logarithm(test.tolerance, test.level),
            own,
            other,
            test,
        })
    }

    /// A window over which the one-box strays to a side by its own doing, and how far it moved.
    fn harm(&self, side: f64) -> Option<(usize, f64)> {
        let test = &self.test;
        let strays = |index: &usize| {
            test.plain.may_have_strayed(*index, side, &test.stakes)
                && test.agrees(*index, side)
                && test.culprit(*index, side).is_none()
        };
        let mut windows = (0..test.plain.own.windows.len()).filter(strays);
        windows.find_map(|index| {
            let (own, other) = (self.own.windows.get(index)?, self.other.windows.get(index)?);
            let (moved, fell) = (own.level()? * side, -other.level()? * side);
            let is_own = self.tolerance.max(own.level_max) < moved && fell <= moved;
            is_own.then_some((index, moved))
        })
    }

    /// How a person is told that a harm on a side is hidden by a host that went so far from where it usually is. It
    /// takes the middle along by half of its way; what goes less far than half of the one-box hides nothing.
    fn hidden_by(&self, host: &Follower, side: f64) -> Option<fn(&str) -> String> {
        let (index, moved) = self.harm(side)?;
        let window = host.windows.get(index)?;
        let out = window.level()? * side;
        if NEAR * moved <= out {
            Some(report::rival)
        } else if 0.5 * moved <= -out {
            Some(report::outlier)
        } else {
            (0.5 * moved <= out.max(window.level_max)).then_some(report::restless)
        }
    }
}

impl OwnPastTest {
    /// A distance from a level as a logarithm, where levels compare: what falls loses no more than all of it.
    pub(super) fn to_logarithm(&self, departure: f64, level: f64) -> f64 {
        if self.is_comparable {
            (departure / level).max(LOST).ln_1p()
        } else {
            departure
        }
    }

    /// How far the mean of hosts is from where they usually are, in samples; as logarithms, where levels compare.
    pub(super) fn departures(&self, members: &[Member], values: &[Vec<f64>]) -> Vec<f64> {
        let values = values.iter().map(|values| samples(values, self.stride));
        let values: Vec<Vec<f64>> = values.collect();
        let of = |column: usize| {
            let departures = members.iter().zip(&values).map(|(member, values)| {
                let departure = self.departure(values[column], member.usual, 0.0);
                self.to_logarithm(departure, member.usual)
            });
            mean(departures.filter(|departure| departure.is_finite())).unwrap_or(f64::NAN)
        };
        (0..values.first().map_or(0, Vec::len)).map(of).collect()
    }

    /// Looks for a harm that one of two fleet hosts hides, when the bake is over and nothing was found: what heals
    /// then is forgiven, too.
    pub(in crate::detect::compare) fn look_behind_two(
        &mut self,
        (reader, group): (&Reader<'_>, &Group),
        rules: (&Class, f64),
    ) {
        let is_decided = matches!(
            self.outcome.state,
            CheckState::Breach | CheckState::NoData | CheckState::Warming
        );
        if is_decided || self.fleet.len() != 2 || !reader.is_last() {
            return;
        }
        let pasts = Pasts::read(reader, group);
        let of = |member: &Member, pasts: &[HostPast]| {
            let mut pasts = pasts.iter();
            pasts.find(|past| past.host == member.host).cloned()
        };
        let one_box: Option<Vec<HostPast>> = self
            .one_box
            .iter()
            .map(|member| of(member, &pasts.one_box))
            .collect();
        let Some(one_box) = one_box else { return };
        let divisor = reader.terms.divisor(group.kind, reader.terms.has_per);
        let traffic = (pasts.part(divisor), self.allowance);
        let pairs = [1, 0].map(|rest: usize| {
            let other = of(&self.fleet[rest], &pasts.fleet)?;
            Pair::new((reader, group), rules, traffic, &one_box, &other)
        });
        let [Some(first), Some(second)] = pairs else {
            return;
        };
        let sides = self.sides.signs();
        let found = [(0, &first, &second), (1, &second, &first)]
            .into_iter()
            .find_map(|(host, beside, of_host)| {
                let mut sides = sides.iter();
                let way = sides.find_map(|side| beside.hidden_by(&of_host.other, *side))?;
                Some((host, beside, way))
            });
        let Some((host, beside, way)) = found else {
            return;
        };
        let name = reader.view.hosts.name(self.fleet[host].host);
        self.rival = Some(host);
        self.outcome = Outcome {
            state: CheckState::NoData,
            remark: Some(way(name)),
            ..beside.test.outcome.clone()
        };
    }
}
