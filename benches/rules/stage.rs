//! A recording whose truth is known: what Sluice says of its deployments, and what the rules of today
//! are shown of the same samples.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use sluice::{
    detect::HostId,
    engine::{Engine, Output, Watched},
    event::{Begin, DeploymentEvent, Interval, Kind, Timestamp},
    gate::VerdictState,
    plan::{DetectorPlan, Direction, Mode, Plan},
    source::recording::Recording,
};

use super::{Metric, Rule, Times};

/// A line of truth.jsonl, as `exam.py build` writes it; `deployment` where a recording has several.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Truth {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) deployment: Option<String>,
    /// `fail`, `pass`, `transient` (heals by itself); others are left out.
    pub(crate) expected: String,
    /// When the fault began, in Unix seconds.
    #[serde(default)]
    pub(crate) onset: f64,
}

/// When each judge failed a deployment, in seconds after the onset (of good ones: after the start).
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) truth: Truth,
    pub(crate) ours: Option<f64>,
    /// Whether we withheld a PASS for want of data.
    pub(crate) is_blind: bool,
    pub(crate) rules: Vec<Option<f64>>,
}

/// The truths of a directory of recordings.
pub(crate) fn truths(folder: &Path) -> Vec<Truth> {
    let text = text(&folder.join("truth.jsonl"));
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(parse)
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench that reads its recordings"
)]
fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the blocking comparisons of a stage see, bucket by bucket.
#[derive(Default)]
struct Tape {
    /// By check and metric.
    metrics: BTreeMap<(String, usize), Taped>,
    ends: Vec<Timestamp>,
}

struct Taped {
    direction: Direction,
    is_count: bool,
    /// By bucket: values by host.
    values: Vec<Vec<(HostId, f64)>>,
}

/// Replays a recording; gives what every judge says of the deployment.
pub(crate) fn judge(folder: &Path, truth: &Truth) -> Outcome {
    let path: PathBuf = folder.join(&truth.id);
    let recording = Recording::open(&[path], None, None).unwrap_or_else(|error| panic!("{error}"));
    let plan = Arc::clone(&recording.plan);
    let history = recording
        .inputs
        .history(&plan)
        .unwrap_or_else(|error| panic!("{error}"));
    let begin = history.events.into_iter().find_map(|event| match event {
        DeploymentEvent::Begin(begin) => {
            let is_meant = truth
                .deployment
                .as_ref()
                .is_none_or(|id| *id == begin.deployment);
            is_meant.then_some(begin)
        }
        _ => None,
    });
    let begin = begin.unwrap_or_else(|| panic!("{}: no such deployment", truth.id));
    let mut tape = Tape::default();
    let mut engine = Engine::new(Arc::clone(&plan));
    let mut failed_at = None;
    let played = recording
        .inputs
        .play_beside(&mut engine, None, |engine, outputs, _| {
            for output in outputs.drain(..) {
                if let Output::Verdict(verdict) = output
                    && verdict.deployment == begin.deployment
                    && verdict.verdict == VerdictState::Fail
                {
                    failed_at = Some(verdict.at);
                }
            }
            tape.take(engine, &plan, &begin);
        });
    played.unwrap_or_else(|error| panic!("{error}"));
    let state = engine
        .verdict(&begin.deployment)
        .map(|verdict| verdict.verdict);
    let is_bad = truth.expected == "fail";
    let zero = if is_bad {
        truth.onset
    } else {
        begin.at.seconds_f64()
    };
    let stage = plan.services[&begin.service]
        .stages
        .iter()
        .find(|stage| stage.name == begin.stage)
        .expect("the deployment was taken");
    let rules = tape.rules(
        &engine,
        &begin,
        (begin.at + stage.grace, begin.at + stage.bake.max),
    );
    Outcome {
        truth: truth.clone(),
        ours: failed_at.map(|at| at.seconds_f64() - zero),
        is_blind: state == Some(VerdictState::NoData),
        rules: rules
            .into_iter()
            .map(|at| Some(at?.seconds_f64() - zero))
            .collect(),
    }
}

