//! Derivative: the trend over the window is not steeper than allowed.

mod alone;
mod beside;
mod last;
mod outcome;
mod refill;
mod rules;
mod state;
mod trend;

use std::collections::BTreeMap;

use super::{
    Basis, CheckState, Coverage, Evidence, Finding, Group, HostId, Setup, View,
    wording::{host_list, metric_name, number, percent, selection_name, uncovered},
};
use crate::{
    event::{Interval, Span, Timestamp},
    plan::{Check, DetectorPlan, Slope},
};
use outcome::{Awaiting, Outcome, Streak};
use rules::{Budget, FLEET_MIN, PAST_WINDOWS_MIN, Past, Reading, against_limits};
pub(super) use state::State;
use trend::Trend;

/// Looks in a row that must be too steep.
const LOOKS_MIN: u32 = 3;
/// Likewise by the host's own past alone: a leak is steep for a window more, a shift is not.
const LOOKS_ALONE_MIN: u32 = 8;
/// Looks in one length of the window: at limits, and at statistics, where each look costs alpha.
const LOOKS_PER_WINDOW: i64 = 30;
const LOOKS_PER_WINDOW_STATISTICAL: i64 = 8;
/// Pasts that are read in one bucket at most, so that a deployment over many hosts does not hold up
/// its buckets.
const PASTS_PER_BUCKET: usize = 500;
/// Share of alpha where the check was given none.
const ALPHA_DEFAULT: f64 = 0.001;

/// The trend of each judged host over the trailing window is not steeper than the owner allows; or,
/// without a limit, not steeper than the fleet's at the same time (four hosts or more), or by a margin than the past
/// of the host, or of all hosts. When the bake ends without anything to hold trends against, that is no data.
///
/// The window begins after the grace at the earliest, and is never longer than the bake leaves
/// room for. It is judged when it is half full. Up to four windows are looked at as one,
/// too, as far as the bake and the past that is remembered go: saw-teeth hide a leak in two of their periods,
/// not in eight. What is in range is what a rise of a tenth over that time, or a slope beyond the limit, is
/// excluded of; the rest is undecided. A slope is Theil and Sen's over medians of blocks;
/// beside it, the level, the envelope and the later half of the window must rise too, so that
/// saw-teeth, restarts and caches that fill up are no leaks; beside a fleet, memory and what else a process gathers
/// must also exceed what the host held before; three looks in a row, by the past
/// alone for a whole window, and beyond the range that this past had. Looks are spread
/// over time by the name of the metric.
#[derive(Clone, Debug)]
pub struct Derivative {
    coverage: Coverage,
    check: Check,
    selection: String,
    max: Option<Slope>,
    min: Option<Slope>,
    /// Length of the window.
    window: Span,
    /// Distance of two looks at one group.
    step: Span,
    alpha: f64,
    began_at: Timestamp,
    /// Until when hosts are what they were before.
    past_until: Timestamp,
    grace_until: Timestamp,
    bake: Span,
    /// By index of the group.
    groups: Vec<Option<Box<Outcome>>>,
    streaks: BTreeMap<(usize, Option<HostId>), Streak>,
    pasts: BTreeMap<(usize, HostId), Option<Past>>,
    /// How many pasts may still be read in this bucket.
    pasts_left: usize,
}

