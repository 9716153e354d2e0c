//! Gathers points into the blocks of a batch, one block for each series where that is cheap.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::event::{
    Batch, Labels, LogRecord, MetricMeta, Point, Raw, RejectReason, SeriesBlock, SeriesMeta,
    UnreadLog, canonical,
};

/// How many series a table remembers before it starts over. A recording with more series is still
/// read right, only slower.
const SERIES_MAX: usize = 1 << 20;

/// Appends a point to the last block if that is of the same series, else to a new one.
pub(super) fn append(batch: &mut Batch, labels: Labels, meta: SeriesMeta, point: Point) {
    match batch.series.last_mut() {
        Some(last) if last.meta == meta && last.labels == labels => last.points.push(point),
        Some(_) | None => batch.series.push(SeriesBlock {
            labels,
            meta,
            points: vec![point],
        }),
    }
}

/// Gives the data of a request as values of its own. Of the attributes of log records only those that
/// tell the stream are left.
pub(super) fn owned(raw: Raw<'_>) -> Batch {
    let mut batch = Batch {
        rejects: raw.batch.rejects.clone(),
        ..Batch::default()
    };
    for series in &raw.batch.series {
        match raw.labels(series) {
            Ok(labels) => {
                for point in raw.points(series) {
                    append(&mut batch, labels.clone(), series.meta, raw.point(point));
                }
            }
            Err(bad) => {
                for _ in raw.points(series) {
                    batch.rejects.sample(bad.reason, || bad.detail.clone());
                }
            }
        }
    }
    for log in &raw.batch.logs {
        let attributes = canonical::read([raw.bytes(log.stream), &[], &[]]);
        match (attributes, std::str::from_utf8(raw.bytes(log.body))) {
            (Ok(attributes), Ok(body)) => batch.logs.push(LogRecord {
                at: log.at,
                severity: log.severity,
                body: body.to_owned(),
                attributes,
                count: log.count,
            }),
            (Err(_), _) | (_, Err(_)) => batch.rejects.log(RejectReason::NotUtf8, || {
                "a log record that is not utf-8".to_owned()
            }),
        }
    }
    // Of one request all are of about the same time.
    let beside = raw.batch.logs.last().map(|log| log.at);
    for unread in &raw.batch.unread {
        if let Ok(attributes) = canonical::read([raw.bytes(unread.stream), &[], &[]]) {
            batch.unread.push(UnreadLog {
                at: beside,
                severity: unread.severity,
                attributes,
                count: unread.count,
            });
        }
    }
    for told in &raw.batch.metadata {
        if let Ok(metric) = std::str::from_utf8(raw.bytes(told.metric)) {
            batch.metadata.push(MetricMeta {
                metric: metric.to_owned(),
                kind: told.kind,
                unit: told.unit,
            });
        }
    }
    batch
}

/// The series of a file by the bytes that name them there, so that equal names are read once and
/// share one set of labels.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    ids: HashMap<Box<[u8]>, usize, FixedState>,
    series: Vec<Known>,
    /// Number of the current batch, from 1.
    batch: u64,
}

#[derive(Debug)]
struct Known {
    labels: Labels,
    meta: SeriesMeta,
    /// Where the series stands in a batch: number of that batch, and index of the block in it.
    block: (u64, usize),
}

/// A series that a [`SeriesTable`] knows; valid until the next lookup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id(usize);

impl SeriesTable {
    /// Says that the points which follow go to a new batch.
    pub(super) fn start_batch(&mut self) {
        self.batch += 1;
    }

    /// Forgets every series; for when what the protocol tells about them has changed.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.series.clear();
    }

    /// Finds the series with this key, or reads it with `read`.
    pub(super) fn find<E>(
        &mut self,
        key: &[u8],
        read: impl FnOnce() -> Result<(Labels, SeriesMeta), E>,
    ) -> Result<Id, E> {
        if let Some(&id) = self.ids.get(key) {
            return Ok(Id(id));
        }
        let (labels, meta) = read()?;
        if self.series.len() == SERIES_MAX {
            self.clear();
        }
        let id = self.series.len();
        self.series.push(Known {
            labels,
            meta,
            block: (0, 0),
        });
        self.ids.insert(key.into(), id);
        Ok(Id(id))
    }

    /// The labels of a series.
    pub(super) fn labels(&self, id: Id) -> &Labels {
        &self.series[id.0].labels
    }

    /// Appends a point to the block of its series in the batch.
    pub(super) fn append(&mut self, batch: &mut Batch, id: Id, point: Point) {
        let known = &mut self.series[id.0];
        if known.block.0 != self.batch {
            known.block = (self.batch, batch.series.len());
            let labels = known.labels.clone();
            batch.series.push(SeriesBlock {
                labels,
                meta: known.meta,
                points: Vec::new(),
            });
        }
        batch.series[known.block.1].points.push(point);
    }
}
