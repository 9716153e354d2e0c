//! Few hosts with a past: the one-box must stray farther from the fleet than it, and they, ever did.

mod differences;
mod each;
mod hidden;
mod likely;
mod rival;
mod showing;

use differences::excursions;
use each::Each;
use serde::{Deserialize, Serialize};

use super::{
    class::{Class, Measure},
    company::{Company, Stakes},
    follower::{Follower, WINDOWS},
    outcome::{Outcome, Scale},
    pinned::{PINNED_SAMPLES, Pinned},
    reading::{HostPast, Past, Reader, Role, per_exposure},
    relapse::Relapse,
    sample::{Member, matrix, median_of, members, samples, usual_level},
    terms::{Sides, Terms},
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, Unsound,
        flat::Flat,
        state::{counted, possible},
        stats::{mean, quantile},
    },
    event::{Span, Timestamp},
};

/// Levels below this share of the one-box's say nothing of relative changes.
const TWIN_LEVEL_MIN: f64 = 0.05;
/// Share of a difference that must be there too when every host is measured in its own level.
const TWIN_SHARE: f64 = 0.6;
/// Length of a sample: finer buckets are averaged, so that chance finds fewer samples to play with.
const SAMPLE: Span = Span::from_minutes(1);
const DAY: Span = Span::from_hours(24);
/// Bakes that are too short for that are cut into so many samples.
const SHORT_BAKE: Span = Span::from_minutes(20);
const SHORT_BAKE_SAMPLES: usize = 60;
/// Smallest distance that is believed, as a share of the tolerance.
const FLOOR_SHARE: f64 = 0.2;
/// Share of the past in which the load was not higher.
const HIGH_LOAD: f64 = 0.95;
/// Size of the excursions that are counted, in tolerances.
const RELAPSE_TOLERANCES: f64 = 3.0;
/// Samples in a row at which a window must stray.
const PERSIST: usize = 4;
/// What a person should know of a breach that no window shows.
const LEFT: &str = "it hardly ever left one value before";
const CHRONIC: &str = "it comes and goes, farther than ever before";
pub(super) const STILL: &str = "it stands still, which it never does";

/// The comparison of one metric with its own past and a few fleet hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OwnPastTest {
    /// What values are divided by: shares are in shares.
    full: f64,
    /// Whether values are of an exposure: there are none where that does not live.
    has_exposure: bool,
    sides: Sides,
    /// Accepted difference, in the unit of the metric.
    tolerance: f64,
    /// Usual level of the one-box in the same unit.
    level: f64,
    one_box: Vec<Member>,
    fleet: Vec<Member>,
    /// The least value of the past of anyone.
    lowest: f64,
    /// What a healthy one-box may differ by on each side (up, down), see [`Terms::allowance`].
    allowance: [f64; 2],
    /// Whether all hosts have a level to speak of.
    is_comparable: bool,
    /// The fleet's level relative to what is usual: now, and at most in the past.
    load: f64,
    load_max: f64,
    /// Buckets in a sample, and how many of the running one have closed.
    stride: usize,
    closed: usize,
    plain: Company,
    each: Each,
    /// The host that alone is the reason why it strays, and on which side.
    alone: Option<(usize, f64)>,
    /// The host of the fleet that strays as far as the one-box does, and alone is why that is no breach.
    rival: Option<usize>,
    /// Whether harm was likely when the bake ended, and not certain.
    is_likely: bool,
    /// The one-box's differences with each host measured in its own usual level, which must agree:
    /// hosts with unequal levels stray apart when all of them grow. `None` for shares, and where
    /// levels are too unequal or zero.
    twin: Option<Follower>,
    stakes: Stakes,
    /// For each window and side, at how many samples in a row it strayed.
    streaks: Vec<[usize; 2]>,
    pinned: Option<Pinned>,
    flat: Option<Flat>,
    relapse: Option<Relapse>,
    first_breach: Option<Timestamp>,
    outcome: Outcome,
}

/// The values of all hosts in one sample.
fn at(values: &[Vec<f64>], column: usize) -> Vec<f64> {
    values.iter().map(|values| values[column]).collect()
}

/// Buckets in a sample.
fn stride(terms: &Terms) -> usize {
    let bake = terms.bake_until - terms.began_at;
    let stride = if bake < SHORT_BAKE {
        bake.div_ceil(terms.resolution) / SHORT_BAKE_SAMPLES
    } else {
        SAMPLE.div_ceil(terms.resolution)
    };
    stride.max(1)
}

/// Makes differences from their middle as large as they are where only a part of the traffic makes them: what
/// is counted varies by the root of its number.
fn widen(past: &mut [f64], part: f64) {
    let middle = median_of(past);
    for value in past {
        *value = middle + (*value - middle) / part.sqrt();
    }
}