impl Derivative {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        let (max, min, over) = match setup.check.detector {
            DetectorPlan::Derivative { max, min, over } => (max, min, over),
            DetectorPlan::Bounds { .. }
            | DetectorPlan::Sigma { .. }
            | DetectorPlan::Compare { .. }
            | DetectorPlan::Absent { .. }
            | DetectorPlan::NewTemplate
            | DetectorPlan::Load { .. } => (None, None, Span::from_minutes(30)),
        };
        let bake = setup.bake_until - setup.grace_until;
        let window = if Span::ZERO < bake {
            over.min(bake)
        } else {
            over
        }
        .max(setup.resolution);
        let looks = if max.is_some() || min.is_some() {
            LOOKS_PER_WINDOW
        } else {
            LOOKS_PER_WINDOW_STATISTICAL
        };
        let step = Span::from_nanos(window.nanos() / looks).max(setup.resolution);
        Self {
            coverage: Coverage::new(setup),
            check: setup.check.clone(),
            selection: selection_name(setup.check),
            max,
            min,
            window,
            step,
            alpha: if 0.0 < setup.alpha {
                setup.alpha
            } else {
                ALPHA_DEFAULT
            },
            began_at: setup.began_at,
            past_until: setup.before.until.min(setup.began_at),
            grace_until: setup.grace_until,
            bake,
            groups: Vec::new(),
            streaks: BTreeMap::new(),
            pasts: BTreeMap::new(),
            pasts_left: 0,
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        let basis = self.basis(view);
        let uncovered = uncovered(&mut self.coverage, view, &self.selection, basis);
        let start = self.grace_until.max(self.began_at);
        let half = start + Span::from_nanos(self.window.nanos() / 2);
        if view.bucket.end < half {
            return uncovered.unwrap_or_else(|| {
                Finding::warming(format!(
                    "half of the window of {} to be filled, at {half}",
                    self.window
                ))
            });
        }
        self.groups.resize(view.panel.index_bound(), None);
        self.forget_gone(view);
        self.pasts_left = PASTS_PER_BUCKET;
        let window = Interval {
            start: start.max(view.bucket.end - self.window),
            end: view.bucket.end,
        };
        for (index, group) in view.panel.groups() {
            if self.is_due(view, group) {
                let outcome = self.look(view, index, group, window);
                self.groups[index] = Some(Box::new(outcome));
            }
        }
        self.answer(view, basis, uncovered)
    }

    /// Forgets metrics that are there no more: what is read in another way from now on is another one.
    fn forget_gone(&mut self, view: &View<'_>) {
        let is_gone = |index: usize| view.panel.group(index).is_forgotten();
        for (index, outcome) in self.groups.iter_mut().enumerate() {
            if outcome.is_some() && is_gone(index) {
                *outcome = None;
                self.streaks.retain(|(group, _), _| *group != index);
            }
        }
    }

    fn has_limit(&self) -> bool {
        self.max.is_some() || self.min.is_some()
    }

    fn basis(&self, view: &View<'_>) -> Basis {
        if self.has_limit() {
            Basis::Slo
        } else if view.fleet.len() < FLEET_MIN {
            Basis::Model
        } else {
            Basis::GaussianHosts
        }
    }

    /// Whether the group is looked at in this bucket. Groups take turns, by a hash of their labels,
    /// so that they are not all looked at in one bucket; nothing else may depend on it.
    fn is_due(&self, view: &View<'_>, group: &Group) -> bool {
        let resolution = view.panel.resolution();
        let period = self.step.div_ceil(resolution).max(1) as u64;
        let number = view.bucket.start.nanos().div_euclid(resolution.nanos()) as u64;
        let hash = group
            .key
            .labels
            .iter()
            .flat_map(|(name, value)| [name, value])
            .flat_map(str::bytes)
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        (number.wrapping_add(hash)).is_multiple_of(period)
    }

    fn look(&mut self, view: &View<'_>, index: usize, group: &Group, window: Interval) -> Outcome {
        let resolution = view.panel.resolution();
        let trend = |host: HostId| Trend::of(group.track(host)?, resolution, window);
        let judged: Vec<(HostId, Trend)> = view
            .one_box
            .iter()
            .filter_map(|&host| Some((host, trend(host)?)))
            .collect();
        if judged.is_empty() {
            self.streaks.retain(|(group, _), _| *group != index);
            return Outcome::undecided(Awaiting::HalfWindow);
        }
        let budget = self.budget(view);
        let readings: Vec<Reading> = if self.has_limit() {
            let is_full = self.window <= window.span();
            judged
                .iter()
                .filter_map(|(host, trend)| {
                    let mut reading = against_limits(*host, trend, self.max, self.min)?;
                    let from = self.past_until - self.window.times(4);
                    reading.exceeds &=
                        is_full || self.is_beyond_past(view, group, *host, trend, from);
                    Some(reading)
                })
                .collect()
        } else {
            match self.beside_fleet(view, group, window, budget) {
                Some(reading) => vec![reading],
                None => self.against_pasts(view, (index, group), &judged, (window, budget)),
            }
        };
        if readings.is_empty() {
            return Outcome::undecided(if self.has_limit() {
                Awaiting::Level
            } else if self.pasts_left == 0 {
                Awaiting::PastToRead
            } else {
                Awaiting::Comparison
            });
        }
        let is_complete = readings.len() == judged.len() || readings[0].host.is_none();
        self.weigh(view, index, &readings, is_complete)
    }

