//! What a derivative check keeps over a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Derivative,
    outcome::{Outcome, Streak},
    rules::Past,
};
use crate::detect::{Extent, HostId, Unsound, coverage, state::counted};

/// What was learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "DerivativeState")]
pub(in crate::detect) struct State {
    coverage: coverage::State,
    groups: Vec<Option<Box<Outcome>>>,
    streaks: BTreeMap<(usize, Option<HostId>), Streak>,
    pasts: BTreeMap<(usize, HostId), Option<Past>>,
    pasts_left: usize,
}

impl Derivative {
    /// What was learned and latched: whoever adds a field decides here whether it is kept.
    pub(in crate::detect) fn save(&self) -> State {
        let Self {
            coverage,
            check: _,
            selection: _,
            max: _,
            min: _,
            window: _,
            step: _,
            alpha: _,
            began_at: _,
            past_until: _,
            grace_until: _,
            bake: _,
            groups,
            streaks,
            pasts,
            pasts_left,
        } = self;
        State {
            coverage: coverage.save(),
            groups: groups.clone(),
            streaks: streaks.clone(),
            pasts: pasts.clone(),
            pasts_left: *pasts_left,
        }
    }

    /// Takes what [`Derivative::save`] gave.
    pub(in crate::detect) fn restore(
        &mut self,
        state: State,
        extent: Extent,
    ) -> Result<(), Unsound> {
        let State {
            coverage,
            groups,
            streaks,
            pasts,
            pasts_left,
        } = state;
        extent.groups_len(groups.len())?;
        for outcome in groups.iter().flatten() {
            extent.hosts(&outcome.hosts)?;
            extent.hosts(
                outcome
                    .reading
                    .iter()
                    .filter_map(|reading| reading.host.as_ref()),
            )?;
        }
        for ((group, host), streak) in &streaks {
            extent.group(*group)?;
            extent.hosts(host)?;
            counted("number of looks", u64::from(streak.looks))?;
        }
        for (group, host) in pasts.keys() {
            extent.group(*group)?;
            extent.hosts([host])?;
        }
        self.coverage.restore(coverage, extent)?;
        self.groups = groups;
        self.streaks = streaks;
        self.pasts = pasts;
        self.pasts_left = pasts_left;
        Ok(())
    }
}
