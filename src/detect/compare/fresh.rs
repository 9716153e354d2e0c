//! A one-box without a past: its level against the fleet's, measured by how fleet hosts differ.
//!
//! Two bars stand one above the other. What fails is certain: beyond the tolerance for all that chance may
//! hide, under a cautious belief of how much fresh hosts differ. What is likely without being certain is no
//! data when the bake ends: beyond the tolerance, and farther out than healthy fresh hosts usually are
//! ([`Levels::usual`]). What is larger than the tolerance and still ordinary passes, and says so.
//!
//! Fresh hosts are let differ by half (five points of a share): beside few others nobody can tell what is
//! usual of them. Beside sixteen or more how hosts differ is measured; there what is beyond the tolerance of
//! hosts that have a past, and beyond chance, is likely harm, too. An early PASS excludes that tolerance
//! in any case.
//!
//! Measured by simulation, of one metric of twelve of fresh hosts that differ by 10 %: twice the level passes
//! in nine of ten cases where one host stands beside 2 others, in a third beside 3, in one of twelve beside 4
//! or 5, and hardly ever beside 8 or where there are two fresh hosts; three times the level in 3 % beside 2,
//! else never. Fewer than 1 % of healthy deployments are withheld; up to 12 % where hosts differ by 20 %, of
//! which twice the level may be a host's own. That two others are not enough is no choice: of 62 real
//! roll-outs without a fault five showed a latency of 1.6 to 2.1 times that of two others, over all of the
//! bake. One of the 62 is withheld by this.

mod fleet;
mod history;
mod levels;
mod over;
mod restless;
mod said;
mod settling;
mod spells;

use std::collections::VecDeque;

use levels::{Levels, Spread};
use said::Said;
use serde::{Deserialize, Serialize};
use settling::UNPROVEN;
pub(super) use spells::SPELLS;

use super::{
    class::Class,
    outcome::Outcome,
    reading::{HostPast, Reader, Role},
    report,
    scale::Working,
    terms::{Sides, Terms},
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, HostId, Unsound,
        state::{counted, possible},
        stats::{mean, median, student_quantile},
    },
    event::{Span, Timestamp},
};

/// Length of a block: that many samples, at least that long.
const BLOCK_SAMPLES: usize = 5;
const BLOCK: Span = Span::from_minutes(5);
/// How many looks a block spans.
const LOOKS_PER_BLOCK: usize = 5;
/// Looks in a row that must find it.
const PERSIST: usize = 3;
/// Tolerances that a share must be out by without the value of each host that is farthest out.
const REST_TOLERANCES: f64 = 0.5;
/// Share of the looks at which there must be something to compare.
const HELD_MIN: f64 = 0.5;
/// Samples of a host in the window, at least.
const SAMPLES_MIN: usize = 2;
/// Standard deviation between healthy fresh hosts of what may be negative, in usual sizes. Those are small where a host is
/// near zero by chance, and what drifts keeps its distance over all of a bake: each clock has an offset of its own.
const SIGMA_SIZES: f64 = 3.0;
/// Chance of excluding a harm that is as large as the tolerance.
const BETA: f64 = 0.05;
/// Most values since the grace that are remembered; then every other one is forgotten.
const SINCE_MAX: usize = 2048;

/// The comparison of one metric of a one-box that was never seen before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FreshTest {
    working: Working,
    /// Levels are means instead of medians.
    is_share: bool,
    /// What fresh hosts may differ by without being failed.
    tolerance: f64,
    /// What hosts with a past may: harm beyond it is excluded by an early PASS, and is told apart from chance where
    /// there are many fleet hosts.
    accepted: f64,
    sigma_prior: f64,
    alpha: f64,
    sides: Sides,
    /// What a healthy one-box may differ by on each side (up, down), see [`Terms::allowance`].
    allowance: [f64; 2],
    block: usize,
    /// Buckets between two looks.
    stride: usize,
    one_box: Vec<Recent>,
    fleet: Vec<Recent>,
    /// The one-box's mean since the grace, thinned.
    since: Vec<Said>,
    since_stride: usize,
    /// Sum of squares between fleet hosts over blocks, and its number of comparisons.
    squares: f64,
    comparisons: f64,
    hosts_max: usize,
    count: usize,
    /// Looks at which there was anything to compare.
    held: usize,
    /// Looks in a row that found harm, by side.
    streaks: [usize; 2],
    /// Whether harm was likely when the bake ended, and not certain.
    is_unproven: bool,
    first_breach: Option<Timestamp>,
    outcome: Outcome,
}

