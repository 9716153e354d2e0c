//! One metric of a comparison: which test judges it, and what that says.

use serde::{Deserialize, Serialize};

use super::{
    LATE_SHARE,
    class::{Bystander, Class, Measure},
    counts::{CountsTest, TOLERANCE_DEFAULT},
    fresh::FreshTest,
    hosts::{HostsTest, Rules},
    late::LateHosts,
    looks::Looks,
    outcome::Outcome,
    own_past::OwnPastTest,
    presence::{Absence, Presence},
    reading::{HostPast, Past, Reader, past, per_exposure},
    records::RecordsTest,
    scale::Working,
    terms::Terms,
};
use crate::{
    detect::{
        CheckState, Extent, Group, HostId, NoDataCause, Track, Unsound,
        stats::{mean, median},
    },
    event::{Kind, Span},
};

/// Fleet hosts from which on the spread among them is the noise model.
const MANY_HOSTS: usize = 6;
/// The same for values that are often zero: their past says nothing of it.
const MANY_HOSTS_RATIO: usize = 8;
/// Events per host and sample from which on rates are dense.
const DENSE_EVENTS: f64 = 8.0;
/// Events per host and minute from which on they are where few hosts are compared: there the share
/// of all events says less than the past does.
const DENSE_EVENTS_FEW: f64 = 2.0;
/// A rise that reaches the tolerance within this long is a leak.
const LEAK_WITHIN: Span = Span::from_hours(24);
/// Samples that make a past.
const PAST_SAMPLES_MIN: usize = 12;
/// Share of the usual number of samples that makes a past.
const PAST_SHARE_MIN: f64 = 0.5;
/// Most values of the past that are read for one metric.
const PAST_VALUES_MAX: usize = 360_000;
/// Most buckets of the past that are read.
const PAST_BUCKETS_MAX: usize = 2_160;
/// How long missing one-box hosts are waited for after the grace.
const ARRIVAL: Span = Span::from_minutes(5);

/// One metric that is judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Metric {
    /// Its group in the panel.
    pub(super) index: usize,
    /// Set where it informs only.
    pub(super) speaks_of: Option<Bystander>,
    /// Its share of alpha.
    pub(super) alpha: f64,
    class: Class,
    presence: Presence,
    test: Test,
    /// The hosts that it judges, and those that came later.
    judged: Vec<HostId>,
    late: LateHosts,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Test {
    /// The one-box has not reported it yet, or the fleet does not.
    Awaited,
    Hosts(Box<HostsTest>),
    Counts(Box<CountsTest>),
    Records(Box<RecordsTest>),
    OwnPast(Box<OwnPastTest>),
    Fresh(Box<FreshTest>),
}

/// The pasts of the hosts that take part, up to the deployment.
struct Pasts {
    one_box: Vec<HostPast>,
    fleet: Vec<HostPast>,
}

impl Metric {
    /// A metric that appeared in the panel.
    pub(super) fn new(index: usize, group: &Group, terms: &Terms) -> Self {
        let class = Class::of(group);
        Self {
            index,
            speaks_of: class.speaks_of.filter(|_| terms.is_everything),
            alpha: terms.alpha,
            class,
            presence: Presence::default(),
            test: Test::Awaited,
            judged: Vec::new(),
            late: LateHosts::default(),
        }
    }

