//! New templates: error messages that nobody wrote before the deployment.

mod chance;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chance::evidence;
use serde::{Deserialize, Serialize};

use super::{
    Basis, CheckState, Coverage, Evidence, Extent, Finding, HostId, NoDataCause, Setup,
    TemplateTrack, Unsound, View, coverage,
    state::{counted, possible},
    wording::{blind, selection_name, uncovered},
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
/// (`NO_DATA`). Nor is what is not certain, but at most five times as likely by chance as a breach may be; nor is it
/// where a judged host wrote what has no name, because `limits.templates` has no room for it: that might be new.
/// Without a fleet whose log streams live nothing can
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
            past_until: setup.before.until.min(setup.began_at),
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
        let mut entries: Vec<(chance::Weighed, &Found, Evidence)> = self
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
}

/// The least severity of records that a check for new templates looks at.
pub(crate) fn template_severity(check: &Check) -> Severity {
    match &check.selection {
        Selection::Logs(logs) => logs.severity.unwrap_or(Severity::ERROR).max(Severity::WARN),
        Selection::Series(_) => Severity::ERROR,
    }
}

#[cfg(test)]
mod tests;
