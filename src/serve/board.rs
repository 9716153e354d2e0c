//! Deployments as the doors show them at one moment.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use crate::{
    event::{Begin, Span, Timestamp},
    gate::{Gate, Verdict, VerdictState},
};

/// What an open gate says while the core reads its journal.
const RECOVERING: &str = "recovering: the engine was restarted and reads its journal";

/// What an open gate says while inputs cannot be recorded: it hears nothing, and its time stands still.
pub(super) const STALLED: &str =
    "the journal cannot be written: nothing is taken until it can, see the log of the engine";

/// What an open gate says while the clock is behind event time.
pub(super) const SET_BACK: &str =
    "the clock of the engine was set back: nothing is taken until it has come as far again";

/// All deployments at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// Deployments by id.
    pub deployments: BTreeMap<String, Arc<Deployment>>,
    /// Whether verdicts may be given out.
    pub standing: Standing,
}

/// Whether verdicts may be given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// The core lives.
    Alive,
    /// The core reads its journal: what is known already stands as PENDING.
    Recovering,
    /// The core has ended.
    #[default]
    Stopped,
}

/// A deployment as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// How it began.
    pub begin: Begin,
    /// What its gate says.
    pub verdict: Verdict,
    /// When its bake is over at the latest.
    pub bake_until: Timestamp,
    /// Whether it has ended.
    pub is_ended: bool,
}

impl Board {
    /// All deployments while nothing goes on, for this reason.
    pub(super) fn stalled(&self, reason: &str) -> Self {
        let deployments = self.deployments.iter();
        Self {
            deployments: deployments
                .map(|(id, deployment)| (id.clone(), deployment.stalled(reason)))
                .collect(),
            standing: self.standing,
        }
    }

    /// Deployments, newest first.
    pub(super) fn newest_first(&self) -> Vec<&Arc<Deployment>> {
        let mut deployments: Vec<_> = self.deployments.values().collect();
        deployments.sort_by_key(|deployment| Reverse(deployment.begin.at));
        deployments
    }
}

impl Deployment {
    /// The deployment of a gate.
    pub(super) fn of(gate: &Gate) -> Self {
        Self {
            begin: gate.begin.clone(),
            verdict: gate.verdict(),
            bake_until: gate.bake_until(),
            is_ended: gate.is_ended(),
        }
    }

    /// A deployment whose gate is not caught up: whatever it said before, it says PENDING.
    pub(super) fn recovering(mut self) -> Self {
        if !self.is_ended {
            let verdict = &mut self.verdict;
            verdict.verdict = VerdictState::Pending;
            verdict.is_final = false;
            verdict.reasons = vec![RECOVERING.to_owned()];
        }
        self
    }

    /// The deployment while nothing goes on, for this reason. What was decided before stands.
    pub(super) fn stalled(self: &Arc<Self>, reason: &str) -> Arc<Self> {
        if self.is_ended || self.verdict.is_final {
            return Arc::clone(self);
        }
        let mut deployment = Self::clone(self);
        deployment.verdict.reasons.insert(0, reason.to_owned());
        Arc::new(deployment)
    }

    /// How far it has come, in a few words: `12m of 1h` while it bakes, else the first reason.
    pub(super) fn progress(&self) -> String {
        let verdict = &self.verdict;
        let reason = verdict.reasons.first();
        if let Some(reason) =
            reason.filter(|reason| [RECOVERING, STALLED, SET_BACK].contains(&reason.as_str()))
        {
            return reason.clone();
        }
        let whole = self.bake_until - self.begin.at;
        let done = verdict.at - self.begin.at;
        if verdict.verdict == VerdictState::Pending && !self.is_ended && done < whole {
            let seconds = done.nanos().max(0) / 1_000_000_000;
            return format!("{} of {whole}", Span::from_seconds(seconds));
        }
        self.first_reason()
            .unwrap_or_else(|| verdict.verdict.to_string())
    }

    /// The first reason of the verdict. The one that tells of an end goes on with what was awaited until then.
    pub(super) fn first_reason(&self) -> Option<String> {
        let mut reasons = self.verdict.reasons.iter();
        let first = reasons.next()?;
        match reasons.next() {
            Some(until_then) if first.ends_with(':') => Some(format!("{first} {until_then}")),
            Some(_) | None => Some(first.clone()),
        }
    }

    /// Whether a watcher who has seen `shown` has seen all that matters of this.
    pub(super) fn says_the_same(&self, shown: &Self) -> bool {
        let (now, then) = (&self.verdict, &shown.verdict);
        self.is_ended == shown.is_ended
            && (now.verdict, now.since, now.is_final) == (then.verdict, then.since, then.is_final)
            && now.reasons == then.reasons
            && now.checks == then.checks
            && now.shadow == then.shadow
    }
}
