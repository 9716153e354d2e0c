//! How often processes of the one-box began anew, against the fleet and the past: a crash loop shows in no level and in
//! no rate, as what counts goes on from zero.
//!
//! Births of a healthy process are so rare that the split between one-box and fleet, by which
//! [`counts`](super::counts) judges, says little beside few hosts: of five births all fall on one of two hosts by
//! chance in 3 of 100. What says more is that hosts went for hours without any. So there are two questions, and harm
//! must be the answer to both:
//! - Are there more than hosts have by themselves? The rate is that of the past of all hosts and of the fleet now,
//!   or of the past of the one-box alone if that is higher, and where nothing is known one in [`USUAL`]. It is not
//!   known, but gamma distributed, so that the births of the whole bake are negative binomial. It is asked for
//!   the whole bake, or for an hour of it, whatever part is over: so it may be asked at any time.
//! - Are there more than the fleet has now? What restarts everyone, a push of a configuration or a recycling, is in no
//!   past. Here a gross tail is enough.
//!
//! What the deployment brings, until the grace of a host is over, is not counted, and of several hosts that began
//! anew once each there is one birth: somebody restarted them. More births are harm whatever the direction of the
//! check, and do not follow the traffic.

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;

use super::{LATE_SHARE, reading::Reader, report, terms::Terms};
use crate::{
    detect::{
        Basis, CheckState, Evidence, Extent, Host, HostId, NoDataCause, Track, Unsound, View,
        state::possible, view::is_start_time, wording::host_list,
    },
    event::{Kind, Span, Timestamp},
};

/// Its part of the alpha of its check, out of what is kept for metrics that come late.
pub(super) const SHARE: f64 = 0.25 * LATE_SHARE;
/// Where nothing else is known a process begins anew by itself once in this time, which is often.
const USUAL: Span = Span::from_hours(48);
/// How far back the past is looked at.
const PAST: Span = Span::from_hours(6);
/// A loop shows within this time, however long the bake is.
const WINDOW: Span = Span::from_hours(1);
/// Fewest births that fail, and that withhold a PASS; as many as the latter must be of one host.
const HARM_MIN: usize = 4;
const LIKELY_MIN: usize = 3;
/// Chance that healthy hosts have so many births from which on harm is likely.
const LIKELY: f64 = 0.01;
/// The same from which on a PASS is not given early.
const SUSPECT: f64 = 0.05;
/// Chance that so many of all births fall on the one-box, from which on it is not the fleet's fate, and from which
/// on it may be.
const APART: f64 = 0.05;
const APART_LIKELY: f64 = 0.2;
/// A host that said nothing for this long lives through nothing.
const ALIVE: Span = Span::from_minutes(5);

/// The births of one-box and fleet since the grace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Births {
    /// Whether one-box and fleet have series that the check selects and that tell births.
    is_told: bool,
    own_past: Lived,
    all_past: Lived,
    fleet: Lived,
    /// What the one-box has lived through.
    own: Span,
    first_breach: Option<Timestamp>,
    found: Found,
}

/// Births in a time that hosts lived through, added up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Lived {
    births: u32,
    time: Span,
}

/// What the births amount to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "BirthsFound")]
enum Found {
    Nothing,
    /// Too few to withhold anything when the bake is over, and too many for an early PASS.
    Suspect,
    Likely,
    /// Only this host is the reason.
    OneHost(HostId),
    /// This host of the fleet has as many.
    Rivalled(HostId),
    Harm,
}

/// Births of some hosts of the one-box since the grace.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// How many count.
    births: usize,
    /// How many of them are of the latest hour.
    latest: usize,
    hosts: usize,
}

/// Chances that healthy hosts have so many births.
#[derive(Clone, Copy, Debug)]
struct Chances {
    rate: f64,
    fleet: f64,
    /// Without the fleet host that had most.
    others: f64,
}

impl Births {
    /// Reads the past of all hosts.
    pub(super) fn new(reader: &Reader<'_>) -> Self {
        let (view, terms) = (reader.view, reader.terms);
        let own_past = past(view, terms, view.one_box);
        let fleet_past = past(view, terms, view.fleet);
        Self {
            is_told: false,
            own_past,
            all_past: Lived {
                births: own_past.births + fleet_past.births,
                time: own_past.time + fleet_past.time,
            },
            fleet: Lived::default(),
            own: Span::ZERO,
            first_breach: None,
            found: Found::Nothing,
        }
    }

