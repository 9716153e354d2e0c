//! New templates: error messages that nobody wrote before the deployment.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Basis, CheckState, Coverage, Evidence, Extent, Finding, HostId, NoDataCause, Setup,
    TemplateTrack, Unsound, View, coverage,
    state::{counted, possible},
    wording::{blind, host_list, number, quote, selection_name, uncovered},
};
use crate::{
    event::{Severity, Span, Timestamp},
    plan::{Check, Selection},
    reduce::TEMPLATE_OTHER,
};

/// Longest stretch that counts as one piece of evidence: errors come in bursts, and a burst on one
/// host is one event.
const CELL_MAX: Span = Span::from_minutes(10);
/// Into how many cells a bake is cut, at most.
const CELLS_PER_BAKE: i64 = 12;
/// How many cells of a template are told apart; more change nothing.
const CELLS_KEPT_MAX: usize = 1_024;
/// Without a fleet: cells and records that a breach needs.
const LONE_COUNT_MIN: usize = 3;
/// How many times its share of alpha the chance of a template may be for it to be likely that the new version writes
/// it, though that is not certain.
const LIKELY_TIMES: f64 = 5.0;
/// How long before the deployment a host must have been seen, so that what was never seen before
/// means something.
const PAST_MIN: Span = Span::from_minutes(10);

/// No message template of at least the selected severity (ERROR unless configured, never below
/// WARN: a new build says new things) appears that was never seen before the deployment.
///
/// A template is new when no host wrote it before the deployment began, and the fleet has not
/// written it since. The evidence is held against chance in two ways, each at half of the j-th new
/// template's share `alpha / (j (j + 1))`:
/// - cells, pairs of judged host and stretch of time: were each assigned at random, all `c` would
///   fall on the one-box with chance `share ^ c`, where `share` is the one-box's part of the
///   traffic. At least 2, on at least 2 hosts where there are 2;
/// - hosts: were the `s` hosts that wrote it drawn at random, all would be judged ones with chance
///   `C(k, s) / C(H, s)`, whatever happens over time.
///
/// A cell is a twelfth of the bake, from a minute (or six buckets) to ten minutes: the first
/// argument holds for bursts that are shorter. What only one of several judged hosts writes, however
/// often, may be its own fault: it blocks nothing, but at the end of the bake it is not passed either
/// (`NO_DATA`). Nor is what is not certain, but at most five times as likely by chance as a breach may be. Nor is it where a judged host wrote what has no name, because `limits.templates` has no room
/// for it: that might be new. Without a fleet whose log streams live nothing can
/// be promised: three cells on a host with a past are a breach by the model alone.
#[derive(Clone, Debug)]
pub struct NewTemplate {
    coverage: Coverage,
    selection: String,
    severity: Severity,
    alpha: f64,
    weight: f64,
    /// Until when hosts are what they were before.
    past_until: Timestamp,
    grace_until: Timestamp,
    bake_until: Timestamp,
    cell: Span,
    /// Whether any host was seen long enough before the deployment; decided at the first bucket.
    has_past: Option<bool>,
    /// How many new templates a judged host wrote.
    places: u32,
    /// The new templates, by text.
    found: BTreeMap<Arc<str>, Found>,
    /// Judged hosts that wrote what has no name for want of room: whether that is new, nobody knows.
    nameless: BTreeSet<HostId>,
}

/// A template that was never seen before the deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Found {
    /// Its place among the new templates that a judged host wrote, from 1; 0: none did yet.
    place: u32,
    /// Where and when judged hosts wrote it.
    cells: BTreeSet<(HostId, i64)>,
    hosts: BTreeSet<HostId>,
    /// Records on judged hosts.
    count: u64,
    first: Option<Timestamp>,
    /// Whether a host of the fleet wrote it since the deployment began.
    is_on_fleet: bool,
}

/// What was learned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "NewTemplateState")]
pub(super) struct State {
    coverage: coverage::State,
    has_past: Option<bool>,
    places: u32,
    found: BTreeMap<Arc<str>, Found>,
    nameless: BTreeSet<HostId>,
}

