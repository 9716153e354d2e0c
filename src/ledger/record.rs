//! One record, and the hash that chains it to the one before.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    event::{Begin, Bypass, End, Step, StepOutcome, Timestamp},
    gate::{Verdict, VerdictState},
};

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A deployment began.
    Begin,
    /// A verdict changed.
    Verdict,
    /// After the PASS of a hotfix, what it did not wait for says something else.
    Shadow,
    /// A step was reported.
    Step,
    /// A person overrode a gate.
    Bypass,
    /// A deployment ended.
    End,
    /// The configuration was read anew, or is another one since a start.
    Reload,
}

/// A configuration that was read anew and taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// By what the caller proved who it is: the file of its token, the name of its certificate, a signal; or
    /// `start`, where the engine was started under it.
    pub by: String,
    /// Digest of the configuration that was in force before.
    pub before: String,
    /// Digest of the one that is in force behind: the same where verdicts cannot differ, as with other
    /// tokens.
    pub after: String,
}

/// A record that is to be appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it tells.
    pub kind: Kind,
    /// When that happened, in event time.
    pub at: Timestamp,
    /// Which deployment it is about.
    pub deployment: String,
    /// Its service.
    pub service: String,
    /// Its stage.
    pub stage: String,
    /// Its region; empty where the stage has none.
    pub region: String,
    /// Its version.
    pub version: String,
    /// The verdict that was reached, where it is about one.
    pub verdict: Option<VerdictState>,
    /// Whether somebody answers for it: an override, a hotfix, an end, another configuration.
    pub is_privileged: bool,
    /// Equal for the same record, however often it is derived from the inputs.
    pub key: String,
    /// The event or the verdict, as JSON.
    pub body: String,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Begin,
        Self::Verdict,
        Self::Shadow,
        Self::Step,
        Self::Bypass,
        Self::End,
        Self::Reload,
    ];

    /// The word of the column `kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Verdict => "verdict",
            Self::Shadow => "shadow",
            Self::Step => "step",
            Self::Bypass => "bypass",
            Self::End => "end",
            Self::Reload => "reload",
        }
    }

    /// The kind of a word.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Record {
    /// A deployment began.
    pub fn begin(begin: &Begin) -> Self {
        let is_privileged = begin.hotfix.is_some();
        Self::about(begin, Kind::Begin, begin.at, is_privileged, "", json(begin))
    }

    /// A verdict changed. Judged anew under another configuration it is another record.
    pub fn verdict(begin: &Begin, verdict: &Verdict) -> Self {
        let what = format!("{} {}", verdict.config_digest, verdict.verdict.name());
        Self {
            verdict: Some(verdict.verdict),
            ..Self::about(
                begin,
                Kind::Verdict,
                verdict.at,
                false,
                &what,
                json(verdict),
            )
        }
    }

    /// The verdict stands, but what a hotfix did not wait for says something else than before.
    pub fn shadow(begin: &Begin, verdict: &Verdict) -> Self {
        let said = verdict.shadow.as_ref();
        let said = said.map_or("", |shadow| shadow.verdict.name());
        let what = format!("{} {said}", verdict.config_digest);
        let body = json(verdict);
        Self::about(begin, Kind::Shadow, verdict.at, false, &what, body)
    }

    /// A step was reported.
    pub fn step(begin: &Begin, step: &Step) -> Self {
        let outcome = match step.outcome {
            StepOutcome::Passed => "passed",
            StepOutcome::Failed => "failed",
        };
        let what = format!("{} {outcome}", step.step);
        Self::about(begin, Kind::Step, step.at, false, &what, json(step))
    }

    /// A step was reported, but changed nothing, for this reason.
    pub fn refused_step(begin: &Begin, step: &Step, refusal: &str) -> Self {
        #[derive(Serialize)]
        struct RefusedStep<'a> {
            #[serde(flatten)]
            step: &'a Step,
            refused: &'a str,
        }
        let what = format!("{} refused", step.step);
        let body = json(&RefusedStep {
            step,
            refused: refusal,
        });
        Self::about(begin, Kind::Step, step.at, false, &what, body)
    }

    /// A person overrode the gate.
    pub fn bypass(begin: &Begin, bypass: &Bypass) -> Self {
        let what = [&*bypass.by, &bypass.reason, &bypass.ticket].join(" ");
        Self::about(begin, Kind::Bypass, bypass.at, true, &what, json(bypass))
    }

    /// A deployment ended.
    pub fn end(begin: &Begin, end: &End) -> Self {
        Self::about(begin, Kind::End, end.at, true, "", json(end))
    }

    /// The configuration was read anew. It is about no deployment.
    pub fn reload(reload: &Reload) -> Self {
        let Reload {
            at,
            by,
            before,
            after,
        } = reload;
        let none = String::new;
        Self {
            kind: Kind::Reload,
            at: *at,
            deployment: none(),
            service: none(),
            stage: none(),
            region: none(),
            version: none(),
            verdict: None,
            is_privileged: true,
            key: format!(
                "\n\n{}\n{}\n{by} {before} {after}",
                Kind::Reload.name(),
                at.nanos()
            ),
            body: json(reload),
        }
    }

    fn about(
        begin: &Begin,
        kind: Kind,
        at: Timestamp,
        is_privileged: bool,
        what: &str,
        body: String,
    ) -> Self {
        Self {
            kind,
            at,
            deployment: begin.deployment.clone(),
            service: begin.service.clone(),
            stage: begin.stage.clone(),
            region: begin.region.clone().unwrap_or_default(),
            version: begin.version.clone(),
            verdict: None,
            is_privileged,
            // An id of a deployment may be used again once nobody knows the first any more.
            key: format!(
                "{}\n{}\n{}\n{}\n{what}",
                begin.deployment,
                begin.at.nanos(),
                kind.name(),
                at.nanos()
            ),
            body,
        }
    }

    /// SHA-256 over the hash before and every column, in hex.
    pub(super) fn hash(&self, before: &str) -> String {
        let mut hash = Sha256::new();
        let (at, privileged) = (self.at.nanos().to_string(), self.is_privileged.to_string());
        for part in [
            before,
            self.kind.name(),
            &at,
            &self.deployment,
            &self.service,
            &self.stage,
            &self.region,
            &self.version,
            self.verdict.map_or("", VerdictState::name),
            &privileged,
            &self.key,
            &self.body,
        ] {
            // With its length, so that no text can be moved from one column to the next.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a string takes any text");
            hex
        })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("events and verdicts have a form")
}
