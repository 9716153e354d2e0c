//! The configuration of librdkafka: what the plan says, and what must hold whatever it says.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaResult, RDKafkaErrorCode},
};
use tracing::{debug, warn};

use super::{KafkaError, Partition};
use crate::{
    plan::{KafkaPlan, KafkaSasl, KafkaTls, VerdictTopicPlan},
    source::files,
};

/// A client that reads.
pub(super) type Client = BaseConsumer<Context>;

/// Settings that make reading exact. They are set last, so that nothing overrides them.
const EXACT: [(&str, &str); 6] = [
    // The engine keeps its own positions.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position that is out of range is told, never replaced.
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
];

/// Settings that suit the engine, and that the plan's properties may replace.
const USUAL: [(&str, &str); 8] = [
    ("client.id", "sluice"),
    // What is fetched ahead is bounded by its bytes. With the usual pause of 1 s after the bound was
    // met a fast reader would stand still for most of the time; 20 ms make the bound cheap.
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "1000000"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.max.bytes", "16777216"),
    ("fetch.wait.max.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// Settings that have every message written once and in order, as long as it takes. They are set last.
const EXACT_OF_PRODUCERS: [(&str, &str); 5] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // Until the brokers take it: what is given up would come behind what was said later.
    ("message.timeout.ms", "0"),
    ("delivery.report.only.error", "false"),
    // Brokers take or refuse a batch as a whole: so a refusal is of one message, and costs no other.
    ("batch.num.messages", "1"),
];

/// Settings of a client that writes, that the plan's properties may replace.
const USUAL_OF_PRODUCERS: [(&str, &str); 4] = [
    ("client.id", "sluice"),
    // As clients in Java choose the partition of a key.
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// What librdkafka calls back.
#[derive(Debug, Default)]
pub(super) struct Context {
    statistics: Mutex<Option<Vec<u8>>>,
}

impl Context {
    /// The newest statistics, as JSON, if there are new ones.
    pub(super) fn take_statistics(&self) -> Option<Vec<u8>> {
        self.statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        *self
            .statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(statistics.to_vec());
    }

    fn error(&self, _: rdkafka::error::KafkaError, reason: &str) {
        // The error itself comes out of the poll; only here is it told in words.
        debug!(reason, "kafka client error");
    }
}

/// Logs what librdkafka says.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => warn!(facility, message, "kafka client"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            debug!(facility, message, "kafka client");
        }
    }
}

impl ConsumerContext for Context {}

/// Checks that librdkafka takes the configuration, and that the files it names can be read.
/// Nothing is connected to.
///
/// # Errors
/// A file cannot be read, a property is unknown or out of range, or this program was built without
/// what is asked for.
pub fn check(plan: &KafkaPlan) -> Result<(), KafkaError> {
    configuration(plan)?
        .create_native_config()
        .map(drop)
        .map_err(|error| refused(&error))
}

/// The configuration that every client that reads begins with.
pub(super) fn configuration(plan: &KafkaPlan) -> Result<ClientConfig, KafkaError> {
    let mut config = properties(&USUAL, &plan.properties, &EXACT);
    config.set("bootstrap.servers", plan.brokers.join(","));
    // Partitions are assigned by hand, but librdkafka wants the name of a group for it.
    config.set("group.id", plan.group.as_str());
    secure(plan.tls.as_ref(), plan.sasl.as_ref(), &mut config)?;
    Ok(config)
}

/// The configuration of a client that writes.
///
/// # Errors
/// A file cannot be read, or this program was built without what is asked for.
pub fn producer(plan: &VerdictTopicPlan) -> Result<ClientConfig, KafkaError> {
    let mut config = properties(&USUAL_OF_PRODUCERS, &plan.properties, &EXACT_OF_PRODUCERS);
    config.set("bootstrap.servers", plan.brokers.join(","));
    secure(plan.tls.as_ref(), plan.sasl.as_ref(), &mut config)?;
    Ok(config)
}

/// As [`check`], for a client that writes.
///
/// # Errors
/// As [`check`].
pub fn check_producer(plan: &VerdictTopicPlan) -> Result<(), KafkaError> {
    producer(plan)?
        .create_native_config()
        .map(drop)
        .map_err(|error| refused(&error))
}