    /// Refuses a saved metric that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.group(self.index)?;
        self.presence.check(extent)?;
        extent.hosts(&self.judged)?;
        self.late.check(extent)?;
        match &self.test {
            Test::Awaited => Ok(()),
            Test::Hosts(test) => test.check(extent),
            Test::Counts(test) => test.check(extent),
            Test::Records(test) => test.check(extent),
            Test::OwnPast(test) => test.check(extent),
            Test::Fresh(test) => test.check(extent),
        }
    }

    /// What the test says, if there is one; of the hosts that came late, if that is worse.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        let outcome = match &self.test {
            Test::Awaited => return None,
            Test::Hosts(test) => test.outcome(),
            Test::Counts(test) => test.outcome(),
            Test::Records(test) => test.outcome(),
            Test::OwnPast(test) => test.outcome(),
            Test::Fresh(test) => test.outcome(),
        };
        let late = self.late.outcome().filter(|late| match late.state {
            CheckState::Breach => outcome.state != CheckState::Breach,
            CheckState::NoData => !matches!(outcome.state, CheckState::Breach | CheckState::NoData),
            CheckState::Undecided => outcome.state == CheckState::Ok,
            CheckState::Ok | CheckState::Warming => false,
        });
        Some(late.unwrap_or(outcome))
    }

    /// The state of the test, if there is one.
    pub(super) fn state(&self) -> Option<CheckState> {
        self.outcome().map(|outcome| outcome.state)
    }

    /// Whether, now that the bake is over, a gross harm would not have been found for want of data.
    pub(super) fn is_blind(&self, terms: &Terms) -> bool {
        match &self.test {
            Test::Awaited => false,
            Test::Hosts(test) => test.is_blind(),
            Test::Counts(test) => test.is_blind(),
            Test::Records(test) => test.is_blind(),
            Test::OwnPast(test) => test.is_blind(),
            Test::Fresh(test) => test.is_blind(terms.weight),
        }
    }

    /// Why it is in doubt, if it is.
    pub(super) fn doubt(&self) -> NoDataCause {
        let own = match &self.test {
            Test::Awaited => None,
            Test::Hosts(test) => Some((test.outcome(), test.is_rivalled())),
            Test::Counts(test) => Some((test.outcome(), false)),
            Test::Records(test) => Some((test.outcome(), false)),
            Test::OwnPast(test) => Some((test.outcome(), test.is_rivalled())),
            Test::Fresh(test) if test.is_unproven() => return NoDataCause::Unproven,
            Test::Fresh(test) => Some((test.outcome(), false)),
        };
        match own.filter(|(outcome, _)| outcome.state == CheckState::NoData) {
            Some((_, true)) => NoDataCause::Rivalled,
            None if self.late.is_unproven() => NoDataCause::Unproven,
            Some(_) | None => NoDataCause::OneHost,
        }
    }

    /// How bad it is, in tolerances.
    pub(super) fn severity(&self) -> f64 {
        self.outcome().map_or(0.0, |outcome| outcome.severity)
    }

    /// Takes the bucket that has just closed; says what is missing.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) -> Option<Absence> {
        match &mut self.test {
            Test::Awaited => {}
            Test::Hosts(test) => test.observe(reader, group),
            Test::Counts(test) => test.observe(reader, group),
            Test::Records(test) => test.observe(reader, group),
            Test::OwnPast(test) => test.observe(reader, group),
            Test::Fresh(test) => test.observe(reader, group),
        }
        self.observe_late(reader, group);
        self.presence.observe(reader, group)
    }

    fn observe_late(&mut self, reader: &Reader<'_>, group: &Group) {
        if matches!(
            self.test,
            Test::Awaited | Test::Counts(_) | Test::Records(_)
        ) {
            return;
        }
        // Beside the metrics that come late: a part of what was kept for both.
        let alpha = self.alpha * 0.5 * LATE_SHARE / (1.0 - LATE_SHARE);
        let class = &self.class;
        self.late.observe(reader, group, &self.judged, |hosts| {
            let pasts = Pasts::read(reader, group);
            let working = Working::choose(class, &mut pasts.values(), false);
            let (cadence, fleet) = (pasts.cadence(), &pasts.fleet);
            let has_exposure = reader.terms.has_per;
            let allowance = reader.terms.allowance(class, group.kind, has_exposure);
            FreshTest::new(reader.terms, class, working, alpha, hosts, fleet, cadence)
                .allowing(allowance)
        });
    }

    /// Whether it is not judged yet, and the one-box reports it: all of its hosts, or some for long
    /// enough.
    pub(super) fn is_ready(&self, reader: &Reader<'_>, group: &Group) -> bool {
        let terms = reader.terms;
        if !matches!(self.test, Test::Awaited) {
            return false;
        }
        let has_come = |host: &HostId| {
            group
                .track(*host)
                .is_some_and(|track| track.has_data() && terms.began_at < track.heard_last())
        };
        let come = reader
            .view
            .one_box
            .iter()
            .filter(|host| has_come(host))
            .count();
        let is_late = terms.grace_until + ARRIVAL < reader.view.bucket.end;
        let has_fleet = reader
            .view
            .fleet
            .iter()
            .any(|host| group.track(*host).is_some_and(Track::has_data));
        has_fleet && come > 0 && (come == reader.view.one_box.len() || is_late)
    }

    /// Reads the past, and chooses the test that judges from now on.
    pub(super) fn begin(&mut self, reader: &Reader<'_>, group: &Group) {
        let terms = reader.terms;
        let pasts = Pasts::read(reader, group);
        self.judged = reader.view.one_box.to_vec();
        let has_exposure = terms.has_per;
        if !has_exposure {
            // A host with requests lives, and may have no error left.
            self.presence.learn(&self.class, &pasts.fleet);
        }
        let is_counted = group.kind == Kind::Counter && !self.class.is_share();
        let is_events = terms.is_log || (is_counted && !self.class.is_amount());
        let dense = if pasts.fleet.len() < MANY_HOSTS {
            DENSE_EVENTS_FEW * terms.resolution.seconds_f64() / 60.0
        } else {
            DENSE_EVENTS / pasts.cadence() as f64
        };
        // A one-box with little traffic has few where the fleet has many.
        if is_events && pasts.events(terms) * terms.weight.min(1.0) < dense {
            let pasts = (&pasts.one_box[..], &pasts.fleet[..]);
            let may_differ = terms.is_log && !has_exposure;
            let records = may_differ.then(|| RecordsTest::new(reader, group, self.alpha, pasts));
            self.test = records.flatten().map_or_else(
                || {
                    let test = CountsTest::new(reader, terms, group, self.alpha, pasts);
                    Test::Counts(Box::new(test))
                },
                |test| Test::Records(Box::new(test)),
            );
            return;
        }
        let mut values = pasts.values();
        values.extend(reader.view.fleet.iter().filter_map(|host| {
            let cell = group.track(*host)?.cell(reader.view.bucket)?;
            Some(per_exposure(cell.value, cell.exposure.unwrap_or(1.0)))
        }));
        // Of little traffic single values tell less than their sum.
        let is_thinned = terms.divisor(group.kind, has_exposure) < 1.0;
        let working = Working::choose(&self.class, &mut values, has_exposure || is_thinned);
        let level = working.of_value(median(&mut values).unwrap_or(0.0));
        let events = (is_events, has_exposure);
        self.test = self.levels(reader, group, &pasts, (working, level), events);
    }

    /// Chooses among the tests of levels, given the working scale and the fleet's usual level on it.
    fn levels(
        &self,
        reader: &Reader<'_>,
        group: &Group,
        pasts: &Pasts,
        (working, level): (Working, f64),
        (is_events, has_exposure): (bool, bool),
    ) -> Test {
        let (terms, class, alpha) = (reader.terms, &self.class, self.alpha);
        let allowance = terms.allowance(class, group.kind, has_exposure);
        let divisor = terms.divisor(group.kind, has_exposure);
        let part = divisor.min(1.0);
        let usual = pasts.usual_samples();
        let with_past = |hosts: &[HostPast]| -> Vec<HostPast> {
            let known = hosts.iter().filter(|past| has_past(&past.values, usual));
            known.cloned().collect()
        };
        let (one_box, fleet) = (with_past(&pasts.one_box), with_past(&pasts.fleet));
        let many = if working.is_ratio() {
            MANY_HOSTS_RATIO
        } else {
            MANY_HOSTS
        };
        let is_few = fleet.len() < many;
        // What cannot be exceeded proves nothing: then hosts are as good as never seen before.
        let is_short = |past: &HostPast| OwnPastTest::is_short(terms, &past.values);
        let is_fresh = one_box.len() < pasts.one_box.len()
            || fleet.is_empty()
            || (is_few && one_box.iter().any(is_short));
        let own_past = (is_few && !is_fresh)
            .then(|| {
                let terms = (terms, has_exposure, part);
                OwnPastTest::new(terms, class, alpha, &one_box, &fleet).allowing(allowance)
            })
            .filter(OwnPastTest::has_past);
        if is_fresh || (is_few && own_past.is_none()) {
            let hosts: Vec<HostId> = pasts.one_box.iter().map(|past| past.host).collect();
            let (cadence, fleet) = (pasts.cadence(), &pasts.fleet);
            let test = FreshTest::new(terms, class, working, alpha, &hosts, fleet, cadence);
            return Test::Fresh(Box::new(test.allowing(allowance)));
        }
        if let Some(mut test) = own_past {
            let [one_box, fleet] = [&one_box, &fleet].map(|hosts| since(reader, group, hosts));
            test.catch_up(&one_box, &fleet, divisor);
            return Test::OwnPast(Box::new(test));
        }
        let is_rate = is_events && has_exposure;
        let usual = if is_rate {
            TOLERANCE_DEFAULT.ln_1p()
        } else {
            class.tolerance()
        };
        let tolerance = terms.tolerance(class, level, usual);
        let sides = class.sides(terms.sides);
        let looks = Looks::new(terms, alpha / sides.signs().len() as f64);
        let rules = Rules {
            working,
            tolerance,
            least: least(class, terms, tolerance, is_rate),
            sigma_min: class.sigma_min(),
            sides,
            allowance,
            part,
            events_per_rate: (is_events && working.is_ratio())
                .then(|| terms.resolution.seconds_f64()),
            has_noise: class.measure != Measure::Memory,
            rise_per_bucket: if class.is_stock() {
                1.0 / terms.buckets(LEAK_WITHIN) as f64
            } else {
                1.0
            },
        };
        Test::Hosts(Box::new(HostsTest::new(rules, one_box, fleet, looks)))
    }
}

