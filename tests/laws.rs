//! Laws that hold for any input: the order of arrival, the names of hosts, missing and foreign data.
//!
//! Each case is a small random world: a fleet with all kinds of checks, metrics with resets, NaN,
//! stale markers and duplicates, distributions of every sort, log records, and deployments with
//! steps and bypasses. Sizes shrink; what fills them comes from a seed.

mod common;
#[path = "common/resume.rs"]
mod resume;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use common::{Driver, batch, begin, block, noise::Noise, plan, point, record};
use proptest::prelude::*;
use sluice::{
    engine::{Input, Output},
    event::{
        Batch, Bypass, DeploymentEvent, End, ExponentialBuckets, Histogram, Kind, Labels,
        LogRecord, SeriesBlock, Severity, Span, Step, StepOutcome, Timestamp, Value,
    },
    gate::{Line, LineKind, Verdict, VerdictState},
    plan::Plan,
};

const RESOLUTION: Span = Span::from_seconds(60);
const BEGAN: i64 = 1_772_532_000;

/// Checks of every kind, small enough that short worlds decide them.
const PLAN: &str = r"
resolution: 60s
lateness: 60s
limits: {samples_per_bucket: 6, templates: 5}
checks:
  bounds:     {metric: cpu, bounds: {min: 1, max: 95, for: 2m}}
  ratio:      {metric: errors_total, per: requests_total, bounds: {max: 30%}}
  derivative: {metric: memory, derivative: {max: 90%/h, over: 10m}}
  trend:      {metric: memory, derivative: {over: 10m}}
  sigma:      {metric: cpu, sigma: {}}
  compare:    {metric: cpu, compare: {}}
  errors:     {metric: errors_total, per: requests_total, compare: {direction: up}}
  quantiles:  {metric: latency, compare: {direction: up}}
  p99:        {metric: latency, quantile: 0.99, bounds: {max: 8}}
  classic:    {metric: wait, quantile: 0.9, bounds: {max: 8}}
  absent:     {metric: cpu, absent: 4m}
  load:       {metric: requests_total, load: {factor: 0.1, of: prod}}
  rate:       {logs: {severity: ERROR}, bounds: {max: 600/m}}
  log-rate:   {logs: {severity: ERROR}, compare: {direction: up}}
  silent:     {logs: {body: served}, absent: 6m}
  new:        {logs: {severity: ERROR, new: true}}
services:
  app:
    stages:
      - name: canary
        steps: [smoke-tests]
        bake: {min: 18m, max: 22m}
        grace: 2m
        checks: [bounds, ratio, derivative, trend, sigma, compare, errors, quantiles, p99, classic, absent, load, rate, log-rate, silent, new]
      - {name: prod, match: {env: prod}, steps: [smoke-tests]}
";

/// The plan with all checks: parsing it takes longer than running a world.
static ALL: LazyLock<Arc<Plan>> = LazyLock::new(|| plan(PLAN));

/// The size of a world, and the seed of what is in it.
#[derive(Clone, Copy, Debug)]
struct World {
    seed: u64,
    one_box: usize,
    fleet: usize,
    past: i64,
    /// Bit set of the checks that are blocking; the others are left out.
    checks: u16,
    /// Share of scrapes that are damaged or missing, in percent.
    damage: u8,
}

fn worlds() -> impl Strategy<Value = World> {
    (
        any::<u64>(),
        1..3usize,
        0..5usize,
        1..12i64,
        1..=u16::MAX,
        0..30u8,
    )
        .prop_map(|(seed, one_box, fleet, past, checks, damage)| World {
            seed,
            one_box,
            fleet,
            past,
            checks,
            damage,
        })
}

/// What happens between two ticks, in an order that must not matter but for that of the events.
#[derive(Clone, Debug, Default)]
struct Moment {
    events: Vec<DeploymentEvent>,
    batch: Batch,
    tick: Timestamp,
}

