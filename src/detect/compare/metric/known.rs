//! What a test says, and which fleet hosts it knows.

use super::{Outcome, Test};
use crate::detect::HostId;

/// Fleet hosts that are enough to tell how much they differ.
const HOSTS_MIN: usize = 3;

impl Test {
    /// What it says; `None`: there is no test yet.
    pub(super) fn outcome(&self) -> Option<&Outcome> {
        Some(match self {
            Self::Awaited => return None,
            Self::Hosts(test) => test.outcome(),
            Self::Counts(test) => test.outcome(),
            Self::Records(test) => test.outcome(),
            Self::OwnPast(test) => test.outcome(),
            Self::Fresh(test) => test.outcome(),
        })
    }

    /// The fleet hosts that it compares with.
    pub(super) fn fleet(&self) -> Vec<HostId> {
        match self {
            Self::Awaited => Vec::new(),
            Self::Hosts(test) => test.fleet().collect(),
            Self::Counts(test) => test.fleet().collect(),
            Self::Records(test) => test.fleet(),
            Self::OwnPast(test) => test.fleet().collect(),
            Self::Fresh(test) => test.fleet().collect(),
        }
    }

    /// How many of them it needs.
    pub(super) fn least(&self) -> usize {
        match self {
            Self::Hosts(_) => HOSTS_MIN,
            Self::Awaited
            | Self::Counts(_)
            | Self::Records(_)
            | Self::OwnPast(_)
            | Self::Fresh(_) => 1,
        }
    }

    /// Whether it sees what the one-box does, as long as so many speak.
    pub(super) fn sees(&self) -> bool {
        match self {
            Self::Awaited | Self::Hosts(_) | Self::OwnPast(_) | Self::Fresh(_) => true,
            Self::Counts(test) => test.sees(),
            Self::Records(test) => test.sees(),
        }
    }
}
