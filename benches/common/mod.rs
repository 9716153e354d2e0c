//! What the benches of ingest share: a fleet of series, its payloads, and a server to send them to.
//!
//! The order is the path of a sample: [`fleet`] says which series exist and what they read, [`wire`]
//! writes them as remote write, [`payloads`] prepares whole requests before any clock starts,
//! [`drive`] sends them over keep-alive connections ([`http`]) and reads what the server spent
//! ([`process`]) and took ([`receiver`]). [`report`] prints it.

pub(crate) mod clock;
pub(crate) mod drive;
pub(crate) mod fake;
pub(crate) mod fleet;
pub(crate) mod golden;
pub(crate) mod http;
pub(crate) mod payloads;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod receiver;
pub(crate) mod report;
pub(crate) mod sluice;
pub(crate) mod wire;

use std::fmt;

/// Why a bench cannot go on, or measured something that must not be shown.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Mixes a number into one that looks random: splitmix64's finaliser, so that every run of a bench
/// sends the same bytes.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Shuffles in an order that depends on the seed only.
pub(crate) fn shuffle<T>(items: &mut [T], seed: u64) {
    for last in (1..items.len()).rev() {
        let other = mix(seed ^ (last as u64) << 20) % (last as u64 + 1);
        items.swap(last, other as usize);
    }
}

/// The middle value, or the mean of the two in the middle.
///
/// # Panics
/// There are no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}
