//! Deployments that never happened: drawn from a seed, judged by an engine of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Sightings, Trial, random::Random};
use crate::{
    engine::{Engine, Input, Output},
    event::{Begin, DeploymentEvent, Interval, Span, Step, StepOutcome, Timestamp},
    gate::Gate,
    plan::{Plan, Policies, StagePlan, StartBlockers},
};

/// What must be known of a recording before placebos are drawn.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// From the first to the last data.
    pub data: Option<Interval>,
    /// What deployers told.
    pub events: Vec<DeploymentEvent>,
    /// The hosts that ever showed a version.
    pub hosts_by_version: BTreeMap<String, BTreeSet<String>>,
}

/// Mock deployments on the data of a recording.
#[derive(Debug)]
pub struct Placebos {
    recording: usize,
    engine: Engine,
    targets: Vec<Target>,
    /// The latest first.
    draws: Vec<Draw>,
    random: Random,
    sightings: Sightings,
    trials: Vec<Trial>,
    begun: u64,
    skipped: BTreeMap<&'static str, u64>,
    outputs: Vec<Output>,
}

/// Where placebos are made.
#[derive(Debug)]
struct Target {
    service: String,
    region: Option<String>,
    stage: StagePlan,
    /// Sizes of the real one-boxes, one of which a placebo gets; 0: the whole stage.
    sizes: Vec<usize>,
    /// When something was deployed.
    busy: Vec<Interval>,
    data: Interval,
}

#[derive(Debug)]
struct Draw {
    at: Timestamp,
    target: usize,
}

/// Time of data before the first placebo, if there is as much: real deployments have a past.
const PAST: Span = Span::from_hours(1);
/// Shortest time within which a host that lives is heard.
const ALIVE: Span = Span::from_minutes(2);
/// The same in buckets.
const ALIVE_BUCKETS: i64 = 5;

impl Placebos {
    /// Draws so many placebos for a recording, as its configuration and its real deployments suggest:
    /// in the stages and regions that had deployments, or in every stage that bakes where there was
    /// none.
    pub fn draw(recording: usize, plan: &Plan, history: &History, count: usize, seed: u64) -> Self {
        let mut random = Random::new(seed ^ (recording as u64).wrapping_mul(0x9e37_79b9));
        let targets = targets(plan, history);
        let mut skipped = BTreeMap::new();
        let mut draws = Vec::new();
        let with_room: Vec<(usize, Vec<Interval>)> = targets
            .iter()
            .map(|target| target.free(plan.resolution))
            .enumerate()
            .filter(|(_, free)| !free.is_empty())
            .collect();
        if with_room.is_empty() {
            let why = if targets.is_empty() {
                "no stage bakes and checks anything"
            } else {
                "the recording has no time without a deployment that is as long as a bake"
            };
            skipped.insert(why, count as u64);
        } else {
            for index in 0..count {
                let (target, free) = &with_room[index % with_room.len()];
                let at = pick(free, plan.resolution, &mut random);
                draws.push(Draw {
                    at,
                    target: *target,
                });
            }
        }
        draws.sort_by_key(|draw| std::cmp::Reverse(draw.at));
        let mut plan = plan.clone();
        plan.limits.open_gates = usize::MAX;
        Self {
            recording,
            engine: Engine::new(Arc::new(without_policies(plan))),
            targets,
            draws,
            random,
            sightings: Sightings::default(),
            trials: Vec::new(),
            begun: 0,
            skipped,
            outputs: Vec::new(),
        }
    }

    /// Takes data.
    ///
    /// # Panics
    /// The input is a tick or a deployment: those are the placebos' own.
    pub fn take(&mut self, input: Input<'_>) {
        assert!(
            !matches!(input, Input::Tick(_) | Input::Deployment(_)),
            "placebos are shown data only"
        );
        self.step(input);
    }

    /// The clock has come this far.
    pub fn tick(&mut self, now: Timestamp) {
        self.step(Input::Tick(now));
        self.sightings.look(&self.engine);
        self.collect(Gate::is_final);
        while self.draws.last().is_some_and(|draw| draw.at <= now) {
            let draw = self.draws.pop().expect("there is a last one");
            self.begin(draw.target, now);
        }
    }

