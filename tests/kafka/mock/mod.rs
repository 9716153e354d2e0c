//! A mock Kafka cluster that is driven by lines on its standard input, for a process of its own.
//!
//! Prints its bootstrap address, then answers each line with `ok` or `failed: …`, after the prefix
//! that sets its words apart from those of a test harness. Ends with its input.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

/// What every line begins with.
pub(crate) const PREFIX: &str = "mock-cluster ";

/// A failure of every request of a kind that is injected at once.
const ERRORS_AT_ONCE: usize = 100_000;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Runs a cluster until the input ends.
pub(crate) fn run(
    brokers: i32,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = MockCluster::new(brokers)?;
    // From these versions on an answer names the new leader of a partition, and the mock of librdkafka
    // 2.12.1 crashes where there is none.
    cluster.apiversion(RDKafkaApiKey::Fetch, Some(0), Some(11))?;
    cluster.apiversion(RDKafkaApiKey::Produce, Some(0), Some(9))?;
    writeln!(output, "\n{PREFIX}{}", cluster.bootstrap_servers())?;
    output.flush()?;
    for line in input.lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match command(&cluster, &words) {
            Ok(()) => writeln!(output, "{PREFIX}ok")?,
            Err(error) => writeln!(output, "{PREFIX}failed: {line:?}: {error}")?,
        }
        output.flush()?;
    }
    Ok(())
}

fn command(cluster: &Cluster, words: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    match *words {
        ["create", topic, partitions] => cluster.create_topic(topic, partitions.parse()?, 1)?,
        ["down", broker] => cluster.broker_down(broker.parse()?)?,
        ["up", broker] => cluster.broker_up(broker.parse()?)?,
        ["leader", topic, partition, "none"] => {
            cluster.partition_leader(topic, partition.parse()?, None)?;
        }
        ["leader", topic, partition, broker] => {
            cluster.partition_leader(topic, partition.parse()?, Some(broker.parse()?))?;
        }
        ["round-trip", broker, millis] => {
            let delay = Duration::from_millis(millis.parse()?);
            cluster.broker_round_trip_time(broker.parse()?, delay)?;
        }
        ["fail-fetches", "none"] => cluster.clear_request_errors(RDKafkaApiKey::Fetch),
        ["fail-fetches", error] => {
            cluster.request_errors(RDKafkaApiKey::Fetch, &vec![named(error)?; ERRORS_AT_ONCE]);
        }
        ["fail-fetches", error, count] => {
            cluster.request_errors(RDKafkaApiKey::Fetch, &vec![named(error)?; count.parse()?]);
        }
        _ => return Err("no such command".into()),
    }
    Ok(())
}

fn named(error: &str) -> Result<RDKafkaRespErr, String> {
    Ok(match error {
        "transport" => RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        "unknown" => RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        "not-leader" => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        "corrupt" => RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG,
        "unauthorized" => RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        "out-of-range" => RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
        other => return Err(format!("no error is called {other}")),
    })
}
