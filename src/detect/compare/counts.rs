//! Events (errors, log records) of the one-box against its share of all events.
//!
//! One of several hosts that falls ill by itself moves the whole: a harm fails only what the others
//! show too, at a tail of their own, and what one host alone shows costs the PASS at the end of the
//! bake. Harm that begins late is looked for by evidence that begins late ([`Evidence`]).

mod evidence;

use evidence::{Bar, Evidence};
use serde::{Deserialize, Serialize};

use super::{
    dispersion,
    grid::{CAPS_COUNT, Counted},
    hosts::SHARED_TAIL,
    late,
    outcome::{Outcome, Scale},
    reading::{HostPast, Reader, Role},
    report,
    terms::Terms,
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, HostId, Unsound,
        state::{counted, possible},
        stats::mean,
        wording::host_list,
    },
    event::{Span, Timestamp},
};

/// Between-host variation of rates that is always and at most assumed.
const VARIATION: (f64, f64) = (0.25, 1.0);
/// Rates may differ by this much: half as many again, as a factor.
pub(super) const TOLERANCE_DEFAULT: f64 = 0.5;
/// Most sets that are tried without their hosts; beyond that hosts are left out in groups.
const LEAVE_OUT_MAX: usize = 8;
/// Evidence that excludes a harm: 1 / 5 %.
const EXCLUDED_EVIDENCE: f64 = 20.0;
/// When evidence begins anew, as shares of the bake: harm that begins late would be diluted by the
/// health before.
const LATE: [f64; evidence::LATE_COUNT] = [0.25, 0.5, 0.75];
/// Share of alpha that is kept for the end of the bake: a look whose time is fixed finds what is too
/// rare for evidence that holds at any time.
const SHARE_LAST: f64 = 0.2;
/// The latest minutes must still show it, if they can.
const CONFIRM: Span = Span::from_minutes(5);
/// Time over which bursts are seen in the past.
const BLOCK: Span = Span::from_minutes(5);
/// Events that the harm must have led one to expect before their absence means that it healed.
const CONFIRM_EVENTS_MIN: f64 = 3.0;

/// The comparison of events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CountsTest {
    alpha: f64,
    tolerance: f64,
    one_box: Vec<HostId>,
    fleet: Vec<HostId>,
    weight: f64,
    has_exposure: bool,
    sides: Vec<Side>,
    /// Of all hosts of the one-box, and then of each set of them that is left out in turn.
    tallies: Vec<Tallies>,
    half_buckets: usize,
    /// At which counts evidence begins anew.
    late: Vec<usize>,
    count: usize,
    first_breach: Option<Timestamp>,
    outcome: Outcome,
}

/// What the evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Nothing,
    /// Only this set of one-box hosts, a single one where they are few, is the reason: one host in many
    /// falls ill by chance, and whether this one did nobody can tell.
    OneHost(usize),
    /// Whichever host is left out.
    Harm,
}

/// One direction of harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Side {
    /// 1: more is harm; -1: fewer.
    sign: f64,
    whole: Evidence,
    /// Without each of the one-box's hosts, or groups of them.
    left_out: Vec<Evidence>,
    /// Of each of them alone.
    single: Vec<Evidence>,
}

/// Which hosts of the one-box speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speakers {
    All,
    Without(usize),
    Only(usize),
}

impl Speakers {
    /// Whether the host with this index is one of them, where there are so many sets.
    fn has(self, index: usize, sets: usize) -> bool {
        match self {
            Self::All => true,
            Self::Without(set) => index % sets.max(1) != set,
            Self::Only(set) => index % sets.max(1) == set,
        }
    }
}

/// What the fleet's past says of chance.
struct Noise {
    /// Between-host coefficient of variation of rates.
    variation: f64,
    /// How many events are worth one that comes alone, by cap.
    units: [f64; CAPS_COUNT],
}

/// Events and exposure.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Tally {
    one_box: f64,
    one_box_exposure: f64,
    fleet: f64,
    fleet_exposure: f64,
}

/// Events of some hosts of the one-box, beside those of the fleet.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Tallies {
    /// Since the grace.
    since: Tally,
    /// The half of the latest minutes that is over, and the one that runs.
    halves: [Tally; 2],
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.one_box += other.one_box;
        self.one_box_exposure += other.one_box_exposure;
        self.fleet += other.fleet;
        self.fleet_exposure += other.fleet_exposure;
    }
}

