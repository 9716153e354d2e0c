//! Recordings: a directory, or files, with a configuration, deployment events and data.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    backtest::{History, Placebos},
    files::{self, FileError},
    journal::Journal,
    timeline::Timeline,
};
use crate::{
    decode::format::Format,
    engine::{Engine, Output},
    journal::{DataDir, segment_number},
    plan::{Faults, Plan},
};

/// The configuration of a recording.
const CONFIGURATION: &str = "sluice.yaml";

/// A recording that was read and is ready to be replayed.
#[derive(Debug)]
pub struct Recording {
    /// Its configuration.
    pub plan: Arc<Plan>,
    /// What happens in it.
    pub inputs: Inputs,
    /// What could not be used, for the person who replays it.
    pub notes: Vec<String>,
}

/// What happens in a recording.
#[derive(Debug)]
pub enum Inputs {
    /// Data files, to be merged by time.
    Timeline(Timeline),
    /// The inputs of a live run in their order.
    Journal(Journal),
}

/// Why a recording cannot be replayed.
#[derive(Debug)]
pub enum RecordingError {
    /// A file or directory cannot be read.
    File(FileError),
    /// The configuration has faults.
    Plan {
        /// Its file.
        path: PathBuf,
        /// All of them.
        faults: Faults,
    },
    /// There is no configuration.
    NoPlan,
    /// There is nothing to replay.
    NoData {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A journal goes with nothing else: it has its own order and its own time, and begins with an
    /// engine that has seen nothing.
    MoreThanJournal,
}

impl Recording {
    /// Opens directories and files. A configuration or deployment events that are given take the
    /// place of those in the directory.
    ///
    /// # Errors
    /// See [`RecordingError`].
    pub fn open(
        paths: &[PathBuf],
        config: Option<&Path>,
        deployments: Option<&Path>,
    ) -> Result<Self, RecordingError> {
        let mut found = Found::default();
        for path in paths {
            found.look(path)?;
        }
        let mut notes = found.notes(config.is_some());
        let config = config
            .map(Path::to_path_buf)
            .or(found.configs.pop())
            .ok_or(RecordingError::NoPlan)?;
        let text = files::text(&config).map_err(RecordingError::File)?;
        let plan = files::plan(&text).map_err(|faults| RecordingError::Plan {
            path: config,
            faults,
        })?;
        if let Some(deployments) = deployments {
            found
                .data
                .retain(|(_, format)| *format != Format::Deployments);
            found
                .data
                .push((deployments.to_path_buf(), Format::Deployments));
        }
        let Some((first, _)) = found.data.first().cloned() else {
            let path = paths.first().cloned().unwrap_or_default();
            return Err(RecordingError::NoData { path });
        };
        let is_journal = |(_, format): &(PathBuf, Format)| *format == Format::Journal;
        if found.data.iter().any(is_journal) {
            let files: Vec<PathBuf> = found.data.into_iter().map(|(path, _)| path).collect();
            let is_segment = |path: &PathBuf| segment_number(path).is_some();
            if files.len() > 1 && !files.iter().all(is_segment) {
                return Err(RecordingError::MoreThanJournal);
            }
            let inputs = Inputs::Journal(Journal::new(files));
            return Ok(Self {
                plan: Arc::new(plan),
                inputs,
                notes,
            });
        }
        let mut timeline = Timeline::new(plan.resolution);
        let mut known = files::LogRequests::default();
        for (path, format) in &found.data {
            files::read(path, *format, &plan, &mut timeline, &mut known, &mut notes)
                .map_err(RecordingError::File)?;
        }
        if timeline.is_empty() {
            return Err(RecordingError::NoData { path: first });
        }
        Ok(Self {
            plan: Arc::new(plan),
            inputs: Inputs::Timeline(timeline),
            notes,
        })
    }
}

/// Which of the given paths are recordings of their own: directories with a configuration or with
/// deployment events, where there are several; else all of them are parts of one.
pub fn recordings(paths: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let is_whole = |path: &PathBuf| {
        let names = [CONFIGURATION, "deployments.jsonl"];
        names.iter().any(|name| path.join(name).is_file())
    };
    let whole = paths.iter().filter(|path| is_whole(path)).count();
    if whole < 2 || whole < paths.len() {
        return vec![paths.to_vec()];
    }
    paths.iter().map(|path| vec![path.clone()]).collect()
}

impl Inputs {
    /// Whether they are of a live run. What the engine refused then was answered then: it is no
    /// fault of the recording.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Journal(_))
    }

