//! The command line: one file per subcommand; the only code that prints.

mod check;
mod demo;
mod deploy;
mod history;
mod journal;
mod print;
mod record;
mod replay;
mod serve;
mod verdict;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

/// Exit codes that scripts rely on.
pub mod exit {
    /// PASS.
    pub const PASS: u8 = 0;
    /// FAIL.
    pub const FAIL: u8 = 1;
    /// Usage, configuration or connection error.
    pub const ERROR: u8 = 2;
    /// PENDING: at the timeout, or at the end of a recording.
    pub const PENDING: u8 = 3;
    /// `NO_DATA`.
    pub const NO_DATA: u8 = 4;
    /// BYPASSED, unless accepted.
    pub const BYPASSED: u8 = 5;
}

const EXIT_CODES: &str = "\
Exit codes of replay and verdict: 0 PASS, 1 FAIL, 2 usage, configuration or connection error, \
3 PENDING, 4 NO_DATA, 5 BYPASSED (0 with --accept-bypass).";

/// Watches metric and log streams while a change is rolled out, and answers: may it go on?
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = EXIT_CODES, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine: ingest, verdict API, metrics
    Serve(serve::Arguments),
    /// Run a recording through the same core as fast as it goes
    #[command(after_help = EXIT_CODES)]
    Replay(replay::Arguments),
    /// Lint a configuration: every fault at once
    Check(check::Arguments),
    /// Look through a journal, or cut off what is damaged
    Journal(journal::Arguments),
    /// Make a recording of a stretch of the journal
    #[command(after_help = record::EXAMPLE)]
    Record(record::Arguments),
    /// Tell a running engine about a deployment
    Deploy(deploy::Arguments),
    /// Look through the history of deployments, or verify that nobody changed it
    #[command(after_help = history::EXAMPLES)]
    History(history::Arguments),
    /// Ask a running engine for a verdict, or wait for a final one
    #[command(after_help = EXIT_CODES)]
    Verdict(verdict::Arguments),
}

/// Runs the command line and gives the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() {
                exit::ERROR
            } else {
                exit::PASS
            };
            // Nothing can be done when even this cannot be printed.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    ExitCode::from(match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Deploy(arguments) => deploy::run(arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Verdict(arguments) => verdict::run(&arguments),
    })
}
