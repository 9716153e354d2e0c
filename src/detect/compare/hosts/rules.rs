//! How a metric is judged that many hosts report.

use serde::{Deserialize, Serialize};

use super::{Sides, Working};

/// How a metric is judged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename = "CompareRules")]
pub(in crate::detect::compare) struct Rules {
    pub(in crate::detect::compare) working: Working,
    /// What must be excluded before it is in range, on the working scale.
    pub(in crate::detect::compare) tolerance: f64,
    /// Smallest difference that is harm, on the same scale; at most the tolerance.
    pub(in crate::detect::compare) least: f64,
    /// Smallest standard deviation that is believed.
    pub(in crate::detect::compare) sigma_min: f64,
    pub(in crate::detect::compare) sides: Sides,
    /// What a healthy one-box may differ by on each side (up, down) beyond the tolerance, because
    /// it is given another share of the traffic.
    pub(in crate::detect::compare) allowance: [f64; 2],
    /// What a one-box host counts for, because its rates were scaled up from such a share of the traffic: chance
    /// has that much more of a hand in them; at most 1.
    pub(in crate::detect::compare) part: f64,
    /// What a rate is multiplied by to give the events of a bucket; `None` where events are not
    /// counted.
    pub(in crate::detect::compare) events_per_rate: Option<f64>,
    /// Share of the tolerance that a rise since the grace must reach, for one bucket: what leaks is
    /// harm by where it leads to in a day.
    pub(in crate::detect::compare) rise_per_bucket: f64,
    /// Whether the spread of its values is judged: that of memory changes while it fills up.
    pub(in crate::detect::compare) has_noise: bool,
}
