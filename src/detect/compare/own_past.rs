//! Few hosts with a past: the one-box must stray farther from the fleet than it, and they, ever did.

use serde::{Deserialize, Serialize};

use super::{
    class::{Class, Measure},
    company::{Company, Stakes},
    outcome::{Outcome, Scale},
    reading::{HostPast, Reader, Role, per_exposure},
    terms::{Sides, Terms},
};
use crate::{
    detect::{
        Basis, CheckState, Extent, Group, HostId, Unsound,
        state::counted,
        stats::{mean, median},
    },
    event::Timestamp,
};

/// Share of equal samples above which a metric counts as pinned to a value.
const PINNED_SHARE: f64 = 0.97;
/// Samples of the last five that must leave the pinned value.
const PINNED_SAMPLES: usize = 3;
/// Levels below this share of the one-box's say nothing of relative changes.
const TWIN_LEVEL_MIN: f64 = 0.05;
/// Share of the usual level that is added before a logarithm is taken.
const TWIN_FLOOR: f64 = 0.02;
/// Smallest distance that is believed, as a share of the tolerance.
const FLOOR_SHARE: f64 = 0.2;

/// The comparison of one metric with its own past and a few fleet hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OwnPastTest {
    /// What values are divided by: shares are in shares.
    full: f64,
    sides: Sides,
    /// Accepted difference, in the unit of the metric.
    tolerance: f64,
    /// Usual level of the one-box in the same unit.
    level: f64,
    one_box: Vec<Member>,
    fleet: Vec<Member>,
    plain: Company,
    /// The same in logarithms, which must agree: hosts with unequal levels stray apart when all of
    /// them grow. `None` for shares, and where levels are too unequal or zero.
    twin: Option<Company>,
    stakes: Stakes,
    pinned: Option<Pinned>,
    first_breach: Option<Timestamp>,
    outcome: Outcome,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Member {
    host: HostId,
    usual: f64,
}

/// A metric that hardly ever leaves one value.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pinned {
    value: f64,
    departure_max: f64,
    /// Departures of the last five samples, newest last; NaN where the fleet departed too.
    last: [f64; 5],
}

/// How far hosts are from what is usual for them, relative to each other.
struct Differences {
    own: f64,
    others: Vec<f64>,
}

impl OwnPastTest {
    /// Learns from the past of all hosts up to the deployment.
    pub(super) fn new(
        terms: &Terms,
        class: &Class,
        alpha: f64,
        one_box: &[HostPast],
        fleet: &[HostPast],
    ) -> Self {
        let full = match class.measure {
            Measure::Share { full } => full,
            Measure::Memory | Measure::Latency | Measure::Cpu | Measure::Count | Measure::Other => {
                1.0
            }
        };
        let (own, others) = (matrix(one_box, full), matrix(fleet, full));
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
        let mut test = Self {
            full,
            sides: terms.sides,
            tolerance,
            level,
            one_box: own_members,
            fleet: fleet_members,
            plain: Company::new(&[], &[], tolerance, FLOOR_SHARE * tolerance),
            twin: None,
            stakes: Stakes {
                planned: terms.buckets(terms.bake_until - terms.began_at) as f64,
                alpha: alpha / terms.sides.signs().len() as f64,
                judged: 0,
            },
            pinned: Pinned::find(own.iter().chain(&others)),
            first_breach: None,
            outcome: Outcome::warming(Basis::Model, scale),
        };
        test.plain = test.company(&own, &others, false, tolerance);
        test.twin = is_comparable.then(|| test.company(&own, &others, true, relative));
        test
    }

    fn company(
        &self,
        own: &[Vec<f64>],
        others: &[Vec<f64>],
        is_log: bool,
        tolerance: f64,
    ) -> Company {
        let columns = own.iter().chain(others).map(Vec::len).max().unwrap_or(0);
        let mut own_past = Vec::with_capacity(columns);
        let mut other_pasts = vec![Vec::with_capacity(columns); others.len()];
        let at = |values: &[Vec<f64>], column: usize| -> Vec<f64> {
            values.iter().map(|values| values[column]).collect()
        };
        for column in 0..columns {
            let differences = self.differences(&at(own, column), &at(others, column), is_log);
            own_past.push(differences.own);
            for (past, value) in other_pasts.iter_mut().zip(differences.others) {
                past.push(value);
            }
        }
        Company::new(&own_past, &other_pasts, tolerance, FLOOR_SHARE * tolerance)
    }

