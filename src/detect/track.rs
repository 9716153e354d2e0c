//! One metric of one host: the bucket that had data last, and its past.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    Cell, HostId, Unsound,
    cell::PackedCell,
    pace::Pace,
    ratio::{Ratio, RatioWords, Weighed},
};
use crate::{
    event::{Interval, Span, Timestamp},
    reduce::LossReason,
};

/// One metric of one host: the latest bucket, and as much of the past as the panel remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Track {
    /// Start of the first bucket with data.
    pub first_seen: Timestamp,
    /// End of the latest bucket with data.
    pub last_seen: Timestamp,
    /// How many buckets had data.
    pub covered: u32,
    /// Longest stretch between two buckets with data, from end to start.
    pub gap_longest: Span,
    rare: Option<Box<Rare>>,
    /// The latest bucket with data, which ended at `last_seen`.
    latest: PackedCell,
    /// Of panels that remember the past.
    past: Option<Box<Past>>,
    pub(super) host: HostId,
    /// Whether what counts it began anew since it spoke last, or never had it.
    pub(super) is_anew: bool,
    /// Not saved: the series are bound again.
    #[serde(skip)]
    pub(super) feeders: Feeders,
}

/// What few tracks have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename = "RareOfTrack")]
struct Rare {
    /// The latest loss and the end of the bucket that told it.
    loss: Option<(LossReason, Timestamp)>,
    /// How many of the buckets that had data were taken for nothing gained.
    assumed: u32,
    /// End of the latest bucket that had data of its own, if later ones were taken for nothing gained.
    heard: Option<Timestamp>,
    /// For how long each of the latest two gains of a counter of deltas stands; zero: not known.
    stretches: [Span; 2],
    /// End of the bucket with the latest of these gains.
    gained: Timestamp,
    /// Of what is divided by something.
    ratio: Option<Box<Ratio>>,
}

/// How many series feed a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Feeders {
    #[default]
    None,
    One,
    Many,
}

impl Feeders {
    /// One more of them.
    pub(super) fn and_one(self) -> Self {
        match self {
            Self::None => Self::One,
            Self::One | Self::Many => Self::Many,
        }
    }
}

/// The values of consecutive buckets, the newest last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Past {
    values: VecDeque<f32>,
    /// As long as `values`, or empty where the metric has no exposure.
    exposures: VecDeque<f32>,
}

/// How a past grows.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Values that it holds at most.
    depth: usize,
    /// Values for which there is room at first.
    first: usize,
}

/// Values for which a past has room at first, and how many more at most: a little more or less for
/// each host, or else all of them would have to grow in one bucket, again and again.
const FIRST_ROOM: usize = 8;

/// The past of a track that remembers none.
static NO_PAST: Past = Past::EMPTY;

impl Track {
    pub(super) fn new(host: HostId) -> Self {
        Self {
            first_seen: Timestamp::MIN,
            last_seen: Timestamp::MIN,
            covered: 0,
            gap_longest: Span::ZERO,
            rare: None,
            latest: Cell::default().into(),
            past: None,
            host,
            is_anew: false,
            feeders: Feeders::None,
        }
    }

    /// A counter of a host that never gained anything, for as long as this one is known.
    pub(super) fn zeros(&self, host: HostId) -> Self {
        let past = self.past.as_deref().map(|past| {
            let nothing = |value: &f32| if value.is_nan() { f32::NAN } else { 0.0 };
            Box::new(Past {
                values: past.values.iter().map(nothing).collect(),
                exposures: VecDeque::new(),
            })
        });
        Self {
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            covered: self.covered,
            gap_longest: self.gap_longest,
            past,
            is_anew: true,
            ..Self::new(host)
        }
    }

