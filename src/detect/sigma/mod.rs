//! Sigma: the value stays near its own robust history.

mod baseline;
mod state;
mod watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Basis, CheckState, Coverage, Evidence, Finding, Group, HostId, NoDataCause, Setup, View,
    robust::median,
    wording::{host_list, metric_name, number, percent, selection_name, uncovered},
};
use crate::{
    event::{Interval, Span, Timestamp},
    plan::{Check, DetectorPlan, Direction},
};
use baseline::{Baseline, block_median, ratio};
pub(super) use state::State;
use watch::{Block, Judgement, Terms, Watch};

/// Past values that are read in one bucket at most, so that a deployment over many hosts does not
/// hold up its first bucket.
const PAST_VALUES_PER_BUCKET: usize = 2_000_000;
/// Fleet hosts, by name, that are asked whether they moved too.
const FLEET_ASKED_MAX: usize = 32;
/// Share of the move, in its own standard deviations, that the fleet must show to be excused.
const FLEET_SHARE: f64 = 0.5;
/// Longest age of a block that still speaks for its track, in blocks.
const BLOCK_AGE_MAX: i64 = 3;
/// Share of alpha where the check was given none.
const ALPHA_DEFAULT: f64 = 0.001;

/// Each judged host's values stay near what they were before the deployment.
///
/// The history is frozen when the deployment begins, so nothing is learned from what is flagged:
/// the median by hour of the day where there are three days of it, else of all of it, and robust
/// spreads. Values are judged in blocks of six (a minute at least). A breach needs all of: two
/// blocks in a row beyond k robust standard deviations, the latest of them now; evidence beyond
/// chance over the whole bake (a mixture of e-CUSUMs on decorrelated blocks, see `STATISTICS.md`
/// 2c); a deviation beyond the largest of its past by a margin (8b); and, where there is a fleet,
/// that the fleet does not move likewise. The false-alarm rate rests on the model that noise over
/// time is stationary. Without a fleet, statistics fail nothing on a short past, and say so; there a
/// metric that always moves and stands still is a breach too. Where no series has a past, nothing is
/// judged, and the end of the bake is no PASS but `NO_DATA`; where some have none, the verdict names them.
#[derive(Clone, Debug)]
pub struct Sigma {
    coverage: Coverage,
    check: Check,
    selection: String,
    k: f64,
    direction: Direction,
    alpha: f64,
    /// Until when hosts are what they were before.
    past_until: Timestamp,
    judged_from: Timestamp,
    bake_until: Timestamp,
    bake: Span,
    /// By index of the group, then of the host.
    watches: Vec<Vec<Slot>>,
    /// Histories of fleet hosts, read when they are asked.
    fleet: BTreeMap<(usize, HostId), Option<Baseline>>,
}

/// The watch over one track, if it can be watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
enum Slot {
    /// Not looked at yet, or it has no data.
    #[default]
    Unread,
    /// It has data, but too little of it before the deployment.
    NoPast,
    /// Watched; whether the fleet excuses its latest block.
    Watched(Box<Watch>, Excuse),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Excuse {
    None,
    FleetMoved,
}

/// What all tracks together say.
#[derive(Debug, Default)]
struct Tally {
    /// Group, host and block of all that are out of their history.
    out: Vec<(usize, HostId, Block, Timestamp)>,
    /// The largest deviation that is suspect, or excused by the fleet.
    suspect: Option<(usize, HostId, Block, Excuse)>,
    /// The largest deviation in range.
    closest: Option<(usize, HostId, Block)>,
    without_past: Vec<(usize, HostId)>,
    /// Tracks whose past is read, but that have no block of late.
    waiting: Vec<(usize, HostId)>,
    is_reading: bool,
}

impl Sigma {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        let (k, direction) = match setup.check.detector {
            DetectorPlan::Sigma { k, direction } => (k, direction),
            DetectorPlan::Bounds { .. }
            | DetectorPlan::Derivative { .. }
            | DetectorPlan::Compare { .. }
            | DetectorPlan::Absent { .. }
            | DetectorPlan::NewTemplate
            | DetectorPlan::Load { .. } => (4.0, Direction::Both),
        };
        Self {
            coverage: Coverage::new(setup),
            check: setup.check.clone(),
            selection: selection_name(setup.check),
            k,
            direction,
            alpha: if 0.0 < setup.alpha {
                setup.alpha
            } else {
                ALPHA_DEFAULT
            },
            past_until: setup.before.until.min(setup.began_at),
            judged_from: setup.grace_until.max(setup.began_at),
            bake_until: setup.bake_until,
            bake: setup.bake_until - setup.grace_until,
            watches: Vec::new(),
            fleet: BTreeMap::new(),
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        let uncovered = uncovered(&mut self.coverage, view, &self.selection, Basis::Model);
        let tally = self.take(view);
        if !tally.out.is_empty() {
            return Finding::new(CheckState::Breach, self.breaches(view, tally.out));
        }
        if let Some(finding) = uncovered {
            return finding;
        }
        self.weigh(view, &tally)
    }

