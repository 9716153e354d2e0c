//! What a request holds, as pieces of its bytes: neither labels nor bodies are copied.
//!
//! A decoder walks the bytes of a request once and leaves a [`RawBatch`] behind: for each series
//! where its labels stand, with a hash of them, and its points; for each log record where its body
//! stands. The buffers of a `RawBatch` are used again and again, so that in the steady state nothing
//! is allocated for a sample or a label. Labels are read only when a series is new.
//!
//! The key of a series is up to three pieces. Equal keys are the same series; the same series may
//! have several keys (another order of its attributes, another protocol), which its labels tell.

mod owned;

use std::ops::Range;

use super::{
    Edition, Histogram, KeyHash, KeyPlace, Kind, Labels, Overflow, Point, RejectReason, Rejects,
    SeriesMeta, Severity, Spare, Timestamp, Unit, Value, Written,
};

/// Bytes of a request, or bytes that the decoder wrote beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Place of the first byte; the highest bit says that it is among those written beside.
    start: u32,
    len: u32,
}

/// One series in a request, with its points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawSeries {
    /// Hash of the key.
    pub hash: u64,
    /// The key.
    pub key: [Piece; 3],
    /// Where the key stands in the cache of [`RawBatch::edition`], if it is there.
    pub place: Option<KeyPlace>,
    /// What the protocol tells about the series.
    pub meta: SeriesMeta,
    /// Its first point in [`RawBatch::points`].
    pub first: u32,
    /// How many points it has.
    pub count: u32,
}

/// One point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawPoint {
    /// When it was measured.
    pub at: Timestamp,
    /// When the unbroken count began; [`Timestamp::MIN`] where the protocol does not tell.
    pub start: Timestamp,
    /// Its value; a stale marker has the bits of Prometheus' own.
    pub value: f64,
    /// One more than the index in [`RawBatch::histograms`]; 0 for a number.
    pub histogram: u32,
}

/// One log record, or several equal ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawLog {
    /// When it was written.
    pub at: Timestamp,
    /// Its severity.
    pub severity: Severity,
    /// Its message; always UTF-8.
    pub body: Piece,
    /// Hash of `stream`.
    pub hash: u64,
    /// The attributes that tell its stream, in the canonical form.
    pub stream: Piece,
    /// How many equal records it stands for; at least 1.
    pub count: u64,
}

/// Log records that could not be read, of a stream that could: whoever looks at the stream did not see them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawUnread {
    /// Hash of `stream`.
    pub hash: u64,
    /// The attributes that tell its stream, in the canonical form.
    pub stream: Piece,
    /// Their severity; `None`: it may be any.
    pub severity: Option<Severity>,
    /// How many there are; at least 1.
    pub count: u64,
}

/// What is told of all series of a metric by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMetric {
    /// The name; always UTF-8, and not empty.
    pub metric: Piece,
    /// What its series count or measure.
    pub kind: Kind,
    /// Their unit.
    pub unit: Unit,
}

/// Why the labels of a series cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLabels {
    /// The reason.
    pub reason: RejectReason,
    /// What is wrong, told so that the sender can find it.
    pub detail: String,
}

/// Reads the labels that a key stands for.
pub type ReadLabels = fn([&[u8]; 3]) -> Result<Labels, BadLabels>;

/// Everything that one request holds, without the bytes of the request itself.
#[derive(Clone, Debug)]
pub struct RawBatch {
    /// Series in the order of the sender; one may stand several times.
    pub series: Vec<RawSeries>,
    /// The points of all series.
    pub points: Vec<RawPoint>,
    /// The distributions among the points.
    pub histograms: Vec<Histogram>,
    /// Log records in the order of the sender.
    pub logs: Vec<RawLog>,
    /// Log records that were refused, but of which is known whose they are; `rejects` counts them too.
    pub unread: Vec<RawUnread>,
    /// What is told of metrics by their names alone.
    pub metadata: Vec<RawMetric>,
    /// Entries of that kind that cannot be read.
    pub metadata_unread: u64,
    /// What was refused while decoding.
    pub rejects: Rejects,
    /// Exemplars that were passed over.
    pub exemplars: u64,
    /// Why nothing was found in a request that is not empty.
    pub remark: Option<&'static str>,
    /// Samples beyond the first of one data point: a summary becomes several series.
    pub parts: u64,
    /// Stale markers of histograms, which stand among the numbers.
    pub stale_histograms: u64,
    /// What the places of its keys are good for; `None`: nobody looked for them.
    pub edition: Option<Edition>,
    written: Written,
    keys: KeyHash,
    read_labels: ReadLabels,
    items_max: usize,
    is_crowded: bool,
    spare: [Spare; 6],
}

