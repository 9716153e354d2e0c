//! What a one-box without a past is when its bake ends.

use super::{CheckState, FreshTest, Levels, Reader, Working, margin, report, student_quantile};

/// Chance that a healthy deployment is withheld by how much its fleet hosts differ, as a multiple of the
/// chance that it is failed: it costs a look, not a roll-back.
const LIKELY_TIMES: f64 = 5.0;
/// A difference that is likely harm however little is known of hosts, in points of a share; of others as a
/// logarithm: nobody would call a level of more than twice the fleet's healthy for want of knowledge.
const GROSS_SHARE: f64 = 0.1;
const GROSS: f64 = 0.81;
/// The same of what may be negative, in usual sizes.
const GROSS_SIZES: f64 = 6.0;
/// Chance that a healthy host is as far out as one that has left the fleet behind.
const BEHIND_TAIL: f64 = 0.01;
/// What a person should know where harm is likely, but not certain, and what would settle it.
pub(super) const UNPROVEN: &str = "likely harm, but fresh hosts may differ by themselves: more hosts in the one-box, or \
                        fleet hosts started anew with the old version, would settle it";
/// The same where it is not even likely, though it is larger than what is accepted.
const ORDINARY: &str = "as healthy hosts without a past may differ here";

impl FreshTest {
    /// One host of several that is out of line when the bake ends is no PASS: nobody knows whether it is
    /// ill by itself. Nor is a harm that is likely, though it is too small to be certain, or began too late to
    /// be most of what was seen.
    pub(super) fn settle(&mut self, reader: &Reader<'_>) {
        let Some(levels) = self.levels() else { return };
        let mut sides = self.sides.signs().iter();
        if let Some(host) = sides.find_map(|side| self.alone(&levels, *side)) {
            let name = reader.view.hosts.name(host);
            self.outcome.state = CheckState::NoData;
            self.outcome.remark = Some(report::alone(name));
            return;
        }
        let noise = self.likely(&levels);
        let is_any = |noise: f64| {
            let mut sides = self.sides.signs().iter();
            sides.any(|side| self.is_beyond(&levels, *side, noise))
        };
        let margin = margin(&levels);
        let tail = self.likely_tail();
        let least = [
            Some(self.tolerance + margin),
            levels.measured(tail).map(|noise| self.accepted + noise),
        ];
        let least = least.into_iter().flatten().fold(f64::INFINITY, f64::min);
        // A burst at the end of the bake is not what stays.
        let began_late = |side: &f64| {
            !self.working.is_ratio() && self.exceeds(&levels, (levels.now() * side, *side), least)
        };
        let is_unproven = is_any(noise) || self.sides.signs().iter().any(began_late);
        let is_larger = is_any(0.0);
        if is_unproven {
            self.is_unproven = true;
            self.outcome.state = CheckState::NoData;
            self.outcome.remark = Some(UNPROVEN.to_owned());
        } else if is_larger {
            self.outcome.remark = Some(ORDINARY.to_owned());
        }
    }

    /// Whether the one-box has left the fleet behind on a side: by more than `least`, and farther than hosts of the
    /// fleet are from each other.
    pub(in crate::detect::compare) fn is_beyond_fleet(&self, side: f64, least: f64) -> bool {
        let levels = self.levels();
        levels.is_some_and(|levels| {
            let least = least.max(levels.ordinary(BEHIND_TAIL));
            least < self.beyond(levels.now(), side)
        })
    }

    /// How far a likely harm is out at least, beyond the tolerance. What is mostly zero comes in bursts, of which how
    /// much is usual is known by chance only.
    fn likely(&self, levels: &Levels) -> f64 {
        let tail = self.likely_tail();
        if self.working.is_ratio() {
            let error = levels.error(levels.each.len());
            return student_quantile(tail, levels.spread.nu()) * error;
        }
        let gross = match self.working {
            _ if self.is_share => GROSS_SHARE,
            Working::Linear { .. } => GROSS_SIZES,
            Working::Log { .. } | Working::LogRatio { .. } | Working::Share { .. } => GROSS,
        };
        let beyond = levels.usual(tail, gross) - self.tolerance;
        beyond.min(margin(levels)).max(0.0)
    }

    pub(super) fn likely_tail(&self) -> f64 {
        LIKELY_TIMES * self.alpha / self.sides.signs().len() as f64
    }
}
