//! The samples of a bucket that is still open: appended as they come, sorted when it closes.

mod order;
mod shape;

use std::collections::BTreeMap;

use crate::event::{Histogram, Kind, SeriesMeta, Span, Temporality, Timestamp, Unit};

use super::LossReason;
use order::{compare_data, total_order};

/// So many samples, and so many for each selected series, may lie in a bucket of one shard before it is
/// looked through for those over the limit.
const UNCHECKED: usize = 8_192;
const UNCHECKED_PER_SERIES: usize = 16;
/// Samples of a chunk: with what the allocator adds a little less than 16 KiB.
const CHUNK_SAMPLES: usize = 1_000;
/// Nanoseconds of a unit in which plain times are kept.
const UNIT_NANOS: i64 = 1_000_000;
/// Says that a time is not plain.
const RARE: u32 = 1 << 31;
/// Where the shape of a sample stands beside a plain time, which lies below: nine hours of milliseconds.
const SHAPE_SHIFT: u32 = 25;
/// Where the index of a distribution begins in a tail.
const HISTOGRAM_SHIFT: u32 = 7;

/// One sample of a selected series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Which of the selected series: a slot in its shard, or its id.
    pub(super) series: u32,
    /// One bit for delta temporality, six for kind and unit that its sender told, and one more than the index of
    /// its distribution, 0 for a number.
    tail: u32,
    pub(super) at: Timestamp,
    /// [`Timestamp::MIN`] where it is not told.
    start: Timestamp,
    /// Finite.
    pub(super) value: f64,
}

/// A sample as an open bucket keeps it: what every sample has in 16 bytes, what few have elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    pub(super) series: u32,
    /// Milliseconds after the start of the bucket, kind and unit, or [`RARE`] and an index of [`Rare`].
    when: u32,
    value: f64,
}

/// What a sample has beside its series and its value, if it is a distribution, a delta, tells its start
/// or does not fall on a whole millisecond.
#[derive(Clone, Copy, Debug)]
struct Rare {
    at: Timestamp,
    start: Timestamp,
    tail: u32,
}

/// What packed samples of one bucket refer to.
#[derive(Clone, Debug)]
pub(super) struct Packing {
    start: Timestamp,
    rare: Vec<Rare>,
}

/// Samples of one open bucket.
///
/// Bounded without depending on the order of arrival: when too many have piled up, what settling would
/// drop in the end is dropped early. Of a series the earliest times stay, and a time that is not among
/// the earliest so far never will be.
///
/// They lie in chunks, so that nothing is moved while the bucket grows, and the memory of one bucket is
/// used for the next.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    chunks: Vec<Vec<Packed>>,
    len: usize,
    packing: Packing,
    /// Consistent and normalized.
    histograms: Vec<Histogram>,
    /// What was dropped early. It belongs to this bucket, and counts when that closes: when it was dropped
    /// depends on the order of arrival.
    pub(super) dropped: Dropped,
    per_series_max: usize,
    settle_at: usize,
}

/// Chunks that wait to be used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Vec<Vec<Packed>>);

/// The samples of one bucket from all shards, with their series named.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    pub(super) samples: Vec<Packed>,
    pub(super) packing: Packing,
    pub(super) histograms: Vec<Histogram>,
    /// What was dropped early.
    pub(super) dropped: Dropped,
}

/// Samples that were dropped, by series and reason, and how many were delivered twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) losses: BTreeMap<(u32, LossReason), u64>,
    pub(super) duplicates: u64,
}

impl Sample {
    #[inline]
    pub(super) fn new(
        series: u32,
        meta: SeriesMeta,
        at: Timestamp,
        start: Timestamp,
        value: f64,
    ) -> Self {
        Self {
            series,
            tail: shape::of(meta) << 1 | u32::from(meta.temporality == Temporality::Delta),
            at,
            start,
            value,
        }
    }

    pub(super) fn temporality(&self) -> Temporality {
        if self.tail & 1 == 1 {
            Temporality::Delta
        } else {
            Temporality::Cumulative
        }
    }

    /// What its sender told that it is.
    pub(super) fn kind(&self) -> Kind {
        shape::kind(self.tail >> 1)
    }

    /// In what its sender told that it is measured.
    pub(super) fn unit(&self) -> Unit {
        shape::unit(self.tail >> 1)
    }

    pub(super) fn start(&self) -> Option<Timestamp> {
        (self.start != Timestamp::MIN).then_some(self.start)
    }

    /// Where its distribution stands, if it is one.
    pub(super) fn histogram(&self) -> Option<usize> {
        histogram(self.tail)
    }

    fn set_histogram(&mut self, index: usize) {
        set_histogram(&mut self.tail, index);
    }
}

/// The index of a distribution in a tail.
fn histogram(tail: u32) -> Option<usize> {
    (tail as usize >> HISTOGRAM_SHIFT).checked_sub(1)
}

fn set_histogram(tail: &mut u32, index: usize) {
    *tail = (index as u32 + 1) << HISTOGRAM_SHIFT | *tail & ((1 << HISTOGRAM_SHIFT) - 1);
}

