//! A range again, for recovery.
//!
//! A recovery asks for range after range of each partition, in the order in which they were taken.
//! So a range that continues the one before is usually fetched already when it is asked for.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig, Message as _,
    consumer::Consumer as _,
    error::{KafkaError as ClientError, KafkaResult},
};

use super::{
    Chunk, KafkaError, Lost, LostReason, Message, Partition,
    client::{self, Client, now},
    consumer::written_at,
    survey,
};
use crate::plan::KafkaPlan;

/// Most bytes of a partition that are kept until they are asked for.
const AHEAD_BYTES: usize = 1 << 20;
const POLL: Duration = Duration::from_millis(100);
/// How long nothing may come before the brokers are asked whether the range is there.
const QUIET: Duration = Duration::from_secs(2);

/// A part of a range that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// It is still there.
    Chunk(Chunk),
    /// It is not.
    Lost(Lost),
}

/// Reads ranges again.
pub struct Rereader {
    config: ClientConfig,
    /// A client for each topic: one that reaches the end of a partition does not say of which topic.
    topics: BTreeMap<Arc<str>, Topic>,
}

struct Topic {
    client: Client,
    lanes: BTreeMap<i32, Lane>,
}

/// What is fetched of a partition.
#[derive(Debug)]
struct Lane {
    /// The offset that the buffer begins with.
    from: i64,
    /// The offset after what was fetched.
    next: i64,
    buffer: VecDeque<Message>,
    buffer_bytes: usize,
    is_paused: bool,
    /// Whether the client has come to the end of the partition.
    at_end: bool,
}

impl Rereader {
    /// Gets ready; nothing is connected to yet.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(plan: &KafkaPlan) -> Result<Self, KafkaError> {
        let mut config = client::configuration(plan)?;
        config.set("enable.partition.eof", "true");
        // What is ahead is thrown away with a pause, so little is fetched ahead.
        config.set("queued.max.messages.kbytes", "8192");
        Ok(Self {
            config,
            topics: BTreeMap::new(),
        })
    }

    /// Reads exactly these offsets of a partition, in order: what is there as chunks, what is not as
    /// losses. Offsets that hold no message are in neither.
    ///
    /// # Errors
    /// Nothing came for `patience`, and the brokers do not say why: the range may be asked for again.
    pub fn read(
        &mut self,
        partition: &Partition,
        offsets: Range<i64>,
        patience: Duration,
    ) -> Result<Vec<Piece>, KafkaError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let topic = self.topic(&partition.topic)?;
        topic.aim(partition, offsets.start).map_err(unreachable)?;
        let mut pieces = Vec::new();
        let mut from = offsets.start;
        let mut moved_at = now();
        let mut asked_at = moved_at;
        loop {
            let lane = topic.lane(partition.number);
            if lane.next >= offsets.end {
                break;
            }
            let before = lane.next;
            let is_reset = topic.fetch(partition).map_err(unreachable)?;
            let lane = topic.lane(partition.number);
            if lane.next > before {
                moved_at = now();
                continue;
            }
            let is_due = is_reset || lane.at_end || asked_at.elapsed() >= QUIET;
            if !is_due {
                continue;
            }
            asked_at = now();
            match topic.ask(partition, &offsets) {
                Ok(Answer::Nothing) => break,
                Ok(Answer::Lost { until, reason }) => {
                    let lane = topic.lane(partition.number);
                    let lost_from = lane.next;
                    pieces.extend(lane.chunk(partition, from, lost_from));
                    pieces.push(Piece::Lost(Lost {
                        partition: partition.clone(),
                        from: lost_from,
                        until,
                        reason,
                    }));
                    from = until;
                    if until >= offsets.end {
                        topic.leave(partition);
                        return Ok(pieces);
                    }
                    topic.aim(partition, until).map_err(unreachable)?;
                    moved_at = now();
                }
                Err(error) if moved_at.elapsed() >= patience => return Err(unreachable(error)),
                Ok(Answer::Wait) | Err(_) => {}
            }
            if moved_at.elapsed() >= patience {
                return Err(KafkaError::Unreachable {
                    detail: format!("{partition} gives nothing at offset {before}"),
                });
            }
        }
        pieces.extend(
            topic
                .lane(partition.number)
                .chunk(partition, from, offsets.end),
        );
        Ok(pieces)
    }

    fn topic(&mut self, name: &Arc<str>) -> Result<&mut Topic, KafkaError> {
        if !self.topics.contains_key(name) {
            let topic = Topic {
                client: client::create(&self.config)?,
                lanes: BTreeMap::new(),
            };
            self.topics.insert(Arc::clone(name), topic);
        }
        Ok(self.topics.get_mut(name).expect("the topic is in the map"))
    }
}

impl Drop for Rereader {
    fn drop(&mut self) {
        for (_, topic) in std::mem::take(&mut self.topics) {
            client::close(topic.client, true);
        }
    }
}

