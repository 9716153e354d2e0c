//! One host of several: a harm that a single one shows may be its own fault, not the version's.
//!
//! Hosts fall ill by themselves. Of `k` hosts one that does moves their mean by a `k`-th of its harm, and
//! would fail a healthy version; and where the version harms one host only, the mean hides it. So a
//! harm fails only what is left of it without the host that shows most of it, at a tail that the
//! others pass easily if they are harmed too. And each host is tested by itself, at a `k`-th of the
//! alpha of the look. What one host alone shows blocks nothing while it may heal; if it stands when
//! the bake ends, that is no PASS: replace the host, and look again. That happens to a healthy
//! deployment whose hosts are well at most as often as alpha says, beside what may fail it.

use serde::{Deserialize, Serialize};

use super::{
    CONFIRM_TAIL, Change, Changes, Channel, CheckState, Contrast, HostsTest, Reader, SUSPECT, Slot,
};
use crate::{detect::compare::report, event::Timestamp};

/// Tail at which the others must show a harm too, and the least share of the mean of all that they must
/// show. They do if it is theirs: what a look finds is four standard errors or more.
pub(in crate::detect::compare) const SHARED_TAIL: f64 = 0.01;
pub(in crate::detect::compare) const SHARED: f64 = 0.5;

/// Share of the clip that a host's level must be away from its usual place before most of its values are beyond
/// it: then what was clipped is no outlier.
const SATURATED: f64 = 0.75;

/// A harm that one host shows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareAlone")]
pub(super) struct Alone {
    /// The slot of the host.
    slot: usize,
    side: f64,
    raised_at: Timestamp,
    /// Start of the window that found it.
    from: Timestamp,
    confirmed: bool,
}

impl Alone {
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// Whether the latest minutes show it.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}

impl Changes {
    /// The change of one host, and the index of its slot.
    fn each(&self) -> impl Iterator<Item = (&Change, usize)> {
        self.one_box.iter().zip(self.slots.iter().copied())
    }

    /// All but the host that changed most on this side.
    fn without_worst(&self, side: f64) -> Option<Vec<Change>> {
        let excess = |change: &Change| self.fit.excess(change) * side;
        let each = self.one_box.iter().enumerate();
        let (worst, _) = each.max_by(|(_, a), (_, b)| excess(a).total_cmp(&excess(b)))?;
        let mut rest = self.one_box.clone();
        rest.remove(worst);
        Some(rest)
    }

    /// Whether what all of them show is still there without the host that shows most of it. One-boxes of
    /// one host have no other to ask.
    pub(super) fn rest_shows(&self, all: &Contrast, side: f64) -> bool {
        if self.one_box.len() < 2 {
            return true;
        }
        let rest = self.without_worst(side);
        let rest = rest.and_then(|rest| self.fit.against(&rest));
        rest.is_some_and(|rest| {
            let effect = rest.effect * side;
            SHARED * all.effect * side < effect && rest.critical(SHARED_TAIL) < effect
        })
    }
}

impl HostsTest {
    /// Notes the host that by itself is beyond what the alpha of a look allows, the worst of them. Where
    /// all of them together are, but without one of them are not (`is_shared_by_none`), it is that one.
    pub(super) fn suspect_alone(
        &mut self,
        changes: &Changes,
        alpha: f64,
        side: f64,
        is_shared_by_none: bool,
        (from, end): (Timestamp, Timestamp),
    ) {
        let hosts = changes.one_box.len();
        if hosts < 2 || self.alone.is_some_and(|alone| alone.confirmed) {
            return;
        }
        let mut worst: Option<(f64, usize)> = None;
        for (change, slot) in changes.each() {
            let Some(mut contrast) = changes.fit.against(std::slice::from_ref(change)) else {
                continue;
            };
            if SATURATED * self.clip.level < contrast.effect * side {
                contrast.effect +=
                    self.clipped_away(slot..slot + 1, |slot| self.shown_window(slot));
            }
            let harm = self.harm(&contrast, side);
            let is_certain = is_shared_by_none
                || (self.rules.least < harm && contrast.critical(alpha / hosts as f64) < harm);
            let is_worst = worst.is_none_or(|(most, _)| most < harm);
            let is_usual = self.is_usual_alone(changes, contrast.effect, side);
            let stands_out = is_shared_by_none || (contrast.exceeds_placebo(side) && !is_usual);
            if is_certain && is_worst && stands_out {
                worst = Some((harm, slot));
            }
        }
        if let Some((_, slot)) = worst {
            self.alone = Some(Alone {
                slot,
                side,
                raised_at: end,
                from,
                confirmed: false,
            });
        }
    }

    /// Follows the host that is suspect: what heals is forgiven.
    pub(super) fn confirm_alone(&mut self, reader: &Reader<'_>) {
        let Some(mut alone) = self.alone else { return };
        let end = reader.view.bucket.end;
        let latest = |slot: &Slot| slot.trailing(0);
        let changes = self.changes(Channel::Level, latest);
        let contrast = changes.and_then(|changes| {
            let (own, _) = changes.each().find(|(_, slot)| *slot == alone.slot)?;
            changes.fit.against(std::slice::from_ref(own))
        });
        // A host that says nothing has not healed.
        let stands = contrast.map_or(alone.confirmed, |contrast| {
            let harm = self.harm(&contrast, alone.side);
            harm > 0.5 * self.rules.least && harm > contrast.critical(CONFIRM_TAIL)
        });
        let is_over = alone.confirmed || end - alone.raised_at > SUSPECT;
        if !stands && is_over {
            self.alone = None;
            if self.outcome.state == CheckState::NoData {
                self.outcome.state = CheckState::Undecided;
                (self.outcome.first_breach, self.outcome.remark) = (None, None);
            }
            return;
        }
        alone.confirmed = stands;
        self.alone = Some(alone);
        if self.outcome.state == CheckState::Breach {
            return;
        }
        self.outcome.state = CheckState::Undecided;
        if !stands || !reader.is_last() {
            return;
        }
        self.outcome.state = CheckState::NoData;
        self.outcome.first_breach = Some(alone.from);
        if let Some(contrast) = contrast {
            self.show(&contrast, Channel::Level, alone.side);
        }
        let name = reader.view.hosts.name(self.slots[alone.slot].host);
        self.outcome.remark = Some(report::alone(name));
    }
}
