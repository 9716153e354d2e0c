//! Whether the checks of a configuration fit a recording: which match nothing, can never breach, can
//! never pass.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckTrial, Trial};
use crate::{
    detect::{CheckState, Track},
    engine::{Engine, Watched},
    event::{Interval, Kind, Labels, METRIC_NAME, Span, Timestamp, Unit},
    gate::plain_number,
    plan::{Check, DetectorPlan, Limit, Plan, Selection},
};

/// What is learned of each check while a recording is played.
#[derive(Debug, Default)]
pub struct Fits {
    /// By service and check.
    seen: BTreeMap<(String, String), Seen>,
    /// Metrics that the recording has, where that is known.
    metrics: BTreeSet<String>,
    /// End of the latest bucket that was looked at.
    until: Option<Timestamp>,
}

/// A check on a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The service.
    pub service: String,
    /// The check.
    pub check: String,
    /// Metrics, and hosts with any of them.
    pub metrics: usize,
    /// See [`Fit::metrics`].
    pub hosts: usize,
    /// Deployments and placebos that it judged.
    pub trials: usize,
    /// What is wrong, worst first.
    pub faults: Vec<Fault>,
}

/// What is wrong with a check on a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// How bad it is.
    pub grade: Grade,
    /// Why, for a person.
    pub why: String,
}

/// What a check is no good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It selects nothing.
    MatchesNothing,
    /// A gate that it blocks never passes.
    NeverPasses,
    /// It says nothing whatever happens; on this recording at least.
    NeverBreaches,
}

/// What was seen of a check.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing of its own that was seen, and none excludes another"
)]
struct Seen {
    metrics: BTreeSet<usize>,
    hosts: BTreeSet<String>,
    lowest: Option<f64>,
    highest: Option<f64>,
    events: f64,
    /// Whether a name or a unit says that it is how long something takes.
    is_time: bool,
    /// The same, a share of 100.
    is_percent: bool,
    /// Whether its values are rates: of counters, or of log records.
    is_rate: bool,
    has_exposure: bool,
    exposure: f64,
    /// By host: when anything of it came last, and the longest time without.
    heard: BTreeMap<String, (Timestamp, Span)>,
}

impl Fits {
    /// Before anything is played. The metrics are those that the recording has, if that is known.
    pub fn new(metrics: BTreeSet<String>) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// Looks at what the checks see, after each bucket.
    pub fn look(&mut self, engine: &Engine) {
        let end = engine.watermark();
        if self.until.is_some_and(|until| end <= until) || end == Timestamp::MIN {
            return;
        }
        self.until = Some(end);
        let bucket = Interval {
            start: end - engine.plan().resolution,
            end,
        };
        for watched in engine.watched() {
            let key = (watched.service.to_owned(), watched.check.name.clone());
            self.seen.entry(key).or_default().look(&watched, bucket);
        }
    }

    /// What fits and what does not, given what became of deployments and placebos on the recording.
    pub fn conclude(mut self, plan: &Plan, trials: &[Trial]) -> Vec<Fit> {
        let mut fits = Vec::new();
        for service in plan.services.values() {
            let used = service.stages.iter().flat_map(|stage| &stage.checks);
            let names: BTreeSet<&str> = used.map(|used| used.check.as_str()).collect();
            for name in names {
                let Some(check) = plan.checks.get(name) else {
                    continue;
                };
                let key = (service.name.clone(), name.to_owned());
                let seen = self.seen.remove(&key).unwrap_or_default();
                let of_service = trials.iter().filter(|trial| trial.place.0 == service.name);
                // A gate that was failed by another check looked no further.
                let judged = of_service.flat_map(|trial| {
                    let checks = trial.checks.iter().filter(|check| check.name == name);
                    checks.filter(|check| {
                        trial.failed_after.is_none() || check.breached_after.is_some()
                    })
                });
                let trials: Vec<&CheckTrial> = judged.collect();
                let mut faults = seen.faults(check, plan, &self.metrics);
                // That it never breached does not tell whether it can pass.
                if faults
                    .iter()
                    .all(|fault| fault.grade == Grade::NeverBreaches)
                {
                    faults.extend(of_trials(&trials));
                }
                faults.sort_by_key(|fault| fault.grade);
                fits.push(Fit {
                    service: service.name.clone(),
                    check: name.to_owned(),
                    metrics: seen.metrics.len(),
                    hosts: seen.hosts.len(),
                    trials: trials.len(),
                    faults,
                });
            }
        }
        fits
    }
}

