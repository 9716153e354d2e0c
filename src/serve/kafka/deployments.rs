//! Messages that hold deployment events become inputs of their own.
//!
//! An event takes the way of those over HTTP: through the journal, in the one order of all inputs. Its
//! message is not read again after a restart, because the journal has the event itself; the range that is
//! recorded behind it is empty and only says where reading goes on. A kill between the two has the message
//! read twice, and what is told twice counts once.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::spawn_blocking};
use tracing::{error, warn};

use super::{
    super::{
        answers::EventReply,
        chronicle::Chronicled,
        clock::Stopwatch,
        core::EventError,
        requests::{check_begin, check_bypass, check_name},
    },
    range,
    reader::{RETRY, Reader, Stopped},
};
use crate::{
    decode::deployments::MESSAGE_EVENTS_MAX,
    event::{DeploymentEvent, Timestamp},
    journal::{Entry, OffsetRange, recorded},
    plan::Overrides,
    serve::board::Deployment,
    source::kafka::{Blindness, Chunk, Consumer, EventOutcome, Lost, Message, Partition},
};

/// Most events that are recorded together, and at least as many as a message may have. Fewer than may wait
/// for the core.
const EVENTS_MAX: usize = MESSAGE_EVENTS_MAX;
/// Larger messages are read off the network's threads.
const SMALL_BYTES: usize = 16 << 10;
/// How long it holds that the history could be written, or not. The one task that asks reads all topics.
const PROOF_HOLDS: Duration = Duration::from_secs(1);
/// Complaints that are logged in full within a window; of others only the number.
const COMPLAINTS_MAX: u32 = 20;
const COMPLAINTS_WINDOW: Duration = Duration::from_secs(10);

/// What the core says of an event, once it comes to it.
type Answer = oneshot::Receiver<Result<Arc<Deployment>, EventError>>;

/// Events that are recorded together.
#[derive(Debug, Default)]
struct Group {
    events: Vec<(i64, DeploymentEvent)>,
}

/// How much was logged of late.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    window: Option<Stopwatch>,
    count: u32,
    untold: u64,
}

/// Why an event is not even recorded.
struct Unfit {
    outcome: EventOutcome,
    reason: String,
}

impl Reader {
    /// What is recorded of offsets that will never be read.
    pub(super) fn loss(&self, lost: &Lost) -> Entry {
        let Lost {
            partition,
            from,
            until,
            reason,
        } = lost;
        if self.decoding.tells(&partition.topic).is_none() {
            return Entry::Lost(range(partition, *from, *until));
        }
        error!(
            %partition,
            from,
            until,
            reason = reason.name(),
            "deployment events of Kafka are lost: what they told has to be told again"
        );
        Entry::Consumed(range(partition, *until, *until))
    }

    /// Notes that a topic is out of sight, if it feeds checks. Says whether it does.
    pub(super) fn hide(&mut self, topic: Arc<str>, reason: Blindness) -> bool {
        let feeds = self.decoding.tells(&topic).is_none();
        if feeds {
            self.hidden.insert(topic, reason);
        }
        feeds
    }

    /// Takes the events of messages, a group at a time. One that cannot be used costs only itself. Those of
    /// one message are recorded together: a kill would have the first of them told again, at other times.
    pub(super) async fn take_told(
        &mut self,
        consumer: &Consumer,
        chunk: &Chunk,
        overrides: Overrides,
    ) -> Result<(), Stopped> {
        let partition = &chunk.partition;
        let mut group = Group::default();
        for message in &chunk.messages {
            let events = self.events(message).await;
            let waits = overrides == Overrides::Taken
                && events.iter().flatten().any(is_override)
                && !self.has_proof();
            // What is in the group waits for nobody: its bake begins when it is recorded.
            if !group.events.is_empty() && (waits || EVENTS_MAX < group.events.len() + events.len())
            {
                let before = std::mem::take(&mut group);
                self.tell(consumer, partition, before, message.offset)
                    .await?;
            }
            if waits {
                self.prove().await;
            }
            for event in events {
                let event = event.map_err(Unfit::unreadable);
                let fit = event
                    .and_then(|event| self.fit(&event))
                    .and_then(|event| self.allowed(event, overrides));
                match fit {
                    Ok(event) => group.events.push((message.offset, event)),
                    Err(Unfit { outcome, reason }) => {
                        consumer.told(partition, outcome);
                        self.complaints.tell(partition, message.offset, &reason);
                    }
                }
            }
        }
        self.tell(consumer, partition, group, chunk.offsets.end)
            .await
    }

    /// Reads the events of a message, each by itself.
    async fn events(&self, message: &Message) -> Vec<Result<DeploymentEvent, String>> {
        if message.payload.len() <= SMALL_BYTES {
            return self.decoding.deployments(message);
        }
        let (decoding, message) = (self.decoding.clone(), message.clone());
        let read = spawn_blocking(move || decoding.deployments(&message)).await;
        read.unwrap_or_else(|error| vec![Err(format!("reading it failed: {error}"))])
    }

    /// Records events and that reading goes on there, and counts what the core says of them.
    async fn tell(
        &mut self,
        consumer: &Consumer,
        partition: &Partition,
        group: Group,
        next: i64,
    ) -> Result<(), Stopped> {
        let range = range(partition, next, next);
        let answers = self.record_told(&group, &range).await?;
        self.note(&[Entry::Consumed(range)]);
        for ((offset, _), answer) in group.events.iter().zip(answers) {
            let outcome = match answer.await {
                Ok(Ok(_)) => EventOutcome::Taken,
                Ok(Err(EventError::Refused(refusal))) => {
                    let reason = refusal.to_string();
                    self.complaints.tell(partition, *offset, &reason);
                    EventOutcome::Refused
                }
                // It is in the journal: the next start takes it.
                Ok(Err(EventError::Unavailable(_))) | Err(_) => return Err(Stopped),
            };
            consumer.told(partition, outcome);
        }
        Ok(())
    }

