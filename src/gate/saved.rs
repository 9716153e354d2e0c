//! What a gate keeps over a restart, in a form that is small and exact.
//!
//! The JSON of events and findings is for people and tools: it names fields, leaves some out, and
//! has no NaN. What is saved here has a form of its own. A type with such a JSON is mirrored by a
//! `…Form`, which does not compile when a field or a variant of the original is missing in it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Beside, Blocker, Decision, Shadow};
use crate::{
    detect::{Before, CheckState, DetectorState, Evidence, Finding, NoDataCause, Unsound},
    event::{Begin, Bypass, Hotfix, StepOutcome, Timestamp},
};

/// The version of the form of [`GateState`] and of everything in it.
///
/// Raise it whenever a saved struct or enum changes, in the gate, a detector, or an event that they
/// hold: a field or a variant that is added, removed or moved, or another type. `tests/snapshot.rs`
/// holds the form against `fixtures/state`.
pub const STATE_VERSION: u32 = 13;

/// What a gate has learned and latched; all but what comes from the plan.
///
/// Every double is kept bit for bit. Hosts and metrics are kept by their ids: it can be restored
/// only beside the hosts and panels of the same moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GateState {
    /// How it began.
    #[serde(with = "BeginForm")]
    pub begin: Begin,
    pub(super) config_digest: String,
    pub(super) before: Before,
    pub(super) steps: BTreeMap<String, StepOutcome>,
    pub(super) checks: Vec<GateCheckState>,
    pub(super) bypass: Option<Bypass>,
    pub(super) held: Vec<Blocker>,
    pub(super) beside: Vec<Beside>,
    pub(super) shadow: Option<Shadow>,
    pub(super) decision: Decision,
    pub(super) at: Timestamp,
    pub(super) since: Timestamp,
    pub(super) watermark: Timestamp,
    pub(super) ended: bool,
    pub(super) has_left: bool,
}

/// What one check of a gate has learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GateCheckState {
    pub(super) name: String,
    pub(super) finding: Option<Kept>,
    pub(super) detector: DetectorState,
}

/// A finding as it is saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept(#[serde(with = "FindingForm")] pub(super) Finding);

/// Why a gate cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The bytes are no state of this version.
    Malformed(postcard::Error),
    /// More follows where the state should end.
    TrailingBytes {
        /// How many bytes.
        count: usize,
    },
    /// It was saved under another configuration.
    OtherConfiguration {
        /// Whose gate.
        deployment: String,
        /// The digest under which it was saved.
        saved: String,
        /// The digest under which it should go on.
        given: String,
    },
    /// The stage has other checks than it had.
    OtherChecks {
        /// Whose gate.
        deployment: String,
        /// The checks that were saved.
        saved: Vec<String>,
        /// The checks of the stage.
        given: Vec<String>,
    },
    /// The state of a check contradicts itself, or what it is restored into.
    Unsound {
        /// Whose gate.
        deployment: String,
        /// Which check.
        check: String,
        /// How.
        problem: Unsound,
    },
}

impl GateState {
    /// Digest of the configuration under which it began.
    pub fn config_digest(&self) -> &str {
        &self.config_digest
    }

    /// The state as bytes.
    ///
    /// # Panics
    /// Never: everything in a state has a form.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("everything in a state has a form")
    }

    /// Reads what [`GateState::encode`] wrote, in the same [`STATE_VERSION`]. Takes no more than a
    /// small multiple of the bytes in memory, whatever they are.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, RestoreError> {
        match postcard::take_from_bytes(bytes) {
            Ok((state, [])) => Ok(state),
            Ok((_, rest)) => Err(RestoreError::TrailingBytes { count: rest.len() }),
            Err(error) => Err(RestoreError::Malformed(error)),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Begin")]
struct BeginForm {
    at: Timestamp,
    deployment: String,
    service: String,
    stage: String,
    region: Option<String>,
    version: String,
    one_box: Vec<String>,
    fleet: Vec<String>,
    weight: f64,
    hotfix: Option<Hotfix>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Finding")]
struct FindingForm {
    state: CheckState,
    #[serde(with = "optional_cause")]
    cause: Option<NoDataCause>,
    is_heard: bool,
    holds: bool,
    awaiting: Option<String>,
    evidence: Vec<Evidence>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NoDataCause")]
enum CauseForm {
    NothingSelected,
    NeverArrived,
    Stopped {
        last: Timestamp,
    },
    Unusable {
        reason: String,
    },
    NoFleet,
    Lifeless,
    NoLifeSign,
    NoSeverity,
    Gaps {
        covered_percent: u8,
        lost: Option<String>,
    },
    NothingRequired,
    OneHost,
    NoPast,
    Unproven,
    Likely,
    Rivalled,
    TooFew,
    FleetFell,
}

/// A mirror stands for one value: this is the option around it.
mod optional_cause {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{CauseForm, NoDataCause};

    #[derive(Serialize)]
    struct Lent<'a>(#[serde(with = "CauseForm")] &'a NoDataCause);

    #[derive(Deserialize)]
    struct Owned(#[serde(with = "CauseForm")] NoDataCause);

    #[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
    pub(super) fn serialize<S: Serializer>(
        cause: &Option<NoDataCause>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        cause.as_ref().map(Lent).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<NoDataCause>, D::Error> {
        Option::<Owned>::deserialize(deserializer).map(|owned| owned.map(|owned| owned.0))
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(_) => write!(
                f,
                "the state of a gate cannot be read: write it with version {STATE_VERSION} of its form"
            ),
            Self::TrailingBytes { count } => {
                write!(f, "{count} bytes follow the state of a gate")
            }
            Self::OtherConfiguration {
                deployment,
                saved,
                given,
            } => write!(
                f,
                "the gate of {deployment:?} was saved under configuration {saved}: restore it under \
                 that one, not {given}"
            ),
            Self::OtherChecks {
                deployment,
                saved,
                given,
            } => write!(
                f,
                "the gate of {deployment:?} was saved with the checks {}, but its stage has {}",
                saved.join(", "),
                given.join(", ")
            ),
            Self::Unsound {
                deployment, check, ..
            } => write!(
                f,
                "check {check} of the gate of {deployment:?} cannot go on"
            ),
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Malformed(error) => Some(error),
            Self::Unsound { problem, .. } => Some(problem),
            Self::TrailingBytes { .. }
            | Self::OtherConfiguration { .. }
            | Self::OtherChecks { .. } => None,
        }
    }
}
