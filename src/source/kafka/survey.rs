//! Asks the brokers what there is to read, on a connection of its own.
//!
//! A consumer that is stuck believes that there is nothing to read. So what there is comes from
//! another client, on another thread, which may wait for an answer without holding up the reading.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::Consumer as _,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use super::{
    KafkaError,
    client::{self, Client, now},
};

/// How long one question may take.
const QUESTION_PATIENCE: Duration = Duration::from_secs(3);
/// How long all questions of a survey about the ends of partitions may take; the rest is asked the
/// next time.
const SURVEY_PATIENCE: Duration = Duration::from_secs(10);

/// What the brokers said.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// When the first question was asked.
    pub(super) began: Instant,
    pub(super) topics: BTreeMap<Arc<str>, TopicSurvey>,
}

/// What the brokers said about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TopicSurvey {
    /// Its partitions.
    Seen(BTreeMap<i32, PartitionSurvey>),
    /// They know none of this name, or do not show it.
    Absent(String),
    /// They did not answer.
    Unreachable(String),
}

/// What the brokers said about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionSurvey {
    /// Whether it has a leader.
    pub(super) has_leader: bool,
    /// From the oldest offset that is there to the one after the newest; `None` where nobody told.
    pub(super) offsets: Option<Range<i64>>,
}

/// The thread that asks.
#[derive(Debug)]
pub(super) struct Scout {
    nudges: SyncSender<()>,
    latest: Arc<Mutex<Option<Survey>>>,
}

impl Scout {
    /// Starts to ask about the topics, at once and then at intervals. It ends soon after it is
    /// dropped.
    pub(super) fn start(
        config: &ClientConfig,
        topics: Vec<Arc<str>>,
        every: Duration,
    ) -> Result<Self, KafkaError> {
        let mut config = config.clone();
        // Without a group it closes without ceremony.
        config.remove("group.id");
        let client = client::create(&config)?;
        let (nudges, nudged) = sync_channel(1);
        let latest = Arc::new(Mutex::new(None));
        let found = Arc::clone(&latest);
        thread::Builder::new()
            .name("kafka-scout".to_owned())
            .spawn(move || scout(&client, &topics, every, &nudged, &found))
            .map_err(|error| KafkaError::NoThread {
                detail: error.to_string(),
            })?;
        Ok(Self { nudges, latest })
    }

    /// Asks for a survey at once.
    pub(super) fn nudge(&self) {
        // Full: one is on its way already.
        self.nudges.try_send(()).ok();
    }

    /// The newest survey, once.
    pub(super) fn take(&self) -> Option<Survey> {
        self.latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

fn scout(
    client: &Client,
    topics: &[Arc<str>],
    every: Duration,
    nudged: &Receiver<()>,
    found: &Mutex<Option<Survey>>,
) {
    loop {
        let survey = survey(client, topics);
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(survey);
        // Nothing is assigned, so these are errors of connections, which the answers tell as well.
        while client.poll(Duration::ZERO).is_some() {}
        match nudged.recv_timeout(every) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn survey(client: &Client, topics: &[Arc<str>]) -> Survey {
    let began = now();
    let mut found = BTreeMap::new();
    let mut unreachable: Option<String> = None;
    for topic in topics {
        // Who does not answer about one topic is not asked about the next: each question waits.
        let seen = match &unreachable {
            Some(detail) => TopicSurvey::Unreachable(detail.clone()),
            None => topic_survey(client, topic, began),
        };
        if let TopicSurvey::Unreachable(detail) = &seen {
            unreachable = Some(detail.clone());
        }
        found.insert(Arc::clone(topic), seen);
    }
    Survey {
        began,
        topics: found,
    }
}

fn topic_survey(client: &Client, topic: &str, began: Instant) -> TopicSurvey {
    let metadata = match client.fetch_metadata(Some(topic), QUESTION_PATIENCE) {
        Ok(metadata) => metadata,
        Err(error) => return TopicSurvey::Unreachable(words(&error)),
    };
    let Some(described) = metadata.topics().iter().find(|one| one.name() == topic) else {
        return TopicSurvey::Absent("it is not in their answer".to_owned());
    };
    if let Some(error) = described.error() {
        return TopicSurvey::Absent(RDKafkaErrorCode::from(error).to_string());
    }
    if described.partitions().is_empty() {
        return TopicSurvey::Absent("it has no partitions".to_owned());
    }
    TopicSurvey::Seen(partitions(client, described, began))
}

fn partitions(
    client: &Client,
    topic: &MetadataTopic,
    began: Instant,
) -> BTreeMap<i32, PartitionSurvey> {
    let mut partitions = BTreeMap::new();
    for partition in topic.partitions() {
        let has_leader = partition.leader() >= 0;
        // Without a leader the question would only wait.
        let offsets = (has_leader && began.elapsed() < SURVEY_PATIENCE)
            .then(|| offsets(client, topic.name(), partition.id()).ok())
            .flatten();
        let survey = PartitionSurvey {
            has_leader,
            offsets,
        };
        partitions.insert(partition.id(), survey);
    }
    partitions
}

/// From the oldest offset of a partition to the one after the newest that is committed.
pub(super) fn offsets(
    client: &Client,
    topic: &str,
    partition: i32,
) -> Result<Range<i64>, ClientError> {
    let (low, high) = client.fetch_watermarks(topic, partition, QUESTION_PATIENCE)?;
    Ok(low..high)
}

/// What an error says, without the words that only name its type.
pub(super) fn words(error: &ClientError) -> String {
    error
        .rdkafka_error_code()
        .map_or_else(|| error.to_string(), |code| code.to_string())
}
