//! What would keep an engine from starting, told before it is started. Sinks tell of themselves.

use std::net::TcpListener;

use super::{
    access::Guard,
    start_error::StartError,
    tls::{self, Protocols},
};
use crate::plan::Plan;

/// What would keep an engine from starting under a plan, or from doing all that the plan says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The configuration itself is wrong: no engine starts with it.
    Plan(String),
    /// It depends on the machine: a file that is not there, an address that is in use.
    Machine(String),
}

/// Finds what stands in the way of a start under a plan on this machine. Nothing is connected to; each
/// address is listened at for a moment.
pub fn obstacles(plan: &Plan) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    if let Some((key, address)) = plan.exposed() {
        let exposed = StartError::Exposed { key, address };
        obstacles.push(Obstacle::Plan(exposed.to_string()));
    }
    obstacles.extend(of_sources(plan));
    obstacles.extend(of_verdict_topics(plan));
    let tokens = Guard::faults(&plan.access).map(|fault| fault.to_string());
    let tls = plan.tls.as_ref();
    let tls = tls.and_then(|tls| tls::configuration(tls, Protocols::Http).err());
    let files = tokens.chain(tls.map(|fault| fault.to_string()));
    obstacles.extend(files.map(Obstacle::Machine));
    obstacles.extend(of_addresses(plan).map(Obstacle::Machine));
    obstacles
}

#[cfg(feature = "kafka")]
fn of_verdict_topics(plan: &Plan) -> Vec<Obstacle> {
    let faults = plan.verdict_topics.iter().filter_map(|topic| {
        let error = crate::source::kafka::check_producer(topic).err()?;
        Some(of_kafka(&format!("sink {}", topic.name), &error))
    });
    faults.collect()
}

#[cfg(not(feature = "kafka"))]
fn of_verdict_topics(plan: &Plan) -> Vec<Obstacle> {
    let unbuilt =
        (!plan.verdict_topics.is_empty()).then_some(crate::plan::VerdictTopicPlan::NOT_BUILT);
    unbuilt
        .map(|problem| Obstacle::Plan(problem.to_owned()))
        .into_iter()
        .collect()
}

#[cfg(feature = "kafka")]
fn of_kafka(place: &str, error: &crate::source::kafka::KafkaError) -> Obstacle {
    use crate::source::kafka::KafkaError;
    let problem = format!("{place}: {error}");
    match error {
        KafkaError::File { .. } | KafkaError::NoThread { .. } => Obstacle::Machine(problem),
        KafkaError::NotBuilt { .. }
        | KafkaError::Refused { .. }
        | KafkaError::Unreachable { .. } => Obstacle::Plan(problem),
    }
}

#[cfg(feature = "kafka")]
fn of_sources(plan: &Plan) -> Vec<Obstacle> {
    use std::path::Path;

    use crate::{
        plan::SourcePlan,
        source::{files, kafka},
    };
    let mut obstacles = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let SourcePlan::Kafka(source) = source;
        if let Err(error) = kafka::check(source) {
            obstacles.push(of_kafka(&format!("sources[{index}]"), &error));
        }
        let tls = source.tls.as_ref();
        let files = tls.map(|tls| {
            [
                ("ca_file", &tls.ca_file),
                ("cert_file", &tls.cert_file),
                ("key_file", &tls.key_file),
            ]
        });
        for (key, file) in files.into_iter().flatten() {
            let read = file.as_ref().map(|file| files::text(Path::new(file)));
            let problem = read.and_then(Result::err);
            obstacles.extend(problem.map(|problem| {
                Obstacle::Machine(format!("sources[{index}].kafka.tls.{key}: {problem}"))
            }));
        }
    }
    obstacles
}

#[cfg(not(feature = "kafka"))]
fn of_sources(plan: &Plan) -> Vec<Obstacle> {
    let sources = super::sources::Sources::new(plan, false);
    sources.err().map(Obstacle::Plan).into_iter().collect()
}

/// Addresses at which it cannot be listened now.
fn of_addresses(plan: &Plan) -> impl Iterator<Item = String> {
    let listen = &plan.listen;
    let all = [
        ("listen.grpc", listen.grpc),
        ("listen.http", listen.http),
        ("listen.otlp_grpc", listen.otlp_grpc),
        ("listen.otlp_http", listen.otlp_http),
    ];
    all.into_iter().filter_map(|(key, address)| {
        let error = TcpListener::bind(address).err()?;
        Some(format!(
            "{key}: cannot listen at {address} now: {error}; that is as it should be if it is the engine which \
             listens there"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str =
        "checks: {}\nservices: {web: {stages: [{name: onebox, steps: [tests]}]}}\n";
    const LOOPBACK: &str = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', otlp_grpc: '127.0.0.1:0', \
                            otlp_http: '127.0.0.1:0'}\n";

    fn told(text: &str) -> Vec<Obstacle> {
        let plan = Plan::parse(&format!("{SERVICES}{text}"));
        obstacles(&plan.unwrap_or_else(|faults| panic!("{faults}")))
    }

    fn on_loopback(text: &str) -> Vec<Obstacle> {
        told(&format!("{LOOPBACK}{text}"))
    }

    #[test]
    fn nothing_stands_in_the_way_of_a_plain_engine() {
        assert_eq!(on_loopback(""), []);
    }

    #[test]
    fn an_engine_that_anybody_reaches_is_refused_by_its_configuration() {
        let everywhere = LOOPBACK.replace("grpc: '127.0.0.1:0', http", "grpc: '0.0.0.0:0', http");
        let [Obstacle::Plan(problem)] = &told(&everywhere)[..] else {
            panic!("it starts")
        };
        assert!(problem.starts_with("listen.grpc is 0.0.0.0:0"), "{problem}");
    }

    #[test]
    fn every_file_that_is_missing_is_told() {
        let told = on_loopback(
            "access: {tokens: [{role: ingest, file: /nowhere/a}, {role: admin, file: /nowhere/b}]}
tls: {cert_file: /nowhere/c, key_file: /nowhere/d}
",
        );
        let told: Vec<&String> = told
            .iter()
            .map(|obstacle| match obstacle {
                Obstacle::Machine(problem) => problem,
                Obstacle::Plan(problem) => panic!("{problem}"),
            })
            .collect();
        for (problem, part) in told.iter().zip([
            "access.tokens[0].file: /nowhere/a",
            "access.tokens[1].file: /nowhere/b",
            "tls.cert_file: /nowhere/c",
        ]) {
            assert!(problem.contains(part), "{part} is not in {problem}");
        }
        assert_eq!(told.len(), 3, "{told:?}");
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listen = LOOPBACK.replace(
            "otlp_http: '127.0.0.1:0'",
            &format!("otlp_http: '{address}'"),
        );
        let [Obstacle::Machine(problem)] = &told(&listen)[..] else {
            panic!("nobody listens there")
        };
        let named = format!("listen.otlp_http: cannot listen at {address} now");
        assert!(problem.starts_with(&named), "{problem}");
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn what_no_client_of_kafka_takes_is_wrong_in_the_configuration() {
        let told = on_loopback(
            "sources: [{kafka: {brokers: ['127.0.0.1:1'], topics: {t: {format: json-samples}}, properties: \
             {no.such.property: '1'}}}]\n",
        );
        let sink = on_loopback(
            "sinks: [{kafka: {brokers: ['127.0.0.1:1'], topic: t, properties: {no.such.property: '1'}}}]\n",
        );
        for told in [told, sink] {
            let [Obstacle::Plan(problem)] = &told[..] else {
                panic!("{told:?}")
            };
            assert!(problem.contains("no.such.property"), "{problem}");
        }
    }
}
