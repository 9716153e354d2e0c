//! `sluice record`: makes a recording of a stretch of the journal, as a journal of its own.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{
    exit,
    journal::{failed, progress, segments},
    print,
};
use crate::{
    event::{DeploymentEvent, Span, Timestamp},
    journal::{
        Course, Disk, Entry, JournalError, Limits, PlanChange, Reader, Storage, Stretch, Writer,
    },
    plan::Plan,
    source::files,
};

/// Most entries, and bytes of bodies, that are written at once.
const GROUP_ENTRIES_MAX: usize = 1_024;
const GROUP_BYTES_MAX: usize = 8 << 20;

pub(super) const EXAMPLE: &str = "\
A stretch begins with the first tick of the clock at or after --from and ends before the first at or \
after --until. What was told before of deployments that were open at --from, and of metrics by their names, comes \
first.

Example:
  sluice record --data-dir /var/lib/sluice --config sluice.yaml --out incident \\
      --from 2026-03-01T10:00:00Z --until 2026-03-01T14:00:00Z
  sluice replay incident";

/// Arguments of `sluice record` and of `sluice export`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The data directory of an engine, which may be running
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: PathBuf,
    /// The configuration that the engine runs with; it is copied into the recording
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The recording, a directory that is made
    #[arg(long, value_name = "RECORDING")]
    pub(super) out: PathBuf,
    /// Where it begins, as 2026-03-01T10:00:00Z; default: with all that is kept
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Where it ends; default: with what was written last
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    finish(record(arguments), "recorded", &arguments.out)
}

/// Says what became of it.
pub(super) fn finish(recorded: Result<Recorded, Failure>, did: &str, out: &Path) -> u8 {
    match recorded {
        Ok(recorded) => {
            let told = format!("{did} {}\n", recorded.told(out));
            let written = print::answer(&told);
            for warning in recorded.warnings() {
                print::warning(&warning);
            }
            print::answered(written, exit::PASS)
        }
        Err(Failure::Journal(error)) => {
            failed(&error);
            exit::ERROR
        }
        Err(Failure::Told(problem)) => {
            print::error(&problem);
            exit::ERROR
        }
    }
}

pub(super) enum Failure {
    Journal(JournalError),
    Told(String),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// What a recording holds.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    entries: u64,
    pub(super) bytes: u64,
    ticks: Option<(Timestamp, Timestamp)>,
    begun: BTreeSet<String>,
    /// Deployments that something was told of, but not how they began.
    unknown: BTreeSet<String>,
    /// The configuration that goes with it.
    pub(super) wording: String,
    /// Messages whose bodies stayed in Kafka.
    messages: u64,
    /// Marks of requests that a limit refused as a whole.
    pub(super) over_limit: u64,
    /// The last change of the configuration before it, by a start or while the engine ran.
    before: Option<PlanChange>,
    /// The first change of the configuration in it.
    change: Option<PlanChange>,
    pub(super) changes: u64,
    /// What is to be said of a configuration that is not the given one.
    other: Option<String>,
    /// What could not be written, and why.
    pub(super) left_out: Vec<String>,
}

fn record(arguments: &Arguments) -> Result<Recorded, Failure> {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let mut writer = None;
    let mut recorded = copy(arguments, "recording", |_, entries| {
        if writer.is_none() {
            writer = Some(Writer::open(&storage, &arguments.out, unlimited())?.0);
        }
        let writer = writer.as_mut().expect("it was made just now");
        writer.commit(entries)?;
        Ok(writer.bytes())
    })?;
    if let Some(writer) = writer {
        recorded.bytes = writer.finish()?;
    }
    if let (Some(other), 1..) = (&mut recorded.other, recorded.changes) {
        other.push_str(
            "; a replay goes on to the later ones where they were taken, as the engine did",
        );
    }
    Ok(recorded)
}

/// Makes the recording's directory and reads the stretch: `write` gets its entries, group by group, and
/// says how many bytes it has written so far.
pub(super) fn copy(
    arguments: &Arguments,
    doing: &str,
    mut write: impl FnMut(&Plan, &[Entry]) -> Result<u64, Failure>,
) -> Result<Recorded, Failure> {
    let text = files::text(&arguments.config).map_err(|error| Failure::Told(error.to_string()))?;
    let plan = files::plan(&text).map_err(|faults| Failure::Told(faults.to_string()))?;
    if let (Some(from), Some(until)) = (arguments.from, arguments.until)
        && until <= from
    {
        let problem = format!("--until {until} is not after --from {from}");
        return Err(Failure::Told(problem));
    }
    let journal = segments(&arguments.data_dir);
    // What is damaged tells itself below, where it matters.
    let course: Course = Reader::open(&journal)?.map_while(Result::ok).collect();
    let mut reader = Reader::open(&journal)?;
    let out = &arguments.out;
    let is_new = !out.exists();
    make(out)?;
    let mut stretch = Stretch::new(arguments.from, arguments.until);
    let mut recorded = Recorded {
        before: course.start.as_ref().map(|(_, start)| start.clone()),
        ..Recorded::default()
    };
    let mut group = Vec::new();
    let mut group_bytes = 0;
    let progress = progress(doing);
    for entry in reader.by_ref() {
        let (position, entry) = entry?;
        // What the engine was started under last is all that the recording is judged by.
        if course.is_void(position, &entry) {
            continue;
        }
        group_bytes += match &entry {
            Entry::Batch(body) => body.bytes.len(),
            Entry::Deployment(_)
            | Entry::Tick(_)
            | Entry::Consumed(_)
            | Entry::Lost(_)
            | Entry::Plan(_)
            | Entry::Start(_)
            | Entry::OverLimit(_) => 0,
        };
        if let (Entry::Plan(change), false) = (&entry, stretch.has_begun()) {
            recorded.before = Some(change.clone());
        }
        stretch.take(entry, &mut group);
        if GROUP_ENTRIES_MAX <= group.len() || GROUP_BYTES_MAX <= group_bytes {
            recorded.count(&group);
            recorded.bytes = write(&plan, &group)?;
            group.clear();
            group_bytes = 0;
            progress.set_position(recorded.bytes);
        }
        if stretch.is_over() {
            break;
        }
    }
    recorded.count(&group);
    recorded.bytes = write(&plan, &group)?;
    progress.finish_and_clear();
    if recorded.entries == 0 {
        if is_new {
            // Only an empty one goes.
            drop(fs::remove_dir(out));
        }
        let problem = "nothing was recorded: the journal holds nothing of this time, see \
                       `sluice journal verify`";
        return Err(Failure::Told(problem.to_owned()));
    }
    configure(&mut recorded, arguments, &text, &plan)?;
    Ok(recorded)
}

