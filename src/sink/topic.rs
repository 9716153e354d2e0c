//! Writes every change of a verdict to a topic of Kafka, in the order of the history.
//!
//! The history is the queue: it is durable, ordered and bounded by its own retention, so that a topic that
//! is away for days misses nothing and takes no memory. What is remembered is only how far the topic was
//! told. Each message is a record of the history as `sluice history --output json` prints it; its key is
//! the deployment, so that all that is said of one stands in one partition, in order.
//!
//! librdkafka writes a message again until all replicas have it, and each only once. After a restart, and
//! after a client failed and another one took its place, those come twice that were under way: at most a
//! page. Their `seq` tells them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use super::{
    backoff::Backoff,
    memory::Memory,
    topic_pages::{Page, Told, is_of, page},
};
use crate::{
    ledger::{Entry, Head, LedgerError},
    plan::VerdictTopicPlan,
    serve::{Feed, Shown, SinkCounters, Undelivered},
    source::kafka,
};

/// How often it is looked for what is new, beside when something stands otherwise.
const LOOK: Duration = Duration::from_secs(1);
/// How long the brokers may take before it is said that they do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what is under way may take when the engine stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// A topic, and how far it was told.
pub(super) struct VerdictTopic {
    pub plan: VerdictTopicPlan,
    pub memory: Memory,
    pub feed: Feed,
    pub counters: Arc<SinkCounters>,
    pub stopping: watch::Receiver<bool>,
}

/// How telling a page ended.
enum Ending {
    Whole,
    /// Nothing was to be told.
    Nothing,
    /// It is to be tried again.
    Failed(String),
    /// The engine stops.
    Stopped,
}

type Report = Result<(), ClientError>;
type Producer = ThreadedProducer<Reports>;

/// A client, once there is one. Its end waits for its thread, and for what is under way: that is left to a
/// thread that may wait.
#[derive(Default)]
struct Client(Option<Producer>);

impl Client {
    fn discard(&mut self) {
        let Some(producer) = self.0.take() else {
            return;
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(producer))),
            Err(_) => drop(producer),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.discard();
    }
}

/// What librdkafka calls back.
#[derive(Debug, Default)]
struct Reports {
    /// What was wrong last.
    problem: Mutex<Option<String>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }

    fn error(&self, _: ClientError, reason: &str) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Report>>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let outcome = match delivery {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever wanted to know may have gone.
        drop(report.send(outcome));
    }
}

