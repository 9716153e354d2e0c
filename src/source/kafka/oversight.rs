//! What the polling thread does about surveys: new partitions, losses, stalls, sight.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use rdkafka::{consumer::Consumer as _, error::KafkaResult};
use serde::Deserialize;
use tracing::warn;

use super::{
    Blindness, Event, Lost, Partition,
    client::{self, now},
    consumer::{Topic, Worker},
    partition::Finding,
    sight::Change,
    survey::{PartitionSurvey, Survey, TopicSurvey},
};
use crate::plan::TopicStart;

/// For how long a client that always has something in hand keeps a loss from being judged.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How much older than its interval a survey may be before the brokers count as silent.
const SURVEY_GRACE: Duration = Duration::from_secs(20);
/// By how much rebuilds that do not help slow down the next.
const VAIN_FACTOR_MAX: u32 = 10;

/// The few of librdkafka's statistics that say how far it has fetched.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: BTreeMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: BTreeMap<i32, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    /// Messages that were fetched and not yet polled, of all partitions.
    fetchq_cnt: i64,
    /// The offset that is fetched next.
    next_offset: i64,
    fetch_state: String,
}

impl Worker {
    /// Takes what the scout and the client have found out.
    pub(super) fn oversee(&mut self) {
        if let Some(statistics) = self.client.context().take_statistics() {
            self.heed_statistics(&statistics);
        }
        let survey = self.scout.take();
        if let Some(survey) = &survey {
            self.learn_ends(survey);
            self.survey = Some(survey.clone());
        }
        // Assignments are left alone while everything is paused.
        if self.is_paused {
            return;
        }
        if let Some(survey) = &survey {
            self.begin_partitions(survey);
            self.watch();
        }
        self.settle_reset();
    }

    fn heed_statistics(&mut self, json: &[u8]) {
        let statistics: Statistics = match serde_json::from_slice(json) {
            Ok(statistics) => statistics,
            Err(error) => {
                warn!(%error, "kafka client statistics cannot be read");
                return;
            }
        };
        for (topic, described) in statistics.topics {
            let Some(topic) = self.topics.get(topic.as_str()) else {
                continue;
            };
            for (number, partition) in described.partitions {
                let has_all = partition.fetchq_cnt == 0 && partition.fetch_state == "active";
                if let Some(index) = topic.indices.get(&number)
                    && has_all
                {
                    self.partitions[*index].fetched(partition.next_offset);
                }
            }
        }
    }

    /// Learns where partitions end.
    fn learn_ends(&mut self, survey: &Survey) {
        for (partition, offsets) in offsets(survey) {
            let index = self
                .topics
                .get(&partition.topic)
                .and_then(|topic| topic.indices.get(&partition.number));
            if let Some(index) = index {
                self.partitions[*index].mark(offsets.end, survey.began);
            }
        }
    }

    /// Begins with new partitions.
    fn begin_partitions(&mut self, survey: &Survey) {
        let mut begun = Vec::new();
        for (name, seen) in &survey.topics {
            let Some(topic) = self.topics.get_mut(name) else {
                continue;
            };
            match seen {
                TopicSurvey::Unreachable(_) => {}
                TopicSurvey::Absent(_) => {
                    // Whatever comes later was not there when we began.
                    topic.found_first.get_or_insert_default();
                }
                TopicSurvey::Seen(partitions) => {
                    begun.extend(new_partitions(name, topic, partitions, self.start));
                }
            }
        }
        let at = now();
        let mut indices = BTreeSet::new();
        for (partition, next) in begun {
            if let Some(index) = self.adopt(partition.clone(), next, at) {
                let event = Event::Began {
                    partition,
                    at: next,
                };
                self.hand_over.say(index, event);
                indices.insert(index);
            }
        }
        let assigned = self.assign(&indices);
        self.or_rebuild(assigned);
    }

    fn assign(&self, indices: &BTreeSet<usize>) -> KafkaResult<()> {
        if indices.is_empty() {
            return Ok(());
        }
        let list = self.list(indices)?;
        self.client.incremental_assign(&list)
    }

