//! Opens the files of a recording and reads them by their format.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    io::{BufRead, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::timeline::Timeline;
use crate::{
    decode::{
        DecodeError,
        csv::CsvReader,
        deployments,
        format::{Compression, Format},
        lines::LineReader,
        log_lines::LogLineReader,
        openmetrics::{OpenMetricsReader, TimeUnit},
        otlp_json,
        plain_lines::{LinePattern, PlainLineReader},
    },
    event::{Batch, Labels, LogRecord, Rejects},
    plan::{Faults, Plan},
};

/// Lines that are decoded at a time: enough to be fast, few enough to be small.
const LINES_PER_BATCH: usize = 8_192;
/// Longest line of an OTLP/JSON file: one export request of a collector.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// The first bytes of what gzip compressed.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file that cannot be read.
#[derive(Debug)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What went wrong, and what to change.
    pub problem: String,
}

impl FileError {
    pub(super) fn new(path: &Path, problem: impl fmt::Display) -> Self {
        Self {
            path: path.to_path_buf(),
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for FileError {}

/// The format of a data file, by its name.
///
/// # Errors
/// The name is that of no format.
pub fn format(path: &Path) -> Result<Format, FileError> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    Format::from_file_name(name)
        .map(|(format, _)| format)
        .ok_or_else(|| {
            FileError::new(
                path,
                "the name tells no format: use *.csv, *.metrics.jsonl, *.logs.jsonl, *.om, *.prom, \
             *.log.jsonl, *.log or *.journal, each also with .gz or .zst",
            )
        })
}

/// The files of a directory, sorted by name; those that are hidden (`.a.csv`, a Finder's `._a.csv`) are none.
///
/// # Errors
/// The directory cannot be read.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let error = |problem: io::Error| FileError::new(directory, problem);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if path.is_file() && !is_hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this is where files are read")]
pub fn text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::new(path, error))
}

/// Reads a configuration, with what its values refer to in the environment of the process.
///
/// # Errors
/// Every fault of the text.
pub fn plan(text: &str) -> Result<Plan, Faults> {
    Plan::parse_in(text, &|name| std::env::var(name).ok())
}

const NO_END: &str = "it may be incomplete: no \"# EOF\" at its end";

/// Requests of log records that were read. One that is delivered again counts once, as it does at the doors of a
/// running engine: records may well be equal, so that nothing else tells one that came twice from two.
#[derive(Debug, Default)]
pub struct LogRequests(BTreeSet<[u8; 32]>);

impl LogRequests {
    /// Whether a request is one that was read before.
    fn is_known(&mut self, bytes: &[u8]) -> bool {
        !self.0.insert(Sha256::digest(bytes).into())
    }
}

/// Reads a data file into the timeline; what could not be used is told in `notes`.
///
/// # Errors
/// The file cannot be read, or is not what its name says.
pub fn read(
    path: &Path,
    format: Format,
    plan: &Plan,
    timeline: &mut Timeline,
    known: &mut LogRequests,
    notes: &mut Vec<String>,
) -> Result<(), FileError> {
    let error = |problem: DecodeError| FileError::new(path, problem);
    let reader = open(path)?;
    let mut rejects = Rejects::default();
    let mut add = |mut batch: Batch| {
        rejects.absorb(std::mem::take(&mut batch.rejects));
        timeline.add(batch);
    };
    match format {
        Format::Csv => {
            let mut rows = CsvReader::new(reader).map_err(error)?;
            while let Some(batch) = rows.batch(LINES_PER_BATCH).map_err(error)? {
                add(batch);
            }
        }
        Format::OtlpMetrics => {
            requests(reader, |line| otlp_json::metrics(line).map(Some), &mut add).map_err(error)?;
        }
        Format::OtlpLogs => {
            let repeated = log_requests(reader, known, &mut add).map_err(error)?;
            if 0 < repeated {
                let told = "log requests stand here once more, and count once";
                notes.push(format!("{}: {repeated} {told}", path.display()));
            }
        }
        Format::OpenMetrics => {
            if !exposition(reader, TimeUnit::Seconds, &mut add).map_err(error)? {
                notes.push(format!("{}: {NO_END}", path.display()));
            }
        }
        Format::PrometheusText => {
            exposition(reader, TimeUnit::Milliseconds, &mut add).map_err(error)?;
        }
        Format::LogLines => {
            let mut records = LogLineReader::new(reader);
            while let Some(batch) = records.batch(LINES_PER_BATCH).map_err(error)? {
                add(batch);
            }
        }
        Format::PlainLines => {
            let host = stem(path);
            let mut records = PlainLineReader::new(reader, patterns(plan)).map_err(error)?;
            while let Some(mut batch) = records.batch(LINES_PER_BATCH).map_err(error)? {
                for record in &mut batch.logs {
                    name_host(record, plan, &host);
                }
                add(batch);
            }
        }
        Format::Deployments => {
            let bytes = all(reader).map_err(|error| FileError::new(path, error))?;
            for event in deployments::decode(&bytes).map_err(error)? {
                timeline.add_event(event);
            }
        }
        Format::Journal => {
            return Err(FileError::new(
                path,
                "a journal is replayed as a whole, not merged by time",
            ));
        }
    }
    if !rejects.is_empty() {
        notes.push(format!("{}: {rejects}", path.display()));
    }
    Ok(())
}

