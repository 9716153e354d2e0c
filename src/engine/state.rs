//! The whole core over a restart: everything but the samples of buckets that are open.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Engine, EngineCounters, GatesError, directory::Directory, snapshot::DirectoryState};
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
            reducer: self.reducer.save(),
            directory: self.directory.snapshot(),
            gates: self.save_gates(),
        };
        postcard::to_stdvec(&state).expect("everything in a state has a form")
    }

    /// The core that [`Engine::save`] wrote, under the plan under which it did. Samples of buckets that
    /// were open then are not in it: they are to be put again.
    ///
    /// # Errors
    /// The bytes are something else, of another version, or do not fit to the plan.
    pub fn restore(plan: Arc<Plan>, keys: KeyHash, bytes: &[u8]) -> Result<Self, StateError> {
        let (version, _) = postcard::take_from_bytes(bytes).map_err(StateError::Malformed)?;
        if version != STATE_VERSION {
            return Err(StateError::Version { saved: version });
        }
        let state: EngineState<'_> = postcard::from_bytes(bytes).map_err(StateError::Malformed)?;
        let mut directory = Directory::restore(Arc::clone(&plan), state.directory)
            .map_err(StateError::Directory)?;
        let select = Arc::clone(directory.selector());
        let reducer = Reducer::restore(
            plan.resolution,
            Self::reducer_limits(&plan),
            keys,
            select,
            state.reducer,
            &mut directory,
        )
        .map_err(StateError::Reducer)?;
        let mut engine = Self {
            reducer,
            directory,
            ..Self::with_keys(plan, keys)
        };
        engine.watermark = state.watermark;
        engine.counters = state.counters.into_owned();
        engine
            .restore_gates(state.gates)
            .map_err(StateError::Gates)?;
        Ok(engine)
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { saved } => write!(
                f,
                "the state has form {saved}, this version of sluice reads form {STATE_VERSION}: start \
                 the version that wrote it, or begin anew in an empty data directory"
            ),
            Self::Malformed(_) => f.write_str("the state cannot be read"),
            Self::Reducer(_) => f.write_str("the saved series cannot be restored"),
            Self::Directory(_) => f.write_str("the saved hosts and metrics cannot be restored"),
            Self::Gates(_) => f.write_str("the saved gates cannot be restored"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Version { .. } => None,
            Self::Malformed(error) => Some(error),
            Self::Reducer(error) => Some(error),
            Self::Directory(error) => Some(error),
            Self::Gates(error) => Some(error),
        }
    }
}
