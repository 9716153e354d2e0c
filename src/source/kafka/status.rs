//! What `/metrics` prints of a Kafka source.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Blindness, LostReason};
use crate::{decode::DecodeError, event::Batch};

/// A consumer at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its topics.
    pub topics: BTreeMap<Arc<str>, TopicStatus>,
    /// How often the client was rebuilt because it gave nothing although there was more.
    pub rebuilds: u64,
    /// How often partitions were paused because nobody took what was read.
    pub pauses: u64,
    /// Errors that the client reported.
    pub errors: u64,
    /// The last of them.
    pub last_error: Option<String>,
}

/// A topic at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicStatus {
    /// Whether it is seen.
    pub is_up: bool,
    /// Why it is not, once that has lasted.
    pub blindness: Option<Blindness>,
    /// What could not be used of its messages.
    pub refusals: Refusals,
    /// Deployment events of its messages, by what became of them.
    pub events: BTreeMap<EventOutcome, u64>,
    /// Offsets lost, by reason.
    pub lost: BTreeMap<LostReason, u64>,
    /// Its partitions, by number.
    pub partitions: BTreeMap<i32, PartitionStatus>,
}

/// What could not be used of the messages of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Messages that are damaged as a whole.
    pub messages: u64,
    /// Samples in good messages.
    pub samples: u64,
    /// Log records in good messages.
    pub logs: u64,
    /// What was wrong with the last of them.
    pub last: Option<String>,
}

/// What became of a deployment event of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventOutcome {
    /// The engine took it.
    Taken,
    /// It is no event, or a field of it makes no sense.
    Unreadable,
    /// It is an override, and those are not taken from its topic, or not now.
    NotAllowed,
    /// The engine refused it: an unknown service, a deployment that is over, and so on.
    Refused,
}

impl EventOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Taken,
        Self::Unreadable,
        Self::NotAllowed,
        Self::Refused,
    ];

    /// The name that metrics carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unreadable => "unreadable",
            Self::NotAllowed => "not_allowed",
            Self::Refused => "refused",
        }
    }
}

impl Refusals {
    pub(super) fn count(&mut self, decoded: &Result<Batch, DecodeError>) {
        match decoded {
            Ok(batch) => {
                self.samples += batch.rejects.sample_count();
                self.logs += batch.rejects.log_count();
                self.last = Some(batch.rejects.to_string());
            }
            Err(error) => {
                self.messages += 1;
                self.last = Some(error.to_string());
            }
        }
    }
}

/// A partition at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Offset of the next message that is wanted.
    pub next: i64,
    /// Messages taken since the start.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Messages that came again and were left out.
    pub repeated: u64,
    /// Offsets that are there and not taken.
    pub lag: u64,
    /// For how long at least the next of them has been there.
    pub behind: Duration,
    /// Offsets lost.
    pub lost: u64,
}