/// What a host said latest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Recent {
    host: HostId,
    /// Where it usually is, relative to the fleet; 0 where that is not known.
    place: f64,
    values: VecDeque<Said>,
}

impl FreshTest {
    /// Learns from the past of the fleet how much its hosts differ.
    pub(super) fn new(
        terms: &Terms,
        class: &Class,
        working: Working,
        alpha: f64,
        one_box: &[HostId],
        fleet: &[HostPast],
        cadence: usize,
    ) -> Self {
        let block = terms.buckets(BLOCK).max(BLOCK_SAMPLES * cadence.max(1));
        let recent = |host: HostId| Recent::new(host, block);
        let level = fleet_level(&working, fleet);
        let mut test = Self {
            working,
            is_share: class.is_share(),
            tolerance: terms.tolerance(class, level, class.tolerance_cold()),
            accepted: terms.tolerance(class, level, class.tolerance()),
            sigma_prior: if working.is_signed() {
                SIGMA_SIZES
            } else {
                class.sigma_cold()
            },
            alpha,
            sides: class.sides(terms.sides),
            allowance: [0.0; 2],
            block,
            stride: (block / LOOKS_PER_BLOCK).max(1),
            one_box: one_box.iter().map(|host| recent(*host)).collect(),
            fleet: fleet.iter().map(|past| recent(past.host)).collect(),
            since: Vec::new(),
            since_stride: 1,
            squares: 0.0,
            comparisons: 0.0,
            hosts_max: 0,
            count: 0,
            held: 0,
            streaks: [0; 2],
            is_unproven: false,
            first_breach: None,
            outcome: Outcome::warming(Basis::Model, working.scale()),
        };
        test.learn(fleet);
        test
    }

    /// Allows the one-box to differ by so much on each side.
    pub(super) fn allowing(mut self, allowance: [f64; 2]) -> Self {
        self.allowance = allowance;
        self
    }

    /// How much of a difference on a side is harm, as far as another share of the traffic does not explain
    /// it.
    fn beyond(&self, difference: f64, side: f64) -> f64 {
        difference * side - self.allowance[usize::from(side < 0.0)]
    }

    fn learn(&mut self, fleet: &[HostPast]) {
        let columns = fleet
            .iter()
            .map(|past| past.values.len())
            .max()
            .unwrap_or(0);
        // Blocks end where the past ends.
        let mut end = columns;
        while end >= self.block {
            let start = end - self.block;
            let levels: Vec<f64> = fleet
                .iter()
                .filter_map(|past| {
                    let values = past.values[start..end].iter();
                    let said = values.map(|(value, exposure)| {
                        self.said((f64::from(*value), f64::from(*exposure)))
                    });
                    self.level(said)
                })
                .collect();
            self.learn_block(&levels);
            end = start;
        }
    }

    fn learn_block(&mut self, levels: &[f64]) {
        if levels.len() < 2 {
            return;
        }
        let middle = mean(levels.iter().copied()).unwrap_or(0.0);
        self.squares += levels
            .iter()
            .map(|level| (level - middle).powi(2))
            .sum::<f64>();
        self.comparisons += (levels.len() - 1) as f64;
        self.hosts_max = self.hosts_max.max(levels.len());
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        let everyone = || self.one_box.iter().chain(&self.fleet);
        extent.hosts(everyone().map(|recent| &recent.host))?;
        let counts = [
            self.block,
            self.stride,
            self.since_stride,
            self.hosts_max,
            self.count,
            self.held,
            self.streaks[0],
            self.streaks[1],
        ];
        for count in counts {
            counted("number of buckets", count as u64)?;
        }
        possible(
            "number of values",
            self.since.len() < SINCE_MAX
                && everyone().all(|recent| recent.values.len() <= self.block),
        )
    }

