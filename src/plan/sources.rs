//! The key `sources` of a configuration: where data is fetched from, instead of being sent.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    kafka::{self, KafkaSasl, KafkaTls, is_topic},
    tree::{Tree, quoted},
    units::{self, Complaint},
    walk::{Place, suggestion},
};
use crate::event::{Signal, Span};

/// A place that data is fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePlan {
    /// Topics of one Kafka cluster.
    Kafka(KafkaPlan),
}

/// Topics of one Kafka cluster, all partitions of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaPlan {
    /// Brokers to begin with, as `host:port`; the others are learned from them. Never empty.
    pub brokers: Vec<String>,
    /// The topics by their names, and what they carry. Never empty; a topic stands in one source
    /// only, because its name and partition are what a position is kept under.
    pub topics: BTreeMap<String, TopicFormat>,
    /// Where a topic begins that was never read. Default [`TopicStart::Latest`].
    pub start: TopicStart,
    /// The group that brokers know the engine by, for their access rules. Nothing joins it and
    /// nothing is committed to it. Default `sluice`.
    pub group: String,
    /// How long brokers may be away, a partition be without leader, or data wait unread, before
    /// the topic counts as unseen and what it feeds has no coverage. Default 30 s.
    pub blind_after: Span,
    /// Encrypted connections; `None`: plain ones.
    pub tls: Option<KafkaTls>,
    /// How the engine proves who it is; `None`: not at all, or by the certificate.
    pub sasl: Option<KafkaSasl>,
    /// Further properties of librdkafka, as it names them.
    pub properties: BTreeMap<String, String>,
}

/// What the messages of a topic carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicFormat {
    /// OTLP metrics, protobuf.
    OtlpMetrics,
    /// OTLP logs, protobuf.
    OtlpLogs,
    /// OTLP metrics, JSON.
    OtlpMetricsJson,
    /// OTLP logs, JSON.
    OtlpLogsJson,
    /// Prometheus remote write 1.0, a request a message.
    RemoteWrite(MessageCompression),
    /// Flat samples: an object, an array of objects, or objects on lines.
    JsonSamples,
    /// Flat log records: an object, an array of objects, or objects on lines.
    JsonLogs,
    /// Deployment events, as lines of `deployments.jsonl`: an object, an array of objects, or objects on
    /// lines. They hold no data.
    JsonDeployments(Overrides),
}

impl TopicFormat {
    /// Which data it carries; `None`: deployment events, which are none.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::OtlpMetrics
            | Self::OtlpMetricsJson
            | Self::RemoteWrite(_)
            | Self::JsonSamples => Some(Signal::Metrics),
            Self::OtlpLogs | Self::OtlpLogsJson | Self::JsonLogs => Some(Signal::Logs),
            Self::JsonDeployments(_) => None,
        }
    }

    /// Whether overrides are taken from a topic of deployment events; `None`: it carries data.
    pub fn overrides(self) -> Option<Overrides> {
        match self {
            Self::JsonDeployments(overrides) => Some(overrides),
            Self::OtlpMetrics
            | Self::OtlpLogs
            | Self::OtlpMetricsJson
            | Self::OtlpLogsJson
            | Self::RemoteWrite(_)
            | Self::JsonSamples
            | Self::JsonLogs => None,
        }
    }
}

/// Whether whoever may write to a topic of deployment events may override gates, which takes the role
/// `admin` over HTTP and gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Overrides {
    /// A bypass, or a begin as a hotfix, is refused.
    #[default]
    Refused,
    /// They are taken.
    Taken,
}

/// How a message itself is compressed, beside what Kafka does to its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageCompression {
    /// A snappy block, as remote write sends it.
    #[default]
    Snappy,
    /// Not at all.
    None,
}

/// Where a topic begins that was never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopicStart {
    /// With what is written from now on.
    #[default]
    Latest,
    /// With the oldest that the brokers still have.
    Earliest,
}

