//! `sluice journal`: looks through a journal, or cuts off what is damaged.

use std::{
    error::Error,
    fmt::Write as _,
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{exit, print};
use crate::journal::{DataDir, Inspection, JournalError, Position, inspect, truncate};

/// Exit code of `verify` when something is damaged.
const DAMAGED: u8 = 1;

/// Why writing to a text cannot fail.
const IN_MEMORY: &str = "a text in memory takes what is written";

const VERIFY_EXAMPLE: &str = "\
Exit codes: 0 whole, 1 damaged, 2 it cannot be read.

Example:
  sluice journal verify /var/lib/sluice";

const TRUNCATE_EXAMPLE: &str = "\
What is cut off is kept beside the journal, in files that end with .cut.

Example:
  sluice journal truncate /var/lib/sluice --at 7:40961";

/// Arguments of `sluice journal`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read everything, check each checksum, and say what is there and what is damaged
    #[command(after_help = VERIFY_EXAMPLE)]
    Verify {
        /// A data directory, a directory of segments, or a journal file; an engine may be running
        #[arg(value_name = "DIR")]
        path: PathBuf,
    },
    /// Cut the journal of a data directory off, as a last resort: what follows is given up
    #[command(after_help = TRUNCATE_EXAMPLE)]
    Truncate {
        /// The data directory of an engine that does not run
        #[arg(value_name = "DIR")]
        path: PathBuf,
        /// The first place that is cut off, as `verify` prints it
        #[arg(long, value_name = "SEGMENT:OFFSET")]
        at: Position,
    },
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let done = match &arguments.command {
        Command::Verify { path } => verify(path),
        Command::Truncate { path, at } => cut(path, *at),
    };
    done.unwrap_or_else(|error| {
        failed(&error);
        exit::ERROR
    })
}

/// Prints an error of the journal with its cause.
pub(super) fn failed(error: &JournalError) {
    let cause = error.source().map(|cause| format!(": {cause}"));
    print::error(&format!("{error}{}", cause.unwrap_or_default()));
}

/// The directory of the segments, where a data directory is named.
pub(super) fn segments(path: &Path) -> PathBuf {
    let inside = path.join(DataDir::JOURNAL);
    if inside.is_dir() {
        inside
    } else {
        path.to_owned()
    }
}

/// A bar on a terminal, nothing in a pipe.
pub(super) fn progress(what: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {bytes} of {total_bytes}")
        .expect("the template is constant and valid");
    ProgressBar::new(0)
        .with_style(style)
        .with_message(what.to_owned())
}

fn verify(path: &Path) -> Result<u8, JournalError> {
    let progress = progress("verifying");
    let found = inspect(&segments(path), |done, all| {
        progress.set_length(all);
        progress.set_position(done);
    })?;
    progress.finish_and_clear();
    let written = print::answer(&summary(&found));
    for damage in &found.damages {
        print::error(&format!(
            "damaged at {}: {}, in {}; {} whole entries stand behind it in this file",
            damage.position,
            damage.problem,
            damage.path.display(),
            damage.entries_behind,
        ));
    }
    let code = if found.damages.is_empty() {
        exit::PASS
    } else {
        DAMAGED
    };
    Ok(print::answered(written, code))
}

fn summary(found: &Inspection) -> String {
    let Inspection {
        segments,
        void,
        bytes,
        counts,
        ticks,
        torn,
        damages,
    } = found;
    let mut text = String::new();
    let state = if damages.is_empty() {
        "whole"
    } else {
        "damaged"
    };
    let mut line = |what: &str, value: String| {
        writeln!(text, "{what:<12} {value}").expect(IN_MEMORY);
    };
    line("state", state.to_owned());
    line("segments", segments.to_string());
    line("bytes", bytes.to_string());
    line("entries", counts.total().to_string());
    line("  batches", counts.batches.to_string());
    line("  deployment", format!("{} events", counts.deployments));
    line("  ticks", counts.ticks.to_string());
    line(
        "  kafka",
        format!("{} ranges taken, {} lost", counts.consumed, counts.lost),
    );
    if counts.over_limit > 0 {
        line(
            "  over limit",
            format!("{} marks of refused requests", counts.over_limit),
        );
    }
    if counts.plans > 0 {
        line(
            "  changes",
            format!("{} of the configuration", counts.plans),
        );
    }
    if counts.starts > 0 {
        line(
            "  starts",
            format!("{} that judged all before anew", counts.starts),
        );
    }
    if let Some((first, last)) = ticks {
        line("time", format!("{first} to {last}"));
    }
    if let Some(torn) = torn {
        line(
            "cut off",
            format!(
                "a write that nobody was told of, at {}: no damage",
                torn.position
            ),
        );
    }
    for path in void {
        line(
            "given up",
            format!("{}: nothing in it counts", path.display()),
        );
    }
    text
}

fn cut(path: &Path, at: Position) -> Result<u8, JournalError> {
    if !path.join(DataDir::JOURNAL).is_dir() {
        print::error(&format!(
            "{} is no data directory: it has no {}/",
            path.display(),
            DataDir::JOURNAL
        ));
        return Ok(exit::ERROR);
    }
    let data = DataDir::open(path)?;
    let cut = truncate(&data, at)?;
    let mut text = format!(
        "cut off at {at}: {} whole entries are given up\n",
        cut.entries
    );
    for file in cut.kept.iter().chain(&cut.snapshots) {
        writeln!(text, "kept {}", file.display()).expect(IN_MEMORY);
    }
    Ok(print::answered(print::answer(&text), exit::PASS))
}