    /// Whether the window ends beyond the range that the host's past had since `from`, on the side to which it
    /// goes. The rising side of a saw-tooth or of a day fills half a window easily, but stays in its range; and so
    /// does memory that fills again after a restart.
    fn is_beyond_past(
        &self,
        view: &View<'_>,
        group: &Group,
        host: HostId,
        trend: &Trend,
        from: Timestamp,
    ) -> bool {
        let Some(track) = group.track(host) else {
            return false;
        };
        let past = track.weighted(view.panel.resolution(), from, self.past_until);
        let range = past
            .map(|(value, exposure)| f64::from(value) / f64::from(exposure))
            .filter(|value| value.is_finite())
            .fold(None, |range: Option<(f64, f64)>, value| {
                let (low, high) = range.unwrap_or((value, value));
                Some((low.min(value), high.max(value)))
            });
        let last = trend.thirds[2];
        range.is_some_and(|(low, high)| {
            if trend.slope < 0.0 {
                last < low
            } else {
                high < last
            }
        })
    }

    fn budget(&self, view: &View<'_>) -> Budget {
        let groups = view.panel.len().max(1) as f64;
        let length = self.bake.max(self.window).seconds_f64();
        let looks = length / self.step.seconds_f64() + 1.0;
        // Where the bake leaves room, two are looked at.
        let windows = if self.window.times(2) <= self.bake {
            2.0
        } else {
            1.0
        };
        Budget {
            alpha: self.alpha / (windows * looks * groups),
            windows_over_alpha: length / self.window.seconds_f64()
                * groups
                * view.one_box.len().max(1) as f64
                / self.alpha,
        }
    }

    /// Counts the looks in a row, and says what the group is in.
    fn weigh(
        &mut self,
        view: &View<'_>,
        index: usize,
        readings: &[Reading],
        is_complete: bool,
    ) -> Outcome {
        let mut breaching: Vec<&Reading> = Vec::new();
        let mut first: Option<Timestamp> = None;
        let mut is_open = !is_complete;
        for reading in readings {
            let key = (index, reading.host);
            if !reading.exceeds {
                self.streaks.remove(&key);
                is_open |= !reading.is_excluded;
                continue;
            }
            let streak = self.streaks.entry(key).or_insert(Streak {
                looks: 0,
                first: view.bucket.start,
            });
            streak.looks += 1;
            is_open = true;
            let looks_min = match reading.basis {
                Basis::Model => LOOKS_ALONE_MIN,
                Basis::Slo | Basis::GaussianHosts | Basis::Exchangeable => LOOKS_MIN,
            };
            if looks_min <= streak.looks {
                first = Some(first.map_or(streak.first, |first| first.min(streak.first)));
                breaching.push(reading);
            }
        }
        let steepest = |readings: &mut dyn Iterator<Item = &Reading>| {
            readings
                .copied()
                .max_by(|a, b| a.steepness().total_cmp(&b.steepness()))
        };
        if !breaching.is_empty() {
            let hosts = match breaching[0].host {
                None => view.one_box.to_vec(),
                Some(_) => breaching
                    .iter()
                    .filter_map(|reading| reading.host)
                    .collect(),
            };
            return Outcome {
                state: CheckState::Breach,
                reading: steepest(&mut breaching.into_iter()),
                hosts,
                first,
                awaiting: Awaiting::Nothing,
            };
        }
        let reading = steepest(&mut readings.iter());
        let host = reading.and_then(|reading| reading.host);
        Outcome {
            state: if is_open {
                CheckState::Undecided
            } else {
                CheckState::Ok
            },
            reading,
            hosts: host.map_or_else(|| view.one_box.to_vec(), |host| vec![host]),
            first: None,
            awaiting: Awaiting::Trend,
        }
    }