impl Seen {
    fn look(&mut self, watched: &Watched<'_>, bucket: Interval) {
        let ids: Vec<_> = watched.hosts.ids().collect();
        for (index, group) in watched.panel.groups() {
            for host in &ids {
                let Some(track) = group.track(*host).filter(|track| Track::has_data(track)) else {
                    continue;
                };
                self.metrics.insert(index);
                let metric = group.key.labels.metric();
                let words = ["seconds", "latency", "duration"];
                self.is_percent |= group.known_unit() == Unit::Percent;
                self.is_rate |= match &watched.check.selection {
                    Selection::Logs(_) => true,
                    Selection::Series(series) => {
                        series.per.is_none() && group.kind == Kind::Counter
                    }
                };
                self.is_time |=
                    group.unit.is_time() || words.iter().any(|word| metric.contains(word));
                let Some(cell) = track.cell(bucket) else {
                    continue;
                };
                let name = match &*watched.hosts.get(*host).name {
                    "" => "",
                    _ => watched.hosts.name(*host),
                };
                if !self.hosts.contains(name) {
                    self.hosts.insert(name.to_string());
                }
                let value = match cell.exposure {
                    Some(exposure) if exposure > 0.0 => Some(cell.value / exposure),
                    Some(_) => None,
                    None => Some(cell.value),
                };
                if let Some(value) = value {
                    self.lowest = Some(self.lowest.map_or(value, |lowest| lowest.min(value)));
                    self.highest = Some(self.highest.map_or(value, |highest| highest.max(value)));
                }
                self.events += cell.events;
                self.has_exposure |= cell.exposure.is_some();
                self.exposure += cell.exposure.unwrap_or(0.0);
                let speaks = match &watched.check.selection {
                    Selection::Series(_) => true,
                    Selection::Logs(_) => cell.events > 0.0,
                };
                if speaks {
                    let heard = self.heard.entry(name.to_string());
                    let (last, gap) = heard.or_insert((bucket.end, Span::ZERO));
                    *gap = (*gap).max(bucket.start - *last);
                    *last = bucket.end;
                }
            }
        }
    }

