//! What the detectors keep over a restart: what was learned and latched, and nothing of the plan.
//!
//! What comes from the plan and from the begin of the deployment is made anew; a state fills the
//! rest in. Each detector takes itself apart, field by field, when it is saved, so that a field that
//! is added later does not compile before somebody has decided whether it is kept. Types of one name
//! are renamed for serde, so that the form of the whole can be written down (`fixtures/state`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Detector, HostId, absent, bounds, compare, derivative, load, new_template, sigma};

/// What one detector has learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DetectorState(Learned);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Learned {
    Bounds(bounds::State),
    Derivative(derivative::State),
    Sigma(sigma::State),
    Compare(compare::State),
    Absent(absent::State),
    NewTemplate(new_template::State),
    Load(load::State),
}

/// How many groups the panel and how many hosts the service has: what the indices in a state may
/// refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bound of the indices of the groups of the panel of the check.
    pub groups: usize,
    /// Hosts of the service.
    pub hosts: usize,
}

impl Extent {
    /// For a state that is shown nothing any more: whatever its indices refer to is gone.
    pub const UNBOUNDED: Self = Self {
        groups: usize::MAX,
        hosts: usize::MAX,
    };
}

/// A state that contradicts itself, or what it is restored into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// It is that of a detector of another kind.
    OtherKind,
    /// It refers to a metric that is not known.
    Group {
        /// The index that it refers to.
        index: usize,
    },
    /// It refers to a host that is not known.
    Host {
        /// The index that it refers to.
        index: usize,
    },
    /// A number or a length is one that no detector reaches.
    Impossible {
        /// Which.
        what: &'static str,
    },
}

/// Larger than anything that is counted: a bucket a second fills it in 30 years.
const COUNT_MAX: u64 = 1 << 30;

impl Detector {
    /// What was learned and latched since the deployment began.
    pub fn save(&self) -> DetectorState {
        DetectorState(match self {
            Self::Bounds(detector) => Learned::Bounds(detector.save()),
            Self::Derivative(detector) => Learned::Derivative(detector.save()),
            Self::Sigma(detector) => Learned::Sigma(detector.save()),
            Self::Compare(detector) => Learned::Compare(detector.save()),
            Self::Absent(detector) => Learned::Absent(detector.save()),
            Self::NewTemplate(detector) => Learned::NewTemplate(detector.save()),
            Self::Load(detector) => Learned::Load(detector.save()),
        })
    }

    /// Fills what was saved into a detector that is new. After an error it is not to be used.
    ///
    /// # Errors
    /// The state is not one of this kind of check, contradicts itself, or refers to metrics or hosts
    /// beyond `extent`.
    pub fn restore(&mut self, state: DetectorState, extent: Extent) -> Result<(), Unsound> {
        match (self, state.0) {
            (Self::Bounds(detector), Learned::Bounds(state)) => detector.restore(state, extent),
            (Self::Derivative(detector), Learned::Derivative(state)) => {
                detector.restore(state, extent)
            }
            (Self::Sigma(detector), Learned::Sigma(state)) => detector.restore(state, extent),
            (Self::Compare(detector), Learned::Compare(state)) => detector.restore(state, extent),
            (Self::Absent(detector), Learned::Absent(state)) => detector.restore(state, extent),
            (Self::NewTemplate(detector), Learned::NewTemplate(state)) => {
                detector.restore(state, extent)
            }
            (Self::Load(detector), Learned::Load(state)) => detector.restore(state, extent),
            (
                Self::Bounds(_)
                | Self::Derivative(_)
                | Self::Sigma(_)
                | Self::Compare(_)
                | Self::Absent(_)
                | Self::NewTemplate(_)
                | Self::Load(_),
                _,
            ) => Err(Unsound::OtherKind),
        }
    }
}

impl Extent {
    /// The group exists.
    pub(super) fn group(self, index: usize) -> Result<(), Unsound> {
        if index < self.groups {
            Ok(())
        } else {
            Err(Unsound::Group { index })
        }
    }

    /// Something that is kept for each group is kept for no more than there are.
    pub(super) fn groups_len(self, len: usize) -> Result<(), Unsound> {
        len.checked_sub(1).map_or(Ok(()), |last| self.group(last))
    }

    /// The hosts exist.
    pub(super) fn hosts<'a>(
        self,
        hosts: impl IntoIterator<Item = &'a HostId>,
    ) -> Result<(), Unsound> {
        let mut indices = hosts.into_iter().map(|host| host.0 as usize);
        match indices.find(|index| self.hosts <= *index) {
            None => Ok(()),
            Some(index) => Err(Unsound::Host { index }),
        }
    }

    /// Something that is kept for each host is kept for no more than there are.
    pub(super) fn hosts_len(self, len: usize) -> Result<(), Unsound> {
        match len.checked_sub(1) {
            Some(index) if self.hosts <= index => Err(Unsound::Host { index }),
            Some(_) | None => Ok(()),
        }
    }
}

/// The number is one that can be counted to, and counted on from.
pub(super) fn counted(what: &'static str, count: u64) -> Result<(), Unsound> {
    possible(what, count <= COUNT_MAX)
}

/// What holds for every detector holds.
pub(super) fn possible(what: &'static str, holds: bool) -> Result<(), Unsound> {
    if holds {
        Ok(())
    } else {
        Err(Unsound::Impossible { what })
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind => f.write_str("the state is that of another kind of check"),
            Self::Group { index } => {
                write!(f, "the state refers to metric {index}, which is not known")
            }
            Self::Host { index } => {
                write!(f, "the state refers to host {index}, which is not known")
            }
            Self::Impossible { what } => write!(f, "the state holds an impossible {what}"),
        }
    }
}

impl std::error::Error for Unsound {}
