//! The command line: one file per subcommand; the only code that prints.

mod check;
mod demo;
mod deploy;
mod export;
mod help;
mod history;
mod journal;
mod log_filter;
mod manual;
mod print;
mod promote;
mod reach;
mod record;
mod replay;
mod schema;
mod serve;
mod verdict;
mod waiting;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

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

/// Watches metric and log streams while a change is rolled out, and answers: may it go on?
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = help::ALL, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine: ingest, verdict API, metrics
    #[command(after_help = help::SERVE)]
    Serve(serve::Arguments),
    /// Run a recording through the same core as fast as it goes
    #[command(after_help = help::REPLAY)]
    Replay(replay::Arguments),
    /// Lint a configuration: every fault at once
    #[command(after_help = help::CHECK)]
    Check(check::Arguments),
    /// Print a JSON Schema of the configuration, for editors
    #[command(after_help = help::SCHEMA)]
    Schema,
    /// Look through a journal, or cut off what is damaged
    #[command(after_help = help::JOURNAL)]
    Journal(journal::Arguments),
    /// Make a recording of a stretch of the journal
    #[command(after_help = record::EXAMPLE)]
    Record(record::Arguments),
    /// Make a recording of a stretch of the journal in formats that other programs read
    #[command(after_help = export::EXAMPLE)]
    Export(record::Arguments),
    /// Tell a running engine about a deployment
    #[command(after_help = help::DEPLOY)]
    Deploy(deploy::Arguments),
    /// Look through the history of deployments, or verify that nobody changed it
    #[command(after_help = history::EXAMPLES)]
    History(history::Arguments),
    /// Ask a running engine for a verdict, or wait for a final one
    #[command(after_help = help::VERDICT)]
    Verdict(verdict::Arguments),
    /// Print what a shell needs to complete commands
    #[command(after_help = help::COMPLETIONS)]
    Completions(manual::CompletionsArguments),
    /// Print a manual page
    #[command(after_help = help::MAN)]
    Man(manual::ManArguments),
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
        Command::Schema => schema::run(),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Deploy(arguments) => deploy::run(arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Verdict(arguments) => verdict::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments, Arguments::command()),
        Command::Man(arguments) => manual::man(&arguments, Arguments::command()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands below one, with their names; its own last.
    fn all(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        let path = path.trim().to_owned();
        for inner in command.get_subcommands() {
            all(inner, &path, found);
        }
        let help = command.get_after_help().map(ToString::to_string);
        found.push((path, help.unwrap_or_default()));
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let mut found = Vec::new();
        all(&Arguments::command(), "", &mut found);
        assert!(15 < found.len(), "{found:?}");
        for (path, help) in found {
            let help = help.replace("\\\n", " ");
            let examples = help.split("Example").nth(1).unwrap_or_default();
            // What stands in front of a command, or behind it, is of the shell.
            let lines = examples
                .lines()
                .filter_map(|line| line.split_once("sluice "));
            let examples: Vec<&str> = lines
                .map(|(_, words)| words.split(['&', '|', '>']).next().unwrap())
                .map(|words| words.split("    ").next().unwrap())
                .collect();
            assert!(!examples.is_empty(), "{path} has no example: {help}");
            for example in examples {
                let words: Vec<String> = example
                    .split('\'')
                    .enumerate()
                    .flat_map(|(index, part)| match index % 2 {
                        0 => part.split_whitespace().map(str::to_owned).collect(),
                        _ => vec![part.to_owned()],
                    })
                    .collect();
                let words = std::iter::once("sluice".to_owned()).chain(words);
                if let Err(error) = Arguments::try_parse_from(words) {
                    assert!(!error.use_stderr(), "{path}: {example}: {error}");
                }
            }
        }
    }
}