impl Tape {
    fn take(&mut self, engine: &Engine, plan: &Plan, begin: &Begin) {
        let end = engine.watermark();
        if self.ends.last().is_some_and(|last| end <= *last) || end == Timestamp::MIN {
            return;
        }
        // A gap in the data is a gap for everybody.
        while let Some(last) = self.ends.last()
            && *last + plan.resolution < end
        {
            self.ends.push(*last + plan.resolution);
        }
        self.ends.push(end);
        let bucket = Interval {
            start: end - plan.resolution,
            end,
        };
        let stages = &plan.services[&begin.service].stages;
        let Some(stage) = stages.iter().find(|stage| stage.name == begin.stage) else {
            return;
        };
        let is_used = |watched: &Watched<'_>| {
            let mut used = stage.checks.iter();
            watched.service == begin.service
                && used.any(|used| used.check == watched.check.name && used.mode == Mode::Blocking)
        };
        for watched in engine.watched().filter(is_used) {
            let DetectorPlan::Compare { direction, .. } = watched.check.detector else {
                continue;
            };
            for (index, group) in watched.panel.groups() {
                let key = (watched.check.name.clone(), index);
                let taped = self.metrics.entry(key).or_insert_with(|| Taped {
                    direction,
                    is_count: group.kind == Kind::Counter,
                    values: Vec::new(),
                });
                taped.values.resize_with(self.ends.len(), Vec::new);
                for host in watched.hosts.ids() {
                    let cell = group.track(host).and_then(|track| track.cell(bucket));
                    let value = cell.map(|cell| match cell.exposure {
                        Some(exposure) => cell.value / exposure,
                        None => cell.value,
                    });
                    if let Some(value) = value.filter(|value| value.is_finite()) {
                        taped.values[self.ends.len() - 1].push((host, value));
                    }
                }
            }
        }
    }

    /// When each rule fails the deployment.
    fn rules(
        mut self,
        engine: &Engine,
        begin: &Begin,
        (from, until): (Timestamp, Timestamp),
    ) -> Vec<Option<Timestamp>> {
        let count = self.ends.iter().take_while(|end| **end <= until).count();
        let position = |at: Timestamp| self.ends.iter().take_while(|end| **end <= at).count();
        let times = Times {
            from: position(from).min(count),
            before: position(begin.at).min(count),
            width: (engine.plan().resolution.seconds_f64() as usize).max(1),
        };
        let mut is_own: BTreeMap<HostId, Option<bool>> = BTreeMap::new();
        for watched in engine
            .watched()
            .filter(|watched| watched.service == begin.service)
        {
            for host in watched.hosts.ids() {
                let name = watched.hosts.get(host).name.to_string();
                let role = if begin.one_box.contains(&name) {
                    Some(true)
                } else {
                    (begin.fleet.is_empty() || begin.fleet.contains(&name)).then_some(false)
                };
                is_own.insert(host, role);
            }
        }
        let metrics: Vec<Metric> = std::mem::take(&mut self.metrics)
            .into_values()
            .map(|mut taped| {
                taped.values.resize_with(self.ends.len(), Vec::new);
                let mean = |role: bool| {
                    let means = taped.values[..count].iter().map(|values| {
                        let of_role = values.iter().filter(|(host, _)| is_own[host] == Some(role));
                        let (count, sum) = of_role.fold((0.0, 0.0), |(count, sum), (_, value)| {
                            (count + 1.0, sum + value)
                        });
                        sum / count
                    });
                    means.collect()
                };
                Metric {
                    direction: taped.direction,
                    is_count: taped.is_count,
                    one_box: mean(true),
                    fleet: mean(false),
                }
            })
            .collect();
        let at = |rule: &Rule| rule.fails(&metrics, times).map(|bucket| self.ends[bucket]);
        Rule::ALL.iter().map(at).collect()
    }
}
