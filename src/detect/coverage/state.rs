//! What a coverage keeps over a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Coverage, Exposed, Heard};
use crate::detect::{
    Extent, HostId, Unsound,
    state::{counted, possible},
};

/// What a coverage keeps over a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "CoverageState")]
pub(in crate::detect) struct State {
    heard: BTreeMap<HostId, Heard>,
    fleet: Exposed,
    buckets: u64,
    unseen: u64,
}

impl Coverage {
    /// What was learned: whoever adds a field decides here whether it is kept.
    pub(in crate::detect) fn save(&self) -> State {
        let Self {
            is_log: _,
            began_at: _,
            needs_severity: _,
            has_per: _,
            weight: _,
            grace_until: _,
            bake_min_until: _,
            bake_until: _,
            heard,
            fleet,
            buckets,
            unseen,
        } = self;
        State {
            heard: heard.clone(),
            fleet: *fleet,
            buckets: *buckets,
            unseen: *unseen,
        }
    }

    /// Takes what [`Coverage::save`] gave.
    pub(in crate::detect) fn restore(
        &mut self,
        state: State,
        extent: Extent,
    ) -> Result<(), Unsound> {
        let State {
            heard,
            fleet,
            buckets,
            unseen,
        } = state;
        extent.hosts(heard.keys())?;
        counted("number of buckets", buckets)?;
        counted("number of buckets", unseen)?;
        for host in heard.values() {
            counted("number of buckets", host.before)?;
            possible("number of buckets", host.before <= buckets)?;
            counted("number of buckets", host.buckets)?;
            counted("number of buckets", host.pending)?;
            counted("number of buckets", host.filled)?;
            counted("number of buckets", host.used)?;
            counted("number of buckets", host.lost)?;
            host.exposed.check()?;
        }
        fleet.check()?;
        self.heard = heard;
        self.fleet = fleet;
        self.buckets = buckets;
        self.unseen = unseen;
        Ok(())
    }
}
