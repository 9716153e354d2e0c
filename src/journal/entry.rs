//! One entry of a journal and its bytes.

use bytes::Bytes;

use super::{Body, Encoding, Format, HEADER_BYTES};
use crate::event::{DeploymentEvent, Timestamp};

/// The largest payload of an entry, in bytes: 1 GiB, far above any limit on requests.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// One input of the core.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "entries are taken one at a time, never stored"
)]
pub enum Entry {
    /// The body of an accepted request.
    Batch(Body),
    /// What a deployer told.
    Deployment(DeploymentEvent),
    /// The clock had come this far.
    Tick(Timestamp),
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

    /// Appends the frame of this entry; the frame starts where `out` ended.
    pub(super) fn frame(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        let kind = match self {
            Self::Batch(body) => {
                out.extend([body.format.code(), body.encoding.code()]);
                out.extend_from_slice(&body.bytes);
                Self::BATCH
            }
            Self::Deployment(event) => {
                serde_json::to_writer(&mut *out, event).map_err(|error| error.to_string())?;
                Self::DEPLOYMENT
            }
            Self::Tick(now) => {
                out.extend(now.nanos().to_le_bytes());
                Self::TICK
            }
        };
        let payload = &out[start + HEADER_BYTES..];
        if payload.len() > ENTRY_BYTES_MAX {
            return Err(format!(
                "the entry has {} bytes, over the limit of {ENTRY_BYTES_MAX}",
                payload.len()
            ));
        }
        let header = header(payload.len() as u32, kind, crc32c::crc32c(payload));
        out[start..start + HEADER_BYTES].copy_from_slice(&header);
        Ok(())
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
            unknown => Err(format!("the entry has the unknown kind {unknown}")),
        }
    }
}

/// The header of a frame.
pub(super) fn header(payload_len: u32, kind: u8, payload_crc: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&payload_len.to_le_bytes());
    header[4] = kind;
    header[5..9].copy_from_slice(&payload_crc.to_le_bytes());
    let crc = crc32c::crc32c(&header[..9]);
    header[9..].copy_from_slice(&crc.to_le_bytes());
    header
}
