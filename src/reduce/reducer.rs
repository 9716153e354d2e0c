//! The side of the reduction that ticks: what the shards have gathered → closed buckets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::event::{Batch, Interval, KeyHash, Labels, Raw, RawBatch, Span, Timestamp, canonical};

use super::{
    ClosedBucket, Directory, Epoch, Lookers, LossMark, LossReason, LossSource, Put, PutScratch,
    ReducerCounters, ReducerLimits, Select, SeriesId, SeriesPartial, Shards, StreamId,
    bucket::{Dropped, Gathered, Packed, Packing, Sample, Samples, Spare},
    ids::Ids,
    logs::{OpenLogs, Templates},
    metadata::Metadata,
    registry::Registry,
    selected::{Selected, hour},
    standing::{Limit, NewSeries, NewStream, Standing},
};

/// Turns samples and log records into partials of closed buckets.
///
/// Time comes only from the data and from the [`Epoch`]s. Between two ticks the order in which batches
/// come, and the order within, does not change the partial of any series.
#[derive(Debug)]
pub struct Reducer {
    pub(super) shards: Arc<Shards>,
    pub(super) resolution: Span,
    pub(super) epoch: Epoch,
    /// The start of the next bucket to close.
    pub(super) next: Option<Timestamp>,
    /// Buckets that were taken from the shards and are not closed yet.
    pub(super) taken: BTreeMap<Timestamp, TakenBucket>,
    pub(super) registry: Registry,
    pub(super) selected: Vec<Selected>,
    pub(super) streams: Registry,
    /// By stream, when it was named or had records last, in hours: see [`hour`].
    pub(super) streams_heard: Vec<u32>,
    /// By shard and slot the id of the series, and that of the stream.
    pub(super) ids: Vec<Ids>,
    pub(super) templates: Templates,
    /// What is told of metrics by their names alone.
    pub(super) metadata: Arc<Metadata>,
    pub(super) losses: BTreeMap<(LossSource, LossReason), u64>,
    /// Keys that a limit refuses.
    pub(super) refused: usize,
    pub(super) resets: u64,
    pub(super) late_losses: BTreeMap<LossReason, u64>,
    pub(super) duplicates: u64,
    /// By shard, chunks of buckets that are closed.
    pub(super) spare: Vec<Spare>,
    /// Memory of the bucket that was closed last.
    pub(super) gathered: Vec<Packed>,
    /// Memory of the series that was reduced last.
    pub(super) run: Vec<Sample>,
    /// For batches that come as values of their own.
    pub(super) raw: RawBatch,
    pub(super) scratch: PutScratch,
}

#[derive(Debug)]
pub(super) struct TakenBucket {
    samples: Gathered,
    logs: OpenLogs,
}

impl Reducer {
    /// Makes an empty reducer for buckets of the given width.
    ///
    /// # Panics
    /// The resolution is not positive.
    pub fn new(
        resolution: Span,
        limits: ReducerLimits,
        keys: KeyHash,
        select: Arc<dyn Select>,
    ) -> Self {
        assert!(Span::ZERO < resolution, "a bucket has a width");
        let shards = Arc::new(Shards::new(resolution, limits, keys, select));
        Self {
            resolution,
            epoch: Epoch::default(),
            next: None,
            taken: BTreeMap::new(),
            registry: Registry::new(),
            selected: Vec::new(),
            streams: Registry::new(),
            streams_heard: Vec::new(),
            ids: vec![Ids::default(); shards.len()],
            templates: Templates::new(limits.templates),
            metadata: Arc::default(),
            losses: BTreeMap::new(),
            refused: 0,
            resets: 0,
            late_losses: BTreeMap::new(),
            duplicates: 0,
            spare: vec![Spare::default(); shards.len()],
            gathered: Vec::new(),
            run: Vec::new(),
            raw: RawBatch::new(keys, canonical::read),
            scratch: PutScratch::default(),
            shards,
        }
    }

    /// The side that many threads write to.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// Where a batch stands that comes now.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Puts a batch of values of its own; `stream_labels` are the names of the attributes that tell a log
    /// stream.
    pub fn put(&mut self, batch: &Batch, stream_labels: &BTreeSet<String>) -> Put {
        self.raw.take(batch, |name| stream_labels.contains(name));
        let raw = Raw::new(&[], &self.raw);
        self.shards.put(raw, self.epoch, &mut self.scratch)
    }

