//! `replay --report`: gathers what a replay says, and leaves it as one file that any browser shows.

mod page;
mod timeline;

use std::{
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{
    event::{Begin, Timestamp},
    gate::{Gate, LineKind, Verdict, VerdictState},
};

/// A report that is written when the replay is over.
#[derive(Debug)]
pub(super) struct Report {
    path: PathBuf,
    /// Beside it, and made before the replay: a place that cannot be written is told at once. It is gone
    /// again unless it takes the name of the report.
    file: NamedTempFile,
    accounts: Vec<Account>,
}

/// What was said of a recording.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// As it was named on the command line.
    pub(super) recording: String,
    /// Digest of its configuration; `None`: it was never read.
    pub(super) config_digest: Option<String>,
    /// What could not be used, and what else a reader should know.
    pub(super) warnings: Vec<String>,
    /// Why it was not replayed, or what was refused.
    pub(super) errors: Vec<String>,
    /// Of all its deployments, in the order in which they were said.
    changes: Vec<Change>,
    stories: Vec<Story>,
}

/// A verdict that changed, or one that stands while its shadow says something else.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    kind: LineKind,
    at: Timestamp,
    deployment: String,
    verdict: VerdictState,
    /// What a hotfix would have got without being one.
    shadow: Option<VerdictState>,
    reasons: Vec<String>,
}

/// One deployment from its begin to its last verdict.
#[derive(Debug)]
struct Story {
    begin: Begin,
    bake_until: Timestamp,
    changes: Vec<Change>,
    verdict: Verdict,
}

impl Report {
    /// Makes sure that a file of this name can be written.
    ///
    /// # Errors
    /// The name is not that of an HTML file, or nothing can be written there. For a person.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let failed = |problem: &str| format!("--report {}: {problem}", path.display());
        // A slip of the hand must not cost a recording its data.
        let is_page = path
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|end| end.eq_ignore_ascii_case("html") || end.eq_ignore_ascii_case("htm"));
        if !is_page {
            return Err(failed("the report is a web page: name it FILE.html"));
        }
        if path.exists() && !path.is_file() {
            return Err(failed("there is something else than a file of this name"));
        }
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        let directory = directory.unwrap_or(Path::new("."));
        let file = beside(directory).map_err(|error| {
            failed(&format!(
                "nothing can be written into {}: {error}",
                directory.display()
            ))
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            accounts: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, account: Account) {
        self.accounts.push(account);
    }

    /// Writes the page, whole or not at all. `summary` is what is summed up over all recordings.
    ///
    /// # Errors
    /// The file cannot be written. For a person.
    pub(super) fn finish(mut self, summary: Option<&str>) -> Result<(), String> {
        let page = page::render(&self.accounts, summary);
        let file = self.file.as_file_mut();
        let written = file
            .write_all(page.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| {
                let persisted = self.file.persist(&self.path);
                persisted.map(drop).map_err(|error| error.error)
            });
        written.map_err(|error| format!("--report {}: {error}", self.path.display()))
    }
}

impl Account {
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Self {
            recording: names.join(", "),
            ..Self::default()
        }
    }

    /// Notes a line that is printed while it is replayed.
    pub(super) fn change(&mut self, kind: LineKind, verdict: &Verdict) {
        self.changes.push(Change {
            kind,
            at: verdict.at,
            deployment: verdict.deployment.clone(),
            verdict: verdict.verdict,
            shadow: verdict.shadow.as_ref().map(|shadow| shadow.verdict),
            reasons: verdict.reasons.clone(),
        });
    }

    /// Notes how a deployment stands at the end.
    pub(super) fn finally(&mut self, gate: &Gate, verdict: Verdict) {
        let changes = self.changes.iter();
        let changes = changes.filter(|change| change.deployment == gate.begin.deployment);
        self.stories.push(Story {
            begin: gate.begin.clone(),
            bake_until: gate.bake_until(),
            changes: changes.cloned().collect(),
            verdict,
        });
    }
}

/// A file without a name that anyone knows, readable as any other that its owner makes.
fn beside(directory: &Path) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new();
    file.prefix(".sluice-report-").suffix(".html");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.permissions(std::fs::Permissions::from_mode(0o666));
    }
    file.tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_was_never_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        drop(Report::new(&path).unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        Report::new(&path).unwrap().finish(None).unwrap();
        let names = folder.path().read_dir().unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["report.html"]);
    }

    #[test]
    fn what_is_no_place_for_a_report_is_told_before_the_replay() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("folder.html")).unwrap();
        for (name, problem) in [
            ("data.csv", "name it FILE.html"),
            ("report", "name it FILE.html"),
            ("folder.html", "something else than a file"),
            ("nowhere/report.html", "nothing can be written into"),
        ] {
            let told = Report::new(&folder.path().join(name)).unwrap_err();
            assert!(told.contains(problem), "{told}");
        }
    }
}