    /// What became of them, at the end of the data; and of those that could not begin, how many for
    /// which reason.
    pub fn finish(mut self) -> (Vec<Trial>, BTreeMap<&'static str, u64>) {
        let ends = self.engine.gates().map(Gate::bake_until);
        if let Some(end) = ends.max() {
            self.tick(self.engine.replay_until(end));
        }
        self.collect(|_| true);
        if !self.draws.is_empty() {
            let late = self.skipped.entry("the data ended before").or_default();
            *late += self.draws.len() as u64;
        }
        (self.trials, self.skipped)
    }

    fn step(&mut self, input: Input<'_>) {
        self.engine.step(input, &mut self.outputs);
        self.outputs.clear();
    }

    /// Sums up gates and lets go of them: an engine may have seen thousands.
    fn collect(&mut self, is_done: impl Fn(&Gate) -> bool) {
        let gates = self.engine.gates().filter(|gate| is_done(gate));
        let done: Vec<String> = gates.map(|gate| gate.begin.deployment.clone()).collect();
        for deployment in done {
            if let Some(gate) = self.engine.dismiss(&deployment) {
                self.trials
                    .push(self.sightings.trial(self.recording, true, &gate));
            }
        }
    }

    fn begin(&mut self, target: usize, now: Timestamp) {
        let one_box = match self.one_box(target, now) {
            Ok(one_box) => one_box,
            Err(why) => {
                *self.skipped.entry(why).or_default() += 1;
                return;
            }
        };
        let target = &self.targets[target];
        self.begun += 1;
        let deployment = format!("placebo-{:06}", self.begun);
        let steps = target.stage.steps.clone();
        let begin = Begin {
            at: now,
            deployment: deployment.clone(),
            service: target.service.clone(),
            stage: target.stage.name.clone(),
            region: target.region.clone(),
            version: "placebo".to_owned(),
            one_box,
            fleet: Vec::new(),
            weight: 1.0,
            hotfix: None,
        };
        self.step(Input::Deployment(DeploymentEvent::Begin(begin)));
        for step in steps {
            self.step(Input::Deployment(DeploymentEvent::Step(Step {
                at: now,
                deployment: deployment.clone(),
                step,
                outcome: StepOutcome::Passed,
            })));
        }
    }

    /// Chooses the mock one-box among the hosts that live.
    fn one_box(&mut self, target: usize, now: Timestamp) -> Result<Vec<String>, &'static str> {
        let target = &self.targets[target];
        // Between two buckets of data there may be a gap that the draw did not know of.
        if !target.is_free(now) {
            return Err("a gap in the data moved it into a deployment or beyond the end");
        }
        let size = target.sizes[self.random.below(target.sizes.len() as u64) as usize];
        if size == 0 {
            return Ok(Vec::new());
        }
        let resolution = self.engine.plan().resolution;
        let since = self.engine.watermark() - ALIVE.max(resolution.times(ALIVE_BUCKETS));
        let stage = &target.stage.name;
        let known = self
            .engine
            .hosts(&target.service, stage, target.region.as_deref());
        let alive: Vec<_> = known
            .into_iter()
            .filter(|host| since < host.last_data && !host.name.is_empty())
            .collect();
        if alive.len() <= size {
            return Err("not more living hosts than a one-box has");
        }
        let of_stage = alive.iter().filter(|host| host.is_in_stage).count();
        let names = alive
            .into_iter()
            .filter(|host| of_stage < size || host.is_in_stage)
            .map(|host| host.name.to_string());
        let names: Vec<String> = names.collect();
        Ok(self.random.choose(names, size))
    }
}

impl Target {
    /// Whether a placebo that begins now meets no deployment and ends within the data.
    fn is_free(&self, at: Timestamp) -> bool {
        let end = at + self.stage.bake.max;
        let meets = |busy: &Interval| at < busy.end && busy.start < end;
        end <= self.data.end && !self.busy.iter().any(meets)
    }

    /// When a placebo may begin: from each start up to each end, both included.
    fn free(&self, resolution: Span) -> Vec<Interval> {
        let past = PAST.nanos().min(self.data.span().nanos() / 4);
        let up = |at: Timestamp| {
            let floor = at.floor(resolution);
            if floor == at {
                floor
            } else {
                floor + resolution
            }
        };
        let last = (self.data.end - self.stage.bake.max).floor(resolution);
        let mut from = up(self.data.start + Span::from_nanos(past));
        let mut busy = self.busy.clone();
        busy.sort_by_key(|interval| interval.start);
        let mut free = Vec::new();
        for interval in busy {
            let end = (interval.start - self.stage.bake.max)
                .floor(resolution)
                .min(last);
            if from <= end {
                free.push(Interval { start: from, end });
            }
            from = from.max(up(interval.end));
        }
        if from <= last {
            free.push(Interval {
                start: from,
                end: last,
            });
        }
        free
    }
}

