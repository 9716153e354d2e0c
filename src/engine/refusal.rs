//! What the core refuses, and what the caller should change.

use std::{collections::BTreeSet, fmt};

use crate::{
    event::{Begin, Bypass, Hotfix, Timestamp},
    gate::GateError,
    plan::{Plan, ServicePlan, StagePlan},
};

/// A deployment event that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such service is configured.
    UnknownService {
        /// What was given.
        given: String,
        /// What is configured.
        known: Vec<String>,
    },
    /// The service has no such stage.
    UnknownStage {
        /// Its service.
        service: String,
        /// What was given.
        given: String,
        /// What is configured.
        known: Vec<String>,
    },
    /// The stage has no such region, or needs one.
    UnknownRegion {
        /// Its stage.
        stage: String,
        /// What was given.
        given: Option<String>,
        /// What is configured.
        known: Vec<String>,
    },
    /// A field of the event makes no sense.
    BadField {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The id belongs to another deployment.
    DuplicateDeployment {
        /// The id.
        deployment: String,
    },
    /// The id belongs to a deployment that has ended.
    EndedDeployment {
        /// The id.
        deployment: String,
    },
    /// No deployment has this id.
    UnknownDeployment {
        /// The id.
        deployment: String,
    },
    /// The gate refused it.
    Gate {
        /// The id.
        deployment: String,
        /// Why.
        error: GateError,
    },
    /// Over the limit of open gates.
    TooManyGates {
        /// The limit.
        open_max: usize,
    },
}

/// A refusal with the event that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When it was told.
    pub at: Timestamp,
    /// The deployment that it is about.
    pub deployment: String,
    /// Why.
    pub refusal: Refusal,
}

/// Finds the service and stage that a deployment names, and checks its other fields.
pub(super) fn resolve<'a>(
    plan: &'a Plan,
    begin: &Begin,
) -> Result<(&'a ServicePlan, &'a StagePlan), Refusal> {
    let service = plan
        .services
        .get(&begin.service)
        .ok_or_else(|| Refusal::UnknownService {
            given: begin.service.clone(),
            known: plan.services.keys().cloned().collect(),
        })?;
    let stage = service
        .stages
        .iter()
        .find(|stage| stage.name == begin.stage)
        .ok_or_else(|| Refusal::UnknownStage {
            service: service.name.clone(),
            given: begin.stage.clone(),
            known: service
                .stages
                .iter()
                .map(|stage| stage.name.clone())
                .collect(),
        })?;
    let region_is_known = match &begin.region {
        Some(region) => stage.regions.is_empty() || stage.regions.contains(region),
        None => stage.regions.is_empty(),
    };
    if !region_is_known {
        return Err(Refusal::UnknownRegion {
            stage: stage.name.clone(),
            given: begin.region.clone(),
            known: stage.regions.clone(),
        });
    }
    let bad = |field, problem: String| Err(Refusal::BadField { field, problem });
    if begin.deployment.trim().is_empty() {
        return bad(
            "deployment",
            "is empty: give the deployment an id".to_owned(),
        );
    }
    if begin.version.trim().is_empty() {
        return bad(
            "version",
            "is empty: name the version that is deployed".to_owned(),
        );
    }
    if !(begin.weight.is_finite() && begin.weight > 0.0) {
        let problem = format!("is {}: the share of traffic must be above 0", begin.weight);
        return bad("weight", problem);
    }
    let fleet: BTreeSet<&String> = begin.fleet.iter().collect();
    if let Some(host) = begin.one_box.iter().find(|host| fleet.contains(host)) {
        return bad("fleet", format!("holds {host:?}, which is in one_box too"));
    }
    begin
        .hotfix
        .as_ref()
        .map_or(Ok(()), |hotfix| check_hotfix(begin, hotfix))?;
    Ok((service, stage))
}

/// Whether a deployer asks for the same again, at whatever time. Hosts are named in any order.
pub(super) fn is_same(one: &Begin, other: &Begin) -> bool {
    let normal = |begin: &Begin| {
        let mut begin = begin.clone();
        begin.at = one.at;
        for hosts in [&mut begin.one_box, &mut begin.fleet] {
            hosts.sort_unstable();
            hosts.dedup();
        }
        begin
    };
    normal(one) == normal(other)
}

/// Checks what a person signs an override with.
pub(super) fn check_bypass(bypass: &Bypass) -> Result<(), Refusal> {
    let needs = "an override needs who, why and a ticket";
    signed(
        [
            ("by", &bypass.by),
            ("reason", &bypass.reason),
            ("ticket", &bypass.ticket),
        ],
        needs,
    )
}

fn signed(fields: [(&'static str, &String); 3], needs: &str) -> Result<(), Refusal> {
    match fields.iter().find(|(_, text)| text.trim().is_empty()) {
        Some((field, _)) => Err(Refusal::BadField {
            field,
            problem: format!("is missing: {needs}"),
        }),
        None => Ok(()),
    }
}

fn check_hotfix(begin: &Begin, hotfix: &Hotfix) -> Result<(), Refusal> {
    let needs = "a hotfix needs who, why, a ticket and when it expires";
    signed(
        [
            ("hotfix.by", &hotfix.by),
            ("hotfix.reason", &hotfix.reason),
            ("hotfix.ticket", &hotfix.ticket),
        ],
        needs,
    )?;
    if hotfix.expires <= begin.at {
        let right = "a hotfix needs a time that is still to come";
        let problem = if hotfix.expires == Timestamp::MIN {
            format!("is missing: {right}")
        } else {
            let now = begin.at.next_whole_second();
            format!("is {}, but it is {now}: {right}", hotfix.expires)
        };
        return Err(Refusal::BadField {
            field: "hotfix.expires",
            problem,
        });
    }
    Ok(())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService { given, known } => {
                write!(
                    f,
                    "service {given:?} is not configured: services has {}",
                    list(known)
                )
            }
            Self::UnknownStage {
                service,
                given,
                known,
            } => {
                write!(
                    f,
                    "service {service:?} has no stage {given:?}: it has {}",
                    list(known)
                )
            }
            Self::UnknownRegion {
                stage,
                given: Some(given),
                known,
            } => {
                write!(
                    f,
                    "stage {stage:?} has no region {given:?}: it has {}",
                    list(known)
                )
            }
            Self::UnknownRegion {
                stage,
                given: None,
                known,
            } => {
                write!(f, "stage {stage:?} needs a region: one of {}", list(known))
            }
            Self::BadField { field, problem } => write!(f, "{field} {problem}"),
            Self::DuplicateDeployment { deployment } => {
                write!(
                    f,
                    "deployment {deployment:?} exists with other properties: choose another id"
                )
            }
            Self::EndedDeployment { deployment } => {
                write!(
                    f,
                    "deployment {deployment:?} has ended: choose another id to deploy again"
                )
            }
            Self::UnknownDeployment { deployment } => {
                write!(
                    f,
                    "deployment {deployment:?} is not known: begin it first; one that ended long ago is in \
                     `sluice history`"
                )
            }
            Self::Gate { deployment, error } => write!(f, "deployment {deployment:?}: {error}"),
            Self::TooManyGates { open_max } => write!(
                f,
                "{open_max} gates are open: end deployments, or raise limits.open_gates"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// Some refusals name the deployment themselves.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            deployment,
            refusal,
        } = self;
        let (at, refusal) = (at.whole_seconds(), refusal.to_string());
        if refusal.contains(&format!("deployment {deployment:?}")) {
            write!(f, "at {at}: {refusal}")
        } else {
            write!(f, "at {at}: deployment {deployment:?}: {refusal}")
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