    /// Feeds all watches and asks what they say.
    fn take(&mut self, view: &View<'_>) -> Tally {
        let resolution = view.panel.resolution();
        let terms = self.terms(view);
        let mut tally = Tally::default();
        let mut budget = PAST_VALUES_PER_BUCKET;
        self.watches.resize_with(view.panel.index_bound(), Vec::new);
        for (index, group) in view.panel.groups() {
            let mut watches = std::mem::take(&mut self.watches[index]);
            watches.resize_with(view.hosts.len(), Slot::default);
            for &host in view.one_box {
                let Some(track) = group.track(host).filter(|track| track.has_data()) else {
                    continue;
                };
                let slot = &mut watches[host.0 as usize];
                if matches!(slot, Slot::Unread) {
                    if budget == 0 {
                        tally.is_reading = true;
                        continue;
                    }
                    let past = track
                        .values(resolution, Timestamp::MIN, self.past_until)
                        .len();
                    budget = budget.saturating_sub(past.max(1));
                    *slot = match Baseline::of(track, group.unit, resolution, self.past_until) {
                        None => Slot::NoPast,
                        Some(baseline) => {
                            let (past_until, is_alone) = (self.past_until, terms.is_alone);
                            let learn = || {
                                Watch::stillness(&baseline, track, resolution, past_until, &terms)
                            };
                            let flat = is_alone.then(learn).flatten();
                            Slot::Watched(Box::new(Watch::new(baseline, flat)), Excuse::None)
                        }
                    };
                }
                if let Slot::Watched(watch, excuse) = slot
                    && watch.is_due(view.bucket, resolution)
                {
                    watch.take(track, resolution, view.bucket.end, self.judged_from, &terms);
                    *excuse = Excuse::None;
                    if let Some(block) = watch.latest
                        && block.judgement != Judgement::InRange
                        && self.has_fleet_moved(view, (index, group), watch, &block)
                    {
                        watch.excuse();
                        *excuse = Excuse::FleetMoved;
                    }
                }
                tally.add(view, index, host, slot);
            }
            self.watches[index] = watches;
        }
        tally
    }

    fn terms(&self, view: &View<'_>) -> Terms {
        let tracks = (view.panel.len() * view.one_box.len()).max(1) as f64;
        Terms {
            k: self.k,
            direction: self.direction,
            bake: self.bake,
            tracks_over_alpha: tracks / self.alpha,
            is_alone: view.fleet.is_empty(),
        }
    }

