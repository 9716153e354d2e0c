//! Tells others of verdicts: Alertmanager, receivers of Grafana's webhook, Grafana's annotations, topics of
//! Kafka.
//!
//! A sink is a pure [`Conversation`] and a task that holds it ([`delivery`]). The conversation compares
//! what stands with what the sink was told, and builds the next request; the task sends it, tries again
//! with back-off, and remembers in a small file what was told ([`memory`]). Nothing is pushed to a sink
//! by the engine: a sink looks at what the engine publishes when it is ready to, so that one that is slow
//! or dead holds nobody up, and what is not told yet is told in its newest form.
//!
//! Every notification is delivered at least once, as long as what it tells still stands; over a restart
//! at most one of them comes twice. A topic of Kafka is told of every change, in order, out of the history
//! ([`topic`]).

mod alert;
mod alertmanager;
mod alerts;
mod annotations;
mod backoff;
mod client;
mod conversation;
mod delivery;
mod memory;
#[cfg(test)]
mod receiver_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tls_tests;
#[cfg(feature = "kafka")]
mod topic;
#[cfg(feature = "kafka")]
mod topic_pages;
mod webhook;

pub use client::{ClientError, Files, fetch};

use std::{error::Error as _, fmt, path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::timeout};
use tracing::warn;

use self::{
    alert::Links, alertmanager::Alertmanager, alerts::Alerts, annotations::Annotations,
    client::Client, conversation::Conversation, delivery::Delivery, memory::Memory,
    webhook::Webhook,
};
use crate::{
    plan::{Plan, SinkKind, SinkPlan},
    serve::{Feed, SinkCounters},
    source::files,
};

/// How long deliveries that are under way may take when the engine stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The sinks of a running engine.
#[derive(Debug)]
pub struct Sinks {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Why the sinks cannot be started.
#[derive(Debug)]
pub struct SinkError {
    /// Name of the sink.
    pub sink: String,
    /// What is wrong.
    pub error: Box<dyn std::error::Error + Send + Sync>,
}

impl Sinks {
    /// Starts a task for each sink of the plan. `page` is where people reach the engine; `counters` gives
    /// the counters of a sink by its name.
    ///
    /// A token that cannot be read yet is no error: it is read anew for every request, and until it is
    /// there nothing is delivered, which the log and `/metrics` say.
    ///
    /// # Errors
    /// The certificates that a sink is to be checked against cannot be read, or a topic of Kafka cannot be
    /// written to as it is configured.
    pub async fn start(
        plan: &Plan,
        data_dir: Option<&Path>,
        page: &str,
        feed: &Feed,
        counters: impl Fn(&str) -> Arc<SinkCounters>,
    ) -> Result<Self, SinkError> {
        let (stop, stopping) = watch::channel(false);
        let links = Links::new(plan.external_url.as_deref().unwrap_or(page));
        let mut tasks = JoinSet::new();
        Self::topics(plan)?;
        for sink in &plan.sinks {
            let client = client(sink)?;
            if let Err(problem) = client.token().await {
                warn!(sink = sink.name, %problem, "nothing can be delivered to the sink yet");
            }
            let memory = Memory::new(data_dir, sink);
            let delivery = Delivery {
                name: sink.name.clone(),
                client,
                memory,
                feed: feed.clone(),
                counters: counters(&sink.name),
                stopping: stopping.clone(),
            };
            tasks.spawn(delivery.run(conversation(sink, &links)));
        }
        #[cfg(feature = "kafka")]
        for topic in &plan.verdict_topics {
            let told = topic::VerdictTopic {
                memory: Memory::of(data_dir, &topic.name, &topic.topic),
                plan: topic.clone(),
                feed: feed.clone(),
                counters: counters(&topic.name),
                stopping: stopping.clone(),
            };
            tasks.spawn(told.run());
        }
        Ok(Self { stop, tasks })
    }

    /// Whether the sinks of a plan can be started.
    ///
    /// # Errors
    /// As [`Sinks::start`].
    pub fn check(plan: &Plan) -> Result<(), SinkError> {
        Self::topics(plan)?;
        Self::faults(plan).next().map_or(Ok(()), Err)
    }

