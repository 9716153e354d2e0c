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
            let mut reading = against_fleet(&own, &fleet, window.span(), budget)?;
            let is_rise = reading.allowed < reading.observed;
            if reading.exceeds && is_rise && self.refills(view, group, window) {
                reading.exceeds = false;
                reading.is_refilling = true;
                reading.is_excluded = false;
            }
            Some(reading)
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
        match over(long) {
            // What the window shows is not hidden by the longer stretch that it ends.
            Some(long) if long.exceeds || !reading.is_refilling => Some(long),
            Some(_) | None => Some(reading),
        }
    }
}
