//! What the latest look at a metric said.

use serde::{Deserialize, Serialize};

use super::rules::Reading;
use crate::{
    detect::{CheckState, HostId},
    event::Timestamp,
};

/// What the latest look at a group said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) state: CheckState,
    /// The steepest.
    pub(super) reading: Option<Reading>,
    pub(super) hosts: Vec<HostId>,
    pub(super) first: Option<Timestamp>,
    /// Why it is undecided.
    pub(super) awaiting: Awaiting,
}

/// Looks in a row that were too steep.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Streak {
    pub(super) looks: u32,
    pub(super) first: Timestamp,
}

/// Why a look is undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Awaiting {
    /// It is decided.
    Nothing,
    /// Too little of the window has data.
    HalfWindow,
    /// The level is 0, and the limit is a share of it.
    Level,
    /// The past is long, and its turn has not come.
    PastToRead,
    /// There is nothing to compare with.
    Comparison,
    /// The window is not over, or the trend has not lasted.
    Trend,
}

impl Outcome {
    pub(super) fn undecided(awaiting: Awaiting) -> Self {
        Self {
            state: CheckState::Undecided,
            reading: None,
            hosts: Vec::new(),
            first: None,
            awaiting,
        }
    }

    pub(super) fn steepness(&self) -> f64 {
        self.reading.map_or(0.0, |reading| reading.steepness())
    }
}

impl Awaiting {
    /// A phrase for a person.
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::HalfWindow => "half of the window to be filled",
            Self::Level => "a level that is not 0, to which a relative slope could refer",
            Self::PastToRead => "the past to be read",
            Self::Comparison => "nothing more: neither a fleet nor a past to compare with",
            Self::Trend => "the trend to show, or not, over the whole window",
        }
    }
}