    fn faults(&self, check: &Check, plan: &Plan, metrics: &BTreeSet<String>) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |grade, why: String| faults.push(Fault { grade, why });
        if self.hosts.is_empty() {
            fault(Grade::MatchesNothing, nothing(check, plan, metrics));
            return faults;
        }
        if self.has_exposure && self.exposure == 0.0 {
            let why = "what it divides by (per) is absent or zero throughout";
            fault(Grade::NeverPasses, why.to_owned());
        }
        let is_unnamed = self.hosts.len() == 1 && self.hosts.contains("");
        match &check.detector {
            DetectorPlan::Compare { .. } if is_unnamed => fault(
                Grade::NeverPasses,
                format!(
                    "no host label: what it selects carries none of {}, so that there is nobody to compare \
                     with; name the label under labels.host",
                    plan.labels.host.join(", ")
                ),
            ),
            DetectorPlan::Compare { .. } if self.hosts.len() == 1 => {
                let why = "only one host has it, so that there is no fleet to compare with";
                fault(Grade::NeverPasses, why.to_owned());
            }
            DetectorPlan::Bounds { min, max, .. } => {
                if let Some((grade, why)) = self.bounds(*min, *max) {
                    fault(grade, why);
                }
            }
            DetectorPlan::Absent { after } => {
                if let Some((grade, why)) = self.absent(*after) {
                    fault(grade, why);
                }
            }
            // It passes as long as something else of the hosts moves: the trials tell.
            DetectorPlan::Compare { .. } if self.is_constant() => fault(
                Grade::NeverBreaches,
                format!(
                    "every value of every host is {}: only another value would, and dead exporters look like \
                     this",
                    plain_number(self.lowest.unwrap_or_default())
                ),
            ),
            DetectorPlan::Compare { .. }
            | DetectorPlan::Derivative { .. }
            | DetectorPlan::Sigma { .. }
            | DetectorPlan::NewTemplate
            | DetectorPlan::Load { .. } => {}
        }
        faults
    }

    fn is_constant(&self) -> bool {
        self.events == 0.0 && self.lowest.is_some() && self.lowest == self.highest
    }

    fn bounds(&self, min: Option<Limit>, max: Option<Limit>) -> Option<(Grade, String)> {
        let unit = if self.is_percent {
            Unit::Percent
        } else {
            Unit::Unknown
        };
        // Each end with its value; what is held against it is told as it is written.
        let [min, max] = [min, max].map(|limit| limit.map(|limit| (limit, limit.of(unit))));
        let (lowest, highest) = self.lowest.zip(self.highest)?;
        let told = |limit: Limit, value| limit.shown(value, self.is_rate, plain_number);
        if let Some((limit, max)) = max.filter(|(_, max)| *max < lowest) {
            let why = format!(
                "never in range: the lowest value is {}, above the max of {}",
                told(limit, lowest),
                told(limit, max)
            );
            return Some((Grade::NeverPasses, why));
        }
        if let Some((limit, min)) = min.filter(|(_, min)| highest < *min) {
            let why = format!(
                "never in range: the highest value is {}, below the min of {}",
                told(limit, highest),
                told(limit, min)
            );
            return Some((Grade::NeverPasses, why));
        }
        let is_below = max.is_none_or(|(_, max)| highest <= max);
        let is_above = min.is_none_or(|(_, min)| min <= lowest);
        if !(is_below && is_above) {
            return None;
        }
        let (limit, _) = max.or(min)?;
        let bound = |bound: Option<(Limit, f64)>, name: &str| {
            bound.map(|(limit, bound)| format!("{name} {}", told(limit, bound)))
        };
        let bounds: Vec<String> = bound(min, "min")
            .into_iter()
            .chain(bound(max, "max"))
            .collect();
        let mut why = format!(
            "never out of range here: values are {} to {}, the bounds {}",
            told(limit, lowest),
            told(limit, highest),
            bounds.join(", ")
        );
        let is_share = 0.0 <= lowest && 0.0 < highest && highest <= 1.0;
        let is_percent = |(_, max): (Limit, f64)| 1.0 < max && max <= 100.0 && is_share;
        if !self.is_time && max.is_some_and(is_percent) {
            why.push_str("; values look like shares of 1: is the bound in percent (90% is 0.9)?");
        }
        Some((Grade::NeverBreaches, why))
    }

    /// That nobody was silent for so long is as it should be; that everybody was is not.
    fn absent(&self, after: Span) -> Option<(Grade, String)> {
        let end = self.heard.values().map(|(last, _)| *last).max()?;
        let gap = |(last, gap): &(Timestamp, Span)| (*gap).max(end - *last);
        let shortest = self.heard.values().map(gap).min()?;
        (after < shortest).then(|| {
            let why = format!(
                "every host is silent for {shortest} or longer at times, and more than {after} is a breach"
            );
            (Grade::NeverPasses, why)
        })
    }
}