    /// Puts a batch that borrows from a request.
    pub fn put_raw(&mut self, raw: Raw<'_>) -> Put {
        self.shards.put(raw, self.epoch, &mut self.scratch)
    }

    /// Takes a tick: names what is new and takes the buckets that are over. All batches that stand
    /// before the tick have been put. [`Reducer::close_next`] then closes the buckets one by one.
    pub fn advance<D: Directory>(&mut self, epoch: Epoch, directory: &mut D) {
        let before = self.epoch.number;
        self.epoch = epoch;
        let (mut series, mut streams) = (Vec::new(), Vec::new());
        let mut buckets = Vec::new();
        let mut losses = Vec::new();
        let mut blind = BTreeSet::new();
        let live = self.templates.changes();
        for index in 0..self.shards.len() {
            let mut shard = self.shards.lock(index);
            let (new_series, new_streams) = shard.take_new(before);
            series.extend(new_series.into_iter().map(|new| (index, new)));
            streams.extend(new_streams.into_iter().map(|new| (index, new)));
            if let Some(closed) = epoch.closed {
                buckets.extend(
                    shard
                        .take_buckets(closed)
                        .into_iter()
                        .map(|bucket| (index, bucket)),
                );
            }
            for lost in shard.take_losses(before) {
                let lookers = lost.refused.iter();
                blind.extend(lookers.map(|number| shard.refusals.lookers(*number).clone()));
                losses.push((index, lost));
            }
            if let Some(live) = &live {
                shard.live = Arc::clone(live);
            }
            shard.take_back(&mut self.spare[index]);
        }
        for lookers in &blind {
            directory.refuse(lookers, self.closed());
        }
        self.take_metadata(before, directory);
        self.name_series(series, directory);
        self.name_streams(streams, directory);
        for (shard, bucket) in buckets {
            self.take(shard, bucket.start, bucket.samples, bucket.logs);
        }
        for (shard, losses) in losses {
            let ids = &self.ids[shard];
            for ((slot, reason), count) in losses.series {
                if let Some(id) = ids.series(slot) {
                    let source = LossSource::Series(SeriesId(id));
                    add(self.losses.entry((source, reason)).or_default(), count);
                }
            }
            for ((slot, class, reason), count) in losses.records {
                if let Some(id) = ids.stream(slot) {
                    let source = LossSource::Records(StreamId(id), class);
                    add(self.losses.entry((source, reason)).or_default(), count);
                }
            }
        }
    }

    /// Closes the next bucket that is over, in order of time, empty ones too; `None` when all are
    /// closed. For all that it held at once: see [`Reducer::close`].
    ///
    /// The first bucket is the one that holds the earliest data, or the first that is not over if there
    /// is no data at the first tick.
    pub fn close_next(&mut self) -> Option<ClosedBucket> {
        let interval = self.next_over()?;
        let mut series = Vec::new();
        let closed = self.close(interval, |partial| series.push(partial));
        Some(ClosedBucket { series, ..closed })
    }

    /// The bucket that [`Reducer::close`] closes next; `None` when all that are over are closed.
    pub fn next_over(&mut self) -> Option<Interval> {
        let closed_until = self.epoch.closed?;
        let Some(start) = self.next_bucket() else {
            self.next = Some(closed_until);
            return None;
        };
        let end = self.after(start);
        // At the end of time buckets have no width; nothing can be said of those.
        let is_over = start < end && end <= closed_until;
        is_over.then_some(Interval { start, end })
    }

    /// Closes the bucket that [`Reducer::next_over`] told. What its series did is given to `each`, by
    /// ascending id, and not kept: a bucket of a million series would be written to fresh memory and read
    /// once. The result has none.
    pub fn close(&mut self, interval: Interval, each: impl FnMut(SeriesPartial)) -> ClosedBucket {
        self.next = Some(interval.end);
        let mut closed = ClosedBucket {
            interval,
            ..ClosedBucket::default()
        };
        if let Some(bucket) = self.taken.remove(&interval.start) {
            self.reduce(bucket.samples, each);
            closed.logs = self.templates.close(bucket.logs, interval.start);
            for count in &closed.logs {
                let heard = &mut self.streams_heard[count.stream.0 as usize];
                *heard = hour(interval.start).max(*heard);
            }
        }
        closed.losses = std::mem::take(&mut self.losses)
            .into_iter()
            .map(|((source, reason), count)| LossMark {
                source,
                reason,
                count,
            })
            .collect();
        closed
    }

