//! What `/metrics` says of Kafka.

use std::sync::Arc;

use super::super::{
    exposition::{Family, Text, counter, gauge},
    shared::Shared,
};
use crate::source::kafka::{PartitionStatus, Status, TopicStatus};

/// A number of each source.
type OfSource = (&'static str, &'static str, fn(&Status) -> u64);
/// A number of each topic.
type OfTopic = (&'static str, &'static str, fn(&TopicStatus) -> u64);
/// A number of each partition.
type OfPartition = (&'static str, &'static str, fn(&PartitionStatus) -> f64);

const PARTITION_GAUGES: [OfPartition; 3] = [
    (
        "sluice_kafka_position",
        "Offset of the next message that is wanted.",
        |partition| partition.next as f64,
    ),
    (
        "sluice_kafka_lag",
        "Messages that are there and not taken, as of the last look at the brokers.",
        |partition| partition.lag as f64,
    ),
    (
        "sluice_kafka_behind_seconds",
        "For how long at least the next message has been there.",
        |partition| partition.behind.as_secs_f64(),
    ),
];

const PARTITION_COUNTERS: [OfPartition; 2] = [
    (
        "sluice_kafka_messages_total",
        "Messages that were taken.",
        |partition| partition.messages as f64,
    ),
    (
        "sluice_kafka_bytes_total",
        "Bytes of the values of messages that were taken.",
        |partition| partition.bytes as f64,
    ),
];

const TOPIC_COUNTERS: [OfTopic; 3] = [
    (
        "sluice_kafka_undecodable_messages_total",
        "Messages that are damaged as a whole.",
        |topic| topic.refusals.messages,
    ),
    (
        "sluice_kafka_rejected_samples_total",
        "Samples in good messages that were refused.",
        |topic| topic.refusals.samples,
    ),
    (
        "sluice_kafka_rejected_log_records_total",
        "Log records in good messages that were refused.",
        |topic| topic.refusals.logs,
    ),
];

/// Renders the state of all sources.
pub(in crate::serve) fn render(text: &mut Text, shared: &Shared) {
    let sources = shared.sources.kafka();
    let statuses: Vec<Status> = sources
        .iter()
        .filter_map(|source| source.status())
        .collect();
    if sources.is_empty() {
        return;
    }
    topics(text, &statuses);
    for (family, of) in PARTITION_GAUGES
        .map(|(name, help, of)| (gauge(name, help), of))
        .into_iter()
        .chain(PARTITION_COUNTERS.map(|(name, help, of)| (counter(name, help), of)))
    {
        partitions(text, &statuses, family, of);
    }
    let clients: [OfSource; 3] = [
        (
            "sluice_kafka_pauses_total",
            "How often reading paused because what was read could not be taken.",
            |status| status.pauses,
        ),
        (
            "sluice_kafka_rebuilds_total",
            "How often a client was rebuilt because it gave nothing although there was more.",
            |status| status.rebuilds,
        ),
        (
            "sluice_kafka_errors_total",
            "Errors that clients reported.",
            |status| status.errors,
        ),
    ];
    for (name, help, of) in clients {
        text.single(counter(name, help), statuses.iter().map(of).sum::<u64>());
    }
}

fn topics(text: &mut Text, statuses: &[Status]) {
    let name = "sluice_kafka_topic_up";
    text.family(gauge(
        name,
        "Whether the topic is seen: what it feeds is covered.",
    ));
    for (topic, status) in of_all(statuses) {
        text.sample(name, &[("topic", topic)], u8::from(status.is_up));
    }
    for (name, help, of) in TOPIC_COUNTERS {
        text.family(counter(name, help));
        for (topic, status) in of_all(statuses) {
            text.sample(name, &[("topic", topic)], of(status));
        }
    }
    let name = "sluice_kafka_deployment_events_total";
    text.family(counter(
        name,
        "Deployment events of messages, by what became of them.",
    ));
    for (topic, status) in of_all(statuses) {
        for (outcome, count) in &status.events {
            let labels = [("topic", topic.as_ref()), ("outcome", outcome.name())];
            text.sample(name, &labels, count);
        }
    }
    let name = "sluice_kafka_lost_offsets_total";
    text.family(counter(
        name,
        "Messages that were gone before they could be taken.",
    ));
    for (topic, status) in of_all(statuses) {
        for (reason, count) in &status.lost {
            let labels = [("topic", topic.as_ref()), ("reason", reason.name())];
            text.sample(name, &labels, count);
        }
    }
}

fn partitions(
    text: &mut Text,
    statuses: &[Status],
    family: Family<'_>,
    of: fn(&PartitionStatus) -> f64,
) {
    text.family(family);
    for (topic, status) in of_all(statuses) {
        for (number, partition) in &status.partitions {
            let number = number.to_string();
            let labels = [("topic", topic.as_ref()), ("partition", number.as_str())];
            text.sample(family.name, &labels, of(partition));
        }
    }
}

fn of_all(statuses: &[Status]) -> impl Iterator<Item = (&Arc<str>, &TopicStatus)> {
    statuses.iter().flat_map(|status| &status.topics)
}