    /// Refuses what was saved and would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        if let Found::OneHost(host) | Found::Rivalled(host) = self.found {
            extent.hosts([&host])?;
        }
        let spans = [
            self.own_past.time,
            self.all_past.time,
            self.fleet.time,
            self.own,
        ];
        possible(
            "time that hosts lived through",
            spans.into_iter().all(|span| Span::ZERO <= span),
        )
    }

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>) {
        let view = reader.view;
        self.is_told = self.is_told || is_told(view);
        let is_alive = |host: &&HostId| {
            let mut tracks = view
                .panel
                .groups()
                .filter_map(|(_, group)| group.track(**host));
            tracks.any(|track| view.bucket.end <= track.last_seen + ALIVE)
        };
        for host in view.fleet.iter().filter(is_alive) {
            self.fleet.time = self.fleet.time + reader.terms.resolution;
            let is_birth = view.hosts.get(*host).births.last() == Some(&view.bucket.end);
            self.fleet.births += u32::from(is_birth);
        }
        let alive = view.one_box.iter().filter(is_alive).count();
        self.own = self.own + reader.terms.resolution.times(alive as i64);
        self.found = if self.is_told {
            self.judge(reader)
        } else {
            Found::Nothing
        };
        self.first_breach = match self.found {
            Found::Harm => self.first_breach.or_else(|| first(reader)),
            _ => None,
        };
    }

    fn judge(&self, reader: &Reader<'_>) -> Found {
        let terms = reader.terms;
        let counts = counts(reader);
        let alpha = SHARE * terms.alpha;
        let all = Own::of(&counts);
        if all.births < 2 {
            return Found::Nothing;
        }
        let chances = self.chances(reader, all);
        let is_many = |chances: Chances, chance: f64, apart: f64| {
            chances.rate <= chance && chances.fleet <= apart
        };
        let worst = (0..counts.len()).max_by_key(|index| counts[*index].1);
        let Some((worst, host)) = worst.map(|worst| (worst, counts[worst].0)) else {
            return Found::Nothing;
        };
        let has_others = 1 < counts.len();
        let is_shared = || {
            let mut others = counts.clone();
            others.remove(worst);
            let others = Own::of(&others);
            1 < others.births && is_many(self.chances(reader, others), LIKELY, APART_LIKELY)
        };
        // Several hosts that somebody restarted twice are no loop.
        let repeats = |least: usize| least <= all.births && LIKELY_MIN <= counts[worst].1;
        let likely = LIKELY.max(alpha);
        let is_harm = repeats(HARM_MIN) && is_many(chances, alpha, APART);
        let is_likely = repeats(LIKELY_MIN) && is_many(chances, likely, APART_LIKELY);
        // Half as many are as many: what one host has by itself comes as it comes.
        let rival = farthest(reader).filter(|(_, births)| counts[worst].1 <= 2 * births);
        let is_rivalled =
            repeats(LIKELY_MIN) && chances.rate <= likely && chances.others <= APART_LIKELY;
        match rival {
            Some((rival, _)) if is_rivalled => Found::Rivalled(rival),
            _ if (is_harm || is_likely) && has_others && !is_shared() => Found::OneHost(host),
            _ if is_harm => Found::Harm,
            _ if is_likely => Found::Likely,
            _ if is_many(chances, SUSPECT, APART_LIKELY) => Found::Suspect,
            _ => Found::Nothing,
        }
    }

    fn chances(&self, reader: &Reader<'_>, own: Own) -> Chances {
        let terms = reader.terms;
        let whole = (terms.bake_until - terms.grace_until).max(terms.resolution);
        let hosts = own.hosts as f64;
        let window = WINDOW.min(whole);
        // An hour anywhere lies within one of these stretches of two.
        let stretches = whole.div_ceil(window) as f64;
        let exceed = |births: f64, lived: f64| {
            let shape = 1.0 + births;
            // What is assumed gives way to what is known.
            let lived = lived + hours(USUAL) / (shape * shape);
            let of = |count: usize, time: Span| tail(count, shape, lived, hosts * hours(time));
            let in_window = stretches * of(own.latest, window.times(2).min(whole));
            (2.0 * in_window).min(of(own.births, whole)).min(1.0)
        };
        let known = self.all_past.and(self.fleet);
        let by_all = exceed(f64::from(known.births), hours(known.time));
        let births = f64::from(self.own_past.births);
        let by_own = exceed(births, hours(self.own_past.time));
        // Of the hosts that are looked at alone.
        let lived = hours(self.own) * hosts / (reader.view.one_box.len().max(1) as f64);
        let by_fleet = |births: u32, time: f64| split(own.births, births as usize, lived, time);
        let fleet_hosts = reader.view.fleet.len().max(1) as f64;
        let farthest = farthest(reader).map_or(0, |(_, births)| births as u32);
        Chances {
            rate: by_all.max(by_own),
            fleet: by_fleet(self.fleet.births, hours(self.fleet.time)),
            others: by_fleet(
                self.fleet.births.saturating_sub(farthest),
                hours(self.fleet.time) * (1.0 - 1.0 / fleet_hosts),
            ),
        }
    }

    /// What is said of them, if they are not as they should be.
    pub(super) fn fault(&self, is_last: bool) -> Option<CheckState> {
        match self.found {
            Found::Nothing => None,
            Found::Harm => Some(CheckState::Breach),
            Found::Suspect => Some(CheckState::Undecided),
            Found::Likely | Found::OneHost(_) | Found::Rivalled(_) => Some(if is_last {
                CheckState::NoData
            } else {
                CheckState::Undecided
            }),
        }
    }

    /// Why they are in doubt when the bake ends, if they are.
    pub(super) fn doubt(&self) -> Option<NoDataCause> {
        match self.found {
            Found::OneHost(_) => Some(NoDataCause::OneHost),
            Found::Rivalled(_) => Some(NoDataCause::Rivalled),
            Found::Likely => Some(NoDataCause::Likely),
            Found::Nothing | Found::Suspect | Found::Harm => None,
        }
    }

    /// The numbers, where they are a reason for a state of the check.
    pub(super) fn evidence(
        &self,
        view: &View<'_>,
        terms: &Terms,
        state: CheckState,
    ) -> Option<Evidence> {
        let is_last = state == CheckState::NoData;
        self.fault(is_last).filter(|fault| *fault == state)?;
        let counts = counts(&Reader::new(view, terms));
        let born: Vec<HostId> = counts
            .iter()
            .filter(|(_, births, _)| 0 < *births)
            .map(|(host, ..)| *host)
            .collect();
        let births: usize = counts.iter().map(|(_, births, _)| births).sum();
        let hosts = view.hosts.names(born);
        let on = if hosts.is_empty() {
            String::new()
        } else {
            format!(", on {}", host_list(&hosts))
        };
        let fleet = match view.fleet.len() {
            1 => "1 fleet host".to_owned(),
            count => format!("{count} fleet hosts"),
        };
        let since = (view.bucket.end - terms.grace_until).whole_seconds();
        let mut note = format!(
            "restarted {} in {since}{on}; {} on {fleet}",
            times(births),
            times(self.fleet.births as usize)
        );
        if Span::ZERO < self.all_past.time {
            let past = times(self.all_past.births as usize);
            let hours = hours(self.all_past.time);
            note = format!("{note}; {past} in {hours:.1} host hours before");
        }
        match self.found {
            Found::OneHost(host) => {
                note.push_str("; ");
                note.push_str(&report::alone(view.hosts.name(host)));
            }
            Found::Rivalled(host) => {
                note.push_str("; ");
                note.push_str(&report::rival(view.hosts.name(host)));
            }
            Found::Likely => note.push_str("; likely harm, though not certain"),
            Found::Suspect => note.push_str("; that may be chance"),
            Found::Nothing | Found::Harm => {}
        }
        let per_hour = |births: f64, time: Span| (Span::ZERO < time).then(|| births / hours(time));
        Some(Evidence {
            observed: per_hour(births as f64, self.own),
            expected: per_hour(f64::from(self.fleet.births), self.fleet.time),
            hosts: if state == CheckState::Breach {
                hosts
            } else {
                Vec::new()
            },
            first_breach: self.first_breach,
            ..Evidence::bare("process", state, Basis::Model, note)
        })
    }
}

