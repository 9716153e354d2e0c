//! What a process gathers anew from its start on: no leak as long as it holds no more than before.
//!
//! Memory that a restart emptied fills again for longer than any grace, steeper than many a leak. So a rise of such a
//! metric counts from where the host stood before the deployment, as far as the fleet still stands there, and by more
//! than chance and its own past explain. A host that was not there yet counts from above all of the fleet.

use super::{
    Derivative, FLEET_MIN, Group, HostId, Interval, Span, Timestamp, View,
    rules::{Contrast, LIMIT_TAIL},
};
use crate::detect::{
    Track, compare,
    robust::{median, student_t},
};

/// Stretches of the past that tell where a host stood.
const STRETCHES_MIN: usize = 2;

/// Where a host stands, beside where it stood before the deployment.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// The median of the last third of the window.
    now: f64,
    before: Option<Before>,
}

/// What a host held before the deployment: medians of stretches as long.
#[derive(Clone, Copy, Debug)]
struct Before {
    usual: f64,
    highest: f64,
}

impl Derivative {
    /// Whether what rises over the window is something that a process gathers, of which the judged hosts hold no
    /// more than before.
    pub(super) fn refills(&self, view: &View<'_>, group: &Group, window: Interval) -> bool {
        if !compare::is_gathered(group) {
            return false;
        }
        let resolution = view.panel.resolution();
        let third = Span::from_nanos(window.span().nanos() / 3);
        let last = Interval {
            start: window.end - third,
            end: window.end,
        };
        let before = Interval {
            start: self.past_until - self.long(),
            end: self.past_until,
        };
        let standings = |hosts: &[HostId]| -> Vec<Standing> {
            let tracks = hosts.iter().filter_map(|host| group.track(*host));
            let standings = tracks.filter_map(|track| {
                let now = level(track, resolution, last)?;
                let before = Before::of(track, resolution, before, third);
                Some(Standing { now, before })
            });
            standings.collect()
        };
        !has_grown(&standings(view.one_box), &standings(view.fleet))
    }
}

/// Whether the judged hosts hold more than before, beside what the fleet does.
fn has_grown(judged: &[Standing], fleet: &[Standing]) -> bool {
    if judged.is_empty() {
        return true;
    }
    let pairs = |standings: &[Standing]| -> Vec<(f64, Before)> {
        let pairs = standings.iter();
        let pairs = pairs.filter_map(|standing| Some((standing.now, standing.before?)));
        pairs.collect()
    };
    let (own, others) = (pairs(judged), pairs(fleet));
    if own.len() < judged.len() || others.len() < FLEET_MIN {
        let highest = fleet.iter().map(|standing| standing.now);
        let highest = highest.fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = judged.iter().map(|standing| standing.now).sum();
        return highest < sum / judged.len() as f64;
    }
    let all_positive = own
        .iter()
        .chain(&others)
        .all(|(now, before)| 0.0 < *now && 0.0 < before.usual);
    let difference = |value: f64, usual: f64| {
        if all_positive {
            (value / usual).ln()
        } else {
            value - usual
        }
    };
    let grown = |pairs: &[(f64, Before)]| -> Vec<f64> {
        let grown = pairs
            .iter()
            .map(|(now, before)| difference(*now, before.usual));
        grown.collect()
    };
    let varied: f64 = own
        .iter()
        .map(|(_, before)| difference(before.highest, before.usual))
        .sum();
    let contrast = Contrast::of(&grown(&own), &grown(&others));
    let chance = student_t(others.len() as f64 - 1.0, LIMIT_TAIL) * contrast.error;
    chance.max(varied / own.len() as f64) < contrast.difference
}

impl Before {
    /// Cuts the time before the deployment into stretches of one length, the last of which ends with it.
    fn of(track: &Track, resolution: Span, before: Interval, length: Span) -> Option<Self> {
        let mut levels = Vec::new();
        let mut end = before.end;
        while before.start <= end - length && track.first_seen < end {
            let start: Timestamp = end - length;
            levels.extend(level(track, resolution, Interval { start, end }));
            end = start;
        }
        if levels.len() < STRETCHES_MIN {
            return None;
        }
        let highest = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let usual = median(&mut levels)?;
        Some(Self { usual, highest })
    }
}

/// The median of an interval.
fn level(track: &Track, resolution: Span, interval: Interval) -> Option<f64> {
    let values = track.weighted(resolution, interval.start, interval.end);
    let values = values.map(|(value, exposure)| f64::from(value) / f64::from(exposure));
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    median(&mut values)
}
