//! One entry of a journal and its bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Body, Encoding, Format};
use crate::{
    event::{DeploymentEvent, Signal, Timestamp},
    plan::{Faults, Plan},
};

/// The largest payload of an entry, in bytes: 1 GiB, far above any limit on requests.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// One input of the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The body of an accepted request.
    Batch(Body),
    /// What a deployer told.
    Deployment(DeploymentEvent),
    /// The clock had come this far.
    Tick(Timestamp),
    /// The messages of these offsets were taken here. Their bodies stay in Kafka.
    Consumed(OffsetRange),
    /// The messages of these offsets were gone before they could be taken: a hole in the coverage. With
    /// [`OffsetRange::unseen`] nothing is gone, but nobody knows what there was to take.
    Lost(OffsetRange),
    /// Another configuration was taken here.
    Plan(PlanChange),
    /// The engine was started here under another configuration than the last, or could not read the state that an
    /// earlier version saved: all that stands before is judged anew, by this one alone.
    Start(PlanChange),
    /// A request or message with data of this sort was over a limit, and refused as a whole: whose data it held
    /// is not known. It stands at most a few times between two ticks, however many there were.
    OverLimit(Signal),
}

/// A change of the configuration, as far as verdicts follow from it. One while the engine ran is applied
/// only where the one before is in force: whoever replays a journal under another one means that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanChange {
    /// Digest of the one before.
    pub from_digest: String,
    /// Its wording; empty where a start knew it by its digest only.
    pub from: String,
    /// Digest of the one behind.
    pub to_digest: String,
    /// Its wording.
    pub to: String,
    /// Who had it read, and when, a start or somebody; `None`: the journal is of a version that did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
}

/// Who had a configuration read anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// By what the caller proved who it is: the file of its token, the name of its certificate, a signal; or
    /// [`Reload::START`].
    pub by: String,
}

impl Reload {
    /// What had it read where the engine was started under it.
    pub const START: &str = "start";
}

impl PlanChange {
    /// The change from one to another.
    pub fn new(from: &Plan, to: &Plan, reload: Reload) -> Self {
        Self {
            from_digest: from.digest.clone(),
            from: from.wording.clone(),
            to_digest: to.digest.clone(),
            to: to.wording.clone(),
            reload: Some(reload),
        }
    }

    /// Whether verdicts may differ behind it: a file that was read anew may also name other tokens only.
    pub fn is_other(&self) -> bool {
        self.from_digest != self.to_digest
    }

    /// Whether it is of a start.
    pub fn is_start(&self) -> bool {
        let reload = self.reload.as_ref();
        reload.is_some_and(|reload| reload.by == Reload::START)
    }

    /// The plan that follows the one with this digest; `None`: the change is not one of it.
    ///
    /// # Errors
    /// This version does not read the configuration.
    pub fn behind(&self, digest: &str) -> Result<Option<Plan>, Faults> {
        if self.from_digest != digest {
            return Ok(None);
        }
        self.after().map(Some)
    }

    /// The plan behind the change.
    ///
    /// # Errors
    /// This version does not read the configuration.
    pub fn after(&self) -> Result<Plan, Faults> {
        Plan::parse(&self.to)
    }
}

/// A half-open range of offsets of one partition of a Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetRange {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The first offset of the range.
    pub from: i64,
    /// The first offset after the range.
    pub until: i64,
}

impl OffsetRange {
    /// What stands for a topic that is not seen: of no partition, and without offsets.
    pub fn unseen(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: -1,
            from: 0,
            until: 0,
        }
    }

    /// How many messages the range may hold.
    pub fn count(&self) -> u64 {
        self.until.saturating_sub(self.from).max(0).cast_unsigned()
    }
}

