//! Raw samples and log records → partials of closed buckets.
//!
//! The first half of the core. It sees every sample, and does little with it: one look-up by the
//! identity of the series, one append to the open bucket. When the watermark passes, the bucket is
//! sorted and reduced, so that the order in which batches came between two ticks cannot matter:
//! counters become increases, gauges become count/sum/min/max/last, histograms become what was
//! added, log records are counted by stream, severity and template.
//!
//! Which series are of interest is not known here: a [`Directory`] decides when a series is first
//! seen, and the answer is remembered.

mod bucket;
mod counter;
mod distribution;
mod growth;
pub mod histogram;
mod logs;
mod partial;
mod reducer;
mod selected;
mod table;
pub mod template;

pub use partial::{
    ClosedBucket, GaugePartial, HistogramPartial, IncreasePartial, LogCount, LossMark, LossReason,
    LossSource, Partial, SeriesId, SeriesPartial, StreamId,
};
pub use reducer::{Reducer, ReducerCounters, ReducerLimits};

use crate::event::{Kind, Labels, LogRecord, SeriesMeta, Timestamp};

/// Decides what is of interest; asked once for each new series and log stream.
pub trait Directory {
    /// Registers a series that was never seen before. `None`: no check selects it, so that its
    /// samples are dropped by one look-up from now on.
    fn series(&mut self, id: SeriesId, labels: &Labels, meta: SeriesMeta) -> Option<Registration>;

    /// The attributes of a record that tell its stream. Records also carry what differs from one to
    /// the next (trace ids, user ids): those would make every record a stream of its own.
    fn stream_identity(&self, attributes: &Labels) -> Labels;

    /// Registers a log stream (a set of attributes) that was never seen before. `false`: it belongs
    /// to no service.
    fn stream(&mut self, id: StreamId, attributes: &Labels) -> bool;

    /// The log checks that select the record, as ascending indices that only the directory
    /// understands. Called for each record of a registered stream.
    fn classify(&mut self, stream: StreamId, record: &LogRecord, classes: &mut Vec<u32>);
}

/// How a newly registered series is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What the series is; never [`Kind::Unknown`].
    pub kind: Kind,
    /// Since when samples of the same host have been seen. A counter that appears on a host which
    /// is already known was born just now, so that its first value counts from zero.
    pub host_known_since: Option<Timestamp>,
}
