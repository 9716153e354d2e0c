//! The core as one state machine: an [`Input`] in, [`Output`]s out.
//!
//! Everything that can happen to the core is a variant of [`Input`], all that it can say is a
//! variant of [`Output`]. It never waits, reads a clock, logs or does I/O, so a live run, a replay
//! of a recording and a recovery are the same code and give the same verdicts to the byte.
//!
//! Inputs between two ticks may come in any order. A tick moves the watermark: the buckets that it
//! passes are closed by `reduce`, spread over the panels of the checks, and shown to the detectors
//! of every open gate.

mod binding;
mod births;
mod cells;
mod change;
mod combine;
mod directory;
mod ended;
mod families;
mod forgetting;
mod health;
mod holds;
mod identity;
mod judge;
mod late_begin;
mod namesakes;
mod overlap;
mod pipelines;
mod promotion;
mod refusal;
mod refused_requests;
mod reread;
mod roles;
mod saved;
mod selection;
mod service;
mod sightings;
mod snapshot;
mod spot;
mod spreading;
mod state;
mod succession;
mod survey;
#[cfg(test)]
mod test_support;
mod told;
mod unshown;
mod whereabouts;
mod world;

pub use change::ChangeRefusal;
pub use directory::Directory;
use pipelines::Pipelines;
pub use promotion::{Promotion, PromotionRequest, may_promote};
pub use refusal::{Refusal, Refused};
pub use saved::GatesError;
pub use selection::Selector;
pub use sightings::is_sighted_id;
pub use snapshot::DirectoryState;
pub use state::StateError;
pub use survey::{KnownHost, Watched};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    detect::Before,
    event::{
        Batch, Begin, Bypass, DeploymentEvent, End, Interval, KeyHash, Raw, Signal, Span, Timestamp,
    },
    gate::{Change, Gate, Verdict, VerdictState},
    plan::Plan,
    reduce::{Epoch, ReducerCounters, Select, Shards},
};
use world::World;

/// Everything that can happen to the core.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "inputs are handed over one by one and never stored"
)]
pub enum Input<'a> {
    /// Samples and log records of one request or file chunk.
    Batch(&'a Batch),
    /// The same, as pieces of the request's own bytes.
    Raw(Raw<'a>),
    /// Data was lost of which nobody knows whose it was: no deployment that is under way can pass.
    Lost,
    /// A limit refused a request with data of this sort as a whole, and nobody knows whose they were: no
    /// deployment that is under way, or begins soon, can pass by a check of such data.
    OverLimit(Signal),
    /// What a deployer tells.
    Deployment(DeploymentEvent),
    /// The clock has come this far: buckets whose end plus the lateness has passed are closed.
    Tick(Timestamp),
    /// Another configuration, for deployments that begin from now on. One that
    /// [`Engine::may_change`] refuses has no effect.
    Plan(Arc<Plan>),
}

/// Everything that the core can say.
#[derive(Clone, Debug)]
pub enum Output {
    /// A verdict changed, or a gate was opened.
    Verdict(Box<Verdict>),
    /// The verdict stands, but what a hotfix did not wait for says something else than before.
    Shadow(Box<Verdict>),
    /// A deployment that nobody told of is over.
    Ended(Box<End>),
    /// A deployment event was refused.
    Refused(Box<Refused>),
    /// A deployment that ended is no longer known here: with what its gate said last.
    Forgotten(Box<Gate>),
}

/// The core.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<Plan>,
    world: World,
    /// Earlier configurations under which gates are still open, the latest last.
    retired: Vec<World>,
    /// Earlier configurations under which any gate began, by digest.
    plans: BTreeMap<String, Arc<Plan>>,
    /// Gates by the id of their deployment, open and ended.
    gates: BTreeMap<String, Gate>,
    /// Which of them matter to which pipeline.
    pipelines: Pipelines,
    /// Those of them that nobody told of, until their version is gone.
    sighted: BTreeSet<String>,
    watermark: Timestamp,
    counters: EngineCounters,
}

/// What the core has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCounters {
    /// Buckets closed.
    pub buckets: u64,
    /// Changes of verdicts, by the state that was reached.
    pub verdicts: BTreeMap<VerdictState, u64>,
    /// Deployment events taken.
    pub events: u64,
    /// Deployment events refused.
    pub refused: u64,
}

