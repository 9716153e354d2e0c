//! What a sigma check keeps over a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Baseline, Sigma, Slot};
use crate::detect::{Extent, HostId, Unsound, coverage};

/// What was learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "SigmaState")]
pub(in crate::detect) struct State {
    coverage: coverage::State,
    watches: Vec<Vec<Slot>>,
    fleet: BTreeMap<(usize, HostId), Option<Baseline>>,
}

impl Sigma {
    /// What was learned and latched: whoever adds a field decides here whether it is kept.
    pub(in crate::detect) fn save(&self) -> State {
        let Self {
            coverage,
            check: _,
            selection: _,
            k: _,
            direction: _,
            alpha: _,
            past_until: _,
            judged_from: _,
            bake_until: _,
            bake: _,
            watches,
            fleet,
        } = self;
        State {
            coverage: coverage.save(),
            watches: watches.clone(),
            fleet: fleet.clone(),
        }
    }

    /// Takes what [`Sigma::save`] gave.
    pub(in crate::detect) fn restore(
        &mut self,
        state: State,
        extent: Extent,
    ) -> Result<(), Unsound> {
        let State {
            coverage,
            watches,
            fleet,
        } = state;
        extent.groups_len(watches.len())?;
        for slots in &watches {
            extent.hosts_len(slots.len())?;
            for slot in slots {
                match slot {
                    Slot::Unread | Slot::NoPast => {}
                    Slot::Watched(watch, _) => watch.check()?,
                }
            }
        }
        for ((group, host), baseline) in &fleet {
            extent.group(*group)?;
            extent.hosts([host])?;
            baseline.iter().try_for_each(Baseline::check)?;
        }
        self.coverage.restore(coverage, extent)?;
        self.watches = watches;
        self.fleet = fleet;
        Ok(())
    }
}
