//! The common currency of all rooms: time, labels, samples, log records, deployment events.
//!
//! Nothing here decides anything. A [`Batch`] is what one decoded request or file chunk holds; a
//! [`DeploymentEvent`] is what a deployer tells us. Both are inputs of the engine.

mod batch;
pub mod canonical;
mod deployment;
mod histogram;
mod key_cache;
mod key_hash;
mod labels;
mod log;
mod raw;
mod sample;
mod signal;
mod text;
mod time;
mod written;

pub use batch::{Batch, Reject, RejectReason, Rejects, SeriesBlock};
pub use deployment::{Begin, Bypass, DeploymentEvent, End, Hotfix, Step, StepOutcome, read_share};
pub use histogram::{ExponentialBuckets, Histogram};
pub use key_cache::{Edition, Expectation, KeyCache, KeyPlace};
pub use key_hash::KeyHash;
pub use labels::{Labels, METRIC_NAME, SCOPE_LABELS};
pub use log::{LogRecord, Severity, UnreadLog};
pub use raw::{
    BODY_BYTES_MAX, BadLabels, Piece, Raw, RawBatch, RawLog, RawMetric, RawPoint, RawSeries,
    RawUnread, ReadLabels,
};
pub use sample::{Kind, MetricMeta, Point, SeriesMeta, Temporality, Unit, Value};
pub use signal::Signal;
pub use text::{NAME_BYTES_MAX, check_name, is_invisible};
pub use time::{Interval, MaybeTimestamp, Span, Timestamp, TimestampError};
pub use written::{Overflow, Spare, Written};