    /// How many steps there are, for the display of progress; `None` if that is not known.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Timeline(timeline) => Some(timeline.len()),
            Self::Journal(_) => None,
        }
    }

    /// Runs everything through the engine. `said` gets what the engine says, and how many steps
    /// are done. Gives what the person who replays it should know.
    ///
    /// # Errors
    /// A journal is damaged.
    pub fn play(
        self,
        engine: &mut Engine,
        mut said: impl FnMut(&mut Vec<Output>, usize),
    ) -> Result<Option<String>, FileError> {
        self.play_beside(engine, None, |_, outputs, done| said(outputs, done))
    }

    /// Like [`Inputs::play`]; the data runs through placebos as well, and `said` also sees the engine.
    ///
    /// # Errors
    /// A journal is damaged.
    pub fn play_beside(
        self,
        engine: &mut Engine,
        beside: Option<&mut Placebos>,
        mut said: impl FnMut(&Engine, &mut Vec<Output>, usize),
    ) -> Result<Option<String>, FileError> {
        match self {
            Self::Timeline(timeline) => {
                timeline.play_beside(engine, beside, said);
                Ok(None)
            }
            Self::Journal(journal) => {
                journal.play(engine, beside, |engine, outputs| said(engine, outputs, 0))
            }
        }
    }

    /// What happens in them, as far as placebos must know before they are drawn.
    ///
    /// # Errors
    /// A journal is damaged.
    pub fn history(&self, plan: &Plan) -> Result<History, FileError> {
        match self {
            Self::Timeline(timeline) => Ok(timeline.history(&plan.labels)),
            Self::Journal(journal) => journal.history(),
        }
    }
}

/// What was found in the given places.
#[derive(Debug, Default)]
struct Found {
    /// The last one counts.
    configs: Vec<PathBuf>,
    data: Vec<(PathBuf, Format)>,
    /// What looks like data, but has the name of no format.
    unknown: Vec<PathBuf>,
}

impl Found {
    fn look(&mut self, path: &Path) -> Result<(), RecordingError> {
        if !path.exists() {
            let problem = "there is no such file or directory";
            return Err(RecordingError::File(FileError::new(path, problem)));
        }
        if !path.is_dir() {
            // As one of all files of a recording.
            if path.file_name().is_some_and(|name| name == CONFIGURATION) {
                self.configs.push(path.to_path_buf());
                return Ok(());
            }
            let format = files::format(path).map_err(RecordingError::File)?;
            self.data.push((path.to_path_buf(), format));
            return Ok(());
        }
        let mut files = files::list(path).map_err(RecordingError::File)?;
        // A data directory of `serve` is the recording that its journal is.
        let journal = path.join(DataDir::JOURNAL);
        if journal.is_dir() && !files.iter().any(|file| files::format(file).is_ok()) {
            files.extend(files::list(&journal).map_err(RecordingError::File)?);
        }
        for file in files {
            if file.file_name().is_some_and(|name| name == CONFIGURATION) {
                self.configs.push(file);
            } else if let Ok(format) = files::format(&file) {
                self.data.push((file, format));
            } else if is_like_data(&file) {
                self.unknown.push(file);
            }
        }
        Ok(())
    }

    /// What is there and has no effect, for the person who replays it.
    fn notes(&self, is_config_given: bool) -> Vec<String> {
        let mut notes: Vec<String> = self
            .unknown
            .iter()
            .map(|path| {
                format!(
                    "{}: left out, its name is that of no file of a recording (sluice.yaml, \
                     deployments.jsonl, *.csv, *.metrics.jsonl, *.logs.jsonl, *.om, *.prom, *.log.jsonl, \
                     *.log, *.journal)",
                    path.display()
                )
            })
            .collect();
        if !is_config_given
            && let Some((used, others)) = self.configs.split_last()
            && !others.is_empty()
        {
            let others: Vec<String> = others
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            notes.push(format!(
                "{} is the configuration of all that is named, {} is not used: directories are recordings of \
                 their own only where nothing else is named",
                used.display(),
                others.join(", ")
            ));
        }
        notes
    }
}

/// Whether whoever put a file here may think that it is replayed. `expected.*` is what a replay is held
/// against.
fn is_like_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let ends = [
        ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".tsv", ".parquet", ".gz", ".zst", ".bz2",
        ".xz", ".zip",
    ];
    !name.starts_with(['.', '_'])
        && !name.starts_with("expected.")
        && ends.iter().any(|end| name.ends_with(end))
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Plan { path, faults } => {
                for line in faults.to_string().lines() {
                    writeln!(f, "{}: {line}", path.display())?;
                }
                Ok(())
            }
            Self::NoPlan => f.write_str(
                "no configuration: put a sluice.yaml into the directory, or name one with --config",
            ),
            Self::NoData { path } => write!(
                f,
                "{}: nothing to replay: add data files (*.csv, *.metrics.jsonl, *.logs.jsonl, *.om, \
                 *.prom, *.log.jsonl, *.log, *.journal) or deployments.jsonl",
                path.display()
            ),
            Self::MoreThanJournal => f.write_str(
                "a journal is replayed alone: it has its own order and begins with an empty engine; name one \
                 *.journal, or the numbered segments of one, without data files",
            ),
        }
    }
}

impl std::error::Error for RecordingError {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_files_of_a_recording_may_be_named_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            (
                "sluice.yaml",
                "checks: {up: {metric: up, absent: 2m}}\nservices: {web: {stages: [{name: unit, checks: [up], bake: 1m}]}}\n",
            ),
            (
                "up.csv",
                "timestamp,metric,value,service,host\n1772359200,up,1,web,h1\n",
            ),
        ];
        let paths = files.map(|(name, text)| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        });
        let recording = Recording::open(&paths, None, None).unwrap();
        assert_eq!(recording.plan.checks.len(), 1);
        assert_eq!(recording.inputs.steps(), Some(1));
        assert!(matches!(
            Recording::open(&paths[1..], None, None),
            Err(RecordingError::NoPlan)
        ));
    }
}
