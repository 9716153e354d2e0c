//! Batches that were decoded into values of their own → pieces.

use super::{Piece, RawBatch, RawLog, RawMetric, RawUnread};
use crate::event::{Batch, Labels, LogRecord, UnreadLog, canonical};

impl RawBatch {
    /// Takes a batch that was decoded into values of its own; of the attributes of log records only
    /// those whose names `tells_stream` holds for tell the stream.
    pub fn take(&mut self, batch: &Batch, tells_stream: impl Fn(&str) -> bool) {
        self.reuse(canonical::read);
        self.rejects = batch.rejects.clone();
        for block in &batch.series {
            let (key, ()) = self.write(|out| {
                for (name, value) in block.labels.iter() {
                    out.pair(name.as_bytes(), value.as_bytes());
                }
            });
            let hash = self.keys.single(self.bytes(&[], key));
            self.start_series(hash, [key, Piece::default(), Piece::default()], block.meta);
            for point in &block.points {
                self.value(point.at, point.start, point.value.clone());
            }
        }
        for record in &batch.logs {
            self.take_record(record, &tells_stream);
        }
        for UnreadLog {
            at: _,
            severity,
            attributes,
            count,
        } in &batch.unread
        {
            let (stream, hash) = self.take_stream(attributes, &tells_stream);
            self.unread(RawUnread {
                hash,
                stream,
                severity: *severity,
                count: *count,
            });
        }
        for told in &batch.metadata {
            let (metric, ()) = self.write(|out| out.extend(told.metric.as_bytes()));
            self.metric(RawMetric {
                metric,
                kind: told.kind,
                unit: told.unit,
            });
        }
    }

    fn take_stream(
        &mut self,
        attributes: &Labels,
        tells_stream: impl Fn(&str) -> bool,
    ) -> (Piece, u64) {
        let told = attributes.iter().filter(|(name, _)| tells_stream(name));
        let (stream, ()) = self.write(|out| {
            for (name, value) in told {
                out.pair(name.as_bytes(), value.as_bytes());
            }
        });
        (stream, self.keys.single(self.bytes(&[], stream)))
    }

    fn take_record(&mut self, record: &LogRecord, tells_stream: impl Fn(&str) -> bool) {
        let (stream, hash) = self.take_stream(&record.attributes, tells_stream);
        let (body, ()) = self.write(|out| out.extend(record.body.as_bytes()));
        self.log(RawLog {
            at: record.at,
            severity: record.severity,
            body,
            hash,
            stream,
            count: record.count,
        });
    }
}