impl VerdictTopic {
    /// Tells the topic until the engine stops.
    pub(super) async fn run(mut self) {
        let Some(mut told) = self.begin().await else {
            return;
        };
        let mut backoff = Backoff::default();
        let mut client = Client::default();
        // The end of the history when nothing was left to tell.
        let mut looked_at = None;
        loop {
            let end = self.feed.history_end();
            if looked_at == Some(end.seq) {
                if self.wait_for_news().await {
                    return;
                }
                continue;
            }
            let ending = match self.next(told.seq).await {
                Ok(page) => self.take(&mut client, page, &end, &mut told).await,
                Err(problem) => Ending::Failed(problem),
            };
            match ending {
                Ending::Whole => {
                    if backoff.failures() > 0 {
                        info!(sink = self.plan.name, "the sink takes notifications again");
                    }
                    backoff.reset();
                }
                Ending::Nothing => looked_at = Some(end.seq),
                Ending::Stopped => return,
                Ending::Failed(problem) => {
                    // A client that failed for good never recovers.
                    client.discard();
                    self.counters.failed();
                    let pause = backoff.after_failure(None);
                    self.complain(&problem, backoff.failures());
                    if self.pause(pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tells a page, and remembers how far the topic was told. `end`: that of the history before the page
    /// was read.
    async fn take(
        &mut self,
        client: &mut Client,
        page: Page,
        end: &Head,
        told: &mut Told,
    ) -> Ending {
        let before = told.seq;
        if let Some(removed) = &page.removed {
            self.tell_removed(told, removed);
            *told = Told::of(removed);
        }
        let ending = if page.records.is_empty() {
            self.counters.waiting(0);
            told.pass(end);
            Ending::Nothing
        } else {
            self.tell(client, (&page.records, page.waiting), told).await
        };
        if told.seq != before
            && let Err(problem) = self.save(told).await
        {
            warn!(
                sink = self.plan.name,
                problem,
                "what the sink was told cannot be remembered: after a restart it may be told again"
            );
        }
        ending
    }

    /// How far the topic was told; one that is new is told from now on. `None`: the engine stops.
    async fn begin(&mut self) -> Option<Told> {
        let end = self.feed.history_end();
        let memory = self.memory.clone();
        let read = spawn_blocking(move || memory.read()).await;
        let read = match read {
            Ok(Ok(None)) => return self.begin_at(Told::of(&end)).await,
            Ok(Ok(Some(told))) => {
                serde_json::from_value::<Told>(told).map_err(|error| error.to_string())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(told) => self.go_on(told).await,
            Err(problem) => {
                let sink = &self.plan.name;
                warn!(
                    sink,
                    problem, "what the sink was told is forgotten: it is told the whole history"
                );
                Some(Told::default())
            }
        }
    }

    /// Remembers where a new topic begins, before it is told anything: a restart would begin later, and
    /// leave out what came between. `None`: the engine stops.
    async fn begin_at(&mut self, told: Told) -> Option<Told> {
        let mut failed = false;
        while let Err(problem) = self.save(&told).await {
            self.counters.failed();
            if !failed {
                warn!(
                    sink = self.plan.name,
                    problem,
                    "where a new sink begins cannot be remembered: it is told nothing until it can"
                );
            }
            failed = true;
            if self.pause(PATIENCE).await {
                return None;
            }
        }
        Some(told)
    }

    /// Where a topic goes on that was told so far: if the history is another one, at its beginning. `None`:
    /// the engine stops.
    async fn go_on(&mut self, told: Told) -> Option<Told> {
        // Until the journal is read the history may lack what it had.
        while matches!(self.feed.shown(), Shown::Recovering) || !self.feed.is_written() {
            if self.wait_for_news().await {
                return None;
            }
        }
        loop {
            let (history, known, end) =
                (self.feed.history(), told.clone(), self.feed.history_end());
            let asked = spawn_blocking(move || is_of(&history, &known, &end)).await;
            match asked
                .map_err(|error| error.to_string())
                .and_then(|is| is.map_err(|error| told_of(&error)))
            {
                Ok(true) => return Some(told),
                Ok(false) => {
                    let sink = &self.plan.name;
                    warn!(
                        sink,
                        "the history is another one than the sink was told: it is told all of it"
                    );
                    return Some(Told::default());
                }
                Err(problem) => {
                    self.complain(&problem, 1);
                    if self.pause(PATIENCE).await {
                        return None;
                    }
                }
            }
        }
    }

    /// What is to be told behind a record.
    async fn next(&self, seq: u64) -> Result<Page, String> {
        let history = self.feed.history();
        let read = spawn_blocking(move || page(&history, seq)).await;
        read.map_err(|error| error.to_string())?
            .map_err(|error| told_of(&error))
    }

    /// Tells a page. `told` follows what the topic has for sure.
    async fn tell(
        &mut self,
        client: &mut Client,
        (records, mut waiting): (&[Entry], u64),
        told: &mut Told,
    ) -> Ending {
        self.counters
            .waiting(usize::try_from(waiting).unwrap_or(usize::MAX));
        let producer = match &mut client.0 {
            Some(producer) => &*producer,
            none @ None => match self.producer() {
                Ok(created) => &*none.insert(created),
                Err(problem) => return Ending::Failed(problem),
            },
        };
        let mut reports = self.send(producer, records);
        let mut stop_at = None;
        for record in records {
            let Some(report) = reports.pop_front() else {
                return Ending::Failed("the client takes no more".to_owned());
            };
            let report = match report {
                Ok(report) => match self.report(producer, report, &mut stop_at).await {
                    Some(report) => report,
                    None => return Ending::Stopped,
                },
                Err(error) => Err(error),
            };
            match report {
                Ok(()) => self.counters.sent(1),
                Err(error) if is_refused(&error) => {
                    let (sink, seq) = (&self.plan.name, record.seq);
                    warn!(sink, seq, %error, "the sink refuses a notification");
                    self.counters.dropped(1, Undelivered::Refused);
                }
                Err(error) => return Ending::Failed(error.to_string()),
            }
            *told = Told {
                seq: record.seq,
                hash: record.hash.clone(),
            };
            waiting = waiting.saturating_sub(1);
            self.counters
                .waiting(usize::try_from(waiting).unwrap_or(usize::MAX));
        }
        if stop_at.is_some() {
            Ending::Stopped
        } else {
            Ending::Whole
        }
    }

    /// Hands records to the client, in order; those behind one that it does not take are not tried.
    fn send(
        &self,
        producer: &Producer,
        records: &[Entry],
    ) -> VecDeque<Result<oneshot::Receiver<Report>, ClientError>> {
        let mut reports = VecDeque::with_capacity(records.len());
        for record in records {
            let text = serde_json::to_string(record).expect("a record has a form");
            let (sender, report) = oneshot::channel();
            let message = BaseRecord::with_opaque_to(&self.plan.topic, Box::new(sender))
                .key(&record.deployment)
                .payload(&text);
            match producer.send(message) {
                Ok(()) => reports.push_back(Ok(report)),
                Err((error, _)) => {
                    let goes_on = is_refused(&error);
                    reports.push_back(Err(error));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        reports
    }

    /// What became of a message. As long as nobody answers, it is waited and said. `None`: the engine stops,
    /// and it is not known.
    async fn report(
        &mut self,
        producer: &Producer,
        mut report: oneshot::Receiver<Report>,
        stop_at: &mut Option<Instant>,
    ) -> Option<Report> {
        let mut waits = 0_u32;
        loop {
            let until = stop_at.unwrap_or_else(|| Instant::now() + PATIENCE);
            let stopping = self.stopping.wait_for(|stopping| *stopping);
            tokio::select! {
                biased;
                answer = timeout_at(until, &mut report) => match answer {
                    Ok(answer) => return Some(answer.unwrap_or(Err(ClientError::Canceled))),
                    Err(_) if stop_at.is_some() => return None,
                    Err(_) => {}
                },
                _ = stopping, if stop_at.is_none() => {
                    *stop_at = Some(Instant::now() + STOP_PATIENCE);
                    continue;
                }
            }
            waits = waits.saturating_add(1);
            self.counters.failed();
            let problem = producer.context().problem.lock();
            let problem = problem.unwrap_or_else(PoisonError::into_inner).clone();
            let problem = problem.unwrap_or_else(|| "no broker has answered yet".to_owned());
            self.complain(&problem, waits);
        }
    }

    fn producer(&self) -> Result<Producer, String> {
        let config = kafka::producer(&self.plan).map_err(|error| error.to_string())?;
        let made = Producer::from_config_and_context(&config, Reports::default());
        made.map_err(|error| error.to_string())
    }

    /// Says that nothing is delivered: once for a stretch of failures, then ever more seldom.
    fn complain(&self, problem: &str, failures: u32) {
        if failures.is_power_of_two() {
            let sink = &self.plan.name;
            warn!(
                sink,
                problem, failures, "nothing is delivered to the sink: it is tried again"
            );
        }
    }

    /// Says that records are gone. It is not known of what kind they were, so that what is counted is the
    /// most that the topic can have missed.
    fn tell_removed(&self, told: &Told, removed: &Head) {
        let (from, until) = (told.seq, removed.seq);
        let count = until.saturating_sub(from);
        let sink = &self.plan.name;
        warn!(
            sink,
            from, until, "the history was removed before the sink could be told of it"
        );
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.counters.dropped(count, Undelivered::Superseded);
    }

    /// Waits for something new. Says whether the engine stops.
    async fn wait_for_news(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => true,
            () = self.feed.changed() => false,
            () = sleep(LOOK) => false,
        }
    }

    /// Waits so long. Says whether the engine stops.
    async fn pause(&mut self, time: Duration) -> bool {
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => true,
            () = sleep(time) => false,
        }
    }

    async fn save(&self, told: &Told) -> Result<(), String> {
        let memory = self.memory.clone();
        let told = serde_json::to_value(told).expect("a position has a form");
        match spawn_blocking(move || memory.write(told)).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Whether a message will never be taken, whatever is tried. A batch holds one message, so that the answer is
/// about this one.
fn is_refused(error: &ClientError) -> bool {
    use RDKafkaErrorCode::{InvalidRecord, MessageSizeTooLarge, PolicyViolation};
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| [InvalidRecord, MessageSizeTooLarge, PolicyViolation].contains(&code))
}

fn told_of(error: &LedgerError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}
