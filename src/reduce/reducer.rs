//! The reducer: batches in, closed buckets out.

use std::collections::BTreeMap;

use crate::event::{
    Batch, Interval, Kind, Labels, LogRecord, Point, SeriesBlock, Span, Temporality, Timestamp,
    Value,
};

use super::{
    ClosedBucket, Directory, LossMark, LossReason, LossSource, SeriesId, SeriesPartial, StreamId,
    bucket::{Datum, Dropped, Sample, Samples},
    histogram::{Flaw, inspect, normalized},
    logs::{LogKey, OpenLogs, Templates},
    selected::Selected,
    table::LabelTable,
    template::mask,
};

/// What the reducer accepts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReducerLimits {
    /// Series in all, selected or not; the same number bounds log streams. What comes beyond is
    /// refused, those that are known go on. Which of several new ones is beyond depends on the
    /// order of arrival.
    pub series: usize,
    /// Samples of one series in one bucket; the earliest stay. At least 1.
    pub samples_per_bucket: usize,
    /// Message templates with a name of their own; further ones are counted as `<other>`.
    pub templates: usize,
    /// How far ahead of the clock a sample may be.
    pub future: Span,
    /// Labels of a series, or attributes of a log stream.
    pub labels: usize,
    /// Bytes of all names and values of these.
    pub label_bytes: usize,
}

/// What the reducer has seen since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReducerCounters {
    /// Samples of selected series that were put into a bucket.
    pub samples_accepted: u64,
    /// Samples of series that no check selects.
    pub samples_unselected: u64,
    /// Samples of series that were refused by a limit.
    pub samples_refused: u64,
    /// Samples that were delivered again with the same value, and ignored.
    pub samples_duplicate: u64,
    /// Log records that were counted in a bucket.
    pub logs_accepted: u64,
    /// Log records of streams that belong to no service.
    pub logs_unselected: u64,
    /// Log records of streams that were refused by a limit.
    pub logs_refused: u64,
    /// Samples and log records that could not be used, by reason.
    pub losses: BTreeMap<LossReason, u64>,
    /// Series in the table, selected or not.
    pub series: u64,
    /// Series that a check selects.
    pub selected_series: u64,
    /// How often a new series came that a limit refuses; one that comes again counts again.
    pub refused_series: u64,
    /// Log streams in the table.
    pub streams: u64,
    /// How often a new log stream came that a limit refuses.
    pub refused_streams: u64,
    /// Message templates with a name of their own.
    pub templates: u64,
    /// Restarts of counters and distributions.
    pub resets: u64,
}

/// Turns samples and log records into partials of closed buckets.
///
/// Time comes only from the data and from [`Reducer::set_now`]. Between two closings the order in
/// which batches come, and the order within, does not change the partial of any series.
#[derive(Clone, Debug)]
pub struct Reducer {
    resolution: Span,
    limits: ReducerLimits,
    now: Option<Timestamp>,
    /// The start of the next bucket to close. Until the first is closed nothing is late.
    next: Option<Timestamp>,
    open: BTreeMap<Timestamp, OpenBucket>,
    table: LabelTable,
    /// For each series in the table its place in `selected`.
    slots: Vec<Option<u32>>,
    selected: Vec<Selected>,
    streams: LabelTable,
    /// For each stream in the table whether it belongs to a service.
    stream_selected: Vec<bool>,
    templates: Templates,
    losses: BTreeMap<(LossSource, LossReason), u64>,
    counters: ReducerCounters,
    spare: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct OpenBucket {
    samples: Samples,
    logs: OpenLogs,
}

/// Where a block of samples, or a record, belongs.
enum Place {
    Selected(u32),
    Unselected,
    Refused,
}

impl Reducer {
    /// Makes an empty reducer for buckets of the given width.
    ///
    /// # Panics
    /// The resolution is not positive.
    pub fn new(resolution: Span, limits: ReducerLimits) -> Self {
        assert!(Span::ZERO < resolution, "a bucket has a width");
        Self {
            resolution,
            limits,
            now: None,
            next: None,
            open: BTreeMap::new(),
            table: LabelTable::new(),
            slots: Vec::new(),
            selected: Vec::new(),
            streams: LabelTable::new(),
            stream_selected: Vec::new(),
            templates: Templates::new(limits.templates),
            losses: BTreeMap::new(),
            counters: ReducerCounters::default(),
            spare: Vec::new(),
        }
    }

