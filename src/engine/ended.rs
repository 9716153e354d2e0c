//! Deployments that have ended: forgotten some time later, but for those that still decide something.
//!
//! The history has them all. What of them is kept here follows from the gates alone, so that a core that
//! goes on from a snapshot keeps the same.

#[cfg(test)]
#[path = "ended_tests.rs"]
mod tests;

use std::collections::BTreeSet;

use super::{Engine, Output, pipelines::Pipelines};
use crate::{
    event::{Span, Timestamp},
    gate::{Gate, Place, VerdictState},
};

/// How long an ended deployment that decides nothing is remembered.
const ENDED_FOR: Span = Span::from_hours(24);
/// How many of them are remembered; the latest.
const ENDED_MAX: usize = 1_000;
/// How long the last word of a version at a place is remembered: what the next stage asks for.
const DECIDED_FOR: Span = Span::from_hours(30 * 24);
/// How many of these are remembered; the latest.
const DECIDED_MAX: usize = 5_000;
/// How often it is looked for what can be forgotten, in event time.
pub(super) const ROUND: Span = Span::from_hours(1);
/// After how many deployment events it is looked for that, too.
pub(super) const ROUND_EVENTS: u64 = 256;

/// What an ended deployment is still needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is the latest at its place, or the latest that passed there, or its version is still seen: as long
    /// as there is no later one, the pipeline goes by it.
    Place,
    /// It is the latest word of its version at its place.
    Version,
    /// Nothing.
    None,
}

impl Engine {
    /// Forgets deployments that ended long ago, or that are too many.
    pub(super) fn forget_ended(&mut self, outputs: &mut Vec<Output>) {
        let now = self.epoch().now;
        let mut forgotten = Vec::new();
        for (kind, kept_for, kept_max) in [
            (Use::None, ENDED_FOR, ENDED_MAX),
            (Use::Version, DECIDED_FOR, DECIDED_MAX),
        ] {
            let mut of_kind: Vec<(Timestamp, &str)> = self
                .ended()
                .into_iter()
                .filter(|(_, needed)| *needed == kind)
                .map(|(gate, _)| (gate.at(), gate.begin.deployment.as_str()))
                .collect();
            of_kind.sort_unstable();
            let surplus = of_kind.len().saturating_sub(kept_max);
            let is_old = |at: Timestamp| now.is_some_and(|now| at + kept_for <= now);
            let gone = of_kind.into_iter().enumerate();
            let gone = gone.filter(|(index, (at, _))| *index < surplus || is_old(*at));
            forgotten.extend(gone.map(|(_, (_, id))| id.to_owned()));
        }
        if forgotten.is_empty() {
            return;
        }
        for id in forgotten {
            if let Some(gate) = self.gates.remove(&id) {
                outputs.push(Output::Forgotten(Box::new(gate)));
            }
        }
        self.pipelines = Pipelines::of(&self.plan, &self.gates);
        self.forget_unused_plans();
    }

    /// The deployments that have ended for good, with what they are needed for.
    fn ended(&self) -> Vec<(&Gate, Use)> {
        let mut newest_first: Vec<&Gate> = self.gates.values().collect();
        newest_first.sort_unstable_by(|a, b| {
            (b.begin.at, &b.begin.deployment).cmp(&(a.begin.at, &a.begin.deployment))
        });
        let (mut told, mut passed, mut decided) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut ended = Vec::new();
        for gate in newest_first {
            let service = gate.begin.service.as_str();
            let place = place(gate);
            let has_passed = gate.state() == VerdictState::Pass;
            let is_decided = match gate.state() {
                VerdictState::Pass | VerdictState::Fail | VerdictState::Bypassed => true,
                VerdictState::Pending | VerdictState::NoData => false,
            };
            let is_newest = told.insert((service, place.clone()));
            let is_newest_passed = has_passed && passed.insert((service, place.clone()));
            let version = gate.begin.version.as_str();
            let is_last_word = is_decided && decided.insert((service, version, place));
            if !gate.is_ended() || !gate.is_settled() {
                continue;
            }
            let is_seen = self.sighted.contains(&gate.begin.deployment);
            let needed = if is_newest || is_newest_passed || is_seen {
                Use::Place
            } else if is_last_word {
                Use::Version
            } else {
                Use::None
            };
            ended.push((gate, needed));
        }
        ended
    }
}

/// Where a deployment is, as its stage knows places: of a stage without regions anybody may name any.
fn place(gate: &Gate) -> Place {
    let has_regions = !gate.stage().regions.is_empty();
    Place {
        stage: gate.begin.stage.clone(),
        region: gate.begin.region.clone().filter(|_| has_regions),
    }
}