    /// Whether the fleet left its own history likewise in the same block.
    fn has_fleet_moved(
        &mut self,
        view: &View<'_>,
        (index, group): (usize, &Group),
        watch: &Watch,
        block: &Block,
    ) -> bool {
        let resolution = view.panel.resolution();
        let deviation = (block.observed - block.expected) / watch.baseline.block_scale;
        let mut moves = Vec::new();
        for &host in view.fleet.iter().take(FLEET_ASKED_MAX) {
            let Some(track) = group.track(host) else {
                continue;
            };
            let past_until = self.past_until;
            let baseline = self
                .fleet
                .entry((index, host))
                .or_insert_with(|| Baseline::of(track, group.unit, resolution, past_until));
            let Interval { start, end } = block.interval;
            if let Some(baseline) = baseline
                && let Some(observed) =
                    block_median(track.weighted(resolution, start, end).map(ratio))
            {
                moves.push((observed - baseline.center(start)) / baseline.block_scale);
            }
        }
        median(&mut moves)
            .is_some_and(|fleet| FLEET_SHARE * deviation.abs() <= fleet * deviation.signum())
    }

    fn weigh(&self, view: &View<'_>, tally: &Tally) -> Finding {
        if view.bucket.start < self.judged_from {
            return Finding::in_grace(self.judged_from);
        }
        if tally.is_reading {
            return Finding::warming("the rest of the past to be read");
        }
        let mut evidence = Vec::new();
        let mut awaiting = None;
        if let Some((index, host, block, excuse)) = &tally.suspect {
            let phrase = match (excuse, block.judgement) {
                (Excuse::FleetMoved, _) => "the fleet moved too",
                (Excuse::None, Judgement::Advisory) => {
                    "informs only: the past of a lone host is too short to fail it"
                }
                (Excuse::None, _) => "not sustained, or not beyond what its past explains",
            };
            let state = CheckState::Undecided;
            evidence.push(self.describe(view, *index, &[*host], block, state, phrase));
            awaiting = Some("the deviation to last, or to heal".to_owned());
        } else if let Some(unknown) = self.unknown(view, tally) {
            let is_last = self.bake_until < view.bucket.end + view.panel.resolution();
            if is_last && tally.closest.is_none() && tally.waiting.is_empty() {
                let entry = Evidence {
                    state: CheckState::NoData,
                    ..unknown
                };
                return Finding::no_data(NoDataCause::NoPast, vec![entry]);
            }
            awaiting = Some(format!(
                "nothing more: {} has {}",
                unknown.metric, unknown.note
            ));
            evidence.push(unknown);
        } else if let (None, Some((_, host))) = (&tally.closest, tally.waiting.first()) {
            return Finding::warming(format!(
                "the first block of {} after the grace",
                view.hosts.name(*host)
            ));
        } else if !tally.waiting.is_empty() {
            awaiting = Some("series that are silent for the moment".to_owned());
        }
        if let Some((index, host, block)) = &tally.closest {
            let state = CheckState::Ok;
            evidence.push(self.describe(view, *index, &[*host], block, state, "in range"));
        }
        let Some(awaiting) = awaiting else {
            if tally.closest.is_none() {
                return Finding::unheard("the first values");
            }
            return Finding::new(CheckState::Ok, evidence);
        };
        let mut finding = Finding::new(CheckState::Undecided, evidence);
        finding.awaiting = Some(awaiting);
        finding
    }

    /// The series that have no past to compare with, if there are any.
    fn unknown(&self, view: &View<'_>, tally: &Tally) -> Option<Evidence> {
        let (index, host) = tally.without_past.first()?;
        let metric = metric_name(&self.check, view.panel.group(*index));
        let hosts = view.hosts.names([*host]);
        let more = match tally.without_past.len() - 1 {
            0 => String::new(),
            more => format!(", nor of {more} other series"),
        };
        let note = format!("no history of its own on {}{more}", host_list(&hosts));
        let mut entry = Evidence::bare(metric, CheckState::Undecided, Basis::Model, note);
        entry.hosts = hosts;
        Some(entry)
    }

