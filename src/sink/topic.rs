//! Writes every change of a verdict to a topic of Kafka, in the order of the history.
//!
//! The history is the queue: it is durable, ordered and bounded by its own retention, so that a topic that
//! is away for days misses nothing and takes no memory. What is remembered is only how far the topic was
//! told. Each message is a record of the history as `sluice history --output json` prints it; its key is
//! the deployment, so that all that is said of one gate stands in one partition, in order.
//!
//! librdkafka writes a message again until all replicas have it, and each only once. After a restart those
//! come twice that were under way: at most a page.

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
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};
use tracing::{info, warn};

use super::{backoff::Backoff, memory::Memory};
use crate::{
    ledger::{Entry, Filter, Head, History, Kind, LedgerError},
    plan::VerdictTopicPlan,
    serve::{Feed, Shown, SinkCounters, Undelivered},
    source::kafka,
};

/// Most records that are under way at once.
const PAGE: usize = 100;
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

/// The last record that the topic has, or need not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    seq: u64,
    /// Tells whether the history is still the same.
    hash: String,
}

/// What is to be told next.
#[derive(Debug)]
struct Page {
    records: Vec<Entry>,
    /// Changes of verdicts that wait, those of the page too.
    waiting: u64,
    /// Records that retention removed before they could be told.
    removed: Option<Head>,
}

/// How telling a page ended.
enum Ending {
    Whole,
    /// It is to be tried again.
    Failed(String),
    /// The engine stops.
    Stopped,
}