/// How a template looks against chance.
struct Weighed {
    is_breach: bool,
    /// It would be one, but a single one of several judged hosts writes it.
    is_one_host: bool,
    /// It nearly is one.
    is_likely: bool,
    chance: f64,
    allowed: f64,
    basis: Basis,
}

impl Weighed {
    /// The worst first: what blocks, what keeps from passing, what is least likely chance.
    fn order(&self, other: &Self) -> Ordering {
        let [ours, theirs] =
            [self, other].map(|of| (!of.is_breach, !of.is_one_host, !of.is_likely));
        let by_chance = self.chance.total_cmp(&other.chance);
        ours.cmp(&theirs).then(by_chance)
    }
}

impl NewTemplate {
    /// Starts with the deployment.
    pub fn new(setup: &Setup<'_>) -> Self {
        let bake = setup.bake_until - setup.grace_until;
        let shortest = Span::from_minutes(1).max(setup.resolution.times(6));
        let cell = Span::from_nanos(bake.nanos() / CELLS_PER_BAKE)
            .max(shortest)
            .min(CELL_MAX.max(shortest));
        Self {
            coverage: Coverage::new(setup),
            selection: selection_name(setup.check),
            severity: template_severity(setup.check),
            alpha: setup.alpha,
            weight: setup.weight,
            past_until: setup.past_until.min(setup.began_at),
            grace_until: setup.grace_until,
            bake_until: setup.bake_until,
            cell,
            has_past: None,
            places: 0,
            found: BTreeMap::new(),
            nameless: BTreeSet::new(),
        }
    }

    /// Judges the bucket that has just closed.
    pub fn observe(&mut self, view: &View<'_>) -> Finding {
        let basis = Self::basis(view);
        let uncovered = uncovered(&mut self.coverage, view, &self.selection, basis);
        let has_past = *self.has_past.get_or_insert_with(|| {
            let hosts = view.one_box.iter().chain(view.fleet);
            hosts
                .map(|host| view.hosts.get(*host).first_seen)
                .any(|first_seen| first_seen + PAST_MIN <= self.past_until)
        });
        self.take(view);
        let is_last = self.bake_until < view.bucket.end + view.panel.resolution();
        let mut entries: Vec<(Weighed, &Found, Evidence)> = self
            .found
            .iter()
            .filter(|(_, found)| 0 < found.place && !found.is_on_fleet)
            .map(|(text, found)| {
                let mut weighed = self.weigh(view, found, has_past);
                weighed.is_one_host &= is_last;
                weighed.is_likely &= is_last;
                let evidence = evidence(view, text, found, &weighed);
                (weighed, found, evidence)
            })
            .collect();
        entries.sort_by(|(a, of_a, _), (b, of_b, _)| {
            let worst = a.order(b).then_with(|| of_b.count.cmp(&of_a.count));
            let by_place = of_a.place.cmp(&of_b.place);
            if a.is_breach && b.is_breach {
                by_place
            } else {
                worst.then(by_place)
            }
        });
        entries.truncate(Finding::EVIDENCE_MAX);
        let is_breach = entries
            .first()
            .is_some_and(|(weighed, ..)| weighed.is_breach);
        let is_one_host = entries.iter().any(|(weighed, ..)| weighed.is_one_host);
        let evidence: Vec<Evidence> = entries.into_iter().map(|(.., entry)| entry).collect();
        if is_breach {
            return Finding::new(CheckState::Breach, evidence);
        }
        if let Some(finding) = uncovered {
            return finding;
        }
        if !self.nameless.is_empty() {
            let reason = "limits.templates".to_owned();
            let cause = NoDataCause::Unusable { reason };
            let hosts = self.nameless.iter().copied();
            return blind(view, &self.selection, basis, cause, hosts);
        }
        if view.bucket.start < self.grace_until {
            return Finding::in_grace(self.grace_until);
        }
        Self::open(
            view,
            (&self.selection, basis),
            evidence,
            (is_one_host, has_past),
        )
    }

