//! A host of the fleet that is as far out as the one-box, or far out on the other side.
//!
//! Hosts fall ill by themselves, those of the fleet too. One of them that is as far out as the one-box widens
//! the spread by which it is judged, and is itself the proof that a host may be there without the version. But
//! that is no reason to pass what nearly all of the fleet contradicts. So at the end of the bake the one-box is
//! held against the fleet without the host that is farthest out; what is certain and large then, and no other
//! host shows, is no PASS. A host that is out on the other side widens the spread just as well, and is no excuse at
//! all. Nor is one that fell ill before the deployment: its change is what it was not ill before, less than the
//! one-box's, but the past expects such changes of all. Beside six others, one that was at ten times its level for
//! half of an hour of past hid a one-box at twice its own in 24 of 24 runs of independent samples; now in none.

use super::{
    CONFIRM_TAIL, Changes, Channel, CheckState, Contrast, FleetFit, HostsTest, Noise, Reader, Slot,
    TRAILING_COUNT,
};
use crate::detect::compare::report;

/// Share of the one-box's distance that a host must have to be as far out.
const NEAR: f64 = 0.7;
/// The tail at which a harm shows that the past has to confirm.
const SHOWN_TAIL: f64 = 0.01;
/// Fewest fleet hosts that must be left.
const HOSTS_MIN: usize = 3;

/// What is seen without one host of the fleet.
struct WithoutOne {
    /// All of the one-box against the others.
    contrast: Contrast,
    /// That host against the others.
    of_rival: Contrast,
    /// Its slot.
    slot: usize,
}

/// A harm on a side, and the host of the fleet that hides it.
struct Hidden {
    side: f64,
    contrast: Contrast,
    slot: usize,
    way: Way,
}

/// How a host of the fleet hides a harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is as far out on the same side.
    AsFar,
    /// It is clearly out on the same side, less far by what it was out before the deployment.
    Beside,
    /// It is clearly out on the other side.
    Opposite,
}

const WAYS: [Way; 3] = [Way::AsFar, Way::Beside, Way::Opposite];

impl Changes {
    /// What is seen without the host of the fleet that is farthest out on this side.
    fn without_farthest(&self, side: f64, noise: Noise) -> Option<WithoutOne> {
        let excess = |index: &usize| self.fit.excess(&self.fleet.changes[*index]) * side;
        let all = 0..self.fleet.changes.len();
        let farthest = all.max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
        let mut rest = self.fleet.changes.clone();
        let change = rest.remove(farthest);
        if rest.len() < HOSTS_MIN {
            return None;
        }
        let fit = FleetFit::new(&rest, noise)?;
        Some(WithoutOne {
            contrast: fit.against(&self.one_box)?,
            of_rival: fit.against(&[change])?,
            slot: self.fleet.slots[farthest],
        })
    }

    /// What is seen without the farthest host on this side, or without one that is clearly out on a side.
    fn without_one(&self, side: f64, way: Way) -> Option<WithoutOne> {
        let (of_rival, tail) = match way {
            Way::AsFar => return self.without_farthest(side, self.fleet.noise),
            // One of so many is always the farthest.
            Way::Beside => (side, SHOWN_TAIL / self.fleet.changes.len() as f64),
            Way::Opposite => (-side, SHOWN_TAIL),
        };
        // If it fell ill before the deployment, what the past leads one to expect is its illness.
        let noise = Noise {
            expected: None,
            ..self.fleet.noise
        };
        let without = self.without_farthest(of_rival, noise)?;
        let rival = &without.of_rival;
        (rival.critical(tail) < rival.effect * of_rival).then_some(without)
    }
}

impl HostsTest {
    /// Whether a host of the fleet is why a harm is no breach, now that the bake is over.
    pub(in crate::detect::compare) fn is_rivalled(&self) -> bool {
        self.outcome.state == CheckState::NoData && self.rival.is_some()
    }

    /// Whether everything since the grace shows a harm on this side, by itself or but for one host of the fleet: too
    /// little to decide by alone.
    pub(in crate::detect::compare) fn shows(&self, side: f64) -> bool {
        let Some(changes) = self.changes(Channel::Level, |slot| slot.since) else {
            return false;
        };
        let rests = WAYS.map(|way| changes.without_one(side, way));
        let rests = rests.into_iter().flatten().map(|rest| rest.contrast);
        let contrasts = changes.contrast().into_iter().chain(rests);
        contrasts.into_iter().any(|contrast| {
            self.rules.least + contrast.critical(SHOWN_TAIL) < self.harm(&contrast, side)
        })
    }

    /// Looks for such a host when the bake is over: what heals then is forgiven, too.
    pub(super) fn look_for_rival(&mut self, reader: &Reader<'_>) {
        if self.rival.take().is_some() && self.outcome.state == CheckState::NoData {
            self.outcome.state = CheckState::Undecided;
            self.outcome.remark = None;
        }
        let is_decided = matches!(
            self.outcome.state,
            CheckState::Breach | CheckState::NoData | CheckState::Warming
        );
        if is_decided || !reader.is_last() {
            return;
        }
        let sides = self.rules.sides.signs().iter().copied();
        let mut ways = sides.flat_map(|side| WAYS.map(|way| (side, way)));
        let Some(hidden) = ways.find_map(|(side, way)| self.behind_one(side, way)) else {
            return;
        };
        self.rival = Some(hidden.slot);
        self.outcome.state = CheckState::NoData;
        self.show(&hidden.contrast, Channel::Level, hidden.side);
        let name = reader.view.hosts.name(self.slots[hidden.slot].host);
        self.outcome.remark = Some(match hidden.way {
            Way::AsFar => report::rival(name),
            Way::Beside => report::restless(name),
            Way::Opposite => report::outlier(name),
        });
    }

    /// The first window that shows a harm but for one host of the fleet, out on the same side or on the other, which
    /// the latest minutes confirm.
    fn behind_one(&self, side: f64, way: Way) -> Option<Hidden> {
        let least = self.rules.tolerance;
        let latest = |slot: &Slot| slot.trailing(0);
        let changes = self.changes(Channel::Level, latest)?;
        let confirming = changes.without_one(side, way)?.contrast;
        let harm = self.harm(&confirming, side);
        if harm <= 0.5 * least || harm <= confirming.critical(CONFIRM_TAIL) {
            return None;
        }
        let windows = (0..TRAILING_COUNT).filter(|window| {
            let half = self.looks.halves[*window];
            0 < half && 2 * half <= self.looks.count()
        });
        let since = self.changes(Channel::Level, |slot| slot.since);
        let trailing =
            windows.filter_map(|window| self.changes(Channel::Level, |slot| slot.trailing(window)));
        since.into_iter().chain(trailing).find_map(|changes| {
            let WithoutOne {
                contrast,
                of_rival,
                slot,
            } = changes.without_one(side, way)?;
            let harm = self.harm(&contrast, side);
            let is_certain = least < harm && contrast.critical(self.looks.alpha_since()) < harm;
            let is_seldom = !self.is_usual(&changes, &contrast, side);
            let is_near = NEAR * contrast.effect * side <= of_rival.effect * side;
            let is_near = way != Way::AsFar || is_near;
            (is_certain && is_seldom && is_near && contrast.exceeds_placebo(side)).then_some(
                Hidden {
                    side,
                    contrast,
                    slot,
                    way,
                },
            )
        })
    }
}