    /// Jumps over buckets without data: the next bucket that [`Reducer::close_next`] closes starts
    /// at or after `at`, unless an earlier one holds data. What comes later for a bucket that was
    /// jumped over is late.
    pub fn skip_idle(&mut self, at: Timestamp) {
        let floor = at.floor(self.resolution);
        let target = if floor < at { self.after(floor) } else { floor };
        let earliest = self.taken.keys().next().copied();
        if earliest.is_some_and(|earliest| earliest < target) && self.next.is_none() {
            return;
        }
        let reachable = earliest.map_or(target, |earliest| earliest.min(target));
        self.next = Some(self.next.map_or(reachable, |next| next.max(reachable)));
    }

    /// The start of the next bucket to close; `None` before there is data or a first closing.
    pub fn next_bucket(&self) -> Option<Timestamp> {
        self.next.or_else(|| self.taken.keys().next().copied())
    }

    /// What was seen since the reducer was made.
    pub fn counters(&self) -> ReducerCounters {
        let mut counters = ReducerCounters {
            series: self.registry.len() as u64,
            selected_series: self.registry.len() as u64,
            templates: self.templates.len() as u64,
            resets: self.resets,
            losses: self.late_losses.clone(),
            samples_duplicate: self.duplicates,
            told_metrics: self.metadata.len() as u64,
            ..ReducerCounters::default()
        };
        self.shards.count(&mut counters);
        counters
    }

    /// The labels of a series.
    ///
    /// # Panics
    /// The id is not of this reducer.
    pub fn labels(&self, id: SeriesId) -> Labels {
        self.registry.labels(id.0, &self.shards)
    }

    /// The attributes of a log stream.
    ///
    /// # Panics
    /// The id is not of this reducer.
    pub fn stream(&self, id: StreamId) -> Labels {
        self.streams.labels(id.0, &self.shards)
    }

    /// Before which time buckets are closed.
    pub(super) fn closed(&self) -> Timestamp {
        self.epoch.closed.unwrap_or(Timestamp::MIN)
    }

    /// The start of the bucket after the one that starts at `start`.
    fn after(&self, start: Timestamp) -> Timestamp {
        (start + self.resolution).floor(self.resolution)
    }

    /// Gives ids to the series that are new, in the order of their labels. Several keys may mean one
    /// series; of what they tell about it the greatest counts.
    fn name_series<D: Directory>(&mut self, new: Vec<(usize, NewSeries)>, directory: &mut D) {
        let mut new = new;
        new.sort_by(|(_, a), (_, b)| a.labels.cmp(&b.labels).then_with(|| b.meta.cmp(&a.meta)));
        for same in new.chunk_by(|(_, a), (_, b)| a.labels == b.labels) {
            let (_, first) = &same[0];
            let id = match self.registry.find(&first.labels, &self.shards) {
                Some(id) => Ok(id),
                None => self.bind(same, directory),
            };
            if id.is_err() {
                self.refused += same.len();
            }
            for (index, (shard, new)) in same.iter().enumerate() {
                if let Ok(id) = &id {
                    self.ids[*shard].name_series(new.slot, *id);
                }
                let mut shard = self.shards.lock(*shard);
                let counters = &mut shard.counters;
                let standing = match &id {
                    Ok(_) => {
                        counters.samples_accepted += new.samples;
                        Standing::Bound
                    }
                    Err((limit, lookers)) => {
                        counters.samples_refused += new.samples;
                        counters.refused_series += u64::from(index == 0);
                        let refused = shard.refusals.refused(*limit, lookers.clone());
                        Standing::Refused(refused)
                    }
                };
                shard.series.value_mut(new.slot).standing = standing;
            }
        }
    }

