//! The pipeline of a service: what stands in the way of a version that would enter a place of it.
//!
//! A [`History`] knows the deployments that were told, and the verdicts of their gates. Of several
//! attempts of one version at one place, the newest that was decided counts.

use serde::{Deserialize, Serialize};

use super::{
    VerdictState,
    blocker::{Blocker, Standing},
    off_peak::{self, Hours},
    traffic::Traffic,
};
use crate::{
    event::{Begin, Timestamp},
    plan::{OffPeak, ServicePlan, StagePlan, StartBlockers},
};

/// A stage, in a region where it has regions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The stage.
    pub stage: String,
    /// The region.
    pub region: Option<String>,
}

/// A deployment as the pipeline sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// How it began.
    pub begin: &'a Begin,
    /// What its gate says.
    pub state: VerdictState,
    /// Whether the gate can say something else by itself.
    pub is_final: bool,
    /// Whether it has ended.
    pub is_ended: bool,
    /// When its bake is over at the latest.
    pub bake_until: Timestamp,
}

/// The deployments of one service, oldest first.
#[derive(Clone, Debug)]
pub struct History<'a> {
    plan: &'a ServicePlan,
    attempts: Vec<Attempt<'a>>,
    /// Index of the earliest stage that anybody told of.
    earliest: Option<usize>,
}

/// What is wrong with a place: a check of limits that stands in breach on its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ailment {
    /// Where.
    pub place: Place,
    /// Which check.
    pub check: String,
    /// Start of the first bucket of the breach.
    pub since: Timestamp,
    /// One phrase for a person.
    pub note: String,
}

/// What the stream of a service tells beside the gates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// What is wrong, by stage, region and check.
    pub ailments: Vec<Ailment>,
    /// The traffic of stages whose off-peak hours are learned, by name.
    pub traffic: std::collections::BTreeMap<String, Traffic>,
}

/// Who asks what stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker<'a> {
    /// A deployer, before it begins. A bypass counts as a pass only where it says so.
    Deployer {
        /// Whether it does.
        accepts_bypass: bool,
    },
    /// The gate of a deployment that has begun all the same. What a person let go on may go on.
    Gate {
        /// Its deployment, which does not stand in its own way.
        deployment: &'a str,
    },
}

/// What would start, and where.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The version.
    pub version: &'a str,
    /// The stage.
    pub stage: &'a StagePlan,
    /// The region; `None` where the stage has none, or for all of them.
    pub region: Option<&'a str>,
    /// Who asks.
    pub asker: Asker<'a>,
    /// When.
    pub now: Timestamp,
}

impl<'a> History<'a> {
    /// The history of a service; deployments of others are left out.
    pub fn new(plan: &'a ServicePlan, attempts: impl Iterator<Item = Attempt<'a>>) -> Self {
        let mut attempts: Vec<Attempt<'a>> = attempts
            .filter(|attempt| attempt.begin.service == plan.name)
            .collect();
        attempts.sort_by(|a, b| {
            (a.begin.at, &a.begin.deployment).cmp(&(b.begin.at, &b.begin.deployment))
        });
        let mut history = Self {
            plan,
            attempts,
            earliest: None,
        };
        let stages = history.attempts.iter();
        let stages = stages.filter_map(|attempt| history.index(&attempt.begin.stage));
        history.earliest = stages.min();
        history
    }

    /// The same, of which somebody knows that a stage was told of of which no attempt is left.
    #[must_use]
    pub fn told_from(self, earliest: Option<usize>) -> Self {
        Self { earliest, ..self }
    }

    /// What stands in the way of a start, in a fixed order; nothing: it may start.
    pub fn blockers(&self, start: &Start<'_>, conditions: &Conditions) -> Vec<Blocker> {
        let mut blockers = Vec::new();
        let is_strict = self.is_strict(start);
        if is_strict {
            self.stage_before(start, &mut blockers);
        }
        let one_region = start.stage.policies.one_region_at_a_time;
        let is_off = start.stage.policies.start_blockers == StartBlockers::Off;
        if is_strict || (one_region && !is_off) {
            self.failed_elsewhere(start, &mut blockers);
        }
        if one_region {
            self.other_regions(start, &mut blockers);
        }
        if is_strict {
            let is_here = |ailment: &&Ailment| {
                ailment.place.stage == start.stage.name
                    && start
                        .region
                        .is_none_or(|region| ailment.place.region.as_deref() == Some(region))
            };
            let ailments = conditions.ailments.iter().filter(is_here);
            blockers.extend(ailments.cloned().map(Blocker::Unhealthy));
        }
        blockers.extend(hours(start, conditions));
        blockers
    }

