//! What a comparison keeps over a restart.

use serde::{Deserialize, Serialize};

use super::{Compare, births::Births, metric::Metric};
use crate::detect::{Extent, Unsound, coverage, state::counted};

/// What was learned and latched.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareState")]
pub(in crate::detect) struct State {
    coverage: coverage::State,
    metrics: Vec<Metric>,
    known_groups: Vec<bool>,
    late_count: u32,
    has_begun: bool,
    births: Option<Births>,
}

impl Compare {
    /// What was learned and latched: whoever adds a field decides here whether it is kept.
    pub(in crate::detect) fn save(&self) -> State {
        let Self {
            coverage,
            terms: _,
            metrics,
            known_groups,
            late_count,
            has_begun,
            births,
        } = self;
        State {
            coverage: coverage.save(),
            metrics: metrics.clone(),
            known_groups: known_groups.clone(),
            late_count: *late_count,
            has_begun: *has_begun,
            births: births.clone(),
        }
    }

    /// Takes what [`Compare::save`] gave.
    pub(in crate::detect) fn restore(
        &mut self,
        state: State,
        extent: Extent,
    ) -> Result<(), Unsound> {
        let State {
            coverage,
            metrics,
            known_groups,
            late_count,
            has_begun,
            births,
        } = state;
        extent.groups_len(known_groups.len())?;
        counted("number of metrics", u64::from(late_count))?;
        for metric in &metrics {
            metric.check(extent)?;
        }
        births.iter().try_for_each(|births| births.check(extent))?;
        self.coverage.restore(coverage, extent)?;
        self.metrics = metrics;
        self.known_groups = known_groups;
        self.late_count = late_count;
        self.has_begun = has_begun;
        self.births = births;
        Ok(())
    }
}
