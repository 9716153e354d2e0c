//! What a look found, until the latest minutes confirm it or it heals.

use serde::{Deserialize, Serialize};

use super::{CONFIRM_TAIL, Channel, Contrast, HostsTest, Slot};
use crate::{
    detect::{CheckState, Group, compare::reading::Reader},
    event::{Span, Timestamp},
};

/// Buckets before a confirmation means something.
const CONFIRM_BUCKETS_MIN: usize = 2;
/// How long a look that was not confirmed stays suspect.
pub(super) const SUSPECT: Span = Span::from_minutes(30);
/// What a person should know of a breach that a trend found.
pub(in crate::detect::compare) const RISING: &str = "it still moves away from the fleet";

/// A look that found something.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Suspicion {
    pub(super) side: f64,
    pub(super) is_spread: bool,
    pub(super) is_trend: bool,
    /// What the latest minutes must show to confirm it, on the working scale.
    pub(super) least: f64,
    /// The smallest standard deviation that was believed.
    pub(super) sigma_min: f64,
    pub(super) raised_at: Timestamp,
    /// Start of the window that found it.
    pub(super) from: Timestamp,
    /// What that window shows.
    pub(super) contrast: Contrast,
    pub(super) confirmed: bool,
}

impl HostsTest {
    /// Notes what a look found.
    pub(super) fn raise(&mut self, found: Suspicion) {
        match &mut self.suspicion {
            // The breach that stands keeps its start.
            Some(suspicion)
                if suspicion.confirmed
                    && suspicion.side == found.side
                    && suspicion.is_spread == found.is_spread =>
            {
                suspicion.raised_at = found.raised_at;
                suspicion.contrast = found.contrast;
            }
            suspicion => *suspicion = Some(found),
        }
    }

    /// A breach stands only while the latest minutes show it: what heals is forgiven.
    pub(super) fn confirm(&mut self, (reader, group): (&Reader<'_>, &Group)) {
        let Some(mut suspicion) = self.suspicion else {
            return;
        };
        let end = reader.view.bucket.end;
        if end - suspicion.raised_at > SUSPECT && !suspicion.confirmed {
            self.suspicion = None;
            return;
        }
        let channel = if suspicion.is_spread {
            Channel::Spread
        } else {
            Channel::Level
        };
        let latest = |slot: &Slot| slot.trailing(0);
        let changes = self.changes_beyond(channel, latest, suspicion.sigma_min);
        let contrast = changes.and_then(|changes| changes.contrast());
        let stands = self.looks.count() >= CONFIRM_BUCKETS_MIN
            && contrast.is_some_and(|contrast| {
                let harm = self.harm_in(channel, &contrast, suspicion.side);
                harm > suspicion.least && harm > contrast.critical(CONFIRM_TAIL)
            });
        if stands {
            suspicion.confirmed = true;
            self.suspicion = Some(suspicion);
            if self.outcome.state != CheckState::Breach {
                self.outcome.first_breach = Some(suspicion.from);
            }
            self.outcome.state = CheckState::Breach;
            // The latest minutes say how large it is, if they say it clearly.
            let is_clear = |contrast: &Contrast| {
                let harm = self.harm_in(channel, contrast, suspicion.side);
                harm > self.least(channel) && harm > contrast.critical(self.looks.beta)
            };
            let shown = contrast.filter(is_clear).unwrap_or(suspicion.contrast);
            self.show(&shown, channel, suspicion.side);
            let seen = (reader, group);
            // How fast it is is asked once for each look.
            let told = self.outcome.remark.take();
            let told = told.filter(|told| suspicion.raised_at < end && told.starts_with(RISING));
            let pace = || told.unwrap_or_else(|| self.pace(seen));
            self.outcome.remark = suspicion.is_trend.then(pace);
        } else if self.outcome.state == CheckState::Breach || suspicion.confirmed {
            self.suspicion = None;
            self.outcome.state = CheckState::Undecided;
            self.outcome.first_breach = None;
            self.outcome.remark = None;
        } else {
            self.outcome.state = CheckState::Undecided;
        }
    }
}
