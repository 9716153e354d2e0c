//! What a service's stream tells beside the gates: which places are unhealthy, and their usual traffic.

use serde::{Deserialize, Serialize};

use super::{
    HOST_MEMORY,
    service::{CheckPanel, HostFacts, Service},
};
use crate::{
    detect::{
        Before, Detector, DetectorState, Evidence, Extent, HostId, Setup, Track, Unsound, View,
    },
    event::{Interval, Span, Timestamp},
    gate::{Ailment, Conditions, Place},
    plan::{
        Check, DetectorPlan, Mode, OffPeak, Plan, Selection, ServicePlan, StagePlan, StartBlockers,
    },
};

/// How long after its last count a host is not seen any more: scrapes are seldom further apart.
const UNSEEN_AFTER: Span = Span::from_minutes(5);
/// Most hosts that an ailment names.
const HOSTS_MAX: usize = 5;

/// Watches a service whether or not a deployment is under way.
#[derive(Debug, Default)]
pub(super) struct Health {
    watchers: Vec<Watcher>,
    /// Stages whose off-peak hours are learned, by index, each with what counts its traffic.
    meters: Vec<(usize, Meter)>,
    pub(super) conditions: Conditions,
}

/// Follows one check of limits over all hosts.
#[derive(Debug)]
struct Watcher {
    /// Index of its panel.
    panel: usize,
    /// Indices of the stages that are unhealthy while it stands in breach there.
    stages: Vec<usize>,
    detector: Detector,
}

/// What counts the traffic of a service.
#[derive(Clone, Copy, Debug)]
enum Meter {
    /// The values of a panel: those of a check for load.
    Values(usize),
    /// What a panel divides by.
    Exposures(usize),
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct HealthState {
    /// By the name of the check.
    watchers: Vec<(String, DetectorState)>,
    conditions: Conditions,
}

impl HealthState {
    /// Leaves what is right for checks that are the same. Where another check counts the traffic, it is
    /// learned anew. What ails is said until the next bucket says it anew: nobody starts in between.
    pub(super) fn keep(&mut self, is_same: impl Fn(&str) -> bool, counts_the_same: bool) {
        self.watchers.retain(|(name, _)| is_same(name));
        if !counts_the_same {
            self.conditions.traffic.clear();
        }
    }
}

impl Health {
    pub(super) fn new(plan: &Plan, service: &ServicePlan, panels: &[CheckPanel]) -> Self {
        let watcher = |(panel, entry): (usize, &CheckPanel)| {
            let blocks = |stage: &StagePlan| {
                let mut used = stage.checks.iter();
                stage.policies.start_blockers != StartBlockers::Off
                    && used
                        .any(|used| used.check == entry.check.name && used.mode == Mode::Blocking)
            };
            let stages = (0..)
                .zip(&service.stages)
                .filter(|(_, stage)| blocks(stage));
            let stages: Vec<usize> = stages.map(|(index, _)| index).collect();
            let is_limit = matches!(entry.check.detector, DetectorPlan::Bounds { .. });
            (is_limit && !stages.is_empty()).then(|| Watcher {
                panel,
                stages,
                detector: Detector::new(&Setup {
                    check: &entry.check,
                    mode: Mode::Blocking,
                    began_at: Timestamp::MIN,
                    before: Before::until(Timestamp::MIN),
                    grace_until: Timestamp::MIN,
                    bake_min_until: Timestamp::MAX,
                    bake_until: Timestamp::MAX,
                    resolution: plan.resolution,
                    alpha: 0.0,
                    weight: 1.0,
                }),
            })
        };
        let learns =
            |(_, stage): &(usize, &StagePlan)| stage.policies.off_peak == Some(OffPeak::Learned);
        let meter = meter(panels);
        let learning = (0..).zip(&service.stages).filter(learns);
        Self {
            watchers: panels.iter().enumerate().filter_map(watcher).collect(),
            meters: learning
                .filter_map(|(stage, _)| Some((stage, meter?)))
                .collect(),
            conditions: Conditions::default(),
        }
    }
}

impl Service {
    /// Looks at the bucket that has just been spread.
    pub(super) fn look(&mut self, bucket: Interval) {
        let mut health = std::mem::take(&mut self.health);
        health.conditions.ailments.clear();
        if !health.watchers.is_empty() {
            let everyone: Vec<HostId> = self.everyone().collect();
            for watcher in &mut health.watchers {
                let entry = &self.panels[watcher.panel];
                let excesses = watcher.detector.excesses(&View {
                    bucket,
                    panel: &entry.panel,
                    hosts: &self.hosts,
                    one_box: &everyone,
                    fleet: &[],
                    request_refused_last: None,
                });
                for evidence in &excesses {
                    for stage in &watcher.stages {
                        let found = self.ailments(*stage, &entry.check.name, evidence);
                        health.conditions.ailments.extend(found);
                    }
                }
            }
            health.conditions.ailments.sort_by(|a, b| {
                (&a.place, &a.check, a.since, &a.note).cmp(&(&b.place, &b.check, b.since, &b.note))
            });
            // One of each place and check is enough to hold a start.
            let mut ailments = std::mem::take(&mut health.conditions.ailments);
            ailments.dedup_by(|a, b| a.place == b.place && a.check == b.check);
            health.conditions.ailments = ailments;
        }
        for (stage, meter) in &health.meters {
            let rate = self.rate(*stage, *meter, bucket);
            let name = &self.plan.stages[*stage].name;
            let traffic = health.conditions.traffic.entry(name.clone()).or_default();
            traffic.learn(bucket, rate);
        }
        self.health = health;
    }