    fn list(&self, indices: &BTreeSet<usize>) -> KafkaResult<rdkafka::TopicPartitionList> {
        let positions = indices.iter().map(|index| {
            let progress = &self.partitions[*index];
            (&progress.partition, progress.next)
        });
        client::list(positions)
    }

    /// Finds out which positions the brokers no longer have, after the client said that one is not
    /// there. It does not say which, so a survey has to; and only one from after, when everything that
    /// was fetched before is taken.
    fn settle_reset(&mut self) {
        let (Some(reset_at), Some(survey)) = (self.reset_at, &self.survey) else {
            return;
        };
        let is_drained = self.drained_at > survey.began || survey.began.elapsed() > DRAIN_PATIENCE;
        if survey.began <= reset_at || !is_drained {
            return;
        }
        let asked_at = survey.began;
        let offsets = offsets(survey);
        let mut lost = BTreeSet::new();
        let mut is_suspected = false;
        for index in 0..self.partitions.len() {
            let progress = &mut self.partitions[index];
            let Some(there) = offsets.get(&progress.partition) else {
                continue;
            };
            match progress.judge(there, asked_at) {
                Finding::InRange => {}
                Finding::Suspected => is_suspected = true,
                Finding::Lost { until, reason } => {
                    self.lose(index, until, reason);
                    lost.insert(index);
                }
            }
        }
        if is_suspected {
            self.reset_at = Some(asked_at);
            self.survey = None;
            self.scout.nudge();
        } else {
            self.reset_at = None;
        }
        if !lost.is_empty() {
            let moved = self
                .list(&lost)
                .and_then(|list| self.client.incremental_unassign(&list))
                .and_then(|()| self.assign(&lost));
            self.or_rebuild(moved);
        } else if !is_suspected {
            // Some partition has stopped although its position is there.
            self.rebuild("a position was refused");
        }
    }

    fn lose(&mut self, index: usize, until: i64, reason: super::LostReason) {
        let progress = &mut self.partitions[index];
        let partition = progress.partition.clone();
        let from = progress.next;
        let before = progress.lost;
        progress.jump(until, now());
        let count = progress.lost - before;
        warn!(%partition, from, until, reason = reason.name(), "kafka offsets are lost");
        if let Some(topic) = self.topics.get_mut(&partition.topic) {
            *topic.status.lost.entry(reason).or_default() += count;
        }
        let event = Event::Lost(Lost {
            partition,
            from,
            until,
            reason,
        });
        self.hand_over.say(index, event);
    }

    /// Rebuilds the client if a partition gives nothing although there is more.
    fn watch(&mut self) {
        let Some(survey) = &self.survey else { return };
        let factor = (1 << self.rebuilds_in_vain.min(4)).min(VAIN_FACTOR_MAX);
        let patience = self.pace.stall * factor;
        let at = now();
        let offsets = offsets(survey);
        let is_outside = self.partitions.iter().any(|progress| {
            let there = offsets.get(&progress.partition);
            there.is_some_and(|there| progress.is_outside(there, at, self.pace.stall))
        });
        if is_outside && self.reset_at.is_none() {
            // The client should have said so itself.
            self.reset_at = Some(at);
            self.scout.nudge();
        }
        let is_stalled = self
            .partitions
            .iter_mut()
            .filter(|progress| offsets.contains_key(&progress.partition))
            .any(|progress| progress.is_stalled(at, self.pace.stall));
        if !is_stalled {
            self.rebuilds_in_vain = 0;
            return;
        }
        let is_patient =
            self.rebuilt_at.elapsed() < patience || self.resumed_at.elapsed() < self.pace.stall;
        if !is_patient && self.reset_at.is_none() {
            self.rebuilds_in_vain += 1;
            self.rebuild("a partition gave nothing although there is more");
        }
    }

