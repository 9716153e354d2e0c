//! The whole core over a restart: everything but the samples of buckets that are open.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Engine, EngineCounters, GatesError,
    directory::Directory,
    snapshot::DirectoryState,
    world::{World, limits},
};
use crate::{
    detect::Unsound,
    event::{KeyHash, Timestamp},
    gate::{GateState, STATE_VERSION},
    plan::Plan,
    reduce::{Reducer, ReducerState, UnsoundReducer},
};

/// Why a saved core cannot go on.
#[derive(Debug)]
pub enum StateError {
    /// It was saved in another form.
    Version {
        /// The version of its form.
        saved: u32,
    },
    /// The bytes are something else.
    Malformed(postcard::Error),
    /// The series and their past do not fit together.
    Reducer(UnsoundReducer),
    /// The hosts and panels do not fit together, or not to the plan.
    Directory(Unsound),
    /// The gates do not fit.
    Gates(GatesError),
    /// A configuration in it cannot be read.
    Plan,
}

#[derive(Serialize, Deserialize)]
struct EngineState<'a> {
    /// Stands first, so that every version can read it.
    version: u32,
    watermark: Timestamp,
    counters: Cow<'a, EngineCounters>,
    reducer: ReducerState<'a>,
    directory: DirectoryState<'a>,
    gates: Vec<GateState>,
}

/// What a change of the configuration has left behind.
#[derive(Serialize, Deserialize)]
struct EarlierState<'a> {
    /// The plan, as a configuration of its own.
    plan: Cow<'a, str>,
    /// Earlier plans under which any gate began.
    plans: Vec<Cow<'a, str>>,
    /// Those that still work for gates that are open, the latest last.
    retired: Vec<WorldState<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WorldState<'a> {
    /// Digest of its plan.
    digest: Cow<'a, str>,
    reducer: ReducerState<'a>,
    directory: DirectoryState<'a>,
}

impl Engine {
    /// The core as bytes. To be taken between two inputs. What the plan says is not in them.
    ///
    /// # Panics
    /// Never: everything in a state has a form.
    pub fn save(&self) -> Vec<u8> {
        let state = EngineState {
            version: STATE_VERSION,
            watermark: self.watermark,
            counters: Cow::Borrowed(&self.counters),
            reducer: self.world.reducer.save(),
            directory: self.world.directory.snapshot(),
            gates: self.save_gates(),
        };
        let mut bytes = postcard::to_stdvec(&state).expect("everything in a state has a form");
        let earlier = EarlierState {
            plan: Cow::from(&self.plan.wording),
            plans: self
                .plans
                .values()
                .map(|plan| Cow::from(&plan.wording))
                .collect(),
            retired: self.retired.iter().map(WorldState::of).collect(),
        };
        // Behind what was there before configurations could change: whoever knows nothing of it reads a
        // state without, and refuses gates of another configuration.
        bytes.extend(postcard::to_stdvec(&earlier).expect("everything in a state has a form"));
        bytes
    }

    /// The configuration under which a state was saved, as far as verdicts follow from it. `None`: the
    /// state does not say.
    ///
    /// # Errors
    /// The bytes are something else, or of another version.
    pub fn saved_plan(bytes: &[u8]) -> Result<Option<Plan>, StateError> {
        let (_, rest) = EngineState::read(bytes)?;
        if rest.is_empty() {
            return Ok(None);
        }
        let earlier: EarlierState<'_> =
            postcard::from_bytes(rest).map_err(StateError::Malformed)?;
        read_plan(&earlier.plan).map(Some)
    }

    /// The core that [`Engine::save`] wrote, under the plan under which it did. Samples of buckets that
    /// were open then are not in it: they are to be put again.
    ///
    /// # Errors
    /// The bytes are something else, of another version, or do not fit to the plan.
    pub fn restore(plan: Arc<Plan>, keys: KeyHash, bytes: &[u8]) -> Result<Self, StateError> {
        let (state, rest) = EngineState::read(bytes)?;
        let world = World::restore(&plan, keys, state.reducer, state.directory)?;
        let mut engine = Self {
            world,
            ..Self::with_keys(plan, keys)
        };
        if !rest.is_empty() {
            let earlier: EarlierState<'_> =
                postcard::from_bytes(rest).map_err(StateError::Malformed)?;
            engine.restore_earlier(earlier, keys)?;
        }
        engine.watermark = state.watermark;
        engine.counters = state.counters.into_owned();
        engine
            .restore_gates(state.gates)
            .map_err(StateError::Gates)?;
        Ok(engine)
    }
}

impl Engine {
    fn restore_earlier(
        &mut self,
        earlier: EarlierState<'_>,
        keys: KeyHash,
    ) -> Result<(), StateError> {
        for text in &earlier.plans {
            let plan = read_plan(text)?;
            self.plans.insert(plan.digest.clone(), Arc::new(plan));
        }
        for saved in earlier.retired {
            let plan = self.plans.get(&*saved.digest).ok_or(StateError::Plan)?;
            let world = World::restore(plan, keys, saved.reducer, saved.directory)?;
            self.retired.push(world);
        }
        Ok(())
    }
}

impl EngineState<'_> {
    /// The state at the start of the bytes, and what follows.
    fn read(bytes: &[u8]) -> Result<(EngineState<'_>, &[u8]), StateError> {
        let (version, _) = postcard::take_from_bytes(bytes).map_err(StateError::Malformed)?;
        if version != STATE_VERSION {
            return Err(StateError::Version { saved: version });
        }
        postcard::take_from_bytes(bytes).map_err(StateError::Malformed)
    }
}

impl World {
    fn restore(
        plan: &Arc<Plan>,
        keys: KeyHash,
        reducer: ReducerState<'_>,
        directory: DirectoryState<'_>,
    ) -> Result<Self, StateError> {
        let mut directory =
            Directory::restore(Arc::clone(plan), directory).map_err(StateError::Directory)?;
        let select = Arc::clone(directory.selector());
        let reducer = Reducer::restore(
            plan.resolution,
            limits(plan),
            keys,
            select,
            reducer,
            &mut directory,
        )
        .map_err(StateError::Reducer)?;
        Ok(Self { reducer, directory })
    }
}

impl<'a> WorldState<'a> {
    fn of(world: &'a World) -> Self {
        Self {
            digest: Cow::from(world.directory.digest()),
            reducer: world.reducer.save(),
            directory: world.directory.snapshot(),
        }
    }
}

fn read_plan(text: &str) -> Result<Plan, StateError> {
    Plan::parse(text).map_err(|_| StateError::Plan)
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { saved } => write!(
                f,
                "the state has form {saved}, this version of sluice reads form {STATE_VERSION}: start \
                 the version that wrote it, or move the folder snapshots away: then what is kept of the journal is \
                 judged anew (journal.keep), the history stays, deployments that began before are forgotten, \
                 and of Kafka all is read again where the journal does not say how far it was read"
            ),
            Self::Malformed(_) => f.write_str("the state cannot be read"),
            Self::Reducer(_) => f.write_str("the saved series cannot be restored"),
            Self::Directory(_) => f.write_str("the saved hosts and metrics cannot be restored"),
            Self::Gates(_) => f.write_str("the saved gates cannot be restored"),
            Self::Plan => f.write_str(
                "the state has a configuration that this version of sluice does not read: start the \
                 version that wrote it, or begin anew in an empty data directory",
            ),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Version { .. } | Self::Plan => None,
            Self::Malformed(error) => Some(error),
            Self::Reducer(error) => Some(error),
            Self::Directory(error) => Some(error),
            Self::Gates(error) => Some(error),
        }
    }
}