/// What values are divided by.
fn full(class: &Class) -> f64 {
    match class.measure {
        Measure::Share { full } => full,
        Measure::Memory
        | Measure::Held
        | Measure::Latency
        | Measure::Cpu
        | Measure::Count
        | Measure::Dropped
        | Measure::Amount
        | Measure::Other => 1.0,
    }
}

impl OwnPastTest {
    /// Whether the past of a host is too short for anything to exceed it: what counts are samples that hold a
    /// value, however often it is scraped.
    pub(super) fn is_short(terms: &Terms, past: &Past) -> bool {
        let values: Vec<f64> = past.iter().map(|(value, _)| f64::from(*value)).collect();
        let sampled = samples(&values, stride(terms));
        let known = sampled.iter().filter(|value| value.is_finite());
        known.count() < 2 * WINDOWS[0]
    }

    /// Learns from the past of all hosts up to the deployment. Of a one-box whose rates are scaled up from a
    /// `part` of the traffic, at most 1, chance has the more of a hand in them.
    pub(super) fn new(
        (terms, has_exposure, part): (&Terms, bool, f64),
        class: &Class,
        alpha: f64,
        one_box: &[HostPast],
        fleet: &[HostPast],
    ) -> Self {
        let full = full(class);
        let stride = stride(terms);
        let sampled = |hosts: &[HostPast]| -> Vec<Vec<f64>> {
            let values = matrix(hosts, full).into_iter();
            values.map(|values| samples(&values, stride)).collect()
        };
        let (own, others) = (sampled(one_box), sampled(fleet));
        let (own_members, fleet_members) = (members(one_box, &own), members(fleet, &others));
        let level = usual_level(&own_members, &own);
        let relative = terms.tolerance(class, level, class.tolerance());
        let is_share = class.is_share();
        let tolerance = if is_share {
            relative
        } else {
            relative.exp_m1() * level
        };
        let mut everyone = own_members.iter().chain(&fleet_members);
        let is_comparable =
            !is_share && everyone.all(|member| member.usual > TWIN_LEVEL_MIN * level);
        let scale = if is_share {
            Scale::Points
        } else {
            Scale::Relative
        };
        let sides = class.sides(terms.sides);
        let everything = own.iter().chain(&others).flatten();
        let mut test = Self {
            full,
            has_exposure,
            sides,
            tolerance,
            level,
            lowest: everything.copied().fold(f64::INFINITY, f64::min),
            allowance: [0.0; 2],
            one_box: own_members,
            fleet: fleet_members,
            is_comparable,
            load: 1.0,
            load_max: f64::INFINITY,
            stride,
            closed: 0,
            plain: Company::new(&[], &[], (tolerance, 0.0), 1.0),
            each: Each::default(),
            alone: None,
            rival: None,
            is_likely: false,
            twin: None,
            stakes: Stakes {
                planned: terms.buckets(terms.bake_until - terms.began_at) as f64 / stride as f64,
                alpha: alpha / sides.signs().len() as f64,
                judged: 0,
            },
            streaks: Vec::new(),
            pinned: is_share
                .then(|| Pinned::find(own.iter().chain(&others)))
                .flatten(),
            flat: None,
            relapse: None,
            first_breach: None,
            outcome: Outcome::warming(Basis::Model, scale),
        };
        let sample = terms.resolution.times(stride as i64);
        let day = DAY.seconds_f64() / sample.seconds_f64();
        test.learn(&own, &others, (part, day));
        test
    }

    /// Learns how far apart the hosts ever were, where there are so many samples in a `day`.
    fn learn(&mut self, own: &[Vec<f64>], others: &[Vec<f64>], (part, day): (f64, f64)) {
        self.load_max = self.highest_load(others);
        let (mut own_past, mut each_past, other_pasts) = self.pasts(own, others, false);
        for past in each_past.iter_mut().chain([&mut own_past]) {
            widen(past, part);
        }
        let lumps = excursions(own, &own_past, &other_pasts);
        let floor = lumps.max(FLOOR_SHARE * self.tolerance);
        self.each = Each::new(&each_past, floor);
        self.plain = Company::new(&own_past, &other_pasts, (self.tolerance, floor), day);
        // What wanders comes and goes by itself, too.
        let wandered = self.plain.wandered(WINDOWS[0], &self.stakes);
        let least = wandered.max(RELAPSE_TOLERANCES * self.tolerance);
        self.relapse = Relapse::learn(&own_past, &self.plain.own, least);
        self.streaks = vec![[0; 2]; self.plain.own.windows.len()];
        if self.is_comparable {
            let (own_past, ..) = self.pasts(own, others, true);
            self.twin = Some(Follower::new(&own_past, floor));
        }
        let looks = self.stakes.planned * own.len() as f64;
        self.flat = Flat::learn(own, others, self.level, looks, self.stakes.alpha);
    }

