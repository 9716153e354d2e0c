//! Journals of live runs: their inputs, in the order in which the engine took them.

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

/// Journals that follow one another.
#[derive(Debug)]
pub struct Journals {
    paths: Vec<PathBuf>,
}

impl Journals {
    /// Takes journals in the order of their names. They are read when they are played.
    pub fn new(mut paths: Vec<PathBuf>) -> Self {
        paths.sort();
        Self { paths }
    }

    /// How many journals there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Runs every entry through the engine. `said` gets what the engine says, and how many journals
    /// are done. Unlike data files a journal has its own ticks, and ends where it ends: what came
    /// after is not known, so it is not silence.
    ///
    /// # Errors
    /// A journal cannot be read, or is damaged before its end.
    pub fn play(
        self,
        engine: &mut Engine,
        mut said: impl FnMut(&mut Vec<Output>, usize),
    ) -> Result<(), FileError> {
        let mut outputs = Vec::new();
        for (done, path) in self.paths.iter().enumerate() {
            let error = |problem| FileError::new(path, problem);
            let mut reader =
                Reader::new(BufReader::new(files::open(path)?), path).map_err(error)?;
            for entry in &mut reader {
                play_entry(entry.map_err(error)?, path, engine, &mut outputs)?;
                said(&mut outputs, done);
            }
        }
        said(&mut outputs, self.paths.len());
        Ok(())
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
            let limits = Arc::clone(engine.plan());
            let batch = body
                .decode(limits.limits.decompressed_bytes)
                .map_err(|problem| FileError::new(path, problem))?;
            engine.step(Input::Batch(&batch), outputs);
        }
        Entry::Deployment(event) => engine.step(Input::Deployment(event), outputs),
        Entry::Tick(now) => engine.step(Input::Tick(now), outputs),
    }
    Ok(())
}
