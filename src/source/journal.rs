//! The journal of a live run: its inputs, in the order in which the engine took them.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::files::{self, FileError};
use crate::{
    engine::{Engine, Input, Output},
    journal::{Entry, Reader},
};

/// The journal of one live run. It is read while it is played.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// Names the journal.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Runs every entry through the engine. `said` gets what the engine says. Unlike data files a
    /// journal has its own ticks, and ends where it ends: what came after is not known, so it is not
    /// silence. Gives a note where the last entry was cut off, as it is when the engine was killed.
    ///
    /// # Errors
    /// The journal cannot be read, or is damaged before its end.
    pub fn play(
        self,
        engine: &mut Engine,
        mut said: impl FnMut(&mut Vec<Output>),
    ) -> Result<Option<String>, FileError> {
        let path = &self.path;
        let error = |problem| FileError::new(path, problem);
        let mut outputs = Vec::new();
        let mut reader = Reader::new(BufReader::new(files::open(path)?), path).map_err(error)?;
        for entry in &mut reader {
            play_entry(entry.map_err(error)?, path, engine, &mut outputs)?;
            said(&mut outputs);
        }
        Ok(reader.torn_tail().map(|tail| {
            let offset = tail.offset;
            format!(
                "{}: the last entry is cut off at byte {offset}",
                path.display()
            )
        }))
    }
}

fn play_entry(
    entry: Entry,
    path: &Path,
    engine: &mut Engine,
    outputs: &mut Vec<Output>,
) -> Result<(), FileError> {
    match entry {
        Entry::Batch(body) => {
            let plan = Arc::clone(engine.plan());
            let batch = body
                .decode(plan.limits.decompressed_bytes)
                .map_err(|problem| FileError::new(path, problem))?;
            engine.step(Input::Batch(&batch), outputs);
        }
        Entry::Deployment(event) => engine.step(Input::Deployment(event), outputs),
        Entry::Tick(now) => engine.step(Input::Tick(now), outputs),
    }
    Ok(())
}