    /// What is said where nothing is a breach.
    fn open(
        view: &View<'_>,
        (selection, basis): (&str, Basis),
        evidence: Vec<Evidence>,
        (is_one_host, has_past): (bool, bool),
    ) -> Finding {
        let mut unsettled = evidence.clone();
        unsettled.retain(|evidence| evidence.state == CheckState::NoData);
        if !unsettled.is_empty() {
            let cause = if is_one_host {
                NoDataCause::OneHost
            } else {
                NoDataCause::Likely
            };
            return Finding::no_data(cause, unsettled);
        }
        if evidence.is_empty() && has_past {
            let note = format!("no new template on {} hosts", view.one_box.len());
            let entry = Evidence::bare(selection, CheckState::Ok, basis, note);
            return Finding::new(CheckState::Ok, vec![entry]);
        }
        let mut finding = Finding::new(CheckState::Undecided, evidence);
        finding.awaiting = Some(if has_past {
            "the new templates to come again, or on the fleet".to_owned()
        } else {
            "nothing more: without a past, what is new cannot be told from what is old".to_owned()
        });
        finding
    }

    /// What was learned: whoever adds a field decides here whether it is kept.
    pub(super) fn save(&self) -> State {
        let Self {
            coverage,
            selection: _,
            severity: _,
            alpha: _,
            weight: _,
            past_until: _,
            grace_until: _,
            bake_until: _,
            cell: _,
            has_past,
            places,
            found,
            nameless,
        } = self;
        State {
            coverage: coverage.save(),
            has_past: *has_past,
            places: *places,
            found: found.clone(),
            nameless: nameless.clone(),
        }
    }

    /// Takes what [`NewTemplate::save`] gave.
    pub(super) fn restore(&mut self, state: State, extent: Extent) -> Result<(), Unsound> {
        let State {
            coverage,
            has_past,
            places,
            found,
            nameless,
        } = state;
        extent.hosts(&nameless)?;
        counted("number of templates", u64::from(places))?;
        for found in found.values() {
            extent.hosts(&found.hosts)?;
            extent.hosts(found.cells.iter().map(|(host, _)| host))?;
            possible("place of a template", found.place <= places)?;
        }
        self.coverage.restore(coverage, extent)?;
        self.has_past = has_past;
        self.places = places;
        self.found = found;
        self.nameless = nameless;
        Ok(())
    }

    /// Takes the templates of the bucket.
    fn take(&mut self, view: &View<'_>) {
        for (text, track) in &view.panel.templates {
            if **text == *TEMPLATE_OTHER {
                if self.grace_until <= view.bucket.start {
                    let hosts = track.now.iter().map(|(host, _)| *host);
                    self.nameless
                        .extend(hosts.filter(|host| view.one_box.contains(host)));
                }
                continue;
            }
            if track.now.is_empty() || track.severity < self.severity || !self.is_new(view, track) {
                continue;
            }
            let found = self.found.entry(Arc::clone(text)).or_default();
            for (host, count) in &track.now {
                if view.fleet.contains(host) {
                    found.is_on_fleet = true;
                } else if view.one_box.contains(host) && self.grace_until <= view.bucket.start {
                    if found.place == 0 {
                        self.places += 1;
                        found.place = self.places;
                    }
                    let since = view.bucket.start - self.grace_until;
                    if found.cells.len() < CELLS_KEPT_MAX {
                        let cell = since.nanos() / self.cell.nanos();
                        found.cells.insert((*host, cell));
                    }
                    found.hosts.insert(*host);
                    found.count = found.count.saturating_add(*count);
                    found.first.get_or_insert(view.bucket.start);
                }
            }
        }
    }

    /// Whether no host wrote it before the new version ran. The bucket in which that began counts as after.
    fn is_new(&self, view: &View<'_>, track: &TemplateTrack) -> bool {
        self.past_until < track.first_seen + view.panel.resolution()
    }

    /// The hosts to compare with whose log streams live.
    fn fleet_alive(view: &View<'_>) -> usize {
        let alive = |host: &&HostId| view.log_life(**host).is_ok();
        view.fleet.iter().filter(alive).count()
    }

    fn basis(view: &View<'_>) -> Basis {
        if Self::fleet_alive(view) == 0 {
            Basis::Model
        } else {
            Basis::Exchangeable
        }
    }