fn properties(
    usual: &[(&str, &str)],
    given: &BTreeMap<String, String>,
    exact: &[(&str, &str)],
) -> ClientConfig {
    let mut config = ClientConfig::new();
    let given = given
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in usual
        .iter()
        .copied()
        .chain(given)
        .chain(exact.iter().copied())
    {
        config.set(name, value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

fn secure(
    tls: Option<&KafkaTls>,
    sasl: Option<&KafkaSasl>,
    config: &mut ClientConfig,
) -> Result<(), KafkaError> {
    let has_tls = cfg!(feature = "kafka-tls");
    if tls.is_some() && !has_tls {
        return Err(KafkaError::NotBuilt { key: "tls" });
    }
    if sasl.is_some_and(|sasl| sasl.mechanism != "PLAIN") && !has_tls {
        return Err(KafkaError::NotBuilt {
            key: "sasl.mechanism",
        });
    }
    let protocol = match (tls, sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = tls {
        for (property, file) in [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ] {
            if let Some(file) = file {
                config.set(property, file.as_str());
            }
        }
        if let Some(file) = &tls.key_password_file {
            config.set("ssl.key.password", secret("tls.key_password_file", file)?);
        }
    }
    if let Some(sasl) = sasl {
        config.set("sasl.mechanism", sasl.mechanism);
        config.set("sasl.username", sasl.user.as_str());
        config.set(
            "sasl.password",
            secret("sasl.password_file", &sasl.password_file)?,
        );
    }
    Ok(())
}

/// What a file holds, without the line end that editors add.
fn secret(key: &'static str, path: &str) -> Result<String, KafkaError> {
    let text = files::text(Path::new(path)).map_err(|error| KafkaError::File {
        key,
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Makes a client that is not connected yet.
pub(super) fn create(config: &ClientConfig) -> Result<Client, KafkaError> {
    config
        .create_with_context(Context::default())
        .map_err(|error| refused(&error))
}

pub(super) fn refused(error: &rdkafka::error::KafkaError) -> KafkaError {
    KafkaError::Refused {
        detail: error.to_string(),
    }
}

/// A list as librdkafka takes it.
pub(super) fn list<'a>(
    partitions: impl IntoIterator<Item = (&'a Partition, i64)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in partitions {
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(next))?;
    }
    Ok(list)
}

/// Whether an error says that a partition has stopped because its position is not there.
pub(super) fn is_reset(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation
    )
}

/// The time of a steady clock.
#[expect(clippy::disallowed_methods, reason = "the edge reads the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// How long closing a client may hold up whoever closes it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Closes a client on a thread of its own, because a client that is stuck never closes. Waits for it
/// a little, so that in the usual case nothing of it is left.
pub(super) fn close(client: Client, waits: bool) {
    let (closed, done) = std::sync::mpsc::channel::<()>();
    let spawned = std::thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || {
            drop(client);
            drop(closed);
        });
    if spawned.is_ok() && waits {
        // Ends when the sender is dropped; nothing is ever sent.
        done.recv_timeout(CLOSE_PATIENCE).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Span,
        plan::{TopicFormat, TopicStart},
    };

    fn plan() -> KafkaPlan {
        KafkaPlan {
            brokers: vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()],
            topics: BTreeMap::from([("t".to_owned(), TopicFormat::JsonLogs)]),
            start: TopicStart::Latest,
            group: "g".to_owned(),
            blind_after: Span::from_seconds(30),
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
        }
    }

    fn sasl(mechanism: &'static str, password_file: &Path) -> KafkaSasl {
        KafkaSasl {
            mechanism,
            user: "u".to_owned(),
            password_file: password_file.to_string_lossy().into_owned(),
        }
    }

    #[test]
    fn what_makes_reading_exact_is_set_whatever_the_plan_says() {
        let mut plan = plan();
        for (name, _) in EXACT {
            plan.properties.insert(name.to_owned(), "true".to_owned());
        }
        plan.properties
            .insert("fetch.queue.backoff.ms".to_owned(), "7".to_owned());
        let config = configuration(&plan).unwrap();
        for (name, value) in EXACT {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("7"));
        assert_eq!(
            config.get("bootstrap.servers"),
            Some("127.0.0.1:1,127.0.0.1:2")
        );
        check(&plan).unwrap();
    }

    #[test]
    fn what_keeps_verdicts_in_order_is_set_whatever_the_plan_says() {
        let mut plan = VerdictTopicPlan {
            name: "kafka".to_owned(),
            brokers: vec!["127.0.0.1:1".to_owned()],
            topic: "t".to_owned(),
            tls: None,
            sasl: None,
            properties: BTreeMap::from([("linger.ms".to_owned(), "7".to_owned())]),
        };
        for (name, _) in EXACT_OF_PRODUCERS {
            plan.properties.insert(name.to_owned(), "1".to_owned());
        }
        let config = producer(&plan).unwrap();
        for (name, value) in EXACT_OF_PRODUCERS {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert_eq!(config.get("linger.ms"), Some("7"));
        check_producer(&plan).unwrap();
        plan.properties
            .insert("no.such.property".to_owned(), "1".to_owned());
        let error = check_producer(&plan).unwrap_err();
        assert!(error.to_string().contains("no.such.property"), "{error}");
    }

    #[test]
    fn properties_that_librdkafka_does_not_know_are_refused() {
        for (name, value) in [("no.such.property", "1"), ("fetch.wait.max.ms", "soon")] {
            let mut plan = plan();
            plan.properties.insert(name.to_owned(), value.to_owned());
            let error = check(&plan).unwrap_err();
            assert!(
                matches!(&error, KafkaError::Refused { detail } if detail.contains(name)),
                "{error}"
            );
        }
    }

    #[test]
    fn secrets_are_read_from_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "pass word\n").unwrap();
        let mut plan = plan();
        plan.sasl = Some(sasl("PLAIN", &file));
        let config = configuration(&plan).unwrap();
        assert_eq!(config.get("sasl.password"), Some("pass word"));
        assert_eq!(config.get("security.protocol"), Some("sasl_plaintext"));
        plan.sasl = Some(sasl("PLAIN", &folder.path().join("absent")));
        let error = check(&plan).unwrap_err();
        assert!(
            error.to_string().starts_with("kafka sasl.password_file: "),
            "{error}"
        );
    }

    #[test]
    fn encryption_is_there_or_refused_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "x").unwrap();
        let mut with_tls = plan();
        with_tls.tls = Some(KafkaTls::default());
        let mut with_scram = plan();
        with_scram.sasl = Some(sasl("SCRAM-SHA-512", &file));
        for plan in [with_tls, with_scram] {
            let checked = check(&plan);
            if cfg!(feature = "kafka-tls") {
                checked.unwrap();
                create(&configuration(&plan).unwrap()).unwrap();
            } else {
                let error = checked.unwrap_err();
                assert!(
                    error.to_string().ends_with("--features kafka-tls"),
                    "{error}"
                );
            }
        }
    }
}
