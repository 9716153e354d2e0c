//! May a version go on, and where to: what a deployer asks before it starts.

use std::collections::BTreeMap;

use super::{Engine, Refusal};
use crate::{
    event::Timestamp,
    gate::{Asker, Attempt, Blocker, Conditions, Gate, History, Place, Start},
    plan::{Plan, ServicePlan},
};

/// The question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromotionRequest {
    /// The service.
    pub service: String,
    /// The version.
    pub version: String,
    /// The stage that it would leave; `None`: it enters the first.
    pub stage: Option<String>,
    /// The region that it would leave; `None`: the stage as a whole, all its regions.
    pub region: Option<String>,
    /// Where it would go; `None`: what comes behind in the pipeline.
    pub to_stage: Option<String>,
    /// The region where it would go; `None`: what comes behind, or all regions of `to_stage`.
    pub to_region: Option<String>,
    /// Whether a bypass counts as a pass.
    pub accept_bypass: bool,
}

/// The answer: it may go on exactly if nothing stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Where it comes from.
    pub from: Option<Place>,
    /// Where it would go; `None`: nothing comes behind.
    pub to: Option<Place>,
    /// What stands in the way.
    pub blockers: Vec<Blocker>,
    /// When this was said.
    pub at: Timestamp,
}

impl Promotion {
    /// Whether it may go on.
    pub fn is_allowed(&self) -> bool {
        self.blockers.is_empty()
    }
}

impl Engine {
    /// May the version go on?
    ///
    /// # Errors
    /// The service, a stage or a region is not configured, or a field is missing.
    pub fn may_promote(
        &self,
        request: &PromotionRequest,
        now: Timestamp,
    ) -> Result<Promotion, Refusal> {
        let attempts = self.gates.values().map(Gate::attempt);
        may_promote(&self.plan, attempts, &self.conditions(), request, now)
    }

    /// What the stream of each service tells beside the gates.
    pub fn conditions(&self) -> BTreeMap<String, Conditions> {
        let services = self.plan.services.keys();
        services
            .map(|service| (service.clone(), self.directory.conditions(service).clone()))
            .collect()
    }
}

/// May the version go on, by the deployments and conditions that are given?
///
/// # Errors
/// The service, a stage or a region is not configured, or a field is missing.
pub fn may_promote<'a>(
    plan: &'a Plan,
    attempts: impl Iterator<Item = Attempt<'a>>,
    conditions: &BTreeMap<String, Conditions>,
    request: &PromotionRequest,
    now: Timestamp,
) -> Result<Promotion, Refusal> {
    let service = plan
        .services
        .get(&request.service)
        .ok_or_else(|| Refusal::UnknownService {
            given: request.service.clone(),
            known: plan.services.keys().cloned().collect(),
        })?;
    if request.version.is_empty() {
        return Err(Refusal::BadField {
            field: "version",
            problem: "is missing: name the version that would go on".to_owned(),
        });
    }
    let from = place(service, request.stage.as_ref(), request.region.as_ref())?;
    let history = History::new(service, attempts);
    let to = match place(
        service,
        request.to_stage.as_ref(),
        request.to_region.as_ref(),
    )? {
        Some(place) => Some(place),
        None => history.next(from.as_ref()),
    };
    let mut blockers = Vec::new();
    for place in from.iter().flat_map(|place| each_region(service, place)) {
        let standing = history.standing(&request.version, &place, request.accept_bypass);
        blockers.extend(standing.err());
    }
    let none = Conditions::default();
    let conditions = conditions.get(&service.name).unwrap_or(&none);
    if let Some(place) = &to
        && let Some(stage) = service
            .stages
            .iter()
            .find(|stage| stage.name == place.stage)
    {
        let start = Start {
            version: &request.version,
            stage,
            region: place.region.as_deref(),
            asker: Asker::Deployer {
                accepts_bypass: request.accept_bypass,
            },
            now,
        };
        for blocker in history.blockers(&start, conditions) {
            if !blockers.contains(&blocker) {
                blockers.push(blocker);
            }
        }
    }
    Ok(Promotion {
        from,
        to,
        blockers,
        at: now,
    })
}

fn place(
    service: &ServicePlan,
    stage: Option<&String>,
    region: Option<&String>,
) -> Result<Option<Place>, Refusal> {
    let Some(name) = stage else {
        return match region {
            None => Ok(None),
            Some(_) => Err(Refusal::BadField {
                field: "stage",
                problem: "is missing: a region is one of a stage".to_owned(),
            }),
        };
    };
    let stage = service.stages.iter().find(|stage| stage.name == *name);
    let stage = stage.ok_or_else(|| Refusal::UnknownStage {
        service: service.name.clone(),
        given: name.clone(),
        known: service
            .stages
            .iter()
            .map(|stage| stage.name.clone())
            .collect(),
    })?;
    if let Some(region) = region
        && !stage.regions.is_empty()
        && !stage.regions.contains(region)
    {
        return Err(Refusal::UnknownRegion {
            stage: name.clone(),
            given: Some(region.clone()),
            known: stage.regions.clone(),
        });
    }
    Ok(Some(Place {
        stage: name.clone(),
        region: region.filter(|_| !stage.regions.is_empty()).cloned(),
    }))
}

fn each_region(service: &ServicePlan, place: &Place) -> Vec<Place> {
    let stage = service
        .stages
        .iter()
        .find(|stage| stage.name == place.stage);
    match (stage, &place.region) {
        (Some(stage), None) if !stage.regions.is_empty() => stage
            .regions
            .iter()
            .map(|region| Place {
                stage: stage.name.clone(),
                region: Some(region.clone()),
            })
            .collect(),
        _ => vec![place.clone()],
    }
}