fn all(mut reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file and undoes its compression on the way.
#[expect(clippy::disallowed_methods, reason = "this is where files are read")]
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, FileError> {
    let file = fs::File::open(path).map_err(|error| FileError::new(path, error))?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let compression = Format::from_file_name(name).map_or(Compression::None, |(_, told)| told);
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => {
            let mut file = io::BufReader::new(file);
            let start = file
                .fill_buf()
                .map_err(|error| FileError::new(path, error))?;
            if !start.is_empty() && !start.starts_with(&GZIP_MAGIC) {
                return Err(FileError::new(
                    path,
                    "it is not compressed with gzip: rename it if it is not compressed at all",
                ));
            }
            Box::new(flate2::read::MultiGzDecoder::new(file))
        }
        Compression::Zstd => {
            Box::new(zstd::Decoder::new(file).map_err(|error| FileError::new(path, error))?)
        }
    })
}

/// Reads an exposition; gives whether its end is marked.
fn exposition(
    reader: Box<dyn Read>,
    unit: TimeUnit,
    add: &mut impl FnMut(Batch),
) -> Result<bool, DecodeError> {
    let mut samples = OpenMetricsReader::new(reader, unit);
    while let Some(batch) = samples.batch(LINES_PER_BATCH)? {
        add(batch);
    }
    Ok(samples.is_ended())
}

/// Those requests of log records that were not read before; gives how many were.
fn log_requests(
    reader: Box<dyn Read>,
    known: &mut LogRequests,
    add: &mut impl FnMut(Batch),
) -> Result<u64, DecodeError> {
    let mut repeated = 0;
    let decode = |line: &[u8]| {
        if known.is_known(line.trim_ascii()) {
            repeated += 1;
            return Ok(None);
        }
        otlp_json::logs(line).map(Some)
    };
    requests(reader, decode, add)?;
    Ok(repeated)
}

/// One export request a line. A line that is damaged is a reject; its neighbours stand. One of which `decode`
/// makes nothing is passed over.
fn requests(
    reader: Box<dyn Read>,
    mut decode: impl FnMut(&[u8]) -> Result<Option<Batch>, DecodeError>,
    add: &mut impl FnMut(Batch),
) -> Result<(), DecodeError> {
    let mut lines = LineReader::new(reader, REQUEST_BYTES_MAX);
    while let Some(line) = lines.next_line()? {
        let number = line.number;
        let decoded = match line.bytes {
            Some(bytes) if bytes.trim_ascii().is_empty() => continue,
            Some(bytes) => decode(bytes).map_err(|error| error.to_string()),
            None => Err(format!("longer than {REQUEST_BYTES_MAX} bytes")),
        };
        let decoded = decoded.unwrap_or_else(|problem| {
            let mut batch = Batch::default();
            let example = || format!("line {number}: {problem}");
            batch
                .rejects
                .sample(crate::event::RejectReason::Malformed, example);
            Some(batch)
        });
        if let Some(batch) = decoded {
            add(batch);
        }
    }
    Ok(())
}

