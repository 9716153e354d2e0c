//! Events (errors, log records) of the one-box against its share of all events.
//!
//! One of several hosts that falls ill by itself moves the whole: a harm fails only what the others
//! show too, at a tail of their own, and what one host alone shows costs the PASS at the end of the
//! bake. Harm that begins late is looked for by evidence that begins late ([`Evidence`]).

mod clipped;
mod evidence;
mod fleet;
mod lasting;
mod rival;
mod round;
mod side;
mod tally;
mod told;

use clipped::Clipped;
use evidence::{Bar, Evidence, WINDOWS};
use fleet::{Fleet, HOSTS_MIN, variation};
pub(super) use round::Count;
use round::Member;
use serde::{Deserialize, Serialize};
use side::{Side, Speakers};
use tally::{Tallies, Tally};

use super::{
    dispersion,
    grid::CAPS_COUNT,
    hosts::SHARED_TAIL,
    late,
    outcome::{Outcome, Scale},
    reading::{HOLD_MAX, HostPast, Reader, Role},
    report,
    terms::Terms,
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, HostId, Unsound,
        state::{counted, possible},
    },
    event::{Span, Timestamp},
};

/// Rates may differ by this much: half as many again, as a factor.
pub(super) const TOLERANCE_DEFAULT: f64 = 0.5;
/// Most sets that are tried without their hosts; beyond that hosts are left out in groups.
const LEAVE_OUT_MAX: usize = 8;
/// Chance that a healthy deployment is withheld because harm looks likely, as a multiple of the chance that it is
/// failed: it costs a look, not a roll-back.
const LIKELY_TIMES: f64 = 5.0;
/// When evidence begins anew, as shares of the bake: harm that begins late would be diluted by the
/// health before.
const LATE: [f64; evidence::LATE_COUNT] = [0.25, 0.5, 0.75];
/// Share of alpha that is kept for the end of the bake: a look whose time is fixed finds what is too
/// rare for evidence that holds at any time.
const SHARE_LAST: f64 = 0.2;
/// The latest minutes must still show it, if they can.
const CONFIRM: Span = Span::from_minutes(5);
/// The usual share of the fleet's rate below which fewer events are no harm: next to nothing was all there was.
const USUAL_LEAST: f64 = 1.0 / 40.0;
/// Times over which bursts are seen in the past.
const BLOCKS: [Span; 2] = [Span::from_minutes(5), Span::from_minutes(20)];
/// Events that the harm must have led one to expect before their absence means that it healed.
const CONFIRM_EVENTS_MIN: f64 = 3.0;

/// The comparison of events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CountsTest {
    alpha: f64,
    tolerance: f64,
    /// Share of an ordinary host's traffic that a one-box host is given.
    weight: f64,
    one_box: Vec<Member>,
    fleet: Vec<Member>,
    epoch: Fleet,
    /// How many buckets the round has that runs, and how many of them are over.
    round: usize,
    round_age: usize,
    sides: Vec<Side>,
    /// Of all hosts of the one-box, and then of each set of them that is left out in turn.
    tallies: Vec<Tallies>,
    half_buckets: usize,
    half_age: usize,
    /// At which counts evidence begins anew, and when it did.
    late: Vec<usize>,
    late_from: Vec<Timestamp>,
    count: usize,
    /// Of how many buckets nothing could be compared.
    unseen: usize,
    first_breach: Option<Timestamp>,
    is_likely: bool,
    /// A host of the fleet that alone is why a harm is no breach.
    rival: Option<HostId>,
    outcome: Outcome,
}

/// What the evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Nothing,
    /// Only this set of one-box hosts, a single one where they are few, is the reason: one host in many
    /// falls ill by chance, and whether this one did nobody can tell.
    OneHost(usize),
    /// Whichever host is left out, in this window.
    Harm(usize),
    /// Now that the bake is over: too little for that, but as much as chance makes of few deployments only.
    Likely(usize),
}

/// What the fleet's past says of chance.
struct Noise {
    /// Between-host coefficient of variation of rates.
    variation: f64,
    /// How many events are worth one that comes alone, by cap.
    units: [f64; CAPS_COUNT],
}