type Report = Result<(), ClientError>;
type Producer = ThreadedProducer<Reports>;

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
        let mut producer = None;
        // The end of the history when nothing was left to tell.
        let mut looked_at = None;
        loop {
            let end = self.feed.history_end().seq;
            let page = if looked_at == Some(end) {
                Ok(None)
            } else {
                self.next(told.seq).await.map(Some)
            };
            let ending = match page {
                Ok(None) => {
                    if self.wait_for_news().await {
                        return;
                    }
                    continue;
                }
                Ok(Some(page)) => {
                    if let Some(removed) = page.removed {
                        self.tell_removed(&told, &removed);
                        told = Told::of(&removed);
                    }
                    if page.records.is_empty() {
                        looked_at = Some(end);
                        self.counters.waiting(0);
                        continue;
                    }
                    let before = told.seq;
                    let waiting = (&page.records[..], page.waiting);
                    let ending = self.tell(&mut producer, waiting, &mut told).await;
                    if told.seq != before {
                        self.save(&told).await;
                    }
                    ending
                }
                Err(problem) => Ending::Failed(problem),
            };
            match ending {
                Ending::Whole => {
                    if backoff.failures() > 0 {
                        info!(sink = self.plan.name, "the sink takes notifications again");
                    }
                    backoff.reset();
                }
                Ending::Stopped => {
                    discard(producer);
                    return;
                }
                Ending::Failed(problem) => {
                    // A client that failed for good never recovers.
                    discard(producer.take());
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

    /// How far the topic was told; one that is new is told from now on. `None`: the engine stops.
    async fn begin(&mut self) -> Option<Told> {
        let end = self.feed.history_end();
        let memory = self.memory.clone();
        let read = spawn_blocking(move || memory.read()).await;
        let read = match read {
            Ok(Ok(None)) => {
                let told = Told::of(&end);
                self.save(&told).await;
                return Some(told);
            }
            Ok(Ok(Some(told))) => {
                serde_json::from_value::<Told>(told).map_err(|error| error.to_string())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let told = match read {
            Ok(told) => told,
            Err(problem) => {
                let sink = &self.plan.name;
                warn!(
                    sink,
                    problem, "what the sink was told is forgotten: it is told the whole history"
                );
                return Some(Told::default());
            }
        };
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
        producer: &mut Option<Producer>,
        (records, mut waiting): (&[Entry], u64),
        told: &mut Told,
    ) -> Ending {
        self.counters
            .waiting(usize::try_from(waiting).unwrap_or(usize::MAX));
        let producer = match producer {
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

    async fn save(&self, told: &Told) {
        let memory = self.memory.clone();
        let told = serde_json::to_value(told).expect("a position has a form");
        let problem = match spawn_blocking(move || memory.write(told)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        warn!(
            sink = self.plan.name,
            problem,
            "what the sink was told cannot be remembered: after a restart it may be told again"
        );
    }
}

impl Told {
    fn of(head: &Head) -> Self {
        Self {
            seq: head.seq,
            hash: head.hash.clone(),
        }
    }
}

/// Whether it is the history that a topic was told so far.
fn is_of(history: &History, told: &Told, end: &Head) -> Result<bool, LedgerError> {
    if told.seq == 0 || (told.seq == end.seq && told.hash == end.hash) {
        return Ok(true);
    }
    if end.seq < told.seq {
        return Ok(false);
    }
    let page = history.records(&Filter::all(), told.seq, 1)?;
    Ok(match page.records.first() {
        Some(record) if record.seq == told.seq => record.hash == told.hash,
        // Retention has removed it.
        Some(_) | None => told.seq <= history.pruned()?.seq,
    })
}

/// Reads what is to be told behind a record.
fn page(history: &History, seq: u64) -> Result<Page, LedgerError> {
    let pruned = history.pruned()?;
    let removed = (seq < pruned.seq).then_some(pruned);
    let from = removed.as_ref().map_or(seq, |removed| removed.seq);
    let verdicts = Filter {
        kind: Some(Kind::Verdict),
        ..Filter::all()
    };
    let page = history.records(&verdicts, from + 1, PAGE)?;
    let waiting = match page.next {
        Some(_) => history.count_behind(Kind::Verdict, from)?,
        None => page.records.len() as u64,
    };
    Ok(Page {
        records: page.records,
        waiting,
        removed,
    })
}

/// Whether a message will never be taken, whatever is tried.
fn is_refused(error: &ClientError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Ends a client on a thread that may wait for it.
fn discard(producer: Option<Producer>) {
    if let Some(producer) = producer {
        drop(spawn_blocking(move || drop(producer)));
    }
}

fn told_of(error: &LedgerError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Span, Timestamp},
        ledger::{FILE, Ledger, Record},
    };

    fn record(number: i64, kind: Kind) -> Record {
        Record {
            kind,
            at: Timestamp::from_seconds(number),
            deployment: "d1".to_owned(),
            service: "shop".to_owned(),
            stage: "prod".to_owned(),
            region: String::new(),
            version: "v2".to_owned(),
            verdict: None,
            is_privileged: false,
            key: number.to_string(),
            body: "{}".to_owned(),
        }
    }

    /// A ledger with changes of verdicts at odd seconds.
    fn ledger(folder: &std::path::Path, seconds: std::ops::Range<i64>) -> (Ledger, History) {
        let mut ledger = Ledger::open(folder, Span::from_seconds(100)).unwrap();
        let kind = |number| [Kind::Step, Kind::Verdict][usize::from(number % 2 == 1)];
        let records: Vec<Record> = seconds.map(|number| record(number, kind(number))).collect();
        ledger.append(records.iter()).unwrap();
        (ledger, History::at(folder.join(FILE)))
    }

    #[test]
    fn a_page_holds_what_stands_behind_and_says_what_waits_and_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (mut ledger, history) = ledger(folder.path(), 0..1_000);
        let first = page(&history, 0).unwrap();
        assert_eq!((first.records.len(), first.waiting), (PAGE, 500));
        assert!(
            first
                .records
                .iter()
                .all(|entry| entry.kind == Kind::Verdict)
        );
        let last = first.records.last().unwrap().seq;
        let second = page(&history, last).unwrap();
        assert_eq!((second.records[0].seq, second.waiting), (last + 2, 400));
        let end = page(&history, 1_000).unwrap();
        assert_eq!((end.records.len(), end.waiting, end.removed), (0, 0, None));
        ledger.prune(Timestamp::from_seconds(700)).unwrap();
        let pruned = history.pruned().unwrap();
        assert!(100 < pruned.seq, "{pruned:?}");
        let gap = page(&history, last).unwrap();
        assert!(pruned.seq < gap.records[0].seq);
        assert_eq!(gap.removed, Some(pruned.clone()));
        assert_eq!(page(&history, pruned.seq).unwrap().removed, None);
    }

    #[test]
    fn another_history_is_told_from_its_beginning() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (mut one, history) = ledger(folders[0].path(), 0..500);
        let (other, _) = ledger(folders[1].path(), 7..400);
        let at = |seq| {
            let page = history.records(&Filter::all(), seq, 1).unwrap();
            let hash = page.records[0].hash.clone();
            Told { seq, hash }
        };
        let is_same = |told: &Told, end: &Head| is_of(&history, told, end).unwrap();
        let (early, late) = (at(3), at(450));
        for told in [&early, &late, &Told::of(one.head()), &Told::default()] {
            assert!(is_same(told, one.head()), "{told:?}");
        }
        for told in [
            Told::of(other.head()),
            Told {
                hash: late.hash.clone(),
                ..early.clone()
            },
            Told {
                seq: 501,
                ..late.clone()
            },
        ] {
            assert!(!is_same(&told, one.head()), "{told:?}");
        }
        // What retention has removed may have been told.
        one.prune(Timestamp::from_seconds(300)).unwrap();
        assert!(is_same(&early, one.head()));
    }
}