    /// Tells the clock, as the last tick has it: what is further ahead of it than the limit is
    /// refused from now on. Before the first call nothing is.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = Some(now);
    }

    /// Takes a batch: samples of selected series and records of known streams are put into their
    /// open buckets, or counted as lost.
    pub fn ingest<D: Directory>(&mut self, batch: &Batch, directory: &mut D) {
        for block in &batch.series {
            let samples = block.points.len() as u64;
            match self.place_series(block, directory) {
                Place::Selected(slot) => self.ingest_series(slot, block),
                Place::Unselected => self.counters.samples_unselected += samples,
                Place::Refused => self.counters.samples_refused += samples,
            }
        }
        for record in &batch.logs {
            match self.place_stream(&record.attributes, directory) {
                Place::Selected(stream) => {
                    self.ingest_record(StreamId(stream), record, directory);
                }
                Place::Unselected => add(&mut self.counters.logs_unselected, record.count),
                Place::Refused => add(&mut self.counters.logs_refused, record.count),
            }
        }
    }

    /// Closes the next bucket whose end is at most the watermark, in order of time, empty ones too;
    /// `None` when all are closed.
    ///
    /// The first bucket is the one that holds the earliest data, or the watermark if there is no
    /// data at the first call.
    pub fn close_next(&mut self, watermark: Timestamp) -> Option<ClosedBucket> {
        let Some(start) = self.next_bucket() else {
            self.next = Some(watermark.floor(self.resolution));
            return None;
        };
        let end = self.after(start);
        // At the end of time buckets have no width; nothing can be said of those.
        if end <= start || watermark < end {
            return None;
        }
        self.next = Some(end);
        let mut closed = ClosedBucket {
            interval: Interval { start, end },
            ..ClosedBucket::default()
        };
        if let Some(bucket) = self.open.remove(&start) {
            closed.series = self.reduce(bucket.samples);
            closed.logs = self.templates.close(bucket.logs, start);
            self.counters.templates = self.templates.len() as u64;
        }
        closed.losses = std::mem::take(&mut self.losses)
            .into_iter()
            .map(|((source, reason), count)| LossMark {
                source,
                reason,
                count,
            })
            .collect();
        Some(closed)
    }

    /// Jumps over buckets without data: the next bucket that [`Reducer::close_next`] closes starts
    /// at or after `at`, unless an earlier one holds data. What comes later for a bucket that was
    /// jumped over is late.
    pub fn skip_idle(&mut self, at: Timestamp) {
        let floor = at.floor(self.resolution);
        let target = if floor < at { self.after(floor) } else { floor };
        let earliest = self.open.keys().next().copied();
        if earliest.is_some_and(|earliest| earliest < target) && self.next.is_none() {
            return;
        }
        let reachable = earliest.map_or(target, |earliest| earliest.min(target));
        self.next = Some(self.next.map_or(reachable, |next| next.max(reachable)));
    }

    /// The start of the next bucket to close; `None` before there is data or a first closing.
    pub fn next_bucket(&self) -> Option<Timestamp> {
        self.next.or_else(|| self.open.keys().next().copied())
    }

    /// What was seen since the reducer was made.
    pub fn counters(&self) -> &ReducerCounters {
        &self.counters
    }

    /// The labels of a series.
    ///
    /// # Panics
    /// The id is not of this reducer.
    pub fn labels(&self, id: SeriesId) -> &Labels {
        self.table.labels(id.0)
    }