/// Why nothing is selected.
fn nothing(check: &Check, plan: &Plan, metrics: &BTreeSet<String>) -> String {
    let selection = match &check.selection {
        Selection::Logs(_) => {
            return "no host of the service has a log stream with such records: it never arrived, or no \
                    label tells its service"
                .to_owned();
        }
        Selection::Series(selection) => selection,
    };
    let Some(name) = selection.selector.metric() else {
        let named = |name: &&String| {
            // A histogram is selected by the name that its buckets have in common.
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let labels = Labels::new([(METRIC_NAME, name)]);
            let mut of_name = selection.selector.matchers.iter();
            of_name.all(|matcher| matcher.label != METRIC_NAME || matcher.matches(&labels))
        };
        let mut matchers = selection.selector.matchers.iter();
        let asks_for_name = matchers.any(|matcher| matcher.label == METRIC_NAME);
        // Of a journal no names are known.
        if metrics.is_empty() || !asks_for_name {
            return format!(
                "no series of the service is selected: see the service's match, and labels.service ({})",
                plan.labels.service.join(", ")
            );
        }
        return match metrics.iter().find(named) {
            Some(name) => {
                format!("{name} is in the recording, but with other labels, or not of this service")
            }
            None => "the metric's selector matches no name of the recording".to_owned(),
        };
    };
    let divisor = selection.per.as_ref().and_then(|per| per.metric());
    if let Some(divisor) = divisor
        && metrics.contains(name)
        && !metrics.contains(divisor)
    {
        return format!("what it divides by: {}", unknown(divisor, metrics));
    }
    if metrics.contains(name) {
        return if selection.quantile.is_some() {
            format!(
                "{name} is in the recording, but neither as a histogram of this service nor as a summary that tells \
                 this quantile: drop quantile?"
            )
        } else {
            format!("{name} is in the recording, but with other labels, or not of this service")
        };
    }
    unknown(name, metrics)
}

/// That a metric is not there, and which was probably meant.
fn unknown(name: &str, metrics: &BTreeSet<String>) -> String {
    let near = metrics
        .iter()
        .map(|known| (distance(known, name), known))
        .min();
    match near {
        Some((distance, known)) if distance <= 1 + name.len() / 3 => {
            format!("no metric is named {name}; did you mean {known}?")
        }
        Some(_) | None => format!("no metric is named {name}"),
    }
}

/// What the trials show: a check that never once could say anything.
fn of_trials(trials: &[&CheckTrial]) -> Option<Fault> {
    let first = trials.first()?;
    let all = |state: CheckState| trials.iter().all(|trial| trial.state == Some(state));
    let count = trials.len();
    let lacked = trials
        .iter()
        .find_map(|trial| trial.lacked.clone())
        .unwrap_or_default();
    let fault = |grade, why| Some(Fault { grade, why });
    let told = trials
        .iter()
        .filter_map(|trial| trial.told_otherwise.as_ref());
    if let Some(first) = told.clone().next() {
        let told = told.count();
        return fault(
            Grade::NeverPasses,
            format!("without data in {told} of {count} deployments and placebos: {first}"),
        );
    }
    if all(CheckState::NoData) {
        return fault(
            Grade::NeverPasses,
            format!("without data at the end of all {count} deployments and placebos: {lacked}"),
        );
    }
    if all(CheckState::Warming) {
        return fault(
            Grade::NeverPasses,
            format!(
                "still not judged at the end of all {count} deployments and placebos: {lacked}"
            ),
        );
    }
    if trials.iter().all(|trial| trial.breached_after.is_some()) && 3 <= count {
        return fault(
            Grade::NeverPasses,
            format!(
                "breached in all {count} deployments and placebos, first by {}",
                first
                    .breached_by
                    .as_deref()
                    .unwrap_or("nothing in particular")
            ),
        );
    }
    None
}

/// How many letters must be changed, added or left out to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 1..row.len() {
            let substituted = diagonal + usize::from(letter != to[column - 1]);
            diagonal = row[column];
            row[column] = substituted.min(row[column] + 1).min(row[column - 1] + 1);
        }
    }
    row[to.len()]
}