    /// Forgets the usual traffic if a panel counts it.
    pub(super) fn forget_traffic_of(&mut self, panel: u32) {
        let counts = |(_, meter): &(usize, Meter)| match *meter {
            Meter::Values(of) | Meter::Exposures(of) => of == panel as usize,
        };
        if self.health.meters.iter().any(counts) {
            self.health.conditions.traffic.clear();
        }
    }

    /// What is kept over a restart.
    pub(super) fn save_health(&self) -> HealthState {
        let name = |watcher: &Watcher| self.panels[watcher.panel].check.name.clone();
        HealthState {
            watchers: self
                .health
                .watchers
                .iter()
                .map(|watcher| (name(watcher), watcher.detector.save()))
                .collect(),
            conditions: self.health.conditions.clone(),
        }
    }

    /// Takes what was kept; checks that the plan does not have are forgotten.
    ///
    /// # Errors
    /// It contradicts itself, or the hosts and panels.
    pub(super) fn restore_health(&mut self, state: HealthState) -> Result<(), Unsound> {
        let HealthState {
            watchers,
            conditions,
        } = state;
        for (name, state) in watchers {
            let entry = |watcher: &&mut Watcher| self.panels[watcher.panel].check.name == name;
            if let Some(watcher) = self.health.watchers.iter_mut().find(entry) {
                let extent = Extent {
                    groups: self.panels[watcher.panel].panel.index_bound(),
                    hosts: self.hosts.len(),
                };
                watcher.detector.restore(state, extent)?;
            }
        }
        self.health.conditions = conditions;
        Ok(())
    }

    /// The places of a stage whose hosts are among those of the evidence.
    fn ailments(&self, stage: usize, check: &str, evidence: &Evidence) -> Vec<Ailment> {
        let plan = &self.plan.stages[stage];
        let facts = |name: &String| {
            let id = self.shown_as(name);
            id.map(|id| &self.facts[id.0 as usize])
        };
        let ailment = |region: Option<&String>| {
            let is_there = |facts: &HostFacts| {
                facts.stages[stage]
                    && region.is_none_or(|region| {
                        facts.region.as_deref().is_none_or(|told| told == region)
                    })
            };
            let hosts = evidence.hosts.iter();
            let hosts: Vec<&str> = hosts
                .filter(|name| facts(name).is_some_and(is_there))
                .map(String::as_str)
                .collect();
            let (named, more) = hosts.split_at(hosts.len().min(HOSTS_MAX));
            let more = match more.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            (!named.is_empty()).then(|| Ailment {
                place: Place {
                    stage: plan.name.clone(),
                    region: region.cloned(),
                },
                check: check.to_owned(),
                since: evidence.first_breach.unwrap_or(Timestamp::MIN),
                note: format!(
                    "{} out of range on {}{more}",
                    evidence.metric,
                    named.join(", ")
                ),
            })
        };
        plan.places().filter_map(ailment).collect()
    }