    /// Adds the bucket that has just closed. Says whether the metric moved: a value other than the
    /// one before, or any event.
    pub(super) fn record(
        &mut self,
        resolution: Span,
        depth: usize,
        bucket: Interval,
        cell: Cell,
    ) -> bool {
        let cell = if std::mem::take(&mut self.is_anew) && self.has_data() {
            cell.within(bucket.end - self.last_seen, resolution)
        } else {
            cell
        };
        let before = self.has_data().then_some(self.latest.value as f32);
        let mut missing = 0;
        if self.covered == 0 {
            self.first_seen = bucket.start;
        } else {
            let gap = bucket.start - self.last_seen;
            missing = usize::try_from(gap.nanos().div_euclid(resolution.nanos())).unwrap_or(0);
            self.gap_longest = self.gap_longest.max(bucket.start - self.heard_last());
        }
        if let Some(rare) = &mut self.rare {
            rare.heard = None;
        }
        if 0 < depth {
            let past = self
                .past
                .get_or_insert_with(|| Box::new(Past::EMPTY.clone()));
            let room = Room {
                depth,
                first: FIRST_ROOM + self.host.0 as usize % FIRST_ROOM,
            };
            for _ in 0..missing.min(depth) {
                past.push(room, f32::NAN, cell.exposure.map(|_| f32::NAN));
            }
            let exposure = cell.exposure.map(|exposure| exposure as f32);
            past.push(room, cell.value as f32, exposure);
        }
        self.last_seen = bucket.end;
        self.covered = self.covered.saturating_add(1);
        self.latest = cell.into();
        cell.events > 0.0
            || cell.exposure.is_some_and(|exposure| exposure > 0.0)
            || cell.min < cell.max
            || before.is_some_and(|before| before.is_finite() && before != cell.value as f32)
    }

    /// Takes what a bucket says of both sides of a ratio. Says whether the metric moved.
    pub(super) fn record_ratio(
        &mut self,
        room: (Span, usize),
        bucket: Interval,
        words: RatioWords,
    ) -> bool {
        let weighed = self.ratio_mut().hear(bucket, words);
        weighed.is_some_and(|weighed| self.record_weighed(room, bucket, weighed))
    }

    /// Notes that the numerator of a ratio is there, though nothing can be made of it.
    pub(super) fn expect_numerator(&mut self) {
        self.ratio_mut().expect();
    }

    /// Takes the bucket that has just closed, in which a counter of deltas (the value, or the numerator) is
    /// missing, for one in which it gained nothing, if that is what the gap means: see [`Pace`]. `exported` is
    /// the time of which its sender exported others in the bucket. Says whether the metric moved.
    pub(super) fn gain_nothing(
        &mut self,
        (resolution, depth): (Span, usize),
        bucket: Interval,
        exported: Option<Span>,
        silence_min: Span,
    ) -> bool {
        self.learn_stretch(bucket);
        let Some(pace) = self.pace().filter(|pace| pace.filled < bucket.end) else {
            return false;
        };
        let is_nothing = match exported {
            Some(exported) => pace.is_left_out(bucket, exported),
            None => pace.is_overdue(bucket, resolution, silence_min),
        };
        if !is_nothing || self.lost_of_late(bucket, silence_min) {
            return false;
        }
        let is_assumed = exported.is_none();
        let stretch = exported.unwrap_or(pace.stretches[0]);
        let ratio = self
            .rare
            .as_deref_mut()
            .and_then(|rare| rare.ratio.as_mut());
        let weighed = match ratio {
            Some(ratio) => ratio.gain_nothing(bucket, stretch, is_assumed),
            None => Some(Weighed {
                cell: Cell::default(),
                is_assumed,
            }),
        };
        let room = (resolution, depth);
        weighed.is_some_and(|weighed| self.record_weighed(room, bucket, weighed))
    }

    fn record_weighed(
        &mut self,
        (resolution, depth): (Span, usize),
        bucket: Interval,
        weighed: Weighed,
    ) -> bool {
        let heard = self.has_data().then(|| self.heard_last());
        let moved = self.record(resolution, depth, bucket, weighed.cell);
        if let Some(heard) = heard.filter(|_| weighed.is_assumed) {
            let rare = self.rare.get_or_insert_default();
            rare.assumed = rare.assumed.saturating_add(1);
            rare.heard = Some(heard);
        }
        moved
    }

    /// Whether its values are divided by an exposure.
    pub fn is_exposed(&self) -> bool {
        self.has_data() && !self.latest.exposure.is_nan()
    }

