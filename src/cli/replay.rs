//! `sluice replay`: a recording through the same core, as fast as it goes.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{exit, print};
use crate::{
    engine::{Engine, Output, Refusal},
    gate::{Line, LineKind, Verdict, VerdictState},
    source::{files::FileError, recording::Recording},
};

/// Arguments of `sluice replay`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory with sluice.yaml, deployments.jsonl and data files, or the files themselves
    #[arg(required = true, value_name = "RECORDING")]
    recordings: Vec<PathBuf>,
    /// Configuration; default: sluice.yaml in the directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Deployment events; default: deployments.jsonl in the directory
    #[arg(long, value_name = "FILE")]
    deployments: Option<PathBuf>,
    /// How the verdicts are printed: for a person, or one JSON object a line
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
    /// Exit with 0 when a deployment was bypassed
    #[arg(long)]
    accept_bypass: bool,
}

/// How verdicts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let recording = match Recording::open(
        &arguments.recordings,
        arguments.config.as_deref(),
        arguments.deployments.as_deref(),
    ) {
        Ok(recording) => recording,
        Err(error) => {
            print::error(&error);
            return exit::ERROR;
        }
    };
    for note in &recording.notes {
        print::warning(note);
    }
    let mut printer = Printer {
        output: arguments.output,
        accept_bypass: arguments.accept_bypass,
        is_broken: false,
        live_refused: recording.inputs.is_live(),
        refused: 0,
    };
    match play(recording, &mut printer) {
        Ok(engine) => printer.finish(&engine),
        Err(error) => {
            print::error(&error);
            exit::ERROR
        }
    }
}

fn play(recording: Recording, printer: &mut Printer) -> Result<Engine, FileError> {
    let mut engine = Engine::new(recording.plan);
    let progress = progress_bar(recording.inputs.steps());
    let note = recording.inputs.play(&mut engine, |outputs, done| {
        for output in outputs.drain(..) {
            match output {
                Output::Verdict(verdict) => {
                    progress.suspend(|| printer.line(LineKind::Verdict, *verdict));
                }
                Output::Refused(refusal) => progress.suspend(|| printer.refused(&refusal)),
            }
        }
        progress.set_position(done as u64);
    })?;
    progress.finish_and_clear();
    if let Some(note) = note {
        print::warning(&note);
    }
    Ok(engine)
}

/// Long work shows how far it is on a terminal, and stays silent in a pipe.
fn progress_bar(length: Option<usize>) -> ProgressBar {
    let Some(length) = length.filter(|_| stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let style = ProgressStyle::with_template("replaying {bar:40} {percent:>3} % {eta:>4} left")
        .expect("the template is constant and valid");
    let progress = ProgressBar::new(length as u64).with_style(style);
    progress.enable_steady_tick(Duration::from_millis(200));
    progress
}

/// Prints verdicts, and remembers whether anybody still reads them.
struct Printer {
    output: OutputFormat,
    accept_bypass: bool,
    is_broken: bool,
    /// Whether a live engine refused the events already: whoever sent them was told then.
    live_refused: bool,
    refused: u64,
}

impl Printer {
    fn line(&mut self, kind: LineKind, verdict: Verdict) {
        let text = match self.output {
            OutputFormat::Json => serde_json::to_string(&Line { kind, verdict })
                .expect("a verdict has only text, numbers and lists"),
            OutputFormat::Text => match kind {
                LineKind::Verdict => print::verdict_line(&verdict),
                LineKind::Final => print::verdict_block(&verdict),
            },
        };
        // A reader that closed the pipe has seen enough; the exit code still tells the verdict.
        self.is_broken |= writeln!(stdout().lock(), "{text}").is_err();
    }

    fn refused(&mut self, refusal: &Refusal) {
        if self.live_refused {
            print::warning(&format!("refused as it was live: {refusal}"));
        } else {
            self.refused += 1;
            print::error(refusal);
        }
    }

    fn finish(&mut self, engine: &Engine) -> u8 {
        let mut worst = None;
        for gate in engine.gates() {
            let verdict = gate.verdict();
            worst = worst.max(Some(severity(verdict.verdict)));
            self.line(LineKind::Final, verdict);
        }
        let Some(worst) = worst else {
            print::error(
                &"the recording has no deployment: add a begin event to deployments.jsonl",
            );
            return exit::ERROR;
        };
        if self.refused > 0 {
            let refused = self.refused;
            print::error(&format!(
                "{refused} deployment events were refused, see above"
            ));
            return exit::ERROR;
        }
        match worst {
            Severity::Pass => exit::PASS,
            Severity::Pending => exit::PENDING,
            Severity::Bypassed if self.accept_bypass => exit::PASS,
            Severity::Bypassed => exit::BYPASSED,
            Severity::NoData => exit::NO_DATA,
            Severity::Fail => exit::FAIL,
        }
    }
}

/// Verdicts from the best to the worst, as the exit code of a replay ranks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Pass,
    Pending,
    Bypassed,
    NoData,
    Fail,
}

fn severity(state: VerdictState) -> Severity {
    match state {
        VerdictState::Pass => Severity::Pass,
        VerdictState::Pending => Severity::Pending,
        VerdictState::Bypassed => Severity::Bypassed,
        VerdictState::NoData => Severity::NoData,
        VerdictState::Fail => Severity::Fail,
    }
}
