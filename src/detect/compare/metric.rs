//! One metric of a comparison: which test judges it, and what that says.

mod known;
mod levels;
mod within;

use serde::{Deserialize, Serialize};

use super::{
    LATE_ALPHA,
    class::{Bystander, Class},
    counts::CountsTest,
    fresh::FreshTest,
    hosts::HostsTest,
    late::LateHosts,
    onset::Onset,
    outcome::Outcome,
    own_past::OwnPastTest,
    pasts::{self, Pasts},
    presence::{Absence, Presence},
    reading::{HostPast, Reader, per_exposure},
    records::RecordsTest,
    reference::Reference,
    scale::Working,
    terms::Terms,
};
use crate::{
    detect::{
        CheckState, Extent, Group, HostId, NoDataCause, Track, Unsound, View,
        stats::{mean, median},
    },
    event::{Kind, Span},
};
use within::{OVER_SHARE, Within};

/// Fleet hosts from which on the spread among them is the noise model.
const MANY_HOSTS: usize = 6;
/// Fleet hosts below which they may all be above zero by chance.
const FEW_HOSTS: usize = 3;
/// Events per host and sample from which on rates are dense.
const DENSE_EVENTS: f64 = 8.0;
/// Events per host and minute from which on they are where few hosts are compared that have a past: there the
/// share of all events says less than that does.
const DENSE_EVENTS_FEW: f64 = 2.0;
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
    /// A second opinion, where hosts are few: see [`Metric::seconded`].
    second: Option<Box<OwnPastTest>>,
    /// The same of hosts without a past.
    within: Within,
    /// The hosts that it judges, and those that came later.
    judged: Vec<HostId>,
    late: LateHosts,
    reference: Reference,
    /// What the breach that stands looks like.
    onset: Option<Onset>,
    /// What is said instead of what its test says, and why.
    withheld: Option<Withheld>,
}

