//! The gates of the core over a restart.

use std::{collections::BTreeMap, fmt};

use super::{Engine, Refusal, directory::Directory, pipelines::Pipelines, refusal, sightings};
use crate::{
    detect::Extent,
    event::Begin,
    gate::{Gate, GateState, RestoreError},
};

/// Why the gates cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatesError {
    /// The plan does not have what a deployment asks for.
    Refused {
        /// Which deployment.
        deployment: String,
        /// What it lacks.
        refusal: Box<Refusal>,
    },
    /// A gate does not fit.
    Gate(Box<RestoreError>),
    /// Two gates of one deployment.
    Twice {
        /// Which deployment.
        deployment: String,
    },
}

impl Engine {
    /// What all gates have learned and latched, open and ended, by the id of their deployment.
    pub fn save_gates(&self) -> Vec<GateState> {
        self.gates.values().map(Gate::save).collect()
    }

    /// Puts saved gates in the place of all that there are. The hosts and panels must be those of
    /// the moment at which the gates were saved, and the plan the same.
    ///
    /// # Errors
    /// A gate does not fit to the plan, or to the hosts and panels. Then nothing has changed.
    pub fn restore_gates(&mut self, saved: Vec<GateState>) -> Result<(), GatesError> {
        let mut gates = BTreeMap::new();
        for state in saved {
            let gate = self.restore_gate(state)?;
            let deployment = gate.begin.deployment.clone();
            if gates.insert(deployment.clone(), gate).is_some() {
                return Err(GatesError::Twice { deployment });
            }
        }
        self.pipelines = Pipelines::of(&self.plan, &gates);
        self.sighted = sightings::sighted(&gates);
        self.gates = gates;
        Ok(())
    }

    fn restore_gate(&self, state: GateState) -> Result<Gate, GatesError> {
        let plan = if state.config_digest() == self.plan.digest {
            &self.plan
        } else {
            self.plans.get(state.config_digest()).unwrap_or(&self.plan)
        };
        let begin = state.begin.clone();
        let (service, stage) =
            refusal::resolve(plan, &begin).map_err(|refusal| GatesError::Refused {
                deployment: begin.deployment.clone(),
                refusal: Box::new(refusal),
            })?;
        let check = |name: &str| {
            let check = plan.checks.get(name);
            check.expect("a checked plan names only checks that exist")
        };
        let mut worlds = self.retired.iter().chain([&self.world]);
        let world = worlds.find(|world| world.directory.digest() == plan.digest);
        let extent = |index: usize| match world {
            Some(world) => world.directory.extent(&begin, &stage.checks[index].check),
            // Nothing is shown to it any more.
            None => Extent::UNBOUNDED,
        };
        let restored = Gate::restore(
            state,
            service,
            stage,
            plan.resolution,
            &plan.digest,
            check,
            extent,
        );
        restored.map_err(|error| GatesError::Gate(Box::new(error)))
    }
}

impl Directory {
    /// How many metrics and hosts a check of a deployment is shown.
    fn extent(&self, begin: &Begin, check: &str) -> Extent {
        let mut services = self.services.iter();
        let service = services
            .find(|entry| entry.plan.name == begin.service)
            .expect("a gate is opened only for a configured service");
        let mut panels = service.panels.iter();
        let entry = panels
            .find(|entry| entry.check.name == check)
            .expect("every check of a stage has a panel");
        Extent {
            groups: entry.panel.index_bound(),
            hosts: service.hosts.len(),
        }
    }
}

impl fmt::Display for GatesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { deployment, .. } => {
                write!(
                    f,
                    "the gate of {deployment:?} does not fit to the configuration"
                )
            }
            Self::Gate(_) => f.write_str("a gate cannot be restored"),
            Self::Twice { deployment } => {
                write!(f, "the gate of {deployment:?} was saved twice: keep one")
            }
        }
    }
}

impl std::error::Error for GatesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { refusal, .. } => Some(&**refusal),
            Self::Gate(error) => Some(&**error),
            Self::Twice { .. } => None,
        }
    }
}