impl Lived {
    fn and(self, other: Self) -> Self {
        Self {
            births: self.births + other.births,
            time: self.time + other.time,
        }
    }
}

impl Own {
    /// Of hosts with their births, and those of the latest hour: of those that began anew once each, one.
    fn of(counts: &[(HostId, usize, usize)]) -> Self {
        let counted = |births: &dyn Fn(&(HostId, usize, usize)) -> usize| {
            let more: usize = counts
                .iter()
                .map(|count| births(count).saturating_sub(1))
                .sum();
            more + usize::from(counts.iter().any(|count| 0 < births(count)))
        };
        Self {
            births: counted(&|(_, births, _)| *births),
            latest: counted(&|(.., latest)| *latest),
            hosts: counts.len(),
        }
    }
}

/// The hosts of the one-box with their births since the grace of each, and those of the latest hour.
fn counts(reader: &Reader<'_>) -> Vec<(HostId, usize, usize)> {
    let (view, terms) = (reader.view, reader.terms);
    let now = view.bucket.end;
    let count = |host: &HostId| {
        let known = view.hosts.get(*host);
        let from = counted_from(known, terms);
        let latest = from.max(now - WINDOW);
        (
            *host,
            known.births_within(from, now),
            known.births_within(latest, now),
        )
    };
    view.one_box.iter().map(count).collect()
}

