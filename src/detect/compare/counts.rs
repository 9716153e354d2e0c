//! Events (errors, log records) of the one-box against its share of all events.

use serde::{Deserialize, Serialize};

use super::{
    dispersion,
    grid::{CAPS_COUNT, Counted, Grid},
    outcome::{Outcome, Scale},
    reading::{HostPast, Reader, Role},
    terms::Terms,
};
use crate::{
    detect::{Basis, CheckState, Extent, Group, HostId, Unsound, state::counted, stats::mean},
    event::{Span, Timestamp},
};

/// Between-host variation of rates that is always and at most assumed.
const VARIATION: (f64, f64) = (0.25, 1.0);
/// Rates may differ by this much: half as many again, as a factor.
pub(super) const TOLERANCE_DEFAULT: f64 = 0.5;
/// One-box hosts from which no single one may be the only reason.
const LEAVE_OUT_HOSTS_MIN: usize = 3;
/// Most sets that are tried without their hosts; beyond that hosts are left out in groups.
const LEAVE_OUT_MAX: usize = 8;
/// Evidence that excludes a harm: 1 / 5 %.
const EXCLUDED_EVIDENCE: f64 = 20.0;
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
    /// Since the grace.
    since: Tally,
    /// The half of the latest minutes that is over, and the one that runs.
    halves: [Tally; 2],
    half_buckets: usize,
    count: usize,
    first_breach: Option<Timestamp>,
    outcome: Outcome,
}

/// What the evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Nothing,
    /// Without this set of one-box hosts, a single one where they are few, nothing is left: one host in
    /// many falls ill by chance, and whether this one did nobody can tell.
    OneHost(usize),
    /// Whichever host is left out.
    Harm,
}

/// What harm takes: evidence at any time, or at the last look, a number that is too rare by chance.
#[derive(Clone, Copy, Debug)]
struct Bar {
    log_evidence: f64,
    tail: Option<f64>,
}

/// One direction of harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Side {
    /// 1: more is harm; -1: fewer.
    sign: f64,
    whole: Evidence,
    /// Without each of the one-box's hosts, or groups of them.
    left_out: Vec<Evidence>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CountsEvidence")]
