//! Log records of a one-box with another share of the traffic, which they may follow or not.

use serde::{Deserialize, Serialize};

use super::{
    counts::{CountsTest, TOLERANCE_DEFAULT},
    outcome::Outcome,
    reading::{HostPast, Reader},
    terms::Sides,
};
use crate::detect::{CheckState, Extent, Group, HostId, Unsound, state::possible};

/// One test for each side of harm. Each is held against the rate of a healthy one-box that is nearest to harm
/// on that side: the larger of the two that it may have, or the smaller. So a harm is one whether records
/// follow the traffic or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordsTest {
    sides: Vec<CountsTest>,
    /// Accepted difference, as a logarithm.
    tolerance: f64,
    /// How much harm the share may hide, as a logarithm: the version may have taken as much as the share
    /// was expected to.
    hidden: f64,
    outcome: Outcome,
}

impl RecordsTest {
    /// Learns the usual shares from the past. `None` where the share of the traffic is that of any host.
    pub(super) fn new(
        reader: &Reader<'_>,
        group: &Group,
        alpha: f64,
        pasts: (&[HostPast], &[HostPast]),
    ) -> Option<Self> {
        let terms = reader.terms;
        if terms.weight == 1.0 {
            return None;
        }
        let sides: &[Sides] = match terms.sides {
            Sides::Up => &[Sides::Up],
            Sides::Down => &[Sides::Down],
            Sides::Both => &[Sides::Up, Sides::Down],
        };
        let alpha = alpha / sides.len() as f64;
        let test = |side: &Sides| {
            let terms = terms.of_records(*side);
            CountsTest::new(reader, &terms, group, alpha, pasts)
        };
        let sides: Vec<CountsTest> = sides.iter().map(test).collect();
        let outcome = sides.first()?.outcome().clone();
        Some(Self {
            sides,
            tolerance: terms.tolerance.unwrap_or(TOLERANCE_DEFAULT).ln_1p(),
            hidden: terms.weight.ln().abs(),
            outcome,
        })
    }

    /// Refuses a saved test that would not go on.
    pub(super) fn check(&self, extent: Extent) -> Result<(), Unsound> {
        possible("number of sides", !self.sides.is_empty())?;
        self.sides.iter().try_for_each(|side| side.check(extent))
    }

    /// The fleet hosts that it compares with.
    pub(super) fn fleet(&self) -> Vec<HostId> {
        let first = self.sides.first();
        first.map_or_else(Vec::new, |side| side.fleet().collect())
    }

    /// Whether it has seen enough beside the fleet of now.
    pub(super) fn sees(&self) -> bool {
        self.sides.iter().all(CountsTest::sees)
    }

    /// Goes on beside the fleet hosts that are here, see [`CountsTest::go_on`].
    pub(super) fn go_on(&mut self, reader: &Reader<'_>, group: &Group) {
        for side in &mut self.sides {
            side.go_on(reader, group);
        }
    }

    /// Whether less than half of the time could be compared.
    pub(super) fn is_blind(&self) -> bool {
        self.sides.iter().any(CountsTest::is_blind)
    }

    /// Whether harm was likely when the bake ended, and not certain.
    pub(super) fn is_likely(&self) -> bool {
        self.sides.iter().any(CountsTest::is_likely)
    }

    /// Whether a host of the fleet is why a harm is no breach, now that the bake is over.
    pub(super) fn is_rivalled(&self) -> bool {
        self.sides.iter().any(CountsTest::is_rivalled)
    }

    /// What it says now.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Takes the bucket that has just closed.
    pub(super) fn observe(&mut self, reader: &Reader<'_>, group: &Group) {
        for side in &mut self.sides {
            side.observe(reader, group);
        }
        let worse = |a: &&CountsTest, b: &&CountsTest| {
            let [a, b] = [a, b].map(|test| test.outcome());
            let by_state = gravity(a.state).cmp(&gravity(b.state));
            by_state.then(a.severity.total_cmp(&b.severity))
        };
        let Some(worst) = self.sides.iter().max_by(worse) else {
            return;
        };
        let mut outcome = worst.outcome().clone();
        let mut excluded = self.sides.iter().map(|side| side.outcome().detectable);
        let excluded = excluded.try_fold(0.0_f64, |most, side| Some(most.max(side?)));
        outcome.detectable = excluded.map(|excluded| excluded + self.hidden);
        let is_excluded = outcome
            .detectable
            .is_some_and(|least| least <= self.tolerance);
        if outcome.state == CheckState::Ok && !is_excluded {
            outcome.state = CheckState::Undecided;
        }
        self.outcome = outcome;
    }
}

/// Which state of a side counts for both.
fn gravity(state: CheckState) -> u8 {
    match state {
        CheckState::Breach => 4,
        CheckState::NoData => 3,
        CheckState::Warming => 2,
        CheckState::Undecided => 1,
        CheckState::Ok => 0,
    }
}
