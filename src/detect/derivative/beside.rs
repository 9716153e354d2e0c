//! Trends beside a fleet.

use super::{
    Budget, Derivative, Group, HostId, Interval, Reading, Trend, View, rules::against_fleet,
};

/// Windows that are looked at as one.
pub(super) const LONG: i64 = 4;

impl Derivative {
    /// All judged hosts against the fleet, in the window or in several as one: whichever is too steep, else
    /// the longer one, which excludes more.
    pub(super) fn beside_fleet(
        &self,
        view: &View<'_>,
        group: &Group,
        window: Interval,
        budget: Budget,
    ) -> Option<Reading> {
        let resolution = view.panel.resolution();
        let over = |window: Interval| {
            let trends = |hosts: &[HostId]| -> Vec<Trend> {
                let tracks = hosts.iter().filter_map(|host| group.track(*host));
                let trends = tracks.map(|track| Trend::of(track, resolution, window));
                trends.flatten().collect()
            };
            let (own, fleet) = (trends(view.one_box), trends(view.fleet));
            against_fleet(&own, &fleet, window.span(), budget)
        };
        let reading = over(window)?;
        let start = self.grace_until.max(self.began_at);
        let long = Interval {
            start: start.max(window.end - self.window.times(LONG)),
            end: window.end,
        };
        if reading.exceeds || long.span() < self.window.times(2) {
            return Some(reading);
        }
        Some(over(long).unwrap_or(reading))
    }
}