/// What hosts said between the deployment and the bucket of the view.
fn since(reader: &Reader<'_>, group: &Group, hosts: &[HostPast]) -> Vec<HostPast> {
    let (terms, to) = (reader.terms, reader.view.bucket.start);
    let count = (to - terms.began_at).div_ceil(terms.resolution);
    let read = |known: &HostPast| HostPast {
        host: known.host,
        values: past(terms, group.track(known.host), to, count),
    };
    hosts.iter().map(read).collect()
}

/// The smallest difference that is harm: what the configuration accepts, or by default the class.
fn least(class: &Class, terms: &Terms, tolerance: f64, is_rate: bool) -> f64 {
    if terms.tolerance.is_none() && !is_rate {
        class.least()
    } else {
        tolerance
    }
}

/// How many buckets of the past are read of each of so many hosts.
pub(super) fn past_buckets(hosts: usize) -> usize {
    (PAST_VALUES_MAX / hosts.max(1)).clamp(60, PAST_BUCKETS_MAX)
}

impl Pasts {
    fn read(reader: &Reader<'_>, group: &Group) -> Self {
        let view = reader.view;
        let hosts = view.one_box.len() + view.fleet.len();
        let count = past_buckets(hosts);
        let read = |hosts: &[HostId]| -> Vec<HostPast> {
            hosts
                .iter()
                .map(|host| HostPast {
                    host: *host,
                    values: past(
                        reader.terms,
                        group.track(*host),
                        reader.terms.past_until,
                        count,
                    ),
                })
                .collect()
        };
        let mut pasts = Self {
            one_box: read(view.one_box),
            fleet: read(view.fleet),
        };
        // Columns before the first value of anyone tell nothing.
        let all = || pasts.one_box.iter().chain(&pasts.fleet);
        let empty = all()
            .map(|past| {
                past.values
                    .iter()
                    .take_while(|(value, _)| value.is_nan())
                    .count()
            })
            .min()
            .unwrap_or(0);
        for past in pasts.one_box.iter_mut().chain(&mut pasts.fleet) {
            past.values.drain(..empty);
        }
        pasts
    }