    fn weigh(&self, view: &View<'_>, found: &Found, has_past: bool) -> Weighed {
        let judged = view.one_box.len();
        let fleet = Self::fleet_alive(view);
        let cells = found.cells.len();
        if fleet == 0 {
            let enough = LONE_COUNT_MIN <= cells && LONE_COUNT_MIN as u64 <= found.count;
            return Weighed {
                is_breach: has_past && enough,
                is_one_host: false,
                is_likely: false,
                chance: 1.0,
                allowed: 0.0,
                basis: Basis::Model,
            };
        }
        let place = f64::from(found.place);
        let allowed = self.alpha / (place * (place + 1.0)) / 2.0;
        let weight = judged as f64 * self.weight;
        let share = weight / (weight + fleet as f64);
        let many = if 2 <= cells {
            share.powi(cells as i32)
        } else {
            1.0
        };
        let is_one_host = found.hosts.len() < judged.min(2);
        let by_cells = if is_one_host { 1.0 } else { many };
        let by_hosts = draw_chance(judged, judged + fleet, found.hosts.len());
        let chance = by_cells.min(by_hosts);
        let is_breach = chance <= allowed;
        Weighed {
            is_breach,
            is_one_host: is_one_host && many <= allowed && !is_breach,
            is_likely: chance <= LIKELY_TIMES * allowed && !is_breach,
            chance,
            allowed,
            basis: Basis::Exchangeable,
        }
    }
}

/// The chance that `drawn` of `all` hosts, drawn at random, are all among the `judged`. Hosts that are
/// judged no longer may have been drawn: they count no further.
fn draw_chance(judged: usize, all: usize, drawn: usize) -> f64 {
    (0..drawn.min(judged))
        .map(|index| judged.saturating_sub(index) as f64 / all.saturating_sub(index).max(1) as f64)
        .product()
}

/// The least severity of records that a check for new templates looks at.
pub(crate) fn template_severity(check: &Check) -> Severity {
    match &check.selection {
        Selection::Logs(logs) => logs.severity.unwrap_or(Severity::ERROR).max(Severity::WARN),
        Selection::Series(_) => Severity::ERROR,
    }
}

