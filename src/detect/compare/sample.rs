//! The hosts of a comparison of few, and their values as samples: minutes, or buckets where those are
//! longer.

use serde::{Deserialize, Serialize};

use super::reading::{HostPast, per_exposure};
use crate::detect::{
    HostId,
    stats::{mean, median},
};

/// A host, what is usual for it, and the sample that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) host: HostId,
    pub(super) usual: f64,
    /// Sum and number of the values in the sample that runs.
    sum: f64,
    count: f64,
}

impl Member {
    /// Takes the value of a bucket; NaN: there was none.
    pub(super) fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.sum += value;
            self.count += 1.0;
        }
    }

    /// The mean of the sample that ends; NaN without values.
    pub(super) fn end_sample(&mut self) -> f64 {
        let sample = self.sum / self.count;
        (self.sum, self.count) = (0.0, 0.0);
        sample
    }
}

/// The past of hosts in buckets, divided by `full`.
pub(super) fn matrix(hosts: &[HostPast], full: f64) -> Vec<Vec<f64>> {
    let natural = |(value, exposure): &(f32, f32)| {
        per_exposure(f64::from(*value), f64::from(*exposure)) / full
    };
    hosts
        .iter()
        .map(|past| past.values.iter().map(natural).collect())
        .collect()
}

/// The hosts with what is usual for each.
pub(super) fn members(hosts: &[HostPast], values: &[Vec<f64>]) -> Vec<Member> {
    let hosts = hosts.iter().zip(values);
    hosts
        .map(|(past, values)| Member {
            host: past.host,
            usual: median_of(values),
            sum: 0.0,
            count: 0.0,
        })
        .collect()
}

/// The means of so many values each; the last sample ends where the values end.
pub(super) fn samples(values: &[f64], stride: usize) -> Vec<f64> {
    let skipped = values.len() % stride;
    let chunks = values[skipped..].chunks_exact(stride);
    chunks
        .map(|chunk| {
            let finite = chunk.iter().copied().filter(|value| value.is_finite());
            mean(finite).unwrap_or(f64::NAN)
        })
        .collect()
}

/// The median of the one-box, or where that is zero, the mean size of its values.
pub(super) fn usual_level(members: &[Member], values: &[Vec<f64>]) -> f64 {
    let level = mean(members.iter().map(|member| member.usual.abs())).unwrap_or(0.0);
    if level > 0.0 {
        return level;
    }
    let finite = values
        .iter()
        .flatten()
        .copied()
        .filter(|value| value.is_finite());
    mean(finite.map(f64::abs)).unwrap_or(0.0).max(1e-9)
}

/// The median of the finite values; NaN without any.
pub(super) fn median_of(values: &[f64]) -> f64 {
    let mut finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    median(&mut finite).unwrap_or(f64::NAN)
}

/// The mean of the finite values without the one that is farthest up, and without the one that is farthest
/// down; NaN where no other is left.
pub(super) fn without_worst(values: &[f64]) -> [f64; 2] {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let mut finite: Vec<f64> = finite.collect();
    finite.sort_unstable_by(f64::total_cmp);
    let Some(last) = finite.len().checked_sub(1) else {
        return [f64::NAN; 2];
    };
    [&finite[..last], &finite[1..]].map(|rest| mean(rest.iter().copied()).unwrap_or(f64::NAN))
}