impl CountsTest {
    /// Learns the usual shares from the past of one-box and fleet; hosts without one take part all the same. The
    /// share of the traffic and the sides are those of `terms`, which may differ from the reader's.
    pub(super) fn new(
        reader: &Reader<'_>,
        terms: &Terms,
        group: &Group,
        alpha: f64,
        (one_box, fleet): (&[HostPast], &[HostPast]),
    ) -> Self {
        let hosts =
            |side: &[HostPast]| -> Vec<HostId> { side.iter().map(|past| past.host).collect() };
        let (own_hosts, fleet_hosts) = (hosts(one_box), hosts(fleet));
        let round = round::length(
            reader,
            group,
            own_hosts.iter().copied(),
            fleet_hosts.iter().copied(),
        );
        let counts = |side: &[HostPast]| -> Vec<Vec<Count>> {
            let of_host = |past| round::past(terms, past, round);
            side.iter().map(of_host).collect()
        };
        let (own, others) = (counts(one_box), counts(fleet));
        let noise = Noise {
            variation: variation(&others),
            units: dispersion::units(
                [&own, &others],
                &BLOCKS.map(|block| terms.buckets(block).div_ceil(round)),
            ),
        };
        let at = |side: &[Vec<Count>], index: usize| -> Vec<Count> {
            side.iter().map(|counts| counts[index]).collect()
        };
        let past: Vec<Clipped> = (0..own.first().map_or(0, Vec::len))
            .map(|index| Clipped::new(&at(&own, index), &at(&others, index)))
            .collect();
        let sets = match own.len() {
            0 | 1 => 0,
            hosts => hosts.min(LEAVE_OUT_MAX),
        };
        let sides = terms
            .sides
            .signs()
            .iter()
            .map(|side| {
                let learn =
                    |speakers| Evidence::new(*side, &noise, &past, (speakers, sets), own.len());
                Side {
                    sign: *side,
                    whole: learn(Speakers::All),
                    left_out: (0..sets).map(|set| learn(Speakers::Without(set))).collect(),
                    single: (0..sets).map(|set| learn(Speakers::Only(set))).collect(),
                }
            })
            .collect();
        let horizon = terms.horizon();
        Self {
            alpha,
            epoch: Fleet::new(noise.variation),
            tolerance: terms.tolerance.unwrap_or(TOLERANCE_DEFAULT),
            weight: terms.weight,
            one_box: own_hosts.into_iter().map(Member::new).collect(),
            fleet: fleet_hosts.into_iter().map(Member::new).collect(),
            round,
            round_age: 0,
            sides,
            tallies: vec![Tallies::default(); 1 + sets],
            half_buckets: (terms.buckets(CONFIRM) / 2).max(1),
            half_age: 0,
            late: LATE.map(|share| (share * horizon as f64) as usize).to_vec(),
            late_from: Vec::new(),
            count: 0,
            unseen: 0,
            first_breach: None,
            is_likely: false,
            rival: None,
            outcome: Outcome::warming(Basis::Model, Scale::Times),
        }
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(&hosts(&self.one_box))?;
        extent.hosts(&hosts(&self.fleet))?;
        extent.hosts(self.rival.iter())?;
        let numbers = [
            self.count,
            self.unseen,
            self.round,
            self.round_age,
            self.half_age,
        ];
        for number in numbers {
            counted("number of buckets", number as u64)?;
        }
        possible(
            "share of the traffic",
            self.weight.is_finite() && 0.0 < self.weight,
        )?;
        self.epoch.check()?;
        for side in &self.sides {
            let sets = self.tallies.len().saturating_sub(1);
            let is_whole = side.left_out.len() == sets && side.single.len() == sets;
            possible(
                "number of sets of hosts",
                is_whole && !self.tallies.is_empty(),
            )?;
            let parts = side.left_out.iter().chain(&side.single);
            for evidence in [&side.whole].into_iter().chain(parts) {
                evidence.check()?;
            }
        }
        Ok(())
    }