    /// The attributes of a log stream.
    ///
    /// # Panics
    /// The id is not of this reducer.
    pub fn stream(&self, id: StreamId) -> &Labels {
        self.streams.labels(id.0)
    }

    /// The start of the bucket after the one that starts at `start`.
    fn after(&self, start: Timestamp) -> Timestamp {
        (start + self.resolution).floor(self.resolution)
    }

    fn place_series<D: Directory>(&mut self, block: &SeriesBlock, directory: &mut D) -> Place {
        let index = match self.table.find(&block.labels) {
            Ok(index) => index,
            Err(_) if !self.fits(&self.table, &block.labels) => {
                self.counters.refused_series += 1;
                return Place::Refused;
            }
            Err(hash) => {
                let index = self.table.insert(block.labels.clone(), hash);
                self.counters.series += 1;
                let id = SeriesId(index);
                let registration = directory.series(id, &block.labels, block.meta);
                self.slots.push(registration.map(|registration| {
                    self.counters.selected_series += 1;
                    self.selected.push(Selected::new(id, registration));
                    // Not more than there are series, whose indices fit 32 bits.
                    (self.selected.len() - 1) as u32
                }));
                index
            }
        };
        self.slots[index as usize].map_or(Place::Unselected, Place::Selected)
    }

    fn place_stream<D: Directory>(&mut self, attributes: &Labels, directory: &mut D) -> Place {
        let attributes = &directory.stream_identity(attributes);
        let index = match self.streams.find(attributes) {
            Ok(index) => index,
            Err(_) if !self.fits(&self.streams, attributes) => {
                self.counters.refused_streams += 1;
                return Place::Refused;
            }
            Err(hash) => {
                let index = self.streams.insert(attributes.clone(), hash);
                self.counters.streams += 1;
                let selected = directory.stream(StreamId(index), attributes);
                self.stream_selected.push(selected);
                index
            }
        };
        if self.stream_selected[index as usize] {
            Place::Selected(index)
        } else {
            Place::Unselected
        }
    }

    /// Whether the limits leave room for a new label set.
    fn fits(&self, table: &LabelTable, labels: &Labels) -> bool {
        let bytes: usize = labels
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        table.len() < self.limits.series.min(u32::MAX as usize)
            && labels.len() <= self.limits.labels
            && bytes <= self.limits.label_bytes
    }

    fn ingest_series(&mut self, slot: u32, block: &SeriesBlock) {
        let kind = self.selected[slot as usize].registration.kind;
        let source = LossSource::Series(self.selected[slot as usize].series);
        for point in &block.points {
            let datum = self
                .check_time(point.at)
                .and_then(|()| check_value(&point.value, kind));
            match datum {
                Ok(datum) => self.buffer(slot, block.meta.temporality, point, datum),
                Err(reason) => self.lose(source, reason, 1),
            }
        }
    }

    fn buffer(&mut self, slot: u32, temporality: Temporality, point: &Point, datum: Datum) {
        let sample = Sample {
            slot,
            temporality,
            at: point.at,
            start: point.start,
            datum,
        };
        self.counters.samples_accepted += 1;
        let mut dropped = Dropped::default();
        self.bucket(point.at).samples.push(sample, &mut dropped);
        self.drop_samples(dropped);
    }

    fn ingest_record<D: Directory>(
        &mut self,
        stream: StreamId,
        record: &LogRecord,
        directory: &mut D,
    ) {
        if let Err(reason) = self.check_time(record.at) {
            return self.lose(LossSource::Stream(stream), reason, record.count);
        }
        let mut classes = Vec::new();
        directory.classify(stream, record, &mut classes);
        let key = LogKey {
            stream,
            severity: record.severity,
            classes,
        };
        add(&mut self.counters.logs_accepted, record.count);
        self.bucket(record.at);
        if let Some(bucket) = self.open.get_mut(&record.at.floor(self.resolution)) {
            self.templates
                .count(&mut bucket.logs, &mask(&record.body), key, record.count);
        }
    }