    /// Gives an id to a series that is new under all of these keys.
    fn bind<D: Directory>(
        &mut self,
        same: &[(usize, NewSeries)],
        directory: &mut D,
    ) -> Result<u32, (Limit, Lookers)> {
        let (_, first) = &same[0];
        let (labels, meta) = (&first.labels, first.meta);
        let id = SeriesId(self.registry.len() as u32);
        let registration = if self.registry.len() < self.shards.limits().series {
            let (told, kind) = self.told(labels, meta, first.kind);
            let bound = directory.bind_series(id, labels, (told, meta.kind), kind);
            bound.ok_or(Limit::SeriesPerService)
        } else {
            Err(Limit::Series)
        };
        let registration = match registration {
            Ok(registration) => registration,
            Err(limit) => {
                let lookers = self.shards.select().lookers(labels, first.kind);
                // Of what stood before an earlier tick and is put again, that tick has told.
                let latest = same.iter().map(|(_, new)| new.last).max();
                if latest.is_some_and(|latest| self.epoch.number <= latest.wrapping_add(1)) {
                    directory.refuse(&lookers, self.closed());
                }
                return Err((limit, lookers));
            }
        };
        let at = self.closed();
        self.selected.push(Selected::new(meta, registration, at));
        let keys = same.iter().map(|(shard, new)| (*shard, new.slot));
        Ok(self.registry.insert(labels, keys, &self.shards))
    }

    fn name_streams<D: Directory>(&mut self, new: Vec<(usize, NewStream)>, directory: &mut D) {
        let mut new = new;
        new.sort_by(|(_, a), (_, b)| a.attributes.cmp(&b.attributes));
        for (shard, stream) in new {
            let id = if let Some(id) = self.streams.find(&stream.attributes, &self.shards) {
                id
            } else {
                let id = StreamId(self.streams.len() as u32);
                directory.bind_stream(id, &stream.attributes);
                self.streams_heard.push(hour(self.closed()));
                self.streams.insert(&stream.attributes, [], &self.shards)
            };
            self.ids[shard].name_stream(stream.slot, id);
        }
    }

    /// Takes what a shard has gathered for a bucket, with slots turned into ids.
    fn take(&mut self, shard: usize, start: Timestamp, samples: Samples, logs: OpenLogs) {
        let templates = self.shards.limits().templates;
        let memory = &mut self.gathered;
        let bucket = self.taken.entry(start).or_insert_with(|| TakenBucket {
            samples: Gathered {
                samples: std::mem::take(memory),
                packing: Packing::new(start),
                histograms: Vec::new(),
                dropped: Dropped::default(),
            },
            logs: OpenLogs::default(),
        });
        let ids = &self.ids[shard];
        let spare = &mut self.spare[shard];
        bucket
            .samples
            .absorb(samples, spare, |slot| ids.series(slot));
        bucket.logs.absorb(logs, templates, |slot| ids.stream(slot));
    }

    /// Reduces the samples of a bucket, series by series.
    fn reduce(&mut self, bucket: Gathered, mut each: impl FnMut(SeriesPartial)) {
        let hour = hour(bucket.packing.start());
        let Gathered {
            mut samples,
            packing,
            mut histograms,
            mut dropped,
        } = bucket;
        samples.sort_unstable_by_key(|sample| sample.series);
        let per_series_max = self.shards.limits().samples_per_bucket;
        let mut run = std::mem::take(&mut self.run);
        for packed in samples.chunk_by(|a, b| a.series == b.series) {
            run.clear();
            run.extend(packed.iter().map(|packed| packing.unpack(packed)));
            let len = Samples::settle_series(&mut run, &histograms, per_series_max, &mut dropped);
            let id = run[0].series;
            let fitting = self.fitting(id, &mut run[..len], packing.start());
            let selected = &mut self.selected[id as usize];
            if 0 < fitting {
                selected.heard = selected.heard.max(hour);
            }
            let (partial, unusable) =
                selected.reduce(&run[..fitting], &mut histograms, self.resolution);
            let incompatible = unusable + (len - fitting) as u64;
            let series = SeriesId(id);
            if let Some(partial) = partial {
                self.resets += u64::from(partial.resets());
                let is_cut = dropped.is_cut(id);
                each(SeriesPartial {
                    series,
                    partial,
                    is_cut,
                });
            }
            if 0 < incompatible {
                let loss = (LossSource::Series(series), LossReason::Incompatible);
                self.lose(loss, incompatible);
            }
        }
        samples.clear();
        self.gathered = samples;
        self.run = run;
        self.duplicates += dropped.duplicates;
        for ((id, reason), count) in dropped.losses {
            self.lose((LossSource::Series(SeriesId(id)), reason), count);
        }
    }

    fn lose(&mut self, loss: (LossSource, LossReason), count: u64) {
        add(self.losses.entry(loss).or_default(), count);
        add(self.late_losses.entry(loss.1).or_default(), count);
    }
}

/// Adds a count that a sender told, and that may be anything.
fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests;
