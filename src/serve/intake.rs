//! The common path of all data: decode on the caller's side, then hand over to the core.

use std::{fmt, sync::Arc, thread};

use tokio::{sync::Semaphore, task};

use super::{
    core::{Core, Dropped, Unavailable},
    metrics::{Metrics, Source},
};
use crate::{
    decode::DecodeError,
    event::{Batch, Rejects, Value},
    journal::{Body, Encoding},
};

/// Bodies up to this size are decoded where they came in; larger ones off the network's threads.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// What a compressed body is taken to become, until it is known.
const GROWTH_GUESS: usize = 8;

/// Takes bodies in; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    core: Core,
    metrics: Arc<Metrics>,
    decompressed_bytes_max: usize,
    /// Large bodies that are decoded at a time.
    decoding: Arc<Semaphore>,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Numbers that were taken.
    pub samples: u64,
    /// Histograms that were taken.
    pub histograms: u64,
    /// What the decoder refused.
    pub rejects: Rejects,
    /// What the core dropped, by reason.
    pub dropped: Dropped,
}

/// Why a request was turned away as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// It cannot be read.
    Decode(DecodeError),
    /// The core did not take it.
    Unavailable(Unavailable),
}

impl Intake {
    /// A way in.
    pub(super) fn new(core: Core, metrics: Arc<Metrics>, decompressed_bytes_max: usize) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let decoding = Arc::new(Semaphore::new(threads));
        Self {
            core,
            metrics,
            decompressed_bytes_max,
            decoding,
        }
    }

    /// Decodes a body and hands it to the core. Returns when the core has recorded and taken it.
    ///
    /// # Errors
    /// The body cannot be read as a whole, or the core does not take it; then nothing of it counts.
    pub(super) async fn take(&self, source: Source, body: Body) -> Result<Taken, Turned> {
        let guess = match body.encoding {
            Encoding::Identity => body.bytes.len(),
            Encoding::Gzip | Encoding::Zstd | Encoding::Snappy => body
                .bytes
                .len()
                .saturating_mul(GROWTH_GUESS)
                .min(self.decompressed_bytes_max),
        };
        let room = self.core.reserve(guess).map_err(Turned::Unavailable)?;
        let batch = self.decode(body.clone()).await.map_err(Turned::Decode)?;
        let mut taken = Taken {
            rejects: batch.rejects.clone(),
            ..Taken::default()
        };
        for point in batch.series.iter().flat_map(|block| &block.points) {
            match point.value {
                Value::Number(_) | Value::Stale => taken.samples += 1,
                Value::Histogram(_) => taken.histograms += 1,
            }
        }
        let (samples, log_records) = (batch.sample_count(), batch.log_count());
        let is_logs = samples == 0 && log_records > 0;
        taken.dropped = self
            .core
            .batch(batch, body, room)
            .await
            .map_err(Turned::Unavailable)?;
        if !is_logs {
            taken.samples = taken.samples.saturating_sub(taken.dropped_count());
        }
        self.metrics.count(source, |metrics| {
            metrics.samples += samples;
            metrics.log_records += log_records;
            for (reason, reject) in &taken.rejects.samples {
                *metrics.rejected_samples.entry(reason.name()).or_insert(0) += reject.count;
            }
            for (reason, reject) in &taken.rejects.logs {
                *metrics
                    .rejected_log_records
                    .entry(reason.name())
                    .or_insert(0) += reject.count;
            }
            let rejected = if is_logs {
                &mut metrics.rejected_log_records
            } else {
                &mut metrics.rejected_samples
            };
            for (reason, count) in &taken.dropped {
                *rejected.entry(reason).or_insert(0) += count;
            }
        });
        Ok(taken)
    }

    async fn decode(&self, body: Body) -> Result<Batch, DecodeError> {
        let limit = self.decompressed_bytes_max;
        if body.bytes.len() <= INLINE_BYTES_MAX && body.encoding == Encoding::Identity {
            return body.decode(limit);
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.decoding).acquire_owned().await;
        let decoded = task::spawn_blocking(move || {
            let decoded = body.decode(limit);
            drop(permit);
            decoded
        });
        match decoded.await {
            Ok(decoded) => decoded,
            // A decoder that panics fails its own request, as it would without a thread of its own.
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => Err(DecodeError::Read {
                    detail: cancelled.to_string(),
                }),
            },
        }
    }
}

impl Taken {
    /// How many samples or log records were not taken.
    pub(super) fn rejected_count(&self) -> u64 {
        self.rejects.sample_count() + self.rejects.log_count() + self.dropped_count()
    }

    fn dropped_count(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }
}

/// What was not taken and why, on one line; empty if everything was.
impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejects.fmt(f)?;
        if self.dropped.is_empty() {
            return Ok(());
        }
        if !self.rejects.is_empty() {
            f.write_str("; ")?;
        }
        write!(f, "{} dropped: ", self.dropped_count())?;
        for (index, (reason, count)) in self.dropped.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{reason} ({count})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the engine is busy: send it again in a second",
            Self::NotRecorded => "the input could not be recorded: send it again later",
            Self::Stopped => "the engine stopped",
        })
    }
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl Turned {
    /// The reason that metrics carry.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Decode(error) => match error {
                DecodeError::Compression { .. } => "compression",
                DecodeError::TooLarge { .. } | DecodeError::TooMany { .. } => "too_large",
                DecodeError::UnsupportedEncoding { .. } => "unsupported",
                DecodeError::Malformed { .. }
                | DecodeError::MissingColumn { .. }
                | DecodeError::BadLine { .. }
                | DecodeError::BadPattern { .. }
                | DecodeError::Read { .. } => "malformed",
            },
            Self::Unavailable(Unavailable::Busy) => "busy",
            Self::Unavailable(Unavailable::NotRecorded) => "not_recorded",
            Self::Unavailable(Unavailable::Stopped) => "stopped",
        }
    }
}
