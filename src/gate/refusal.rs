//! What a gate refuses of what it is told.

use std::fmt;

use crate::event::Timestamp;

/// What a gate refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateError {
    /// The stage does not ask for this step.
    UnknownStep {
        /// What was reported.
        given: String,
        /// What the stage asks for.
        known: Vec<String>,
    },
    /// The deployment has ended.
    Ended,
    /// A step failed after the gate had passed: a PASS is final.
    Passed {
        /// The step.
        step: String,
        /// When the gate passed.
        since: Timestamp,
    },
    /// Another person's decision stands already.
    Bypassed {
        /// Whose.
        by: String,
        /// Where it is written down.
        ticket: String,
    },
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownStep { given, known } if known.is_empty() => {
                write!(f, "step {given:?} is not asked for: the stage has no steps")
            }
            Self::UnknownStep { given, known } => {
                let known: Vec<String> = known.iter().map(|step| format!("{step:?}")).collect();
                write!(
                    f,
                    "step {given:?} is not asked for: the stage has {}",
                    known.join(", ")
                )
            }
            Self::Ended => f.write_str("the deployment has ended"),
            Self::Passed { step, since } => write!(
                f,
                "step {step:?} failed after the gate had said PASS, at {}: that is final and stands. Roll the \
                 version back and end the deployment; to have it fail, begin another deployment of the \
                 version and report the step there",
                since.whole_seconds()
            ),
            Self::Bypassed { by, ticket } => {
                write!(f, "it is bypassed already, by {by} ({ticket}): that stands")
            }
        }
    }
}

impl std::error::Error for GateError {}