    /// Records events. What cannot be recorded is tried again until it can; meanwhile time goes on, so that
    /// an event is always as of what is still open.
    async fn record_told(
        &self,
        group: &Group,
        range: &OffsetRange,
    ) -> Result<Vec<Answer>, Stopped> {
        loop {
            let mut answers = Vec::with_capacity(group.events.len());
            let mut events = Vec::with_capacity(group.events.len());
            let open_from = self.open_from();
            for (_, event) in &group.events {
                let (reply, answer) = oneshot::channel();
                answers.push(answer);
                let event = event.clone().at_time(event.at().max(open_from));
                events.push((event, EventReply(reply)));
            }
            let placed = match self.core.told(events, range.clone()) {
                Ok(ticket) => ticket.durable().await.map(drop),
                Err(unavailable) => Err(unavailable),
            };
            match placed {
                Ok(()) => return Ok(answers),
                Err(unavailable) if unavailable.is_final() => return Err(Stopped),
                Err(_) => {}
            }
            self.pause(RETRY).await?;
        }
    }

    /// An event as it can be recorded.
    fn fit(&self, event: &DeploymentEvent) -> Result<DeploymentEvent, Unfit> {
        let checked = match event {
            DeploymentEvent::Begin(begin) => check_begin(begin),
            DeploymentEvent::Step(step) => check_name("step", &step.step),
            DeploymentEvent::Bypass(bypass) => check_bypass(bypass),
            DeploymentEvent::End(_) => Ok(()),
        };
        checked.map_err(|problem| Unfit::unreadable(problem.to_string()))?;
        let (now, at) = (self.clock.now(), event.at());
        let future = self.plan.limits.future;
        if now + future < at {
            let reason = format!(
                "at is {at}, more than {future} (limits.future) ahead of the clock, which is at {now}"
            );
            return Err(Unfit::unreadable(reason));
        }
        recorded(event).map_err(Unfit::unreadable)
    }

    /// An event before this is taken as of then: buckets before are closed, or about to be, so that a bake
    /// which began there would be over before it was seen.
    fn open_from(&self) -> Timestamp {
        let now = self.clock.now();
        let ticked_at = match self.ticked_at() {
            // Time begins with the clock.
            Timestamp::MIN => now,
            ticked_at => ticked_at,
        };
        let open = ticked_at - self.plan.lateness;
        let open = match self.core.published().stats().watermark {
            Timestamp::MIN => open,
            watermark => open.max(watermark + self.plan.resolution),
        };
        open.min(now.max(ticked_at))
    }

    /// An event that may be told there.
    fn allowed(
        &self,
        event: DeploymentEvent,
        overrides: Overrides,
    ) -> Result<DeploymentEvent, Unfit> {
        if !is_override(&event) {
            return Ok(event);
        }
        let not_allowed = |reason: &str| Unfit {
            outcome: EventOutcome::NotAllowed,
            reason: reason.to_owned(),
        };
        if overrides == Overrides::Refused {
            return Err(not_allowed(
                "a bypass and a hotfix are overrides, which are not taken from this topic: tell them over \
                 HTTP or gRPC as admin, or write overrides: true at the topic",
            ));
        }
        if !self.proof.as_ref().is_some_and(|(_, proven)| *proven) {
            return Err(not_allowed(
                "the history cannot be written, so that overrides are refused: tell it again when it can",
            ));
        }
        Ok(event)
    }

    /// Whether it was tried a moment ago whether the history can be written.
    fn has_proof(&self) -> bool {
        let proof = self.proof.as_ref();
        proof.is_some_and(|(asked, _)| asked.elapsed() < PROOF_HOLDS)
    }

    /// Tries whether the history can be written. It may take as long as that does.
    async fn prove(&mut self) {
        let chronicled = Arc::clone(self.core.published().chronicled());
        let asked = spawn_blocking(move || Chronicled::is_writable(&chronicled)).await;
        self.proof = Some((Stopwatch::start(), asked.ok() == Some(true)));
    }
}

/// Whether a person sets the gate aside with it.
fn is_override(event: &DeploymentEvent) -> bool {
    match event {
        DeploymentEvent::Bypass(_) => true,
        DeploymentEvent::Begin(begin) => begin.hotfix.is_some(),
        DeploymentEvent::Step(_) | DeploymentEvent::End(_) => false,
    }
}

impl Unfit {
    fn unreadable(reason: String) -> Self {
        Self {
            outcome: EventOutcome::Unreadable,
            reason,
        }
    }
}

impl Complaints {
    /// Logs why an event of a message has no effect. Of very many in a short time only the number.
    fn tell(&mut self, partition: &Partition, offset: i64, reason: &str) {
        let is_open = |window: &Stopwatch| window.elapsed() < COMPLAINTS_WINDOW;
        if !self.window.as_ref().is_some_and(is_open) {
            self.window = Some(Stopwatch::start());
            self.count = 0;
        }
        self.count += 1;
        if COMPLAINTS_MAX < self.count {
            self.untold += 1;
            return;
        }
        let (topic, number) = (&partition.topic, partition.number);
        let untold = std::mem::take(&mut self.untold);
        warn!(
            %topic,
            partition = number,
            offset,
            reason,
            untold,
            "a deployment event of Kafka has no effect"
        );
    }
}