    /// Whether the version has passed at a place.
    ///
    /// # Errors
    /// It has not: what stands there.
    pub fn standing(
        &self,
        version: &str,
        place: &Place,
        accepts_bypass: bool,
    ) -> Result<(), Blocker> {
        let of_place = |attempt: &&Attempt<'_>| {
            let begin = attempt.begin;
            begin.version == version
                && begin.stage == place.stage
                && (place.region.is_none() || begin.region == place.region)
        };
        let decisive = |attempt: &&Attempt<'_>| match attempt.state {
            VerdictState::Pass | VerdictState::Fail | VerdictState::Bypassed => true,
            VerdictState::Pending | VerdictState::NoData => false,
        };
        let mut newest_first = self.attempts.iter().rev().filter(of_place);
        let attempt = newest_first
            .clone()
            .find(decisive)
            .or_else(|| newest_first.next());
        let has_passed = attempt.is_some_and(|attempt| match attempt.state {
            VerdictState::Pass => true,
            VerdictState::Bypassed => accepts_bypass,
            VerdictState::Pending | VerdictState::NoData | VerdictState::Fail => false,
        });
        if has_passed {
            return Ok(());
        }
        Err(Blocker::NotPassed {
            place: place.clone(),
            version: version.to_owned(),
            standing: attempt.map(|attempt| Standing {
                deployment: attempt.begin.deployment.clone(),
                state: attempt.state,
                is_ended: attempt.is_ended,
                bake_until: attempt.bake_until,
            }),
        })
    }

    /// The place that comes behind another in the pipeline: the next region of its stage, else the first
    /// of the next stage. Of nowhere, the first of all; of a stage as a whole, the stage behind it.
    pub fn next(&self, from: Option<&Place>) -> Option<Place> {
        let first_of = |stage: &StagePlan| Place {
            stage: stage.name.clone(),
            region: stage.regions.first().cloned(),
        };
        let Some(from) = from else {
            return self.plan.stages.first().map(first_of);
        };
        let index = self.index(&from.stage)?;
        let stage = &self.plan.stages[index];
        let regions = &stage.regions;
        let following = from.region.as_ref().and_then(|region| {
            let here = regions.iter().position(|known| known == region)?;
            regions.get(here + 1)
        });
        match following {
            Some(region) => Some(Place {
                stage: stage.name.clone(),
                region: Some(region.clone()),
            }),
            None => self.plan.stages.get(index + 1).map(first_of),
        }
    }

    /// Whether an unhealthy target and the stage before hold a start back.
    fn is_strict(&self, start: &Start<'_>) -> bool {
        match (start.stage.policies.start_blockers, start.asker) {
            (StartBlockers::Off, _) => false,
            (StartBlockers::Always, _) | (StartBlockers::WhenTold, Asker::Deployer { .. }) => true,
            (StartBlockers::WhenTold, Asker::Gate { .. }) => {
                let here = self.index(&start.stage.name);
                self.earliest.is_some() && self.earliest < here
            }
        }
    }

    /// The same region of the stage before, where it has it; else all of that stage.
    fn stage_before(&self, start: &Start<'_>, blockers: &mut Vec<Blocker>) {
        let before = self
            .index(&start.stage.name)
            .and_then(|index| index.checked_sub(1));
        let Some(before) = before.map(|index| &self.plan.stages[index]) else {
            return;
        };
        let is_same = |region: Option<&String>| region.map(String::as_str) == start.region;
        let has_same = before.places().any(is_same);
        for region in before
            .places()
            .filter(|region| !has_same || is_same(*region))
        {
            let place = Place {
                stage: before.name.clone(),
                region: region.cloned(),
            };
            let standing = self.standing(start.version, &place, start.asker.accepts_bypass());
            blockers.extend(standing.err());
        }
    }

    /// A version that failed in a region of this stage, or of the one before, is held in the others.
    fn failed_elsewhere(&self, start: &Start<'_>, blockers: &mut Vec<Blocker>) {
        let here = self.index(&start.stage.name).unwrap_or(0);
        for stage in &self.plan.stages[here.saturating_sub(1)..=here] {
            for region in &stage.regions {
                let is_here = stage.name == start.stage.name && start.region == Some(region);
                let is_told = blockers.iter().any(|told| told.is_of(&stage.name, region));
                if is_here || is_told {
                    continue;
                }
                let place = Place {
                    stage: stage.name.clone(),
                    region: Some(region.clone()),
                };
                if let Err(Blocker::NotPassed {
                    standing: Some(standing),
                    ..
                }) = self.standing(start.version, &place, true)
                    && standing.state == VerdictState::Fail
                {
                    blockers.push(Blocker::FailedElsewhere {
                        place,
                        version: start.version.to_owned(),
                        deployment: standing.deployment,
                    });
                }
            }
        }
    }

    /// Other regions of the stage in which a deployment is under way: one of each, the newest. What passed
    /// took the place of those before it; what failed or was given up did not.
    fn other_regions(&self, start: &Start<'_>, blockers: &mut Vec<Blocker>) {
        for region in &start.stage.regions {
            if start.region == Some(region) {
                continue;
            }
            let is_there = |attempt: &&Attempt<'_>| {
                attempt.begin.stage == start.stage.name
                    && attempt.begin.region.as_ref() == Some(region)
            };
            let gave_way = |attempt: &Attempt<'_>| {
                attempt.state != VerdictState::Pass && (attempt.is_final || attempt.is_ended)
            };
            let there = self.attempts.iter().rev().filter(is_there);
            let newest = there.into_iter().find(|attempt| !gave_way(attempt));
            if let Some(attempt) = newest
                && !attempt.is_final
                && !attempt.is_ended
                && !start.asker.is(&attempt.begin.deployment)
            {
                blockers.push(Blocker::OtherRegion {
                    region: region.clone(),
                    deployment: attempt.begin.deployment.clone(),
                    bake_until: attempt.bake_until,
                });
            }
        }
    }

    fn index(&self, stage: &str) -> Option<usize> {
        self.plan
            .stages
            .iter()
            .position(|known| known.name == stage)
    }
}