impl Packing {
    /// Of a bucket that starts at a time.
    pub(super) fn new(start: Timestamp) -> Self {
        Self {
            start,
            rare: Vec::new(),
        }
    }

    /// When the bucket starts.
    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    #[inline]
    fn pack(&mut self, sample: &Sample) -> Packed {
        let Sample {
            series,
            tail,
            at,
            start,
            value,
        } = *sample;
        let after = (at - self.start).nanos();
        let units = after / UNIT_NANOS;
        let shape = tail >> 1;
        let is_plain = shape << 1 == tail
            && shape <= shape::MAX
            && start == Timestamp::MIN
            && units * UNIT_NANOS == after;
        let when = match u32::try_from(units) {
            Ok(units) if is_plain && units < 1 << SHAPE_SHIFT => shape << SHAPE_SHIFT | units,
            Ok(_) | Err(_) => self.pack_rare(Rare { at, start, tail }),
        };
        Packed {
            series,
            when,
            value,
        }
    }

    fn pack_rare(&mut self, rare: Rare) -> u32 {
        self.rare.push(rare);
        RARE | (self.rare.len() - 1) as u32
    }

    /// The sample as it came.
    #[inline]
    pub(super) fn unpack(&self, packed: &Packed) -> Sample {
        let Packed {
            series,
            when,
            value,
        } = *packed;
        if when & RARE == 0 {
            let (shape, units) = (when >> SHAPE_SHIFT, when & ((1 << SHAPE_SHIFT) - 1));
            let at = self.start + Span::from_nanos(i64::from(units) * UNIT_NANOS);
            return Sample {
                series,
                tail: shape << 1,
                at,
                start: Timestamp::MIN,
                value,
            };
        }
        let Rare { at, start, tail } = self.rare[(when & !RARE) as usize];
        Sample {
            series,
            tail,
            at,
            start,
            value,
        }
    }
}

impl Samples {
    /// An empty bucket that starts at a time.
    pub(super) fn new(start: Timestamp, per_series_max: usize, selected: usize) -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            packing: Packing::new(start),
            histograms: Vec::new(),
            dropped: Dropped::default(),
            per_series_max: per_series_max.max(1),
            settle_at: UNCHECKED.saturating_add(UNCHECKED_PER_SERIES.saturating_mul(selected)),
        }
    }

    /// Appends a number.
    #[inline]
    pub(super) fn push(&mut self, sample: &Sample, spare: &mut Spare) {
        self.append(sample, spare);
        if self.settle_at <= self.len {
            self.settle(spare);
        }
    }

    /// Appends a distribution.
    pub(super) fn push_histogram(
        &mut self,
        mut sample: Sample,
        histogram: Histogram,
        spare: &mut Spare,
    ) {
        sample.set_histogram(self.histograms.len());
        self.histograms.push(histogram);
        self.push(&sample, spare);
    }

    /// The series that have samples here, each once or more often.
    pub(super) fn series(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flatten().map(|sample| sample.series)
    }

    /// Gives every series another number.
    pub(super) fn rename(&mut self, name: impl Fn(u32) -> u32) {
        for sample in self.chunks.iter_mut().flatten() {
            sample.series = name(sample.series);
        }
        self.dropped.rename(|series| Some(name(series)));
    }

    /// How many chunks it holds.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    #[inline]
    fn append(&mut self, sample: &Sample, spare: &mut Spare) {
        self.len += 1;
        let sample = self.packing.pack(sample);
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_SAMPLES => chunk.push(sample),
            Some(_) | None => {
                let mut chunk = spare.take();
                chunk.push(sample);
                self.chunks.push(chunk);
            }
        }
    }

    /// Sorts by series and time, and leaves one sample for each time and at most the limit for each
    /// series.
    fn settle(&mut self, spare: &mut Spare) {
        let mut dropped = std::mem::take(&mut self.dropped);
        let mut samples: Vec<Packed> = self.chunks.concat();
        samples.sort_unstable_by_key(|sample| sample.series);
        let unused = Packing::new(self.packing.start);
        let packing = std::mem::replace(&mut self.packing, unused);
        for mut chunk in self.chunks.drain(..) {
            chunk.clear();
            spare.0.push(chunk);
        }
        self.len = 0;
        let histograms = std::mem::take(&mut self.histograms);
        let mut kept_histograms = Vec::new();
        let mut run = Vec::new();
        for packed in samples.chunk_by(|a, b| a.series == b.series) {
            run.clear();
            run.extend(packed.iter().map(|packed| packing.unpack(packed)));
            let len = settle_run(&mut run, &histograms, self.per_series_max, &mut dropped);
            for sample in &mut run[..len] {
                if let Some(index) = sample.histogram() {
                    sample.set_histogram(kept_histograms.len());
                    kept_histograms.push(histograms[index].clone());
                }
                self.append(sample, spare);
            }
        }
        self.histograms = kept_histograms;
        self.dropped = dropped;
        // Twice what is rightly here: sorting stays a constant factor, memory does too.
        self.settle_at = self.settle_at.max(self.len.saturating_mul(2));
    }

    /// Sorts the samples of one series by time, leaves one for each time and at most the limit; gives how
    /// many are left at the front.
    pub(super) fn settle_series(
        run: &mut [Sample],
        histograms: &[Histogram],
        per_series_max: usize,
        dropped: &mut Dropped,
    ) -> usize {
        settle_run(run, histograms, per_series_max.max(1), dropped)
    }
}

