//! One direction of harm, by all hosts of the one-box and by parts of them.

use serde::{Deserialize, Serialize};

use super::{clipped::Clipped, evidence::Evidence};

/// One direction of harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CountsSide")]
pub(super) struct Side {
    /// 1: more is harm; -1: fewer.
    pub(super) sign: f64,
    pub(super) whole: Evidence,
    /// Without each of the one-box's hosts, or groups of them.
    pub(super) left_out: Vec<Evidence>,
    /// Of each of them alone.
    pub(super) single: Vec<Evidence>,
}

/// Which hosts of the one-box speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speakers {
    All,
    Without(usize),
    Only(usize),
}

impl Speakers {
    /// Whether the host with this index is one of them, where there are so many sets.
    pub(super) fn has(self, index: usize, sets: usize) -> bool {
        match self {
            Self::All => true,
            Self::Without(set) => index % sets.max(1) != set,
            Self::Only(set) => index % sets.max(1) == set,
        }
    }
}

impl Side {
    /// Begins anew beside another fleet, see [`Evidence::go_on`].
    pub(super) fn go_on(&mut self, sigma: f64) {
        let parts = self.left_out.iter_mut().chain(&mut self.single);
        for evidence in [&mut self.whole].into_iter().chain(parts) {
            evidence.go_on(sigma);
        }
    }

    /// From here on evidence is gathered anew, too.
    pub(super) fn begin_late(&mut self) {
        let parts = self.left_out.iter_mut().chain(&mut self.single);
        for evidence in [&mut self.whole].into_iter().chain(parts) {
            evidence.begin_late();
        }
    }

    pub(super) fn observe(&mut self, round: &Clipped) {
        let sets = self.left_out.len();
        self.whole.observe(round, Speakers::All, sets);
        for (set, evidence) in self.left_out.iter_mut().enumerate() {
            evidence.observe(round, Speakers::Without(set), sets);
        }
        for (set, evidence) in self.single.iter_mut().enumerate() {
            evidence.observe(round, Speakers::Only(set), sets);
        }
    }
}
