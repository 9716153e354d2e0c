//! One shard: the keys whose hashes fall to it, and what came of them for buckets that are open.

use crate::event::{
    BadLabels, Raw, RawLog, RawPoint, RawSeries, RawUnread, RejectReason, SeriesMeta, Severity,
    Span, Timestamp, Value,
};

use super::{
    Epoch, LossReason, Select,
    bucket::{Sample, Samples, Spare},
    histogram::{Flaw, inspect, normalized},
    key_table::{KeyTable, NONE},
    logs::{LiveTemplates, LogKey, OpenLogs},
    refusals::{Refusals, Refused},
    resolved::PlainPoint,
    shards::{Put, Room, ShardCounters},
    standing::{Before, Losses, NewSeries, NewStream, SelectedKey, Standing, Stream},
    template::mask_into,
    unselected::Unselected,
};

mod keys;

/// Chunks that an idle shard holds on to.
const SPARE_CHUNKS_MIN: usize = 8;

/// What one thread needs to put a batch into shards.
pub(super) struct Context<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) epoch: Epoch,
    pub(super) select: &'a dyn Select,
    pub(super) room: &'a Room,
    pub(super) resolution: Span,
    /// Latest time that is not too far ahead of the clock.
    pub(super) latest: Timestamp,
    /// Set while a batch is put again: what is earlier has been seen, and no loss counts twice.
    pub(super) unseen_from: Option<Timestamp>,
}

/// The keys whose hashes fall to one shard.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) series: KeyTable<SelectedKey>,
    pub(super) streams: KeyTable<Stream>,
    pub(super) unselected: Unselected,
    pub(super) refusals: Refusals,
    pub(super) open: Vec<OpenBucket>,
    /// Which of `open` was used last.
    recent: usize,
    /// Series and streams that have no id yet.
    pub(super) new_series: Vec<NewSeries>,
    pub(super) new_streams: Vec<NewStream>,
    /// By the epoch of the batch, ascending.
    losses: Vec<(u32, Losses)>,
    pub(super) live: LiveTemplates,
    pub(super) spare: Spare,
    pub(super) counters: ShardCounters,
    /// How often slots got other numbers: what was resolved before is void.
    pub(super) generation: u32,
    scratch: Scratch,
}

#[derive(Clone, Debug)]
pub(super) struct OpenBucket {
    pub(super) start: Timestamp,
    end: Timestamp,
    pub(super) samples: Samples,
    pub(super) logs: OpenLogs,
}

#[derive(Clone, Debug, Default)]
struct Scratch {
    template: String,
    key: LogKey,
}

