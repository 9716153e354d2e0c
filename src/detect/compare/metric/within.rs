//! A second look at hosts without a past: whether they changed in the midst of the bake.
//!
//! What a fresh host was before the deployment nobody knows, and it may differ from the fleet by much
//! ([`fresh`](super::super::fresh)). But once it has run for a while it has a past of its own, and then its change is
//! held against the same change of each fleet host, as that of any host ([`HostsTest`]). What it does after its
//! start must not be taken for harm: it fills up, warms up, and gets its share of the traffic by and by. All of
//! that ends where the fleet is. So what changed must also have left the fleet behind, and by more than a healthy
//! change of one that warms up.
//!
//! Fewer fleet hosts than tell how much changes differ say nothing of it; nor does so short a past of what is mostly
//! zero, and comes in bursts.

use serde::{Deserialize, Serialize};

use super::{FreshTest, HostId, HostPast, HostsTest, MANY_HOSTS, Metric, Test, levels::rules};
use crate::{
    detect::{
        CheckState, Extent, Group, Unsound,
        compare::{
            fresh::fleet_level,
            looks::Looks,
            outcome::Outcome,
            pasts::{self, has_past, usual_samples},
            reading::Reader,
            slot,
            terms::Terms,
        },
        stats::mean,
    },
    event::{Span, Timestamp},
};

/// The part of a metric's alpha that is kept for it, where there are enough fleet hosts.
const SHARE: f64 = 0.3;
/// The same for looking back over all of the bake ([`FreshTest::look_over`]).
pub(super) const OVER_SHARE: f64 = 0.1;
/// How long fresh hosts are watched before that is their past: such a part of the bake, within bounds.
const WATCHED_PART: i64 = 3;
const WATCHED: (Span, Span) = (Span::from_minutes(15), Span::from_minutes(30));

/// The second look at one metric of fresh hosts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "CompareWithin")]
pub(super) struct Within {
    /// From when on they are watched, and until when; `None`: they are not, or not any more.
    watched: Option<(Timestamp, Timestamp)>,
    watch: Option<Box<Watch>>,
}

/// What hosts do after they were watched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareWatch")]
struct Watch {
    test: HostsTest,
    /// How far beyond the fleet a harm takes them on each side (up, down), at least.
    least: [f64; 2],
}

/// What is left of `alpha` for the first look beside so many fleet hosts.
pub(super) fn first_alpha(alpha: f64, fleet: usize) -> f64 {
    if fleet < MANY_HOSTS {
        alpha
    } else {
        (1.0 - SHARE - OVER_SHARE) * alpha
    }
}

impl Within {
    /// Begins to watch.
    pub(super) fn watch(reader: &Reader<'_>) -> Self {
        let from = reader.view.bucket.start;
        Self {
            watched: Some((from, from + watched(reader.terms))),
            watch: None,
        }
    }

    /// Refuses a saved one that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        let mut watches = self.watch.iter();
        watches.try_for_each(|watch| watch.test.check(extent))
    }

    /// The breach that it shows, if the fleet is left behind, too.
    pub(super) fn breach(&self, first: &FreshTest) -> Option<&Outcome> {
        let watch = self.watch.as_ref()?;
        let outcome = watch.test.outcome();
        let side = outcome.effect?.signum();
        let least = watch.least[usize::from(side < 0.0)];
        let is_told = outcome.state == CheckState::Breach && first.is_beyond_fleet(side, least);
        is_told.then_some(outcome)
    }
}

/// How long fresh hosts are watched before that is their past.
fn watched(terms: &Terms) -> Span {
    let bake = terms.bake_min_until.max(terms.grace_until) - terms.grace_until;
    Span::from_nanos(bake.nanos() / WATCHED_PART).clamp(WATCHED.0, WATCHED.1)
}

impl Metric {
    /// Takes the bucket that has just closed.
    pub(super) fn look_within(&mut self, reader: &Reader<'_>, group: &Group) {
        if let Some(watch) = &mut self.within.watch {
            watch.test.observe(reader, group);
        }
        let end = reader.view.bucket.end;
        let Some((from, until)) = self.within.watched else {
            return;
        };
        if end < until {
            return;
        }
        self.within.watch = self.begin_within(reader, group, from).map(Box::new);
        // Where that was too little, twice the time may do.
        let is_over = self.within.watch.is_some() || reader.is_last();
        self.within.watched = (!is_over).then(|| (from, until + (until - from)));
    }

    /// Makes a past of what hosts did since then, if that is enough of one.
    fn begin_within(&self, reader: &Reader<'_>, group: &Group, from: Timestamp) -> Option<Watch> {
        let Test::Fresh(first) = &self.test else {
            return None;
        };
        let now = reader.view.bucket.end;
        let terms = Terms {
            began_at: from,
            past_until: now,
            grace_until: now,
            ..reader.terms.clone()
        };
        let (class, has_exposure) = (&self.class, terms.has_per);
        let divisor = terms.divisor(group.kind, has_exposure);
        let reader = Reader::new(reader.view, &terms);
        let watched = |hosts: &[HostId], divisor: f64| -> Vec<HostPast> {
            let mut pasts = pasts::since((&reader, group), hosts.iter().copied(), now);
            let values = pasts.iter_mut().flat_map(|past| &mut past.values);
            values.for_each(|(value, _)| *value = (f64::from(*value) / divisor) as f32);
            pasts
        };
        let (one_box, mut fleet) = (
            watched(&self.judged, divisor),
            watched(reader.view.fleet, 1.0),
        );
        let usual = usual_samples(&fleet);
        fleet.retain(|past| has_past(&past.values, usual));
        let working = first.working();
        let is_enough = MANY_HOSTS <= fleet.len() && !working.is_ratio();
        let is_known = one_box.iter().all(|past| has_past(&past.values, usual));
        if !is_enough || !is_known || terms.bake_until <= now {
            return None;
        }
        let level = fleet_level(&working, &fleet);
        let is_events = self.counts_events(&terms, group);
        let mut rules = rules(
            (&terms, class),
            (working, level),
            (is_events, has_exposure),
            ([0.0; 2], divisor.min(1.0)),
        );
        rules.tolerance = terms.tolerance(class, level, class.tolerance_within());
        rules.least = rules.tolerance;
        // How wide the values of one that warms up spread changes, too.
        rules.has_noise = false;
        let alpha = SHARE * self.alpha / rules.sides.signs().len() as f64;
        let looks = Looks::new(&terms, alpha);
        // What one rises to the level of the fleet is no harm, and fresh hosts hold as much as they like.
        let own: Vec<&HostPast> = one_box.iter().collect();
        let places = slot::places(&working, &own, &fleet).into_iter().flatten();
        let place = mean(places)?;
        let least = [1.0, -1.0].map(|side| {
            let usual = if class.is_gathered() {
                terms.tolerance(class, level, class.tolerance_cold())
            } else {
                rules.tolerance
            };
            usual.max((place * side).max(0.0) + rules.tolerance)
        });
        let test = HostsTest::new(rules, one_box, fleet, looks);
        Some(Watch { test, least })
    }
}