/// The bucket of the birth with which harm began: the first of the latest hour if those alone are enough, else
/// the first of all.
fn first(reader: &Reader<'_>) -> Option<Timestamp> {
    let (view, terms) = (reader.view, reader.terms);
    let now = view.bucket.end;
    let births = |host: &HostId| {
        let known = view.hosts.get(*host);
        let from = counted_from(known, terms);
        let counted = move |at: &&Timestamp| from < **at && **at <= now;
        known.births.iter().filter(counted).copied()
    };
    let mut births: Vec<Timestamp> = view.one_box.iter().flat_map(births).collect();
    births.sort_unstable();
    let latest = births.partition_point(|at| *at <= now - WINDOW);
    let is_enough = HARM_MIN <= births.len() - latest;
    let first = births.get(if is_enough { latest } else { 0 });
    first.map(|end| *end - terms.resolution)
}

/// From when on the births of a host count.
fn counted_from(host: &Host, terms: &Terms) -> Timestamp {
    let grace = terms.grace_until - terms.began_at;
    terms.grace_until.max(host.first_seen + grace)
}

/// The fleet host with the most births since the grace, if any has.
fn farthest(reader: &Reader<'_>) -> Option<(HostId, usize)> {
    let (view, terms) = (reader.view, reader.terms);
    let births = |host: &HostId| {
        let known = view.hosts.get(*host);
        (
            *host,
            known.births_within(terms.grace_until, view.bucket.end),
        )
    };
    let hosts = view
        .fleet
        .iter()
        .map(births)
        .filter(|(_, births)| 0 < *births);
    hosts.max_by_key(|(_, births)| *births)
}

/// The births of hosts in the hours before the deployment.
fn past(view: &View<'_>, terms: &Terms, hosts: &[HostId]) -> Lived {
    let until = terms.past_until;
    let lived = hosts.iter().map(|host| {
        let known = view.hosts.get(*host);
        let from = known.births_known_since().max(until - PAST);
        Lived {
            births: known.births_within(from, until) as u32,
            time: (until - from).max(Span::ZERO),
        }
    });
    lived.fold(Lived::default(), Lived::and)
}

/// Whether one-box and fleet have a series that the check selects and that tells of births.
fn is_told(view: &View<'_>) -> bool {
    view.panel.groups().any(|(_, group)| {
        let tells = match group.kind {
            Kind::Counter | Kind::Histogram => true,
            Kind::Gauge | Kind::Unknown | Kind::Summary => is_start_time(group.key.labels.metric()),
        };
        let has = |host: &HostId| group.track(*host).is_some_and(Track::has_data);
        tells && view.one_box.iter().any(has) && view.fleet.iter().any(has)
    })
}

/// The chance of so many births, or more, in some hours, at a rate that is gamma distributed: as after
/// `shape` births in `lived` hours.
fn tail(count: usize, shape: f64, lived: f64, hours: f64) -> f64 {
    if count == 0 || hours <= 0.0 {
        return 1.0;
    }
    beta_reg(count as f64, shape, hours / (lived + hours))
}

/// The chance that so many births, or more, are the one-box's of its own and the fleet's, by what both lived
/// through.
fn split(own: usize, fleet: usize, lived: f64, fleet_lived: f64) -> f64 {
    let share = lived / (lived + fleet_lived);
    if own == 0 || !(0.0 < share && share < 1.0) {
        return 1.0;
    }
    beta_reg(own as f64, fleet as f64 + 1.0, share)
}

fn hours(span: Span) -> f64 {
    span.seconds_f64() / 3_600.0
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gamma with shape 3 and 50 hours, 2 hours: `scipy.stats.nbinom.sf(3, 3, 50 / 52)`; binomial:
    /// `scipy.stats.binom.sf(4, 7, 1 / 4)`.
    #[test]
    fn the_chances_agree_with_scipy() {
        let rare = tail(4, 3.0, 50.0, 2.0);
        assert!(
            (rare / 3.083_688_416_094_351e-5 - 1.0).abs() < 1e-9,
            "{rare}"
        );
        let apart = split(5, 2, 1.0, 3.0);
        assert!((apart / 0.012_878_417_968_75 - 1.0).abs() < 1e-9, "{apart}");
        assert_eq!((tail(0, 1.0, 48.0, 1.0), split(3, 0, 1.0, 0.0)), (1.0, 1.0));
    }

    #[test]
    fn hosts_that_began_anew_once_each_did_so_together() {
        let own = |births: &[usize]| {
            let counts: Vec<_> = births
                .iter()
                .map(|count| (HostId(0), *count, *count))
                .collect();
            Own::of(&counts).births
        };
        assert_eq!([own(&[]), own(&[0, 0]), own(&[1, 1, 1])], [0, 0, 1]);
        assert_eq!([own(&[4]), own(&[3, 2, 0])], [4, 4]);
    }
}
