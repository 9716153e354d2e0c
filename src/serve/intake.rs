//! The common path of all data: decode, record, put.

use std::{collections::BTreeSet, fmt, sync::Arc, thread};

use axum::body::Body as HttpBody;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
};

use super::{
    bodies::Bodies,
    core::{Core, Room, Unavailable},
    http_request::HttpRefusal,
    idle::{Idle, Lent},
    metrics::{Metrics, Source},
    repeats::Repeats,
};
use crate::{
    decode::{DecodeError, DecodeLimits, Decoder, Size, may_hold_data},
    event::{RawBatch, Rejects, Signal},
    journal::{Body, Encoding, Format, decode_limits},
    plan::Plan,
    reduce::{Epoch, Put, PutScratch, Shards},
};

/// Bodies up to this size, as they came, are decoded and put where they came in: some thousand samples
/// take less than a millisecond. Larger ones are worked on off the network's threads.
const INLINE_BYTES_MAX: usize = 128 << 10;
/// What a compressed body is taken to become, until it is known.
const GROWTH_GUESS: usize = 8;
/// Decoders, and as many memories for what was looked up, that wait to be used again.
const IDLE_MAX: usize = 64;

/// Takes bodies in; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// Where bodies are read to.
    bodies: Bodies,
    core: Core,
    metrics: Arc<Metrics>,
    limits: DecodeLimits,
    stream_labels: Arc<BTreeSet<String>>,
    /// Large bodies that are worked on at a time.
    working: Arc<Semaphore>,
    /// Requests that may still come in.
    open: Arc<Semaphore>,
    decoders: Idle<Decoder>,
    scratches: Idle<PutScratch>,
    repeats: Arc<Repeats>,
}

/// A request that was decoded, and whose series were looked up.
#[derive(Debug)]
struct Decoded {
    /// `None`: what was looked up is all there is to put. Then the decoder, with the bytes that it
    /// decompressed, serves the next request while this one is made durable, and is still in the caches.
    decoder: Option<Lent<Decoder>>,
    scratch: Lent<PutScratch>,
    taken: Taken,
    samples: u64,
    logs: u64,
    /// Whether it is known of something that was refused whose it is.
    has_unread: bool,
    /// Whether it tells of metrics by their names what is not known.
    has_news: bool,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Numbers that were taken.
    pub samples: u64,
    /// Histograms that were taken.
    pub histograms: u64,
    /// Exemplars that were passed over.
    pub exemplars: u64,
    /// What was refused.
    pub rejects: Rejects,
    /// What was lost, by reason: too late, too far ahead.
    pub dropped: Vec<(&'static str, u64)>,
    /// Data points and log records that came, those that were refused too.
    pub sent: u64,
    /// Samples beyond the first of one data point.
    pub parts: u64,
    /// Why nothing was found in it, if it is not empty.
    pub remark: Option<&'static str>,
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
    pub(super) fn new(
        core: Core,
        metrics: Arc<Metrics>,
        plan: &Plan,
        stream_labels: BTreeSet<String>,
    ) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let repeats = Arc::clone(core.repeats());
        Self {
            bodies: Bodies::new(),
            core,
            metrics,
            limits: decode_limits(&plan.limits),
            stream_labels: Arc::new(stream_labels),
            working: Arc::new(Semaphore::new(threads)),
            open: Arc::new(Semaphore::new(
                plan.limits.open_requests.min(Semaphore::MAX_PERMITS),
            )),
            decoders: Idle::new(IDLE_MAX),
            scratches: Idle::new(IDLE_MAX),
            repeats,
        }
    }