    /// Events per fleet host and bucket, as rates tell.
    fn events(&self, terms: &Terms) -> f64 {
        let width = terms.resolution.seconds_f64();
        let values = self.fleet.iter().flat_map(|past| past.values.iter());
        let rates = values
            .map(|(value, _)| f64::from(*value))
            .filter(|value| value.is_finite());
        mean(rates).unwrap_or(0.0) * width
    }

    /// All values of the fleet, for one unit of exposure each; thinned.
    fn values(&self) -> Vec<f64> {
        let whole: usize = self.fleet.iter().map(|past| past.values.len()).sum();
        self.fleet
            .iter()
            .flat_map(|past| past.values.iter())
            .step_by((whole / 20_000).max(1))
            .map(|(value, exposure)| per_exposure(f64::from(*value), f64::from(*exposure)))
            .filter(|value| value.is_finite())
            .collect()
    }

    /// The usual number of samples of a fleet host.
    fn usual_samples(&self) -> usize {
        let mut counts: Vec<f64> = self
            .fleet
            .iter()
            .map(|past| samples(&past.values) as f64)
            .collect();
        median(&mut counts).unwrap_or(0.0) as usize
    }

    /// Buckets between two samples.
    fn cadence(&self) -> usize {
        let cadences = self.fleet.iter().filter_map(|past| {
            let first = past
                .values
                .iter()
                .position(|(value, _)| value.is_finite())?;
            let last = past
                .values
                .iter()
                .rposition(|(value, _)| value.is_finite())?;
            (last - first).checked_div(samples(&past.values).checked_sub(1)?)
        });
        cadences.max().unwrap_or(1).max(1)
    }
}

fn samples(values: &Past) -> usize {
    values.iter().filter(|(value, _)| value.is_finite()).count()
}

fn has_past(values: &Past, usual: usize) -> bool {
    let samples = samples(values);
    samples >= PAST_SAMPLES_MIN && samples as f64 >= PAST_SHARE_MIN * usual as f64
}
