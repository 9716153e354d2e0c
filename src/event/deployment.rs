//! What deployers tell: a deployment begins, a step was reported, a person overrode, it ended.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};

use super::Timestamp;

/// One event of a deployment: a line of `deployments.jsonl`, or a call of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum DeploymentEvent {
    /// A version enters a stage.
    Begin(Begin),
    /// A step's outcome.
    Step(Step),
    /// A person's decision over the gate's.
    Bypass(Bypass),
    /// The deployment is over.
    End(End),
}

/// A version enters a stage in a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// When it began.
    pub at: Timestamp,
    /// Unique id of the deployment.
    pub deployment: String,
    /// Service that changes.
    pub service: String,
    /// Stage that it enters.
    pub stage: String,
    /// Region, where the stage has regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// New version.
    pub version: String,
    /// Hosts that got the new version first; empty where the version label tells, or where the
    /// stage has no one-box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_box: Vec<String>,
    /// Hosts still on the old version; empty means every other host of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fleet: Vec<String>,
    /// Share of an ordinary host's traffic that a one-box host is given.
    #[serde(default = "one", deserialize_with = "weight")]
    pub weight: f64,
    /// Set when the deployment is opened as a hotfix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<Hotfix>,
}

fn one() -> f64 {
    1.0
}

/// Reads a share of traffic: `10%` or `0.1`. More than an ordinary host's share is a share too.
///
/// # Errors
/// It is no number above 0; what would be right.
pub fn read_share(text: &str) -> Result<f64, String> {
    let (number, per) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let number: Option<f64> = number.trim().parse().ok();
    number
        .filter(|number| number.is_finite() && 0.0 < *number)
        .map(|number| number / per)
        .ok_or_else(|| "it must be a ratio above 0, such as 10% or 0.1".to_owned())
}

/// A person writes a number or `"10%"`; the engine keeps a number.
fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Share;
    impl Visitor<'_> for Share {
        type Value = f64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a ratio such as 10% or 0.1")
        }
        fn visit_f64<E: Error>(self, share: f64) -> Result<f64, E> {
            Ok(share)
        }
        fn visit_i64<E: Error>(self, share: i64) -> Result<f64, E> {
            Ok(share as f64)
        }
        fn visit_u64<E: Error>(self, share: u64) -> Result<f64, E> {
            Ok(share as f64)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
            read_share(text).map_err(|right| E::custom(format!("weight is {text:?}: {right}")))
        }
    }
    if deserializer.is_human_readable() {
        deserializer.deserialize_any(Share)
    } else {
        f64::deserialize(deserializer)
    }
}

/// Who opened a deployment as a hotfix, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hotfix {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Where it is written down.
    pub ticket: String,
    /// Until when it holds.
    pub expires: Timestamp,
}

/// The outcome of a step that the deployer ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it was reported.
    pub at: Timestamp,
    /// Which deployment.
    pub deployment: String,
    /// Which step.
    pub step: String,
    /// How it went.
    pub outcome: StepOutcome,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// It passed.
    Passed,
    /// It failed: so does the gate.
    Failed,
}

/// A person's decision to let a deployment go on against, or without, the gate's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bypass {
    /// When.
    pub at: Timestamp,
    /// Which deployment.
    pub deployment: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Where it is written down.
    pub ticket: String,
}

/// The deployment is over; its gate closes with the verdict it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Which deployment.
    pub deployment: String,
}

impl DeploymentEvent {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Begin(begin) => begin.at,
            Self::Step(step) => step.at,
            Self::Bypass(bypass) => bypass.at,
            Self::End(end) => end.at,
        }
    }

    /// The same event at another time; the edge stamps events that come without one.
    #[must_use]
    pub fn at_time(mut self, now: Timestamp) -> Self {
        match &mut self {
            Self::Begin(begin) => begin.at = now,
            Self::Step(step) => step.at = now,
            Self::Bypass(bypass) => bypass.at = now,
            Self::End(end) => end.at = now,
        }
        self
    }

    /// Which deployment it is about.
    pub fn deployment(&self) -> &str {
        match self {
            Self::Begin(begin) => &begin.deployment,
            Self::Step(step) => &step.deployment,
            Self::Bypass(bypass) => &bypass.deployment,
            Self::End(end) => &end.deployment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_the_lines_of_a_recording() {
        let line = r#"{"at": "2026-03-01T10:00:00Z", "event": "begin", "deployment": "d1",
            "service": "checkout", "stage": "onebox", "version": "v42", "one_box": ["h3"]}"#;
        let DeploymentEvent::Begin(begin) = serde_json::from_str(line).unwrap() else {
            panic!("not a begin")
        };
        assert_eq!(
            (begin.weight, begin.one_box.as_slice()),
            (1.0, &["h3".to_owned()][..])
        );
        let line = r#"{"at": 1772359200, "event": "step", "deployment": "d1", "step": "smoke", "outcome": "failed"}"#;
        assert!(matches!(
            serde_json::from_str(line).unwrap(),
            DeploymentEvent::Step(Step {
                outcome: StepOutcome::Failed,
                ..
            })
        ));
    }
}
