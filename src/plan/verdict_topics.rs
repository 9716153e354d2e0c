//! The item `kafka` of `sinks`: a topic that every change of a verdict is written to.

use std::collections::BTreeMap;

use super::{
    kafka::{self, KafkaSasl, KafkaTls},
    tree::quoted,
    walk::{Entries, Place},
};

/// A topic of Kafka that every change of a verdict is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictTopicPlan {
    /// Its name, unique among the sinks: in `/metrics`, in the log, and of the file that remembers how far
    /// it was told. Default `kafka`, with a number from the second one on.
    pub name: String,
    /// Brokers to begin with, as `host:port`; the others are learned from them. Never empty.
    pub brokers: Vec<String>,
    /// The topic. It has to be there, unless the brokers make topics by themselves.
    pub topic: String,
    /// Encrypted connections; `None`: plain ones.
    pub tls: Option<KafkaTls>,
    /// How the engine proves who it is; `None`: not at all, or by the certificate.
    pub sasl: Option<KafkaSasl>,
    /// Further properties of librdkafka, as it names them.
    pub properties: BTreeMap<String, String>,
}

impl VerdictTopicPlan {
    /// What a program says that was built without Kafka.
    pub const NOT_BUILT: &str = "sinks: this program was built without Kafka, and nobody would be told of \
                                 verdicts there: build it with the feature `kafka`, or take `kafka` out of \
                                 the `sinks` of the configuration";
}

/// Properties of a producer that are not the user's to set.
const DECIDED: [(&str, &str); 13] = [
    ("enable.idempotence", EXACT),
    ("enable.gapless.guarantee", EXACT),
    ("acks", EXACT),
    ("request.required.acks", EXACT),
    ("max.in.flight", EXACT),
    ("max.in.flight.requests.per.connection", EXACT),
    ("retries", EXACT),
    ("message.send.max.retries", EXACT),
    ("message.timeout.ms", EXACT),
    ("delivery.timeout.ms", EXACT),
    ("transactional.id", EXACT),
    ("queuing.strategy", EXACT),
    (
        "batch.num.messages",
        "each message is a batch of its own, so that one that is refused costs no other: remove it",
    ),
];
const EXACT: &str =
    "verdicts are written in order, and again until all replicas have them: remove it";

/// Reads the keys of a topic; `name` gives its name.
pub(super) fn verdict_topic(
    place: &Place<'_>,
    name: impl FnOnce(&Entries<'_>) -> Option<String>,
) -> Option<VerdictTopicPlan> {
    let keys = place.map(&["brokers", "topic", "name", "tls", "sasl", "properties"])?;
    let brokers = keys.require("brokers", "add brokers: [\"host:9092\"]");
    let brokers = brokers.map(kafka::brokers);
    let topic = keys.require("topic", "add topic: verdicts").and_then(topic);
    let tls = keys.get("tls").and_then(kafka::tls);
    let sasl = keys.get("sasl").and_then(kafka::sasl);
    let properties = keys.get("properties");
    let properties = properties.map(|place| kafka::properties(place, &DECIDED));
    Some(VerdictTopicPlan {
        name: name(&keys)?,
        brokers: brokers?,
        topic: topic?,
        tls,
        sasl,
        properties: properties.unwrap_or_default(),
    })
}

fn topic(place: &Place<'_>) -> Option<String> {
    let name = place.text()?;
    if !kafka::is_topic(name) {
        place.fault(
            format!("{} is no name of a topic", quoted(name)),
            "write at most 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'",
        );
        return None;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn parsed(sinks: &str) -> Result<Plan, String> {
        let text = format!(
            "checks: {{}}\nservices: {{s: {{stages: [{{name: a, steps: [t]}}]}}}}\nsinks: {sinks}\n"
        );
        Plan::parse(&text).map_err(|faults| faults.to_string())
    }

    #[test]
    fn every_key_is_read_and_names_are_those_of_sinks() {
        let plan = parsed(
            "[{kafka: {brokers: ['a:1', 'b:2'], topic: verdicts}}, {kafka: {brokers: ['a:1'], topic: more, \
             tls: {ca_file: /r}, sasl: {mechanism: PLAIN, user: u, password_file: /p}, \
             properties: {compression.type: zstd}}}, {alertmanager: {url: 'http://a'}}]",
        )
        .unwrap();
        let [first, second] = &plan.verdict_topics[..] else {
            panic!("{:?}", plan.verdict_topics)
        };
        let least = VerdictTopicPlan {
            name: "kafka".to_owned(),
            brokers: vec!["a:1".to_owned(), "b:2".to_owned()],
            topic: "verdicts".to_owned(),
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        };
        assert_eq!(*first, least);
        assert_eq!(
            (second.name.as_str(), second.topic.as_str()),
            ("kafka-2", "more")
        );
        assert!(second.tls.is_some() && second.sasl.is_some());
        assert_eq!(second.properties["compression.type"], "zstd");
        assert_eq!(plan.sinks.len(), 1);
    }

    #[test]
    fn faults_name_the_key_and_what_would_be_right() {
        let good = "brokers: ['a:1'], topic: t";
        for (sink, expected) in [
            (
                "kafka: {brokers: ['a:1']}".to_owned(),
                "add topic: verdicts",
            ),
            ("kafka: {topic: t}".to_owned(), "add brokers"),
            (
                "kafka: {brokers: ['a:1'], topic: ''}".to_owned(),
                "sinks[0].kafka.topic: the text is empty",
            ),
            (
                "kafka: {brokers: ['a:1'], topic: 'a/b'}".to_owned(),
                "sinks[0].kafka.topic: \"a/b\" is no name of a topic",
            ),
            (
                format!("kafka: {{{good}, topics: {{}}}}"),
                "did you mean \"topic\"?",
            ),
            (
                format!("kafka: {{{good}, properties: {{acks: 1}}}}"),
                "until all replicas have them: remove it",
            ),
            (
                format!("kafka: {{{good}, properties: {{batch.num.messages: 9}}}}"),
                "each message is a batch of its own",
            ),
            (
                format!("kafka: {{{good}, properties: {{sasl.username: x}}}}"),
                "write the key sasl",
            ),
            (format!("kafak: {{{good}}}"), "did you mean \"kafka\"?"),
            (
                format!(
                    "kafka: {{{good}, name: a}}}}, {{alertmanager: {{url: 'http://a', name: a}}"
                ),
                "another sink has this name",
            ),
        ] {
            let faults = parsed(&format!("[{{{sink}}}]")).expect_err(&sink);
            assert!(faults.contains(expected), "{sink}\n{faults}");
        }
    }
}
