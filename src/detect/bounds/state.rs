//! What a bounds check keeps over a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bounds, Run};
use crate::{
    detect::{Extent, HostId, Unsound, coverage},
    event::Timestamp,
};

/// What was learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "BoundsState")]
pub(in crate::detect) struct State {
    coverage: coverage::State,
    runs: BTreeMap<(usize, HostId), Run>,
    judged: Vec<Option<Timestamp>>,
}

impl Bounds {
    /// What was learned and latched: whoever adds a field decides here whether it is kept.
    pub(in crate::detect) fn save(&self) -> State {
        let Self {
            coverage,
            check: _,
            selection: _,
            min: _,
            max: _,
            for_at_least: _,
            within: _,
            began_at: _,
            grace_until: _,
            runs,
            judged,
        } = self;
        State {
            coverage: coverage.save(),
            runs: runs.clone(),
            judged: judged.clone(),
        }
    }

    /// Takes what [`Bounds::save`] gave.
    pub(in crate::detect) fn restore(
        &mut self,
        state: State,
        extent: Extent,
    ) -> Result<(), Unsound> {
        let State {
            coverage,
            runs,
            judged,
        } = state;
        for (group, host) in runs.keys() {
            extent.group(*group)?;
            extent.hosts([host])?;
        }
        extent.hosts_len(judged.len())?;
        self.coverage.restore(coverage, extent)?;
        self.runs = runs;
        self.judged = judged;
        Ok(())
    }
}