/// Writes the configuration that goes with a recording.
fn configure(
    recorded: &mut Recorded,
    arguments: &Arguments,
    text: &str,
    plan: &Plan,
) -> Result<(), Failure> {
    let out = &arguments.out;
    // What refers to the environment would be something else elsewhere.
    let refers = text.contains("${");
    let mut wording = if refers { &*plan.wording } else { text };
    let in_force = recorded.in_force(&plan.digest);
    if let Some(InForce {
        digest,
        wording: other,
        why,
    }) = &in_force
    {
        recorded.other = Some(format!(
            "the recording has the configuration {why}, {digest}, not that of --config, {} (to judge it by \
             that: sluice replay --config {} {})",
            plan.digest,
            arguments.config.display(),
            out.display()
        ));
        wording = other;
    }
    fs::write(out.join("sluice.yaml"), wording)
        .map_err(|error| Failure::Told(format!("{}: {error}", out.display())))?;
    wording.clone_into(&mut recorded.wording);
    Ok(())
}

/// Makes the directory, which must be new or empty.
fn make(out: &Path) -> Result<(), Failure> {
    let error = |error: io::Error| Failure::Told(format!("{}: {error}", out.display()));
    fs::create_dir_all(out).map_err(error)?;
    if fs::read_dir(out).map_err(error)?.next().is_some() {
        let problem = format!(
            "{} is not empty: name a new directory with --out",
            out.display()
        );
        return Err(Failure::Told(problem));
    }
    Ok(())
}

fn unlimited() -> Limits {
    Limits {
        bytes_max: u64::MAX,
        keep: Span::ZERO,
        ..Limits::default()
    }
}

/// The configuration under which a recording begins, where it is not the given one.
struct InForce {
    digest: String,
    wording: String,
    why: &'static str,
}

impl Recorded {
    /// The configuration that was in force where the recording begins, as the journal tells; `None`: the
    /// given one, or the journal does not tell.
    fn in_force(&self, given: &str) -> Option<InForce> {
        let (digest, wording, why) = match (&self.change, &self.before) {
            (Some(next), _) => (
                &next.from_digest,
                &next.from,
                "that was in force when it begins",
            ),
            (None, Some(last)) if last.is_start() => (
                &last.to_digest,
                &last.to,
                "that the engine was last started under and has judged all of this by",
            ),
            // The engine may have refused this one: then whoever names the one before is right.
            (None, Some(last)) if last.from_digest == given => return None,
            (None, Some(last)) => (
                &last.to_digest,
                &last.to,
                "that was in force when it begins",
            ),
            (None, None) => return None,
        };
        (digest != given).then(|| InForce {
            digest: digest.clone(),
            wording: wording.clone(),
            why,
        })
    }

    fn count(&mut self, entries: &[Entry]) {
        self.entries += entries.len() as u64;
        for entry in entries {
            match entry {
                Entry::Tick(now) => {
                    let first = self.ticks.map_or(*now, |(first, _)| first);
                    self.ticks = Some((first, *now));
                }
                Entry::Deployment(event) => self.deployment(event),
                Entry::Consumed(range) => self.messages += range.count(),
                Entry::Plan(change) => {
                    self.changes += u64::from(change.is_other());
                    self.change.get_or_insert_with(|| change.clone());
                }
                Entry::OverLimit(_) => self.over_limit += 1,
                Entry::Batch(_) | Entry::Lost(_) | Entry::Start(_) => {}
            }
        }
    }

    fn deployment(&mut self, event: &DeploymentEvent) {
        let deployment = event.deployment().to_owned();
        match event {
            DeploymentEvent::Begin(_) => {
                self.begun.insert(deployment);
            }
            DeploymentEvent::Step(_) | DeploymentEvent::Bypass(_) | DeploymentEvent::End(_) => {
                if !self.begun.contains(&deployment) {
                    self.unknown.insert(deployment);
                }
            }
        }
    }

    fn told(&self, out: &Path) -> String {
        let time = self
            .ticks
            .map(|(first, last)| format!(", {first} to {last}"))
            .unwrap_or_default();
        format!(
            "{} entries in {} bytes{time}, {} deployments: sluice replay {}",
            self.entries,
            self.bytes,
            self.begun.len(),
            out.display()
        )
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.left_out.clone();
        if !self.unknown.is_empty() {
            let ids: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
            warnings.push(format!(
                "the journal does not say how these deployments began, a replay refuses what was \
                 told of them: {}",
                ids.join(", ")
            ));
        }
        warnings.extend(self.other.clone());
        if self.messages > 0 {
            warnings.push(format!(
                "{} messages stayed in Kafka: a replay is without what they held, so that no deployment \
                 that was open meanwhile passes",
                self.messages
            ));
        }
        warnings
    }
}
