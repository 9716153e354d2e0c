//! What was heard of a host over the bake, and what it owes.

use serde::{Deserialize, Serialize};

use super::{CADENCE_BUCKETS_MIN, COVERED_PERCENT_MIN, NoDataCause, View, exposed::Exposed};
use crate::{
    event::{Span, Timestamp},
    reduce::LossReason,
};

/// Buckets since the grace in which a host was heard.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Heard {
    /// How many there were before its first data ever came: it owes none of them.
    pub(super) before: u64,
    /// With data, or in gaps that were ordinary.
    pub(super) buckets: u64,
    /// In the gap that is open, if it is still ordinary.
    pub(super) pending: u64,
    /// With data.
    pub(super) filled: u64,
    /// The smallest mean distance of its buckets with data so far: long gaps raise the mean, and
    /// must not make themselves ordinary.
    pub(super) cadence: Option<Span>,
    /// Why data of it was lost last since the deployment began.
    pub(super) loss: Option<LossReason>,
    /// Of log records that are selected: buckets with some that could be used.
    pub(super) used: u64,
    /// Buckets that told of some that could not.
    pub(super) lost: u64,
    /// What was heard of its exposure, where values are divided by one.
    pub(super) exposed: Exposed,
    /// Whether it was covered when the bake ended: gaps behind that take nothing from it.
    pub(super) is_proven: bool,
}

/// What was heard of a host.
pub(super) struct Sign {
    /// Start of its first bucket with data ever, as far as that is remembered.
    pub(super) first: Option<Timestamp>,
    /// End of its latest bucket with data.
    pub(super) last: Option<Timestamp>,
    /// Longest gap that is ordinary.
    pub(super) ordinary: Span,
    /// The smallest mean distance of its buckets with data, if enough of them are known.
    pub(super) cadence: Option<Span>,
    /// Why data of it was lost last since the deployment began.
    pub(super) loss: Option<LossReason>,
    /// Of log records that are selected, in the bucket: whether any could be used, and whether any could not.
    pub(super) records: (bool, bool),
    /// Why it is not heard, if it is not.
    pub(super) cause: Option<NoDataCause>,
}

/// How many of so many in percent, rounded down; nothing of nothing is all.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    (part * 100).checked_div(whole).unwrap_or(100).min(100)
}

impl Heard {
    /// In how many of so many buckets its cadence lets one expect data at least; none until it is known, or
    /// while they are so few that an ordinary gap weighs.
    pub(super) fn promised(&self, buckets: u64, resolution: Span) -> u64 {
        let Some(cadence) = self.cadence else {
            return 0;
        };
        let share = resolution.seconds_f64() / cadence.max(resolution).seconds_f64();
        // The first and the last distance are cut off.
        let promised = ((buckets as f64 * share) as u64).saturating_sub(1);
        if promised < CADENCE_BUCKETS_MIN {
            0
        } else {
            promised
        }
    }

    /// Whether too many of the log records that are selected could not be used.
    pub(super) fn is_lossy(&self) -> bool {
        0 < self.lost && percent(self.used, self.used + self.lost) < COVERED_PERCENT_MIN
    }

    /// A host that is judged from now on, with so many buckets before: it was not known to be one before it was
    /// heard. It owes none of them if it had never sent anything; else they are heard if what it sends comes
    /// so seldom that the gap was ordinary.
    pub(super) fn joining(before: u64, sign: &Sign, view: &View<'_>, began_at: Timestamp) -> Self {
        let gap = view.panel.resolution().times(before.min(1 << 20) as i64);
        if gap < sign.ordinary {
            return Self {
                buckets: before,
                ..Self::default()
            };
        }
        let is_new = sign.first.is_none_or(|first| began_at <= first);
        Self {
            before: if is_new { before } else { 0 },
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, sign: &Sign, view: &View<'_>) {
        self.cadence = sign.cadence.or(self.cadence);
        self.loss = sign.loss.or(self.loss);
        let (is_used, is_lost) = sign.records;
        self.used += u64::from(is_used);
        self.lost += u64::from(is_lost);
        let silence = sign.last.map(|last| view.bucket.end - last);
        let is_silent = match &sign.cause {
            // A host whose values stand still is heard; whether it lives is asked apart.
            None | Some(NoDataCause::Lifeless) => false,
            // What it said last was before the deployment: how long ago decides, once it speaks again.
            Some(NoDataCause::NeverArrived) => sign.last.is_none(),
            Some(_) => true,
        };
        if is_silent || silence.is_none_or(|silence| sign.ordinary < silence) {
            self.pending = 0;
            // The gap goes on until data comes.
        } else if silence == Some(Span::ZERO) {
            self.filled += 1;
            self.buckets += 1 + self.pending;
            self.pending = 0;
        } else {
            self.pending += 1;
        }
    }
}