/// Gives the event as a journal gives it back. The core is fed with this and not with the event as
/// it came, so that a live run and its replay see the same number where its text is not exact.
///
/// # Errors
/// The event cannot be written as JSON and read back, as with a weight that is not finite.
pub fn recorded(event: &DeploymentEvent) -> Result<DeploymentEvent, String> {
    let text = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

impl Entry {
    const BATCH: u8 = 1;
    const DEPLOYMENT: u8 = 2;
    const TICK: u8 = 3;
    const CONSUMED: u8 = 4;
    const LOST: u8 = 5;
    const PLAN: u8 = 6;
    const START: u8 = 7;
    const OVER_LIMIT: u8 = 8;

    /// The byte that stands for its kind; never reused for another kind.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Batch(_) => Self::BATCH,
            Self::Deployment(_) => Self::DEPLOYMENT,
            Self::Tick(_) => Self::TICK,
            Self::Consumed(_) => Self::CONSUMED,
            Self::Lost(_) => Self::LOST,
            Self::Plan(_) => Self::PLAN,
            Self::Start(_) => Self::START,
            Self::OverLimit(_) => Self::OVER_LIMIT,
        }
    }

    pub(super) fn is_kind(kind: u8) -> bool {
        (Self::BATCH..=Self::OVER_LIMIT).contains(&kind)
    }

    /// Appends the payload of this entry to `out`, up to the body of a batch, which it gives.
    pub(super) fn payload(&self, out: &mut Vec<u8>) -> Result<&[u8], String> {
        match self {
            Self::Batch(body) => {
                out.extend([body.format.code(), body.encoding.code()]);
                return Ok(&body.bytes);
            }
            Self::Deployment(event) => to_json(event, out)?,
            Self::Tick(now) => out.extend(now.nanos().to_le_bytes()),
            Self::Consumed(range) | Self::Lost(range) => to_json(range, out)?,
            Self::Plan(change) | Self::Start(change) => to_json(change, out)?,
            Self::OverLimit(signal) => out.push(signal_code(*signal)),
        }
        Ok(&[])
    }

    /// Reads a payload whose checksum was right.
    pub(super) fn from_payload(kind: u8, payload: Vec<u8>) -> Result<Self, String> {
        match kind {
            Self::BATCH => {
                let [format, encoding, ..] = payload[..] else {
                    return Err("the batch has no format".to_owned());
                };
                let format = Format::from_code(format)
                    .ok_or_else(|| format!("the batch has the unknown format {format}"))?;
                let encoding = Encoding::from_code(encoding)
                    .ok_or_else(|| format!("the batch has the unknown encoding {encoding}"))?;
                let bytes = Bytes::from(payload).slice(2..);
                Ok(Self::Batch(Body {
                    format,
                    encoding,
                    bytes,
                }))
            }
            Self::DEPLOYMENT => serde_json::from_slice(&payload)
                .map(Self::Deployment)
                .map_err(|error| format!("the deployment event cannot be read: {error}")),
            Self::TICK => <[u8; 8]>::try_from(&payload[..])
                .map(|nanos| Self::Tick(Timestamp::from_nanos(i64::from_le_bytes(nanos))))
                .map_err(|_| format!("the tick has {} bytes instead of 8", payload.len())),
            Self::CONSUMED => offsets(&payload).map(Self::Consumed),
            Self::LOST => offsets(&payload).map(Self::Lost),
            Self::PLAN => change(&payload).map(Self::Plan),
            Self::START => change(&payload).map(Self::Start),
            Self::OVER_LIMIT => signal(&payload).map(Self::OverLimit),
            unknown => Err(format!("the entry has the unknown kind {unknown}")),
        }
    }
}

fn to_json(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(out, value).map_err(|error| error.to_string())
}

fn change(payload: &[u8]) -> Result<PlanChange, String> {
    serde_json::from_slice(payload)
        .map_err(|error| format!("the configuration cannot be read: {error}"))
}

/// The byte that stands for a sort of data; never reused for another.
fn signal_code(signal: Signal) -> u8 {
    match signal {
        Signal::Metrics => 1,
        Signal::Logs => 2,
    }
}

fn signal(payload: &[u8]) -> Result<Signal, String> {
    let mut all = Signal::ALL.into_iter();
    all.find(|signal| payload == [signal_code(*signal)])
        .ok_or_else(|| format!("what a limit refused is of an unknown sort: {payload:?}"))
}

fn offsets(payload: &[u8]) -> Result<OffsetRange, String> {
    serde_json::from_slice(payload)
        .map_err(|error| format!("the range of offsets cannot be read: {error}"))
}