    /// Feeds what came between the deployment and the end of the grace; it is not judged.
    pub(super) fn catch_up(&mut self, one_box: &[HostPast], fleet: &[HostPast], divisor: f64) {
        let (own, others) = (matrix(one_box, self.full), matrix(fleet, self.full));
        let columns = own.iter().chain(&others).map(Vec::len).max().unwrap_or(0);
        for column in 0..columns {
            let own: Vec<f64> = own.iter().map(|values| values[column] / divisor).collect();
            let others: Vec<f64> = others.iter().map(|values| values[column]).collect();
            self.take(&own, &others);
        }
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.hosts(self.one_box.iter().map(|member| &member.host))?;
        extent.hosts(self.fleet.iter().map(|member| &member.host))?;
        counted("number of buckets", self.stakes.judged as u64)?;
        self.plain.check()?;
        self.twin.iter().try_for_each(Company::check)
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
        if self.take(&own, &fleet) {
            self.judge(reader, &own);
        }
    }

    /// Follows a bucket; says whether there was anything to compare.
    fn take(&mut self, own: &[f64], fleet: &[f64]) -> bool {
        let plain = self.differences(own, fleet, false);
        if plain.own.is_nan() {
            return false;
        }
        self.plain.push(plain.own, &plain.others);
        let in_logs = self.differences(own, fleet, true);
        if let Some(twin) = &mut self.twin {
            twin.push(in_logs.own, &in_logs.others);
        }
        if let Some(pinned) = &mut self.pinned {
            pinned.take(own, fleet);
        }
        self.stakes.judged += 1;
        true
    }

    fn judge(&mut self, reader: &Reader<'_>, own: &[f64]) {
        let found = self.sides.signs().iter().find_map(|side| {
            let windows = &self.plain.own.windows;
            let by_window = (0..windows.len()).find(|index| self.strays(*index, *side));
            by_window
                .map(|index| (*side, windows[index].len))
                .or_else(|| self.leaves_pin(*side).then_some((*side, PINNED_SAMPLES)))
        });
        let end = reader.view.bucket.end;
        self.first_breach = found.map(|(_, samples)| {
            let start = end - reader.terms.resolution.times(samples as i64);
            self.first_breach.unwrap_or(start)
        });
        self.describe(found.map(|(side, _)| side), own);
    }

    fn strays(&self, index: usize, side: f64) -> bool {
        self.plain.strays(index, side, &self.stakes)
            && self
                .twin
                .as_ref()
                .is_none_or(|twin| twin.strays(index, side, &self.stakes))
    }

    fn leaves_pin(&self, side: f64) -> bool {
        let Some(pinned) = &self.pinned else {
            return false;
        };
        let needed = (2.0 * pinned.departure_max).max(0.5 * self.tolerance);
        let beyond = pinned
            .last
            .iter()
            .filter(|departure| **departure * side > needed);
        self.stakes.judged >= PINNED_SAMPLES && beyond.count() >= PINNED_SAMPLES
    }

    fn describe(&mut self, harm: Option<f64>, own: &[f64]) {
        let company = self.twin.as_ref().unwrap_or(&self.plain);
        let windows = &company.own.windows;
        let mut longest_first = (0..windows.len()).rev();
        let filled = longest_first.find(|index| windows[*index].len <= self.stakes.judged);
        // Without a twin, differences in the unit of the metric are told relative to its level.
        let is_plain = self.twin.is_none() && self.outcome.scale == Scale::Relative;
        let to_scale = |value: f64| {
            if is_plain {
                (value / self.level).max(-0.99).ln_1p()
            } else {
                value
            }
        };
        let latest = company.own.latest().filter(|_| harm.is_some());
        let level = latest.or_else(|| filled.and_then(|index| windows[index].level()));
        let level = level.or_else(|| company.own.latest_mean()).map(to_scale);
        let reach = filled.map(|index| to_scale(company.reach(index, &self.stakes)));
        let tolerance = company.tolerance().min(to_scale(company.tolerance()));
        let observed = mean(own.iter().copied().filter(|value| value.is_finite()));
        let difference = self.plain.own.latest_mean();
        let outcome = &mut self.outcome;
        outcome.first_breach = self.first_breach;
        outcome.effect = level;
        outcome.interval = level
            .zip(reach)
            .map(|(level, reach)| (level - reach, level + reach));
        outcome.detectable = reach.map(|reach| reach.max(tolerance));
        outcome.observed = observed.map(|observed| observed * self.full);
        let expected = observed.zip(difference);
        outcome.expected =
            expected.map(|(observed, difference)| (observed - difference) * self.full);
        let is_excluded = level.zip(reach).is_some_and(|(level, reach)| {
            self.sides
                .signs()
                .iter()
                .all(|side| level * side + reach < tolerance)
        });
        let worst = self
            .sides
            .signs()
            .iter()
            .map(|side| level.unwrap_or(0.0) * side);
        outcome.severity = worst.fold(f64::NEG_INFINITY, f64::max) / tolerance;
        outcome.state = match harm {
            Some(_) => CheckState::Breach,
            None if is_excluded => CheckState::Ok,
            None => CheckState::Undecided,
        };
    }

