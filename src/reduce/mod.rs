//! Raw samples and log records → partials of closed buckets.
//!
//! The first half of the core. It sees every sample, and does little with it: one look-up by the
//! key of the series, one append to the open bucket. When the watermark passes, the bucket is sorted
//! and reduced, so that the order in which batches came between two ticks cannot matter: counters
//! become increases, gauges become count/sum/min/max/last, histograms become what was added, log
//! records are counted by stream, severity and template.
//!
//! # Two sides
//! [`Shards`] is the side that many threads write to. A series belongs to a shard by the hash of its
//! key; a thread holds the lock of one shard only as long as it takes to put the samples of one batch
//! that belong there. The other side is the [`Reducer`]: at each tick it takes what the shards have
//! gathered, names the series that are new, and closes buckets.
//!
//! What a thread may put depends on the ticks only through an [`Epoch`], which the caller fixes when
//! the order of inputs is fixed. So a batch that stands behind a tick may be put before that tick is
//! taken; one that stands before it has to be put before.
//!
//! # Who is new
//! Series get their [`SeriesId`] at a tick, in the order of their labels: whatever the order of arrival
//! between two ticks, the ids are the same. Which series are of interest is not known here: [`Select`]
//! tells when a key is first seen, from the configuration alone, and the answer is remembered; for keys
//! that nobody selects, as 16 bytes.
//!
//! # What is told by name
//! What senders tell of metrics by their names alone counts from the tick on that follows. What is selected does not
//! depend on it, only as what a series is bound: so it matters to no thread that puts.

mod bucket;
mod contradicted;
mod counter;
mod distribution;
mod epoch;
mod forgetting;
mod fork;
mod growth;
pub mod histogram;
mod ids;
mod key_table;
mod logs;
mod metadata;
mod partial;
mod reducer;
mod refusals;
mod registry;
mod reread;
mod resolved;
mod selected;
mod shard;
mod shards;
mod standing;
mod state;
pub mod template;
mod unselected;

pub use epoch::Epoch;
pub use fork::put_all;
pub use logs::OTHER as TEMPLATE_OTHER;
pub use metadata::Metadata;
pub use partial::{
    ClosedBucket, GaugePartial, HistogramPartial, IncreasePartial, Life, LogCount, LossMark,
    LossReason, LossSource, Partial, SeriesId, SeriesPartial, StreamId,
};
pub use reducer::Reducer;
pub use resolved::PutScratch;
pub use shards::{Put, ReducerCounters, ReducerLimits, Shards};
pub use state::{ReducerState, UnsoundReducer};

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::event::{Kind, Labels, MaybeTimestamp, SeriesMeta, Severity, Timestamp};

/// Tells what is of interest, from the configuration alone; asked by many threads.
pub trait Select: Send + Sync + fmt::Debug {
    /// What a series that was never seen before is; `None`: nobody selects it, so that its samples are
    /// dropped by one look-up from now on.
    fn series(&self, labels: &Labels, meta: SeriesMeta) -> Option<Kind>;

    /// The names of the attributes that tell the stream of a log record. Records also carry what
    /// differs from one to the next (trace ids, user ids): those would make every record a stream of
    /// its own.
    fn stream_labels(&self) -> &BTreeSet<String>;

    /// Who looks at a series that is selected as this: blind, if a limit refuses it.
    fn lookers(&self, labels: &Labels, kind: Kind) -> Lookers;

    /// The classes that records of a log stream may have; `None`: it belongs to no service.
    fn stream(&self, attributes: &Labels) -> Option<StreamClasses>;

    /// Who looks at a log stream that has these classes: blind, if a limit refuses it.
    fn stream_lookers(&self, classes: &StreamClasses) -> Lookers;

    /// Adds the classes of a record to `classes`, ascending: those of its stream whose conditions on
    /// the record itself it fulfils, or may fulfil where its severity or its body is not known.
    fn classify(
        &self,
        candidates: &StreamClasses,
        severity: Option<Severity>,
        body: Option<&str>,
        classes: &mut Vec<u32>,
    );
}

/// Remembers who is of interest; asked at ticks, in the order of labels.
pub trait Directory {
    /// Takes in a series that is selected, with what is told about it, and the kind that its protocol tells of
    /// that. `None`: a limit refuses it.
    fn bind_series(
        &mut self,
        id: SeriesId,
        labels: &Labels,
        told: (SeriesMeta, Kind),
        kind: Kind,
    ) -> Option<Registration>;

    /// Takes in a series that a limit refuses although it has an id: it feeds nothing, and who looks at it is
    /// blind whenever it says something.
    fn refuse_series(&mut self, id: SeriesId, labels: &Labels, kind: Kind);

    /// Is told that a limit refused data, in the tick that closes the buckets before a time: who looks at it was
    /// blind.
    fn refuse(&mut self, lookers: &Lookers, at: Timestamp);

    /// Is told that series are read in another way from now on, ascending; `reading` tells how any series is.
    /// What was made of them until now is forgotten where what comes cannot be put beside it.
    fn reread(&mut self, turned: &[Turned], reading: &dyn Fn(SeriesId) -> Reading);

    /// Takes in a log stream that belongs to a service.
    fn bind_stream(&mut self, id: StreamId, attributes: &Labels);
}

/// The log checks that may select the records of a stream, as indices that only the configuration
/// understands, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamClasses(pub Arc<[u32]>);

/// Checks that look at a series or log stream, as indices that only the configuration understands, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookers(pub Arc<[u32]>);

/// A series that is read in another way than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Which.
    pub series: SeriesId,
    /// Whether what was made of it until now is of another kind, or in another unit.
    pub is_other: bool,
}

/// How a series is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its labels.
    pub labels: Labels,
    /// What is told about it.
    pub meta: SeriesMeta,
    /// The kind that its protocol tells.
    pub own: Kind,
    /// What it is.
    pub kind: Kind,
}

/// How a newly bound series is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What the series is; never [`Kind::Unknown`].
    pub kind: Kind,
    /// Since when samples of the same host have been seen, and the series would have been. A counter that
    /// appears on a host which is already known was born just now, so that its first value counts from zero.
    pub host_known_since: MaybeTimestamp,
}
