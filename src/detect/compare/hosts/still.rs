//! Whether a one-box still moves away from the fleet. A step leads nowhere, nor does what a process gathers after
//! a restart, nor a rise that has ended, and a line through all of each rises.
//!
//! What moves away does so in the later half, and in the latest third, each taken by itself beside the same of
//! each fleet host, and about as fast as before ([`course`]).

mod course;

use super::{Channel, HostsTest, PRESENT_MIN, Reader, Scale, Trend, suspicion::RISING};
use crate::{
    detect::{
        Group,
        compare::{
            pasts::past_buckets,
            reading::{past, per_exposure},
            slot::distances,
        },
        stats::mean,
    },
    event::Span,
};

/// Tails at which the later half and the latest part must show that they rise.
const HALF_TAIL: f64 = 0.05;
const LATEST_TAIL: f64 = 0.15;
/// The latest part is a third of what is judged, or so long if that is more.
const LATEST_PARTS: usize = 3;
const LATEST_LEAST: Span = Span::from_minutes(15);
/// Share of its pace that it must keep.
const KEEPS: f64 = 0.5;
/// Most points of a course.
const POINTS_MAX: usize = 60;

impl HostsTest {
    /// Whether the one-box still moves away from the fleet on this side, so fast that it leads to harm.
    pub(super) fn still_moves(
        &self,
        seen: (&Reader<'_>, &Group),
        side: f64,
        sigma_min: f64,
    ) -> bool {
        let hosts = self.distances(seen);
        let over = hosts.first().map_or(0, Vec::len) as f64;
        let Some(rise) = course::rise(&self.course(&hosts)) else {
            return false;
        };
        let least = self.allowed_rise(over).max(KEEPS * rise * side);
        // Of a long bake the later half, or a part of it, is all that is remembered.
        let count = self.looks.count();
        let latest = (count / LATEST_PARTS).max(seen.0.terms.buckets(LATEST_LEAST));
        let parts = [(count / 2, HALF_TAIL), (latest, LATEST_TAIL)];
        parts.into_iter().all(|(length, tail)| {
            let rises = self.rises_in(&hosts, length, over, sigma_min);
            rises.is_some_and(|(effect, error)| least.max(error(tail)) < effect * side)
        })
    }

    /// How fast it moves away, as a person is told.
    pub(super) fn pace(&self, seen: (&Reader<'_>, &Group)) -> String {
        let hosts = self.distances(seen);
        let length = hosts.first().map_or(0, Vec::len) / 2;
        let hour = seen.0.terms.buckets(Span::from_hours(1)) as f64;
        let rises = self.rises_in(&hosts, length, hour, self.sigma_min(Channel::Level));
        let Some((rise, _)) = rises else {
            return RISING.to_owned();
        };
        let (share, unit) = match self.rules.working.scale() {
            Scale::Relative => (rise.exp_m1(), "%"),
            Scale::Size => (rise, "% of the usual size"),
            Scale::Points => (rise, "points"),
            Scale::Times | Scale::Spread | Scale::Absolute => return RISING.to_owned(),
        };
        let percent = 100.0 * share;
        let pace = format!("{RISING}, by {percent:+.2} {unit} an hour");
        if self.rules.rise_per_bucket < 1.0 {
            format!("{pace}, which is {:+.0} {unit} in a day", 24.0 * percent)
        } else {
            pace
        }
    }

    /// How much more than the fleet the one-box rises, by the line through the latest so many buckets, over so
    /// many; and what that must exceed at a tail.
    fn rises_in(
        &self,
        hosts: &[Vec<f64>],
        length: usize,
        over: f64,
        sigma_min: f64,
    ) -> Option<(f64, impl Fn(f64) -> f64)> {
        let trend = |index: usize| {
            let mut trend = Trend::default();
            let values = &hosts[index];
            let latest = values
                .iter()
                .enumerate()
                .skip(values.len().saturating_sub(length));
            for (time, value) in latest.filter(|(_, value)| value.is_finite()) {
                trend.add(time as f64, *value);
            }
            trend
        };
        let contrast = self.rises_of(&trend, over, sigma_min)?.contrast()?;
        Some((contrast.effect, move |tail| contrast.critical(tail)))
    }

    /// The distances of all hosts to the middle of the fleet since the grace, or as far back as is read.
    fn distances(&self, (reader, group): (&Reader<'_>, &Group)) -> Vec<Vec<f64>> {
        let terms = reader.terms;
        // The bucket of the view is not in the past yet.
        let count = self.looks.count().saturating_sub(1);
        let count = count.min(past_buckets(self.slots.len()));
        let divisor = terms.divisor(group.kind, terms.has_per);
        let numbers = self.slots.iter().enumerate().map(|(index, slot)| {
            let divisor = if index < self.one_box_count {
                divisor
            } else {
                1.0
            };
            let values = past(
                terms,
                group.track(slot.host),
                reader.view.bucket.start,
                count,
            );
            let number = |(value, of): (f32, f32)| {
                let value = per_exposure(f64::from(value), f64::from(of));
                self.rules.working.of_value(value / divisor)
            };
            values.into_iter().map(number).collect()
        });
        let numbers: Vec<Vec<f64>> = numbers.collect();
        distances(&self.slots, self.clip, &numbers, self.one_box_count)
    }

    /// The way of the one-box: equal times, and the mean of its hosts there, each relative to its own mean.
    fn course(&self, hosts: &[Vec<f64>]) -> Vec<(f64, f64)> {
        let one_box = &hosts[..self.one_box_count];
        let finite = |host: &Vec<f64>| host.iter().filter(|value| value.is_finite()).count();
        let most = one_box.iter().map(finite).max().unwrap_or(0) as f64;
        let count = one_box.first().map_or(0, Vec::len);
        let points = count.clamp(1, POINTS_MAX);
        let mut sums = vec![(0.0, 0.0, 0.0); points];
        for host in one_box
            .iter()
            .filter(|host| PRESENT_MIN * most <= finite(host) as f64)
        {
            let level = mean(host.iter().copied().filter(|value| value.is_finite()));
            let level = level.unwrap_or(0.0);
            let values = host.iter().enumerate();
            for (bucket, value) in values.filter(|(_, value)| value.is_finite()) {
                let (number, time, sum) = &mut sums[bucket * points / count];
                *number += 1.0;
                *time += bucket as f64 / count as f64;
                *sum += value - level;
            }
        }
        let there = sums.iter().filter(|(number, ..)| 0.0 < *number);
        there
            .map(|(number, time, sum)| (time / number, sum / number))
            .collect()
    }
}