const KINDS: [&str; 1] = ["kafka"];
const GROUP: &str = "sluice";
const BLIND_AFTER: Span = Span::from_seconds(30);

const FORMATS: [(&str, TopicFormat); 8] = [
    ("otlp-metrics", TopicFormat::OtlpMetrics),
    ("otlp-logs", TopicFormat::OtlpLogs),
    ("otlp-metrics-json", TopicFormat::OtlpMetricsJson),
    ("otlp-logs-json", TopicFormat::OtlpLogsJson),
    (
        "remote-write",
        TopicFormat::RemoteWrite(MessageCompression::Snappy),
    ),
    ("json-samples", TopicFormat::JsonSamples),
    ("json-logs", TopicFormat::JsonLogs),
    (
        "json-deployments",
        TopicFormat::JsonDeployments(Overrides::Refused),
    ),
];

/// Properties of a consumer that are not the user's to set.
const DECIDED: [(&str, &str); 16] = [
    ("group.id", "write the key group instead"),
    ("group.", GROUPS),
    ("partition.assignment.strategy", GROUPS),
    ("session.timeout.ms", GROUPS),
    ("heartbeat.interval.ms", GROUPS),
    ("max.poll.interval.ms", GROUPS),
    ("enable.auto.commit", OFFSETS),
    ("auto.commit.", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("offset.store.", OFFSETS),
    (
        "auto.offset.reset",
        "a range that is lost is a hole in coverage, never skipped in silence: remove it, and write the key start for topics that were never read",
    ),
    ("enable.partition.eof", OFFSETS),
    ("check.crcs", "checksums are always checked: remove it"),
    (
        "isolation.level",
        "only what is committed counts: remove it",
    ),
    (
        "allow.auto.create.topics",
        "the engine creates no topics: remove it",
    ),
    (
        "statistics.interval.ms",
        "the engine watches its own progress with it: remove it",
    ),
];
const GROUPS: &str = "the engine reads every partition itself and joins no group: remove it";
const OFFSETS: &str =
    "positions are kept by the engine with the state that they produced: remove it";

/// Reads `sources`.
pub(super) fn sources(place: &Place<'_>) -> Vec<SourcePlan> {
    let mut topics = BTreeSet::new();
    place
        .list()
        .iter()
        .filter_map(|item| source(item, &mut topics))
        .collect()
}

fn source(place: &Place<'_>, topics: &mut BTreeSet<String>) -> Option<SourcePlan> {
    let kinds = place.free_map();
    let [(kind, keys)] = kinds.as_slice() else {
        if matches!(place.node.value, Tree::Map(_)) {
            place.fault(
                format!("a source has one kind, not {}", kinds.len()),
                "write kafka: {brokers: […], topics: {…}} for each item",
            );
        }
        return None;
    };
    if *kind != "kafka" {
        keys.fault(
            "unknown kind of source",
            suggestion(kind, KINDS.into_iter(), "kinds"),
        );
        return None;
    }
    cluster(keys, topics).map(SourcePlan::Kafka)
}

fn cluster(place: &Place<'_>, known_topics: &mut BTreeSet<String>) -> Option<KafkaPlan> {
    let keys = place.map(&[
        "brokers",
        "topics",
        "start",
        "group",
        "blind_after",
        "tls",
        "sasl",
        "properties",
    ])?;
    let brokers = keys
        .require("brokers", "add brokers: [\"host:9092\"]")
        .map(kafka::brokers);
    let topics = keys
        .require("topics", "add topics: {name: {format: otlp-metrics}}")
        .map(|place| topics(place, known_topics));
    let starts = [
        ("latest", TopicStart::Latest),
        ("earliest", TopicStart::Earliest),
    ];
    let start = keys.get("start").and_then(|place| place.word(&starts));
    let group = keys.get("group").and_then(Place::text).unwrap_or(GROUP);
    let blind_after = keys.read("blind_after", blind_after);
    let tls = keys.get("tls").and_then(kafka::tls);
    let sasl = keys.get("sasl").and_then(kafka::sasl);
    let properties = keys
        .get("properties")
        .map(|place| kafka::properties(place, &DECIDED))
        .unwrap_or_default();
    Some(KafkaPlan {
        brokers: brokers?,
        topics: topics?,
        start: start.unwrap_or_default(),
        group: group.to_owned(),
        blind_after: blind_after.unwrap_or(BLIND_AFTER),
        tls,
        sasl,
        properties,
    })
}

fn topics(place: &Place<'_>, known: &mut BTreeSet<String>) -> BTreeMap<String, TopicFormat> {
    if matches!(&place.node.value, Tree::Map(pairs) if pairs.is_empty()) {
        place.fault(
            "no topic is named",
            "add one: {name: {format: otlp-metrics}}",
        );
    }
    let mut topics = BTreeMap::new();
    for (name, place) in place.whole_map() {
        let format = topic(&place);
        if name.is_empty() {
            // That was said already.
            continue;
        }
        if !is_topic(name) {
            place.fault(
                format!("{} is no name of a topic", quoted(name)),
                "write at most 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'",
            );
        } else if !known.insert(name.to_owned()) {
            place.fault(
                "another source reads a topic of this name",
                "read each topic in one source only",
            );
        } else if let Some(format) = format {
            topics.insert(name.to_owned(), format);
        }
    }
    topics
}

fn topic(place: &Place<'_>) -> Option<TopicFormat> {
    let keys = place.map(&["format", "compression", "overrides"])?;
    let format = keys
        .require("format", "add format: otlp-metrics")?
        .word(&FORMATS);
    let format = match keys.get("overrides") {
        None => format,
        Some(place) => overrides(place, format),
    };
    let words = [
        ("snappy", MessageCompression::Snappy),
        ("none", MessageCompression::None),
    ];
    let Some(place) = keys.get("compression") else {
        return format;
    };
    let compression = place.word(&words);
    match format? {
        TopicFormat::RemoteWrite(_) => compression.map(TopicFormat::RemoteWrite),
        TopicFormat::OtlpMetrics
        | TopicFormat::OtlpLogs
        | TopicFormat::OtlpMetricsJson
        | TopicFormat::OtlpLogsJson
        | TopicFormat::JsonSamples
        | TopicFormat::JsonLogs
        | TopicFormat::JsonDeployments(_) => {
            place.fault(
                "only messages of remote write are compressed one by one",
                "remove it: what the producer compresses is read as it is",
            );
            None
        }
    }
}

/// A topic of deployment events that says whether overrides are taken from it.
fn overrides(place: &Place<'_>, format: Option<TopicFormat>) -> Option<TopicFormat> {
    let is_taken = place.flag();
    let overrides = if is_taken? {
        Overrides::Taken
    } else {
        Overrides::Refused
    };
    if format?.overrides().is_none() {
        place.fault(
            "only deployment events can be overrides",
            "remove it, or write format: json-deployments",
        );
        return None;
    }
    Some(TopicFormat::JsonDeployments(overrides))
}

fn blind_after(value: &Tree) -> Result<Span, Complaint> {
    const MIN: Span = Span::from_seconds(1);
    const MAX: Span = Span::from_hours(1);
    let span = units::span(value)?;
    if (MIN..=MAX).contains(&span) {
        return Ok(span);
    }
    Err(Complaint::new(
        format!("a patience of {span} is not between {MIN} and {MAX}"),
        "write how long a topic may be out of sight, such as 30s",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn around(sources: &str) -> String {
        format!(
            "checks: {{}}\nservices: {{s: {{stages: [{{name: a, steps: [t]}}]}}}}\nsources:\n{sources}\n"
        )
    }

    fn kafka(sources: &str) -> KafkaPlan {
        let text = around(sources);
        let plan = Plan::parse(&text).unwrap_or_else(|faults| panic!("{faults}\n---\n{text}"));
        match &plan.sources[..] {
            [SourcePlan::Kafka(kafka)] => kafka.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn fault(keys: &str) -> String {
        let text = around(&format!("  - kafka: {keys}"));
        let faults = Plan::parse(&text).expect_err(&text);
        assert_eq!(faults.0.len(), 1, "{faults}");
        faults.to_string()
    }

    #[test]
    fn every_key_of_a_kafka_source_is_read() {
        let read = kafka(
            r#"  - kafka:
      brokers: ["127.0.0.1:9092", "[::1]:9093", kafka-1.example:9094]
      topics:
        otlp_metrics: {format: otlp-metrics}
        otlp_logs: {format: otlp-logs}
        metrics.json: {format: otlp-metrics-json}
        logs.json: {format: otlp-logs-json}
        prom: {format: remote-write}
        plain: {format: remote-write, compression: none}
        flat: {format: json-samples}
        applogs: {format: json-logs}
        deploys: {format: json-deployments}
        admin: {format: json-deployments, overrides: true}
        pipes: {format: json-deployments, overrides: false}
      start: earliest
      group: gatekeepers
      blind_after: 1m
      tls: {ca_file: /ca, cert_file: /cert, key_file: /key, key_password_file: /word}
      sasl: {mechanism: SCRAM-SHA-512, user: sluice, password_file: /pass}
      properties: {client.rack: eu-1a, fetch.wait.max.ms: 50, socket.keepalive.enable: true}"#,
        );
        let formats: Vec<_> = read
            .topics
            .iter()
            .map(|(topic, format)| (topic.as_str(), *format))
            .collect();
        assert_eq!(
            formats,
            [
                ("admin", TopicFormat::JsonDeployments(Overrides::Taken)),
                ("applogs", TopicFormat::JsonLogs),
                ("deploys", TopicFormat::JsonDeployments(Overrides::Refused)),
                ("flat", TopicFormat::JsonSamples),
                ("logs.json", TopicFormat::OtlpLogsJson),
                ("metrics.json", TopicFormat::OtlpMetricsJson),
                ("otlp_logs", TopicFormat::OtlpLogs),
                ("otlp_metrics", TopicFormat::OtlpMetrics),
                ("pipes", TopicFormat::JsonDeployments(Overrides::Refused)),
                ("plain", TopicFormat::RemoteWrite(MessageCompression::None)),
                ("prom", TopicFormat::RemoteWrite(MessageCompression::Snappy)),
            ]
        );
        assert_eq!(
            (
                read.brokers.len(),
                read.start,
                read.group.as_str(),
                read.blind_after
            ),
            (
                3,
                TopicStart::Earliest,
                "gatekeepers",
                Span::from_minutes(1)
            )
        );
        assert_eq!(
            read.tls.unwrap().key_password_file.as_deref(),
            Some("/word")
        );
        assert_eq!(read.sasl.unwrap().mechanism, "SCRAM-SHA-512");
        let properties: Vec<_> = read.properties.values().map(String::as_str).collect();
        assert_eq!(properties, ["eu-1a", "50", "true"]);
    }

    #[test]
    fn the_defaults_read_new_data_over_plain_connections() {
        let read = kafka("  - kafka: {brokers: ['a:1'], topics: {t: {format: json-logs}}}");
        assert_eq!(
            (read.start, read.group.as_str(), read.blind_after),
            (TopicStart::Latest, "sluice", Span::from_seconds(30))
        );
        assert_eq!((read.tls, read.sasl), (None, None));
        assert!(read.properties.is_empty());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a list of faults")]
    fn each_fault_names_its_key_and_what_would_be_right() {
        let good = "brokers: ['a:1'], topics: {t: {format: json-logs}}";
        for (keys, expected) in [
            ("{}", "sources[0].kafka: brokers is missing"),
            (
                "{brokers: [], topics: {t: {format: json-logs}}}",
                "kafka.brokers: no broker is named",
            ),
            (
                "{brokers: [a], topics: {t: {format: json-logs}}}",
                "kafka.brokers[0]: \"a\" is no address of a broker",
            ),
            (
                "{brokers: ['plaintext://a:1'], topics: {t: {format: json-logs}}}",
                "is no address of a broker",
            ),
            (
                "{brokers: ['a:1'], topics: {}}",
                "kafka.topics: no topic is named",
            ),
            (
                "{brokers: ['a:1'], topics: {'a b': {format: json-logs}}}",
                "\"a b\" is no name of a topic",
            ),
            (
                "{brokers: ['a:1'], topics: {t: {format: json-log}}}",
                "kafka.topics.t.format: \"json-log\" is not known here; did you mean \"json-logs\"?",
            ),
            (
                "{brokers: ['a:1'], topics: {t: {}}}",
                "kafka.topics.t: format is missing",
            ),
            (
                "{brokers: ['a:1'], topics: {t: {format: json-logs, compression: none}}}",
                "t.compression: only messages of remote write",
            ),
            (
                &format!("{{{good}, begin: latest}}"),
                "kafka.begin: unknown key",
            ),
            (
                &format!("{{{good}, start: now}}"),
                "kafka.start: \"now\" is not known here",
            ),
            (
                &format!("{{{good}, blind_after: 30}}"),
                "kafka.blind_after: 30 has no unit; write 30s",
            ),
            (
                &format!("{{{good}, blind_after: 2h}}"),
                "is not between 1s and 1h",
            ),
            (
                &format!("{{{good}, tls: {{cert_file: a}}}}"),
                "kafka.tls: cert_file without key_file",
            ),
            (
                &format!("{{{good}, sasl: {{mechanism: PLAIN, user: u, password: p}}}}"),
                "write password_file",
            ),
            (
                &format!("{{{good}, sasl: {{mechanism: GSSAPI, user: u, password_file: p}}}}"),
                "known words: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
            ),
            (
                &format!("{{{good}, properties: {{group.id: x}}}}"),
                "write the key group instead",
            ),
            (
                &format!("{{{good}, properties: {{group.protocol: x}}}}"),
                "joins no group",
            ),
            (
                &format!("{{{good}, properties: {{auto.offset.reset: latest}}}}"),
                "write the key start",
            ),
            (
                &format!("{{{good}, properties: {{sasl.password: x}}}}"),
                "secrets come from files",
            ),
            (
                &format!("{{{good}, properties: {{sasl.username: x}}}}"),
                "write the key sasl",
            ),
            (
                "{brokers: ['a:1'], topics: {t: {format: json-logs, overrides: true}}}",
                "only deployment events can be overrides",
            ),
            (
                "{brokers: ['a:1'], topics: {t: {format: json-deployments, compression: none}}}",
                "only messages of remote write",
            ),
            (
                &format!("{{{good}, properties: {{a: [1]}}}}"),
                "properties.a: a list is no value",
            ),
        ] {
            if keys == "{}" {
                let text = around("  - kafka: {}");
                let faults = Plan::parse(&text).expect_err(&text).to_string();
                assert!(faults.contains(expected) && faults.contains("topics is missing"));
                continue;
            }
            let fault = fault(keys);
            assert!(fault.contains(expected), "{keys}\n{fault}\n{expected}");
        }
    }

    #[test]
    fn a_topic_stands_in_one_source_only() {
        let one = "  - kafka: {brokers: ['a:1'], topics: {t: {format: json-logs}}}\n";
        let text = around(&format!("{one}{one}"));
        let faults = Plan::parse(&text).expect_err(&text).to_string();
        assert!(
            faults.starts_with("sources[1].kafka.topics.t: another source"),
            "{faults}"
        );
        let text = around("  - {kafka: {}, kinesis: {}}");
        let faults = Plan::parse(&text).expect_err(&text).to_string();
        assert!(faults.contains("a source has one kind, not 2"), "{faults}");
        let text = around("  - kafak: {}");
        let faults = Plan::parse(&text).expect_err(&text).to_string();
        assert!(faults.contains("did you mean \"kafka\"?"), "{faults}");
    }
}