impl Engine {
    /// A core that has seen nothing.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self::with_keys(plan, KeyHash::new(0))
    }

    /// A core that has seen nothing, whose keys are hashed with a seed that senders cannot know. Nothing
    /// that it says depends on the seed.
    pub fn with_keys(plan: Arc<Plan>, keys: KeyHash) -> Self {
        Self {
            world: World::new(&plan, keys),
            retired: Vec::new(),
            plans: BTreeMap::new(),
            gates: BTreeMap::new(),
            pipelines: Pipelines::default(),
            sighted: BTreeSet::new(),
            watermark: Timestamp::MIN,
            counters: EngineCounters::default(),
            plan,
        }
    }

    /// Takes one input and appends what it causes to `outputs`.
    pub fn step(&mut self, input: Input<'_>, outputs: &mut Vec<Output>) {
        match input {
            Input::Batch(batch) => {
                if self.retired.is_empty() {
                    let selector = Arc::clone(self.selector());
                    self.world.reducer.put(batch, selector.stream_labels());
                    return;
                }
                let labels = self.stream_labels();
                for world in self.worlds_mut() {
                    world.reducer.put(batch, &labels);
                }
            }
            Input::Raw(raw) => {
                for world in self.worlds_mut() {
                    world.reducer.put_raw(raw);
                }
            }
            Input::Lost => {
                // What was lost may belong into any bucket that is open now.
                let now = self.epoch().now.unwrap_or(Timestamp::MIN);
                for world in self.worlds_mut() {
                    let torn_until = &mut world.directory.torn_until;
                    *torn_until = Some(torn_until.map_or(now, |until| until.max(now)));
                }
            }
            Input::OverLimit(signal) => {
                let now = self.epoch().now;
                for world in self.worlds_mut() {
                    world.directory.refused.note(signal, now);
                }
            }
            Input::Deployment(event) => self.deployment(event, outputs),
            Input::Tick(now) => self.tick(now, outputs),
            Input::Plan(plan) => self.change(&plan),
        }
    }

    /// The verdict of a deployment as it stands.
    pub fn verdict(&self, deployment: &str) -> Option<Verdict> {
        self.gates.get(deployment).map(Gate::verdict)
    }

    /// The gate of a deployment.
    pub fn gate(&self, deployment: &str) -> Option<&Gate> {
        self.gates.get(deployment)
    }

    /// The gates, open and ended, by the id of their deployment.
    pub fn gates(&self) -> impl Iterator<Item = &Gate> {
        self.gates.values()
    }

    /// Takes a gate out, and forgets its deployment: for whoever keeps what became of it elsewhere.
    pub fn dismiss(&mut self, deployment: &str) -> Option<Gate> {
        let gate = self.gates.remove(deployment);
        self.pipelines = Pipelines::of(&self.plan, &self.gates);
        self.sighted.remove(deployment);
        gate
    }

    /// End of the latest closed bucket; [`Timestamp::MIN`] before the first.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The plan that it works by.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What has been counted.
    pub fn counters(&self) -> &EngineCounters {
        &self.counters
    }

    /// The sides of the reduce half that many threads may write to: those of earlier configurations
    /// under which gates are still open, then that of the plan. Every batch is to be put into each.
    pub fn shards(&self) -> impl Iterator<Item = &Arc<Shards>> {
        let retired = self.retired.iter().map(|world| world.reducer.shards());
        retired.chain([self.world.reducer.shards()])
    }

    /// How the keys of batches must be hashed.
    pub fn keys(&self) -> KeyHash {
        self.world.reducer.shards().keys()
    }

    /// What the plan selects; any number of threads may ask it.
    pub fn selector(&self) -> &Arc<Selector> {
        self.world.directory.selector()
    }

    /// Where a batch stands that comes before the next tick.
    pub fn epoch(&self) -> Epoch {
        self.world.reducer.epoch()
    }

    /// Where a batch stands that comes after a tick at `now`.
    pub fn epoch_after(&self, now: Timestamp) -> Epoch {
        let plan = &self.plan;
        self.epoch().after(now, plan.lateness, plan.resolution)
    }

    /// What the reduce half has counted.
    pub fn reducer_counters(&self) -> ReducerCounters {
        self.world.reducer.counters()
    }

    /// How many gates are open.
    pub fn open_gates(&self) -> usize {
        self.gates.values().filter(|gate| gate.is_open()).count()
    }

    /// When a replay may stop: the end of the last bake of a gate that is still open, and no
    /// earlier than `data_end`; with room for the bucket that holds it and for the lateness.
    pub fn replay_until(&self, data_end: Timestamp) -> Timestamp {
        let bakes = self
            .gates
            .values()
            .filter(|gate| !gate.is_ended())
            .map(Gate::bake_until);
        let end = bakes.fold(data_end, Timestamp::max);
        let bucket = end.floor(self.plan.resolution);
        let bucket_end = if bucket == end {
            end
        } else {
            bucket + self.plan.resolution
        };
        bucket_end + self.plan.lateness
    }

    fn tick(&mut self, now: Timestamp, outputs: &mut Vec<Output>) {
        let Epoch {
            now: before,
            closed,
            ..
        } = self.epoch();
        let epoch = self.epoch_after(now);
        self.tick_retired(epoch, outputs);
        self.world.advance(epoch);
        loop {
            let is_idle = self.is_idle(&self.world);
            let Some(bucket) = self.world.close_next(is_idle) else {
                break;
            };
            self.counters.buckets += 1;
            self.watermark = self.watermark.max(bucket.end);
            self.open_sighted(bucket, outputs);
            self.hold_again(None, self.watermark);
            self.look_beside();
            Self::add_unshown(&self.gates, &mut self.world, bucket);
            self.judge(None, bucket, outputs);
            self.end_sighted(bucket, outputs);
        }
        self.forget_gone(closed);
        let round = |at: Option<Timestamp>| at.map(|at| at.floor(ended::ROUND));
        if round(before) != round(Some(now)) {
            self.forget_ended(outputs);
        }
    }

    /// Has the hosts of open gates gain nothing of what they do not show yet.
    fn add_unshown(gates: &BTreeMap<String, Gate>, world: &mut World, bucket: Interval) {
        let digest = world.directory.digest().to_owned();
        let is_open = |gate: &&Gate| gate.config_digest() == digest && !gate.is_settled();
        for gate in gates.values().filter(is_open) {
            let grace_until = gate.grace_until();
            world
                .directory
                .add_unshown(&gate.begin, grace_until, bucket);
        }
    }

    /// Shows the bucket that has just closed to the gates that began under the plan, or under an earlier
    /// one.
    fn judge(&mut self, earlier: Option<&World>, bucket: Interval, outputs: &mut Vec<Output>) {
        let directory = &earlier.unwrap_or(&self.world).directory;
        for gate in self.gates.values_mut() {
            if gate.config_digest() != directory.digest() {
                continue;
            }
            match directory.judge(gate, bucket) {
                Some(Change::Verdict) => Self::announce(&mut self.counters, gate, outputs),
                Some(Change::Shadow) => {
                    outputs.push(Output::Shadow(Box::new(gate.verdict())));
                }
                None => {}
            }
        }
    }

    /// Whether empty buckets can be passed over: no gate is open that their silence could still
    /// change. An open gate has noticed it after a day.
    fn is_idle(&self, world: &World) -> bool {
        let next = world.reducer.next_bucket().unwrap_or(Timestamp::MIN);
        self.gates
            .values()
            .all(|gate| gate.is_settled() || gate.bake_until() + SILENCE_NOTICED < next)
    }

    fn deployment(&mut self, event: DeploymentEvent, outputs: &mut Vec<Output>) {
        let (id, at) = (event.deployment().to_owned(), event.at());
        let changed = match event {
            DeploymentEvent::Begin(begin) => self.begin(begin),
            DeploymentEvent::Step(step) => {
                self.look_beside();
                self.on_gate(&id, |gate| gate.report(&step))
            }
            DeploymentEvent::Bypass(bypass) => self.bypass(&id, bypass),
            DeploymentEvent::End(end) => self.on_gate(&id, |gate| {
                gate.end(end.at);
                Ok(false)
            }),
        };
        match changed {
            Ok(changed) => {
                self.counters.events += 1;
                if changed && let Some(gate) = self.gates.get(&id) {
                    Self::announce(&mut self.counters, gate, outputs);
                }
                if self.counters.events.is_multiple_of(ended::ROUND_EVENTS) {
                    self.forget_ended(outputs);
                }
            }
            Err(refusal) => {
                self.counters.refused += 1;
                outputs.push(Output::Refused(Box::new(Refused {
                    at,
                    deployment: id,
                    refusal,
                })));
            }
        }
    }

    fn bypass(&mut self, id: &str, bypass: Bypass) -> Result<bool, Refusal> {
        refusal::check_bypass(&bypass)?;
        self.on_gate(id, |gate| gate.bypass(bypass))
    }

    fn on_gate(
        &mut self,
        id: &str,
        act: impl FnOnce(&mut Gate) -> Result<bool, crate::gate::GateError>,
    ) -> Result<bool, Refusal> {
        let gate = self
            .gates
            .get_mut(id)
            .ok_or_else(|| Refusal::UnknownDeployment {
                deployment: id.to_owned(),
            })?;
        act(gate).map_err(|error| Refusal::Gate {
            deployment: id.to_owned(),
            error,
        })
    }

    fn begin(&mut self, begin: Begin) -> Result<bool, Refusal> {
        if let Some(gate) = self.gates.get(&begin.deployment) {
            // A caller that did not hear our answer asks again: the same question is no mistake. Once the
            // deployment has ended it is another one, and the old verdict does not speak for it.
            return match (refusal::is_same(&gate.begin, &begin), gate.is_ended()) {
                (true, false) => Ok(false),
                (_, true) => Err(Refusal::EndedDeployment {
                    deployment: begin.deployment,
                }),
                (false, false) => Err(Refusal::DuplicateDeployment {
                    deployment: begin.deployment,
                }),
            };
        }
        let open_max = self.plan.limits.open_gates;
        if self.open_gates() >= open_max {
            return Err(Refusal::TooManyGates { open_max });
        }
        let plan = Arc::clone(&self.plan);
        let (service, stage) = refusal::resolve(&plan, &begin)?;
        self.world.directory.expect_hosts(&begin);
        let held = self.held_at_begin(&begin, stage);
        let before = Before {
            until: self.world.directory.past_until(&begin, plan.resolution),
            shares: self.shares_before(&begin),
        };
        let mut gate = Gate::open(
            begin,
            before,
            service,
            stage,
            plan.resolution,
            &plan.digest,
            |name| {
                plan.checks
                    .get(name)
                    .expect("a checked plan names only checks that exist")
            },
        );
        let beside = self.beside_new(&gate);
        if !(held.is_empty() && beside.is_empty()) {
            gate.begin_among(held, beside);
        }
        self.pipelines.add(&self.plan, &gate.begin);
        self.gates.insert(gate.begin.deployment.clone(), gate);
        Ok(true)
    }

    /// The least and the largest share of the traffic that deployments told of the hosts of this one before, as steps
    /// of one rollout do; `None`: none told one.
    fn shares_before(&self, begin: &Begin) -> Option<(f64, f64)> {
        let is_of_rollout = |earlier: &&Begin| {
            let is_there = earlier.service == begin.service
                && earlier.region == begin.region
                && earlier.version == begin.version;
            let is_same = || {
                let mut hosts = earlier.one_box.iter();
                hosts.any(|host| begin.one_box.contains(host))
                    || (earlier.one_box.is_empty() && begin.one_box.is_empty())
            };
            is_there && earlier.at < begin.at && is_same()
        };
        let earlier = self.gates.values().map(|gate| &gate.begin);
        let shares = earlier.filter(is_of_rollout).map(|begin| begin.weight);
        let shares = shares.filter(|share| share.is_finite() && 0.0 < *share);
        let (least, most) = shares.fold((f64::INFINITY, 0.0_f64), |(least, most), share| {
            (least.min(share), most.max(share))
        });
        (least < 1.0 || 1.0 < most)
            .then_some((least, most))
            .filter(|_| 0.0 < most)
    }

    fn announce(counters: &mut EngineCounters, gate: &Gate, outputs: &mut Vec<Output>) {
        *counters.verdicts.entry(gate.state()).or_insert(0) += 1;
        outputs.push(Output::Verdict(Box::new(gate.verdict())));
    }
}

/// How long after the end of its bake a gate is shown empty buckets.
const SILENCE_NOTICED: Span = Span::from_hours(24);

/// How long after its last sample a host still counts as one of its service.
const HOST_MEMORY: Span = Span::from_minutes(30);
