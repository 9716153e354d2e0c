//! A cluster in another process, a producer, and a consumer whose events are awaited with a deadline.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write, stdin, stdout},
    ops::Range,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use sluice::{
    event::Span,
    plan::{KafkaPlan, TopicFormat, TopicStart},
    source::kafka::{Consumer, Event, Pace, Partition, Positions, Settings},
};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

use super::mock;

/// Nothing that a test waits for takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The time of a steady clock, for deadlines.
#[expect(clippy::disallowed_methods, reason = "a deadline needs a clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Says to a copy of this test program that it is to be the cluster.
const ROLE: &str = "SLUICE_TEST_MOCK_CLUSTER";

/// Not a test of its own: the other tests start this program again with only this one in it.
#[test]
fn mock_cluster_process() {
    if std::env::var_os(ROLE).is_some() {
        mock::run(1, stdin().lock(), stdout()).unwrap();
    }
}

/// A mock cluster of one broker in another process; it ends with this value.
pub(crate) struct Cluster {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::mock_cluster_process", "--nocapture"])
            .env(ROLE, "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut cluster = Self {
            process,
            input,
            output,
            address: String::new(),
        };
        cluster.address = cluster.answer();
        assert!(
            cluster.address.starts_with("127.0.0.1:"),
            "{}",
            cluster.address
        );
        cluster
    }

    pub(crate) fn with_topic(topic: &str, partitions: i32) -> Self {
        let mut cluster = Self::new();
        cluster.tell(&format!("create {topic} {partitions}"));
        cluster
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
        assert_eq!(self.answer(), "ok", "{command}");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "the mock cluster has ended");
            if let Some(answer) = line.strip_prefix(mock::PREFIX) {
                return answer.trim().to_owned();
            }
        }
    }

    pub(crate) fn plan(&self, topics: &[&str], start: TopicStart) -> KafkaPlan {
        KafkaPlan {
            brokers: vec![self.address.clone()],
            topics: topics
                .iter()
                .map(|topic| ((*topic).to_owned(), TopicFormat::JsonSamples))
                .collect(),
            start,
            group: "sluice".to_owned(),
            blind_after: Span::from_seconds(2),
            tls: None,
            sasl: None,
            properties: BTreeMap::from([
                ("reconnect.backoff.max.ms".to_owned(), "200".to_owned()),
                ("socket.timeout.ms".to_owned(), "2000".to_owned()),
            ]),
        }
    }

    pub(crate) fn producer(&self) -> Log {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &self.address)
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "1048576")
            // Small batches: the broker removes whole ones.
            .set("batch.size", "65536")
            .create()
            .unwrap();
        Log { producer }
    }

    /// Reads everything of the topic from its first message.
    pub(crate) fn reader(&self, topics: &[&str]) -> Reader {
        Reader::start(
            self.plan(topics, TopicStart::Earliest),
            PACE,
            &Positions::new(),
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Fast, so that a test waits for little.
pub(crate) const PACE: Pace = Pace {
    survey: Duration::from_millis(200),
    blind_after: Duration::from_secs(2),
    stall: Duration::from_secs(2),
    patience: Duration::from_millis(200),
};

/// Writes to a topic.
pub(crate) struct Log {
    producer: BaseProducer,
}

impl Log {
    /// Writes messages that hold their own numbers, and waits until the broker has them.
    pub(crate) fn write(&self, topic: &str, partition: i32, numbers: Range<i64>) {
        let payloads = numbers.map(|number| number.to_string().into_bytes());
        self.send_all(topic, partition, payloads);
    }

    /// Writes messages, and waits until the broker has them.
    pub(crate) fn send_all(
        &self,
        topic: &str,
        partition: i32,
        payloads: impl Iterator<Item = Vec<u8>>,
    ) {
        for payload in payloads {
            self.send(topic, partition, &payload);
        }
        self.producer.flush(DEADLINE).unwrap();
    }

    pub(crate) fn write_large(&self, topic: &str, partition: i32, count: usize, bytes: usize) {
        let payloads = std::iter::repeat_n(vec![b'x'; bytes], count);
        self.send_all(topic, partition, payloads);
    }

    fn send(&self, topic: &str, partition: i32, payload: &[u8]) {
        let deadline = now() + DEADLINE;
        let mut record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(payload);
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    assert!(now() < deadline);
                    self.producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        self.producer.poll(Duration::ZERO);
    }
}

/// A consumer and what it has said, checked as it comes: the events of a partition must join.
pub(crate) struct Reader {
    pub(crate) consumer: Consumer,
    events: Receiver<Event>,
    /// Where the next range of each partition must begin.
    pub(crate) positions: Positions,
    /// Offsets and payloads taken, by partition.
    pub(crate) taken: BTreeMap<Partition, Vec<(i64, String)>>,
    /// Everything but chunks.
    pub(crate) said: Vec<Event>,
}

impl Reader {
    pub(crate) fn start(plan: KafkaPlan, pace: Pace, positions: &Positions) -> Self {
        let settings = Settings {
            plan: Arc::new(plan),
            pace,
        };
        let (consumer, events) = Consumer::start(&settings, positions).unwrap();
        Self {
            consumer,
            events,
            positions: positions.clone(),
            taken: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    /// Takes events until this holds.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = now() + DEADLINE;
        while !holds(self) {
            let left = deadline.saturating_duration_since(now());
            let Some(event) = receive(&mut self.events, left.min(Duration::from_millis(100)))
            else {
                assert!(
                    now() < deadline,
                    "{what}: not in time\npositions {:?}\nsaid {:?}\nstatus {:#?}",
                    self.positions,
                    self.said,
                    self.consumer.status(),
                );
                continue;
            };
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match &event {
            Event::Began { partition, at } => {
                let known = self.positions.insert(partition.clone(), *at);
                assert_eq!(known, None, "{partition} began twice");
            }
            Event::Chunk(chunk) => {
                let next = self
                    .positions
                    .insert(chunk.partition.clone(), chunk.offsets.end);
                assert_eq!(next, Some(chunk.offsets.start), "a gap before {chunk:?}");
                let taken = self.taken.entry(chunk.partition.clone()).or_default();
                let mut before = chunk.offsets.start - 1;
                for message in &chunk.messages {
                    assert!(before < message.offset && message.offset < chunk.offsets.end);
                    assert!(message.timestamp.is_some());
                    before = message.offset;
                    let text = String::from_utf8(message.payload.to_vec()).unwrap();
                    taken.push((message.offset, text));
                }
                return;
            }
            Event::Lost(lost) => {
                let next = self.positions.insert(lost.partition.clone(), lost.until);
                assert_eq!(next, Some(lost.from), "a gap before {lost:?}");
            }
            Event::Down { .. } | Event::Up { .. } => {}
        }
        self.said.push(event);
    }

    pub(crate) fn count(&self) -> usize {
        self.taken.values().map(Vec::len).sum()
    }

    pub(crate) fn until_count(&mut self, count: usize) {
        self.until(&format!("{count} messages"), |reader| {
            reader.count() >= count
        });
    }

    pub(crate) fn has_said(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.said.iter().any(wanted)
    }

    pub(crate) fn until_up(&mut self, topic: &str) {
        self.until("the topic is seen", |reader| {
            reader.said.iter().rev().find_map(|event| match event {
                Event::Up { topic: up } if &**up == topic => Some(true),
                Event::Down { topic: down, .. } if &**down == topic => Some(false),
                _ => None,
            }) == Some(true)
        });
    }
}

/// Receives an event with a deadline, on a thread that no runtime knows.
fn receive(events: &mut Receiver<Event>, patience: Duration) -> Option<Event> {
    match events.try_recv() {
        Ok(event) => return Some(event),
        Err(TryRecvError::Disconnected) => panic!("the consumer has ended"),
        Err(TryRecvError::Empty) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(patience, events.recv()).await })
        .ok()
        .flatten()
}

pub(crate) fn partition(topic: &str, number: i32) -> Partition {
    Partition {
        topic: topic.into(),
        number,
    }
}

/// What [`Log::write`] leaves in a partition: offsets that hold their own numbers.
pub(crate) fn numbers(offsets: Range<i64>) -> Vec<(i64, String)> {
    offsets.map(|number| (number, number.to_string())).collect()
}

/// Runs something on another thread and gives what it sends.
pub(crate) fn meanwhile<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()).ok());
    receiver
}