    /// Whether topics of Kafka can be written to, as far as their configuration tells.
    #[cfg(feature = "kafka")]
    fn topics(plan: &Plan) -> Result<(), SinkError> {
        for topic in &plan.verdict_topics {
            crate::source::kafka::check_producer(topic).map_err(|error| SinkError {
                sink: topic.name.clone(),
                error: error.into(),
            })?;
        }
        Ok(())
    }

    #[cfg(not(feature = "kafka"))]
    fn topics(plan: &Plan) -> Result<(), SinkError> {
        plan.verdict_topics.first().map_or(Ok(()), |topic| {
            Err(SinkError {
                sink: topic.name.clone(),
                error: crate::plan::VerdictTopicPlan::NOT_BUILT.into(),
            })
        })
    }

    /// What keeps the sinks of a plan from delivering on this machine, as far as that can be told before they
    /// are started: certificates and tokens that cannot be read. Topics of Kafka are looked at with the
    /// sources.
    pub fn obstacles(plan: &Plan) -> Vec<String> {
        let unusable = Self::faults(plan).map(|fault| {
            let cause = fault.source().map(|cause| format!(": {cause}"));
            format!("{fault}{}", cause.unwrap_or_default())
        });
        let without_token = plan.sinks.iter().filter_map(|sink| {
            let read = files::text(Path::new(sink.token_file.as_ref()?));
            let problem = read.err()?;
            Some(format!(
                "sink {}: {problem}: until it can be read nothing is delivered",
                sink.name
            ))
        });
        unusable.chain(without_token).collect()
    }

    fn faults(plan: &Plan) -> impl Iterator<Item = SinkError> {
        plan.sinks.iter().filter_map(|sink| client(sink).err())
    }

    /// Ends the tasks; what is under way may be finished. Nothing is resolved: firing alerts end by
    /// themselves if nobody starts the engine again.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_PATIENCE, ended).await.is_err() {
            self.tasks.abort_all();
        }
    }
}

fn client(sink: &SinkPlan) -> Result<Client, SinkError> {
    Client::new(sink).map_err(|error| SinkError {
        sink: sink.name.clone(),
        error: error.into(),
    })
}

fn conversation(sink: &SinkPlan, links: &Links) -> Box<dyn Conversation> {
    match &sink.kind {
        SinkKind::Alertmanager { resend, alerts } => {
            let dialect = Alertmanager::new(&sink.url.0, *resend);
            Box::new(Alerts::new(*alerts, links.clone(), sink.queue, dialect))
        }
        SinkKind::GrafanaWebhook { max_alerts, alerts } => {
            let dialect = Webhook {
                url: sink.url.0.clone(),
                receiver: sink.name.clone(),
                alerts_max: *max_alerts,
                external_url: links.external_url().to_owned(),
            };
            Box::new(Alerts::new(*alerts, links.clone(), sink.queue, dialect))
        }
        SinkKind::GrafanaAnnotations { tags } => Box::new(Annotations::new(
            &sink.url.0,
            tags.clone(),
            links.clone(),
            sink.queue,
        )),
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sink {} cannot be used", self.sink)
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_read_are_told_before_a_start() {
        let plan = Plan::parse(
            "checks: {}
services: {web: {stages: [{name: onebox, steps: [tests]}]}}
sinks:
  - {grafana_webhook: {url: 'https://h', name: oncall, ca_file: /nowhere/ca}}
  - {alertmanager: {url: 'http://a', name: pager, bearer_file: /nowhere/token}}
  - {alertmanager: {url: 'http://b', name: other}}
",
        );
        let plan = plan.unwrap_or_else(|faults| panic!("{faults}"));
        let told = Sinks::obstacles(&plan);
        for (problem, parts) in told
            .iter()
            .zip([["oncall", "/nowhere/ca"], ["pager", "/nowhere/token"]])
        {
            for part in parts {
                assert!(problem.contains(part), "{part} is not in {problem}");
            }
        }
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