    /// What it says now.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether less than half of the time could be compared.
    pub(super) fn is_blind(&self) -> bool {
        self.outcome.state == CheckState::Warming || self.count < 2 * self.unseen
    }

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) {
        self.count += 1;
        self.epoch.step();
        let come = late::come(reader, group, &hosts(&self.one_box));
        self.one_box.extend(come.into_iter().map(Member::new));
        for (side, role) in [
            (&mut self.one_box, Role::OneBox),
            (&mut self.fleet, Role::Fleet),
        ] {
            for member in side {
                member.observe(reader, group, (role, self.weight));
            }
        }
        self.round_age += 1;
        let has_exposure = |side: &[Member]| side.iter().any(|of| 0.0 < of.count.exposure);
        let can_compare = has_exposure(&self.one_box) && has_exposure(&self.fleet);
        let is_over = self.round <= self.round_age
            && (can_compare || self.round.max(HOLD_MAX) <= self.round_age);
        if is_over || reader.is_last() {
            self.end_round(reader, group, can_compare);
        } else if self.round <= self.round_age {
            self.judge((reader, group), false);
        }
    }

    /// Compares what was counted in the round, and begins the next one.
    fn end_round(&mut self, reader: &Reader<'_>, group: &Group, can_compare: bool) {
        let mut has_events = false;
        if can_compare {
            has_events = self.compare();
        } else {
            self.unseen += self.round_age;
        }
        self.judge((reader, group), has_events);
        self.half_age += self.round_age;
        if self.half_buckets <= self.half_age {
            self.half_age = 0;
            for tallies in &mut self.tallies {
                tallies.halves = [tallies.halves[1], Tally::default()];
            }
        }
        while let Some(start) = self.late.get(self.late_from.len())
            && *start <= self.count
        {
            self.late_from.push(reader.view.bucket.end);
            for tallies in &mut self.tallies {
                tallies.late.push(Tally::default());
            }
            for side in &mut self.sides {
                side.begin_late();
            }
        }
        for member in self.one_box.iter_mut().chain(&mut self.fleet) {
            member.count = Count::default();
        }
        self.round_age = 0;
        self.adopt(reader, group);
        self.round = round::length(
            reader,
            group,
            self.one_box.iter().map(|member| member.host),
            self.fleet.iter().map(|member| member.host),
        );
    }

    /// Takes the counts of the round into the evidence; says whether there were any events.
    fn compare(&mut self) -> bool {
        let counts = |side: &[Member]| -> Vec<Count> { side.iter().map(|of| of.count).collect() };
        let (own, others) = (counts(&self.one_box), counts(&self.fleet));
        let mut fleet = Tally::default();
        for count in &others {
            fleet.fleet += count.events;
            fleet.fleet_exposure += count.exposure;
        }
        let sets = self.tallies.len() - 1;
        let mut has_events = 0.0 < fleet.fleet;
        for (set, tallies) in self.tallies.iter_mut().enumerate() {
            let speakers = set.checked_sub(1).map_or(Speakers::All, Speakers::Only);
            let mut tally = fleet;
            let speaking = own.iter().enumerate();
            for (_, count) in speaking.filter(|(index, _)| speakers.has(*index, sets)) {
                tally.one_box += count.events;
                tally.one_box_exposure += count.exposure;
            }
            has_events |= 0.0 < tally.one_box;
            if 0.0 < tally.one_box_exposure {
                tallies.add(&tally);
            }
        }
        if has_events {
            let round = Clipped::new(&own, &others);
            for side in &mut self.sides {
                side.observe(&round);
            }
        }
        has_events
    }

    fn judge(&mut self, (reader, group): (&Reader<'_>, &Group), has_events: bool) {
        let alpha = self.epoch.alpha(self.alpha) / self.sides.len() as f64;
        let found: Vec<Found> = self
            .sides
            .iter()
            .map(|side| self.found(side, alpha, reader.is_last()))
            .collect();
        let at = |wanted: fn(&Found) -> bool| {
            let mut sides = self.sides.iter().zip(&found);
            sides.find(|(_, found)| wanted(found))
        };
        let breach = at(|found| matches!(found, Found::Harm(_)));
        let alone = at(|found| matches!(found, Found::OneHost(_))).filter(|_| breach.is_none());
        let likely = at(|found| matches!(found, Found::Likely(_)));
        let likely = likely.filter(|_| breach.is_none() && alone.is_none());
        let shown = breach.or(alone).or(likely).map(|(side, _)| side);
        let Some(side) = shown.or_else(|| self.sides.first()) else {
            return;
        };
        let window = match breach.or(likely) {
            Some((_, Found::Harm(window) | Found::Likely(window))) => *window,
            Some(_) | None => 0,
        };
        self.is_likely = likely.is_some();
        let is_open = reader.is_last() && shown.is_none();
        let rivalled = |side| self.find_rival((reader, group), side, alpha);
        self.rival = is_open
            .then(|| self.sides.iter().find_map(rivalled))
            .flatten();
        let usual = side.whole.usual(window);
        let tallies = &self.tallies[0];
        let since = tallies.window(window).unwrap_or(&tallies.since);
        let (own_rate, fleet_rate) = since.rates();
        let expected = fleet_rate * usual;
        let excluded = self.excluded(has_events);
        let all_excluded =
            excluded.is_some_and(|excluded| excluded <= self.tolerance.ln_1p() + 1e-9);
        let (has_own, has_fleet) = (0.0 < since.one_box_exposure, 0.0 < since.fleet_exposure);
        let state = if breach.is_some() {
            CheckState::Breach
        } else if self.is_likely || self.rival.is_some() || (alone.is_some() && reader.is_last()) {
            CheckState::NoData
        } else if (!has_own || !has_fleet) && self.sees() {
            CheckState::Warming
        } else if all_excluded && alone.is_none() {
            CheckState::Ok
        } else {
            CheckState::Undecided
        };
        self.first_breach = match state {
            CheckState::Breach => self.first_breach.or(Some(reader.view.bucket.start)),
            CheckState::Ok | CheckState::Undecided | CheckState::Warming | CheckState::NoData => {
                None
            }
        };
        let effect = since.effect(usual);
        let late = window.checked_sub(1);
        let from = late.and_then(|late| self.late_from.get(late));
        let told = since.told(from.map(|from| reader.view.bucket.end - *from));
        let remark = alone.map_or_else(String::new, |(_, found)| self.told(reader, found));
        let likely = self.told_doubt(reader);
        let outcome = &mut self.outcome;
        outcome.state = state;
        outcome.observed = has_own.then_some(own_rate);
        outcome.expected = has_fleet.then_some(expected);
        outcome.effect = (expected > 0.0 && own_rate > 0.0).then(|| (own_rate / expected).ln());
        outcome.interval = None;
        outcome.detectable = excluded;
        outcome.severity = effect * side.sign / self.tolerance.ln_1p().max(1e-6);
        outcome.first_breach = self.first_breach;
        outcome.remark = Some(format!("{told}{remark}{likely}"));
    }

    /// What the evidence on a side amounts to.
    fn found(&self, side: &Side, alpha: f64, is_last: bool) -> Found {
        let bar = |alpha: f64| Bar::new(alpha, SHARE_LAST, is_last);
        let shared = Bar::shared(SHARED_TAIL, is_last);
        if let Some(window) = self.harmed_in(&side.whole, &self.tallies[0], side.sign, bar(alpha)) {
            let sets = side.left_out.iter().enumerate();
            let poorest = sets
                .filter(|(_, evidence)| !evidence.clears(shared))
                .min_by(|(_, a), (_, b)| a.log_evidence().total_cmp(&b.log_evidence()));
            return poorest.map_or(Found::Harm(window), |(set, _)| Found::OneHost(set));
        }
        let alpha_each = alpha / side.single.len().max(1) as f64;
        let mut sets = side.single.iter().zip(&self.tallies[1..]);
        let harmed = sets.position(|(one, tallies)| {
            let window = self.harmed_in(one, tallies, side.sign, bar(alpha_each));
            window.is_some()
        });
        let likely = || {
            let bar = bar(LIKELY_TIMES * alpha);
            self.harmed_in(&side.whole, &self.tallies[0], side.sign, bar)
        };
        match harmed {
            Some(set) => Found::OneHost(set),
            None if is_last => likely()
                .or_else(|| self.lasts(side).then_some(0))
                .map_or(Found::Nothing, Found::Likely),
            None => Found::Nothing,
        }
    }

    /// Whether harm was likely when the bake ended, and not certain.
    pub(super) fn is_likely(&self) -> bool {
        self.is_likely
    }

    /// The window in which these hosts have more (or fewer) events than chance allows, and also more than
    /// the tolerance does, and still. What is clipped tells how certain it is, never how much.
    fn harmed_in(
        &self,
        evidence: &Evidence,
        tallies: &Tallies,
        sign: f64,
        bar: Bar,
    ) -> Option<usize> {
        (0..WINDOWS).find(|window| {
            let Some(tally) = tallies.window(*window) else {
                return false;
            };
            let usual = evidence.usual(*window);
            if sign < 0.0 && usual < USUAL_LEAST {
                return false;
            }
            self.tolerance.ln_1p() < tally.effect(usual) * sign
                && evidence.clears_in(bar, *window)
                && self.is_confirmed(tally, &tallies.halves, usual, sign)
        })
    }

    /// Whether the latest minutes still show it, or are too short to tell.
    fn is_confirmed(&self, tally: &Tally, halves: &[Tally; 2], usual: f64, sign: f64) -> bool {
        let mut latest = halves[0];
        latest.add(&halves[1]);
        let (own_rate, fleet_rate) = tally.rates();
        let healthy = latest.one_box_exposure * fleet_rate * usual;
        let harmed = own_rate * latest.one_box_exposure;
        if (harmed - healthy).abs() < CONFIRM_EVENTS_MIN {
            return true;
        }
        let halfway = healthy * (1.0 + 0.5 * sign * self.tolerance.min(1.0));
        (latest.one_box - halfway) * sign > 0.0
    }
}

fn hosts(members: &[Member]) -> Vec<HostId> {
    members.iter().map(|member| member.host).collect()
}