    /// Events per second on all hosts of a stage; NaN where that is not known.
    ///
    /// A host that is not seen is not quiet: it counts with what it said last, until it is silent for so
    /// long that it must be gone. When more is remembered than seen, nothing is known.
    fn rate(&self, stage: usize, meter: Meter, bucket: Interval) -> f64 {
        let (panel, is_exposure) = match meter {
            Meter::Values(panel) => (panel, false),
            Meter::Exposures(panel) => (panel, true),
        };
        let (mut rate, mut seen, mut unseen) = (0.0, 0_u32, 0_u32);
        for (_, group) in self.panels[panel].panel.groups() {
            for host in self.everyone() {
                let Some((last, cell)) = group.track(host).and_then(Track::latest) else {
                    continue;
                };
                let silent = bucket.end - last;
                if HOST_MEMORY <= silent {
                    continue;
                }
                let value = match (is_exposure, cell.exposure) {
                    (true, Some(exposure)) => exposure,
                    (true, None) => continue,
                    (false, _) => cell.value,
                };
                if self.facts[host.0 as usize].stages[stage] && value.is_finite() {
                    rate += value;
                    if silent < UNSEEN_AFTER {
                        seen += 1;
                    } else {
                        unseen += 1;
                    }
                }
            }
        }
        if 0 < seen && unseen <= seen {
            rate
        } else {
            f64::NAN
        }
    }
}

/// What counts the traffic: a check for load, else what a ratio is of.
fn meter(panels: &[CheckPanel]) -> Option<Meter> {
    let of = |is_it: fn(&Check) -> bool| panels.iter().position(|entry| is_it(&entry.check));
    let values = of(is_load).map(Meter::Values);
    values.or_else(|| of(is_ratio).map(Meter::Exposures))
}

/// The check that counts the traffic, of those of a service in order of their names.
pub(super) fn counter<'a>(checks: &[&'a Check]) -> Option<&'a Check> {
    let of = |is_it: fn(&Check) -> bool| checks.iter().find(|check| is_it(check)).copied();
    of(is_load).or_else(|| of(is_ratio))
}

fn is_load(check: &Check) -> bool {
    matches!(check.detector, DetectorPlan::Load { .. })
}