    /// One entry for each metric, with all its hosts, the largest deviation first.
    fn breaches(
        &self,
        view: &View<'_>,
        out: Vec<(usize, HostId, Block, Timestamp)>,
    ) -> Vec<Evidence> {
        let mut by_group: BTreeMap<usize, (Block, Timestamp, Vec<HostId>)> = BTreeMap::new();
        for (index, host, block, first) in out {
            let (worst, since, hosts) = by_group.entry(index).or_insert((block, first, Vec::new()));
            if worst.sigmas.abs() < block.sigmas.abs() {
                *worst = block;
            }
            *since = (*since).min(first);
            hosts.push(host);
        }
        let mut entries: Vec<(f64, Evidence)> = by_group
            .into_iter()
            .map(|(index, (block, since, hosts))| {
                let state = CheckState::Breach;
                let phrase = match block.judgement {
                    Judgement::Still => "it stands still, which it never does",
                    Judgement::Out
                    | Judgement::Suspect
                    | Judgement::InRange
                    | Judgement::Advisory => "sustained",
                };
                let mut entry = self.describe(view, index, &hosts, &block, state, phrase);
                entry.first_breach = Some(since);
                (block.sigmas.abs(), entry)
            })
            .collect();
        entries.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| a.1.metric.cmp(&b.1.metric))
        });
        entries.truncate(Finding::EVIDENCE_MAX);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    fn describe(
        &self,
        view: &View<'_>,
        index: usize,
        hosts: &[HostId],
        block: &Block,
        state: CheckState,
        phrase: &str,
    ) -> Evidence {
        let group = view.panel.group(index);
        let watched = hosts.first().and_then(|host| self.watch(index, *host));
        let usual = if watched.is_some_and(|watch| watch.baseline.knows_hours()) {
            "usual at this hour"
        } else {
            "usual"
        };
        let names = view.hosts.names(hosts.iter().copied());
        let deviation = block.observed - block.expected;
        let is_relative = block.expected != 0.0;
        let scale = if is_relative {
            block.expected.abs()
        } else {
            1.0
        };
        let size = if is_relative {
            format!(" ({})", percent(deviation / scale))
        } else {
            String::new()
        };
        let sigmas = if block.sigmas.abs() < 1e4 {
            format!("{} sigma", number(block.sigmas.abs()))
        } else {
            "it never moved before".to_owned()
        };
        let note = format!(
            "{} where {} is {usual}{size}, {sigmas}, {phrase}, on {}",
            number(block.observed),
            number(block.expected),
            host_list(&names)
        );
        let metric = metric_name(&self.check, group);
        let mut evidence = Evidence::bare(metric, state, Basis::Model, note);
        evidence.observed = Some(block.observed);
        evidence.expected = Some(block.expected);
        evidence.effect = Some(deviation / scale);
        evidence.detectable = Some(block.needed / scale);
        evidence.hosts = names;
        evidence
    }

    fn watch(&self, index: usize, host: HostId) -> Option<&Watch> {
        match self.watches.get(index)?.get(host.0 as usize)? {
            Slot::Watched(watch, _) => Some(watch),
            Slot::Unread | Slot::NoPast => None,
        }
    }
}

impl Tally {
    fn add(&mut self, view: &View<'_>, index: usize, host: HostId, slot: &Slot) {
        let (watch, excuse) = match slot {
            Slot::Unread => return,
            Slot::NoPast => return self.without_past.push((index, host)),
            Slot::Watched(watch, excuse) => (watch, *excuse),
        };
        let length = view.panel.resolution().times(watch.baseline.block as i64);
        let Some(block) = watch
            .latest
            .filter(|block| view.bucket.end - block.interval.end <= length.times(BLOCK_AGE_MAX))
        else {
            return self.waiting.push((index, host));
        };
        match block.judgement {
            Judgement::Out | Judgement::Still => {
                self.out.push((index, host, block, watch.first));
            }
            Judgement::Suspect | Judgement::Advisory => {
                let is_larger = |other: &Block| other.sigmas.abs() < block.sigmas.abs();
                if self
                    .suspect
                    .as_ref()
                    .is_none_or(|(_, _, b, _)| is_larger(b))
                {
                    self.suspect = Some((index, host, block, excuse));
                }
            }
            Judgement::InRange => {
                let is_larger = |other: &Block| other.sigmas.abs() < block.sigmas.abs();
                if self.closest.as_ref().is_none_or(|(_, _, b)| is_larger(b)) {
                    self.closest = Some((index, host, block));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
