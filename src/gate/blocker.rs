//! One thing that stands in the way of a start, in words and with the time at which it will not.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    VerdictState,
    pipeline::{Ailment, Place},
    traffic::HOURS_OF_WEEK,
};
use crate::event::Timestamp;

/// One thing that stands in the way of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocker {
    /// The version has not passed where it has to, before.
    NotPassed {
        /// Where.
        place: Place,
        /// The version.
        version: String,
        /// What stands there; `None`: it was never told to be there.
        standing: Option<Standing>,
    },
    /// The version has failed in another region.
    FailedElsewhere {
        /// Where.
        place: Place,
        /// The version.
        version: String,
        /// Its deployment.
        deployment: String,
    },
    /// Another region of the stage has a deployment under way.
    OtherRegion {
        /// Which.
        region: String,
        /// The deployment.
        deployment: String,
        /// When its bake is over at the latest.
        bake_until: Timestamp,
    },
    /// The target is unhealthy.
    Unhealthy(Ailment),
    /// It is not off-peak.
    Peak {
        /// When it will be, where that is known.
        until: Option<Timestamp>,
    },
    /// Which hours are off-peak is not known yet.
    Unlearned {
        /// Hours of the week that were seen.
        hours: usize,
    },
}

/// What stands of a version at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its deployment.
    pub deployment: String,
    /// What the gate says.
    pub state: VerdictState,
    /// Whether the deployment has ended.
    pub is_ended: bool,
    /// When its bake is over at the latest.
    pub bake_until: Timestamp,
}

impl Blocker {
    /// The word for its kind, as every door carries it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotPassed { .. } => "not_passed",
            Self::FailedElsewhere { .. } => "failed_elsewhere",
            Self::OtherRegion { .. } => "other_region",
            Self::Unhealthy(_) => "unhealthy",
            Self::Peak { .. } => "peak",
            Self::Unlearned { .. } => "unlearned",
        }
    }

    /// When it will not stand in the way any more, where that is known: for a bake, when it is over at
    /// the latest, if nothing goes wrong.
    pub fn clears_at(&self, now: Timestamp) -> Option<Timestamp> {
        let at = match self {
            Self::NotPassed {
                standing: Some(standing),
                ..
            } => match standing.state {
                VerdictState::Pending if !standing.is_ended => Some(standing.bake_until),
                VerdictState::Pending
                | VerdictState::Pass
                | VerdictState::Bypassed
                | VerdictState::NoData
                | VerdictState::Fail => None,
            },
            Self::OtherRegion { bake_until, .. } => Some(*bake_until),
            Self::Peak { until } => *until,
            Self::NotPassed { standing: None, .. }
            | Self::FailedElsewhere { .. }
            | Self::Unhealthy(_)
            | Self::Unlearned { .. } => None,
        };
        at.filter(|at| now < *at)
    }

    /// Whether it is about the version in a region of a stage.
    pub(super) fn is_of(&self, stage: &str, region: &str) -> bool {
        match self {
            Self::NotPassed { place, .. } | Self::FailedElsewhere { place, .. } => {
                place.stage == stage && place.region.as_deref() == Some(region)
            }
            Self::OtherRegion { .. }
            | Self::Unhealthy(_)
            | Self::Peak { .. }
            | Self::Unlearned { .. } => false,
        }
    }

    /// Whether both are the same thing, perhaps at different times.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NotPassed { place, .. }, Self::NotPassed { place: other, .. })
            | (Self::FailedElsewhere { place, .. }, Self::FailedElsewhere { place: other, .. }) => {
                place == other
            }
            (
                Self::OtherRegion { deployment, .. },
                Self::OtherRegion {
                    deployment: other, ..
                },
            ) => deployment == other,
            (Self::Unhealthy(ailment), Self::Unhealthy(other)) => {
                ailment.place == other.place && ailment.check == other.check
            }
            (Self::Peak { .. }, Self::Peak { .. })
            | (Self::Unlearned { .. }, Self::Unlearned { .. }) => true,
            (
                Self::NotPassed { .. }
                | Self::FailedElsewhere { .. }
                | Self::OtherRegion { .. }
                | Self::Unhealthy(_)
                | Self::Peak { .. }
                | Self::Unlearned { .. },
                _,
            ) => false,
        }
    }

    /// Whether it holds a gate also when it came up after the deployment had begun.
    pub(crate) fn may_come_later(&self) -> bool {
        match self {
            Self::FailedElsewhere { .. } => true,
            // What a failure in the stage before is told as.
            Self::NotPassed { standing, .. } => standing
                .as_ref()
                .is_some_and(|standing| standing.state == VerdictState::Fail),
            Self::OtherRegion { .. }
            | Self::Unhealthy(_)
            | Self::Peak { .. }
            | Self::Unlearned { .. } => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        match &self.region {
            Some(region) => write!(f, "/{region}"),
            None => Ok(()),
        }
    }
}

/// A phrase for a person.
impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPassed {
                place,
                version,
                standing: None,
            } => write!(
                f,
                "{place} has not passed for {version}: it was never begun there"
            ),
            Self::NotPassed {
                place,
                version,
                standing:
                    Some(Standing {
                        deployment,
                        state,
                        is_ended,
                        ..
                    }),
            } => {
                let ended = if *is_ended && *state == VerdictState::Pending {
                    ", and has ended"
                } else {
                    ""
                };
                write!(
                    f,
                    "{place} has not passed for {version}: {deployment} says {state}{ended}"
                )
            }
            Self::FailedElsewhere {
                place,
                version,
                deployment,
            } => write!(f, "{version} has failed in {place} ({deployment})"),
            Self::OtherRegion {
                region, deployment, ..
            } => write!(
                f,
                "{deployment} is under way in {region}, one region at a time"
            ),
            Self::Unhealthy(Ailment {
                place,
                check,
                since,
                note,
            }) => {
                let since = since.whole_seconds();
                write!(f, "{place} is unhealthy: {check}: {note}, since {since}")
            }
            Self::Peak { until: Some(until) } => {
                write!(f, "not off-peak before {}", until.next_whole_second())
            }
            Self::Peak { until: None } => f.write_str("not off-peak"),
            Self::Unlearned { hours } => write!(
                f,
                "the off-peak hours are not learned yet: {hours} of {HOURS_OF_WEEK} hours of the week were seen"
            ),
        }
    }
}
