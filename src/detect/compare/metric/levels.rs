//! Which test judges the levels of a metric, and the second opinion on what few hosts show.

use super::{HostPast, MANY_HOSTS, Metric, Pasts, Test, within::first_alpha};
use crate::detect::{
    CheckState, Group,
    compare::{
        class::{Class, Measure},
        counts::TOLERANCE_DEFAULT,
        fresh::FreshTest,
        hosts::{ENOUGH_HOSTS, HostsTest, Rules},
        looks::Looks,
        outcome::Outcome,
        own_past::OwnPastTest,
        pasts,
        reading::Reader,
        scale::Working,
        terms::Terms,
    },
};
use crate::{detect::HostId, event::Span};

/// Fleet hosts from which on the spread among them is the noise model, of values that are often zero: their past
/// says nothing of it.
const MANY_HOSTS_RATIO: usize = 8;
/// A rise that reaches the tolerance within this long is a leak.
const LEAK_WITHIN: Span = Span::from_hours(24);

impl Metric {
    /// Chooses among the tests of levels, given the working scale and the fleet's usual level on it; with what
    /// seconds it, where hosts are few.
    pub(super) fn levels(
        &self,
        reader: &Reader<'_>,
        group: &Group,
        pasts: &Pasts,
        (working, level): (Working, f64),
        (is_events, has_exposure): (bool, bool),
    ) -> (Test, Option<Box<OwnPastTest>>) {
        let (terms, class, alpha) = (reader.terms, &self.class, self.alpha);
        let divisor = terms.divisor(group.kind, has_exposure);
        // What had its share before the deployment follows it.
        let allowance = if pasts.has_share() && pasts.share == divisor {
            [0.0; 2]
        } else {
            terms.allowance(class, group.kind, (has_exposure, pasts.place()))
        };
        let part = divisor.min(1.0);
        let (one_box, fleet) = pasts.known();
        let many = if working.is_ratio() {
            MANY_HOSTS_RATIO
        } else {
            MANY_HOSTS
        };
        let is_few = fleet.len() < many;
        let is_short = pasts.are_short(terms);
        let is_fresh = pasts.are_unknown() || (is_few && is_short);
        let has_second = fleet.len() < ENOUGH_HOSTS && !working.is_ratio() && !is_short;
        let own_past = (!is_fresh && (is_few || has_second))
            .then(|| {
                let terms = (terms, has_exposure, pasts.part(divisor));
                OwnPastTest::new(terms, class, alpha, &one_box, &fleet).allowing(allowance)
            })
            .filter(OwnPastTest::has_past);
        if is_fresh || (is_few && own_past.is_none()) {
            let hosts: Vec<HostId> = pasts.one_box.iter().map(|past| past.host).collect();
            let (cadence, fleet) = (pasts.cadence(), &pasts.fleet);
            let alpha = first_alpha(alpha, fleet.len());
            let working = working.of_numbers(&pasts.values());
            let test = FreshTest::new(terms, class, working, alpha, &hosts, fleet, cadence);
            return (Test::Fresh(Box::new(test.allowing(allowance))), None);
        }
        let own_past = own_past.map(|mut test| {
            let [one_box, fleet] = [&one_box, &fleet].map(|hosts| since(reader, group, hosts));
            test.catch_up(&one_box, &fleet, divisor);
            Box::new(test)
        });
        let second = match own_past {
            Some(test) if is_few => return (Test::OwnPast(test), None),
            second => second,
        };
        let mut rules = rules(
            (terms, class),
            (working, level),
            (is_events, has_exposure),
            (allowance, part),
        );
        if one_box.iter().chain(&fleet).all(never_moved) {
            // Nothing is estimated of a constant, so that what is accepted is accepted.
            rules.least = rules.tolerance;
        }
        let looks = Looks::new(terms, alpha / rules.sides.signs().len() as f64);
        let test = HostsTest::new(rules, one_box, fleet, looks);
        (Test::Hosts(Box::new(test)), second)
    }

    /// The breach that the past shows, where few hosts cannot prove alone what they show, too; or that it would be
    /// one but for a fleet host.
    ///
    /// The spread among six to fifteen hosts is known from so few numbers that a harm of half as much again may
    /// need to be larger, at the alpha of one of many metrics, and one of them that falls ill widens it further;
    /// that every sample of an hour is out is no part of it. That the one-box strays farther from the fleet than
    /// it ever did is, and from fewer hosts that decides: here it does where hosts show a harm, too
    /// ([`HostsTest::shows`]).
    ///
    /// Of hosts without a past it is that they changed in the midst of the bake ([`Within`](super::within::Within)).
    pub(super) fn seconded(&self) -> Option<&Outcome> {
        if let Test::Fresh(first) = &self.test {
            return self.within.breach(first);
        }
        let (Test::Hosts(first), Some(second)) = (&self.test, &self.second) else {
            return None;
        };
        let outcome = second.outcome();
        // Of what comes and goes, or stands still, hosts say nothing.
        let is_breach = outcome.state == CheckState::Breach && outcome.remark.is_none();
        let is_told = is_breach || second.is_rivalled();
        let side = outcome.effect?.signum();
        let is_open = first.outcome().state == CheckState::Undecided;
        (is_open && is_told && first.shows(side)).then_some(outcome)
    }
}

/// What hosts said between the deployment and the bucket of the view.
fn since(reader: &Reader<'_>, group: &Group, hosts: &[HostPast]) -> Vec<HostPast> {
    let hosts = hosts.iter().map(|past| past.host);
    pasts::since((reader, group), hosts, reader.view.bucket.start)
}

/// Whether it said one number all of the time: what was configured or built, such as the number of flags.
fn never_moved(past: &HostPast) -> bool {
    let values = past.values.iter().map(|(value, _)| *value);
    let mut known = values.filter(|value| value.is_finite());
    let first = known.next();
    first.is_some_and(|first| known.all(|value| value == first))
}

/// How a metric is judged that many hosts report.
pub(super) fn rules(
    (terms, class): (&Terms, &Class),
    (working, level): (Working, f64),
    (is_events, has_exposure): (bool, bool),
    (allowance, part): ([f64; 2], f64),
) -> Rules {
    let is_rate = is_events && has_exposure;
    let usual = if is_rate {
        TOLERANCE_DEFAULT.ln_1p()
    } else {
        class.tolerance()
    };
    let tolerance = terms.tolerance(class, level, usual);
    Rules {
        working,
        tolerance,
        least: least(class, terms, tolerance, is_rate),
        sigma_min: class.sigma_min(),
        sides: class.sides(terms.sides),
        allowance,
        part,
        events_per_rate: (is_events && working.is_ratio()).then(|| terms.resolution.seconds_f64()),
        has_noise: class.measure != Measure::Memory,
        rise_per_bucket: if class.is_stock() {
            1.0 / terms.buckets(LEAK_WITHIN) as f64
        } else {
            1.0
        },
    }
}

/// The smallest difference that is harm: what the configuration accepts, or by default the class.
fn least(class: &Class, terms: &Terms, tolerance: f64, is_rate: bool) -> f64 {
    if terms.tolerance.is_none() && !is_rate {
        class.least()
    } else {
        tolerance
    }
}