    /// Whether the numerator of a ratio waits for an exposure that is told, and is nothing.
    pub(super) fn is_unexposed(&self) -> bool {
        let ratio = self.rare.as_deref().and_then(|rare| rare.ratio.as_deref());
        ratio.is_some_and(Ratio::is_unexposed)
    }

    /// Notes for how long a gain of the bucket stands, if it had one.
    fn learn_stretch(&mut self, bucket: Interval) {
        let Some(cell) = self.cell(bucket) else {
            return;
        };
        if cell.exposure.is_some() || cell.events <= 0.0 {
            return;
        }
        let stretch = Span::from_nanos((1e9 * cell.events / cell.value) as i64);
        let rare = self.rare.get_or_insert_default();
        if rare.gained != bucket.end {
            let known = rare.stretches[0];
            let before = if known == Span::ZERO { stretch } else { known };
            (rare.stretches, rare.gained) = ([stretch, before], bucket.end);
        }
    }

    /// The pace of the counter that makes its values, or of the numerator; `None`: it never said anything.
    fn pace(&self) -> Option<Pace> {
        let rare = self.rare.as_deref();
        if let Some(ratio) = rare.and_then(|rare| rare.ratio.as_deref()) {
            return ratio.pace().copied();
        }
        self.has_data().then(|| Pace {
            first: self.first_seen,
            heard: self.heard_last(),
            filled: self.last_seen,
            words: self.heard_count(),
            stretches: rare.map_or([Span::ZERO; 2], |rare| rare.stretches),
        })
    }

    fn ratio_mut(&mut self) -> &mut Ratio {
        let rare = self.rare.get_or_insert_default();
        rare.ratio.get_or_insert_default()
    }

    /// Whether data of it was lost so shortly before the end of the bucket that a gap may be more of that: who is
    /// late once is late again, and is told of it only when the bucket has closed.
    fn lost_of_late(&self, bucket: Interval, silence_min: Span) -> bool {
        let loss = self.loss();
        loss.is_some_and(|(_, told)| bucket.end - told <= self.patience(silence_min))
    }

    /// How long it may be silent: five times the usual distance of its data, or longer if that is the least.
    fn patience(&self, silence_min: Span) -> Span {
        silence_min.max(self.cadence().times(5))
    }

    /// End of the latest bucket that had data of its own: later ones may have been taken for nothing gained.
    pub fn heard_last(&self) -> Timestamp {
        let rare = self.rare.as_deref();
        rare.and_then(|rare| rare.heard).unwrap_or(self.last_seen)
    }

    /// How many buckets had data of their own.
    pub fn heard_count(&self) -> u32 {
        let rare = self.rare.as_deref();
        self.covered - rare.map_or(0, |rare| rare.assumed).min(self.covered)
    }

    /// Mean distance of the buckets with data of their own.
    pub fn cadence(&self) -> Span {
        let whole = self.heard_last() - self.first_seen;
        Span::from_nanos(whole.nanos() / i64::from(self.heard_count().max(1)))
    }

    /// Whether it ever had a usable value.
    pub fn has_data(&self) -> bool {
        self.covered > 0
    }

    /// What the bucket held; `None` if it had no data, or is not the latest that had.
    pub fn cell(&self, bucket: Interval) -> Option<Cell> {
        (self.has_data() && self.last_seen == bucket.end).then(|| self.latest.into())
    }

    /// The latest bucket that had data: its end, and what it held.
    pub fn latest(&self) -> Option<(Timestamp, Cell)> {
        self.has_data()
            .then(|| (self.last_seen, self.latest.into()))
    }

    /// The latest loss and the end of the bucket that told it.
    pub fn loss(&self) -> Option<(LossReason, Timestamp)> {
        self.rare.as_deref()?.loss
    }

    /// Notes a loss that a bucket told.
    pub(super) fn lose(&mut self, reason: LossReason, told: Timestamp) {
        self.rare.get_or_insert_default().loss = Some((reason, told));
    }

    /// Whether it has data, and series that feed it.
    pub(super) fn is_fed(&self) -> bool {
        self.has_data() && self.feeders != Feeders::None
    }