    fn check_time(&self, at: Timestamp) -> Result<(), LossReason> {
        if self.now.is_some_and(|now| now + self.limits.future < at) {
            return Err(LossReason::Future);
        }
        if self
            .next
            .is_some_and(|next| at.floor(self.resolution) < next)
        {
            return Err(LossReason::Late);
        }
        Ok(())
    }

    fn bucket(&mut self, at: Timestamp) -> &mut OpenBucket {
        self.open
            .entry(at.floor(self.resolution))
            .or_insert_with(|| OpenBucket {
                samples: Samples::new(
                    std::mem::take(&mut self.spare),
                    self.limits.samples_per_bucket,
                    self.selected.len(),
                ),
                logs: OpenLogs::default(),
            })
    }

    /// Reduces the samples of a bucket, series by series.
    fn reduce(&mut self, samples: Samples) -> Vec<SeriesPartial> {
        let mut dropped = Dropped::default();
        let mut samples = samples.close(&mut dropped);
        self.drop_samples(dropped);
        let mut partials = Vec::new();
        let mut run: Vec<Sample> = Vec::new();
        let mut rest = samples.drain(..).peekable();
        while let Some(sample) = rest.next() {
            let slot = sample.slot;
            run.push(sample);
            if rest.peek().is_some_and(|next| next.slot == slot) {
                continue;
            }
            let selected = &mut self.selected[slot as usize];
            let series = selected.series;
            let (partial, incompatible) = selected.reduce(&mut run, self.resolution);
            if let Some(partial) = partial {
                self.counters.resets += u64::from(partial.resets());
                partials.push(SeriesPartial { series, partial });
            }
            if 0 < incompatible {
                let source = LossSource::Series(series);
                count_loss(
                    &mut self.losses,
                    &mut self.counters,
                    (source, LossReason::Incompatible),
                    incompatible,
                );
            }
        }
        drop(rest);
        self.spare = samples;
        partials
    }

    fn drop_samples(&mut self, dropped: Dropped) {
        self.counters.samples_duplicate += dropped.duplicates;
        for ((slot, reason), count) in dropped.losses {
            let source = LossSource::Series(self.selected[slot as usize].series);
            self.lose(source, reason, count);
        }
    }

    fn lose(&mut self, source: LossSource, reason: LossReason, count: u64) {
        count_loss(
            &mut self.losses,
            &mut self.counters,
            (source, reason),
            count,
        );
    }
}

fn count_loss(
    losses: &mut BTreeMap<(LossSource, LossReason), u64>,
    counters: &mut ReducerCounters,
    loss: (LossSource, LossReason),
    count: u64,
) {
    add(losses.entry(loss).or_default(), count);
    add(counters.losses.entry(loss.1).or_default(), count);
}

/// Adds a count that a sender told, and that may be anything.
fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

/// Takes a value that counts as data for a series of the given kind.
fn check_value(value: &Value, kind: Kind) -> Result<Datum, LossReason> {
    match value {
        Value::Stale => Err(LossReason::Stale),
        Value::Number(number) if !number.is_finite() => Err(LossReason::NotFinite),
        Value::Number(_) if kind == Kind::Histogram => Err(LossReason::Incompatible),
        Value::Number(number) => Ok(Datum::Number(*number)),
        Value::Histogram(histogram) => match inspect(histogram) {
            Ok(()) => Ok(Datum::Histogram(Box::new(normalized(
                (**histogram).clone(),
            )))),
            Err(Flaw::NotFinite) => Err(LossReason::NotFinite),
            Err(Flaw::Inconsistent) => Err(LossReason::Incompatible),
        },
    }
}

#[cfg(test)]
mod tests;