    /// Judges for each topic whether it is seen, and says what has changed.
    pub(super) fn look(&mut self) {
        let at = now();
        let grace = self.pace.survey + SURVEY_GRACE;
        let mut changes = Vec::new();
        for (name, topic) in &mut self.topics {
            let seen = self.survey.as_ref().and_then(|survey| {
                (at.saturating_duration_since(survey.began) < grace)
                    .then(|| survey.topics.get(name))
                    .flatten()
            });
            let mut trouble = trouble(topic, seen);
            if trouble.is_none() {
                let behind = topic.indices.iter().map(|(number, index)| {
                    let by = self.partitions[*index].behind(at);
                    (by, std::cmp::Reverse(*number))
                });
                trouble = behind
                    .max()
                    .filter(|(by, _)| *by >= self.pace.blind_after)
                    .map(|(by, number)| Blindness::Behind {
                        partition: number.0,
                        by,
                    });
            }
            if let Some(change) = topic.sight.look(trouble, at, self.pace.blind_after) {
                changes.push((Arc::clone(name), change));
            }
        }
        for (topic, change) in changes {
            self.hand_over.seal_all();
            self.hand_over.announce(match change {
                Change::Up => Event::Up { topic },
                Change::Down(reason) => {
                    warn!(%topic, %reason, "kafka topic is not seen");
                    Event::Down { topic, reason }
                }
            });
        }
    }
}

/// What a survey has against a topic.
fn trouble(topic: &Topic, seen: Option<&TopicSurvey>) -> Option<Blindness> {
    match seen {
        None => Some(Blindness::Unreachable {
            detail: "they have not answered yet".to_owned(),
        }),
        Some(TopicSurvey::Unreachable(detail)) => Some(Blindness::Unreachable {
            detail: detail.clone(),
        }),
        Some(TopicSurvey::Absent(detail)) => Some(Blindness::NoTopic {
            detail: detail.clone(),
        }),
        Some(TopicSurvey::Seen(partitions)) => {
            let without_leader = partitions
                .iter()
                .find(|(_, partition)| !partition.has_leader)
                .map(|(number, _)| *number);
            let gone = topic
                .indices
                .keys()
                .find(|number| !partitions.contains_key(number))
                .copied();
            let unread = partitions
                .keys()
                .find(|number| !topic.indices.contains_key(number))
                .copied();
            let partition = without_leader.or(gone).or(unread)?;
            Some(Blindness::Leaderless { partition })
        }
    }
}

/// The partitions of a topic that are not read yet and can be, and where they begin.
fn new_partitions(
    name: &Arc<str>,
    topic: &mut Topic,
    partitions: &BTreeMap<i32, PartitionSurvey>,
    start: TopicStart,
) -> Vec<(Partition, i64)> {
    // A topic with positions was read before: what it has beside them came later.
    let is_fresh = topic.indices.is_empty();
    let found_first = topic.found_first.get_or_insert_with(|| {
        let numbers = partitions.keys().copied();
        numbers.filter(|_| is_fresh).collect()
    });
    let mut begun = Vec::new();
    for (number, partition) in partitions {
        let Some(offsets) = &partition.offsets else {
            continue;
        };
        if topic.indices.contains_key(number) {
            continue;
        }
        let next = match start {
            TopicStart::Latest if found_first.contains(number) => offsets.end,
            TopicStart::Latest | TopicStart::Earliest => offsets.start,
        };
        let partition = Partition {
            topic: Arc::clone(name),
            number: *number,
        };
        begun.push((partition, next));
    }
    begun
}

/// The offsets of all partitions that told them.
fn offsets(survey: &Survey) -> BTreeMap<Partition, Range<i64>> {
    let mut found = BTreeMap::new();
    for (topic, seen) in &survey.topics {
        let TopicSurvey::Seen(partitions) = seen else {
            continue;
        };
        for (number, partition) in partitions {
            if let Some(offsets) = &partition.offsets {
                let partition = Partition {
                    topic: Arc::clone(topic),
                    number: *number,
                };
                found.insert(partition, offsets.clone());
            }
        }
    }
    found
}