    fn answer(&self, view: &View<'_>, basis: Basis, uncovered: Option<Finding>) -> Finding {
        let state = self
            .groups
            .iter()
            .flatten()
            .map(|outcome| outcome.state)
            .max()
            .unwrap_or(CheckState::Undecided);
        if state != CheckState::Breach {
            if let Some(finding) = uncovered {
                return finding;
            }
            let groups = view.panel.groups();
            let unseen = groups.filter(|(index, _)| self.groups[*index].is_none());
            let unseen = unseen.count();
            if 0 < unseen {
                return Finding::warming(format!("the first look at {unseen} metrics"));
            }
            if let Some(finding) = self.unproven(view, basis) {
                return finding;
            }
        }
        let mut worst: Vec<(f64, usize, &Outcome)> = view
            .panel
            .groups()
            .filter_map(|(index, _)| Some((index, self.groups[index].as_deref()?)))
            .filter(|(_, outcome)| outcome.state == state)
            .map(|(index, outcome)| (outcome.steepness(), index, outcome))
            .collect();
        worst.sort_by(|a, b| b.0.total_cmp(&a.0));
        worst.truncate(if state == CheckState::Breach {
            Finding::EVIDENCE_MAX
        } else {
            1
        });
        let evidence = worst
            .iter()
            .map(|(_, index, outcome)| self.describe(view, *index, outcome, basis))
            .collect();
        let mut finding = Finding::new(state, evidence);
        if state == CheckState::Undecided {
            let awaiting = worst
                .first()
                .map_or("series", |(_, _, outcome)| outcome.awaiting.phrase());
            finding.awaiting = Some(awaiting.to_owned());
        }
        finding
    }

    fn describe(&self, view: &View<'_>, index: usize, outcome: &Outcome, basis: Basis) -> Evidence {
        let group = view.panel.group(index);
        let metric = metric_name(&self.check, group);
        let Some(reading) = &outcome.reading else {
            let note = format!("waits for {}", outcome.awaiting.phrase());
            return Evidence::bare(metric, outcome.state, basis, note);
        };
        let slope = |value: f64| {
            if reading.is_relative {
                format!("{}/h", percent(value))
            } else {
                format!("{}/h", number(value))
            }
        };
        let hosts = view.hosts.names(outcome.hosts.iter().copied());
        let against = match reading.basis {
            Basis::Slo => format!("{} allowed", slope(reading.allowed)),
            Basis::GaussianHosts | Basis::Exchangeable => {
                format!("{} on the fleet", slope(reading.allowed))
            }
            Basis::Model => format!(
                "{} is the most that its past explains",
                slope(reading.allowed)
            ),
        };
        let is_open = outcome.state == CheckState::Undecided && 0.0 < reading.margin;
        let spread =
            is_open.then(|| format!(" ± {}", slope(reading.margin).trim_start_matches('+')));
        let spread = spread.unwrap_or_default();
        let mut note = format!(
            "slope {}{spread}, {against}, on {}",
            slope(reading.observed),
            host_list(&hosts)
        );
        if reading.is_refilling {
            note.push_str("; no more than it held before the deployment");
        }
        if outcome.state == CheckState::Breach
            && let Some(hours) = reading.exhaustion(group.unit)
        {
            note = format!("{note}; at this pace {hours}");
        }
        let effect = reading.observed - reading.allowed;
        let mut evidence = Evidence::bare(metric, outcome.state, reading.basis, note);
        evidence.observed = Some(reading.observed);
        evidence.expected = Some(reading.allowed);
        evidence.effect = Some(effect);
        if 0.0 < reading.margin {
            evidence.interval = Some((effect - reading.margin, effect + reading.margin));
            evidence.detectable = Some(reading.margin);
        }
        evidence.hosts = hosts;
        evidence.first_breach = outcome.first;
        evidence
    }
}

#[cfg(test)]
mod tests;