/// Cases of each law; each runs one or two worlds.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn the_same_inputs_say_the_same_bytes(world in worlds()) {
        let (plan, moments) = world.build();
        prop_assert_eq!(run(&plan, &moments), run(&plan, &moments));
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn between_two_ticks_the_order_of_arrival_does_not_matter(world in worlds(), seed: u64) {
        let (plan, moments) = world.build();
        prop_assert_eq!(run(&plan, &moments), run_shuffled(&plan, &moments, seed));
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn other_names_of_hosts_in_the_same_order_only_rename(world in worlds(), seed: u64) {
        let (plan, moments) = world.build();
        let names = Names::new(seed);
        let renamed: Vec<Moment> = moments.iter().map(|moment| names.rename(moment)).collect();
        let expected: Vec<String> =
            run(&plan, &moments).iter().map(|line| names.in_text(line)).collect();
        prop_assert_eq!(expected, run(&plan, &renamed));
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn what_no_check_selects_changes_nothing(world in worlds(), seed: u64) {
        let (plan, moments) = world.build();
        let more: Vec<Moment> = moments.iter().map(|moment| with_strangers(moment, seed)).collect();
        prop_assert_eq!(run(&plan, &moments), run(&plan, &more));
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn a_judged_host_that_falls_silent_never_leaves_a_pass(world in worlds(), from in -2..6i64) {
        let world = World { damage: 0, ..world };
        let (plan, moments) = world.build_named();
        let cut: Vec<Moment> =
            moments.iter().map(|moment| without(moment, "host-00", World::at(from))).collect();
        for state in states(&plan, &cut) {
            prop_assert_ne!(state, VerdictState::Pass);
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn less_data_beside_a_silent_host_never_makes_a_pass(world in worlds(), from in -2..6i64, seed: u64) {
        let (plan, moments) = world.build_named();
        let left: Vec<Moment> = moments
            .iter()
            .map(|moment| thinned(&without(moment, "host-00", World::at(from)), seed))
            .collect();
        for state in states(&plan, &left) {
            prop_assert_ne!(state, VerdictState::Pass);
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn gates_that_are_saved_and_restored_go_on_as_before(world in worlds(), every in 1..5usize) {
        let (plan, moments) = world.build();
        let resumed = run_resumed(&plan, &moments, every, |_| ());
        prop_assert_eq!(run(&plan, &moments), resumed);
    }
}

/// The law before would prove little if some detectors never learned anything. `tests/snapshot.rs`
/// holds what recordings reach.
#[test]
fn the_worlds_restore_what_recordings_do_not() {
    let mut missing = vec![
        "ended: true",
        "Failed",
        "NoPast",
        "Some(Past {",
        "Fresh(FreshTest",
    ];
    for seed in 0..200 {
        let world = World {
            seed,
            one_box: 1 + seed as usize % 2,
            fleet: seed as usize % 5,
            past: 1 + seed as i64 % 40,
            checks: u16::MAX,
            damage: (seed % 3) as u8 * 10,
        };
        let (plan, moments) = world.build();
        run_resumed(&plan, &moments, 5, |gate| {
            missing.retain(|word| !gate.contains(word));
        });
        if missing.is_empty() {
            return;
        }
    }
    panic!("no gate was restored with {missing:?}");
}

/// The laws would hold trivially if nothing ever passed or failed.
#[test]
fn the_worlds_reach_every_verdict() {
    let mut counts = BTreeMap::new();
    for seed in 0..300 {
        let world = World {
            seed,
            one_box: 1 + seed as usize % 2,
            fleet: seed as usize % 5,
            past: 11,
            checks: 1 << (seed % 16),
            damage: (seed % 3) as u8 * 10,
        };
        let (plan, moments) = world.build_named();
        if let Some(state) = states(&plan, &moments).last() {
            *counts.entry(*state).or_insert(0u32) += 1;
        }
    }
    for state in [VerdictState::Pass, VerdictState::Fail, VerdictState::NoData] {
        assert!(
            counts.get(&state).is_some_and(|count| *count > 10),
            "{counts:?}"
        );
    }
}

impl World {
    /// The bucket that begins so long after the deployment.
    fn at(bucket: i64) -> Timestamp {
        Timestamp::from_seconds(BEGAN) + RESOLUTION.times(bucket)
    }

    fn plan(&self) -> Arc<Plan> {
        let mut plan = (**ALL).clone();
        let app = plan
            .services
            .get_mut("app")
            .expect("the service is configured");
        let mut bit = 0;
        app.stages[0].checks.retain(|_| {
            bit += 1;
            self.checks & (1 << (bit - 1)) != 0
        });
        Arc::new(plan)
    }

    /// A world in which the one-box is named, every step passes, and nobody interferes.
    fn build_named(&self) -> (Arc<Plan>, Vec<Moment>) {
        let (plan, mut moments) = self.build();
        for moment in &mut moments {
            moment.events.clear();
        }
        let mut began = begin(World::at(0), "d1");
        began.one_box = (0..self.one_box).map(host_name).collect();
        let step = Step {
            at: World::at(1),
            deployment: "d1".to_owned(),
            step: "smoke-tests".to_owned(),
            outcome: StepOutcome::Passed,
        };
        let start = self.past as usize;
        moments[start].events.push(DeploymentEvent::Begin(began));
        moments[start + 1].events.push(DeploymentEvent::Step(step));
        (plan, moments)
    }

    fn build(&self) -> (Arc<Plan>, Vec<Moment>) {
        let mut noise = Noise::new(self.seed);
        let mut hosts: Vec<Host> = (0..self.one_box + self.fleet)
            .map(|index| Host::new(index, index < self.one_box, &mut noise))
            .collect();
        let moments = (-self.past..25)
            .map(|bucket| {
                let mut moment = Moment {
                    tick: World::at(bucket + 1) + RESOLUTION,
                    ..Moment::default()
                };
                for host in &mut hosts {
                    host.send(self, bucket, &mut noise, &mut moment);
                }
                self.events(bucket, &mut noise, &mut moment.events);
                moment
            })
            .collect();
        (self.plan(), moments)
    }

    /// Two deployments that overlap, with steps, bypasses and ends now and then.
    fn events(&self, bucket: i64, noise: &mut Noise, events: &mut Vec<DeploymentEvent>) {
        for (deployment, start) in [("d1", 0), ("d2", 3)] {
            let at = World::at(bucket) + Span::from_seconds(below(noise, 60) as i64);
            let deployment = deployment.to_owned();
            if bucket == start {
                let mut began = begin(at, &deployment);
                if happens(noise, 0.7) {
                    began.one_box = (0..self.one_box).map(host_name).collect();
                }
                if happens(noise, 0.3) {
                    began.fleet = (self.one_box..self.one_box + self.fleet)
                        .map(host_name)
                        .collect();
                }
                events.push(DeploymentEvent::Begin(began));
            } else if bucket > start && happens(noise, 0.15) {
                let outcome = if happens(noise, 0.9) {
                    StepOutcome::Passed
                } else {
                    StepOutcome::Failed
                };
                let step = "smoke-tests".to_owned();
                events.push(DeploymentEvent::Step(Step {
                    at,
                    deployment,
                    step,
                    outcome,
                }));
            } else if bucket > start && happens(noise, 0.01) {
                let (by, reason, ticket) = ("ana".to_owned(), "hurry".to_owned(), "T-1".to_owned());
                events.push(DeploymentEvent::Bypass(Bypass {
                    at,
                    deployment,
                    by,
                    reason,
                    ticket,
                }));
            } else if bucket > start && happens(noise, 0.012) {
                events.push(DeploymentEvent::End(End { at, deployment }));
            }
        }
    }
}

/// A host and its counters.
struct Host {
    name: String,
    is_new: bool,
    level: f64,
    requests: f64,
    errors: f64,
    counts: [f64; 4],
    waits: [f64; 3],
    harm: f64,
    /// Series that were sent before, without points: making labels takes time.
    known: BTreeMap<(&'static str, &'static str, bool), SeriesBlock>,
}

impl Host {
    fn new(index: usize, is_new: bool, noise: &mut Noise) -> Self {
        Self {
            name: host_name(index),
            is_new,
            level: 40.0 + 5.0 * noise.normal(),
            requests: (1e5 * noise.uniform()).round(),
            errors: (1e3 * noise.uniform()).round(),
            counts: [0.0; 4],
            waits: [0.0; 3],
            harm: if is_new && happens(noise, 0.3) {
                2.4
            } else {
                1.0
            },
            known: BTreeMap::new(),
        }
    }

    /// The samples and records of one bucket.
    fn send(&mut self, world: &World, bucket: i64, noise: &mut Noise, moment: &mut Moment) {
        let damage = f64::from(world.damage) / 100.0;
        if happens(noise, damage / 3.0) {
            return;
        }
        if happens(noise, damage / 5.0) {
            self.requests = 0.0;
            self.errors = 0.0;
            self.counts = [0.0; 4];
            self.waits = [0.0; 3];
        }
        for second in [below(noise, 30) as i64, 30 + below(noise, 30) as i64] {
            let at = World::at(bucket) + Span::from_seconds(second);
            self.grow(bucket, noise);
            let labels = self.labels(bucket);
            let labels: Vec<(&str, &str)> = labels
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            let factor = if 0 <= bucket { self.harm } else { 1.0 };
            let cpu = self.level * factor + noise.normal();
            let memory = 1e9 * factor + 1e6 * noise.normal();
            let number = |metric, label, kind, value| (metric, label, kind, Value::Number(value));
            let mut values = vec![
                number("cpu", ("", ""), Kind::Gauge, cpu),
                number("memory", ("", ""), Kind::Gauge, memory),
                ("latency", ("", ""), Kind::Histogram, self.latency()),
            ];
            // Several series of one host that are added up; their sums are not exact.
            for (path, share) in [("/a", 0.1), ("/b", 0.7), ("/c", 1.0 / 3.0)] {
                for (metric, total) in [
                    ("requests_total", self.requests),
                    ("errors_total", self.errors),
                ] {
                    values.push(number(metric, ("path", path), Kind::Counter, share * total));
                }
            }
            for (le, count) in ["1", "10", "+Inf"].into_iter().zip(self.waits) {
                values.push(number("wait_bucket", ("le", le), Kind::Counter, count));
            }
            for (metric, label, kind, value) in values {
                let mut points = vec![point(at, value)];
                if happens(noise, damage) {
                    spoil(&mut points, noise);
                }
                let known = self
                    .known
                    .entry((metric, label.1, 0 <= bucket))
                    .or_insert_with(|| {
                        let all: Vec<(&str, &str)> =
                            labels.iter().chain(&[label]).copied().collect();
                        block(metric, &all, kind, Vec::new())
                    });
                moment.batch.series.push(SeriesBlock {
                    points,
                    ..known.clone()
                });
            }
            self.log(at, &labels, factor, noise, &mut moment.batch.logs);
        }
    }

    fn grow(&mut self, bucket: i64, noise: &mut Noise) {
        let harm = if 0 <= bucket { self.harm } else { 1.0 };
        let served = 200.0 + (20.0 * noise.normal()).round();
        self.requests += served;
        self.errors += (0.05 * served * harm).round();
        for (index, count) in self.counts.iter_mut().enumerate() {
            *count += (served / (1.0 + 3.0 * index as f64)).round();
        }
        for (wait, share) in self.waits.iter_mut().zip([0.8, 0.95, 1.0]) {
            *wait += (served * share).round();
        }
    }

    fn labels(&self, bucket: i64) -> Vec<(&'static str, String)> {
        let is_new = self.is_new && 0 <= bucket;
        vec![
            ("host", self.name.clone()),
            (
                "env",
                if self.is_new { "canary" } else { "prod" }.to_owned(),
            ),
            ("version", if is_new { "v2" } else { "v1" }.to_owned()),
        ]
    }

    /// A cumulative distribution; some hosts send exponential buckets, others explicit bounds.
    fn latency(&self) -> Value {
        let counts = self.counts.to_vec();
        Value::Histogram(Box::new(if self.name.ends_with(['1', '4']) {
            Histogram::Exponential {
                scale: 0,
                zero_count: 1.0,
                zero_threshold: 0.0,
                positive: ExponentialBuckets { offset: -1, counts },
                negative: ExponentialBuckets::default(),
                sum: None,
            }
        } else {
            Histogram::Explicit {
                bounds: vec![1.0, 2.0, 4.0],
                counts,
                sum: None,
            }
        }))
    }

    fn log(
        &self,
        at: Timestamp,
        labels: &[(&str, &str)],
        factor: f64,
        noise: &mut Noise,
        logs: &mut Vec<LogRecord>,
    ) {
        logs.push(record(
            at,
            labels,
            Severity::INFO,
            &format!("served {}", self.requests),
        ));
        for _ in 0..below(noise, 2) {
            let kind = below(noise, if factor > 1.0 { 9 } else { 2 });
            let name = [
                "timeout", "refused", "null", "denied", "full", "stale", "lost", "torn", "late",
            ];
            logs.push(record(
                at,
                labels,
                Severity::ERROR,
                &format!("{} of {at}", name[kind]),
            ));
        }
    }
}

/// What `replay --output json` would print: changes and refusals, then the final verdicts.
fn lines(driver: &Driver) -> Vec<String> {
    let line = |kind, verdict: Verdict| {
        serde_json::to_string(&Line { kind, verdict }).expect("a verdict is plain data")
    };
    let said = driver.outputs.iter().map(|output| match output {
        Output::Verdict(verdict) => line(LineKind::Verdict, (**verdict).clone()),
        Output::Shadow(verdict) => line(LineKind::Shadow, (**verdict).clone()),
        Output::Ended(end) => format!("ended: {end:?}"),
        Output::Refused(refusal) => format!("refused: {refusal}"),
        Output::Forgotten(gate) => format!("forgotten: {}", gate.begin.deployment),
    });
    let gates = driver.engine.gates();
    let last = gates.map(|gate| line(LineKind::Final, gate.verdict()));
    said.chain(last).collect()
}

/// Whether something of this chance happens.
fn happens(noise: &mut Noise, chance: f64) -> bool {
    noise.uniform() < chance
}

/// In `0..below`.
fn below(noise: &mut Noise, below: usize) -> usize {
    (noise.next() % below.max(1) as u64) as usize
}

fn host_name(index: usize) -> String {
    format!("host-{index:02}")
}

/// One way in which real data is bad.
fn spoil(points: &mut Vec<sluice::event::Point>, noise: &mut Noise) {
    let at = points[0].at;
    match below(noise, 7) {
        0 => points[0].value = Value::Number(f64::NAN),
        1 => points[0].value = Value::Number(f64::INFINITY),
        2 => points[0].value = Value::Stale,
        3 => points[0].at = at + Span::from_seconds(-150),
        4 => points[0].at = at + Span::from_minutes(20),
        // Sent twice: once more the same, or with another value at the same time.
        5 => points.push(points[0].clone()),
        _ => {
            let number = Value::Number(noise.uniform());
            points.push(point(at, number));
        }
    }
}

fn run(plan: &Arc<Plan>, moments: &[Moment]) -> Vec<String> {
    let mut driver = Driver::new(plan);
    for moment in moments {
        for event in &moment.events {
            driver.step(Input::Deployment(event.clone()));
        }
        driver.step(Input::Batch(&moment.batch));
        driver.step(Input::Tick(moment.tick));
    }
    lines(&driver)
}

/// Runs the moments, and puts the gates back from their states after each event and after every so
/// many ticks.
fn run_resumed(
    plan: &Arc<Plan>,
    moments: &[Moment],
    every: usize,
    mut restored: impl FnMut(&str),
) -> Vec<String> {
    let mut driver = Driver::new(plan);
    for (index, moment) in moments.iter().enumerate() {
        for event in &moment.events {
            driver.step(Input::Deployment(event.clone()));
            resume::resume(&mut driver.engine);
        }
        driver.step(Input::Batch(&moment.batch));
        driver.step(Input::Tick(moment.tick));
        if index.is_multiple_of(every) {
            resume::resume(&mut driver.engine);
            for gate in resume::gates(&driver.engine) {
                restored(&gate);
            }
        }
    }
    lines(&driver)
}

/// The verdicts that were said of d1, and the last.
fn states(plan: &Arc<Plan>, moments: &[Moment]) -> Vec<VerdictState> {
    let mut driver = Driver::new(plan);
    for moment in moments {
        for event in &moment.events {
            driver.step(Input::Deployment(event.clone()));
        }
        driver.step(Input::Batch(&moment.batch));
        driver.step(Input::Tick(moment.tick));
    }
    let last = driver.engine.verdict("d1").map(|verdict| verdict.verdict);
    driver
        .verdicts()
        .map(|verdict| verdict.verdict)
        .chain(last)
        .collect()
}

/// Runs the moments with their samples and records in any order, in batches of any size, and the
/// events anywhere between them.
fn run_shuffled(plan: &Arc<Plan>, moments: &[Moment], seed: u64) -> Vec<String> {
    let mut noise = Noise::new(seed);
    let mut driver = Driver::new(plan);
    for moment in moments {
        let mut pieces: Vec<Batch> = Vec::new();
        for block in &moment.batch.series {
            for point in &block.points {
                let alone = SeriesBlock {
                    points: vec![point.clone()],
                    ..block.clone()
                };
                pieces.push(batch(vec![alone], Vec::new()));
            }
        }
        pieces.extend(
            moment
                .batch
                .logs
                .iter()
                .map(|log| batch(Vec::new(), vec![log.clone()])),
        );
        for index in (1..pieces.len()).rev() {
            pieces.swap(index, below(&mut noise, index + 1));
        }
        let mut events = moment.events.iter();
        let mut pieces = pieces.into_iter().peekable();
        while pieces.peek().is_some() {
            if happens(&mut noise, 0.1)
                && let Some(event) = events.next()
            {
                driver.step(Input::Deployment(event.clone()));
            }
            let mut merged = Batch::default();
            for piece in pieces.by_ref().take(1 + below(&mut noise, 9)) {
                merged.series.extend(piece.series);
                merged.logs.extend(piece.logs);
            }
            driver.step(Input::Batch(&merged));
        }
        for event in events {
            driver.step(Input::Deployment(event.clone()));
        }
        driver.step(Input::Tick(moment.tick));
    }
    lines(&driver)
}

/// Other names for hosts, in the same order.
struct Names(Vec<String>);

impl Names {
    fn new(seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let mut numbers: Vec<usize> = (0..8)
            .map(|index| 1000 * index + below(&mut noise, 1000))
            .collect();
        numbers.sort_unstable();
        Self(
            numbers
                .iter()
                .map(|number| format!("machine-{number:04}"))
                .collect(),
        )
    }

    fn in_text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (index, name) in self.0.iter().enumerate() {
            text = text.replace(&host_name(index), name);
        }
        text
    }

    fn in_labels(&self, labels: &Labels) -> Labels {
        Labels::new(
            labels
                .iter()
                .map(|(name, value)| (name, self.in_text(value))),
        )
    }

    fn rename(&self, moment: &Moment) -> Moment {
        let mut moment = moment.clone();
        for block in &mut moment.batch.series {
            block.labels = self.in_labels(&block.labels);
        }
        for record in &mut moment.batch.logs {
            record.attributes = self.in_labels(&record.attributes);
        }
        for event in &mut moment.events {
            if let DeploymentEvent::Begin(begin) = event {
                for host in begin.one_box.iter_mut().chain(&mut begin.fleet) {
                    *host = self.in_text(host);
                }
            }
        }
        moment
    }
}

/// With series that no check selects, and records of another service, among the others.
fn with_strangers(moment: &Moment, seed: u64) -> Moment {
    let mut noise = Noise::new(seed ^ moment.tick.nanos() as u64);
    let mut moment = moment.clone();
    for _ in 0..below(&mut noise, 6) {
        let at = moment.tick - Span::from_seconds(150)
            + Span::from_seconds(below(&mut noise, 300) as i64);
        let host = host_name(below(&mut noise, 9));
        let points = vec![point(at, Value::Number(noise.normal()))];
        let stranger = block("temperature", &[("host", &host)], Kind::Gauge, points);
        moment
            .batch
            .series
            .insert(below(&mut noise, moment.batch.series.len() + 1), stranger);
        let mut other = record(at, &[("host", &host)], Severity::ERROR, "served nobody");
        other.attributes = Labels::new([("host", &*host), ("service", "other")]);
        moment
            .batch
            .logs
            .insert(below(&mut noise, moment.batch.logs.len() + 1), other);
    }
    moment
}

/// Without anything of the host from an instant on.
fn without(moment: &Moment, host: &str, from: Timestamp) -> Moment {
    let mut moment = moment.clone();
    for block in &mut moment.batch.series {
        if block.labels.get("host") == Some(host) {
            block.points.retain(|point| point.at < from);
        }
    }
    moment
        .batch
        .logs
        .retain(|record| record.attributes.get("host") != Some(host) || record.at < from);
    moment
}

/// With a random part of its samples and records.
fn thinned(moment: &Moment, seed: u64) -> Moment {
    let mut noise = Noise::new(seed ^ moment.tick.nanos() as u64);
    let chance = Noise::new(seed).uniform();
    let mut moment = moment.clone();
    for block in &mut moment.batch.series {
        block.points.retain(|_| !happens(&mut noise, chance));
    }
    moment.batch.logs.retain(|_| !happens(&mut noise, chance));
    moment
}