/// A request and what was found in it.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    body: &'a [u8],
    /// What was found.
    pub batch: &'a RawBatch,
}

/// The longest request that pieces can point into, in bytes: 2 GiB.
pub const BODY_BYTES_MAX: usize = (1 << 31) - 1;

/// Most series, samples or log records that any limit allows: they are numbered in 32 bits.
const ITEMS_MAX: usize = (1 << 31) - 1;

const WRITTEN: u32 = 1 << 31;

impl Piece {
    /// A piece of the request's own bytes.
    ///
    /// # Panics
    /// It ends beyond [`BODY_BYTES_MAX`].
    #[inline]
    pub fn of_body(range: Range<usize>) -> Self {
        assert!(
            range.end <= BODY_BYTES_MAX,
            "a request has at most 2 GiB of bytes"
        );
        Self {
            start: range.start as u32,
            len: (range.end - range.start) as u32,
        }
    }
}

impl RawBatch {
    /// An empty batch. `read_labels` reads the keys that the decoder makes.
    pub fn new(keys: KeyHash, read_labels: ReadLabels) -> Self {
        Self {
            series: Vec::new(),
            points: Vec::new(),
            histograms: Vec::new(),
            logs: Vec::new(),
            unread: Vec::new(),
            metadata: Vec::new(),
            metadata_unread: 0,
            rejects: Rejects::default(),
            exemplars: 0,
            remark: None,
            parts: 0,
            stale_histograms: 0,
            edition: None,
            written: Written::default(),
            keys,
            read_labels,
            items_max: ITEMS_MAX,
            is_crowded: false,
            spare: [Spare::default(); 6],
        }
    }

    /// Bounds what it takes from the next request on: `items_max` series, samples and log records
    /// each, and `written_bytes_max` for what is not among the bytes of the request (labels written
    /// out, buckets of histograms).
    pub fn limit(&mut self, items_max: usize, written_bytes_max: usize) {
        self.items_max = items_max.min(ITEMS_MAX);
        self.written.limit(written_bytes_max);
    }

    /// Whether something was left out because of [`RawBatch::limit`]; then the request cannot be
    /// taken.
    pub fn overflow(&self) -> Option<Overflow> {
        if self.is_crowded {
            return Some(Overflow::Items {
                limit: self.items_max,
            });
        }
        self.written.overflow()
    }

    /// Forgets what it holds but not its memory, unless that is far more than was needed of late.
    pub fn reuse(&mut self, read_labels: ReadLabels) {
        let [series, points, histograms, logs, unread, metadata] = &mut self.spare;
        series.clear(&mut self.series);
        points.clear(&mut self.points);
        histograms.clear(&mut self.histograms);
        logs.clear(&mut self.logs);
        unread.clear(&mut self.unread);
        metadata.clear(&mut self.metadata);
        self.metadata_unread = 0;
        self.rejects = Rejects::default();
        self.exemplars = 0;
        self.remark = None;
        self.parts = 0;
        self.stale_histograms = 0;
        self.edition = None;
        self.written.clear();
        self.is_crowded = false;
        self.read_labels = read_labels;
    }

    /// Bytes of memory that it holds on to.
    pub fn memory_bytes(&self) -> usize {
        self.series.capacity() * size_of::<RawSeries>()
            + self.points.capacity() * size_of::<RawPoint>()
            + self.histograms.capacity() * size_of::<Histogram>()
            + self.logs.capacity() * size_of::<RawLog>()
            + self.unread.capacity() * size_of::<RawUnread>()
            + self.metadata.capacity() * size_of::<RawMetric>()
            + self.written.memory_bytes()
    }

    /// How its keys are hashed.
    #[inline]
    pub fn keys(&self) -> KeyHash {
        self.keys
    }

    /// How many samples it holds.
    pub fn sample_count(&self) -> u64 {
        self.points.len() as u64
    }