    /// The load that the past hardly ever exceeded.
    fn highest_load(&self, others: &[Vec<f64>]) -> f64 {
        let columns = others.iter().map(Vec::len).max().unwrap_or(0);
        let loads = (0..columns).map(|column| self.load_of(&at(others, column)));
        let mut loads: Vec<f64> = loads.filter(|load| load.is_finite()).collect();
        quantile(&mut loads, HIGH_LOAD).unwrap_or(1.0).max(1.0)
    }

    /// The differences of the past: of the one-box, of each of its hosts, and of each fleet host.
    fn pasts(
        &self,
        own: &[Vec<f64>],
        others: &[Vec<f64>],
        is_relative: bool,
    ) -> (Vec<f64>, Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let columns = own.iter().chain(others).map(Vec::len).max().unwrap_or(0);
        let mut own_past = Vec::with_capacity(columns);
        let mut each_past = vec![Vec::with_capacity(columns); own.len()];
        let mut other_pasts = vec![Vec::with_capacity(columns); others.len()];
        for column in 0..columns {
            let differences = self.differences(&at(own, column), &at(others, column), is_relative);
            own_past.push(differences.own);
            for (pasts, values) in [
                (&mut each_past, differences.each),
                (&mut other_pasts, differences.others),
            ] {
                for (past, value) in pasts.iter_mut().zip(values) {
                    past.push(value);
                }
            }
        }
        (own_past, each_past, other_pasts)
    }

    /// Feeds what came between the deployment and the end of the grace; it is not judged.
    pub(super) fn catch_up(&mut self, one_box: &[HostPast], fleet: &[HostPast], divisor: f64) {
        let (own, others) = (matrix(one_box, self.full), matrix(fleet, self.full));
        let columns = own.iter().chain(&others).map(Vec::len).max().unwrap_or(0);
        for column in 0..columns {
            let own: Vec<f64> = own.iter().map(|values| values[column] / divisor).collect();
            let others: Vec<f64> = others.iter().map(|values| values[column]).collect();
            self.take(&own, &others, true);
        }
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(self.one_box.iter().map(|member| &member.host))?;
        extent.hosts(self.fleet.iter().map(|member| &member.host))?;
        counted("number of buckets", self.stakes.judged as u64)?;
        counted("number of buckets", self.closed as u64)?;
        possible("length of a sample", self.closed < self.stride)?;
        possible(
            "number of windows",
            self.streaks.len() == self.plain.own.windows.len(),
        )?;
        for streak in self.streaks.iter().flatten() {
            counted("number of samples", *streak as u64)?;
        }
        self.flat.iter().try_for_each(Flat::check)?;
        let hosts = self.one_box.len();
        let still = self.flat.as_ref().and_then(Flat::alone);
        possible("host", still.unwrap_or(0) < hosts.max(1))?;
        let mut relapse = self.relapse.iter();
        relapse.try_for_each(|relapse| relapse.check(hosts))?;
        self.plain.check()?;
        self.each.check(hosts)?;
        let alone = self.alone.map_or(0, |(host, _)| host);
        possible("host", alone < self.one_box.len().max(1))?;
        possible("host", self.rival.unwrap_or(0) < self.fleet.len().max(1))?;
        self.twin.iter().try_for_each(Follower::check)
    }

    /// Whether one-box and fleet have enough of a past together that anything could exceed.
    pub(super) fn has_past(&self) -> bool {
        !self.plain.own.windows.is_empty()
    }

    /// Whether too few of the planned samples could be compared for any window to stray.
    pub(super) fn is_blind(&self) -> bool {
        let needed = WINDOWS[0] + PERSIST - 1;
        self.stakes.judged < needed && needed as f64 <= self.stakes.planned
    }