struct Evidence {
    grid: Grid,
    weights: [Vec<f64>; CAPS_COUNT],
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
        let groups = match one_box.len() {
            k if k < LEAVE_OUT_HOSTS_MIN => 0,
            k => k.min(LEAVE_OUT_MAX),
        };
        let sides = terms
            .sides
            .signs()
            .iter()
            .map(|side| {
                let learn = |left_out: Option<usize>| {
                    Evidence::new(*side, &noise, one_box, fleet, left_out, width)
                };
                Side {
                    sign: *side,
                    whole: learn(None),
                    left_out: (0..groups).map(|group| learn(Some(group))).collect(),
                }
            })
            .collect();
        Self {
            alpha,
            tolerance,
            one_box: one_box.iter().map(|past| past.host).collect(),
            fleet: fleet.iter().map(|past| past.host).collect(),
            weight: terms.weight,
            has_exposure,
            sides,
            since: Tally::default(),
            halves: [Tally::default(); 2],
            half_buckets: (terms.buckets(CONFIRM) / 2).max(1),
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
            for evidence in [&side.whole].into_iter().chain(&side.left_out) {
                evidence.grid.check(&evidence.weights)?;
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
        for (_, events, exposure) in &own {
            tally.one_box += events;
            tally.one_box_exposure += exposure;
        }
        if tally.one_box_exposure > 0.0 && tally.fleet_exposure > 0.0 {
            self.since.add(&tally);
            self.halves[1].add(&tally);
            for side in &mut self.sides {
                side.observe(&counted, &own, tally.fleet_exposure);
            }
        }
        self.judge(reader, tally.one_box + tally.fleet > 0.0);
        if self.count.is_multiple_of(self.half_buckets) {
            self.halves = [self.halves[1], Tally::default()];
        }
    }

    fn judge(&mut self, reader: &Reader<'_>, has_events: bool) {
        let alpha = self.alpha / self.sides.len() as f64;
        let bar = Bar {
            log_evidence: -(alpha * (1.0 - SHARE_LAST)).ln(),
            tail: reader.is_last().then_some(alpha * SHARE_LAST),
        };
        let found: Vec<Found> = self
            .sides
            .iter()
            .map(|side| self.found(side, bar))
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
        let usual = side.whole.grid.usual(&side.whole.weights);
        let fleet_rate = self.since.fleet / self.since.fleet_exposure.max(f64::MIN_POSITIVE);
        let own_rate = self.since.one_box / self.since.one_box_exposure.max(f64::MIN_POSITIVE);
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
        let state = if breach.is_some() {
            CheckState::Breach
        } else if alone.is_some() && reader.is_last() {
            CheckState::NoData
        } else if self.since.one_box_exposure <= 0.0 || self.since.fleet_exposure <= 0.0 {
            CheckState::Warming
        } else if all_excluded {
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
        let effect = self.effect(usual);
        let remark = alone.map_or_else(String::new, |(_, found)| self.told(reader, found));
        let outcome = &mut self.outcome;
        outcome.state = state;
        outcome.observed = (self.since.one_box_exposure > 0.0).then_some(own_rate);
        outcome.expected = (self.since.fleet_exposure > 0.0).then_some(expected);
        outcome.effect = (expected > 0.0 && own_rate > 0.0).then(|| (own_rate / expected).ln());
        outcome.interval = None;
        outcome.detectable = excluded;
        outcome.severity = effect * side_of_harm / self.tolerance.ln_1p().max(1e-6);
        outcome.first_breach = self.first_breach;
        outcome.remark = Some(format!(
            "{} events on the one-box, {} on the fleet{remark}",
            self.since.one_box, self.since.fleet
        ));
    }

    /// What the evidence on a side amounts to.
    fn found(&self, side: &Side, bar: Bar) -> Found {
        if !self.is_beyond(side) || !side.whole.clears(bar) || !self.is_confirmed(side) {
            return Found::Nothing;
        }
        let sets = side.left_out.iter().enumerate();
        let poorest = sets
            .filter(|(_, evidence)| !evidence.clears(bar))
            .min_by(|(_, a), (_, b)| a.log_evidence().total_cmp(&b.log_evidence()));
        poorest.map_or(Found::Harm, |(set, _)| Found::OneHost(set))
    }

    /// Whose events are the only reason.
    fn told(&self, reader: &Reader<'_>, found: &Found) -> String {
        let Found::OneHost(set) = found else {
            return String::new();
        };
        let sets = self.one_box.len().clamp(1, LEAVE_OUT_MAX);
        let hosts = self.one_box.iter().skip(*set).step_by(sets);
        let names = reader.view.hosts.names(hosts.copied()).join(", ");
        format!("; without {names} there would be too little to say: replace it, and look again")
    }

    /// The ratio of the one-box's rate to what is usual for it, as a logarithm; half an event on
    /// each side keeps it finite.
    fn effect(&self, usual: f64) -> f64 {
        let own = (self.since.one_box + 0.5) / self.since.one_box_exposure.max(f64::MIN_POSITIVE);
        let fleet = (self.since.fleet + 0.5) / self.since.fleet_exposure.max(f64::MIN_POSITIVE);
        (own / (fleet * usual)).ln()
    }

    fn is_beyond(&self, side: &Side) -> bool {
        let usual = side.whole.grid.usual(&side.whole.weights);
        self.effect(usual) * side.sign > self.tolerance.ln_1p()
    }

    /// Whether the latest minutes still show it, or are too short to tell.
    fn is_confirmed(&self, side: &Side) -> bool {
        let mut latest = self.halves[0];
        latest.add(&self.halves[1]);
        let usual = side.whole.grid.usual(&side.whole.weights);
        let fleet_rate = self.since.fleet / self.since.fleet_exposure.max(f64::MIN_POSITIVE);
        let healthy = latest.one_box_exposure * fleet_rate * usual;
        let own_rate = self.since.one_box / self.since.one_box_exposure.max(f64::MIN_POSITIVE);
        let harmed = own_rate * latest.one_box_exposure;
        if (harmed - healthy).abs() < CONFIRM_EVENTS_MIN {
            return true;
        }
        let halfway = healthy * (1.0 + 0.5 * side.sign * self.tolerance.min(1.0));
        (latest.one_box - halfway) * side.sign > 0.0
    }
}

impl Side {
    fn observe(&mut self, fleet: &Counted, own: &[(usize, f64, f64)], fleet_exposure: f64) {
        let sets = self.left_out.len();
        self.whole.observe(fleet, own, fleet_exposure, |_| true);
        for (group, evidence) in self.left_out.iter_mut().enumerate() {
            evidence.observe(fleet, own, fleet_exposure, |index| index % sets != group);
        }
    }

    fn excluded(&self) -> Option<f64> {
        self.whole
            .grid
            .excluded(&self.whole.weights, EXCLUDED_EVIDENCE)
    }
}

impl Evidence {
    fn new(
        side: f64,
        noise: &Noise,
        one_box: &[HostPast],
        fleet: &[HostPast],
        left_out: Option<usize>,
        width: f64,
    ) -> Self {
        let sets = one_box.len().clamp(1, LEAVE_OUT_MAX);
        let kept: Vec<&HostPast> = one_box
            .iter()
            .enumerate()
            .filter(|(index, _)| left_out.is_none_or(|group| index % sets != group))
            .map(|(_, past)| past)
            .collect();
        let mut grid = Grid::new(side, noise.variation, kept.len(), noise.units);
        let columns = kept.iter().map(|past| past.values.len()).max().unwrap_or(0);
        for column in 0..columns {
            let mut counted = Counted::default();
            let (mut own, mut others) = (0.0, 0.0);
            for (hosts, is_one_box) in [(&kept, true), (&fleet.iter().collect(), false)] {
                for past in hosts {
                    let (value, exposure) = past.values[column];
                    if !(value.is_finite() && exposure.is_finite()) {
                        continue;
                    }
                    counted.add((f64::from(value) * width).round(), is_one_box);
                    *(if is_one_box { &mut own } else { &mut others }) += f64::from(exposure);
                }
            }
            if own > 0.0 && others > 0.0 {
                grid.observe(&counted, own / (own + others));
            }
        }
        let weights = grid.begin();
        Self { grid, weights }
    }

    fn observe(
        &mut self,
        fleet: &Counted,
        own: &[(usize, f64, f64)],
        fleet_exposure: f64,
        is_kept: impl Fn(usize) -> bool,
    ) {
        let mut counted = *fleet;
        let mut exposure = 0.0;
        for (index, events, host_exposure) in own {
            if is_kept(*index) {
                counted.add(*events, true);
                exposure += host_exposure;
            }
        }
        if exposure > 0.0 {
            self.grid
                .observe(&counted, exposure / (exposure + fleet_exposure));
        }
    }

    fn log_evidence(&self) -> f64 {
        self.grid.log_evidence(&self.weights)
    }

    fn clears(&self, bar: Bar) -> bool {
        let is_rare = |tail: f64| self.grid.tail(&self.weights) <= tail;
        bar.log_evidence <= self.log_evidence() || bar.tail.is_some_and(is_rare)
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
