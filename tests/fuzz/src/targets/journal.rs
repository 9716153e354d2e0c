//! The journal's reader: bytes as they are, and frames with right checksums around them.

use std::{
    io::{Cursor, Read},
    path::PathBuf,
};

use crate::{
    common,
    journal::{Entry, MAGIC, Reader},
};

/// Takes one input.
pub fn run(bytes: &[u8]) {
    read(bytes);
    let (frames, cut) = frames(bytes);
    let whole = read(&frames);
    // What is cut off was not acknowledged; what stands before it is read as it was.
    let shorter = read(&frames[..frames.len() - cut.min(frames.len() - MAGIC.len())]);
    assert!(whole.starts_with(&shorter), "{whole:?} {shorter:?}");
}

/// Frames around pieces of the input. A piece tells its kind and its length, and the last byte how much
/// shall be cut off.
fn frames(mut bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut frames = MAGIC.to_vec();
    while let [kind, len, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        // Small numbers are the kinds of entries; the others lead to links, marks and what is not known.
        let kind = if *kind < 128 { kind % 7 } else { *kind };
        let mut header = (payload.len() as u32).to_le_bytes().to_vec();
        header.push(kind);
        header.extend(crc32c::crc32c(payload).to_le_bytes());
        header.extend(crc32c::crc32c(&header).to_le_bytes());
        frames.extend(header);
        frames.extend(payload);
        bytes = rest;
    }
    (frames, bytes.first().map_or(0, |cut| usize::from(*cut)))
}

fn read(bytes: &[u8]) -> Vec<Entry> {
    common::bounded(|| {
        let bytes = bytes.to_vec();
        let open = move |_: &std::path::Path| -> std::io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Cursor::new(bytes.clone())))
        };
        let Ok(reader) = Reader::of_files(&[PathBuf::from("recording")], open) else {
            return Vec::new();
        };
        // A reader that fails ends, and a read entry is written as it stands.
        reader
            .map_while(Result::ok)
            .map(|(_, entry)| entry)
            .collect()
    })
}