/// Where the points of a series belong.
enum Place {
    Slot(u32),
    /// A series without an id, and its place among the new ones.
    New(u32, usize),
    Unselected,
    Refused(Refused),
    BadLabels(BadLabels),
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            series: KeyTable::new(),
            streams: KeyTable::new(),
            unselected: Unselected::default(),
            refusals: Refusals::new(),
            open: Vec::new(),
            recent: 0,
            new_series: Vec::new(),
            new_streams: Vec::new(),
            losses: Vec::new(),
            live: LiveTemplates::default(),
            spare: Spare::default(),
            counters: ShardCounters::default(),
            generation: 0,
            scratch: Scratch::default(),
        }
    }

    /// Puts points of series that are known.
    pub(super) fn put_plain(
        &mut self,
        context: &Context<'_>,
        points: &[PlainPoint],
        put: &mut Put,
    ) {
        for point in points {
            let raw = RawPoint {
                at: point.at,
                start: Timestamp::MIN,
                value: point.value,
                histogram: 0,
            };
            let meta = SeriesMeta {
                kind: point.kind,
                unit: point.unit,
                ..SeriesMeta::default()
            };
            self.put_counted(context, point.slot, meta, &raw, put);
        }
    }

    /// Puts the points of a series that is known as bound to `slot`, or not known at all.
    pub(super) fn put_series(
        &mut self,
        context: &Context<'_>,
        series: &RawSeries,
        slot: Option<u32>,
        before: &mut Before,
        put: &mut Put,
    ) {
        let place = match slot {
            Some(slot) => Place::Slot(slot),
            None => self.place(context, series, before),
        };
        match place {
            Place::Slot(slot) => self.put_points(context, slot, series, put),
            Place::New(slot, place) => {
                let accepted = self.counters.samples_accepted;
                self.put_points(context, slot, series, put);
                let waiting = self.counters.samples_accepted - accepted;
                self.counters.samples_accepted = accepted;
                self.new_series[place].samples += waiting;
            }
            Place::Unselected => self.pass_over(u64::from(series.count), put),
            Place::Refused(refused) => {
                self.counters.samples_refused += u64::from(series.count);
                self.note_refused(context, refused);
                for _ in 0..series.count {
                    put.rejects.sample(RejectReason::OverLimit, || {
                        let name = context.raw.labels(series);
                        let name = name.map_or_else(|bad| bad.detail, |labels| labels.to_string());
                        format!("{name} is a series beyond {}", refused.limit.key())
                    });
                }
            }
            Place::BadLabels(bad) => {
                for _ in 0..series.count {
                    put.rejects.sample(bad.reason, || bad.detail.clone());
                }
            }
        }
    }

    /// Counts points of series that nobody selects.
    pub(super) fn pass_over(&mut self, points: u64, put: &mut Put) {
        self.counters.samples_unselected += points;
        put.samples += points;
    }

    #[inline]
    fn put_points(&mut self, context: &Context<'_>, slot: u32, series: &RawSeries, put: &mut Put) {
        for point in context.raw.points(series) {
            self.put_counted(context, slot, series.meta, point, put);
        }
    }

    /// Puts a point, and counts what became of it.
    #[inline]
    fn put_counted(
        &mut self,
        context: &Context<'_>,
        slot: u32,
        meta: SeriesMeta,
        point: &RawPoint,
        put: &mut Put,
    ) {
        let is_number = point.histogram == 0;
        if is_number {
            put.samples += 1;
        } else {
            put.histograms += 1;
        }
        match self.put_point(context, slot, meta, point, is_number) {
            Ok(()) => put.latest = put.latest.max(Some(point.at)),
            Err(_) if context.unseen_from.is_some() => {}
            Err(reason) => {
                put.lose(reason, is_number);
                let epoch = context.epoch.number;
                *self.losses(epoch).series.entry((slot, reason)).or_default() += 1;
                *self.counters.losses.entry(reason).or_default() += 1;
            }
        }
    }

    #[inline]
    fn put_point(
        &mut self,
        context: &Context<'_>,
        slot: u32,
        meta: SeriesMeta,
        point: &RawPoint,
        is_number: bool,
    ) -> Result<(), LossReason> {
        check_time(context, point.at)?;
        let sample = Sample::new(slot, meta, point.at, point.start, point.value);
        if is_number {
            if !point.value.is_finite() {
                return Err(if point.value.to_bits() == Value::STALE_BITS {
                    LossReason::Stale
                } else {
                    LossReason::NotFinite
                });
            }
            let place = self.bucket(context, point.at);
            let samples = &mut self.open[place].samples;
            samples.push(&sample, &mut self.spare);
        } else if let Some(histogram) = context.raw.histogram(point) {
            inspect(histogram).map_err(|flaw| match flaw {
                Flaw::NotFinite => LossReason::NotFinite,
                Flaw::Inconsistent => LossReason::Incompatible,
            })?;
            let histogram = normalized(histogram.clone());
            let place = self.bucket(context, point.at);
            let samples = &mut self.open[place].samples;
            samples.push_histogram(sample, histogram, &mut self.spare);
        }
        self.counters.samples_accepted += 1;
        Ok(())
    }

    /// Notes who was blind when something was refused.
    fn note_refused(&mut self, context: &Context<'_>, refused: Refused) {
        if context.unseen_from.is_none() && !self.refusals.lookers(refused.lookers).0.is_empty() {
            let losses = self.losses(context.epoch.number);
            losses.refused.insert(refused.lookers);
        }
    }

    /// Gives the series of losses other slots; those that have none are forgotten.
    pub(super) fn rename_losses(&mut self, slot: impl Fn(u32) -> u32) {
        for (_, losses) in &mut self.losses {
            let before = std::mem::take(&mut losses.series).into_iter();
            losses.series = before
                .map(|((old, reason), count)| ((slot(old), reason), count))
                .filter(|((slot, _), _)| *slot != NONE)
                .collect();
        }
    }

    /// The same for streams.
    pub(super) fn rename_stream_losses(&mut self, slot: impl Fn(u32) -> u32) {
        for (_, losses) in &mut self.losses {
            let before = std::mem::take(&mut losses.records).into_iter();
            losses.records = before
                .map(|((old, class, reason), count)| ((slot(old), class, reason), count))
                .filter(|((slot, ..), _)| *slot != NONE)
                .collect();
        }
    }

    /// What was lost, by the epoch of the batch.
    pub(super) fn all_losses(&mut self) -> impl Iterator<Item = &mut Losses> {
        self.losses.iter_mut().map(|(_, losses)| losses)
    }

    fn losses(&mut self, epoch: u32) -> &mut Losses {
        let place = self.losses.partition_point(|(known, _)| *known < epoch);
        if self
            .losses
            .get(place)
            .is_none_or(|(known, _)| *known != epoch)
        {
            self.losses.insert(place, (epoch, Losses::default()));
        }
        &mut self.losses[place].1
    }

    /// Which of the open buckets holds a time.
    #[inline]
    fn bucket(&mut self, context: &Context<'_>, at: Timestamp) -> usize {
        let holds = |bucket: &OpenBucket| bucket.start <= at && at < bucket.end;
        if !self.open.get(self.recent).is_some_and(holds) {
            let known = self.open.iter().position(holds);
            self.recent = known.unwrap_or_else(|| self.open_bucket(context, at));
        }
        self.recent
    }

    fn open_bucket(&mut self, context: &Context<'_>, at: Timestamp) -> usize {
        let start = at.floor(context.resolution);
        let end = (start + context.resolution).floor(context.resolution);
        self.open.push(OpenBucket {
            start,
            // At the end of time a bucket has no width; nothing later can come.
            end: if start < end { end } else { Timestamp::MAX },
            samples: Samples::new(start, context.room.samples_per_bucket(), self.series.len()),
            logs: OpenLogs::default(),
        });
        self.open.len() - 1
    }

    /// Puts a log record.
    pub(super) fn put_log(
        &mut self,
        context: &Context<'_>,
        log: &RawLog,
        before: &mut u32,
        put: &mut Put,
    ) {
        let slot = match self.stream(context, (log.hash, log.stream), *before) {
            Ok(slot) => slot,
            Err(refused) => {
                self.counters.logs_refused = self.counters.logs_refused.saturating_add(log.count);
                return put.rejects.log(RejectReason::OverLimit, || {
                    format!("a log stream beyond {}", refused.limit.key())
                });
            }
        };
        *before = slot;
        let stream = self.streams.value(slot);
        let Some(classes) = stream.classes.clone() else {
            self.counters.logs_unselected = self.counters.logs_unselected.saturating_add(log.count);
            put.logs = put.logs.saturating_add(log.count);
            return;
        };
        put.logs = put.logs.saturating_add(log.count);
        let timely = check_time(context, log.at);
        if timely.is_err() && context.unseen_from.is_some() {
            return;
        }
        let body = std::str::from_utf8(context.raw.bytes(log.body)).unwrap_or("\u{fffd}");
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.key.stream = slot;
        scratch.key.severity = log.severity;
        scratch.key.classes.clear();
        context.select.classify(
            &classes,
            Some(log.severity),
            Some(body),
            &mut scratch.key.classes,
        );
        if let Err(reason) = timely {
            put.lose_logs(reason, log.count);
            self.lose_record(context.epoch.number, &scratch.key, reason, log.count);
            self.scratch = scratch;
            return;
        }
        put.latest = put.latest.max(Some(log.at));
        mask_into(body, &mut scratch.template);
        self.counters.logs_accepted = self.counters.logs_accepted.saturating_add(log.count);
        let live = LiveTemplates::clone(&self.live);
        let place = self.bucket(context, log.at);
        self.open[place].logs.count(
            &live,
            context.room.templates(),
            &scratch.template,
            &scratch.key,
            log.count,
        );
        self.scratch = scratch;
    }

    /// Notes that records of a stream could not be read. The sender was told so by the decoder.
    pub(super) fn put_unread(&mut self, context: &Context<'_>, unread: &RawUnread) {
        let stream = (unread.hash, unread.stream);
        let Ok(slot) = self.stream(context, stream, NOTHING_BEFORE) else {
            return;
        };
        let Some(classes) = self.streams.value(slot).classes.clone() else {
            return;
        };
        let mut key = LogKey {
            stream: slot,
            severity: Severity::UNKNOWN,
            classes: Vec::new(),
        };
        context
            .select
            .classify(&classes, unread.severity, None, &mut key.classes);
        let epoch = context.epoch.number;
        self.lose_record(epoch, &key, LossReason::Unreadable, unread.count);
    }

    /// Notes that records of these classes cannot be used.
    fn lose_record(&mut self, epoch: u32, key: &LogKey, reason: LossReason, count: u64) {
        let sum = self.counters.losses.entry(reason).or_default();
        *sum = sum.saturating_add(count);
        let records = &mut self.losses(epoch).records;
        let mut lose = |class: Option<u32>| {
            let lost = records.entry((key.stream, class, reason)).or_default();
            *lost = lost.saturating_add(count);
        };
        if key.classes.is_empty() {
            lose(None);
        }
        for class in &key.classes {
            lose(Some(*class));
        }
    }

    /// Takes out the series and streams that came in or before an epoch and have no id yet. Their
    /// samples are taken while they are named.
    pub(super) fn take_new(&mut self, epoch: u32) -> (Vec<NewSeries>, Vec<NewStream>) {
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.new_series)
            .into_iter()
            .partition(|new| new.since <= epoch);
        let (now_streams, later_streams): (Vec<_>, Vec<_>) = std::mem::take(&mut self.new_streams)
            .into_iter()
            .partition(|new| new.since <= epoch);
        for new in &now {
            self.series.value_mut(new.slot).standing = Standing::Naming;
        }
        for new in &now_streams {
            self.streams.value_mut(new.slot).new = None;
        }
        self.new_series = later;
        self.new_streams = later_streams;
        for (place, new) in (0..).zip(&self.new_series) {
            self.series.value_mut(new.slot).standing = Standing::New(place);
        }
        for (place, new) in (0..).zip(&self.new_streams) {
            self.streams.value_mut(new.slot).new = Some(place);
        }
        (now, now_streams)
    }

    /// Takes out the buckets that start before a time.
    pub(super) fn take_buckets(&mut self, closed: Timestamp) -> Vec<OpenBucket> {
        self.recent = 0;
        self.open
            .extract_if(.., |bucket| bucket.start < closed)
            .collect()
    }

    /// Takes chunks of closed buckets back, as long as they are not twice what is in use.
    pub(super) fn take_back(&mut self, chunks: &mut Spare) {
        let used: usize = self.open.iter().map(|bucket| bucket.samples.chunks()).sum();
        self.spare.append(chunks);
        self.spare.keep(2 * used + SPARE_CHUNKS_MIN);
    }

    /// Takes out what was lost in or before an epoch.
    pub(super) fn take_losses(&mut self, epoch: u32) -> Vec<Losses> {
        self.losses
            .extract_if(.., |(of, _)| *of <= epoch)
            .map(|(_, losses)| losses)
            .collect()
    }
}

#[inline]
fn check_time(context: &Context<'_>, at: Timestamp) -> Result<(), LossReason> {
    if context.latest < at {
        return Err(LossReason::Future);
    }
    if context.unseen_from.is_some_and(|unseen| at < unseen)
        || context.epoch.closed.is_some_and(|closed| at < closed)
    {
        return Err(LossReason::Late);
    }
    Ok(())
}

/// No slot came before.
pub(super) const NOTHING_BEFORE: u32 = NONE;
