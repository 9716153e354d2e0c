//! Kafka as a source of the engine.
//!
//! | file | purpose |
//! | --- | --- |
//! | `catching_up` | what was written while the engine was away, put in its own time |
//! | `deployments` | messages that hold deployment events become inputs of their own |
//! | `merge` | messages of several partitions in the order of their times |
//! | `metrics` | what `/metrics` says of it |
//! | `reader` | events of a consumer become inputs, in order |
//! | `refetch` | what the journal only has the range of is read again |

mod catching_up;
mod deployments;
mod merge;
pub(super) mod metrics;
mod reader;
pub(super) mod refetch;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::watch, task};

use self::reader::Reader;
use super::{
    core::Core,
    sources::{Reach, Sources, World},
};
use crate::{
    decode::{DecodeError, DecodeLimits},
    event::{Batch, DeploymentEvent},
    journal::{OffsetRange, decode_limits},
    plan::{KafkaPlan, Overrides, Plan, SourcePlan, TopicFormat},
    source::kafka::{self, Consumer, Message, Partition, Status},
};

/// One cluster with its topics.
#[derive(Debug)]
pub(super) struct KafkaSource {
    plan: Arc<KafkaPlan>,
    consumer: Mutex<Option<Arc<Consumer>>>,
}

impl KafkaSource {
    /// All of a plan.
    ///
    /// # Errors
    /// The configuration of one cannot be used.
    pub(super) fn all(plan: &Plan) -> Result<Vec<Arc<Self>>, String> {
        let mut all = Vec::new();
        for source in &plan.sources {
            let SourcePlan::Kafka(plan) = source;
            kafka::check(plan).map_err(|error| format!("sources: {error}"))?;
            all.push(Arc::new(Self {
                plan: Arc::new(plan.clone()),
                consumer: Mutex::new(None),
            }));
        }
        Ok(all)
    }

    /// How it is doing; `None`: it is not being read.
    pub(super) fn status(&self) -> Option<Status> {
        self.consumer().map(|consumer| consumer.status())
    }

    fn consumer(&self) -> Option<Arc<Consumer>> {
        let consumer = self.consumer.lock();
        consumer.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, consumer: Option<Arc<Consumer>>) -> Option<Arc<Consumer>> {
        let mut slot = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut slot, consumer)
    }
}

/// Reads every source until it is told to stop.
pub(super) async fn read_all(sources: &Sources, core: &Core, world: &World) {
    let mut tasks = task::JoinSet::new();
    let mut reached = Vec::new();
    let changed = Arc::new(tokio::sync::Notify::new());
    for source in sources.kafka() {
        let (reach, receiver) = watch::channel(Reach::Nowhere);
        reached.push(receiver);
        let reader = Reader::new(source, core, world, (reach, Arc::clone(&changed)));
        tasks.spawn(reader.run());
    }
    loop {
        sources.reached(core, &reached).await;
        tokio::select! {
            () = changed.notified() => {}
            ended = tasks.join_next() => if ended.is_none() { return },
        }
    }
}

/// How messages are read.
#[derive(Clone, Debug)]
struct Decoding {
    plan: Arc<KafkaPlan>,
    limits: DecodeLimits,
    stream_labels: Arc<BTreeSet<String>>,
}

impl Decoding {
    fn new(kafka: &Arc<KafkaPlan>, plan: &Plan, stream_labels: BTreeSet<String>) -> Self {
        Self {
            plan: Arc::clone(kafka),
            limits: decode_limits(&plan.limits),
            stream_labels: Arc::new(stream_labels),
        }
    }

    /// What a topic carries.
    fn format(&self, topic: &str) -> TopicFormat {
        let format = self.plan.topics.get(topic);
        *format.expect("only topics of the plan are read")
    }

    /// Whether a topic tells of deployments, and then whether overrides are taken from it. Such a topic
    /// feeds no check: what is not seen of it is no hole in the coverage of any.
    fn tells(&self, topic: &str) -> Option<Overrides> {
        self.format(topic).overrides()
    }

    /// Reads the deployment events of a message, each by itself.
    fn deployments(&self, message: &Message) -> Vec<Result<DeploymentEvent, String>> {
        kafka::deployments(message, self.limits.decompressed_bytes)
            .unwrap_or_else(|problem| vec![Err(problem)])
    }

    /// Decodes a message. A live run and a recovery both call this, so that they cannot differ.
    fn decode(&self, topic: &str, message: &Message) -> Result<Batch, DecodeError> {
        let batch = kafka::decode(self.format(topic), message, self.limits.decompressed_bytes)?;
        let limit = self.limits.samples_per_request;
        let count = (batch.sample_count())
            .max(batch.logs.len() as u64)
            .max(batch.unread.len() as u64)
            .max(batch.metadata.len() as u64);
        if count > limit as u64 {
            return Err(DecodeError::TooMany { limit });
        }
        Ok(batch)
    }
}

fn partition(topic: &str, number: i32) -> Partition {
    Partition {
        topic: Arc::from(topic),
        number,
    }
}

fn range(partition: &Partition, from: i64, until: i64) -> OffsetRange {
    OffsetRange {
        topic: partition.topic.to_string(),
        partition: partition.number,
        from,
        until,
    }
}
