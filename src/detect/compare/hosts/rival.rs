//! A host of the fleet that is as far out as the one-box.
//!
//! Hosts fall ill by themselves, those of the fleet too. One of them that is as far out as the one-box widens
//! the spread by which it is judged, and is itself the proof that a host may be there without the version. But
//! that is no reason to pass what nearly all of the fleet contradicts. So at the end of the bake the one-box is
//! held against the fleet without the host that is farthest out; what is certain and large then, and no other
//! host shows, is no PASS.

use super::{
    CONFIRM_TAIL, Changes, Channel, CheckState, Contrast, FleetFit, HostsTest, Reader, Slot,
    TRAILING_COUNT,
};
use crate::detect::compare::report;

/// Share of the one-box's distance that a host must have to be as far out.
const NEAR: f64 = 0.7;
/// The tail at which a harm shows that the past has to confirm.
const SHOWN_TAIL: f64 = 0.01;
/// Fewest fleet hosts that must be left.
const HOSTS_MIN: usize = 3;

impl Changes {
    /// All of the one-box against the fleet without the host that is farthest out on this side, and the slot of
    /// that.
    fn without_farthest(&self, side: f64) -> Option<(Contrast, f64, usize)> {
        let excess = |index: &usize| self.fit.excess(&self.fleet.changes[*index]) * side;
        let all = 0..self.fleet.changes.len();
        let farthest = all.max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
        let mut rest = self.fleet.changes.clone();
        let change = rest.remove(farthest);
        if rest.len() < HOSTS_MIN {
            return None;
        }
        let fit = FleetFit::new(&rest, self.fleet.noise)?;
        let contrast = fit.against(&self.one_box)?;
        Some((contrast, fit.excess(&change), self.fleet.slots[farthest]))
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
        let rest = changes.without_farthest(side).map(|(rest, ..)| rest);
        let contrasts = changes.contrast().into_iter().chain(rest);
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
        let sides = self.rules.sides.signs().iter();
        let found = sides.copied().find_map(|side| self.rivalled(side));
        let Some((side, contrast, slot)) = found else {
            return;
        };
        self.rival = Some(slot);
        self.outcome.state = CheckState::NoData;
        self.show(&contrast, Channel::Level, side);
        let name = reader.view.hosts.name(self.slots[slot].host);
        self.outcome.remark = Some(report::rival(name));
    }

    /// The first window that shows a harm but for one host of the fleet, which the latest minutes confirm.
    fn rivalled(&self, side: f64) -> Option<(f64, Contrast, usize)> {
        let least = self.rules.tolerance;
        let latest = |slot: &Slot| slot.trailing(0);
        let changes = self.changes(Channel::Level, latest)?;
        let (confirming, ..) = changes.without_farthest(side)?;
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
            let (contrast, of_rival, slot) = changes.without_farthest(side)?;
            let harm = self.harm(&contrast, side);
            let is_certain = least < harm && contrast.critical(self.looks.alpha_since()) < harm;
            let is_seldom = !self.is_usual(&changes, &contrast, side);
            let is_near = NEAR * contrast.effect * side <= of_rival * side;
            (is_certain && is_seldom && is_near && contrast.exceeds_placebo(side))
                .then_some((side, contrast, slot))
        })
    }
}