impl Spare {
    fn take(&mut self) -> Vec<Packed> {
        self.0
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(CHUNK_SAMPLES))
    }

    /// Takes in the chunks of another.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Gives memory back beyond so many chunks.
    pub(super) fn keep(&mut self, chunks_max: usize) {
        self.0.truncate(chunks_max);
    }
}

impl Gathered {
    /// Takes in the samples of a shard, with their series named; those without a name are left out. The
    /// chunks go to `spare`, as long as there are not more than twice as many as this bucket had.
    pub(super) fn absorb(
        &mut self,
        samples: Samples,
        spare: &mut Spare,
        name: impl Fn(u32) -> Option<u32>,
    ) {
        let mut dropped = samples.dropped;
        dropped.rename(&name);
        self.dropped.add(dropped);
        let histograms = self.histograms.len();
        let rare = self.packing.rare.len() as u32;
        let chunks_max = samples.chunks.len() * 2;
        self.samples.reserve(samples.len);
        for mut chunk in samples.chunks {
            for packed in chunk.drain(..) {
                let Some(series) = name(packed.series) else {
                    continue;
                };
                let is_rare = packed.when & RARE != 0;
                let when = packed.when + if is_rare { rare } else { 0 };
                self.samples.push(Packed {
                    series,
                    when,
                    value: packed.value,
                });
            }
            if spare.0.len() < chunks_max {
                spare.0.push(chunk);
            }
        }
        self.packing
            .rare
            .extend(samples.packing.rare.into_iter().map(|mut rare| {
                if let Some(index) = histogram(rare.tail) {
                    set_histogram(&mut rare.tail, index + histograms);
                }
                rare
            }));
        self.histograms.extend(samples.histograms);
    }
}

fn settle_run(
    run: &mut [Sample],
    histograms: &[Histogram],
    per_series_max: usize,
    dropped: &mut Dropped,
) -> usize {
    if let [_] = run {
        return 1;
    }
    run.sort_unstable_by(|a, b| total_order(a, b, histograms));
    let mut len = 0;
    for index in 0..run.len() {
        let sample = run[index];
        match run[..len].last() {
            Some(kept) if kept.at == sample.at => {
                if compare_data(kept, &sample, histograms).is_eq() {
                    dropped.duplicates += 1;
                } else {
                    dropped.count(sample.series, LossReason::Duplicate);
                }
                // The larger stays, and it comes later.
                run[len - 1] = sample;
            }
            Some(_) | None => {
                run[len] = sample;
                len += 1;
            }
        }
    }
    let kept = len.min(per_series_max);
    for sample in &run[kept..len] {
        dropped.count(sample.series, LossReason::OverLimit);
    }
    kept
}

impl Dropped {
    fn count(&mut self, series: u32, reason: LossReason) {
        *self.losses.entry((series, reason)).or_default() += 1;
    }

    /// Gives series other numbers; those that have none are left out.
    fn rename(&mut self, name: impl Fn(u32) -> Option<u32>) {
        let before = std::mem::take(&mut self.losses).into_iter();
        let renamed =
            before.filter_map(|((series, reason), count)| Some(((name(series)?, reason), count)));
        self.losses = renamed.collect();
    }

    fn add(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        for (loss, count) in other.losses {
            *self.losses.entry(loss).or_default() += count;
        }
    }

    /// Whether a limit cut off samples of a series.
    pub(super) fn is_cut(&self, series: u32) -> bool {
        let loss = (series, LossReason::OverLimit);
        self.losses.contains_key(&loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_came() {
        let start = Timestamp::from_seconds(1_772_000_000);
        let mut packing = Packing::new(start);
        let temporalities = [Temporality::Cumulative, Temporality::Delta];
        let days = Span::from_hours(24 * 4);
        for after in [Span::ZERO, Span::from_seconds(9), Span::from_nanos(1), days] {
            let kinds = shape::KINDS
                .iter()
                .flat_map(|kind| temporalities.map(|of| (*kind, of)));
            let shapes = kinds.flat_map(|(kind, of)| shape::UNITS.map(|unit| (kind, of, unit)));
            for (kind, temporality, unit) in shapes {
                let meta = SeriesMeta {
                    kind,
                    temporality,
                    unit,
                };
                let mut sample = Sample::new(7, meta, start + after, Timestamp::MIN, 2.5);
                for histogram in [None, Some(0), Some(70_000)] {
                    if let Some(index) = histogram {
                        sample.set_histogram(index);
                    }
                    let packed = packing.pack(&sample);
                    let came = packing.unpack(&packed);
                    assert_eq!((came.at, came.start(), came.value), (sample.at, None, 2.5));
                    assert_eq!((came.kind(), came.unit()), (kind, unit));
                    assert_eq!(came.temporality(), temporality);
                    assert_eq!(came.histogram(), histogram);
                }
            }
        }
    }
}