fn patterns(plan: &Plan) -> Vec<LinePattern> {
    let to_decode = |pattern: &crate::plan::LogPattern| LinePattern {
        regex: pattern.pattern.0.clone(),
        time_format: pattern.time_format.clone(),
        zone: pattern.zone.clone(),
    };
    plan.log_patterns.iter().map(to_decode).collect()
}

/// The name of the file up to its first dot: plain lines rarely say which host wrote them.
fn stem(path: &Path) -> String {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// A plain line whose pattern does not tell the host belongs to the host that its file is named
/// after.
fn name_host(record: &mut LogRecord, plan: &Plan, host: &str) {
    let roles = &plan.labels.host;
    let is_told = roles
        .iter()
        .any(|role| record.attributes.get(role).is_some());
    if let Some(role) = roles.last()
        && !is_told
    {
        let told = record.attributes.iter().chain([(role.as_str(), host)]);
        record.attributes = Labels::new(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "
checks: {up: {metric: up, absent: 1m}}
services: {web: {stages: [{name: unit, checks: [up], bake: 1m}]}}
";

    /// What is told about a file of that name.
    fn notes(name: &str, text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        let plan = Plan::parse(CONFIGURATION).unwrap();
        let mut timeline = Timeline::new(plan.resolution);
        let mut notes = Vec::new();
        let format = format(&path).unwrap();
        let mut known = LogRequests::default();
        read(&path, format, &plan, &mut timeline, &mut known, &mut notes).unwrap();
        notes
    }

    #[test]
    fn log_requests_that_stand_twice_count_once() {
        let request = |body: &str| {
            format!(
                r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{{"timeUnixNano": "1772359200000000000", "body": {{"stringValue": "{body}"}}}}]}}]}}]}}"#
            )
        };
        let (a, b) = (request("a"), request("b"));
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan::parse(CONFIGURATION).unwrap();
        let mut timeline = Timeline::new(plan.resolution);
        let (mut known, mut notes) = (LogRequests::default(), Vec::new());
        for (name, text) in [
            ("a.logs.jsonl", format!("{a}\n{b}\n{a} \n")),
            ("b.logs.jsonl", format!("{b}\n")),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            let format = format(&path).unwrap();
            read(&path, format, &plan, &mut timeline, &mut known, &mut notes).unwrap();
        }
        let steps = timeline.into_steps();
        let bodies: Vec<String> = steps
            .flat_map(|step| step.batch.logs.into_iter().map(|record| record.body))
            .collect();
        assert_eq!(bodies, ["a", "b"]);
        assert_eq!(notes.len(), 2);
        let told = ": 1 log requests stand here once more";
        assert!(notes.iter().all(|note| note.contains(told)), "{notes:?}");
    }

    #[test]
    fn hidden_files_are_no_part_of_a_recording() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.csv", "._a.csv", ".a.csv", "a.csv"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let files = list(directory.path()).unwrap();
        let names = files.iter().filter_map(|file| file.file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["a.csv", "b.csv"]);
    }

    #[test]
    fn an_empty_file_holds_nothing() {
        for name in ["a.csv", "a.prom", "a.logs.jsonl"] {
            assert_eq!(notes(name, ""), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn an_exposition_that_is_cut_off_is_told() {
        for (name, text, told) in [
            ("a.prom", "up 1 1772359200000\n", None),
            ("a.prom", "up 1 1772359200\n", None),
            ("a.prom", "# TYPE up gauge\n", None),
            ("a.om", "up 1 1772359200\n# EOF\n\n", None),
            ("a.om", "# EOF\nup 1 1772359200\n", Some("no \"# EOF\"")),
            ("a.om", "", Some("no \"# EOF\"")),
        ] {
            let notes = notes(name, text);
            assert_eq!(
                notes.len(),
                usize::from(told.is_some()),
                "{text:?} {notes:?}"
            );
            assert!(notes.iter().all(|note| note.contains(told.unwrap_or(""))));
        }
    }
}
