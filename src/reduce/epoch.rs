//! What the ticks before a batch say about its samples.

use serde::{Deserialize, Serialize};

use crate::event::{Span, Timestamp};

/// Where a batch stands between the ticks: what is late and what is too far ahead depends on the ticks
/// before it and on nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// How many ticks came before.
    pub number: u32,
    /// The clock at the latest of them.
    pub now: Option<Timestamp>,
    /// Buckets that start before this are closed.
    pub closed: Option<Timestamp>,
}

impl Epoch {
    /// The epoch after one more tick.
    #[must_use]
    pub fn after(self, now: Timestamp, lateness: Span, resolution: Span) -> Self {
        let closed = (now - lateness).floor(resolution);
        Self {
            number: self.number.wrapping_add(1),
            now: Some(now),
            closed: Some(self.closed.map_or(closed, |before| before.max(closed))),
        }
    }
}