    /// Whether series feed it, whatever they told.
    pub(super) fn has_feeders(&self) -> bool {
        self.feeders != Feeders::None
    }

    /// Whether it ever had data or losses.
    pub(super) fn is_known(&self) -> bool {
        self.has_data() || self.loss().is_some()
    }

    /// The values of the buckets in `[from, to)`, oldest first, one for each bucket that is still
    /// remembered; NaN where there was no data. Buckets after the newest are not listed.
    pub fn values(
        &self,
        resolution: Span,
        from: Timestamp,
        to: Timestamp,
    ) -> impl ExactSizeIterator<Item = f32> + DoubleEndedIterator {
        let range = self.range(resolution, from, to);
        self.past().values.range(range).copied()
    }

    /// Like [`Track::values`], each with its exposure; 1 where the metric has none.
    pub fn weighted(
        &self,
        resolution: Span,
        from: Timestamp,
        to: Timestamp,
    ) -> impl ExactSizeIterator<Item = (f32, f32)> {
        let past = self.past();
        self.range(resolution, from, to).map(|index| {
            (
                past.values[index],
                past.exposures.get(index).copied().unwrap_or(1.0),
            )
        })
    }

    /// Whether a value that is remembered, or the latest one, is larger than this; not of one that has an
    /// exposure.
    pub(super) fn exceeds(&self, limit: f64) -> bool {
        let latest = self.latest().map(|(_, cell)| cell);
        let Some(latest) = latest.filter(|cell| cell.exposure.is_none()) else {
            return false;
        };
        let mut past = self.past().values.iter();
        limit < latest.value || past.any(|value| limit < f64::from(*value))
    }

    /// Checks what was saved, and forgets what is beyond the depth.
    pub(super) fn settle(&mut self, depth: usize) -> Result<(), Unsound> {
        let Some(past) = &mut self.past else {
            return Ok(());
        };
        if !past.exposures.is_empty() && past.exposures.len() != past.values.len() {
            return Err(Unsound::Impossible {
                what: "a past with more values than exposures",
            });
        }
        let beyond = past.values.len().saturating_sub(depth);
        past.values.drain(..beyond);
        past.exposures.drain(..beyond.min(past.exposures.len()));
        if depth == 0 {
            self.past = None;
        }
        Ok(())
    }

    /// Frees its past. Data that comes later begins a new one.
    pub(super) fn forget(&mut self) {
        self.past = None;
    }

    fn past(&self) -> &Past {
        self.past.as_deref().unwrap_or(&NO_PAST)
    }

    fn range(&self, resolution: Span, from: Timestamp, to: Timestamp) -> std::ops::Range<usize> {
        let len = self.past().values.len();
        let width = resolution.nanos();
        // The newest value is of the bucket before this one.
        let next = self.last_seen.nanos().div_euclid(width);
        let oldest = next.saturating_sub(len as i64);
        let index = |at: Timestamp, round_up: bool| {
            let number = at.nanos().div_euclid(width)
                + i64::from(round_up && at.nanos().rem_euclid(width) != 0);
            usize::try_from(number.saturating_sub(oldest))
                .unwrap_or(0)
                .min(len)
        };
        // A bucket belongs to [from, to) when it lies in it as a whole.
        let (start, end) = (index(from, true), index(to, false));
        start.min(end)..end
    }
}

impl Past {
    const EMPTY: Self = Self {
        values: VecDeque::new(),
        exposures: VecDeque::new(),
    };

    fn push(&mut self, room: Room, value: f32, exposure: Option<f32>) {
        if room.depth <= self.values.len() {
            self.values.pop_front();
            self.exposures.pop_front();
        }
        room.push(&mut self.values, value);
        if let Some(exposure) = exposure {
            room.push(&mut self.exposures, exposure);
        }
    }
}

impl Room {
    /// Appends, and grows by half, never beyond the depth.
    fn push(self, values: &mut VecDeque<f32>, value: f32) {
        let len = values.len();
        if len == values.capacity() {
            let more = if len == 0 { self.first } else { len / 2 };
            values.reserve_exact(more.min(self.depth.saturating_sub(len)).max(1));
        }
        values.push_back(value);
    }
}
