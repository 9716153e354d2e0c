//! The task that holds the conversation with one sink.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    backoff::Backoff,
    client::{Client, Reply, SendError},
    conversation::{Conversation, Letter},
    memory::Memory,
};
use crate::serve::{Feed, Shown, SinkCounters, Undelivered};

/// One sink, and how it is reached.
pub(super) struct Delivery {
    pub name: String,
    pub client: Client,
    pub memory: Memory,
    pub feed: Feed,
    pub counters: Arc<SinkCounters>,
    pub stopping: watch::Receiver<bool>,
}

/// When what is sent next.
struct Timing {
    backoff: Backoff,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// When what fires is sent again; `None`: never.
    due: Option<Instant>,
}

/// How a request ended.
enum Ending {
    Taken(Reply),
    /// It will never be taken, for its status.
    Refused(u16),
    /// It is to be tried again; the sink may have asked to be left alone for a while.
    Failed(String, Option<Duration>),
}

impl Delivery {
    /// Holds the conversation until the engine stops.
    pub(super) async fn run(mut self, mut conversation: Box<dyn Conversation>) {
        self.remember(conversation.as_mut()).await;
        let mut timing = Timing {
            backoff: Backoff::default(),
            not_before: None,
            due: conversation.resend().map(|_| Instant::now()),
        };
        loop {
            let may_tell = self.look(conversation.as_mut());
            let is_blocked = timing.not_before.is_some_and(|at| Instant::now() < at);
            let is_due = timing.due.is_some_and(|at| at <= Instant::now());
            let letter = if may_tell && !is_blocked {
                conversation.next(self.feed.now(), is_due)
            } else {
                None
            };
            let Some(letter) = letter else {
                if is_due && !is_blocked {
                    timing.due = conversation.resend().map(|every| Instant::now() + every);
                }
                let wake = if is_blocked {
                    timing.not_before
                } else {
                    timing.due
                };
                if self.wait(wake).await {
                    return;
                }
                continue;
            };
            // What is under way may be finished when the engine stops, within its patience.
            let ending = ending(&letter, self.client.send(&letter).await);
            self.settle(conversation.as_mut(), &letter, ending, &mut timing)
                .await;
            if *self.stopping.borrow() {
                return;
            }
        }
    }

    /// Compares what stands with what was told. Says whether the sink may be told anything.
    fn look(&mut self, conversation: &mut dyn Conversation) -> bool {
        let may_tell = match self.feed.shown() {
            Shown::Deployments(deployments) => {
                let superseded = conversation.look(&deployments, self.feed.now());
                self.counters.dropped(superseded, Undelivered::Superseded);
                true
            }
            // What was told goes on being sent.
            Shown::Recovering => true,
            Shown::Stopped => false,
        };
        self.counters.waiting(conversation.waiting());
        may_tell
    }

    /// Waits for something new, or until an instant. Says whether the engine stops.
    async fn wait(&mut self, until: Option<Instant>) -> bool {
        let timer = async {
            match until {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => true,
            () = self.feed.changed() => false,
            () = timer => false,
        }
    }

    async fn settle(
        &mut self,
        conversation: &mut dyn Conversation,
        letter: &Letter,
        ending: Ending,
        timing: &mut Timing,
    ) {
        let again = conversation.resend().map(|every| Instant::now() + every);
        match ending {
            Ending::Taken(reply) => {
                if timing.backoff.failures() > 0 {
                    info!(sink = self.name, "the sink takes notifications again");
                }
                timing.backoff.reset();
                timing.not_before = None;
                timing.due = again;
                self.counters.sent(letter.news.len());
                if conversation.taken(letter, &reply.body) {
                    self.save(conversation.save()).await;
                }
            }
            Ending::Refused(status) => {
                self.counters.failed();
                let dropped = conversation.refused(letter, status);
                self.counters.dropped(dropped, Undelivered::Refused);
                timing.due = again;
                // The next request may be as odd as this one: it does not come at once.
                let pause = timing.backoff.after_failure(None);
                timing.not_before = Some(Instant::now() + pause);
                warn!(
                    sink = self.name,
                    status, dropped, "the sink refuses a notification"
                );
            }
            Ending::Failed(problem, asked) => {
                self.counters.failed();
                let pause = timing.backoff.after_failure(asked);
                timing.not_before = Some(Instant::now() + pause);
                let failures = timing.backoff.failures();
                // Once for a stretch of failures, then ever more seldom.
                if failures.is_power_of_two() {
                    warn!(
                        sink = self.name,
                        problem, failures, "nothing is delivered to the sink: it is tried again"
                    );
                } else {
                    debug!(sink = self.name, problem, failures, "the sink fails");
                }
            }
        }
        self.counters.waiting(conversation.waiting());
    }

    async fn remember(&self, conversation: &mut dyn Conversation) {
        let memory = self.memory.clone();
        let read = spawn_blocking(move || memory.read()).await;
        let restored = match read {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(told))) => conversation
                .restore(told)
                .map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(problem) = restored {
            warn!(
                sink = self.name,
                problem, "what the sink was told is forgotten: it may be told again"
            );
        }
    }

    async fn save(&self, told: Value) {
        let memory = self.memory.clone();
        let written = spawn_blocking(move || memory.write(told)).await;
        let problem = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        warn!(
            sink = self.name,
            problem,
            "what the sink was told cannot be remembered: after a restart it may be told again"
        );
    }
}

/// What an answer means. What is the request's own fault will not be better next time; everything else,
/// a redirect, a wrong path or a missing permission too, may be repaired meanwhile.
fn ending(letter: &Letter, sent: Result<Reply, SendError>) -> Ending {
    let reply = match sent {
        Ok(reply) => reply,
        Err(error) => return Ending::Failed(error.to_string(), None),
    };
    match reply.status {
        200..=299 => Ending::Taken(reply),
        400 | 413 | 422 => Ending::Refused(reply.status),
        404 if letter.method == http::Method::PATCH => Ending::Refused(reply.status),
        status => Ending::Failed(format!("it answers {status}"), reply.retry_after),
    }
}