    /// How many log records it holds, each counted as often as it stands for.
    pub fn log_count(&self) -> u64 {
        self.logs
            .iter()
            .fold(0, |sum, log| log.count.saturating_add(sum))
    }

    /// Whether it holds neither data nor rejects.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.logs.is_empty() && self.rejects.is_empty()
    }

    /// Writes a piece beside the request's bytes. The second result is what `write` gave.
    pub fn write<T>(&mut self, write: impl FnOnce(&mut Written) -> T) -> (Piece, T) {
        let start = self.written.bytes().len();
        let result = write(&mut self.written);
        let piece = Piece {
            start: start as u32 | WRITTEN,
            len: (self.written.bytes().len() - start) as u32,
        };
        (piece, result)
    }

    /// Charges memory that a decoder needs beside this batch against the same bound.
    pub fn charge(&mut self, bytes: usize) -> bool {
        self.written.charge(bytes)
    }

    /// The bytes of a piece of a request with this body.
    #[inline]
    pub fn bytes<'a>(&'a self, body: &'a [u8], piece: Piece) -> &'a [u8] {
        let from = if piece.start & WRITTEN == 0 {
            body
        } else {
            self.written.bytes()
        };
        let start = (piece.start & !WRITTEN) as usize;
        &from[start..start + piece.len as usize]
    }

    /// Appends a series without points; [`RawBatch::point`] gives it some.
    #[inline]
    pub fn start_series(&mut self, hash: u64, key: [Piece; 3], meta: SeriesMeta) {
        self.start_cached(hash, key, None, meta);
    }

    /// The same of a series whose key was looked for in the cache of [`RawBatch::edition`].
    #[inline]
    pub fn start_cached(
        &mut self,
        hash: u64,
        key: [Piece; 3],
        place: Option<KeyPlace>,
        meta: SeriesMeta,
    ) {
        if self.series.len() == self.items_max {
            self.is_crowded = true;
            return;
        }
        self.series.push(RawSeries {
            hash,
            key,
            place,
            meta,
            first: self.points.len() as u32,
            count: 0,
        });
    }

    /// Appends a number to the series that was started last.
    #[inline]
    pub fn point(&mut self, at: Timestamp, start: Timestamp, value: f64) {
        self.push_point(RawPoint {
            at,
            start,
            value,
            histogram: 0,
        });
    }

    /// Appends a value to the series that was started last.
    pub fn value(&mut self, at: Timestamp, start: Option<Timestamp>, value: Value) {
        let start = start.unwrap_or(Timestamp::MIN);
        match value {
            Value::Number(value) => self.point(at, start, value),
            Value::Stale => {
                let series = self.series.last();
                let is_histogram = series.is_some_and(|series| series.meta.kind == Kind::Histogram);
                self.stale_histograms += u64::from(is_histogram);
                self.point(at, start, f64::from_bits(Value::STALE_BITS));
            }
            Value::Histogram(histogram) => {
                // Counted twice: the vector may have room for as many again.
                if !self.charge(histogram.memory_bytes() + size_of::<Histogram>()) {
                    return;
                }
                self.histograms.push(*histogram);
                let histogram = self.histograms.len() as u32;
                let value = 0.0;
                self.push_point(RawPoint {
                    at,
                    start,
                    value,
                    histogram,
                });
            }
        }
    }

    /// Appends a log record.
    #[inline]
    pub fn log(&mut self, log: RawLog) {
        if self.logs.len() == self.items_max {
            self.is_crowded = true;
        } else {
            self.logs.push(log);
        }
    }

    /// Notes log records that could not be read.
    pub fn unread(&mut self, unread: RawUnread) {
        let of = |unread: &RawUnread| (unread.hash, unread.stream, unread.severity);
        if let Some(last) = self.unread.last_mut()
            && of(last) == of(&unread)
        {
            last.count = last.count.saturating_add(unread.count);
        } else if self.unread.len() == self.items_max {
            self.is_crowded = true;
        } else {
            self.unread.push(unread);
        }
    }

    /// Appends what is told of a metric by its name alone.
    pub fn metric(&mut self, told: RawMetric) {
        if self.metadata.len() == self.items_max {
            self.is_crowded = true;
        } else {
            self.metadata.push(told);
        }
    }

    #[inline]
    fn push_point(&mut self, point: RawPoint) {
        if self.points.len() == self.items_max {
            self.is_crowded = true;
            return;
        }
        self.points.push(point);
        if let Some(series) = self.series.last_mut() {
            series.count += 1;
        }
    }
}