impl Asker<'_> {
    fn accepts_bypass(self) -> bool {
        match self {
            Self::Deployer { accepts_bypass } => accepts_bypass,
            Self::Gate { .. } => true,
        }
    }

    fn is(self, deployment: &str) -> bool {
        match self {
            Self::Deployer { .. } => false,
            Self::Gate { deployment: own } => own == deployment,
        }
    }
}

/// Whether it is the wrong time of the day. Hours that are not learned yet do not hold a gate: one that
/// can never pass in its first week would only teach people to override.
fn hours(start: &Start<'_>, conditions: &Conditions) -> Option<Blocker> {
    match start.stage.policies.off_peak.as_ref()? {
        OffPeak::Windows { zone, windows } => match off_peak::hours(zone, windows, start.now) {
            Hours::OffPeak => None,
            Hours::Peak(until) => Some(Blocker::Peak { until }),
        },
        OffPeak::Learned => {
            let traffic = conditions.traffic.get(&start.stage.name);
            match traffic.map(|traffic| traffic.hours(start.now)) {
                Some(Ok(Hours::OffPeak)) => None,
                Some(Ok(Hours::Peak(until))) => Some(Blocker::Peak { until }),
                Some(Err(unknown)) => match start.asker {
                    Asker::Deployer { .. } => Some(Blocker::Unlearned { hours: unknown }),
                    Asker::Gate { .. } => None,
                },
                None => match start.asker {
                    Asker::Deployer { .. } => Some(Blocker::Unlearned { hours: 0 }),
                    Asker::Gate { .. } => None,
                },
            }
        }
    }
}