    fn differences(&self, own: &[f64], fleet: &[f64], is_log: bool) -> Differences {
        let floor = TWIN_FLOOR * self.level;
        let departures = |values: &[f64], members: &[Member]| -> Vec<f64> {
            let members = values.iter().zip(members);
            members
                .map(|(value, member)| {
                    if is_log {
                        ((value.max(0.0) + floor) / (member.usual + floor)).ln()
                    } else {
                        value - member.usual
                    }
                })
                .collect()
        };
        let of_fleet = departures(fleet, &self.fleet);
        let own = departures(own, &self.one_box);
        let own = mean(own.into_iter().filter(|value| value.is_finite())).unwrap_or(f64::NAN);
        let others = (0..of_fleet.len())
            .map(|index| {
                let mut rest = of_fleet.clone();
                let of_this = rest.swap_remove(index);
                if rest.is_empty() {
                    of_this
                } else {
                    of_this - median_of(&rest)
                }
            })
            .collect();
        Differences {
            own: own - median_of(&of_fleet),
            others,
        }
    }
}

impl Pinned {
    fn find<'a>(hosts: impl Iterator<Item = &'a Vec<f64>>) -> Option<Self> {
        let finite = hosts.flatten().copied().filter(|value| value.is_finite());
        let values: Vec<f64> = finite.collect();
        let value = median_of(&values);
        let equal = values.iter().filter(|other| **other == value).count() as f64;
        if values.is_empty() || equal <= PINNED_SHARE * values.len() as f64 {
            return None;
        }
        let departures = values.iter().map(|other| (other - value).abs());
        Some(Self {
            value,
            departure_max: departures.fold(0.0, f64::max),
            last: [f64::NAN; 5],
        })
    }

    fn take(&mut self, own: &[f64], fleet: &[f64]) {
        let Some(own) = mean(own.iter().copied().filter(|value| value.is_finite())) else {
            return;
        };
        let fleet = fleet.iter().filter(|value| value.is_finite());
        let others = fleet.fold(0.0_f64, |worst, value| {
            worst.max((value - self.value).abs())
        });
        let departure = own - self.value;
        self.last.rotate_left(1);
        self.last[4] = if others < 0.5 * departure.abs() {
            departure
        } else {
            f64::NAN
        };
    }
}

fn matrix(hosts: &[HostPast], full: f64) -> Vec<Vec<f64>> {
    let natural = |(value, exposure): &(f32, f32)| {
        per_exposure(f64::from(*value), f64::from(*exposure)) / full
    };
    hosts
        .iter()
        .map(|past| past.values.iter().map(natural).collect())
        .collect()
}

fn members(hosts: &[HostPast], values: &[Vec<f64>]) -> Vec<Member> {
    let hosts = hosts.iter().zip(values);
    hosts
        .map(|(past, values)| Member {
            host: past.host,
            usual: median_of(values),
        })
        .collect()
}

/// The median of the one-box, or where that is zero, the mean size of its values.
fn usual_level(members: &[Member], values: &[Vec<f64>]) -> f64 {
    let level = mean(members.iter().map(|member| member.usual.abs())).unwrap_or(0.0);
    if level > 0.0 {
        return level;
    }
    let finite = values
        .iter()
        .flatten()
        .copied()
        .filter(|value| value.is_finite());
    mean(finite.map(f64::abs)).unwrap_or(0.0).max(1e-9)
}

/// The median of the finite values; NaN without any.
fn median_of(values: &[f64]) -> f64 {
    let mut finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    median(&mut finite).unwrap_or(f64::NAN)
}