fn is_ratio(check: &Check) -> bool {
    match &check.selection {
        Selection::Series(series) => series.per.is_some(),
        Selection::Logs(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        engine::{Engine, Input, PromotionRequest},
        event::{
            Batch, Interval, KeyHash, Kind, Labels, METRIC_NAME, Point, SeriesBlock, SeriesMeta,
            Span, Temporality, Timestamp, Unit, Value,
        },
        gate::Blocker,
        plan::Plan,
    };

    const PLAN: &str = "
resolution: 10m
lateness: 0s
checks: {load: {metric: requests_total, load: {of: prod}}}
services:
  shop:
    stages:
      - {name: prod, steps: [t], policies: {off_peak: learned}}
      - {name: last, steps: [t], checks: [load]}
";

    fn sample(host: &str, at: Timestamp, total: f64) -> Batch {
        let labels = [
            (METRIC_NAME, "requests_total"),
            ("host", host),
            ("service", "shop"),
        ];
        let series = SeriesBlock {
            labels: Labels::new(labels),
            meta: SeriesMeta {
                kind: Kind::Counter,
                temporality: Temporality::Cumulative,
                unit: Unit::Unknown,
            },
            points: vec![Point {
                at,
                start: None,
                value: Value::Number(total),
            }],
        };
        Batch {
            series: vec![series],
            ..Batch::default()
        }
    }

    /// What stands in the way of an entry into production.
    fn blockers(engine: &Engine, now: Timestamp) -> Vec<Blocker> {
        let request = PromotionRequest {
            service: "shop".to_owned(),
            version: "v2".to_owned(),
            ..PromotionRequest::default()
        };
        engine.may_promote(&request, now).unwrap().blockers
    }

    #[test]
    fn off_peak_hours_are_learned_from_the_traffic_and_kept_over_a_restart() {
        let plan = Arc::new(Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}")));
        let mut engine = Engine::new(Arc::clone(&plan));
        let mut total = 0.0;
        let mut early = None;
        for step in 0..9 * 144 {
            let at = Timestamp::from_seconds(step * 600);
            let is_busy = (8..20).contains(&(step / 6 % 24));
            total += if is_busy { 60_000.0 } else { 6_000.0 };
            engine.step(Input::Batch(&sample("h1", at, total)), &mut Vec::new());
            engine.step(Input::Tick(at + Span::from_minutes(10)), &mut Vec::new());
            if step == 3 * 144 {
                early = Some(blockers(&engine, at));
            }
        }
        let early = early.unwrap_or_default();
        assert!(
            matches!(early[..], [Blocker::Unlearned { hours }] if (60..80).contains(&hours)),
            "{early:?}"
        );
        let restored = Engine::restore(plan, KeyHash::new(0), &engine.save()).unwrap();
        let day = Timestamp::from_seconds(9 * 86_400);
        for engine in [&engine, &restored] {
            assert_eq!(blockers(engine, day + Span::from_hours(3)), []);
            let until = Some(day + Span::from_hours(20));
            assert_eq!(
                blockers(engine, day + Span::from_hours(12)),
                [Blocker::Peak { until }]
            );
        }
    }

    #[test]
    fn a_host_that_is_not_scraped_is_not_quiet() {
        let plan = Arc::new(Plan::parse(PLAN).unwrap_or_else(|faults| panic!("{faults}")));
        let mut engine = Engine::new(plan);
        let mut totals = [0.0; 3];
        for step in 0..9 * 144 {
            let at = Timestamp::from_seconds(step * 600);
            let hour = step / 6 % 24;
            for (host, total) in ["h1", "h2", "h3"].iter().zip(&mut totals) {
                *total += if hour == 3 { 54_000.0 } else { 60_000.0 };
                // In the hour before, two of three hosts are not scraped for 20 minutes.
                if *host != "h1" && hour == 2 && (2..4).contains(&(step % 6)) {
                    continue;
                }
                engine.step(Input::Batch(&sample(host, at, *total)), &mut Vec::new());
            }
            engine.step(Input::Tick(at + Span::from_minutes(10)), &mut Vec::new());
        }
        let day = Timestamp::from_seconds(9 * 86_400);
        assert_eq!(blockers(&engine, day + Span::from_hours(3)), []);
        for hour in [1, 2, 4] {
            let blockers = blockers(&engine, day + Span::from_hours(hour));
            assert!(
                matches!(blockers[..], [Blocker::Peak { .. }]),
                "{hour}: {blockers:?}"
            );
        }
    }

    #[test]
    fn the_traffic_of_a_ratio_is_told_per_second_like_any_other() {
        let ratio = "errors: {metric: errors_total, per: requests_total, bounds: {max: 5%}}";
        let text = PLAN
            .replace("load: {metric: requests_total, load: {of: prod}}", ratio)
            .replace("checks: [load]", "checks: [errors]");
        for text in [PLAN.to_owned(), text] {
            let plan = Plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}"));
            let mut engine = Engine::new(Arc::new(plan));
            for step in 0..6 {
                let at = Timestamp::from_seconds(step * 600);
                let total = step as f64 * 36_000.0;
                engine.step(Input::Batch(&sample("h1", at, total)), &mut Vec::new());
                engine.step(Input::Tick(at + Span::from_minutes(10)), &mut Vec::new());
            }
            let service = &engine.world.directory.services[0];
            let bucket = Interval {
                start: Timestamp::from_seconds(5 * 600),
                end: Timestamp::from_seconds(6 * 600),
            };
            let meter = super::meter(&service.panels).expect("a check counts the traffic");
            assert_eq!(service.rate(0, meter, bucket), 60.0, "{meter:?}");
        }
    }
}