    /// Lets a request in, before its body is read; it counts as open until this is dropped.
    ///
    /// # Errors
    /// As many as the limit allows are open: the sender has to come again.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Turned> {
        Arc::clone(&self.open)
            .try_acquire_owned()
            .map_err(|_| Turned::Unavailable(Unavailable::Busy))
    }

    /// Decodes a body, gives it its place, and puts it once it is durable. Returns when it counts. A
    /// sender that leaves in between changes nothing: what has its place is put. Log records that came
    /// before in an equal body are answered as they were then, and count once.
    ///
    /// # Errors
    /// The body cannot be read as a whole, or the core does not take it; then nothing of it counts.
    pub(super) async fn take(&self, source: Source, body: Body) -> Result<Taken, Turned> {
        let mark = self.repeats.mark(&body);
        if let Some(taken) = mark.and_then(|mark| self.repeats.taken(mark)) {
            self.metrics.count(source, |metrics| metrics.repeated += 1);
            return Ok(taken);
        }
        let guess = match body.encoding {
            Encoding::Identity => body.bytes.len(),
            Encoding::Gzip | Encoding::Zstd | Encoding::Snappy => body
                .bytes
                .len()
                .saturating_mul(GROWTH_GUESS)
                .min(self.limits.decompressed_bytes),
        };
        let room = self.core.reserve(guess).map_err(Turned::Unavailable)?;
        let this = self.clone();
        let work = task::spawn(async move {
            let taken = this.work(source, body, room).await;
            if let (Some(mark), Ok(taken)) = (mark, &taken) {
                this.repeats.note(mark, taken);
            }
            taken
        });
        match work.await {
            Ok(taken) => taken,
            // A decoder that panics fails its own request, as it would without a task of its own.
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Turned::Unavailable(Unavailable::Stopped)),
            },
        }
    }

    /// Reads a body of at most `limit` bytes.
    ///
    /// # Errors
    /// It is longer, breaks off, or takes too long; or it is longer, and the core does not take the mark of that.
    pub(super) async fn read(
        &self,
        (format, encoding): (Format, Encoding),
        headers: &HeaderMap,
        body: HttpBody,
        limit: usize,
    ) -> Result<Bytes, HttpRefusal> {
        let (refusal, beginning) = match self.bodies.read(headers, body, limit).await {
            Ok(bytes) => return Ok(bytes),
            Err(refused) => refused,
        };
        // How long it is nobody knows for sure.
        if refusal.status == StatusCode::PAYLOAD_TOO_LARGE
            && may_hold_data(format, encoding, &beginning, None)
        {
            self.mark_over_limit(format.signal()).await?;
        }
        Err(refusal)
    }

    /// Marks that a limit refused a request with data of this sort as a whole. Only then may it be answered.
    ///
    /// # Errors
    /// The core does not take it: the sender has to come again.
    pub(super) async fn mark_over_limit(&self, signal: Signal) -> Result<(), Turned> {
        self.core.takes().map_err(Turned::Unavailable)?;
        let marked = self.core.mark_over_limit(signal).await;
        marked.map_err(Turned::Unavailable)
    }

    async fn work(&self, source: Source, body: Body, room: Room) -> Result<Taken, Turned> {
        let is_large = body.bytes.len() > INLINE_BYTES_MAX;
        let (this, read) = (self.clone(), body.clone());
        let decoded = self.aside(is_large, move || this.decode(&read)).await;
        if let Err(error) = &decoded
            && is_loss(error, &body)
        {
            self.mark_over_limit(body.format.signal()).await?;
        }
        let mut decoded = decoded.map_err(Turned::Decode)?;
        let mut taken = std::mem::take(&mut decoded.taken);
        let (samples, logs) = (decoded.samples, decoded.logs);
        // Of metadata that repeats itself, or of what was refused without knowing whose it is, there is nothing
        // to remember.
        if samples != 0 || logs != 0 || decoded.has_unread || decoded.has_news {
            let put = self.put(decoded, body, is_large).await;
            taken.take(put.map_err(Turned::Unavailable)?);
        }
        drop(room);
        self.count(source, samples, logs, &taken);
        Ok(taken)
    }

    /// Decodes a body, and looks up what it holds.
    fn decode(&self, body: &Body) -> Result<Decoded, DecodeError> {
        let mut decoder = self.decoder();
        let mut scratch = self.scratches.lend(PutScratch::default);
        scratch.forget();
        let shards = self.core.newest_shards();
        let cache = shards.as_deref().map(Shards::key_cache);
        let (format, encoding) = (body.format, body.encoding);
        decoder.read_with(cache, format, encoding, &body.bytes, self.limits)?;
        let raw = decoder.raw(&body.bytes);
        self.core.resolve(raw, &mut scratch);
        let batch = raw.batch;
        let (samples, logs) = (batch.sample_count(), batch.log_count());
        let has_unread = !batch.unread.is_empty();
        let has_news = shards.map_or(!batch.metadata.is_empty(), |shards| shards.has_news(raw));
        let (taken, has_all) = (Taken::read(batch), scratch.has_all(batch));
        Ok(Decoded {
            decoder: (!has_all).then_some(decoder),
            scratch,
            taken,
            samples,
            logs,
            has_unread,
            has_news,
        })
    }

    /// Gives a decoded body its place, and puts it once it is durable.
    async fn put(&self, decoded: Decoded, body: Body, is_large: bool) -> Result<Put, Unavailable> {
        let ticket = self.core.place(body.clone())?;
        let epoch = ticket.epoch;
        let (position, running) = ticket.durable().await?;
        let this = self.clone();
        let put = move || {
            let put = this.put_durable(decoded, &body, epoch);
            running.done(position, put.latest);
            put
        };
        Ok(self.aside(is_large, put).await)
    }

    fn put_durable(&self, decoded: Decoded, body: &Body, epoch: Epoch) -> Put {
        let mut scratch = decoded.scratch;
        if let Some(decoder) = decoded.decoder {
            return self.core.put(decoder.raw(&body.bytes), epoch, &mut scratch);
        }
        let mut again = None;
        let place = &mut again;
        self.core.put_known(
            || place.insert(self.read_again(body)).raw(&body.bytes),
            epoch,
            &mut scratch,
        )
    }

    fn read_again(&self, body: &Body) -> Lent<Decoder> {
        let mut decoder = self.decoder();
        decoder
            .read(body.format, body.encoding, &body.bytes, self.limits)
            .expect("a body that was read can be read again");
        decoder
    }

    /// Does work at once, or off the network's threads if it is large.
    async fn aside<T: Send + 'static>(
        &self,
        is_large: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if !is_large {
            return work();
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.working).acquire_owned().await;
        let done = task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        match done.await {
            Ok(done) => done,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }

    fn decoder(&self) -> Lent<Decoder> {
        let labels = || Arc::clone(&self.stream_labels);
        self.decoders
            .lend(|| Decoder::new(self.core.keys(), labels()))
    }

    fn count(&self, source: Source, samples: u64, logs: u64, taken: &Taken) {
        let is_logs = samples == 0 && logs > 0;
        self.metrics.count(source, |metrics| {
            metrics.samples += samples;
            metrics.log_records += logs;
            metrics.exemplars += taken.exemplars;
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
    }
}

/// Whether an error is of a limit, and the body may have held data for all that is known of it.
fn is_loss(error: &DecodeError, body: &Body) -> bool {
    let bytes = &body.bytes;
    match error {
        // What was decompressed at most, or not at all: it may be noise.
        DecodeError::TooLarge {
            which: Size::Raw | Size::Decompressed,
            ..
        } => may_hold_data(body.format, body.encoding, bytes, Some(bytes.len())),
        error => error.is_over_limit(),
    }
}

impl Taken {
    /// What is known of a batch once it is decoded.
    pub(super) fn read(batch: &RawBatch) -> Self {
        let mut taken = Self {
            exemplars: batch.exemplars,
            rejects: batch.rejects.clone(),
            histograms: batch.stale_histograms,
            parts: batch.parts,
            remark: batch.remark,
            ..Self::default()
        };
        let came = batch.sample_count().saturating_sub(batch.parts) + batch.log_count();
        taken.sent = taken.rejected_count() + came;
        taken
    }

    /// How many samples or log records were not taken.
    pub(super) fn rejected_count(&self) -> u64 {
        self.rejects.sample_count() + self.rejects.log_count() + self.dropped_count()
    }

    fn dropped_count(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Takes in what became of the batch.
    pub(super) fn take(&mut self, put: Put) {
        // Stale markers of histograms are put as numbers.
        self.samples = put.samples.saturating_sub(self.histograms);
        self.histograms += put.histograms;
        self.rejects.absorb(put.rejects);
        // Values that are no measurement are no loss to the sender: Prometheus sends them unasked.
        let lost = put.lost.into_iter().chain(put.lost_logs);
        self.dropped = lost
            .filter(|(reason, _)| !reason.is_of_the_value())
            .map(|(reason, count)| (reason.name(), count))
            .collect();
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
        let count = self.dropped_count();
        let what = if count == 1 { "value" } else { "values" };
        write!(f, "{count} {what} dropped: ")?;
        for (index, (reason, count)) in self.dropped.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{reason} ({count}{})", hint(reason))?;
        }
        Ok(())
    }
}

/// What a sender can do about what was dropped.
fn hint(reason: &str) -> &'static str {
    match reason {
        "late" => "; older than `lateness` allows",
        "future" => "; farther ahead of the clock than `limits.future` allows",
        _ => "",
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the engine is busy: send it again in a second",
            Self::Recovering => {
                "the engine reads its journal after a restart: send it again in a second"
            }
            Self::NotRecorded => "the input could not be recorded: send it again later",
            Self::SetBack => "the clock of the engine was set back: send it again later",
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
            Self::Unavailable(Unavailable::Recovering) => "recovering",
            Self::Unavailable(Unavailable::NotRecorded) => "not_recorded",
            Self::Unavailable(Unavailable::SetBack) => "clock_set_back",
            Self::Unavailable(Unavailable::Stopped) => "stopped",
        }
    }
}
