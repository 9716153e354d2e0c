//! The durable input log: every input of the core, in the order in which the core took it.
//!
//! A journal is a directory of numbered segments. A [`Writer`] appends groups of entries and makes
//! them durable; a [`Reader`] gives them back; a snapshot of the core ([`Snapshots`]) says from
//! where on they are still needed. [`DataDir`] holds the three together. Everything that touches the
//! file system goes through [`Storage`], so that tests can lose power.
//!
//! A segment is a header of eight bytes and frames. A frame holds one [`Entry`], or tells how the
//! journal hangs together:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the payload, little endian |
//! | 1 | kind: 1 batch, 2 deployment event, 3 tick, 4 consumed from Kafka, 5 lost in Kafka, 6 another configuration, 7 a start under another configuration, 8 a request over a limit, 254 link, 255 mark |
//! | 4 | CRC-32C of the payload, little endian |
//! | 4 | CRC-32C of the nine bytes before, little endian |
//! | length | payload |
//!
//! The first frame of a segment is a link: it says where the segment before ends. A reader stops
//! there, whatever stands behind: it is left of writes that were refused. Segments between the two
//! that are linked do not count. Every later group of entries begins with a mark that holds its own
//! offset. A group is only begun when everything before it is durable. So a frame that is broken
//! before a mark or in any segment but the last was whole once: that is damage, an error. A broken
//! frame in the last group is a write that was cut off: the journal ends there.
//!
//! A recording is a journal that was finished: its last segment holds nothing but its link, so that the
//! last group before it is known to have been whole.
//!
//! A journal of one file without link and marks, as earlier versions wrote it, is read as well.
//! A batch holds the body of the request as it came, with the name of its format and its content
//! encoding; [`Body::decode`] is the one way in which a live run and a replay read it.

mod body;
mod chain;
mod course;
mod data_dir;
mod entry;
mod error;
mod frame;
mod inspect;
#[cfg(test)]
mod model;
mod position;
#[cfg(test)]
mod power_loss_tests;
mod reader;
mod snapshot;
mod storage;
mod stretch;
#[cfg(test)]
mod tests;
mod truncate;
mod writer;

pub use crate::decode::{Encoding, Format};
pub use body::{Body, decode_limits};
pub use course::Course;
pub use data_dir::DataDir;
pub use entry::{ENTRY_BYTES_MAX, Entry, OffsetRange, PlanChange, Reload, recorded};
pub use error::JournalError;
pub use frame::one_file;
pub use inspect::{Counts, Damage, Inspection, inspect};
pub use position::{Position, PositionError, segment_name, segment_number};
pub use reader::{Reader, TornTail};
pub use snapshot::{PassedOver, SNAPSHOT_FORMAT, Snapshot, SnapshotHead, Snapshots};
pub use storage::{Access, Disk, Listed, Lock, Storage, StoredFile};
pub use stretch::Stretch;
pub use truncate::{Cut, truncate};
pub use writer::{Collected, Limits, Writer};

/// The first bytes of every journal: a name and the version of the format.
pub const MAGIC: [u8; 8] = *b"SLUICEJ1";

/// Length of the header of a frame, in bytes.
const HEADER_BYTES: usize = 13;