/// What is said instead of what a test says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareWithheld")]
struct Withheld {
    outcome: Outcome,
    is_of_fleet: bool,
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
            second: None,
            within: Within::default(),
            judged: Vec::new(),
            late: LateHosts::default(),
            reference: Reference::default(),
            onset: None,
            withheld: None,
        }
    }

    /// Refuses a saved metric that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        extent.group(self.index)?;
        self.presence.check(extent)?;
        extent.hosts(&self.judged)?;
        self.late.check(extent)?;
        self.reference.check()?;
        self.second
            .iter()
            .try_for_each(|second| second.check(extent))?;
        self.within.check(extent)?;
        self.onset
            .iter()
            .try_for_each(|onset| onset.check(extent))?;
        match &self.test {
            Test::Awaited => Ok(()),
            Test::Hosts(test) => test.check(extent),
            Test::Counts(test) => test.check(extent),
            Test::Records(test) => test.check(extent),
            Test::OwnPast(test) => test.check(extent),
            Test::Fresh(test) => test.check(extent),
        }
    }

    /// What the test says, if there is one; of the hosts that came late, if that is worse. Where the fleet that
    /// the test knows is gone, it says nothing any more, but for a breach.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        let withheld = self.withheld.as_ref().map(|withheld| &withheld.outcome);
        withheld.or_else(|| self.tested())
    }

    /// The same, whatever else is known.
    fn tested(&self) -> Option<&Outcome> {
        let outcome = self.seconded().or_else(|| self.test.outcome())?;
        Some(self.late_outcome(outcome).unwrap_or(outcome))
    }

    /// Whether what it says is of the hosts that came late.
    fn is_of_late(&self) -> bool {
        let outcome = self.test.outcome();
        outcome.is_some_and(|outcome| self.late_outcome(outcome).is_some())
    }

    /// What is said of the hosts that came late, if that is worse than what is said of the others.
    fn late_outcome(&self, outcome: &Outcome) -> Option<&Outcome> {
        let is_over = !self.reference.is_standing() && self.late.are_all();
        self.late.outcome().filter(|late| match late.state {
            _ if is_over => outcome.state != CheckState::Breach,
            CheckState::Breach => outcome.state != CheckState::Breach,
            CheckState::NoData => !matches!(outcome.state, CheckState::Breach | CheckState::NoData),
            CheckState::Undecided => outcome.state == CheckState::Ok,
            CheckState::Ok | CheckState::Warming => false,
        })
    }

    /// Whether the one-box speaks, and nobody is there to compare it with.
    pub(super) fn is_unseen(&self) -> bool {
        self.reference.is_unseen()
    }

    /// The state of the test, if there is one.
    pub(super) fn state(&self) -> Option<CheckState> {
        self.outcome().map(|outcome| outcome.state)
    }

    /// Whether, now that the bake is over, a gross harm would not have been found for want of data.
    pub(super) fn is_blind(&self, terms: &Terms) -> bool {
        if self.reference.is_mostly_unseen() {
            return true;
        }
        let is_over = !self.reference.is_standing() && self.late.are_all();
        match &self.test {
            Test::Awaited => false,
            Test::Hosts(test) if is_over => test.is_open(),
            Test::OwnPast(_) if is_over => false,
            Test::Hosts(test) => test.is_blind(),
            Test::Counts(test) => test.is_blind(),
            Test::Records(test) => test.is_blind(),
            Test::OwnPast(test) => test.is_blind(),
            Test::Fresh(test) => test.is_blind(terms.weight),
        }
    }

    /// Why it is in doubt, if it is.
    pub(super) fn doubt(&self) -> NoDataCause {
        match &self.withheld {
            Some(withheld) if withheld.is_of_fleet => return NoDataCause::FleetFell,
            Some(_) => return NoDataCause::Likely,
            None => {}
        }
        if matches!(self.test, Test::Hosts(_)) && self.seconded().is_some() {
            return NoDataCause::Rivalled;
        }
        let own = match &self.test {
            Test::Awaited => None,
            Test::Hosts(test) => Some((test.outcome(), test.is_rivalled())),
            Test::Counts(test) if test.is_likely() => return NoDataCause::Likely,
            Test::Counts(test) => Some((test.outcome(), test.is_rivalled())),
            Test::Records(test) if test.is_likely() => return NoDataCause::Likely,
            Test::Records(test) => Some((test.outcome(), test.is_rivalled())),
            Test::OwnPast(test) if test.is_likely() => return NoDataCause::Likely,
            Test::OwnPast(test) => Some((test.outcome(), test.is_rivalled())),
            Test::Fresh(test) if test.is_unproven() => return NoDataCause::Unproven,
            Test::Fresh(test) => Some((test.outcome(), false)),
        };
        match own.filter(|(outcome, _)| outcome.state == CheckState::NoData) {
            Some((_, true)) => NoDataCause::Rivalled,
            _ if self.late.is_unproven() => NoDataCause::Unproven,
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
            Test::Awaited => return self.presence.observe(reader, group),
            Test::Hosts(test) => test.observe(reader, group),
            Test::Counts(test) => test.observe(reader, group),
            Test::Records(test) => test.observe(reader, group),
            Test::OwnPast(test) => {
                test.observe(reader, group);
                test.look_behind_two((reader, group), (&self.class, self.alpha));
                test.look_for_likely((reader, group), (&self.class, self.alpha));
            }
            Test::Fresh(test) => {
                test.observe(reader, group);
                let has_noise = !self.class.is_gathered();
                test.look_over((reader, group), (OVER_SHARE * self.alpha, has_noise));
            }
        }
        if let Some(second) = &mut self.second {
            second.observe(reader, group);
        }
        self.look_within(reader, group);
        let known = self.test.fleet();
        let least = self.test.least();
        let is_lost = self.reference.follow(reader, group, &known, least);
        match &mut self.test {
            Test::Counts(test) if is_lost => test.go_on(reader, group),
            Test::Records(test) if is_lost => test.go_on(reader, group),
            Test::Awaited
            | Test::Hosts(_)
            | Test::Counts(_)
            | Test::Records(_)
            | Test::OwnPast(_)
            | Test::Fresh(_) => {}
        }
        match &self.test {
            Test::Awaited | Test::Counts(_) | Test::Records(_) => {}
            Test::Fresh(_) => self.observe_late(reader, group, false),
            Test::Hosts(_) | Test::OwnPast(_) => self.observe_late(reader, group, is_lost),
        }
        let is_seen =
            (self.reference.is_standing() && self.test.sees()) || self.late.see_all(reader, group);
        self.reference.note(reader, group, is_seen);
        self.look_back(reader, group);
        self.presence.observe(reader, group)
    }

    /// Looks for the onset of the breach that stands.
    fn look_back(&mut self, reader: &Reader<'_>, group: &Group) {
        self.withheld = None;
        let Some(outcome) = self.tested() else {
            return;
        };
        if outcome.state != CheckState::Breach {
            let is_unexplained = reader.is_last() && outcome.is_unexplained();
            self.withheld = is_unexplained.then(|| Withheld {
                outcome: outcome.clone().unexplained(),
                is_of_fleet: false,
            });
            self.onset = None;
            return;
        }
        if self.onset.as_ref().is_none_or(|onset| onset.is_old(reader)) {
            let is_counted = self.counts_events(reader.terms, group);
            let kind = (&self.class, outcome);
            let hosts = self.shown(reader.view);
            self.onset = Onset::find((reader, group), hosts, kind, is_counted);
        }
        let outcome = self.tested();
        let withheld = self.onset.as_ref().zip(outcome);
        let withheld =
            withheld.and_then(|(onset, outcome)| onset.withheld(outcome, reader.is_last()));
        self.withheld = withheld.map(|outcome| Withheld {
            outcome,
            is_of_fleet: true,
        });
    }

    /// The hosts that its numbers are of.
    fn shown<'a>(&'a self, view: &View<'a>) -> &'a [HostId] {
        match self.test {
            // Whoever comes late is counted with the others.
            Test::Counts(_) | Test::Records(_) => view.one_box,
            _ if self.is_of_late() => self.late.hosts(),
            Test::Awaited | Test::Hosts(_) | Test::OwnPast(_) | Test::Fresh(_) => &self.judged,
        }
    }

    /// What the evidence tells, and of which hosts.
    pub(super) fn told<'a>(&'a self, view: &View<'a>) -> Option<(Outcome, &'a [HostId])> {
        let outcome = self.outcome()?;
        let onset = self.onset.as_ref();
        let onset = onset.filter(|_| outcome.state == CheckState::Breach);
        Some(match onset {
            Some(onset) => (onset.tell(outcome), &onset.hosts[..]),
            None => (outcome.clone().agreeing(), self.shown(view)),
        })
    }

    /// Whether it counts events.
    fn counts_events(&self, terms: &Terms, group: &Group) -> bool {
        let is_counted = group.kind == Kind::Counter && !self.class.is_share();
        terms.is_log || (is_counted && !self.class.is_amount())
    }

    /// Follows the hosts that came late; all hosts, if the fleet that the test knows is lost (`is_lost`).
    fn observe_late(&mut self, reader: &Reader<'_>, group: &Group, is_lost: bool) {
        // Beside the metrics that come late: a part of what was kept for both.
        let alpha = self.alpha * LATE_ALPHA;
        let (class, judged) = (&self.class, &self.judged);
        let late = &mut self.late;
        late.observe(reader, group, (judged, is_lost), |hosts, are_all| {
            let pasts = Pasts::read(reader, group);
            let working = Working::choose(class, &mut pasts.values(), (false, false));
            let working = working.of_numbers(&pasts.values());
            let cadence = pasts.cadence();
            let has_exposure = reader.terms.has_per;
            // Who came late has no past.
            let allowance = reader
                .terms
                .allowance(class, group.kind, (has_exposure, 0.0));
            let fleet = &pasts.fleet;
            let test = FreshTest::new(reader.terms, class, working, alpha, hosts, fleet, cadence);
            let test = test.allowing(allowance);
            if !are_all {
                return Some(test);
            }
            let places = pasts.places(&working, judged)?;
            Some(test.begin_anew(reader, group, &places))
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
        let may_be_negative = pasts.fleet.len() < FEW_HOSTS && self.is_negative(reader, group);
        if !has_exposure && !may_be_negative {
            // A host with requests lives, and may have no error left.
            self.presence.learn(&self.class, &pasts.fleet);
        }
        let is_events = self.counts_events(terms, group);
        let has_past = !pasts.are_unknown() && !pasts.are_short(terms);
        let dense = if has_past && pasts.fleet.len() < MANY_HOSTS {
            DENSE_EVENTS_FEW * terms.resolution.seconds_f64() / 60.0
        } else {
            DENSE_EVENTS / pasts.cadence() as f64
        };
        // A one-box with little traffic has few where the fleet has many.
        let events = Self::forgotten_events(reader, group, &pasts);
        let events = events.unwrap_or_else(|| pasts.events(terms));
        if is_events && events * terms.weight.min(1.0) < dense {
            let may_differ = terms.is_log && !has_exposure && !pasts.has_share();
            let pasts = (&pasts.one_box[..], &pasts.fleet[..]);
            let records = may_differ.then(|| RecordsTest::new(reader, group, self.alpha, pasts));
            self.test = records.flatten().map_or_else(
                || {
                    let terms = terms.of_class(&self.class);
                    let test = CountsTest::new(reader, &terms, group, self.alpha, pasts);
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
        let known = (has_exposure || is_thinned, may_be_negative);
        let working = Working::choose(&self.class, &mut values, known);
        let level = working.of_value(median(&mut values).unwrap_or(0.0));
        let events = (is_events, has_exposure);
        (self.test, self.second) = self.levels(reader, group, &pasts, (working, level), events);
        if matches!(self.test, Test::Fresh(_)) {
            self.within = Within::watch(reader);
        }
    }

    /// Whether the one-box moved below zero since the deployment. One number there stands for none, as `-1` often does.
    fn is_negative(&self, reader: &Reader<'_>, group: &Group) -> bool {
        let hosts = self.judged.iter().copied();
        let own = pasts::since((reader, group), hosts, reader.view.bucket.end);
        let values = own.iter().flat_map(|past| &past.values);
        let mut below = values.filter(|(value, _)| *value < 0.0);
        let first = below.next();
        first.is_some_and(|(first, _)| below.any(|(value, _)| value != first))
    }

    /// Events of a fleet host in the bucket, where its past is forgotten for it was read as something else: that
    /// none is remembered does not mean that there were none.
    fn forgotten_events(reader: &Reader<'_>, group: &Group, pasts: &Pasts) -> Option<f64> {
        let terms = reader.terms;
        let since = terms.began_at - terms.resolution.times(5);
        let mut rereads = reader.view.panel.rereads().iter();
        if !rereads.any(|lost| since <= lost.end) || !pasts.values().is_empty() {
            return None;
        }
        let cells = reader.view.fleet.iter();
        let cells = cells.filter_map(|host| group.track(*host)?.cell(reader.view.bucket));
        mean(cells.map(|cell| cell.events))
    }
}