    /// What it says now.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) {
        let now = |members: &[Member], role: Role| -> Vec<f64> {
            let read = |member: &Member| {
                let reading = reader.read(group, member.host, role);
                reading.map_or(f64::NAN, |reading| {
                    per_exposure(reading.value, reading.exposure) / self.full
                })
            };
            members.iter().map(read).collect()
        };
        let own = now(&self.one_box, Role::OneBox);
        let fleet = now(&self.fleet, Role::Fleet);
        if let Some(own) = self.take(&own, &fleet, false) {
            self.judge(reader, &own);
        }
        if let Some((host, _)) = self.alone {
            self.describe_alone(reader, host);
        } else if let Some(host) = self.rival_now(reader.is_last()) {
            self.describe_rival(reader, host);
        }
    }

    /// Follows a bucket; gives the one-box's values where a sample ended and there is anything to
    /// compare.
    fn take(&mut self, own: &[f64], fleet: &[f64], is_grace: bool) -> Option<Vec<f64>> {
        for (members, values) in [(&mut self.one_box, own), (&mut self.fleet, fleet)] {
            for (member, value) in members.iter_mut().zip(values) {
                member.add(*value);
            }
        }
        self.closed += 1;
        if self.closed < self.stride {
            return None;
        }
        self.closed = 0;
        let sample = |members: &mut Vec<Member>| -> Vec<f64> {
            members.iter_mut().map(Member::end_sample).collect()
        };
        let (own, fleet) = (sample(&mut self.one_box), sample(&mut self.fleet));
        self.take_sample(&own, &fleet, is_grace).then_some(own)
    }

    /// Follows a sample; says whether there was anything to compare.
    fn take_sample(&mut self, own: &[f64], fleet: &[f64], is_grace: bool) -> bool {
        let plain = self.differences(own, fleet, false);
        if plain.own.is_nan() {
            return false;
        }
        self.load = plain.load;
        self.plain.push(plain.own, &plain.others);
        self.each.push(&plain.each);
        if let Some(mut twin) = self.twin.take() {
            twin.push(self.differences(own, fleet, true).own);
            self.twin = Some(twin);
        }
        if let Some(pinned) = &mut self.pinned {
            pinned.take(own, fleet);
        }
        if !is_grace {
            let harmless = self.harmless(own, &plain.each);
            if let Some(flat) = &mut self.flat {
                flat.take(own, fleet);
                for host in harmless {
                    flat.excuse(host);
                }
            }
            if let Some(relapse) = &mut self.relapse {
                relapse.take(plain.own, &plain.each, &plain.others);
            }
        }
        self.stakes.judged += 1;
        true
    }

    fn judge(&mut self, reader: &Reader<'_>, own: &[f64]) {
        let alone = self.follow_streaks();
        let found = self.sides.signs().iter().find_map(|side| {
            let column = usize::from(*side < 0.0);
            let windows = self.plain.own.windows.iter().zip(&self.streaks);
            let mut strays = windows.filter(|(_, streaks)| streaks[column] >= PERSIST);
            let by_window = strays.next().map(|(window, _)| window.len + PERSIST - 1);
            let is_left = || {
                let least = 0.5 * self.tolerance;
                let pinned = self.pinned.as_ref();
                pinned.is_some_and(|pinned| pinned.is_left(*side, least))
            };
            let is_chronic = || {
                let relapse = self.relapse.as_ref();
                relapse.is_some_and(|relapse| relapse.is_chronic(*side))
            };
            by_window
                .map(|samples| (*side, samples, None))
                .or_else(|| is_left().then_some((*side, PINNED_SAMPLES, Some(LEFT))))
                .or_else(|| is_chronic().then_some((*side, 1, Some(CHRONIC))))
        });
        let found = found.or_else(|| {
            let samples = self.flat.as_ref()?.stands_still()?;
            Some((self.sides.signs()[0], samples, Some(STILL)))
        });
        let end = reader.view.bucket.end;
        self.first_breach = found.map(|(_, samples, _)| {
            let start = end
                - reader
                    .terms
                    .resolution
                    .times((samples * self.stride) as i64);
            self.first_breach.unwrap_or(start)
        });
        self.describe(found.map(|(side, ..)| side), own);
        self.outcome.remark = found.and_then(|(.., remark)| remark).map(str::to_owned);
        if self.outcome.remark.as_deref() == Some(STILL) {
            // How far from the others it stands says nothing of that.
            (self.outcome.effect, self.outcome.interval) = (None, None);
        }
        // A host that says nothing has not healed.
        let stood = self
            .alone
            .filter(|(host, side)| self.each.is_out(*host, *side, self.tolerance));
        self.alone = alone.or(stood).filter(|_| found.is_none());
        self.rival = self.find_rival(false).filter(|_| found.is_none());
    }

    fn strays(&self, index: usize, side: f64) -> bool {
        self.plain.strays(index, side, &self.stakes) && self.agrees(index, side)
    }

    /// Whether the differences in usual levels show what the plain ones do.
    fn agrees(&self, index: usize, side: f64) -> bool {
        let level = |follower: &Follower| follower.windows.get(index)?.level();
        self.twin.as_ref().is_none_or(|twin| {
            let plain = level(&self.plain.own);
            let relative = level(twin).map(|level| level * self.level);
            plain
                .zip(relative)
                .is_some_and(|(plain, relative)| relative * side >= TWIN_SHARE * plain * side)
        })
    }
}