/// One of the moments of the intervals, each equally likely.
fn pick(free: &[Interval], resolution: Span, random: &mut Random) -> Timestamp {
    let moments = |interval: &Interval| 1 + (interval.span().nanos() / resolution.nanos()) as u64;
    let mut index = random.below(free.iter().map(moments).sum());
    for interval in free {
        if index < moments(interval) {
            return interval.start + resolution.times(index as i64);
        }
        index -= moments(interval);
    }
    unreachable!("the index is below the number of moments")
}

/// The stages and regions to make placebos in.
fn targets(plan: &Plan, history: &History) -> Vec<Target> {
    let Some(data) = history.data else {
        return Vec::new();
    };
    let begins = || {
        history.events.iter().filter_map(|event| match event {
            DeploymentEvent::Begin(begin) => Some(begin),
            DeploymentEvent::Step(_) | DeploymentEvent::Bypass(_) | DeploymentEvent::End(_) => None,
        })
    };
    let mut places: BTreeMap<(&str, &str, Option<&str>), Vec<usize>> = BTreeMap::new();
    // What the configuration does not know is of no use here.
    for begin in begins().filter(|begin| plan.services.contains_key(&begin.service)) {
        let place = (&*begin.service, &*begin.stage, begin.region.as_deref());
        places.entry(place).or_default().push(size(begin, history));
    }
    if places.is_empty() {
        for service in plan.services.values() {
            for stage in &service.stages {
                let regions = stage.regions.iter().map(|region| Some(&**region));
                let nowhere = stage.regions.is_empty().then_some(None);
                for region in regions.chain(nowhere) {
                    places.insert((&service.name, &stage.name, region), vec![1]);
                }
            }
        }
    }
    let target = |((service, stage, region), sizes): ((&str, &str, Option<&str>), Vec<usize>)| {
        let stages = &plan.services.get(service)?.stages;
        let stage = stages.iter().find(|known| known.name == stage)?.clone();
        let is_near = |begin: &&Begin| {
            let there = region.zip(begin.region.as_deref());
            begin.service == service && there.is_none_or(|(here, there)| here == there)
        };
        let busy = begins()
            .filter(is_near)
            .map(|begin| busy(plan, history, begin));
        (stage.bake.max > Span::ZERO && !stage.checks.is_empty()).then(|| Target {
            service: service.to_owned(),
            region: region.map(str::to_owned),
            sizes,
            busy: busy.collect(),
            data,
            stage,
        })
    };
    places.into_iter().filter_map(target).collect()
}

/// How many hosts the one-box of a real deployment had; 0: it was the whole stage.
fn size(begin: &Begin, history: &History) -> usize {
    if !begin.one_box.is_empty() {
        return begin.one_box.iter().collect::<BTreeSet<_>>().len();
    }
    match history.hosts_by_version.get(&begin.version) {
        Some(hosts) => hosts.len(),
        None if history.hosts_by_version.is_empty() => 0,
        None => 1,
    }
}

/// From when to when a real deployment disturbs: to the end of its bake or to its end, whichever is
/// later, and as long again as restarts are forgiven.
fn busy(plan: &Plan, history: &History, begin: &Begin) -> Interval {
    let stages = plan
        .services
        .get(&begin.service)
        .map(|service| &service.stages);
    let stage = stages.and_then(|stages| stages.iter().find(|stage| stage.name == begin.stage));
    let (bake, grace) = stage.map_or((Span::ZERO, Span::ZERO), |stage| {
        (stage.bake.max, stage.grace)
    });
    let ends = history.events.iter().filter_map(|event| match event {
        DeploymentEvent::End(end) if end.deployment == begin.deployment => Some(end.at),
        DeploymentEvent::Begin(_)
        | DeploymentEvent::Step(_)
        | DeploymentEvent::Bypass(_)
        | DeploymentEvent::End(_) => None,
    });
    Interval {
        start: begin.at,
        end: ends.fold(begin.at + bake, Timestamp::max) + grace,
    }
}

/// Placebos do not wait for each other, nor for anybody else.
fn without_policies(mut plan: Plan) -> Plan {
    for stage in plan
        .services
        .values_mut()
        .flat_map(|service| &mut service.stages)
    {
        stage.policies = Policies {
            start_blockers: StartBlockers::Off,
            ..Policies::default()
        };
    }
    plan
}