impl CountsTest {
    /// Learns the usual shares from the past; hosts without one take part all the same.
    pub(super) fn new(
        terms: &Terms,
        alpha: f64,
        has_exposure: bool,
        one_box: &[HostPast],
        fleet: &[HostPast],
    ) -> Self {
        let tolerance = terms.tolerance.unwrap_or(TOLERANCE_DEFAULT);
        let width = terms.resolution.seconds_f64();
        let noise = Noise {
            variation: variation(fleet, has_exposure, width),
            units: dispersion::units(fleet, has_exposure, width, terms.buckets(BLOCK)),
        };
        let sets = match one_box.len() {
            0 | 1 => 0,
            hosts => hosts.min(LEAVE_OUT_MAX),
        };
        let sides = terms
            .sides
            .signs()
            .iter()
            .map(|side| {
                let learn =
                    |speakers| Evidence::new(*side, &noise, one_box, fleet, speakers, width);
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
            tolerance,
            one_box: one_box.iter().map(|past| past.host).collect(),
            fleet: fleet.iter().map(|past| past.host).collect(),
            weight: terms.weight,
            has_exposure,
            sides,
            tallies: vec![Tallies::default(); 1 + sets],
            half_buckets: (terms.buckets(CONFIRM) / 2).max(1),
            late: LATE
                .iter()
                .map(|share| (share * horizon as f64) as usize)
                .collect(),
            count: 0,
            first_breach: None,
            outcome: Outcome::warming(Basis::Model, Scale::Times),
        }
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(&self.one_box)?;
        extent.hosts(&self.fleet)?;
        counted("number of buckets", self.count as u64)?;
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

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) {
        self.count += 1;
        let seconds = reader.terms.resolution.seconds_f64();
        let come = late::come(reader, group, &self.one_box);
        self.one_box.extend(come);
        let own: Vec<(usize, f64, f64)> = self
            .one_box
            .iter()
            .enumerate()
            .filter_map(|(index, host)| {
                let reading = reader.read(group, *host, Role::OneBox)?;
                let exposure = if self.has_exposure {
                    reading.exposure * seconds
                } else {
                    self.weight * seconds
                };
                Some((index, reading.events, exposure))
            })
            .collect();
        let mut counted = Counted::default();
        let mut tally = Tally::default();
        for host in &self.fleet {
            if let Some(reading) = reader.read(group, *host, Role::Fleet) {
                counted.add(reading.events, false);
                tally.fleet += reading.events;
                tally.fleet_exposure += reading.exposure * seconds;
            }
        }
        let is_late = self.late.contains(&(self.count - 1));
        for side in self.sides.iter_mut().filter(|_| is_late) {
            side.begin_late();
        }
        let sets = self.tallies.len() - 1;
        let mut of_all = tally;
        for (set, tallies) in self.tallies.iter_mut().enumerate() {
            let speakers = set.checked_sub(1).map_or(Speakers::All, Speakers::Only);
            let mut tally = tally;
            let own = own.iter().filter(|(index, ..)| speakers.has(*index, sets));
            for (_, events, exposure) in own {
                tally.one_box += events;
                tally.one_box_exposure += exposure;
            }
            if tally.one_box_exposure > 0.0 && tally.fleet_exposure > 0.0 {
                tallies.since.add(&tally);
                tallies.halves[1].add(&tally);
            }
            if speakers == Speakers::All {
                of_all = tally;
            }
        }
        if of_all.one_box_exposure > 0.0 && of_all.fleet_exposure > 0.0 {
            for side in &mut self.sides {
                side.observe(&counted, &own, of_all.fleet_exposure);
            }
        }
        self.judge(reader, group, of_all.one_box + of_all.fleet > 0.0);
        if self.count.is_multiple_of(self.half_buckets) {
            for tallies in &mut self.tallies {
                tallies.halves = [tallies.halves[1], Tally::default()];
            }
        }
    }

    fn judge(&mut self, reader: &Reader<'_>, group: &Group, has_events: bool) {
        let alpha = self.alpha / self.sides.len() as f64;
        let found: Vec<Found> = self
            .sides
            .iter()
            .map(|side| self.found(side, alpha, reader.is_last()))
            .collect();
        let at = |wanted: fn(&Found) -> bool| {
            let mut sides = self.sides.iter().zip(&found);
            sides.find(|(_, found)| wanted(found))
        };
        let breach = at(|found| *found == Found::Harm).map(|(side, _)| side);
        let alone = at(|found| matches!(found, Found::OneHost(_))).filter(|_| breach.is_none());
        let side = breach
            .or(alone.map(|(side, _)| side))
            .or_else(|| self.sides.first());
        let Some(side) = side else { return };
        let usual = side.whole.usual();
        let since = &self.tallies[0].since;
        let (own_rate, fleet_rate) = since.rates();
        let expected = fleet_rate * usual;
        // The smallest harm that is excluded on every side; without events it stays what it was.
        let excluded = if has_events {
            self.sides.iter().try_fold(0.0_f64, |worst, side| {
                Some(worst.max(side.excluded()?.ln().abs()))
            })
        } else {
            self.outcome.detectable
        };
        let all_excluded =
            excluded.is_some_and(|excluded| excluded <= self.tolerance.ln_1p() + 1e-9);
        let side_of_harm = side.sign;
        let (has_own, has_fleet) = (0.0 < since.one_box_exposure, 0.0 < since.fleet_exposure);
        let state = if breach.is_some() {
            CheckState::Breach
        } else if alone.is_some() && reader.is_last() {
            CheckState::NoData
        } else if !has_own || !has_fleet {
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
        let told = format!(
            "{} events on the one-box, {} on the fleet",
            since.one_box, since.fleet
        );
        let remark = alone.map_or_else(String::new, |(_, found)| self.told(reader, found));
        // Exposures are summed up as if samples came in every bucket. That is the same for all hosts, and
        // judges as well, but is not what a person calls a rate.
        let hosts = self.one_box.iter().chain(&self.fleet);
        let stretch = reader.stretch(group, hosts);
        let outcome = &mut self.outcome;
        outcome.state = state;
        outcome.observed = has_own.then_some(own_rate / stretch);
        outcome.expected = has_fleet.then_some(expected / stretch);
        outcome.effect = (expected > 0.0 && own_rate > 0.0).then(|| (own_rate / expected).ln());
        outcome.interval = None;
        outcome.detectable = excluded;
        outcome.severity = effect * side_of_harm / self.tolerance.ln_1p().max(1e-6);
        outcome.first_breach = self.first_breach;
        outcome.remark = Some(format!("{told}{remark}"));
    }

    /// What the evidence on a side amounts to.
    fn found(&self, side: &Side, alpha: f64, is_last: bool) -> Found {
        let bar = |alpha: f64| Bar::new(alpha, SHARE_LAST, is_last);
        let shared = Bar::shared(SHARED_TAIL, is_last);
        if self.is_harmed(&side.whole, &self.tallies[0], side.sign, bar(alpha)) {
            let sets = side.left_out.iter().enumerate();
            let poorest = sets
                .filter(|(_, evidence)| !evidence.clears(shared))
                .min_by(|(_, a), (_, b)| a.log_evidence().total_cmp(&b.log_evidence()));
            return poorest.map_or(Found::Harm, |(set, _)| Found::OneHost(set));
        }
        let alpha = alpha / side.single.len().max(1) as f64;
        let mut sets = side.single.iter().zip(&self.tallies[1..]);
        let harmed =
            sets.position(|(one, tallies)| self.is_harmed(one, tallies, side.sign, bar(alpha)));
        harmed.map_or(Found::Nothing, Found::OneHost)
    }

    /// Whether these hosts have more (or fewer) events than chance and the tolerance allow, and still.
    fn is_harmed(&self, evidence: &Evidence, tallies: &Tallies, sign: f64, bar: Bar) -> bool {
        let tolerance = self.tolerance.ln_1p();
        let usual = evidence.usual();
        let is_beyond = tallies.since.effect(usual) * sign > tolerance
            || evidence.late_harm().is_some_and(|harm| harm > tolerance);
        is_beyond && evidence.clears(bar) && self.is_confirmed(tallies, usual, sign)
    }

    /// Whose events are the only reason.
    fn told(&self, reader: &Reader<'_>, found: &Found) -> String {
        let Found::OneHost(set) = found else {
            return String::new();
        };
        let sets = self.one_box.len().clamp(1, LEAVE_OUT_MAX);
        let hosts = self.one_box.iter().skip(*set).step_by(sets);
        let names = host_list(&reader.view.hosts.names(hosts.copied()));
        format!("; {}", report::alone(&names))
    }

    /// Whether the latest minutes still show it, or are too short to tell.
    fn is_confirmed(&self, tallies: &Tallies, usual: f64, sign: f64) -> bool {
        let mut latest = tallies.halves[0];
        latest.add(&tallies.halves[1]);
        let (own_rate, fleet_rate) = tallies.since.rates();
        let healthy = latest.one_box_exposure * fleet_rate * usual;
        let harmed = own_rate * latest.one_box_exposure;
        if (harmed - healthy).abs() < CONFIRM_EVENTS_MIN {
            return true;
        }
        let halfway = healthy * (1.0 + 0.5 * sign * self.tolerance.min(1.0));
        (latest.one_box - halfway) * sign > 0.0
    }
}

impl Tally {
    /// Events by exposure: of the one-box, and of the fleet.
    fn rates(&self) -> (f64, f64) {
        (
            self.one_box / self.one_box_exposure.max(f64::MIN_POSITIVE),
            self.fleet / self.fleet_exposure.max(f64::MIN_POSITIVE),
        )
    }

    /// The ratio of the one-box's rate to what is usual for it, as a logarithm; half an event on
    /// each side keeps it finite.
    fn effect(&self, usual: f64) -> f64 {
        let own = (self.one_box + 0.5) / self.one_box_exposure.max(f64::MIN_POSITIVE);
        let fleet = (self.fleet + 0.5) / self.fleet_exposure.max(f64::MIN_POSITIVE);
        (own / (fleet * usual)).ln()
    }
}

impl Side {
    /// From here on evidence is gathered anew, too.
    fn begin_late(&mut self) {
        let parts = self.left_out.iter_mut().chain(&mut self.single);
        for evidence in [&mut self.whole].into_iter().chain(parts) {
            evidence.begin_late();
        }
    }

    fn observe(&mut self, fleet: &Counted, own: &[(usize, f64, f64)], fleet_exposure: f64) {
        let sets = self.left_out.len();
        let feed = |evidence: &mut Evidence, speakers: Speakers| {
            evidence.observe(fleet, own, fleet_exposure, |index| {
                speakers.has(index, sets)
            });
        };
        feed(&mut self.whole, Speakers::All);
        for set in 0..sets {
            feed(&mut self.left_out[set], Speakers::Without(set));
            feed(&mut self.single[set], Speakers::Only(set));
        }
    }

    fn excluded(&self) -> Option<f64> {
        self.whole.excluded(EXCLUDED_EVIDENCE)
    }
}

/// The coefficient of variation of the hosts' rates beyond what chance alone makes.
fn variation(fleet: &[HostPast], has_exposure: bool, width: f64) -> f64 {
    let rates: Vec<(f64, f64)> = fleet
        .iter()
        .map(|past| {
            let usable = past
                .values
                .iter()
                .filter(|(value, exposure)| value.is_finite() && exposure.is_finite());
            usable.fold((0.0, 0.0), |(events, whole), (value, exposure)| {
                let exposure = if has_exposure {
                    f64::from(*exposure)
                } else {
                    1.0
                };
                (events + f64::from(*value) * width, whole + exposure * width)
            })
        })
        .filter(|(_, exposure)| *exposure > 0.0)
        .collect();
    let events: f64 = rates.iter().map(|(events, _)| events).sum();
    let exposure: f64 = rates.iter().map(|(_, exposure)| exposure).sum();
    if rates.len() < 3 || events <= 0.0 {
        return VARIATION.1;
    }
    let rate = events / exposure;
    let squares = rates.iter().map(|(events, exposure)| {
        let expected = rate * exposure;
        let excess = (events - expected).powi(2) - expected;
        excess / (expected * expected)
    });
    let squared = mean(squares).unwrap_or(0.0) * rates.len() as f64 / (rates.len() - 1) as f64;
    squared.max(0.0).sqrt().clamp(VARIATION.0, VARIATION.1)
}
