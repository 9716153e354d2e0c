//! Trends beside too few hosts to tell how trends differ: against the past of the host, or of all of them.
//!
//! A window is steeper than the past if it is by a margin steeper than the steepest of the past's windows; where the
//! host itself has too little of a past, those of all hosts count together, as shares of their levels. Saw-teeth
//! hide a leak in two of their periods, not in eight: so up to four windows are looked at as one, too. Of
//! stretches as long a past holds few or none; but what stays in a range can rise by no more than that in any
//! time, and so a stretch must rise by a margin more than the range of the past, or be as much steeper than
//! the longest stretches of it.
//!
//! What a host of the fleet does as well, at half the pace or more, is nobody's fault.

use std::collections::btree_map::Entry;

use super::{
    Derivative, Group, HostId, Interval, Reading, Span, Timestamp, Trend, View,
    beside::LONG,
    rules::{Budget, Past, against_past},
};

impl Derivative {
    /// The judged hosts against their pasts, as far as there are any.
    pub(super) fn against_pasts(
        &mut self,
        view: &View<'_>,
        (index, group): (usize, &Group),
        judged: &[(HostId, Trend)],
        (window, budget): (Interval, Budget),
    ) -> Vec<Reading> {
        let mut pasts = std::mem::take(&mut self.pasts);
        let readings = judged
            .iter()
            .filter_map(|(host, trend)| {
                let past = match pasts.entry((index, *host)) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        self.pasts_left = self.pasts_left.checked_sub(1)?;
                        entry.insert(self.past(view, group, *host))
                    }
                };
                let past = past.as_ref()?;
                Some(self.against(view, group, (*host, trend, past), (window, budget)))
            })
            .collect();
        self.pasts = pasts;
        readings
    }

    /// The past that a host is held against: its own, or that of all hosts.
    fn past(&self, view: &View<'_>, group: &Group, host: HostId) -> Option<Past> {
        let resolution = view.panel.resolution();
        let of = |host: HostId| {
            let track = group.track(host)?;
            let lengths = [self.window, self.long()];
            Past::of(track, resolution, lengths, self.past_until)
        };
        let own = of(host);
        if let Some(own) = own.as_ref().filter(|own| own.is_enough()) {
            return Some(*own);
        }
        let hosts = view.one_box.iter().chain(view.fleet);
        let all = hosts.filter_map(|host| of(*host)?.relative());
        let all = all.reduce(|all, past| all.and(&past))?;
        all.is_enough().then_some(all)
    }

    /// The longest stretch that is looked at.
    pub(super) fn long(&self) -> Span {
        self.window.times(LONG).min(self.bake).max(self.window)
    }

    fn against(
        &self,
        view: &View<'_>,
        group: &Group,
        (host, trend, past): (HostId, &Trend, &Past),
        (window, budget): (Interval, Budget),
    ) -> Reading {
        let resolution = view.panel.resolution();
        let start = self.grace_until.max(self.began_at);
        let long = Interval {
            start: start.max(window.end - self.long()),
            end: window.end,
        };
        let over_long = (self.window.times(2) <= long.span())
            .then(|| Trend::of(group.track(host)?, resolution, long))
            .flatten();
        let looks = [(window, Some(*trend)), (long, over_long)];
        let mut readings = looks.into_iter().zip([false, true]);
        let mut readings: Vec<Reading> = readings
            .by_ref()
            .filter_map(|((stretch, trend), is_long)| {
                let trend = trend?;
                let mut reading = against_past(host, &trend, past, (is_long, budget));
                if reading.exceeds || reading.is_likely {
                    let is_its_own = self.is_beyond(view, group, (host, &trend))
                        && !is_shared(view, group, &trend, stretch);
                    reading.exceeds &= is_its_own;
                    reading.is_likely &= is_its_own;
                }
                Some(reading)
            })
            .collect();
        let short = readings.swap_remove(0);
        // What the window shows is not hidden by the longer stretch that it ends.
        match readings.pop() {
            Some(long) if !short.exceeds && (long.exceeds || !short.is_likely) => long,
            Some(_) | None => short,
        }
    }

    /// Whether a stretch ends beyond the range that the host's past had; where it has none, beyond those of
    /// all others.
    fn is_beyond(&self, view: &View<'_>, group: &Group, (host, trend): (HostId, &Trend)) -> bool {
        let from = Timestamp::MIN;
        let has_past = |host: &HostId| {
            let track = group.track(*host);
            track.is_some_and(|track| track.first_seen + self.window <= self.past_until)
        };
        if has_past(&host) {
            return self.is_beyond_past(view, group, host, trend, from);
        }
        let mut others = view.fleet.iter().filter(|host| has_past(host));
        others.clone().next().is_some()
            && others.all(|host| self.is_beyond_past(view, group, *host, trend, from))
    }
}

/// Whether a fleet host does the same, at half the pace or more.
fn is_shared(view: &View<'_>, group: &Group, trend: &Trend, stretch: Interval) -> bool {
    let resolution = view.panel.resolution();
    view.fleet.iter().any(|host| {
        let track = group.track(*host);
        let other = track.and_then(|track| Trend::of(track, resolution, stretch));
        other.is_some_and(|other| {
            let scale = (trend.level / other.level).abs();
            let pace = if scale.is_finite() {
                other.slope * scale
            } else {
                other.slope
            };
            trend.slope.abs() / 2.0 <= pace * trend.slope.signum()
        })
    })
}
