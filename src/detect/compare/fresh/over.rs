//! The look back over all of the bake, beside enough fleet hosts: what a level of the latest minutes does not show.

use super::{
    CheckState, FreshTest, Group, HostId, Levels, Reader, Spread, UNPROVEN,
    history::{History, Stretch},
    margin, report, student_quantile,
};
use crate::detect::{compare::outcome::Outcome, stats::mean};

/// Part of what all of the bake shows that either half of it must show, too: one burst is in one of them.
const HALVES: f64 = 0.5;

/// What a difference must be beyond.
pub(super) struct Bar {
    pub(super) tolerance: f64,
    /// How far out healthy hosts are usually at most, beyond that.
    pub(super) noise: f64,
    pub(super) allowance: f64,
    pub(super) alpha: f64,
}

impl FreshTest {
    /// Looks back when the bake ends, or where it may end early, with this alpha; at how restless hosts are, if that
    /// `has_noise` which tells anything.
    pub(in crate::detect::compare) fn look_over(
        &mut self,
        (reader, group): (&Reader<'_>, &Group),
        (alpha, has_noise): (f64, bool),
    ) {
        let is_last = reader.is_last();
        let may_pass = self.outcome.state == CheckState::Ok
            && reader.terms.bake_min_until <= reader.view.bucket.end
            && self.count.is_multiple_of(self.stride);
        if self.outcome.state == CheckState::Breach || !(is_last || may_pass) {
            return;
        }
        let Some(found) = self.found_over((reader, group), (alpha, has_noise)) else {
            return;
        };
        if !is_last {
            self.outcome.state = CheckState::Undecided;
        } else if found.state == CheckState::Breach {
            self.first_breach = found.first_breach;
            self.outcome = found;
        } else if self.outcome.state != CheckState::NoData {
            self.is_unproven = found.is_unproven();
            self.outcome = found;
        }
    }

    fn found_over(
        &self,
        (reader, group): (&Reader<'_>, &Group),
        (alpha, has_noise): (f64, bool),
    ) -> Option<Outcome> {
        let history = History::read(self, reader, group)?;
        if self.working.is_ratio() {
            return self.whole(reader, &history, alpha);
        }
        let spells = self.spells(reader, &history, 0.5 * alpha);
        let restless = has_noise.then(|| self.restless(reader, &history, 0.5 * alpha));
        let found = [restless.flatten(), spells].into_iter().flatten();
        found.min_by_key(|found| found.state != CheckState::Breach)
    }

    /// The mean over all of the bake, of what is often zero: a block of it says little.
    fn whole(&self, reader: &Reader<'_>, history: &History, alpha: f64) -> Option<Outcome> {
        let levels = self.levels_over(history)?;
        let mut sides = self.sides.signs().iter();
        sides.find_map(|side| {
            let bar = Bar {
                tolerance: self.tolerance,
                noise: f64::INFINITY,
                allowance: self.allowance[usize::from(*side < 0.0)],
                alpha: alpha / self.sides.signs().len() as f64,
            };
            self.over(reader, history, &levels, (*side, &bar))
        })
    }

    fn levels_over(&self, history: &History) -> Option<Levels> {
        let levels = |stretch: &Stretch, part: usize| -> Option<Vec<(f64, HostId)>> {
            let hosts = stretch.hosts.iter().map(|(host, said)| {
                let half = said.len() / 2;
                let said = match part {
                    0 => &said[..half],
                    1 => &said[half..],
                    _ => &said[..],
                };
                Some((self.level(said.iter().copied())?, *host))
            });
            hosts.collect()
        };
        let middle = |levels: &[(f64, HostId)]| mean(levels.iter().map(|(level, _)| *level));
        let difference = |part| {
            let (own, fleet) = (
                levels(&history.one_box, part)?,
                levels(&history.fleet, part)?,
            );
            Some(middle(&own)? - middle(&fleet)?)
        };
        let halves: [f64; 2] = [difference(0)?, difference(1)?];
        let (each, fleet) = (levels(&history.one_box, 2)?, levels(&history.fleet, 2)?);
        let (mut squares, mut freedom) = (0.0, 0.0);
        for stretch in history.before.iter().chain([&history.fleet]) {
            let levels = levels(stretch, 2)?;
            let middle = middle(&levels)?;
            squares += levels
                .iter()
                .map(|(level, _)| (level - middle).powi(2))
                .sum::<f64>();
            freedom += (levels.len() - 1) as f64;
        }
        let of_fleet = middle(&fleet)?;
        // What only one half shows is none of the whole.
        let halves = halves.map(|half| half / HALVES + of_fleet);
        Some(Levels {
            own: middle(&each)?,
            rest: [f64::NAN; 2],
            fleet: of_fleet,
            since: [halves[0].min(halves[1]), halves[0].max(halves[1])],
            each,
            fleet_hosts: fleet.len() as f64,
            spread: Spread {
                prior: self.sigma_prior * self.sigma_prior,
                between: squares / freedom,
                freedom: (fleet.len() - 1) as f64,
            },
        })
    }

    /// What levels over all of the bake say, if they are harm on a side.
    pub(super) fn over(
        &self,
        reader: &Reader<'_>,
        history: &History,
        levels: &Levels,
        (side, bar): (f64, &Bar),
    ) -> Option<Outcome> {
        let harm = levels.harm(side) - bar.allowance;
        let hosts = levels.each.len();
        let bound = |alpha: f64| student_quantile(alpha, levels.spread.nu()) * levels.error(hosts);
        let (critical, margin) = (bound(bar.alpha), margin(levels));
        let noise = if bar.noise.is_finite() {
            bar.noise.min(margin).max(0.0)
        } else {
            bound(self.likely_tail())
        };
        if harm <= bar.tolerance + noise {
            return None;
        }
        let alone = levels.culprit(side);
        let is_certain = bar.tolerance + critical < harm && alone.is_none();
        let remark = match alone {
            Some(host) => Some(report::alone(reader.view.hosts.name(host))),
            None => (!is_certain).then(|| UNPROVEN.to_owned()),
        };
        let now = levels.now();
        Some(Outcome {
            state: if is_certain {
                CheckState::Breach
            } else {
                CheckState::NoData
            },
            effect: Some(now),
            interval: Some((now - margin, now + margin)),
            detectable: Some(bar.tolerance + critical),
            observed: Some(self.working.natural(levels.own)),
            expected: Some(self.working.natural(levels.fleet)),
            first_breach: is_certain.then_some(history.from),
            severity: harm / bar.tolerance,
            remark,
            ..self.outcome.clone()
        })
    }
}

impl Outcome {
    /// Whether it says that harm is likely, and not whose it is.
    fn is_unproven(&self) -> bool {
        let remark = self.remark.as_deref().unwrap_or_default();
        remark.ends_with(UNPROVEN)
    }
}
