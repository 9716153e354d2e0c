//! How often there is something to divide by.

use serde::{Deserialize, Serialize};

use crate::detect::{HostId, Unsound, View, state::counted};

/// Cells below which their share tells nothing.
const CELLS_MIN: u64 = 20;
/// How much more often it may be by chance, in standard deviations of a number.
const CHANCE: f64 = 2.0;

/// Cells of ratios since the grace.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "CoverageExposed")]
pub(super) struct Exposed {
    cells: u64,
    /// Those of an exposure that is something.
    exposed: u64,
}

impl Exposed {
    /// Takes the bucket of a host: it is exposed if any of its ratios is.
    pub(super) fn count(&mut self, view: &View<'_>, host: HostId) {
        let groups = view.panel.groups();
        let exposures = groups.filter_map(|(_, group)| {
            let cell = group.track(host)?.cell(view.bucket)?;
            cell.exposure
        });
        let largest = exposures.reduce(f64::max);
        self.cells += u64::from(largest.is_some());
        self.exposed += u64::from(largest.is_some_and(|exposure| 0.0 < exposure));
    }

    /// How often these were, in percent of what the fleet's lead one to expect of such a share of the traffic; of
    /// few cells nothing is known.
    pub(super) fn percent_of(&self, fleet: &Self, weight: f64) -> u64 {
        if self.cells.min(fleet.cells) < CELLS_MIN {
            return 100;
        }
        let usual = fleet.exposed as f64 / fleet.cells as f64;
        let expected = usual * weight * self.cells as f64;
        let exposed = self.exposed as f64;
        let most = exposed + CHANCE * (exposed + 1.0).sqrt();
        if most < expected {
            (100.0 * most / expected) as u64
        } else {
            100
        }
    }

    /// Refuses saved ones that would not go on.
    pub(super) fn check(&self) -> Result<(), Unsound> {
        counted("number of buckets", self.cells)?;
        counted("number of buckets", self.exposed)
    }
}