fn evidence(view: &View<'_>, text: &str, found: &Found, weighed: &Weighed) -> Evidence {
    let (state, advice) = if weighed.is_breach {
        (CheckState::Breach, "")
    } else if weighed.is_one_host {
        let advice = "; one host alone writes it: replace it, and look again";
        (CheckState::NoData, advice)
    } else if weighed.is_likely {
        (
            CheckState::NoData,
            "; likely of the new version, though not certain",
        )
    } else {
        (CheckState::Undecided, "")
    };
    let hosts = view.hosts.names(found.hosts.iter().copied());
    let elsewhere = match weighed.basis {
        Basis::Model => "never before".to_owned(),
        Basis::Exchangeable | Basis::GaussianHosts | Basis::Slo => format!(
            "never before and not on the fleet (chance {}, {} allowed)",
            number(weighed.chance),
            number(weighed.allowed)
        ),
    };
    let note = format!(
        "new template {}, {} times on {}, {elsewhere}{advice}",
        quote(text),
        found.count,
        host_list(&hosts)
    );
    let mut evidence = Evidence::bare(text, state, weighed.basis, note);
    evidence.observed = Some(found.count as f64);
    evidence.expected = Some(0.0);
    evidence.first_breach = found.first;
    evidence.hosts = hosts;
    evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::test_support::{
            BEGAN_SECONDS, Bench, Feed, first, log_check, silence_is_never_ok, states,
        },
        plan::DetectorPlan,
    };
    use CheckState::{Breach, NoData, Ok, Undecided, Warming};

    const FLEET_9: [&str; 9] = ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9"];
    const NEW: &str = "NullPointerException at <*>";
    const OLD: &str = "timeout after <*> ms";

    /// Each host writes an old error each minute; who writes the new one is the row's.
    fn run(
        one_box: &[&str],
        fleet: &[&str],
        severity: Severity,
        is_new: impl Fn(&str, i64) -> bool,
    ) -> Vec<Finding> {
        let check = log_check(DetectorPlan::NewTemplate);
        let mut bench = Bench::new(check, one_box, fleet).grace(30);
        bench.run_templates(720, severity, |host, bucket| {
            let mut templates = Vec::new();
            if bucket.rem_euclid(6) == 0 {
                templates.push((OLD, 1));
            }
            if is_new(host, bucket) {
                templates.push((NEW, 2));
            }
            templates
        })
    }

    #[test]
    fn dead_log_streams_are_never_ok() {
        silence_is_never_ok(&log_check(DetectorPlan::NewTemplate), |_, _| {
            Feed::Records(0.0)
        });
    }

    type Row = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        Severity,
        fn(&str, i64) -> bool,
        &'static [CheckState],
    );
    const FLEET: &[&str] = &FLEET_9;
    const ROWS: [Row; 8] = [
        (
            "nothing new",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |_, _| false,
            &[Warming, Ok],
        ),
        (
            "on the one-box again and again",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |host, at| host == "c1" && 60 <= at,
            &[Warming, Ok, Undecided, Breach],
        ),
        (
            "a single burst is chance",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |host, at| host == "c1" && (60..80).contains(&at),
            &[Warming, Ok, Undecided],
        ),
        (
            "the fleet writes it too",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |_, at| 60 <= at,
            &[Warming, Ok],
        ),
        (
            "the fleet writes it later",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |host, at| (host == "c1" && 60 <= at) || (host == "f1" && at == 100),
            &[Warming, Ok, Undecided, Ok],
        ),
        (
            "it was seen before",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |host, at| host == "c1" && (at == -300 || 60 <= at),
            &[Warming, Ok],
        ),
        (
            "only while it restarts",
            &["c1"],
            FLEET,
            Severity::ERROR,
            |host, at| host == "c1" && (0..30).contains(&at),
            &[Warming, Ok],
        ),
        (
            "new information never blocks",
            &["c1"],
            FLEET,
            Severity::INFO,
            |host, at| host == "c1" && 60 <= at,
            &[Warming, Ok],
        ),
    ];

    #[test]
    fn a_new_error_is_a_breach_when_chance_cannot_put_it_on_the_one_box_alone() {
        for (name, one_box, fleet, severity, is_new, expected) in ROWS {
            let findings = run(one_box, fleet, severity, is_new);
            assert_eq!(states(&findings), expected, "{name}");
        }
    }

    #[test]
    fn what_the_new_version_wrote_before_the_deployment_was_told_is_new() {
        for (until, is_breach) in [(0, false), (-30, true)] {
            let check = log_check(DetectorPlan::NewTemplate);
            let mut bench = Bench::new(check, &["c1"], &FLEET_9).past_until(until);
            let findings = bench.run_templates(700, Severity::ERROR, |host, at| {
                let mut texts = vec![("known", 1)];
                if host == "c1" && -20 <= at {
                    texts.push((NEW, 2));
                }
                texts
            });
            assert_eq!(first(&findings, Breach).is_some(), is_breach, "{until}");
        }
    }

    #[test]
    fn the_breach_says_what_where_and_since_when() {
        let findings = run(&["c1"], &FLEET_9, Severity::ERROR, |host, at| {
            host == "c1" && 60 <= at
        });
        let breach = first(&findings, Breach).unwrap();
        let evidence = &findings[breach].evidence[0];
        assert_eq!(evidence.metric, NEW);
        assert_eq!(evidence.hosts, ["c1"]);
        assert_eq!(
            evidence.first_breach,
            Some(Timestamp::from_seconds(BEGAN_SECONDS + 600))
        );
        assert_eq!(evidence.basis, Basis::Exchangeable);
        assert_eq!(
            evidence.note,
            format!(
                "new template \"{NEW}\", {} times on c1, never before and not on the fleet \
                 (chance 0.001, 0.0025 allowed)",
                2 * (breach + 1 - 60)
            )
        );
    }

    #[test]
    fn the_worst_of_what_is_undecided_is_told_first() {
        let check = log_check(DetectorPlan::NewTemplate);
        let mut bench = Bench::new(check, &["c1"], &["f1"]);
        let findings = bench.run_templates(700, Severity::ERROR, |host, at| {
            let mut texts = vec![("known", 1)];
            if host == "c1" && at == 60 {
                texts.push(("once", 1));
            }
            if host == "c1" && (61..400).contains(&at) {
                texts.push((NEW, 2));
            }
            texts
        });
        let undecided = first(&findings, Undecided).unwrap();
        assert_eq!(findings[undecided].evidence[0].metric, "once");
        let last = findings.last().unwrap();
        assert_eq!(last.state, Undecided);
        let told: Vec<&str> = last.evidence.iter().map(|told| &*told.metric).collect();
        assert_eq!(told, [NEW, "once"]);
    }

    #[test]
    fn several_hosts_at_once_are_evidence_without_waiting() {
        let findings = run(
            &["c1", "c2", "c3"],
            &FLEET_9,
            Severity::ERROR,
            |host, at| host.starts_with('c') && 60 <= at,
        );
        // Three of twelve hosts: 1 in 220 is not below 1 in 400, but three cells each soon are.
        let breach = first(&findings, Breach).unwrap();
        assert!((60..130).contains(&breach), "{breach}");
        assert!((draw_chance(3, 12, 3) - 1.0 / 220.0).abs() < 1e-12);
        assert_eq!(draw_chance(1, 10, 2), 0.1);
    }

    #[test]
    fn one_sick_host_of_two_is_not_the_deployment() {
        let findings = run(&["c1", "c2"], &FLEET_9, Severity::ERROR, |host, at| {
            host == "c1" && 60 <= at
        });
        assert_eq!(first(&findings, Breach), None);
        assert_eq!(findings[findings.len() - 2].state, Undecided);
        // But nobody can tell, and nobody is told that it is well.
        let last = findings.last().unwrap();
        assert_eq!(
            (last.state, &last.cause),
            (NoData, &Some(NoDataCause::OneHost))
        );
        assert!(last.evidence[0].note.contains("replace it"), "{last:?}");
    }

    /// Two of eleven hosts write it in three of their cells, or once each.
    #[test]
    fn what_is_hardly_chance_is_no_pass() {
        for (again, expected) in [
            (200, (NoData, Some(NoDataCause::Likely))),
            (60, (Undecided, None)),
        ] {
            let findings = run(&["c1", "c2"], &FLEET_9, Severity::ERROR, |host, at| {
                host.starts_with('c') && at == 60 || host == "c1" && at == again
            });
            assert_eq!(first(&findings, Breach), None);
            assert_eq!(findings[findings.len() - 2].state, Undecided);
            let last = findings.last().unwrap();
            assert_eq!((last.state, last.cause.clone()), expected, "{last:?}");
        }
    }

    #[test]
    fn a_lone_host_needs_three_cells_and_a_past() {
        for (past, expected) in [(360, Breach), (1, Undecided)] {
            let check = log_check(DetectorPlan::NewTemplate);
            let mut bench = Bench::new(check, &[], &[]).past(past);
            let first_seen = bench.at(-past);
            bench.one_box = vec![bench.hosts.add(Arc::from("c1"), first_seen)];
            let findings = bench.run_templates(720, Severity::ERROR, |_, at| {
                if 60 <= at { vec![(NEW, 1)] } else { Vec::new() }
            });
            let last = findings.last().unwrap();
            assert_eq!(last.state, expected, "{past}");
            assert_eq!(last.evidence[0].basis, Basis::Model);
        }
    }

    #[test]
    fn a_fleet_whose_streams_are_dead_is_no_fleet() {
        let check = log_check(DetectorPlan::NewTemplate);
        let mut bench = Bench::new(check, &["c1"], &[]);
        bench.fleet = vec![bench.hosts.add(Arc::from("f1"), Timestamp::MIN)];
        let findings = bench.run(720, |host, _| {
            if host == "f1" {
                Feed::Silent
            } else {
                Feed::Records(0.0)
            }
        });
        let last = findings.last().unwrap();
        assert_eq!(last.state, Ok);
        assert_eq!(last.evidence[0].basis, Basis::Model);
        assert_ne!(last.state, NoData);
    }

    #[test]
    fn the_severity_below_which_nothing_blocks_is_warn() {
        for (given, expected) in [
            (None, Severity::ERROR),
            (Some(Severity::INFO), Severity::WARN),
            (Some(Severity::FATAL), Severity::FATAL),
        ] {
            let mut check = log_check(DetectorPlan::NewTemplate);
            if let Selection::Logs(logs) = &mut check.selection {
                logs.severity = given;
            }
            assert_eq!(template_severity(&check), expected);
        }
    }
}
