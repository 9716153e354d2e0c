//! Kafka as a source: topics are read partition by partition, and every offset is accounted for.
//!
//! **Kafka is its own journal.** A [`Consumer`] hands over [`Chunk`]s: messages of one partition in
//! order, with the range of offsets that they stand for. Whoever takes a chunk records only the range
//! and keeps the position with the state that the messages produced; after a restart the consumer is
//! started at those positions, and what was taken since is read again by a [`Rereader`]. Nothing is
//! ever committed to Kafka, so there is no second position that could disagree.
//!
//! **What is lost is said.** A range that the brokers no longer have becomes [`Event::Lost`], never a
//! silent jump; what is not seen becomes [`Event::Down`], never silence that reads as health.
//!
//! | file | purpose |
//! | --- | --- |
//! | `client` | the configuration of librdkafka, and what must hold in it |
//! | `survey` | asks the brokers, on a connection of its own, what there is to read |
//! | `partition` | how far one partition is read, and what a survey says about it |
//! | `sight` | whether a topic is seen, or for how long it has not been |
//! | `consumer` | the thread that polls |
//! | `oversight` | what that thread does about surveys: new partitions, losses, stalls, sight |
//! | `hand_over` | chunks under construction, and the bounded way out |
//! | `reread` | a range again, for recovery |
//! | `payload` | a message to a batch |
//! | `status` | what `/metrics` prints |

mod client;
mod consumer;
mod hand_over;
mod oversight;
mod partition;
mod payload;
mod reread;
mod sight;
mod status;
mod survey;

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;

pub use client::{check, check_producer, log, producer};
pub use consumer::Consumer;
pub use payload::{decode, deployments};
pub use reread::{Piece, Rereader};
pub use status::{EventOutcome, PartitionStatus, Refusals, Status, TopicStatus};

use crate::{event::Timestamp, plan::KafkaPlan};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<str>,
    /// Its number in the topic.
    pub number: i32,
}

/// Where reading goes on: the offset of the next message of each partition.
pub type Positions = BTreeMap<Partition, i64>;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was written, as its producer or its broker says.
    pub timestamp: Option<Timestamp>,
    /// Its value; empty where it has none.
    pub payload: Bytes,
}

/// Messages of one partition, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The partition.
    pub partition: Partition,
    /// The offsets that the messages stand for. Offsets in it without a message hold none: they were
    /// compacted away, or belong to transactions. The end is the offset after the last message.
    pub offsets: Range<i64>,
    /// The messages.
    pub messages: Vec<Message>,
}

/// What a consumer says.
///
/// The events of one partition are in order: its chunks and losses join without gap, each beginning
/// where the one before ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A partition that had no position is read from here on. To be recorded like a chunk: a restart
    /// that forgot it would begin somewhere else.
    Began {
        /// The partition.
        partition: Partition,
        /// Offset of the first message that will be read.
        at: i64,
    },
    /// Messages.
    Chunk(Chunk),
    /// Offsets that will never be read.
    Lost(Lost),
    /// A topic is not seen: what it feeds has no coverage. Said again when the reason changes.
    Down {
        /// The topic.
        topic: Arc<str>,
        /// Why.
        reason: Blindness,
    },
    /// A topic is seen. Before the first of these nothing is known about a topic.
    Up {
        /// The topic.
        topic: Arc<str>,
    },
}

/// Offsets that will never be read: a hole in the coverage of what the topic feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The partition.
    pub partition: Partition,
    /// The first offset that was wanted and is gone.
    pub from: i64,
    /// Where reading goes on. Smaller than `from` where the numbering began anew.
    pub until: i64,
    /// Why.
    pub reason: LostReason,
}

/// Why offsets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LostReason {
    /// The brokers removed them before they were read: by age or size, or on somebody's order.
    Removed,
    /// The partition ends before the position: the topic was made anew, or a leader lost its tail.
    /// Nobody knows what was written in between; reading goes on at the end, so that nothing is
    /// counted twice.
    WentBack,
}

/// Why a topic is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blindness {
    /// No broker answers.
    Unreachable {
        /// What the client says.
        detail: String,
    },
    /// The brokers know no such topic, or do not show it to us.
    NoTopic {
        /// What they say.
        detail: String,
    },
    /// A partition has no leader.
    Leaderless {
        /// Number of the partition; the first of several.
        partition: i32,
    },
    /// Messages wait unread for longer than they may.
    Behind {
        /// Number of the partition; the one that is furthest behind.
        partition: i32,
        /// For how long at least its next message has been there.
        by: Duration,
    },
}

/// How a consumer is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is read, and from where.
    pub plan: Arc<KafkaPlan>,
    /// How often it looks, and how long it waits.
    pub pace: Pace,
}

/// How often a consumer looks, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two surveys of what the brokers have.
    pub survey: Duration,
    /// For how long a topic may be out of sight before it is down.
    pub blind_after: Duration,
    /// For how long a partition may give nothing although there is more, before the client is
    /// rebuilt. Doubles with each rebuild that does not help, up to ten times.
    pub stall: Duration,
    /// For how long a full hand-over blocks the thread before partitions are paused. A pause throws
    /// away what was fetched ahead.
    pub patience: Duration,
}

impl Settings {
    /// Reads what the plan says at the usual pace.
    pub fn new(plan: Arc<KafkaPlan>) -> Self {
        let blind_after = Duration::from_secs_f64(plan.blind_after.seconds_f64());
        Self {
            plan,
            pace: Pace {
                survey: Duration::from_secs(10),
                blind_after,
                stall: Duration::from_secs(30),
                patience: Duration::from_secs(1),
            },
        }
    }
}

/// Why a source cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaError {
    /// A file of the configuration cannot be read.
    File {
        /// Key that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        detail: String,
    },
    /// This program was built without what the configuration asks for.
    NotBuilt {
        /// Key that asks for it.
        key: &'static str,
    },
    /// librdkafka refuses the configuration.
    Refused {
        /// What it says.
        detail: String,
    },
    /// The brokers did not give what was asked within the time.
    Unreachable {
        /// What the client says.
        detail: String,
    },
    /// The system gives no thread.
    NoThread {
        /// What it says.
        detail: String,
    },
}

impl LostReason {
    /// The name that metrics carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::WentBack => "went_back",
        }
    }
}

/// `topic[3]`.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

impl fmt::Display for Blindness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { detail } => write!(f, "no broker answers: {detail}"),
            Self::NoTopic { detail } => write!(f, "the brokers show no such topic: {detail}"),
            Self::Leaderless { partition } => write!(f, "partition {partition} has no leader"),
            Self::Behind { partition, by } => write!(
                f,
                "messages of partition {partition} have waited unread for {} s",
                by.as_secs()
            ),
        }
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { key, path, detail } => {
                write!(f, "kafka {key}: {path:?} cannot be read: {detail}")
            }
            Self::NotBuilt { key } => write!(
                f,
                "kafka {key}: this program was built without it: build with --features kafka-tls"
            ),
            Self::Refused { detail } => write!(f, "kafka: the configuration is refused: {detail}"),
            Self::Unreachable { detail } => write!(f, "kafka: the brokers do not answer: {detail}"),
            Self::NoThread { detail } => write!(f, "kafka: the system gives no thread: {detail}"),
        }
    }
}

impl std::error::Error for KafkaError {}