impl fmt::Debug for Rereader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rereader")
            .field("topics", &self.topics.keys())
            .finish_non_exhaustive()
    }
}

/// What the brokers say about offsets that do not come.
enum Answer {
    /// They should come.
    Wait,
    /// The rest of the range holds no message.
    Nothing,
    /// They are gone.
    Lost { until: i64, reason: LostReason },
}

impl Topic {
    fn lane(&mut self, number: i32) -> &mut Lane {
        self.lanes
            .get_mut(&number)
            .expect("a partition that is read has a lane")
    }

    /// Makes the lane of a partition begin at an offset, unless it does.
    fn aim(&mut self, partition: &Partition, offset: i64) -> KafkaResult<()> {
        if self
            .lanes
            .get(&partition.number)
            .is_some_and(|lane| lane.from == offset)
        {
            return Ok(());
        }
        let list = client::list([(partition, offset)])?;
        if self.lanes.remove(&partition.number).is_some() {
            self.client.incremental_unassign(&list)?;
        }
        self.client.incremental_assign(&list)?;
        self.lanes.insert(partition.number, Lane::new(offset));
        Ok(())
    }

    /// Stops reading a partition.
    fn leave(&mut self, partition: &Partition) {
        if self.lanes.remove(&partition.number).is_some()
            && let Ok(list) = client::list([(partition, 0)])
        {
            // At worst the client goes on to fetch what nobody asks for.
            drop(self.client.incremental_unassign(&list));
        }
    }

    /// Takes what comes next of any partition. Whether some position was not there.
    fn fetch(&mut self, wanted: &Partition) -> KafkaResult<bool> {
        let lane = self.lane(wanted.number);
        if lane.is_paused {
            lane.is_paused = false;
            let list = client::list([(wanted, 0)])?;
            self.client.resume(&list)?;
        }
        let message = match self.client.poll(POLL) {
            None => return Ok(false),
            Some(Err(ClientError::PartitionEOF(number))) => {
                if let Some(lane) = self.lanes.get_mut(&number) {
                    lane.at_end = true;
                }
                return Ok(false);
            }
            Some(Err(error)) => {
                return Ok(error.rdkafka_error_code().is_some_and(client::is_reset));
            }
            Some(Ok(message)) => message,
        };
        let number = message.partition();
        let Some(lane) = self.lanes.get_mut(&number) else {
            return Ok(false);
        };
        if message.offset() < lane.next {
            return Ok(false);
        }
        lane.push(Message {
            offset: message.offset(),
            timestamp: written_at(&message),
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
        });
        if lane.buffer_bytes > AHEAD_BYTES && number != wanted.number && !lane.is_paused {
            lane.is_paused = true;
            let ahead = Partition {
                topic: Arc::clone(&wanted.topic),
                number,
            };
            let list = client::list([(&ahead, 0)])?;
            self.client.pause(&list)?;
        }
        Ok(false)
    }

    /// Asks the brokers about offsets that do not come.
    fn ask(&mut self, partition: &Partition, wanted: &Range<i64>) -> Result<Answer, ClientError> {
        let there = survey::offsets(&self.client, &partition.topic, partition.number)?;
        let lane = self.lane(partition.number);
        if lane.next < there.start {
            return Ok(Answer::Lost {
                until: there.start.min(wanted.end),
                reason: LostReason::Removed,
            });
        }
        if there.end < wanted.end {
            return Ok(Answer::Lost {
                until: wanted.end,
                reason: LostReason::WentBack,
            });
        }
        Ok(if lane.at_end {
            Answer::Nothing
        } else {
            Answer::Wait
        })
    }
}

impl Lane {
    fn new(from: i64) -> Self {
        Self {
            from,
            next: from,
            buffer: VecDeque::new(),
            buffer_bytes: 0,
            is_paused: false,
            at_end: false,
        }
    }

    fn push(&mut self, message: Message) {
        self.next = message.offset + 1;
        self.at_end = false;
        self.buffer_bytes += message.payload.len();
        self.buffer.push_back(message);
    }

    /// Takes what lies before an offset; the lane begins there then.
    fn chunk(&mut self, partition: &Partition, from: i64, until: i64) -> Option<Piece> {
        let mut messages = Vec::new();
        while let Some(message) = self.buffer.pop_front_if(|message| message.offset < until) {
            self.buffer_bytes -= message.payload.len();
            messages.push(message);
        }
        self.from = until;
        self.next = self.next.max(until);
        let chunk = Chunk {
            partition: partition.clone(),
            offsets: from..until,
            messages,
        };
        (!chunk.messages.is_empty()).then_some(Piece::Chunk(chunk))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn unreachable(error: ClientError) -> KafkaError {
    KafkaError::Unreachable {
        detail: survey::words(&error),
    }
}