impl<'a> Raw<'a> {
    /// A request and what was found in its body.
    pub fn new(body: &'a [u8], batch: &'a RawBatch) -> Self {
        Self { body, batch }
    }

    /// The bytes of a piece.
    #[inline]
    pub fn bytes(&self, piece: Piece) -> &'a [u8] {
        self.batch.bytes(self.body, piece)
    }

    /// The key of a series.
    #[inline]
    pub fn key(&self, series: &RawSeries) -> [&'a [u8]; 3] {
        let [first, second, third] = series.key;
        if second.len == 0 && third.len == 0 {
            return [self.bytes(first), &[], &[]];
        }
        [first, second, third].map(|piece| self.bytes(piece))
    }

    /// The points of a series.
    #[inline]
    pub fn points(&self, series: &RawSeries) -> &'a [RawPoint] {
        &self.batch.points[series.first as usize..][..series.count as usize]
    }

    /// Reads the labels of a series.
    ///
    /// # Errors
    /// They cannot be used: no name, names that repeat, text that is not UTF-8, damage.
    pub fn labels(&self, series: &RawSeries) -> Result<Labels, BadLabels> {
        (self.batch.read_labels)(self.key(series))
    }

    /// The distribution of a point, if it is one.
    pub fn histogram(&self, point: &RawPoint) -> Option<&'a Histogram> {
        let index = (point.histogram as usize).checked_sub(1)?;
        self.batch.histograms.get(index)
    }

    /// The value of a point.
    pub fn value(&self, point: &RawPoint) -> Value {
        match self.histogram(point) {
            Some(histogram) => Value::Histogram(Box::new(histogram.clone())),
            None => Value::from_prometheus(point.value),
        }
    }

    /// A point with values of its own.
    pub fn point(&self, point: &RawPoint) -> Point {
        Point {
            at: point.at,
            start: (point.start != Timestamp::MIN).then_some(point.start),
            value: self.value(point),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Batch, LogRecord, METRIC_NAME, SeriesBlock, Temporality, canonical};

    #[test]
    fn a_batch_survives_being_taken_apart() {
        let at = Timestamp::from_seconds(1_772_000_000);
        let meta = SeriesMeta {
            kind: Kind::Counter,
            temporality: Temporality::Delta,
            ..SeriesMeta::default()
        };
        let histogram = Histogram::Explicit {
            bounds: vec![1.0],
            counts: vec![2.0, 3.0],
            sum: None,
        };
        let points = vec![
            Point {
                at,
                start: None,
                value: Value::Number(1.5),
            },
            Point {
                at,
                start: Some(at),
                value: Value::Histogram(Box::new(histogram)),
            },
            Point {
                at,
                start: None,
                value: Value::Stale,
            },
        ];
        let labels = Labels::new([(METRIC_NAME, "m"), ("host", "é"), ("a", "b")]);
        let batch = Batch {
            series: vec![SeriesBlock {
                labels: labels.clone(),
                meta,
                points: points.clone(),
            }],
            logs: vec![LogRecord {
                at,
                severity: Severity::ERROR,
                body: "broke".to_owned(),
                attributes: Labels::new([("app", "x"), ("trace", "1")]),
                count: 3,
            }],
            ..Batch::default()
        };
        let mut raw = RawBatch::new(KeyHash::new(7), canonical::read);
        raw.take(&batch, |name| name == "app");
        let view = Raw::new(&[], &raw);
        let [series] = raw.series[..] else {
            panic!("one series came")
        };
        assert_eq!(view.labels(&series), Ok(labels));
        assert_eq!(series.hash, raw.keys().key(view.key(&series)));
        let back: Vec<Point> = view
            .points(&series)
            .iter()
            .map(|point| view.point(point))
            .collect();
        assert_eq!(back, points);
        let [log] = raw.logs[..] else {
            panic!("one record came")
        };
        assert_eq!((view.bytes(log.body), log.count), (&b"broke"[..], 3));
        let stream = canonical::read([view.bytes(log.stream), &[], &[]]);
        assert_eq!(stream, Ok(Labels::new([("app", "x")])));
    }
}
