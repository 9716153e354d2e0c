//! The numbers that a person is shown, and the state.

use super::{CheckState, OwnPastTest, Reader, Scale, mean};
use crate::detect::compare::report;

impl OwnPastTest {
    pub(super) fn describe(&mut self, harm: Option<f64>, own: &[f64]) {
        let company = &self.plain;
        let windows = &company.own.windows;
        let mut longest_first = (0..windows.len()).rev();
        let filled = longest_first.find(|index| windows[*index].len <= self.stakes.judged);
        // Differences in the unit of the metric are told relative to its level.
        let is_relative = self.outcome.scale == Scale::Relative;
        let excess = (self.load / self.load_max).max(1.0);
        let growth = (self.load / excess).max(1.0);
        let to_scale = |value: f64| {
            if is_relative {
                (value / (self.level * growth)).max(-0.99).ln_1p()
            } else {
                value
            }
        };
        let latest = company.own.latest().filter(|_| harm.is_some());
        let level = latest.or_else(|| filled.and_then(|index| windows[index].level()));
        let difference_shown = level.or_else(|| company.own.latest_mean());
        let reach_shown = filled.map(|index| company.reach(index, &self.stakes));
        // Differences vary alike on both sides, their ratios do not.
        let interval = difference_shown
            .zip(reach_shown)
            .map(|(level, reach)| (to_scale(level - reach), to_scale(level + reach)));
        let (level, reach) = (difference_shown.map(to_scale), reach_shown.map(to_scale));
        let tolerance = to_scale(company.tolerance());
        // How much harm another share of the traffic may hide: it may have taken as much as was added.
        let by_traffic: f64 = self.allowance.iter().sum();
        let observed = mean(own.iter().copied().filter(|value| value.is_finite()));
        let difference = self.plain.own.latest_mean().map(|value| value * excess);
        let outcome = &mut self.outcome;
        outcome.first_breach = self.first_breach;
        outcome.effect = level;
        outcome.interval = interval;
        outcome.detectable = reach.map(|reach| reach.max(tolerance) + by_traffic);
        outcome.observed = observed.map(|observed| observed * self.full);
        let expected = observed.zip(difference);
        // Differences are medians over minutes, what was observed is the latest: what never was
        // negative is not expected to be.
        let least = self.lowest.min(0.0);
        outcome.expected =
            expected.map(|(observed, difference)| (observed - difference).max(least) * self.full);
        let by_host = filled.map_or(0.0, |index| company.hidden_by_one_of_two(index));
        let is_excluded = difference_shown
            .zip(reach)
            .is_some_and(|(difference, reach)| {
                self.sides.signs().iter().all(|side| {
                    let level = to_scale(difference + by_host * side) * side;
                    level + by_traffic + reach < tolerance
                })
            });
        let worst = self
            .sides
            .signs()
            .iter()
            .map(|side| level.unwrap_or(0.0) * side);
        outcome.severity = worst.fold(f64::NEG_INFINITY, f64::max) / tolerance;
        outcome.state = match harm {
            Some(_) => CheckState::Breach,
            None if is_excluded => CheckState::Ok,
            None => CheckState::Undecided,
        };
    }

    /// One host of several strays, and may by its own fault: that blocks nothing while it may heal, but is
    /// no PASS when the bake ends.
    pub(super) fn describe_alone(&mut self, reader: &Reader<'_>, host: usize) {
        let name = reader.view.hosts.name(self.one_box[host].host);
        let outcome = &mut self.outcome;
        outcome.state = if reader.is_last() {
            CheckState::NoData
        } else {
            CheckState::Undecided
        };
        outcome.remark = Some(report::alone(name));
    }
}