    /// Whether at most of the looks so far nothing could be compared. A one-box with little traffic may
    /// have less to say.
    pub(super) fn is_blind(&self, weight: f64) -> bool {
        let due = (self.count / self.stride) as f64;
        (self.held as f64) < HELD_MIN * due * weight.min(1.0)
    }

    /// Whether harm was likely when the bake ended, and not certain.
    pub(super) fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// On which scale it compares.
    pub(super) fn working(&self) -> Working {
        self.working
    }

    /// What it says now.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What a person should know beside the numbers. Whether hosts that came late were heard for long
    /// enough is asked elsewhere: until then it is undecided.
    pub(super) fn tell_late(&mut self, remark: String) {
        if self.is_unproven {
            self.outcome.remark = Some(format!("{remark}; {UNPROVEN}"));
        }
        if self.outcome.state == CheckState::NoData {
            return;
        }
        self.outcome.remark = Some(remark);
        if self.outcome.state == CheckState::Warming {
            self.outcome.state = CheckState::Undecided;
        }
    }

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) {
        if self.count.is_multiple_of(self.stride) {
            self.adopt(reader, group);
        }
        let take = |recent: &Recent, role: Role| {
            let reading = reader.read(group, recent.host, role);
            let said = reading.map(|reading| self.said((reading.value, reading.exposure)));
            said.unwrap_or(Said::NOTHING)
        };
        let own = self.one_box.iter().map(|recent| take(recent, Role::OneBox));
        let others = self.fleet.iter().map(|recent| take(recent, Role::Fleet));
        let said: Vec<Said> = own.chain(others).collect();
        let everyone = self.one_box.iter_mut().chain(&mut self.fleet);
        for (recent, said) in everyone.zip(said) {
            if recent.values.len() == self.block {
                recent.values.pop_front();
            }
            recent.values.push_back(said);
        }
        self.remember();
        self.count += 1;
        if self.count.is_multiple_of(self.block) {
            let levels: Vec<f64> = self
                .fleet
                .iter()
                .filter_map(|recent| self.latest(recent))
                .collect();
            self.learn_block(&levels);
        }
        if self.count.is_multiple_of(self.stride) {
            self.look(reader);
        }
        if reader.is_last() && self.outcome.state != CheckState::Breach {
            self.settle(reader);
        }
    }

    /// The levels over the latest block, if there is anything to compare.
    fn levels(&self) -> Option<Levels> {
        let levels = |hosts: &[Recent]| -> Vec<(f64, HostId)> {
            let hosts = hosts.iter();
            hosts
                .filter_map(|recent| Some((self.latest(recent)?, recent.host)))
                .collect()
        };
        let middle = |hosts: &[(f64, HostId)]| mean(hosts.iter().map(|(level, _)| *level));
        let (each, fleet) = (levels(&self.one_box), levels(&self.fleet));
        let spread = Spread {
            prior: self.sigma_prior * self.sigma_prior,
            between: self.squares / self.comparisons.max(1.0),
            freedom: self.hosts_max.saturating_sub(1) as f64,
        };
        let own = middle(&each)?;
        Some(Levels {
            own,
            rest: if self.is_share {
                self.rest(&each)
            } else {
                [own; 2]
            },
            fleet: middle(&fleet)?,
            since: self.since()?,
            each,
            fleet_hosts: fleet.len() as f64,
            spread,
        })
    }

    /// The mean of these hosts of the one-box without the value of each that is farthest out on either side.
    fn rest(&self, each: &[(f64, HostId)]) -> [f64; 2] {
        let recents = self.one_box.iter();
        let recents = recents.filter(|recent| each.iter().any(|(_, host)| *host == recent.host));
        let rests: Vec<[f64; 2]> = recents.map(Self::rest_of).collect();
        let middle = |index: usize| mean(rests.iter().map(|rest| rest[index]));
        [0, 1].map(|index| middle(index).unwrap_or(f64::NAN))
    }

    /// How far the one-box must be out on a side, beyond the tolerance.
    fn critical(&self, levels: &Levels) -> f64 {
        let alpha = self.alpha / self.sides.signs().len() as f64;
        student_quantile(alpha, levels.spread.nu()) * levels.error(levels.each.len())
    }

    /// Whether the one-box is out of line on a side. Shares are lumpy: of few requests one that fails is many
    /// points, so that one value is not enough.
    fn is_out(&self, levels: &Levels, side: f64) -> bool {
        self.is_beyond(levels, side, self.critical(levels))
    }

    fn is_beyond(&self, levels: &Levels, side: f64, noise: f64) -> bool {
        self.exceeds(levels, (levels.harm(side), side), self.tolerance + noise)
    }

    /// Whether so much on a side is more than that.
    fn exceeds(&self, levels: &Levels, (harm, side): (f64, f64), least: f64) -> bool {
        let rest = (levels.rest[usize::from(side < 0.0)] - levels.fleet) * side;
        let is_lump = self.is_share && rest <= REST_TOLERANCES * self.tolerance;
        !is_lump && self.beyond(harm * side, side) > least
    }

    /// The host that alone is the reason why it is.
    fn alone(&self, levels: &Levels, side: f64) -> Option<HostId> {
        levels.culprit(side).filter(|_| self.is_out(levels, side))
    }

    fn look(&mut self, reader: &Reader<'_>) {
        let Some(levels) = self.levels() else { return };
        self.held += 1;
        let now = levels.now();
        let critical = self.critical(&levels);
        let margin = margin(&levels);
        for (index, side) in self.sides.signs().iter().enumerate() {
            let is_harm = self.is_out(&levels, *side) && levels.culprit(*side).is_none();
            let streak = &mut self.streaks[index];
            *streak = if is_harm { *streak + 1 } else { 0 };
        }
        let side = (0..self.sides.signs().len()).find(|index| self.streaks[*index] >= PERSIST);
        // How much harm another share of the traffic may hide: it may have taken as much as was added.
        let hidden: f64 = self.allowance.iter().sum();
        let excluded = self.sides.signs().iter().all(|side| {
            (now * side).max(levels.whole(*side) * side) + hidden + margin < self.accepted
        });
        let end = reader.view.bucket.end;
        let span = reader
            .terms
            .resolution
            .times((self.stride * (PERSIST - 1) + self.block) as i64);
        let mut sides = self.sides.signs().iter();
        self.first_breach = side.map(|_| {
            self.first_breach
                .unwrap_or(reader.terms.grace_until.max(end - span))
        });
        let alone = sides.find_map(|side| self.alone(&levels, *side));
        let sides = self.sides.signs().iter();
        let worst = sides.map(|side| self.beyond(levels.harm(*side) * side, *side));
        let worst = worst.fold(f64::NEG_INFINITY, f64::max);
        let place = mean(self.one_box.iter().map(|recent| recent.place)).unwrap_or(0.0);
        let outcome = &mut self.outcome;
        outcome.remark = alone.map(|host| report::alone(reader.view.hosts.name(host)));
        outcome.state = match side {
            Some(_) => CheckState::Breach,
            None if excluded => CheckState::Ok,
            None => CheckState::Undecided,
        };
        outcome.first_breach = self.first_breach;
        outcome.effect = Some(now);
        outcome.interval = Some((now - margin, now + margin));
        outcome.detectable = Some(self.tolerance + hidden + critical);
        outcome.observed = Some(self.working.natural(levels.own + place));
        outcome.expected = Some(self.working.natural(levels.fleet + place));
        outcome.severity = worst / self.tolerance;
    }
}

/// How far the difference may be from what it seems to be, on each side.
fn margin(levels: &Levels) -> f64 {
    student_quantile(BETA, levels.spread.nu()) * levels.error(levels.each.len())
}

/// The fleet's usual level on that scale.
pub(super) fn fleet_level(working: &Working, fleet: &[HostPast]) -> f64 {
    let mut values: Vec<f64> = fleet
        .iter()
        .flat_map(|past| past.values.iter())
        .map(|value| working.of_past(*value))
        .filter(|value| value.is_finite())
        .collect();
    median(&mut values).unwrap_or(0.0)
}
