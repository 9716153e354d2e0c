//! How many events there were, not clipped: how large a harm is.

use serde::{Deserialize, Serialize};

use crate::{detect::wording::number, event::Span};

/// Events and exposure.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) one_box: f64,
    pub(super) one_box_exposure: f64,
    pub(super) fleet: f64,
    pub(super) fleet_exposure: f64,
}

/// Events of some hosts of the one-box, beside those of the fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tallies {
    /// Since the grace.
    pub(super) since: Tally,
    /// The half of the latest minutes that is over, and the one that runs.
    pub(super) halves: [Tally; 2],
    /// Since each late start.
    pub(super) late: Vec<Tally>,
}

impl Tallies {
    pub(super) fn add(&mut self, tally: &Tally) {
        let [_, half] = &mut self.halves;
        for sum in [&mut self.since, half].into_iter().chain(&mut self.late) {
            sum.add(tally);
        }
    }

    /// What is in a window of [`Evidence`].
    pub(super) fn window(&self, window: usize) -> Option<&Tally> {
        match window.checked_sub(1) {
            None => Some(&self.since),
            Some(late) => self.late.get(late),
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.one_box += other.one_box;
        self.one_box_exposure += other.one_box_exposure;
        self.fleet += other.fleet;
        self.fleet_exposure += other.fleet_exposure;
    }

    /// What was before another began that goes on.
    pub(super) fn until(&self, later: &Self) -> Self {
        Self {
            one_box: self.one_box - later.one_box,
            one_box_exposure: self.one_box_exposure - later.one_box_exposure,
            fleet: self.fleet - later.fleet,
            fleet_exposure: self.fleet_exposure - later.fleet_exposure,
        }
    }

    /// Whether both sides were there.
    pub(super) fn is_of_both(&self) -> bool {
        0.0 < self.one_box_exposure && 0.0 < self.fleet_exposure
    }

    /// How many events there were, for a person; and in which latest time, if not since the judging began.
    pub(super) fn told(&self, latest: Option<Span>) -> String {
        let Self { one_box, fleet, .. } = self;
        let when = latest.map_or_else(String::new, |latest| {
            let minutes = latest.div_ceil(Span::from_minutes(1));
            format!(" in the last {}", Span::from_minutes(minutes as i64))
        });
        let (one_box, fleet) = (number(*one_box), number(*fleet));
        format!("{one_box} events on the one-box, {fleet} on the fleet{when}")
    }

    /// Events by exposure: of the one-box, and of the fleet.
    pub(super) fn rates(&self) -> (f64, f64) {
        (
            self.one_box / self.one_box_exposure.max(f64::MIN_POSITIVE),
            self.fleet / self.fleet_exposure.max(f64::MIN_POSITIVE),
        )
    }

    /// The ratio of the one-box's rate to what is usual for it, as a logarithm; half an event on
    /// each side keeps it finite.
    pub(super) fn effect(&self, usual: f64) -> f64 {
        let own = (self.one_box + 0.5) / self.one_box_exposure.max(f64::MIN_POSITIVE);
        let fleet = (self.fleet + 0.5) / self.fleet_exposure.max(f64::MIN_POSITIVE);
        (own / (fleet * usual)).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_as_a_person_counts() {
        let tally = Tally {
            one_box: 0.1 + 0.2,
            one_box_exposure: 1.0,
            fleet: 1_154.999_999_999_999_8,
            fleet_exposure: 1.0,
        };
        assert_eq!(
            tally.told(None),
            "0.3 events on the one-box, 1155 on the fleet"
        );
    }
}
