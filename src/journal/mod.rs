//! The durable input log: every input of the core, in the order in which the core took it.
//!
//! A journal file is a header of eight bytes and frames. A frame holds one [`Entry`]:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the payload, little endian |
//! | 1 | kind: 1 batch, 2 deployment event, 3 tick |
//! | 4 | CRC-32C of the payload, little endian |
//! | 4 | CRC-32C of the nine bytes before, little endian |
//! | length | payload |
//!
//! The header of a frame has a checksum of its own, so that a damaged length is told apart from a
//! write that was cut off: a cut-off last frame ends the journal, damage before it is an error.
//! A batch holds the body of the request as it came, with the name of its format and its content
//! encoding; [`Body::decode`] is the one way in which a live run and a replay read it.

mod body;
mod entry;
mod error;
mod reader;
mod writer;

pub use crate::decode::{Encoding, Format};
pub use body::Body;
pub use entry::{ENTRY_BYTES_MAX, Entry, recorded};
pub use error::JournalError;
pub use reader::{Reader, TornTail};
pub use writer::Writer;

/// The first bytes of every journal: a name and the version of the format.
pub const MAGIC: [u8; 8] = *b"SLUICEJ1";

/// Length of the header of a frame, in bytes.
const HEADER_BYTES: usize = 13;
