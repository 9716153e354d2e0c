//! The journal of a live run: its inputs, in the order in which the engine took them.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    backtest::{History, Placebos},
    files::{self, FileError},
};
use crate::{
    decode::Decoder,
    engine::{Engine, Input, Output},
    event::Interval,
    journal::{Course, Entry, JournalError, PlanChange, Reader, TornTail, decode_limits},
};

/// The journal of one live run. It is read while it is played.
#[derive(Debug)]
pub struct Journal {
    files: Vec<PathBuf>,
}

impl Journal {
    /// Names the journal: its numbered segments, or its only file.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// Runs every entry through the engine. `said` gets what the engine says. Unlike data files a
    /// journal has its own ticks, and ends where it ends: what came after is not known, so it is not
    /// silence. Gives a note where the last entry was cut off, as it is when the engine was killed,
    /// where inputs are not in the journal, or where it was judged by another configuration.
    ///
    /// Where the live engine was started under another configuration, it has judged all that stood before
    /// anew, and so it is here: the files are read once before for what they tell of that.
    ///
    /// # Errors
    /// The journal cannot be read, or is damaged before its end.
    pub fn play(
        self,
        engine: &mut Engine,
        mut beside: Option<&mut Placebos>,
        mut said: impl FnMut(&Engine, &mut Vec<Output>),
    ) -> Result<Option<String>, FileError> {
        // What is damaged tells itself when it is played.
        let course: Course = self.reader()?.map_while(Result::ok).collect();
        let given = engine.plan().digest.clone();
        let mut reader = self.reader()?;
        let mut outputs = Vec::new();
        let mut decoder = Decoder::new(engine.keys(), Arc::new(engine.stream_labels()));
        let limits = decode_limits(&engine.plan().limits);
        let mut messages = 0_u64;
        let mut foreign: Option<PlanChange> = None;
        for entry in &mut reader {
            let (position, entry) = entry.map_err(|error| self.failed(&error))?;
            if course.is_void(position, &entry) {
                continue;
            }
            match entry {
                Entry::Batch(body) => {
                    decoder
                        .read(body.format, body.encoding, &body.bytes, limits)
                        .map_err(|problem| {
                            self.fault(&format!(
                                "the batch at {position} cannot be read: {problem}"
                            ))
                        })?;
                    let input = Input::Raw(decoder.raw(&body.bytes));
                    both(input, engine, beside.as_deref_mut(), &mut outputs);
                }
                Entry::Deployment(event) => engine.step(Input::Deployment(event), &mut outputs),
                Entry::Tick(now) => {
                    if let Some(placebos) = beside.as_deref_mut() {
                        placebos.tick(now);
                    }
                    engine.step(Input::Tick(now), &mut outputs);
                }
                Entry::Consumed(range) => {
                    // What they held is not here: nothing may pass for want of it.
                    if 0 < range.count() {
                        both(Input::Lost, engine, beside.as_deref_mut(), &mut outputs);
                    }
                    messages += range.count();
                }
                Entry::Lost(_) => {
                    both(Input::Lost, engine, beside.as_deref_mut(), &mut outputs);
                }
                Entry::OverLimit(signal) => {
                    let input = Input::OverLimit(signal);
                    both(input, engine, beside.as_deref_mut(), &mut outputs);
                }
                Entry::Plan(change) => {
                    let behind = change.behind(&engine.plan().digest);
                    let fault = |faults| format!("the configuration at {position}: {faults}");
                    let behind = behind.map_err(|faults| self.fault(&fault(faults)))?;
                    if let Some(plan) = behind {
                        engine.step(Input::Plan(Arc::new(plan)), &mut outputs);
                        let labels = Arc::new(engine.stream_labels());
                        decoder = Decoder::new(engine.keys(), labels);
                    } else if change.is_other() {
                        foreign.get_or_insert(change);
                    }
                }
                // It was written since the journal was looked through.
                Entry::Start(change) => drop(foreign.get_or_insert(change)),
            }
            said(engine, &mut outputs);
        }
        let torn = reader.torn_tail().map(cut_off);
        let start = course.start.as_ref();
        let started = start.and_then(|(_, start)| started_under(start, &given));
        let foreign = foreign.map(|change| of_others(&change, &engine.plan().digest));
        let of_plans = started.or(foreign);
        let notes = torn.into_iter().chain(elsewhere(messages)).chain(of_plans);
        let notes: Vec<String> = notes.collect();
        Ok((!notes.is_empty()).then(|| notes.join("\n")))
    }

    /// What happens in it, as far as placebos must know before they are drawn: it is read once more
    /// for that.
    ///
    /// # Errors
    /// As [`Journal::play`].
    pub fn history(&self) -> Result<History, FileError> {
        let reader = self.reader()?;
        let mut history = History::default();
        for entry in reader {
            match entry.map_err(|error| self.failed(&error))?.1 {
                Entry::Deployment(event) => history.events.push(event),
                Entry::Tick(now) => {
                    let data = history.data.get_or_insert(Interval {
                        start: now,
                        end: now,
                    });
                    data.end = data.end.max(now);
                }
                Entry::Batch(_)
                | Entry::Consumed(_)
                | Entry::Lost(_)
                | Entry::Plan(_)
                | Entry::Start(_)
                | Entry::OverLimit(_) => {}
            }
        }
        Ok(history)
    }

    fn reader(&self) -> Result<Reader, FileError> {
        let open = |path: &Path| files::open(path).map_err(io::Error::other);
        Reader::of_files(&self.files, open).map_err(|error| self.failed(&error))
    }

    fn fault(&self, problem: &str) -> FileError {
        let path = self.files.first().cloned().unwrap_or_default();
        FileError::new(&path, problem)
    }

    /// The error names the file itself; what the system said belongs to it.
    fn failed(&self, error: &JournalError) -> FileError {
        let cause = error.source().map(|cause| format!(": {cause}"));
        self.fault(&format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// What is said where the last write was cut off.
fn cut_off(tail: &TornTail) -> String {
    format!(
        "{}: the last entry is cut off at byte {}",
        tail.path.display(),
        tail.position.offset
    )
}

/// What is said where messages are not in the journal.
fn elsewhere(messages: u64) -> Option<String> {
    (messages > 0).then(|| {
        format!(
            "{messages} messages stayed in Kafka: this replay is without what they held, so that no \
             deployment that was open meanwhile passes"
        )
    })
}

/// What is said where the live run was started under another configuration than the replay is.
fn started_under(start: &PlanChange, given: &str) -> Option<String> {
    let to = &start.to_digest;
    (to != given).then(|| {
        format!(
            "the engine was started under the configuration {to} and has judged all of this by it: this \
             replay is under {given}; `sluice record` makes a recording with the one that goes with it"
        )
    })
}

/// What is said where the live run went by other configurations than the replay.
fn of_others(change: &PlanChange, given: &str) -> String {
    let PlanChange {
        from_digest,
        to_digest,
        ..
    } = change;
    format!(
        "the configuration {from_digest} was in force, and later {to_digest}: this replay is under {given}"
    )
}

/// Gives an input to the engine, and to the placebos beside it.
fn both(
    input: Input<'_>,
    engine: &mut Engine,
    beside: Option<&mut Placebos>,
    outputs: &mut Vec<Output>,
) {
    if let Some(placebos) = beside {
        placebos.take(input.clone());
    }
    engine.step(input, outputs);
}
